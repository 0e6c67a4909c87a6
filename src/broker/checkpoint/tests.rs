//! Disk given back: dead segments go, sparse ones are emptied, whatever fails loses nothing. Part of
//! `broker::checkpoint`.
//!
//! Segments of a testbed hold 1 KiB, so that a few messages fill one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::declared::place::Place;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::message::Message;
use crate::broker::publish::Publisher;
use crate::broker::queues::entry::Body;
use crate::broker::record::Condition;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Client, NOW_MS, publisher, waiter};
use crate::broker::testbed::stored::entries;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::ids::{ConnectionId, SHARD};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::store::bodies::{BodyRef, Lane, stored_bytes};
use crate::store::disk::simulated::Faults;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::bodies::{BodyKey, Live};
use crate::store::tables::body_pages::BodyPages;
use crate::store::tables::db::Db;

use super::{Checkpointer, Frozen};

const SEGMENT_BYTES: u64 = 1024;
const CONNECTION: ConnectionId = ConnectionId(1);
/// Digits of a number: what a message is made of.
const LENGTH: usize = 90;

fn publish(broker: &Broker, publisher: &mut Publisher, value: u32) {
    let payload = format!("{value:0LENGTH$}");
    let publication = Publication {
        topic: "a",
        payload: payload.as_bytes(),
        properties: &[],
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry_s: None,
    };
    broker.publish(publisher, &publication, Condition::None, || None, NOW_MS).unwrap();
}

/// A durable session that gets what is published.
fn client(bed: &mut Bed, id: &str) -> Client {
    let broker = Arc::clone(&bed.broker);
    let mut client = Client::open(&broker, id, true, u16::MAX, || bed.sync());
    client.subscribe(&broker, "a", QoS::AtLeastOnce, || bed.sync());
    client
}

/// A durable queue that gets it too.
fn queue(bed: &mut Bed) -> Arc<DeclaredQueue> {
    let (broker, who) = (Arc::clone(&bed.broker), Principal::anonymous());
    let declaration = QueueDeclaration {
        name: "q",
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: &[],
    };
    broker.declare_queue(&who, CONNECTION, &declaration, || waiter().0, NOW_MS).unwrap();
    bed.sync();
    let binding = BindingSpec { source: "amq.topic", destination: "q", key: "#", arguments: &[] };
    broker.bind(&who, CONNECTION, Entity::Queue, &binding, || waiter().0).unwrap();
    bed.sync();
    broker.declared.all().into_iter().next().unwrap()
}

/// Takes what is ready, and is done with what `is_done` says.
fn take(broker: &Broker, queue: &Arc<DeclaredQueue>, is_done: impl Fn(u32) -> bool) -> Vec<u32> {
    let (who, mut counters) = (Principal::anonymous(), LocalCounters::new(Protocol::Mqtt));
    let mut taken: Vec<(Place, u32)> = Vec::new();
    while let Some(got) = broker
        .fetch(&who, queue, CONNECTION, false, &mut counters, NOW_MS, |got, _| {
            (got.place, std::str::from_utf8(got.message.payload).unwrap().parse().unwrap())
        })
        .unwrap()
    {
        taken.push(got);
    }
    let done = taken.iter().filter(|(_, value)| is_done(*value));
    let places: Vec<Place> = done.map(|(place, _)| *place).collect();
    broker.settle_places(queue, &places);
    broker.submit_settled_places(queue);
    taken.into_iter().map(|(_, value)| value).collect()
}

/// Takes what there is, and acknowledges what `is_done` says.
fn read(broker: &Broker, client: &mut Client, is_done: impl Fn(u32) -> bool) -> Vec<u32> {
    let came = client.turn(broker, NOW_MS);
    for sent in came.iter().filter(|sent| is_done(sent.value())) {
        assert!(client.settle(broker, sent.packet_id));
    }
    came.iter().map(super::super::testbed::client::Sent::value).collect()
}

/// Bytes of the files of bodies.
fn on_disk(bed: &Bed) -> u64 {
    let folder = bed.body_folder();
    let names = folder.list().unwrap().into_iter();
    names.map(|name| folder.open(&name).unwrap().length().unwrap()).sum()
}

/// Where the bodies of durable entries are, by what they say.
fn places(bed: &Bed) -> BTreeMap<u32, BTreeSet<(u32, u32, u32)>> {
    let mut found: BTreeMap<u32, BTreeSet<_>> = BTreeMap::new();
    let mut note = |body: &Body| {
        let Body::Disk(place) = body else { panic!("{body:?} is not on disk") };
        let bytes = bed.broker.bodies.read(*place).unwrap();
        let message = Message::decode(&bytes).unwrap();
        let value = std::str::from_utf8(message.payload).unwrap().parse().unwrap();
        found.entry(value).or_default().insert((place.segment, place.offset, place.len));
    };
    for session in bed.broker.sessions.all() {
        let all = entries(&bed.broker, session.id, &session.inner.lock().queue);
        all.iter().for_each(|(_, entry)| note(&entry.body));
    }
    for queue in bed.broker.declared.all() {
        let all = entries(&bed.broker, queue.id, &queue.inner.lock().ledger.queue);
        all.iter().for_each(|(_, entry)| note(&entry.body));
    }
    found
}

/// Bytes of bodies that are still wanted, each once however many copies there are.
fn live(bed: &Bed) -> u64 {
    let places = places(bed);
    let bodies = places.values().filter_map(|places| places.first());
    bodies.map(|(_, _, len)| stored_bytes(*len)).sum()
}

/// A bed with eight full segments of which each holds one message of the session "slow" that still waits.
fn sparse() -> (Bed, Client) {
    let mut bed = Bed::roomy().compacting(0);
    let mut slow = client(&mut bed, "slow");
    let mut publisher = publisher(&bed.broker);
    (0..64).for_each(|value| publish(&bed.broker, &mut publisher, value));
    bed.sync();
    bed.checkpoint(NOW_MS);
    read(&Arc::clone(&bed.broker), &mut slow, |value| value % 8 != 3);
    bed.sync();
    bed.checkpoint(NOW_MS);
    (bed, slow)
}

fn waiting() -> Vec<u32> {
    (0..64).filter(|value| value % 8 == 3).collect()
}

/// The scale of 20 GB through segments of 64 MiB.
#[test]
fn a_stuck_message_in_a_session_and_one_in_a_queue_pin_no_disk() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let mut reader = client(&mut bed, "reader");
    let queue = queue(&mut bed);
    let mut publisher = publisher(&broker);
    let mut worst = 0;
    for round in 0..100 {
        for value in round * 30..(round + 1) * 30 {
            publish(&broker, &mut publisher, value);
        }
        bed.sync();
        bed.checkpoint(NOW_MS);
        read(&broker, &mut reader, |value| value % 971 != 5);
        take(&broker, &queue, |value| value % 1301 != 7);
        bed.sync();
        bed.checkpoint(NOW_MS);
        // Emptied by that one, given up by the next.
        bed.checkpoint(NOW_MS);
        worst = worst.max(on_disk(&bed).saturating_sub(2 * live(&bed)));
    }
    // The two segments that are written to, and one that is not quite half dead.
    assert!(worst <= 3 * SEGMENT_BYTES, "{worst}");
    let held: Vec<u32> = (0..3000).filter(|v| v % 971 == 5 || v % 1301 == 7).collect();
    assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), held);
    // Moved once or twice, and not again and again.
    let copied = broker.metrics.bodies.compacted_bytes.get();
    assert!((1..=3 * live(&bed)).contains(&copied), "{copied} of {}", live(&bed));
    assert!(broker.metrics.bodies.live_bytes.get() <= broker.metrics.bodies.bytes.get());
    bed.check_bodies();
    drop((broker, reader, queue, publisher));
    let bed = bed.restart(&mut |_, _| 0);
    assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), held);
}

#[test]
fn what_many_sessions_share_is_counted_once_and_copied_once() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let ids: Vec<String> = (0..40).map(|index| format!("s{index}")).collect();
    let mut clients: Vec<Client> = ids.iter().map(|id| client(&mut bed, id)).collect();
    let mut publisher = publisher(&broker);
    (0..64).for_each(|value| publish(&broker, &mut publisher, value));
    bed.sync();
    bed.checkpoint(NOW_MS);
    for client in &mut clients {
        read(&broker, client, |value| value % 8 != 3);
    }
    bed.sync();
    // One segment is looked at with each checkpoint, and emptied with the next.
    (0..12).for_each(|_| bed.checkpoint(NOW_MS));
    let places = places(&bed);
    assert_eq!(places.keys().copied().collect::<Vec<_>>(), waiting());
    assert!(places.values().all(|places| places.len() == 1), "{places:?}");
    assert!(on_disk(&bed) <= 2 * live(&bed) + 2 * SEGMENT_BYTES, "{}", on_disk(&bed));
    bed.check_bodies();
}

#[test]
fn a_piece_is_bounded_and_the_next_checkpoint_goes_on() {
    let (bed, slow) = sparse();
    let mut bed = bed.compacting(250);
    let before = on_disk(&bed);
    let mut copied = 0;
    for _ in 0..12 {
        bed.checkpoint(NOW_MS);
        let now = bed.broker.metrics.bodies.compacted_bytes.get();
        assert!(now - copied <= 250, "{}", now - copied);
        copied = now;
        bed.check_references();
    }
    assert!(on_disk(&bed) <= 3 * SEGMENT_BYTES, "{} of {before}", on_disk(&bed));
    assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), waiting());
    drop(slow);
}

#[test]
fn pages_that_the_checkpoint_writes_itself_name_the_copies_too() {
    let (bed, mut slow) = sparse();
    let mut bed = bed.compacting(1 << 20);
    let broker = Arc::clone(&bed.broker);
    let mut publisher = publisher(&broker);
    publish(&broker, &mut publisher, 64);
    bed.sync();
    // Frozen with the new one; meanwhile a message goes that is about to be moved.
    bed.checkpoint_step(NOW_MS);
    bed.checkpoint_step(NOW_MS);
    assert!(slow.settle(&broker, 4));
    bed.sync();
    bed.checkpoint_step(NOW_MS);
    bed.checkpoint(NOW_MS);
    bed.checkpoint(NOW_MS);
    let mut expected = waiting();
    expected.remove(0);
    expected.push(64);
    assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), expected);
    bed.check_bodies();
    assert!(on_disk(&bed) <= 3 * SEGMENT_BYTES, "{}", on_disk(&bed));
}

#[test]
fn a_failure_while_copying_leaves_segments_as_they_are_and_fails_no_checkpoint() {
    let faults: [fn(&mut Faults); 4] = [
        |faults| faults.creates = 1,
        |faults| faults.writes = 1,
        |faults| faults.syncs = 1,
        |faults| faults.folder_syncs = 1,
    ];
    for fault in faults {
        let (bed, slow) = sparse();
        let mut bed = bed.compacting(1 << 20);
        let (before, files) = (places(&bed), bed.body_folder().list().unwrap().len());
        bed.disk.inject(fault);
        bed.checkpoint(NOW_MS);
        assert_eq!(places(&bed), before);
        assert_eq!(bed.body_folder().list().unwrap().len(), files, "something was left behind");
        bed.checkpoint(NOW_MS);
        bed.checkpoint(NOW_MS);
        assert!(on_disk(&bed) <= 3 * SEGMENT_BYTES, "{}", on_disk(&bed));
        assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), waiting());
        bed.check_bodies();
        drop(slow);
    }
}

/// Where the message of the session "slow" is that says `value`.
fn place_of(bed: &Bed, value: u32) -> BodyRef {
    let (segment, offset, len) = *places(bed)[&value].first().unwrap();
    BodyRef { segment, offset, len }
}

fn damage(bed: &Bed, place: BodyRef) {
    let file = bed.body_folder().open(&format!("{:08x}.seg", place.segment)).unwrap();
    file.write_at(u64::from(place.offset) + 20, b"????").unwrap();
}

#[test]
fn a_corrupt_body_stays_where_it_is_and_is_dropped_loudly_when_its_turn_comes() {
    let (bed, slow) = sparse();
    let mut bed = bed.compacting(1 << 20);
    let broker = Arc::clone(&bed.broker);
    let place = place_of(&bed, 11);
    damage(&bed, place);
    for _ in 0..3 {
        bed.checkpoint(NOW_MS);
    }
    let name = format!("{:08x}.seg", place.segment);
    assert!(bed.body_folder().list().unwrap().contains(&name));
    assert!(bed.body_folder().list().unwrap().len() <= 3);
    bed.check_bodies();
    slow.close(&broker);
    bed.sync();
    let mut again = Client::open(&broker, "slow", true, 10, || bed.sync());
    let came = read(&broker, &mut again, |_| true);
    assert_eq!(came, waiting().into_iter().filter(|value| *value != 11).collect::<Vec<_>>());
    bed.sync();
    assert_eq!(again.handle.session.inner.lock().queue.live(), 0, "settled for good");
    bed.checkpoint(NOW_MS);
    bed.checkpoint(NOW_MS);
    assert!(!bed.body_folder().list().unwrap().contains(&name));
}

#[test]
fn a_corrupt_body_does_not_block_a_declared_queue() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let queue = queue(&mut bed);
    let mut publisher = publisher(&broker);
    (0..5).for_each(|value| publish(&broker, &mut publisher, value));
    bed.sync();
    bed.checkpoint(NOW_MS);
    for place in [0, 3].map(|value| place_of(&bed, value)) {
        damage(&bed, place);
    }
    assert_eq!(take(&broker, &queue, |_| true), [1, 2, 4]);
    bed.sync();
    assert_eq!(queue.inner.lock().ledger.queue.live(), 0, "settled for good");
}

#[test]
fn segments_of_an_earlier_build_are_counted_once() {
    let (bed, slow) = sparse();
    let mut bed = bed.compacting(1 << 20);
    let db: Arc<Db> = bed.db();
    let mut write = CheckpointWrite::new(db.checkpoint().unwrap().unwrap());
    let mut rows = crate::broker::restore::segments(&db).unwrap();
    for (segment, row) in &mut rows {
        row.live = Live::Uncounted;
        write.bodies.put(BodyKey { shard: SHARD, segment: *segment }, *row);
    }
    db.for_each::<BodyPages>(|key, _| {
        write.body_pages.delete(key);
        Ok(())
    })
    .unwrap();
    db.commit(&write).unwrap();
    let (broker, _, checkpointer) = bed.checkpointing();
    *checkpointer = Checkpointer::new(Arc::clone(broker), db, [7; 16], rows).compacting(1 << 20);
    bed.checkpoint(NOW_MS);
    bed.check_references();
    bed.checkpoint(NOW_MS);
    bed.checkpoint(NOW_MS);
    assert!(on_disk(&bed) <= 3 * SEGMENT_BYTES, "{}", on_disk(&bed));
    assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), waiting());
    drop(slow);
}

/// A commit that reports a failure may have taken effect: the next attempt starts from what the database says.
#[test]
fn an_attempt_whose_end_is_unknown_loses_no_body() {
    for takes_effect in [false, true] {
        let (bed, mut slow) = sparse();
        let mut bed = bed.compacting(1 << 20);
        let broker = Arc::clone(&bed.broker);
        // Something of the session is frozen, so that its page is written by both attempts.
        assert!(slow.settle(&broker, 4));
        let mut publisher = publisher(&broker);
        publish(&broker, &mut publisher, 64);
        bed.sync();
        let db = bed.db();
        let (broker, applier, checkpointer) = bed.checkpointing();
        let mut frozen = Frozen::take(broker, applier).unwrap();
        let (write, _, _) = checkpointer.gather(&mut frozen, NOW_MS + 1).unwrap();
        assert!(write.body_pages.deletes.len() > 4, "nothing was to be moved");
        if takes_effect {
            db.commit(&write).unwrap();
        }
        let written = checkpointer.write(&mut frozen, NOW_MS + 2).unwrap();
        Checkpointer::settle(broker, written);
        bed.check_references();
        let mut expected = waiting();
        expected.remove(0);
        expected.push(64);
        for _ in 0..3 {
            bed.checkpoint(NOW_MS + 3);
            assert_eq!(places(&bed).into_keys().collect::<Vec<_>>(), expected);
        }
        bed.check_bodies();
        assert!(on_disk(&bed) <= 3 * SEGMENT_BYTES, "{}", on_disk(&bed));
    }
}

/// Readers look a place up, let go of the lock, and read: the place may be another by then, and its segment gone.
#[test]
fn readers_find_every_body_while_segments_come_and_go() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let mut session = client(&mut bed, "reader");
    let queue = queue(&mut bed);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let (reading, taken) = (Arc::clone(&broker), Arc::clone(&queue));
    let thread = std::thread::spawn(move || {
        let mut seen = (Vec::new(), Vec::new());
        let mut last = false;
        loop {
            seen.0.extend(read(&reading, &mut session, |value| value % 50 != 0));
            seen.1.extend(take(&reading, &taken, |value| value % 70 != 0));
            if last {
                return seen;
            }
            last = over.load(Ordering::Acquire);
        }
    });
    let mut publisher = publisher(&broker);
    for round in 0..60 {
        for value in round * 10..(round + 1) * 10 {
            publish(&broker, &mut publisher, value);
        }
        bed.sync();
        bed.checkpoint(NOW_MS);
    }
    is_over.store(true, Ordering::Release);
    let (by_session, by_queue) = thread.join().unwrap();
    assert_eq!(by_session, (0..600).collect::<Vec<_>>());
    assert_eq!(by_queue, (0..600).collect::<Vec<_>>());
    bed.sync();
    (0..3).for_each(|_| bed.checkpoint(NOW_MS));
    bed.check_bodies();
    assert!(bed.broker.bodies.current(Lane::Fresh).is_some());
}
