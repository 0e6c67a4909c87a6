//! One connection as its client sees it. Part of `mqtt::play`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::say::Hello;
use crate::mqtt::service::Service;
use crate::net::outbound::Outbound;
use crate::server::driver::Verdict;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// CONNECT is sent.
    Asked,
    /// CONNACK with success came.
    Accepted,
    /// A refusal or a DISCONNECT came: nothing may follow.
    Over,
}

/// What the client owes to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    Ack(u16),
    Rec(u16),
    Rel(u16),
    Comp(u16),
}

/// A connection.
pub(super) struct Peer {
    pub(super) service: Service,
    pub(super) outbound: Arc<Outbound>,
    pub(super) hello: Hello,
    /// Whose it is.
    pub(super) who: usize,
    pub(super) serial: u64,
    pub(super) stage: Stage,
    pub(super) verdict: Verdict,
    /// Sent and not read by the broker.
    pub(super) tail: Vec<u8>,
    /// Heard and not whole.
    pub(super) heard: Vec<u8>,
    /// Does not read.
    pub(super) is_deaf: bool,
    /// What CONNACK must say of a session, if that is clear.
    pub(super) expects_present: Option<bool>,
    /// Whether CONNACK did.
    pub(super) resumed: bool,
    /// How many connections of the same client came after it.
    pub(super) successors: u32,
    /// When it last sent something, ms.
    pub(super) said_ms: u64,
    /// Its DISCONNECT: reason, expiry.
    pub(super) farewell: Option<(u8, Option<u32>)>,
    /// It sent bytes that nobody looked at: only their forms are checked.
    pub(super) is_raw: bool,
    /// It broke the rules: it may be sent away.
    pub(super) is_tainted: bool,
    /// Messages above QoS 0 that it was sent and has not ended.
    pub(super) under_way: BTreeMap<u16, Vec<u8>>,
    pub(super) owed: Vec<Owed>,
    /// How often the broker may still send what acknowledges: by packet type and identifier.
    pub(super) may_ack: BTreeMap<(u8, u16), u32>,
    /// SUBACK (9) and UNSUBACK (11) that are to come, in order: type, identifier, filters.
    pub(super) may_grant: VecDeque<(u8, u16, usize)>,
    pub(super) may_pong: u32,
    /// Topics of the broker's aliases.
    pub(super) aliases: BTreeMap<u16, String>,
    /// Aliases of its own that are introduced.
    pub(super) own_aliases: BTreeSet<u16>,
    /// What it says as soon as it may.
    pub(super) to_say: Vec<Vec<u8>>,
}

impl Peer {
    pub(super) fn new(service: Service, outbound: Arc<Outbound>, hello: Hello, who: usize) -> Self {
        Self {
            service,
            outbound,
            hello,
            who,
            serial: 0,
            stage: Stage::Asked,
            verdict: Verdict::Continue,
            tail: Vec::new(),
            heard: Vec::new(),
            is_deaf: false,
            expects_present: None,
            resumed: false,
            successors: 0,
            said_ms: 0,
            farewell: None,
            is_raw: false,
            is_tainted: false,
            under_way: BTreeMap::new(),
            owed: Vec::new(),
            may_ack: BTreeMap::new(),
            may_grant: VecDeque::new(),
            may_pong: 0,
            aliases: BTreeMap::new(),
            own_aliases: BTreeSet::new(),
            to_say: Vec::new(),
        }
    }

    /// Whether it may send what it likes.
    pub(super) fn is_in(&self) -> bool {
        self.stage == Stage::Accepted && self.farewell.is_none()
    }

    pub(super) fn allow(&mut self, kind: u8, id: u16) {
        *self.may_ack.entry((kind, id)).or_default() += 1;
    }

    /// Seconds that its session outlives it.
    pub(super) fn expiry_s(&self) -> u32 {
        match (self.hello.is_v5, self.hello.clean) {
            (true, _) => {
                let changed = self.farewell.and_then(|(_, expiry_s)| expiry_s);
                changed.unwrap_or(self.hello.expiry_s)
            }
            (false, true) => 0,
            (false, false) => u32::MAX,
        }
    }
}
