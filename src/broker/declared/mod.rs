//! Queues that clients declare by name and share: many consumers take turns, what is returned keeps its place.
//!
//! - [`place`] a message's place among durable and transient ones
//! - [`queue`] one queue
//!
//! Part of `broker`.

pub mod place;
pub mod queue;
