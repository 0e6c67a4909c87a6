//! The journal's verdict, and every record that is still to be applied. Part of `store::verify`.

use std::sync::Arc;

use crate::model::ids::Lsn;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::journal::embedded::{EmbeddedJournal, Opened};
use crate::store::journal::{JournalOptions, Position, check_covered};
use crate::store::verify::{Fault, Inspector};

/// Looks at a record, of which it says what is wrong.
pub type Each<'a> = dyn FnMut(Lsn, &[u8]) -> Result<(), String> + 'a;

/// What the journal holds beyond the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCount {
    /// Batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
}

/// Judges the journal in `disk` as a start would, reads also what a checkpoint covers, and hands every record beyond `from` to `each`, which says what is
/// wrong with it.
pub fn check(
    disk: Arc<dyn Disk>,
    from: Position,
    inspector: &mut dyn Inspector,
    each: &mut Each<'_>,
) -> JournalCount {
    let mut count = JournalCount::default();
    match check_covered(disk.as_ref(), from) {
        Ok((bytes, damaged)) => {
            inspector.read(bytes);
            damaged.into_iter().for_each(|error| inspector.fault(error.into()));
        }
        // Whatever cannot be read at all is said below.
        Err(error) => tracing::debug!(%error, "the covered part of the journal was not read"),
    }
    let name = disk.path("").display().to_string();
    if let Err(error) = walk(disk, from, &name, &mut count, inspector, each) {
        inspector.fault(error.into());
    }
    count
}

fn walk(
    disk: Arc<dyn Disk>,
    from: Position,
    name: &str,
    count: &mut JournalCount,
    inspector: &mut dyn Inspector,
    each: &mut Each<'_>,
) -> Result<(), StoreError> {
    let Opened { replay, .. } = EmbeddedJournal::<()>::open(disk, JournalOptions::default(), from)?;
    for batch in replay {
        let batch = batch?;
        count.batches += 1;
        inspector.read(batch.records.len() as u64);
        for record in batch.iter() {
            let (lsn, outcome) = match &record {
                Ok((lsn, bytes)) => (*lsn, each(*lsn, bytes)),
                Err(error) => (error.lsn, Err(error.to_string())),
            };
            count.records += 1;
            if let Err(found) = outcome {
                let place = format!("{name}, batch {}, record {lsn}", batch.number);
                inspector.fault(Fault::of(place, "a record", found));
            }
        }
    }
    Ok(())
}
