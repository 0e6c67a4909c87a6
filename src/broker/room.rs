//! Who waits for room in the journal. Part of `broker`.
//!
//! While a disk fails there may be none for hours: connections that ask again and again, and those that come and go
//! meanwhile, take no more memory than those that are there.

use std::sync::Weak;

use ahash::AHashSet;
use tokio::sync::oneshot;

use super::consumer::Completer;

/// Entries before the first look for those that are of no use.
const TIDY_MIN: usize = 1024;

/// Somebody who waits.
pub(super) enum Waiting {
    /// A connection, as long as it is there.
    Connection(Weak<dyn Completer>),
    /// A call.
    Call(oneshot::Sender<()>),
}

/// All of them.
#[derive(Default)]
pub(super) struct Line {
    list: Vec<Waiting>,
    /// Entries before the next look.
    tidy_at: usize,
}

impl Line {
    /// One more.
    pub(super) fn enter(&mut self, waiting: Waiting) {
        self.list.push(waiting);
        if self.list.len() < self.tidy_at.max(TIDY_MIN) {
            return;
        }
        let mut known = AHashSet::new();
        self.list.retain(|one| match one {
            Waiting::Connection(connection) => {
                connection.strong_count() > 0 && known.insert(connection.as_ptr().cast::<()>())
            }
            Waiting::Call(sender) => !sender.is_closed(),
        });
        self.tidy_at = self.list.len() * 2;
    }

    /// Tells them that there is room.
    pub(super) fn tell(self) {
        for waiting in self.list {
            match waiting {
                Waiting::Connection(connection) => {
                    if let Some(connection) = connection.upgrade() {
                        connection.wake();
                    }
                }
                // Whoever gave up waiting needs no news.
                Waiting::Call(sender) => drop(sender.send(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::{Line, TIDY_MIN, Waiting};
    use crate::broker::consumer::{Completer, Outcome};

    #[derive(Default)]
    struct Asker(AtomicUsize);

    impl Completer for Asker {
        fn complete(&self, _: u64, _: Outcome) -> bool {
            false
        }

        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waiting(asker: &Arc<Asker>) -> Waiting {
        let asker: Arc<dyn Completer> = asker.clone();
        Waiting::Connection(Arc::downgrade(&asker))
    }

    #[test]
    fn whoever_asks_again_or_is_gone_takes_no_memory() {
        let mut line = Line::default();
        let stays = Arc::<Asker>::default();
        let (sender, mut told) = oneshot::channel();
        line.enter(Waiting::Call(sender));
        for _ in 0..10 * TIDY_MIN {
            line.enter(waiting(&stays));
            line.enter(waiting(&Arc::default()));
            line.enter(Waiting::Call(oneshot::channel().0));
        }
        assert!(line.list.len() <= TIDY_MIN);
        line.tell();
        assert!(stays.0.load(Ordering::SeqCst) > 0 && told.try_recv().is_ok());
    }
}
