//! An idempotent producer, a group that reads behind it, and producer ids. Part of the crash tests of `broker`.
//!
//! The producer sends again whatever it was not told of, as clients do after a reconnect, with at most five batches
//! under way: each must be in the log once, in order, at the offset that is its sequence.

use super::NOW_MS;
use super::found::number;
use super::work::Awaited;
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::record::{Committed, GroupRecord, LogChange, Record};
use crate::broker::testbed::client::waiter;
use crate::broker::testbed::produced::sequenced;
use crate::broker::testbed::{Violation, ensure};
use crate::model::ids::LogId;

pub(super) const PRODUCED: &str = "produced";
const PRODUCER: i64 = 7;
const GROUP: &str = "readers";
/// Batches of one producer under way.
pub(super) const IN_FLIGHT_MAX: usize = 5;

/// What producer and group were told, and what they asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pledged {
    /// Batches that the producer knows to be durable.
    pub(super) produced: i32,
    /// Highest offset committed for good, and highest sent.
    pub(super) committed: (i64, i64),
    /// The same of the group's membership.
    pub(super) put: (u64, u64),
    /// Producer ids given away for good.
    pub(super) ids: i64,
}

/// What a restart finds of them.
#[derive(Debug, Default)]
pub(super) struct Consumed {
    produced: Vec<u64>,
    committed: i64,
    put: u64,
    ids: i64,
}

fn log(broker: &Broker) -> LogId {
    broker.logs.table.by_name("/", PRODUCED).expect("the log is there").id
}

fn batch(sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    let value = format!("{sequence}.");
    let record =
        NewRecord { timestamp_ms: 1, key: None, value: Some(value.as_bytes()), headers: &[] };
    builder.push(&record);
    sequenced(builder.finish().unwrap(), PRODUCER, 0, sequence)
}

/// Sends the batch with this sequence. `None` when the journal takes nothing any more.
pub(super) fn produce(broker: &Broker, sequence: i32) -> Option<Awaited> {
    let (told, outcome) = waiter();
    let batch = batch(sequence);
    let record = Record::Append { log: log(broker), partition: 0, time_ms: NOW_MS, batch: &batch };
    broker.submit(Some(told), &record).ok()?;
    Some(Awaited::Produced { sequence, told: outcome })
}

/// The group moves on, and is another now and then.
pub(super) fn commit(broker: &Broker, put: bool, pledged: &mut Pledged) -> Option<Awaited> {
    let (told, outcome) = waiter();
    let (vhost, group, time_ms) = ("/", GROUP, NOW_MS);
    if put {
        pledged.put.1 += 1;
        let snapshot = &pledged.put.1.to_le_bytes()[..];
        let record = GroupRecord::Put { vhost, group, time_ms, snapshot };
        broker.submit(Some(told), &Record::Group(record)).ok()?;
        return Some(Awaited::Put { value: pledged.put.1, told: outcome });
    }
    pledged.committed.1 += 1;
    let offset = pledged.committed.1;
    let (log, metadata) = (log(broker), "here");
    let committed = Committed { log, partition: 0, offset, leader_epoch: -1, metadata };
    let record = GroupRecord::Commit { vhost, group, time_ms, offsets: vec![committed] };
    broker.submit(Some(told), &Record::Group(record)).ok()?;
    Some(Awaited::Committed { offset, told: outcome })
}

/// Gives producer ids away.
pub(super) fn take_ids(broker: &Broker) -> Option<Awaited> {
    let (told, outcome) = waiter();
    let next = broker.logs.next_producer() + 10;
    broker.submit(Some(told), &Record::LogChange(LogChange::Producers { next })).ok()?;
    Some(Awaited::Ids { next, told: outcome })
}

pub(super) fn consumed(broker: &Broker) -> Consumed {
    let who = Principal::anonymous();
    let partition = broker
        .partition(&who, crate::broker::logs::verbs::LogRef::Name(PRODUCED), 0)
        .expect("the log is there");
    let mut produced = Vec::new();
    while (produced.len() as i64) < partition.end() {
        let slice = partition.read(produced.len() as i64, 1 << 20).unwrap();
        for record in batches(&slice.records).flat_map(|batch| records(batch).unwrap()) {
            produced.push(number(record.unwrap().value.unwrap()));
        }
    }
    let applied = broker.groups.applied.lock();
    let snapshot = applied.get("/", GROUP).and_then(|group| group.snapshot.clone());
    let put = snapshot.map_or(0, |(_, it)| u64::from_le_bytes(it[..].try_into().unwrap()));
    let committed = applied.offset("/", GROUP, (partition.log(), 0)).map_or(0, |it| it.offset);
    Consumed { produced, committed, put, ids: broker.logs.next_producer() }
}

impl Consumed {
    pub(super) fn check(&self, pledged: &Pledged) -> Result<(), Violation> {
        let expected: Vec<u64> = (0..self.produced.len() as u64).collect();
        ensure!(self.produced == expected, "each once, in order: {:?}", self.produced);
        ensure!(self.produced.len() >= pledged.produced as usize, "{self:?} {pledged:?}");
        let (told, asked) = pledged.committed;
        ensure!((told..=asked).contains(&self.committed), "{self:?} {pledged:?}");
        let (told, asked) = pledged.put;
        ensure!((told..=asked).contains(&self.put), "{self:?} {pledged:?}");
        ensure!(self.ids >= pledged.ids, "{self:?} {pledged:?}");
        Ok(())
    }
}
