//! Who takes turns at a queue. Part of `broker::declared`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::ids::{ConnectionId, ConsumerId};
use crate::model::turns::{Turns, weight};

use super::super::consumer::{Offered, QueueConsumer};
use super::super::message::Message;

/// A consumer as it registers.
pub struct Registration {
    /// Its id.
    pub id: ConsumerId,
    /// Where messages go.
    pub consumer: Arc<dyn QueueConsumer>,
    /// Its connection, which dispatches when the consumer can take again.
    pub connection: ConnectionId,
    /// Messages are gone when they are handed out.
    pub no_ack: bool,
    /// Nobody else may consume.
    pub exclusive: bool,
    /// Higher ones go first.
    pub priority: i32,
}

/// The consumers of one queue: of the highest priority that has one who can take, each in turn.
///
/// Who could not take is set aside until its connection says that it may be able to again.
pub struct Consumers {
    /// Highest priority first.
    groups: Vec<Group>,
    len: usize,
    exclusive: bool,
    turns: Turns,
}

struct Group {
    priority: i32,
    active: VecDeque<Registration>,
    aside: Vec<Registration>,
}

/// Why nobody took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody can take more.
    NobodyCan,
    /// Whoever offers gave up; the consumer is asked again.
    GivenUp,
    /// Nobody who could take it now may ever have it.
    Unfit,
}

impl Default for Consumers {
    fn default() -> Self {
        Self { groups: Vec::new(), len: 0, exclusive: false, turns: Turns::RoundRobin }
    }
}

impl Consumers {
    /// Has messages spread in this way.
    pub fn set_turns(&mut self, turns: Turns) {
        self.turns = turns;
    }

    /// Whether each message is for one consumer alone.
    #[must_use]
    pub fn are_keyed(&self) -> bool {
        matches!(self.turns, Turns::HashClient | Turns::HashTopic)
    }

    /// What chooses the one that `message` is for; `None` when anybody may have it.
    #[must_use]
    pub fn key(&self, message: &Message<'_>) -> Option<u64> {
        self.turns.key(message.client_id, message.topic)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one of them wants the queue for itself.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Adds a consumer.
    pub fn add(&mut self, registration: Registration) {
        let priority = registration.priority;
        let at = self.groups.partition_point(|group| group.priority > priority);
        if self.groups.get(at).is_none_or(|group| group.priority != priority) {
            let (active, aside) = (VecDeque::new(), Vec::new());
            self.groups.insert(at, Group { priority, active, aside });
        }
        if let Some(group) = self.groups.get_mut(at) {
            self.len += 1;
            self.exclusive |= registration.exclusive;
            group.active.push_back(registration);
        }
    }

    /// Takes the consumers off that `leaves` names; false when there is none of them.
    pub fn remove(&mut self, leaves: impl Fn(ConsumerId) -> bool) -> bool {
        let before = self.len;
        for group in &mut self.groups {
            group.active.retain(|one| !leaves(one.id));
            group.aside.retain(|one| !leaves(one.id));
        }
        self.groups.retain(|group| group.len() > 0);
        self.len = self.groups.iter().map(Group::len).sum();
        // Who is exclusive is alone.
        self.exclusive &= self.len > 0;
        self.len < before
    }

    /// The consumers of `connection` are asked again.
    pub fn reconsider(&mut self, connection: ConnectionId) {
        for group in &mut self.groups {
            if group.aside.is_empty() {
                continue;
            }
            let again = group.aside.extract_if(.., |one| one.connection == connection);
            group.active.extend(again);
        }
    }

    /// Offers a message until somebody takes it; says whether without acknowledging. With a `key` it is for the one
    /// that the key chooses, and for nobody else. `offer` returns `None` to give up.
    ///
    /// # Errors
    /// Nobody took it.
    pub fn offer(
        &mut self,
        key: Option<u64>,
        mut offer: impl FnMut(&Registration) -> Option<Offered>,
    ) -> Result<bool, Refusal> {
        let mut unfit = Vec::new();
        let outcome = self.offer_each(key, &mut unfit, &mut offer);
        let is_unfit = !unfit.is_empty();
        for one in unfit {
            let group = self.groups.iter_mut().find(|group| group.priority == one.priority);
            if let Some(group) = group {
                group.active.push_back(one);
            }
        }
        match outcome {
            Err(Refusal::NobodyCan) if is_unfit => Err(Refusal::Unfit),
            other => other,
        }
    }

    fn offer_each(
        &mut self,
        key: Option<u64>,
        unfit: &mut Vec<Registration>,
        offer: &mut impl FnMut(&Registration) -> Option<Offered>,
    ) -> Result<bool, Refusal> {
        let turns = self.turns;
        for group in &mut self.groups {
            while let Some(next) = group.take_next(turns, key) {
                match offer(&next) {
                    Some(Offered::Taken) => {
                        let no_ack = next.no_ack;
                        group.active.push_back(next);
                        return Ok(no_ack);
                    }
                    Some(Offered::NoCredit | Offered::Full | Offered::Closed) => {
                        group.aside.push(next);
                    }
                    Some(Offered::Unfit) => unfit.push(next),
                    None => {
                        group.active.push_front(next);
                        return Err(Refusal::GivenUp);
                    }
                }
            }
        }
        Err(Refusal::NobodyCan)
    }

    /// Offers what is not kept to each until somebody takes it, those included who were set aside; who is asked stays
    /// where it is. With a `key`, to the one that it chooses alone.
    ///
    /// # Errors
    /// The last refusal, if anybody was asked.
    pub fn pass(
        &mut self,
        key: Option<u64>,
        mut offer: impl FnMut(&Registration) -> Offered,
    ) -> Result<(), Option<Offered>> {
        let mut last = None;
        for group in &mut self.groups {
            let owner = key.and_then(|key| group.owner(key));
            let first = group.least_outstanding().filter(|_| self.turns == Turns::LeastOutstanding);
            let rest = (0..group.active.len()).filter(|at| Some(*at) != first);
            for at in first.into_iter().chain(rest) {
                let Some(one) = group.active.get(at) else { break };
                if owner.is_some_and(|owner| owner != one.id) {
                    continue;
                }
                match offer(one) {
                    Offered::Taken => {
                        let one = group.active.remove(at);
                        group.active.extend(one);
                        return Ok(());
                    }
                    refused => last = Some(refused),
                }
            }
            let aside = group.aside.iter().filter(|one| owner.is_none_or(|owner| owner == one.id));
            for one in aside {
                match offer(one) {
                    Offered::Taken => return Ok(()),
                    refused => last = Some(refused),
                }
            }
        }
        Err(last)
    }

    /// Whether somebody may be able to take a message.
    #[must_use]
    pub fn can_take(&self) -> bool {
        self.groups.iter().any(|group| !group.active.is_empty())
    }

    /// Whom to call when there is something.
    #[must_use]
    pub fn whom_to_call(&self) -> Option<Arc<dyn QueueConsumer>> {
        let first = self.groups.iter().find_map(|group| group.active.front())?;
        Some(Arc::clone(&first.consumer))
    }

    /// Takes all of them off.
    pub fn clear(&mut self) -> Vec<Arc<dyn QueueConsumer>> {
        let groups = std::mem::take(self).groups;
        let all = groups.into_iter().flat_map(|group| group.active.into_iter().chain(group.aside));
        all.map(|one| one.consumer).collect()
    }
}

impl Group {
    /// The one whose turn it is, taken off those who can take.
    fn take_next(&mut self, turns: Turns, key: Option<u64>) -> Option<Registration> {
        if let Some(key) = key {
            let owner = self.owner(key)?;
            let at = self.active.iter().position(|one| one.id == owner)?;
            return self.active.remove(at);
        }
        match turns {
            Turns::LeastOutstanding => self.active.remove(self.least_outstanding()?),
            Turns::RoundRobin | Turns::HashClient | Turns::HashTopic => self.active.pop_front(),
        }
    }

    fn owner(&self, key: u64) -> Option<ConsumerId> {
        let all = self.active.iter().chain(&self.aside);
        all.max_by_key(|one| (weight(key, one.consumer.identity()), one.id)).map(|one| one.id)
    }

    /// The first of those who hold the fewest.
    fn least_outstanding(&self) -> Option<usize> {
        let all = self.active.iter().enumerate();
        all.min_by_key(|(_, one)| one.consumer.outstanding()).map(|(at, _)| at)
    }

    fn len(&self) -> usize {
        self.active.len() + self.aside.len()
    }
}
