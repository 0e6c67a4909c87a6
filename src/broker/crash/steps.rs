//! A cut at every step: the same scenario again and again, and each time the power goes, or the disk fails, one
//! operation later. Part of the crash tests of `broker`.
//!
//! Each end of the power is looked at several times, with another lottery over what was not synced; and the restart
//! after it is cut as well. `RIALTO_LONG=1` plays many more scenarios.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::exactly::hear;
use super::found::{Promised, found};
use super::mutation::Mutation;
use super::run::{Failed, Running};
use super::{EXTRAS, Step, TOPICS};
use crate::broker::testbed::Violation;
use crate::store::disk::simulated::{Dice, EIO, ENOSPC, Faults, Lie, Outage, SimulatedDisk};

/// What is played, and what goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) steps: usize,
    pub(super) mutation: Mutation,
    pub(super) lie: Option<Lie>,
    /// Each so manieth operation is one to be cut at.
    pub(super) every: usize,
    /// How many lotteries each cut is.
    pub(super) cuts: u64,
}

impl Scenario {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, steps: 60, mutation: Mutation::None, lie: None, every: 1, cuts: 3 }
    }

    fn plan(&self) -> Vec<Step> {
        let mut dice = Dice::new(self.seed);
        (0..self.steps).map(|_| step(&mut dice)).collect()
    }

    /// Steps that may wait for their acknowledgement: a few make small batches, many large ones.
    fn outstanding(&self) -> usize {
        Dice::new(!self.seed).pick(&[1, 3, 12])
    }
}

/// A step, in the proportions of the random tests.
fn step(dice: &mut Dice) -> Step {
    match dice.below(48) {
        0..16 => Step::Publish {
            topic: dice.below(TOPICS.len()),
            retain: dice.odds(50),
            length: dice.below(400),
            by_exchange: dice.odds(50),
        },
        16 => Step::Transient { length: dice.below(400) },
        17..20 => Step::Take { count: 1 + dice.below(11) },
        20..23 => Step::Fetch { count: 1 + dice.below(19) },
        23..25 => Step::Bind { extra: dice.below(EXTRAS.len()) },
        25 => Step::Delete { extra: dice.below(EXTRAS.len()) },
        26..34 => Step::Produce { again: dice.odds(20) },
        34..38 => Step::Commit { put: dice.odds(20) },
        38 => Step::TakeIds,
        39..46 => Step::Exactly,
        _ => Step::Reconnect,
    }
}

/// How a life of the broker ended.
struct Ended {
    disk: SimulatedDisk,
    promised: Promised,
    /// Operations of the disk since it was prepared.
    operations: u64,
}

/// Plays the scenario on a disk with `faults`.
fn play(
    scenario: &Scenario,
    faults: impl FnOnce(&mut Faults),
    lenient: bool,
) -> Result<Ended, Violation> {
    let disk = SimulatedDisk::default();
    let mut promised = Promised { lenient, ..Promised::default() };
    let running = started(Running::start_mutated(&disk, scenario.mutation, |_| Ok(())))?
        .ok_or("no power at the beginning")?;
    running.prepare();
    let before = disk.operations();
    disk.inject(|all| {
        all.dice = Some(Dice::new(scenario.seed));
        all.lie = scenario.lie;
        if scenario.mutation == Mutation::SwapRecords {
            all.sync_delay = Duration::from_micros(300);
        }
        faults(all);
    });
    let awaited = running.work(&disk, &scenario.plan(), &mut promised, scenario.outstanding());
    // From here on its threads have nothing that a client could be told.
    running.stop();
    awaited.into_iter().for_each(|one| one.collect(&mut promised));
    hear(&mut promised);
    let operations = disk.operations() - before;
    Ok(Ended { disk, promised, operations })
}

/// `None` when the power went.
fn started(outcome: Result<Running, Failed>) -> Result<Option<Running>, Violation> {
    match outcome {
        Ok(running) => Ok(Some(running)),
        Err(Failed::Power(_)) => Ok(None),
        Err(Failed::Violation(violation)) => Err(violation),
    }
}

/// What several cuts leave of `ended` keeps the promise: at once, after a restart that is cut in turn, and after one
/// that is not.
fn check_cuts(scenario: &Scenario, ended: &Ended, at: u64) -> Result<(), Violation> {
    for cut in 0..scenario.cuts {
        let mut dice = Dice::new(scenario.seed ^ (at << 20) ^ cut);
        let mut disk = ended.disk.cut(dice.roll());
        for operations in [Some(dice.below(40) as u64), None] {
            disk.inject(|faults| faults.cut_after = operations);
            let found = Running::start(&disk, |broker| found(broker)?.check(&ended.promised));
            if let Some(running) = started(found)? {
                running.stop();
            }
            disk = disk.cut(dice.roll());
        }
    }
    Ok(())
}

/// A panic is a violation too.
fn verdict(run: impl FnOnce() -> Result<(), Violation>) -> Result<(), Violation> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "it panics".to_owned()))
    })
}

/// Cuts the power before every operation of the scenario.
pub(super) fn cut_everywhere(scenario: &Scenario) -> Result<(), Violation> {
    let mut last = u64::MAX;
    for at in (0..).step_by(scenario.every).take_while(|at| *at <= 5_000) {
        if at > last {
            break;
        }
        verdict(|| {
            let ended = play(scenario, |faults| faults.cut_after = Some(at), false)?;
            // It came to its end with power to spare.
            if ended.operations < at {
                last = last.min(at);
            }
            check_cuts(scenario, &ended, at)
        })
        .map_err(|violation| format!("{scenario:?}, cut before operation {at}: {violation}"))?;
    }
    Ok(())
}

/// Lets every operation fail, and some after it; then the disk is well again, or the power goes.
fn fail_everywhere(scenario: &Scenario, code: i32) -> Result<(), Violation> {
    let mut last = u64::MAX;
    for at in (0..).step_by(scenario.every).take_while(|at| *at <= 5_000) {
        if at > last {
            break;
        }
        let mut dice = Dice::new(scenario.seed ^ at);
        let count = dice.pick(&[1, 1, 3, 10, 40]);
        let cut_after = dice.odds(40).then(|| at + 1 + dice.below(60) as u64);
        let outage = Outage { after: at, count, code };
        verdict(|| {
            let faults = |faults: &mut Faults| {
                (faults.outage, faults.cut_after) = (Some(outage), cut_after);
            };
            let ended = play(scenario, faults, true)?;
            if ended.operations < at {
                last = last.min(at);
            }
            check_cuts(scenario, &ended, at)
        })
        .map_err(|violation| format!("{scenario:?}, {outage:?}, {cut_after:?}: {violation}"))?;
    }
    Ok(())
}

fn is_long() -> bool {
    std::env::var_os("RIALTO_LONG").is_some()
}

#[test]
fn a_cut_at_every_step_loses_nothing_acknowledged() {
    for seed in 0..if is_long() { 12 } else { 2 } {
        cut_everywhere(&Scenario::new(seed)).unwrap();
    }
}

#[test]
fn a_failure_at_every_step_loses_nothing_acknowledged() {
    for seed in 0..if is_long() { 6 } else { 1 } {
        for code in [EIO, ENOSPC] {
            let scenario = Scenario { cuts: 1, steps: 40, ..Scenario::new(1_000 + seed) };
            fail_everywhere(&scenario, code).unwrap();
        }
    }
}
