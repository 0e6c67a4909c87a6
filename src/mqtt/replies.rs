//! Answers that leave in the order of what they answer, some at once, some when their record is durable. Part
//! of `mqtt`.

use std::num::NonZeroU16;

use crate::broker::consumer::Outcome;
use crate::broker::pending::Pending;
use crate::broker::replay::Replay;
use crate::mqtt::reason::ReasonCode;

/// An answer owed to the client.
pub enum Reply {
    /// CONNACK of a session whose opening is a record.
    Open,
    /// PUBACK; the reason when its record took effect.
    PubAck(NonZeroU16, ReasonCode),
    /// PUBREC; the reason when its record took effect.
    PubRec(NonZeroU16, ReasonCode),
    /// PUBREL for a message that the client holds.
    PubRel(NonZeroU16),
    /// PUBCOMP.
    PubComp(NonZeroU16),
    /// SUBACK, and the retained messages after it.
    SubAck(NonZeroU16, Vec<ReasonCode>, Vec<Replay>),
    /// UNSUBACK.
    UnsubAck(NonZeroU16, Vec<ReasonCode>),
}

impl Reply {
    /// The answer when a queue refused the message.
    #[must_use]
    pub fn refused(self) -> Self {
        match self {
            Self::PubAck(id, _) => Self::PubAck(id, ReasonCode::QuotaExceeded),
            Self::PubRec(id, _) => Self::PubRec(id, ReasonCode::QuotaExceeded),
            Self::Open
            | Self::PubRel(_)
            | Self::PubComp(_)
            | Self::SubAck(..)
            | Self::UnsubAck(..) => self,
        }
    }
}

/// Answers owed to the client.
pub type Replies = Pending<Reply, Outcome>;

impl Replies {
    /// Owes `reply` behind earlier ones only.
    pub fn owe_ready(&mut self, reply: Reply) {
        self.owe_known(reply, Outcome::Done);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::{Replies, Reply};
    use crate::broker::consumer::Outcome;
    use crate::mqtt::reason::ReasonCode;

    #[test]
    fn answers_leave_in_the_order_of_what_they_answer() {
        let mut replies = Replies::default();
        let first = replies.next_token();
        replies.owe(Reply::PubComp(NonZeroU16::MIN));
        let second = replies.next_token();
        replies.owe(Reply::PubRel(NonZeroU16::MIN));
        replies.owe_ready(Reply::Open);
        replies.resolve(second, Outcome::Stale);
        assert!(replies.pop().is_none());
        replies.resolve(first, Outcome::Done);
        assert!(matches!(replies.pop(), Some((Reply::PubComp(_), Outcome::Done))));
        assert!(matches!(replies.pop(), Some((Reply::PubRel(_), Outcome::Stale))));
        assert!(matches!(replies.pop(), Some((Reply::Open, Outcome::Done))));
        assert!(replies.pop().is_none() && replies.is_empty());
        assert_eq!(replies.next_token(), first + 3);
    }

    #[test]
    fn what_a_queue_refused_is_answered_with_the_quota() {
        let id = NonZeroU16::MIN;
        for reply in [Reply::PubAck, Reply::PubRec] {
            let refused = reply(id, ReasonCode::Success).refused();
            let (Reply::PubAck(_, reason) | Reply::PubRec(_, reason)) = refused else {
                panic!("another answer")
            };
            assert_eq!(reason, ReasonCode::QuotaExceeded);
        }
        assert!(matches!(Reply::PubComp(id).refused(), Reply::PubComp(_)));
    }
}
