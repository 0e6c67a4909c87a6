//! What a publisher remembers never outlives what changed. Tests of `broker::publish`.

use super::town::Town;
use crate::broker::publish::Published;
use crate::model::field_table::write::TableWriter;
use crate::model::qos::QoS;

const NOW: Published = Published::Done { matched: true };
const LATER: Published = Published::Waiting { matched: true, refused: false };
const NOBODY: Published = Published::Done { matched: false };

/// Both publishers publish and remember, twice: from the last route and from the map.
fn publish(town: &mut Town) -> [Published; 4] {
    let first = [town.say("a/b", "m", QoS::AtMostOnce), town.send("amq.topic", "a.b", "m", false)];
    town.say("other", "m", QoS::AtMostOnce);
    town.send("amq.topic", "other", "m", false);
    let again = [town.say("a/b", "m", QoS::AtMostOnce), town.send("amq.topic", "a.b", "m", false)];
    assert_eq!(first, again);
    [first[0], first[1], again[0], again[1]]
}

#[test]
fn bindings_and_subscriptions_count_from_the_next_publish_on() {
    let mut town = Town::new();
    assert_eq!(publish(&mut town), [NOBODY; 4]);
    let queue = town.bound("q", false, "amq.topic", "a.*");
    assert_eq!(publish(&mut town), [NOW; 4]);
    assert_eq!(town.taken(&queue).len(), 4);
    town.unbind("amq.topic", "q", "a.*");
    assert_eq!(publish(&mut town), [NOBODY; 4]);
    let client = town.client("c", false, "a/#");
    assert_eq!(publish(&mut town), [NOW; 4]);
    client.close(&town.broker());
    assert_eq!(publish(&mut town), [NOBODY; 4]);
    // By a way of two exchanges.
    town.exchange("x", "fanout");
    town.bind("x", "q", "");
    assert_eq!(publish(&mut town), [NOBODY; 4]);
    town.chain("amq.topic", "x", "#");
    assert_eq!(publish(&mut town), [NOW; 4]);
    town.bed.broker.delete_exchange(&town.who, "x", false, super::town::unheard).unwrap();
    town.bed.sync();
    assert_eq!(publish(&mut town), [NOBODY; 4]);
    assert_eq!(town.taken(&queue).len(), 6);
}

#[test]
fn a_queue_that_was_deleted_and_declared_again_is_another_one() {
    let mut town = Town::new();
    for durable in [true, false] {
        let expected = if durable { LATER } else { NOW };
        assert_eq!(town.send("", "q", "1", true), NOBODY);
        let first = town.queue("q", durable);
        assert_eq!(town.send("", "q", "2", true), expected);
        assert_eq!(town.send("", "q", "3", true), expected);
        town.bed.sync();
        assert_eq!(town.taken(&first).len(), 2);
        town.delete_queue("q");
        assert_eq!(town.send("", "q", "4", true), NOBODY);
        let second = town.queue("q", durable);
        assert_eq!(town.send("", "q", "5", true), expected);
        town.delete_queue("q");
        let third = town.queue("q", durable);
        assert_eq!(town.send("", "q", "6", true), expected);
        town.bed.sync();
        assert!(second.is_gone() && second.counts().ready == 0);
        assert_eq!(town.taken(&third), ["|q|6"]);
        town.delete_queue("q");
    }
}

#[test]
fn a_bound_queue_that_was_deleted_and_declared_again_is_not_bound() {
    let mut town = Town::new();
    town.bound("q", true, "amq.topic", "a");
    assert_eq!(town.say("a", "1", QoS::AtLeastOnce), LATER);
    town.delete_queue("q");
    town.queue("q", true);
    assert_eq!(town.say("a", "2", QoS::AtLeastOnce), NOBODY);
    assert_eq!(town.send("amq.topic", "a", "2", true), NOBODY);
    town.bind("amq.topic", "q", "a");
    assert_eq!(town.say("a", "3", QoS::AtLeastOnce), LATER);
    assert_eq!(town.send("amq.topic", "a", "3", true), LATER);
}

#[test]
fn an_exchange_that_was_deleted_is_missing_and_one_that_came_is_found() {
    use crate::broker::publish::exchange::PublishError;

    let mut town = Town::new();
    for _ in 0..2 {
        let missing = town.send_with("x", &["k"], "1", false);
        assert_eq!(missing, Err(PublishError::NoExchange));
        town.exchange("x", "fanout");
        assert_eq!(town.send("x", "k", "1", false), NOBODY);
        let queue = town.bound("q", false, "x", "");
        assert_eq!(town.send("x", "k", "2", false), NOW);
        assert_eq!(town.taken(&queue), ["x|k|2"]);
        town.bed.broker.delete_exchange(&town.who, "x", false, super::town::unheard).unwrap();
        town.delete_queue("q");
    }
    town.exchange_with("inner", "fanout", true, &[]);
    let internal = town.send_with("inner", &["k"], "1", false);
    assert_eq!(internal, Err(PublishError::Internal));
}

/// What the default exchange knows comes without a new generation, also behind another exchange.
#[test]
fn an_alternate_exchange_finds_queues_that_come_later() {
    let mut town = Town::new();
    let mut arguments = Vec::new();
    TableWriter::new(&mut arguments).string("alternate-exchange", "").unwrap();
    town.exchange_with("x", "direct", false, &arguments);
    town.route_to_exchange("r", "t/#", "x", |topic| Some(topic.replace("t/", "")));
    for _ in 0..2 {
        assert_eq!(town.send("x", "q", "1", true), NOBODY);
        assert_eq!(town.say("t/q", "1", QoS::AtLeastOnce), NOBODY);
        let queue = town.queue("q", true);
        assert_eq!(town.send("x", "q", "2", true), LATER);
        assert_eq!(town.say("t/q", "3", QoS::AtLeastOnce), LATER);
        town.bed.sync();
        assert_eq!(town.taken(&queue), ["x|q|2", "via x|q|3"]);
        town.delete_queue("q");
    }
}

/// Names that run together are still two.
#[test]
fn exchange_and_key_are_not_mixed_up() {
    let mut town = Town::new();
    town.exchange("a", "direct");
    town.exchange("a\0b", "direct");
    let (one, other) = (town.queue("one", false), town.queue("other", false));
    town.bind("a", "one", "b\0c");
    town.bind("a\0b", "other", "c");
    for _ in 0..2 {
        town.send("a", "b\0c", "1", false);
        town.send("a\0b", "c", "2", false);
    }
    assert_eq!(town.taken(&one), ["a|b\0c|1", "a|b\0c|1"]);
    assert_eq!(town.taken(&other), ["a\0b|c|2", "a\0b|c|2"]);
}

/// As many addresses as it likes.
#[test]
fn more_addresses_than_are_remembered_are_routed_all_the_same() {
    let mut town = Town::new();
    let queue = town.bound("q", false, "amq.topic", "#");
    for round in 0..2 {
        for number in 0..700 {
            town.say(&format!("t/{number}"), "m", QoS::AtMostOnce);
            town.send("amq.topic", &format!("k.{number}"), "m", false);
        }
        assert_eq!(town.taken(&queue).len(), 1400, "{round}");
    }
}
