//! Wills: published once, when their connection is gone for good. Part of `broker`.
//!
//! A durable session's will is state: its publish removes it and delivers in one record, conditioned on the
//! connection that left it, so that neither a restart nor a race sends it twice.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::metrics::{LocalCounters, Protocol};

use super::Broker;
use super::publish::Publisher;
use super::record::Condition;
use super::sessions::session::{Session, Will};

/// A will and the connection that left it.
#[derive(Clone, Debug)]
pub struct LeftWill {
    /// The connection.
    pub epoch: u64,
    /// The will.
    pub will: Will,
}

impl Broker {
    /// Publishes the will that waits at `session`, if there is one.
    pub(crate) fn publish_left_will(&self, session: &Arc<Session>, now_ms: u64) {
        let left = {
            let mut inner = session.inner.lock();
            let epoch = inner.owner_epoch;
            inner.will.take().map(|will| LeftWill { epoch, will })
        };
        if let Some(left) = left {
            self.publish_will_of(session, &left, now_ms);
        }
    }

    /// A connection is about to be taken over by one that resumes the session: a will without a delay is
    /// published, one with a delay is void [MQTT-3.1.3-9].
    pub(crate) fn publish_immediate_will(&self, session: &Arc<Session>, now_ms: u64) {
        let immediate = {
            let inner = session.inner.lock();
            inner.will.as_ref().is_some_and(|will| will.delay_s == 0)
        };
        if immediate {
            self.publish_left_will(session, now_ms);
        }
    }

    pub(crate) fn publish_will_of(&self, session: &Arc<Session>, left: &LeftWill, now_ms: u64) {
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
        if let Err(error) = published {
            let client_id = &*session.key.client_id;
            tracing::warn!(client_id, %error, "a will could not be published");
        }
        publisher.counters.flush_into(&self.metrics);
    }
}
