//! Clients that do anything at any time, through the broker's verbs. Part of the tests of `broker::apply`.

use std::future::Future;
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::groups::{self, GroupStep};
use super::logs::{self, LogStep};
use super::queues::{self, QueueStep};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::auth::principal::Principal;
use crate::broker::connect::{Closing, Opening, SessionHandle};
use crate::broker::consumer::Encodings;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::verbs::CreateLog;
use crate::broker::message::{Message, Publisher as Author};
use crate::broker::publish::Publisher;
use crate::broker::record::Condition;
use crate::broker::replay::{Progress, Replay};
use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
use crate::broker::sessions::subscription::Subscription;
use crate::broker::settle::Released;
use crate::broker::subscribe::{RetainedWanted, Wish};
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Receiver, Sent, settle, waiter};
use crate::broker::testbed::produced::sequenced;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

pub(super) const CLIENTS: usize = 4;
const FILTERS: [&str; 6] = ["a", "a/#", "+/b", "#", "$d/+", "r/#"];
const TOPICS: [&str; 6] = ["a", "a/b", "c/b", "r/1", "r/2", "$d/x"];
pub(super) const LOGS: [&str; 2] = ["routed", "other"];

/// What a client may do; the first field says which.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Open {
        who: usize,
        clean: bool,
        expiry_s: u32,
        receive_max: u16,
        will_delay_s: Option<u32>,
    },
    Close {
        who: usize,
        discard_will: bool,
        expiry_s: Option<u32>,
    },
    Subscribe {
        who: usize,
        wishes: Vec<(usize, Subscription, u8)>,
    },
    Unsubscribe {
        who: usize,
        filters: Vec<usize>,
    },
    Publish {
        who: usize,
        topic: usize,
        qos: QoS,
        retain: bool,
        length: usize,
        id: u16,
        expiry_s: Option<u32>,
    },
    Forget {
        who: usize,
        id: u16,
    },
    Pull {
        who: usize,
    },
    Acknowledge {
        who: usize,
        count: usize,
        refuse: bool,
    },
    Replay {
        who: usize,
    },
    CreateLog {
        name: usize,
        append_time: bool,
    },
    Append {
        name: usize,
        partition: u32,
        records: usize,
        producer: Option<(i64, i32)>,
    },
    Queue(QueueStep),
    Group(GroupStep),
    Log(LogStep),
    Tick {
        ms: i64,
    },
    Checkpoint,
    Sync,
}

fn qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn of_sessions() -> impl Strategy<Value = Step> {
    let who = || 0..CLIENTS;
    let expiry = || prop_oneof![1 => Just(0u32), 1 => Just(5), 6 => Just(u32::MAX)];
    let options = (qos(), any::<[bool; 2]>(), option::of(1u32..9)).prop_map(
        |(qos, [no_local, retain_as_published], id)| Subscription {
            qos,
            no_local,
            retain_as_published,
            id,
            ..Subscription::default()
        },
    );
    let wish = (0..FILTERS.len(), options, 0u8..3);
    prop_oneof![
        1 => (who(), prop::bool::weighted(0.2), expiry(), 1u16..5, option::of(0u32..9)).prop_map(
            |(who, clean, expiry_s, receive_max, will_delay_s)| Step::Open {
                who, clean, expiry_s, receive_max, will_delay_s
            }
        ),
        1 => (who(), any::<bool>(), option::weighted(0.2, expiry())).prop_map(
            |(who, discard_will, expiry_s)| Step::Close { who, discard_will, expiry_s }
        ),
        3 => (who(), vec(wish, 1..3)).prop_map(|(who, wishes)| Step::Subscribe { who, wishes }),
        1 => (who(), vec(0..FILTERS.len(), 1..3))
            .prop_map(|(who, filters)| Step::Unsubscribe { who, filters }),
        2 => who().prop_map(|who| Step::Pull { who }),
        6 => (who(), 1usize..9, prop::bool::weighted(0.1))
            .prop_map(|(who, count, refuse)| Step::Acknowledge { who, count, refuse }),
        1 => who().prop_map(|who| Step::Replay { who }),
        1 => (who(), 1u16..4).prop_map(|(who, id)| Step::Forget { who, id }),
    ]
}

fn of_messages() -> impl Strategy<Value = Step> {
    let who = 0..CLIENTS;
    let publish = (who, 0..TOPICS.len(), qos(), any::<bool>(), 0usize..300, 1u16..4);
    prop_oneof![
        8 => (publish, option::of(0u32..9)).prop_map(
            |((who, topic, qos, retain, length, id), expiry_s)| {
                // An empty one every now and then: it ends a retained message.
                let length = length.saturating_sub(40);
                Step::Publish { who, topic, qos, retain, length, id, expiry_s }
            }
        ),
        1 => (0..LOGS.len(), any::<bool>())
            .prop_map(|(name, append_time)| Step::CreateLog { name, append_time }),
        1 => (0..LOGS.len(), 0u32..3, 1usize..4, option::of((0i64..2, 0i32..4))).prop_map(
            |(name, partition, records, producer)| Step::Append { name, partition, records, producer }
        ),
    ]
}

/// Anything, in proportions that let sessions fill and empty.
pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => of_sessions(),
        8 => of_messages(),
        6 => queues::step().prop_map(Step::Queue),
        3 => groups::step().prop_map(Step::Group),
        3 => logs::step().prop_map(Step::Log),
        1 => (-3_000i64..9_000).prop_map(|ms| Step::Tick { ms }),
        3 => Just(Step::Checkpoint),
        5 => Just(Step::Sync),
    ]
}

/// Carries `r/#` into a log.
struct Routed;

impl Route for Routed {
    fn name(&self) -> &str {
        "routed"
    }

    fn target(&self, message: &RouteInput<'_>) -> Result<RouteTarget, String> {
        let hash = u32::from(message.topic.ends_with('2'));
        let key = Some(message.topic.as_bytes().to_vec());
        let partition = PartitionChoice::Hash(hash);
        Ok(RouteTarget { log: LOGS[0].to_owned(), partitions: None, key, partition })
    }
}

struct Connection {
    handle: SessionHandle,
    receiver: Arc<Receiver>,
    publisher: Publisher,
    settled: Vec<u64>,
    unacknowledged: Vec<Sent>,
    replays: Vec<Replay>,
}

/// A broker and its clients.
pub(super) struct World {
    pub(super) bed: Bed,
    now_ms: u64,
    connections: [Option<Connection>; CLIENTS],
    /// Opened, and not yet told so.
    opening: Vec<(usize, SessionHandle, u16)>,
    published: u32,
}

fn filter(index: usize) -> TopicFilter {
    TopicFilter::parse(FILTERS[index]).unwrap()
}

fn batch(records: usize, producer: Option<(i64, i32)>, time: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for n in 0..records {
        let value = [n as u8; 9];
        let timestamp_ms = i64::try_from(time).unwrap();
        builder.push(&NewRecord { timestamp_ms, key: None, value: Some(&value), headers: &[] });
    }
    let batch = builder.finish().unwrap();
    match producer {
        Some((id, sequence)) => sequenced(batch, id, 0, sequence),
        None => batch,
    }
}

impl World {
    pub(super) fn new(bed: Bed, now_ms: u64) -> Self {
        bed.broker.router.vhost("/").add_route(&filter(5), Arc::new(Routed));
        let connections = std::array::from_fn(|_| None);
        Self { bed, now_ms, connections, opening: Vec::new(), published: 0 }
    }

    /// Every client connects, for good, and wants everything: what follows has something to work on.
    pub(super) fn populate(&mut self) {
        for who in 0..CLIENTS {
            let (expiry_s, receive_max) = (u32::MAX, 4);
            self.run(&Step::Open { who, clean: false, expiry_s, receive_max, will_delay_s: None });
        }
        self.sync();
        for who in 0..CLIENTS {
            let qos = QoS::from_bits(who as u8 % 3).unwrap_or_default();
            let options =
                Subscription { qos: qos.max(QoS::AtLeastOnce), ..Subscription::default() };
            self.run(&Step::Subscribe { who, wishes: vec![(3, options, 0)] });
        }
        self.sync();
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub(super) fn run(&mut self, step: &Step) {
        match step {
            Step::Open { .. } => self.open(step),
            Step::Close { who, discard_will, expiry_s } => {
                let Some(gone) = self.connections[*who].take() else { return };
                let closing = Closing { discard_will: *discard_will, expiry_s: *expiry_s };
                self.bed.broker.close(&gone.handle, closing, self.now_ms);
            }
            Step::Subscribe { who, wishes } => self.subscribe(*who, wishes),
            Step::Unsubscribe { who, filters } => {
                let Some(connection) = &self.connections[*who] else { return };
                let filters: Vec<_> = filters.iter().map(|index| filter(*index)).collect();
                let (waiter, _) = waiter();
                self.bed.broker.unsubscribe(&connection.handle, &filters, waiter).unwrap();
            }
            Step::Publish { .. } => self.publish(step),
            Step::Forget { who, id } => {
                let Some(connection) = &self.connections[*who] else { return };
                if connection.handle.session.durable {
                    let id = NonZeroU16::new(*id).unwrap();
                    self.bed.broker.forget_inbound(&connection.handle, id, waiter().0).unwrap();
                }
            }
            Step::Pull { who } => self.pull(*who),
            Step::Acknowledge { who, count, refuse } => {
                self.pull(*who);
                self.acknowledge(*who, *count, *refuse);
            }
            Step::Replay { who } => self.replay(*who),
            Step::CreateLog { name, append_time } => self.create_log(LOGS[*name], *append_time),
            Step::Append { name, partition, records, producer } => {
                let batch = batch(*records, *producer, self.now_ms);
                let (who, log) = (Principal::anonymous(), LOGS[*name]);
                // There may be no such log or partition: that is an answer too.
                self.bed
                    .broker
                    .append_batch(&who, log, *partition, &batch, (self.now_ms, self.now_ms))
                    .ok();
            }
            Step::Queue(step) => queues::run(&self.bed, step, self.now_ms),
            Step::Group(step) => groups::run(&self.bed, step, self.now_ms),
            Step::Log(step) => logs::run(&self.bed, step, self.now_ms),
            Step::Tick { ms } => {
                self.now_ms = self.now_ms.saturating_add_signed(*ms);
                self.bed.run_jobs(self.now_ms);
            }
            Step::Checkpoint => self.bed.checkpoint_step(self.now_ms),
            Step::Sync => self.sync(),
        }
    }

    /// Everything submitted becomes durable; who opened a session is served from now on.
    pub(super) fn sync(&mut self) {
        self.bed.sync();
        for (who, handle, receive_max) in std::mem::take(&mut self.opening) {
            let receiver = Arc::<Receiver>::default();
            if !self.bed.broker.attach(&handle, receiver.clone(), receive_max) {
                continue;
            }
            let counters = LocalCounters::new(Protocol::Mqtt);
            let (session, client_id) =
                (handle.session.id, Arc::clone(&handle.session.key.client_id));
            let broker = &self.bed.broker;
            self.connections[who] = Some(Connection {
                publisher: Publisher::new(
                    broker,
                    Principal::anonymous(),
                    client_id,
                    session,
                    counters,
                ),
                replays: broker.unfinished_replays(&handle),
                handle,
                receiver,
                settled: Vec::new(),
                unacknowledged: Vec::new(),
            });
        }
    }

    fn open(&mut self, step: &Step) {
        let Step::Open { who, clean, expiry_s, receive_max, will_delay_s } = step else { return };
        let client_id = format!("c{who}");
        let will = will_delay_s.map(|delay_s| {
            let publication = Publication {
                topic: TOPICS[*who],
                payload: client_id.as_bytes(),
                properties: &[],
                qos: QoS::AtLeastOnce,
                retain: delay_s % 2 == 0,
                expiry_s: Some(3),
            };
            let author = Author { client_id: &client_id, username: "" };
            let mut message = Message::accepted(&publication, author, self.now_ms);
            message.will = true;
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            (delay_s, bytes)
        });
        let opening = Opening {
            client_id: &client_id,
            clean_start: *clean,
            expiry_s: *expiry_s,
            receive_max: *receive_max,
            will,
        };
        let (waiter, _) = waiter();
        let opened =
            self.bed.broker.open(&Principal::anonymous(), opening, waiter, self.now_ms).unwrap();
        // Whoever was connected finds its session gone and says so.
        if let Some(old) = self.connections[*who].take() {
            assert!(old.receiver.closed.lock().is_some());
            self.bed.broker.close(&old.handle, Closing::default(), self.now_ms);
        }
        self.opening.push((*who, opened.handle, *receive_max));
    }

    fn subscribe(&mut self, who: usize, wishes: &[(usize, Subscription, u8)]) {
        let Some(connection) = &mut self.connections[who] else { return };
        let wishes: Vec<Wish> = wishes
            .iter()
            .map(|(index, options, retained)| Wish {
                filter: filter(*index),
                options: options.clone(),
                retained: match retained {
                    0 => RetainedWanted::Always,
                    1 => RetainedWanted::IfNew,
                    _ => RetainedWanted::Never,
                },
            })
            .collect();
        let (who, handle) = (Principal::anonymous(), &connection.handle);
        let subscribed = self.bed.broker.subscribe(&who, handle, &wishes, waiter().0).unwrap();
        connection.replays.extend(subscribed.replays);
    }

    fn publish(&mut self, step: &Step) {
        let Step::Publish { who, topic, qos, retain, length, id, expiry_s } = step else { return };
        let Some(connection) = &mut self.connections[*who] else { return };
        self.published += 1;
        let mut payload = self.published.to_string().into_bytes();
        payload.resize((*length).max(payload.len()), b'.');
        if *length == 0 {
            payload.clear();
        }
        let publication = Publication {
            topic: TOPICS[*topic],
            payload: &payload,
            properties: &[],
            qos: *qos,
            retain: *retain,
            expiry_s: *expiry_s,
        };
        let SessionHandle { session, epoch } = &connection.handle;
        let condition = if session.durable && *qos == QoS::ExactlyOnce {
            Condition::Inbound { session: session.id, epoch: *epoch, packet_id: *id }
        } else {
            Condition::None
        };
        let publisher = &mut connection.publisher;
        // A limit may refuse it.
        self.bed
            .broker
            .publish(publisher, &publication, condition, || Some(waiter().0), self.now_ms)
            .ok();
    }

    fn pull(&mut self, who: usize) {
        let Some(Connection { handle, publisher, settled, receiver, unacknowledged, .. }) =
            &mut self.connections[who]
        else {
            return;
        };
        let (broker, counters) = (&self.bed.broker, &mut publisher.counters);
        broker.pull(handle, &mut Encodings::default(), counters, settled, self.now_ms).unwrap();
        broker.submit_settled(handle, settled);
        unacknowledged.extend(receiver.take().into_iter().filter(|sent| sent.packet_id != 0));
    }

    fn acknowledge(&mut self, who: usize, count: usize, refuse: bool) {
        let Some(Connection { handle, settled, unacknowledged, .. }) = &mut self.connections[who]
        else {
            return;
        };
        let broker = &self.bed.broker;
        for mut sent in unacknowledged.drain(..count.min(unacknowledged.len())).collect::<Vec<_>>()
        {
            let id = NonZeroU16::new(sent.packet_id).unwrap();
            if sent.qos == QoS::ExactlyOnce && !sent.release && !refuse {
                assert_eq!(broker.release(handle, id, waiter().0).unwrap(), Released::Waits);
                sent.release = true;
                unacknowledged.push(sent);
            } else {
                assert!(settle(broker, handle, id, settled), "{sent:?} is in flight");
            }
        }
        broker.submit_settled(handle, settled);
    }

    fn replay(&mut self, who: usize) {
        let Some(Connection { handle, publisher, replays, .. }) = &mut self.connections[who] else {
            return;
        };
        let (broker, counters, now_ms) = (&self.bed.broker, &mut publisher.counters, self.now_ms);
        let mut encodings = Encodings::default();
        replays.retain_mut(|replay| {
            broker.replay_step(handle, replay, &mut encodings, counters, now_ms) != Progress::Done
        });
    }

    fn create_log(&self, name: &str, append_time: bool) {
        let kind = if append_time { "LogAppendTime" } else { "CreateTime" };
        let spec = CreateLog {
            name: name.to_owned(),
            partitions: None,
            config: vec![("message.timestamp.type".to_owned(), kind.to_owned())],
            validate_only: false,
        };
        let who = Principal::anonymous();
        let creation = pin!(self.bed.broker.create_log(&who, spec, self.now_ms));
        // Submitted by the first poll; the outcome is in the state. The name may be taken.
        drop(creation.poll(&mut Context::from_waker(Waker::noop())));
    }
}
