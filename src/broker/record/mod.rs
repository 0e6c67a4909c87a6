//! Journal records: every durable change there is, and their bytes. Part of `broker`.
//!
//! A record is a version byte, a kind byte and the fields in the order of its variant, by
//! `store::codec`. Times are fields: applying reads no clock.

use std::sync::Arc;

use crate::model::ids::{LogId, Lsn, QueueId, SetId};
use crate::model::qos::QoS;
use crate::store::codec::{CodecError, Reader, Writer};

use super::sessions::subscription::Subscription;
use super::via::Via;

pub use self::groups::{Committed, GroupRecord};
pub use self::log_changes::LogChange;
pub use self::take::TakenItem;

const VERSION: u8 = 1;

/// What must still hold for a record to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing.
    None,
    /// The session is at this epoch and has not yet taken this inbound packet identifier.
    Inbound {
        /// Publisher's session.
        session: QueueId,
        /// Its connection.
        epoch: u64,
        /// Packet identifier of the QoS 2 publish.
        packet_id: u16,
    },
    /// The session is at this epoch and its will is still due.
    Will {
        /// Whose will.
        session: QueueId,
        /// The connection that left it.
        epoch: u64,
    },
    /// A group has read a partition up to here, and no further: the publish moves it on (routes out of logs).
    Position {
        /// The group, of the publish's vhost.
        group: &'a str,
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// The committed offset, −1 for none.
        expected: i64,
        /// The committed offset afterwards.
        next: i64,
    },
}

/// One member of an interned set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetMember {
    /// The session or declared queue.
    pub queue: QueueId,
    /// Promise granted to it.
    pub qos: QoS,
    /// Whether it sees the publisher's retain flag.
    pub retain_as_published: bool,
    /// Subscription identifiers that matched.
    pub subscription_ids: Vec<u32>,
    /// The address it is delivered under, where a route changed it.
    pub via: Option<Arc<Via>>,
}

/// An append that a route adds to a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedAppend<'a> {
    /// Target log.
    pub log: LogId,
    /// Target partition.
    pub partition: u32,
    /// Record key.
    pub key: Option<&'a [u8]>,
    /// The topic it is carried under, where that is not the message's own.
    pub via: Option<Arc<Via>>,
}

/// A retained message for a durable subscription that just came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayItem<'a> {
    /// Promise towards the subscriber.
    pub qos: QoS,
    /// Subscription identifier.
    pub subscription_id: Option<u32>,
    /// The encoded message.
    pub message: &'a [u8],
}

/// A durable change.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// A message with durable destinations.
    Publish {
        /// vhost / mount point.
        vhost: &'a str,
        /// What must hold.
        condition: Condition<'a>,
        /// Durable sessions it goes to.
        set: Option<SetId>,
        /// Durable sessions named one by one, when a set would not do.
        members: Vec<SetMember>,
        /// Becomes (or, with an empty payload, ends) the topic's retained message.
        retained: bool,
        /// Logs it goes to.
        appends: Vec<RoutedAppend<'a>>,
        /// The encoded message.
        message: &'a [u8],
    },
    /// Names a set of destinations.
    DefineSet {
        /// Its id.
        id: SetId,
        /// Its members.
        members: Vec<SetMember>,
    },
    /// A set is not used any more.
    RetireSet {
        /// Its id.
        id: SetId,
    },
    /// A connection opened a durable session.
    OpenSession(OpenSession<'a>),
    /// A connection left a durable session.
    CloseSession {
        /// The session.
        session: QueueId,
        /// The connection.
        epoch: u64,
        /// When.
        time_ms: u64,
        /// Session expiry interval from now on, seconds; `u32::MAX` is never.
        expiry_s: u32,
        /// Positions below this were sent at least once.
        sent: u64,
        /// When the will is due; `None` when it was discarded or there is none.
        will_due_ms: Option<u64>,
    },
    /// A session and all it holds is gone.
    EndSession {
        /// The session.
        session: QueueId,
        /// Only while it is at this epoch.
        epoch: u64,
    },
    /// Subscriptions of a durable session, with the retained messages they begin with.
    Subscribe {
        /// The session.
        session: QueueId,
        /// The connection.
        epoch: u64,
        /// Filters and options.
        subscriptions: Vec<(&'a str, Subscription)>,
    },
    /// Retained messages for a durable subscription, in topic order.
    Replay {
        /// The session.
        session: QueueId,
        /// The connection.
        epoch: u64,
        /// The filter.
        filter: &'a str,
        /// Where the replay stands afterwards; `None` when it is complete.
        after: Option<&'a str>,
        /// The messages.
        items: Vec<ReplayItem<'a>>,
    },
    /// A durable session gives up subscriptions.
    Unsubscribe {
        /// The session.
        session: QueueId,
        /// The connection.
        epoch: u64,
        /// Filters.
        filters: Vec<&'a str>,
    },
    /// Messages were acknowledged by the receiver, or expired.
    Settle {
        /// The queue.
        queue: QueueId,
        /// Positions.
        positions: Vec<u64>,
    },
    /// A receiver holds a QoS 2 message (PUBREC).
    Release {
        /// The queue.
        queue: QueueId,
        /// The position.
        position: u64,
    },
    /// A publisher released QoS 2 packet identifiers (PUBREL).
    ForgetInbound {
        /// Publisher's session.
        session: QueueId,
        /// The connection.
        epoch: u64,
        /// Packet identifier.
        packet_id: u16,
    },
    /// A new log.
    CreateLog {
        /// Its id.
        id: LogId,
        /// vhost.
        vhost: &'a str,
        /// Name.
        name: &'a str,
        /// Topic UUID.
        uuid: [u8; 16],
        /// When.
        time_ms: u64,
        /// Number of partitions.
        partitions: u32,
        /// Settings.
        config: Vec<(&'a str, &'a str)>,
    },
    /// A client's record batch.
    Append {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// When.
        time_ms: u64,
        /// The batch as sent.
        batch: &'a [u8],
    },
    /// Limits that apply uses.
    Limits {
        /// Messages a session's queue holds.
        queued_messages_max: u64,
        /// Bytes a session's queue holds.
        queued_bytes_max: u64,
    },
    /// A retained message expired.
    DropRetained {
        /// vhost.
        vhost: &'a str,
        /// Topic.
        topic: &'a str,
        /// Only the value with this LSN.
        value: Lsn,
    },
    /// A durable exchange.
    DeclareExchange {
        /// vhost.
        vhost: &'a str,
        /// Name.
        name: &'a str,
        /// Its type: `direct`, `fanout`, `topic`, `headers`.
        kind: &'a str,
        /// Deleted with its last binding.
        auto_delete: bool,
        /// Not for publishers.
        internal: bool,
        /// Field table as declared.
        arguments: &'a [u8],
    },
    /// A durable exchange is gone, with every binding that names it.
    DeleteExchange {
        /// vhost.
        vhost: &'a str,
        /// Name.
        name: &'a str,
    },
    /// A binding between a durable exchange and a durable queue or exchange.
    Bind(Binding<'a>),
    /// It is gone.
    Unbind(Binding<'a>),
    /// A durable queue that clients share by name.
    DeclareQueue {
        /// Its id.
        id: QueueId,
        /// vhost.
        vhost: &'a str,
        /// Name.
        name: &'a str,
        /// Deleted with its last consumer.
        auto_delete: bool,
        /// Field table as declared.
        arguments: &'a [u8],
    },
    /// A declared queue is gone, with its messages and every binding that names it.
    DeleteQueue {
        /// The queue.
        id: QueueId,
    },
    /// Messages of a declared queue were acknowledged, dropped or purged.
    SettleRanges {
        /// The queue.
        queue: QueueId,
        /// First positions and how many follow on, the first included.
        ranges: Vec<(u64, u64)>,
    },
    /// A group's offsets or members.
    Group(GroupRecord<'a>),
    /// A log that is there changes.
    LogChange(LogChange<'a>),
    /// A queue for a share group, which durable sessions are members of.
    DeclareShare {
        /// Its id.
        id: QueueId,
        /// vhost.
        vhost: &'a str,
        /// The group's filter, `$share/{name}/{filter}`.
        filter: &'a str,
    },
    /// A durable session takes QoS 2 messages over from share groups: from here on they are delivered to it, or to
    /// nobody [MQTT-4.8.2-4, 4.8.2-5]. Only while it is connected.
    Take {
        /// The session.
        session: QueueId,
        /// The connection.
        epoch: u64,
        /// The messages.
        items: Vec<TakenItem<'a>>,
    },
    /// Changes nothing: whoever waits for it knows that all before it is applied.
    Barrier,
}

/// Fields of [`Record::Bind`] and [`Record::Unbind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// vhost.
    pub vhost: &'a str,
    /// The exchange that messages come from.
    pub source: &'a str,
    /// Whether `destination` is an exchange, not a queue.
    pub to_exchange: bool,
    /// Name of what they go to.
    pub destination: &'a str,
    /// Binding key.
    pub key: &'a str,
    /// Field table as bound.
    pub arguments: &'a [u8],
}

/// Fields of [`Record::OpenSession`].
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSession<'a> {
    /// The session.
    pub session: QueueId,
    /// vhost / mount point.
    pub vhost: &'a str,
    /// Client identifier.
    pub client_id: &'a str,
    /// The connection.
    pub epoch: u64,
    /// When.
    pub time_ms: u64,
    /// Session expiry interval, seconds; `u32::MAX` is never.
    pub expiry_s: u32,
    /// How many messages the client takes at a time.
    pub receive_max: u16,
    /// Will: delay in seconds and the encoded message.
    pub will: Option<(u32, &'a [u8])>,
    /// An earlier session of the same key that ends here (clean start).
    pub replaces: Option<QueueId>,
}

mod kind {
    pub(super) const PUBLISH: u8 = 1;
    pub(super) const DEFINE_SET: u8 = 2;
    pub(super) const RETIRE_SET: u8 = 3;
    pub(super) const OPEN_SESSION: u8 = 4;
    pub(super) const CLOSE_SESSION: u8 = 5;
    pub(super) const END_SESSION: u8 = 6;
    pub(super) const SUBSCRIBE: u8 = 7;
    pub(super) const REPLAY: u8 = 8;
    pub(super) const UNSUBSCRIBE: u8 = 9;
    pub(super) const SETTLE: u8 = 10;
    pub(super) const RELEASE: u8 = 11;
    pub(super) const FORGET_INBOUND: u8 = 12;
    pub(super) const CREATE_LOG: u8 = 13;
    pub(super) const APPEND: u8 = 14;
    pub(super) const LIMITS: u8 = 15;
    pub(super) const DROP_RETAINED: u8 = 16;
    pub(super) const DECLARE_EXCHANGE: u8 = 17;
    pub(super) const DELETE_EXCHANGE: u8 = 18;
    pub(super) const BIND: u8 = 19;
    pub(super) const UNBIND: u8 = 20;
    pub(super) const DECLARE_QUEUE: u8 = 21;
    pub(super) const DELETE_QUEUE: u8 = 22;
    pub(super) const SETTLE_RANGES: u8 = 23;
    pub(super) const BARRIER: u8 = 24;
    pub(super) const GROUP: u8 = 25;
    pub(super) const LOG_CHANGE: u8 = 26;
    pub(super) const DECLARE_SHARE: u8 = 27;
    pub(super) const TAKE: u8 = 28;
}

mod decode;
#[cfg(test)]
mod earlier;
mod encode;
mod groups;
mod log_changes;
mod take;
#[cfg(test)]
pub(super) mod tests;
