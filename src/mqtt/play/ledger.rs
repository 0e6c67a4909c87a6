//! Which messages there are, who got them, and what the keeper must have got at the end. Part of `mqtt::play`.

use std::collections::BTreeMap;

use super::hear::{Property, Publish};

/// What became of a message, as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing was heard.
    Open,
    /// The broker said that it has it.
    Acked,
    /// The broker refused it.
    Refused,
    /// A will of a connection that is there.
    Armed,
    /// A will that is due at this time, ms, unless its session is resumed.
    Due(u64),
    /// A will that must be published.
    Published,
    /// A will that must not.
    Void,
    /// A will of which a crash leaves nothing sure.
    Unclear,
}

/// A message.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) by: usize,
    pub(super) payload: String,
    pub(super) topic: &'static str,
    pub(super) qos: u8,
    pub(super) expiry_s: Option<u32>,
    /// Its properties as they must arrive.
    pub(super) properties: Vec<Property>,
    /// For wills, the connection.
    pub(super) will_of: Option<u64>,
    pub(super) delay_s: u32,
    pub(super) fate: Fate,
    /// The same when the journal was last synced: a crash leaves only that.
    pub(super) firm: Fate,
    /// How often the keeper got it.
    pub(super) got: u32,
    /// Its publisher broke the rules meanwhile: it may have undone its own message.
    pub(super) is_loose: bool,
}

/// All messages of a play, by number.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
    /// The last message that came first, by publisher, topic and whether it has a promise.
    last: BTreeMap<(usize, &'static str, u8), usize>,
}

impl Ledger {
    /// The payload of the next message: nobody comes upon it by chance.
    pub(super) fn payload(&self, padding: usize) -> String {
        let number = self.entries.len() as u64;
        let seal = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        format!("m{number} {seal:x}{}", ".".repeat(padding))
    }

    fn number(&self, payload: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(payload).ok()?;
        let number = text.strip_prefix('m')?.split(' ').next()?.parse().ok()?;
        let entry: &Entry = self.entries.get(number)?;
        (entry.payload == text).then_some(number)
    }

    /// What anybody is sent is what was published, on its topic and with no more promise.
    pub(super) fn check(&self, heard: &Publish, topic: &str, is_v5: bool, now_ms: u64) {
        let Some(number) = self.number(&heard.payload) else { return };
        let entry = &self.entries[number];
        assert_eq!(entry.topic, topic, "{entry:?} under another topic");
        assert!(heard.qos <= entry.qos, "{entry:?} with QoS {}", heard.qos);
        assert_ne!(entry.fate, Fate::Void, "{entry:?}: its client said goodbye, or came back");
        let is_early = matches!(entry.fate, Fate::Due(due_ms) if due_ms > now_ms);
        assert!(!is_early, "{entry:?}: its delay is not over [MQTT-3.1.3-9]");
        if !is_v5 {
            return;
        }
        let own = |id: u8| !matches!(id, 0x02 | 0x0B | 0x23);
        let carried: Vec<Property> =
            heard.properties.iter().filter(|(id, _)| own(*id)).cloned().collect();
        assert_eq!(carried, entry.properties, "properties of {entry:?}");
        let left = heard.properties.iter().find(|(id, _)| *id == 0x02);
        let left = left.map(|(_, value)| u32::from_be_bytes(value[..].try_into().unwrap()));
        assert_eq!(left.is_some(), entry.expiry_s.is_some(), "{entry:?}: {left:?} s are left");
        assert!(left <= entry.expiry_s, "{entry:?}: {left:?} s are left [MQTT-3.3.2-6]");
    }

    /// The keeper takes a message for the first time that it sees this exchange.
    pub(super) fn keep(&mut self, payload: &[u8]) {
        let Some(number) = self.number(payload) else { return };
        let entry = &mut self.entries[number];
        entry.got += 1;
        if entry.is_loose {
            return;
        }
        if entry.got == 1 && entry.will_of.is_none() {
            let line = (entry.by, entry.topic, entry.qos);
            let before = self.last.insert(line, number);
            assert!(before <= Some(number), "message {number} after {before:?} [MQTT-4.6.0-6]");
        }
        let entry = &self.entries[number];
        assert!(entry.qos == 1 || entry.got == 1, "{entry:?}: more than once");
    }

    /// What was decided is on disk.
    pub(super) fn harden(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.firm = entry.fate);
    }

    /// The power went: wills of which the disk does not know yet may come or not.
    pub(super) fn soften(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.will_of.is_some()) {
            if entry.firm != entry.fate {
                entry.fate = Fate::Unclear;
            }
        }
    }

    /// Nothing is on its way any more.
    pub(super) fn settle(&self) {
        for entry in self.entries.iter().filter(|entry| !entry.is_loose) {
            let owed = match entry.fate {
                Fate::Acked => entry.qos > 0 && entry.expiry_s.is_none(),
                Fate::Published => entry.qos > 0,
                Fate::Refused | Fate::Void => {
                    assert_eq!(entry.got, 0, "{entry:?}");
                    false
                }
                Fate::Open | Fate::Unclear | Fate::Armed | Fate::Due(_) => false,
            };
            assert!(!owed || entry.got > 0, "{entry:?} was promised and did not come");
        }
    }
}
