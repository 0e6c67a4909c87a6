//! The segment being written, and the chain of those that hold what is not trimmed. Part of
//! `store::journal`.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::disk::{Disk, DiskFile};
use crate::store::error::StoreError;
use crate::store::journal::Durability;
use crate::store::journal::batch::Image;
use crate::store::journal::segment::{Fresh, SEGMENT_HEADER, Segment};
use crate::store::journal::spare::{Spares, UNFINISHED};

/// A named segment.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) first_batch: u64,
    pub(super) file_bytes: u64,
    /// Fit for reuse: every byte of it was written before.
    pub(super) prepared: bool,
}

/// Every named segment, oldest generation first; shared by the writer, who adds, and whoever trims.
#[derive(Debug, Default)]
pub(super) struct Chain {
    list: Mutex<Vec<Named>>,
}

impl Chain {
    pub(super) fn new(list: Vec<Named>) -> Self {
        Self { list: Mutex::new(list) }
    }

    /// Names of the segments, oldest first.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        self.list.lock().iter().map(|segment| segment.name.clone()).collect()
    }

    /// Retires the segments whose every batch is below `first_kept`, oldest first, so that what remains after
    /// a crash in between is still without gaps.
    pub(super) fn trim(
        &self,
        disk: &dyn Disk,
        spares: &Spares,
        first_kept: u64,
    ) -> Result<(), StoreError> {
        // Taken out of the list first: the writer must not wait for these renames and syncs.
        let mut victims: Vec<Named> = {
            let mut list = self.list.lock();
            // A segment ends where its successor begins.
            let ended = |pair: &&[Named]| pair.get(1).is_some_and(|n| n.first_batch <= first_kept);
            let count = list.windows(2).take_while(ended).count();
            list.drain(..count).collect()
        };
        if victims.is_empty() {
            return Ok(());
        }
        let mut retired: Vec<String> = Vec::new();
        let mut result = Ok(());
        while let Some(victim) = victims.first() {
            match spares.retire(victim, retired.len()) {
                Ok(spare) => retired.extend(spare),
                Err(source) => {
                    let file = disk.path(&victim.name);
                    result = Err(StoreError::Io { file, doing: "trim the journal", source });
                    break;
                }
            }
            victims.remove(0);
        }
        self.list.lock().splice(0..0, victims);
        disk.sync_dir().map_err(StoreError::io(&disk.path(""), "sync the journal folder"))?;
        for spare in retired {
            spares.offer(spare);
        }
        result
    }
}

/// A file for a new segment.
struct Empty {
    name: String,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    prepared: bool,
}

/// What the writer writes to.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) spares: Arc<Spares>,
    pub(super) chain: Arc<Chain>,
    pub(super) durability: Durability,
    pub(super) segment_bytes: u64,
    pub(super) next_generation: u64,
    pub(super) active: Option<Segment>,
}

impl Segments {
    /// Writes and syncs a batch: into the current segment, or into a new one when that is full or fails. After
    /// an error nothing is known about the batch but that memory still holds it: call again with the same.
    pub(super) fn write(&mut self, image: &mut Image) -> io::Result<()> {
        if let Some(mut active) = self.active.take() {
            // A segment made in a hurry, at start, is left as soon as a prepared one is there.
            let stay = active.is_prepared() || !self.spares.is_ready();
            if stay && active.fits(image) {
                match active.append(image, self.durability) {
                    Ok(()) => {
                        self.active = Some(active);
                        return Ok(());
                    }
                    // Never synced again: the kernel may have dropped the very pages it failed to write.
                    Err(error) => tracing::error!(
                        batch = image.header().number, %error,
                        "journal segment sealed after a failed write; going on in a new one"
                    ),
                }
            }
            if self.durability == Durability::Os
                && let Err(error) = active.sync()
            {
                // The next segment is synced when it begins; without this the one before could be older.
                tracing::warn!(%error, "a journal segment that is left could not be synced");
            }
        }
        self.begin(image)
    }

    /// Puts `image` as the first batch into a new segment.
    pub(super) fn begin(&mut self, image: &mut Image) -> io::Result<()> {
        let generation = self.next_generation;
        // Spent even when this fails: whatever is left on disk must not share it.
        self.next_generation += 1;
        let Empty { name: temporary, file, file_bytes, prepared } =
            self.empty_file(SEGMENT_HEADER + image.len())?;
        let durability = self.durability;
        let fresh =
            Fresh { temporary: &temporary, file, file_bytes, prepared, generation, durability };
        match Segment::begin(self.disk.as_ref(), fresh, image) {
            Ok((segment, name)) => {
                let first_batch = image.header().number;
                self.chain.list.lock().push(Named { name, first_batch, file_bytes, prepared });
                self.active = Some(segment);
                Ok(())
            }
            Err(error) => {
                self.discard(&temporary);
                Err(error)
            }
        }
    }

    fn empty_file(&self, wanted: u64) -> io::Result<Empty> {
        let file_bytes = wanted.max(self.segment_bytes);
        if file_bytes == self.segment_bytes
            && let Some((name, file)) = self.spares.take()
        {
            return Ok(Empty { name, file, file_bytes, prepared: true });
        }
        let name = self.spares.name(UNFINISHED);
        let file = self.disk.create(&name)?;
        match file.allocate(file_bytes).and_then(|()| self.spares.open(&name)) {
            Ok(file) => Ok(Empty { name, file, file_bytes, prepared: false }),
            Err(error) => {
                self.discard(&name);
                Err(error)
            }
        }
    }

    /// Gives the room of a file that came to nothing back; it may hold what a full disk needs.
    fn discard(&self, name: &str) {
        if let Err(error) = self.disk.remove(name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(file = %self.disk.path(name).display(), %error, "not removed");
        }
    }
}
