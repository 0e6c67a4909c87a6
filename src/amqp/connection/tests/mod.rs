//! The engine: bytes in, exact events and faults out.

mod handshake;
mod hostile;
mod running;

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, ProtocolVersion, WriteContext, gen_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};

use crate::amqp::codec::basic::PublishHead;
use crate::model::content::Properties;

use super::{Connection, Event, Flow, Limits, Published, Violation};

/// What a test allows: small enough to be reached.
const LIMITS: Limits = Limits {
    frame_bytes_max: 8192,
    channels_max: 4,
    heartbeat_s: 60,
    message_bytes_max: 20_000,
    unfinished_bytes_max: 40_000,
};

/// An engine with an owner that grants everything.
struct Owner {
    engine: Connection,
    tail: Vec<u8>,
    events: Vec<String>,
    violation: Option<Violation>,
    /// What it answers to an event whose text begins so.
    answers: Vec<(&'static str, Flow)>,
}

impl Owner {
    fn new(limits: Limits) -> Self {
        Self {
            engine: Connection::new(limits),
            tail: Vec::new(),
            events: Vec::new(),
            violation: None,
            answers: Vec::new(),
        }
    }

    /// With a connection on which channel 1 is open, and no events.
    fn running() -> Self {
        let mut owner = Self::new(LIMITS);
        owner.feed(&login());
        owner.feed(&method(1, channel_open()));
        assert_eq!(owner.violation, None);
        assert!(owner.engine.is_running());
        owner.events.clear();
        owner
    }

    fn answering(mut self, event: &'static str, flow: Flow) -> Self {
        self.answers.push((event, flow));
        self
    }

    /// Receives until nothing more is used.
    fn feed(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        loop {
            let (events, answers) = (&mut self.events, &self.answers);
            let mut stopped = false;
            let (used, outcome) = self.engine.receive(&self.tail, &mut |event| {
                let text = format!("{event:?}");
                let answer = answers.iter().find(|(start, _)| text.starts_with(start));
                let judged = matches!(event, Event::StartOk(_) | Event::Open(_));
                let flow = if judged { Flow::Stop } else { Flow::Continue };
                let flow = answer.map_or(flow, |(_, flow)| *flow);
                stopped |= flow == Flow::Stop;
                events.push(text);
                flow
            });
            self.tail.drain(..used);
            if let Err(violation) = outcome {
                assert!(self.violation.is_none() || matches!(violation, Violation::Silent(_)));
                stopped = violation.awaits_close_ok();
                self.violation.get_or_insert(violation);
            }
            self.engine.accept();
            self.engine.open();
            if !stopped {
                return;
            }
        }
    }

    /// The text of the close that ended the connection, and the method it names.
    fn close(&self) -> (String, u16, u16) {
        match &self.violation {
            Some(Violation::Close(fault) | Violation::Lost(fault)) => {
                (fault.reply_text(), fault.method.class, fault.method.method)
            }
            other => panic!("{other:?} after {:?}", self.events),
        }
    }
}

fn bytes(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame::<Vec<u8>>(frame)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

fn method(channel: u16, method: AMQPClass) -> Vec<u8> {
    bytes(&AMQPFrame::Method(channel, method))
}

/// A frame that the oracle would not write.
fn raw(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    out.extend_from_slice(payload);
    out.push(0xCE);
    out
}

fn protocol_header() -> Vec<u8> {
    bytes(&AMQPFrame::ProtocolHeader(ProtocolVersion::amqp_0_9_1()))
}

fn start_ok() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::StartOk(connection::StartOk {
        client_properties: Default::default(),
        mechanism: "PLAIN".into(),
        response: "\0guest\0guest".into(),
        locale: "en_US".into(),
    }))
}

fn tune_ok(channel_max: u16, frame_max: u32, heartbeat: u16) -> AMQPClass {
    let tune_ok = connection::TuneOk { channel_max, frame_max, heartbeat };
    AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok))
}

fn open() -> AMQPClass {
    let open = connection::Open { virtual_host: "/".into() };
    AMQPClass::Connection(connection::AMQPMethod::Open(open))
}

fn connection_close() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Close(connection::Close {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    }))
}

fn connection_close_ok() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}))
}

fn channel_open() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}))
}

fn channel_close() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::Close(channel::Close {
        reply_code: 200,
        reply_text: "".into(),
        class_id: 0,
        method_id: 0,
    }))
}

fn channel_close_ok() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
}

fn declare(name: &str) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: name.into(),
        ..queue::Declare::default()
    }))
}

fn publish() -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Publish(basic::Publish {
        exchange: "amq.topic".into(),
        routing_key: "a.b".into(),
        mandatory: true,
        immediate: false,
    }))
}

fn header(channel: u16, body_size: u64) -> Vec<u8> {
    let properties = basic::AMQPProperties::default().with_delivery_mode(2);
    bytes(&AMQPFrame::Header(channel, AMQPContentHeader { class_id: 60, body_size, properties }))
}

fn body(channel: u16, part: &[u8]) -> Vec<u8> {
    bytes(&AMQPFrame::Body(channel, part.to_vec()))
}

/// All that a client says until its connection is open.
fn login() -> Vec<u8> {
    [protocol_header(), method(0, start_ok()), method(0, tune_ok(4, 8192, 30)), method(0, open())]
        .concat()
}

/// A publish as one event.
fn published(channel: u16, body: &[u8]) -> String {
    let head = PublishHead {
        exchange: "amq.topic",
        routing_key: "a.b",
        mandatory: true,
        immediate: false,
    };
    let properties = Properties::stored(&[0x10, 0, 2]);
    format!("{:?}", Event::Publish(channel, Published { head, properties, body }))
}
