//! A message whose content has not arrived whole. Part of `amqp::connection`.
//!
//! Most messages arrive in one piece and are handed over where they lie in the read buffer. What is kept here is
//! the rest: heads whose body is still on its way, bodies of several frames. It grows with what has arrived,
//! never with what was announced.

use crate::amqp::codec::basic::PublishHead;
use crate::model::content::Properties;

use super::event::Published;

/// What has arrived of a message.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Exchange and routing key, one behind the other.
    names: String,
    /// Where the routing key begins.
    key_at: usize,
    mandatory: bool,
    immediate: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The header comes next.
    Header,
    /// Bodies come.
    Body {
        properties: Vec<u8>,
        /// How long the body will be, at least 1.
        bytes: usize,
        body: Vec<u8>,
    },
}

impl Assembly {
    pub(super) fn new(head: &PublishHead<'_>) -> Self {
        let mut names = String::with_capacity(head.exchange.len() + head.routing_key.len());
        names.push_str(head.exchange);
        names.push_str(head.routing_key);
        Self {
            names,
            key_at: head.exchange.len(),
            mandatory: head.mandatory,
            immediate: head.immediate,
            stage: Stage::Header,
        }
    }

    /// Whether the header has not come.
    pub(super) const fn awaits_header(&self) -> bool {
        matches!(self.stage, Stage::Header)
    }

    /// The method that began it.
    pub(super) fn head(&self) -> PublishHead<'_> {
        let (exchange, routing_key) = self.names.split_at_checked(self.key_at).unwrap_or_default();
        PublishHead { exchange, routing_key, mandatory: self.mandatory, immediate: self.immediate }
    }

    /// The header has come, with properties that were checked, and announces `bytes` of body.
    pub(super) fn begin_body(&mut self, properties: &[u8], bytes: usize) {
        self.stage = Stage::Body { properties: properties.to_vec(), bytes, body: Vec::new() };
    }

    /// How many bytes of the body have not come.
    pub(super) const fn missing_bytes(&self) -> usize {
        match &self.stage {
            Stage::Header => 0,
            Stage::Body { bytes, body, .. } => bytes.saturating_sub(body.len()),
        }
    }

    /// Whether no byte of the body has come.
    pub(super) const fn is_untouched(&self) -> bool {
        match &self.stage {
            Stage::Header => true,
            Stage::Body { body, .. } => body.is_empty(),
        }
    }

    /// Bytes kept.
    pub(super) const fn kept_bytes(&self) -> usize {
        self.names.len()
            + match &self.stage {
                Stage::Header => 0,
                Stage::Body { properties, body, .. } => properties.len() + body.len(),
            }
    }

    /// Keeps a part of the body.
    pub(super) fn push(&mut self, part: &[u8]) {
        if let Stage::Body { bytes, body, .. } = &mut self.stage {
            let len = body.len() + part.len();
            if body.capacity() < len {
                // Twice what is there, but never more than the whole.
                let capacity = len.saturating_mul(2).min(*bytes).max(len);
                body.reserve_exact(capacity - body.len());
            }
            body.extend_from_slice(part);
        }
    }

    /// The message, whole: of what is kept, or with the one frame that held all of its body.
    pub(super) fn published<'a>(&'a self, only: Option<&'a [u8]>) -> Published<'a> {
        let (properties, kept) = match &self.stage {
            Stage::Header => (&[][..], &[][..]),
            Stage::Body { properties, body, .. } => (&properties[..], &body[..]),
        };
        Published {
            head: self.head(),
            properties: Properties::stored(properties),
            body: only.unwrap_or(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Assembly, Stage};
    use crate::amqp::codec::basic::PublishHead;

    #[test]
    fn memory_follows_what_arrived() {
        let head =
            PublishHead { exchange: "x", routing_key: "k", mandatory: true, immediate: false };
        let mut assembly = Assembly::new(&head);
        assert!(assembly.awaits_header());
        assembly.begin_body(b"\x10\0\x02", 10_000_000_000);
        for arrived in 1..=100 {
            assembly.push(&[7; 100]);
            assert_eq!(assembly.missing_bytes(), 10_000_000_000 - arrived * 100);
            let Stage::Body { body, .. } = &assembly.stage else { unreachable!() };
            assert!(body.capacity() <= arrived * 200);
        }
        assert_eq!(assembly.kept_bytes(), 10_005);
        let published = assembly.published(None);
        assert_eq!(published.head, head);
        assert_eq!(published.properties.delivery_mode(), Some(2));
        assert_eq!(published.body, [7; 10_000]);
    }
}
