//! The closed sets that labels come from. Part of `metrics`.
//!
//! A label never holds what a peer chose: a peer could then make as many time series as it likes.

use std::marker::PhantomData;

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// The label's name.
    const KEY: &'static str;
    /// Every value, in the order of [`index`](Self::index).
    const ALL: &'static [Self];
    /// The value as metrics show it.
    fn name(self) -> &'static str;
    /// Its place in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $key:literal, { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Which protocol a connection speaks.
    Protocol, "protocol", {
        /// MQTT, over TCP or TLS.
        Mqtt = "mqtt",
        /// AMQP 0-9-1, over TCP or TLS.
        Amqp = "amqp",
        /// The Kafka protocol.
        Kafka = "kafka",
    }
}

label! {
    /// Quality of service; other protocols count what is acknowledged as 1, what is not as 0.
    QosLabel, "qos", {
        /// At most once.
        Qos0 = "0",
        /// At least once.
        Qos1 = "1",
        /// Exactly once.
        Qos2 = "2",
    }
}

label! {
    /// Why a message did not reach a destination.
    DropReason, "reason", {
        /// The session's queue holds as many messages or bytes as it may.
        QueueFull = "queue_full",
        /// A slow client's outbound buffer is full (QoS 0).
        OutboundFull = "outbound_full",
        /// Its expiry passed while it waited.
        Expired = "expired",
        /// The rules refuse the publish.
        Acl = "acl",
        /// Larger than the subscriber's maximum packet size.
        PacketTooLarge = "packet_too_large",
        /// QoS 0 for a session that is not connected.
        Qos0Offline = "qos0_offline",
        /// Nobody subscribes to its topic.
        NoSubscriber = "no_subscriber",
        /// A route could not make its log name, key or partition.
        RouteFailed = "route_failed",
        /// Refused by the journal, which cannot write or has too little room.
        Journal = "journal",
        /// A route's log takes nothing, because its files cannot be written.
        LogFailed = "log_failed",
        /// Its topic has more levels than it may.
        TopicLevels = "topic_levels",
        /// One retained topic more than there may be.
        RetainedFull = "retained_full",
        /// Its topic or routing key has no counterpart on the other side of a route.
        Unmapped = "unmapped",
        /// Its session ended before it was delivered.
        SessionEnded = "session_ended",
        /// No memory or scratch space is left for transient messages.
        NoRoom = "no_room",
        /// All queues together hold as many bytes as they may, or a declared one as many as any may.
        QueuesFull = "queues_full",
        /// The oldest of a queue that holds as many as it was declared to, or of a session that drops the oldest.
        Overflow = "overflow",
        /// What the disk gives back is not what was written.
        Corrupt = "corrupt",
    }
}

label! {
    /// A limit of the configuration that refuses.
    Limit, "reason", {
        /// `listeners.connections_max`.
        Connections = "connections",
        /// `limits.connections_per_address_max`.
        ConnectionsPerAddress = "connections_per_address",
        /// `limits.connection_rate_per_address_max`.
        ConnectionRatePerAddress = "connection_rate_per_address",
        /// `limits.connections_per_user_max`.
        ConnectionsPerUser = "connections_per_user",
        /// `limits.connection_rate_per_user_max`.
        ConnectionRatePerUser = "connection_rate_per_user",
        /// `mqtt.packet_bytes_max`.
        PacketBytes = "packet_bytes",
        /// `mqtt.client_id_bytes_max`.
        ClientIdBytes = "client_id_bytes",
        /// `mqtt.topic_levels_max`.
        TopicLevels = "topic_levels",
        /// `mqtt.subscriptions_per_session_max`.
        Subscriptions = "subscriptions",
        /// `mqtt.receive_max`.
        ReceiveMax = "receive_max",
        /// `mqtt.message_rate_max`.
        MessageRate = "message_rate",
        /// `mqtt.byte_rate_max`.
        ByteRate = "byte_rate",
        /// `retained.messages_max`.
        RetainedMessages = "retained_messages",
        /// `retained.bytes_max`.
        RetainedBytes = "retained_bytes",
    }
}

label! {
    /// A rate for which clients are not read for a while.
    RateLimit, "reason", {
        /// `mqtt.message_rate_max`.
        Messages = "message_rate",
        /// `mqtt.byte_rate_max`.
        Bytes = "byte_rate",
    }
}

label! {
    /// Why a connection ended.
    CloseReason, "reason", {
        /// The client said goodbye.
        Client = "client",
        /// The client's socket closed or failed without a goodbye.
        Lost = "lost",
        /// Nothing came within one and a half keep alives.
        KeepAlive = "keep_alive",
        /// It did not log in in time.
        ConnectTimeout = "connect_timeout",
        /// Another connection took its session over.
        TakenOver = "taken_over",
        /// It broke the protocol.
        ProtocolError = "protocol_error",
        /// Its login or request was refused.
        NotAuthorized = "not_authorized",
        /// It read too slowly.
        SlowConsumer = "slow_consumer",
        /// More connections than there may be.
        Limit = "limit",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The broker stops.
        Shutdown = "shutdown",
        /// The broker's own fault, such as a disk that refuses.
        Broker = "broker",
    }
}

label! {
    /// How a peer broke its protocol.
    ErrorKind, "kind", {
        /// Bytes that are no packet or request.
        Malformed = "malformed",
        /// A packet that may not come here.
        Protocol = "protocol",
        /// Larger than allowed.
        TooLarge = "too_large",
        /// More unanswered packets than allowed.
        Overrun = "overrun",
        /// A version or request this broker does not speak.
        Unsupported = "unsupported",
    }
}

label! {
    /// Why a route could not carry a message.
    RouteFailure, "reason", {
        /// The message lacks a value that a template names.
        MissingValue = "missing_value",
        /// A template points into a payload that is not JSON.
        NotJson = "not_json",
        /// What a template gives is too long.
        TooLong = "too_long",
        /// What a template gives cannot be a log's name.
        BadLogName = "bad_log_name",
        /// What a template gives is no partition of the log.
        BadPartition = "bad_partition",
        /// The topic or routing key has no counterpart on the other side, or there is no such exchange.
        Unmapped = "unmapped",
        /// The log cannot be created or written.
        LogRefused = "log_refused",
        /// A key or header that a template names is no text.
        NotText = "not_text",
        /// The same route, or too many routes, brought the message out of a log before.
        Circle = "circle",
        /// A record's time to live was over before the route came to it.
        Expired = "expired",
        /// A record cannot be read.
        Corrupt = "corrupt",
        /// The log was trimmed before the route had read so far.
        Trimmed = "trimmed",
    }
}

/// One handle for each value of a label.
#[derive(Debug)]
pub struct PerLabel<A, T> {
    handles: Box<[T]>,
    label: PhantomData<fn(A)>,
}

impl<A: Label, T> PerLabel<A, T> {
    pub(crate) fn new<E>(mut make: impl FnMut(A) -> Result<T, E>) -> Result<Self, E> {
        let handles: Result<_, E> = A::ALL.iter().map(|a| make(*a)).collect();
        Ok(Self { handles: handles?, label: PhantomData })
    }

    /// The handle of one value.
    #[must_use]
    pub fn of(&self, value: A) -> &T {
        // One handle was made for each value, so the index is in range.
        &self.handles[value.index()]
    }
}

/// One handle for each pair of values of two labels.
#[derive(Debug)]
pub struct PerPair<A, B, T> {
    handles: Box<[T]>,
    labels: PhantomData<fn(A, B)>,
}

impl<A: Label, B: Label, T> PerPair<A, B, T> {
    pub(super) fn new<E>(mut make: impl FnMut(A, B) -> Result<T, E>) -> Result<Self, E> {
        let pairs = A::ALL.iter().flat_map(|a| B::ALL.iter().map(move |b| (*a, *b)));
        let handles: Result<_, E> = pairs.map(|(a, b)| make(a, b)).collect();
        Ok(Self { handles: handles?, labels: PhantomData })
    }

    /// The handle of one pair.
    #[must_use]
    pub fn of(&self, one: A, other: B) -> &T {
        // One handle was made for each pair, so the index is in range.
        &self.handles[one.index() * B::ALL.len() + other.index()]
    }
}
