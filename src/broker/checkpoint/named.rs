//! The bodies that a page's row names, read and replaced without making entries of it. Part of
//! `broker::checkpoint`.
//!
//! [`crate::broker::sessions::row`] writes and reads whole pages; a reference is twelve bytes there, whatever it says.

use crate::broker::queues::entry::{HAS_DETAILS, HAS_VIA};
use crate::broker::queues::page::PAGE_POSITIONS;
use crate::broker::via::Via;
use crate::store::bodies::BodyRef;
use crate::store::codec::{CodecError, Reader, Writer};

/// Newest version of a page's row.
const VERSION: u8 = 1;

/// A body that a page's row names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Position in the page.
    pub(super) slot: u64,
    /// Where in the row its reference stands.
    pub(super) at: usize,
    /// The reference.
    pub(super) body: BodyRef,
}

/// The bodies that `row` names, by slot.
///
/// # Errors
/// [`CodecError`] naming what does not fit.
pub(super) fn named(row: &[u8]) -> Result<Vec<Named>, CodecError> {
    let mut r = Reader::new(row);
    r.version(VERSION)?;
    let count = r.count(16)?;
    let mut bodies = Vec::with_capacity(count);
    for _ in 0..count {
        let start = r.position();
        let slot = r.varint()?;
        if slot >= PAGE_POSITIONS {
            let what = "slot of a queue page";
            return Err(CodecError::Value { what, found: slot, at: start });
        }
        r.varint()?;
        let at = r.position();
        let body = BodyRef::decode(&mut r)?;
        let flags = r.u8()?;
        let ids = r.count(4)?;
        r.raw(ids * 4)?;
        if flags & HAS_VIA != 0 {
            Via::decode(&mut r)?;
        }
        if flags & HAS_DETAILS != 0 {
            r.array::<12>()?;
        }
        bodies.push(Named { slot, at, body });
    }
    r.finish()?;
    Ok(bodies)
}

/// Has `row` name `body` where it named another at `at`.
pub(super) fn rename(row: &mut [u8], at: usize, body: BodyRef) {
    let mut bytes = Vec::with_capacity(12);
    body.encode(&mut Writer(&mut bytes));
    if let Some(place) = row.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::{Named, PAGE_POSITIONS, named, rename};
    use crate::broker::queues::entry::{Body, Entry, Stored};
    use crate::broker::sessions::row::{decode_page, encode_page};
    use crate::broker::via::Via;
    use crate::model::ids::QueueId;
    use crate::model::qos::QoS;
    use crate::store::bodies::BodyRef;

    proptest! {
        #[test]
        fn the_same_bodies_are_found_as_in_entries_and_replaced(
            slots in btree_map(0..PAGE_POSITIONS, (any::<u64>(), any::<u32>(), 0u8..8), 0..20),
        ) {
            let entries: Vec<(u64, Entry, BodyRef)> = slots
                .iter()
                .map(|(slot, (order, segment, shape))| {
                    let memory = Body::Memory(Stored::new(vec![1].into()));
                    let mut entry = Entry::new(*order, memory, QoS::AtLeastOnce, false);
                    if shape & 1 != 0 {
                        entry.subscription_ids = Some(vec![7, *segment].into());
                    }
                    if shape & 2 != 0 {
                        entry.via = Some(Arc::new(Via::Topic("a/b".into())));
                    }
                    if shape & 4 != 0 {
                        entry.payload_bytes = 9;
                    }
                    (2 * PAGE_POSITIONS + slot, entry, BodyRef { segment: *segment, offset: 16, len: 3 })
                })
                .collect();
            let row = encode_page(2, entries.iter().map(|(at, entry, body)| (*at, entry, *body)));
            let found = named(&row).unwrap();
            let as_entries = |row: &[u8]| -> Vec<(u64, BodyRef)> {
                let page = decode_page(QueueId(1), 2, row).unwrap();
                page.into_iter().map(|entry| (entry.position - 2 * PAGE_POSITIONS, entry.body)).collect()
            };
            let flat: Vec<_> = found.iter().map(|Named { slot, body, .. }| (*slot, *body)).collect();
            prop_assert_eq!(&flat, &as_entries(&row));
            let mut moved = row.clone();
            let new = BodyRef { segment: 1, offset: 2, len: 3 };
            found.iter().for_each(|named| rename(&mut moved, named.at, new));
            let expected: Vec<_> = flat.iter().map(|(slot, _)| (*slot, new)).collect();
            prop_assert_eq!(as_entries(&moved), expected);
            for cut in 0..row.len() {
                prop_assert!(named(&row[..cut]).is_err());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let row: Vec<u8> = [1].into_iter().chain(bytes).collect();
            std::hint::black_box(named(&row)).ok();
        }
    }
}
