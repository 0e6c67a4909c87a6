//! Sessions, subscriptions and acknowledgements. Part of `broker::apply`.

use crate::model::ids::QueueId;

use super::super::consumer::Outcome;
use super::super::queues::ended::EndedQueue;
use super::super::queues::entry::Entry;
use super::super::record::OpenSession;
use super::super::sessions::session::{Inner, SessionKey, Will};
use super::super::sessions::subscription::Subscription;
use super::Applier;

impl Inner {
    pub(super) fn close(
        &mut self,
        time_ms: u64,
        expiry_s: u32,
        sent: u64,
        will_due_ms: Option<u64>,
    ) {
        let state = &mut self.state;
        state.connected = false;
        state.closed_ms = time_ms;
        state.expiry_s = expiry_s;
        state.sent = state.sent.max(sent);
        match (will_due_ms, &mut state.will) {
            (Some(due_ms), Some(will)) => will.due_ms = Some(due_ms),
            _ => state.will = None,
        }
    }

    pub(super) fn subscribe(&mut self, filter: &str, mut subscription: Subscription) {
        let subscriptions = &mut self.state.subscriptions;
        let before = subscriptions.get(filter);
        if let Some(before) = before.filter(|before| before.since == subscription.since) {
            // Other options, not another beginning: a replay that is not complete goes on.
            subscription.replay_after.clone_from(&before.replay_after);
        }
        subscriptions.insert(filter.into(), subscription);
    }

    /// `entry` was acknowledged on an earlier connection. If the one that is linked was sent it again before the record
    /// of that, its own acknowledgement finds nothing: the place in the window is given back here. Says whether it was.
    fn give_place_back(&mut self, position: u64, entry: &Entry) -> bool {
        let is_release = entry.is_released() && position < self.released_to;
        let is_sent = is_release || position < self.cursor;
        let holds_place = is_sent && !entry.is_settled() && self.link.is_some();
        if holds_place {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        holds_place
    }
}

impl Applier {
    /// Changes an existing session; `epoch` must be its connection's if given.
    pub(super) fn change_session(
        &mut self,
        id: QueueId,
        epoch: Option<u64>,
        change: impl FnOnce(&mut Inner),
    ) -> Outcome {
        let Some(session) = self.broker.sessions.by_id(id) else { return Outcome::Stale };
        let mut inner = session.inner.lock();
        let holds = inner.state.exists && epoch.is_none_or(|epoch| epoch == inner.state.epoch);
        if !holds {
            return Outcome::Stale;
        }
        change(&mut inner);
        self.mark(&session, &mut inner);
        Outcome::Done
    }

    pub(super) fn open_session(&mut self, open: &OpenSession<'_>) -> Outcome {
        self.time_ms = self.time_ms.max(open.time_ms);
        if let Some(replaced) = open.replaces {
            self.end_session(replaced, None);
        }
        let key = || SessionKey { vhost: open.vhost.into(), client_id: open.client_id.into() };
        let session = self.broker.sessions.by_id_or_new(open.session, key);
        let mut inner = session.inner.lock();
        let state = &mut inner.state;
        if state.exists && open.epoch <= state.epoch {
            return Outcome::Stale;
        }
        let present = state.exists;
        state.exists = true;
        state.epoch = open.epoch;
        state.connected = true;
        state.expiry_s = open.expiry_s;
        state.receive_max = open.receive_max;
        state.will = open.will.map(|(delay_s, message)| Will {
            delay_s,
            due_ms: None,
            message: message.to_vec(),
        });
        self.mark(&session, &mut inner);
        Outcome::Opened { present }
    }

    pub(super) fn end_session(&mut self, id: QueueId, epoch: Option<u64>) -> Outcome {
        let Some(session) = self.broker.sessions.by_id(id) else { return Outcome::Stale };
        let mut inner = session.inner.lock();
        let holds = inner.state.exists && epoch.is_none_or(|epoch| epoch == inner.state.epoch);
        if !holds {
            return Outcome::Stale;
        }
        inner.ended = true;
        let taken = std::mem::take(&mut inner.state).taken;
        let queue = std::mem::take(&mut inner.queue);
        let written = std::mem::take(&mut inner.persisted).into_iter().collect();
        drop(inner);
        self.broker.backlog.leave(queue.live(), queue.bytes());
        self.delta.ended.push(EndedQueue { queue: id, written });
        self.broker.sessions.forget(id);
        // Sent, or as good as: they are for nobody else [MQTT-4.8.2-5].
        self.taken_are_done(taken.into_values());
        Outcome::Done
    }

    /// The receiver holds the QoS 2 message at `position`.
    pub(super) fn release(&mut self, id: QueueId, position: u64) -> Outcome {
        let Some(session) = self.broker.sessions.by_id(id) else { return Outcome::Stale };
        let mut inner = session.inner.lock();
        if !inner.state.exists {
            return Outcome::Stale;
        }
        self.bring_in(id, &mut inner.queue, position, position.saturating_add(1));
        if let Some(entry) = inner.queue.get_mut(position) {
            entry.release();
        }
        inner.taken_is_done(position);
        let taken = inner.state.taken.remove(&position);
        self.mark(&session, &mut inner);
        drop(inner);
        self.taken_are_done(taken);
        Outcome::Done
    }

    pub(super) fn settle(&mut self, id: QueueId, positions: &[u64]) -> Outcome {
        let Some(session) = self.broker.sessions.by_id(id) else { return Outcome::Stale };
        let mut inner = session.inner.lock();
        if !inner.state.exists {
            return Outcome::Stale;
        }
        let mut taken = Vec::new();
        let mut is_freed = false;
        for position in positions {
            self.bring_in(id, &mut inner.queue, *position, position.saturating_add(1));
            taken.extend(inner.state.taken.remove(position));
            if let Some(entry) = inner.queue.remove(*position) {
                self.broker.backlog.leave(1, entry.body.len());
                is_freed |= inner.give_place_back(*position, &entry);
            }
        }
        self.mark(&session, &mut inner);
        let waits = std::mem::take(&mut inner.waits_for_head) || is_freed;
        drop(inner);
        if waits {
            self.wake_later(&session);
        }
        self.taken_are_done(taken);
        Outcome::Done
    }
}
