//! The broker's handle on a connection: encodes deliveries into its buffer, carries outcomes to its task. Part
//! of `mqtt`.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::auth::Principal;
use crate::auth::authenticator::AuthError;
use crate::auth::checks::Applicant;
use crate::broker::consumer::{
    CloseReason, Completer, Consumer, Delivered, Encodings, Outcome, Outgoing,
};
use crate::mqtt::aliases::{Aliases, Written};
use crate::mqtt::codec::Version;
use crate::mqtt::codec::ack::{self, Ack};
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::publish::{self, PublishOut};
use crate::mqtt::reason::ReasonCode;
use crate::net::outbound::{CLOSE, Outbound, Push, READY, TIMER};
use crate::net::touched;
use crate::server::timer::Timed;

/// What other threads hold of a connection.
pub struct Link {
    /// Its packets.
    pub outbound: Arc<Outbound>,
    version: OnceLock<Version>,
    /// Longest packet the client takes [MQTT-3.1.2-24].
    packet_bytes_max: AtomicUsize,
    /// Topic aliases towards the client, if it takes any.
    aliases: OnceLock<Box<Mutex<Aliases>>>,
    inbox: Mutex<Inbox>,
}

/// What was left for the connection's task.
#[derive(Default)]
pub struct Inbox {
    /// Outcomes of records, by token.
    pub outcomes: Vec<(u64, Outcome)>,
    /// The verdict on a login.
    pub login: Option<Result<Principal, AuthError>>,
    /// The connection that had the session has left it.
    pub is_free: bool,
    /// Why the connection shall end.
    pub close: Option<CloseReason>,
}

impl Link {
    /// A link to a connection that has said nothing yet.
    #[must_use]
    pub fn new(outbound: Arc<Outbound>) -> Arc<Self> {
        Arc::new(Self {
            outbound,
            version: OnceLock::new(),
            packet_bytes_max: AtomicUsize::new(usize::MAX),
            aliases: OnceLock::new(),
            inbox: Mutex::default(),
        })
    }

    /// CONNECT said what is spoken.
    pub fn introduce(&self, version: Version, packet_bytes_max: usize) {
        // A connection has one CONNECT.
        self.version.get_or_init(|| version);
        self.packet_bytes_max.store(packet_bytes_max, Ordering::Release);
    }

    /// The client takes up to `max` topic aliases; 0 is none. Called before anything is delivered.
    pub fn offer_aliases(&self, max: u16) {
        if let Some(max) = NonZeroU16::new(max) {
            self.aliases.get_or_init(|| Box::new(Mutex::new(Aliases::new(max))));
        }
    }

    /// Longest packet the client takes.
    #[must_use]
    pub fn packet_bytes_max(&self) -> usize {
        self.packet_bytes_max.load(Ordering::Acquire)
    }

    fn version(&self) -> Version {
        self.version.get().copied().unwrap_or(Version::V5)
    }

    /// Leaves word that the session is free.
    pub fn set_free(&self) {
        self.inbox.lock().is_free = true;
        self.outbound.signal(READY);
    }

    /// Takes what was left.
    pub fn take_inbox(&self) -> Inbox {
        std::mem::take(&mut *self.inbox.lock())
    }
}

impl Applicant for Link {
    fn is_gone(&self) -> bool {
        self.outbound.is_closed()
    }

    /// Leaves the verdict and wakes the task.
    fn decided(&self, verdict: Result<Principal, AuthError>) {
        self.inbox.lock().login = Some(verdict);
        self.outbound.signal(READY);
    }
}

impl Completer for Link {
    fn complete(&self, token: u64, outcome: Outcome) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.outcomes.push((token, outcome));
        inbox.outcomes.len() == 1
    }

    fn wake(&self) {
        self.outbound.signal(READY);
    }
}

impl Timed for Link {
    fn fire(&self, _now_ms: u64) {
        self.outbound.signal(TIMER);
    }
}

/// Handles on a link are shared: the buffer goes onto the flush list by reference count.
pub struct Subscriber(pub Arc<Link>);

/// A packet in the connection's buffer, or why not.
#[inline]
fn put(
    link: &Arc<Link>,
    packet: &PublishOut<'_>,
    forced: bool,
    encodings: &mut Encodings,
) -> Delivered {
    let version = link.version();
    let limit = link.packet_bytes_max.load(Ordering::Acquire);
    if limit < usize::MAX && packet.encoded_len(version) > limit {
        return Delivered::TooLarge;
    }
    let alike = packet.subscription_ids.is_empty() && packet.topic_alias.is_none();
    let shared = if encodings.shared && alike {
        let key = u64::from(version == Version::V5)
            | (packet.qos as u64) << 1
            | u64::from(packet.retain) << 3;
        encodings.get(key, |out| {
            // What a client sent fits a packet towards a client.
            publish::encode(out, version, packet).unwrap_or_default()
        })
    } else {
        None
    };
    let encode = |out: &mut Vec<u8>| match shared {
        Some(encoding) => {
            let start = out.len();
            out.extend_from_slice(&encoding.bytes);
            if let (Some(at), Some(id)) = (encoding.packet_id_at, packet.packet_id) {
                publish::set_packet_id(out, start + at, id);
            }
        }
        None => {
            let start = out.len();
            if publish::encode(out, version, packet).is_err() {
                out.truncate(start);
            }
        }
    };
    let pushed =
        if forced { link.outbound.push_forced(encode) } else { link.outbound.push(encode) };
    touched::note(&link.outbound, pushed);
    match pushed.outcome {
        Push::Accepted => Delivered::Accepted,
        Push::Full => Delivered::Full,
        Push::Closed => Delivered::Closed,
    }
}

/// The same for a client that takes topic aliases. The table is held until the packet is in the buffer: what uses an
/// alias stands behind what introduces it.
fn put_aliased(
    link: &Arc<Link>,
    aliases: &Mutex<Aliases>,
    packet: &PublishOut<'_>,
    forced: bool,
    encodings: &mut Encodings,
) -> Delivered {
    let mut aliases = aliases.lock();
    let (alias, topic) = match aliases.write(packet.topic) {
        Written::InFull => return put(link, packet, forced, encodings),
        Written::Alias(alias) => (alias, ""),
        Written::Introduces(alias) => (alias, packet.topic),
    };
    let aliased = PublishOut { topic, topic_alias: Some(alias), ..*packet };
    let delivered = put(link, &aliased, forced, encodings);
    if topic.is_empty() {
        return delivered;
    }
    match delivered {
        Delivered::Accepted => aliases.introduced(alias, topic),
        // It may just fit without.
        Delivered::TooLarge => return put(link, packet, forced, encodings),
        Delivered::Full | Delivered::Closed => {}
    }
    delivered
}

impl Consumer for Subscriber {
    fn deliver(&self, message: &Outgoing<'_>, encodings: &mut Encodings) -> Delivered {
        let link = &self.0;
        let packet = PublishOut {
            topic: message.topic,
            payload: message.payload,
            properties: message.properties,
            expiry_s: message.expiry_s,
            subscription_ids: message.subscription_ids,
            topic_alias: None,
            qos: message.qos,
            retain: message.retain,
            dup: message.dup,
            packet_id: message.packet_id.and_then(NonZeroU16::new),
        };
        match link.aliases.get() {
            None => put(link, &packet, message.forced, encodings),
            Some(aliases) => put_aliased(link, aliases, &packet, message.forced, encodings),
        }
    }

    fn deliver_release(&self, packet_id: u16) {
        let Some(packet_id) = NonZeroU16::new(packet_id) else { return };
        let version = self.0.version();
        let release = Ack { packet_id, reason: ReasonCode::Success };
        let outbound = &self.0.outbound;
        let pushed =
            outbound.push_forced(|out| ack::encode(out, version, PacketType::PubRel, release));
        touched::note(outbound, pushed);
    }

    fn has_room(&self) -> bool {
        self.0.outbound.has_room()
    }

    fn ready(&self) {
        self.0.outbound.signal(READY);
    }

    fn close(&self, reason: CloseReason) {
        self.0.inbox.lock().close = Some(reason);
        self.0.outbound.signal(CLOSE);
    }
}
