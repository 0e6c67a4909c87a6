//! All declared queues, by id. Names are `broker::exchanges`' business. Part of `broker::declared`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ahash::AHashMap;
use parking_lot::RwLock;

use crate::model::ids::QueueId;

use super::super::queues::meter::Meter;
use super::keeping::Keeping;
use super::queue::DeclaredQueue;
use super::settings::QueueSettings;

/// The declared queues of a broker, those whose deletion is on its way through the journal included.
pub struct DeclaredQueues {
    by_id: RwLock<AHashMap<QueueId, Arc<DeclaredQueue>>>,
    /// What they share.
    pub keeping: Arc<Keeping>,
    /// Counts what the indexes of durable ones take.
    memory: Arc<Meter>,
    pub(super) next_connection: AtomicU64,
    pub(super) next_consumer: AtomicU64,
}

impl DeclaredQueues {
    /// None yet; their indexes will count in `memory`.
    #[must_use]
    pub fn new(keeping: Arc<Keeping>, memory: &Arc<Meter>) -> Self {
        let (next_connection, next_consumer) = (AtomicU64::new(1), AtomicU64::new(1));
        let memory = Arc::clone(memory);
        Self { by_id: RwLock::default(), keeping, memory, next_connection, next_consumer }
    }

    /// A queue that nobody finds by name yet. `id` is of the counter that sessions share:
    /// `broker.sessions.new_id()`.
    pub fn create(
        &self,
        id: QueueId,
        vhost: Arc<str>,
        name: Arc<str>,
        settings: QueueSettings,
    ) -> Arc<DeclaredQueue> {
        let queue = self.make(id, vhost, name, settings);
        self.by_id.write().insert(id, Arc::clone(&queue));
        queue
    }

    fn make(
        &self,
        id: QueueId,
        vhost: Arc<str>,
        name: Arc<str>,
        settings: QueueSettings,
    ) -> Arc<DeclaredQueue> {
        let queue = DeclaredQueue::new(id, vhost, name, settings, &self.keeping);
        if queue.durable {
            queue.inner.lock().ledger.count_in(&self.memory);
        }
        queue
    }

    /// The queue with `id`.
    #[must_use]
    pub fn by_id(&self, id: QueueId) -> Option<Arc<DeclaredQueue>> {
        self.by_id.read().get(&id).cloned()
    }

    /// The queue with `id`, made if there is none: the applier's.
    pub fn by_id_or_new(
        &self,
        id: QueueId,
        make: impl FnOnce() -> (Arc<str>, Arc<str>, QueueSettings),
    ) -> Arc<DeclaredQueue> {
        if let Some(known) = self.by_id(id) {
            return known;
        }
        let (vhost, name, settings) = make();
        let queue = self.make(id, vhost, name, settings);
        Arc::clone(self.by_id.write().entry(id).or_insert(queue))
    }

    /// The record that deleted `id` was applied, or the queue never had one.
    pub fn forget(&self, id: QueueId) {
        self.by_id.write().remove(&id);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.read().len()
    }

    /// Every queue there is, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<DeclaredQueue>> {
        let mut all: Vec<_> = self.by_id.read().values().cloned().collect();
        all.sort_by_key(|queue| queue.id);
        all
    }
}
