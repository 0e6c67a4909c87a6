//! Everything durable of a broker, to be compared. Part of `broker::testbed`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::broker::Broker;
use crate::broker::apply::AppliedLimits;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::declared::settings::QueueSettings;
use crate::broker::groups::applied::AppliedGroups;
use crate::broker::logs::batch::header::BatchHeader;
use crate::broker::logs::batch::records::batches;
use crate::broker::logs::partition::Partition;
use crate::broker::queues::entry::Entry;
use crate::broker::record::SetMember;
use crate::broker::sessions::session::{Durable, Session, SessionKey};
use crate::broker::testbed::Bed;
use crate::broker::testbed::stored::{body, entries};
use crate::broker::via::Via;
use crate::model::topic::TopicFilter;
use crate::store::journal::Position;
use crate::store::tables::partitions::PartitionRow;

#[derive(Debug, PartialEq)]
struct Queued {
    position: u64,
    order: u64,
    flags: u8,
    subscription_ids: Vec<u32>,
    message: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct SessionView {
    key: SessionKey,
    state: Durable,
    head: u64,
    tail: u64,
    bytes: u64,
    queue: Vec<Queued>,
}

#[derive(Debug, PartialEq)]
struct DeclaredView {
    vhost: String,
    name: String,
    settings: QueueSettings,
    head: u64,
    tail: u64,
    bytes: u64,
    /// Of payloads; what `reject-publish` judges by.
    durable_bytes: u64,
    queue: Vec<(Queued, u64, u32, Option<Via>)>,
}

#[derive(Debug, PartialEq)]
struct LogView {
    vhost: String,
    name: String,
    uuid: [u8; 16],
    created_ms: u64,
    config: Vec<(String, String)>,
    /// As a checkpoint would keep them but for the files' lengths, and the batches themselves.
    partitions: Vec<(PartitionRow, Bytes)>,
}

/// What must be the same after a replay.
#[derive(Debug, PartialEq)]
pub(in crate::broker) struct Snapshot {
    next: Position,
    limits: AppliedLimits,
    sets: BTreeMap<u64, Vec<SetMember>>,
    sessions: BTreeMap<u64, SessionView>,
    declared: BTreeMap<u64, DeclaredView>,
    bindings: BTreeSet<(String, String, String)>,
    logs: BTreeMap<u32, LogView>,
    retained: BTreeMap<String, (u64, Vec<u8>)>,
    groups: AppliedGroups,
    next_producer: i64,
}

fn queued(broker: &Broker, position: u64, entry: &Entry) -> Queued {
    Queued {
        position,
        order: entry.order,
        flags: entry.durable_flags(),
        subscription_ids: entry.subscription_ids.as_deref().unwrap_or_default().to_vec(),
        message: body(broker, &entry.body).to_vec(),
    }
}

fn declared(broker: &Broker, queue: &DeclaredQueue) -> DeclaredView {
    let inner = queue.inner.lock();
    let all = entries(broker, queue.id, &inner.ledger.queue);
    let entries = all.iter().map(|(position, entry)| {
        let via = entry.via.as_deref().cloned();
        (queued(broker, *position, entry), entry.expires_ms, entry.payload_bytes, via)
    });
    DeclaredView {
        vhost: queue.vhost.to_string(),
        name: queue.name.to_string(),
        settings: queue.settings.clone(),
        head: inner.ledger.queue.head(),
        tail: inner.ledger.queue.tail(),
        bytes: inner.ledger.queue.bytes(),
        durable_bytes: inner.ledger.durable_bytes(),
        queue: entries.collect(),
    }
}

fn session(broker: &Broker, session: &Session) -> SessionView {
    let inner = session.inner.lock();
    let all = entries(broker, session.id, &inner.queue);
    let queue = all.iter().map(|(position, entry)| queued(broker, *position, entry));
    SessionView {
        key: session.key.clone(),
        state: inner.state.clone(),
        head: inner.queue.head(),
        tail: inner.queue.tail(),
        bytes: inner.queue.bytes(),
        queue: queue.collect(),
    }
}

fn bindings(broker: &Broker) -> BTreeSet<(String, String, String)> {
    let applied = broker.exchanges.applied.lock();
    let all = applied.bindings();
    all.map(|one| (one.source.clone(), one.destination.clone(), one.key.clone())).collect()
}

fn logs(broker: &Broker) -> BTreeMap<u32, LogView> {
    let view = |log: &crate::broker::logs::log::LogState| LogView {
        vhost: log.vhost.clone(),
        name: log.name.clone(),
        uuid: log.uuid,
        created_ms: log.created_ms,
        config: log.config.clone(),
        partitions: log
            .partitions
            .iter()
            .map(|partition| {
                let row = PartitionRow { segments: Vec::new(), ..partition.freeze().unwrap() };
                (row, records(partition))
            })
            .collect(),
    };
    broker.logs.table.all().iter().map(|log| (log.id.0, view(log))).collect()
}

/// All that can be read; a read ends with a segment.
fn records(partition: &Partition) -> Bytes {
    let (mut all, mut from) = (Vec::new(), partition.log_start());
    while from < partition.end() {
        let slice = partition.read(from, 1 << 30).unwrap();
        let last = batches(&slice.records).last().and_then(BatchHeader::read);
        from = last.expect("there is more").last_offset() + 1;
        all.extend_from_slice(&slice.records);
    }
    all.into()
}

fn retained(broker: &Broker) -> BTreeMap<String, (u64, Vec<u8>)> {
    let slots = ["#", "$d/#"].map(|text| {
        let filter = TopicFilter::parse(text).unwrap();
        broker.retained.matching("/", &filter)
    });
    let value = |slot: &crate::broker::retained::slot::Slot| {
        let value = slot.applied()?;
        let bytes = broker.retained.read(slot, &value).unwrap().unwrap();
        Some((slot.topic.to_string(), (value.lsn.0, bytes.to_vec())))
    };
    slots.iter().flatten().filter_map(|slot| value(slot)).collect()
}

/// The durable state of `bed`, checked against itself.
pub(in crate::broker) fn snapshot(bed: &Bed) -> Snapshot {
    let broker = &bed.broker;
    let all = broker.sessions.all();
    let durable = all.iter().filter(|session| session.inner.lock().state.exists);
    let sessions: BTreeMap<u64, SessionView> =
        durable.map(|one| (one.id.0, session(broker, one))).collect();
    let queues = broker.declared.all();
    let declared = queues.iter().filter(|queue| queue.inner.lock().exists);
    let sets = bed.applier.sets().iter().map(|(id, members)| (id.0, members.to_vec()));
    let snapshot = Snapshot {
        next: bed.applier.next(),
        limits: bed.applier.limits(),
        sets: sets.collect(),
        sessions,
        declared: declared.map(|queue| (queue.id.0, self::declared(broker, queue))).collect(),
        bindings: bindings(broker),
        logs: logs(broker),
        retained: retained(broker),
        groups: broker.groups.applied.lock().clone(),
        next_producer: broker.logs.next_producer(),
    };
    assert_eq!(snapshot.retained.len(), broker.retained.len());
    let in_sessions = snapshot.sessions.values().map(|session| session.queue.len());
    let in_queues = snapshot.declared.values().map(|queue| queue.queue.len());
    let queued: usize = in_sessions.chain(in_queues).sum();
    assert_eq!(broker.metrics.state.queued.get(), i64::try_from(queued).unwrap());
    assert!(snapshot.sessions.keys().all(|id| *id < broker.sessions.next_id()));
    assert!(snapshot.declared.keys().all(|id| *id < broker.sessions.next_id()));
    assert!(snapshot.logs.keys().all(|id| *id < broker.logs.next_id()));
    let offsets = snapshot.groups.iter().flat_map(|(_, _, group)| group.offsets.keys());
    assert!(offsets.map(|(log, _)| log.0).all(|log| snapshot.logs.contains_key(&log)));
    assert!(snapshot.sets.keys().all(|id| *id < broker.next_set_id()));
    snapshot
}

/// What runs ahead of the journal has been caught up with: nothing is under way.
pub(in crate::broker) fn check_live(broker: &Broker) {
    for session in broker.sessions.all() {
        let inner = session.inner.lock();
        if !inner.state.exists || inner.ended {
            continue;
        }
        assert_eq!(inner.owner_epoch, inner.state.epoch);
        assert!(inner.subscriptions.keys().eq(inner.state.subscriptions.keys()));
        assert!(inner.cursor <= inner.queue.tail() && inner.sent <= inner.queue.tail());
    }
}
