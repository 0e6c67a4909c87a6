//! What was promised before a cut, and what a restart finds. Part of the crash tests of `broker`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot::Receiver;

use super::super::Broker;
use super::super::consumer::Outcome;
use super::super::declared::queue::DeclaredQueue;
use super::super::logs::batch::records::{batches, records};
use super::super::message::Message;
use super::super::queues::entry::Body;
use super::super::queues::queue::Queue;
use super::super::sessions::session::Session;
use super::{CONNECTION, QUEUE, SESSIONS};
use crate::auth::principal::Principal;
use crate::model::topic::TopicFilter;

/// What a restart finds, by the messages' numbers.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) kept: Vec<u64>,
    pub(super) left: Vec<u64>,
    /// In the declared queue.
    pub(super) declared: Vec<u64>,
    pub(super) logged: Vec<u64>,
    pub(super) retained: BTreeMap<String, u64>,
}

/// What was promised before the cut.
#[derive(Debug, Default)]
pub(super) struct Promised {
    pub(super) published: BTreeSet<u64>,
    pub(super) retained: BTreeMap<String, u64>,
    /// Taken by the receiver, whether the record was synced or not.
    pub(super) taken: BTreeSet<u64>,
    pub(super) taken_for_good: BTreeSet<u64>,
    /// The same of the declared queue.
    pub(super) fetched: BTreeSet<u64>,
    pub(super) fetched_for_good: BTreeSet<u64>,
    pub(super) next: u64,
}

pub(super) enum Awaited {
    Publish { number: u64, retained: Option<&'static str>, told: Receiver<Outcome> },
    Taken { numbers: Vec<u64>, told: Receiver<Outcome> },
    Fetched { numbers: Vec<u64>, told: Receiver<Outcome> },
}

pub(super) fn number(payload: &[u8]) -> u64 {
    let text = std::str::from_utf8(payload).unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

pub(super) fn numbers(broker: &Broker, session: &Session) -> Vec<(u64, u64)> {
    numbers_in(broker, &session.inner.lock().queue)
}

pub(super) fn numbers_in(broker: &Broker, queue: &Queue) -> Vec<(u64, u64)> {
    let read = |body: &Body| match body {
        Body::Memory(stored) => stored.bytes.clone(),
        Body::Disk(reference) => broker.bodies.read(*reference).unwrap(),
        Body::Sent | Body::Scratch(_) => panic!("a durable body is not durable"),
    };
    queue
        .iter()
        .filter(|(_, entry)| !entry.is_settled())
        .map(|(position, entry)| {
            (position, number(Message::decode(&read(&entry.body)).unwrap().payload))
        })
        .collect()
}

pub(super) fn session(broker: &Broker, name: &str) -> Option<Arc<Session>> {
    broker.sessions.all().into_iter().find(|session| &*session.key.client_id == name)
}

/// The declared queue; it is bound to the topic tree.
pub(super) fn queue(broker: &Broker) -> Arc<DeclaredQueue> {
    let who = Principal::anonymous();
    broker.find_queue(&who, CONNECTION, QUEUE).expect("the declared queue is there")
}

pub(super) fn found(broker: &Broker) -> Found {
    let queued = |name: &str| -> Vec<u64> {
        let session = session(broker, name).expect("the session is there");
        numbers(broker, &session).into_iter().map(|(_, number)| number).collect()
    };
    let mut logged = Vec::new();
    if let Some(log) = broker.logs.table.by_name("/", "all") {
        let partition = &log.partitions[0];
        while (logged.len() as i64) < partition.end() {
            let slice = partition.read(logged.len() as i64, 1 << 20).unwrap();
            for record in batches(&slice.records).flat_map(|batch| records(batch).unwrap()) {
                let record = record.unwrap();
                assert_eq!(record.offset, logged.len() as i64);
                logged.push(number(record.value.unwrap()));
            }
        }
    }
    let all = TopicFilter::parse("#").unwrap();
    let retained = broker.retained.matching("/", &all).into_iter().filter_map(|slot| {
        let bytes = broker.retained.read(&slot, &slot.applied()?).unwrap().unwrap();
        Some((slot.topic.to_string(), number(Message::decode(&bytes).unwrap().payload)))
    });
    let retained = retained.collect();
    let queue = queue(broker);
    let declared = numbers_in(broker, &queue.inner.lock().ledger.queue);
    let declared = declared.into_iter().map(|(_, number)| number).collect();
    Found { kept: queued(SESSIONS[0]), left: queued(SESSIONS[1]), declared, logged, retained }
}

impl Found {
    pub(super) fn check(&self, promised: &Promised) {
        assert!(self.kept.is_sorted_by(|a, b| a < b), "in order and once: {self:?}");
        assert!(self.left.is_sorted_by(|a, b| a < b), "in order and once: {self:?}");
        let kept: BTreeSet<u64> = self.kept.iter().copied().collect();
        let left: BTreeSet<u64> = self.left.iter().copied().collect();
        let lost: Vec<_> = promised.published.difference(&kept).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert_eq!(self.logged, self.kept, "all or none");
        assert!(left.is_subset(&kept), "all or none");
        assert!(kept.difference(&left).all(|number| promised.taken.contains(number)));
        assert!(left.is_disjoint(&promised.taken_for_good));
        assert!(self.declared.is_sorted_by(|a, b| a < b), "in order and once: {self:?}");
        let declared: BTreeSet<u64> = self.declared.iter().copied().collect();
        assert!(declared.is_subset(&kept), "all or none");
        assert!(kept.difference(&declared).all(|number| promised.fetched.contains(number)));
        assert!(declared.is_disjoint(&promised.fetched_for_good));
        for (topic, number) in &promised.retained {
            assert!(self.retained.get(topic) >= Some(number), "{topic}: {self:?} {promised:?}");
        }
        assert!(self.retained.values().all(|number| kept.contains(number)), "all or none");
    }
}

impl Awaited {
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Publish { told, .. } | Self::Taken { told, .. } | Self::Fetched { told, .. } => {
                told.is_empty()
            }
        }
    }

    pub(super) fn collect(self, promised: &mut Promised) {
        match self {
            Self::Publish { number, retained, mut told } => {
                if told.try_recv().is_ok() {
                    promised.published.insert(number);
                    promised.retained.extend(retained.map(|topic| (topic.to_owned(), number)));
                }
            }
            Self::Taken { numbers, mut told } => {
                if told.try_recv().is_ok() {
                    promised.taken_for_good.extend(numbers);
                }
            }
            Self::Fetched { numbers, mut told } => {
                if told.try_recv().is_ok() {
                    promised.fetched_for_good.extend(numbers);
                }
            }
        }
    }
}
