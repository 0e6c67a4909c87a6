//! Body segments and partition files: what a checkpoint was told to count on is there, byte for byte. Part of
//! `store::proof`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Trial, Violation, cut_everywhere, is_caught, seeds};
use crate::store::bodies::{BodyOptions, BodyRef, BodyStore};
use crate::store::disk::Disk;
use crate::store::disk::simulated::{Dice, Lie, SimulatedDisk};
use crate::store::error::StoreError;
use crate::store::partition::PartitionOptions;
use crate::store::partition::files::PartitionFiles;

const BODIES: BodyOptions = BodyOptions { segment_bytes: 3_000, handles_max: 2 };
const FILES: PartitionOptions = PartitionOptions {
    segment_bytes: 3_000,
    segment_ms: u64::MAX,
    index_interval_bytes: 300,
    write_bytes: 700,
};

/// What a checkpoint carries.
#[derive(Clone, Default)]
struct Checkpoint {
    listed: BTreeMap<u32, u64>,
    bodies: Vec<(BodyRef, Bytes)>,
    lengths: Vec<(i64, u64)>,
    batches: Vec<Vec<u8>>,
}

/// The last checkpoint that was said to be durable.
type Promised = Checkpoint;

fn said(error: &StoreError) -> Violation {
    error.to_string()
}

/// A batch of one record, as far as files look into one.
fn batch(offset: i64, body: usize) -> Vec<u8> {
    let mut bytes = vec![offset as u8; 61 + body];
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&(49 + body as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&0i32.to_be_bytes());
    bytes[35..43].copy_from_slice(&offset.to_be_bytes());
    bytes
}

struct Opened {
    bodies: std::sync::Arc<BodyStore>,
    files: PartitionFiles,
}

fn open(disk: &SimulatedDisk, checkpoint: &Checkpoint) -> Result<Opened, Violation> {
    let folder = |name: &str| disk.folder(name).map_err(|error| error.to_string());
    let bodies = BodyStore::open(folder("bodies")?, BODIES, checkpoint.listed.clone());
    let files = PartitionFiles::open(folder("logs")?, FILES, &checkpoint.lengths);
    Ok(Opened {
        bodies: bodies.map_err(|error| said(&error))?,
        files: files.map_err(|error| said(&error))?,
    })
}

/// Writes a checkpoint that follows `before`.
fn advance(
    opened: &Opened,
    before: &Checkpoint,
    dice: &mut Dice,
) -> Result<Checkpoint, StoreError> {
    let mut after = before.clone();
    let mut writer = opened.bodies.writer();
    for _ in 0..dice.below(12) {
        let body = Bytes::from(vec![dice.below(256) as u8; dice.below(900)]);
        after.bodies.push((writer.append(&body)?, body));
    }
    for _ in 0..dice.below(12) {
        let offset = after.batches.len() as i64;
        let bytes = batch(offset, dice.below(600));
        opened.files.append(offset, offset, offset, [&bytes, &[]])?;
        after.batches.push(bytes);
    }
    after.lengths = opened.files.valid_lengths();
    after.listed.extend(writer.finish()?);
    opened.files.sync()?;
    Ok(after)
}

fn live(disk: &SimulatedDisk, dice: &mut Dice) -> Promised {
    let mut current = Checkpoint::default();
    for _ in 0..3 {
        let Ok(opened) = open(disk, &current) else { break };
        for _ in 0..4 {
            let Ok(mut next) = advance(&opened, &current, dice) else { return current };
            // The oldest segment dies with this checkpoint: nothing names it, then it goes.
            let oldest = next.listed.keys().next().copied();
            let dead = oldest.filter(|_| next.listed.len() > 3 && dice.odds(50));
            if let Some(dead) = dead {
                next.bodies.retain(|(place, _)| place.segment != dead);
                next.listed.remove(&dead);
            }
            current = next;
            if let Some(dead) = dead
                && opened.bodies.unlink(dead).is_err()
            {
                return current;
            }
        }
        // What comes after the last checkpoint does not count, however it got there.
        advance(&opened, &current, dice).ok();
    }
    current
}

fn check(disk: &SimulatedDisk, promised: &Promised) -> Result<(), Violation> {
    let opened = open(disk, promised)?;
    for (place, body) in &promised.bodies {
        let found = opened.bodies.read(*place).map_err(|error| said(&error))?;
        if found != body {
            return Err(format!("another body at {place:?}"));
        }
    }
    let end = promised.batches.len() as i64;
    let next = opened.files.next_offset().unwrap_or(0);
    if next != end {
        return Err(format!("the log ends at {next}, not at {end}"));
    }
    let (mut read, mut from) = (Vec::new(), 0usize);
    while from < promised.batches.len() {
        let bytes = opened.files.read(from as i64, 1, end).map_err(|error| said(&error))?;
        if bytes.is_empty() {
            return Err(format!("offset {from} is gone"));
        }
        read.extend_from_slice(&bytes);
        from += 1;
    }
    if read != promised.batches.concat() {
        return Err("other batches than were appended".to_owned());
    }
    Ok(())
}

#[test]
fn a_cut_at_every_step_leaves_what_a_checkpoint_counts_on() {
    for seed in seeds() {
        cut_everywhere(Trial::new(seed), live, check).unwrap();
    }
}

#[test]
fn files_on_a_disk_that_lies_are_found_out() {
    for folder in ["bodies", "logs"] {
        is_caught(Lie::Syncs(folder), live, check);
        is_caught(Lie::FolderSyncs(folder), live, check);
    }
}
