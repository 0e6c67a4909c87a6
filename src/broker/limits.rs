//! What delivery and apply are bounded by. Part of `broker`.

use super::backlog::BacklogLimits;
use super::fanout::QueueLimits;
use super::groups::limits::GroupLimits;
use super::retained::room::RetainedLimits;
use crate::model::turns::Turns;

/// Limits of sessions, retained messages, logs and groups. Those that apply uses reach it as records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of one session's queue.
    pub queue: QueueLimits,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Levels of a topic or filter.
    pub topic_levels_max: usize,
    /// Retained messages.
    pub retained: RetainedLimits,
    /// Session expiry interval granted at most, seconds.
    pub session_expiry_s_max: u32,
    /// Logs.
    pub logs_max: usize,
    /// Partitions of one log.
    pub partitions_max: u32,
    /// Partitions of a log that does not say.
    pub default_partitions: u32,
    /// How often logs are looked through for what they keep no longer, ms.
    pub retention_check_ms: u64,
    /// Memory for bodies of transient messages in declared queues, bytes; beyond it they go to the scratch folder.
    pub transient_bytes_max: usize,
    /// Memory for messages in sessions that end with their connections, and of QoS 0 behind others, bytes.
    pub volatile_bytes_max: usize,
    /// Memory for the indexes of durable queues, bytes; beyond it their pages are on disk only.
    pub queue_index_bytes_max: usize,
    /// What waits in durable queues.
    pub backlog: BacklogLimits,
    /// How share groups spread messages over their members.
    pub share_turns: Turns,
    /// Groups and their offsets.
    pub groups: GroupLimits,
}
