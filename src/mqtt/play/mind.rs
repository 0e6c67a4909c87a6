//! What a client knows beyond one connection: its session, its messages on the way. Part of `mqtt::play`.

use std::collections::{BTreeMap, BTreeSet};

use super::say::Message;

/// Messages above QoS 0 that the broker has under way towards a client that does not take fewer.
pub(super) const WINDOW_MAX: u16 = 4;

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
    /// Whether there was nothing already when the journal was synced last: no crash brings anything back.
    pub(super) is_firm: bool,
    /// It takes its session for gone. Is that back, after a crash, it has what the client no longer knows.
    pub(super) has_forgotten: bool,
    /// Its last CONNECT is not answered.
    pub(super) is_asking: bool,
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
    /// Of these and those held, what a crash has made the broker forget that it sent: it says DUP on the first
    /// [`Self::sure`] messages that it sends, and need not on those behind.
    pub(super) unsure: BTreeSet<u16>,
    pub(super) sure: usize,
    /// The fewest messages at a time that a connection of it took.
    pub(super) window: usize,
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
            is_firm: true,
            has_forgotten: false,
            is_asking: false,
            owner: None,
            starts_clean: false,
            is_v5: None,
            held: BTreeSet::new(),
            released: BTreeSet::new(),
            earlier: BTreeMap::new(),
            unsure: BTreeSet::new(),
            sure: 0,
            window: WINDOW_MAX.into(),
            out: BTreeMap::new(),
            filters: Vec::new(),
            is_confused: false,
        }
    }

    /// The broker has nothing of it: neither has it [MQTT-4.1.0-1].
    pub(super) fn forget(&mut self) {
        *self = Self {
            is_firm: self.is_firm,
            has_forgotten: true,
            is_asking: self.is_asking,
            owner: self.owner,
            starts_clean: self.starts_clean,
            is_v5: self.is_v5,
            window: self.window,
            ..Self::new(self.id)
        };
    }

    /// What was submitted is on disk.
    pub(super) fn harden(&mut self) {
        self.is_firm = self.kept == Kept::Nothing;
    }

    /// The broker's memory is what its disk has. A message that was sent in its last instants, after an acknowledgement
    /// that is not there, lies behind the window that it takes for sent.
    pub(super) fn doubt(&mut self) {
        self.unsure = self.earlier.keys().copied().chain(self.held.iter().copied()).collect();
        self.sure = self.window;
        if !self.is_firm {
            self.kept = Kept::Unclear;
        }
    }

    /// Whether a message with `id` that comes again must say so. Each that comes is asked about, in order.
    pub(super) fn expects_dup(&mut self, id: u16) -> bool {
        let is_sure = self.sure > 0;
        self.sure = self.sure.saturating_sub(1);
        !self.unsure.remove(&id) || is_sure
    }

    /// The lowest identifier of its own that is free.
    pub(super) fn free_id(&self) -> Option<u16> {
        (1..=20)
            .find(|id| self.out.values().all(|(message, _)| message.qos == 0 || message.id != *id))
    }
}
