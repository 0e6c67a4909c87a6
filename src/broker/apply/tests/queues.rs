//! Clients of declared queues: they declare, publish, take and delete. Part of the tests of `broker::apply`.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::auth::principal::Principal;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::message::{Form, Message};
use crate::broker::publish::Publisher;
use crate::broker::publish::exchange::ExchangePublication;
use crate::broker::record::{Condition, Record, SetMember};
use crate::broker::sessions::registry::NOBODY;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::waiter;
use crate::broker::via::Via;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;
use crate::model::ids::ConnectionId;
use crate::model::qos::QoS;

const QUEUES: [&str; 3] = ["plain", "short", "refusing"];
/// Binding keys; messages have those without a wildcard.
const KEYS: [&str; 5] = ["a", "a.b", "r.1", "#", "*.b"];
const CONNECTION: ConnectionId = ConnectionId(1);

/// What may be done with declared queues.
#[derive(Clone, Debug)]
pub(super) enum QueueStep {
    Declare { queue: usize },
    Delete { queue: usize },
    Publish { queues: Vec<usize>, length: usize, expires_in_ms: Option<u64>, via: bool },
    Take { queue: usize, count: usize, settle: bool },
    Purge { queue: usize },
    Bind { queue: usize, key: usize },
    Unbind { queue: usize, key: usize },
    Send { key: usize, persistent: bool, length: usize },
}

pub(super) fn step() -> impl Strategy<Value = QueueStep> {
    let queue = || 0..QUEUES.len();
    let expires = prop::option::weighted(0.2, 0u64..5_000);
    prop_oneof![
        3 => queue().prop_map(|queue| QueueStep::Declare { queue }),
        1 => queue().prop_map(|queue| QueueStep::Delete { queue }),
        9 => (vec(queue(), 1..4), 0usize..200, expires, any::<bool>()).prop_map(
            |(queues, length, expires_in_ms, via)| QueueStep::Publish {
                queues, length, expires_in_ms, via
            }
        ),
        5 => (queue(), 1usize..5, prop::bool::weighted(0.8))
            .prop_map(|(queue, count, settle)| QueueStep::Take { queue, count, settle }),
        1 => queue().prop_map(|queue| QueueStep::Purge { queue }),
        3 => (queue(), 0..KEYS.len()).prop_map(|(queue, key)| QueueStep::Bind { queue, key }),
        1 => (queue(), 0..KEYS.len()).prop_map(|(queue, key)| QueueStep::Unbind { queue, key }),
        5 => (0..3usize, prop::bool::weighted(0.8), 0usize..200).prop_map(
            |(key, persistent, length)| QueueStep::Send { key, persistent, length }
        ),
    ]
}

fn arguments(queue: usize) -> Vec<u8> {
    let mut table = Vec::new();
    let mut writer = TableWriter::new(&mut table);
    let mut put = |name, value| writer.put(name, value).unwrap();
    if queue == 1 {
        put("x-message-ttl", FieldValue::I32(3_000));
        put("x-max-length", FieldValue::I32(5));
    }
    if queue == 2 {
        put("x-max-length-bytes", FieldValue::I32(600));
        put("x-overflow", FieldValue::LongString(b"reject-publish"));
    }
    table
}

fn find(bed: &Bed, queue: usize) -> Option<Arc<DeclaredQueue>> {
    bed.broker.find_queue(&Principal::anonymous(), CONNECTION, QUEUES[queue]).ok()
}

pub(super) fn run(bed: &Bed, step: &QueueStep, now_ms: u64) {
    let (broker, who) = (&bed.broker, Principal::anonymous());
    match step {
        QueueStep::Declare { queue } => {
            let declaration = QueueDeclaration {
                name: QUEUES[*queue],
                passive: false,
                durable: true,
                exclusive: false,
                auto_delete: *queue == 1,
                arguments: &arguments(*queue),
            };
            let told = || waiter().0;
            broker.declare_queue(&who, CONNECTION, &declaration, told, now_ms).unwrap();
        }
        QueueStep::Delete { queue } => {
            let (name, told) = (QUEUES[*queue], || waiter().0);
            broker.delete_queue(&who, CONNECTION, name, false, false, told, now_ms).unwrap();
        }
        QueueStep::Publish { queues, length, expires_in_ms, via } => {
            let mut queues: Vec<_> = queues.iter().filter_map(|queue| find(bed, *queue)).collect();
            queues.sort_by_key(|queue| queue.id);
            queues.dedup_by_key(|queue| queue.id);
            publish(bed, &queues, *length, expires_in_ms.map(|ms| now_ms + ms), *via, now_ms);
        }
        QueueStep::Take { queue, count, settle } => {
            let Some(queue) = find(bed, *queue) else { return };
            let mut counters = LocalCounters::new(Protocol::Mqtt);
            let mut places = Vec::new();
            for _ in 0..*count {
                let got = broker.fetch(
                    &who,
                    &queue,
                    CONNECTION,
                    false,
                    &mut counters,
                    now_ms,
                    |got, _| got.place,
                );
                places.extend(got.unwrap());
            }
            if *settle {
                broker.settle_places(&queue, &places);
                broker.submit_settled_places(&queue);
            } else {
                broker.return_places(&queue, &places);
            }
        }
        QueueStep::Purge { queue } => {
            let Some(queue) = find(bed, *queue) else { return };
            broker.purge(&who, &queue, CONNECTION, || waiter().0, now_ms).unwrap();
        }
        // There may be no such queue.
        QueueStep::Bind { queue, key } => {
            broker
                .bind(&who, CONNECTION, Entity::Queue, &binding(*queue, *key), || waiter().0)
                .ok();
        }
        QueueStep::Unbind { queue, key } => {
            broker
                .unbind(&who, CONNECTION, Entity::Queue, &binding(*queue, *key), || waiter().0)
                .ok();
        }
        QueueStep::Send { key, persistent, length } => {
            send(bed, KEYS[*key], *persistent, *length, now_ms);
        }
    }
}

/// Into the topic tree, and whatever queues are bound to it.
fn send(bed: &Bed, key: &str, persistent: bool, length: usize, now_ms: u64) {
    let (broker, who) = (&bed.broker, Principal::anonymous());
    let counters = LocalCounters::new(Protocol::Mqtt);
    let mut publisher = Publisher::new(broker, who, "".into(), NOBODY, counters);
    let publication = ExchangePublication {
        exchange: "amq.topic",
        keys: &[key],
        properties: &[0, 0],
        payload: &vec![b'y'; length],
        persistent,
        expires_in_ms: None,
    };
    let told = || Some(waiter().0);
    broker.publish_to_exchange(&mut publisher, &publication, told, now_ms).unwrap();
}

/// From the topic tree: what MQTT clients publish goes there too.
fn binding(queue: usize, key: usize) -> BindingSpec<'static> {
    BindingSpec { source: "amq.topic", destination: QUEUES[queue], key: KEYS[key], arguments: &[] }
}

fn publish(
    bed: &Bed,
    queues: &[Arc<DeclaredQueue>],
    length: usize,
    expires_ms: Option<u64>,
    via: bool,
    now_ms: u64,
) {
    if queues.is_empty() {
        return;
    }
    let via =
        via.then(|| Arc::new(Via::Exchange { exchange: "amq.topic".into(), key: "a.b".into() }));
    let members = queues.iter().map(|queue| SetMember {
        queue: queue.id,
        qos: QoS::AtLeastOnce,
        retain_as_published: false,
        subscription_ids: Vec::new(),
        via: via.clone(),
    });
    let set = bed.broker.intern(members.collect()).unwrap();
    let message = Message {
        time_ms: now_ms,
        expires_ms,
        topic: "a.b",
        properties: &[0, 0],
        client_id: "",
        username: "",
        payload: &vec![b'x'; length],
        qos: QoS::AtLeastOnce,
        retain: false,
        will: false,
        form: Form::Exchange("amq.direct"),
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let record = Record::Publish {
        vhost: "/",
        condition: Condition::None,
        set: Some(set.id),
        members: Vec::new(),
        retained: false,
        appends: Vec::new(),
        message: &bytes,
    };
    bed.broker.submit(Some(waiter().0), &record).unwrap();
}
