//! Queues that clients declare by name and share: many consumers take turns, what is returned keeps its place.
//!
//! All of a queue is under one lock; whoever has reason to hands out what is ready under it ([`dispatch`]), so
//! the order is strict. Persistent messages of a durable queue get their positions from `apply`; all others get
//! theirs when they are published and live in memory, beyond a budget in `store::scratch`.
//!
//! - [`place`] a message's place among durable and transient ones
//! - [`arguments`], [`settings`] what a declaration says
//! - [`queue`] one queue, [`ledger`] where each of its messages stands
//! - [`registry`] all of them, [`keeping`] what they share
//! - [`consumers`] who takes turns
//! - [`deliver`] what is published and not journaled
//! - [`paged`] what is done to messages whose pages are on disk only
//! - [`dispatch`] ready messages to consumers, [`fetch`] one to whoever asks
//! - [`settle`] acknowledged, returned, purged
//! - [`shared`] what is different for the queue of a share group
//! - [`verbs`] what connections call
//! - [`frozen`] what a checkpoint keeps, [`row`] its declarations

pub mod arguments;
pub mod consumers;
pub mod deliver;
pub mod dispatch;
pub mod fetch;
pub mod frozen;
pub mod keeping;
pub mod ledger;
pub mod paged;
pub mod place;
pub mod queue;
pub mod registry;
pub mod row;
pub mod settings;
pub mod settle;
pub mod shared;
pub mod verbs;

#[cfg(test)]
mod tests;
