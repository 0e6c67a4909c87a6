//! Routes: what an MQTT filter catches goes into a log or an exchange, what an exchange routes into the topic
//! tree, what a log holds into the topic tree or an exchange. Above the broker; no protocol is imported.
//!
//! - [`file`] the files of `bridge-config/`: read, checked, compiled
//! - [`route`] one compiled route: [`into_log`], [`into_exchange`], [`into_tree`] or [`out_of_log`]
//! - [`subscriber`] a route as the broker sees it, [`counters`] what it carried
//! - [`template`] texts with places to fill in, compiled against the route's filter; [`record_template`] those
//!   filled from records; [`places`] how both are written
//! - [`overlap`] routes that could feed each other
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
pub mod out_of_log;
pub mod overlap;
pub mod partitioner;
mod places;
pub mod record_template;
pub mod route;
pub mod subscriber;
pub mod template;
