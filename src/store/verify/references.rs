//! What queues refer to, beside what body segments hold. Part of `store::verify`.

use std::collections::BTreeMap;

use crate::store::bodies::check::{Places, check};
use crate::store::bodies::{BodyRef, name, stored_bytes};
use crate::store::disk::Disk;
use crate::store::tables::bodies::{BodyRow, Live};
use crate::store::verify::{Fault, Inspector};

/// The body segments of a checkpoint.
#[derive(Debug, Default)]
pub struct References {
    segments: BTreeMap<u32, Segment>,
}

#[derive(Debug)]
struct Segment {
    row: BodyRow,
    places: Places,
    referenced: u64,
    referenced_bytes: u64,
}

impl References {
    /// Reads a segment of `disk`, the folder of all.
    pub fn read(
        &mut self,
        disk: &dyn Disk,
        segment: u32,
        row: BodyRow,
        inspector: &mut dyn Inspector,
    ) {
        let places = check(disk, segment, row.valid_len, inspector);
        let counted = Segment { row, places, referenced: 0, referenced_bytes: 0 };
        self.segments.insert(segment, counted);
    }

    /// How many segments, and bodies in them.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let bodies = self.segments.values().map(|segment| segment.places.count());
        (self.segments.len(), bodies.sum())
    }

    /// Notes that `whose` refers to a body.
    pub fn refer(&mut self, whose: &str, body: BodyRef, inspector: &mut dyn Inspector) {
        let wanted = || format!("body of {} bytes in segment {:08x}", body.len, body.segment);
        let Some(segment) = self.segments.get_mut(&body.segment) else {
            let expected = format!("the {} to be of the checkpoint", wanted());
            inspector.fault(Fault::of(whose.to_owned(), expected, "no such segment"));
            return;
        };
        segment.referenced += 1;
        segment.referenced_bytes += stored_bytes(body.len);
        if !segment.places.holds(body.offset, body.len) {
            let expected = format!("the {} at byte {}", wanted(), body.offset);
            inspector.fault(Fault::of(whose.to_owned(), expected, "no such body"));
        }
    }

    /// Compares how often each segment is referred to, and the bytes of that, with what its row says.
    pub fn compare(&self, inspector: &mut dyn Inspector) {
        for (number, segment) in &self.segments {
            let mut compare = |what: &str, row: u64, counted: u64| {
                if row != counted {
                    let place = format!("table bodies, segment {}", name(*number));
                    let expected = format!("{counted} {what}, as queues hold");
                    inspector.fault(Fault::of(place, expected, format!("{row}")));
                }
            };
            compare("references", segment.row.live_refs, segment.referenced);
            if let Live::Bytes { bytes, .. } = segment.row.live {
                compare("bytes of bodies", bytes, segment.referenced_bytes);
            }
        }
    }
}
