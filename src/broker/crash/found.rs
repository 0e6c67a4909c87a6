//! What a restart finds, against what was promised before the cut. Part of the crash tests of `broker`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::consuming::{Consumed, Pledged, consumed};
use super::exactly::{EXACT, Sender};
use super::{EXTRAS, QUEUE, SESSIONS};
use crate::broker::Broker;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::exchanges::hits::Hits;
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::message::Message;
use crate::broker::queues::queue::Queue;
use crate::broker::sessions::session::Session;
use crate::broker::testbed::stored::waiting;
use crate::broker::testbed::{Violation, ensure};
use crate::model::ids::QueueId;
use crate::model::topic::TopicFilter;

/// What a restart finds, by the messages' numbers.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the session that keeps everything.
    pub(super) kept: Vec<u64>,
    /// In the session that acknowledges some.
    left: Vec<u64>,
    /// In the queue whose consumers acknowledge some.
    queued: Vec<u64>,
    logged: Vec<u64>,
    retained: BTreeMap<String, u64>,
    /// Queues that come and go, and whether they are bound.
    pub(super) extras: BTreeMap<usize, (Vec<u64>, bool)>,
    consumed: Consumed,
}

/// What was promised before the cut.
#[derive(Debug, Default)]
pub(super) struct Promised {
    pub(super) published: BTreeSet<u64>,
    pub(super) retained: BTreeMap<String, u64>,
    /// Messages that no restart keeps.
    pub(super) transient: BTreeSet<u64>,
    /// Taken by a receiver, whether the record was synced or not.
    pub(super) taken: BTreeSet<u64>,
    pub(super) taken_for_good: BTreeSet<u64>,
    /// The same at the queue.
    pub(super) fetched: BTreeSet<u64>,
    pub(super) fetched_for_good: BTreeSet<u64>,
    /// What went into each life of a queue that comes and goes.
    pub(super) lives: BTreeMap<usize, Vec<Vec<u64>>>,
    /// Such queues whose client was told that they are declared and bound, and that nobody deleted since.
    pub(super) bound: BTreeSet<usize>,
    pub(super) next: u64,
    pub(super) pledged: Pledged,
    /// Publishes with QoS 2.
    pub(super) sender: Sender,
    /// The disk failed: a producer may have been refused.
    pub(super) lenient: bool,
}

/// The number at the front of a payload.
pub(super) fn number(payload: &[u8]) -> u64 {
    let text = std::str::from_utf8(payload).unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

/// Positions and numbers of what waits.
pub(super) fn numbers(broker: &Broker, id: QueueId, queue: &Queue) -> Vec<(u64, u64)> {
    waiting(broker, id, queue)
        .iter()
        .map(|(position, bytes)| (*position, number(Message::decode(bytes).unwrap().payload)))
        .collect()
}

pub(super) fn session(broker: &Broker, name: &str) -> Option<Arc<Session>> {
    broker.sessions.all().into_iter().find(|session| &*session.key.client_id == name)
}

/// The queue of a name, as the restart made it.
pub(super) fn queue(broker: &Broker, name: &str) -> Option<Arc<DeclaredQueue>> {
    broker.exchanges.vhost("/").unwrap().queue(name)
}

fn in_queue(broker: &Broker, queue: &DeclaredQueue) -> Vec<u64> {
    let inner = queue.inner.lock();
    numbers(broker, queue.id, &inner.ledger.queue).into_iter().map(|(_, number)| number).collect()
}

/// Whether messages of topic `t/{extra}` go into the queue.
fn is_bound(broker: &Broker, extra: usize) -> bool {
    let mut hits = Hits::default();
    broker.exchanges.vhost("/").unwrap().route_from_tree(&format!("t.{extra}"), || None, &mut hits);
    hits.queues.iter().any(|queue| *queue.name == *EXTRAS[extra])
}

/// # Errors
/// What was made before the first cut is not there.
pub(super) fn found(broker: &Broker) -> Result<Found, Violation> {
    let in_session = |name: &str| -> Result<Vec<u64>, Violation> {
        let session = session(broker, name).ok_or_else(|| format!("session {name} is lost"))?;
        let inner = session.inner.lock();
        let waiting = numbers(broker, session.id, &inner.queue);
        Ok(waiting.into_iter().map(|(_, number)| number).collect())
    };
    let queued = queue(broker, QUEUE).ok_or_else(|| format!("queue {QUEUE} is lost"))?;
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
    let extras = EXTRAS.iter().enumerate().filter_map(|(extra, name)| {
        let queue = queue(broker, name)?;
        Some((extra, (in_queue(broker, &queue), is_bound(broker, extra))))
    });
    Ok(Found {
        kept: in_session(SESSIONS[0])?,
        left: in_session(SESSIONS[1])?,
        queued: in_queue(broker, &queued),
        logged,
        retained: retained.collect(),
        extras: extras.collect(),
        consumed: consumed(broker),
    })
}

/// Each once; those of QoS 2 come again after a cut, so they have an order of their own.
fn in_order(place: &[u64]) -> bool {
    let (exact, others): (Vec<u64>, Vec<u64>) = place.iter().partition(|one| **one >= EXACT);
    [exact, others].iter().all(|part| part.is_sorted_by(|a, b| a < b))
}

impl Found {
    pub(super) fn check(&self, promised: &Promised) -> Result<(), Violation> {
        for place in [&self.kept, &self.left, &self.queued] {
            ensure!(in_order(place), "in order and once: {place:?}");
        }
        let kept: BTreeSet<u64> = self.kept.iter().copied().collect();
        let left: BTreeSet<u64> = self.left.iter().copied().collect();
        let queued: BTreeSet<u64> = self.queued.iter().copied().collect();
        let lost: Vec<_> = promised.published.difference(&kept).collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        ensure!(kept.is_disjoint(&promised.transient), "kept what is not durable: {kept:?}");
        ensure!(self.logged == self.kept, "all or none: {:?} {:?}", self.logged, self.kept);
        ensure!(left.is_subset(&kept), "all or none: {left:?} {kept:?}");
        let gone: Vec<_> = kept.difference(&left).collect();
        ensure!(
            gone.iter().all(|number| promised.taken.contains(number)),
            "gone and not taken: {gone:?}"
        );
        ensure!(left.is_disjoint(&promised.taken_for_good), "taken and back: {left:?}");
        ensure!(queued.is_subset(&kept), "all or none: {queued:?} {kept:?}");
        let gone: Vec<_> = kept.difference(&queued).collect();
        ensure!(
            gone.iter().all(|number| promised.fetched.contains(number)),
            "gone and not fetched: {gone:?}"
        );
        ensure!(queued.is_disjoint(&promised.fetched_for_good), "fetched and back: {queued:?}");
        for (topic, number) in &promised.retained {
            ensure!(
                self.retained.get(topic) >= Some(number),
                "retained at {topic}: {number}, but {:?}",
                self.retained
            );
        }
        let whole = self.retained.values().all(|number| kept.contains(number));
        ensure!(whole, "all or none: {:?}", self.retained);
        self.check_extras(promised, &kept)?;
        self.consumed.check(&promised.pledged)
    }

    /// A queue that came and went holds all that one of its lives was given and that came to pass elsewhere.
    fn check_extras(&self, promised: &Promised, kept: &BTreeSet<u64>) -> Result<(), Violation> {
        for extra in &promised.bound {
            let is_bound = self.extras.get(extra).is_some_and(|(_, is_bound)| *is_bound);
            ensure!(is_bound, "declared, bound and lost: {extra} {:?}", self.extras);
        }
        for (extra, (contents, _)) in &self.extras {
            let Some(first) = contents.first() else { continue };
            let lives = promised.lives.get(extra).into_iter().flatten();
            let life = lives.into_iter().find(|life| life.contains(first));
            let Some(life) = life else {
                return Err(format!("nobody published {first} into queue {extra}"));
            };
            let expected: Vec<u64> =
                life.iter().copied().filter(|number| kept.contains(number)).collect();
            ensure!(*contents == expected, "all or none: {extra} {contents:?} {expected:?}");
        }
        Ok(())
    }
}
