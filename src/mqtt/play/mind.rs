//! What a client knows beyond one connection: its session, its messages on the way. Part of `mqtt::play`.

use std::collections::{BTreeMap, BTreeSet};

use super::say::Message;

/// Where the broker's side of the session is, as the specification has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// A connection was let in. What it ends with, its session does.
    Connected,
    /// Until this time, ms.
    Until(u64),
    /// A crash or a connection that was not let in leaves it open.
    Unclear,
}

/// A client's memory.
#[derive(Debug)]
pub(super) struct Mind {
    pub(super) id: &'static str,
    pub(super) kept: Kept,
    /// The connection that sent CONNECT last.
    pub(super) owner: Option<u64>,
    /// Whether that asked for a clean start.
    pub(super) starts_clean: bool,
    /// The version that it speaks: what it sends again is the same.
    pub(super) is_v5: Option<bool>,
    /// QoS 2 messages that it has and that are not released.
    pub(super) held: BTreeSet<u16>,
    /// Those released: PUBREL may come again if PUBCOMP was lost.
    pub(super) released: BTreeSet<u16>,
    /// What it was sent and had not answered for good when its last connection ended.
    pub(super) earlier: BTreeMap<u16, Vec<u8>>,
    /// Its own messages on the way, by number, and whether PUBREC came.
    pub(super) out: BTreeMap<u64, (Message, bool)>,
    /// Filters that it ever subscribed to in this session.
    pub(super) filters: Vec<&'static str>,
    /// It broke the rules: nothing is sure about its identifiers and subscriptions until its next session.
    pub(super) is_confused: bool,
}

impl Mind {
    pub(super) fn new(id: &'static str) -> Self {
        Self {
            id,
            kept: Kept::Nothing,
            owner: None,
            starts_clean: false,
            is_v5: None,
            held: BTreeSet::new(),
            released: BTreeSet::new(),
            earlier: BTreeMap::new(),
            out: BTreeMap::new(),
            filters: Vec::new(),
            is_confused: false,
        }
    }

    /// The broker has nothing of it: neither has it [MQTT-4.1.0-1].
    pub(super) fn forget(&mut self) {
        *self = Self {
            owner: self.owner,
            starts_clean: self.starts_clean,
            is_v5: self.is_v5,
            ..Self::new(self.id)
        };
    }

    /// The lowest identifier of its own that is free.
    pub(super) fn free_id(&self) -> Option<u16> {
        (1..=20)
            .find(|id| self.out.values().all(|(message, _)| message.qos == 0 || message.id != *id))
    }
}
