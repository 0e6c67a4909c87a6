//! Lengths, lifetimes, memory. Part of the tests of `broker::declared`.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::broker::consumer::Outcome;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::exchanges::verbs::QueueDeclaration;
use crate::broker::fanout::{Drop, Fate};
use crate::broker::queues::entry::Body;
use crate::broker::record::Record;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::waiter;
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;
use crate::model::ids::{ConnectionId, ConsumerId};

use super::taker::{NOW_MS, Post, Takers, declare, member, table};

/// Everything in the queue, fetched.
fn contents(bed: &Bed, queue: &Arc<DeclaredQueue>, now_ms: u64) -> Vec<u32> {
    let mut takers = Takers::new();
    let taker = takers.make(&bed.broker, queue, None, true, (0, false)).unwrap();
    taker.dispatch(&bed.broker, queue, now_ms);
    bed.broker.cancel(queue, taker.id, now_ms);
    takers.drain().into_iter().map(|(_, number)| number).collect()
}

fn refusing(length_max: i64) -> Vec<u8> {
    let mut arguments = table(&[("x-max-length", length_max)]);
    let overflow = FieldValue::LongString(b"reject-publish");
    let mut more = Vec::new();
    TableWriter::new(&mut more).put("x-overflow", overflow).unwrap();
    arguments.extend(more);
    arguments
}

#[test]
fn the_oldest_go_when_a_queue_holds_too_many() {
    let mut bed = Bed::new();
    for durable in [false, true] {
        let queue = declare(&bed, durable, &table(&[("x-max-length", 3)]));
        for number in 0..9 {
            if durable {
                Post::new(number).durable(&bed, &[&queue]);
            } else {
                assert_eq!(Post::new(number).transient(&[&queue]), [Fate::Queued]);
            }
        }
        bed.sync();
        assert_eq!(bed.broker.queue_counts(&queue, NOW_MS).ready, 3);
        bed.run_jobs(NOW_MS);
        bed.sync();
        assert_eq!(queue.inner.lock().ledger.queue.live(), 3, "without anybody looking");
        assert_eq!(contents(&bed, &queue, NOW_MS), [6, 7, 8]);
    }
}

#[test]
fn the_limit_in_bytes_counts_payloads_and_not_what_is_out() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &table(&[("x-max-length-bytes", 10)]));
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, Some(1));
    for number in 0..4 {
        Post { length: 5, ..Post::new(number) }.transient(&[&queue]);
    }
    assert_eq!(taker.held(), [0]);
    assert_eq!(queue.counts().ready, 2);
    let too_long = Post { length: 11, ..Post::new(4) }.transient(&[&queue]);
    assert_eq!(too_long, [Fate::Dropped(Drop::Overflow)]);
    assert_eq!(queue.counts().ready, 0);
    // What was out counts again when it is back.
    let (place, _) = taker.give_up(0).unwrap();
    taker.set_full(true);
    Post { length: 9, ..Post::new(5) }.transient(&[&queue]);
    bed.broker.return_places(&queue, &[place]);
    assert_eq!(bed.broker.queue_counts(&queue, NOW_MS).ready, 1);
}

#[test]
fn a_queue_that_refuses_says_so() {
    let mut bed = Bed::new();
    let queue = declare(&bed, false, &refusing(2));
    let fates: Vec<_> = (0..3).flat_map(|n| Post::new(n).transient(&[&queue])).collect();
    assert_eq!(fates, [Fate::Queued, Fate::Queued, Fate::Dropped(Drop::Rejected)]);
    assert_eq!(contents(&bed, &queue, NOW_MS), [0, 1]);

    let (refuses, other) = (declare(&bed, true, &refusing(2)), declare(&bed, true, &[]));
    let publish = |bed: &mut Bed, number| {
        let (told, mut outcome) = waiter();
        let mut bytes = Vec::new();
        let post = Post::new(number);
        post.encode(&mut bytes);
        let record = Record::Publish {
            vhost: "/",
            condition: crate::broker::record::Condition::None,
            set: None,
            members: vec![member(&other), member(&refuses)],
            retained: false,
            appends: Vec::new(),
            message: &bytes,
        };
        bed.broker.submit(Some(told), &record).unwrap();
        bed.sync();
        outcome.try_recv().unwrap()
    };
    let outcomes = [0, 1, 2].map(|number| publish(&mut bed, number));
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Rejected]);
    // All of a message's queues or none.
    assert_eq!(contents(&bed, &other, NOW_MS), [0, 1]);
    assert_eq!(contents(&bed, &refuses, NOW_MS), [0, 1]);
    bed.sync();
    assert_eq!(publish(&mut bed, 3), Outcome::Done);
}

#[test]
fn what_expires_goes_at_the_head_and_by_itself() {
    let mut bed = Bed::new();
    for durable in [false, true] {
        let queue = declare(&bed, durable, &table(&[("x-message-ttl", 1_000)]));
        for (number, expires_in_ms) in [(0, Some(500)), (1, None), (2, Some(5_000))] {
            let post = Post { expires_in_ms, ..Post::new(number) };
            if durable {
                post.durable(&bed, &[&queue]);
            } else {
                post.transient(&[&queue]);
            }
        }
        bed.sync();
        assert_eq!(bed.broker.queue_counts(&queue, NOW_MS + 499).ready, 3);
        assert_eq!(bed.broker.queue_counts(&queue, NOW_MS + 500).ready, 2);
        bed.run_jobs(NOW_MS + 600);
        bed.run_jobs(NOW_MS + 1_000);
        bed.sync();
        assert_eq!(queue.counts().ready, 0, "without anybody looking");
        assert_eq!(queue.inner.lock().ledger.queue.live(), 0);
    }
    let expired = crate::metrics::DropReason::Expired;
    assert_eq!(bed.broker.metrics.messages.dropped.of(expired).get(), 6);
}

/// A time to live of 0: now or never.
#[test]
fn a_message_without_a_life_goes_straight_to_a_consumer_or_nowhere() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &table(&[("x-message-ttl", 0)]));
    let mut takers = Takers::new();
    Post::new(1).transient(&[&queue]);
    takers.add(&bed.broker, &queue, None);
    assert!(takers.drain().is_empty());
    Post::new(2).transient(&[&queue]);
    assert_eq!(takers.drain(), [(0, 2)]);
}

#[test]
fn beyond_their_memory_transient_messages_wait_on_disk() {
    let bed = Bed::new();
    let queues = [declare(&bed, false, &[]), declare(&bed, true, &[])];
    for number in 0..60 {
        let post = Post { length: 300, ..Post::new(number) };
        assert_eq!(post.transient(&[&queues[0], &queues[1]]), [Fate::Queued, Fate::Queued]);
    }
    let keeping = &bed.broker.declared.keeping;
    assert!(keeping.memory.used() <= 2_000);
    assert!(keeping.scratch.bytes() > 300 * 50 && keeping.scratch.bytes() < 400 * 60);
    let is_on_disk = |body: &Body| matches!(body, Body::Scratch(_));
    let spilled = queues[0]
        .inner
        .lock()
        .ledger
        .queue
        .iter_here()
        .filter(|(_, e)| is_on_disk(&e.body))
        .count();
    assert!(spilled > 50);
    let all: Vec<u32> = (0..60).collect();
    for queue in &queues {
        assert_eq!(contents(&bed, queue, NOW_MS), all);
    }
    assert_eq!(keeping.memory.used(), 0);
    assert!(keeping.scratch.bytes() <= 4_096, "no more than the file being written to");
}

#[test]
fn an_unused_queue_goes_and_a_used_one_stays() {
    let bed = Bed::new();
    let who = Principal::anonymous();
    let arguments = table(&[("x-expires", 1_000)]);
    let declaration = QueueDeclaration {
        name: "idle",
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: &arguments,
    };
    let connection = ConnectionId(1);
    let declared =
        bed.broker.declare_queue(&who, connection, &declaration, || waiter().0, NOW_MS).unwrap();
    let queue = declared.queue;
    bed.run_jobs(NOW_MS + 999);
    queue.touch(NOW_MS + 999);
    bed.run_jobs(NOW_MS + 1_500);
    let mut takers = Takers::new();
    let taker = takers.make(&bed.broker, &queue, None, true, (0, false)).unwrap();
    bed.run_jobs(NOW_MS + 5_000);
    assert!(!queue.is_gone());
    bed.broker.cancel(&queue, taker.id, NOW_MS + 5_500);
    bed.broker.cancel(&queue, ConsumerId(0), NOW_MS + 5_500);
    bed.run_jobs(NOW_MS + 6_400);
    assert!(!queue.is_gone());
    bed.run_jobs(NOW_MS + 7_000);
    assert!(queue.is_gone());
}

/// The journal may be trimmed and the memory given back: durable messages are read from where a checkpoint wrote them.
#[test]
fn a_backlog_is_read_back_from_disk_in_order() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    for number in 0..200 {
        Post { length: 100, ..Post::new(number) }.durable(&bed, &[&queue]);
    }
    bed.sync();
    assert!(bed.broker.memory.used() > 20_000);
    bed.checkpoint(NOW_MS);
    assert_eq!(bed.broker.memory.used(), 0);
    let all: Vec<u32> = (0..200).collect();
    assert_eq!(contents(&bed, &queue, NOW_MS), all);
}
