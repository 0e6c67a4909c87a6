//! Publishing what a topic keeps: room for it, and its value before anybody sees it. Part of `broker::publish`.

use std::sync::Arc;

use crate::metrics::{DropReason, Limit};
use crate::model::ids::Lsn;
use crate::model::qos::QoS;

use super::super::consumer::Waiter;
use super::super::message::Message;
use super::super::queues::entry::Stored;
use super::super::record::{Condition, Record};
use super::super::retained::room::Claim;
use super::super::retained::slot::Slot;
use super::super::{Broker, BrokerError};
use super::route::{CachedRoute, Recorded};
use super::{Published, Publisher, borrow};

/// What a topic keeps of a retained message, and the room it takes.
#[derive(Default)]
pub(super) struct Kept {
    stored: Option<Arc<Stored>>,
    claim: Option<Claim>,
}

impl Broker {
    /// The place that a retained message takes; none when there is no room and its publisher cannot be told: those who
    /// subscribe get it at least, for such a publisher would take an acknowledgement for the whole promise.
    ///
    /// # Errors
    /// There is no room for one more topic, and the publisher can be told.
    pub(super) fn keeps(
        &self,
        publisher: &mut Publisher,
        message: &Message<'_>,
        now_ms: u64,
    ) -> Result<Option<(Arc<Slot>, Kept)>, BrokerError> {
        let vhost = Arc::clone(&publisher.principal.vhost);
        let slot = self.retained.slot(&vhost, message.topic);
        if let Ok(kept) = self.kept(publisher, &slot, message, now_ms) {
            return Ok(Some((slot, kept)));
        }
        drop(slot);
        self.retained.release(&vhost, message.topic);
        if publisher.can_be_told && message.qos > QoS::AtMostOnce {
            return Err(BrokerError::Limit("retained messages"));
        }
        Ok(None)
    }

    /// What a topic keeps of a retained message: nothing of an empty one. A topic that holds another one may always
    /// change it.
    ///
    /// # Errors
    /// There is no room for one more.
    fn kept(
        &self,
        publisher: &mut Publisher,
        slot: &Slot,
        message: &Message<'_>,
        now_ms: u64,
    ) -> Result<Kept, Limit> {
        if message.payload.is_empty() {
            return Ok(Kept::default());
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let is_taken = slot.hold().is_taken();
        let claim = if is_taken {
            None
        } else {
            let limits = self.limits.load().retained;
            let claim = self.retained.claim(bytes.len() as u64, limits).inspect_err(|limit| {
                publisher.counters.drop_messages(DropReason::RetainedFull, 1);
                if let Some(left_out) = self.metrics.limits.refuse(*limit, now_ms) {
                    let (client_id, topic) = (&*publisher.client_id, message.topic);
                    tracing::warn!(
                        client_id,
                        topic,
                        left_out,
                        "a message was not retained: {} is reached",
                        limit.key()
                    );
                }
            })?;
            Some(claim)
        };
        Ok(Kept { stored: Some(Stored::new(bytes.into())), claim })
    }

    /// A retained publish: the topic's slot is held from taking the LSN to the last direct delivery, and the
    /// route that counts is the one read after the LSN was taken (design, "Retained").
    pub(super) fn publish_retained(
        &self,
        (slot, kept): (&Slot, Kept),
        publisher: &mut Publisher,
        route: &Arc<CachedRoute>,
        message: Message<'_>,
        condition: Condition<'_>,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        let vhost = Arc::clone(&publisher.principal.vhost);
        let mut contents = slot.hold();
        self.admitted(publisher)?;
        let appends = self.routed_appends(publisher, &route.reach.logs, &message)?;
        let mut recorded = route.recorded(self, message.qos)?;
        let admitted = recorded.is_empty() || self.admits(publisher, route)?;
        if !admitted {
            recorded = Recorded::default();
        }
        let Kept { stored, mut claim } = kept;
        let mut current = Arc::clone(route);
        let mut taken = Lsn(0);
        let mut overtaken = false;
        let submitted = self.journal.submit_with(waiter(), &mut |lsn, out| {
            taken = lsn;
            overtaken = self.is_overtaken(condition);
            contents.put(lsn, stored.clone(), claim.take());
            if !route.is_current(&publisher.router, &publisher.exchanges) {
                let fresh = Arc::new(publisher.resolve(self, message.topic, None));
                current = publisher.route_of(self, &message, fresh);
            }
            let same = Arc::ptr_eq(&current, route)
                && route.reach.sessions.iter().all(|to| to.since < lsn);
            let members = if same {
                std::mem::take(&mut recorded.members)
            } else if message.qos == QoS::AtMostOnce || !admitted {
                Vec::new()
            } else {
                current.members(|to| to.since < lsn)
            };
            let record = Record::Publish {
                vhost: &vhost,
                condition,
                set: recorded.set.as_ref().filter(|_| same).map(|set| set.id),
                members,
                retained: true,
                appends: borrow(&appends),
                message: &[],
            };
            record.encode(out);
            message.encode(out);
        });
        match submitted {
            Ok(lsn) => {
                publisher.last_lsn = lsn;
                if overtaken || publisher.repeats {
                    return Ok(Published::Waiting { matched: true, refused: false });
                }
                // Behind its own record too: an older value may be on its way to a subscriber by replay.
                let behind = self.unapplied(publisher);
                let refused = self.deliver_direct(
                    publisher,
                    &current.reach,
                    message,
                    Some(lsn),
                    behind,
                    now_ms,
                );
                publisher.count_crossings(&current);
                Ok(Published::Waiting { matched: !current.reach.is_unroutable(), refused })
            }
            Err(error) => {
                contents.take_back(taken);
                Err(error.into())
            }
        }
    }
}
