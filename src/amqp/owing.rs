//! What waits for a record of this connection. Part of `amqp`.

use crate::broker::pending::Pending;

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

/// What is owed, and whether its record did what it was meant to.
pub type Owing = Pending<Owed, bool>;

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
