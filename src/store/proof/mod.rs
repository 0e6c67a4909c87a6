//! Power cuts before every operation of the disk, under each part of `store` alone. Part of `store`, for tests only.
//!
//! The whole of it, with checkpoints and replays, is cut in `broker::crash`; here a part that breaks its own promise is
//! named. Each cut is several lotteries over what was not synced, and what is left must be what the part promises, also
//! after a restart that is cut in turn. `RIALTO_LONG=1` tries many more lives.
//!
//! - [`journal`] batches, segments, spares, trims
//! - [`files`] body segments and partition files, as a checkpoint names them
//! - [`tables`] the database

mod files;
mod journal;
mod tables;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::store::disk::simulated::{Dice, Faults, Lie, SimulatedDisk};

/// What was promised and is not so.
type Violation = String;

/// More operations than any life of these tests has.
const OPERATIONS_MAX: u64 = 3_000;

/// How the tests try a part.
#[derive(Clone, Copy, Debug)]
struct Trial {
    seed: u64,
    /// Lotteries after each cut.
    cuts: u64,
    every: usize,
    lie: Option<Lie>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        Self { seed, cuts: 4, every: 1, lie: None }
    }
}

fn seeds() -> std::ops::Range<u64> {
    0..if std::env::var_os("RIALTO_LONG").is_some() { 8 } else { 2 }
}

/// A life on a disk whose power goes before each operation in turn. `live` gives what was promised by then; `check`
/// opens what a cut left of it, and may be cut itself: then it is asked again.
fn cut_everywhere<M>(
    trial: Trial,
    live: impl Fn(&SimulatedDisk, &mut Dice) -> M,
    check: impl Fn(&SimulatedDisk, &M) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut is_over = false;
    for at in (0..OPERATIONS_MAX).step_by(trial.every) {
        if is_over {
            return Ok(());
        }
        let mut once = || {
            let disk = SimulatedDisk::default();
            disk.inject(|faults: &mut Faults| {
                (faults.cut_after, faults.lie) = (Some(at), trial.lie);
                faults.dice = Some(Dice::new(trial.seed ^ at));
            });
            let promised = live(&disk, &mut Dice::new(trial.seed));
            is_over = !disk.is_cut();
            for cut in 0..trial.cuts {
                let mut dice = Dice::new(trial.seed ^ (at << 20) ^ cut);
                let mut left = disk.cut(dice.roll());
                left.inject(|faults| faults.cut_after = Some(dice.below(12) as u64));
                // A cut may fall into it; what it finds wrong before counts.
                let found = check(&left, &promised);
                if !left.is_cut() {
                    found?;
                }
                left = left.cut(dice.roll());
                check(&left, &promised)?;
            }
            Ok(())
        };
        let verdict = catch_unwind(AssertUnwindSafe(&mut once)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "it panics".to_owned()))
        });
        verdict.map_err(|violation| format!("{trial:?}, before operation {at}: {violation}"))?;
    }
    Err(format!("{trial:?}: more than {OPERATIONS_MAX} operations"))
}

/// A disk that lies so is found out within a few lives.
fn is_caught<M>(
    lie: Lie,
    live: impl Fn(&SimulatedDisk, &mut Dice) -> M + Copy,
    check: impl Fn(&SimulatedDisk, &M) -> Result<(), Violation> + Copy,
) {
    let found = (0..8).find_map(|seed| {
        let trial = Trial { lie: Some(lie), every: 3, ..Trial::new(seed) };
        cut_everywhere(trial, live, check).err()
    });
    assert!(found.is_some(), "{lie:?} goes unnoticed");
}
