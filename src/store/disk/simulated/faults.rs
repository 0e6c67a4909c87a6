//! What a simulated disk does wrong, and when. Part of `store::disk::simulated`.

use std::io;
use std::path::{Component, Path};
use std::time::Duration;

use super::dice::Dice;

/// No room is left.
pub(crate) const ENOSPC: i32 = 28;
/// The device does not do it.
pub(crate) const EIO: i32 = 5;

/// So many operations fail, the first one after so many others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) after: u64,
    pub(crate) count: u64,
    /// [`EIO`] hits everything that changes something, [`ENOSPC`] what wants room.
    pub(crate) code: i32,
}

/// What a disk says it did, and did not: the proofs of `store` and `broker` must find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Syncs of files in this folder of the data directory.
    Syncs(&'static str),
    /// The same, and what one did not do the next one does.
    LateSyncs(&'static str),
    /// Syncs of the names in it.
    FolderSyncs(&'static str),
}

/// How many of the next operations of each kind fail.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    pub(crate) creates: u32,
    pub(crate) writes: u32,
    pub(crate) syncs: u32,
    pub(crate) folder_syncs: u32,
    pub(crate) renames: u32,
    /// Every operation that changes something fails.
    pub(crate) everything: bool,
    /// So many more operations, then the power is gone: nothing changes any more.
    pub(crate) cut_after: Option<u64>,
    pub(crate) outage: Option<Outage>,
    /// Each sync of a file takes so long.
    pub(crate) sync_delay: Duration,
    pub(crate) lie: Option<Lie>,
    /// With dice a failed sync leaves any pages on the platter, without none.
    pub(crate) dice: Option<Dice>,
    /// Operations so far.
    pub(crate) operations: u64,
}

/// An operation that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Write,
    Shrink,
    Sync,
    FolderSync,
    Rename,
    Remove,
}

impl Faults {
    pub(super) fn is_cut(&self) -> bool {
        self.cut_after == Some(0)
    }

    /// Counts an operation; an error when it does not happen.
    pub(super) fn suffer(&mut self, operation: Operation) -> io::Result<()> {
        match &mut self.cut_after {
            Some(0) => return Err(io::Error::other(format!("no power for a {operation:?}"))),
            Some(left) => *left -= 1,
            None => {}
        }
        self.operations += 1;
        if let Some(code) = self.outage(operation) {
            return Err(io::Error::from_raw_os_error(code));
        }
        if self.everything && operation != Operation::Remove {
            return Err(io::Error::other(format!("simulated failure of every {operation:?}")));
        }
        let left = match operation {
            Operation::Create => &mut self.creates,
            Operation::Write | Operation::Shrink => &mut self.writes,
            Operation::Sync => &mut self.syncs,
            Operation::FolderSync => &mut self.folder_syncs,
            Operation::Rename => &mut self.renames,
            Operation::Remove => return Ok(()),
        };
        if *left > 0 {
            *left -= 1;
            return Err(io::Error::other(format!("simulated failure of a {operation:?}")));
        }
        Ok(())
    }

    fn outage(&mut self, operation: Operation) -> Option<i32> {
        let Outage { after, count, code } = self.outage.as_mut()?;
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let spared = matches!(operation, Operation::Shrink | Operation::Remove | Operation::Rename);
        if *count == 0 || (*code == ENOSPC && spared) {
            return None;
        }
        *count -= 1;
        Some(*code)
    }

    /// The lie that is told in `folder`.
    pub(super) fn lie(&self, folder: &Path) -> Option<Lie> {
        let first = folder.components().next();
        self.lie.filter(|lie| {
            let (Lie::Syncs(name) | Lie::LateSyncs(name) | Lie::FolderSyncs(name)) = lie;
            first == Some(Component::Normal(name.as_ref()))
        })
    }
}
