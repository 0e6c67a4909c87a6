//! Runs the seeds and findings of `tests/fuzz` through its targets, and changes of them, without a fuzzer: what was
//! found once stays found with stable Rust. `mqtt_connection` is replayed by the tests of `mqtt::play`.
//!
//! With `RIALTO_LONG` set in the environment, a hundred times as many changes.

#![allow(missing_docs, unreachable_pub, reason = "the library of another package, as a module")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::string_slice, reason = "none is sliced: bytes are")]

#[path = "fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// Changed inputs for each target.
const CHANGES: usize = 4_000;
/// Longest input that changes make: the fuzzer's own limit.
const BYTES_MAX: usize = 4096;

/// The inputs kept for `target`, by name.
fn kept(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs = Vec::new();
    for folder in ["seeds", "findings"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
        let Ok(entries) = fs::read_dir(folder.join(target)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            inputs.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    inputs.sort();
    inputs
}

#[test]
fn every_target_has_seeds_and_stands_them() {
    for (name, run) in TARGETS {
        let inputs = kept(name);
        assert!(!inputs.is_empty(), "{name} has no seeds");
        run(&[]);
        for (path, input) in inputs {
            println!("{}", path.display());
            run(&input);
        }
    }
}

#[test]
fn every_target_stands_its_seeds_changed() {
    let rounds = if std::env::var_os("RIALTO_LONG").is_some() { 100 * CHANGES } else { CHANGES };
    for (at, (name, run)) in TARGETS.iter().enumerate() {
        let inputs = kept(name);
        let mut dice = Dice(at as u64 + 1);
        for round in 0..rounds {
            let mut input = inputs[dice.below(inputs.len())].1.clone();
            for _ in 0..=dice.below(6) {
                change(&mut input, &mut dice);
            }
            input.truncate(BYTES_MAX);
            let told = std::panic::catch_unwind(|| run(&input));
            assert!(told.is_ok(), "{name}, round {round}: {}", escaped(&input));
        }
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect()
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 29
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// One change: a byte, a bit, a length turned extreme, bytes out, bytes in, the rest doubled.
fn change(input: &mut Vec<u8>, dice: &mut Dice) {
    if input.is_empty() {
        input.push(dice.next() as u8);
        return;
    }
    let at = dice.below(input.len());
    match dice.below(7) {
        0 => input[at] = dice.next() as u8,
        1 => input[at] ^= 1 << dice.below(8),
        2 => {
            let extreme = [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0], [0; 4]];
            let length = extreme[dice.below(4)];
            for (byte, new) in input[at..].iter_mut().zip(length) {
                *byte = new;
            }
        }
        3 => drop(input.drain(at..at + 1 + dice.below((input.len() - at).min(8)))),
        4 => drop(input.splice(at..at, (0..dice.below(9)).map(|n| n as u8).collect::<Vec<_>>())),
        5 => input.extend_from_within(at..),
        _ => input[at] = input[at].wrapping_add(1),
    }
}
