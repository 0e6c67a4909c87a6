//! What waits for records, in the order of their submission. Part of `broker`.
//!
//! Records are applied in the order in which they were submitted, so what waits is a queue, and a token is a place
//! in it that stays valid while its owner lives.

use std::collections::VecDeque;

/// Entries whose room is kept when nothing waits.
const KEPT_MAX: usize = 1024;

/// Entries of `T`, oldest first, each until its outcome is known and all before it are gone.
#[derive(Debug)]
pub struct Pending<T, O> {
    queue: VecDeque<(T, Option<O>)>,
    /// Token of the front.
    first: u64,
}

impl<T, O> Default for Pending<T, O> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), first: 0 }
    }
}

impl<T, O> Pending<T, O> {
    /// The token that the next entry will have.
    #[must_use]
    pub fn next_token(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// How many entries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether something could leave now without overtaking another.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Keeps `entry` until the outcome of its token is known.
    pub fn owe(&mut self, entry: T) {
        self.queue.push_back((entry, None));
    }

    /// Keeps `entry`, whose outcome is known, behind earlier ones only.
    pub fn owe_known(&mut self, entry: T, outcome: O) {
        self.queue.push_back((entry, Some(outcome)));
    }

    /// Notes the outcome of `token`.
    pub fn resolve(&mut self, token: u64, outcome: O) {
        let place = token.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, known)) = place.and_then(|at| self.queue.get_mut(at)) {
            *known = Some(outcome);
        }
    }

    /// The next entry, if its outcome is known.
    pub fn pop(&mut self) -> Option<(T, O)> {
        self.queue.front()?.1.as_ref()?;
        let (entry, outcome) = self.queue.pop_front()?;
        self.first += 1;
        if self.queue.is_empty() && self.queue.capacity() > KEPT_MAX {
            self.queue = VecDeque::new();
        }
        Some((entry, outcome?))
    }
}
