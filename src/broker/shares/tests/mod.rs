//! What members of a share group get, keep and give back. Part of `broker::shares`.
//!
//! - `members` one sentence of `docs/guarantees.md` or of MQTT5-4.8.2 each
//! - `random` groups against what everybody was promised, with restarts

mod members;
mod random;
