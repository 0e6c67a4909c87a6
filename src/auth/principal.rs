//! The authenticated peer. Part of `auth`.

use std::sync::Arc;

use crate::model::ids::DEFAULT_VHOST;

/// The name of whoever has not logged in; no user can have it.
pub const ANONYMOUS: &str = "anonymous";

/// Whoever asks: every verb of the broker takes one. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's name, or [`ANONYMOUS`].
    pub name: Arc<str>,
    /// The vhost (mount point) its names live in.
    pub vhost: Arc<str>,
    /// Whether it has not logged in. Decides, not the name.
    pub anonymous: bool,
}

impl Principal {
    /// A user who has logged in, in the default vhost.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), vhost: DEFAULT_VHOST.into(), anonymous: false }
    }

    /// The name it logged in with; empty for a peer that has not.
    #[must_use]
    pub fn login(&self) -> &str {
        if self.anonymous { "" } else { &self.name }
    }

    /// A peer that has not logged in, in the default vhost.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), vhost: DEFAULT_VHOST.into(), anonymous: true }
    }
}

/// Whether `name` may be a user's: 1 to 256 bytes, no control character, no `:` (the password file's
/// separator), not `*`, not [`ANONYMOUS`], no leading `%` (words of access rules).
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    let length = (1..=256).contains(&name.len());
    let plain = !name.chars().any(|c| c.is_control() || c == ':');
    length && plain && name != "*" && name != ANONYMOUS && !name.starts_with('%')
}
