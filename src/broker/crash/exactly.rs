//! A publisher of QoS 2 that outlives the broker (MQTT-4.3.3). Part of the crash tests of `broker`.
//!
//! It keeps what it was not told of and sends that again when it is back, in order and under the same identifiers
//! (MQTT-4.4.0-1), before anything new; an identifier is used again only after its PUBCOMP.

use std::num::NonZeroU16;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::found::Promised;
use super::{NOW_MS, TOPICS};
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::connect::{Opening, SessionHandle};
use crate::broker::consumer::Outcome;
use crate::broker::publish::Publisher;
use crate::broker::record::Condition;
use crate::broker::testbed::client::waiter;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::store::disk::simulated::SimulatedDisk;

/// Numbers of its messages are above this one.
pub(super) const EXACT: u64 = 1_000_000;
const IDENTIFIERS: std::ops::RangeInclusive<u16> = 1..=4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Published,
    /// PUBREC came.
    Received,
    /// PUBREL was sent.
    Released,
}

#[derive(Debug)]
struct Flight {
    id: NonZeroU16,
    number: u64,
    phase: Phase,
    told: Option<Receiver<Outcome>>,
}

/// What the client knows, whatever becomes of the broker.
#[derive(Debug, Default)]
pub(super) struct Sender {
    sent: u64,
    /// In the order of their publishes.
    flights: Vec<Flight>,
}

/// Its connection.
pub(super) struct Link {
    handle: SessionHandle,
    publisher: Publisher,
}

fn publish(broker: &Broker, link: &mut Link, flight: &mut Flight) {
    let payload = format!("{}.", flight.number);
    let publication = Publication {
        topic: TOPICS[2],
        payload: payload.as_bytes(),
        properties: &[],
        qos: QoS::ExactlyOnce,
        retain: false,
        expiry_s: None,
    };
    let (session, epoch) = (link.handle.session.id, link.handle.epoch);
    let condition = Condition::Inbound { session, epoch, packet_id: flight.id.get() };
    let (told, outcome) = waiter();
    let published =
        broker.publish(&mut link.publisher, &publication, condition, || Some(told), NOW_MS);
    flight.told = published.is_ok().then_some(outcome);
}

fn release(broker: &Broker, link: &Link, flight: &mut Flight) {
    let (told, outcome) = waiter();
    let released = broker.forget_inbound(&link.handle, flight.id, told);
    flight.phase = Phase::Released;
    flight.told = released.is_ok().then_some(outcome);
}

/// Connects and sends again what was not acknowledged; `None` when the broker does not answer.
pub(super) fn connect(
    broker: &Broker,
    disk: &SimulatedDisk,
    promised: &mut Promised,
) -> Option<Link> {
    hear(promised);
    let opening = Opening {
        client_id: "exact",
        clean_start: false,
        expiry_s: u32::MAX,
        receive_max: 10,
        will: None,
    };
    let (told, mut outcome) = waiter();
    let who = Principal::anonymous();
    let opened = broker.open(&who, opening, told, NOW_MS).ok()?;
    let mut waits = opened.waits;
    while waits {
        match outcome.try_recv() {
            Ok(_) => waits = false,
            Err(TryRecvError::Empty) if !disk.is_cut() => std::thread::yield_now(),
            Err(_) => return None,
        }
    }
    let counters = LocalCounters::new(Protocol::Mqtt);
    let (session, client_id) = (opened.handle.session.id, "exact".into());
    let publisher = Publisher::new(broker, who, client_id, session, counters);
    let mut link = Link { handle: opened.handle, publisher };
    for flight in &mut promised.sender.flights {
        match flight.phase {
            Phase::Published => publish(broker, &mut link, flight),
            Phase::Received | Phase::Released => release(broker, &link, flight),
        }
    }
    Some(link)
}

/// Sends the next message, or releases one if it may send none.
pub(super) fn proceed(broker: &Broker, link: &mut Link, promised: &mut Promised) {
    hear(promised);
    let sender = &mut promised.sender;
    // What the journal refused keeps its place: nothing is sent past it.
    if sender.flights.iter().any(|one| one.phase == Phase::Published && one.told.is_none()) {
        return;
    }
    let is_free = |id: &u16| sender.flights.iter().all(|one| one.id.get() != *id);
    match IDENTIFIERS.clone().find(is_free).and_then(NonZeroU16::new) {
        Some(id) => {
            sender.sent += 1;
            let number = EXACT + sender.sent;
            let mut flight = Flight { id, number, phase: Phase::Published, told: None };
            publish(broker, link, &mut flight);
            sender.flights.push(flight);
        }
        None => {
            if let Some(one) = sender.flights.iter_mut().find(|one| one.phase == Phase::Received) {
                release(broker, link, one);
            }
        }
    }
}

/// Takes in what it was told since.
pub(super) fn hear(promised: &mut Promised) {
    let published = &mut promised.published;
    promised.sender.flights.retain_mut(|flight| {
        let Some(outcome) = flight.told.as_mut().and_then(|told| told.try_recv().ok()) else {
            return true;
        };
        match (flight.phase, outcome) {
            (Phase::Published, Outcome::Done | Outcome::Duplicate) => {
                flight.phase = Phase::Received;
                published.insert(flight.number);
                true
            }
            (Phase::Released, Outcome::Done) => false,
            // Another connection of it has the session by now: it sends again there.
            (_, Outcome::Stale) => true,
            (phase, other) => panic!("{phase:?}: {other:?}"),
        }
    });
}
