//! Answers that leave in the order of what they answer, some at once, some when their record is durable. Part
//! of `mqtt`.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use crate::broker::consumer::Outcome;
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

struct Owed {
    reply: Reply,
    outcome: Option<Outcome>,
}

/// Answers owed, oldest first. A token names a place in the queue for as long as the connection lives.
#[derive(Default)]
pub struct Replies {
    queue: VecDeque<Owed>,
    /// Token of the front.
    first: u64,
}

impl Replies {
    /// The token that the next answer will have.
    #[must_use]
    pub fn next_token(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// How many are owed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether an answer could leave now without overtaking another.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Owes `reply` until the outcome of its token is known.
    pub fn owe(&mut self, reply: Reply) {
        self.queue.push_back(Owed { reply, outcome: None });
    }

    /// Owes `reply` behind earlier ones only.
    pub fn owe_ready(&mut self, reply: Reply) {
        self.queue.push_back(Owed { reply, outcome: Some(Outcome::Done) });
    }

    /// Notes the outcome of `token`.
    pub fn resolve(&mut self, token: u64, outcome: Outcome) {
        let place = token.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(owed) = place.and_then(|at| self.queue.get_mut(at)) {
            owed.outcome = Some(outcome);
        }
    }

    /// The next answer whose outcome is known.
    pub fn pop(&mut self) -> Option<(Reply, Outcome)> {
        self.queue.front()?.outcome.as_ref()?;
        let owed = self.queue.pop_front()?;
        self.first += 1;
        Some((owed.reply, owed.outcome?))
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
