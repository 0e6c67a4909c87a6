//! The share groups, and who is in them. Part of `broker::shares`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::declared::queue::DeclaredQueue;
use super::super::sessions::session::Session;
use crate::model::ids::QueueId;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

/// vhost, and the shared filter as it was subscribed.
pub(super) type GroupKey = (Arc<str>, Arc<str>);

/// Every group of a broker.
#[derive(Default)]
pub struct Shares {
    pub(super) groups: Mutex<BTreeMap<GroupKey, Group>>,
}

/// One group. Messages go into its last queue; another one, from a time when the members were of another kind, is only
/// emptied.
pub(super) struct Group {
    pub(super) filter: TopicFilter,
    pub(super) queues: Vec<Arc<DeclaredQueue>>,
    pub(super) members: BTreeMap<QueueId, Standing>,
}

/// A member, connected or not.
pub(super) struct Standing {
    pub(super) session: Arc<Session>,
    pub(super) qos: QoS,
}

impl Group {
    pub(super) fn new(filter: &TopicFilter) -> Self {
        Self { filter: filter.clone(), queues: Vec::new(), members: BTreeMap::new() }
    }

    /// Whether some member was promised more than QoS 0.
    pub(super) fn keeps(&self) -> bool {
        self.members.values().any(|member| member.qos > QoS::AtMostOnce)
    }

    /// Whether some durable session was.
    pub(super) fn is_durable(&self) -> bool {
        let mut members = self.members.values();
        members.any(|member| member.qos > QoS::AtMostOnce && member.session.durable)
    }

    /// Whether messages may go into its last queue: one through the journal as soon as a durable session is promised
    /// more than QoS 0, and as long as anybody is (what waits there is then not moved).
    pub(super) fn fits(&self) -> bool {
        let Some(last) = self.queues.last() else { return false };
        if self.is_durable() { last.durable } else { !last.durable || self.keeps() }
    }
}

impl Shares {
    /// Groups, and members connected or not.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let groups = self.groups.lock();
        (groups.len(), groups.values().map(|group| group.members.len()).sum())
    }
}
