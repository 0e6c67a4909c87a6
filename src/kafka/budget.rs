//! Memory that all connections share, given out first come, first served. Part of `kafka`.
//!
//! What is asked for is given while there is room. Who finds none stands in a queue, whose front alone is told when
//! something comes back. So that no request is too large, and none of two half-read ones waits for the other, **one
//! claim at a time may go beyond the bound**: the front of the queue, until it has given back enough. The sum is never
//! more than the bound and what one claim may ask for.
//!
//! A peer that stops halfway holds what it got; [`Claim::keeps_others_out`] tells whether anybody minds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A bound on bytes in memory.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    held: usize,
    last_id: u64,
    /// Who has gone beyond the bound.
    beyond: Option<u64>,
    /// Who waits.
    queue: VecDeque<(u64, Arc<Notify>)>,
}

impl Budget {
    /// Room for `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, book: Mutex::default() })
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.book.lock().held
    }
}

impl Book {
    fn call_front(&self) {
        if let Some((_, front)) = self.queue.front() {
            front.notify_one();
        }
    }

    fn leave(&mut self, id: u64) {
        let was_front = self.queue.front().is_some_and(|(front, _)| *front == id);
        self.queue.retain(|(waiting, _)| *waiting != id);
        if was_front {
            self.call_front();
        }
    }
}

/// What one owner holds of a [`Budget`]; given back on drop.
pub struct Claim {
    budget: Arc<Budget>,
    id: u64,
    held: usize,
    is_waiting: bool,
    called: Arc<Notify>,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Claim {
    /// One that holds nothing.
    #[must_use]
    pub fn new(budget: &Arc<Budget>) -> Self {
        let id = {
            let mut book = budget.book.lock();
            book.last_id += 1;
            book.last_id
        };
        let (budget, called) = (Arc::clone(budget), Arc::default());
        Self { budget, id, held: 0, is_waiting: false, called }
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Has it hold at least `bytes` in all. False when there is no room: it stands in the queue then, and asks again
    /// after [`Self::turn`].
    pub fn raise(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.held).filter(|more| *more > 0) else {
            self.give_way();
            return true;
        };
        let mut book = self.budget.book.lock();
        let is_next = book.queue.front().is_none_or(|(front, _)| *front == self.id);
        let has_room = book.held.checked_add(more).is_some_and(|sum| sum <= self.budget.max);
        let is_beyond = book.beyond == Some(self.id);
        let goes_beyond = !has_room && is_next && book.beyond.is_none();
        if !(is_beyond || goes_beyond || (is_next && has_room)) {
            if !std::mem::replace(&mut self.is_waiting, true) {
                book.queue.push_back((self.id, Arc::clone(&self.called)));
            }
            return false;
        }
        if goes_beyond {
            book.beyond = Some(self.id);
        }
        book.held += more;
        self.held = bytes;
        if std::mem::take(&mut self.is_waiting) {
            book.leave(self.id);
        }
        true
    }

    /// Has it hold exactly `bytes`, whether there is room for them or not: what is there already.
    pub fn set(&mut self, bytes: usize) {
        if bytes == self.held {
            return;
        }
        let mut book = self.budget.book.lock();
        book.held = book.held - self.held + bytes;
        if bytes < self.held {
            let is_within = bytes == 0 || book.held <= self.budget.max;
            if book.beyond == Some(self.id) && is_within {
                book.beyond = None;
            }
            book.call_front();
        }
        self.held = bytes;
    }

    /// Leaves the queue.
    pub fn give_way(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.budget.book.lock().leave(self.id);
        }
    }

    /// Completes when it is worth asking again.
    pub async fn turn(&self) {
        self.called.notified().await;
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        !self.budget.book.lock().queue.is_empty()
    }

    /// Whether somebody waits who could have what it holds.
    #[must_use]
    pub fn keeps_others_out(&self) -> bool {
        self.held > 0 && !self.is_waiting && self.is_contended()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_way();
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::sync::Notify;

    use super::{Budget, Claim};

    fn is_called(claim: &Claim) -> bool {
        let called: &Arc<Notify> = &claim.called;
        let mut waits = std::pin::pin!(called.notified());
        waits.as_mut().enable()
    }

    #[test]
    fn one_at_a_time_goes_beyond_and_the_others_come_in_their_order() {
        let budget = Budget::new(10);
        let mut claims: Vec<Claim> = (0..4).map(|_| Claim::new(&budget)).collect();
        assert!(claims[0].raise(8));
        // Too large for what is left: it may, alone.
        assert!(claims[1].raise(100));
        assert!(!claims[2].raise(1) && !claims[3].raise(1));
        // It goes on where it is.
        assert!(claims[1].raise(200) && !claims[0].raise(9));
        claims[1].set(1);
        assert!(is_called(&claims[2]) && !is_called(&claims[3]));
        // Whoever is not at the front waits, even if there were room.
        assert!(!claims[3].raise(1));
        assert!(claims[2].raise(1) && is_called(&claims[3]) && claims[3].raise(1));
        drop(claims);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn who_leaves_the_queue_holds_up_nobody() {
        let budget = Budget::new(10);
        let (mut first, mut second, mut third) =
            (Claim::new(&budget), Claim::new(&budget), Claim::new(&budget));
        assert!(first.raise(20) && !second.raise(5) && !third.raise(5));
        assert!(first.keeps_others_out() && !second.keeps_others_out());
        drop(second);
        assert!(is_called(&third));
        drop(first);
        assert!(third.raise(5));
        assert_eq!(budget.held(), 5);
    }

    proptest! {
        /// Whatever is asked for and given back: the bound is kept but for one, and everybody gets a turn.
        #[test]
        fn the_bound_holds_and_nobody_starves(
            steps in vec((0usize..5, 1usize..40, any::<bool>()), 1..200),
        ) {
            const MAX: usize = 60;
            let budget = Budget::new(MAX);
            let mut claims: Vec<Claim> = (0..5).map(|_| Claim::new(&budget)).collect();
            let mut wants: BTreeMap<usize, usize> = BTreeMap::new();
            for (who, bytes, gives) in steps {
                if gives && !wants.contains_key(&who) {
                    claims[who].set(0);
                } else {
                    let wanted = *wants.entry(who).or_insert(claims[who].held() + bytes);
                    if claims[who].raise(wanted) {
                        wants.remove(&who);
                    }
                }
                let held: Vec<usize> = claims.iter().map(Claim::held).collect();
                let sum: usize = held.iter().sum();
                prop_assert_eq!(sum, budget.held());
                // All but the one that may go beyond.
                let most = held.iter().max().copied().unwrap_or(0);
                prop_assert!(sum <= MAX || sum - most <= MAX);
            }
            // Those who hold give back; then the others get theirs, one after the other.
            for _ in 0..20 {
                for (who, claim) in claims.iter_mut().enumerate() {
                    match wants.get(&who).copied() {
                        Some(wanted) if claim.raise(wanted) => {
                            wants.remove(&who);
                        }
                        Some(_) => {}
                        None => claim.set(0),
                    }
                }
            }
            prop_assert!(wants.is_empty());
        }
    }
}
