//! Clients of MQTT and what they hear. Part of the simulation of `broker`.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::model::{Message as Sent, State};
use super::world::World;
use super::{FILTERS, RECEIVE_MAX, Step, TOPICS, WILL};
use crate::auth::principal::Principal;
use crate::broker::connect::{Closing, Opening, SessionHandle};
use crate::broker::consumer::{Encodings, Outcome};
use crate::broker::message::{Message, Publisher as Author};
use crate::broker::publish::Publisher;
use crate::broker::record::Condition;
use crate::broker::replay::{Progress, Replay};
use crate::broker::sessions::session::NEVER_EXPIRES_S;
use crate::broker::settle::Released;
use crate::broker::subscribe::RetainedWanted;
use crate::broker::testbed::client::{Receiver, Sent as Heard, publisher, settle, waiter, wish};
use crate::broker::testbed::{Violation, ensure};
use crate::metrics::{LocalCounters, Protocol};
use crate::model::message::Publication;
use crate::model::qos::QoS;

/// Seconds after which some sessions end.
const EXPIRY_S: u32 = 5;
/// Turns within which a client hears everything.
const TURNS_MAX: usize = 40;

struct Link {
    handle: SessionHandle,
    receiver: Arc<Receiver>,
    publisher: Publisher,
    replays: Vec<Replay>,
    settled: Vec<u64>,
}

/// A client; what it knows outlives its connection.
#[derive(Default)]
pub(super) struct Client {
    link: Option<Link>,
    /// What it was sent and has not answered for good: number, packet identifier, QoS.
    flights: Vec<(u64, u16, u8)>,
}

impl Client {
    /// A crash of the broker: what was sent with QoS 1 may come under another identifier, with QoS 2 it may not.
    pub(super) fn lose(&mut self) {
        self.link = None;
        self.flights.retain(|(_, _, qos)| *qos == 2);
    }
}

fn number(heard: &Heard) -> u64 {
    std::str::from_utf8(&heard.payload).unwrap().parse().unwrap_or(0)
}

impl World {
    pub(super) fn mqtt(&mut self, step: &Step) -> Result<(), Violation> {
        let now_ms = self.model.now_ms;
        match *step {
            Step::Open { who, clean, expires, will } => {
                let expiry_s = if expires { EXPIRY_S } else { NEVER_EXPIRES_S };
                self.open(who, clean, expiry_s, will);
            }
            Step::Close { who, discard_will } => {
                let Some(link) = self.clients[who].link.take() else { return Ok(()) };
                let closing = Closing { discard_will, expiry_s: None };
                self.bed.broker.close(&link.handle, closing, now_ms);
                self.model.close(who, discard_will);
            }
            Step::Subscribe { who, filter, qos } => {
                let Some(link) = &mut self.clients[who].link else { return Ok(()) };
                let granted = QoS::from_bits(qos).unwrap_or_default();
                let wish = wish(FILTERS[filter], granted, RetainedWanted::Always);
                let anyone = Principal::anonymous();
                let broker = &self.bed.broker;
                let subscribed =
                    broker.subscribe(&anyone, &link.handle, &[wish], waiter().0).unwrap();
                link.replays.extend(subscribed.replays);
                self.model.subscribe(who, filter, qos);
            }
            Step::Unsubscribe { who, filter } => {
                let Some(link) = &self.clients[who].link else { return Ok(()) };
                let wish = wish(FILTERS[filter], QoS::AtMostOnce, RetainedWanted::Never);
                self.bed.broker.unsubscribe(&link.handle, &[wish.filter], waiter().0).unwrap();
                if let Some(session) = self.model.sessions.get_mut(&who) {
                    session.subscriptions.remove(&filter);
                }
            }
            Step::Publish { who, topic, qos, id } => {
                if self.clients[who].link.is_none() {
                    return Ok(());
                }
                let number = self.next_number();
                self.publish(who, Sent { number, topic, qos }, id, Some(false));
                self.model.publish(who, id, Sent { number, topic, qos });
            }
            Step::Retain { who, is_empty } => {
                if self.clients[who].link.is_none() {
                    return Ok(());
                }
                let number = if is_empty { 0 } else { self.next_number() };
                let message = Sent { number, topic: 0, qos: 1 };
                self.publish(who, message, 1, Some(true));
                self.model.retain(message, is_empty);
            }
            Step::Release { who, id } => {
                let Some(link) = &self.clients[who].link else { return Ok(()) };
                let identifier = NonZeroU16::new(id).unwrap();
                self.bed.broker.forget_inbound(&link.handle, identifier, waiter().0).unwrap();
                if let Some(session) = self.model.sessions.get_mut(&who) {
                    session.inbound.remove(&id);
                }
            }
            Step::Acknowledge { who } => return self.acknowledge(who),
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, who: usize, clean: bool, expiry_s: u32, will: Option<u32>) {
        let (now_ms, client_id) = (self.model.now_ms, format!("c{who}"));
        let will = will.map(|delay_s| (delay_s, self.next_number()));
        let encoded = will.map(|(delay_s, number)| {
            let payload = number.to_string();
            let publication = Publication {
                topic: TOPICS[WILL],
                payload: payload.as_bytes(),
                properties: &[],
                qos: QoS::AtLeastOnce,
                retain: false,
                expiry_s: None,
            };
            let author = Author { client_id: &client_id, username: "" };
            let mut message = Message::accepted(&publication, author, now_ms);
            message.will = true;
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            (delay_s, bytes)
        });
        let receive_max = RECEIVE_MAX as u16;
        let opening = Opening {
            client_id: &client_id,
            clean_start: clean,
            expiry_s,
            receive_max,
            will: encoded,
        };
        let anyone = Principal::anonymous();
        let opened = self.bed.broker.open(&anyone, opening, waiter().0, now_ms).unwrap();
        if clean || !self.model.sessions.contains_key(&who) {
            self.clients[who].flights.clear();
        }
        self.model.open(who, clean, expiry_s, will);
        // The former connection finds its session gone and says so.
        if let Some(old) = self.clients[who].link.take() {
            self.bed.broker.close(&old.handle, Closing::default(), now_ms);
        }
        self.sync();
        let (broker, handle) = (&self.bed.broker, opened.handle);
        let receiver = Arc::<Receiver>::default();
        assert!(broker.attach(&handle, receiver.clone(), receive_max));
        let counters = LocalCounters::new(Protocol::Mqtt);
        let session = handle.session.id;
        let publisher = Publisher::new(broker, anyone, client_id.into(), session, counters);
        let replays = broker.unfinished_replays(&handle);
        let link = Link { handle, receiver, publisher, replays, settled: Vec::new() };
        self.clients[who].link = Some(link);
    }

    /// `retain` says whether it is to be kept.
    fn publish(&mut self, who: usize, message: Sent, id: u16, retain: Option<bool>) {
        let Some(link) = &mut self.clients[who].link else { return };
        let payload = match message.number {
            0 => String::new(),
            number => number.to_string(),
        };
        let publication = Publication {
            topic: TOPICS[message.topic],
            payload: payload.as_bytes(),
            properties: &[],
            qos: QoS::from_bits(message.qos).unwrap_or_default(),
            retain: retain == Some(true),
            expiry_s: None,
        };
        let SessionHandle { session, epoch } = &link.handle;
        let condition = match message.qos {
            2 => Condition::Inbound { session: session.id, epoch: *epoch, packet_id: id },
            _ => Condition::None,
        };
        let (broker, now_ms) = (&self.bed.broker, self.model.now_ms);
        let told = || Some(waiter().0);
        broker.publish(&mut link.publisher, &publication, condition, told, now_ms).unwrap();
    }

    /// Somebody publishes, and the power goes before that is synced.
    pub(super) fn publish_unheard(&mut self) {
        let number = self.next_number();
        let payload = number.to_string();
        let publication = Publication {
            topic: TOPICS[0],
            payload: payload.as_bytes(),
            properties: &[],
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry_s: None,
        };
        let (broker, now_ms) = (&self.bed.broker, self.model.now_ms);
        let mut publisher = publisher(broker);
        let told = || Some(waiter().0);
        broker.publish(&mut publisher, &publication, Condition::None, told, now_ms).unwrap();
    }

    fn acknowledge(&mut self, who: usize) -> Result<(), Violation> {
        let Some((number, qos, state)) = self.model.acknowledge(who) else { return Ok(()) };
        let Client { link: Some(link), flights } = &mut self.clients[who] else { return Ok(()) };
        let at = flights.iter().position(|(of, _, with)| (*of, *with) == (number, qos));
        let Some(at) = at else {
            return Err(format!("client {who} was never sent {number}"));
        };
        let id = NonZeroU16::new(flights[at].1).unwrap();
        let broker = &self.bed.broker;
        if qos == 2 && state == State::Sent {
            let (told, mut outcome) = waiter();
            let known = broker.release(&link.handle, id, told).unwrap();
            ensure!(known == Released::Waits, "{id} of {number} is not in flight");
            // Its connection says PUBREL when the record is applied.
            self.sync();
            let outcome = outcome.try_recv();
            ensure!(outcome == Ok(Outcome::Done), "PUBREC of {number} comes to {outcome:?}");
            return Ok(());
        }
        flights.remove(at);
        let known = settle(broker, &link.handle, id, &mut link.settled);
        ensure!(known, "{id} of {number} is not in flight");
        broker.submit_settled(&link.handle, &mut link.settled);
        Ok(())
    }

    /// The client hears what the model says, in that order.
    pub(super) fn hear(&mut self, who: usize) -> Result<(), Violation> {
        let mut heard = Vec::new();
        let mut silent = 0;
        for _ in 0..TURNS_MAX {
            let Some(link) = &mut self.clients[who].link else { break };
            let (broker, now_ms) = (&self.bed.broker, self.model.now_ms);
            let mut encodings = Encodings::default();
            let Link { handle, receiver, publisher, replays, settled } = link;
            let counters = &mut publisher.counters;
            replays.retain_mut(|replay| {
                broker.replay_step(handle, replay, &mut encodings, counters, now_ms)
                    != Progress::Done
            });
            broker.pull(handle, &mut encodings, counters, settled, now_ms).unwrap();
            broker.submit_settled(handle, settled);
            let came = receiver.take();
            silent = if came.is_empty() { silent + 1 } else { 0 };
            heard.extend(came);
            self.sync();
            if silent > 2 {
                break;
            }
        }
        let said = self.model.said(who);
        // With QoS 0 it may hear whatever was published.
        let heard = heard.iter().filter(|one| one.qos != QoS::AtMostOnce);
        let heard: Vec<(u64, bool)> =
            heard.map(|one| self.clients[who].note(one)).collect::<Result<_, _>>()?;
        ensure!(heard == said, "client {who} hears {heard:?}, and not {said:?}");
        Ok(())
    }
}

impl Client {
    /// Takes in what it was sent: the number, and whether it is released. What comes again comes under the same
    /// identifier (MQTT-4.4.0-1).
    fn note(&mut self, heard: &Heard) -> Result<(u64, bool), Violation> {
        let known = |one: &&(u64, u16, u8)| one.1 == heard.packet_id;
        if heard.release {
            let of = self.flights.iter().find(known);
            return of.map(|of| (of.0, true)).ok_or_else(|| format!("{heard:?} of nothing"));
        }
        let flight = (number(heard), heard.packet_id, heard.qos as u8);
        if !self.flights.contains(&flight) {
            ensure!(!self.flights.iter().any(|one| known(&one)), "{heard:?} is under way");
            self.flights.push(flight);
        }
        Ok((flight.0, false))
    }
}
