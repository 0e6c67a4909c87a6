//! Sockets, tasks and time; knows no protocol and no broker.
//!
//! - [`clock`] the only clock
//! - [`timer`] the one timer wheel
//! - [`workers`] one current-thread runtime a core; `rouser` wakes its tasks from other threads
//! - [`listener`] bind, accept, count
//! - [`admission`] how many connections one address and one user hold
//! - [`bucket`] a rate with a burst
//! - [`open_files`] how many there may be
//! - [`driver`] the one connection loop: socket, engine, signals

pub mod admission;
pub mod bucket;
pub mod clock;
pub mod driver;
pub mod listener;
pub mod open_files;
mod rouser;
pub mod timer;
pub mod workers;
