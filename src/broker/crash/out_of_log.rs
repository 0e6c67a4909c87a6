//! A route out of a log under power cuts: every record of the log is in the sessions, the queue and the other log
//! once and in order, as far as the route's position says. Part of the crash tests of `broker`.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, proptest};
use tokio::sync::oneshot::Receiver;

use super::found::{Promised, found};
use super::run::{Failed, Running};
use super::{NOW_MS, Violation, cases};
use crate::broker::Broker;
use crate::broker::carry::reader::Reader;
use crate::broker::carry::{Beginning, OutRoute, Outgoing, Outlet, group_of};
use crate::broker::consumer::Outcome;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::record::Record;
use crate::broker::testbed::client::waiter;
use crate::metrics::label::RouteFailure;
use crate::model::qos::QoS;
use crate::store::disk::simulated::SimulatedDisk;

const SOURCE: &str = "source";

/// Out of the source under the topics that everything of these tests subscribes to.
struct Out;

impl OutRoute for Out {
    fn name(&self) -> &str {
        "out"
    }

    fn log(&self) -> &str {
        SOURCE
    }

    fn beginning(&self) -> Beginning {
        Beginning::Earliest
    }

    fn outlet(&self) -> Outlet<'_> {
        Outlet::Tree { qos: QoS::AtLeastOnce, retain: false }
    }

    /// Every third record has nowhere durable to go, every seventh no address.
    fn address(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), RouteFailure> {
        match outgoing.record.offset {
            offset if offset % 7 == 6 => return Err(RouteFailure::MissingValue),
            offset if offset % 3 == 2 => out.extend_from_slice(b"nobody"),
            _ => out.extend_from_slice(b"t/0"),
        }
        Ok(())
    }

    fn carried(&self, _: u64) {}

    fn failed(&self, _: RouteFailure, _: u64) {}
}

fn is_carried(offset: i64) -> bool {
    offset % 7 != 6 && offset % 3 != 2
}

/// What a client was told: as many records are in the source.
#[derive(Default)]
struct Appended {
    next: u64,
    told: Vec<(u64, Receiver<Outcome>)>,
    for_good: u64,
}

impl Appended {
    fn append(&mut self, broker: &Broker, count: usize) {
        let Some(log) = broker.logs.table.by_name("/", SOURCE) else { return };
        let mut builder = BatchBuilder::default();
        for _ in 0..count {
            self.next += 1;
            let value = format!("{}.", self.next);
            builder.push(&NewRecord {
                timestamp_ms: 1,
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            });
        }
        let batch = builder.finish().unwrap();
        let record = Record::Append { log: log.id, partition: 0, time_ms: NOW_MS, batch: &batch };
        let (told, outcome) = waiter();
        if broker.submit(Some(told), &record).is_ok() {
            self.told.push((self.next, outcome));
        }
    }

    fn collect(&mut self) {
        for (number, mut told) in self.told.drain(..) {
            if told.try_recv().is_ok() {
                self.for_good = self.for_good.max(number);
            }
        }
    }
}

/// The numbers in the source, by offset.
fn source(broker: &Broker) -> Vec<u64> {
    let Some(log) = broker.logs.table.by_name("/", SOURCE) else { return Vec::new() };
    let partition = &log.partitions[0];
    let mut numbers = Vec::new();
    while (numbers.len() as i64) < partition.end() {
        let slice = partition.read(numbers.len() as i64, 1 << 20).unwrap();
        for record in batches(&slice.records).flat_map(|batch| records(batch).unwrap()) {
            numbers.push(super::found::number(record.unwrap().value.unwrap()));
        }
    }
    numbers
}

/// What the restart finds: all or none of each record, and exactly what lies before the position.
fn check(broker: &Broker, for_good: u64) -> Result<(), Violation> {
    found(broker)?.check(&Promised::default())?;
    let source = source(broker);
    ensure!(source.is_sorted_by(|a, b| a < b), "in order and once: {source:?}");
    let last = source.last().copied().unwrap_or(0);
    ensure!(last >= for_good, "acknowledged and lost: {for_good}, but {last}");
    let position = broker
        .logs
        .table
        .by_name("/", SOURCE)
        .map_or(-1, |log| broker.groups.position("/", &group_of("out"), (log.id, 0)));
    let carried: Vec<u64> = source
        .iter()
        .enumerate()
        .map(|(at, number)| (at as i64, *number))
        .filter(|(offset, _)| *offset < position && is_carried(*offset))
        .map(|(_, number)| number)
        .collect();
    let kept = found(broker)?.kept;
    ensure!(kept == carried, "delivery and position in one: {kept:?} {carried:?}");
    Ok(())
}

/// Appends, and turns of the route after each.
fn plan() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((1usize..9, 0usize..4), 0..60)
}

fn reader(broker: &Arc<Broker>) -> Reader {
    Reader::new(Arc::clone(broker), Arc::new(Out), "/".into(), "here")
}

fn settle(running: &Running, appended: &Appended) {
    let mut reader = reader(running.broker());
    let broker = Arc::clone(running.broker());
    let end = |broker: &Broker| source(broker).len() as i64;
    for now_ms in (NOW_MS..).step_by(1_000) {
        reader.work(now_ms);
        let log = broker.logs.table.by_name("/", SOURCE).unwrap().id;
        let position = broker.groups.position("/", &group_of("out"), (log, 0));
        if position >= end(&broker) {
            break;
        }
        std::thread::yield_now();
    }
    // The position is seen before the rest of its batch: whatever comes after is applied after all of it.
    let (told, outcome) = waiter();
    broker.tell_when_applied(told).unwrap();
    outcome.blocking_recv().unwrap();
    check(&broker, appended.for_good).unwrap();
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_route_out_of_a_log_survives_power_cuts_at_any_moment(
        lives in vec((0u64..400, plan(), any::<u64>()), 1..6)
    ) {
        let mut disk = SimulatedDisk::default();
        let running = Running::start(&disk, |_| Ok(())).unwrap();
        running.prepare();
        running.broker().prepare_log("/", SOURCE, Some(1), NOW_MS);
        let (told, outcome) = waiter();
        running.broker().tell_when_applied(told).unwrap();
        outcome.blocking_recv().unwrap();
        let mut appended = Appended::default();
        let mut running = Some(running);
        for (operations, plan, seed) in lives {
            disk.inject(|faults| faults.cut_after = Some(operations));
            let lived = match running.take() {
                Some(running) => Ok(running),
                None => Running::start(&disk, |broker| check(broker, appended.for_good)),
            };
            if let Err(Failed::Violation(violation)) = &lived {
                panic!("{violation}");
            }
            if let Ok(running) = lived {
                let mut reader = reader(running.broker());
                for (at, (count, turns)) in plan.iter().enumerate() {
                    appended.append(running.broker(), *count);
                    for turn in 0..*turns {
                        reader.work(NOW_MS + (at * 10 + turn) as u64 * 50);
                        std::thread::yield_now();
                    }
                    if disk.is_cut() {
                        break;
                    }
                }
                drop(reader);
                running.stop();
                appended.collect();
            }
            disk = disk.cut(seed);
        }
        let running = Running::start(&disk, |broker| check(broker, appended.for_good)).unwrap();
        settle(&running, &appended);
        running.stop();
    }
}
