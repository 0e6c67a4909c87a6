//! A route out of a log as written, checked and compiled. Part of `bridge::file`.

use crate::bridge::out_of_log::{OutOfLog, Way};
use crate::bridge::record_template::RecordTemplate;
use crate::broker::carry::Beginning;
use crate::broker::logs::name;
use crate::config::source::Fault;
use crate::model::qos::QoS;
use crate::model::topic::check_topic_name;

use super::compile::{check_exchange, exchange_type, refuse};
use super::{RouteSpec, ToSpec};

/// What no topic has; stands for what a place is filled with.
const FILLED: &str = "x";

/// Compiles the route of `spec` out of `log`.
pub(super) fn from_log(spec: &RouteSpec, log: &str) -> Result<OutOfLog, Fault> {
    refuse("from", &[("binding", spec.from.binding.is_some())], "with `log`")?;
    if !name::is_valid(log) {
        let text = format!("`{log}`: a log's name is 1 to 249 letters, digits, `.`, `_`, `-`");
        return Err(Fault::new("from.log", text));
    }
    let beginning = match spec.from.from.as_deref() {
        // What came before the route is not its own: as with routes from everywhere else.
        None | Some("latest") => Beginning::Latest,
        Some("earliest") => Beginning::Earliest,
        Some(other) => {
            let text = format!("`{other}`: expected `earliest` or `latest`");
            return Err(Fault::new("from.from", text));
        }
    };
    let to = &spec.to;
    let of_log = [
        ("log", to.log.is_some()),
        ("key", to.key.is_some()),
        ("partition", to.partition.is_some()),
        ("partitions", to.partitions.is_some()),
        ("escape", to.escape.is_some()),
    ];
    refuse("to", &of_log, "from `log`")?;
    let way = match (&to.mqtt, &to.exchange) {
        (Some(topic), None) => into_tree(spec, topic)?,
        (None, Some(exchange)) => into_exchange(spec, exchange)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Fault::new("to", "expected `mqtt` or `exchange`, one of them"));
        }
    };
    Ok(OutOfLog { log: log.into(), beginning, way })
}

fn into_tree(spec: &RouteSpec, topic: &str) -> Result<Way, Fault> {
    let to = &spec.to;
    refuse("to", &[("routing_key", to.routing_key.is_some())], "with `mqtt`")?;
    let topic = template("to.mqtt", topic)?;
    let example: String = topic.texts().map(|text| text.unwrap_or(FILLED)).collect();
    if let Err(error) = check_topic_name(example.as_bytes()) {
        return Err(Fault::new("to.mqtt", format!("`{example}`: {error}")));
    }
    Ok(Way::Tree { topic, qos: qos(to)?, retain: to.retain.unwrap_or(false) })
}

fn into_exchange(spec: &RouteSpec, exchange: &str) -> Result<Way, Fault> {
    let to = &spec.to;
    refuse("to", &[("retain", to.retain.is_some())], "with `exchange`")?;
    check_exchange("to.exchange", exchange)?;
    let key = template("to.routing_key", to.routing_key.as_deref().unwrap_or("{log}"))?;
    Ok(Way::Exchange {
        exchange: exchange.into(),
        exchange_type: exchange_type(spec)?,
        key,
        persistent: qos(to)? > QoS::AtMostOnce,
    })
}

fn qos(to: &ToSpec) -> Result<QoS, Fault> {
    let qos = to.qos.unwrap_or(1);
    let known = u8::try_from(qos).ok().and_then(QoS::from_bits);
    known.ok_or_else(|| Fault::new("to.qos", format!("`{qos}`: expected 0, 1 or 2")))
}

fn template(key: &str, text: &str) -> Result<RecordTemplate, Fault> {
    RecordTemplate::parse(text).map_err(|text| Fault::new(key, text))
}
