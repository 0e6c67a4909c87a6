//! Interned sets of durable destinations: a record names thousands of sessions by one number. Part of `broker`.
//!
//! A definition has a lower LSN than its first use, a retirement a higher one than its last: whoever submits
//! a use holds the set's [`SetHandle`], and the retirement is submitted when the last handle is gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::model::ids::SetId;
use crate::store::journal::SubmitError;

use super::Broker;
use super::record::{Record, SetMember};

/// A defined set, kept in use.
#[derive(Debug)]
pub struct SetHandle {
    /// The set.
    pub id: SetId,
    sets: Weak<Sets>,
}

impl Drop for SetHandle {
    fn drop(&mut self) {
        if let Some(sets) = self.sets.upgrade() {
            sets.retired.lock().push(self.id);
        }
    }
}

/// The sets in use.
#[derive(Debug)]
pub struct Sets {
    known: Mutex<AHashMap<Vec<SetMember>, Weak<SetHandle>>>,
    retired: Mutex<Vec<SetId>>,
    next_id: AtomicU64,
}

impl Default for Sets {
    fn default() -> Self {
        Self { known: Mutex::default(), retired: Mutex::default(), next_id: AtomicU64::new(1) }
    }
}

impl Sets {
    /// The next id; also what a checkpoint keeps.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Acquire)
    }

    /// Sees to it that no id below `next` is given out.
    pub(crate) fn raise_next_id(&self, next: u64) {
        self.next_id.fetch_max(next, Ordering::AcqRel);
    }

    /// Sets that a restart found: nobody holds them, so they retire.
    pub(crate) fn retire_later(&self, ids: impl IntoIterator<Item = SetId>) {
        self.retired.lock().extend(ids);
    }
}

impl Broker {
    /// The set of exactly `members`, defined if it is new.
    ///
    /// # Errors
    /// When the journal refuses the definition.
    pub(crate) fn intern(&self, members: Vec<SetMember>) -> Result<Arc<SetHandle>, SubmitError> {
        let mut known = self.sets.known.lock();
        if let Some(handle) = known.get(&members).and_then(Weak::upgrade) {
            return Ok(handle);
        }
        let id = SetId(self.sets.next_id.fetch_add(1, Ordering::AcqRel));
        self.submit(None, &Record::DefineSet { id, members: members.clone() })?;
        let handle = Arc::new(SetHandle { id, sets: Arc::downgrade(&self.sets) });
        if known.len() >= 2 * known.values().filter(|set| set.strong_count() > 0).count() + 64 {
            known.retain(|_, set| set.strong_count() > 0);
        }
        known.insert(members, Arc::downgrade(&handle));
        drop(known);
        self.retire_sets();
        Ok(handle)
    }

    /// Submits the retirement of sets that nobody holds any more.
    pub(crate) fn retire_sets(&self) {
        let retired = std::mem::take(&mut *self.sets.retired.lock());
        for (at, id) in retired.iter().enumerate() {
            if self.submit(None, &Record::RetireSet { id: *id }).is_err() {
                // The journal takes nothing now; they retire later.
                self.sets.retired.lock().extend(retired.iter().skip(at));
                return;
            }
        }
    }

    /// The next set id, for a checkpoint.
    pub(crate) fn next_set_id(&self) -> u64 {
        self.sets.next_id()
    }

    /// What a restart found of sets.
    pub(crate) fn restore_sets(&self, next_id: u64, found: impl IntoIterator<Item = SetId>) {
        self.sets.raise_next_id(next_id);
        self.sets.retire_later(found);
    }
}
