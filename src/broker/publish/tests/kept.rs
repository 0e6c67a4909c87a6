//! Retained messages and wills cross as others do. Tests of `broker::publish`.

use std::sync::Arc;

use super::town::Town;
use crate::auth::principal::Principal;
use crate::broker::connect::{Closing, Opening};
use crate::broker::message::{Message, Publisher as Author};
use crate::broker::publish::Published;
use crate::broker::testbed::client::{NOW_MS, Receiver, waiter};
use crate::model::message::Publication;
use crate::model::qos::QoS;

#[test]
fn a_retained_message_goes_into_bound_queues_once_and_stays_in_the_tree() {
    let mut town = Town::new();
    let durable = town.bound("durable", true, "amq.topic", "#");
    let transient = town.bound("transient", false, "amq.topic", "#");
    for (payload, qos) in [("1", QoS::AtMostOnce), ("2", QoS::AtLeastOnce)] {
        let published = town.say_with("a/b", payload, qos, true, &[]);
        assert_eq!(published, Ok(Published::Waiting { matched: true, refused: false }));
        town.bed.sync();
        assert_eq!(town.taken(&durable), [format!("topic a/b|{payload}")]);
        assert_eq!(town.taken(&transient), [format!("topic a/b|{payload}")]);
    }
    let mut late = town.client("late", true, "a/#");
    // What is retained comes as a record of its own.
    town.got(&mut late);
    town.got(&mut late);
    assert_eq!(late.values(), [2]);
    // It ends what is retained, and is a message all the same.
    town.say_with("a/b", "", QoS::AtLeastOnce, true, &[]).unwrap();
    town.bed.sync();
    assert_eq!(town.taken(&durable), ["topic a/b|"]);
}

#[test]
fn a_route_into_an_exchange_takes_retained_messages_too() {
    let mut town = Town::new();
    town.exchange("x", "fanout");
    let carried = town.route_to_exchange("r", "a", "x", |_| Some("k".into()));
    let queue = town.bound("q", true, "x", "");
    town.say_with("a", "1", QoS::AtLeastOnce, true, &[]).unwrap();
    town.bed.sync();
    assert_eq!(town.taken(&queue), ["via x|k|1"]);
    assert_eq!(carried.counts(), (1, 0));
}

#[test]
fn a_will_goes_into_bound_queues() {
    let mut town = Town::new();
    let queue = town.bound("q", true, "amq.topic", "wills.#");
    let broker = town.broker();
    for (id, expiry_s) in [("durable", u32::MAX), ("passing", 0)] {
        let topic = format!("wills/{id}");
        let publication = Publication {
            topic: &topic,
            payload: b"gone",
            properties: &[],
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry_s: None,
        };
        let author = Author { client_id: id, username: "" };
        let mut message = Message::accepted(&publication, author, NOW_MS);
        message.will = true;
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let opening = Opening {
            client_id: id,
            clean_start: false,
            expiry_s,
            receive_max: 10,
            will: Some((0, bytes)),
        };
        let opened = broker.open(&Principal::anonymous(), opening, waiter().0, NOW_MS).unwrap();
        town.bed.sync();
        assert!(broker.attach(&opened.handle, Arc::<Receiver>::default(), 10));
        broker.close(&opened.handle, Closing::default(), NOW_MS);
        town.bed.sync();
        town.bed.run_jobs(NOW_MS + 1);
        town.bed.sync();
        assert_eq!(town.taken(&queue), [format!("topic {topic}|gone")]);
    }
}
