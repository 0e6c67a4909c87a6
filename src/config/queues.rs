//! `[queues]`: what all queues together may hold, and what happens beyond. Part of `config`.

use serde::{Deserialize, Serialize};

use crate::config::byte_size;
use crate::config::source::Fault;

/// `[queues]`: durable sessions and durable AMQP queues alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueuesSection {
    /// Bytes of durable messages that wait in queues, one that waits in several counted in each; 0 sets no bound but
    /// the disk's. Default 0.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub bytes_max: u64,
    /// What happens to a durable message for which there is no room. Default `refuse`.
    pub overflow: Overflow,
}

/// What happens to messages beyond a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The publisher is told, or, where its protocol has no word for that, not read.
    #[default]
    Refuse,
    /// The queues do not get the message; it is acknowledged and counted.
    DropNewest,
}

impl QueuesSection {
    /// Adds what is out of range.
    pub fn check(&self, faults: &mut Vec<Fault>) {
        const MIB: u64 = 1 << 20;
        if self.bytes_max > 0 && self.bytes_max < MIB {
            let text = format!("{} is neither 0 nor at least {MIB}", self.bytes_max);
            faults.push(Fault::new("queues.bytes_max", text));
        }
    }
}
