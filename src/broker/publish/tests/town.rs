//! A broker with clients of both worlds, for tests. Part of the tests of `broker::publish`.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::principal::Principal;
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::hits::ExchangeRoute;
use crate::broker::exchanges::verbs::{BindingSpec, ExchangeDeclaration, QueueDeclaration};
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::message::Form;
use crate::broker::publish::exchange::{ExchangePublication, PublishError};
use crate::broker::publish::{Published, Publisher};
use crate::broker::record::Condition;
use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Client, NOW_MS, Sent, publisher, waiter};
use crate::broker::via::Via;
use crate::broker::{Broker, BrokerError};
use crate::metrics::{DropReason, LocalCounters, Protocol};
use crate::model::content::edit::Editor;
use crate::model::field_table::write::TableWriter;
use crate::model::ids::ConnectionId;
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

pub(super) const OWN: ConnectionId = ConnectionId(1);

/// A waiter that nobody asks.
pub(super) fn unheard() -> Waiter {
    waiter().0
}

/// A property block with one header, and what clients usually set beside it.
pub(super) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut editor = Editor::default();
    if !headers.is_empty() {
        let mut table = Vec::new();
        let mut writer = TableWriter::new(&mut table);
        for (name, value) in headers {
            writer.string(name, value).unwrap();
        }
        editor.headers(table);
    }
    let mut out = Vec::new();
    editor.write(&mut out);
    out
}

/// An MQTT property block of user properties.
pub(super) fn user_properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        out.push(0x26);
        for text in [name, value] {
            out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            out.extend(text.as_bytes());
        }
    }
    out
}

/// A broker, an MQTT client that publishes and an AMQP channel that does.
pub(super) struct Town {
    pub(super) bed: Bed,
    pub(super) who: Principal,
    pub(super) device: Publisher,
    pub(super) channel: Publisher,
    pub(super) properties: Vec<u8>,
}

impl Town {
    pub(super) fn new() -> Self {
        let bed = Bed::roomy();
        let who = Principal::named("ann");
        let device = publisher(&bed.broker);
        let channel = channel(&bed.broker, &who);
        Self { bed, who, device, channel, properties: block(&[]) }
    }

    pub(super) fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.bed.broker)
    }

    pub(super) fn queue(&mut self, name: &str, durable: bool) -> Arc<DeclaredQueue> {
        self.queue_with(name, durable, &[])
    }

    pub(super) fn queue_with(
        &mut self,
        name: &str,
        durable: bool,
        arguments: &[u8],
    ) -> Arc<DeclaredQueue> {
        let declaration = QueueDeclaration {
            name,
            passive: false,
            durable,
            exclusive: false,
            auto_delete: false,
            arguments,
        };
        let broker = self.broker();
        let declared = broker.declare_queue(&self.who, OWN, &declaration, unheard, NOW_MS).unwrap();
        self.bed.sync();
        declared.queue
    }

    pub(super) fn delete_queue(&mut self, name: &str) {
        let broker = self.broker();
        broker.delete_queue(&self.who, OWN, name, false, false, unheard, NOW_MS).unwrap();
        self.bed.sync();
    }

    pub(super) fn exchange(&mut self, name: &str, kind: &str) {
        self.exchange_with(name, kind, false, &[]);
    }

    pub(super) fn exchange_with(
        &mut self,
        name: &str,
        kind: &str,
        internal: bool,
        arguments: &[u8],
    ) {
        let declaration = ExchangeDeclaration {
            name,
            kind,
            passive: false,
            durable: true,
            auto_delete: false,
            internal,
            arguments,
        };
        self.bed.broker.declare_exchange(&self.who, &declaration, unheard).unwrap();
        self.bed.sync();
    }

    pub(super) fn bind(&mut self, source: &str, destination: &str, key: &str) {
        let spec = BindingSpec { source, destination, key, arguments: &[] };
        self.bed.broker.bind(&self.who, OWN, Entity::Queue, &spec, unheard).unwrap();
        self.bed.sync();
    }

    pub(super) fn unbind(&mut self, source: &str, destination: &str, key: &str) {
        let spec = BindingSpec { source, destination, key, arguments: &[] };
        self.bed.broker.unbind(&self.who, OWN, Entity::Queue, &spec, unheard).unwrap();
        self.bed.sync();
    }

    pub(super) fn chain(&mut self, source: &str, destination: &str, key: &str) {
        let spec = BindingSpec { source, destination, key, arguments: &[] };
        self.bed.broker.bind(&self.who, OWN, Entity::Exchange, &spec, unheard).unwrap();
        self.bed.sync();
    }

    /// The same when an end may be missing.
    pub(super) fn try_bind(&mut self, source: &str, destination: &str, key: &str) {
        let spec = BindingSpec { source, destination, key, arguments: &[] };
        self.bed.broker.bind(&self.who, OWN, Entity::Queue, &spec, unheard).ok();
    }

    pub(super) fn try_unbind(&mut self, source: &str, destination: &str, key: &str) {
        let spec = BindingSpec { source, destination, key, arguments: &[] };
        self.bed.broker.unbind(&self.who, OWN, Entity::Queue, &spec, unheard).ok();
    }

    pub(super) fn try_chain(&mut self, source: &str, destination: &str, key: &str) {
        let spec = BindingSpec { source, destination, key, arguments: &[] };
        self.bed.broker.bind(&self.who, OWN, Entity::Exchange, &spec, unheard).ok();
    }

    /// A queue bound once.
    pub(super) fn bound(
        &mut self,
        name: &str,
        durable: bool,
        source: &str,
        key: &str,
    ) -> Arc<DeclaredQueue> {
        let queue = self.queue(name, durable);
        self.bind(source, name, key);
        queue
    }

    pub(super) fn client(&mut self, id: &str, durable: bool, filter: &str) -> Client {
        let broker = self.broker();
        let mut client = Client::open(&broker, id, durable, 100, || self.bed.sync());
        client.subscribe(&broker, filter, QoS::ExactlyOnce, || self.bed.sync());
        client
    }

    /// An MQTT publish.
    pub(super) fn say(&mut self, topic: &str, payload: &str, qos: QoS) -> Published {
        self.say_with(topic, payload, qos, false, &[]).unwrap()
    }

    pub(super) fn say_with(
        &mut self,
        topic: &str,
        payload: &str,
        qos: QoS,
        retain: bool,
        properties: &[u8],
    ) -> Result<Published, BrokerError> {
        let publication = Publication {
            topic,
            payload: payload.as_bytes(),
            properties,
            qos,
            retain,
            expiry_s: None,
        };
        let told = || Some(unheard());
        let condition = Condition::None;
        self.bed.broker.publish(&mut self.device, &publication, condition, told, NOW_MS)
    }

    /// An AMQP publish, persistent or not.
    pub(super) fn send(
        &mut self,
        exchange: &str,
        key: &str,
        payload: &str,
        persistent: bool,
    ) -> Published {
        self.send_with(exchange, &[key], payload, persistent).unwrap()
    }

    pub(super) fn send_with(
        &mut self,
        exchange: &str,
        keys: &[&str],
        payload: &str,
        persistent: bool,
    ) -> Result<Published, PublishError> {
        self.send_told(exchange, keys, payload, persistent, unheard())
    }

    pub(super) fn send_told(
        &mut self,
        exchange: &str,
        keys: &[&str],
        payload: &str,
        persistent: bool,
        told: Waiter,
    ) -> Result<Published, PublishError> {
        let publication = ExchangePublication {
            exchange,
            keys,
            properties: &self.properties,
            payload: payload.as_bytes(),
            persistent,
            expires_in_ms: None,
        };
        let told = || Some(told);
        self.bed.broker.publish_to_exchange(&mut self.channel, &publication, told, NOW_MS)
    }

    /// What became of a persistent publish.
    pub(super) fn outcome(&mut self, exchange: &str, key: &str, payload: &str) -> Option<Outcome> {
        let (told, mut outcome) = waiter();
        let published = self.send_told(exchange, &[key], payload, true, told).unwrap();
        assert!(matches!(published, Published::Waiting { .. }));
        self.bed.sync();
        outcome.try_recv().ok()
    }

    /// Takes everything out of a queue: `exchange|key|payload` as an AMQP client would see it.
    pub(super) fn taken(&self, queue: &Arc<DeclaredQueue>) -> Vec<String> {
        let mut all = Vec::new();
        let mut counters = LocalCounters::new(Protocol::Mqtt);
        let (broker, who) = (&self.bed.broker, &self.who);
        while let Some(one) = broker
            .fetch(who, queue, OWN, true, &mut counters, NOW_MS, |delivery, _| {
                let message = delivery.message;
                let payload = std::str::from_utf8(message.payload).unwrap();
                match (delivery.via, message.form) {
                    (Some(Via::Exchange { exchange, key }), _) => {
                        format!("via {exchange}|{key}|{payload}")
                    }
                    (Some(Via::Topic(topic)), _) => format!("via {topic}|{payload}"),
                    (None, Form::Topic) => format!("topic {}|{payload}", message.topic),
                    (None, Form::Exchange(exchange)) => {
                        format!("{exchange}|{}|{payload}", message.topic)
                    }
                }
            })
            .unwrap()
        {
            all.push(one);
        }
        all
    }

    /// What came to a client since the last time: `topic|payload|QoS`. It acknowledges nothing.
    pub(super) fn got(&mut self, client: &mut Client) -> Vec<String> {
        self.bed.sync();
        let came = client.turn(&self.bed.broker, NOW_MS);
        came.iter().map(told_of).collect()
    }

    /// Messages that were not delivered for `reason`.
    pub(super) fn dropped(&mut self, reason: DropReason) -> u64 {
        let metrics = &self.bed.broker.metrics;
        self.device.counters.flush_into(metrics);
        self.channel.counters.flush_into(metrics);
        metrics.messages.dropped.of(reason).get()
    }

    pub(super) fn route_to_log(&self, name: &'static str, filter: &str) {
        self.add_route(filter, Arc::new(ToLog { name }));
    }

    pub(super) fn route_to_exchange(
        &self,
        name: &'static str,
        filter: &str,
        exchange: &'static str,
        key: fn(&str) -> Option<String>,
    ) -> Arc<Carried> {
        let carried = Arc::<Carried>::default();
        let route = ToExchange { name, exchange, key, carried: Arc::clone(&carried) };
        self.add_route(filter, Arc::new(route));
        carried
    }

    fn add_route(&self, filter: &str, route: Arc<dyn Route>) {
        let filter = TopicFilter::parse(filter).unwrap();
        self.bed.broker.router.vhost("/").add_route(&filter, route);
    }

    pub(super) fn route_to_tree(
        &self,
        name: &'static str,
        exchange: &str,
        binding: &str,
        topic: fn(&str) -> Option<String>,
    ) -> Arc<Carried> {
        let carried = Arc::<Carried>::default();
        let route = Arc::new(ToTree { name, topic, carried: Arc::clone(&carried) });
        let vhost = self.bed.broker.exchanges.vhost("/").unwrap();
        vhost.add_route(exchange, binding, route);
        carried
    }

    /// The records of log `all`: key, headers of interest, value.
    pub(super) fn logged(&mut self) -> Vec<String> {
        self.bed.sync();
        let Some(log) = self.bed.broker.logs.table.by_name("/", "all") else { return Vec::new() };
        let slice = log.partitions[0].read(0, 1 << 20).unwrap();
        let all = batches(&slice.records).flat_map(|batch| records(batch).unwrap());
        all.map(|record| {
            let record = record.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers: Vec<String> = record
                .headers()
                .filter(|(name, _)| *name != b"mqtt-client-id")
                .map(|(name, value)| format!("{}={}", text(name), text(value.unwrap())))
                .collect();
            let (key, value) = (text(record.key.unwrap()), text(record.value.unwrap()));
            format!("{key}|{}|{value}", headers.join(","))
        })
        .collect()
    }
}

/// An AMQP channel's publisher.
pub(super) fn channel(broker: &Broker, who: &Principal) -> Publisher {
    let counters = LocalCounters::new(Protocol::Mqtt);
    let nobody = crate::broker::sessions::registry::NOBODY;
    Publisher::new(broker, who.clone(), "".into(), nobody, counters)
}

fn told_of(sent: &Sent) -> String {
    let payload = std::str::from_utf8(&sent.payload).unwrap();
    format!("{}|{payload}|{}", sent.topic, sent.qos as u8)
}

/// What a route counted: carried, and not.
#[derive(Debug, Default)]
pub(super) struct Carried(Mutex<(u64, u64)>);

impl Carried {
    pub(super) fn counts(&self) -> (u64, u64) {
        *self.0.lock()
    }

    fn count(&self, carried: bool) {
        let mut counts = self.0.lock();
        if carried { counts.0 += 1 } else { counts.1 += 1 }
    }
}

struct ToLog {
    name: &'static str,
}

impl Route for ToLog {
    fn name(&self) -> &str {
        self.name
    }

    fn target(&self, message: &RouteInput<'_>) -> Result<RouteTarget, String> {
        Ok(RouteTarget {
            log: "all".to_owned(),
            partitions: Some(1),
            key: Some(message.topic.as_bytes().to_vec()),
            partition: PartitionChoice::Explicit(0),
        })
    }
}

struct ToExchange {
    name: &'static str,
    exchange: &'static str,
    key: fn(&str) -> Option<String>,
    carried: Arc<Carried>,
}

impl Route for ToExchange {
    fn name(&self) -> &str {
        self.name
    }

    fn is_to_log(&self) -> bool {
        false
    }

    fn exchange(&self, input: &RouteInput<'_>) -> Result<(String, String), String> {
        let key = (self.key)(input.topic).ok_or("no key")?;
        Ok((self.exchange.to_owned(), key))
    }

    fn count(&self, carried: bool) {
        self.carried.count(carried);
    }

    fn target(&self, _: &RouteInput<'_>) -> Result<RouteTarget, String> {
        Err("not a log".to_owned())
    }
}

struct ToTree {
    name: &'static str,
    topic: fn(&str) -> Option<String>,
    carried: Arc<Carried>,
}

impl ExchangeRoute for ToTree {
    fn name(&self) -> &str {
        self.name
    }

    fn topic(&self, _: &str, key: &str) -> Result<String, String> {
        (self.topic)(key).ok_or_else(|| "no topic".to_owned())
    }

    fn count(&self, carried: bool) {
        self.carried.count(carried);
    }
}
