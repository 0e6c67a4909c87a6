//! One declared queue. Part of `broker::declared`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::model::ids::QueueId;

use super::super::consumer::QueueConsumer;
use super::settings::QueueSettings;

/// A queue that clients find by name.
pub struct DeclaredQueue {
    /// Its id, never reused.
    pub id: QueueId,
    /// vhost.
    pub vhost: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Whether its declaration and its persistent messages go through the journal.
    pub durable: bool,
    /// What its declaration says.
    pub settings: QueueSettings,
    gone: AtomicBool,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {}

/// What is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages that wait to be handed out.
    pub ready: u64,
    /// Messages that are out and not acknowledged.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

/// What a queue held when it was ended.
pub struct Ended {
    /// Messages that waited.
    pub messages: u64,
    /// Its consumers; whoever ended it calls their `cancelled`.
    pub consumers: Vec<Arc<dyn QueueConsumer>>,
}

impl DeclaredQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(id: QueueId, vhost: Arc<str>, name: Arc<str>, settings: QueueSettings) -> Arc<Self> {
        let durable = settings.durable;
        let (gone, inner) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { id, vhost, name, durable, settings, gone, inner })
    }

    /// Whether it was deleted: nothing goes in or out any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// What is in it, expired messages included.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        let _inner = self.inner.lock();
        QueueCounts::default()
    }

    /// Takes the queue out of use. For a durable one the record that deletes it was submitted before; its durable
    /// messages go when that is applied. What is out with consumers cannot be returned or acknowledged any more.
    pub fn end(&self) -> Ended {
        self.gone.store(true, Ordering::Release);
        Ended { messages: 0, consumers: Vec::new() }
    }

    /// Notes that somebody declared the queue again: it is not idle (`x-expires`).
    pub fn touch(&self, _now_ms: u64) {}
}
