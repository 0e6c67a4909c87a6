//! The domain, in no protocol's words.
//!
//! - [`logs`] partitioned logs: batches by offset

pub mod logs;
