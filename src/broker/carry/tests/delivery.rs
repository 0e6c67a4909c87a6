//! What arrives, and what the position says. Part of the tests of `broker::carry`.

use std::sync::atomic::Ordering;

use super::{LOG, TREE, Yard, all_to};
use crate::broker::carry::{Beginning, Outlet};
use crate::broker::testbed::client::NOW_MS;
use crate::metrics::label::RouteFailure;
use crate::model::qos::QoS;

const EARLY: Beginning = Beginning::Earliest;

#[test]
fn a_record_reaches_session_queue_and_log_once_and_moves_the_position() {
    let mut yard = Yard::new(2, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.queue("orders", "d.#", &[]);
    yard.route_into("copy", "d/#");
    yard.append(0, &all_to("d/a", &["1", "2", "3"]));
    yard.append(1, &all_to("d/b", &["4"]));
    yard.settle();
    assert_eq!(yard.in_session("keeps").len(), 4);
    assert_eq!(yard.in_session("keeps"), yard.in_queue("orders"));
    assert_eq!(yard.in_session("keeps"), yard.in_log("copy", 0));
    assert_eq!([yard.position(0), yard.position(1)], [3, 1]);
    yard.append(0, &all_to("d/a", &["5"]));
    yard.settle();
    assert_eq!(yard.in_session("keeps")[4..], ["5"]);
    assert_eq!(yard.position(0), 4);
    assert_eq!(yard.source.carried.load(Ordering::Relaxed), 5);
    assert_eq!(yard.failed(), []);
}

/// Whoever is connected gets it at once, and one record for all of it moves the position.
#[test]
fn what_nobody_keeps_costs_one_record_a_chunk() {
    let mut yard = Yard::new(1, EARLY, TREE);
    let mut guest = yard.guest("g", "n/#");
    yard.settle();
    let values: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    yard.append(0, &all_to("n/a", &values));
    let before = yard.broker().journal.last_lsn().0;
    yard.work();
    let broker = yard.broker();
    assert_eq!(guest.turn(&broker, NOW_MS).len(), 200, "before anything is synced");
    yard.settle();
    assert_eq!(yard.position(0), 200);
    assert_eq!(broker.journal.last_lsn().0 - before, 1);
}

#[test]
fn what_nobody_wants_is_passed() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.append(0, &all_to("n/a", &["1", "2"]));
    yard.settle();
    assert_eq!(yard.position(0), 2);
}

/// Durable and other destinations side by side, far more than a chunk, in their order.
#[test]
fn order_holds_across_chunks_and_kinds_of_destinations() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.session("keeps", "d/#");
    let mut guest = yard.guest("g", "#");
    let values: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    for chunk in values.chunks(700) {
        let keys = ["d/a", "n/a", "n/a"];
        let pairs: Vec<_> =
            chunk.iter().enumerate().map(|(at, value)| (keys[at % 3], value.as_str())).collect();
        yard.append(0, &pairs);
    }
    yard.settle();
    assert_eq!(yard.position(0), 3000);
    let kept = yard.in_session("keeps");
    assert_eq!(kept.len(), 4 * 234 + 67);
    assert!(kept.is_sorted_by_key(|value| value.parse::<u32>().unwrap()));
    let broker = yard.broker();
    loop {
        for sent in guest.turn(&broker, NOW_MS) {
            guest.settle(&broker, sent.packet_id);
        }
        if guest.receiver.got.lock().is_empty() && guest.seen.len() == 3000 {
            break;
        }
        assert!(guest.seen.len() < 3000, "too much");
        yard.bed().sync();
    }
    assert_eq!(guest.values(), (0..3000).collect::<Vec<u32>>());
}

/// A new life goes on where the last one was, with nothing lost and nothing twice.
#[test]
fn a_restart_goes_on_at_the_position() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1", "2"]));
    yard.settle();
    yard.append(0, &all_to("d/a", &["3", "4"]));
    // Submitted and never synced.
    yard.work();
    yard.restart(0);
    assert_eq!(yard.position(0), 2);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "2", "3", "4"]);
    yard.bed().checkpoint(NOW_MS);
    yard.restart(0);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "2", "3", "4"]);
    assert_eq!(yard.position(0), 4);
}

#[test]
fn a_route_with_retain_sets_the_topics_message() {
    let outlet = Outlet::Tree { qos: QoS::AtMostOnce, retain: true };
    let mut yard = Yard::new(1, EARLY, outlet);
    yard.append(0, &[("r/a", "old"), ("r/b", "x"), ("r/a", "new"), ("r/b", "")]);
    yard.settle();
    let mut guest = yard.guest("g", "r/#");
    let broker = yard.broker();
    let came = guest.turn(&broker, NOW_MS);
    let came: Vec<_> =
        came.iter().map(|sent| (&*sent.topic, &*sent.payload, sent.retain)).collect();
    assert_eq!(came, [("r/a", b"new".as_slice(), true)]);
    assert_eq!(yard.position(0), 4);
}

/// Into the log that it comes from, and back: the mark ends it.
#[test]
fn a_circle_of_two_routes_ends() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.route_into(LOG, "d/#");
    yard.append(0, &all_to("d/a", &["1"]));
    yard.settle();
    assert_eq!(yard.in_log(LOG, 0), ["1", "1"]);
    assert_eq!(yard.position(0), 2);
    assert_eq!(yard.failed(), [(RouteFailure::Circle, 1)]);
}

#[test]
fn an_exchange_gets_the_routing_key_and_persistent_messages() {
    let outlet = Outlet::Exchange { name: "amq.topic", persistent: true };
    let mut yard = Yard::new(1, EARLY, outlet);
    yard.queue("orders", "k.#", &[]);
    yard.append(0, &[("k.a", "1"), ("other", "2"), ("k.b", "3")]);
    yard.settle();
    assert_eq!(yard.in_queue("orders"), ["1", "3"]);
    assert_eq!(yard.position(0), 3);
    yard.restart(0);
    yard.settle();
    assert_eq!(yard.in_queue("orders"), ["1", "3"]);
}
