//! What each packet that a client hears must be. Part of `mqtt::play`.

use super::hear::{Heard, Property, Publish};
use super::ledger::{Fate, Ledger};
use super::mind::{Kept, Mind};
use super::peer::{Owed, Peer, Stage};
use super::say;
use crate::model::topic::matches;

/// A client that listens.
pub(super) struct Hearing<'a> {
    pub(super) peer: &'a mut Peer,
    pub(super) mind: &'a mut Mind,
    pub(super) ledger: &'a mut Ledger,
    /// Whether it is the keeper.
    pub(super) keeps: bool,
    pub(super) now_ms: u64,
}

impl Hearing<'_> {
    pub(super) fn hear(&mut self, heard: Heard) {
        let stage = self.peer.stage;
        let is_first = matches!(heard, Heard::ConnAck { .. } | Heard::Auth);
        assert!(stage != Stage::Over, "after the end: {heard:?} [MQTT-3.14.4-1]");
        assert_eq!(stage == Stage::Asked, is_first, "{stage:?}: {heard:?} [MQTT-3.2.0-1]");
        match heard {
            Heard::ConnAck { present, code, properties } => self.answer(present, code, &properties),
            Heard::Disconnect { .. } => self.peer.stage = Stage::Over,
            Heard::Auth => panic!("AUTH, and no method was named [MQTT-4.12.0-6]"),
            _ if self.peer.is_raw => {}
            Heard::Publish(publish) => self.publish(&publish),
            Heard::Ack { kind, id, reason, properties } => {
                self.has_no_words(&properties);
                self.ack(kind, id, reason);
            }
            Heard::Granted { kind, id, codes, properties } => {
                self.has_no_words(&properties);
                let expected = self.peer.may_grant.pop_front();
                let (wanted, asked, filters) = expected.expect("an answer to nothing");
                assert_eq!((kind, id), (wanted, asked), "[MQTT-3.8.4-2]");
                let has_codes = kind == 9 || self.peer.hello.is_v5;
                assert_eq!(codes.len(), if has_codes { filters } else { 0 }, "[MQTT-3.8.4-5]");
            }
            Heard::Pong => {
                let left = self.peer.may_pong.checked_sub(1);
                self.peer.may_pong = left.expect("PINGRESP to nothing");
            }
        }
    }

    /// [MQTT-3.1.2-29]
    fn has_no_words(&self, properties: &[Property]) {
        assert!(self.peer.hello.wants_reasons || properties.is_empty(), "{properties:?}");
    }

    fn answer(&mut self, present: bool, code: u8, properties: &[Property]) {
        let (peer, mind) = (&mut *self.peer, &mut *self.mind);
        if code != 0 {
            assert!(peer.is_tainted, "a good CONNECT is refused with {code:#x}: {:?}", peer.hello);
            peer.stage = Stage::Over;
            return;
        }
        peer.stage = Stage::Accepted;
        peer.resumed = present;
        if let Some(expected) = peer.expects_present {
            assert_eq!(present, expected, "session present [MQTT-3.2.2-2]: {:?}", peer.hello);
        }
        let granted = properties.iter().find(|(id, _)| *id == 0x11);
        assert!(granted.is_none_or(|(_, value)| *value == peer.hello.expiry_s.to_be_bytes()));
        if mind.owner != Some(peer.serial) {
            // The client goes by what its newest connection was told.
            return;
        }
        mind.is_confused |= present && mind.has_forgotten;
        if !present {
            mind.forget();
        }
        (mind.has_forgotten, mind.is_asking) = (false, false);
        (mind.kept, mind.is_firm) = (Kept::Connected, false);
        // [MQTT-4.4.0-1]: what is not acknowledged, in the order in which it was sent.
        let is_v5 = peer.hello.is_v5;
        for (message, is_received) in mind.out.values_mut() {
            let mut again = message.clone();
            again.dup = true;
            (again.alias, again.is_short) = (None, false);
            match (again.qos, *is_received) {
                (2, true) => {
                    *peer.may_ack.entry((7, again.id)).or_default() += 1;
                    peer.to_say.push(say::ack(6, again.id, 0, is_v5));
                }
                (qos, _) => {
                    *peer.may_ack.entry((3 + qos, again.id)).or_default() += 1;
                    peer.to_say.push(again.packet(is_v5));
                }
            }
        }
        // A PUBREL of an earlier connection comes again.
        for id in mind.held.union(&mind.released).copied() {
            *peer.may_ack.entry((6, id)).or_default() += 1;
        }
    }

    fn publish(&mut self, heard: &Publish) {
        let (peer, mind) = (&mut *self.peer, &mut *self.mind);
        let most = peer.hello.packet_bytes_max.filter(|_| peer.hello.is_v5);
        let total = u32::try_from(heard.total_bytes).unwrap();
        assert!(most.is_none_or(|most| total <= most), "{total} bytes [MQTT-3.1.2-24]");
        let topic = topic_of(peer, heard);
        let is_wanted = mind.filters.iter().any(|filter| {
            let filter = filter.strip_prefix("$share/g/").unwrap_or(filter);
            matches(filter, &topic)
        });
        assert!(is_wanted || mind.is_confused, "{topic} and {:?}", mind.filters);
        self.ledger.check(heard, &topic, peer.hello.is_v5, self.now_ms);
        if heard.qos == 0 {
            if self.keeps {
                self.ledger.keep(&heard.payload);
            }
            return;
        }
        let id = heard.id;
        let is_held = heard.qos == 2 && mind.held.contains(&id);
        if !mind.is_confused {
            let twice = peer.under_way.insert(id, heard.payload.clone());
            assert!(twice.is_none(), "identifier {id} is under way [MQTT-2.2.1-4]");
            let most = peer.hello.receive_max.filter(|_| peer.hello.is_v5).unwrap_or(u16::MAX);
            let count = peer.under_way.len();
            assert!(count <= usize::from(most), "{count} under way [MQTT-3.3.4-9]");
            let again = mind.earlier.remove(&id).is_some_and(|sent| sent == heard.payload);
            let is_due = mind.expects_dup(id) && (again || is_held);
            assert!(heard.dup || !is_due, "no DUP on {heard:?} [MQTT-3.3.1-1]");
        }
        // The broker knows that it was completed.
        mind.released.remove(&id);
        peer.owed.push(if heard.qos == 1 { Owed::Ack(id) } else { Owed::Rec(id) });
        if heard.qos == 2 {
            mind.held.insert(id);
        }
        if self.keeps && !is_held {
            self.ledger.keep(&heard.payload);
        }
    }

    fn ack(&mut self, kind: u8, id: u16, reason: u8) {
        let left = self.peer.may_ack.get_mut(&(kind, id)).filter(|left| **left > 0);
        match left {
            Some(left) => *left -= 1,
            // Somebody who does not know what he says cannot know what he is answered.
            None => {
                let knows = !self.peer.is_tainted && !self.mind.is_confused;
                assert!(!knows, "packet type {kind} for {id}: nobody asked");
            }
        }
        let mine =
            self.mind.out.iter().find(|(_, (message, _))| message.qos > 0 && message.id == id);
        let number = mine.map(|(number, (message, _))| (*number, message.qos));
        let is_failure = reason >= 0x80;
        match (kind, number) {
            (4, Some((number, 1))) | (5, Some((number, 2))) => {
                let fate = if is_failure { Fate::Refused } else { Fate::Acked };
                let entry = &mut self.ledger.entries[number as usize];
                // What was resent and refused may have been taken the first time.
                if entry.fate == Fate::Open && (!is_failure || !self.peer.resumed) {
                    entry.fate = fate;
                }
                if kind == 4 || is_failure {
                    self.mind.out.remove(&number);
                } else {
                    self.mind.out.entry(number).and_modify(|(_, is_received)| *is_received = true);
                    self.peer.owed.push(Owed::Rel(id));
                }
            }
            (6, _) => {
                // It has a place in the window as well.
                self.mind.sure = self.mind.sure.saturating_sub(1);
                self.mind.held.remove(&id);
                self.mind.released.insert(id);
                self.peer.owed.push(Owed::Comp(id));
            }
            (7, Some((number, 2))) => drop(self.mind.out.remove(&number)),
            _ => {}
        }
    }
}

/// The topic of a PUBLISH, which may come as an alias.
fn topic_of(peer: &mut Peer, heard: &Publish) -> String {
    let alias = heard.properties.iter().find(|(id, _)| *id == 0x23);
    let Some((_, alias)) = alias else {
        assert!(!heard.topic.is_empty(), "no topic [MQTT-4.7.3-1]");
        return heard.topic.clone();
    };
    let alias = u16::from_be_bytes(alias[..].try_into().unwrap());
    assert!(alias <= peer.hello.alias_max, "alias {alias} [MQTT-3.1.2-26]");
    if !heard.topic.is_empty() {
        peer.aliases.insert(alias, heard.topic.clone());
    }
    peer.aliases.get(&alias).expect("an alias is introduced [MQTT-3.3.2-12]").clone()
}
