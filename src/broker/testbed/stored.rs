//! What durable queues hold, read in tests. Part of `broker::testbed`.

use bytes::Bytes;

use crate::broker::Broker;
use crate::broker::queues::entry::Body;
use crate::broker::queues::queue::Queue;

/// The encoded message of a durable entry.
pub(in crate::broker) fn body(broker: &Broker, body: &Body) -> Bytes {
    match body {
        Body::Memory(stored) => stored.bytes.clone(),
        Body::Disk(reference) => broker.bodies.read(*reference).unwrap(),
        Body::Sent | Body::Scratch(_) => panic!("a durable body is not durable"),
    }
}

/// Position and encoded message of whatever waits in `queue`.
pub(in crate::broker) fn waiting(broker: &Broker, queue: &Queue) -> Vec<(u64, Bytes)> {
    let entries = queue.iter().filter(|(_, entry)| !entry.is_settled());
    entries.map(|(position, entry)| (position, body(broker, &entry.body))).collect()
}
