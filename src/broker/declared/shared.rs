//! What is different for the queue of a share group. Part of `broker::declared`.
//!
//! It has the bounds of a session's queue: full, it drops what comes and counts it. What is of QoS 0 for all members is
//! never kept: somebody takes it now, or it is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::ids::ConsumerId;
use crate::model::qos::QoS;
use crate::model::turns::Turns;

use super::super::consumer::{Delivery, Offered};
use super::super::fanout::{Drop, Fanout, Fate, QueueLimits};
use super::super::via::Via;
use super::consumers::Registration;
use super::place::Place;
use super::queue::{DeclaredQueue, Inner};

impl DeclaredQueue {
    /// Says whether some member of the group was granted more than QoS 0, and how messages are spread.
    pub fn share_out(&self, keeps: bool, turns: Turns) {
        self.keeps.store(keeps, Ordering::Release);
        self.inner.lock().consumers.set_turns(turns);
    }

    /// A member of the group takes turns from now on, unless the queue is gone; called when something is ready.
    pub fn join(&self, registration: Registration) {
        let consumer = Arc::clone(&registration.consumer);
        {
            let mut inner = self.inner.lock();
            if self.is_gone() {
                return;
            }
            inner.consumers.add(registration);
        }
        consumer.ready();
    }

    /// A member takes no more turns; what is out with it stays so.
    pub fn leave(&self, id: ConsumerId) {
        let whom = {
            let mut inner = self.inner.lock();
            if !inner.consumers.remove(|one| one == id) {
                return;
            }
            // It may have been called and not have dispatched yet: the turn passes on.
            inner.whom_to_call()
        };
        if let Some(consumer) = whom {
            consumer.ready();
        }
    }

    /// Whether a message of `qos` is nothing that the group keeps.
    pub(super) fn passes(&self, qos: QoS) -> bool {
        self.settings.share && (qos == QoS::AtMostOnce || !self.keeps.load(Ordering::Acquire))
    }

    /// Whether the group holds as much as it may.
    pub(super) fn is_full(&self, inner: &Inner, limits: QueueLimits) -> bool {
        self.settings.share
            && (inner.ledger.ready() >= limits.messages_max
                || inner.ledger.ready_bytes() >= limits.bytes_max)
    }

    /// To a member that has room now, or to nobody.
    pub(super) fn pass(
        self: &Arc<Self>,
        inner: &mut Inner,
        via: Option<&Arc<Via>>,
        fanout: &mut Fanout<'_>,
    ) -> Fate {
        let key = inner.consumers.key(&fanout.message);
        let delivery = Delivery {
            message: &fanout.message,
            via: via.map(|via| &**via),
            queue: self,
            // It never has one.
            place: Place::at(u64::MAX),
            redelivered: false,
            now_ms: fanout.now_ms,
        };
        let encodings = &mut *fanout.encodings;
        let passed = inner.consumers.pass(key, |to| to.consumer.offer(&delivery, encodings));
        match passed {
            Ok(()) => Fate::Delivered,
            Err(Some(Offered::Unfit)) => Fate::Dropped(Drop::TooLarge),
            Err(Some(Offered::Full | Offered::NoCredit)) => Fate::Dropped(Drop::SlowConsumer),
            Err(Some(Offered::Closed | Offered::Taken) | None) => Fate::Dropped(Drop::Offline),
        }
    }
}
