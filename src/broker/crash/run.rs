//! A broker as `app` runs it, on a disk that forgets. Part of the crash tests of `broker`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;

use super::consuming::{IN_FLIGHT_MAX, PRODUCED, commit, produce, take_ids};
use super::found::{Promised, found, number, numbers, queue, session};
use super::{
    CHECKPOINT_BYTES, EXTRAS, IntoLog, NOW_MS, OUTSTANDING_MAX, QUEUE, SESSIONS, Step, TOPICS,
};
use crate::auth::acl::Acl;
use crate::auth::principal::Principal;
use crate::broker::apply::Applier;
use crate::broker::checkpoint::Checkpointer;
use crate::broker::connect::{Opening, SessionHandle};
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::engine::{Due, Engine, Observer};
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::logs::settings::LogSettings;
use crate::broker::paging::StoredPages;
use crate::broker::publish::Publisher;
use crate::broker::publish::exchange::ExchangePublication;
use crate::broker::record::{Condition, Record};
use crate::broker::sessions::registry::NOBODY;
use crate::broker::sessions::subscription::Subscription;
use crate::broker::subscribe::{RetainedWanted, Wish};
use crate::broker::testbed::client::waiter;
use crate::broker::testbed::{Deadlines, check_references, limits};
use crate::broker::{Broker, Parts, restore};
use crate::metrics::{LocalCounters, Metrics, Protocol};
use crate::model::ids::{ConnectionId, Lsn};
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
use crate::store::tables::on_disk;

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

/// Something that a client waits for.
pub(super) enum Awaited {
    Publish {
        number: u64,
        retained: Option<&'static str>,
        told: Receiver<Outcome>,
    },
    Taken {
        numbers: Vec<u64>,
        told: Receiver<Outcome>,
    },
    Fetched {
        numbers: Vec<u64>,
        told: Receiver<Outcome>,
    },
    Bound {
        extra: usize,
        told: Vec<Receiver<Outcome>>,
    },
    Deleted {
        extra: usize,
    },
    /// A message that was promised to nobody.
    Transient,
    Produced {
        sequence: i32,
        told: Receiver<Outcome>,
    },
    Committed {
        offset: i64,
        told: Receiver<Outcome>,
    },
    Put {
        value: u64,
        told: Receiver<Outcome>,
    },
    Ids {
        next: i64,
        told: Receiver<Outcome>,
    },
}

pub(super) struct Running {
    pub(super) broker: Arc<Broker>,
    engine: Engine,
    journal: Arc<EmbeddedJournal<Waiter>>,
}

impl Running {
    /// As `app` starts a broker; fails when the power goes meanwhile. `check` sees what the restart found.
    pub(super) fn start(disk: &SimulatedDisk, check: impl FnOnce(&Broker)) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let folder = |name: &str| disk.folder(name).map_err(|error| said(&error));
        let db = Arc::new(on_disk::open(&folder("meta")?).map_err(|error| said(&error))?);
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
            pages: Arc::new(StoredPages(Arc::clone(&db))),
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
        restore::keep_page_sums(&db).map_err(|error| said(&error))?;
        restore::revive(&broker, &applier).map_err(|error| said(&error))?;
        check(&broker);
        let applied = applier.limits();
        let checkpointer = Checkpointer::new(Arc::clone(&broker), db, [7; 16], segments);
        let engine = Engine::start(
            Arc::clone(&broker),
            applier,
            checkpointer,
            Due {
                journal_bytes: CHECKPOINT_BYTES,
                memory_bytes: CHECKPOINT_BYTES,
                retry: Duration::from_millis(1),
            },
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

    pub(super) fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub(super) fn stop(self) {
        self.engine.hasten();
        // Without power it cannot write what waits.
        self.journal.close().ok();
        self.engine.stop();
    }

    /// Two durable sessions that nobody serves, a bound queue, and a log.
    pub(super) fn prepare(&self) {
        self.broker.prepare_log("/", PRODUCED, Some(1), NOW_MS);
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
        for told in self.bind(QUEUE, "t.#").expect("the journal takes it") {
            told.blocking_recv().unwrap();
        }
    }

    /// Declares a durable queue and binds it to `amq.topic`; gives what is still to be waited for, `None` when the
    /// power is gone.
    fn bind(&self, name: &str, key: &str) -> Option<Vec<Receiver<Outcome>>> {
        let who = Principal::anonymous();
        let declaration = QueueDeclaration {
            name,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: &[],
        };
        let (declared, binding) = (waiter(), waiter());
        let spec = BindingSpec { source: "amq.topic", destination: name, key, arguments: &[] };
        let (broker, told) = (&self.broker, || declared.0);
        let queue = broker.declare_queue(&who, CONNECTION, &declaration, told, NOW_MS).ok()?;
        let bound = broker.bind(&who, CONNECTION, Entity::Queue, &spec, || binding.0).ok()?;
        let waits = [(queue.waits, declared.1), (bound.waits, binding.1)];
        Some(waits.into_iter().filter(|(waits, _)| *waits).map(|(_, told)| told).collect())
    }

    /// Publishes, takes, declares and deletes until the plan or the power ends.
    pub(super) fn work(
        &self,
        disk: &SimulatedDisk,
        plan: &[Step],
        promised: &mut Promised,
    ) -> Vec<Awaited> {
        let mut work = Work::begin(&self.broker, promised);
        let mut awaited = Vec::new();
        for (at, step) in plan.iter().enumerate() {
            if let Some(before) = at.checked_sub(OUTSTANDING_MAX) {
                while awaited.get(before).is_some_and(Awaited::is_open) && !disk.is_cut() {
                    std::thread::yield_now();
                }
            }
            work.under_way = awaited.iter().filter(|one| one.is_producing()).count();
            let Some(one) = work.step(self, step, promised) else { break };
            awaited.push(one);
        }
        awaited
    }
}

fn begin_life(lives: &mut Vec<Vec<u64>>) -> usize {
    lives.push(Vec::new());
    lives.len() - 1
}

/// The clients of one life of the broker.
struct Work<'a> {
    broker: &'a Broker,
    device: Publisher,
    channel: Publisher,
    /// Which life of a queue that comes and goes it is in, and whether messages go into it.
    lives: BTreeMap<usize, (usize, bool)>,
    /// What the producer sends next.
    sequence: i32,
    /// Its batches that it was not told of.
    under_way: usize,
}

impl<'a> Work<'a> {
    fn begin(broker: &'a Broker, promised: &mut Promised) -> Self {
        let publisher = |client_id: &str| {
            let counters = LocalCounters::new(Protocol::Mqtt);
            Publisher::new(broker, Principal::anonymous(), client_id.into(), NOBODY, counters)
        };
        let mut current = BTreeMap::new();
        for (extra, (contents, is_bound)) in found(broker).extras {
            let lives = promised.lives.entry(extra).or_default();
            let known = lives.iter().position(|life| life.iter().any(|one| contents.contains(one)));
            // Of an empty one nobody can tell, and it makes no difference.
            current.insert(extra, (known.unwrap_or_else(|| begin_life(lives)), is_bound));
        }
        Self {
            broker,
            device: publisher("p"),
            channel: publisher(""),
            lives: current,
            sequence: promised.pledged.produced,
            under_way: 0,
        }
    }

    /// `None` when the journal takes nothing any more.
    fn step(&mut self, running: &Running, step: &Step, promised: &mut Promised) -> Option<Awaited> {
        match *step {
            Step::Publish { topic, retain, length, by_exchange } => {
                self.publish(topic, retain && !by_exchange, length, by_exchange, promised)
            }
            Step::Transient { length } => self.publish_transient(length, promised),
            Step::Take { count } => self.take(count, promised),
            Step::Fetch { count } => self.fetch(count, promised),
            Step::Bind { extra } => {
                let lives = promised.lives.entry(extra).or_default();
                let life = match self.lives.get(&extra) {
                    Some((life, _)) => *life,
                    None => begin_life(lives),
                };
                let told = running.bind(EXTRAS[extra], &format!("t.{extra}"))?;
                // Messages go there although its client was not told.
                self.lives.insert(extra, (life, true));
                Some(Awaited::Bound { extra, told })
            }
            Step::Delete { extra } => {
                let (who, name) = (Principal::anonymous(), EXTRAS[extra]);
                let (broker, told) = (self.broker, || waiter().0);
                broker.delete_queue(&who, CONNECTION, name, false, false, told, NOW_MS).ok()?;
                self.lives.remove(&extra);
                Some(Awaited::Deleted { extra })
            }
            Step::Produce { .. } if self.under_way >= IN_FLIGHT_MAX => Some(Awaited::Transient),
            Step::Produce { again: true } if self.sequence > promised.pledged.produced => {
                produce(self.broker, self.sequence - 1)
            }
            Step::Produce { .. } => {
                let sent = produce(self.broker, self.sequence)?;
                self.sequence += 1;
                Some(sent)
            }
            Step::Commit { put } => commit(self.broker, put, &mut promised.pledged),
            Step::TakeIds => take_ids(self.broker),
        }
    }

    fn payload(promised: &mut Promised, length: usize) -> (u64, Vec<u8>) {
        promised.next += 1;
        let number = promised.next;
        let mut payload = format!("{number}.").into_bytes();
        payload.resize(payload.len() + length, b'x');
        (number, payload)
    }

    fn publish(
        &mut self,
        topic: usize,
        retain: bool,
        length: usize,
        by_exchange: bool,
        promised: &mut Promised,
    ) -> Option<Awaited> {
        let (number, payload) = Self::payload(promised, length);
        if let Some((life, true)) = self.lives.get(&topic) {
            promised.lives.entry(topic).or_default()[*life].push(number);
        }
        let (told, outcome) = waiter();
        let accepted = if by_exchange {
            let key = TOPICS[topic].replace('/', ".");
            let publication = ExchangePublication {
                exchange: "amq.topic",
                keys: &[&key],
                properties: &[0, 0],
                payload: &payload,
                persistent: true,
                expires_in_ms: None,
            };
            let (channel, told) = (&mut self.channel, || Some(told));
            self.broker.publish_to_exchange(channel, &publication, told, NOW_MS).is_ok()
        } else {
            let publication = Publication {
                topic: TOPICS[topic],
                payload: &payload,
                properties: &[],
                qos: QoS::AtLeastOnce,
                retain,
                expiry_s: None,
            };
            let (condition, told) = (Condition::None, || Some(told));
            self.broker.publish(&mut self.device, &publication, condition, told, NOW_MS).is_ok()
        };
        let retained = retain.then_some(TOPICS[topic]);
        accepted.then_some(Awaited::Publish { number, retained, told: outcome })
    }

    /// Into the queue alone, not journaled.
    fn publish_transient(&mut self, length: usize, promised: &mut Promised) -> Option<Awaited> {
        let (number, payload) = Self::payload(promised, length);
        promised.transient.insert(number);
        let publication = ExchangePublication {
            exchange: "",
            keys: &[QUEUE],
            properties: &[0, 0],
            payload: &payload,
            persistent: false,
            expires_in_ms: None,
        };
        let published =
            self.broker.publish_to_exchange(&mut self.channel, &publication, || None, NOW_MS);
        published.ok().map(|_| Awaited::Transient)
    }

    /// A session's client acknowledges some of what it has.
    fn take(&self, count: usize, promised: &mut Promised) -> Option<Awaited> {
        let takes = session(self.broker, SESSIONS[1]).unwrap();
        let waiting = numbers(self.broker, takes.id, &takes.inner.lock().queue).into_iter();
        let chosen: Vec<(u64, u64)> = waiting
            .filter(|(_, number)| !promised.taken.contains(number))
            .step_by(2)
            .take(count)
            .collect();
        let positions = chosen.iter().map(|(position, _)| *position).collect();
        let numbers: Vec<u64> = chosen.iter().map(|(_, number)| *number).collect();
        promised.taken.extend(&numbers);
        let (told, outcome) = waiter();
        self.broker.submit(Some(told), &Record::Settle { queue: takes.id, positions }).ok()?;
        Some(Awaited::Taken { numbers, told: outcome })
    }

    /// A channel gets messages, acknowledges every other one and returns the rest.
    fn fetch(&self, count: usize, promised: &mut Promised) -> Option<Awaited> {
        let (broker, who) = (self.broker, Principal::anonymous());
        let queue = queue(broker, QUEUE).unwrap();
        let mut counters = LocalCounters::new(Protocol::Mqtt);
        let mut got = Vec::new();
        for _ in 0..count {
            let one = broker.fetch(
                &who,
                &queue,
                CONNECTION,
                false,
                &mut counters,
                NOW_MS,
                |delivery, _| (delivery.place, number(delivery.message.payload)),
            );
            let Some(one) = one.unwrap() else { break };
            got.push(one);
        }
        let taken: Vec<_> = got.iter().step_by(2).copied().collect();
        let returned: Vec<_> = got.iter().skip(1).step_by(2).map(|(place, _)| *place).collect();
        let places: Vec<_> = taken.iter().map(|(place, _)| *place).collect();
        let numbers: Vec<u64> = taken.iter().map(|(_, number)| *number).collect();
        promised.fetched.extend(&numbers);
        broker.settle_places(&queue, &places);
        broker.return_places(&queue, &returned);
        broker.submit_settled_places(&queue);
        let (told, outcome) = waiter();
        // Who waits for it knows that what was acknowledged before is gone for good.
        broker.submit(Some(told), &Record::Barrier).ok()?;
        Some(Awaited::Fetched { numbers, told: outcome })
    }
}

impl Awaited {
    fn is_producing(&self) -> bool {
        matches!(self, Self::Produced { .. }) && self.is_open()
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Publish { told, .. }
            | Self::Taken { told, .. }
            | Self::Fetched { told, .. }
            | Self::Produced { told, .. }
            | Self::Committed { told, .. }
            | Self::Put { told, .. }
            | Self::Ids { told, .. } => told.is_empty(),
            Self::Bound { .. } | Self::Deleted { .. } | Self::Transient => false,
        }
    }

    /// Notes what somebody was told before the power went.
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
            Self::Bound { extra, told } => {
                if told.into_iter().all(|mut one| one.try_recv().is_ok()) {
                    promised.bound.insert(extra);
                }
            }
            Self::Deleted { extra } => {
                promised.bound.remove(&extra);
            }
            Self::Transient => {}
            Self::Produced { sequence, mut told } => match told.try_recv() {
                Ok(Outcome::Appended(appended)) => {
                    assert_eq!(appended.base_offset, i64::from(sequence));
                    promised.pledged.produced = promised.pledged.produced.max(sequence + 1);
                }
                Ok(other) => panic!("batch {sequence}: {other:?}"),
                Err(_) => {}
            },
            Self::Committed { offset, mut told } => {
                if told.try_recv().is_ok() {
                    promised.pledged.committed.0 = offset;
                }
            }
            Self::Put { value, mut told } => {
                if told.try_recv().is_ok() {
                    promised.pledged.put.0 = value;
                }
            }
            Self::Ids { next, mut told } => {
                if told.try_recv().is_ok() {
                    promised.pledged.ids = promised.pledged.ids.max(next);
                }
            }
        }
    }
}
