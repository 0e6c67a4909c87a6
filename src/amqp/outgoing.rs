//! A message as AMQP clients see it, wherever it was published. Part of `amqp`.
//!
//! What was published to an exchange leaves as it came. What was published to a topic is seen behind `amq.topic`
//! under the mapped routing key, its metadata as `model::crossing` says (design §4).

use std::borrow::Cow;

use crate::amqp::codec::content::Content;
use crate::broker::consumer::Encodings;
use crate::broker::exchanges::vhost::TREE;
use crate::broker::message::{Form, Message};
use crate::broker::via::Via;
use crate::model::crossing::{TopicMetadata, topic_to_content};
use crate::model::routing_key::to_key;

/// What of a header frame is not properties: frame head and end, class, weight and body size.
const HEADER_BYTES: u32 = 20;
/// Marks the property block of a crossing among shared encodings; other kinds are small numbers.
const SHARED_KEY: u64 = 1 << 40;

/// Where a message comes from, and its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The exchange.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: Cow<'a, str>,
}

/// The address of `message` towards AMQP clients.
#[must_use]
pub fn address<'a>(message: &Message<'a>, via: Option<&'a Via>) -> Address<'a> {
    match (via, message.form) {
        (Some(Via::Exchange { exchange, key }), _) => {
            Address { exchange, routing_key: Cow::Borrowed(key) }
        }
        (Some(Via::Topic(topic)), _) => of_topic(topic),
        (None, Form::Topic) => of_topic(message.topic),
        (None, Form::Exchange(exchange)) => {
            Address { exchange, routing_key: Cow::Borrowed(message.topic) }
        }
    }
}

/// A topic whose key is too long matches no binding, so none comes here; if one did, it would have no key.
fn of_topic(topic: &str) -> Address<'_> {
    Address { exchange: TREE, routing_key: to_key(topic).unwrap_or_default() }
}

/// Calls `write` with the content of `message` for a peer of this `frame_bytes_max`.
pub fn with_content<R>(
    message: &Message<'_>,
    now_ms: u64,
    frame_bytes_max: u32,
    encodings: &mut Encodings,
    write: impl FnOnce(&Content<'_>) -> R,
) -> R {
    if let Form::Exchange(_) = message.form {
        return write(&Content { properties: message.properties, body: message.payload });
    }
    let metadata = TopicMetadata {
        properties: message.properties,
        qos: message.qos,
        retain: message.retain,
        will: message.will,
        expires_in_ms: message.expires_ms.map(|at| at.saturating_sub(now_ms)),
        client_id: None,
        login: Some(message.username).filter(|name| !name.is_empty()),
    };
    // A property block cannot be cut into frames.
    let bytes_max = frame_bytes_max.saturating_sub(HEADER_BYTES) as usize;
    let cross = |out: &mut Vec<u8>| {
        topic_to_content(&metadata, bytes_max, out);
    };
    if encodings.shared {
        let shared = encodings.get(SHARED_KEY | u64::from(frame_bytes_max), |out| {
            cross(out);
            None
        });
        if let Some(shared) = shared {
            return write(&Content { properties: &shared.bytes, body: message.payload });
        }
    }
    let mut properties = Vec::new();
    cross(&mut properties);
    write(&Content { properties: &properties, body: message.payload })
}

#[cfg(test)]
mod tests {
    use super::{address, with_content};
    use crate::broker::consumer::Encodings;
    use crate::broker::message::{Form, Message};
    use crate::broker::via::Via;
    use crate::model::content::Properties;
    use crate::model::qos::QoS;

    fn message<'a>(topic: &'a str, form: Form<'a>) -> Message<'a> {
        Message {
            time_ms: 0,
            expires_ms: Some(5000),
            topic,
            properties: &[],
            client_id: "",
            username: "",
            payload: b"x",
            qos: QoS::AtLeastOnce,
            retain: false,
            will: false,
            form,
        }
    }

    #[test]
    fn a_topic_is_seen_behind_amq_topic_and_a_route_may_say_otherwise() {
        let of = |message: &Message<'_>, via: Option<&Via>| {
            let found = address(message, via);
            format!("{}|{}", found.exchange, found.routing_key)
        };
        let from_tree = message("plant.1/temp", Form::Topic);
        let from_exchange = message("a.b", Form::Exchange("logs"));
        let exchange = Via::Exchange { exchange: "x".into(), key: "k".into() };
        let topic = Via::Topic("t/u".into());
        assert_eq!(of(&from_tree, None), "amq.topic|plant/1.temp");
        assert_eq!(of(&from_exchange, None), "logs|a.b");
        assert_eq!(of(&from_tree, Some(&exchange)), "x|k");
        assert_eq!(of(&from_exchange, Some(&topic)), "amq.topic|t.u");
    }

    #[test]
    fn what_crosses_is_converted_once_for_all() {
        let mut encodings = Encodings::default();
        encodings.reset(true);
        let crossing = message("t", Form::Topic);
        for _ in 0..2 {
            with_content(&crossing, 1000, 4096, &mut encodings, |content| {
                let properties = Properties::stored(content.properties);
                assert_eq!(properties.delivery_mode(), Some(2));
                assert_eq!(properties.expiration(), Some(&b"4000"[..]));
                assert_eq!(content.body, b"x");
            });
        }
        let staying = Message { properties: &[0, 0], ..message("t", Form::Exchange("")) };
        with_content(&staying, 0, 4096, &mut encodings, |content| {
            assert_eq!(content.properties, [0, 0]);
        });
    }
}
