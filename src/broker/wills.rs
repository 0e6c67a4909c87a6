//! Wills: published once, when their connection is gone for good. Part of `broker`.
//!
//! A durable session's will is state: its publish removes it and delivers in one record, conditioned on the
//! connection that left it, so that neither a restart nor a race sends it twice.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::metrics::{LocalCounters, Protocol};

use super::publish::Publisher;
use super::record::Condition;
use super::sessions::session::{Session, Will};
use super::{Broker, Job};

/// Between two attempts at a will that the disk does not take.
const RETRY_MS: u64 = 1000;

/// A will and the connection that left it.
#[derive(Clone, Debug)]
pub struct LeftWill {
    /// The connection.
    pub epoch: u64,
    /// The will.
    pub will: Will,
}

impl Broker {
    /// Publishes the will that waits at `session`, if there is one. A disk that does not take it now is tried again
    /// while the session lasts; a restart finds it, too.
    pub(crate) fn publish_left_will(&self, session: &Arc<Session>, now_ms: u64) {
        if let Some(epoch) = self.try_left_will(session, now_ms) {
            self.timers.at(now_ms.saturating_add(RETRY_MS), Job::Will(session.id, epoch));
        }
    }

    /// The same for a caller that tries again by itself, or need not. The connection that left the will if the disk does
    /// not take it now.
    pub(crate) fn try_left_will(&self, session: &Arc<Session>, now_ms: u64) -> Option<u64> {
        let left = {
            let mut inner = session.inner.lock();
            let epoch = inner.owner_epoch;
            inner.will.take().map(|will| LeftWill { epoch, will })
        }?;
        if self.publish_will_of(session, &left, now_ms) || !session.durable {
            return None;
        }
        let mut inner = session.inner.lock();
        if !inner.is_owned_by(left.epoch) || inner.will.is_some() {
            return None;
        }
        inner.will = Some(left.will);
        Some(left.epoch)
    }

    /// A connection is about to be taken over by one that resumes the session: a will without a delay is
    /// published, one with a delay is void [MQTT-3.1.3-9].
    pub(crate) fn publish_immediate_will(&self, session: &Arc<Session>, now_ms: u64) {
        let immediate = {
            let inner = session.inner.lock();
            inner.will.as_ref().is_some_and(|will| will.delay_s == 0)
        };
        if immediate {
            // Kept if the disk refuses: so it does with the opening, and the session's end comes back to it.
            self.try_left_will(session, now_ms);
        }
    }

    /// False when the disk does not take it now.
    pub(crate) fn publish_will_of(
        &self,
        session: &Arc<Session>,
        left: &LeftWill,
        now_ms: u64,
    ) -> bool {
        let condition = if session.durable {
            Condition::Will { session: session.id, epoch: left.epoch }
        } else {
            Condition::None
        };
        // Rights were checked at CONNECT, under the client's own name.
        let mut principal = Principal::anonymous();
        principal.vhost = Arc::clone(&session.key.vhost);
        let mut publisher = Publisher::new(
            self,
            principal,
            Arc::clone(&session.key.client_id),
            session.id,
            LocalCounters::new(Protocol::Mqtt),
        );
        let published = self.publish_kept(&mut publisher, &left.will.message, condition, now_ms);
        publisher.counters.flush_into(&self.metrics);
        let Err(error) = published else { return true };
        let client_id = &*session.key.client_id;
        tracing::warn!(client_id, %error, "a will could not be published");
        !error.is_unavailable()
    }
}
