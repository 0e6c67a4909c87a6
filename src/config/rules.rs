//! `[[acl]]`: who may do what, in the order that decides. Part of `config`.

use serde::{Deserialize, Serialize};

use crate::auth::acl::RuleSpec;
use crate::model::ids::DEFAULT_VHOST;

/// One `[[acl]]` rule. It names exactly one of `allow` and `deny`, and exactly one of `filter`, `log`, `group`,
/// `exchange` and `queue`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// The user it allows: a name, `*` for everybody, `%anonymous` for who has not logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// The user it denies, in the same words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<String>,
    /// `publish`, `subscribe`, `configure` or `all`.
    #[serde(default)]
    pub action: RuleAction,
    /// MQTT topic filter; `%u` stands for the user's name, `%c` for the client identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Name of a log, or a prefix followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Name of a consumer group, or a prefix followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Name of an exchange, or a prefix followed by `*`; `amq.default` is the default exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// Name of a declared queue, or a prefix followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The vhost it speaks of, or `*` for each. Default `/`.
    #[serde(default = "default_vhost")]
    pub vhost: String,
}

impl AclRule {
    /// The rule in the words of [`crate::auth::acl`].
    #[must_use]
    pub fn spec(&self) -> RuleSpec<'_> {
        RuleSpec {
            allow: self.allow.as_deref(),
            deny: self.deny.as_deref(),
            publish: matches!(self.action, RuleAction::Publish | RuleAction::All),
            subscribe: matches!(self.action, RuleAction::Subscribe | RuleAction::All),
            configure: matches!(self.action, RuleAction::Configure | RuleAction::All),
            filter: self.filter.as_deref(),
            log: self.log.as_deref(),
            group: self.group.as_deref(),
            exchange: self.exchange.as_deref(),
            queue: self.queue.as_deref(),
            vhost: &self.vhost,
        }
    }
}

fn default_vhost() -> String {
    DEFAULT_VHOST.to_owned()
}

/// What an [`AclRule`] is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Publishing to topics and exchanges; producing to and creating logs; binding to queues and exchanges.
    Publish,
    /// Subscribing to filters; reading and describing logs; joining groups and committing their offsets; consuming
    /// from queues; binding from exchanges.
    Subscribe,
    /// Declaring and deleting exchanges and queues; changing and deleting logs; deleting groups.
    Configure,
    /// All of it.
    #[default]
    All,
}
