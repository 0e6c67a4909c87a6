//! All sessions, by key and by id. Part of `broker::sessions`.
//!
//! By key stand the sessions that a CONNECT would find; by id also those whose end is on its way through the
//! journal, because records name them until it is applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::model::ids::QueueId;

use super::super::queues::meter::Meter;
use super::session::{Session, SessionKey};

/// The sessions of a broker.
pub struct Sessions {
    by_key: Mutex<AHashMap<SessionKey, Arc<Session>>>,
    by_id: RwLock<AHashMap<QueueId, Arc<Session>>>,
    next_id: AtomicU64,
    /// Counts what the indexes of durable ones take.
    memory: Arc<Meter>,
}

/// Publisher id of whoever has no session.
pub const NOBODY: QueueId = QueueId(0);

impl Sessions {
    /// None yet; their indexes will count in `memory`.
    #[must_use]
    pub fn new(memory: &Arc<Meter>) -> Self {
        Self {
            by_key: Mutex::default(),
            by_id: RwLock::default(),
            // 0 is nobody: publishers without a session.
            next_id: AtomicU64::new(1),
            memory: Arc::clone(memory),
        }
    }

    /// The next queue id; also what a checkpoint keeps.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Acquire)
    }

    /// Sees to it that no id below `next` is given out.
    pub fn raise_next_id(&self, next: u64) {
        self.next_id.fetch_max(next, Ordering::AcqRel);
    }

    /// A queue id that was never given out: sessions and declared queues share the numbers.
    pub fn new_id(&self) -> QueueId {
        QueueId(self.next_id.fetch_add(1, Ordering::AcqRel))
    }

    /// A session that nobody finds yet.
    pub fn create(&self, key: SessionKey, durable: bool) -> Arc<Session> {
        let id = self.new_id();
        let session = Session::new(id, key, durable.then_some(&self.memory));
        self.by_id.write().insert(id, Arc::clone(&session));
        session
    }

    /// The session with `id`.
    #[must_use]
    pub fn by_id(&self, id: QueueId) -> Option<Arc<Session>> {
        self.by_id.read().get(&id).cloned()
    }

    /// The durable session with `id`, made if there is none: the applier's.
    pub fn by_id_or_new(&self, id: QueueId, key: impl FnOnce() -> SessionKey) -> Arc<Session> {
        if let Some(known) = self.by_id(id) {
            return known;
        }
        self.raise_next_id(id.0.saturating_add(1));
        let session = Session::new(id, key(), Some(&self.memory));
        Arc::clone(self.by_id.write().entry(id).or_insert(session))
    }

    /// The sessions that CONNECT finds, held while one is opened or ended.
    pub fn keys(&self) -> MutexGuard<'_, AHashMap<SessionKey, Arc<Session>>> {
        self.by_key.lock()
    }

    /// The record that ended `id` was applied, or the session never had one.
    pub fn forget(&self, id: QueueId) {
        self.by_id.write().remove(&id);
    }

    /// Every session there is, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.by_id.read().values().cloned().collect();
        all.sort_by_key(|session| session.id);
        all
    }

    /// How many there are by id.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.read().len()
    }

    /// How many sessions CONNECT would find.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
