//! Opening and closing sessions. Part of `broker`.
//!
//! The registry is held while an opening is decided and its record submitted, so openings of one key reach
//! the journal in the order of their epochs; the last one owns the session at once, its predecessor's link is
//! taken off before anything waits.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::model::ids::QueueId;
use crate::model::topic::TopicFilter;
use crate::store::journal::SubmitError;

use super::consumer::{CloseReason, Consumer, Waiter};
use super::queues::queue::Queue;
use super::record::{Condition, OpenSession, Record};
use super::sessions::session::{Link, NEVER_EXPIRES_S, Session, SessionKey, Successor, Will};
use super::wills::LeftWill;
use super::{Broker, Job};

/// What CONNECT asks for.
pub struct Opening<'a> {
    /// Client identifier, not empty.
    pub client_id: &'a str,
    /// Earlier state is discarded.
    pub clean_start: bool,
    /// Session expiry interval, seconds, before the broker's own limit.
    pub expiry_s: u32,
    /// How many messages the client takes at a time.
    pub receive_max: u16,
    /// Will: delay in seconds and the encoded message.
    pub will: Option<(u32, Vec<u8>)>,
}

/// A session as its connection holds it.
#[derive(Clone)]
pub struct SessionHandle {
    /// The session.
    pub session: Arc<Session>,
    /// Which opening this connection is.
    pub epoch: u64,
}

/// What an opening came to.
pub struct Opened {
    /// The session, owned by the caller from now on.
    pub handle: SessionHandle,
    /// The waiter will be told; until then CONNACK waits.
    pub waits: bool,
    /// Session expiry interval granted, seconds.
    pub expiry_s: u32,
}

/// How a connection leaves its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// The client said goodbye properly: its will is void [MQTT-3.14.4-3].
    pub discard_will: bool,
    /// A new session expiry interval (MQTT5-3.14.2.2.2).
    pub expiry_s: Option<u32>,
}

impl Broker {
    /// Has the connection that serves the session of `client_id` leave it, and `free` called when it has: what its client
    /// said last may still be unread, a farewell above all, and decides about will and session [MQTT-3.14.4-3]. False:
    /// nobody serves it. Who waits should not do so for long, [`Self::open`] takes the session in any case.
    pub fn summon(&self, principal: &Principal, client_id: &str, free: Successor) -> bool {
        let key = SessionKey { vhost: Arc::clone(&principal.vhost), client_id: client_id.into() };
        let Some(session) = self.sessions.keys().get(&key).cloned() else { return false };
        let consumer = {
            let mut inner = session.inner.lock();
            let Some(link) = &inner.link else { return false };
            let consumer = Arc::clone(&link.consumer);
            inner.successors.push(free);
            consumer
        };
        consumer.close(CloseReason::TakenOver);
        true
    }

    /// Opens the session of `client_id` in the principal's vhost for a connection whose waiter is `waiter`.
    ///
    /// # Errors
    /// The journal's refusal; nothing changed then.
    pub fn open(
        &self,
        principal: &Principal,
        opening: Opening<'_>,
        waiter: Waiter,
        now_ms: u64,
    ) -> Result<Opened, SubmitError> {
        let expiry_s = opening.expiry_s.min(self.limits.load().session_expiry_s_max);
        let key =
            SessionKey { vhost: Arc::clone(&principal.vhost), client_id: opening.client_id.into() };
        let mut keys = self.sessions.keys();
        let existing = keys.get(&key).cloned();
        let resumes = existing
            .as_ref()
            .filter(|old| old.durable && !opening.clean_start && is_lasting(old))
            .cloned();
        if resumes.is_none() && expiry_s == 0 && existing.as_ref().is_none_or(|old| !old.durable) {
            let session = self.sessions.create(key.clone(), false);
            self.prepare(&session, 1, expiry_s, &opening);
            keys.insert(key, Arc::clone(&session));
            drop(keys);
            if let Some(old) = existing {
                self.supersede(&old, now_ms);
            }
            let handle = SessionHandle { session, epoch: 1 };
            return Ok(Opened { handle, waits: false, expiry_s });
        }
        if let Some(session) = resumes {
            let epoch = session.inner.lock().owner_epoch.saturating_add(1);
            self.publish_immediate_will(&session, now_ms);
            let record = open_record(&session, epoch, expiry_s, &opening, None, now_ms);
            self.submit_opening(&session, epoch, &Record::OpenSession(record), waiter)?;
            self.take_over(&session);
            self.prepare(&session, epoch, expiry_s, &opening);
            drop(keys);
            return Ok(Opened { handle: SessionHandle { session, epoch }, waits: true, expiry_s });
        }
        // A new session; a durable one of the same key ends with the same record.
        let replaced = existing.as_ref().filter(|old| old.durable);
        if let Some(old) = replaced {
            self.try_left_will(old, now_ms);
        }
        let session = self.sessions.create(key.clone(), expiry_s > 0);
        let submitted = if session.durable {
            let replaces = replaced.map(|old| old.id);
            let record = open_record(&session, 1, expiry_s, &opening, replaces, now_ms);
            self.submit(Some(waiter), &Record::OpenSession(record))
        } else {
            let (id, epoch) =
                replaced.map_or((QueueId(0), 0), |old| (old.id, old.inner.lock().owner_epoch));
            self.submit(Some(waiter), &Record::EndSession { session: id, epoch })
        };
        if let Err(error) = submitted {
            self.sessions.forget(session.id);
            return Err(error);
        }
        self.prepare(&session, 1, expiry_s, &opening);
        keys.insert(key, Arc::clone(&session));
        drop(keys);
        if let Some(old) = existing {
            self.supersede(&old, now_ms);
        }
        Ok(Opened { handle: SessionHandle { session, epoch: 1 }, waits: true, expiry_s })
    }

    /// Submits the record by which `epoch` takes a session from its predecessor. The session changes hands where
    /// the record gets its LSN: what the predecessor submits later is stale, and it can tell (`is_overtaken`).
    fn submit_opening(
        &self,
        session: &Session,
        epoch: u64,
        record: &Record<'_>,
        waiter: Waiter,
    ) -> Result<(), SubmitError> {
        let mut before = epoch;
        let submitted = self.journal.submit_with(Some(waiter), &mut |_, out| {
            before = std::mem::replace(&mut session.inner.lock().owner_epoch, epoch);
            record.encode(out);
        });
        if submitted.is_err() && before != epoch {
            session.inner.lock().owner_epoch = before;
        }
        submitted.map(drop)
    }

    /// Whether a QoS 2 publish that gets its LSN now has lost its session to a newer connection: its record will
    /// be found stale, so nothing else may take the message either. The client sends it again [MQTT-4.4.0-1].
    pub(super) fn is_overtaken(&self, condition: Condition<'_>) -> bool {
        let Condition::Inbound { session, epoch, .. } = condition else { return false };
        self.sessions.by_id(session).is_none_or(|it| !it.inner.lock().is_owned_by(epoch))
    }

    /// Only after the record was taken: a session whose opening was refused keeps the expiry that it had.
    fn prepare(&self, session: &Arc<Session>, epoch: u64, expiry_s: u32, opening: &Opening<'_>) {
        let mut inner = session.inner.lock();
        inner.owner_epoch = epoch;
        inner.expiry_s = expiry_s;
        inner.will = opening.will.as_ref().map(|(delay_s, message)| Will {
            delay_s: *delay_s,
            due_ms: None,
            message: message.clone(),
        });
    }

    /// Takes the link of an earlier connection off and tells it to go.
    fn take_over(&self, session: &Arc<Session>) {
        let (link, holding) = {
            let mut inner = session.inner.lock();
            (inner.link.take(), std::mem::take(&mut inner.shares))
        };
        self.hand_back(holding);
        if let Some(link) = link {
            link.consumer.close(CloseReason::TakenOver);
        }
    }

    /// A session of the same key took the place of `old`: it is over for everyone but the journal.
    fn supersede(&self, old: &Arc<Session>, now_ms: u64) {
        self.take_over(old);
        let left = self.end_live(old);
        if let Some(will) = left.filter(|_| !old.durable) {
            self.publish_will_of(old, &will, now_ms);
        }
        if !old.durable {
            self.sessions.forget(old.id);
        }
    }

    /// Marks a session as over: nothing is routed to it any more. Returns a will that still waited.
    pub(crate) fn end_live(&self, session: &Arc<Session>) -> Option<LeftWill> {
        let (filters, will) = {
            let mut inner = session.inner.lock();
            inner.ended = true;
            let will = inner.will.take();
            let epoch = inner.owner_epoch;
            let filters = std::mem::take(&mut inner.subscriptions);
            if !session.durable {
                inner.queue = Queue::volatile();
            }
            inner.volatile.clear();
            (filters, will.map(|will| LeftWill { epoch, will }))
        };
        let router = self.router.vhost(&session.key.vhost);
        self.metrics.state.subscriptions.sub(i64::try_from(filters.len()).unwrap_or(0));
        for filter in filters.keys() {
            if let Ok(filter) = TopicFilter::parse(filter) {
                match filter.share_group() {
                    Some(_) => self.leave_share(session, &filter),
                    None => {
                        router.unsubscribe(&filter, session.id);
                    }
                }
            }
        }
        will
    }

    /// The opening is durable (or needs not be): messages flow to `consumer` from now on. False when another
    /// connection owns the session by now.
    pub fn attach(
        &self,
        handle: &SessionHandle,
        consumer: Arc<dyn Consumer>,
        receive_max: u16,
    ) -> bool {
        {
            let mut inner = handle.session.inner.lock();
            if !inner.is_owned_by(handle.epoch) {
                return false;
            }
            inner.attach(Link { epoch: handle.epoch, consumer }, receive_max);
            if inner.subscriptions.is_empty() {
                return true;
            }
        }
        let Ok(_owned) = self.own(handle) else { return false };
        self.enter_shares(handle);
        true
    }

    /// The client said goodbye, its connection is about to go: whoever opens the session before that finds the will
    /// and the expiry as `closing` has them [MQTT-3.14.4-3].
    pub fn say_farewell(&self, handle: &SessionHandle, closing: Closing) {
        let limit = self.limits.load().session_expiry_s_max;
        let mut inner = handle.session.inner.lock();
        if !inner.is_owned_by(handle.epoch) {
            return;
        }
        if closing.discard_will {
            inner.will = None;
        }
        if let Some(expiry_s) = closing.expiry_s {
            inner.expiry_s = expiry_s.min(limit);
        }
    }

    /// The connection is gone. What was in flight stays for the next one.
    pub fn close(&self, handle: &SessionHandle, closing: Closing, now_ms: u64) {
        self.give_back(handle, closing, now_ms);
        let successors = std::mem::take(&mut handle.session.inner.lock().successors);
        successors.into_iter().for_each(|free| free());
    }

    fn give_back(&self, handle: &SessionHandle, closing: Closing, now_ms: u64) {
        let session = &handle.session;
        let keys = self.sessions.keys();
        let holding = {
            let mut inner = session.inner.lock();
            if !inner.is_owned_by(handle.epoch) {
                return;
            }
            drop(inner.detach(handle.epoch));
            std::mem::take(&mut inner.shares)
        };
        let took_turns = holding.connection.is_some();
        self.hand_back(holding);
        if closing.discard_will {
            session.inner.lock().will = None;
        }
        if session.durable {
            self.close_durable(handle, closing, took_turns, now_ms, keys);
        } else {
            self.close_transient(session, now_ms, keys);
        }
    }

    fn close_transient(&self, session: &Arc<Session>, now_ms: u64, mut keys: Keys<'_>) {
        remove_key(&mut keys, session);
        drop(keys);
        if let Some(will) = self.end_live(session) {
            self.publish_will_of(session, &will, now_ms);
        }
        self.sessions.forget(session.id);
    }

    /// `took_turns`: in share groups.
    fn close_durable(
        &self,
        handle: &SessionHandle,
        closing: Closing,
        took_turns: bool,
        now_ms: u64,
        keys: Keys<'_>,
    ) {
        let session = &handle.session;
        let limit = self.limits.load().session_expiry_s_max;
        let (expiry_s, will_delay_s, sent) = {
            let mut inner = session.inner.lock();
            if let Some(expiry_s) = closing.expiry_s {
                inner.expiry_s = expiry_s.min(limit);
            }
            (inner.expiry_s, inner.will.as_ref().map(|will| will.delay_s), inner.sent)
        };
        // A will is due at the latest when the session ends [MQTT-3.1.3-9].
        let will_due_ms = will_delay_s
            .map(|delay_s| now_ms.saturating_add(u64::from(delay_s.min(expiry_s)) * 1000));
        let record = Record::CloseSession {
            session: session.id,
            epoch: handle.epoch,
            time_ms: now_ms,
            expiry_s,
            sent,
            will_due_ms,
        };
        if expiry_s == 0 {
            if took_turns {
                // The end alone does not tell what it took over from groups and was never sent: that goes back.
                drop(self.submit(None, &record));
            }
            self.end_durable(session, handle.epoch, now_ms, keys);
            return;
        }
        // Refused while the disk fails: a restart finds the session open and closes it then.
        drop(self.submit(None, &record));
        if will_due_ms.is_some_and(|due| due <= now_ms) {
            self.publish_left_will(session, now_ms);
        }
        drop(keys);
        if let Some(due_ms) = will_due_ms.filter(|due| *due > now_ms) {
            self.timers.at(due_ms, Job::Will(session.id, handle.epoch));
        }
        if expiry_s != NEVER_EXPIRES_S {
            let deadline_ms = now_ms.saturating_add(u64::from(expiry_s) * 1000);
            self.timers.at(deadline_ms, Job::Expiry(session.id, handle.epoch));
        }
    }

    /// Whether `job`, whose deadline is still to come, may be due then: who left its session may be back since.
    #[must_use]
    pub fn is_wanted(&self, job: Job) -> bool {
        let (Job::Will(id, epoch) | Job::Expiry(id, epoch)) = job else { return true };
        let Some(session) = self.sessions.by_id(id) else { return false };
        // An opening that the journal refuses gives the session back before it lets go of these.
        let _keys = self.sessions.keys();
        let inner = session.inner.lock();
        inner.is_owned_by(epoch)
    }

    /// A deadline has passed.
    pub fn run_job(&self, job: Job, now_ms: u64) {
        let (id, epoch, is_end) = match job {
            Job::Will(id, epoch) => (id, epoch, false),
            Job::Expiry(id, epoch) => (id, epoch, true),
            Job::TidyQueue(id) => return self.tidy_queue(id, now_ms),
            Job::IdleQueue(id) => return self.look_for_use(id, now_ms),
            Job::Retention => return self.retain_logs(now_ms),
            Job::Group(id) => return self.tick_group(id, now_ms),
            Job::ExpireOffsets => return self.expire_offsets(now_ms),
        };
        let Some(session) = self.sessions.by_id(id) else { return };
        let keys = self.sessions.keys();
        let waits = {
            let inner = session.inner.lock();
            inner.is_owned_by(epoch) && inner.link.is_none()
        };
        if !waits {
            return;
        }
        if is_end {
            self.end_durable(&session, epoch, now_ms, keys);
        } else {
            self.publish_left_will(&session, now_ms);
        }
    }

    /// Ends a durable session that no connection holds; its will, if one waits, is due with it.
    fn end_durable(&self, session: &Arc<Session>, epoch: u64, now_ms: u64, mut keys: Keys<'_>) {
        let owes_will = self.try_left_will(session, now_ms).is_some();
        let id = session.id;
        if owes_will || self.submit(None, &Record::EndSession { session: id, epoch }).is_err() {
            // The disk takes nothing now: try again later, the session stays until then.
            self.timers.at(now_ms.saturating_add(1000), Job::Expiry(id, epoch));
            return;
        }
        self.metrics.mqtt.sessions_expired.inc();
        remove_key(&mut keys, session);
        drop(keys);
        drop(self.end_live(session));
    }
}

type Keys<'a> = parking_lot::MutexGuard<'a, ahash::AHashMap<SessionKey, Arc<Session>>>;

/// Whether a session outlives its connection. One whose expiry is 0 ends when its connection does, which is now if
/// another one comes (MQTT5-3.1.2.11.2).
fn is_lasting(session: &Session) -> bool {
    let inner = session.inner.lock();
    !inner.ended && inner.expiry_s > 0
}

fn remove_key(keys: &mut Keys<'_>, session: &Arc<Session>) {
    if keys.get(&session.key).is_some_and(|known| Arc::ptr_eq(known, session)) {
        keys.remove(&session.key);
    }
}

fn open_record<'a>(
    session: &'a Session,
    epoch: u64,
    expiry_s: u32,
    opening: &'a Opening<'_>,
    replaces: Option<QueueId>,
    now_ms: u64,
) -> OpenSession<'a> {
    OpenSession {
        session: session.id,
        vhost: &session.key.vhost,
        client_id: &session.key.client_id,
        epoch,
        time_ms: now_ms,
        expiry_s,
        receive_max: opening.receive_max,
        will: opening.will.as_ref().map(|(delay_s, message)| (*delay_s, message.as_slice())),
        replaces,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Closing, Opening};
    use crate::auth::principal::Principal;
    use crate::broker::Job;
    use crate::broker::consumer::CloseReason;
    use crate::broker::sessions::session::Successor;
    use crate::broker::testbed::client::{Client, NOW_MS, waiter};
    use crate::broker::testbed::{Bed, Refusing};

    fn come(bed: &mut Bed, durable: bool) -> Client {
        let broker = Arc::clone(&bed.broker);
        Client::open(&broker, "c", durable, 9, || bed.sync())
    }

    /// MQTT5-3.1.2.11.2
    #[test]
    fn a_session_of_expiry_0_ends_with_its_connection_when_another_takes_it_over() {
        let mut bed = Bed::new();
        let first = come(&mut bed, true);
        first.close(&bed.broker);
        let second = come(&mut bed, false);
        assert_eq!(second.handle.session.id, first.handle.session.id, "resumed");
        let third = come(&mut bed, true);
        assert_ne!(third.handle.session.id, second.handle.session.id);
        assert!(second.receiver.closed.lock().is_some());
    }

    /// MQTT5-3.14.2.2.2
    #[test]
    fn the_expiry_of_a_farewell_holds_before_the_connection_is_gone() {
        let mut bed = Bed::new();
        let first = come(&mut bed, true);
        let closing = Closing { discard_will: true, expiry_s: Some(0) };
        bed.broker.say_farewell(&first.handle, closing);
        let second = come(&mut bed, true);
        assert_ne!(second.handle.session.id, first.handle.session.id);
    }

    /// Above all not how long the session lives.
    #[test]
    fn an_opening_that_the_disk_refuses_changes_nothing() {
        for refusing in [Refusing::AtOnce, Refusing::AfterFilling] {
            let mut bed = Bed::new();
            let first = come(&mut bed, true);
            first.close(&bed.broker);
            bed.sync();
            bed.tape.refuse(refusing);
            let opening = Opening {
                client_id: "c",
                clean_start: false,
                expiry_s: 0,
                receive_max: 9,
                will: None,
            };
            let who = Principal::anonymous();
            assert!(bed.broker.open(&who, opening, waiter().0, NOW_MS).is_err());
            bed.tape.refuse(Refusing::Never);
            let second = come(&mut bed, true);
            assert_eq!(second.handle.session.id, first.handle.session.id, "{refusing:?}");
        }
    }

    #[test]
    fn the_deadlines_of_a_session_are_wanted_until_its_client_is_back() {
        let mut bed = Bed::new();
        let first = come(&mut bed, true);
        let (id, epoch) = (first.handle.session.id, first.handle.epoch);
        first.close(&bed.broker);
        let wanted = |bed: &Bed| {
            [Job::Will(id, epoch), Job::Expiry(id, epoch)].map(|job| bed.broker.is_wanted(job))
        };
        assert_eq!(wanted(&bed), [true; 2]);
        come(&mut bed, true);
        assert_eq!(wanted(&bed), [false; 2]);
    }

    #[test]
    fn who_is_summoned_leaves_before_the_next_one_comes() {
        for durable in [false, true] {
            let mut bed = Bed::new();
            let told = Arc::new(AtomicUsize::new(0));
            let free = || -> Successor {
                let told = Arc::clone(&told);
                Box::new(move || {
                    told.fetch_add(1, Ordering::SeqCst);
                })
            };
            let who = Principal::anonymous();
            assert!(!bed.broker.summon(&who, "c", free()), "nobody is there");
            let first = come(&mut bed, durable);
            assert!(bed.broker.summon(&who, "c", free()));
            assert!(bed.broker.summon(&who, "c", free()));
            assert_eq!(*first.receiver.closed.lock(), Some(CloseReason::TakenOver));
            assert_eq!(told.load(Ordering::SeqCst), 0, "it has not left");
            first.close(&bed.broker);
            assert_eq!(told.load(Ordering::SeqCst), 2);
            assert!(!bed.broker.summon(&who, "c", free()));
        }
    }
}
