//! The domain, in no protocol's words: what a publish, a subscription, a session, a log is.
//!
//! Connections call the verbs of [`Broker`]; every verb takes the principal and asks. Durable changes are
//! [`record`]s: submitted to the journal, applied in order by one thread ([`apply`]), frozen by
//! [`checkpoint`]s. Lock order: retained slot → journal submit → router → session → outbound buffer; no
//! lock is held across a disk read or write.
//!
//! - [`message`], [`record`] the bytes of a message and of a journal record
//! - [`consumer`] the seam to a connection: deliver, wake, complete
//! - [`router`] topic filters to destinations
//! - [`sessions`], [`queues`], [`retained`], [`logs`], [`sets`] the state
//! - [`publish`], [`connect`], [`subscribe`], [`settle`], [`append`] the verbs
//! - [`apply`], [`checkpoint`], [`restore`] records to state, state to disk, disk to state

pub mod consumer;
pub mod message;
pub mod queues;
pub mod record;
pub mod router;
pub mod sessions;
pub mod logs;
