//! The packets of a server, read by the letter of the specification and not by the codec: what is wrong with one is a
//! finding. Part of `mqtt::play`.

/// A property: its number and the bytes of its value.
pub(super) type Property = (u8, Vec<u8>);

/// A packet of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    ConnAck {
        present: bool,
        code: u8,
        properties: Vec<Property>,
    },
    Publish(Box<Publish>),
    /// PUBACK (4), PUBREC (5), PUBREL (6), PUBCOMP (7).
    Ack {
        kind: u8,
        id: u16,
        reason: u8,
        properties: Vec<Property>,
    },
    /// SUBACK (9), UNSUBACK (11).
    Granted {
        kind: u8,
        id: u16,
        codes: Vec<u8>,
        properties: Vec<Property>,
    },
    Pong,
    Disconnect {
        reason: u8,
    },
    Auth,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) id: u16,
    pub(super) properties: Vec<Property>,
    /// The whole packet.
    pub(super) total_bytes: usize,
}

const IN_PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];
const IN_CONNACK: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2A,
];
const IN_ACKS: &[u8] = &[0x1F, 0x26];
const IN_DISCONNECT: &[u8] = &[0x1C, 0x1F, 0x26];
const IN_AUTH: &[u8] = &[0x15, 0x16, 0x1F, 0x26];

/// The packet at the front of `bytes` and its length; `None` while it is not whole.
pub(super) fn next(bytes: &[u8], is_v5: bool) -> Option<(Heard, usize)> {
    let (length, at) = remaining_length(bytes)?;
    let body = bytes.get(at..at + length)?;
    let header = bytes[0];
    let mut fields = Fields(body);
    let kind = header >> 4;
    if kind != 3 {
        let flags = if kind == 6 { 2 } else { 0 };
        assert_eq!(header & 15, flags, "reserved flags [MQTT-2.1.3-1]");
    }
    let heard = match kind {
        2 => connack(&mut fields, is_v5),
        3 => publish(&mut fields, header, at + length, is_v5),
        4..=7 => ack(&mut fields, kind, is_v5),
        9 | 11 => granted(&mut fields, kind, is_v5),
        13 => Heard::Pong,
        14 if is_v5 => disconnect(&mut fields),
        15 if is_v5 => {
            if !fields.is_over() {
                fields.byte();
                fields.properties(IN_AUTH);
            }
            Heard::Auth
        }
        _ => panic!("packet type {kind} from a server"),
    };
    assert!(fields.is_over(), "bytes after the fields of {heard:?}");
    Some((heard, at + length))
}

fn connack(fields: &mut Fields<'_>, is_v5: bool) -> Heard {
    let flags = fields.byte();
    assert!(flags < 2, "CONNACK flags {flags} [MQTT-3.2.2-1]");
    let code = fields.byte();
    let properties = if is_v5 { fields.properties(IN_CONNACK) } else { Vec::new() };
    let known = match is_v5 {
        true => {
            code == 0
                || matches!(code, 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
        }
        false => code <= 5,
    };
    assert!(known, "CONNACK with {code:#x}");
    assert!(code == 0 || flags == 0, "a session with a refusal [MQTT-3.2.2-6]");
    Heard::ConnAck { present: flags == 1, code, properties }
}

fn publish(fields: &mut Fields<'_>, header: u8, total_bytes: usize, is_v5: bool) -> Heard {
    let qos = header >> 1 & 3;
    assert!(qos < 3, "QoS 3 [MQTT-3.3.1-4]");
    let dup = header & 8 != 0;
    assert!(!(dup && qos == 0), "DUP with QoS 0 [MQTT-3.3.1-2]");
    let topic = fields.text();
    assert!(!topic.contains(['+', '#']), "{topic} [MQTT-3.3.2-2]");
    let id = if qos > 0 { fields.two() } else { 0 };
    assert!(qos == 0 || id != 0, "identifier 0 [MQTT-2.2.1-3]");
    let properties = if is_v5 { fields.properties(IN_PUBLISH) } else { Vec::new() };
    let payload = fields.take(fields.0.len()).to_vec();
    let retain = header & 1 != 0;
    Heard::Publish(Box::new(Publish {
        topic,
        payload,
        qos,
        retain,
        dup,
        id,
        properties,
        total_bytes,
    }))
}

fn ack(fields: &mut Fields<'_>, kind: u8, is_v5: bool) -> Heard {
    let id = fields.two();
    assert_ne!(id, 0, "identifier 0");
    let (mut reason, mut properties) = (0, Vec::new());
    if is_v5 && !fields.is_over() {
        reason = fields.byte();
        if !fields.is_over() {
            properties = fields.properties(IN_ACKS);
        }
    }
    let known = match kind {
        4 | 5 => matches!(reason, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
        _ => matches!(reason, 0 | 0x92),
    };
    assert!(known, "packet type {kind} with {reason:#x}");
    Heard::Ack { kind, id, reason, properties }
}

fn granted(fields: &mut Fields<'_>, kind: u8, is_v5: bool) -> Heard {
    let id = fields.two();
    let properties = if is_v5 { fields.properties(IN_ACKS) } else { Vec::new() };
    let codes = fields.take(fields.0.len()).to_vec();
    for code in &codes {
        let known = match (kind, is_v5) {
            (9, true) => {
                matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            (9, false) => matches!(code, 0..=2 | 0x80),
            (_, true) => matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            (_, false) => false,
        };
        assert!(known, "packet type {kind} with {code:#x}");
    }
    Heard::Granted { kind, id, codes, properties }
}

fn disconnect(fields: &mut Fields<'_>) -> Heard {
    let mut reason = 0;
    if !fields.is_over() {
        reason = fields.byte();
        if !fields.is_over() {
            fields.properties(IN_DISCONNECT);
        }
    }
    let known = matches!(reason, 0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2)
        && reason != 0x91
        && reason != 0x92;
    assert!(known, "DISCONNECT with {reason:#x} from a server");
    Heard::Disconnect { reason }
}

/// Remaining Length and where the body begins.
fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in bytes.iter().skip(1).enumerate() {
        assert!(at < 4, "Remaining Length of five bytes");
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            assert!(at == 0 || *byte != 0, "Remaining Length is padded");
            return Some((length, at + 2));
        }
    }
    None
}

/// What is left of a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).expect("a packet ends within a field");
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn number(&mut self) -> usize {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.byte();
            value |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                assert!(at == 0 || byte != 0, "a padded number [MQTT-1.5.5-1]");
                return value;
            }
        }
        panic!("a number of five bytes")
    }

    fn text(&mut self) -> String {
        let length = self.two();
        let text = String::from_utf8(self.take(length.into()).to_vec());
        let text = text.expect("text is UTF-8 [MQTT-1.5.4-1]");
        assert!(!text.contains('\0'), "NUL in a text [MQTT-1.5.4-2]");
        text
    }

    fn properties(&mut self, allowed: &[u8]) -> Vec<Property> {
        let length = self.number();
        let mut section = Fields(self.take(length));
        let mut found: Vec<Property> = Vec::new();
        while !section.is_over() {
            let id = section.byte();
            assert!(allowed.contains(&id), "property {id:#x} does not belong here");
            let twice = found.iter().any(|(known, _)| *known == id);
            assert!(!twice || matches!(id, 0x0B | 0x26), "property {id:#x} twice");
            let before = section.0;
            match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => drop(section.byte()),
                0x13 | 0x21..=0x23 => assert!(section.two() != 0 || id != 0x21 && id != 0x23),
                0x02 | 0x11 | 0x18 | 0x27 => drop(section.take(4)),
                0x0B => assert_ne!(section.number(), 0, "subscription identifier 0"),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => drop(section.text()),
                0x26 => drop((section.text(), section.text())),
                _ => {
                    let length = section.two();
                    section.take(length.into());
                }
            }
            let used = before.len() - section.0.len();
            found.push((id, before[..used].to_vec()));
        }
        found
    }
}
