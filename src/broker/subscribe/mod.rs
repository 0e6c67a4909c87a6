//! Subscribing and unsubscribing. Part of `broker`.
//!
//! A filter is in the router before its place against retained messages is noted, and the note is made under
//! the journal's submit lock: a retained publish either took its LSN before (it comes by replay) or reads the
//! route after (it comes live).

use std::sync::Arc;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::model::ids::Lsn;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::store::journal::SubmitError;

use super::connect::SessionHandle;
use super::consumer::Waiter;
use super::record::Record;
use super::replay::Replay;
use super::sessions::subscription::Subscription;
use super::{Broker, BrokerError};

/// When retained messages are sent (MQTT5-3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainedWanted {
    /// Always.
    #[default]
    Always,
    /// Only if the subscription is new.
    IfNew,
    /// Never.
    Never,
}

/// One filter of a SUBSCRIBE.
pub struct Wish {
    /// The filter.
    pub filter: TopicFilter,
    /// Its options; `since` and `replay_after` are the broker's.
    pub options: Subscription,
    /// Whether retained messages are wanted.
    pub retained: RetainedWanted,
}

/// Why one filter was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The access rules say no.
    NotAuthorized,
    /// The session has as many subscriptions as it may.
    QuotaExceeded,
    /// Too many levels.
    InvalidFilter,
}

/// What a SUBSCRIBE came to.
pub struct Subscribed {
    /// Each filter's granted promise or refusal, in order.
    pub granted: Vec<Result<QoS, Refusal>>,
    /// The waiter will be told; until then SUBACK waits.
    pub waits: bool,
    /// Retained messages to be sent after SUBACK.
    pub replays: Vec<Replay>,
}

/// A wish that is granted.
struct Entry<'a> {
    wish: &'a Wish,
    subscription: Subscription,
    /// Whether retained messages are sent.
    replays: bool,
    /// The subscription that it takes the place of.
    before: Option<Subscription>,
}

/// Until its place is noted, a subscription leaves all retained messages to the replay.
const NOT_NOTED: Lsn = Lsn(u64::MAX);

impl Broker {
    /// Subscribes the session to what `wishes` may have.
    ///
    /// # Errors
    /// The journal's refusal, or `TakenOver`: nothing was granted, everything is as before, and SUBACK must not
    /// say otherwise.
    pub fn subscribe(
        &self,
        principal: &Principal,
        handle: &SessionHandle,
        wishes: &[Wish],
        waiter: Waiter,
    ) -> Result<Subscribed, BrokerError> {
        let owned = self.own(handle)?;
        let session = &handle.session;
        let mut granted = Vec::with_capacity(wishes.len());
        let mut entries = Vec::new();
        let mut refused = Ok(());
        for wish in wishes {
            let verdict = self.may_subscribe(principal, handle, wish);
            granted.push(verdict.map(|()| wish.options.qos));
            if verdict.is_err() {
                continue;
            }
            let before = session.inner.lock().subscriptions.get(wish.filter.as_str()).cloned();
            let replays = match wish.retained {
                // MQTT5-4.8.2: a shared subscription begins without retained messages.
                _ if wish.filter.share_group().is_some() => false,
                RetainedWanted::Always => true,
                RetainedWanted::IfNew => before.is_none(),
                RetainedWanted::Never => false,
            };
            let mut subscription = wish.options.clone();
            if replays {
                // Whoever subscribes anew to the same filter goes on getting what is published [MQTT-3.8.4-3].
                subscription.since = before.as_ref().map_or(NOT_NOTED, |before| before.since);
                let journaled = session.durable && subscription.qos > QoS::AtMostOnce;
                subscription.replay_after = journaled.then(String::new);
            } else if let Some(before) = &before {
                // What an earlier SUBSCRIBE has replayed goes on; apply knows how far that has come.
                subscription.since = before.since;
            }
            let put = self.put_subscription(handle, &wish.filter, &subscription);
            if put.is_ok() {
                entries.push(Entry { wish, subscription, replays, before });
            }
            refused = put;
            if refused.is_err() {
                break;
            }
        }
        let waits = session.durable && !entries.is_empty();
        let waiter = waits.then_some(waiter);
        let noted = refused.and_then(|()| self.note_places(handle, &mut entries, waiter));
        if let Err(error) = noted {
            // One filter may stand there twice: the first entry knows what was before.
            for Entry { wish, before, .. } in entries.iter().rev() {
                match before {
                    // Its group is there: nothing is refused.
                    Some(before) => {
                        drop(self.put_subscription(handle, &wish.filter, before));
                    }
                    None => {
                        self.drop_subscription(handle, &wish.filter);
                    }
                }
            }
            return Err(error.into());
        }
        drop(owned);
        let replays = entries
            .iter()
            .filter(|entry| entry.replays)
            .map(|entry| self.replay_of(&entry.wish.filter, &entry.subscription))
            .collect();
        Ok(Subscribed { granted, waits, replays })
    }

    /// Keeps others from opening the session as long as the guard lives: a connection that was taken over must
    /// not route messages into a session that has no record of it, or into none.
    pub(super) fn own(&self, handle: &SessionHandle) -> Result<impl Drop + '_, BrokerError> {
        let keys = self.sessions.keys();
        if handle.session.inner.lock().is_owned_by(handle.epoch) {
            Ok(keys)
        } else {
            Err(BrokerError::TakenOver)
        }
    }

    fn may_subscribe(
        &self,
        principal: &Principal,
        handle: &SessionHandle,
        wish: &Wish,
    ) -> Result<(), Refusal> {
        let limits = self.limits.load();
        // Rules are about topics: whoever may subscribe to a filter may share it.
        let filter = wish.filter.filter();
        if filter.split('/').count() > limits.topic_levels_max {
            return Err(Refusal::InvalidFilter);
        }
        let session = &handle.session;
        let (vhost, client_id) = (&session.key.vhost, &session.key.client_id);
        let verdict =
            self.acl.load().allows(principal, client_id, Action::Subscribe, vhost, filter);
        if !verdict.allowed {
            return Err(Refusal::NotAuthorized);
        }
        let inner = session.inner.lock();
        let is_new = !inner.subscriptions.contains_key(wish.filter.as_str());
        if is_new && inner.subscriptions.len() >= limits.subscriptions_max {
            return Err(Refusal::QuotaExceeded);
        }
        Ok(())
    }

    /// Notes, under the submit lock, up to where retained messages come by replay.
    fn note_places(
        &self,
        handle: &SessionHandle,
        entries: &mut [Entry<'_>],
        waiter: Option<Waiter>,
    ) -> Result<(), SubmitError> {
        let session = &handle.session;
        let router = self.router.vhost(&session.key.vhost);
        let note = |entries: &mut [Entry<'_>], place: Lsn| {
            // One filter may stand there twice, the second time without a replay.
            for Entry { wish, subscription, .. } in
                entries.iter_mut().filter(|e| e.replays || e.subscription.since == NOT_NOTED)
            {
                subscription.since = place;
                router.set_since(&wish.filter, session.id, place);
                let live = &mut session.inner.lock().subscriptions;
                if let Some(live) = live.get_mut(wish.filter.as_str()) {
                    live.since = place;
                }
            }
        };
        let Some(waiter) = waiter else {
            self.journal.at_last_lsn(&mut |last| note(entries, last));
            return Ok(());
        };
        self.journal.submit_with(Some(waiter), &mut |lsn, out| {
            note(entries, lsn);
            let subscriptions = entries
                .iter()
                .map(|entry| (entry.wish.filter.as_str(), entry.subscription.clone()))
                .collect();
            let (id, epoch) = (session.id, handle.epoch);
            Record::Subscribe { session: id, epoch, subscriptions }.encode(out);
        })?;
        Ok(())
    }

    fn put_subscription(
        &self,
        handle: &SessionHandle,
        filter: &TopicFilter,
        subscription: &Subscription,
    ) -> Result<(), SubmitError> {
        let session = &handle.session;
        match filter.share_group() {
            Some(_) => self.join_share(session, filter, subscription)?,
            None => self.router.vhost(&session.key.vhost).subscribe(filter, session, subscription),
        }
        let filter: Arc<str> = filter.as_str().into();
        let before = session.inner.lock().subscriptions.insert(filter, subscription.clone());
        if before.is_none() {
            self.metrics.state.subscriptions.inc();
        }
        Ok(())
    }

    fn drop_subscription(&self, handle: &SessionHandle, filter: &TopicFilter) -> bool {
        let session = &handle.session;
        match filter.share_group() {
            Some(_) => self.leave_share(session, filter),
            None => {
                self.router.vhost(&session.key.vhost).unsubscribe(filter, session.id);
            }
        }
        let removed = session.inner.lock().subscriptions.remove(filter.as_str()).is_some();
        if removed {
            self.metrics.state.subscriptions.dec();
        }
        removed
    }

    /// Gives subscriptions up. Says for each filter whether there was one, and whether the waiter will be told.
    ///
    /// # Errors
    /// The journal's refusal, or `TakenOver`; everything is as before.
    pub fn unsubscribe(
        &self,
        handle: &SessionHandle,
        filters: &[TopicFilter],
        waiter: Waiter,
    ) -> Result<(Vec<bool>, bool), BrokerError> {
        let _owned = self.own(handle)?;
        let session = &handle.session;
        let known: Vec<bool> = {
            let inner = session.inner.lock();
            filters.iter().map(|filter| inner.subscriptions.contains_key(filter.as_str())).collect()
        };
        let waits = session.durable && known.contains(&true);
        if waits {
            let record = Record::Unsubscribe {
                session: session.id,
                epoch: handle.epoch,
                filters: filters.iter().map(TopicFilter::as_str).collect(),
            };
            self.submit(Some(waiter), &record)?;
        }
        for filter in filters {
            self.drop_subscription(handle, filter);
        }
        Ok((known, waits))
    }
}

#[cfg(test)]
mod tests;
