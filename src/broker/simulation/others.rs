//! Clients of AMQP and Kafka. Part of the simulation of `broker`.

use std::sync::Arc;

use super::model::Answer;
use super::world::{START_MS, World};
use super::{LOGS, SHORT_MAX, SHORT_TTL_MS, Step};
use crate::auth::principal::Principal;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::verbs::{CreateLog, LogRef};
use crate::broker::publish::Publisher;
use crate::broker::publish::exchange::ExchangePublication;
use crate::broker::record::{Committed, GroupRecord, Record};
use crate::broker::sessions::registry::NOBODY;
use crate::broker::testbed::client::waiter;
use crate::broker::testbed::produced::sequenced;
use crate::broker::testbed::{Violation, ensure};
use crate::metrics::{LocalCounters, Protocol};
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;
use crate::model::ids::ConnectionId;

const CONNECTION: ConnectionId = ConnectionId(1);
pub(super) const GROUP: &str = "readers";

fn arguments(queue: usize) -> Vec<u8> {
    let mut table = Vec::new();
    if queue == 1 {
        let mut writer = TableWriter::new(&mut table);
        let mut put = |name, value| writer.put(name, FieldValue::I32(value)).unwrap();
        put("x-message-ttl", SHORT_TTL_MS as i32);
        put("x-max-length", SHORT_MAX as i32);
    }
    table
}

/// A batch of one record; with a producer and its sequence (KIP-98).
fn batch(number: u64, producer: Option<(i64, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    let value = number.to_string();
    let value = Some(value.as_bytes());
    builder.push(&NewRecord { timestamp_ms: START_MS as i64, key: None, value, headers: &[] });
    let batch = builder.finish().unwrap();
    match producer {
        Some((id, sequence)) => sequenced(batch, id, 0, sequence),
        None => batch,
    }
}

impl World {
    fn find(&self, queue: usize) -> Option<Arc<DeclaredQueue>> {
        let (who, name) = (Principal::anonymous(), Self::queue_name(queue));
        self.bed.broker.find_queue(&who, CONNECTION, name).ok()
    }

    pub(super) fn others(&mut self, step: &Step) -> Result<(), Violation> {
        match *step {
            Step::Declare { queue } => self.declare(queue),
            Step::DeleteQueue { queue } => {
                let (who, name) = (Principal::anonymous(), Self::queue_name(queue));
                let (broker, now_ms) = (&self.bed.broker, self.model.now_ms);
                let told = || waiter().0;
                broker.delete_queue(&who, CONNECTION, name, false, false, told, now_ms).unwrap();
                self.model.queues.remove(&queue);
                self.model.bound.remove(&queue);
                self.places.remove(&queue);
            }
            Step::Send { queue, count } => {
                for _ in 0..count {
                    let number = self.next_number();
                    self.send(queue, number);
                }
                self.sync();
                self.bed.run_jobs(self.model.now_ms);
            }
            Step::Fetch { queue } => return self.fetch(queue),
            Step::Answer { queue, requeue } => {
                let Some(found) = self.find(queue) else { return Ok(()) };
                let places = self.places.entry(queue).or_default();
                if places.is_empty() {
                    return Ok(());
                }
                let (place, number) = places.remove(0);
                let broker = &self.bed.broker;
                if requeue {
                    broker.return_places(&found, &[place]);
                } else {
                    broker.settle_places(&found, &[place]);
                    broker.submit_settled_places(&found);
                }
                self.model.answer(queue, number, requeue);
                self.bed.run_jobs(self.model.now_ms);
            }
            Step::Purge { queue } => {
                let Some(found) = self.find(queue) else { return Ok(()) };
                let (who, now_ms) = (Principal::anonymous(), self.model.now_ms);
                let told = || waiter().0;
                self.bed.broker.purge(&who, &found, CONNECTION, told, now_ms).unwrap();
                if let Some(messages) = self.model.queues.get_mut(&queue) {
                    messages.retain(|one| one.out);
                }
            }
            _ => return self.of_logs(step),
        }
        Ok(())
    }

    fn declare(&mut self, queue: usize) {
        let (who, name) = (Principal::anonymous(), Self::queue_name(queue));
        let declaration = QueueDeclaration {
            name,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: &arguments(queue),
        };
        let (broker, told) = (&self.bed.broker, || waiter().0);
        broker.declare_queue(&who, CONNECTION, &declaration, told, self.model.now_ms).unwrap();
        self.model.queues.entry(queue).or_default();
        if queue == 0 {
            let spec =
                BindingSpec { source: "amq.topic", destination: name, key: "a.b", arguments: &[] };
            let told = || waiter().0;
            self.bed.broker.bind(&who, CONNECTION, Entity::Queue, &spec, told).unwrap();
            self.model.bound.insert(queue);
        }
    }

    /// By the default exchange; without a queue of that name it goes nowhere.
    fn send(&mut self, queue: usize, number: u64) {
        let (broker, who) = (&self.bed.broker, Principal::anonymous());
        let counters = LocalCounters::new(Protocol::Mqtt);
        let mut publisher = Publisher::new(broker, who, "".into(), NOBODY, counters);
        let payload = number.to_string();
        let publication = ExchangePublication {
            exchange: "",
            keys: &[Self::queue_name(queue)],
            properties: &[0, 0],
            payload: payload.as_bytes(),
            persistent: true,
            expires_in_ms: None,
        };
        let (told, now_ms) = (|| Some(waiter().0), self.model.now_ms);
        broker.publish_to_exchange(&mut publisher, &publication, told, now_ms).unwrap();
        self.model.enqueue(queue, number);
    }

    fn fetch(&mut self, queue: usize) -> Result<(), Violation> {
        let Some(found) = self.find(queue) else { return Ok(()) };
        let (broker, now_ms) = (&self.bed.broker, self.model.now_ms);
        let who = Principal::anonymous();
        let mut counters = LocalCounters::new(Protocol::Mqtt);
        let got = broker.fetch(&who, &found, CONNECTION, false, &mut counters, now_ms, |one, _| {
            let text = std::str::from_utf8(one.message.payload).unwrap();
            (one.place, text.parse::<u64>().unwrap_or(0), one.redelivered)
        });
        let got = got.unwrap();
        let expected = self.model.fetch(queue);
        let number = got.map(|(_, number, _)| number);
        ensure!(number == expected.map(|one| one.0), "{queue} gives {got:?}, not {expected:?}");
        if let (Some((place, number, redelivered)), Some((_, returned))) = (got, expected) {
            ensure!(redelivered || !returned, "{number} came back unmarked");
            self.places.entry(queue).or_default().push((place, number));
        }
        Ok(())
    }

    fn of_logs(&mut self, step: &Step) -> Result<(), Violation> {
        let (who, now_ms) = (Principal::anonymous(), self.model.now_ms);
        let broker = Arc::clone(&self.bed.broker);
        match *step {
            Step::Create { log } => {
                let spec = CreateLog {
                    name: LOGS[log].to_owned(),
                    partitions: Some(1),
                    config: Vec::new(),
                    validate_only: false,
                };
                let created = self.wait(broker.create_log(&who, spec, now_ms)).is_ok();
                let is_new = !self.model.logs.contains_key(&log);
                ensure!(created == is_new, "created: {created}, new: {is_new}");
                self.model.logs.entry(log).or_default();
            }
            Step::Append { log, producer } => {
                let number = self.next_number();
                let producer = producer.map(|(id, delta)| {
                    let next = self.model.sequence(log, id);
                    (id, if next == 0 { 0 } else { next + delta })
                });
                let batch = batch(number, producer);
                let answer = match broker.append_batch(&who, LOGS[log], 0, &batch, (now_ms, now_ms))
                {
                    Ok(ack) => self.wait(ack),
                    Err(error) => Err(error),
                };
                let answer = answer.map_or(Answer::Refused, |done| Answer::At(done.base_offset));
                let expected = self.model.append(log, producer, number);
                ensure!(answer == expected, "{producer:?}: {answer:?}, not {expected:?}");
            }
            Step::Cut { log, back } => {
                let Some(known) = self.model.logs.get_mut(&log) else { return Ok(()) };
                let to = known.values.len().saturating_sub(back as usize);
                known.start = known.start.max(to);
                let cuts = [(0, to as i64)];
                self.wait(broker.delete_records(&who, LOGS[log], &cuts)).unwrap();
            }
            Step::DeleteLog { log } => {
                let deleted = self.wait(broker.delete_log(&who, LogRef::Name(LOGS[log]))).is_ok();
                let known = self.model.logs.contains_key(&log);
                ensure!(deleted == known, "deleted: {deleted}, known: {known}");
                self.model.delete_log(log);
            }
            Step::Commit { log, offset } => {
                let Some(known) = broker.logs.table.by_name("/", LOGS[log]) else { return Ok(()) };
                let committed = Committed {
                    log: known.id,
                    partition: 0,
                    offset,
                    leader_epoch: 0,
                    metadata: "",
                };
                let (vhost, group, offsets) = ("/", GROUP, vec![committed]);
                let record = GroupRecord::Commit { vhost, group, time_ms: now_ms, offsets };
                broker.submit(None, &Record::Group(record)).unwrap();
                self.model.offsets.insert(log, (offset, now_ms));
            }
            _ => {}
        }
        Ok(())
    }
}
