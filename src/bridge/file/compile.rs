//! One route as written, checked and compiled. Part of `bridge::file`.

use crate::bridge::into_exchange::IntoExchange;
use crate::bridge::into_log::{IntoLog, parse_partition};
use crate::bridge::into_tree::IntoTree;
use crate::bridge::route::{Route, Way};
use crate::bridge::template::Template;
use crate::broker::logs::name;
use crate::config::source::Fault;
use crate::model::ids::DEFAULT_VHOST;
use crate::model::routing_key::filter_of;
use crate::model::topic::TopicFilter;

use super::from_log::from_log;
use super::{FromSpec, PARTITIONS_MAX, RouteSpec, ToSpec};

/// Most bytes of an exchange's name (AMQP 0-9-1 short string).
const NAME_BYTES_MAX: usize = 255;
/// Types of exchanges that a route may declare.
const EXCHANGE_TYPES: [&str; 4] = ["topic", "direct", "fanout", "headers"];

/// Compiles `spec`.
pub(super) fn route(spec: &RouteSpec) -> Result<Route, Fault> {
    check_name(&spec.name)?;
    if spec.vhost != DEFAULT_VHOST {
        return Err(Fault::new("vhost", format!("there is no vhost but `{DEFAULT_VHOST}`")));
    }
    let from = &spec.from;
    let way = match (&from.mqtt, &from.exchange, &from.log) {
        (Some(filter), None, None) => from_tree(spec, filter)?,
        (None, Some(exchange), None) => Way::IntoTree(from_exchange(spec, exchange)?),
        (None, None, Some(log)) => Way::OutOfLog(from_log(spec, log)?),
        _ => {
            return Err(Fault::new("from", "expected `mqtt`, `exchange` or `log`, one of them"));
        }
    };
    let (name, vhost) = (spec.name.as_str().into(), spec.vhost.as_str().into());
    let route = Route { name, vhost, way };
    if spec.exchange_type.is_some() && route.exchange().is_none() {
        return Err(Fault::new("exchange_type", "this route has no exchange"));
    }
    Ok(route)
}

/// Keys that only routes out of logs have.
fn refuse_of_records(spec: &RouteSpec) -> Result<(), Fault> {
    let (from, to) = (&spec.from, &spec.to);
    refuse("from", &[("from", from.from.is_some())], "without `log`")?;
    let of_records = [("qos", to.qos.is_some()), ("retain", to.retain.is_some())];
    refuse("to", &of_records, "but from `log`")
}

fn from_tree(spec: &RouteSpec, filter: &str) -> Result<Way, Fault> {
    refuse_of_records(spec)?;
    let FromSpec { binding, .. } = &spec.from;
    refuse("from", &[("binding", binding.is_some())], "with `mqtt`")?;
    let filter = TopicFilter::parse(filter)
        .map_err(|error| Fault::new("from.mqtt", format!("`{filter}`: {error}")))?;
    if filter.share_group().is_some() {
        return Err(Fault::new("from.mqtt", "a route is no member of a `$share` group"));
    }
    let to = &spec.to;
    let of_tree = [("mqtt", to.mqtt.is_some()), ("escape", to.escape.is_some())];
    match (&to.log, &to.exchange) {
        (Some(log), None) => {
            refuse("to", &of_tree, "from `mqtt`")?;
            refuse("to", &[("routing_key", to.routing_key.is_some())], "with `log`")?;
            into_log(to, log, filter).map(Way::IntoLog)
        }
        (None, Some(exchange)) => {
            refuse("to", &of_tree, "from `mqtt`")?;
            refuse("to", &of_log(to), "with `exchange`")?;
            into_exchange(spec, exchange, filter).map(Way::IntoExchange)
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(Fault::new("to", "expected `log` or `exchange`, one of them"))
        }
    }
}

/// Keys that belong to logs only, and whether they are set.
fn of_log(to: &ToSpec) -> [(&'static str, bool); 4] {
    [
        ("log", to.log.is_some()),
        ("key", to.key.is_some()),
        ("partition", to.partition.is_some()),
        ("partitions", to.partitions.is_some()),
    ]
}

pub(super) fn refuse(table: &str, keys: &[(&str, bool)], why: &str) -> Result<(), Fault> {
    match keys.iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((key, _)) => {
            let text = format!("`{key}` has no meaning {why}");
            Err(Fault::new(format!("{table}.{key}"), text))
        }
    }
}

fn template(key: &str, text: &str, filter: &TopicFilter) -> Result<Template, Fault> {
    Template::parse(text, filter).map_err(|text| Fault::new(format!("to.{key}"), text))
}

fn into_log(to: &ToSpec, log: &str, filter: TopicFilter) -> Result<IntoLog, Fault> {
    let log = template("log", log, &filter)?;
    check_log(&log)?;
    // One topic stays in order.
    let key = match to.key.as_deref().unwrap_or("{topic}") {
        "" => None,
        text => Some(template("key", text, &filter)?),
    };
    let partitions = to.partitions;
    if partitions.is_some_and(|count| !(1..=PARTITIONS_MAX).contains(&count)) {
        return Err(Fault::new("to.partitions", format!("expected 1 to {PARTITIONS_MAX}")));
    }
    let partition = to.partition.as_deref();
    let partition = partition.map(|text| template("partition", text, &filter)).transpose()?;
    if let Some(fixed) = partition.as_ref().and_then(Template::fixed) {
        let number = parse_partition(fixed.as_bytes());
        if number.is_none_or(|number| partitions.is_some_and(|count| number >= count)) {
            let text = format!("`{fixed}` is no partition: they are numbered from 0");
            return Err(Fault::new("to.partition", text));
        }
    }
    Ok(IntoLog { filter, partitions, log, key, partition })
}

fn into_exchange(
    spec: &RouteSpec,
    exchange: &str,
    filter: TopicFilter,
) -> Result<IntoExchange, Fault> {
    check_exchange("to.exchange", exchange)?;
    let text = spec.to.routing_key.as_deref().unwrap_or("{topic}");
    let key = template("routing_key", text, &filter)?;
    if !key.is_of_address() {
        let text = "a routing key is made of the topic and the publisher, not of each message";
        return Err(Fault::new("to.routing_key", text));
    }
    let exchange_type = exchange_type(spec)?;
    Ok(IntoExchange { filter, exchange: exchange.into(), exchange_type, key })
}

fn from_exchange(spec: &RouteSpec, exchange: &str) -> Result<IntoTree, Fault> {
    refuse_of_records(spec)?;
    check_exchange("from.exchange", exchange)?;
    let to = &spec.to;
    refuse("to", &of_log(to), "from `exchange`")?;
    let of_exchange =
        [("exchange", to.exchange.is_some()), ("routing_key", to.routing_key.is_some())];
    refuse("to", &of_exchange, "from `exchange`")?;
    let binding = spec.from.binding.as_deref().unwrap_or("#");
    let filter = filter_of(binding)
        .map_err(|error| Fault::new("from.binding", format!("`{binding}`: {error}")))?;
    let topic = template("mqtt", to.mqtt.as_deref().unwrap_or("{topic}"), &filter)?;
    if !topic.is_of_address() || topic.asks_publisher() {
        let text = "a topic is made of the routing key alone, not of each message or publisher";
        return Err(Fault::new("to.mqtt", text));
    }
    Ok(IntoTree {
        exchange: exchange.into(),
        exchange_type: exchange_type(spec)?,
        binding: binding.into(),
        filter,
        escapes: to.escape.unwrap_or(false),
        topic,
    })
}

pub(super) fn exchange_type(spec: &RouteSpec) -> Result<Box<str>, Fault> {
    let written = spec.exchange_type.as_deref().unwrap_or("topic");
    if EXCHANGE_TYPES.contains(&written) {
        return Ok(written.into());
    }
    let text =
        format!("`{written}`: expected {}", EXCHANGE_TYPES.map(|t| format!("`{t}`")).join(", "));
    Err(Fault::new("exchange_type", text))
}

pub(super) fn check_exchange(key: &str, exchange: &str) -> Result<(), Fault> {
    if (1..=NAME_BYTES_MAX).contains(&exchange.len()) {
        return Ok(());
    }
    Err(Fault::new(key, format!("expected 1 to {NAME_BYTES_MAX} bytes")))
}

/// A route's name is a label of its metrics.
fn check_name(name: &str) -> Result<(), Fault> {
    let plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if plain && (1..=128).contains(&name.len()) {
        return Ok(());
    }
    Err(Fault::new("name", format!("`{name}`: expected 1 to 128 letters, digits, `.`, `_`, `-`")))
}

/// What is fixed of a log's name is checked now, the rest with each message.
fn check_log(log: &Template) -> Result<(), Fault> {
    let text = match log.fixed() {
        Some(name) if name::is_valid(name) => return Ok(()),
        Some(name) => name,
        None => match log.texts().find(|text| !name::is_valid(&format!("x{text}"))) {
            Some(text) => text,
            None => return Ok(()),
        },
    };
    let text = format!("`{text}`: a log's name is 1 to 249 letters, digits, `.`, `_`, `-`");
    Err(Fault::new("to.log", text))
}
