//! Bodies on their way into a checkpoint, over as many attempts as that takes. Part of `broker::checkpoint`.
//!
//! An attempt writes bodies and syncs them, then commits. What was synced counts for the next attempt, so that a
//! database which fails does not fill the disk with the same bodies again and again; what was not is forgotten with
//! the writer. The messages learn their places only once the checkpoint is current.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;

use crate::broker::queues::entry::Stored;
use crate::store::bodies::{BodyRef, BodyWriter};
use crate::store::error::StoreError;

/// Bodies by the address of what is in memory, which the map keeps in memory.
type ByAddress = AHashMap<usize, (Arc<Stored>, BodyRef)>;

/// Where the bodies of a checkpoint are that some attempt at it has put on disk.
#[derive(Default)]
pub(in crate::broker) struct Places {
    synced: ByAddress,
    /// Valid length of every segment that was written to.
    lengths: BTreeMap<u32, u64>,
}

impl Places {
    /// The segments written to, with the lengths that count from now on.
    pub(super) fn lengths(&self) -> &BTreeMap<u32, u64> {
        &self.lengths
    }

    /// The checkpoint is current: the messages learn where they are.
    pub(super) fn tell(&mut self) {
        for (_, (stored, place)) in self.synced.drain() {
            // One that an earlier checkpoint wrote is not written again, so nobody else sets it.
            stored.disk.get_or_init(|| place);
        }
    }
}

/// One attempt at writing them.
pub(in crate::broker) struct Bodies<'a> {
    places: &'a mut Places,
    fresh: ByAddress,
    writer: BodyWriter,
}

impl<'a> Bodies<'a> {
    /// Goes on after the attempts that left `places`.
    pub(super) fn new(places: &'a mut Places, writer: BodyWriter) -> Self {
        Self { places, fresh: ByAddress::default(), writer }
    }

    /// Where `stored` is, or will be once [`Self::finish`] has returned.
    ///
    /// # Errors
    /// It cannot be written: give the attempt up.
    pub(in crate::broker) fn place(&mut self, stored: &Arc<Stored>) -> Result<BodyRef, StoreError> {
        if let Some(place) = stored.disk.get() {
            return Ok(*place);
        }
        let address = Arc::as_ptr(stored).addr();
        let known = self.places.synced.get(&address).or_else(|| self.fresh.get(&address));
        if let Some((_, place)) = known {
            return Ok(*place);
        }
        let place = self.writer.append(&stored.bytes)?;
        self.fresh.insert(address, (Arc::clone(stored), place));
        Ok(place)
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// Nothing of this attempt counts.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        let Self { places, fresh, writer } = self;
        places.lengths.extend(writer.finish()?);
        places.synced.extend(fresh);
        Ok(())
    }
}
