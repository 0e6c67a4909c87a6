//! Power cuts under the real journal, applier, checkpoints and database, on a disk that forgets what was not
//! synced. Part of `broker`, for tests only.
//!
//! Whatever was acknowledged is there after the restart, in order, once, and in all its destinations, of both
//! worlds, or in none; a cut may also fall into the restart itself.
//!
//! - [`run`] a broker; [`work`] its clients until the cut; [`exactly`] one that publishes with QoS 2
//! - [`found`] what a restart finds; [`consuming`] the same of a producer and a group
//! - [`steps`] the same scenario again and again, with a cut or a failure at every operation of the disk
//! - [`mutation`] brokers and disks that break the promise, each found out by those very checks
//! - [`logs`] the same for logs that are made, cut, changed and deleted
//! - [`out_of_log`] a route out of a log, in lives of its own

/// Says what was promised and is not so.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

mod consuming;
mod exactly;
mod found;
mod logs;
mod mutation;
mod out_of_log;
mod run;
mod steps;
mod work;

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use self::found::{Promised, found};
use self::run::{Failed, Running};
use super::Broker;
use super::engine::{Due, Engine, Observer};
use super::publish::Publisher;
use super::record::{Condition, OpenSession, Record};
use super::router::{PartitionChoice, Route, RouteInput, RouteTarget};
use super::sessions::registry::NOBODY;
use super::testbed::Bed;
use crate::auth::principal::Principal;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::ids::{Lsn, QueueId, SetId};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::store::disk::simulated::SimulatedDisk;

const NOW_MS: u64 = 1_700_000_000_000;
/// Journal bytes between two checkpoints: a few publishes.
const CHECKPOINT_BYTES: u64 = 3_000;
/// Steps not acknowledged yet, beyond which the next one waits.
const OUTSTANDING_MAX: usize = 12;
const TOPICS: [&str; 3] = ["t/0", "t/1", "t/2"];
/// Everything goes to both; of one nothing is taken.
const SESSIONS: [&str; 2] = ["keeps", "takes"];
/// Everything goes to it too.
const QUEUE: &str = "orders";
/// They come and go; to each goes one topic, the one of its number.
const EXTRAS: [&str; 2] = ["extra 0", "extra 1"];

/// What was promised and is not so.
type Violation = String;

struct IntoLog;

impl Route for IntoLog {
    fn name(&self) -> &str {
        "all"
    }

    fn target(&self, _: &RouteInput<'_>) -> Result<RouteTarget, String> {
        let partition = PartitionChoice::Explicit(0);
        Ok(RouteTarget { log: "all".to_owned(), partitions: Some(1), key: None, partition })
    }
}

/// What clients do.
#[derive(Clone, Debug)]
enum Step {
    Publish { topic: usize, retain: bool, length: usize, by_exchange: bool },
    Transient { length: usize },
    Take { count: usize },
    Fetch { count: usize },
    Bind { extra: usize },
    Delete { extra: usize },
    Produce { again: bool },
    Commit { put: bool },
    TakeIds,
    Exactly,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => (0..TOPICS.len(), any::<[bool; 2]>(), 0usize..400).prop_map(
            |(topic, [retain, by_exchange], length)| Step::Publish {
                topic, retain, length, by_exchange
            }
        ),
        1 => (0usize..400).prop_map(|length| Step::Transient { length }),
        3 => (1usize..12).prop_map(|count| Step::Take { count }),
        3 => (1usize..20).prop_map(|count| Step::Fetch { count }),
        2 => (0..EXTRAS.len()).prop_map(|extra| Step::Bind { extra }),
        1 => (0..EXTRAS.len()).prop_map(|extra| Step::Delete { extra }),
        8 => proptest::bool::weighted(0.2).prop_map(|again| Step::Produce { again }),
        4 => proptest::bool::weighted(0.2).prop_map(|put| Step::Commit { put }),
        1 => Just(Step::TakeIds),
        8 => Just(Step::Exactly),
        1 => Just(Step::Reconnect),
    ]
}

/// A life of the broker: how many operations of the disk it has, what it does, which cut ends it.
fn life() -> impl Strategy<Value = (u64, Vec<Step>, u64)> {
    (0u64..500, vec(step(), 0..120), any::<u64>())
}

fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 24, max_shrink_iters: 64, ..default },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_acknowledged_survives_power_cuts_at_any_moment(lives in vec(life(), 1..6)) {
        let mut disk = SimulatedDisk::default();
        let running = Running::start(&disk, |_| Ok(())).unwrap();
        running.prepare();
        let mut promised = Promised::default();
        let mut running = Some(running);
        for (operations, plan, seed) in lives {
            disk.inject(|faults| faults.cut_after = Some(operations));
            let lived = match running.take() {
                Some(running) => Ok(running),
                None => Running::start(&disk, |broker| found(broker)?.check(&promised)),
            };
            match lived {
                Ok(running) => {
                    let awaited = running.work(&disk, &plan, &mut promised, OUTSTANDING_MAX);
                    running.stop();
                    awaited.into_iter().for_each(|one| one.collect(&mut promised));
                    exactly::hear(&mut promised);
                }
                Err(Failed::Power(_)) => {}
                Err(Failed::Violation(violation)) => panic!("{violation}"),
            }
            disk = disk.cut(seed);
        }
        for _ in 0..2 {
            let running =
                Running::start(&disk, |broker| found(broker)?.check(&promised)).unwrap();
            running.stop();
        }
    }
}

/// A log that could not get its files is there all the same, now and after a replay on a disk that works again:
/// otherwise another one of its name would have taken its place meanwhile, and lost it then.
#[test]
fn whether_a_log_exists_does_not_depend_on_the_disk() {
    let mut bed = Bed::roomy();
    bed.resume(NOW_MS);
    let filter = TopicFilter::parse("t/#").unwrap();
    bed.broker.router.vhost("/").add_route(&filter, Arc::new(IntoLog));
    bed.disk.inject(|faults| faults.everything = true);
    let publish = |bed: &mut Bed, payload: &[u8]| {
        let counters = LocalCounters::new(Protocol::Mqtt);
        let who = Principal::anonymous();
        let mut publisher = Publisher::new(&bed.broker, who, "p".into(), NOBODY, counters);
        let publication = Publication {
            topic: "t/1",
            payload,
            properties: &[],
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry_s: None,
        };
        let condition = Condition::None;
        bed.broker.publish(&mut publisher, &publication, condition, || None, NOW_MS).unwrap();
        bed.sync();
    };
    publish(&mut bed, b"1");
    bed.disk.inject(|faults| faults.everything = false);
    publish(&mut bed, b"2");
    let view = |broker: &Broker| {
        let log = broker.logs.table.by_name("/", "all").expect("the log is there");
        let slice = log.partitions[0].read(0, 1 << 20).unwrap();
        (log.id, log.uuid, slice.high_watermark, slice.records)
    };
    let live = view(&bed.broker);
    assert_eq!(live.2, 2);
    assert_eq!(view(&Bed::over(bed.tape.copy()).broker), live);
    bed.checkpoint(NOW_MS);
    assert_eq!(view(&bed.restart(&mut |_, _| 0).broker), live);
}

/// A set that was defined and retired since the last checkpoint has had its number.
#[test]
fn the_number_of_a_retired_set_is_not_given_again() {
    let mut bed = Bed::new();
    let id = SetId(bed.broker.next_set_id());
    let define = Record::DefineSet { id, members: Vec::new() };
    bed.broker.submit(None, &define).unwrap();
    bed.broker.submit(None, &Record::RetireSet { id }).unwrap();
    bed.sync();
    assert!(Bed::over(bed.tape.copy()).broker.next_set_id() > id.0);
}

/// Two sessions of one key: the end of the older one was lost. Nobody finds it any more, so a restart ends it.
#[test]
fn of_two_sessions_of_a_key_the_newer_one_stays() {
    let mut bed = Bed::roomy();
    let open = |id| OpenSession {
        session: QueueId(id),
        vhost: "/",
        client_id: "c",
        epoch: 1,
        time_ms: NOW_MS,
        expiry_s: u32::MAX,
        receive_max: 10,
        will: None,
        replaces: None,
    };
    for id in [1, 2] {
        bed.broker.submit(None, &Record::OpenSession(open(id))).unwrap();
    }
    bed.sync();
    let mut bed = bed.restart(&mut |_, _| 0);
    bed.resume(NOW_MS);
    bed.sync();
    let left: Vec<_> = bed.broker.sessions.all().iter().map(|session| session.id).collect();
    assert_eq!(left, [QueueId(2)]);
}

/// When the checkpoint's thread is gone, whoever waits for a last checkpoint gives up.
#[test]
fn a_stop_does_not_wait_for_a_checkpoint_that_nobody_writes() {
    struct Panics;
    impl Observer for Panics {
        fn begun(&self) {
            panic!("as the test wants it");
        }
        fn done(&self, _: Lsn) {}
        fn failed(&self, _: &str) {}
        fn stuck(&self, _: &str) {}
    }
    let bed = Bed::new();
    let (broker, applier, checkpointer) = bed.into_parts();
    let now_ms: super::engine::NowMs = Arc::new(|| NOW_MS);
    let due = Due { journal_bytes: 1 << 30, memory_bytes: 1 << 30, retry: Duration::ZERO };
    let engine =
        Engine::start(broker, applier, checkpointer, due, now_ms, Arc::new(Panics)).unwrap();
    engine.stop();
    engine.stop();
}
