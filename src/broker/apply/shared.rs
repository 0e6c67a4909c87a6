//! QoS 2 messages that durable sessions take over from share groups. Part of `broker::apply`.
//!
//! A message that was taken over stays in its group's queue too, out, until the session is done with it or the receiver
//! has it. So it needs no way back: whatever was never sent is ready there again.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::ids::{Lsn, QueueId};
use crate::model::qos::QoS;

use super::super::consumer::Outcome;
use super::super::declared::place::Place;
use super::super::declared::queue::DeclaredQueue;
use super::super::queues::entry::{Body, Entry};
use super::super::record::TakenItem;
use super::Applier;

impl Applier {
    /// All of `items` or none: none when the connection is gone, and they are ready in their groups again.
    pub(super) fn take_over(
        &mut self,
        lsn: Lsn,
        session: QueueId,
        epoch: u64,
        items: &[TakenItem<'_>],
        bytes: &Bytes,
    ) -> Outcome {
        let found = self.broker.sessions.by_id(session);
        let takes = found.filter(|session| {
            let inner = session.inner.lock();
            inner.state.exists && inner.state.connected && inner.state.epoch == epoch
        });
        let Some(session) = takes else {
            for item in items {
                self.give_back(item.queue, item.place);
            }
            return Outcome::Stale;
        };
        for item in items {
            let Some(mark) = self.mark_taken(item) else { continue };
            let stored = self.body(bytes.slice_ref(item.message));
            let body = Body::Memory(stored);
            self.broker.backlog.enter(body.len());
            let mut entry = Entry::new(lsn.0, body, QoS::ExactlyOnce, item.retain);
            entry.subscription_ids = item.subscription_id.map(|id| [id].into());
            entry.via = item.via.clone();
            let mut inner = session.inner.lock();
            let position = inner.queue.push(entry);
            if let Some(mark) = mark {
                inner.state.taken.insert(position, mark);
            }
        }
        let mut inner = session.inner.lock();
        if inner.is_served_by(epoch) {
            let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
            inner.shares.taking = inner.shares.taking.saturating_sub(count);
        }
        self.mark(&session, &mut inner);
        drop(inner);
        self.wake_later(&session);
        Outcome::Done
    }

    /// Where in a durable queue a message stays until the session has it. `None` when it is not there any more; nothing
    /// inside when no record keeps it there: then it is gone from its queue.
    fn mark_taken(&mut self, item: &TakenItem<'_>) -> Option<Option<(QueueId, u64)>> {
        // A queue that no record made is not there in a replay.
        let Some(queue) = self.broker.declared.by_id(item.queue) else { return Some(None) };
        let Place { position, turn } = item.place;
        let mut inner = queue.inner.lock();
        if !queue.durable || turn != Place::ON {
            drop(inner.ledger.finish(item.place));
            return Some(None);
        }
        if !inner.exists {
            return Some(None);
        }
        self.bring_in(item.queue, &mut inner.ledger.queue, position, position.saturating_add(1));
        inner.ledger.queue.get(position).map(|_| Some((item.queue, position)))
    }

    /// The session is not connected any more: what it took over and was never sent is the group's again.
    pub(super) fn untake_unsent(&mut self, id: QueueId) {
        let Some(session) = self.broker.sessions.by_id(id) else { return };
        let unsent = {
            let mut inner = session.inner.lock();
            let sent = inner.state.sent;
            let unsent = inner.state.taken.split_off(&sent);
            for position in unsent.keys() {
                self.bring_in(id, &mut inner.queue, *position, position.saturating_add(1));
                if let Some(entry) = inner.queue.remove(*position) {
                    self.broker.backlog.leave(1, entry.body.len());
                }
            }
            unsent
        };
        for (queue, position) in unsent.into_values() {
            self.give_back(queue, Place::at(position));
        }
    }

    /// Messages that sessions had taken over are done with.
    pub(super) fn taken_are_done(&mut self, taken: impl IntoIterator<Item = (QueueId, u64)>) {
        for (id, position) in taken {
            let Some(queue) = self.broker.declared.by_id(id) else { continue };
            let mut inner = queue.inner.lock();
            if !inner.exists {
                continue;
            }
            self.bring_in(id, &mut inner.ledger.queue, position, position.saturating_add(1));
            if let Some(entry) = inner.ledger.remove(position) {
                self.broker.backlog.leave(1, entry.body.len());
            }
            if !std::mem::replace(&mut inner.dirty, true) {
                self.delta.declared.push(Arc::clone(&queue));
            }
        }
    }

    /// A message that is out is ready again, and somebody is called.
    fn give_back(&mut self, id: QueueId, place: Place) {
        let Some(queue) = self.broker.declared.by_id(id) else { return };
        queue.inner.lock().ledger.give_back(place);
        self.call_later(queue);
    }

    fn call_later(&mut self, queue: Arc<DeclaredQueue>) {
        if self.woken.insert(queue.id) {
            self.to_call.push((queue, None));
        }
    }
}
