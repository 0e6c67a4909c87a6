//! Messages into queues, logs and retained slots. Part of `broker::apply`.

use std::sync::Arc;

use bytes::Bytes;

use crate::metrics::DropReason;
use crate::model::ids::{Lsn, QueueId, SetId};
use crate::model::message::Publication;
use crate::model::qos::QoS;

use super::super::consumer::Outcome;
use super::super::crossing::TopicView;
use super::super::logs::batch::build::NewRecord;
use super::super::logs::carried;
use super::super::message::Message;
use super::super::queues::entry::{Body, Entry, Stored};
use super::super::record::{Condition, ReplayItem, RoutedAppend, SetMember};
use super::super::via::Via;
use super::Applier;

/// Bytes of bodies in memory up to which they are slices of journal batches.
const SLICES_BYTES_MAX: usize = 4 << 20;

/// The fields of a publish record.
pub(super) struct DurablePublish<'a> {
    pub(super) vhost: &'a str,
    pub(super) condition: Condition<'a>,
    pub(super) set: Option<SetId>,
    pub(super) members: &'a [SetMember],
    pub(super) retained: bool,
    pub(super) appends: &'a [RoutedAppend<'a>],
    pub(super) message: Bytes,
}

/// What of a queued message depends on its destination.
struct Place<'a> {
    queue: QueueId,
    qos: QoS,
    retain: bool,
    subscription_ids: &'a [u32],
    via: Option<&'a Arc<Via>>,
}

impl Applier {
    /// One verdict from whoever owns the condition; then every destination, or none (rule 6).
    pub(super) fn publish(&mut self, lsn: Lsn, publish: DurablePublish<'_>) -> Outcome {
        let bytes = publish.message.clone();
        let Ok(message) = Message::decode(&bytes) else {
            tracing::error!(%lsn, "a journaled message does not decode");
            return Outcome::Stale;
        };
        self.time_ms = self.time_ms.max(message.time_ms);
        let interned = publish.set.and_then(|set| self.sets.get(&set).map(Arc::clone));
        let members = || interned.iter().flat_map(|set| set.iter()).chain(publish.members);
        let refused = self.is_refused(members(), message.payload.len() as u64);
        let verdict = self.judge(publish.vhost, publish.condition, refused);
        if verdict != Outcome::Done {
            if publish.retained {
                self.broker.retained.withdraw(publish.vhost, message.topic, lsn);
            }
            return verdict;
        }
        for append in publish.appends {
            self.carry(append, &message);
        }
        // What only logs get is not kept in memory.
        if members().next().is_none() && !publish.retained {
            return Outcome::Done;
        }
        let stored = self.body(publish.message.clone());
        for member in members() {
            let via = member.via.as_ref();
            if self.enqueue_declared(lsn, &stored, &message, member.queue, via) {
                continue;
            }
            let place = Place {
                queue: member.queue,
                qos: member.qos.min(message.qos),
                retain: member.retain_as_published && message.retain,
                subscription_ids: &member.subscription_ids,
                via: member.via.as_ref(),
            };
            self.enqueue(lsn, &stored, &place);
        }
        if publish.retained {
            let value = (!message.payload.is_empty()).then_some(stored);
            self.broker.retained.apply(publish.vhost, message.topic, lsn, value);
        }
        Outcome::Done
    }

    /// A body is a slice of its journal batch. When messages pile up they get memory of their own instead: of a
    /// batch that is mostly gone, or was given more room than it needed, nothing is then kept for their sake.
    pub(super) fn body(&self, message: Bytes) -> Arc<Stored> {
        let memory = &self.broker.memory;
        if memory.used() < SLICES_BYTES_MAX {
            return Stored::counted(message, memory);
        }
        Stored::counted(Bytes::copy_from_slice(&message), memory)
    }

    fn judge(&mut self, vhost: &str, condition: Condition<'_>, refused: bool) -> Outcome {
        let verdict = if refused { Outcome::Rejected } else { Outcome::Done };
        if let Condition::Position { group, log, partition, expected, next } = condition {
            // A publish that is refused leaves the group where it was: its reader tries again. A log that is gone
            // took the group's offsets with it, and none shall come after them.
            if !self.is_at(vhost, group, (log, partition), expected) {
                return Outcome::Stale;
            }
            if !refused {
                self.move_group(vhost, group, (log, partition), next);
            }
            return verdict;
        }
        let (Condition::Inbound { session: id, epoch, .. }
        | Condition::Will { session: id, epoch }) = condition
        else {
            return verdict;
        };
        let Some(session) = self.broker.sessions.by_id(id) else { return Outcome::Stale };
        let mut inner = session.inner.lock();
        if !inner.state.exists || inner.state.epoch != epoch {
            return Outcome::Stale;
        }
        let verdict = match condition {
            Condition::Inbound { packet_id, .. } if inner.state.inbound.contains(&packet_id) => {
                Outcome::Duplicate
            }
            Condition::Inbound { packet_id, .. } => {
                if !refused {
                    inner.state.inbound.insert(packet_id);
                }
                verdict
            }
            // A will that is refused is lost: nobody is there to publish it again.
            Condition::Will { .. } if inner.state.will.take().is_none() => Outcome::Stale,
            Condition::Will { .. } | Condition::Position { .. } | Condition::None => verdict,
        };
        self.mark(&session, &mut inner);
        verdict
    }

    fn enqueue(&mut self, lsn: Lsn, stored: &Arc<Stored>, place: &Place<'_>) {
        let Some(session) = self.broker.sessions.by_id(place.queue) else { return };
        let mut inner = session.inner.lock();
        if !inner.state.exists {
            return;
        }
        if inner.queue.live() >= self.limits.messages_max
            || inner.queue.bytes() >= self.limits.bytes_max
        {
            drop(inner);
            self.broker.metrics.messages.dropped.of(DropReason::QueueFull).inc();
            // A line in the log is no state: the record's time is near enough.
            self.broker.tell_full(&session, DropReason::QueueFull, self.time_ms);
            return;
        }
        let body = Body::Memory(Arc::clone(stored));
        self.broker.backlog.enter(body.len());
        let mut entry = Entry::new(lsn.0, body, place.qos, place.retain);
        if !place.subscription_ids.is_empty() {
            entry.subscription_ids = Some(place.subscription_ids.into());
        }
        entry.via = place.via.cloned();
        inner.queue.push(entry);
        self.mark(&session, &mut inner);
        let is_over = || self.wanted.is_over(inner.queue.live(), inner.queue.bytes());
        if self.wanted.drops_oldest && is_over() && !inner.trim_planned {
            inner.trim_planned = true;
            self.to_tidy.push((0, session.id));
        }
        let linked = inner.link.is_some();
        drop(inner);
        if linked {
            self.wake_later(&session);
        }
    }

    /// Notes how far a replay has come. Stale when the subscription is given up meanwhile, or when the session
    /// is another connection's, which goes on with the replay from where the record before left it.
    pub(super) fn advance_replay(
        &mut self,
        session: QueueId,
        epoch: u64,
        filter: &str,
        after: Option<&str>,
    ) -> Outcome {
        let mut is_subscribed = false;
        let outcome = self.change_session(session, Some(epoch), |inner| {
            if let Some(subscription) = inner.state.subscriptions.get_mut(filter) {
                subscription.replay_after = after.map(str::to_owned);
                is_subscribed = true;
            }
        });
        if is_subscribed { outcome } else { Outcome::Stale }
    }

    /// Retained messages for a subscription that just came.
    pub(super) fn replay(
        &mut self,
        lsn: Lsn,
        session: QueueId,
        items: &[ReplayItem<'_>],
        bytes: &Bytes,
    ) {
        for item in items {
            let stored = Stored::new(bytes.slice_ref(item.message));
            let ids: Vec<u32> = item.subscription_id.into_iter().collect();
            let place = Place {
                queue: session,
                qos: item.qos,
                retain: true,
                subscription_ids: &ids,
                via: None,
            };
            self.enqueue(lsn, &stored, &place);
        }
    }

    /// Gathers a message for a partition; one batch a partition and sync.
    fn carry(&mut self, append: &RoutedAppend<'_>, message: &Message<'_>) {
        let log = self.broker.logs.table.by_id(append.log);
        let Some(partition) = log.as_ref().and_then(|log| log.partition(append.partition)) else {
            return;
        };
        let mut view = TopicView::default();
        let Ok(message) = view.of(message, append.via.as_deref()) else {
            // The route saw it under a topic when it was published.
            tracing::error!(key = message.topic, "a routed message has no topic");
            return;
        };
        let publication = Publication {
            topic: message.topic,
            payload: message.payload,
            properties: message.properties,
            qos: message.qos,
            retain: message.retain,
            expiry_s: message.remaining_s(message.time_ms),
        };
        let mut kept = std::mem::take(&mut self.headers);
        kept.clear();
        carried::headers(&publication, message.client_id, |name, value| kept.push(name, value));
        let headers = kept.all();
        let record = NewRecord {
            timestamp_ms: i64::try_from(message.time_ms).unwrap_or(i64::MAX),
            key: append.key,
            value: Some(message.payload),
            headers: &headers,
        };
        self.gather.push(partition, message.time_ms, &record, &mut self.touched);
        drop(headers);
        self.headers = kept;
        self.delta.partitions.insert((append.log, append.partition));
    }
}
