//! One struct a section of the configuration, one documented field a key: effect, unit, default. Part of `config`.
//!
//! Numbers carry their unit, then `max` for a limit: `packet_bytes_max`, `interval_s`. An empty text means "not
//! set", so that every key can be shown with its default. `docs/configuration.md` is the reference for users.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::address::ListenAddress;
use crate::config::byte_size;
use crate::config::limits::{RateOverflow, SessionOverflow};
use crate::model::turns::Turns;

/// `[listeners]`: `host:port`, `:port` for loopback, `[IPv6]:port`, or `off`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenersSection {
    /// MQTT over TCP. Default `127.0.0.1:1883`.
    pub mqtt: ListenAddress,
    /// MQTT over TLS. Default `127.0.0.1:8883`.
    pub mqtts: ListenAddress,
    /// AMQP 0-9-1 over TCP. Default `127.0.0.1:5672`.
    pub amqp: ListenAddress,
    /// AMQP 0-9-1 over TLS. Default `127.0.0.1:5671`.
    pub amqps: ListenAddress,
    /// Kafka protocol. Default `127.0.0.1:9092`.
    pub kafka: ListenAddress,
    /// HTTP: `/metrics`, `/healthz`, `/readyz`. Default `127.0.0.1:15672`.
    pub admin: ListenAddress,
    /// Connections open at once over all listeners; more are closed at once and counted. Default 100,000.
    pub connections_max: usize,
}

impl Default for ListenersSection {
    fn default() -> Self {
        Self {
            mqtt: ListenAddress::loopback(1883),
            mqtts: ListenAddress::loopback(8883),
            amqp: ListenAddress::loopback(5672),
            amqps: ListenAddress::loopback(5671),
            kafka: ListenAddress::loopback(9092),
            admin: ListenAddress::loopback(15672),
            connections_max: 100_000,
        }
    }
}

/// `[tls]`: files are relative to `certs` unless absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// Certificate chain of the server, PEM. Default `server.crt`.
    pub certificate: PathBuf,
    /// Its private key, PEM. Default `server.key`.
    pub key: PathBuf,
    /// Authorities whose client certificates are accepted, PEM. Default `ca.crt`.
    pub client_ca: PathBuf,
    /// Whether clients show a certificate. Default `off`.
    pub client_certificate: ClientCertificate,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self {
            certificate: PathBuf::from("server.crt"),
            key: PathBuf::from("server.key"),
            client_ca: PathBuf::from("ca.crt"),
            client_certificate: ClientCertificate::Off,
        }
    }
}

/// Whether TLS clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; a client without one may still connect, one with a bad one may not.
    Optional,
    /// No connection without one that `client_ca` vouches for.
    Required,
}

/// Who may connect without logging in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// As `loopback` while there is no password file, as `never` once there is one.
    #[default]
    Auto,
    /// Nobody.
    Never,
    /// Peers whose address is a loopback address.
    Loopback,
    /// Everybody who can reach a listener.
    Everywhere,
}

/// `[mqtt]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttSection {
    /// Largest control packet a client may send, bytes. Default 1 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub packet_bytes_max: usize,
    /// Longest client identifier, bytes. Default 1,024.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub client_id_bytes_max: usize,
    /// Most levels in a topic or filter. Default 256.
    pub topic_levels_max: usize,
    /// Most subscriptions of one session. Default 10,000.
    pub subscriptions_per_session_max: usize,
    /// QoS 1 and 2 publishes a client may have unanswered (Receive Maximum of CONNACK). Default 1,024.
    pub receive_max: u16,
    /// Topic aliases a client may use (Topic Alias Maximum of CONNACK); 0 for none. Default 64.
    pub topic_alias_max: u16,
    /// Topic aliases that the broker uses towards a client, as far as the client takes any; 0 for none. Default 64.
    pub topic_alias_max_out: u16,
    /// QoS 1 and 2 messages sent to a client and not yet acknowledged; a client's own Receive Maximum lowers
    /// it. Default 1,024.
    pub inflight_max: u16,
    /// Messages waiting in one session; what happens to more says `queue_overflow`. Default 100,000.
    pub queued_messages_max: usize,
    /// Bytes waiting in one session. Default 128 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub queued_bytes_max: usize,
    /// Which message goes when a session is full: it is dropped and counted. Default `drop-newest`.
    pub queue_overflow: SessionOverflow,
    /// Memory for messages that wait in sessions which end with their connections, all together, bytes; what is more is
    /// dropped and counted. Default 256 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub memory_bytes_max: usize,
    /// How a share group (`$share/{name}/{filter}`) spreads messages over its members: `least-outstanding`,
    /// `round-robin`, `hash-client` or `hash-topic`; the hashes keep the order of a publisher or a topic. Default
    /// `least-outstanding`.
    pub shared_strategy: Turns,
    /// Longest session expiry granted, seconds; 4294967295 grants "never". Default 4294967295.
    pub session_expiry_s_max: u32,
    /// Bytes of encoded packets that wait for a slow client's socket; QoS 0 beyond it is dropped and counted.
    /// Default 1 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub outbound_buffer_bytes_max: usize,
    /// How long a connection may take to send its CONNECT, ms. Default 10,000.
    pub connect_timeout_ms: u64,
    /// Longest keep alive, seconds; longer ones and 0 are lowered to it for MQTT 5 clients (Server Keep Alive).
    /// 0 leaves the client's choice. Default 0.
    pub keep_alive_s_max: u16,
    /// What MQTT 5 clients that ask for it build their response topics from, with `{clientid}` and `{username}`, such
    /// as `replies/{clientid}/`. Default empty: nothing is sent.
    pub response_information: String,
    /// Messages a second that one client may publish, a second's worth at once; 0 sets no bound. Default 0.
    pub message_rate_max: u32,
    /// Bytes a second that one client may send, a second's worth at once; 0 sets no bound. Default 0.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub byte_rate_max: u64,
    /// What happens to a client that is faster. Default `slow`.
    pub rate_overflow: RateOverflow,
    /// Between two looks at what `$SYS` says, seconds; 0: nothing is published there. Default 10.
    pub sys_interval_s: u32,
}

impl Default for MqttSection {
    fn default() -> Self {
        Self {
            packet_bytes_max: 1 << 20,
            client_id_bytes_max: 1024,
            topic_levels_max: 256,
            subscriptions_per_session_max: 10_000,
            receive_max: 1024,
            topic_alias_max: 64,
            topic_alias_max_out: 64,
            inflight_max: 1024,
            queued_messages_max: 100_000,
            queued_bytes_max: 128 << 20,
            queue_overflow: SessionOverflow::default(),
            memory_bytes_max: 256 << 20,
            shared_strategy: Turns::LeastOutstanding,
            session_expiry_s_max: u32::MAX,
            outbound_buffer_bytes_max: 1 << 20,
            connect_timeout_ms: 10_000,
            keep_alive_s_max: 0,
            response_information: String::new(),
            message_rate_max: 0,
            byte_rate_max: 0,
            rate_overflow: RateOverflow::default(),
            sys_interval_s: 10,
        }
    }
}

/// `[retained]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetainedSection {
    /// Topics that may hold a retained message. Default 1,000,000.
    pub messages_max: usize,
    /// Bytes of retained messages beyond which no further topic may hold one. Default 1 GiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub bytes_max: u64,
}

impl Default for RetainedSection {
    fn default() -> Self {
        Self { messages_max: 1_000_000, bytes_max: 1 << 30 }
    }
}

/// `[logs]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsSection {
    /// Partitions of a log created without saying how many. Default 1.
    pub default_partitions: u32,
    /// Whether a log is created when a client first names it. Routes always create theirs. Default true.
    pub auto_create: bool,
    /// Most logs. Default 10,000.
    pub logs_max: usize,
    /// Most partitions of one log. Default 1,024.
    pub partitions_max: u32,
    /// A partition's file is closed and the next begun at this size, bytes. Default 128 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub segment_bytes: u64,
    /// A partition's file is also closed when a batch is so much younger than its first one, ms. Default 7 days.
    pub segment_ms: u64,
    /// How long a log that does not say keeps its records, by their timestamps, ms; −1 for ever. Default 7 days.
    pub retention_ms: i64,
    /// How many bytes a partition of a log that does not say keeps; −1 for all. Default −1.
    pub retention_bytes: i64,
    /// How often logs are looked through for what they keep no longer, ms. Default 5 minutes.
    pub retention_check_ms: u64,
    /// The most that a compressed batch may unpack to while it is checked, bytes. Default 128 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub unpacked_bytes_max: u64,
}

impl Default for LogsSection {
    fn default() -> Self {
        Self {
            default_partitions: 1,
            auto_create: true,
            logs_max: 10_000,
            partitions_max: 1024,
            segment_bytes: 128 << 20,
            segment_ms: 604_800_000,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            retention_check_ms: 300_000,
            unpacked_bytes_max: 128 << 20,
        }
    }
}

/// `[journal]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSection {
    /// What an acknowledgement means. Default `fsync`.
    pub durability: Durability,
    /// Size of a journal file, allocated ahead, bytes. Default 64 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub segment_bytes: u64,
    /// Bytes submitted and not yet applied; beyond it publishers are not read. Default 64 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub submit_bytes_max: usize,
    /// Bytes written and synced at once. Default 8 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub batch_bytes_max: usize,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            segment_bytes: 64 << 20,
            submit_bytes_max: 64 << 20,
            batch_bytes_max: 8 << 20,
        }
    }
}

/// What must have happened before an acknowledgement leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Written and synced: survives a power cut.
    #[default]
    Fsync,
    /// Written: survives the death of this process, not of the machine.
    Os,
}

/// `[checkpoint]`: whichever comes first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Time between checkpoints, seconds. Default 30.
    pub interval_s: u64,
    /// Bytes of journal between checkpoints. Default 256 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub journal_bytes: u64,
    /// Bytes of queued messages in memory that are on no disk but the journal's. Default 16 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub memory_bytes: u64,
    /// Bytes that a checkpoint copies at most out of mostly dead files of message bodies. Default 16 MiB; 0: none.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub compaction_bytes_max: u64,
    /// Length of a file of message bodies. Default 64 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub body_segment_bytes: u64,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self {
            interval_s: 30,
            journal_bytes: 256 << 20,
            memory_bytes: 16 << 20,
            compaction_bytes_max: 16 << 20,
            body_segment_bytes: 64 << 20,
        }
    }
}

/// `[store]`: the data directory's file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// With less room than this, publishers are refused as if the disk were full, so that what frees room still can;
    /// 0 never does. Default 256 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub free_bytes_min: u64,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { free_bytes_min: 256 << 20 }
    }
}

/// `[memory]`: budgets that all clients share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySection {
    /// Indexes of durable sessions and queues, bytes: what is more is on disk only, and read when somebody consumes it.
    /// Default 64 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub queue_index_bytes_max: usize,
}

impl Default for MemorySection {
    fn default() -> Self {
        Self { queue_index_bytes_max: 64 << 20 }
    }
}

/// `[log]`: the broker's own messages, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// For people or for programs. Default `human`.
    pub format: LogFormat,
    /// Level, or directives by module as `RUST_LOG` takes them; `RUST_LOG` wins. Default `info`.
    pub level: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line each.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}
