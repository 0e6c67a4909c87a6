//! What clients do until the power goes, and what they were told. Part of the crash tests of `broker`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;

use super::consuming::{IN_FLIGHT_MAX, commit, produce, take_ids};
use super::exactly::{self, Link};
use super::found::{Promised, found, number, numbers, queue, session};
use super::run::{CONNECTION, Running};
use super::{EXTRAS, NOW_MS, QUEUE, SESSIONS, Step, TOPICS};
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::consumer::Outcome;
use crate::broker::publish::Publisher;
use crate::broker::publish::exchange::ExchangePublication;
use crate::broker::record::{Condition, Record};
use crate::broker::sessions::registry::NOBODY;
use crate::broker::testbed::client::waiter;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::store::disk::simulated::SimulatedDisk;

/// After so many looks, most of them a while apart, nobody will be told any more.
const LOOKS_MAX: u32 = 200_000;

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

impl Running {
    /// Publishes, takes, declares and deletes until the plan or the power ends, with so many steps `outstanding`.
    pub(super) fn work(
        &self,
        disk: &SimulatedDisk,
        plan: &[Step],
        promised: &mut Promised,
        outstanding: usize,
    ) -> Vec<Awaited> {
        let mut awaited: Vec<Awaited> = Vec::new();
        let Some(mut work) = Work::begin(&self.broker, disk, promised) else { return awaited };
        for step in plan {
            if let Some(before) = awaited.len().checked_sub(outstanding) {
                wait(disk, &awaited[before]);
            }
            work.under_way = awaited.iter().filter(|one| one.is_producing()).count();
            match work.step(self, step, promised) {
                Some(one) => awaited.push(one),
                None if disk.is_cut() => break,
                // Refused: the disk fails, and will be well again.
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        if !disk.is_cut() {
            awaited.iter().for_each(|one| wait(disk, one));
        }
        awaited
    }
}

fn wait(disk: &SimulatedDisk, one: &Awaited) {
    let mut looks = 0;
    while one.is_open() && !disk.is_cut() {
        looks += 1;
        assert!(looks < LOOKS_MAX, "nobody is told");
        match looks {
            0..1_000 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

fn begin_life(lives: &mut Vec<Vec<u64>>) -> usize {
    lives.push(Vec::new());
    lives.len() - 1
}

/// The clients of one life of the broker.
struct Work<'a> {
    broker: &'a Broker,
    disk: &'a SimulatedDisk,
    device: Publisher,
    channel: Publisher,
    exact: Link,
    /// Which life of a queue that comes and goes it is in, and whether messages go into it.
    lives: BTreeMap<usize, (usize, bool)>,
    /// What the producer sends next.
    sequence: i32,
    /// Its batches that it was not told of.
    under_way: usize,
}

impl<'a> Work<'a> {
    /// `None` when the power goes before everybody is connected.
    fn begin(broker: &'a Broker, disk: &'a SimulatedDisk, promised: &mut Promised) -> Option<Self> {
        let publisher = |client_id: &str| {
            let counters = LocalCounters::new(Protocol::Mqtt);
            Publisher::new(broker, Principal::anonymous(), client_id.into(), NOBODY, counters)
        };
        let mut current = BTreeMap::new();
        for (extra, (contents, is_bound)) in found(broker).ok()?.extras {
            let lives = promised.lives.entry(extra).or_default();
            let known = lives.iter().position(|life| life.iter().any(|one| contents.contains(one)));
            // Of an empty one nobody can tell, and it makes no difference.
            current.insert(extra, (known.unwrap_or_else(|| begin_life(lives)), is_bound));
        }
        let exact = exactly::connect(broker, disk, promised)?;
        Some(Self {
            broker,
            disk,
            device: publisher("p"),
            channel: publisher(""),
            exact,
            lives: current,
            sequence: promised.pledged.produced,
            under_way: 0,
        })
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
            Step::Exactly => {
                exactly::proceed(self.broker, &mut self.exact, promised);
                Some(Awaited::Transient)
            }
            Step::Reconnect => {
                self.exact = exactly::connect(self.broker, self.disk, promised)?;
                Some(Awaited::Transient)
            }
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
            // Without power a page or a body may not be there to read.
            let Ok(Some(one)) = one else { break };
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
                Ok(Outcome::Refused(_)) if promised.lenient => {}
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
