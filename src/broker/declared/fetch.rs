//! One message to whoever asks. Part of `broker::declared`.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::principal::Principal;
use crate::metrics::{DropReason, LocalCounters};
use crate::model::ids::ConnectionId;

use super::super::Broker;
use super::super::consumer::Delivery;
use super::super::message::Message;
use super::super::queues::entry::{Body, Unread};
use super::super::via::Via;
use super::ledger::Ready;
use super::place::Place;
use super::queue::DeclaredQueue;
use super::verbs::ConsumeError;

/// A message that was taken out.
struct Fetched {
    ready: Ready,
    body: Body,
    via: Option<Arc<Via>>,
    left: u64,
}

impl Broker {
    /// Takes the first ready message out and shows it to `take`, with the number of those that are ready behind
    /// it; `None` when there is none. With `no_ack` it is gone afterwards, else the caller answers for its place.
    ///
    /// # Errors
    /// [`ConsumeError`]; nothing was taken.
    pub fn fetch<R>(
        &self,
        who: &Principal,
        queue: &Arc<DeclaredQueue>,
        connection: ConnectionId,
        no_ack: bool,
        counters: &mut LocalCounters,
        now_ms: u64,
        take: impl FnOnce(&Delivery<'_>, u64) -> R,
    ) -> Result<Option<R>, ConsumeError> {
        self.may_consume(who, queue, connection)?;
        queue.touch(now_ms);
        loop {
            let fetched = self.take_first(queue, now_ms).map_err(ConsumeError::Storage)?;
            let Some(fetched) = fetched else { return Ok(None) };
            let place = fetched.ready.place;
            let bytes = match self.read_taken(queue, place, &fetched.body) {
                Ok(bytes) => bytes,
                Err(error) if matches!(fetched.body, Body::Scratch(_)) => {
                    tracing::error!(%error, queue = &*queue.name, "a transient message is lost");
                    counters.drop_messages(DropReason::NoRoom, 1);
                    self.settle_places(queue, &[place]);
                    continue;
                }
                Err(Unread::Corrupt(error)) => {
                    tracing::error!(%error, queue = &*queue.name, "a queued message is lost");
                    counters.drop_messages(DropReason::Corrupt, 1);
                    self.settle_places(queue, &[place]);
                    self.submit_settled_places(queue);
                    continue;
                }
                Err(error) => {
                    self.return_places(queue, &[place]);
                    return Err(ConsumeError::Storage(error.to_string()));
                }
            };
            let message = match Message::decode(&bytes) {
                Ok(message) => message,
                Err(error) => {
                    self.return_places(queue, &[place]);
                    return Err(ConsumeError::Storage(error.to_string()));
                }
            };
            let delivery = Delivery {
                message: &message,
                via: fetched.via.as_deref(),
                queue,
                place,
                redelivered: fetched.ready.redelivered,
                now_ms,
            };
            let taken = take(&delivery, fetched.left);
            counters.delivered[message.qos as usize] += 1;
            if no_ack {
                self.settle_places(queue, &[place]);
                self.submit_settled_places(queue);
            }
            return Ok(Some(taken));
        }
    }

    /// The encoded message at `place`, which is out; a checkpoint may move its body meanwhile.
    pub(in crate::broker) fn read_taken(
        &self,
        queue: &DeclaredQueue,
        place: Place,
        body: &Body,
    ) -> Result<Bytes, Unread> {
        let mut body = body.clone();
        loop {
            let error = match body.read(&self.bodies) {
                Err(error @ Unread::Gone(_)) => error,
                other => return other,
            };
            let inner = queue.inner.lock();
            match inner.ledger.get(place) {
                Some(entry) if Body::has_moved(&body, &entry.body) => body = entry.body.clone(),
                _ => return Err(error),
            }
        }
    }

    fn take_first(
        &self,
        queue: &Arc<DeclaredQueue>,
        now_ms: u64,
    ) -> Result<Option<Fetched>, String> {
        let mut inner = queue.inner.lock();
        inner.place_held(queue.keeping.applied());
        let (dropped, outcome) = self.tidy_to_head(queue, &mut inner, now_ms);
        let first = inner.ledger.first_ready().filter(|_| outcome.is_ok());
        let fetched = first.and_then(|ready| {
            let entry = inner.ledger.get(ready.place)?;
            let (body, via) = (entry.body.clone(), entry.via.clone());
            inner.ledger.take(ready.place);
            Some(Fetched { ready, body, via, left: inner.counts().ready })
        });
        let tidy_at_ms = inner.plan_head();
        let has_settled = !inner.to_settle.is_empty();
        drop(inner);
        self.after_tidying(queue, dropped, tidy_at_ms, has_settled);
        outcome.map(|()| fetched)
    }
}
