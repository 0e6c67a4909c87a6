//! A CONNECT whose session another connection has: that one reads what its client said last, then leaves. Part of
//! `mqtt::client`.
//!
//! A client that says DISCONNECT and comes back at once is often faster than the task of its old connection. Were the
//! session taken with the DISCONNECT unread, its will would be published and its expiry would not change.

use std::sync::Arc;

use crate::auth::Principal;

use super::{Client, Stage};

/// How long an earlier connection may take to leave; then the session is taken from it.
const PATIENCE_MS: u64 = 1000;

/// Where a connection stands with the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Summons {
    /// It was not asked to leave, or need not be.
    #[default]
    None,
    /// It was, and has until then.
    Until(u64),
    /// It has left, or took too long.
    Over,
}

impl Client {
    /// Whether CONNECT is to wait for an earlier connection to leave; then [`Self::look_for_session`] goes on.
    pub(super) fn awaits_predecessor(&mut self, principal: &Principal, now_ms: u64) -> bool {
        if self.summons != Summons::None {
            return false;
        }
        let Some(connect) = &self.connect else { return false };
        let link = Arc::clone(&self.link);
        let free = Box::new(move || link.set_free());
        if !self.shared.broker.summon(principal, &connect.client_id, free) {
            return false;
        }
        let until_ms = now_ms + PATIENCE_MS;
        self.summons = Summons::Until(until_ms);
        self.stage = Stage::Authenticating;
        self.schedule(until_ms);
        true
    }

    /// Goes on with CONNECT once the session is free, or the time for it is over.
    pub(super) fn look_for_session(&mut self, is_free: bool, now_ms: u64) {
        let Summons::Until(until_ms) = self.summons else { return };
        if !is_free && now_ms < until_ms {
            return;
        }
        self.summons = Summons::Over;
        if let Some(principal) = self.principal.take() {
            self.authenticated(Ok(principal), now_ms);
        }
    }
}
