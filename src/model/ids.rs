//! Identifiers as newtypes, so that a log id is never taken for a session id. Part of `model`.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Log sequence number: a record's place in the journal, counted in records from 1.
    Lsn(u64)
}
id! {
    /// The shard a durable key belongs to. Always 0 until a journal is kept in several partitions.
    ShardId(u16)
}
id! {
    /// A queue: an MQTT session's or a declared one. Never reused within a data directory.
    QueueId(u64)
}
id! {
    /// A log (a Kafka topic). Never reused within a data directory.
    LogId(u32)
}
id! {
    /// An interned set of durable destinations. Never reused within a data directory.
    SetId(u64)
}

id! {
    /// A connection, as long as the process lives. Never reused meanwhile.
    ConnectionId(u64)
}
id! {
    /// A consumer of a declared queue, as long as the process lives. Never reused meanwhile.
    ConsumerId(u64)
}
id! {
    /// A consumer group, as long as the process lives. Never reused meanwhile.
    GroupId(u64)
}

/// The only shard there is today.
pub const SHARD: ShardId = ShardId(0);

/// The vhost (AMQP) or mount point (MQTT) that a name lives in; `/` by default.
pub const DEFAULT_VHOST: &str = "/";
