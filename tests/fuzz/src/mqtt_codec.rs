//! Any bytes as a client's stream: they mean the same however they are cut, what is read is written as it was, and
//! a refusal is one whole packet in words that the client's version has.

use std::num::NonZeroU16;

use rialto::mqtt::codec::Version;
use rialto::mqtt::codec::ack;
use rialto::mqtt::codec::fixed_header::{self, PacketType};
use rialto::mqtt::codec::publish::{self, PublishIn, PublishOut};
use rialto::mqtt::connection::{Connection, Event, Flow, Limits};

/// What comes before the bytes: nothing, or the CONNECT of a version.
const PRELUDES: [&[u8]; 5] = [
    b"",
    b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01c",
    b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\x01c",
    b"\x10\x17\0\x04MQTT\x05\x02\0\0\x09\x11\0\0\0\x64\x15\0\x01M\0\x01c",
    b"\x10\x0F\0\x06MQIsdp\x03\x02\0\0\0\x01c",
];

/// The first byte chooses what comes before, the second how the rest is cut.
pub fn run(data: &[u8]) {
    let [prelude, cut, rest @ ..] = data else { return };
    let prelude = PRELUDES[usize::from(*prelude) % PRELUDES.len()];
    let whole = Stream::default().fed(prelude).fed(rest);
    let mut pieces = Stream::default().fed(prelude);
    for piece in rest.chunks(usize::from(*cut) % 61 + 1) {
        pieces = pieces.fed(piece);
    }
    assert_eq!(whole.events, pieces.events);
    assert_eq!(whole.end, pieces.end);
    if whole.end.is_none() {
        assert_eq!(whole.tail, pieces.tail);
    }
}

/// A connection and what came of its bytes.
struct Stream {
    engine: Connection,
    tail: Vec<u8>,
    events: Vec<String>,
    /// The error, and what was said to the client.
    end: Option<(String, Vec<u8>)>,
}

impl Default for Stream {
    fn default() -> Self {
        let limits = Limits {
            packet_bytes_max: 4096,
            connect_bytes_max: 1024,
            topic_alias_max: 4,
            receive_max: 5,
            filters_max: 8,
        };
        let engine = Connection::new(limits);
        Self { engine, tail: Vec::new(), events: Vec::new(), end: None }
    }
}

impl Stream {
    fn fed(mut self, bytes: &[u8]) -> Self {
        if self.end.is_some() {
            return self;
        }
        self.tail.extend_from_slice(bytes);
        loop {
            let version = self.engine.version();
            let (mut opens, mut stopped) = (false, false);
            let events = &mut self.events;
            let outcome = self.engine.receive(&self.tail, &mut |event| {
                events.push(format!("{event:?}"));
                judge(version, &event);
                // Its method is asked once, then it is let in.
                opens |= matches!(&event, Event::Connect(connect) if connect.auth_method.is_none());
                opens |= matches!(&event, Event::Auth(_));
                stopped |= opens || matches!(&event, Event::Connect(_));
                if stopped { Flow::Stop } else { Flow::Continue }
            });
            match outcome {
                Ok(used) => drop(self.tail.drain(..used)),
                Err(error) => {
                    let mut reply = Vec::new();
                    self.engine.error_reply(&error, &mut reply);
                    check_reply(&self.engine, &reply);
                    self.end = Some((format!("{error:?}"), reply));
                    return self;
                }
            }
            if opens {
                self.engine.accept();
            }
            if !stopped || self.tail.is_empty() {
                return self;
            }
        }
    }
}

/// What has an encoder is written and read again.
fn judge(version: Option<Version>, event: &Event<'_>) {
    let Some(version) = version else { return };
    match event {
        Event::Publish(publish) => check_publish(version, publish),
        Event::PubAck(one) => check_ack(version, PacketType::PubAck, *one),
        Event::PubRec(one) => check_ack(version, PacketType::PubRec, *one),
        Event::PubRel(one) => check_ack(version, PacketType::PubRel, *one),
        Event::PubComp(one) => check_ack(version, PacketType::PubComp, *one),
        _ => {}
    }
}

fn check_publish(version: Version, read: &PublishIn<'_>) {
    let packet = PublishOut {
        topic: read.topic,
        payload: read.payload,
        properties: read.properties,
        expiry_s: read.expiry_s,
        qos: read.qos,
        retain: read.retain,
        dup: read.dup,
        packet_id: read.packet_id,
        ..PublishOut::default()
    };
    let mut bytes = Vec::new();
    let id_at = publish::encode(&mut bytes, version, &packet).unwrap();
    assert_eq!(bytes.len(), packet.encoded_len(version));
    let frame = fixed_header::frame(&bytes, usize::MAX).unwrap().unwrap();
    assert_eq!(frame.total_len, bytes.len());
    assert!(!frame.padded);
    let mut scratch = Vec::new();
    let again = publish::decode(version, frame.header, frame.body, &mut scratch).unwrap();
    assert_eq!(again, (*read, None));
    if let Some(at) = id_at {
        let other = NonZeroU16::new(0x1234).unwrap();
        publish::set_packet_id(&mut bytes, at, other);
        let frame = fixed_header::frame(&bytes, usize::MAX).unwrap().unwrap();
        let mut scratch = Vec::new();
        let (again, _) = publish::decode(version, frame.header, frame.body, &mut scratch).unwrap();
        assert_eq!(again, PublishIn { packet_id: Some(other), ..*read });
    }
}

fn check_ack(version: Version, kind: PacketType, read: ack::Ack) {
    let mut bytes = Vec::new();
    ack::encode(&mut bytes, version, kind, read);
    let frame = fixed_header::frame(&bytes, usize::MAX).unwrap().unwrap();
    assert_eq!((frame.header, frame.total_len), (kind.header(), bytes.len()));
    assert_eq!(ack::decode(version, kind, frame.body), Ok(read));
}

/// CONNACK before it was let in, DISCONNECT after, which only MQTT 5 has; whole, and within what the client takes.
fn check_reply(engine: &Connection, reply: &[u8]) {
    if reply.is_empty() {
        return;
    }
    let frame = fixed_header::frame(reply, usize::MAX).unwrap().unwrap();
    assert_eq!(frame.total_len, reply.len());
    let is_v5 = engine.version() == Some(Version::V5);
    match engine.is_accepted() {
        true => {
            assert!(is_v5);
            assert_eq!(frame.header, 0xE0);
        }
        false => {
            assert_eq!(frame.header, 0x20);
            assert_eq!(frame.body[0], 0);
            assert!(frame.body[1] >= if is_v5 { 0x80 } else { 1 });
        }
    }
}
