//! Routes out of logs over a broker whose journal is synced on command. Part of `broker::carry`.
//!
//! - [`delivery`] what arrives, and what the position says
//! - [`beginnings`] where a route begins, and what happens to its log meanwhile
//! - [`refusals`] what cannot be carried, and what is refused for a while
//! - [`random`] all of it with power cuts, in any order

mod beginnings;
mod delivery;
mod random;
mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::reader::Reader;
use super::{Beginning, OutRoute, Outgoing, Outlet, group_of};
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::message::Message;
use crate::broker::queues::queue::Queue;
use crate::broker::record::Record;
use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Client, NOW_MS, waiter};
use crate::broker::testbed::stored::waiting;
use crate::metrics::label::RouteFailure;
use crate::model::ids::{ConnectionId, QueueId};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

const LOG: &str = "commands";
const ROUTE: &str = "out";
const OWN: ConnectionId = ConnectionId(1);

/// A route whose topics are its records' keys.
pub(super) struct Source {
    pub(super) beginning: Beginning,
    pub(super) outlet: Outlet<'static>,
    pub(super) carried: AtomicU64,
    pub(super) failed: Mutex<Vec<(RouteFailure, u64)>>,
}

impl Source {
    fn new(beginning: Beginning, outlet: Outlet<'static>) -> Arc<Self> {
        Arc::new(Self { beginning, outlet, carried: AtomicU64::new(0), failed: Mutex::default() })
    }
}

impl OutRoute for Source {
    fn name(&self) -> &str {
        ROUTE
    }

    fn log(&self) -> &str {
        LOG
    }

    fn beginning(&self) -> Beginning {
        self.beginning
    }

    fn outlet(&self) -> Outlet<'_> {
        self.outlet
    }

    fn address(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), RouteFailure> {
        out.extend_from_slice(outgoing.record.key.ok_or(RouteFailure::MissingValue)?);
        Ok(())
    }

    fn carried(&self, records: u64) {
        self.carried.fetch_add(records, Ordering::Relaxed);
    }

    fn failed(&self, why: RouteFailure, records: u64) {
        self.failed.lock().push((why, records));
    }
}

/// From the tree into the log of its name.
pub(super) struct Into(pub(super) &'static str);

impl Route for Into {
    fn name(&self) -> &str {
        self.0
    }

    fn target(&self, message: &RouteInput<'_>) -> Result<RouteTarget, String> {
        Ok(RouteTarget {
            log: self.0.to_owned(),
            partitions: Some(1),
            key: Some(message.topic.as_bytes().to_vec()),
            partition: PartitionChoice::Explicit(0),
        })
    }
}

/// A broker with a log, and a route out of it.
pub(super) struct Yard {
    bed: Option<Bed>,
    pub(super) source: Arc<Source>,
    reader: Reader,
    pub(super) now_ms: u64,
}

const TREE: Outlet<'static> = Outlet::Tree { qos: QoS::AtLeastOnce, retain: false };

fn reader(bed: &Bed, source: &Arc<Source>) -> Reader {
    Reader::new(Arc::clone(&bed.broker), Arc::clone(source) as _, "/".into(), "here")
}

/// Makes room for everything, as a start does.
fn resume(bed: &mut Bed) {
    let mut limits = *bed.broker.limits();
    limits.queue.messages_max = 100_000;
    limits.queue.bytes_max = 1 << 30;
    limits.queue.volatile_max = 100_000;
    limits.queue.volatile_bytes_max = 1 << 30;
    bed.broker.limits.store(Arc::new(limits));
    bed.resume(NOW_MS);
    bed.sync();
}

impl Yard {
    pub(super) fn new(partitions: u32, beginning: Beginning, outlet: Outlet<'static>) -> Self {
        let mut yard = Self::without_log(beginning, outlet);
        yard.create(partitions);
        yard
    }

    pub(super) fn without_log(beginning: Beginning, outlet: Outlet<'static>) -> Self {
        let mut bed = Bed::roomy();
        resume(&mut bed);
        let source = Source::new(beginning, outlet);
        let reader = reader(&bed, &source);
        Self { bed: Some(bed), source, reader, now_ms: NOW_MS }
    }

    pub(super) fn bed(&mut self) -> &mut Bed {
        self.bed.as_mut().unwrap()
    }

    pub(super) fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.bed.as_ref().unwrap().broker)
    }

    pub(super) fn create(&mut self, partitions: u32) {
        self.broker().prepare_log("/", LOG, Some(partitions), NOW_MS);
        self.bed().sync();
    }

    /// Appends records, keys and values, as one batch.
    pub(super) fn append(&mut self, partition: u32, pairs: &[(&str, &str)]) {
        let mut builder = BatchBuilder::default();
        for (key, value) in pairs {
            builder.push(&NewRecord {
                timestamp_ms: 1,
                key: (!key.is_empty()).then_some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            });
        }
        self.append_batch(partition, &builder.finish().unwrap());
        self.bed().sync();
    }

    /// Submits a batch.
    pub(super) fn append_batch(&mut self, partition: u32, batch: &[u8]) {
        let broker = self.broker();
        let log = broker.logs.table.by_name("/", LOG).unwrap().id;
        let record = Record::Append { log, partition, time_ms: NOW_MS, batch };
        broker.submit(None, &record).unwrap();
    }

    /// One turn of the route.
    pub(super) fn work(&mut self) {
        self.reader.work(self.now_ms);
    }

    /// Turns and syncs until nothing is left to do but what is refused.
    pub(super) fn settle(&mut self) {
        for _ in 0..60 {
            self.now_ms += 100;
            self.work();
            self.bed().sync();
        }
    }

    /// A durable session that nobody serves.
    pub(super) fn session(&mut self, id: &str, filter: &str) {
        let broker = self.broker();
        let bed = self.bed.as_mut().unwrap();
        let mut client = Client::open(&broker, id, true, 10, || bed.sync());
        client.subscribe(&broker, filter, QoS::ExactlyOnce, || bed.sync());
        client.close(&broker);
        bed.sync();
    }

    /// A connected client whose session ends with its connection.
    pub(super) fn guest(&mut self, id: &str, filter: &str) -> Client {
        let broker = self.broker();
        let bed = self.bed.as_mut().unwrap();
        let mut client = Client::open(&broker, id, false, 1000, || bed.sync());
        client.subscribe(&broker, filter, QoS::ExactlyOnce, || bed.sync());
        client
    }

    /// A durable queue bound to `amq.topic`.
    pub(super) fn queue(&mut self, name: &str, key: &str, arguments: &[u8]) {
        let declaration = QueueDeclaration {
            name,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments,
        };
        let (broker, who) = (self.broker(), Principal::anonymous());
        broker.declare_queue(&who, OWN, &declaration, || waiter().0, NOW_MS).unwrap();
        self.bed().sync();
        let spec = BindingSpec { source: "amq.topic", destination: name, key, arguments: &[] };
        broker.bind(&who, OWN, Entity::Queue, &spec, || waiter().0).unwrap();
        self.bed().sync();
    }

    pub(super) fn route_into(&self, log: &'static str, filter: &str) {
        let filter = TopicFilter::parse(filter).unwrap();
        self.broker().router.vhost("/").add_route(&filter, Arc::new(Into(log)));
    }

    /// The power goes; of what was not synced the disk has some quarters. Routes are to be added again.
    pub(super) fn restart(&mut self, quarters: usize) {
        let bed = self.bed.take().unwrap();
        self.reader = Reader::new(
            Arc::clone(&Bed::new().broker),
            Arc::clone(&self.source) as _,
            "/".into(),
            "nowhere",
        );
        let mut bed = bed.restart(&mut |_, unsynced| unsynced * quarters / 4);
        resume(&mut bed);
        self.reader = reader(&bed, &self.source);
        self.bed = Some(bed);
    }

    /// The committed offset.
    pub(super) fn position(&self, partition: u32) -> i64 {
        let broker = self.broker();
        let log = broker.logs.table.by_name("/", LOG).unwrap().id;
        broker.groups.position("/", &group_of(ROUTE), (log, partition))
    }

    /// Payloads in a durable session.
    pub(super) fn in_session(&self, id: &str) -> Vec<String> {
        let broker = self.broker();
        let session = broker.sessions.all().into_iter().find(|one| &*one.key.client_id == id);
        let session = session.unwrap();
        let inner = session.inner.lock();
        payloads(&broker, session.id, &inner.queue)
    }

    /// Payloads in a queue.
    pub(super) fn in_queue(&self, name: &str) -> Vec<String> {
        let broker = self.broker();
        let queue = broker.exchanges.vhost("/").unwrap().queue(name).unwrap();
        let inner = queue.inner.lock();
        payloads(&broker, queue.id, &inner.ledger.queue)
    }

    /// Values of a log's partition.
    pub(super) fn in_log(&self, log: &str, partition: usize) -> Vec<String> {
        let Some(log) = self.broker().logs.table.by_name("/", log) else { return Vec::new() };
        let partition = &log.partitions[partition];
        let mut values = Vec::new();
        // A read ends with its segment.
        while let Ok(offset) = i64::try_from(values.len())
            && offset < partition.end()
        {
            let slice = partition.read(offset, 1 << 20).unwrap();
            for record in batches(&slice.records).flat_map(|batch| records(batch).unwrap()) {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }

    pub(super) fn failed(&self) -> Vec<(RouteFailure, u64)> {
        self.source.failed.lock().clone()
    }
}

fn payloads(broker: &Broker, id: QueueId, queue: &Queue) -> Vec<String> {
    waiting(broker, id, queue)
        .iter()
        .map(|(_, bytes)| {
            String::from_utf8(Message::decode(bytes).unwrap().payload.to_vec()).unwrap()
        })
        .collect()
}

/// Key and value pairs with one key.
pub(super) fn all_to<'a>(key: &'a str, values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    values.iter().map(|value| (key, *value)).collect()
}
