//! Consumers and publishers of declared queues, without connections. Part of the tests of `broker::declared`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::consumer::{Delivery, Encodings, Offered, QueueConsumer};
use crate::broker::declared::consumers::Registration;
use crate::broker::declared::place::Place;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::declared::settings::QueueSettings;
use crate::broker::declared::verbs::{Cancelled, ConsumeError};
use crate::broker::fanout::{Fanout, Fate, QueueLimits};
use crate::broker::message::{Form, Message};
use crate::broker::queues::meter::Meter;
use crate::broker::record::{Record, SetMember};
use crate::broker::testbed::Bed;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;
use crate::model::ids::{ConnectionId, ConsumerId, Lsn};
use crate::model::qos::QoS;

pub(super) const NOW_MS: u64 = 1_700_000_000_000;

/// What a consumer was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) taker: usize,
    pub(super) number: u32,
    pub(super) redelivered: bool,
    pub(super) place: Place,
}

/// In the order of the offers, whoever took them.
pub(super) type Tape = Arc<Mutex<Vec<Got>>>;

#[derive(Default)]
struct Hand {
    /// Taken and not given up.
    held: Vec<(Place, u32)>,
    full: bool,
    closed: bool,
}

/// A consumer with a connection of its own.
pub(super) struct Taker {
    pub(super) name: usize,
    pub(super) id: ConsumerId,
    pub(super) connection: ConnectionId,
    credit: Option<usize>,
    no_ack: bool,
    hand: Mutex<Hand>,
    called: AtomicBool,
    cancelled: AtomicBool,
    tape: Tape,
}

impl QueueConsumer for Taker {
    fn offer(&self, delivery: &Delivery<'_>, _: &mut Encodings) -> Offered {
        let mut hand = self.hand.lock();
        if hand.closed {
            return Offered::Closed;
        }
        if hand.full {
            return Offered::Full;
        }
        if self.credit.is_some_and(|credit| hand.held.len() >= credit) {
            return Offered::NoCredit;
        }
        let number = number(delivery.message.payload);
        let (taker, redelivered, place) = (self.name, delivery.redelivered, delivery.place);
        self.tape.lock().push(Got { taker, number, redelivered, place });
        if !self.no_ack {
            hand.held.push((delivery.place, number));
        }
        Offered::Taken
    }

    fn has_credit(&self) -> bool {
        let hand = self.hand.lock();
        !hand.closed && !hand.full && self.credit.is_none_or(|credit| hand.held.len() < credit)
    }

    fn ready(&self) {
        self.called.store(true, Ordering::Relaxed);
    }

    fn cancelled(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Taker {
    /// Runs what the connection's task would when it is called.
    pub(super) fn answer_call(
        &self,
        broker: &Broker,
        queue: &Arc<DeclaredQueue>,
        now_ms: u64,
    ) -> bool {
        let called = self.called.swap(false, Ordering::Relaxed) && !self.hand.lock().closed;
        if called {
            self.dispatch(broker, queue, now_ms);
        }
        called
    }

    pub(super) fn dispatch(&self, broker: &Broker, queue: &Arc<DeclaredQueue>, now_ms: u64) {
        let mut counters = LocalCounters::new(Protocol::Mqtt);
        let mut encodings = Encodings::default();
        broker.dispatch(queue, self.connection, &mut encodings, &mut counters, now_ms).unwrap();
    }

    /// Gives up what it holds at `index`.
    pub(super) fn give_up(&self, index: usize) -> Option<(Place, u32)> {
        let mut hand = self.hand.lock();
        (index < hand.held.len()).then(|| hand.held.remove(index))
    }

    pub(super) fn held(&self) -> Vec<u32> {
        self.hand.lock().held.iter().map(|(_, number)| *number).collect()
    }

    pub(super) fn set_full(&self, full: bool) {
        self.hand.lock().full = full;
    }

    pub(super) fn close(&self) -> Vec<Place> {
        let mut hand = self.hand.lock();
        hand.closed = true;
        hand.held.drain(..).map(|(place, _)| place).collect()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

pub(super) fn number(payload: &[u8]) -> u32 {
    let text = std::str::from_utf8(payload).unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

/// How a message is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub(super) number: u32,
    /// Bytes of the payload, its number at least.
    pub(super) length: usize,
    pub(super) expires_in_ms: Option<u64>,
    /// A record of the publisher's that is not applied.
    pub(super) behind: u64,
    pub(super) now_ms: u64,
}

impl Post {
    pub(super) fn new(number: u32) -> Self {
        Self { number, length: 0, expires_in_ms: None, behind: 0, now_ms: NOW_MS }
    }

    fn with<R>(&self, qos: QoS, f: impl FnOnce(Message<'_>) -> R) -> R {
        let mut payload = self.number.to_string().into_bytes();
        if self.length > payload.len() {
            payload.push(b'.');
            payload.resize(self.length.max(payload.len()), b'x');
        }
        f(Message {
            time_ms: self.now_ms,
            expires_ms: self.expires_in_ms.map(|ms| self.now_ms + ms),
            topic: "key",
            properties: &[0, 0],
            client_id: "",
            username: "",
            payload: &payload,
            qos,
            retain: false,
            will: false,
            form: Form::Exchange(""),
        })
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        self.with(QoS::AtLeastOnce, |message| message.encode(bytes));
    }

    /// As what is not journaled for `queue`.
    pub(super) fn transient(&self, queues: &[&Arc<DeclaredQueue>]) -> Vec<Fate> {
        self.with(QoS::AtMostOnce, |message| {
            let mut fanout = Fanout {
                message,
                now_ms: self.now_ms,
                behind: self.behind,
                limits: QueueLimits {
                    messages_max: 0,
                    bytes_max: 0,
                    drops_oldest: false,
                    volatile_max: 0,
                    volatile_bytes_max: 0,
                },
                memory: &Meter::new(usize::MAX),
                encodings: &mut Encodings::default(),
                stored: None,
            };
            queues.iter().map(|queue| queue.deliver(None, &mut fanout)).collect()
        })
    }

    /// As a record for durable queues; gives its LSN.
    pub(super) fn durable(&self, bed: &Bed, queues: &[&Arc<DeclaredQueue>]) -> Lsn {
        let members = queues.iter().map(|queue| member(queue)).collect();
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        let record = Record::Publish {
            vhost: "/",
            condition: crate::broker::record::Condition::None,
            set: None,
            members,
            retained: false,
            appends: Vec::new(),
            message: &bytes,
        };
        bed.broker.submit(None, &record).unwrap()
    }
}

pub(super) fn member(queue: &DeclaredQueue) -> SetMember {
    SetMember {
        queue: queue.id,
        qos: QoS::AtLeastOnce,
        retain_as_published: false,
        subscription_ids: Vec::new(),
        via: None,
    }
}

/// A table of integers.
pub(super) fn table(entries: &[(&str, i64)]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut writer = TableWriter::new(&mut table);
    for (name, value) in entries {
        writer.put(name, FieldValue::I64(*value)).unwrap();
    }
    table
}

/// As a declaration would make it; a durable one exists after the next sync.
pub(super) fn declare(bed: &Bed, durable: bool, arguments: &[u8]) -> Arc<DeclaredQueue> {
    let broker = &bed.broker;
    let settings = QueueSettings::new(durable, None, true, arguments).unwrap();
    let (id, name) = (broker.sessions.new_id(), "q".into());
    let queue = broker.declared.create(id, "/".into(), name, settings);
    if durable {
        let record = Record::DeclareQueue {
            id,
            vhost: "/",
            name: "q",
            auto_delete: true,
            arguments: &queue.settings.table,
        };
        broker.submit(None, &record).unwrap();
    }
    queue
}

/// Consumers of one queue.
pub(super) struct Takers {
    pub(super) tape: Tape,
    next: usize,
}

impl Takers {
    pub(super) fn new() -> Self {
        Self { tape: Tape::default(), next: 0 }
    }

    pub(super) fn make(
        &mut self,
        broker: &Broker,
        queue: &Arc<DeclaredQueue>,
        credit: Option<usize>,
        no_ack: bool,
        (priority, exclusive): (i32, bool),
    ) -> Result<Arc<Taker>, ConsumeError> {
        let taker = Arc::new(Taker {
            name: self.next,
            id: broker.next_consumer_id(),
            connection: broker.next_connection_id(),
            credit,
            no_ack,
            hand: Mutex::default(),
            called: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            tape: Arc::clone(&self.tape),
        });
        let registration = Registration {
            id: taker.id,
            consumer: taker.clone(),
            connection: taker.connection,
            no_ack,
            exclusive,
            priority,
        };
        broker.consume(&Principal::anonymous(), queue, registration, NOW_MS)?;
        self.next += 1;
        Ok(taker)
    }

    /// An ordinary one, which has dispatched.
    pub(super) fn add(
        &mut self,
        broker: &Broker,
        queue: &Arc<DeclaredQueue>,
        credit: Option<usize>,
    ) -> Arc<Taker> {
        let taker = self.make(broker, queue, credit, credit.is_none(), (0, false)).unwrap();
        taker.dispatch(broker, queue, NOW_MS);
        taker
    }

    /// Numbers handed out since the last call, with whom they went to.
    pub(super) fn drain(&self) -> Vec<(usize, u32)> {
        self.tape.lock().drain(..).map(|got| (got.taker, got.number)).collect()
    }
}

/// Acknowledges what `taker` holds at `index`.
pub(super) fn acknowledge(
    broker: &Broker,
    queue: &Arc<DeclaredQueue>,
    taker: &Taker,
    index: usize,
) {
    let (place, _) = taker.give_up(index).unwrap();
    broker.settle_places(queue, &[place]);
    broker.submit_settled_places(queue);
    taker.dispatch(broker, queue, NOW_MS);
}

/// The connection of `taker` goes: its consumer first, then what it held.
pub(super) fn leave(broker: &Broker, queue: &Arc<DeclaredQueue>, taker: &Taker) -> Cancelled {
    let places = taker.close();
    let cancelled = broker.cancel(queue, taker.id, NOW_MS);
    broker.return_places(queue, &places);
    cancelled
}
