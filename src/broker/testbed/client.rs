//! A client of the broker in tests: what a connection would do, one turn at a time. Part of `broker::testbed`.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::connect::{Closing, Opening, SessionHandle};
use crate::broker::consumer::{
    CloseReason, Consumer, Delivered, Encodings, Outcome, Outgoing, Waiter,
};
use crate::broker::publish::Publisher;
use crate::broker::record::Condition;
use crate::broker::replay::{Progress, Replay};
use crate::broker::sessions::pull::{Acknowledged, Settled};
use crate::broker::sessions::registry::NOBODY;
use crate::broker::sessions::session::NEVER_EXPIRES_S;
use crate::broker::sessions::subscription::Subscription;
use crate::broker::settle::Released;
use crate::broker::subscribe::{RetainedWanted, Wish};
use crate::metrics::{LocalCounters, Protocol};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

/// When the tests of sessions and subscriptions take place.
pub(in crate::broker) const NOW_MS: u64 = 1_700_000_000_000;

/// A publisher without a session.
pub(in crate::broker) fn publisher(broker: &Broker) -> Publisher {
    let counters = LocalCounters::new(Protocol::Mqtt);
    Publisher::new(broker, Principal::anonymous(), "p".into(), NOBODY, counters)
}

/// Acknowledges `id` as its message waits for it; false when nothing of it is in flight.
pub(in crate::broker) fn settle(
    broker: &Broker,
    handle: &SessionHandle,
    id: NonZeroU16,
    settled: &mut Vec<u64>,
) -> bool {
    [Acknowledged::Received, Acknowledged::Completed, Acknowledged::Refused].into_iter().any(
        |how| {
            matches!(
                broker.acknowledge(handle, id, how, settled),
                Settled::Position(_) | Settled::Shared
            )
        },
    )
}

/// A message whose payload is a number.
pub(in crate::broker) struct Numbered {
    pub(in crate::broker) topic: &'static str,
    pub(in crate::broker) value: u32,
    pub(in crate::broker) qos: QoS,
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) expiry_s: Option<u32>,
}

impl Numbered {
    pub(in crate::broker) fn new(topic: &'static str, value: u32, qos: QoS) -> Self {
        Self { topic, value, qos, retain: false, expiry_s: None }
    }

    pub(in crate::broker) fn publish(&self, broker: &Broker, publisher: &mut Publisher) {
        let payload = self.value.to_string();
        let publication = Publication {
            topic: self.topic,
            payload: payload.as_bytes(),
            properties: &[],
            qos: self.qos,
            retain: self.retain,
            expiry_s: self.expiry_s,
        };
        broker.publish(publisher, &publication, Condition::None, || None, NOW_MS).unwrap();
    }
}

/// A wish for `filter` with nothing special about it.
pub(in crate::broker) fn wish(filter: &str, qos: QoS, retained: RetainedWanted) -> Wish {
    let options = Subscription { qos, ..Subscription::default() };
    Wish { filter: TopicFilter::parse(filter).unwrap(), options, retained }
}

/// A client that subscribes and reads. `sync` has what it submitted applied, or leaves that to a thread.
pub(in crate::broker) struct Client {
    pub(in crate::broker) handle: SessionHandle,
    pub(in crate::broker) receiver: Arc<Receiver>,
    pub(in crate::broker) replays: Vec<Replay>,
    /// Everything it was given.
    pub(in crate::broker) seen: Vec<Sent>,
    pub(in crate::broker) counters: LocalCounters,
    settled: Vec<u64>,
}

impl Client {
    /// Opens, or resumes, the session of `id`; one that is not `durable` ends with its connection.
    pub(in crate::broker) fn open(
        broker: &Broker,
        id: &str,
        durable: bool,
        receive_max: u16,
        sync: impl FnOnce(),
    ) -> Self {
        let opening = Opening {
            client_id: id,
            clean_start: false,
            expiry_s: if durable { NEVER_EXPIRES_S } else { 0 },
            receive_max,
            will: None,
        };
        let (waiter, told) = waiter();
        let opened = broker.open(&Principal::anonymous(), opening, waiter, NOW_MS).unwrap();
        sync();
        if opened.waits {
            told.blocking_recv().unwrap();
        }
        let receiver = Arc::<Receiver>::default();
        assert!(broker.attach(&opened.handle, receiver.clone(), receive_max));
        Self {
            handle: opened.handle,
            receiver,
            replays: Vec::new(),
            seen: Vec::new(),
            counters: LocalCounters::new(Protocol::Mqtt),
            settled: Vec::new(),
        }
    }

    pub(in crate::broker) fn close(&self, broker: &Broker) {
        broker.close(&self.handle, Closing::default(), NOW_MS);
    }

    pub(in crate::broker) fn subscribe(
        &mut self,
        broker: &Broker,
        filter: &str,
        qos: QoS,
        sync: impl FnOnce(),
    ) {
        let wish = wish(filter, qos, RetainedWanted::Always);
        let (waiter, told) = waiter();
        let who = Principal::anonymous();
        let subscribed = broker.subscribe(&who, &self.handle, &[wish], waiter).unwrap();
        assert_eq!(subscribed.granted, [Ok(qos)]);
        sync();
        if subscribed.waits {
            told.blocking_recv().unwrap();
        }
        self.replays.extend(subscribed.replays);
    }

    /// One turn of a connection's task; returns what came.
    pub(in crate::broker) fn turn(&mut self, broker: &Broker, now_ms: u64) -> Vec<Sent> {
        let mut encodings = Encodings::default();
        let (handle, counters) = (&self.handle, &mut self.counters);
        self.replays.retain_mut(|replay| {
            broker.replay_step(handle, replay, &mut encodings, counters, now_ms) != Progress::Done
        });
        broker.pull(handle, &mut encodings, counters, &mut self.settled, now_ms).unwrap();
        broker.serve_shares(handle, &mut encodings, counters, now_ms).unwrap();
        broker.submit_settled(handle, &mut self.settled);
        let came = self.receiver.take();
        self.seen.extend(came.iter().cloned());
        came
    }

    /// PUBACK or PUBCOMP, whichever it waits for; false when nothing of `id` is in flight.
    pub(in crate::broker) fn settle(&mut self, broker: &Broker, id: u16) -> bool {
        let id = NonZeroU16::new(id).unwrap();
        let known = settle(broker, &self.handle, id, &mut self.settled);
        broker.submit_settled(&self.handle, &mut self.settled);
        known
    }

    /// PUBREC; false when nothing of `id` is in flight.
    pub(in crate::broker) fn release(&self, broker: &Broker, id: u16) -> bool {
        let id = NonZeroU16::new(id).unwrap();
        let released = broker.release(&self.handle, id, waiter().0).unwrap();
        matches!(released, Released::AtOnce | Released::Waits)
    }

    /// The numbers of what it was given.
    pub(in crate::broker) fn values(&self) -> Vec<u32> {
        self.seen.iter().map(Sent::value).collect()
    }
}

/// A waiter, and where its outcome arrives.
pub(in crate::broker) fn waiter() -> (Waiter, oneshot::Receiver<Outcome>) {
    let (sender, receiver) = oneshot::channel();
    (Waiter::Call(sender), receiver)
}

/// What a connection was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Sent {
    pub(in crate::broker) topic: String,
    pub(in crate::broker) payload: Vec<u8>,
    pub(in crate::broker) qos: QoS,
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) dup: bool,
    /// 0 without one.
    pub(in crate::broker) packet_id: u16,
    pub(in crate::broker) subscription_ids: Vec<u32>,
    /// A PUBREL and not a message.
    pub(in crate::broker) release: bool,
}

impl Sent {
    /// The number that it carries.
    pub(in crate::broker) fn value(&self) -> u32 {
        std::str::from_utf8(&self.payload).unwrap().parse().unwrap()
    }
}

/// A connection that notes what it is given.
#[derive(Default)]
pub(in crate::broker) struct Receiver {
    pub(in crate::broker) got: Mutex<Vec<Sent>>,
    pub(in crate::broker) full: AtomicBool,
    pub(in crate::broker) refuses_large: AtomicBool,
    pub(in crate::broker) ready: AtomicUsize,
    pub(in crate::broker) closed: Mutex<Option<CloseReason>>,
}

impl Receiver {
    /// What came since the last call.
    pub(in crate::broker) fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.got.lock())
    }
}

impl Consumer for Receiver {
    fn deliver(&self, message: &Outgoing<'_>, _: &mut Encodings) -> Delivered {
        if self.refuses_large.load(Ordering::SeqCst) {
            return Delivered::TooLarge;
        }
        if self.full.load(Ordering::SeqCst) && !message.forced {
            return Delivered::Full;
        }
        self.got.lock().push(Sent {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            dup: message.dup,
            packet_id: message.packet_id.unwrap_or(0),
            subscription_ids: message.subscription_ids.to_vec(),
            release: false,
        });
        Delivered::Accepted
    }

    fn deliver_release(&self, packet_id: u16) {
        self.got.lock().push(Sent {
            topic: String::new(),
            payload: Vec::new(),
            qos: QoS::ExactlyOnce,
            retain: false,
            dup: false,
            packet_id,
            subscription_ids: Vec::new(),
            release: true,
        });
    }

    fn has_room(&self) -> bool {
        !self.full.load(Ordering::SeqCst)
    }

    fn ready(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
    }

    fn close(&self, reason: CloseReason) {
        *self.closed.lock() = Some(reason);
    }
}
