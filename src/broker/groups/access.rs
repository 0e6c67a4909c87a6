//! Who may use a group. Part of `broker::groups`.

use crate::auth::acl::{Action, Resource};
use crate::auth::principal::Principal;

use super::super::Broker;
use super::verbs::GroupError;

impl Broker {
    /// Whether `who` may join, commit to and see a group (`Subscribe`), or delete it (`Configure`).
    ///
    /// # Errors
    /// [`GroupError::NotAuthorized`].
    pub fn may_group(
        &self,
        who: &Principal,
        action: Action,
        group: &str,
    ) -> Result<(), GroupError> {
        let group = Resource::Group(group);
        let verdict = self.acl.load().allows_resource(who, action, &who.vhost, group);
        if verdict.allowed { Ok(()) } else { Err(GroupError::NotAuthorized) }
    }
}
