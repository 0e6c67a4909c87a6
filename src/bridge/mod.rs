//! Routes: what an MQTT filter catches goes into a log or an exchange, what an exchange routes into the topic
//! tree. Above the broker; no protocol is imported.
//!
//! - [`file`] the files of `bridge-config/`: read, checked, compiled
//! - [`route`] one compiled route: [`into_log`], [`into_exchange`] or [`into_tree`]
//! - [`subscriber`] a route as the broker sees it, [`counters`] what it carried
//! - [`template`] texts with places to fill in, compiled against the route's filter
//! - [`json_pointer`] one scalar out of a payload, without building the rest
//! - [`partitioner`] which partition a key belongs to: the Java client's own hash
//!
//! Everything but [`file`] is pure. `docs/bridges.md` is the user's side.

pub mod counters;
pub mod file;
pub mod into_exchange;
pub mod into_log;
pub mod into_tree;
pub mod json_pointer;
pub mod partitioner;
pub mod route;
pub mod subscriber;
pub mod template;
