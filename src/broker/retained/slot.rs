//! One topic's retained message. Part of `broker::retained`.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::model::ids::Lsn;

use super::super::queues::entry::Stored;

/// A retained value.
#[derive(Clone, Debug)]
pub struct Value {
    /// The record that set it.
    pub lsn: Lsn,
    /// The encoded message while it is in memory; a checkpointed one is read from its row.
    pub stored: Option<Arc<Stored>>,
}

/// The value that was submitted last, until it is applied.
#[derive(Clone, Debug)]
struct Overlay {
    lsn: Lsn,
    /// `None` ends the retained message.
    stored: Option<Arc<Stored>>,
}

/// What a slot holds.
#[derive(Debug, Default)]
pub struct Contents {
    applied: Option<Value>,
    overlay: Option<Overlay>,
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

    /// Applies a value or its end; returns how the number of values changed. The overlay leaves with the apply
    /// of its own LSN only: a newer one stays.
    pub(super) fn apply(&self, lsn: Lsn, stored: Option<Arc<Stored>>) -> i8 {
        let mut contents = self.contents.lock();
        let before = i8::from(contents.applied.is_some());
        contents.applied = stored.map(|stored| Value { lsn, stored: Some(stored) });
        if contents.overlay.as_ref().is_some_and(|overlay| overlay.lsn <= lsn) {
            contents.overlay = None;
        }
        i8::from(contents.applied.is_some()) - before
    }

    pub(super) fn withdraw(&self, lsn: Lsn) {
        let mut contents = self.contents.lock();
        if contents.overlay.as_ref().is_some_and(|overlay| overlay.lsn == lsn) {
            contents.overlay = None;
        }
    }

    pub(super) fn expire(&self, lsn: Lsn) -> i8 {
        let mut contents = self.contents.lock();
        if contents.applied.as_ref().is_some_and(|value| value.lsn == lsn) {
            contents.applied = None;
            return -1;
        }
        0
    }

    pub(super) fn on_disk(&self, lsn: Lsn) {
        let mut contents = self.contents.lock();
        if let Some(value) = contents.applied.as_mut().filter(|value| value.lsn == lsn) {
            value.stored = None;
        }
    }

    pub(super) fn restore(&self, lsn: Lsn) -> i8 {
        let mut contents = self.contents.lock();
        let before = i8::from(contents.applied.is_some());
        contents.applied = Some(Value { lsn, stored: None });
        1 - before
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        let contents = self.contents.lock();
        contents.applied.is_none() && contents.overlay.is_none()
    }
}

impl Contents {
    /// A publish took `lsn`: its value is the newest from now on.
    pub fn put(&mut self, lsn: Lsn, stored: Option<Arc<Stored>>) {
        self.overlay = Some(Overlay { lsn, stored });
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
            Some(overlay) => overlay
                .stored
                .as_ref()
                .map(|stored| Value { lsn: overlay.lsn, stored: Some(Arc::clone(stored)) }),
            None => self.applied.clone(),
        }
    }

    /// Whether the topic has or is getting a value.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.applied.is_some() || self.overlay.is_some()
    }
}
