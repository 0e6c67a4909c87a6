//! `amq.topic` and the topic tree are one world. Tests of `broker::publish`.

use super::town::Town;
use crate::broker::publish::Published;
use crate::metrics::DropReason;
use crate::model::qos::QoS;

const NOW: Published = Published::Done { matched: true };
const LATER: Published = Published::Waiting { matched: true, refused: false };
const NOBODY: Published = Published::Done { matched: false };

#[test]
fn a_topic_is_seen_behind_amq_topic_under_its_own_address() {
    let mut town = Town::new();
    let durable = town.bound("durable", true, "amq.topic", "plant/1.*");
    let transient = town.bound("transient", false, "amq.topic", "plant/1.#");
    let both = [&durable, &transient];
    assert_eq!(town.say("plant.1/temp", "a", QoS::AtMostOnce), NOW);
    let fresh = both.map(|queue| town.taken(queue));
    assert_eq!(fresh, [["topic plant.1/temp|a"], ["topic plant.1/temp|a"]]);
    for (payload, qos) in [("b", QoS::AtLeastOnce), ("c", QoS::ExactlyOnce)] {
        assert_eq!(town.say("plant.1/temp", payload, qos), LATER);
        assert_eq!(town.taken(&transient), [format!("topic plant.1/temp|{payload}")]);
        assert!(town.taken(&durable).is_empty(), "not before it is synced");
        town.bed.sync();
        assert_eq!(town.taken(&durable), [format!("topic plant.1/temp|{payload}")]);
    }
    assert_eq!(town.say("plant/1/temp", "d", QoS::AtLeastOnce), NOBODY);
    // Nothing durable is bound to this one.
    assert_eq!(town.say("plant.1", "e", QoS::AtLeastOnce), NOW);
    assert_eq!(town.taken(&transient), ["topic plant.1|e"]);
}

#[test]
fn what_is_published_to_amq_topic_is_seen_in_the_tree() {
    let mut town = Town::new();
    let mut keeps = town.client("keeps", true, "plant.1/+");
    let mut passes = town.client("passes", false, "#");
    assert_eq!(town.send("amq.topic", "plant/1.temp", "a", true), LATER);
    assert_eq!(town.got(&mut keeps), ["plant.1/temp|a|1"]);
    assert_eq!(town.got(&mut passes), ["plant.1/temp|a|1"]);
    assert_eq!(town.send("amq.topic", "plant/1.temp", "b", false), NOW);
    assert_eq!(town.got(&mut keeps), ["plant.1/temp|b|0"]);
    assert_eq!(town.got(&mut passes), ["plant.1/temp|b|0"]);
    keeps.close(&town.broker());
    passes.close(&town.broker());
    assert_eq!(town.send("amq.topic", "plant/1.temp", "c", true), LATER);
    let mut again = town.client("keeps", true, "plant.1/+");
    let came = town.got(&mut again);
    assert_eq!(came, ["plant.1/temp|a|1", "plant.1/temp|c|1"]);
}

#[test]
fn other_exchanges_are_apart_unless_they_are_bound_to_it() {
    let mut town = Town::new();
    let mut client = town.client("c", true, "#");
    town.exchange("x", "topic");
    assert_eq!(town.send("x", "a.b", "1", true), NOBODY);
    town.chain("x", "amq.topic", "a.#");
    let behind = town.bound("behind", true, "amq.topic", "a.*");
    assert_eq!(town.send("x", "a.b", "2", true), LATER);
    assert_eq!(town.got(&mut client), ["a/b|2|1"]);
    assert_eq!(town.taken(&behind), ["x|a.b|2"]);
    // And further on from it.
    town.exchange("y", "fanout");
    town.chain("amq.topic", "y", "#");
    let last = town.bound("last", false, "y", "");
    assert_eq!(town.say("a/c", "3", QoS::AtLeastOnce), LATER);
    assert_eq!(town.taken(&last), ["topic a/c|3"]);
    assert_eq!(town.got(&mut client), ["a/c|3|2".replace("|2", "|1")]);
}

#[test]
fn a_queue_that_is_reached_by_two_ways_gets_a_message_once() {
    let mut town = Town::new();
    town.exchange("x", "fanout");
    town.chain("amq.topic", "x", "a.#");
    let queue = town.bound("q", true, "amq.topic", "a.b");
    town.bind("amq.topic", "q", "#");
    town.bind("x", "q", "");
    assert_eq!(town.say("a/b", "1", QoS::AtLeastOnce), LATER);
    assert_eq!(town.send("amq.topic", "a.b", "2", true), LATER);
    assert_eq!(town.send("amq.topic", "a.b", "3", false), NOW);
    town.bed.sync();
    assert_eq!(town.taken(&queue), ["topic a/b|1", "amq.topic|a.b|2", "amq.topic|a.b|3"]);
}

#[test]
fn what_has_no_counterpart_is_counted() {
    let mut town = Town::new();
    let mut client = town.client("c", false, "#");
    let queue = town.bound("q", false, "amq.topic", "#");
    for key in ["a.*", "a.+", "100%", "$SYS.x", ""] {
        assert_eq!(town.send("amq.topic", key, "1", false), NOW, "{key}");
    }
    assert_eq!(town.dropped(DropReason::Unmapped), 5);
    assert_eq!(town.taken(&queue).len(), 5);
    assert!(town.got(&mut client).is_empty());
    let long = "x".repeat(256);
    assert_eq!(town.say(&long, "2", QoS::AtMostOnce), NOW);
    assert_eq!(town.dropped(DropReason::Unmapped), 6);
    assert!(town.taken(&queue).is_empty());
    assert_eq!(town.got(&mut client), [format!("{long}|2|0")]);
    town.unbind("amq.topic", "q", "#");
    town.say(&long, "3", QoS::AtMostOnce);
    assert_eq!(town.dropped(DropReason::Unmapped), 6, "nobody asked");
}

#[test]
fn the_brokers_own_topics_do_not_cross() {
    let mut town = Town::new();
    let queue = town.bound("q", false, "amq.topic", "#");
    let mut client = town.client("c", false, "$d/#");
    assert_eq!(town.say("$d/x", "1", QoS::AtMostOnce), NOW);
    assert_eq!(town.got(&mut client), ["$d/x|1|0"]);
    assert!(town.taken(&queue).is_empty());
    assert_eq!(town.send("amq.topic", "$d.x", "2", false), NOW);
    assert!(town.got(&mut client).is_empty());
}

#[test]
fn copies_are_seen_under_their_own_keys() {
    let mut town = Town::new();
    let mut client = town.client("c", true, "a/+");
    let queue = town.bound("q", true, "amq.topic", "a.copy");
    let keys = ["a.own", "a.copy", "*", "a.copy"];
    assert_eq!(town.send_with("amq.topic", &keys, "1", true), Ok(LATER));
    assert_eq!(town.got(&mut client), ["a/own|1|1", "a/copy|1|1"]);
    assert_eq!(town.taken(&queue), ["amq.topic|a.own|1"], "the routing key stays");
    assert_eq!(town.dropped(DropReason::Unmapped), 1);
    let direct = town.queue("direct", false);
    assert_eq!(town.send_with("", &["nobody", "direct"], "2", true), Ok(NOW));
    assert_eq!(town.taken(&direct), ["|nobody|2"]);
}

#[test]
fn matched_says_whether_anybody_wanted_it() {
    let mut town = Town::new();
    assert_eq!(town.send("", "nobody", "1", true), NOBODY);
    assert_eq!(town.send("amq.topic", "a", "1", true), NOBODY);
    assert_eq!(town.dropped(DropReason::NoSubscriber), 2);
    let queue = town.queue("q", true);
    assert_eq!(town.send("", "q", "2", false), NOW);
    assert_eq!(town.send("", "q", "3", true), LATER);
    assert_eq!(town.taken(&queue), ["|q|2"]);
    town.bed.sync();
    assert_eq!(town.taken(&queue), ["|q|3"]);
    let _client = town.client("c", false, "a");
    assert_eq!(town.send("amq.topic", "a", "4", true), NOW, "nothing durable wants it");
    town.route_to_log("log", "b");
    assert_eq!(town.send("amq.topic", "b", "5", false), LATER);
}

/// Pipelined by one publisher: what is not journaled goes behind what is (rule 8).
#[test]
fn a_publishers_messages_stay_in_order_whatever_their_promise() {
    let mut town = Town::new();
    let queue = town.bound("q", true, "amq.topic", "#");
    let mut client = town.client("c", true, "#");
    for (number, persistent) in [("1", true), ("2", false), ("3", true), ("4", false)] {
        town.send("amq.topic", "a", number, persistent);
    }
    let order = |came: Vec<String>| -> String { came.concat().replace("amq.topic|a|", "") };
    assert!(town.taken(&queue).is_empty());
    assert_eq!(town.got(&mut client), ["a|1|1", "a|2|0", "a|3|1", "a|4|0"]);
    assert_eq!(order(town.taken(&queue)), "1234");
    for (number, qos) in [("5", QoS::AtLeastOnce), ("6", QoS::AtMostOnce)] {
        town.say("a", number, qos);
    }
    town.bed.sync();
    assert_eq!(town.taken(&queue), ["topic a|5", "topic a|6"]);
}

/// One record names them all.
#[test]
fn a_message_is_in_all_its_durable_destinations_at_once() {
    let mut town = Town::new();
    let queue = town.bound("q", true, "amq.topic", "#");
    let mut client = town.client("c", true, "#");
    town.route_to_log("log", "#");
    town.properties = super::town::block(&[("unit", "K")]);
    let before = town.bed.broker.journal.last_lsn();
    town.send("amq.topic", "plant.temp", "1", true);
    // What defines the set and the log, and the message.
    assert_eq!(town.bed.broker.journal.last_lsn().0, before.0 + 3);
    town.send("amq.topic", "plant.temp", "2", true);
    assert_eq!(town.bed.broker.journal.last_lsn().0, before.0 + 4);
    let records = |payload| format!("plant/temp|unit=K,mqtt-topic=plant/temp,mqtt-qos=1|{payload}");
    assert_eq!(town.logged(), [records("1"), records("2")]);
    assert_eq!(town.got(&mut client), ["plant/temp|1|1", "plant/temp|2|1"]);
    assert_eq!(town.taken(&queue).len(), 2);
}
