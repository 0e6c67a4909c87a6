//! What waits for a record of this connection. Part of `amqp`.
//!
//! Records are applied in the order in which they were submitted, so what waits is a queue, and a token is a place
//! in it that stays valid while the connection lives.

use std::collections::VecDeque;

/// Something that is owed to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// The confirm of a publish.
    Confirm {
        /// Its channel.
        channel: u16,
        /// Which opening of that channel: its number may be used again meanwhile.
        opening: u32,
        /// The publish's number.
        number: u64,
    },
    /// Nothing: the publish was on a channel without confirms.
    Nothing,
    /// The answer that the connection stands still for.
    Answer,
    /// Nothing: the method that the connection stands still for is looked at again.
    Turn,
}

/// What is owed, oldest first.
#[derive(Debug, Default)]
pub struct Owing {
    queue: VecDeque<(Owed, Option<bool>)>,
    /// Token of the front.
    first: u64,
}

impl Owing {
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

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Owes `owed` until its token's outcome is known.
    pub fn owe(&mut self, owed: Owed) {
        self.queue.push_back((owed, None));
    }

    /// Notes whether the record of `token` did what it was meant to.
    pub fn resolve(&mut self, token: u64, done: bool) {
        let place = token.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, outcome)) = place.and_then(|at| self.queue.get_mut(at)) {
            *outcome = Some(done);
        }
    }

    /// The next entry whose outcome is known.
    pub fn pop(&mut self) -> Option<(Owed, bool)> {
        let &(owed, outcome) = self.queue.front()?;
        let done = outcome?;
        self.queue.pop_front();
        self.first += 1;
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
        }
        Some((owed, done))
    }
}

#[cfg(test)]
mod tests {
    use super::{Owed, Owing};

    #[test]
    fn what_is_owed_is_paid_in_order() {
        let mut owing = Owing::default();
        let first = owing.next_token();
        owing.owe(Owed::Confirm { channel: 1, opening: 1, number: 1 });
        let second = owing.next_token();
        owing.owe(Owed::Answer);
        owing.resolve(second, true);
        assert_eq!(owing.pop(), None);
        owing.resolve(first, false);
        let confirm = Owed::Confirm { channel: 1, opening: 1, number: 1 };
        assert_eq!(owing.pop(), Some((confirm, false)));
        assert_eq!(owing.pop(), Some((Owed::Answer, true)));
        assert!(owing.pop().is_none() && owing.is_empty());
        owing.resolve(first, true);
        assert_eq!(owing.next_token(), first + 2);
    }
}
