//! Clients that do anything, against a whole broker in memory: what they are sent is checked packet by packet, and
//! what they were promised at the end. Part of `mqtt`; for tests and the fuzz targets of `tests/fuzz` only.
//!
//! A play is read from bytes, so that a fuzzer can write one. A *keeper* has a durable session with `#` at QoS 2 and
//! obeys the protocol; *players* share two client identifiers, obey it or do not, and may send any bytes. Time passes,
//! the journal is synced and the power goes when the play says so.
//!
//! - `script` choices out of bytes; `steps` what they lead to
//! - `say` packets of clients; `hear` those of the server, by another reading of the specification than the codec's
//! - `world` the broker and its connections, as the server's loop drives them; `ending` what an end means
//! - `peer` one connection as its client sees it; `mind` what a client knows beyond it
//! - `hearing` what each packet heard must be; `ledger` who must have got which message, and which wills

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a play that fails panics")]

mod ending;
mod hear;
mod hearing;
mod ledger;
mod mind;
mod peer;
mod say;
mod script;
mod steps;
#[cfg(test)]
mod tests;
mod world;

use std::sync::LazyLock;

use self::script::Script;
use self::world::World;

/// Steps of a play; what follows them is not read.
const STEPS_MAX: usize = 150;

/// Says what happens, to whoever looks at one play: with `RIALTO_PLAY` set in the environment.
#[allow(clippy::print_stdout, reason = "asked for")]
fn tell(what: impl FnOnce() -> String) {
    static IS_WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("RIALTO_PLAY").is_some());
    if *IS_WANTED {
        println!("{}", what());
    }
}

/// Runs the play that `data` tells.
///
/// # Panics
/// The broker did what it must not.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
    }
    world.finish();
}
