//! Verbs on whole groups: list, describe, delete. Part of `broker::groups`.

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::consumer::Waiter;
use crate::broker::groups::ROUTE_PREFIX;
use crate::broker::groups::live::{Inner, LiveGroup};
use crate::broker::groups::membership::check_name;
use crate::broker::groups::offsets::applied;
use crate::broker::groups::verbs::{GroupDescription, GroupError, GroupListing, GroupState};
use crate::broker::record::{GroupRecord, Record};

use tokio::sync::oneshot;

impl Broker {
    /// Every group that the principal may see, by name.
    #[must_use]
    pub fn list_groups(&self, who: &Principal) -> Vec<GroupListing> {
        let live = self.groups.live.all(Some(&who.vhost));
        let live = live.iter().map(|live| live.inner.lock().group.listing());
        let mut groups: Vec<_> = live.filter(|it| it.state != GroupState::Dead).collect();
        let applied = self.groups.applied.lock();
        let routes = applied.in_vhost(&who.vhost).map(|(name, _)| name);
        groups.extend(routes.filter(|name| name.starts_with(ROUTE_PREFIX)).map(|name| idle(name)));
        drop(applied);
        groups.retain(|it| self.may_group(who, Action::Subscribe, &it.group).is_ok());
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        groups
    }

    /// One group; an unknown one is described as dead.
    ///
    /// # Errors
    /// `NotAuthorized`.
    pub fn describe_group(
        &self,
        who: &Principal,
        group: &str,
    ) -> Result<GroupDescription, GroupError> {
        self.may_group(who, Action::Subscribe, group)?;
        let known = self.with_group(&who.vhost, group, |_, inner| inner.group.describe());
        let mut described = known.unwrap_or_else(|| {
            let mut listing = idle(group);
            if self.groups.applied.lock().get(&who.vhost, group).is_none() {
                listing.state = GroupState::Dead;
            }
            let (protocol, members) = (String::new(), Vec::new());
            GroupDescription { listing, protocol, members, may_delete: false }
        });
        let may_delete = self.may_group(who, Action::Configure, group);
        described.may_delete = may_delete.is_ok() && check_name(group).is_ok();
        Ok(described)
    }

    /// Deletes a group without members, with its offsets; completes when that is durable.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn delete_group(&self, who: &Principal, group: &str) -> Result<(), GroupError> {
        check_name(group)?;
        self.may_group(who, Action::Configure, group)?;
        let (sender, done) = oneshot::channel();
        let waiter = Some(Waiter::Call(sender));
        let begun =
            self.with_group(&who.vhost, group, |live, inner| self.delete_live(live, inner, waiter));
        if begun.unwrap_or(Err(GroupError::UnknownGroup))? {
            applied(done).await?;
        }
        Ok(())
    }

    /// Buries a group and submits its deletion; false if the journal does not know it.
    fn delete_live(
        &self,
        live: &LiveGroup,
        inner: &mut Inner,
        waiter: Option<Waiter>,
    ) -> Result<bool, GroupError> {
        if inner.group.state() != GroupState::Empty {
            return Err(GroupError::NotEmpty);
        }
        if inner.recorded {
            let record = GroupRecord::Delete { vhost: &live.vhost, group: &live.name };
            inner.submitted(self.submit(waiter, &Record::Group(record))?);
        }
        self.groups.live.bury(live, inner);
        Ok(inner.recorded)
    }
}

/// A group that nobody is in.
fn idle(name: &str) -> GroupListing {
    GroupListing { group: name.to_owned(), protocol_type: String::new(), state: GroupState::Empty }
}
