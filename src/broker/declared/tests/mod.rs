//! Declared queues through the broker's verbs. Part of `broker::declared`.

mod limits;
mod model;
mod taker;

use crate::auth::principal::Principal;
use crate::broker::declared::queue::QueueCounts;
use crate::broker::declared::verbs::{Cancelled, ConsumeError, Purged};
use crate::broker::fanout::{Drop, Fate};
use crate::broker::testbed::client::waiter;
use crate::broker::testbed::{Bed, Refusing};
use crate::metrics::{LocalCounters, Protocol};
use crate::model::ids::ConnectionId;

use self::taker::{NOW_MS, Post, Takers, acknowledge, declare, leave, number};

#[test]
fn a_transient_message_goes_straight_to_a_consumer_and_is_not_kept() {
    let bed = Bed::new();
    for durable in [false, true] {
        let queue = declare(&bed, durable, &[]);
        let mut takers = Takers::new();
        takers.add(&bed.broker, &queue, None);
        for number in 0..300 {
            assert_eq!(Post::new(number).transient(&[&queue]), [Fate::Delivered]);
        }
        let expected: Vec<_> = (0..300).map(|number| (0, number)).collect();
        assert_eq!(takers.drain(), expected);
        assert_eq!(queue.counts(), QueueCounts { ready: 0, unacked: 0, consumers: 1 });
        assert_eq!(queue.keeping.memory.used(), 0);
    }
}

#[test]
fn consumers_with_credit_take_turns() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &[]);
    let mut takers = Takers::new();
    let [first, second] = [2, 4].map(|credit| takers.add(&bed.broker, &queue, Some(credit)));
    for number in 0..8 {
        Post::new(number).transient(&[&queue]);
    }
    let turns: Vec<_> = takers.drain().into_iter().map(|(taker, _)| taker).collect();
    assert_eq!(turns, [0, 1, 0, 1, 1, 1]);
    acknowledge(&bed.broker, &queue, &first, 0);
    assert_eq!(takers.drain(), [(0, 6)]);
    acknowledge(&bed.broker, &queue, &second, 3);
    assert_eq!(takers.drain(), [(1, 7)]);
    assert_eq!((first.held(), second.held()), (vec![2, 6], vec![1, 3, 4, 7]));
}

#[test]
fn higher_priorities_go_first_while_they_can_take() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &[]);
    let mut takers = Takers::new();
    for (priority, credit) in [(0, 9), (5, 1), (-1, 9), (5, 2)] {
        takers.make(&bed.broker, &queue, Some(credit), false, (priority, false)).unwrap();
    }
    for number in 0..5 {
        Post::new(number).transient(&[&queue]);
    }
    let turns: Vec<_> = takers.drain().into_iter().map(|(taker, _)| taker).collect();
    assert_eq!(turns, [1, 3, 3, 0, 0]);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &[]);
    let mut takers = Takers::new();
    let alone = takers.make(&bed.broker, &queue, None, true, (0, true)).unwrap();
    let again = takers.make(&bed.broker, &queue, None, true, (0, false));
    assert_eq!(again.err(), Some(ConsumeError::ExclusiveInUse));
    assert_eq!(bed.broker.cancel(&queue, alone.id, NOW_MS), Cancelled::Last);
    takers.make(&bed.broker, &queue, None, true, (0, false)).unwrap();
    let exclusive = takers.make(&bed.broker, &queue, None, true, (0, true));
    assert_eq!(exclusive.err(), Some(ConsumeError::ExclusiveInUse));
    assert_eq!(bed.broker.cancel(&queue, alone.id, NOW_MS), Cancelled::Unknown);
}

/// Whoever is called and goes before it dispatches leaves the turn to another one.
#[test]
fn a_consumer_that_leaves_between_call_and_dispatch_passes_the_turn_on() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    let mut takers = Takers::new();
    let all: Vec<_> = (0..3).map(|_| takers.add(&bed.broker, &queue, Some(5))).collect();
    Post::new(1).durable(&bed, &[&queue]);
    bed.sync();
    let mut last = None;
    for taker in &all[..2] {
        last = Some(leave(&bed.broker, &queue, taker));
    }
    assert_eq!(last, Some(Cancelled::Left));
    assert!(takers.drain().is_empty());
    assert!(all[2].answer_call(&bed.broker, &queue, NOW_MS), "it was called");
    assert_eq!(takers.drain(), [(2, 1)]);
}

/// The same for all that leave together.
#[test]
fn consumers_that_leave_together_pass_the_turn_on() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    let mut takers = Takers::new();
    let all: Vec<_> = (0..4).map(|_| takers.add(&bed.broker, &queue, Some(5))).collect();
    Post::new(1).durable(&bed, &[&queue]);
    bed.sync();
    let first_three = |id| all[..3].iter().any(|taker| taker.id == id);
    assert_eq!(bed.broker.cancel_all(&queue, first_three, NOW_MS), Cancelled::Left);
    assert_eq!(bed.broker.cancel_all(&queue, first_three, NOW_MS), Cancelled::Unknown);
    assert!(all[3].answer_call(&bed.broker, &queue, NOW_MS), "it was called");
    assert_eq!(takers.drain(), [(3, 1)]);
    assert_eq!(queue.counts(), QueueCounts { ready: 0, unacked: 1, consumers: 1 });
}

#[test]
fn what_is_returned_goes_out_again_where_it_was() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, Some(4));
    for number in 0..6 {
        if number % 2 == 0 {
            Post::new(number).durable(&bed, &[&queue]);
            bed.sync();
            taker.dispatch(&bed.broker, &queue, NOW_MS);
        } else {
            Post::new(number).transient(&[&queue]);
        }
    }
    assert_eq!(taker.held(), [0, 1, 2, 3]);
    let places: Vec<_> = [2, 1].map(|at| taker.give_up(at).unwrap().0).to_vec();
    bed.broker.return_places(&queue, &places);
    takers.drain();
    let other = takers.add(&bed.broker, &queue, Some(9));
    let got: Vec<_> = other.held();
    assert_eq!(got, [1, 2, 4, 5]);
    let redelivered: Vec<_> = takers.tape.lock().iter().map(|got| got.redelivered).collect();
    assert_eq!(redelivered, [true, true, false, false]);
}

/// Pipelined by one publisher, persistent and transient messages stay in order.
#[test]
fn a_transient_message_waits_for_its_publishers_records() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    bed.sync();
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, Some(9));
    let behind = Post::new(1).durable(&bed, &[&queue]).0;
    Post { behind, ..Post::new(2) }.transient(&[&queue]);
    let behind = Post::new(3).durable(&bed, &[&queue]).0;
    Post { behind, ..Post::new(4) }.transient(&[&queue]);
    assert_eq!(queue.counts().ready, 2);
    assert!(takers.drain().is_empty());
    bed.sync();
    assert!(taker.answer_call(&bed.broker, &queue, NOW_MS));
    let numbers: Vec<_> = takers.drain().into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // A record for another queue calls as well.
    let other = declare(&bed, true, &[]);
    let behind = Post::new(5).durable(&bed, &[&other]).0;
    Post { behind, ..Post::new(6) }.transient(&[&queue]);
    bed.sync();
    assert!(taker.answer_call(&bed.broker, &queue, NOW_MS));
    assert_eq!(takers.drain(), [(0, 6)]);
}

#[test]
fn a_full_buffer_is_asked_again_by_its_own_connection() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &[]);
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, None);
    taker.set_full(true);
    for number in 0..2_500 {
        Post::new(number).transient(&[&queue]);
    }
    taker.set_full(false);
    assert!(takers.drain().is_empty());
    taker.dispatch(&bed.broker, &queue, NOW_MS);
    assert!(takers.tape.lock().len() < 2_500, "one dispatch does not go on for ever");
    while taker.answer_call(&bed.broker, &queue, NOW_MS) {}
    let expected: Vec<_> = (0..2_500).map(|number| (0, number)).collect();
    assert_eq!(takers.drain(), expected);
}

#[test]
fn a_message_is_fetched_and_acknowledged_or_gone() {
    let mut bed = Bed::new();
    let who = Principal::anonymous();
    for durable in [false, true] {
        let queue = declare(&bed, durable, &[]);
        for number in 0..3 {
            if durable {
                Post::new(number).durable(&bed, &[&queue]);
            } else {
                Post::new(number).transient(&[&queue]);
            }
        }
        bed.sync();
        let broker = &bed.broker;
        let fetch = |no_ack| {
            let mut counters = LocalCounters::new(Protocol::Mqtt);
            broker
                .fetch(&who, &queue, ConnectionId(1), no_ack, &mut counters, NOW_MS, |got, left| {
                    (number(got.message.payload), got.redelivered, left, got.place)
                })
                .unwrap()
        };
        let first = fetch(false).unwrap();
        assert_eq!((first.0, first.1, first.2), (0, false, 2));
        let second = fetch(true).unwrap();
        assert_eq!((second.0, second.2), (1, 1));
        broker.return_places(&queue, &[first.3]);
        let again = fetch(true).unwrap();
        assert_eq!((again.0, again.1, again.2), (0, true, 1));
        assert_eq!(fetch(true).unwrap().0, 2);
        assert!(fetch(true).is_none());
        bed.sync();
        assert_eq!(queue.inner.lock().ledger.queue.live(), 0);
    }
}

#[test]
fn a_purge_takes_what_is_ready_and_nothing_else() {
    let mut bed = Bed::new();
    let who = Principal::anonymous();
    let queue = declare(&bed, true, &[]);
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, Some(2));
    for number in 0..3 {
        Post::new(number).durable(&bed, &[&queue]);
    }
    bed.sync();
    taker.answer_call(&bed.broker, &queue, NOW_MS);
    Post::new(4).transient(&[&queue]);
    let purge = |bed: &Bed| bed.broker.purge(&who, &queue, ConnectionId(1), || waiter().0, NOW_MS);
    bed.tape.refuse(Refusing::AtOnce);
    assert!(matches!(purge(&bed), Err(ConsumeError::Journal(_))));
    bed.tape.refuse(Refusing::Never);
    // The transient one is gone; what needed a record is back.
    assert_eq!(queue.counts(), QueueCounts { ready: 1, unacked: 2, consumers: 1 });
    assert_eq!(purge(&bed), Ok(Purged { count: 1, waits: true }));
    assert_eq!(purge(&bed), Ok(Purged { count: 0, waits: false }));
    assert_eq!(queue.counts(), QueueCounts { ready: 0, unacked: 2, consumers: 1 });
    bed.sync();
    acknowledge(&bed.broker, &queue, &taker, 0);
    bed.sync();
    assert_eq!(queue.inner.lock().ledger.queue.live(), 1);
}

#[test]
fn a_deleted_queue_tells_its_consumers_and_takes_nothing() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, Some(1));
    for number in 0..3 {
        Post::new(number).durable(&bed, &[&queue]);
    }
    bed.sync();
    taker.answer_call(&bed.broker, &queue, NOW_MS);
    bed.broker.submit(None, &crate::broker::record::Record::DeleteQueue { id: queue.id }).unwrap();
    let ended = queue.end();
    assert_eq!((ended.messages, ended.consumers.len()), (2, 1));
    ended.consumers.iter().for_each(|consumer| consumer.cancelled());
    assert!(taker.is_cancelled() && queue.is_gone());
    assert_eq!(Post::new(9).transient(&[&queue]), [Fate::Dropped(Drop::Gone)]);
    let (place, _) = taker.give_up(0).unwrap();
    bed.broker.return_places(&queue, &[place]);
    bed.broker.settle_places(&queue, &[place]);
    let refused = takers.make(&bed.broker, &queue, None, true, (0, false));
    assert_eq!(refused.err(), Some(ConsumeError::Gone));
    bed.sync();
    assert!(bed.broker.declared.by_id(queue.id).is_none());
    assert_eq!(bed.broker.metrics.state.queued.get(), 0);
}

/// Acknowledgements that the journal refuses are told it later.
#[test]
fn what_the_journal_refuses_to_settle_is_submitted_later() {
    let mut bed = Bed::new();
    let queue = declare(&bed, true, &[]);
    let mut takers = Takers::new();
    let taker = takers.add(&bed.broker, &queue, Some(5));
    for number in 0..2 {
        Post::new(number).durable(&bed, &[&queue]);
    }
    bed.sync();
    taker.answer_call(&bed.broker, &queue, NOW_MS);
    bed.tape.refuse(Refusing::AtOnce);
    acknowledge(&bed.broker, &queue, &taker, 0);
    bed.tape.refuse(Refusing::Never);
    acknowledge(&bed.broker, &queue, &taker, 0);
    bed.sync();
    assert_eq!(queue.inner.lock().ledger.queue.live(), 0);
}

/// Of many consumers who cannot take, the one that can again is found by its connection alone.
#[test]
fn a_thousand_consumers_without_credit_are_in_nobodys_way() {
    let bed = Bed::new();
    let queue = declare(&bed, false, &[]);
    let mut takers = Takers::new();
    let all: Vec<_> = (0..1_000).map(|_| takers.add(&bed.broker, &queue, Some(1))).collect();
    for number in 0..1_100 {
        Post::new(number).transient(&[&queue]);
    }
    takers.drain();
    for (number, at) in [500, 7, 999].into_iter().enumerate() {
        acknowledge(&bed.broker, &queue, &all[at], 0);
        assert_eq!(takers.drain(), [(at, 1_000 + u32::try_from(number).unwrap())]);
    }
}

/// With threads for publishers and consumers nothing is lost, doubled, or left lying while somebody could take it.
#[test]
fn threads_hand_every_message_to_exactly_one_consumer() {
    const PUBLISHERS: u32 = 3;
    const EACH: u32 = 2_000;
    let bed = Bed::new();
    for durable in [false, true] {
        let queue = declare(&bed, durable, &[]);
        let mut takers = Takers::new();
        let all: Vec<_> = [Some(1), Some(3), Some(50), None]
            .into_iter()
            .map(|credit| takers.add(&bed.broker, &queue, credit))
            .collect();
        let total = (PUBLISHERS * EACH) as usize;
        let done = || takers.tape.lock().len() >= total;
        std::thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let queue = &queue;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let number = publisher * EACH + number;
                        Post { length: 60, ..Post::new(number) }.transient(&[queue]);
                    }
                });
            }
            for taker in &all {
                let (broker, queue) = (&bed.broker, &queue);
                scope.spawn(move || {
                    while !done() || !taker.held().is_empty() {
                        let mut busy = taker.answer_call(broker, queue, NOW_MS);
                        while !taker.held().is_empty() {
                            acknowledge(broker, queue, taker, 0);
                            busy = true;
                        }
                        if !busy {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        let tape = takers.tape.lock();
        assert_eq!(tape.len(), total);
        assert!(tape.iter().all(|got| !got.redelivered));
        for publisher in 0..PUBLISHERS {
            let own = tape.iter().map(|got| got.number).filter(|n| n / EACH == publisher);
            assert!(own.eq(publisher * EACH..(publisher + 1) * EACH), "in order and once");
        }
        assert_eq!(queue.counts(), QueueCounts { ready: 0, unacked: 0, consumers: 4 });
    }
}
