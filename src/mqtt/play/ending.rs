//! What the end of a connection means for its session and its will (MQTT5-3.1.2.5, MQTT5-3.1.2.11.2). Part of
//! `mqtt::play`.

use super::ledger::{Entry, Fate};
use super::mind::Kept;
use super::peer::{Peer, Stage};
use super::world::{KEEPER, World};

/// Identifiers from here on are those of share groups' messages, as long as there are few others.
const SHARED_IDS: u16 = 32_769;

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Server,
    Network,
    Crash,
}

impl World {
    /// The will of a connection that says CONNECT.
    pub(super) fn arm(&mut self, peer: &Peer) {
        let Some(will) = &peer.hello.will else { return };
        self.ledger.entries.push(Entry {
            by: peer.who,
            payload: will.payload.clone(),
            topic: "w",
            qos: will.qos,
            expiry_s: None,
            properties: Vec::new(),
            will_of: Some(peer.serial),
            delay_s: if peer.hello.is_v5 { will.delay_s } else { 0 },
            fate: Fate::Armed,
            firm: Fate::Armed,
            got: 0,
            is_loose: false,
        });
    }

    /// What CONNACK must say to a client that asks now.
    pub(super) fn expects_present(&self, who: usize, clean: bool) -> Option<bool> {
        if clean {
            return Some(false);
        }
        let owner = self.minds[who].owner;
        let before = self.peers.iter().flatten().find(|peer| Some(peer.serial) == owner);
        if before.is_some_and(|peer| peer.stage == Stage::Asked) {
            return None;
        }
        match self.minds[who].kept {
            Kept::Nothing => Some(false),
            Kept::Until(end_ms) => Some(end_ms > self.now_ms),
            Kept::Unclear => None,
            Kept::Connected => {
                // Its session ends with it, but for what a resumed one became on the way.
                match before {
                    Some(old) if old.is_raw => None,
                    Some(old) if old.expiry_s() > 0 => Some(true),
                    Some(old) if !old.resumed => Some(false),
                    _ => None,
                }
            }
        }
    }

    /// A client comes: wills that wait for their delay are void if its session goes on, and due if it does not.
    pub(super) fn await_resumption(&mut self, who: usize, clean: bool) {
        let kept = self.minds[who].kept;
        for entry in self.ledger.entries.iter_mut().filter(|entry| entry.by == who) {
            if let Fate::Due(_) = entry.fate {
                entry.fate = match kept {
                    _ if clean => Fate::Published,
                    Kept::Until(_) => Fate::Void,
                    Kept::Nothing => Fate::Published,
                    Kept::Connected | Kept::Unclear => Fate::Unclear,
                };
            }
        }
    }

    /// A client breaks rules about identifiers: nothing is sure about them, nor about what it has on the way.
    pub(super) fn confuse(&mut self, who: usize) {
        let mind = &mut self.minds[who];
        mind.is_confused = true;
        for number in std::mem::take(&mut mind.out).into_keys() {
            self.ledger.entries[number as usize].is_loose = true;
        }
    }

    /// Time has passed.
    pub(super) fn become_due(&mut self) {
        let now_ms = self.now_ms;
        for entry in &mut self.ledger.entries {
            if let Fate::Due(due_ms) = entry.fate
                && due_ms <= now_ms
            {
                entry.fate = Fate::Published;
            }
        }
        for mind in &mut self.minds {
            if let Kept::Until(end_ms) = mind.kept
                && end_ms <= now_ms
            {
                mind.kept = Kept::Nothing;
            }
        }
    }

    /// A connection is over.
    pub(super) fn ended(&mut self, peer: &Peer, how: How) {
        let is_owner = self.minds[peer.who].owner == Some(peer.serial);
        if how == How::Server {
            self.check_reason(peer, is_owner);
        }
        let fate = self.fate_of_will(peer, how, is_owner);
        let will = self.ledger.entries.iter_mut().find(|entry| entry.will_of == Some(peer.serial));
        if let Some(entry) = will.filter(|entry| entry.fate == Fate::Armed) {
            let due = match fate {
                Fate::Due(_) => {
                    let wait_s = entry.delay_s.min(peer.expiry_s());
                    let due_ms = self.now_ms + u64::from(wait_s) * 1000;
                    if wait_s == 0 { Fate::Published } else { Fate::Due(due_ms) }
                }
                // Taken over by somebody who goes on with the session.
                Fate::Void if !is_owner && entry.delay_s == 0 => Fate::Published,
                fate => fate,
            };
            entry.fate = due;
        }
        let was_in = peer.stage != Stage::Asked && self.minds[peer.who].kept == Kept::Connected;
        // Where the newest connection was answered before, it knows.
        if was_in && peer.expiry_s() == 0 && (is_owner || self.minds[peer.who].is_asking) {
            self.forget(peer.who);
        }
        if is_owner {
            self.leave(peer, how);
        }
    }

    /// A client's session ended with its connection: what was under way is not sent again [MQTT-3.1.2-6].
    pub(super) fn forget(&mut self, who: usize) {
        let mind = &mut self.minds[who];
        let kept = mind.kept;
        mind.forget();
        mind.kept = kept;
    }

    /// Who obeys the protocol is sent away for no reason but a newer connection or its silence.
    fn check_reason(&self, peer: &Peer, is_owner: bool) {
        let silence_ms = self.now_ms - peer.said_ms;
        let patience_ms = u64::from(peer.hello.keep_alive_s) * 1500;
        let is_silent = patience_ms > 0 && silence_ms >= patience_ms;
        let is_fine = peer.is_tainted || peer.is_raw || peer.farewell.is_some();
        assert!(!is_owner || is_silent || is_fine, "{:?} is sent away", peer.hello);
    }

    fn fate_of_will(&self, peer: &Peer, how: How, is_owner: bool) -> Fate {
        let said_goodbye = matches!(peer.farewell, Some((0, _)));
        if how == How::Crash || peer.is_raw || peer.stage == Stage::Asked {
            return Fate::Unclear;
        }
        if said_goodbye {
            // It may not have been read, nor taken for one.
            let was_read = how == How::Server && peer.tail.is_empty() && !peer.is_tainted;
            return if was_read && is_owner { Fate::Void } else { Fate::Unclear };
        }
        if is_owner {
            return Fate::Due(0);
        }
        if peer.successors > 1 {
            // Whose coming ended it is between them.
            return Fate::Unclear;
        }
        let ends = peer.expiry_s() == 0;
        match (self.minds[peer.who].starts_clean, ends) {
            (true, _) => Fate::Published,
            (false, true) if peer.resumed => Fate::Unclear,
            (false, true) => Fate::Published,
            (false, false) => Fate::Void,
        }
    }

    /// What stays of the session when its last connection has gone.
    fn leave(&mut self, peer: &Peer, how: How) {
        let expiry_s = peer.expiry_s();
        let now_ms = self.now_ms;
        let mind = &mut self.minds[peer.who];
        mind.owner = None;
        mind.kept = match peer.stage {
            Stage::Asked => Kept::Unclear,
            Stage::Over if peer.expects_present.is_none() && mind.kept != Kept::Connected => {
                mind.kept
            }
            _ if mind.kept != Kept::Connected || peer.is_raw => Kept::Unclear,
            // Changed by a packet that may not have been read.
            _ if peer.farewell.is_some_and(|(_, expiry)| expiry.is_some())
                && (how != How::Server || !peer.tail.is_empty() || peer.is_tainted) =>
            {
                Kept::Unclear
            }
            _ => match expiry_s {
                0 if how == How::Crash && peer.resumed => Kept::Unclear,
                0 => Kept::Nothing,
                u32::MAX => Kept::Until(u64::MAX),
                _ => Kept::Until(now_ms + u64::from(expiry_s) * 1000),
            },
        };
        if peer.who == KEEPER {
            mind.kept = Kept::Until(u64::MAX);
        }
        if peer.is_raw {
            mind.is_confused = true;
        }
        mind.sure = 0;
        for (id, payload) in &peer.under_way {
            // A share group's goes back to the group, and comes from there as if for the first time.
            if !mind.held.contains(id) && *id < SHARED_IDS {
                mind.earlier.insert(*id, payload.clone());
            }
        }
    }
}
