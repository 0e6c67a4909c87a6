//! A queue's declaration as a checkpoint keeps it. Part of `broker::declared`.

use std::sync::Arc;

use crate::store::codec::{CodecError, Reader, Writer};

/// Of a queue that clients declare by name.
const VERSION: u8 = 1;
/// Of a share group's queue: the same fields. An earlier build does not know such queues and stops.
const SHARE_VERSION: u8 = 2;

/// A durable queue as restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredRow {
    /// vhost.
    pub vhost: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// Field table as declared.
    pub table: Box<[u8]>,
    /// Next position.
    pub tail: u64,
    /// It belongs to a share group.
    pub share: bool,
}

impl DeclaredRow {
    /// The row's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(24 + self.vhost.len() + self.name.len() + self.table.len());
        let mut w = Writer(&mut bytes);
        w.u8(if self.share { SHARE_VERSION } else { VERSION });
        w.str(&self.vhost);
        w.str(&self.name);
        w.bool(self.auto_delete);
        w.bytes(&self.table);
        w.varint(self.tail);
        bytes
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        let share = bytes.first() == Some(&SHARE_VERSION);
        r.version(if share { SHARE_VERSION } else { VERSION })?;
        let row = Self {
            vhost: r.str()?.into(),
            name: r.str()?.into(),
            auto_delete: r.bool()?,
            table: r.bytes()?.into(),
            tail: r.varint()?,
            share,
        };
        r.finish()?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::DeclaredRow;

    proptest! {
        #[test]
        fn a_queue_survives_its_row(
            name in ".{0,9}", [auto_delete, share] in any::<[bool; 2]>(), table in vec(any::<u8>(), 0..9),
            tail in any::<u64>(),
        ) {
            let table = table.into();
            let row =
                DeclaredRow { vhost: "/".into(), name: name.into(), auto_delete, table, tail, share };
            let bytes = row.encode();
            prop_assert_eq!(DeclaredRow::decode(&bytes), Ok(row));
            for cut in 0..bytes.len() {
                prop_assert!(DeclaredRow::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..60)) {
            let body: Vec<u8> = [1 + (bytes.len() % 2) as u8].into_iter().chain(bytes).collect();
            std::hint::black_box(DeclaredRow::decode(&body)).ok();
        }
    }
}
