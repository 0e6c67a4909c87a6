//! Sockets, tasks and time; knows no protocol and no broker.
//!
//! - [`clock`] the only clock
//! - [`timer`] the one timer wheel
//! - [`workers`] one current-thread runtime a core; `rouser` wakes its tasks from other threads
//! - [`listener`] bind, accept, count
//! - [`driver`] the one connection loop: socket, engine, signals

pub mod clock;
pub mod driver;
pub mod listener;
mod rouser;
pub mod timer;
pub mod workers;
