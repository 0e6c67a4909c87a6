//! What of a message a log's record carries, and under which names. Part of `broker/logs`; pure.
//!
//! The value is the payload, byte for byte. Headers, in this order:
//!
//! | header | value |
//! |---|---|
//! | user properties | order and duplicates kept; a name that begins with `mqtt-` gets `mqtt-user-` before it |
//! | `content-type` | content type |
//! | `mqtt-topic` | topic |
//! | `mqtt-qos` | `0`, `1` or `2` as published |
//! | `mqtt-client-id` | publisher's client identifier |
//! | `mqtt-retain` | `true`, only when published with the retain flag |
//! | `mqtt-response-topic`, `mqtt-correlation-data` | as published |
//! | `mqtt-payload-format` | `utf-8`, only when the publisher says so |
//! | `mqtt-message-expiry` | seconds, as published |

use std::borrow::Cow;

use crate::model::message::Publication;
use crate::model::property::{Property, properties};

/// The prefix of headers that the broker writes.
const RESERVED: &str = "mqtt-";
/// What a user property gets whose name would look like one of those.
const ESCAPE: &str = "mqtt-user-";

/// Headers of one record, in memory that the next record's use again.
#[derive(Debug, Default)]
pub struct Headers {
    names: String,
    values: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.names.clear();
        self.values.clear();
        self.ends.clear();
    }

    /// Adds one.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.ends.push((self.names.len(), self.values.len()));
    }

    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> Vec<(&str, &[u8])> {
        let mut begin = (0, 0);
        let mut all = Vec::with_capacity(self.ends.len());
        for &(name_end, value_end) in &self.ends {
            let name = self.names.get(begin.0..name_end).unwrap_or_default();
            all.push((name, self.values.get(begin.1..value_end).unwrap_or_default()));
            begin = (name_end, value_end);
        }
        all
    }
}

/// Calls `emit` with name and value of each header of the record that `message`, published by `client_id`,
/// becomes.
pub fn headers(message: &Publication<'_>, client_id: &str, mut emit: impl FnMut(&str, &[u8])) {
    for property in properties(message.properties) {
        if let Property::User(name, value) = property {
            emit(&user_header(name), value.as_bytes());
        }
    }
    for property in properties(message.properties) {
        if let Property::ContentType(value) = property {
            emit("content-type", value.as_bytes());
        }
    }
    emit("mqtt-topic", message.topic.as_bytes());
    let qos = b'0' + message.qos as u8;
    emit("mqtt-qos", &[qos]);
    emit("mqtt-client-id", client_id.as_bytes());
    if message.retain {
        emit("mqtt-retain", b"true");
    }
    for property in properties(message.properties) {
        match property {
            Property::ResponseTopic(topic) => emit("mqtt-response-topic", topic.as_bytes()),
            Property::CorrelationData(data) => emit("mqtt-correlation-data", data),
            Property::PayloadFormat(true) => emit("mqtt-payload-format", b"utf-8"),
            Property::PayloadFormat(false) | Property::User(..) | Property::ContentType(_) => {}
        }
    }
    if let Some(seconds) = message.expiry_s {
        emit("mqtt-message-expiry", seconds.to_string().as_bytes());
    }
}

fn user_header(name: &str) -> Cow<'_, str> {
    if name.starts_with(RESERVED) {
        Cow::Owned(format!("{ESCAPE}{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Headers, headers};
    use crate::model::message::Publication;
    use crate::model::property::{Property, tests::block};
    use crate::model::qos::QoS;

    fn collect(message: &Publication<'_>) -> Vec<(String, Vec<u8>)> {
        let mut found = Headers::default();
        found.push("an earlier record's", b"x");
        found.clear();
        headers(message, "dev", |name, value| found.push(name, value));
        found.all().iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
    }

    fn message(properties: &[u8]) -> Publication<'_> {
        Publication {
            topic: "a/b",
            payload: b"x",
            properties,
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry_s: None,
        }
    }

    #[test]
    fn a_plain_message_says_where_it_came_from() {
        let expected: Vec<(String, Vec<u8>)> =
            [("mqtt-topic", "a/b"), ("mqtt-qos", "1"), ("mqtt-client-id", "dev")]
                .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                .into();
        assert_eq!(collect(&message(&[])), expected);
    }

    #[test]
    fn nothing_of_a_full_message_is_lost_or_taken_for_something_else() {
        let block = block(&[
            Property::PayloadFormat(true),
            Property::User("k", "1"),
            Property::ContentType("text/plain"),
            Property::User("mqtt-topic", "forged"),
            Property::ResponseTopic("r"),
            Property::CorrelationData(&[0, 255]),
            Property::User("k", "2"),
        ]);
        let full = Publication { retain: true, expiry_s: Some(60), ..message(&block) };
        let expected: Vec<(String, Vec<u8>)> = [
            ("k", b"1".as_slice()),
            ("mqtt-user-mqtt-topic", b"forged"),
            ("k", b"2"),
            ("content-type", b"text/plain"),
            ("mqtt-topic", b"a/b"),
            ("mqtt-qos", b"1"),
            ("mqtt-client-id", b"dev"),
            ("mqtt-retain", b"true"),
            ("mqtt-payload-format", b"utf-8"),
            ("mqtt-response-topic", b"r"),
            ("mqtt-correlation-data", &[0, 255]),
            ("mqtt-message-expiry", b"60"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .into();
        assert_eq!(collect(&full), expected);
    }
}
