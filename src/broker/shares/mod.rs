//! Share groups of MQTT: each message goes to one member (MQTT5-4.8.2). Part of `broker`.
//!
//! A group has a queue like those that clients declare, which only its filter leads to: members take turns at it, what
//! one does not acknowledge takes its old place when its connection goes, and with a durable session among the members
//! all of it goes through the journal. QoS 2 towards a durable session is different: what such a session takes over is
//! its own from then on, by a record, because nobody else may have it any more [MQTT-4.8.2-4, 4.8.2-5].
//!
//! - [`registry`] the groups and who is in them, [`verbs`] joining and leaving
//! - [`member`] a member as its group's queue sees it
//! - [`holding`] what a connection holds of groups
//! - [`serve`] what a connection's task does for its groups; [`restart`] groups from disk

pub mod holding;
pub mod member;
pub mod registry;
pub mod restart;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod verbs;
