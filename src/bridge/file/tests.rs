//! Route files: what loads, what is refused and how, and where messages go. Tests of `bridge::file` and
//! `bridge::route`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{load, parse};
use crate::bridge::counters::RouteMetrics;
use crate::bridge::into_log::{IntoLog, Target};
use crate::bridge::route::{Route, Way};
use crate::bridge::template::{RenderError, RouteContext};
use crate::broker::carry::{Beginning, Outgoing, Outlet};
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::records::records;
use crate::config::source::Source;
use crate::metrics::Metrics;
use crate::metrics::label::RouteFailure;
use crate::model::qos::QoS;

const TELEMETRY: &str = "[[route]]\nname = \"t\"\nfrom = { mqtt = \"factory/+/telemetry/#\" }\n\
                         to = { log = \"telemetry\", key = \"{1}\", partitions = 12 }\n";

fn one(text: &str) -> Arc<Route> {
    parse(Source::named("r.toml", text.to_owned())).unwrap().remove(0)
}

fn into_log(route: &Route) -> IntoLog {
    match &route.way {
        Way::IntoLog(way) => way.clone(),
        other => panic!("{other:?}"),
    }
}

fn route(to: &str) -> IntoLog {
    let text = format!("[[route]]\nname = \"r\"\nfrom = {{ mqtt = \"f/+/#\" }}\nto = {{ {to} }}\n");
    into_log(&one(&text))
}

fn fault(text: &str) -> String {
    parse(Source::named("r.toml", text)).expect_err(text).to_string()
}

fn at(topic: &str) -> RouteContext<'_> {
    RouteContext { topic, client_id: "c", username: None, properties: &[], payload: b"{}" }
}

#[test]
fn a_message_goes_where_the_route_aims() {
    let route = one(TELEMETRY);
    assert_eq!((&*route.name, route.fixed_log()), ("t", Some(("telemetry", Some(12)))));
    let route = into_log(&route);
    assert!(route.filter.matches("factory/7/telemetry"));
    let mut target = Target::default();
    route.aim(&at("factory/7/telemetry/x"), &mut target).unwrap();
    assert_eq!((target.log(), target.key()), ("telemetry", Some(b"7".as_slice())));
    assert_eq!(target.explicit(), None);
}

#[test]
fn the_key_is_the_topic_unless_said_otherwise_and_empty_means_none() {
    let mut target = Target::default();
    route("log = \"l\"").aim(&at("f/1"), &mut target).unwrap();
    assert_eq!(target.key(), Some(b"f/1".as_slice()));
    route("log = \"l\", key = \"\"").aim(&at("f/1"), &mut target).unwrap();
    assert_eq!(target.key(), None);
}

#[test]
fn an_explicit_partition_is_a_number() {
    let route = route("log = \"l\", partition = \"{1}\"");
    let mut target = Target::default();
    route.aim(&at("f/3"), &mut target).unwrap();
    assert_eq!(target.explicit(), Some(3));
    for topic in ["f/x", "f/-1", "f/+1", "f/", "f/99999999999"] {
        assert_eq!(route.aim(&at(topic), &mut target), Err(RenderError::BadPartition), "{topic}");
    }
}

#[test]
fn a_log_name_from_a_message_must_be_one() {
    let route = route("log = \"plant-{1}\"");
    assert_eq!(route.fixed_log(), None);
    let mut target = Target::default();
    route.aim(&at("f/a_1.b"), &mut target).unwrap();
    assert_eq!(target.log(), "plant-a_1.b");
    for topic in ["f/a b", "f/é", &format!("f/{}", "x".repeat(250))] {
        assert_eq!(route.aim(&at(topic), &mut target), Err(RenderError::BadLogName), "{topic}");
    }
}

#[test]
fn faults_name_file_line_and_key() {
    let with = |from: &str, to: &str| {
        format!("\n[[route]]\nname = \"r\"\nfrom = {{ mqtt = \"{from}\" }}\nto = {{ {to} }}\n")
    };
    for (text, start) in [
        (with("a/#/b", "log = \"l\""), "r.toml:4: route[0].from.mqtt: `a/#/b`: "),
        (with("$share/g/a", "log = \"l\""), "r.toml:4: route[0].from.mqtt: a route is no member"),
        (
            with("a/+", "log = \"l\", key = \"{2}\""),
            "r.toml:5: route[0].to.key: `{2}`: the filter `a/+`",
        ),
        (with("a", "log = \"a/b\""), "r.toml:5: route[0].to.log: `a/b`: a log's name"),
        (with("+", "log = \"a b{1}\""), "r.toml:5: route[0].to.log: `a b`: "),
        (with("a", "log = \"\""), "r.toml:5: route[0].to.log: "),
        (with("a", "log = \"l\", partitions = 0"), "r.toml:5: route[0].to.partitions: "),
        (with("a", "log = \"l\", partition = \"x\""), "r.toml:5: route[0].to.partition: `x`"),
        (
            with("a", "log = \"l\", partitions = 2, partition = \"2\""),
            "r.toml:5: route[0].to.partition: `2`",
        ),
        (
            with("a", "log = \"l\", topic = \"x\""),
            "r.toml:5: route[0].to.topic: unknown field `topic`",
        ),
        (with("a", "key = \"l\""), "r.toml:5: route[0].to: expected `log` or `exchange`"),
        (
            format!(
                "{TELEMETRY}[[route]]\nname = \"x y\"\nfrom = {{ mqtt = \"a\" }}\nto = {{ log = \"l\" }}"
            ),
            "r.toml:6: route[1].name: ",
        ),
        (
            format!("{TELEMETRY}{TELEMETRY}"),
            "r.toml:6: route[1].name: `t` is taken by a route in r.toml",
        ),
        ("[[routes]]".to_owned(), "r.toml:1: routes: unknown field `routes`"),
    ] {
        let found = fault(&text);
        assert!(found.starts_with(start), "{text}\n{found}");
    }
}

fn between(from: &str, to: &str) -> Arc<Route> {
    one(&format!("[[route]]\nname = \"r\"\nfrom = {{ {from} }}\nto = {{ {to} }}\n"))
}

#[test]
fn a_topic_becomes_a_routing_key() {
    let key = |filter: &str, to: &str, topic: &str| {
        let route = between(&format!("mqtt = \"{filter}\""), &format!("exchange = \"x\"{to}"));
        assert_eq!(route.exchange(), Some(("x", "topic")));
        let Way::IntoExchange(way) = &route.way else { panic!("{route:?}") };
        way.key(&at(topic))
    };
    assert_eq!(key("f/#", "", "f/a.b/c").as_deref(), Ok("f.a/b.c"));
    assert_eq!(
        key("f/+/#", ", routing_key = \"in.{1}.x.{#}\"", "f/a.b/c/d").as_deref(),
        Ok("in.a/b.x.c.d")
    );
    assert_eq!(key("f/+", ", routing_key = \"{clientid}\"", "f/1").as_deref(), Ok("c"));
    assert_eq!(key("f/+", ", routing_key = \"{username}\"", "f/1"), Err(RenderError::NoUserName));
    let long = format!("f/{}", "x".repeat(254));
    assert_eq!(key("f/+", "", &long), Err(RenderError::Unmapped));
}

#[test]
fn a_routing_key_becomes_a_topic() {
    let topic = |from: &str, to: &str, key: &str| {
        let route = between(&format!("exchange = \"x\"{from}"), to);
        let Way::IntoTree(way) = &route.way else { panic!("{route:?}") };
        way.topic(key)
    };
    assert_eq!(topic("", "", "a.b/c").as_deref(), Ok("a/b.c"));
    let captured = topic(", binding = \"a.*.#\"", "mqtt = \"t/{1}/x/{#}\"", "a.b.c.d");
    assert_eq!(captured.as_deref(), Ok("t/b/x/c/d"));
    assert_eq!(topic("", "", "50%"), Err(RenderError::Unmapped));
    assert_eq!(topic("", "", "a.*"), Err(RenderError::Unmapped));
    assert!(topic("", "escape = true", "a.*").is_ok_and(|topic| !topic.contains('*')));
    assert_eq!(topic(", binding = \"a.#\"", "mqtt = \"{#}\"", "a"), Err(RenderError::Unmapped));
}

#[test]
fn faults_of_routes_between_the_worlds_name_their_key() {
    for (from, to, key) in [
        ("mqtt = \"a\", exchange = \"x\"", "log = \"l\"", "from: expected"),
        ("binding = \"#\"", "mqtt = \"a\"", "from: expected"),
        ("mqtt = \"a\", binding = \"#\"", "log = \"l\"", "from.binding: "),
        ("mqtt = \"a\"", "log = \"l\", exchange = \"x\"", "to: expected"),
        ("mqtt = \"a\"", "log = \"l\", routing_key = \"x\"", "to.routing_key: "),
        ("mqtt = \"a\"", "exchange = \"x\", partitions = 3", "to.partitions: "),
        ("mqtt = \"a\"", "exchange = \"x\", mqtt = \"b\"", "to.mqtt: "),
        ("mqtt = \"a\"", "exchange = \"\"", "to.exchange: "),
        ("mqtt = \"a\"", "exchange = \"x\", routing_key = \"{json:/a}\"", "to.routing_key: "),
        ("mqtt = \"a\"", "exchange = \"x\", routing_key = \"{1}\"", "to.routing_key: "),
        ("exchange = \"x\", binding = \"a.#.b\"", "mqtt = \"t\"", "from.binding: "),
        ("exchange = \"x\"", "mqtt = \"{clientid}\"", "to.mqtt: "),
        ("exchange = \"x\"", "mqtt = \"{1}\"", "to.mqtt: "),
        ("exchange = \"x\"", "log = \"l\"", "to.log: "),
    ] {
        let text = format!("[[route]]\nname = \"r\"\nfrom = {{ {from} }}\nto = {{ {to} }}\n");
        let found = fault(&text);
        assert!(found.contains(&format!("route[0].{key}")), "{text}\n{found}");
    }
    let odd = "[[route]]\nname = \"r\"\nexchange_type = \"tropic\"\nfrom = { exchange = \"x\" }\nto = {}\n";
    assert!(fault(odd).starts_with("r.toml:3: route[0].exchange_type: `tropic`"));
}

#[test]
fn every_fault_of_a_folder_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("b.toml", TELEMETRY);
    write("a.toml", TELEMETRY);
    write("c.toml", &TELEMETRY.replace("\"t\"", "\"other\"").replace("12", "6"));
    write("d.toml", "nonsense");
    write("e.toml.example", "nonsense");
    write(".hidden.toml", "nonsense");
    let text = load(folder.path()).unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].contains("b.toml:2: route[0].name: `t` is taken by a route in ")
            && lines[0].ends_with("a.toml")
    );
    assert!(
        lines[1]
            .contains("c.toml:4: route[0].to.partitions: route `t` gives the log `telemetry` 12")
    );
    assert!(lines[2].contains("d.toml:1: "));
    assert!(load(&folder.path().join("absent")).unwrap().is_empty());
}

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bridge-config");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "example") {
            count += parse(Source::read(&path).unwrap()).unwrap().len();
        }
    }
    assert!(count > 0);
}

#[test]
fn each_route_counts_under_its_name() {
    let metrics = Metrics::new(0.0).unwrap();
    let routes = parse(Source::named("r.toml", TELEMETRY)).unwrap();
    let counters = RouteMetrics::new(&routes, &metrics).unwrap();
    counters.of(0).unwrap().carried.inc_by(3);
    counters.of(0).unwrap().failed.of(RenderError::NoUserName.failure()).inc();
    assert!(counters.of(1).is_none());
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    assert!(text.contains("rialto_route_messages_total{route=\"t\"} 3\n"));
    assert_eq!(RenderError::NoUserName.failure(), RouteFailure::MissingValue);
    assert!(text.contains("rialto_route_failures_total{reason=\"missing_value\",route=\"t\"} 1\n"));
}

fn out(from: &str, to: &str) -> String {
    format!("[[route]]\nname = \"r\"\nfrom = {{ {from} }}\nto = {{ {to} }}\n")
}

#[test]
fn a_route_out_of_a_log_leads_into_the_tree_or_to_an_exchange() {
    let route = one(&out("log = \"c\"", "mqtt = \"dev/{key}\""));
    let Way::OutOfLog(way) = &route.way else { panic!("{route:?}") };
    assert_eq!((&*way.log, way.beginning), ("c", Beginning::Latest));
    assert_eq!(way.outlet(), Outlet::Tree { qos: QoS::AtLeastOnce, retain: false });
    assert_eq!((route.fixed_log(), route.exchange()), (None, None));
    let to = "mqtt = \"a\", qos = 2, retain = true";
    let route = one(&out("log = \"c\", from = \"earliest\"", to));
    let Way::OutOfLog(way) = &route.way else { panic!("{route:?}") };
    assert_eq!(way.beginning, Beginning::Earliest);
    assert_eq!(way.outlet(), Outlet::Tree { qos: QoS::ExactlyOnce, retain: true });
    for (qos, persistent) in [(0, false), (1, true), (2, true)] {
        let route = one(&out("log = \"c\"", &format!("exchange = \"e\", qos = {qos}")));
        let Way::OutOfLog(way) = &route.way else { panic!("{route:?}") };
        assert_eq!(way.outlet(), Outlet::Exchange { name: "e", persistent });
        assert_eq!(route.exchange(), Some(("e", "topic")));
    }
}

#[test]
fn faults_of_routes_out_of_logs_name_their_key() {
    for (from, to, key) in [
        ("log = \"c\", from = \"newest\"", "mqtt = \"a\"", "from.from"),
        ("log = \"c\", binding = \"#\"", "mqtt = \"a\"", "from.binding"),
        ("log = \"c/d\"", "mqtt = \"a\"", "from.log"),
        ("log = \"c\", mqtt = \"a\"", "mqtt = \"a\"", "from"),
        ("log = \"c\"", "mqtt = \"a/{1}\"", "to.mqtt"),
        ("log = \"c\"", "mqtt = \"a/+\"", "to.mqtt"),
        ("log = \"c\"", "mqtt = \"\"", "to.mqtt"),
        ("log = \"c\"", "mqtt = \"a\", qos = 3", "to.qos"),
        ("log = \"c\"", "mqtt = \"a\", qos = -1", "to.qos"),
        ("log = \"c\"", "mqtt = \"a\", escape = true", "to.escape"),
        ("log = \"c\"", "mqtt = \"a\", routing_key = \"k\"", "to.routing_key"),
        ("log = \"c\"", "log = \"d\"", "to.log"),
        ("log = \"c\"", "exchange = \"\"", "to.exchange"),
        ("log = \"c\"", "exchange = \"e\", retain = false", "to.retain"),
        ("log = \"c\"", "exchange = \"e\", routing_key = \"{topic}\"", "to.routing_key"),
        ("log = \"c\"", "exchange = \"e\", mqtt = \"a\"", "to"),
        ("mqtt = \"a\", from = \"latest\"", "log = \"c\"", "from.from"),
        ("mqtt = \"a\"", "log = \"c\", qos = 1", "to.qos"),
        ("exchange = \"e\"", "mqtt = \"a\", retain = true", "to.retain"),
    ] {
        let said = fault(&out(from, to));
        assert!(said.contains(&format!("route[0].{key}")), "{from} {to}: {said}");
    }
    let text = format!("{}\nexchange_type = \"fanout\"\n", "[[route]]\nname = \"r\"")
        + "from = { log = \"c\" }\nto = { mqtt = \"a\" }\n";
    assert!(fault(&text).contains("route[0].exchange_type"));
}

/// Whoever chooses keys does not choose the broker's own topics, nor wildcards.
#[test]
fn a_key_makes_no_topic_of_the_brokers_own() {
    let address = |topic: &str, key: &str| {
        let route = one(&out("log = \"c\"", &format!("mqtt = \"{topic}\"")));
        let Way::OutOfLog(way) = &route.way else { panic!("{route:?}") };
        let mut builder = BatchBuilder::default();
        let key = Some(key.as_bytes());
        builder.push(&NewRecord { timestamp_ms: 1, key, value: None, headers: &[] });
        let batch = builder.finish().unwrap();
        let record = records(&batch).unwrap().next().unwrap().unwrap();
        let mut out = Vec::new();
        let outgoing = Outgoing { log: "c", partition: 0, record: &record };
        way.address(&outgoing, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(address("{key}", "a/b").as_deref(), Ok("a/b"));
    assert_eq!(address("$own/{key}", "a").as_deref(), Ok("$own/a"));
    for (topic, key) in [("{key}", "$SYS/x"), ("{key}", ""), ("a/{key}", "+"), ("a/{key}", "x\0")] {
        assert_eq!(address(topic, key), Err(RenderError::Unmapped), "{topic} {key}");
    }
}
