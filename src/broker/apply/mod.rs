//! Applying records: one thread, in LSN order, only after their sync. Part of `broker`.
//!
//! What a record does depends on the record and on applied state alone: no clock, no dice. A replay therefore
//! gives the very state that was lost. Effects on the world outside (connections woken, acks released) follow
//! once a batch, when everything in it is applied.
//!
//! - [`publish`] messages into queues, logs, retained
//! - [`session`] sessions, subscriptions, acknowledgements
//! - [`log`] logs and batches
//! - [`exchanges`] exchanges and bindings
//! - [`declared`] queues that clients declare; [`shared`] share groups

mod declared;
mod exchanges;
mod groups;
mod log;
mod publish;
mod session;
mod shared;

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::ids::{LogId, Lsn, QueueId, SetId};
use crate::store::journal::Position;
use crate::store::journal::batch::Batch;

use super::Broker;
use super::consumer::{Completer, Outcome, Waiter};
use super::declared::queue::DeclaredQueue;
use super::fanout::QueueLimits;
use super::logs::carried::Headers;
use super::logs::gather::RouteGather;
use super::logs::waiters::Touched;
use super::queues::ended::EndedQueue;
use super::queues::queue::Queue;
use super::record::{Record, SetMember};
use super::sessions::session::{Inner, Session};

/// Queues of one message that its publisher dispatches; those beyond are for several threads.
const LENT_MAX: usize = 4;

/// A journal record that cannot be applied: it was not written by a build that this one understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal record {lsn} cannot be applied: {reason}")]
pub struct ApplyError {
    /// The record.
    pub lsn: Lsn,
    /// What is wrong with it.
    pub reason: String,
}

/// Bounds of a durable queue, from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedLimits {
    /// Messages.
    pub messages_max: u64,
    /// Bytes.
    pub bytes_max: u64,
}

/// What changed since the last checkpoint.
#[derive(Default)]
pub struct Delta {
    /// Sessions.
    pub sessions: Vec<Arc<Session>>,
    /// Declared queues.
    pub declared: Vec<Arc<DeclaredQueue>>,
    /// Declared queues that were deleted.
    pub ended_declared: Vec<EndedQueue>,
    /// Sessions that ended.
    pub ended: Vec<EndedQueue>,
    /// Partitions that got batches or gave some up.
    pub partitions: AHashSet<(LogId, u32)>,
    /// Logs that were created or changed.
    pub logs: Vec<LogId>,
    /// Logs that were deleted, with how many partitions they had.
    pub deleted_logs: AHashMap<LogId, u32>,
    /// Sets defined (`Some`) and retired (`None`).
    pub sets: AHashMap<SetId, Option<Arc<[SetMember]>>>,
}

/// Who waits for the record of a message that it published.
type Publisher = Arc<dyn Completer>;

/// The applier's own state.
pub struct Applier {
    broker: Arc<Broker>,
    sets: AHashMap<SetId, Arc<[SetMember]>>,
    limits: AppliedLimits,
    /// Bounds that jobs keep, by records of their own; apply only says when it is time.
    wanted: QueueLimits,
    gather: RouteGather,
    /// Room for the headers of one record.
    headers: Headers,
    touched: Touched,
    /// Latest time that a record of this batch carries. Not older ones': a replay from a checkpoint would not
    /// know them.
    time_ms: u64,
    next: Position,
    delta: Delta,
    woken: AHashSet<QueueId>,
    to_wake: Vec<Arc<Session>>,
    /// Declared queues that got messages, each with who published the first one and is woken anyway.
    to_call: Vec<(Arc<DeclaredQueue>, Option<Publisher>)>,
    /// Queues to be tidied up, and when.
    to_tidy: Vec<(u64, QueueId)>,
    /// Declared queues that refuse messages when they are at their limit.
    refusing: usize,
    /// A page that a record needs cannot be read.
    unread: Option<String>,
    completers: Vec<Arc<dyn Completer>>,
    /// Who waits for a single record, with what became of it: told after the whole batch, so that a connection
    /// which waits for many finds all of them.
    calls: Vec<(oneshot::Sender<Outcome>, Outcome)>,
}

impl Applier {
    /// An applier whose next batch is `next`, over restored state.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        next: Position,
        sets: AHashMap<SetId, Arc<[SetMember]>>,
        limits: AppliedLimits,
    ) -> Self {
        let wanted = broker.limits().queue;
        Self {
            broker,
            wanted,
            sets,
            limits,
            gather: RouteGather::default(),
            headers: Headers::default(),
            touched: Touched::default(),
            time_ms: 0,
            next,
            delta: Delta::default(),
            woken: AHashSet::new(),
            to_wake: Vec::new(),
            to_call: Vec::new(),
            to_tidy: Vec::new(),
            refusing: 0,
            unread: None,
            completers: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// The batch after the last one applied: where a checkpoint taken now would begin.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// Limits in force.
    #[must_use]
    pub fn limits(&self) -> AppliedLimits {
        self.limits
    }

    /// What changed since the last call.
    pub fn take_delta(&mut self) -> Delta {
        std::mem::take(&mut self.delta)
    }

    /// Puts back what a failed checkpoint had taken.
    pub fn restore_delta(&mut self, delta: Delta) {
        let newer = std::mem::replace(&mut self.delta, delta);
        self.delta.sessions.extend(newer.sessions);
        self.delta.ended.extend(newer.ended);
        self.delta.declared.extend(newer.declared);
        self.delta.ended_declared.extend(newer.ended_declared);
        self.delta.partitions.extend(newer.partitions);
        self.delta.logs.extend(newer.logs);
        self.delta.deleted_logs.extend(newer.deleted_logs);
        self.delta.sets.extend(newer.sets);
    }

    /// The sets in use.
    #[must_use]
    pub fn sets(&self) -> &AHashMap<SetId, Arc<[SetMember]>> {
        &self.sets
    }

    /// Applies a batch that was just synced, gives its bytes back and wakes everyone it concerns.
    ///
    /// # Errors
    /// The first record that cannot be applied; those before it are.
    pub fn apply_batch(&mut self, batch: Batch<Waiter>) -> Result<(), ApplyError> {
        let submitted = batch.submitted_bytes();
        let before = self.touched.counts();
        self.replay_batch(batch)?;
        self.broker.journal.applied(submitted);
        let after = self.touched.counts();
        self.broker.metrics.logs.appends.inc_by(after.0 - before.0);
        self.broker.metrics.logs.bytes.inc_by(after.1 - before.1);
        self.touched.publish();
        self.wake();
        Ok(())
    }

    /// Applies a batch as a restart finds it.
    ///
    /// # Errors
    /// As [`Self::apply_batch`].
    pub fn replay_batch(&mut self, batch: Batch<Waiter>) -> Result<(), ApplyError> {
        let next = Position { batch: batch.number + 1, lsn: batch.next_lsn() };
        self.time_ms = 0;
        self.wanted = self.broker.limits.load().queue;
        let mut told = Told { waiters: batch.waiters.into_iter().peekable() };
        let reader = Batch::<Waiter> { waiters: Vec::new(), ..batch };
        for record in reader.iter() {
            let (lsn, bytes) =
                record.map_err(|error| ApplyError { lsn: error.lsn, reason: error.to_string() })?;
            let decoded = Record::decode(&bytes)
                .map_err(|error| ApplyError { lsn, reason: error.to_string() })?;
            let called = self.to_call.len();
            let outcome = self.apply(lsn, decoded, &bytes);
            if let Some(reason) = self.unread.take() {
                return Err(ApplyError { lsn, reason });
            }
            if let Some(waiter) = told.take(lsn) {
                self.tell(waiter, outcome, called);
            }
        }
        self.gather.flush(self.time_ms, &mut self.touched);
        self.next = next;
        self.broker.set_applied(Lsn(next.lsn.0.saturating_sub(1)));
        Ok(())
    }

    /// Tells `waiter` the outcome of its record, which put something into the queues to be called from `called` on.
    fn tell(&mut self, waiter: Waiter, outcome: Outcome, called: usize) {
        match waiter {
            Waiter::Connection(completer, token) => {
                for (_, lend_to) in self.to_call.iter_mut().skip(called).take(LENT_MAX) {
                    *lend_to = Some(Arc::clone(&completer));
                }
                if completer.complete(token, outcome) {
                    self.completers.push(completer);
                }
            }
            Waiter::Call(sender) => self.calls.push((sender, outcome)),
        }
    }

    fn wake(&mut self) {
        // First, so that who is woken for both is woken once.
        self.call_consumers();
        for completer in self.completers.drain(..) {
            completer.wake();
        }
        for (sender, outcome) in self.calls.drain(..) {
            // Whoever gave up waiting needs no news.
            drop(sender.send(outcome));
        }
        for session in self.to_wake.drain(..) {
            let consumer =
                session.inner.lock().link.as_ref().map(|link| Arc::clone(&link.consumer));
            if let Some(consumer) = consumer {
                consumer.ready();
            }
        }
        self.woken.clear();
        self.broker.wake_applied();
    }

    /// Applies one record; `bytes` are its own.
    #[expect(clippy::too_many_lines, reason = "a flat match over every kind")]
    fn apply(&mut self, lsn: Lsn, record: Record<'_>, bytes: &Bytes) -> Outcome {
        match record {
            Record::Publish { vhost, condition, set, members, retained, appends, message } => {
                let message = bytes.slice_ref(message);
                let durable = publish::DurablePublish {
                    vhost,
                    condition,
                    set,
                    members: &members,
                    retained,
                    appends: &appends,
                    message,
                };
                self.publish(lsn, durable)
            }
            Record::DefineSet { id, members } => {
                // Also one that is retired by the end of a replay: no id is used twice.
                self.broker.restore_sets(id.0.saturating_add(1), []);
                let members: Arc<[SetMember]> = members.into();
                self.sets.insert(id, Arc::clone(&members));
                self.delta.sets.insert(id, Some(members));
                Outcome::Done
            }
            Record::RetireSet { id } => {
                self.sets.remove(&id);
                self.delta.sets.insert(id, None);
                Outcome::Done
            }
            Record::OpenSession(open) => self.open_session(&open),
            Record::CloseSession { session, epoch, time_ms, expiry_s, sent, will_due_ms } => {
                self.time_ms = self.time_ms.max(time_ms);
                let outcome = self.change_session(session, Some(epoch), |inner| {
                    inner.close(time_ms, expiry_s, sent, will_due_ms);
                });
                if outcome == Outcome::Done {
                    self.untake_unsent(session);
                }
                outcome
            }
            Record::EndSession { session, epoch } => self.end_session(session, Some(epoch)),
            Record::Subscribe { session, epoch, subscriptions } => {
                self.change_session(session, Some(epoch), |inner| {
                    for (filter, subscription) in subscriptions {
                        inner.subscribe(filter, subscription);
                    }
                })
            }
            Record::Replay { session, epoch, filter, after, items } => {
                let outcome = self.advance_replay(session, epoch, filter, after);
                if outcome == Outcome::Done {
                    self.replay(lsn, session, &items, bytes);
                }
                outcome
            }
            Record::Unsubscribe { session, epoch, filters } => {
                self.change_session(session, Some(epoch), |inner| {
                    for filter in filters {
                        inner.state.subscriptions.remove(filter);
                    }
                })
            }
            Record::Settle { queue, positions } => self.settle(queue, &positions),
            Record::Release { queue, position } => self.release(queue, position),
            Record::ForgetInbound { session, epoch, packet_id } => {
                self.change_session(session, Some(epoch), |inner| {
                    inner.state.inbound.remove(&packet_id);
                })
            }
            Record::CreateLog { .. } => self.create_log(&record),
            Record::Append { log, partition, time_ms, batch } => {
                self.append(log, partition, time_ms, batch)
            }
            Record::Limits { queued_messages_max, queued_bytes_max } => {
                self.limits = AppliedLimits {
                    messages_max: queued_messages_max,
                    bytes_max: queued_bytes_max,
                };
                Outcome::Done
            }
            Record::DropRetained { vhost, topic, value } => {
                self.broker.retained.expire(vhost, topic, value);
                Outcome::Done
            }
            Record::DeclareExchange { .. }
            | Record::DeleteExchange { .. }
            | Record::Bind(_)
            | Record::Unbind(_) => self.change_exchanges(&record),
            Record::DeleteQueue { id } => {
                self.unbind_queue(id);
                self.change_declared(&record)
            }
            Record::DeclareQueue { .. }
            | Record::DeclareShare { .. }
            | Record::SettleRanges { .. } => self.change_declared(&record),
            Record::Take { session, epoch, items } => {
                self.take_over(lsn, session, epoch, &items, bytes)
            }
            Record::Group(record) => self.change_group(&record),
            Record::LogChange(change) => self.change_log(&change),
            Record::Barrier => Outcome::Done,
        }
    }

    /// A session changed: the next checkpoint writes it.
    fn mark(&mut self, session: &Arc<Session>, inner: &mut Inner) {
        if !inner.dirty {
            inner.dirty = true;
            self.delta.sessions.push(Arc::clone(session));
        }
    }

    /// Brings in pages that hold positions of `from..end`. Only a replay finds one on disk: what records name is in
    /// memory otherwise, see `broker::paging`.
    fn bring_in(&mut self, id: QueueId, queue: &mut Queue, from: u64, end: u64) {
        if let Err(reason) = self.broker.paging.bring_in(id, queue, from, end) {
            self.unread = Some(reason);
        }
    }

    fn wake_later(&mut self, session: &Arc<Session>) {
        if self.woken.insert(session.id) {
            self.to_wake.push(Arc::clone(session));
        }
    }
}

/// Waiters by LSN, taken in order.
struct Told {
    waiters: std::iter::Peekable<std::vec::IntoIter<(Lsn, Waiter)>>,
}

impl Told {
    fn take(&mut self, lsn: Lsn) -> Option<Waiter> {
        self.waiters.next_if(|(at, _)| *at == lsn).map(|(_, waiter)| waiter)
    }
}

#[cfg(test)]
mod tests;
