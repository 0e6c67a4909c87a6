//! Broker and model side by side. Part of the simulation of `broker`.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Log, Model, Session};
use super::others::GROUP;
use super::{CLIENTS, FILTERS, LOGS, QUEUES, ROUTED, TOPICS};
use crate::broker::Broker;
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::logs::partition::Partition;
use crate::broker::message::Message;
use crate::broker::sessions::session::Inner;
use crate::broker::testbed::snapshot::{check_live, snapshot};
use crate::broker::testbed::stored::{body, entries, waiting};
use crate::broker::testbed::{Bed, Violation, ensure};
use crate::model::ids::QueueId;
use crate::model::topic::TopicFilter;

/// Offsets are certainly kept so long, and certainly gone after so long, ms.
const OFFSETS_KEPT_MS: u64 = 10_000;
const OFFSETS_GONE_MS: u64 = 12_000;

#[derive(Debug, PartialEq, Eq)]
struct SessionView {
    subscriptions: BTreeMap<String, u8>,
    queue: Vec<(u64, u8)>,
    inbound: BTreeSet<u16>,
    has_will: bool,
}

/// What clients can find out, sooner or later.
#[derive(Debug, PartialEq, Eq)]
struct View {
    sessions: BTreeMap<String, SessionView>,
    queues: BTreeMap<String, Vec<u64>>,
    retained: BTreeMap<String, u64>,
    logs: BTreeMap<String, (usize, Vec<u64>)>,
}

fn parse(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap_or(0)
}

fn number(message: &[u8]) -> u64 {
    parse(Message::decode(message).unwrap().payload)
}

fn session(broker: &Broker, id: QueueId, inner: &Inner) -> SessionView {
    let subscriptions = inner.state.subscriptions.iter();
    let entries = entries(broker, id, &inner.queue).into_iter();
    let entries = entries.filter(|(_, entry)| !entry.is_settled());
    SessionView {
        subscriptions: subscriptions
            .map(|(filter, options)| (filter.to_string(), options.qos as u8))
            .collect(),
        queue: entries
            .map(|(_, entry)| (number(&body(broker, &entry.body)), entry.qos() as u8))
            .collect(),
        inbound: inner.state.inbound.clone(),
        has_will: inner.state.will.is_some(),
    }
}

fn log(partition: &Partition) -> (usize, Vec<u64>) {
    let start = partition.log_start();
    let mut values = Vec::new();
    let mut from = start;
    while from < partition.end() {
        let slice = partition.read(from, 1 << 20).unwrap();
        for record in batches(&slice.records).flat_map(|batch| records(batch).unwrap()) {
            let record = record.unwrap();
            assert_eq!(record.offset, from);
            values.push(parse(record.value.unwrap()));
            from += 1;
        }
    }
    (usize::try_from(start).unwrap(), values)
}

fn of_broker(broker: &Broker) -> View {
    let mut sessions = BTreeMap::new();
    for one in broker.sessions.all() {
        let inner = one.inner.lock();
        if inner.state.exists {
            sessions.insert(one.key.client_id.to_string(), session(broker, one.id, &inner));
        }
    }
    let queues = broker.declared.all();
    let queues = queues.iter().filter(|queue| queue.inner.lock().exists).map(|queue| {
        let inner = queue.inner.lock();
        let waiting = waiting(broker, queue.id, &inner.ledger.queue);
        (queue.name.to_string(), waiting.iter().map(|(_, bytes)| number(bytes)).collect())
    });
    let all = TopicFilter::parse("#").unwrap();
    let retained = broker.retained.matching("/", &all).into_iter().filter_map(|slot| {
        let bytes = broker.retained.read(&slot, &slot.applied()?).unwrap().unwrap();
        Some((slot.topic.to_string(), number(&bytes)))
    });
    let logs = broker.logs.table.all();
    let logs = logs.iter().map(|one| (one.name.clone(), log(&one.partitions[0])));
    // A route makes its log before anybody knows that the message is one of QoS 2 that came before.
    let is_seen = |(name, held): &(String, (usize, Vec<u64>))| {
        name != LOGS[ROUTED] || *held != (0, Vec::new())
    };
    View {
        queues: queues.collect(),
        retained: retained.collect(),
        logs: logs.filter(is_seen).collect(),
        sessions,
    }
}

fn expected_session(session: &Session) -> SessionView {
    let subscriptions = session.subscriptions.iter();
    SessionView {
        subscriptions: subscriptions.map(|(at, qos)| (FILTERS[*at].to_owned(), *qos)).collect(),
        queue: session.queue.iter().map(|(number, qos, _)| (*number, *qos)).collect(),
        inbound: session.inbound.clone(),
        has_will: session.will.is_some(),
    }
}

fn expected_log(log: &Log) -> (usize, Vec<u64>) {
    (log.start, log.values[log.start..].to_vec())
}

fn of_model(model: &Model) -> View {
    let sessions = (0..CLIENTS)
        .filter_map(|who| Some((format!("c{who}"), expected_session(model.sessions.get(&who)?))));
    let queues = model.queues.iter().map(|(at, messages)| {
        (QUEUES[*at].to_owned(), messages.iter().map(|one| one.number).collect())
    });
    let retained = model.retained.iter();
    View {
        sessions: sessions.collect(),
        queues: queues.collect(),
        retained: retained.map(|(at, one)| (TOPICS[*at].to_owned(), one.number)).collect(),
        logs: model
            .logs
            .iter()
            .map(|(at, one)| (LOGS[*at].to_owned(), expected_log(one)))
            .collect(),
    }
}

/// The broker is what the model is.
pub(super) fn check(broker: &Broker, model: &Model) -> Result<(), Violation> {
    let (found, expected) = (of_broker(broker), of_model(model));
    ensure!(found == expected, "found {found:#?}\nexpected {expected:#?}");
    check_live(broker);
    let applied = broker.groups.applied.lock();
    for (at, name) in LOGS.iter().enumerate() {
        let Some(log) = broker.logs.table.by_name("/", name) else { continue };
        let found = applied.offset("/", GROUP, (log.id, 0)).map(|offset| offset.offset);
        let known = model.offsets.get(&at);
        let age_ms = known.map_or(u64::MAX, |(_, then_ms)| model.now_ms - then_ms);
        let expected = known.map(|(offset, _)| *offset).filter(|_| age_ms < OFFSETS_GONE_MS);
        let fits = found == expected || (found.is_none() && age_ms >= OFFSETS_KEPT_MS);
        ensure!(fits, "offset in {name}: {found:?}, not {expected:?}, {age_ms} ms old");
    }
    Ok(())
}

/// A replay of the whole journal gives the same state.
pub(super) fn check_replay(bed: &Bed) -> Result<(), Violation> {
    let (live, replayed) = (snapshot(bed), snapshot(&Bed::over(bed.tape.copy())));
    ensure!(live == replayed, "live {live:#?}\nreplayed {replayed:#?}");
    Ok(())
}
