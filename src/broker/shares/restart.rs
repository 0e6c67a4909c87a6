//! Share groups from disk. Part of `broker::shares`.

use std::sync::Arc;

use super::super::Broker;
use super::super::sessions::session::Session;
use super::registry::{Group, Standing};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

impl Broker {
    /// The journal is replayed: the durable queues of groups are known by their filters. Members follow.
    pub(in crate::broker) fn revive_shares(&self) {
        let mut groups = self.shares.groups.lock();
        // By id: the newest comes last.
        for queue in self.declared.all().into_iter().filter(|queue| queue.settings.share) {
            let Ok(filter) = TopicFilter::parse(&queue.name) else { continue };
            let key = (Arc::clone(&queue.vhost), Arc::clone(&queue.name));
            let group = groups.entry(key).or_insert_with(|| Group::new(&filter));
            group.queues.push(queue);
        }
    }

    /// A restored session is a member of the group of `filter`.
    pub(in crate::broker) fn revive_member(
        &self,
        session: &Arc<Session>,
        filter: &TopicFilter,
        qos: QoS,
    ) {
        let key = (Arc::clone(&session.key.vhost), Arc::from(filter.as_str()));
        let mut groups = self.shares.groups.lock();
        let group = groups.entry(key).or_insert_with(|| Group::new(filter));
        group.members.insert(session.id, Standing { session: Arc::clone(session), qos });
    }

    /// What sessions took over before the restart is not handed out again.
    ///
    /// # Errors
    /// A page cannot be read; says why.
    pub(in crate::broker) fn bind_taken(&self, session: &Session) -> Result<(), String> {
        let taken: Vec<_> = {
            let mut inner = session.inner.lock();
            let positions: Vec<u64> = inner.state.taken.keys().copied().collect();
            for position in positions {
                let end = position.saturating_add(1);
                self.paging.bring_in(session.id, &mut inner.queue, position, end)?;
            }
            inner.state.taken.values().copied().collect()
        };
        for (id, position) in taken {
            let Some(queue) = self.declared.by_id(id) else { continue };
            let mut inner = queue.inner.lock();
            let messages = &mut inner.ledger.queue;
            self.paging.bring_in(id, messages, position, position.saturating_add(1))?;
            inner.ledger.bind(position);
        }
        Ok(())
    }

    /// The journal takes records: groups that have no member any more end, all others get what they lack.
    pub(in crate::broker) fn resume_shares(&self) {
        let mut groups = self.shares.groups.lock();
        let is_over = |(_, group): &(_, &Group)| group.members.is_empty();
        let ended: Vec<_> = groups.iter().filter(is_over).map(|(key, _)| key.clone()).collect();
        for group in ended.iter().filter_map(|key| groups.remove(key)).collect::<Vec<_>>() {
            group.queues.iter().for_each(|queue| self.end_share(queue));
        }
        for ((vhost, filter), group) in groups.iter_mut() {
            if let Err(error) = self.arrange(vhost, group) {
                tracing::warn!(%filter, %error, "a share group has no queue for now");
            }
            if let Some(queue) = group.queues.last() {
                self.router.vhost(vhost).share(&group.filter, queue);
            }
        }
    }
}
