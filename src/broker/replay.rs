//! Retained messages for a subscription that just came. Part of `broker`.
//!
//! Topics are visited in order; each value is read and enqueued while its slot is held. For a durable session
//! every step is a record that carries how far the replay has come, so a restart goes on where it stopped.
//! However many there are, none is dropped: a replay stays a few steps ahead of what its connection takes. It keeps
//! its place among the topics, not a list of them, and each step is short: others are served between two.

use std::sync::Arc;

use crate::metrics::{DropReason, LocalCounters};
use crate::model::ids::Lsn;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

use super::Broker;
use super::connect::SessionHandle;
use super::consumer::Encodings;
use super::fanout::{Fanout, Fate};
use super::message::Message;
use super::publish::drop_reason;
use super::record::{Record, ReplayItem};
use super::retained::index::{Cursor, Portion};
use super::retained::slot::Slot;
use super::router::Destination;
use super::sessions::subscription::Subscription;

/// Retained messages sent, and topics looked at for them, before other work of the connection gets its turn.
const STEP: Portion = Portion { found_max: 128, looked_max: 2048 };

/// Bytes of retained messages that a step sends, give or take the last of them.
const STEP_BYTES: usize = 1 << 20;

/// Messages of a session not yet sent, beyond which its replays pause.
const AHEAD_MAX: u64 = 512;

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything is on its way.
    Done,
    /// There is more; other work of the connection comes first.
    More,
    /// The connection has enough; to be continued when it has taken some.
    Full,
    /// To be continued when what was submitted is applied; the connection is woken then.
    Unapplied,
}

/// A replay under way.
pub struct Replay {
    filter: TopicFilter,
    /// Where an earlier connection of the session stopped.
    after: Option<String>,
    /// How far the topics were searched, once its turn has come: many replays may wait.
    cursor: Option<Cursor>,
    /// The topics found and not yet visited, the next one last.
    slots: Vec<Arc<Slot>>,
    since: Lsn,
    qos: QoS,
    id: Option<u32>,
    journaled: bool,
    /// Its newest record.
    submitted: Lsn,
    /// Bytes that the step under way has sent.
    sent_bytes: usize,
}

impl Broker {
    /// The replay that `subscription` begins, or goes on with.
    pub(crate) fn replay_of(&self, filter: &TopicFilter, subscription: &Subscription) -> Replay {
        let after = subscription.replay_after.as_deref().filter(|after| !after.is_empty());
        Replay {
            filter: filter.clone(),
            after: after.map(str::to_owned),
            cursor: None,
            slots: Vec::new(),
            since: subscription.since,
            qos: subscription.qos,
            id: subscription.id,
            journaled: subscription.replay_after.is_some(),
            submitted: Lsn(0),
            sent_bytes: 0,
        }
    }

    /// Replays that an earlier connection of a durable session did not see to their end.
    #[must_use]
    pub fn unfinished_replays(&self, handle: &SessionHandle) -> Vec<Replay> {
        let pending: Vec<_> = {
            let inner = handle.session.inner.lock();
            let all = inner.state.subscriptions.iter();
            all.filter(|(_, subscription)| subscription.replay_after.is_some())
                .map(|(filter, subscription)| (Arc::clone(filter), subscription.clone()))
                .collect()
        };
        pending
            .iter()
            .filter_map(|(filter, subscription)| {
                let filter = TopicFilter::parse(filter).ok()?;
                Some(self.replay_of(&filter, subscription))
            })
            .collect()
    }

    /// Sends some of what is left.
    pub fn replay_step(
        &self,
        handle: &SessionHandle,
        replay: &mut Replay,
        encodings: &mut Encodings,
        counters: &mut LocalCounters,
        now_ms: u64,
    ) -> Progress {
        if !handle.session.inner.lock().subscriptions.contains_key(replay.filter.as_str()) {
            // Given up meanwhile: nothing may follow UNSUBACK [MQTT-3.10.4-2].
            return Progress::Done;
        }
        if replay.submitted > self.applied_lsn() {
            self.wake_when_applied(replay.submitted, &handle.session);
            return Progress::Unapplied;
        }
        if replay.slots.is_empty() {
            self.find_topics(handle, replay);
        }
        replay.sent_bytes = 0;
        while let Some(slot) = replay.slots.last().map(Arc::clone) {
            if replay.sent_bytes >= STEP_BYTES {
                return Progress::More;
            }
            if !handle.session.takes_more(AHEAD_MAX) {
                return Progress::Full;
            }
            if !self.replay_topic(handle, replay, &slot, encodings, counters, now_ms) {
                // The disk fails. The next event of the connection tries again.
                return Progress::Unapplied;
            }
            replay.slots.pop();
        }
        if replay.cursor.as_ref().is_some_and(Cursor::is_over) {
            self.end_replay(handle, replay);
            return Progress::Done;
        }
        Progress::More
    }

    /// The next topics of a replay whose turn has come. One that comes between the subscription and this has a newer
    /// value, which is not replayed.
    fn find_topics(&self, handle: &SessionHandle, replay: &mut Replay) {
        let Replay { filter, after, cursor, slots, .. } = replay;
        let cursor = cursor.get_or_insert_with(|| match after.take() {
            Some(after) => Cursor::after(&after),
            None => Cursor::start(filter),
        });
        *slots = self.retained.search(&handle.session.key.vhost, filter, cursor, STEP);
        slots.reverse();
    }

    fn end_replay(&self, handle: &SessionHandle, replay: &Replay) {
        if replay.journaled {
            let record = Record::Replay {
                session: handle.session.id,
                epoch: handle.epoch,
                filter: replay.filter.as_str(),
                after: None,
                items: Vec::new(),
            };
            // Refused while the disk fails: the next connection finds the replay unfinished and ends it.
            drop(self.submit(None, &record));
        }
    }

    /// One topic; false when it must be tried again later.
    fn replay_topic(
        &self,
        handle: &SessionHandle,
        replay: &mut Replay,
        slot: &Slot,
        encodings: &mut Encodings,
        counters: &mut LocalCounters,
        now_ms: u64,
    ) -> bool {
        let contents = slot.hold();
        let Some(value) = contents.newest().filter(|value| value.lsn <= replay.since) else {
            return true;
        };
        let bytes = match self.retained.read(slot, &value) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return true,
            Err(error) => {
                let topic = &*slot.topic;
                tracing::error!(topic, error, "a retained message cannot be read");
                return true;
            }
        };
        replay.sent_bytes += bytes.len();
        let Ok(message) = Message::decode(&bytes) else {
            tracing::error!(topic = &*slot.topic, "a retained message does not decode");
            return true;
        };
        if message.is_expired(now_ms) {
            let (vhost, topic, value) = (&*slot.vhost, &*slot.topic, value.lsn);
            drop(self.submit(None, &Record::DropRetained { vhost, topic, value }));
            return true;
        }
        let qos = message.qos.min(replay.qos);
        if replay.journaled && qos > QoS::AtMostOnce {
            let record = Record::Replay {
                session: handle.session.id,
                epoch: handle.epoch,
                filter: replay.filter.as_str(),
                after: Some(&slot.topic),
                items: vec![ReplayItem { qos, subscription_id: replay.id, message: &bytes }],
            };
            return match self.submit(None, &record) {
                Ok(lsn) => {
                    replay.submitted = lsn;
                    true
                }
                Err(_) => false,
            };
        }
        let to = Destination {
            session: Arc::clone(&handle.session),
            qos: replay.qos,
            retain_as_published: true,
            subscription_ids: replay.id.into_iter().collect(),
            via: None,
            since: Lsn(0),
        };
        let limits = self.limits.load().queue;
        let behind = 0;
        encodings.reset(false);
        let memory = &self.volatile;
        let mut fanout =
            Fanout { message, now_ms, behind, limits, memory, encodings, stored: None };
        match handle.session.deliver(&to, &mut fanout) {
            Fate::Delivered => {
                counters.delivered[qos as usize] += 1;
                counters.payload_sent += message.payload.len() as u64;
            }
            Fate::Queued => {}
            Fate::Displaced(count) => counters.drop_messages(DropReason::Overflow, count),
            Fate::Dropped(why) => counters.drop_messages(drop_reason(why), 1),
        }
        true
    }
}
