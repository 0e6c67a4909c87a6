//! What a connection's task does for the groups that it is in. Part of `broker::shares`.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Broker;
use super::super::connect::SessionHandle;
use super::super::consumer::Encodings;
use super::super::declared::queue::DeclaredQueue;
use super::super::message::Message;
use super::super::queues::entry::{Body, Unread};
use super::super::record::{Record, TakenItem};
use super::holding::Taking;
use crate::metrics::{DropReason, LocalCounters};

/// Messages of one record.
const BATCH_MESSAGES: usize = 64;
/// Bytes of bodies in it, about.
const BATCH_BYTES: usize = 256 * 1024;

impl Broker {
    /// Hands out what is ready in the groups of the session, and has it take over what it must.
    ///
    /// # Errors
    /// A message cannot be read; the connection should end, the message stays.
    pub fn serve_shares(
        &self,
        handle: &SessionHandle,
        encodings: &mut Encodings,
        counters: &mut LocalCounters,
        now_ms: u64,
    ) -> Result<(), String> {
        let (connection, queues) = {
            let inner = handle.session.inner.lock();
            let Some(connection) = inner.shares.connection else { return Ok(()) };
            let queues = inner.shares.memberships.iter().map(|one| Arc::clone(&one.queue));
            (connection, queues.collect::<Vec<_>>())
        };
        for queue in queues {
            self.dispatch(&queue, connection, encodings, counters, now_ms)?;
        }
        self.take_over_shared(handle, counters, now_ms)
    }

    /// Submits the records by which the session takes QoS 2 messages over. What becomes of each is apply's business:
    /// theirs is sent when they are in the session's queue, all others go back.
    fn take_over_shared(
        &self,
        handle: &SessionHandle,
        counters: &mut LocalCounters,
        now_ms: u64,
    ) -> Result<(), String> {
        loop {
            let mut takes: Vec<Taking> = {
                let mut inner = handle.session.inner.lock();
                if !inner.is_served_by(handle.epoch) || inner.shares.takes.is_empty() {
                    return Ok(());
                }
                let count = inner.shares.takes.len().min(BATCH_MESSAGES);
                inner.shares.takes.drain(..count).collect()
            };
            let mut bodies: Vec<(Taking, Bytes)> = Vec::with_capacity(takes.len());
            let mut bytes = 0;
            let mut failed = None;
            while failed.is_none()
                && bytes < BATCH_BYTES
                && let Some(taking) = (!takes.is_empty()).then(|| takes.remove(0))
            {
                match self.read_for_taking(&taking, counters, now_ms) {
                    Ok(Some(body)) => {
                        bytes += body.len();
                        bodies.push((taking, body));
                    }
                    Ok(None) => {
                        self.take_fewer(handle, 1);
                        let inner = handle.session.inner.lock();
                        if inner.is_served_by(handle.epoch)
                            && let Some(member) = inner.shares.member(taking.queue.id)
                        {
                            member.lay_down();
                        }
                    }
                    Err(error) => {
                        failed = Some(error);
                        takes.insert(0, taking);
                    }
                }
            }
            if !takes.is_empty() {
                let mut inner = handle.session.inner.lock();
                if inner.is_served_by(handle.epoch) {
                    takes.append(&mut inner.shares.takes);
                    inner.shares.takes = takes;
                } else {
                    drop(inner);
                    takes.iter().for_each(|one| self.return_places(&one.queue, &[one.place]));
                }
            }
            self.submit_taking(handle, &bodies)?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }

    fn submit_taking(
        &self,
        handle: &SessionHandle,
        bodies: &[(Taking, Bytes)],
    ) -> Result<(), String> {
        if bodies.is_empty() {
            return Ok(());
        }
        let items = bodies.iter().map(|(taking, body)| TakenItem {
            queue: taking.queue.id,
            place: taking.place,
            retain: taking.retain,
            subscription_id: taking.subscription_id,
            via: taking.via.clone(),
            message: body,
        });
        let (session, epoch) = (handle.session.id, handle.epoch);
        let record = Record::Take { session, epoch, items: items.collect() };
        let Err(error) = self.submit(None, &record) else { return Ok(()) };
        self.take_fewer(handle, bodies.len());
        for (taking, _) in bodies {
            self.return_places(&taking.queue, &[taking.place]);
        }
        Err(error.to_string())
    }

    fn take_fewer(&self, handle: &SessionHandle, count: usize) {
        let mut inner = handle.session.inner.lock();
        if inner.is_served_by(handle.epoch) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            inner.shares.taking = inner.shares.taking.saturating_sub(count);
        }
    }

    /// The encoded message; `None` when it is expired or lost, and done with.
    fn read_for_taking(
        &self,
        taking: &Taking,
        counters: &mut LocalCounters,
        now_ms: u64,
    ) -> Result<Option<Bytes>, String> {
        let queue: &Arc<DeclaredQueue> = &taking.queue;
        let body = queue.inner.lock().ledger.get(taking.place).map(|entry| entry.body.clone());
        // Its group is over.
        let Some(body) = body else { return Ok(None) };
        let reason = match self.read_taken(queue, taking.place, &body) {
            Ok(bytes) => {
                let message = Message::decode(&bytes).map_err(|error| error.to_string())?;
                if !message.is_expired(now_ms) {
                    return Ok(Some(bytes));
                }
                DropReason::Expired
            }
            Err(Unread::Corrupt(error)) => {
                tracing::error!(%error, queue = &*queue.name, "a queued message is lost");
                DropReason::Corrupt
            }
            Err(error) if matches!(body, Body::Scratch(_)) => {
                tracing::error!(%error, queue = &*queue.name, "a transient message is lost");
                DropReason::NoRoom
            }
            Err(error) => return Err(error.to_string()),
        };
        counters.drop_messages(reason, 1);
        self.settle_places(queue, &[taking.place]);
        self.submit_settled_places(queue);
        Ok(None)
    }
}
