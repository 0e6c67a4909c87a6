//! Whether the broker takes what has to be durable, as its disk is. Part of `broker`.
//!
//! The journal refuses by itself while it cannot write. Before it comes to that, publishers are refused when the disk
//! is nearly full: what frees room again (acknowledgements, deletions, checkpoints) needs some. The composition root
//! looks at both once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::store::journal::SubmitError;

use super::Broker;
use super::consumer::Completer;

/// What publishers are told, and who waits for better times.
#[derive(Default)]
pub struct Standing {
    /// There is too little room for what publishers send.
    short: AtomicBool,
    /// No checkpoint can be taken until a restart, and memory holds as much as may wait for one.
    clogged: AtomicBool,
    /// Nothing durable is taken from publishers, whether by the journal or for want of room.
    refusing: AtomicBool,
    why: Mutex<Option<Arc<str>>>,
    waiting: Mutex<Vec<Arc<dyn Completer>>>,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("why", &self.why.lock()).finish_non_exhaustive()
    }
}

impl Broker {
    /// Notes how the disk is: `failing` says why the journal cannot write, `short` that there is too little room for
    /// publishers. Wakes those who waited for both to be over.
    pub fn note_disk(&self, failing: Option<&str>, short: Option<&str>) {
        let standing = &self.standing;
        *standing.why.lock() = failing.or(short).map(Arc::from);
        standing.short.store(short.is_some(), Ordering::Release);
        let refusing = failing.is_some() || short.is_some();
        if standing.refusing.swap(refusing, Ordering::AcqRel) && !refusing {
            let waiting = std::mem::take(&mut *standing.waiting.lock());
            waiting.iter().for_each(|connection| connection.wake());
        }
    }

    /// Notes whether memory holds all that it may while no checkpoint gives any of it back.
    pub(super) fn note_clogged(&self, clogged: bool) {
        self.standing.clogged.store(clogged, Ordering::Release);
    }

    /// Whether publishers are to be refused for that, see [`Self::note_disk`].
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        self.standing.clogged.load(Ordering::Acquire)
    }

    /// Why nothing durable is taken from publishers at the moment, if so.
    #[must_use]
    pub fn refusal(&self) -> Option<Arc<str>> {
        if !self.standing.refusing.load(Ordering::Acquire) {
            return None;
        }
        self.standing.why.lock().clone()
    }

    /// Has `connection` woken when [`Self::refusal`] is over.
    pub fn wake_when_well(&self, connection: Arc<dyn Completer>) {
        let mut waiting = self.standing.waiting.lock();
        if waiting.len() == waiting.capacity() {
            // Of those that ended meanwhile nobody else has anything.
            waiting.retain(|other| Arc::strong_count(other) > 1);
        }
        waiting.push(Arc::clone(&connection));
        drop(waiting);
        // It may have been over before the registration.
        if !self.standing.refusing.load(Ordering::Acquire) {
            connection.wake();
        }
    }

    /// Whether there is room for what a publisher sends.
    ///
    /// # Errors
    /// There is not: it is refused as the journal would refuse it.
    pub(crate) fn admit(&self) -> Result<(), SubmitError> {
        if !self.standing.short.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = self.standing.why.lock().clone();
        Err(SubmitError::Unavailable { reason: reason.unwrap_or_else(|| "no room".into()) })
    }
}
