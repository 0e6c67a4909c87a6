//! Routes: what an MQTT filter catches goes into a log. Above the broker; no protocol is imported.
//!
//! - [`file`] the files of `bridge-config/`: read, checked, compiled
//! - [`route`] one compiled route: from a message to log name, key and partition
//! - [`subscriber`] a route as the router sees it
//! - [`template`] texts with places to fill in, compiled against the route's filter
//! - [`json_pointer`] one scalar out of a payload, without building the rest
//! - [`partitioner`] which partition a key belongs to: the Java client's own hash
//!
//! Everything but [`file`] is pure. `docs/bridges.md` is the user's side.

pub mod file;
pub mod json_pointer;
pub mod partitioner;
pub mod route;
pub mod subscriber;
pub mod template;
