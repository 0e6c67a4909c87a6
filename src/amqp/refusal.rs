//! What the broker refuses, in the codes and words of RabbitMQ. Part of `amqp`: the one place where its errors
//! become reply codes.

use crate::amqp::error::{Fault, ReplyCode};
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::declared::verbs::ConsumeError;
use crate::broker::exchanges::error::TopologyError;
use crate::broker::publish::exchange::PublishError;
use crate::model::content::ExpirationError;

/// The journal takes nothing: nothing was promised, and nothing is known to be lost.
const NOT_STORED: &str = "the journal cannot be written at the moment";

/// A change of the topology was refused.
#[must_use]
pub fn topology(error: &TopologyError) -> Fault {
    let code = match error {
        TopologyError::NotFound { .. } => ReplyCode::NotFound,
        TopologyError::Locked { .. } => ReplyCode::ResourceLocked,
        TopologyError::AccessRefused(_) | TopologyError::DefaultExchange => {
            ReplyCode::AccessRefused
        }
        TopologyError::UnknownType(_) => ReplyCode::CommandInvalid,
        TopologyError::NoVhost(_) => ReplyCode::NotAllowed,
        TopologyError::Inequivalent { .. }
        | TopologyError::InUse { .. }
        | TopologyError::NotEmpty { .. }
        | TopologyError::BadArgument(_)
        | TopologyError::Limit(_) => ReplyCode::PreconditionFailed,
        TopologyError::Journal(_) => {
            return Fault::new(ReplyCode::InternalError, NOT_STORED);
        }
    };
    Fault::new(code, error.to_string())
}

/// Messages of `queue` are not to be had.
#[must_use]
pub fn consuming(error: &ConsumeError, queue: &DeclaredQueue) -> Fault {
    let (name, vhost) = (&queue.name, &queue.vhost);
    match error {
        ConsumeError::NotAuthorized(why) => Fault::new(ReplyCode::AccessRefused, why.clone()),
        ConsumeError::Locked => {
            topology(&TopologyError::Locked { name: name.to_string(), vhost: vhost.to_string() })
        }
        ConsumeError::ExclusiveInUse => Fault::new(
            ReplyCode::AccessRefused,
            format!("queue '{name}' in vhost '{vhost}' in exclusive use"),
        ),
        ConsumeError::Gone => topology(&TopologyError::no_queue(vhost, name)),
        ConsumeError::Journal(_) => Fault::new(ReplyCode::InternalError, NOT_STORED),
        ConsumeError::Storage(why) => {
            tracing::error!(queue = &**name, why, "a message of a queue cannot be read");
            let text = format!("cannot get a message from queue '{name}' in vhost '{vhost}'");
            Fault::new(ReplyCode::InternalError, text)
        }
    }
}

/// A message for `exchange` went nowhere.
#[must_use]
pub fn publishing(error: &PublishError, exchange: &str, vhost: &str, login: &str) -> Fault {
    match error {
        PublishError::NoExchange => topology(&TopologyError::no_exchange(vhost, exchange)),
        PublishError::Internal => Fault::new(
            ReplyCode::AccessRefused,
            format!("cannot publish to internal exchange '{exchange}' in vhost '{vhost}'"),
        ),
        PublishError::NotAuthorized => {
            let name = if exchange.is_empty() { "amq.default" } else { exchange };
            Fault::new(
                ReplyCode::AccessRefused,
                format!(
                    "access to exchange '{name}' in vhost '{vhost}' refused for user '{login}'"
                ),
            )
        }
        PublishError::Journal(_) => Fault::new(ReplyCode::InternalError, NOT_STORED),
        PublishError::Limit(_) => Fault::new(ReplyCode::PreconditionFailed, error.to_string()),
    }
}

/// An expiration that is none, as RabbitMQ prints it.
#[must_use]
pub fn expiration(error: ExpirationError, text: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(text);
    let digits = text.trim_start_matches('+');
    let reason = match error {
        ExpirationError::NotANumber => {
            let signed = text.strip_prefix(['-', '+']).unwrap_or(&text);
            let rest = signed.trim_start_matches(|c: char| c.is_ascii_digit());
            if rest.len() == signed.len() {
                "no_integer".to_owned()
            } else {
                format!("{{leftover_string,\"{rest}\"}}")
            }
        }
        ExpirationError::Negative => format!("{{value_negative,{digits}}}"),
        ExpirationError::TooLarge => {
            format!("{{value_too_large,{}}}", digits.trim_start_matches('0'))
        }
    };
    Fault::new(ReplyCode::PreconditionFailed, format!("invalid expiration '{text}': {reason}"))
}

#[cfg(test)]
mod tests {
    use super::{expiration, publishing, topology};
    use crate::broker::exchanges::error::TopologyError;
    use crate::broker::publish::exchange::PublishError;
    use crate::model::content::expiration_ms;

    #[test]
    fn texts_are_those_that_clients_look_for() {
        assert_eq!(
            topology(&TopologyError::no_queue("/", "q")).reply_text(),
            "NOT_FOUND - no queue 'q' in vhost '/'"
        );
        assert_eq!(
            publishing(&PublishError::NoExchange, "x", "/", "guest").reply_text(),
            "NOT_FOUND - no exchange 'x' in vhost '/'"
        );
        assert_eq!(
            publishing(&PublishError::NotAuthorized, "", "/", "alice").reply_text(),
            "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'alice'"
        );
    }

    #[test]
    fn a_bad_expiration_is_explained_as_erlang_does() {
        for (text, reason) in [
            ("x", "no_integer"),
            (" 5", "no_integer"),
            ("5 ", "{leftover_string,\" \"}"),
            ("1e3", "{leftover_string,\"e3\"}"),
            ("-1", "{value_negative,-1}"),
            ("31536000000000", "{value_too_large,31536000000000}"),
        ] {
            let error = expiration_ms(text.as_bytes()).unwrap_err();
            let found = expiration(error, text.as_bytes()).reply_text();
            assert_eq!(
                found,
                format!("PRECONDITION_FAILED - invalid expiration '{text}': {reason}")
            );
        }
    }
}
