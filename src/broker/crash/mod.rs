//! Power cuts under the real journal, applier, checkpoints and database, on a disk that forgets what was not
//! synced. Part of `broker`, for tests only.
//!
//! Whatever was acknowledged is there after the restart, in order, once, and in all its destinations or in none;
//! a cut may also fall into the restart itself.

mod promise;

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use crate::auth::acl::Acl;
use crate::auth::principal::Principal;
use crate::broker::apply::Applier;
use crate::broker::checkpoint::Checkpointer;
use crate::broker::connect::{Opening, SessionHandle};
use crate::broker::consumer::{Delivery, Waiter};
use crate::broker::engine::{Due, Engine, Observer};
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::logs::settings::LogSettings;
use crate::broker::publish::Publisher;
use crate::broker::publish::exchange::ExchangePublication;
use crate::broker::record::{Condition, OpenSession, Record};
use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
use crate::broker::sessions::registry::NOBODY;
use crate::broker::sessions::subscription::Subscription;
use crate::broker::subscribe::{RetainedWanted, Wish};
use crate::broker::testbed::client::waiter;
use crate::broker::testbed::{Bed, Deadlines, check_references, limits};
use crate::broker::{Broker, Parts, restore};
use crate::metrics::{LocalCounters, Metrics, Protocol};
use crate::model::ids::{ConnectionId, Lsn, QueueId, SetId};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::store::bodies::{BodyOptions, BodyStore};
use crate::store::disk::Disk;
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::journal::embedded::EmbeddedJournal;
use crate::store::journal::{Durability, JournalOptions};
use crate::store::partition::folders::LogFolders;
use crate::store::scratch::{ScratchOptions, ScratchStore};
use crate::store::tables::simulated;

use self::promise::{Awaited, Promised, found, number, numbers, queue, session};

const NOW_MS: u64 = 1_700_000_000_000;
/// Journal bytes between two checkpoints: a few publishes.
const CHECKPOINT_BYTES: u64 = 3_000;
/// Publishes not acknowledged yet, beyond which the publisher waits.
const OUTSTANDING_MAX: usize = 12;
const TOPICS: [&str; 3] = ["t/0", "t/1", "t/2"];
/// Everything goes to both; of one nothing is taken.
const SESSIONS: [&str; 2] = ["keeps", "takes"];
/// Everything goes there as well.
const QUEUE: &str = "queue";
const CONNECTION: ConnectionId = ConnectionId(1);

struct Silent;

impl Observer for Silent {
    fn begun(&self) {}
    fn done(&self, _: Lsn) {}
    fn failed(&self, _: &str) {}
    fn stuck(&self, error: &str) {
        panic!("{error}");
    }
}

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

struct Running {
    broker: Arc<Broker>,
    engine: Engine,
    journal: Arc<EmbeddedJournal<Waiter>>,
}

impl Running {
    /// As `app` starts a broker; fails when the power goes meanwhile. `check` sees what the restart found.
    fn start(disk: &SimulatedDisk, check: impl FnOnce(&Broker)) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let folder = |name: &str| disk.folder(name).map_err(|error| said(&error));
        let db = Arc::new(simulated::open(&folder("meta")?).map_err(|error| said(&error))?);
        let checkpoint = db.checkpoint().map_err(|error| said(&error))?;
        check_references(&db);
        let options = JournalOptions {
            segment_bytes: 8 * 1024,
            batch_bytes_max: 2 * 1024,
            durability: Durability::Fsync,
            spare_segments: 1,
            retry: Duration::from_millis(1),
            ..JournalOptions::default()
        };
        let opened = EmbeddedJournal::<Waiter>::open(
            folder("journal")?,
            options,
            restore::position(checkpoint.as_ref()),
        )
        .map_err(|error| said(&error))?;
        let segments = restore::segments(&db).map_err(|error| said(&error))?;
        let lengths: Vec<_> = segments.iter().map(|(id, row)| (*id, row.valid_len)).collect();
        let bodies = BodyOptions { segment_bytes: 2048, handles_max: 2 };
        let logs = LogFolders::new(folder("logs")?);
        let settings = LogSettings { segment_bytes: 4096, ..LogSettings::default() };
        let mut limits = limits();
        limits.queue.messages_max = 100_000;
        let parts = Parts {
            journal: opened.journal.clone(),
            bodies: BodyStore::open(folder("bodies")?, bodies, lengths)
                .map_err(|error| said(&error))?,
            scratch: ScratchStore::open(folder("scratch")?, ScratchOptions::default())
                .map_err(|error| said(&error))?,
            metrics: Arc::new(Metrics::new(0.0).unwrap()),
            retained: restore::retained(&db).map_err(|error| said(&error))?,
            logs: restore::logs(&db, logs, settings).map_err(|error| said(&error))?,
            acl: Acl::default(),
            limits,
            timers: Arc::<Deadlines>::default(),
        };
        let (broker, mut applier): (Arc<Broker>, Applier) =
            restore::broker(parts, &db, checkpoint.as_ref()).map_err(|error| said(&error))?;
        for batch in opened.replay {
            let batch = batch.map_err(|error| said(&error))?;
            applier.replay_batch(batch).unwrap();
        }
        restore::revive(&broker, &applier);
        check(&broker);
        let applied = applier.limits();
        let checkpointer = Checkpointer::new(Arc::clone(&broker), db, [7; 16], segments);
        let engine = Engine::start(
            Arc::clone(&broker),
            applier,
            checkpointer,
            Due { journal_bytes: CHECKPOINT_BYTES, memory_bytes: CHECKPOINT_BYTES },
            Arc::new(|| NOW_MS),
            Arc::new(Silent),
        )
        .unwrap();
        let running = Self { broker, engine, journal: opened.journal };
        if let Err(error) = running.journal.start(running.engine.sink()) {
            running.stop();
            return Err(error.to_string());
        }
        restore::resume(&running.broker, applied, NOW_MS);
        let filter = TopicFilter::parse("t/#").unwrap();
        running.broker.router.vhost("/").add_route(&filter, Arc::new(IntoLog));
        Ok(running)
    }

    fn stop(self) {
        // Without power it cannot write what waits.
        self.journal.close().ok();
        self.engine.stop();
    }

    /// Two durable sessions that nobody serves.
    fn prepare(&self) {
        for client_id in SESSIONS {
            let opening = Opening {
                client_id,
                clean_start: false,
                expiry_s: u32::MAX,
                receive_max: 10,
                will: None,
            };
            let who = Principal::anonymous();
            let (told, opened) = waiter();
            let handle: SessionHandle =
                self.broker.open(&who, opening, told, NOW_MS).unwrap().handle;
            opened.blocking_recv().unwrap();
            let options = Subscription { qos: QoS::ExactlyOnce, ..Subscription::default() };
            let filter = TopicFilter::parse("t/#").unwrap();
            let wish = Wish { filter, options, retained: RetainedWanted::Never };
            let (told, subscribed) = waiter();
            self.broker.subscribe(&who, &handle, &[wish], told).unwrap();
            subscribed.blocking_recv().unwrap();
        }
    }

    /// A durable queue that all messages go to, and that nobody consumes.
    fn prepare_queue(&self) {
        let (who, broker) = (Principal::anonymous(), &self.broker);
        let declaration = QueueDeclaration {
            name: QUEUE,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: &[],
        };
        let (told, declared) = waiter();
        broker.declare_queue(&who, CONNECTION, &declaration, || told, NOW_MS).unwrap();
        declared.blocking_recv().unwrap();
        let spec =
            BindingSpec { source: "amq.topic", destination: QUEUE, key: "t.*", arguments: &[] };
        let (told, bound) = waiter();
        broker.bind_queue(&who, CONNECTION, &spec, || told).unwrap();
        bound.blocking_recv().unwrap();
    }

    /// Takes `count` messages out of the declared queue, of which every other one goes back.
    fn fetch(&self, count: usize, told: Waiter) -> (Vec<u64>, bool) {
        let (who, broker, queue) = (Principal::anonymous(), &self.broker, queue(&self.broker));
        let mut counters = LocalCounters::new(Protocol::Amqp);
        let mut fetch = || {
            let show = |got: &Delivery<'_>, _| (got.place, number(got.message.payload));
            broker.fetch(&who, &queue, CONNECTION, false, &mut counters, NOW_MS, show)
        };
        // Without power nothing can be read.
        let got: Vec<_> = (0..count).map_while(|_| fetch().ok().flatten()).collect();
        let places = |rest: usize| -> Vec<_> {
            let chosen = got.iter().enumerate().filter(|(at, _)| at % 2 == rest);
            chosen.map(|(_, (place, _))| *place).collect()
        };
        broker.settle_places(&queue, &places(0));
        broker.return_places(&queue, &places(1));
        broker.submit_settled_places(&queue);
        let numbers = got.iter().step_by(2).map(|(_, number)| *number).collect();
        (numbers, broker.submit(Some(told), &Record::Barrier).is_ok())
    }

    /// Publishes and takes until the plan or the power ends.
    fn work(&self, disk: &SimulatedDisk, plan: &[Step], promised: &mut Promised) -> Vec<Awaited> {
        let broker = &self.broker;
        let takes = session(broker, SESSIONS[1]).unwrap();
        let counters = LocalCounters::new(Protocol::Mqtt);
        let mut publisher =
            Publisher::new(broker, Principal::anonymous(), "p".into(), NOBODY, counters);
        let mut awaited = Vec::new();
        for (at, step) in plan.iter().enumerate() {
            if let Some(before) = at.checked_sub(OUTSTANDING_MAX) {
                while awaited.get(before).is_some_and(Awaited::is_open) && !disk.is_cut() {
                    std::thread::yield_now();
                }
            }
            let (told, outcome) = waiter();
            let accepted = if step.take > 0 && step.retain {
                let (numbers, accepted) = self.fetch(step.take, told);
                promised.fetched.extend(&numbers);
                awaited.push(Awaited::Fetched { numbers, told: outcome });
                accepted
            } else if step.take > 0 {
                let waiting = numbers(broker, &takes).into_iter();
                let chosen: Vec<(u64, u64)> = waiting
                    .filter(|(_, number)| !promised.taken.contains(number))
                    .step_by(2)
                    .take(step.take)
                    .collect();
                let positions = chosen.iter().map(|(position, _)| *position).collect();
                let numbers: Vec<u64> = chosen.iter().map(|(_, number)| *number).collect();
                promised.taken.extend(&numbers);
                awaited.push(Awaited::Taken { numbers, told: outcome });
                broker.submit(Some(told), &Record::Settle { queue: takes.id, positions }).is_ok()
            } else {
                promised.next += 1;
                let number = promised.next;
                let mut payload = format!("{number}.").into_bytes();
                payload.resize(payload.len() + step.length, b'x');
                let topic = TOPICS[step.topic];
                let publication = Publication {
                    topic,
                    payload: &payload,
                    properties: &[],
                    qos: QoS::AtLeastOnce,
                    retain: step.retain,
                    expiry_s: None,
                };
                let retained = step.retain.then_some(topic);
                awaited.push(Awaited::Publish { number, retained, told: outcome });
                let told = || Some(told);
                if step.retain || step.length.is_multiple_of(2) {
                    let condition = Condition::None;
                    broker.publish(&mut publisher, &publication, condition, told, NOW_MS).is_ok()
                } else {
                    // The same through the other world.
                    let key = topic.replace('/', ".");
                    let publication = ExchangePublication {
                        exchange: "amq.topic",
                        keys: &[&key],
                        properties: &[0, 0],
                        payload: &payload,
                        persistent: true,
                        expires_in_ms: None,
                    };
                    broker.publish_to_exchange(&mut publisher, &publication, told, NOW_MS).is_ok()
                }
            };
            if !accepted {
                break;
            }
        }
        awaited
    }
}

/// A publish, or, with `take`, acknowledgements by the receiver.
#[derive(Clone, Debug)]
struct Step {
    topic: usize,
    retain: bool,
    length: usize,
    take: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let take = prop_oneof![4 => Just(0usize), 1 => 1usize..12];
    (0..TOPICS.len(), any::<bool>(), 0usize..400, take)
        .prop_map(|(topic, retain, length, take)| Step { topic, retain, length, take })
}

/// A life of the broker: how many operations of the disk it has, what it does, how much of what was not synced
/// the platter gets (in quarters).
fn life() -> impl Strategy<Value = (u64, Vec<Step>, usize)> {
    (0u64..500, vec(step(), 0..120), 0usize..5)
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
        let running = Running::start(&disk, |_| {}).unwrap();
        running.prepare();
        running.prepare_queue();
        let mut promised = Promised::default();
        let mut running = Some(running);
        for (operations, plan, quarters) in lives {
            disk.inject(|faults| faults.cut_after = Some(operations));
            let lived = match running.take() {
                Some(running) => Ok(running),
                None => Running::start(&disk, |broker| found(broker).check(&promised)),
            };
            if let Ok(running) = lived {
                let awaited = running.work(&disk, &plan, &mut promised);
                running.stop();
                awaited.into_iter().for_each(|one| one.collect(&mut promised));
            }
            disk = disk.crash(&mut |_, unsynced| unsynced * quarters / 4);
        }
        for _ in 0..2 {
            let running = Running::start(&disk, |broker| found(broker).check(&promised)).unwrap();
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
    assert!(crate::broker::checkpoint::Frozen::take(&bed.broker, &mut bed.applier).is_none());
    assert_eq!(view(&Bed::over(bed.tape.copy()).broker), live);
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
    let now_ms: crate::broker::engine::NowMs = Arc::new(|| NOW_MS);
    let due = Due { journal_bytes: 1 << 30, memory_bytes: 1 << 30 };
    let engine =
        Engine::start(broker, applier, checkpointer, due, now_ms, Arc::new(Panics)).unwrap();
    engine.stop();
    engine.stop();
}
