//! One connection's protocol rules, without I/O: bytes in, borrowed events out. Part of `mqtt`.
//!
//! The owner feeds what it read to [`Connection::receive`], which calls back once for each packet while it
//! parses, so that nothing is queued or copied between engine and broker. What the engine alone can see is
//! checked here: packet order, packet sizes, topic aliases, the inbound Receive Maximum. What needs sessions
//! (packet identifiers, quotas, access) is the owner's. After an error the owner writes
//! [`Connection::error_reply`] and closes.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::ack::{self, Ack};
use crate::mqtt::codec::auth::{self, Auth};
use crate::mqtt::codec::connect::{self, Connect, Preamble};
use crate::mqtt::codec::fixed_header::{self, Frame, PacketType};
use crate::mqtt::codec::publish::{self, PublishIn};
use crate::mqtt::codec::session_end::{self, Disconnect};
use crate::mqtt::codec::subscribe::{self, Subscribe, Unsubscribe};
use crate::mqtt::codec::wire::Reader;
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;

pub use crate::mqtt::inbound::{InboundWindow, Limits};

/// What the scratch buffer may keep between packets.
const SCRATCH_BYTES_KEPT: usize = 4096;

/// What a packet means, borrowed from the read buffer and the connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// The first packet. Answer [`Flow::Stop`] and call [`Connection::accept`] before more is received.
    Connect(Box<Connect>),
    /// A message.
    Publish(PublishIn<'a>),
    /// The client has a QoS 1 message.
    PubAck(Ack),
    /// The client has a QoS 2 message, or refuses it (failure reason: the exchange ends).
    PubRec(Ack),
    /// The client will not repeat a QoS 2 message of its own.
    PubRel(Ack),
    /// The client has forgotten the identifier of a QoS 2 message.
    PubComp(Ack),
    /// Subscribe.
    Subscribe(Subscribe),
    /// Unsubscribe.
    Unsubscribe(Unsubscribe),
    /// To be answered with [`PINGRESP`](crate::mqtt::codec::PINGRESP).
    PingReq,
    /// The last packet; what follows it is ignored.
    Disconnect(Disconnect),
    /// A step of enhanced authentication.
    Auth(Auth<'a>),
}

/// Whether to go on with the next packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Leave the rest of the bytes for later.
    Stop,
    /// Leave this packet for later too: nothing came of it yet.
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitingConnect,
    /// CONNECT is read, CONNACK is not sent: only enhanced authentication goes on [MQTT-3.1.2-30].
    Answering,
    Connected,
    Closed,
}

/// The engine of one connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    limits: Limits,
    /// Known from the first packet on, even if that is refused.
    version: Option<Version>,
    inbound: InboundWindow,
    /// Topics by alias - 1, empty where there is none. MQTT 5.
    aliases: Vec<String>,
    /// Where property blocks go that cannot be borrowed.
    scratch: Vec<u8>,
    /// What CONNECT said and later packets are held against.
    peer: Peer,
    /// Whether CONNACK with success has been sent.
    accepted: bool,
}

#[derive(Debug, Default)]
struct Peer {
    packet_bytes_max: Option<u32>,
    /// MQTT 5 and an expiry of 0: DISCONNECT may not raise it.
    session_ends: bool,
    auth_method: Option<Box<str>>,
    /// MQTT 3.1, which does not say what header flags other than PUBLISH's must be: DUP is allowed in some.
    mqtt31: bool,
}

impl Connection {
    /// A connection from which nothing has been received.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            state: State::AwaitingConnect,
            limits,
            version: None,
            inbound: InboundWindow::default(),
            aliases: Vec::new(),
            scratch: Vec::new(),
            peer: Peer::default(),
            accepted: false,
        }
    }

    /// What is spoken, once CONNECT has said it.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// The count that ends with each acknowledgement to the client.
    #[must_use]
    pub fn inbound(&self) -> InboundWindow {
        self.inbound.clone()
    }

    /// The longest packet the client takes, [MQTT-3.1.2-24].
    #[must_use]
    pub fn peer_packet_bytes_max(&self) -> usize {
        self.peer.packet_bytes_max.map_or(usize::MAX, |bytes| bytes as usize)
    }

    /// CONNACK with success is being sent: from here all packets are allowed.
    pub fn accept(&mut self) {
        if self.state == State::Answering {
            self.state = State::Connected;
            self.accepted = true;
        }
    }

    /// Whether [`Self::accept`] has been called.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Nothing is received any more; further bytes are consumed and dropped.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Parses all complete packets of `input` and calls `handle` with each, until it says stop. Returns how
    /// many bytes are done with; the rest, an incomplete packet or what was stopped before, is to be given
    /// again with what follows it.
    ///
    /// # Errors
    /// The first violation. Packets before it have been handled; the connection is closed.
    pub fn receive(
        &mut self,
        input: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<usize, ProtocolError> {
        let mut consumed = 0;
        while let Some(rest) = input.get(consumed..).filter(|rest| !rest.is_empty()) {
            if self.state == State::Closed {
                return Ok(input.len());
            }
            match self.receive_one(rest, handle) {
                Ok((0, _)) => break,
                Ok((length, Flow::Continue)) => consumed += length,
                Ok((length, Flow::Stop)) => return Ok(consumed + length),
                Ok((_, Flow::Hold)) => return Ok(consumed),
                Err(error) => {
                    self.state = State::Closed;
                    let kind = rest.first().and_then(|&header| PacketType::from_header(header));
                    return Err(ProtocolError { packet: kind, ..error });
                }
            }
        }
        Ok(consumed)
    }

    /// One packet; length 0 when it is incomplete.
    #[inline]
    fn receive_one(
        &mut self,
        bytes: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<(usize, Flow), ProtocolError> {
        const INCOMPLETE: (usize, Flow) = (0, Flow::Continue);
        if self.state != State::Connected {
            return self.receive_early(bytes, handle);
        }
        let Some(frame) = fixed_header::frame(bytes, self.limits.packet_bytes_max)? else {
            return Ok(INCOMPLETE);
        };
        let version = self.version.unwrap_or(Version::V5);
        check_padding(version, &frame)?;
        let flow = if frame.header >> 4 == PacketType::Publish as u8 {
            self.publish(version, frame.header, frame.body, handle)?
        } else {
            self.control(version, frame.header, frame.body, handle)?
        };
        Ok((frame.total_len, flow))
    }

    #[inline]
    fn publish(
        &mut self,
        version: Version,
        header: u8,
        body: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, ProtocolError> {
        let (mut publish, alias) = publish::decode(version, header, body, &mut self.scratch)?;
        if let Some(alias) = alias {
            let index = alias_index(alias, self.limits.topic_alias_max)?;
            if publish.topic.is_empty() {
                let known = self.aliases.get(index).filter(|topic| !topic.is_empty());
                publish.topic =
                    known.ok_or(ProtocolError::protocol("topic alias has not been introduced"))?;
            } else {
                if self.aliases.len() <= index {
                    self.aliases.resize(index + 1, String::new());
                }
                if let Some(topic) = self.aliases.get_mut(index) {
                    topic.clear();
                    topic.push_str(publish.topic);
                }
            }
        }
        if publish.packet_id.is_some()
            && self.inbound.begin() > u32::from(self.limits.receive_max)
            && version == Version::V5
        {
            return Err(ProtocolError::new(
                ReasonCode::ReceiveMaximumExceeded,
                "more unacknowledged messages than the Receive Maximum [MQTT-3.3.4-9]",
            ));
        }
        let flow = handle(Event::Publish(publish));
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        Ok(flow)
    }

    fn control(
        &mut self,
        version: Version,
        header: u8,
        body: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, ProtocolError> {
        let kind = check_header(header, self.peer.mqtt31)?;
        let event = match kind {
            PacketType::PubAck => Event::PubAck(ack::decode(version, kind, body)?),
            PacketType::PubRec => Event::PubRec(ack::decode(version, kind, body)?),
            PacketType::PubRel => Event::PubRel(ack::decode(version, kind, body)?),
            PacketType::PubComp => Event::PubComp(ack::decode(version, kind, body)?),
            PacketType::Subscribe => Event::Subscribe(subscribe::decode_subscribe(
                version,
                self.limits.filters_max,
                body,
            )?),
            PacketType::Unsubscribe => Event::Unsubscribe(subscribe::decode_unsubscribe(
                version,
                self.limits.filters_max,
                body,
            )?),
            PacketType::PingReq if body.is_empty() => Event::PingReq,
            PacketType::PingReq => return Err(ProtocolError::malformed("PINGREQ with a body")),
            PacketType::Disconnect => Event::Disconnect(self.disconnect(version, body)?),
            PacketType::Auth => Event::Auth(self.auth(version, body)?),
            PacketType::Connect => {
                return Err(ProtocolError::protocol("second CONNECT [MQTT-3.1.0-2]"));
            }
            PacketType::Publish
            | PacketType::ConnAck
            | PacketType::SubAck
            | PacketType::UnsubAck
            | PacketType::PingResp => {
                return Err(ProtocolError::protocol("packet is for servers to send only"));
            }
        };
        Ok(handle(event))
    }

    /// Before CONNACK: CONNECT itself, then the exchange of enhanced authentication.
    #[cold]
    fn receive_early(
        &mut self,
        bytes: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<(usize, Flow), ProtocolError> {
        let Some(&header) = bytes.first() else { return Ok((0, Flow::Continue)) };
        let first = self.state == State::AwaitingConnect;
        // Judged by the first byte alone: a TLS or HTTP client is turned away at once.
        let kind = check_header(header, self.peer.mqtt31)?;
        if first && kind != PacketType::Connect {
            return Err(ProtocolError::protocol("first packet is not CONNECT [MQTT-3.1.0-1]"));
        }
        let bytes_max = self.limits.packet_bytes_max.min(self.limits.connect_bytes_max);
        let Some(frame) = fixed_header::frame(bytes, bytes_max)? else {
            return Ok((0, Flow::Continue));
        };
        let flow = if first {
            let connect = self.connect(&frame)?;
            self.state = State::Answering;
            handle(Event::Connect(Box::new(connect)))
        } else {
            if !matches!(kind, PacketType::Auth | PacketType::Disconnect) {
                return Err(ProtocolError::protocol(
                    "packet before the CONNECT is answered [MQTT-3.1.2-30]",
                ));
            }
            self.control(self.version.unwrap_or(Version::V5), frame.header, frame.body, handle)?
        };
        Ok((frame.total_len, flow))
    }

    fn connect(&mut self, frame: &Frame<'_>) -> Result<Connect, ProtocolError> {
        let (version, bridge) = match connect::preamble(&mut Reader::new(frame.body))? {
            Preamble::Spoken { version, bridge } => (version, bridge),
            Preamble::Unspoken(version) => {
                self.version = Some(version);
                return Err(ProtocolError::new(
                    ReasonCode::UnsupportedProtocolVersion,
                    "protocol version is not spoken here [MQTT-3.1.2-2]",
                ));
            }
        };
        self.version = Some(version);
        check_padding(version, frame)?;
        let connect = connect::decode(version, bridge, frame.body)?;
        self.peer = Peer {
            packet_bytes_max: connect.packet_bytes_max,
            session_ends: version == Version::V5 && connect.session_expiry_s.unwrap_or(0) == 0,
            auth_method: connect.auth_method.as_deref().map(Into::into),
            mqtt31: connect.mqtt31,
        };
        Ok(connect)
    }

    fn disconnect(&mut self, version: Version, body: &[u8]) -> Result<Disconnect, ProtocolError> {
        let disconnect = session_end::decode(version, body)?;
        if self.peer.session_ends && disconnect.session_expiry_s.is_some_and(|expiry| expiry != 0) {
            return Err(ProtocolError::protocol(
                "session expiry was 0 and cannot be raised (MQTT5-3.14.2.2.2)",
            ));
        }
        self.state = State::Closed;
        Ok(disconnect)
    }

    fn auth<'a>(&self, version: Version, body: &'a [u8]) -> Result<Auth<'a>, ProtocolError> {
        if version == Version::V311 {
            return Err(ProtocolError::malformed("packet type 15 is reserved in MQTT 3.1.1"));
        }
        let auth = auth::decode(body)?;
        if self.peer.auth_method.as_deref() != Some(auth.method) {
            return Err(ProtocolError::protocol("AUTH with another method than CONNECT's"));
        }
        // Whether there is anything to continue after CONNACK is the owner's to know.
        if auth.reason == ReasonCode::ReAuthenticate && !self.accepted {
            return Err(ProtocolError::protocol("re-authentication before CONNACK"));
        }
        Ok(auth)
    }
}

fn check_padding(version: Version, frame: &Frame<'_>) -> Result<(), ProtocolError> {
    if frame.padded && version == Version::V5 {
        return Err(ProtocolError::malformed("remaining length is padded [MQTT-1.5.5-1]"));
    }
    Ok(())
}

fn alias_index(alias: u16, maximum: u16) -> Result<usize, ProtocolError> {
    if alias == 0 || alias > maximum {
        return Err(ProtocolError::new(
            ReasonCode::TopicAliasInvalid,
            "topic alias is 0 or above the maximum [MQTT-3.3.2-8] [MQTT-3.3.2-9]",
        ));
    }
    Ok(usize::from(alias) - 1)
}

/// The type of a packet other than PUBLISH, its flags checked unless they are `free`.
fn check_header(header: u8, free: bool) -> Result<PacketType, ProtocolError> {
    let kind = PacketType::from_header(header)
        .ok_or(ProtocolError::malformed("packet type 0 is reserved"))?;
    if !free && kind.flags().is_some_and(|flags| flags != header & 0x0F) {
        return Err(ProtocolError::malformed("reserved header flags are wrong [MQTT-2.1.3-1]"));
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::{Connection, Event, Flow, Limits};
    use crate::mqtt::error::ProtocolError;
    use crate::mqtt::reason::ReasonCode;

    const CONNECT_4: &[u8] = b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01c";
    const CONNECT_5: &[u8] = b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\x01c";
    const PING: &[u8] = b"\xC0\0";

    fn limits() -> Limits {
        Limits { topic_alias_max: 2, receive_max: 2, ..Limits::default() }
    }

    fn accepted(connect: &[u8]) -> Connection {
        let mut connection = Connection::new(limits());
        connection.receive(connect, &mut |_| Flow::Stop).unwrap();
        connection.accept();
        connection
    }

    /// Feeds `bytes`; gives back the topics of the messages in them.
    fn topics(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<String>, ProtocolError> {
        let mut topics = Vec::new();
        connection.receive(bytes, &mut |event| {
            if let Event::Publish(publish) = event {
                topics.push(publish.topic.to_owned());
            }
            Flow::Continue
        })?;
        Ok(topics)
    }

    fn reply(connection: &Connection, error: &ProtocolError) -> Vec<u8> {
        let mut out = Vec::new();
        connection.error_reply(error, &mut out);
        out
    }

    /// [MQTT-3.1.0-1] [MQTT5-3.1.0-1]
    #[test]
    fn what_does_not_begin_with_connect_is_refused_at_its_first_byte_without_a_reply() {
        for first in [b"\x30", b"\x16", b"G", b"\xC0", b"\x00", b"\x11"] {
            let mut connection = Connection::new(limits());
            let error = connection.receive(first, &mut |_| Flow::Continue).unwrap_err();
            assert!(reply(&connection, &error).is_empty());
        }
    }

    #[test]
    fn connect_stops_and_leaves_what_follows_it() {
        let mut connection = Connection::new(limits());
        let bytes = [CONNECT_5, PING].concat();
        let consumed = connection.receive(&bytes, &mut |_| Flow::Stop).unwrap();
        assert_eq!(consumed, CONNECT_5.len());
        connection.accept();
        let mut pings = 0;
        let rest = connection.receive(&bytes[consumed..], &mut |event| {
            pings += usize::from(matches!(event, Event::PingReq));
            Flow::Continue
        });
        assert_eq!((rest, pings), (Ok(PING.len()), 1));
    }

    /// [MQTT5-3.1.2-30]
    #[test]
    fn packets_before_the_answer_are_a_protocol_error() {
        let mut connection = Connection::new(limits());
        connection.receive(CONNECT_5, &mut |_| Flow::Stop).unwrap();
        let error = connection.receive(PING, &mut |_| Flow::Continue).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
        // CONNACK, not DISCONNECT: nothing has been accepted.
        assert_eq!(reply(&connection, &error)[..1], [0x20]);
    }

    /// [MQTT-3.1.0-2] [MQTT5-3.1.0-2]
    #[test]
    fn second_connect_closes_the_connection() {
        let mut connection = accepted(CONNECT_5);
        let error = connection.receive(CONNECT_5, &mut |_| Flow::Continue).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
        assert_eq!(reply(&connection, &error)[..1], [0xE0]);
        // What comes after the error is dropped.
        assert_eq!(connection.receive(PING, &mut |_| panic!("closed")), Ok(2));
    }

    #[test]
    fn older_clients_are_told_nothing_after_connack() {
        let mut connection = accepted(CONNECT_4);
        let error = connection.receive(CONNECT_4, &mut |_| Flow::Continue).unwrap_err();
        assert!(reply(&connection, &error).is_empty());
    }

    /// MQTT 3.1 sets DUP when it repeats these, and says nothing of other flags.
    #[test]
    fn header_flags_are_free_in_mqtt_31_and_nowhere_else() {
        const CONNECT_31: &[u8] = b"\x10\x0F\0\x06MQIsdp\x03\x02\0\0\0\x01c";
        let again = [&b"\x6A\x02\0\x01"[..], b"\x8A\x06\0\x01\0\x01a\0", b"\xC1\0"];
        for packet in again {
            let mut early = accepted(CONNECT_31);
            let used = early.receive(packet, &mut |_| Flow::Continue).unwrap();
            assert_eq!(used, packet.len());
            let error = accepted(CONNECT_4).receive(packet, &mut |_| Flow::Continue).unwrap_err();
            assert_eq!(error.reason, ReasonCode::MalformedPacket);
        }
    }

    /// [MQTT-3.1.2-2] [MQTT5-3.1.2-2]
    #[test]
    fn unspoken_versions_are_refused_in_words_they_know() {
        for (name, level, expected) in [
            (&b"\0\x06MQIsdp"[..], 4, &[0x20, 2, 0, 1][..]),
            (b"\0\x04MQTT", 3, &[0x20, 2, 0, 1]),
            (b"\0\x04MQTT", 6, &[0x20]),
        ] {
            let body = [name, &[level, 2, 0, 0, 0, 0]].concat();
            let packet = [&[0x10, body.len() as u8], &body[..]].concat();
            let mut connection = Connection::new(limits());
            let error = connection.receive(&packet, &mut |_| Flow::Stop).unwrap_err();
            let reply = reply(&connection, &error);
            assert!(reply.starts_with(expected), "{reply:?}");
            if level == 6 {
                assert_eq!(reply[2..4], [0, 0x84]);
            }
        }
    }

    /// [MQTT-3.1.3-8]
    #[test]
    fn older_clients_without_identifier_or_clean_session_get_return_code_2() {
        let mut connection = Connection::new(limits());
        let packet = b"\x10\x0C\0\x04MQTT\x04\0\0\0\0\0";
        let error = connection.receive(packet, &mut |_| Flow::Stop).unwrap_err();
        assert_eq!(reply(&connection, &error), [0x20, 2, 0, 2]);
    }

    /// [MQTT5-3.3.2-12]
    #[test]
    fn topic_aliases_are_introduced_used_and_replaced() {
        let mut connection = accepted(CONNECT_5);
        let bytes = b"\x30\x07\0\x01a\x03\x23\0\x01\x30\x06\0\0\x03\x23\0\x01\
            \x30\x07\0\x01b\x03\x23\0\x01\x30\x06\0\0\x03\x23\0\x01";
        assert_eq!(topics(&mut connection, bytes).unwrap(), ["a", "a", "b", "b"]);
        let unknown = b"\x30\x06\0\0\x03\x23\0\x02";
        assert_eq!(topics(&mut connection, unknown).unwrap_err().reason, ReasonCode::ProtocolError);
    }

    /// [MQTT5-3.3.4-7]
    #[test]
    fn the_receive_maximum_counts_what_is_not_acknowledged() {
        let publish = b"\x32\x07\0\x01a\0\x01\0x";
        let mut connection = accepted(CONNECT_5);
        let window = connection.inbound();
        topics(&mut connection, &publish.repeat(2)).unwrap();
        window.done();
        topics(&mut connection, publish).unwrap();
        assert_eq!(window.under_way(), 2);
        let error = topics(&mut connection, publish).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ReceiveMaximumExceeded);
        for _ in 0..9 {
            window.done();
        }
        assert_eq!(window.under_way(), 0);
    }

    #[test]
    fn older_clients_have_no_receive_maximum() {
        let mut connection = accepted(CONNECT_4);
        let publish = b"\x32\x06\0\x01a\0\x01x";
        assert_eq!(topics(&mut connection, &publish.repeat(9)).unwrap().len(), 9);
    }

    #[test]
    fn disconnect_ends_the_connection_and_may_not_raise_an_expiry_of_0() {
        let mut connection = accepted(CONNECT_5);
        let mut events = 0;
        let bytes = [b"\xE0\0", PING].concat();
        let consumed = connection.receive(&bytes, &mut |_| {
            events += 1;
            Flow::Continue
        });
        assert_eq!((consumed, events), (Ok(4), 1));
        let raise = b"\xE0\x07\0\x05\x11\0\0\0\x01";
        let error = accepted(CONNECT_5).receive(raise, &mut |_| Flow::Continue).unwrap_err();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
    }

    #[test]
    fn packets_beyond_the_limit_are_refused_before_they_arrive() {
        let few = Limits { packet_bytes_max: 100, connect_bytes_max: 20, ..limits() };
        let mut connection = Connection::new(few);
        let error = connection.receive(b"\x10\x13", &mut |_| Flow::Continue).unwrap_err();
        assert_eq!(error.reason, ReasonCode::PacketTooLarge);
        let mut connection = Connection::new(few);
        connection.receive(CONNECT_5, &mut |_| Flow::Stop).unwrap();
        connection.accept();
        assert_eq!(connection.receive(b"\x30\x62", &mut |_| Flow::Continue), Ok(0));
        let error = connection.receive(b"\x30\x63", &mut |_| Flow::Continue).unwrap_err();
        assert_eq!(error.reason, ReasonCode::PacketTooLarge);
    }

    /// [MQTT5-3.14.2-3]
    #[test]
    fn goodbyes_fit_the_client() {
        let small = b"\x10\x13\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\x0A\0\x01c";
        let connection = accepted(small);
        let mut out = Vec::new();
        connection.say_goodbye(ReasonCode::SessionTakenOver, Some("long words"), &mut out);
        assert_eq!(out, [0xE0, 2, 0x8E, 0]);
    }
}
