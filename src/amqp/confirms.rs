//! Which publishes of a channel the client hears about next. Part of `amqp`; pure.
//!
//! Publishes are numbered from 1 after `confirm.select`. Confirms leave in that order: one that nothing durable
//! hangs on waits for those before it, so that whatever one sync made durable is one cumulative ack.

use std::collections::VecDeque;

/// Where a publish stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its record is on the way.
    Waiting,
    /// It is where it belongs.
    Stored,
    /// A destination refused it.
    Refused,
}

/// A confirm that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// `basic.ack` up to this number; `multiple` when it is for more than one.
    Ack(u64, bool),
    /// `basic.nack` of this number alone.
    Nack(u64),
}

/// A channel's publishes in confirm mode.
#[derive(Debug, Default)]
pub struct Confirms {
    /// Number of the last publish.
    last: u64,
    /// Number of the last publish that the client was told of.
    told: u64,
    /// Stored without a gap up to here; never behind `told`.
    stored: u64,
    /// Publishes after `stored`, in order; the front is never [`Standing::Stored`].
    open: VecDeque<Standing>,
}

impl Confirms {
    /// One more publish; its number.
    pub fn begin(&mut self) -> u64 {
        self.last += 1;
        self.open.push_back(Standing::Waiting);
        self.last
    }

    /// Publishes that the client has not been told of, or not for long: one that is stored in front counts no more.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The publish `number` is where it belongs.
    pub fn store(&mut self, number: u64) {
        self.settle(number, Standing::Stored);
    }

    /// The publish `number` was refused.
    pub fn refuse(&mut self, number: u64) {
        self.settle(number, Standing::Refused);
    }

    fn settle(&mut self, number: u64, standing: Standing) {
        let ahead = number.checked_sub(self.stored + 1).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = ahead.and_then(|at| self.open.get_mut(at)) {
            *slot = standing;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.open.front() == Some(&Standing::Stored) {
            self.open.pop_front();
            self.stored += 1;
        }
    }

    /// What may leave now: the next confirm, in order.
    pub fn take(&mut self) -> Option<Confirm> {
        if self.stored > self.told {
            let multiple = self.stored - self.told > 1;
            self.told = self.stored;
            return Some(Confirm::Ack(self.stored, multiple));
        }
        if self.open.front() == Some(&Standing::Refused) {
            self.open.pop_front();
            self.stored += 1;
            self.told = self.stored;
            self.advance();
            return Some(Confirm::Nack(self.told));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Confirm, Confirms};

    fn drain(confirms: &mut Confirms) -> Vec<Confirm> {
        std::iter::from_fn(|| confirms.take()).collect()
    }

    #[test]
    fn what_one_sync_stored_is_one_ack() {
        let mut confirms = Confirms::default();
        for _ in 0..5 {
            confirms.begin();
        }
        confirms.store(2);
        assert_eq!(drain(&mut confirms), []);
        confirms.store(1);
        confirms.store(3);
        assert_eq!(drain(&mut confirms), [Confirm::Ack(3, true)]);
        confirms.store(4);
        assert_eq!(drain(&mut confirms), [Confirm::Ack(4, false)]);
        confirms.refuse(5);
        assert_eq!(drain(&mut confirms), [Confirm::Nack(5)]);
        confirms.begin();
        confirms.store(6);
        assert_eq!(drain(&mut confirms), [Confirm::Ack(6, false)]);
    }

    proptest! {
        #[test]
        fn every_publish_is_told_once_and_in_order(
            refused in vec(any::<bool>(), 1..40),
            order in vec((0usize..40, any::<bool>()), 0..200),
        ) {
            let mut confirms = Confirms::default();
            for _ in &refused {
                confirms.begin();
            }
            let mut told: Vec<bool> = Vec::new();
            let mut settled = vec![false; refused.len()];
            let all = order.into_iter().chain((0..refused.len()).map(|at| (at, true)));
            for (at, look) in all {
                if at < refused.len() && !settled[at] {
                    settled[at] = true;
                    let number = at as u64 + 1;
                    if refused[at] { confirms.refuse(number) } else { confirms.store(number) }
                }
                if look {
                    for confirm in drain(&mut confirms) {
                        match confirm {
                            Confirm::Ack(to, multiple) => {
                                prop_assert_eq!(multiple, to - told.len() as u64 > 1);
                                told.resize(to as usize, false);
                            }
                            Confirm::Nack(one) => {
                                prop_assert_eq!(one, told.len() as u64 + 1);
                                told.push(true);
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(told, refused);
        }
    }
}
