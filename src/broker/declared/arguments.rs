//! Arguments of a queue's declaration. Part of `broker::declared`.
//!
//! | argument | |
//! |---|---|
//! | `x-message-ttl`, `x-expires`, `x-max-length`, `x-max-length-bytes` | honoured |
//! | `x-overflow` | `drop-head`, `reject-publish` |
//! | `x-queue-type` | `classic` |
//! | `x-queue-mode`, `x-queue-version` | checked, without meaning: there is one kind of queue |
//! | those of dead letters, priorities, single active consumers, quorum queues and streams | refused |
//! | others | ignored, as RabbitMQ does |

use crate::model::field_table::{FieldTable, FieldValue};

/// The longest time RabbitMQ takes, ms: ten years.
const TIME_MS_MAX: i64 = 315_360_000_000;

/// What happens to a message that a queue at its limit cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest ready messages go.
    #[default]
    DropHead,
    /// The new message is refused; its publisher is told.
    RejectPublish,
}

/// The arguments that mean something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `x-message-ttl`: how long a message stays, ms.
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`: how long the queue stays unused, ms.
    pub expires_ms: Option<u64>,
    /// `x-max-length`: ready messages.
    pub length_max: Option<u64>,
    /// `x-max-length-bytes`: bytes of their payloads.
    pub length_bytes_max: Option<u64>,
    /// `x-overflow`.
    pub overflow: Overflow,
}

/// An argument that a queue cannot be declared with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid arg '{name}': {reason}")]
pub struct ArgumentError {
    /// The argument.
    pub name: Box<str>,
    /// What is wrong with it, in RabbitMQ's words where it has some: what follows
    /// `invalid arg 'NAME' for queue 'QUEUE' in vhost 'VHOST': `.
    pub reason: Box<str>,
}

impl Arguments {
    /// Reads a field table (without its length) that was checked.
    ///
    /// # Errors
    /// The first argument that is not supported, or not as it must be.
    pub fn parse(table: &[u8]) -> Result<Self, ArgumentError> {
        let mut arguments = Self::default();
        for (name, value) in FieldTable::stored(table).iter() {
            arguments
                .read(name, &value)
                .map_err(|reason| ArgumentError { name: name.into(), reason: reason.into() })?;
        }
        Ok(arguments)
    }

    fn read(&mut self, name: &str, value: &FieldValue<'_>) -> Result<(), String> {
        match name {
            "x-message-ttl" => self.message_ttl_ms = Some(time_ms(value)?),
            "x-expires" => match time_ms(value)? {
                0 => return Err("{value_zero,0}".to_owned()),
                ms => self.expires_ms = Some(ms),
            },
            "x-max-length" => self.length_max = Some(count(value)?),
            "x-max-length-bytes" => self.length_bytes_max = Some(count(value)?),
            "x-overflow" => {
                self.overflow = match text(value)? {
                    "drop-head" => Overflow::DropHead,
                    "reject-publish" => Overflow::RejectPublish,
                    "reject-publish-dlx" => return Err(not_yet("'reject-publish-dlx'")),
                    _ => return Err("invalid_overflow".to_owned()),
                };
            }
            "x-queue-type" => match text(value)? {
                "classic" => {}
                other @ ("quorum" | "stream") => {
                    return Err(not_yet(&format!("queue type '{other}'")));
                }
                other => return Err(format!("\"unsupported queue type '{other}'\"")),
            },
            "x-queue-mode" => match text(value)? {
                "default" | "lazy" => {}
                _ => return Err("invalid_queue_mode".to_owned()),
            },
            "x-queue-version" => match count(value)? {
                1 | 2 => {}
                other => return Err(format!("\"unsupported queue version '{other}'\"")),
            },
            "x-dead-letter-exchange"
            | "x-dead-letter-routing-key"
            | "x-dead-letter-strategy"
            | "x-max-priority"
            | "x-single-active-consumer"
            | "x-delivery-limit"
            | "x-consumer-timeout"
            | "x-max-age"
            | "x-stream-max-segment-size-bytes"
            | "x-stream-filter-size-bytes"
            | "x-initial-cluster-size"
            | "x-quorum-initial-group-size"
            | "x-max-in-memory-length"
            | "x-max-in-memory-bytes" => return Err(not_yet("it")),
            _ => {}
        }
        Ok(())
    }
}

fn not_yet(what: &str) -> String {
    format!("{what} is not implemented yet, see docs/amqp-compatibility.md")
}

fn unacceptable(value: &FieldValue<'_>) -> String {
    format!("{{unacceptable_type,{}}}", value.type_name())
}

fn integer(value: &FieldValue<'_>) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| unacceptable(value))
}

fn count(value: &FieldValue<'_>) -> Result<u64, String> {
    let number = integer(value)?;
    u64::try_from(number).map_err(|_| format!("{{value_negative,{number}}}"))
}

fn time_ms(value: &FieldValue<'_>) -> Result<u64, String> {
    match integer(value)? {
        number if number > TIME_MS_MAX => Err(format!("{{value_too_large,{number}}}")),
        _ => count(value),
    }
}

fn text<'a>(value: &FieldValue<'a>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| unacceptable(value))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Arguments, Overflow};
    use crate::model::field_table::FieldValue;
    use crate::model::field_table::write::TableWriter;

    fn parse(entries: &[(&str, FieldValue<'_>)]) -> Result<Arguments, String> {
        let mut table = Vec::new();
        let mut writer = TableWriter::new(&mut table);
        for (name, value) in entries {
            writer.put(name, *value).unwrap();
        }
        Arguments::parse(&table).map_err(|error| error.reason.into())
    }

    fn refusal(name: &str, value: FieldValue<'_>) -> String {
        parse(&[(name, value)]).unwrap_err()
    }

    fn text(value: &str) -> FieldValue<'_> {
        FieldValue::LongString(value.as_bytes())
    }

    #[test]
    fn what_means_something_is_read_whatever_its_integer_type() {
        let parsed = parse(&[
            ("x-message-ttl", FieldValue::I32(0)),
            ("x-expires", FieldValue::I64(1 << 37)),
            ("x-max-length", FieldValue::U8(3)),
            ("x-max-length-bytes", FieldValue::I16(4)),
            ("x-overflow", text("reject-publish")),
            ("x-queue-type", text("classic")),
            ("x-queue-mode", text("lazy")),
            ("x-queue-version", FieldValue::I32(2)),
            ("x-queue-master-locator", text("min-masters")),
            ("anything", FieldValue::Void),
        ]);
        let expected = Arguments {
            message_ttl_ms: Some(0),
            expires_ms: Some(1 << 37),
            length_max: Some(3),
            length_bytes_max: Some(4),
            overflow: Overflow::RejectPublish,
        };
        assert_eq!(parsed, Ok(expected));
        assert_eq!(parse(&[]), Ok(Arguments::default()));
    }

    #[test]
    fn what_is_wrong_is_said_in_rabbitmqs_words() {
        let too_long = FieldValue::I64(31_536_000_000_000);
        assert_eq!(refusal("x-message-ttl", FieldValue::I32(-1)), "{value_negative,-1}");
        assert_eq!(refusal("x-message-ttl", text("5")), "{unacceptable_type,longstr}");
        assert_eq!(refusal("x-message-ttl", too_long), "{value_too_large,31536000000000}");
        assert_eq!(refusal("x-expires", FieldValue::I32(0)), "{value_zero,0}");
        assert_eq!(refusal("x-max-length", FieldValue::Bool(true)), "{unacceptable_type,bool}");
        assert_eq!(refusal("x-overflow", text("drop")), "invalid_overflow");
        assert_eq!(refusal("x-queue-mode", text("eager")), "invalid_queue_mode");
    }

    #[test]
    fn what_is_not_there_is_refused_and_not_ignored() {
        let refused = [
            ("x-dead-letter-exchange", text("d")),
            ("x-max-priority", FieldValue::I32(10)),
            ("x-single-active-consumer", FieldValue::Bool(true)),
            ("x-delivery-limit", FieldValue::I32(3)),
            ("x-queue-type", text("quorum")),
            ("x-overflow", text("reject-publish-dlx")),
        ];
        for (name, value) in refused {
            assert!(refusal(name, value).contains("not implemented yet"), "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_tables_never_panic(bytes in vec(any::<u8>(), 0..60)) {
            std::hint::black_box(Arguments::parse(&bytes)).ok();
        }
    }
}
