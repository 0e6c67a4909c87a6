//! Routes between the worlds: each carries a message once, and no circle goes round. Tests of `broker::publish`.

use super::town::Town;
use crate::broker::publish::Published;
use crate::metrics::DropReason;
use crate::model::qos::QoS;
use crate::model::routing_key::{to_key, to_topic};

fn mapped_key(topic: &str) -> Option<String> {
    to_key(topic).ok().map(Into::into)
}

fn mapped_topic(key: &str) -> Option<String> {
    to_topic(key).ok().map(Into::into)
}

#[test]
fn a_route_carries_from_the_tree_to_an_exchange() {
    let mut town = Town::new();
    town.exchange("x", "topic");
    let carried = town.route_to_exchange("r", "a/#", "x", |topic| Some(format!("r.{topic}")));
    assert_eq!(town.say("a/b", "0", QoS::AtLeastOnce), Published::Done { matched: false });
    let queue = town.bound("q", true, "x", "r.#");
    assert_eq!(
        town.say("a/b", "1", QoS::AtLeastOnce),
        Published::Waiting { matched: true, refused: false }
    );
    assert_eq!(town.say("b", "2", QoS::AtLeastOnce), Published::Done { matched: false });
    assert_eq!(
        town.send("amq.topic", "a.c", "3", true),
        Published::Waiting { matched: true, refused: false }
    );
    town.bed.sync();
    assert_eq!(town.taken(&queue), ["via x|r.a/b|1", "via x|r.a/c|3"]);
    assert_eq!(carried.counts(), (3, 0));
}

#[test]
fn a_route_carries_from_an_exchange_to_the_tree() {
    let mut town = Town::new();
    town.exchange("x", "topic");
    let carried = town.route_to_tree("r", "x", "a.#", |key| Some(format!("from/{key}")));
    let mut client = town.client("c", true, "from/#");
    town.route_to_log("log", "from/#");
    let tied = town.bound("tied", true, "amq.topic", "from.#");
    assert_eq!(
        town.send("x", "a.b", "1", true),
        Published::Waiting { matched: true, refused: false }
    );
    assert_eq!(town.send("x", "b", "2", true), Published::Done { matched: false });
    assert_eq!(
        town.send("x", "a.b", "3", false),
        Published::Waiting { matched: true, refused: false }
    );
    assert_eq!(town.got(&mut client), ["from/a.b|1|1", "from/a.b|3|0"]);
    let address = "via amq.topic|from.a/b";
    assert_eq!(town.taken(&tied), [format!("{address}|1"), format!("{address}|3")]);
    assert_eq!(town.logged().len(), 2);
    assert!(town.logged()[0].starts_with("from/a.b|mqtt-topic=from/a.b,mqtt-qos=1"));
    assert_eq!(carried.counts(), (2, 0));
}

#[test]
fn a_chain_of_routes_is_followed_to_its_end_and_its_own_address_comes_first() {
    let mut town = Town::new();
    town.exchange("x", "topic");
    town.exchange("y", "topic");
    let first = town.route_to_exchange("1", "a", "x", |_| Some("k".into()));
    let second = town.route_to_tree("2", "x", "k", |_| Some("b".into()));
    let third = town.route_to_exchange("3", "b", "y", |_| Some("l".into()));
    let fourth = town.route_to_tree("4", "y", "l", |_| Some("c".into()));
    let mut client = town.client("c", true, "#");
    let own = town.bound("own", true, "amq.topic", "a");
    let all = town.bound("all", true, "amq.topic", "#");
    let end = town.bound("end", true, "amq.topic", "c");
    let middle = town.bound("middle", true, "y", "#");
    assert_eq!(
        town.say("a", "1", QoS::AtLeastOnce),
        Published::Waiting { matched: true, refused: false }
    );
    assert_eq!(town.got(&mut client), ["a|1|1", "b|1|1", "c|1|1"]);
    assert_eq!(town.taken(&own), ["topic a|1"]);
    assert_eq!(town.taken(&all), ["topic a|1"]);
    assert_eq!(town.taken(&end), ["via amq.topic|c|1"]);
    assert_eq!(town.taken(&middle), ["via y|l|1"]);
    let counts = [first, second, third, fourth].map(|carried| carried.counts());
    assert_eq!(counts, [(1, 0); 4]);
}

/// The usual pair, one in each direction.
#[test]
fn two_routes_that_mirror_each_other_deliver_once() {
    let mut town = Town::new();
    town.exchange("x", "topic");
    let out = town.route_to_exchange("out", "#", "x", mapped_key);
    let back = town.route_to_tree("back", "x", "#", mapped_topic);
    town.route_to_log("log", "#");
    let mut client = town.client("c", true, "#");
    let mut other = town.client("d", false, "a/b");
    let (at_x, tied) =
        (town.bound("at x", true, "x", "#"), town.bound("tied", true, "amq.topic", "#"));
    town.say("a/b", "1", QoS::AtLeastOnce);
    assert_eq!(town.got(&mut client), ["a/b|1|1"]);
    assert_eq!(town.got(&mut other), ["a/b|1|1"]);
    assert_eq!(town.taken(&at_x), ["via x|a.b|1"]);
    assert_eq!(town.taken(&tied), ["topic a/b|1"]);
    for (exchange, seen) in [("x", "via amq.topic|a.b"), ("amq.topic", "amq.topic|a.b")] {
        town.send(exchange, "a.b", "2", true);
        assert_eq!(town.got(&mut client), ["a/b|2|1"], "{exchange}");
        assert_eq!(town.got(&mut other), ["a/b|2|1"], "{exchange}");
        let at = if exchange == "x" { "x|a.b|2" } else { "via x|a.b|2" };
        assert_eq!(town.taken(&at_x), [at], "{exchange}");
        assert_eq!(town.taken(&tied), [format!("{seen}|2")], "{exchange}");
    }
    assert_eq!(town.logged().len(), 3);
    assert_eq!((out.counts(), back.counts()), ((3, 0), (3, 0)));
}

#[test]
fn a_circle_that_changes_the_address_goes_round_once() {
    let mut town = Town::new();
    town.exchange("x", "topic");
    let out = town.route_to_exchange("out", "#", "x", |topic| Some(format!("{topic}+")));
    let back = town.route_to_tree("back", "x", "#", |key| Some(format!("{key}-")));
    let tied = town.route_to_tree("tied", "amq.topic", "#", |key| Some(format!("tied/{key}")));
    town.route_to_log("log", "#");
    let mut client = town.client("c", true, "#");
    town.say("a", "1", QoS::AtLeastOnce);
    let mut got = town.got(&mut client);
    got.sort();
    assert_eq!(got.len(), 3, "{got:?}");
    assert_eq!(town.logged().len(), 1, "a route carries a message once");
    let counts = [out, back, tied].map(|carried| carried.counts());
    assert_eq!(counts, [(1, 0); 3]);
}

#[test]
fn what_a_route_cannot_carry_is_counted_each_time() {
    let mut town = Town::new();
    town.exchange_with("inner", "topic", true, &[]);
    let missing = town.route_to_exchange("missing", "a", "nowhere", mapped_key);
    let internal = town.route_to_exchange("internal", "a", "inner", mapped_key);
    let keyless = town.route_to_exchange("keyless", "a", "amq.topic", |_| None);
    let topicless = town.route_to_tree("topicless", "amq.fanout", "", |_| None);
    for _ in 0..2 {
        assert_eq!(town.say("a", "1", QoS::AtMostOnce), Published::Done { matched: false });
        assert_eq!(town.send("amq.fanout", "k", "1", true), Published::Done { matched: false });
    }
    let counts = [missing, internal, keyless, topicless].map(|carried| carried.counts());
    assert_eq!(counts, [(0, 2); 4]);
    assert_eq!(town.dropped(DropReason::RouteFailed), 8);
    town.exchange("nowhere", "fanout");
    let queue = town.bound("q", false, "nowhere", "");
    town.say("a", "2", QoS::AtMostOnce);
    assert_eq!(town.taken(&queue), ["via nowhere|a|2"]);
}
