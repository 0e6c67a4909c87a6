//! A QoS 2 publish of a connection that has lost its session goes nowhere: the client sends it again on its next
//! one, and a subscriber without a session of its own must not have both. Part of `broker::publish`.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::broker::connect::{Opening, SessionHandle};
use crate::broker::consumer::Outcome;
use crate::broker::publish::Publisher;
use crate::broker::record::Condition;
use crate::broker::sessions::session::NEVER_EXPIRES_S;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Client, NOW_MS, publisher, waiter};
use crate::model::message::Publication;
use crate::model::qos::QoS;

fn take_over(bed: &Bed) -> SessionHandle {
    let opening = Opening {
        client_id: "p",
        clean_start: false,
        expiry_s: NEVER_EXPIRES_S,
        receive_max: 10,
        will: None,
    };
    bed.broker.open(&Principal::anonymous(), opening, waiter().0, NOW_MS).unwrap().handle
}

fn publish(bed: &mut Bed, publisher: &mut Publisher, by: &SessionHandle, retain: bool) -> Outcome {
    let publication = Publication {
        topic: "t",
        payload: b"7",
        properties: &[],
        qos: QoS::ExactlyOnce,
        retain,
        expiry_s: None,
    };
    let condition = Condition::Inbound { session: by.session.id, epoch: by.epoch, packet_id: 9 };
    let (waiter, told) = waiter();
    bed.broker.publish(publisher, &publication, condition, || Some(waiter), NOW_MS).unwrap();
    bed.sync();
    told.blocking_recv().unwrap()
}

#[test]
fn what_a_lost_connection_still_publishes_reaches_nobody() {
    for retain in [false, true] {
        let mut bed = Bed::new();
        let broker = Arc::clone(&bed.broker);
        let mut live = Client::open(&broker, "live", false, 10, || bed.sync());
        live.subscribe(&broker, "t", QoS::ExactlyOnce, || bed.sync());
        let mut publisher = publisher(&broker);
        let first = take_over(&bed);
        bed.sync();
        let second = take_over(&bed);

        assert_eq!(publish(&mut bed, &mut publisher, &first, retain), Outcome::Stale);
        assert!(live.turn(&broker, NOW_MS).is_empty(), "retain {retain}");

        assert_eq!(publish(&mut bed, &mut publisher, &second, retain), Outcome::Done);
        live.turn(&broker, NOW_MS);
        assert_eq!(live.values(), [7], "retain {retain}");
    }
}

#[test]
fn what_came_before_the_loss_reaches_everybody_and_is_not_taken_again() {
    let mut bed = Bed::new();
    let broker = Arc::clone(&bed.broker);
    let mut live = Client::open(&broker, "live", false, 10, || bed.sync());
    live.subscribe(&broker, "t", QoS::ExactlyOnce, || bed.sync());
    let mut publisher = publisher(&broker);
    let first = take_over(&bed);
    bed.sync();
    assert_eq!(publish(&mut bed, &mut publisher, &first, false), Outcome::Done);
    let second = take_over(&bed);
    bed.sync();
    assert_eq!(broker.inbound_ids(&second), [9]);
    live.turn(&broker, NOW_MS);
    assert_eq!(live.values(), [7]);
}
