//! Who takes turns at a queue. Part of `broker::declared`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::ids::{ConnectionId, ConsumerId};

use super::super::consumer::{Offered, QueueConsumer};

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
#[derive(Default)]
pub struct Consumers {
    /// Highest priority first.
    groups: Vec<Group>,
    len: usize,
    exclusive: bool,
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
}

impl Consumers {
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

    /// Offers a message until somebody takes it; says whether without acknowledging. `offer` returns `None` to
    /// give up.
    ///
    /// # Errors
    /// Nobody took it.
    pub fn offer(
        &mut self,
        mut offer: impl FnMut(&Registration) -> Option<Offered>,
    ) -> Result<bool, Refusal> {
        for group in &mut self.groups {
            while let Some(next) = group.active.pop_front() {
                match offer(&next) {
                    Some(Offered::Taken) => {
                        let no_ack = next.no_ack;
                        group.active.push_back(next);
                        return Ok(no_ack);
                    }
                    Some(Offered::NoCredit | Offered::Full | Offered::Closed) => {
                        group.aside.push(next);
                    }
                    None => {
                        group.active.push_front(next);
                        return Err(Refusal::GivenUp);
                    }
                }
            }
        }
        Err(Refusal::NobodyCan)
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
    fn len(&self) -> usize {
        self.active.len() + self.aside.len()
    }
}
