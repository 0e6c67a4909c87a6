//! Property blocks of messages that come from elsewhere, written as far as they fit. Part of `model/crossing`; pure.

use crate::model::message::PropertyId;

/// A property block being appended to a buffer. What finds no room, or is longer than MQTT's strings, is left out
/// whole, and counted.
#[derive(Debug)]
pub struct BlockWriter<'o> {
    out: &'o mut Vec<u8>,
    from: usize,
    bytes_max: usize,
    left_out: usize,
}

impl<'o> BlockWriter<'o> {
    /// A block of at most `bytes_max` bytes behind what `out` holds.
    pub fn new(out: &'o mut Vec<u8>, bytes_max: usize) -> Self {
        Self { from: out.len(), out, bytes_max, left_out: 0 }
    }

    /// Gives it room for `more` bytes beyond what it may take now.
    pub fn widen(&mut self, more: usize) {
        self.bytes_max = self.bytes_max.saturating_add(more);
    }

    /// How many properties were left out.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Writes that the payload is UTF-8 (MQTT5-3.3.2.3.2).
    pub fn utf8_payload(&mut self) {
        self.put(|out| {
            out.extend_from_slice(&[PropertyId::PayloadFormat as u8, 1]);
            Some(())
        });
    }

    /// Writes a property that is a string or binary data.
    pub fn string(&mut self, id: PropertyId, bytes: &[u8]) {
        self.put(|out| {
            out.push(id as u8);
            length_and_bytes(out, bytes)
        });
    }

    /// Writes a user property.
    pub fn user(&mut self, name: &str, value: &str) {
        self.put(|out| {
            out.push(PropertyId::UserProperty as u8);
            length_and_bytes(out, name.as_bytes())?;
            length_and_bytes(out, value.as_bytes())
        });
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
        let before = self.out.len();
        let written = write(self.out);
        if written.is_none() || self.out.len() - self.from > self.bytes_max {
            self.out.truncate(before);
            self.left_out += 1;
        }
    }
}

fn length_and_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}
