//! What durable queues hold, read in tests. Part of `broker::testbed`.

use bytes::Bytes;

use crate::broker::Broker;
use crate::broker::queues::entry::{Body, Entry};
use crate::broker::queues::queue::Queue;
use crate::model::ids::QueueId;

/// The encoded message of a durable entry.
pub(in crate::broker) fn body(broker: &Broker, body: &Body) -> Bytes {
    match body {
        Body::Memory(stored) => stored.bytes.clone(),
        Body::Disk(reference) => broker.bodies.read(*reference).unwrap(),
        Body::Sent | Body::Scratch(_) => panic!("a durable body is not durable"),
    }
}

/// Every entry of the queue of this id, those on disk only too, which stay there.
pub(in crate::broker) fn entries(broker: &Broker, id: QueueId, queue: &Queue) -> Vec<(u64, Entry)> {
    let mut all: Vec<_> =
        queue.iter_here().map(|(position, entry)| (position, entry.clone())).collect();
    let read = broker.paging.read(id, &queue.absent_from(0, usize::MAX)).unwrap();
    for (absent, page) in read {
        let page = page.expect("a page on disk only has a row");
        let entries = page.iter(absent.number);
        all.extend(entries.map(|(position, entry)| (position, entry.clone())));
    }
    all.sort_by_key(|(position, _)| *position);
    all
}

/// Position and encoded message of whatever waits in the queue of this id.
pub(in crate::broker) fn waiting(broker: &Broker, id: QueueId, queue: &Queue) -> Vec<(u64, Bytes)> {
    let entries = entries(broker, id, queue).into_iter().filter(|(_, entry)| !entry.is_settled());
    entries.map(|(position, entry)| (position, body(broker, &entry.body))).collect()
}
