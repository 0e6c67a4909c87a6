//! Subscribing against live publishes: the newest retained value always arrives, never an older one after it; what
//! a refusal or a second SUBSCRIBE leaves. Part of `broker::subscribe`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::RetainedWanted;
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::publish::Publisher;
use crate::broker::record::Condition;
use crate::broker::testbed::client::{Client, NOW_MS, Numbered, publisher, waiter, wish};
use crate::broker::testbed::{Bed, Refusing};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

fn publish(broker: &Broker, publisher: &mut Publisher, topic: &'static str, value: u32, qos: QoS) {
    Numbered { retain: true, ..Numbered::new(topic, value, qos) }.publish(broker, publisher);
}

/// One publisher, one applier and one subscriber that comes while values change. Returns what it saw.
fn race(round: u32, durable: bool, granted: QoS, of: fn(u32) -> QoS, filter: &str) -> Vec<u32> {
    const VALUES: u32 = 60;
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let (over, published) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                bed.sync();
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut publisher = publisher(&broker);
            for value in 0..=VALUES {
                publish(&broker, &mut publisher, "t/x", value, of(value));
            }
            published.store(true, Ordering::SeqCst);
        });
        let mut client = Client::open(&broker, &format!("c{round}"), durable, u16::MAX, || {});
        for _ in 0..round % 7 {
            thread::yield_now();
        }
        client.subscribe(&broker, filter, granted, || {});
        // The publisher is bounded, and so is what is left to apply after it.
        while !published.load(Ordering::SeqCst) {
            client.turn(&broker, NOW_MS);
        }
        let last = broker.journal.last_lsn();
        while broker.applied_lsn() < last || !client.replays.is_empty() {
            client.turn(&broker, NOW_MS);
        }
        // A replay's own records may be the last to be applied.
        let last = broker.journal.last_lsn();
        while broker.applied_lsn() < last {
            thread::yield_now();
        }
        client.turn(&broker, NOW_MS);
        over.store(true, Ordering::SeqCst);
        let seen = client.values();
        assert_eq!(seen.last(), Some(&VALUES), "the newest value arrives: {seen:?}");
        seen
    })
}

#[test]
fn a_subscriber_gets_the_newest_retained_value_and_never_an_older_one_after_it() {
    let patterns: [fn(u32) -> QoS; 4] = [
        |_| QoS::AtMostOnce,
        |_| QoS::AtLeastOnce,
        |value| if value % 2 == 0 { QoS::AtMostOnce } else { QoS::ExactlyOnce },
        |value| if value % 3 == 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce },
    ];
    let mut round = 0;
    for durable in [false, true] {
        for granted in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for of in patterns {
                for filter in ["t/x", "t/+", "#"] {
                    round += 1;
                    let seen = race(round, durable, granted, of, filter);
                    let rises = seen.is_sorted_by(|a, b| a < b);
                    assert!(rises, "round {round}, durable {durable}, {granted:?}: {seen:?}");
                }
            }
        }
    }
}

/// [MQTT-3.8.4-3] [MQTT5-3.8.4-4]: the retained message again, and the flow of publishes not interrupted.
#[test]
fn a_second_subscribe_to_the_same_filter_interrupts_nothing() {
    for durable in [false, true] {
        let mut bed = Bed::roomy();
        let broker = Arc::clone(&bed.broker);
        let mut publisher = publisher(&broker);
        let mut client = Client::open(&broker, "c", durable, u16::MAX, || bed.sync());
        client.subscribe(&broker, "t", QoS::AtLeastOnce, || bed.sync());
        publish(&broker, &mut publisher, "t", 1, QoS::AtLeastOnce);
        client.subscribe(&broker, "t", QoS::AtLeastOnce, || {
            // After the SUBSCRIBE, before its SUBACK.
            publish(&broker, &mut publisher, "t", 2, QoS::AtLeastOnce);
            bed.sync();
        });
        for _ in 0..2 {
            client.turn(&broker, NOW_MS);
            bed.sync();
        }
        client.turn(&broker, NOW_MS);
        assert_eq!(client.values(), [1, 2], "durable {durable}");
        client.subscribe(&broker, "t", QoS::AtLeastOnce, || bed.sync());
        client.turn(&broker, NOW_MS);
        bed.sync();
        client.turn(&broker, NOW_MS);
        assert_eq!(client.values(), [1, 2, 2]);
        let retained: Vec<bool> = client.seen.iter().map(|sent| sent.retain).collect();
        assert_eq!(retained, [false, false, true]);
    }
}

/// [MQTT-3.10.4-2] [MQTT5-3.10.4-2] stops a replay that is not complete.
#[test]
fn a_filter_that_was_given_up_replays_nothing_more() {
    for durable in [false, true] {
        let mut bed = Bed::roomy();
        let broker = Arc::clone(&bed.broker);
        publish(&broker, &mut publisher(&broker), "t", 1, QoS::AtLeastOnce);
        let mut client = Client::open(&broker, "c", durable, u16::MAX, || bed.sync());
        client.subscribe(&broker, "t", QoS::AtLeastOnce, || bed.sync());
        let filter = TopicFilter::parse("t").unwrap();
        let (known, waits) = broker.unsubscribe(&client.handle, &[filter], waiter().0).unwrap();
        assert_eq!((known, waits), (vec![true], durable));
        bed.sync();
        client.turn(&broker, NOW_MS);
        bed.sync();
        client.turn(&broker, NOW_MS);
        assert_eq!((client.values(), client.replays.len()), (vec![], 0), "durable {durable}");
    }
}

#[test]
fn a_refused_subscribe_leaves_everything_as_it_was() {
    for refusing in [Refusing::AtOnce, Refusing::AfterFilling] {
        let mut bed = Bed::roomy();
        let broker = Arc::clone(&bed.broker);
        let mut client = Client::open(&broker, "c", true, u16::MAX, || bed.sync());
        client.subscribe(&broker, "t", QoS::AtLeastOnce, || bed.sync());
        client.turn(&broker, NOW_MS);
        bed.sync();
        bed.tape.refuse(refusing);
        let wishes = [
            wish("t", QoS::ExactlyOnce, RetainedWanted::Always),
            wish("u", QoS::ExactlyOnce, RetainedWanted::Always),
            wish("u", QoS::AtMostOnce, RetainedWanted::Always),
        ];
        let who = Principal::anonymous();
        assert!(broker.subscribe(&who, &client.handle, &wishes, waiter().0).is_err());
        bed.tape.refuse(Refusing::Never);
        let mut publisher = publisher(&broker);
        publish(&broker, &mut publisher, "t", 1, QoS::ExactlyOnce);
        publish(&broker, &mut publisher, "u", 2, QoS::ExactlyOnce);
        bed.sync();
        client.turn(&broker, NOW_MS);
        assert_eq!((client.values(), client.seen[0].qos), (vec![1], QoS::AtLeastOnce));
        assert_eq!(broker.metrics.state.subscriptions.get(), 1);
    }
}

#[test]
fn a_refused_retained_publish_is_never_seen() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let mut publisher = publisher(&broker);
    publish(&broker, &mut publisher, "t", 1, QoS::AtLeastOnce);
    bed.sync();
    for refusing in [Refusing::AtOnce, Refusing::AfterFilling] {
        bed.tape.refuse(refusing);
        for topic in ["t", "u"] {
            let payload = b"9";
            let qos = QoS::AtLeastOnce;
            let properties = &[];
            let message =
                Publication { topic, payload, properties, qos, retain: true, expiry_s: None };
            let refused =
                broker.publish(&mut publisher, &message, Condition::None, || None, NOW_MS);
            assert!(refused.is_err());
        }
        bed.tape.refuse(Refusing::Never);
    }
    let all = TopicFilter::parse("#").unwrap();
    assert_eq!(broker.retained.matching("/", &all).len(), 1, "a refused topic takes no memory");
    let mut client = Client::open(&broker, "c", false, u16::MAX, || bed.sync());
    client.subscribe(&broker, "#", QoS::AtLeastOnce, || bed.sync());
    client.turn(&broker, NOW_MS);
    assert_eq!(client.values(), [1]);
}

#[test]
fn retained_messages_come_when_they_are_wanted() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    publish(&broker, &mut publisher(&broker), "t", 1, QoS::AtLeastOnce);
    let mut client = Client::open(&broker, "c", true, u16::MAX, || bed.sync());
    let who = Principal::anonymous();
    for (retained, replays) in
        [(RetainedWanted::Never, 0), (RetainedWanted::IfNew, 0), (RetainedWanted::Always, 1)]
    {
        let wishes = [wish("t", QoS::AtLeastOnce, retained)];
        let subscribed = broker.subscribe(&who, &client.handle, &wishes, waiter().0).unwrap();
        assert_eq!(subscribed.replays.len(), replays, "{retained:?}");
        client.replays.extend(subscribed.replays);
    }
    let wishes = [wish("+", QoS::AtLeastOnce, RetainedWanted::IfNew)];
    let subscribed = broker.subscribe(&who, &client.handle, &wishes, waiter().0).unwrap();
    assert_eq!(subscribed.replays.len(), 1);
}

/// Other options, or what clients ask for when they come back, are no reason to miss what was not replayed yet.
#[test]
fn a_replay_goes_on_after_the_filter_was_subscribed_to_again_without_one() {
    let mut bed = Bed::roomy();
    let broker = Arc::clone(&bed.broker);
    let mut publisher = publisher(&broker);
    publish(&broker, &mut publisher, "t/x", 1, QoS::AtLeastOnce);
    bed.sync();
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    client.subscribe(&broker, "t/+", QoS::AtLeastOnce, || bed.sync());
    for retained in [RetainedWanted::IfNew, RetainedWanted::Never] {
        client.close(&broker);
        client = Client::open(&broker, "c", true, 9, || bed.sync());
        let again = wish("t/+", QoS::AtLeastOnce, retained);
        let who = Principal::anonymous();
        let subscribed = broker.subscribe(&who, &client.handle, &[again], waiter().0).unwrap();
        assert!(subscribed.replays.is_empty());
        bed.sync();
    }
    client.close(&broker);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    client.replays = broker.unfinished_replays(&client.handle);
    client.turn(&broker, NOW_MS);
    bed.sync();
    client.turn(&broker, NOW_MS);
    assert_eq!(client.values(), [1]);
}
