//! What became of the publishes that are on their way to the journal and back. Part of `broker::carry`.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::consumer::{Completer, Outcome};

/// Outcomes that a passage has not looked at yet. The applier writes, in the order of the records.
#[derive(Debug)]
pub(super) struct Answers {
    told: Mutex<Vec<(u64, Outcome)>>,
    news: Arc<Notify>,
}

impl Answers {
    /// None yet; `news` is told once a batch that brought some.
    pub(super) fn new(news: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { told: Mutex::default(), news })
    }

    /// Takes what has come.
    pub(super) fn take(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut *self.told.lock())
    }
}

impl Completer for Answers {
    fn complete(&self, token: u64, outcome: Outcome) -> bool {
        self.told.lock().push((token, outcome));
        true
    }

    fn wake(&self) {
        self.news.notify_one();
    }
}
