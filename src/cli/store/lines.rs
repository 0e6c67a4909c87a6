//! The lines of `rialto store export`: one JSON object each, told apart by `type`. Part of `cli::store`.
//!
//! `docs/operations.md` lists them. Bytes are `{"base64": …}`, with `"text"` beside it when they are UTF-8. Times are
//! milliseconds since the Unix epoch.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::broker::declared::row::DeclaredRow;
use crate::broker::groups::verbs::GroupDescription;
use crate::broker::logs::batch::records::Record;
use crate::broker::logs::log::LogState;
use crate::broker::message::{Form, Message};
use crate::broker::sessions::row::{PageEntry, SessionRow};
use crate::broker::sessions::session::NEVER_EXPIRES_S;
use crate::broker::via::Via;
use crate::model::content::Properties;
use crate::model::field_table::{FieldTable, FieldValue};
use crate::model::property::{Property, properties};
use crate::store::tables::bindings::BindingKey;
use crate::store::tables::exchanges::{ExchangeKey, ExchangeRow};
use crate::store::tables::groups::GroupKey;
use crate::store::tables::offsets::{OffsetKey, OffsetRow};
use crate::store::tables::retained::RetainedKey;

/// Tables inside each other; deeper ones are left out. Clients may send fewer.
const DEPTH_MAX: u8 = 64;
/// In a page's flags: the receiver holds the message (PUBREC).
const RELEASED: u8 = 1 << 3;
/// In a page's flags: the message is delivered with its retain flag.
const RETAIN: u8 = 1 << 2;

fn data(bytes: &[u8]) -> Value {
    let base64 = BASE64_STANDARD.encode(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "base64": base64, "text": text }),
        Err(_) => json!({ "base64": base64 }),
    }
}

/// Text that may be none after all.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => data(bytes),
    }
}

fn field(value: FieldValue<'_>, depth: u8) -> Value {
    if let Some(integer) = value.as_i64() {
        return integer.into();
    }
    match value {
        FieldValue::Bool(value) => value.into(),
        FieldValue::F32(value) => f64::from(value).into(),
        FieldValue::F64(value) => value.into(),
        FieldValue::Decimal { scale, value } => json!({ "decimal": value, "scale": scale }),
        FieldValue::Timestamp(seconds) => json!({ "timestamp_s": seconds }),
        FieldValue::LongString(bytes) => text(bytes),
        FieldValue::Bytes(bytes) => data(bytes),
        FieldValue::Table(inner) => table(inner, depth.saturating_sub(1)),
        FieldValue::Array(inner) if depth > 0 => {
            inner.iter().map(|value| field(value, depth - 1)).collect()
        }
        _ => Value::Null,
    }
}

fn table(table: FieldTable<'_>, depth: u8) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let fields = table.iter().map(|(name, value)| (name.to_owned(), field(value, depth)));
    fields.collect::<Map<_, _>>().into()
}

fn arguments(bytes: &[u8]) -> Value {
    table(FieldTable::stored(bytes), DEPTH_MAX)
}

/// A message, however it is kept.
fn message(message: &Message<'_>) -> Map<String, Value> {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
    put("accepted_ms", message.time_ms.into());
    if let Some(expires_ms) = message.expires_ms {
        put("expires_ms", expires_ms.into());
    }
    match message.form {
        Form::Topic => {
            put("topic", message.topic.into());
            put("properties", topic_properties(message.properties));
        }
        Form::Exchange(exchange) => {
            put("exchange", exchange.into());
            put("routing_key", message.topic.into());
            put("properties", content_properties(message.properties));
        }
    }
    put("client_id", message.client_id.into());
    put("username", message.username.into());
    put("published_qos", (message.qos as u8).into());
    put("published_retain", message.retain.into());
    put("will", message.will.into());
    put("payload", data(message.payload));
    line
}

/// Those of an MQTT message (MQTT5-3.3.2.3).
fn topic_properties(block: &[u8]) -> Value {
    let mut line = Map::new();
    let mut user: Vec<Value> = Vec::new();
    for property in properties(block) {
        let (name, value) = match property {
            Property::PayloadFormat(is_text) => ("payload_is_text", is_text.into()),
            Property::ContentType(value) => ("content_type", value.into()),
            Property::ResponseTopic(value) => ("response_topic", value.into()),
            Property::CorrelationData(value) => ("correlation_data", data(value)),
            Property::User(name, value) => {
                user.push(json!([name, value]));
                continue;
            }
        };
        line.insert(name.to_owned(), value);
    }
    if !user.is_empty() {
        line.insert("user".to_owned(), user.into());
    }
    line.into()
}

/// Those of an AMQP message (class basic).
fn content_properties(block: &[u8]) -> Value {
    let found = Properties::stored(block);
    let texts = [
        ("content_type", found.content_type()),
        ("content_encoding", found.content_encoding()),
        ("correlation_id", found.correlation_id()),
        ("reply_to", found.reply_to()),
        ("expiration", found.expiration()),
        ("message_id", found.message_id()),
        ("type", found.type_()),
        ("user_id", found.user_id()),
        ("app_id", found.app_id()),
    ];
    let texts = texts.into_iter().map(|(name, value)| (name, value.map(text)));
    let numbers = [
        ("delivery_mode", found.delivery_mode().map(Value::from)),
        ("priority", found.priority().map(Value::from)),
        ("timestamp_s", found.timestamp().map(Value::from)),
        ("headers", found.headers().map(|headers| table(headers, DEPTH_MAX))),
    ];
    let all = texts.chain(numbers);
    let present = all.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect::<Map<_, _>>().into()
}

fn typed(kind: &str, mut line: Map<String, Value>) -> Value {
    line.insert("type".to_owned(), kind.into());
    line.into()
}

/// An MQTT session with its subscriptions.
#[must_use]
pub fn session(row: &SessionRow) -> Value {
    let state = &row.state;
    let subscriptions = state.subscriptions.iter().map(|(filter, subscription)| {
        json!({
            "filter": &**filter,
            "qos": subscription.qos as u8,
            "no_local": subscription.no_local,
            "retain_as_published": subscription.retain_as_published,
            "id": subscription.id,
        })
    });
    let will = state.will.as_ref().and_then(|will| {
        let mut line = message(&Message::decode(&will.message).ok()?);
        line.insert("delay_s".to_owned(), will.delay_s.into());
        line.insert("due_ms".to_owned(), will.due_ms.into());
        Some(line)
    });
    json!({
        "type": "session",
        "vhost": &*row.key.vhost,
        "client_id": &*row.key.client_id,
        "expiry_s": (state.expiry_s != NEVER_EXPIRES_S).then_some(state.expiry_s),
        "closed_ms": (!state.connected).then_some(state.closed_ms),
        "subscriptions": subscriptions.collect::<Vec<_>>(),
        "held_packet_ids": state.inbound,
        "will": will,
    })
}

/// A queue of AMQP, or of a share group of MQTT.
#[must_use]
pub fn queue(row: &DeclaredRow) -> Value {
    json!({
        "type": "queue",
        "vhost": &*row.vhost,
        "name": &*row.name,
        "share_group": row.share,
        "auto_delete": row.auto_delete,
        "arguments": arguments(&row.table),
    })
}

/// A message in a queue or session; `of` names that.
#[must_use]
pub fn queued(of: &Value, entry: &PageEntry, body: &Message<'_>) -> Value {
    let mut line = message(body);
    if let Value::Object(of) = of {
        line.extend(of.clone());
    }
    let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
    put("position", entry.position.into());
    put("qos", (entry.flags & 0b11).into());
    put("retain", (entry.flags & RETAIN != 0).into());
    put("receiver_holds_it", (entry.flags & RELEASED != 0).into());
    if let Some(ids) = &entry.subscription_ids {
        put("subscription_ids", ids.to_vec().into());
    }
    match entry.via.as_deref() {
        Some(Via::Topic(topic)) => drop(put("via", json!({ "topic": topic }))),
        Some(Via::Exchange { exchange, key }) => {
            drop(put("via", json!({ "exchange": exchange, "routing_key": key })));
        }
        None => {}
    }
    typed("message", line)
}

/// A retained message.
#[must_use]
pub fn retained(key: &RetainedKey, body: &Message<'_>) -> Value {
    let mut line = message(body);
    line.insert("vhost".to_owned(), key.vhost.as_str().into());
    line.insert("topic".to_owned(), key.topic.as_str().into());
    typed("retained", line)
}

/// An exchange.
#[must_use]
pub fn exchange(key: &ExchangeKey, row: &ExchangeRow) -> Value {
    json!({
        "type": "exchange",
        "vhost": key.vhost,
        "name": key.name,
        "kind": row.kind,
        "auto_delete": row.auto_delete,
        "internal": row.internal,
        "arguments": arguments(&row.arguments),
    })
}

/// A binding.
#[must_use]
pub fn binding(key: &BindingKey) -> Value {
    json!({
        "type": "binding",
        "vhost": key.vhost,
        "source": key.source,
        "to": if key.to_exchange { "exchange" } else { "queue" },
        "destination": key.destination,
        "key": key.key,
        "arguments": arguments(&key.arguments),
    })
}

/// A log.
#[must_use]
pub fn log(log: &LogState) -> Value {
    let settings = log.config.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    let partitions = log.partitions.iter().map(|partition| {
        json!({
            "partition": partition.index(),
            "start": partition.log_start(),
            "end": partition.end(),
        })
    });
    json!({
        "type": "log",
        "vhost": log.vhost,
        "name": log.name,
        "uuid": log.uuid.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "created_ms": log.created_ms,
        "settings": settings.collect::<Map<_, _>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

/// A record of a log.
#[must_use]
pub fn record(log: &LogState, partition: u32, record: &Record<'_>) -> Value {
    let headers = record.headers().map(|(name, value)| json!([text(name), value.map(data)]));
    json!({
        "type": "record",
        "vhost": log.vhost,
        "log": log.name,
        "partition": partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": record.key.map(data),
        "value": record.value.map(data),
        "headers": headers.collect::<Vec<_>>(),
    })
}

/// A consumer group with its members.
#[must_use]
pub fn group(key: &GroupKey, put_ms: u64, described: &GroupDescription) -> Value {
    let members = described.members.iter().map(|member| {
        json!({
            "id": member.member_id,
            "instance_id": member.instance_id,
            "client_id": member.client_id,
            "client_host": member.client_host,
            "metadata": data(&member.metadata),
            "assignment": data(&member.assignment),
        })
    });
    json!({
        "type": "group",
        "vhost": key.vhost,
        "name": key.group,
        "put_ms": put_ms,
        "state": described.listing.state.name(),
        "protocol": described.protocol,
        "members": members.collect::<Vec<_>>(),
    })
}

/// A committed offset; `log` is the log's name.
#[must_use]
pub fn offset(key: &OffsetKey, log: &str, row: &OffsetRow) -> Value {
    json!({
        "type": "offset",
        "vhost": key.vhost,
        "group": key.group,
        "log": log,
        "partition": key.partition,
        "offset": row.offset,
        "leader_epoch": row.leader_epoch,
        "metadata": row.metadata,
        "committed_ms": row.committed_ms,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{arguments, data, retained, text};
    use crate::broker::message::{Form, Message};
    use crate::model::field_table::write::TableWriter;
    use crate::model::field_table::{FieldTable, FieldValue};
    use crate::model::ids::SHARD;
    use crate::store::tables::retained::RetainedKey;

    #[test]
    fn bytes_are_text_beside_base64_when_they_are_text() {
        assert_eq!(data("é".as_bytes()), json!({ "base64": "w6k=", "text": "é" }));
        assert_eq!(data(&[0xff]), json!({ "base64": "/w==" }));
        assert_eq!(text(b"a"), json!("a"));
        assert_eq!(text(&[0xff]), json!({ "base64": "/w==" }));
    }

    #[test]
    fn tables_keep_their_types() {
        let mut bytes = Vec::new();
        let mut writer = TableWriter::new(&mut bytes);
        writer.put("a", FieldValue::I32(-1)).unwrap();
        writer.put("b", FieldValue::Bool(true)).unwrap();
        writer.put("c", FieldValue::Void).unwrap();
        writer.put("d", FieldValue::F64(0.5)).unwrap();
        writer.string("e", "x").unwrap();
        let inner = bytes.clone();
        let mut writer = TableWriter::new(&mut bytes);
        writer.put("f", FieldValue::Table(FieldTable::stored(&inner))).unwrap();
        let flat = json!({ "a": -1, "b": true, "c": null, "d": 0.5, "e": "x" });
        let mut whole = flat.clone();
        whole["f"] = flat;
        assert_eq!(arguments(&bytes), whole);
    }

    #[test]
    fn a_retained_message_says_where_it_was_published() {
        let body = Message {
            time_ms: 1,
            expires_ms: None,
            topic: "k",
            properties: &[0, 0],
            client_id: "c",
            username: "u",
            payload: b"p",
            qos: crate::model::qos::QoS::AtLeastOnce,
            retain: true,
            will: false,
            form: Form::Exchange("e"),
        };
        let key = RetainedKey { shard: SHARD, vhost: "/".into(), topic: "t".into() };
        let line = retained(&key, &body);
        assert_eq!(line["type"], "retained");
        assert_eq!(line["topic"], "t");
        assert_eq!((&line["exchange"], &line["routing_key"]), (&json!("e"), &json!("k")));
        assert_eq!(line["payload"]["text"], "p");
    }
}
