//! Headers exchanges ask each message anew, and see user properties as headers. Tests of `broker::publish`.

use super::town::{Town, block, unheard, user_properties};
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::BindingSpec;
use crate::broker::publish::Published;
use crate::model::field_table::write::TableWriter;
use crate::model::qos::QoS;

const NOBODY: Published = Published::Done { matched: false };
const LATER: Published = Published::Waiting { matched: true, refused: false };

fn bind_by(town: &mut Town, queue: &str, unit: &str) {
    let mut arguments = Vec::new();
    TableWriter::new(&mut arguments).string("unit", unit).unwrap();
    let spec =
        BindingSpec { source: "amq.headers", destination: queue, key: "", arguments: &arguments };
    town.bed.broker.bind(&town.who, super::town::OWN, Entity::Queue, &spec, unheard).unwrap();
    town.bed.sync();
}

#[test]
fn each_message_is_asked_for_its_own_headers() {
    let mut town = Town::new();
    let (kelvin, celsius) = (town.queue("K", true), town.queue("C", true));
    bind_by(&mut town, "K", "K");
    bind_by(&mut town, "C", "C");
    for _ in 0..2 {
        for unit in ["K", "C"] {
            town.properties = block(&[("unit", unit)]);
            assert_eq!(town.send("amq.headers", "k", unit, true), LATER);
        }
        town.properties = block(&[]);
        assert_eq!(town.send("amq.headers", "k", "none", true), NOBODY);
    }
    town.bed.sync();
    assert_eq!(town.taken(&kelvin), ["amq.headers|k|K", "amq.headers|k|K"]);
    assert_eq!(town.taken(&celsius), ["amq.headers|k|C", "amq.headers|k|C"]);
}

#[test]
fn user_properties_are_headers() {
    let mut town = Town::new();
    let kelvin = town.queue("K", true);
    bind_by(&mut town, "K", "K");
    town.chain("amq.topic", "amq.headers", "#");
    let plain = town.bound("plain", true, "amq.topic", "a");
    for (properties, payload) in [
        (user_properties(&[("unit", "K")]), "1"),
        (user_properties(&[("unit", "C")]), "2"),
        (user_properties(&[]), "3"),
        (user_properties(&[("x", "y"), ("unit", "K")]), "4"),
    ] {
        let published = town.say_with("a", payload, QoS::AtLeastOnce, false, &properties);
        assert_eq!(published, Ok(LATER));
    }
    let retained = user_properties(&[("unit", "K")]);
    town.say_with("a", "5", QoS::AtLeastOnce, true, &retained).unwrap();
    town.bed.sync();
    assert_eq!(town.taken(&kelvin), ["topic a|1", "topic a|4", "topic a|5"]);
    assert_eq!(town.taken(&plain).len(), 5);
}

/// A set would be defined and retired with each message.
#[test]
fn a_message_that_is_routed_by_itself_takes_one_record() {
    let mut town = Town::new();
    let queue = town.queue("K", true);
    bind_by(&mut town, "K", "K");
    town.properties = block(&[("unit", "K")]);
    let before = town.bed.broker.journal.last_lsn();
    for _ in 0..3 {
        town.send("amq.headers", "k", "m", true);
        town.send_with("", &["K", "K"], "m", true).unwrap();
    }
    town.bed.broker.retire_sets();
    assert_eq!(town.bed.broker.journal.last_lsn().0, before.0 + 6);
    town.bed.sync();
    assert_eq!(town.taken(&queue).len(), 6);
}
