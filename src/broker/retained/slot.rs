//! One topic's retained message. Part of `broker::retained`.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::model::ids::Lsn;

use super::super::queues::entry::Stored;
use super::room::{Change, Claim};

/// A retained value.
#[derive(Clone, Debug)]
pub struct Value {
    /// The record that set it.
    pub lsn: Lsn,
    /// The encoded message while it is in memory; a checkpointed one is read from its row.
    pub stored: Option<Arc<Stored>>,
    /// How long that is.
    pub bytes: u64,
}

/// In place of the record of what the broker says of itself: no record has it.
const ANNOUNCED: Lsn = Lsn(0);

/// The value that was submitted last, until it is applied.
#[derive(Debug)]
struct Overlay {
    lsn: Lsn,
    /// `None` ends the retained message.
    stored: Option<Arc<Stored>>,
    /// The room that a topic without an applied value takes until it has one.
    claim: Option<Claim>,
}

/// What a slot holds.
#[derive(Debug, Default)]
pub struct Contents {
    applied: Option<Value>,
    /// In a box, because few topics have one at a time.
    overlay: Option<Box<Overlay>>,
}

/// A topic that has, had or will have a retained message.
#[derive(Debug)]
pub struct Slot {
    /// vhost / mount point.
    pub vhost: Arc<str>,
    /// Topic name.
    pub topic: Arc<str>,
    contents: Mutex<Contents>,
}

impl Slot {
    /// An empty slot.
    #[must_use]
    pub fn new(vhost: &Arc<str>, topic: &str) -> Arc<Self> {
        let (vhost, topic) = (Arc::clone(vhost), topic.into());
        Arc::new(Self { vhost, topic, contents: Mutex::default() })
    }

    /// Holds the topic against other publishes and replays.
    pub fn hold(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }

    /// The applied value.
    #[must_use]
    pub fn applied(&self) -> Option<Value> {
        self.contents.lock().applied.clone()
    }

    /// Applies a value or its end; returns what that changed. The overlay leaves with the apply
    /// of its own LSN only: a newer one stays.
    pub(super) fn apply(&self, lsn: Lsn, stored: Option<Arc<Stored>>) -> Change {
        let mut contents = self.contents.lock();
        let before = contents.counted();
        contents.applied = stored.map(|stored| {
            let bytes = stored.bytes.len() as u64;
            Value { lsn, stored: Some(stored), bytes }
        });
        if contents.overlay.as_ref().is_some_and(|overlay| overlay.lsn <= lsn) {
            contents.overlay = None;
        }
        Change { before, after: contents.applied.as_ref().map(|value| value.bytes) }
    }

    pub(super) fn withdraw(&self, lsn: Lsn) {
        let mut contents = self.contents.lock();
        if contents.overlay.as_ref().is_some_and(|overlay| overlay.lsn == lsn) {
            contents.overlay = None;
        }
    }

    pub(super) fn expire(&self, lsn: Lsn) -> Option<Change> {
        let mut contents = self.contents.lock();
        let gone = contents.applied.take_if(|value| value.lsn == lsn)?;
        Some(Change { before: Some(gone.bytes), after: None })
    }

    pub(super) fn on_disk(&self, lsn: Lsn) {
        let mut contents = self.contents.lock();
        if let Some(value) = contents.applied.as_mut().filter(|value| value.lsn == lsn) {
            value.stored = None;
        }
    }

    pub(super) fn restore(&self, lsn: Lsn, bytes: u64) -> Change {
        let mut contents = self.contents.lock();
        let before = contents.counted();
        contents.applied = Some(Value { lsn, stored: None, bytes });
        Change { before, after: Some(bytes) }
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        let contents = self.contents.lock();
        contents.applied.is_none() && contents.overlay.is_none()
    }
}

impl Contents {
    /// A publish took `lsn`: its value is the newest from now on. What room it claims, and what was claimed for the value
    /// before it, stays claimed until one of them is applied.
    pub fn put(&mut self, lsn: Lsn, stored: Option<Arc<Stored>>, claim: Option<Claim>) {
        let claim = claim.or(self.overlay.take().and_then(|before| before.claim));
        self.overlay = Some(Box::new(Overlay { lsn, stored, claim }));
    }

    /// The broker says `stored` of itself: the value is older than any record, never one itself, and takes none of the
    /// room that records' values have.
    pub(super) fn announce(&mut self, stored: Arc<Stored>) -> Change {
        let before = self.counted();
        let bytes = stored.bytes.len() as u64;
        self.applied = Some(Value { lsn: ANNOUNCED, stored: Some(stored), bytes });
        Change { before, after: None }
    }

    /// Bytes of the applied value, if it takes room.
    fn counted(&self) -> Option<u64> {
        let value = self.applied.as_ref().filter(|value| value.lsn != ANNOUNCED);
        value.map(|value| value.bytes)
    }

    /// The journal refused the record of `lsn`: what it put is taken back.
    pub fn take_back(&mut self, lsn: Lsn) {
        if self.overlay.as_ref().is_some_and(|overlay| overlay.lsn == lsn) {
            self.overlay = None;
        }
    }

    /// The newest value, submitted or applied; `None` when there is none or its end was submitted.
    #[must_use]
    pub fn newest(&self) -> Option<Value> {
        match &self.overlay {
            Some(overlay) => overlay.stored.as_ref().map(|stored| Value {
                lsn: overlay.lsn,
                stored: Some(Arc::clone(stored)),
                bytes: stored.bytes.len() as u64,
            }),
            None => self.applied.clone(),
        }
    }

    /// Whether the topic has or is getting a value. The end of none takes no place.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let comes = |overlay: &Overlay| overlay.stored.is_some();
        self.applied.is_some() || self.overlay.as_deref().is_some_and(comes)
    }
}
