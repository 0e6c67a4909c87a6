//! Any bytes as an AMQP client's stream, and as a method, a table, a content header: they mean the same however they
//! are cut, what waits is bounded, and what is read can be written.

use std::hint::black_box;

use rialto::amqp::codec::frame;
use rialto::amqp::codec::header::ContentHeader;
use rialto::amqp::codec::method;
use rialto::amqp::codec::wire::table_limits;
use rialto::amqp::connection::{Connection, Event, Flow, Limits, Violation};
use rialto::model::content::Properties;
use rialto::model::field_table::FieldTable;
use rialto::model::field_table::value::FieldValue;
use rialto::model::field_table::write::TableWriter;

/// protocol header, start-ok, tune-ok, connection.open, channel.open.
const LOGIN: &[u8] = b"AMQP\0\0\x09\x01\
    \x01\0\0\0\0\0\x24\0\x0A\0\x0B\0\0\0\0\x05PLAIN\0\0\0\x0C\0guest\0guest\x05en_US\xCE\
    \x01\0\0\0\0\0\x0C\0\x0A\0\x1F\0\x04\0\0\x20\0\0\x1E\xCE\
    \x01\0\0\0\0\0\x08\0\x0A\0\x28\x01/\0\0\xCE\
    \x01\0\x01\0\0\0\x05\0\x14\0\x0A\0\xCE";

/// The first byte chooses what the rest is.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = super::split_first(data) else { return };
    match kind % 5 {
        0 => streams(b"", rest),
        1 => streams(LOGIN, rest),
        2 => one_method(rest),
        3 => one_table(rest),
        _ => one_header(rest),
    }
}

fn limits() -> Limits {
    Limits {
        frame_bytes_max: 8192,
        channels_max: 4,
        heartbeat_s: 60,
        message_bytes_max: 20_000,
        unfinished_bytes_max: 40_000,
    }
}

fn streams(prelude: &[u8], data: &[u8]) {
    let Some((cut, rest)) = super::split_first(data) else { return };
    let whole = Stream::new().fed(prelude).fed(rest);
    let mut pieces = Stream::new().fed(prelude);
    assert!(prelude.is_empty() || pieces.engine.is_running(), "{:?}", pieces.violation);
    for piece in rest.chunks(usize::from(cut) % 61 + 1) {
        pieces = pieces.fed(piece);
        let frame_bytes_max = limits().frame_bytes_max as usize + frame::OVERHEAD_BYTES;
        assert!(pieces.tail.len() < frame_bytes_max, "{} bytes wait", pieces.tail.len());
    }
    assert_eq!(whole.events, pieces.events);
    assert_eq!(whole.violation, pieces.violation);
    assert_eq!(whole.tail, pieces.tail);
}

/// An engine with an owner that grants everything.
struct Stream {
    engine: Connection,
    tail: Vec<u8>,
    events: Vec<String>,
    violation: Option<Violation>,
}

impl Stream {
    fn new() -> Self {
        let engine = Connection::new(limits());
        Self { engine, tail: Vec::new(), events: Vec::new(), violation: None }
    }

    fn fed(mut self, bytes: &[u8]) -> Self {
        self.tail.extend_from_slice(bytes);
        loop {
            let events = &mut self.events;
            let mut stopped = false;
            let (used, outcome) = self.engine.receive(&self.tail, &mut |event| {
                events.push(format!("{event:?}"));
                stopped |= matches!(event, Event::StartOk(_) | Event::Open(_));
                if stopped { Flow::Stop } else { Flow::Continue }
            });
            self.tail.drain(..used);
            if let Err(violation) = outcome {
                let mut told = Vec::new();
                violation.put(&mut told);
                stopped = violation.awaits_close_ok();
                self.violation.get_or_insert(violation);
            }
            self.engine.accept();
            self.engine.open();
            if !stopped {
                return self;
            }
        }
    }
}

fn one_method(payload: &[u8]) {
    let Some(id) = method::id(payload) else { return };
    let arguments = payload.get(method::ARGUMENTS_AT..).unwrap_or_default();
    if let Ok(read) = method::read(id, arguments) {
        drop(format!("{read:?}"));
        if let Some((_, cut)) = arguments.split_last() {
            assert_ne!(method::read(id, cut), Ok(read));
        }
    }
}

fn one_table(bytes: &[u8]) {
    let Ok(table) = FieldTable::check(bytes, table_limits()) else { return };
    let mut out = Vec::new();
    let mut writer = TableWriter::new(&mut out);
    let mut count = 0;
    for (name, value) in table.iter() {
        count += 1;
        look(&value, 0);
        assert!(table.get(name).is_some());
        writer.put(name, value).unwrap();
    }
    let again = FieldTable::check(&out, table_limits()).unwrap();
    assert_eq!(again.iter().count(), count);
    for ((name, value), (as_was, was)) in again.iter().zip(table.iter()) {
        assert_eq!(name, as_was);
        assert_eq!(value.type_name(), was.type_name());
    }
}

fn look(value: &FieldValue<'_>, depth: usize) {
    assert!(depth <= 1024, "a table deeper than any limit");
    black_box((value.as_i64(), value.as_str(), value.as_bytes(), value.as_bool()));
    if let Some(table) = value.as_table() {
        table.iter().for_each(|(_, inner)| look(&inner, depth + 1));
    }
    if let Some(array) = value.as_array() {
        array.iter().for_each(|inner| look(&inner, depth + 1));
    }
}

fn one_header(payload: &[u8]) {
    if let Some(header) = ContentHeader::read(payload) {
        drop(format!("{header:?}"));
    }
    if let Ok(properties) = Properties::scan(payload, table_limits()) {
        drop(format!("{properties:?}"));
    }
}
