//! One step of a play: somebody does something. Part of `mqtt::play`.

use super::hear::Property;
use super::ledger::{Entry, Fate};
use super::say::{self, Farewell, Hello, Message};
use super::script::Script;
use super::world::{ALIAS_MAX, KEEPER, RECEIVE_MAX, World};

const TOPICS: [&str; 3] = ["t/a", "t/b", "u"];
const FILTERS: [&str; 8] = ["t/a", "t/+", "#", "u/#", "+/b", "$share/g/t/#", "t/b", "w"];
/// Identifiers of SUBSCRIBE and UNSUBSCRIBE; those of messages are below.
const ID_OF_FILTERS: u16 = 40;
/// An identifier that no client which obeys the protocol uses.
const ID_OF_NOBODY: u16 = 99;
/// Properties that a message carries, or not.
const PROPERTIES: [&[u8]; 4] = [
    &[],
    b"\x26\0\x01a\0\x01\x31\x03\0\x01t\x26\0\x01a\0\x01\x32",
    b"\x08\0\x01r\x09\0\x02\0\xFF\x01\x01",
    b"\x26\0\0\0\0\x26\0\0\0\0",
];

impl World {
    /// Does what `script` says next.
    pub(super) fn step(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let slot = 1 + script.below(3);
        // Most packets come whole.
        let piece = if kind & 0xC0 == 0xC0 { 1 + script.below(7) } else { 0 };
        match kind % 20 {
            0 | 1 => self.come(slot, script),
            2 => self.lose(slot),
            3 => self.say_goodbye(slot, script, piece),
            4..=7 => self.publish(slot, script, piece),
            8 | 9 => self.answer(slot, script.byte().into(), piece),
            10 => self.subscribe(slot, script, piece),
            11 => self.unsubscribe(slot, script, piece),
            12 => self.misbehave(slot, script, piece),
            13 => self.say_anything(slot, script, piece),
            14 => self.pass(script.one(&[100, 1_000, 2_500, 40_000])),
            15 => self.is_eager = !script.rarely(2),
            16 => self.keep(script, piece),
            17 => self.answer(KEEPER, script.byte().into(), piece),
            18 => self.ping(slot, script, piece),
            _ => match script.below(4) {
                0 => self.crash(script.byte().into()),
                _ => self.checkpoint_step(),
            },
        }
        if self.is_eager {
            self.sync();
        }
    }

    /// A player connects; whoever has its client identifier is taken over.
    fn come(&mut self, slot: usize, script: &mut Script<'_>) {
        let who = 1 + script.below(2);
        let is_v5 = !script.rarely(3);
        let is_v5 = *self.minds[who].is_v5.get_or_insert(is_v5);
        let payload = self.ledger.payload(0);
        let will = (script.below(2) == 1).then(|| Farewell {
            payload,
            qos: script.one(&[0, 1, 2]),
            retain: script.rarely(4),
            delay_s: script.one(&[0, 0, 2, 5, 30]),
        });
        let hello = Hello {
            is_v5,
            client_id: self.minds[who].id,
            clean: script.rarely(3),
            keep_alive_s: script.one(&[0, 0, 0, 2]),
            expiry_s: script.one(&[0, 3, 20, u32::MAX]),
            receive_max: script.one(&[None, Some(1), Some(2), Some(3)]),
            packet_bytes_max: script.one(&[None, None, None, Some(64)]),
            alias_max: script.one(&[0, 0, 1, 2]),
            wants_reasons: !script.rarely(3),
            will,
        };
        self.connect(slot, who, hello);
    }

    fn say_goodbye(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let Some(peer) = self.peer(slot).filter(|peer| peer.is_in()) else { return };
        let is_v5 = peer.hello.is_v5;
        let reason = if is_v5 { script.one(&[0, 0, 4, 0x80]) } else { 0 };
        let change = script.one(&[None, None, Some(0), Some(3), Some(u32::MAX)]);
        // [MQTT-3.1.2-23]: an expiry of 0 stays.
        let change = change.filter(|_| is_v5 && peer.hello.expiry_s > 0);
        peer.farewell = Some((reason, change));
        self.say(slot, &say::disconnect(reason, change, is_v5), piece);
    }

    fn publish(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let number = self.ledger.entries.len();
        let topic = script.one(&TOPICS);
        let payload = self.ledger.payload(if script.rarely(4) { 90 } else { 0 });
        let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_in()) else { return };
        let mind = &mut self.minds[peer.who];
        let is_v5 = peer.hello.is_v5;
        let mut qos = script.one(&[0, 1, 2, 1]);
        let id = mind.free_id().unwrap_or(0);
        let under_way = mind.out.values().filter(|(message, _)| message.qos > 0).count();
        if under_way >= usize::from(RECEIVE_MAX) || id == 0 || mind.is_confused {
            qos = 0;
        }
        let more = script.byte();
        let expiry_s = [None, None, None, Some(3u32), Some(60)][usize::from(more) % 5];
        let expiry_s = expiry_s.filter(|_| is_v5);
        let mut properties =
            if is_v5 { PROPERTIES[usize::from(more >> 4) % 4].to_vec() } else { Vec::new() };
        let carried = properties_of(&properties);
        if let Some(expiry_s) = expiry_s {
            properties.push(2);
            properties.extend(expiry_s.to_be_bytes());
        }
        let alias = 1 + TOPICS.iter().position(|known| *known == topic).unwrap() as u16;
        let alias = (is_v5 && more & 8 != 0 && alias <= ALIAS_MAX).then_some(alias);
        let is_short = alias.is_some_and(|alias| !peer.own_aliases.insert(alias));
        let retain = script.rarely(4);
        let message =
            Message { topic, payload, qos, retain, dup: false, id, properties, alias, is_short };
        let packet = message.packet(is_v5);
        self.ledger.entries.push(Entry {
            by: peer.who,
            payload: message.payload.clone(),
            topic,
            qos,
            expiry_s,
            properties: carried,
            will_of: None,
            delay_s: 0,
            fate: Fate::Open,
            firm: Fate::Open,
            got: 0,
            is_loose: false,
        });
        if qos > 0 {
            peer.allow(3 + qos, id);
            mind.out.insert(number as u64, (message, false));
        }
        self.say(slot, &packet, piece);
    }

    fn subscribe(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_in()) else { return };
        let filters: Vec<&str> = (0..=script.below(2)).map(|_| script.one(&FILTERS)).collect();
        let qos = script.one(&[0, 1, 2]);
        let mut options =
            qos | script.one(&[0, 0, 4]) | script.one(&[0, 8]) | script.one(&[0, 0x10, 0x20]);
        if filters.iter().any(|filter| filter.starts_with("$share")) {
            // [MQTT-3.8.3-4]
            options &= !4;
        }
        self.minds[peer.who].filters.extend(&filters);
        peer.may_grant.push_back((9, ID_OF_FILTERS, filters.len()));
        let packet =
            say::subscribe(ID_OF_FILTERS, &filters, options, script.one(&[0, 7]), peer.hello.is_v5);
        self.say(slot, &packet, piece);
    }

    fn unsubscribe(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_in()) else { return };
        let filters = [script.one(&FILTERS)];
        peer.may_grant.push_back((11, ID_OF_FILTERS + 1, 1));
        let packet = say::unsubscribe(ID_OF_FILTERS + 1, &filters, peer.hello.is_v5);
        self.say(slot, &packet, piece);
    }

    fn ping(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_in()) else { return };
        if script.rarely(4) {
            peer.is_deaf = !peer.is_deaf;
        }
        peer.may_pong += 1;
        self.say(slot, &say::PING, piece);
    }

    /// Well-formed packets that are wrong here.
    fn misbehave(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_in()) else { return };
        peer.is_tainted = true;
        let mut confused = None;
        let is_v5 = peer.hello.is_v5;
        let mut message = Message {
            topic: "t/a",
            payload: "x".to_owned(),
            qos: script.one(&[1, 2]),
            retain: false,
            dup: script.rarely(2),
            id: ID_OF_NOBODY,
            properties: Vec::new(),
            alias: None,
            is_short: false,
        };
        let packet = match script.below(7) {
            // More than the Receive Maximum, or one identifier again and again.
            0 => {
                peer.allow(3 + message.qos, ID_OF_NOBODY);
                (0..=RECEIVE_MAX).flat_map(|_| message.packet(is_v5)).collect()
            }
            // Acknowledgements of nothing, or of another kind than is owed.
            1 => {
                confused = Some(peer.who);
                let id = script.one(&[1, 2, 3, ID_OF_NOBODY]);
                say::ack(script.one(&[4, 5, 6, 7]), id, 0, is_v5)
            }
            // A refusal of what was sent.
            2 => {
                confused = Some(peer.who);
                say::ack(5, script.one(&[1, 2, 3]), 0x83, is_v5)
            }
            3 => peer.hello.packet(),
            4 => {
                (message.alias, message.is_short) = (Some(ALIAS_MAX + 1), true);
                (message.qos, message.dup) = (0, false);
                message.packet(true)
            }
            5 => {
                message.payload = "x".repeat(2_000);
                message.packet(is_v5)
            }
            _ => {
                script.one(&[&b"\xF0\0"[..], b"\x20\x02\0\0", b"\xD0\0", b"\x62\x02\0\0"]).to_vec()
            }
        };
        if let Some(who) = confused {
            self.confuse(who);
        }
        self.say(slot, &packet, piece);
    }

    fn say_anything(&mut self, slot: usize, script: &mut Script<'_>, piece: usize) {
        let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_in()) else { return };
        peer.is_raw = true;
        peer.is_tainted = true;
        let who = peer.who;
        self.confuse(who);
        let count = script.below(48);
        let bytes = script.bytes(count).to_vec();
        self.say(slot, &bytes, piece);
    }

    /// The keeper comes again, goes, or stops reading for a while.
    fn keep(&mut self, script: &mut Script<'_>, piece: usize) {
        match script.below(4) {
            0 => self.lose(KEEPER),
            1 => {
                if let Some(peer) = self.peer(KEEPER) {
                    peer.is_deaf = !peer.is_deaf;
                }
                self.pump();
            }
            2 => {
                let Some(peer) = self.peer(KEEPER).filter(|peer| peer.is_in()) else { return };
                let is_v5 = peer.hello.is_v5;
                peer.farewell = Some((0, None));
                self.say(KEEPER, &say::disconnect(0, None, is_v5), piece);
            }
            _ => {
                let hello =
                    Self::keeper_hello(!script.rarely(3), script.one(&[None, Some(1), Some(2)]));
                self.connect(KEEPER, KEEPER, hello);
            }
        }
    }
}

/// The properties of a section of ours.
fn properties_of(section: &[u8]) -> Vec<Property> {
    let mut packet = vec![0x30, 3 + section.len() as u8 + 1, 0, 1, b't', section.len() as u8];
    packet.extend(section);
    match super::hear::next(&packet, true) {
        Some((super::hear::Heard::Publish(publish), _)) => publish.properties,
        _ => Vec::new(),
    }
}
