//! Retained messages: the newest one of each topic (MQTT5-3.3.1.3).
//!
//! The index of topics is in memory, values that a checkpoint wrote are in redb. A publish holds the topic's
//! slot while it takes its LSN, puts its value into the overlay, reads the route and delivers what is not
//! durable; a replay holds it while it reads and enqueues. So a subscriber gets the newest value, live or
//! replayed, never neither and never the older after the newer. Part of `broker`.
//!
//! - [`slot`] one topic
//! - [`index`] topics in order, searched by filter
//! - [`room`] how many there are, against their limits
//! - [`row`] a value as a checkpoint keeps it

pub mod index;
pub mod room;
pub mod row;
pub mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::metrics::Limit;
use crate::model::ids::Lsn;
use crate::model::topic::TopicFilter;

use self::index::{Cursor, Index, Portion};
use self::room::{Claim, RetainedLimits, Room};
use self::slot::{Contents, Slot, Value};
use super::queues::entry::Stored;

/// Reads a value that a checkpoint wrote.
pub trait RetainedRows: Send + Sync {
    /// The encoded message of `topic`, if there is one.
    ///
    /// # Errors
    /// What the database said.
    fn read(&self, vhost: &str, topic: &str) -> Result<Option<Bytes>, String>;
}

/// A topic in its vhost.
type SlotKey = (Arc<str>, Arc<str>);

/// All retained messages.
pub struct Retained {
    vhosts: RwLock<AHashMap<Arc<str>, Arc<RwLock<Index>>>>,
    /// What applied values take, and those on their way to that.
    room: Room,
    rows: Arc<dyn RetainedRows>,
    /// Topics changed since the last checkpoint.
    dirty: Mutex<AHashMap<SlotKey, Arc<Slot>>>,
}

impl Retained {
    /// None yet, over `rows`.
    #[must_use]
    pub fn new(rows: Arc<dyn RetainedRows>) -> Self {
        Self { vhosts: RwLock::default(), room: Room::default(), rows, dirty: Mutex::default() }
    }

    fn index(&self, vhost: &str) -> Arc<RwLock<Index>> {
        if let Some(known) = self.vhosts.read().get(vhost) {
            return Arc::clone(known);
        }
        let mut vhosts = self.vhosts.write();
        Arc::clone(vhosts.entry(Arc::from(vhost)).or_default())
    }

    /// The vhost's name as all its slots share it.
    fn name(&self, vhost: &str) -> Arc<str> {
        let known = self.vhosts.read().get_key_value(vhost).map(|(name, _)| Arc::clone(name));
        known.unwrap_or_else(|| vhost.into())
    }

    /// The slot of `topic`, made if there is none.
    pub fn slot(&self, vhost: &str, topic: &str) -> Arc<Slot> {
        let index = self.index(vhost);
        if let Some(slot) = index.read().get(topic) {
            return slot;
        }
        let vhost = self.name(vhost);
        index.write().get_or_insert(&vhost, topic)
    }

    /// The next slots whose topic matches `filter`, in topic order, from `cursor` on, which moves.
    #[must_use]
    pub fn search(
        &self,
        vhost: &str,
        filter: &TopicFilter,
        cursor: &mut Cursor,
        portion: Portion,
    ) -> Vec<Arc<Slot>> {
        self.index(vhost).read().search(filter, cursor, portion)
    }

    /// All slots whose topic matches `filter`, in topic order.
    #[cfg(test)]
    pub(crate) fn matching(&self, vhost: &str, filter: &TopicFilter) -> Vec<Arc<Slot>> {
        self.search(vhost, filter, &mut Cursor::start(filter), Portion::ALL)
    }

    /// Topics that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.room.messages()).unwrap_or(usize::MAX)
    }

    /// Bytes of their values, encoded.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.room.bytes()
    }

    /// Room for one more topic with a value, of `bytes`.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn claim(&self, bytes: u64, limits: RetainedLimits) -> Result<Claim, Limit> {
        self.room.claim(bytes, limits)
    }

    /// Whether no topic has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies a retained publish: `stored` is the new value, `None` ends it.
    pub fn apply(&self, vhost: &str, topic: &str, lsn: Lsn, stored: Option<Arc<Stored>>) {
        let slot = self.slot(vhost, topic);
        self.room.note(slot.apply(lsn, stored));
        self.note_dirty(&slot);
    }

    /// The broker says `stored` of itself in the slot that holds `contents`: kept in memory, counted nowhere.
    pub fn announce(&self, contents: &mut Contents, stored: Arc<Stored>) {
        self.room.note(contents.announce(stored));
    }

    /// A record with a condition did not take effect: its value leaves the overlay.
    pub fn withdraw(&self, vhost: &str, topic: &str, lsn: Lsn) {
        if let Some(slot) = self.known(vhost, topic) {
            slot.withdraw(lsn);
        }
        self.release(vhost, topic);
    }

    /// A publish did not come to pass: its topic leaves the index, unless there is or may soon be a value. Whoever
    /// holds the slot lets go of it first.
    pub fn release(&self, vhost: &str, topic: &str) {
        let index = self.index(vhost);
        let mut index = index.write();
        if let Some(slot) = index.get(topic) {
            index.remove_empty(&slot);
        }
    }

    fn known(&self, vhost: &str, topic: &str) -> Option<Arc<Slot>> {
        self.index(vhost).read().get(topic)
    }

    /// Applies an expiry: only the value with `lsn` goes.
    pub fn expire(&self, vhost: &str, topic: &str, lsn: Lsn) {
        let Some(slot) = self.known(vhost, topic) else { return };
        if let Some(change) = slot.expire(lsn) {
            self.room.note(change);
            self.note_dirty(&slot);
        }
    }

    fn note_dirty(&self, slot: &Arc<Slot>) {
        let key = (Arc::clone(&slot.vhost), Arc::clone(&slot.topic));
        self.dirty.lock().insert(key, Arc::clone(slot));
    }

    /// What changed since the last call: each topic's applied value, for the applier at a batch boundary.
    pub fn freeze(&self) -> Vec<(Arc<Slot>, Option<Value>)> {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        dirty
            .into_values()
            .map(|slot| {
                let value = slot.applied();
                (slot, value)
            })
            .collect()
    }

    /// A checkpoint wrote these values: memory is given back, emptied topics leave the index.
    pub fn checkpointed(&self, frozen: &[(Arc<Slot>, Option<Value>)]) {
        for (slot, value) in frozen {
            match value {
                Some(value) => slot.on_disk(value.lsn),
                None => {
                    let index = self.index(&slot.vhost);
                    index.write().remove_empty(slot);
                    let stays = index.read().get(&slot.topic);
                    // A replay may be holding it: the next checkpoint tries again.
                    if let Some(slot) = stays.filter(|slot| slot.is_empty()) {
                        self.note_dirty(&slot);
                    }
                }
            }
        }
    }

    /// A value of `bytes` that the last checkpoint wrote (restart).
    pub fn restore(&self, vhost: &str, topic: &str, lsn: Lsn, bytes: u64) {
        let (index, vhost) = (self.index(vhost), self.name(vhost));
        let slot = index.write().get_or_insert(&vhost, topic);
        self.room.note(slot.restore(lsn, bytes));
    }

    /// The encoded message of a value.
    ///
    /// # Errors
    /// What the database said.
    pub fn read(&self, slot: &Slot, value: &Value) -> Result<Option<Bytes>, String> {
        match &value.stored {
            Some(stored) => Ok(Some(stored.bytes.clone())),
            None => self.rows.read(&slot.vhost, &slot.topic),
        }
    }
}
