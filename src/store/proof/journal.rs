//! The journal alone: every record that its sink was given is there, in order, and nothing that was never submitted.
//! Part of `store::proof`.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;

use super::{Trial, Violation, cut_everywhere, is_caught, seeds};
use crate::model::ids::Lsn;
use crate::store::disk::Disk;
use crate::store::disk::simulated::{Dice, Lie, SimulatedDisk};
use crate::store::journal::batch::Batch;
use crate::store::journal::embedded::EmbeddedJournal;
use crate::store::journal::{Durability, Journal, JournalOptions, Position};

fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: 8 * 512,
        submit_bytes_max: 1 << 20,
        batch_bytes_max: 1500,
        durability: Durability::Fsync,
        spare_segments: 1,
        retry: Duration::from_millis(1),
    }
}

/// What was submitted, and how much of it the sink has seen.
struct Promised {
    submitted: Vec<Bytes>,
    seen: usize,
    /// Where a checkpoint would have a replay begin, and the records before that.
    from: Position,
    before: usize,
}

impl Promised {
    /// Takes in batches until all is seen or the power is gone.
    fn drain(&mut self, disk: &SimulatedDisk, written: &Receiver<Batch<()>>) -> Option<Batch<()>> {
        let mut last = None;
        while self.seen < self.submitted.len() {
            match written.recv_timeout(Duration::from_millis(1)) {
                Ok(batch) => {
                    self.seen += batch.count as usize;
                    last = Some(batch);
                }
                Err(RecvTimeoutError::Timeout) if !disk.is_cut() => {}
                Err(_) => break,
            }
        }
        last
    }
}

fn folder(disk: &SimulatedDisk) -> Result<std::sync::Arc<dyn Disk>, Violation> {
    disk.folder("journal").map_err(|error| error.to_string())
}

fn live(disk: &SimulatedDisk, dice: &mut Dice) -> Promised {
    let mut promised =
        Promised { submitted: Vec::new(), seen: 0, from: Position::START, before: 0 };
    for _ in 0..3 {
        let Ok(folder) = folder(disk) else { break };
        let Ok(opened) = EmbeddedJournal::<()>::open(folder, options(), promised.from) else {
            break;
        };
        let (sender, written) = channel();
        if opened.journal.start(Box::new(move |batch| drop(sender.send(batch)))).is_err() {
            break;
        }
        for number in 0..12 {
            for _ in 0..1 + dice.below(3) {
                let length = dice.below(900);
                let record = Bytes::from(vec![number as u8 ^ length as u8; length]);
                let lsn =
                    opened.journal.submit_with(None, &mut |_, out| out.extend_from_slice(&record));
                if let Ok(lsn) = lsn {
                    promised.submitted.push(record);
                    assert_eq!(lsn, Lsn(promised.submitted.len() as u64));
                }
            }
            if dice.odds(60) {
                promised.drain(disk, &written);
            }
            if dice.odds(20)
                && let Some(batch) = promised.drain(disk, &written)
                && promised.seen == promised.submitted.len()
            {
                promised.from = Position { batch: batch.number, lsn: batch.first_lsn };
                promised.before = batch.first_lsn.0 as usize - 1;
                // Without power it keeps more.
                opened.journal.trim(batch.number).ok();
            }
        }
        let closed = opened.journal.close();
        promised.drain(disk, &written);
        while let Ok(batch) = written.try_recv() {
            promised.seen += batch.count as usize;
        }
        if closed.is_err() {
            break;
        }
    }
    promised
}

fn check(disk: &SimulatedDisk, promised: &Promised) -> Result<(), Violation> {
    let said = |error: crate::store::error::StoreError| error.to_string();
    let opened =
        EmbeddedJournal::<()>::open(folder(disk)?, options(), promised.from).map_err(said)?;
    let mut found = Vec::new();
    for batch in opened.replay {
        let batch = batch.map_err(said)?;
        found.extend(batch.iter().map(|record| record.unwrap().1));
    }
    let known = promised.before + found.len();
    if known < promised.seen {
        return Err(format!("{known} of {} acknowledged records are left", promised.seen));
    }
    if promised.submitted.get(promised.before..known) != Some(&found[..]) {
        return Err(format!("other records than were submitted, of {known}"));
    }
    if opened.next.lsn.0 as usize != known + 1 {
        return Err(format!("{} follows {known} records", opened.next.lsn));
    }
    // It goes on, as a restart does: the last batch is copied.
    opened.journal.start(Box::new(drop)).map_err(said)?;
    opened.journal.close().map_err(said)
}

#[test]
fn a_cut_at_every_step_of_the_journal_loses_nothing_acknowledged() {
    for seed in seeds() {
        cut_everywhere(Trial::new(seed), live, check).unwrap();
    }
}

#[test]
fn a_journal_on_a_disk_that_lies_is_found_out() {
    is_caught(Lie::Syncs("journal"), live, check);
    is_caught(Lie::LateSyncs("journal"), live, check);
    is_caught(Lie::FolderSyncs("journal"), live, check);
}
