//! Power cuts around every change of logs. Part of the crash tests of `broker`.
//!
//! One client does one thing after the other and waits for each. After a cut the logs are as the last answer left
//! them, or as what was under way would have: never between, and nothing deleted comes back.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::NOW_MS;
use super::run::{Failed, Running};
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::logs::settings::change::SettingsChange;
use crate::broker::logs::verbs::{CreateLog, LogError, LogRef};
use crate::store::disk::Disk;
use crate::store::disk::simulated::SimulatedDisk;

const NAMES: [&str; 2] = ["one", "two"];

#[derive(Clone, Debug)]
enum Step {
    Create { log: usize },
    Append { log: usize, length: usize },
    Cut { log: usize, back: i64 },
    Grow { log: usize },
    Configure { log: usize, retention_ms: u64 },
    Delete { log: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let log = || 0..NAMES.len();
    prop_oneof![
        3 => log().prop_map(|log| Step::Create { log }),
        12 => (log(), 0usize..1500).prop_map(|(log, length)| Step::Append { log, length }),
        3 => (log(), 0i64..4).prop_map(|(log, back)| Step::Cut { log, back }),
        1 => log().prop_map(|log| Step::Grow { log }),
        1 => (log(), 1u64..9).prop_map(|(log, retention_ms)| Step::Configure { log, retention_ms }),
        2 => log().prop_map(|log| Step::Delete { log }),
    ]
}

/// A log as its clients know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    partitions: usize,
    retention_ms: Option<u64>,
    start: usize,
    /// Of partition 0, by offset; those before the start too.
    values: Vec<Vec<u8>>,
}

type Model = BTreeMap<usize, Known>;

/// What `step` makes of the logs when it comes to pass.
fn after(model: &Model, step: &Step, value: &[u8]) -> Model {
    let mut model = model.clone();
    match step {
        Step::Create { log } => {
            let new = Known { partitions: 1, retention_ms: Some(604_800_000), ..Known::default() };
            model.entry(*log).or_insert(new);
        }
        Step::Append { log, .. } => {
            if let Some(known) = model.get_mut(log) {
                known.values.push(value.to_vec());
            }
        }
        Step::Cut { log, back } => {
            if let Some(known) = model.get_mut(log) {
                let to = known.values.len().saturating_sub(usize::try_from(*back).unwrap());
                known.start = known.start.max(to);
            }
        }
        Step::Grow { log } => {
            if let Some(known) = model.get_mut(log) {
                known.partitions += usize::from(known.partitions < 4);
            }
        }
        Step::Configure { log, retention_ms } => {
            if let Some(known) = model.get_mut(log) {
                known.retention_ms = Some(*retention_ms);
            }
        }
        Step::Delete { log } => drop(model.remove(log)),
    }
    model
}

/// The logs there are; records that were given up are taken from `like`, for nobody can read them.
fn found(broker: &Broker, like: &Model) -> Model {
    let mut model = Model::new();
    for (at, name) in NAMES.iter().enumerate() {
        let Some(log) = broker.logs.table.by_name("/", name) else { continue };
        let partition = &log.partitions[0];
        let start = usize::try_from(partition.log_start()).unwrap();
        let mut values: Vec<Vec<u8>> = like
            .get(&at)
            .map_or_else(Vec::new, |like| like.values.iter().take(start).cloned().collect());
        values.resize(start, Vec::new());
        while (values.len() as i64) < partition.end() {
            let slice = partition.read(values.len() as i64, 1 << 20).unwrap();
            for record in batches(&slice.records).flat_map(|batch| records(batch).unwrap()) {
                let record = record.unwrap();
                assert_eq!(record.offset, values.len() as i64);
                values.push(record.value.unwrap().to_vec());
            }
        }
        let (partitions, retention_ms) = (log.partitions.len(), log.settings.retention_ms);
        model.insert(at, Known { partitions, retention_ms, start, values });
    }
    model
}

/// Waits for a verb; `None` when the power went first.
fn wait<T>(disk: &SimulatedDisk, verb: impl Future<Output = T>) -> Option<T> {
    let mut verb = pin!(verb);
    let mut task = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = verb.as_mut().poll(&mut task) {
            return Some(done);
        }
        if disk.is_cut() {
            // What was told before it went counts.
            return match verb.poll(&mut task) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            };
        }
        std::thread::yield_now();
    }
}

/// Carries `step` out; `None` if nobody was told what became of it.
fn carry_out(
    broker: &Broker,
    disk: &SimulatedDisk,
    step: &Step,
    value: &[u8],
) -> Option<Result<(), LogError>> {
    let who = Principal::anonymous();
    match step {
        Step::Create { log } => {
            let spec = CreateLog {
                name: NAMES[*log].to_owned(),
                partitions: Some(1),
                config: Vec::new(),
                validate_only: false,
            };
            wait(disk, broker.create_log(&who, spec, NOW_MS)).map(|done| done.map(drop))
        }
        Step::Append { log, .. } => {
            let mut builder = BatchBuilder::default();
            let timestamp_ms = i64::try_from(NOW_MS).unwrap();
            builder.push(&NewRecord { timestamp_ms, key: None, value: Some(value), headers: &[] });
            let batch = builder.finish().unwrap();
            match broker.append_batch(&who, NAMES[*log], 0, &batch, (NOW_MS, NOW_MS)) {
                Ok(ack) => wait(disk, ack).map(|done| done.map(drop)),
                Err(error) => Some(Err(error)),
            }
        }
        Step::Cut { log, back } => {
            let end = broker.logs.table.by_name("/", NAMES[*log])?.partitions[0].end();
            let cuts = [(0, (end - back).max(0))];
            wait(disk, broker.delete_records(&who, NAMES[*log], &cuts)).map(|done| done.map(drop))
        }
        Step::Grow { log } => {
            let count = broker.logs.table.by_name("/", NAMES[*log])?.partition_count();
            wait(disk, broker.grow_log(&who, NAMES[*log], count + 1, false))
        }
        Step::Configure { log, retention_ms } => {
            let set = vec![("retention.ms".to_owned(), retention_ms.to_string())];
            let change = SettingsChange::Replace(set);
            wait(disk, broker.configure_log(&who, NAMES[*log], change, false))
        }
        Step::Delete { log } => wait(disk, broker.delete_log(&who, LogRef::Name(NAMES[*log]))),
    }
}

/// Every folder belongs to a log that is there.
fn check_folders(broker: &Broker, disk: &SimulatedDisk) {
    let folders = disk.folder("logs").unwrap().list_folders().unwrap();
    let known: Vec<String> =
        broker.logs.table.all().iter().map(|log| format!("{}-{}", log.id, log.name)).collect();
    assert!(folders.iter().all(|folder| known.contains(folder)), "{folders:?} {known:?}");
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn changes_of_logs_come_to_pass_or_not_at_all(
        lives in vec((0u64..400, vec(step(), 0..60), any::<u64>()), 1..6),
    ) {
        let mut disk = SimulatedDisk::default();
        // As the last answer left them, and as what nobody was told of would have.
        let mut models = vec![Model::new()];
        let mut number = 0u64;
        for (operations, plan, seed) in lives {
            disk.inject(|faults| faults.cut_after = Some(operations));
            let mut now = None;
            let lived = Running::start(&disk, |broker| {
                let fits = models.iter().find(|model| found(broker, model) == **model);
                let fits = fits.unwrap_or_else(|| panic!("{models:?}: {:?}", found(broker, &models[0])));
                now = Some(fits.clone());
                Ok(())
            });
            // A cut before the journal's first own batch changes nothing of what may be found.
            if let Some(model) = now {
                models = vec![model];
            }
            if let Err(Failed::Violation(violation)) = &lived {
                panic!("{violation}");
            }
            if let Ok(running) = lived {
                for step in plan {
                    number += 1;
                    let length = if let Step::Append { length, .. } = step { length } else { 0 };
                    let mut value = number.to_string().into_bytes();
                    value.resize(value.len().max(length), b'.');
                    let next = after(&models[0], &step, &value);
                    match carry_out(&running.broker, &disk, &step, &value) {
                        Some(Ok(())) => models = vec![next],
                        Some(Err(LogError::InDoubt)) | None => {
                            models.push(next);
                            if disk.is_cut() { break }
                            models.pop();
                        }
                        Some(Err(_)) => {}
                    }
                }
                running.stop();
            }
            disk = disk.cut(seed);
        }
        disk.inject(|faults| faults.cut_after = None);
        for _ in 0..2 {
            let running = Running::start(&disk, |broker| {
                assert!(models.iter().any(|model| found(broker, model) == *model));
                Ok(())
            }).unwrap();
            let disk = disk.clone();
            let broker = std::sync::Arc::clone(&running.broker);
            // The last checkpoint has taken away what no log has any more.
            running.stop();
            check_folders(&broker, &disk);
        }
    }
}
