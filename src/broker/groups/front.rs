//! Groups as protocols see them: the verbs of [`crate::broker::Broker`] with a clock. Part of `broker::groups`.

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::broker::append::LogFront;
use crate::broker::groups::verbs::{
    GroupBroker, GroupDescription, GroupError, GroupListing, Join, Joined, Leaving, LogCommit,
    LogName, LogOffsets, Membership, Sync, Synced,
};

impl GroupBroker for LogFront {
    async fn join(&self, principal: &Principal, join: Join) -> Result<Joined, GroupError> {
        self.broker.join_group(principal, join, &self.now_ms).await
    }

    async fn sync(&self, principal: &Principal, sync: Sync) -> Result<Synced, GroupError> {
        self.broker.sync_group(principal, sync, &self.now_ms).await
    }

    fn heartbeat(&self, principal: &Principal, who: &Membership) -> Result<(), GroupError> {
        self.broker.group_heartbeat(principal, who, (self.now_ms)())
    }

    fn leave(
        &self,
        principal: &Principal,
        group: &str,
        members: &[Leaving],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.broker.leave_group(principal, group, members, (self.now_ms)())
    }

    async fn commit(
        &self,
        principal: &Principal,
        who: &Membership,
        logs: Vec<LogCommit>,
    ) -> Result<Vec<Vec<Result<(), GroupError>>>, GroupError> {
        self.broker.commit_offsets(principal, who, logs, (self.now_ms)()).await
    }

    fn committed(
        &self,
        principal: &Principal,
        group: &str,
        wanted: Option<&[(LogName, Vec<u32>)]>,
    ) -> Result<Vec<LogOffsets>, GroupError> {
        self.broker.committed_offsets(principal, group, wanted)
    }

    fn list_groups(&self, principal: &Principal) -> Vec<GroupListing> {
        self.broker.list_groups(principal)
    }

    fn describe_group(
        &self,
        principal: &Principal,
        group: &str,
    ) -> Result<GroupDescription, GroupError> {
        self.broker.describe_group(principal, group)
    }

    async fn delete_group(&self, principal: &Principal, group: &str) -> Result<(), GroupError> {
        self.broker.delete_group(principal, group).await
    }

    async fn forget_offsets(
        &self,
        principal: &Principal,
        group: &str,
        places: Vec<(String, Vec<u32>)>,
    ) -> Result<Vec<Vec<Result<(), GroupError>>>, GroupError> {
        self.broker.forget_offsets(principal, group, places).await
    }

    fn may_use(&self, principal: &Principal, group: &str) -> Result<(), GroupError> {
        self.broker.may_group(principal, Action::Subscribe, group)
    }
}
