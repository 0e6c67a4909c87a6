//! One sentence each of `docs/guarantees.md` and MQTT5-4.8.2. Tests of `broker::shares`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::connect::{Closing, Opening};
use crate::broker::limits::Limits;
use crate::broker::record::Condition;
use crate::broker::sessions::session::NEVER_EXPIRES_S;
use crate::broker::subscribe::RetainedWanted;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Client, NOW_MS, Numbered, Sent, publisher, waiter, wish};
use crate::broker::testbed::snapshot::snapshot;
use crate::metrics::DropReason;
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::model::turns::Turns;

const SHARED: &str = "$share/g/t/#";

fn open(bed: &mut Bed, id: &str, durable: bool, window: u16) -> Client {
    let broker = Arc::clone(&bed.broker);
    Client::open(&broker, id, durable, window, || bed.sync())
}

fn join(bed: &mut Bed, client: &mut Client, filter: &str, qos: QoS) {
    let broker = Arc::clone(&bed.broker);
    client.subscribe(&broker, filter, qos, || bed.sync());
}

fn member(bed: &mut Bed, id: &str, durable: bool, window: u16, qos: QoS) -> Client {
    let mut client = open(bed, id, durable, window);
    join(bed, &mut client, SHARED, qos);
    client
}

fn publish(bed: &mut Bed, values: impl IntoIterator<Item = u32>, qos: QoS) {
    let mut publisher = publisher(&bed.broker);
    for value in values {
        Numbered::new("t/x", value, qos).publish(&bed.broker, &mut publisher);
    }
    bed.sync();
    publisher.counters.flush_into(&bed.broker.metrics);
}

/// Turns until nothing comes any more; what each was given.
fn turns(bed: &mut Bed, clients: &mut [&mut Client]) -> Vec<Vec<Sent>> {
    let mut came = vec![Vec::new(); clients.len()];
    for _ in 0..6 {
        for (client, came) in clients.iter_mut().zip(&mut came) {
            came.extend(client.turn(&bed.broker, NOW_MS));
        }
        bed.sync();
    }
    came
}

fn values(sent: &[Sent]) -> Vec<u32> {
    sent.iter().filter(|one| !one.release).map(Sent::value).collect()
}

fn dropped(broker: &Broker, why: DropReason) -> u64 {
    broker.metrics.messages.dropped.of(why).get()
}

fn unsubscribe(bed: &mut Bed, client: &Client, filter: &str) {
    let filter = TopicFilter::parse(filter).unwrap();
    bed.broker.unsubscribe(&client.handle, &[filter], waiter().0).unwrap();
    bed.sync();
}

#[test]
fn each_message_goes_to_one_member() {
    for durable in [false, true] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bed = Bed::roomy();
            let mut one = member(&mut bed, "one", durable, 100, qos);
            let mut two = member(&mut bed, "two", durable, 100, qos);
            publish(&mut bed, 0..20, qos);
            let came = turns(&mut bed, &mut [&mut one, &mut two]);
            let (first, second) = (values(&came[0]), values(&came[1]));
            assert_eq!((first.len(), second.len()), (10, 10), "durable {durable}, {qos:?}");
            let all: BTreeSet<u32> = first.into_iter().chain(second).collect();
            assert_eq!(all, (0..20).collect());
            assert!(came.iter().flatten().all(|sent| sent.qos == qos && !sent.dup));
        }
    }
}

#[test]
fn a_session_gets_a_copy_of_each_group_and_one_of_its_own() {
    let mut bed = Bed::roomy();
    let mut client = member(&mut bed, "c", true, 100, QoS::AtLeastOnce);
    for filter in ["$share/h/t/#", "$share/g/t/+", "t/x"] {
        join(&mut bed, &mut client, filter, QoS::AtLeastOnce);
    }
    publish(&mut bed, [7], QoS::AtLeastOnce);
    let came = turns(&mut bed, &mut [&mut client]);
    assert_eq!(values(&came[0]), [7, 7, 7, 7]);
    let ids: BTreeSet<u16> = came[0].iter().map(|sent| sent.packet_id).collect();
    assert_eq!(ids.len(), 4, "packet identifiers differ [MQTT-2.2.1-3]");
    for id in ids {
        assert!(client.settle(&bed.broker, id));
    }
    bed.sync();
    assert_eq!(bed.broker.metrics.state.queued.get(), 0);
}

#[test]
fn what_a_leaving_member_has_not_acknowledged_goes_to_the_others_in_its_old_order() {
    for durable in [false, true] {
        let mut bed = Bed::roomy();
        let mut one = member(&mut bed, "one", durable, 4, QoS::AtLeastOnce);
        publish(&mut bed, 0..8, QoS::AtLeastOnce);
        let came = turns(&mut bed, &mut [&mut one]);
        assert_eq!(values(&came[0]), [0, 1, 2, 3]);
        assert!(one.settle(&bed.broker, came[0][1].packet_id));
        let mut two = member(&mut bed, "two", durable, 100, QoS::AtLeastOnce);
        one.close(&bed.broker);
        bed.sync();
        let came = turns(&mut bed, &mut [&mut two]);
        assert!(values(&came[0]).contains(&0), "{came:?}");
        let mut seen = values(&came[0]);
        seen.sort_unstable();
        // The fourth acknowledged nothing more, and the second message was acknowledged.
        assert_eq!(seen, [0, 2, 3, 4, 5, 6, 7], "durable {durable}");
        assert!(came[0].iter().all(|sent| !sent.dup), "new to this member");
        assert!(bed.broker.metrics.shares.returned.get() >= 3);
    }
}

#[test]
fn members_that_are_all_away_find_what_was_published_meanwhile() {
    let mut bed = Bed::roomy();
    for id in ["one", "two"] {
        let client = member(&mut bed, id, true, 100, QoS::AtLeastOnce);
        client.close(&bed.broker);
    }
    publish(&mut bed, 0..5, QoS::AtLeastOnce);
    // QoS 0 waits for nobody.
    publish(&mut bed, [9], QoS::AtMostOnce);
    assert_eq!(dropped(&bed.broker, DropReason::Qos0Offline), 1);
    let mut bed = bed.restart(&mut |_, unsynced| unsynced);
    bed.resume(NOW_MS);
    bed.sync();
    let mut one = open(&mut bed, "one", true, 100);
    let came = turns(&mut bed, &mut [&mut one]);
    assert_eq!(values(&came[0]), [0, 1, 2, 3, 4]);
}

#[test]
fn a_member_that_takes_nothing_starves_nobody() {
    for durable in [false, true] {
        let mut bed = Bed::roomy();
        let mut slow = member(&mut bed, "slow", durable, 2, QoS::AtLeastOnce);
        let mut fast = member(&mut bed, "fast", durable, 5, QoS::AtLeastOnce);
        let mut got = Vec::new();
        for round in 0..10 {
            publish(&mut bed, round * 4..round * 4 + 4, QoS::AtLeastOnce);
            let came = turns(&mut bed, &mut [&mut slow, &mut fast]);
            for sent in &came[1] {
                assert!(fast.settle(&bed.broker, sent.packet_id));
            }
            got.extend(values(&came[1]));
        }
        assert_eq!((slow.values().len(), got.len()), (2, 38), "durable {durable}");
    }
}

#[test]
fn the_fewest_outstanding_get_the_next_message() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", false, 100, QoS::AtLeastOnce);
    let mut two = member(&mut bed, "two", false, 100, QoS::AtLeastOnce);
    publish(&mut bed, 0..6, QoS::AtLeastOnce);
    let came = turns(&mut bed, &mut [&mut one, &mut two]);
    for sent in &came[1] {
        assert!(two.settle(&bed.broker, sent.packet_id));
    }
    publish(&mut bed, 6..9, QoS::AtLeastOnce);
    let came = turns(&mut bed, &mut [&mut one, &mut two]);
    assert_eq!((values(&came[0]), values(&came[1])), (vec![], vec![6, 7, 8]));
}

fn with_turns(turns: Turns) -> Bed {
    let bed = Bed::roomy();
    let limits = Limits { share_turns: turns, ..*bed.broker.limits() };
    bed.broker.limits.store(Arc::new(limits));
    bed
}

#[test]
fn in_turn_everybody_gets_as_many_whatever_they_acknowledge() {
    let mut bed = with_turns(Turns::RoundRobin);
    let mut one = member(&mut bed, "one", false, 100, QoS::AtLeastOnce);
    let mut two = member(&mut bed, "two", false, 100, QoS::AtLeastOnce);
    for round in 0..4 {
        publish(&mut bed, [round * 2, round * 2 + 1], QoS::AtLeastOnce);
        let came = turns(&mut bed, &mut [&mut one, &mut two]);
        assert_eq!((came[0].len(), came[1].len()), (1, 1));
        assert!(two.settle(&bed.broker, came[1][0].packet_id));
    }
}

fn publish_as(bed: &mut Bed, device: u32, topic: &str, value: u32, qos: QoS) {
    let mut publisher = publisher(&bed.broker);
    publisher.client_id = format!("device-{device}").into();
    let payload = value.to_string();
    let publication = Publication {
        topic,
        payload: payload.as_bytes(),
        properties: &[],
        qos,
        retain: false,
        expiry_s: None,
    };
    let (broker, told) = (&bed.broker, || None);
    broker.publish(&mut publisher, &publication, Condition::None, told, NOW_MS).unwrap();
}

#[test]
fn by_hash_a_device_keeps_its_member_and_its_order_while_others_are_slow() {
    for durable in [false, true] {
        for turns_by in [Turns::HashClient, Turns::HashTopic] {
            let mut bed = with_turns(turns_by);
            let mut slow = member(&mut bed, "slow", durable, 2, QoS::AtLeastOnce);
            let mut fast = member(&mut bed, "fast", durable, 100, QoS::AtLeastOnce);
            for value in 0..60 {
                let device = value % 6;
                let topic = format!("t/{device}");
                publish_as(&mut bed, device, &topic, value, QoS::AtLeastOnce);
            }
            bed.sync();
            let mut by_member: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
            let mut last: BTreeMap<u32, u32> = BTreeMap::new();
            let mut count = 0;
            for round in 0..40 {
                let came = turns(&mut bed, &mut [&mut slow, &mut fast]);
                assert!(came[0].len() <= 2);
                if round == 0 {
                    assert!(came[1].len() >= 10, "the slow one holds nobody up: {}", came[1].len());
                }
                for (at, sent) in came
                    .iter()
                    .enumerate()
                    .flat_map(|(at, all)| all.iter().map(move |sent| (at, sent)))
                {
                    let (value, device) = (sent.value(), sent.value() % 6);
                    by_member.entry(device).or_default().insert(at);
                    let before = last.insert(device, value);
                    assert!(before.is_none_or(|before| before < value), "in order");
                    count += 1;
                    let client = if at == 0 { &mut slow } else { &mut fast };
                    assert!(client.settle(&bed.broker, sent.packet_id));
                }
                bed.sync();
            }
            assert_eq!(count, 60, "durable {durable}, {turns_by:?}");
            assert!(by_member.values().all(|members| members.len() == 1), "{by_member:?}");
            assert!(by_member.values().any(|members| members.contains(&0)));
        }
    }
}

#[test]
fn qos_2_is_the_members_own_until_it_comes_back() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", true, 3, QoS::ExactlyOnce);
    publish(&mut bed, 0..3, QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut one]);
    assert_eq!(values(&came[0]), [0, 1, 2]);
    assert!(one.release(&bed.broker, came[0][0].packet_id));
    bed.sync();
    one.close(&bed.broker);
    let mut two = member(&mut bed, "two", true, 10, QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut two]);
    assert!(came[0].is_empty(), "[MQTT-4.8.2-4] {came:?}");
    // A power cut and a checkpoint change nothing.
    bed.checkpoint(NOW_MS);
    let mut bed = bed.restart(&mut |_, unsynced| unsynced);
    bed.resume(NOW_MS);
    bed.sync();
    let mut two = open(&mut bed, "two", true, 10);
    let mut one = open(&mut bed, "one", true, 3);
    let came = turns(&mut bed, &mut [&mut two, &mut one]);
    assert!(came[0].is_empty());
    let again: Vec<_> = came[1].iter().map(|sent| (sent.release, sent.dup)).collect();
    assert_eq!(again, [(true, false), (false, true), (false, true)]);
    for sent in &came[1] {
        assert!(sent.release || one.release(&bed.broker, sent.packet_id));
    }
    bed.sync();
    for sent in &came[1] {
        assert!(one.settle(&bed.broker, sent.packet_id));
    }
    bed.sync();
    assert_eq!(bed.broker.metrics.state.queued.get(), 0);
    let replayed = snapshot(&Bed::over(bed.tape.copy()));
    assert_eq!(snapshot(&bed), replayed);
}

#[test]
fn qos_2_of_a_session_that_is_over_is_for_nobody_else() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", true, 2, QoS::ExactlyOnce);
    let two = member(&mut bed, "two", true, 0, QoS::ExactlyOnce);
    publish(&mut bed, 0..4, QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut one]);
    assert_eq!(values(&came[0]), [0, 1]);
    let opening = Opening {
        client_id: "one",
        clean_start: true,
        expiry_s: NEVER_EXPIRES_S,
        receive_max: 10,
        will: None,
    };
    bed.broker.open(&Principal::anonymous(), opening, waiter().0, NOW_MS).unwrap();
    bed.sync();
    two.close(&bed.broker);
    let mut two = open(&mut bed, "two", true, 10);
    let came = turns(&mut bed, &mut [&mut two]);
    assert_eq!(values(&came[0]), [2, 3], "[MQTT-4.8.2-5]");
}

#[test]
fn qos_2_that_was_taken_over_and_never_sent_goes_back() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", true, 2, QoS::ExactlyOnce);
    publish(&mut bed, 0..2, QoS::ExactlyOnce);
    // It asks for the record, and is gone before it is applied.
    one.turn(&bed.broker, NOW_MS);
    one.close(&bed.broker);
    bed.sync();
    let mut two = member(&mut bed, "two", true, 10, QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut two]);
    assert_eq!(values(&came[0]), [0, 1]);
    // Applied, and gone before it is sent.
    two.close(&bed.broker);
    bed.sync();
    let mut one = open(&mut bed, "one", true, 2);
    publish(&mut bed, 2..4, QoS::ExactlyOnce);
    one.turn(&bed.broker, NOW_MS);
    bed.sync();
    one.close(&bed.broker);
    bed.sync();
    let mut three = member(&mut bed, "three", true, 10, QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut three]);
    assert_eq!(values(&came[0]), [2, 3]);
    assert_eq!(snapshot(&bed), snapshot(&Bed::over(bed.tape.copy())));
}

#[test]
fn a_clean_session_hands_qos_1_back_and_takes_sent_qos_2_with_it() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", false, 10, QoS::ExactlyOnce);
    let mut two = member(&mut bed, "two", false, 0, QoS::ExactlyOnce);
    publish(&mut bed, [0], QoS::ExactlyOnce);
    publish(&mut bed, [1], QoS::AtLeastOnce);
    let came = turns(&mut bed, &mut [&mut one, &mut two]);
    assert_eq!(values(&came[0]), [0, 1]);
    two.close(&bed.broker);
    let mut two = member(&mut bed, "two", false, 10, QoS::ExactlyOnce);
    one.close(&bed.broker);
    let came = turns(&mut bed, &mut [&mut two]);
    assert_eq!(values(&came[0]), [1]);
}

#[test]
fn a_clean_session_does_the_four_steps_of_qos_2() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", false, 1, QoS::ExactlyOnce);
    publish(&mut bed, 0..2, QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut one]);
    let id = came[0][0].packet_id;
    assert_eq!(values(&came[0]), [0]);
    assert!(one.release(&bed.broker, id) && one.release(&bed.broker, id));
    assert!(values(&turns(&mut bed, &mut [&mut one])[0]).is_empty(), "the quota is PUBCOMP's");
    assert!(one.settle(&bed.broker, id) && !one.settle(&bed.broker, id));
    assert_eq!(values(&turns(&mut bed, &mut [&mut one])[0]), [1]);
}

#[test]
fn who_unsubscribes_completes_what_was_begun_and_gets_nothing_more() {
    for durable in [false, true] {
        let mut bed = Bed::roomy();
        let mut one = member(&mut bed, "one", durable, 1, QoS::AtLeastOnce);
        let mut two = member(&mut bed, "two", durable, 0, QoS::AtLeastOnce);
        publish(&mut bed, 0..2, QoS::AtLeastOnce);
        let came = turns(&mut bed, &mut [&mut one, &mut two]);
        assert_eq!(values(&came[0]), [0]);
        unsubscribe(&mut bed, &one, SHARED);
        // [MQTT-3.10.4-3]
        assert!(one.settle(&bed.broker, came[0][0].packet_id));
        assert!(turns(&mut bed, &mut [&mut one])[0].is_empty());
        two.close(&bed.broker);
        let mut two = member(&mut bed, "two", durable, 5, QoS::AtLeastOnce);
        let came = turns(&mut bed, &mut [&mut one, &mut two]);
        let expected: &[u32] = if durable { &[1] } else { &[] };
        assert_eq!(values(&came[1]), expected, "with its last member a group is over");
    }
}

#[test]
fn a_group_is_over_with_its_last_member_and_leaves_nothing() {
    let mut bed = Bed::roomy();
    let one = member(&mut bed, "one", true, 1, QoS::AtLeastOnce);
    let two = member(&mut bed, "two", false, 1, QoS::AtLeastOnce);
    publish(&mut bed, 0..9, QoS::AtLeastOnce);
    unsubscribe(&mut bed, &one, SHARED);
    assert_eq!(bed.broker.shares.count(), (1, 1), "the other one still gets what waits");
    two.close(&bed.broker);
    bed.sync();
    assert_eq!(bed.broker.shares.count(), (0, 0));
    assert_eq!((bed.broker.declared.count(), bed.broker.metrics.state.queued.get()), (0, 0));
    let mut last = publisher(&bed.broker);
    Numbered::new("t/x", 1, QoS::AtLeastOnce).publish(&bed.broker, &mut last);
    last.counters.flush_into(&bed.broker.metrics);
    assert_eq!(dropped(&bed.broker, DropReason::NoSubscriber), 1);
    assert_eq!(snapshot(&bed), snapshot(&Bed::over(bed.tape.copy())));
}

#[test]
fn a_group_of_clean_sessions_that_a_durable_one_joins_keeps_what_waits() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", false, 1, QoS::AtLeastOnce);
    publish(&mut bed, 0..3, QoS::AtLeastOnce);
    let mut two = member(&mut bed, "two", true, 10, QoS::AtLeastOnce);
    publish(&mut bed, 3..5, QoS::AtLeastOnce);
    let came = turns(&mut bed, &mut [&mut one, &mut two]);
    let all = values(&came[0]).into_iter().chain(values(&came[1]));
    assert_eq!(all.collect::<BTreeSet<_>>(), (0..5).collect());
    for sent in &came[1] {
        assert!(two.settle(&bed.broker, sent.packet_id));
    }
    one.close(&bed.broker);
    bed.sync();
    let came = turns(&mut bed, &mut [&mut two]);
    assert_eq!(values(&came[0]).len(), 1, "what the clean one held");
}

#[test]
fn a_full_group_drops_what_comes_and_refuses_nobody() {
    for durable in [false, true] {
        let mut bed = Bed::new();
        bed.resume(NOW_MS);
        bed.sync();
        let mut one = member(&mut bed, "one", durable, 0, QoS::AtLeastOnce);
        publish(&mut bed, 0..20, QoS::AtLeastOnce);
        turns(&mut bed, &mut [&mut one]);
        assert_eq!(dropped(&bed.broker, DropReason::QueueFull), 8, "durable {durable}");
    }
}

#[test]
fn qos_0_finds_a_member_with_room() {
    for durable in [false, true] {
        let mut bed = Bed::roomy();
        let full = member(&mut bed, "full", durable, 5, QoS::AtMostOnce);
        let mut free = member(&mut bed, "free", durable, 5, QoS::AtMostOnce);
        full.receiver.full.store(true, Ordering::SeqCst);
        // Granted QoS 0, whatever the publisher's.
        publish(&mut bed, 0..4, QoS::AtMostOnce);
        publish(&mut bed, 4..6, QoS::AtLeastOnce);
        assert_eq!(values(&free.turn(&bed.broker, NOW_MS)), [0, 1, 2, 3, 4, 5]);
        free.receiver.full.store(true, Ordering::SeqCst);
        publish(&mut bed, [6], QoS::AtMostOnce);
        assert_eq!(dropped(&bed.broker, DropReason::OutboundFull), 1);
        free.close(&bed.broker);
        full.close(&bed.broker);
        bed.sync();
        publish(&mut bed, [7], QoS::AtLeastOnce);
        assert_eq!(bed.broker.metrics.state.queued.get(), 0);
    }
}

#[test]
fn a_message_too_large_for_one_member_goes_to_another() {
    let mut bed = Bed::roomy();
    let small = member(&mut bed, "small", false, 5, QoS::AtLeastOnce);
    let mut large = member(&mut bed, "large", false, 5, QoS::AtLeastOnce);
    small.receiver.refuses_large.store(true, Ordering::SeqCst);
    publish(&mut bed, 0..3, QoS::AtLeastOnce);
    assert_eq!(values(&turns(&mut bed, &mut [&mut large])[0]), [0, 1, 2]);
    large.receiver.refuses_large.store(true, Ordering::SeqCst);
    publish(&mut bed, [3], QoS::AtLeastOnce);
    assert_eq!(dropped(&bed.broker, DropReason::PacketTooLarge), 1, "as if it had been sent");
}

#[test]
fn retained_messages_are_not_sent_for_a_shared_subscription() {
    let mut bed = Bed::roomy();
    let retained = Numbered { retain: true, ..Numbered::new("t/x", 1, QoS::AtLeastOnce) };
    retained.publish(&bed.broker, &mut publisher(&bed.broker));
    bed.sync();
    let mut one = member(&mut bed, "one", true, 5, QoS::AtLeastOnce);
    assert!(one.replays.is_empty());
    assert!(turns(&mut bed, &mut [&mut one])[0].is_empty());
    let retained = Numbered { retain: true, ..Numbered::new("t/x", 2, QoS::AtLeastOnce) };
    retained.publish(&bed.broker, &mut publisher(&bed.broker));
    bed.sync();
    let came = turns(&mut bed, &mut [&mut one]);
    assert_eq!((values(&came[0]), came[0][0].retain), (vec![2], false));
}

#[test]
fn an_expired_message_is_not_handed_out() {
    let mut bed = Bed::roomy();
    let one = member(&mut bed, "one", true, 5, QoS::AtLeastOnce);
    one.close(&bed.broker);
    let expiring = Numbered { expiry_s: Some(1), ..Numbered::new("t/x", 1, QoS::AtLeastOnce) };
    expiring.publish(&bed.broker, &mut publisher(&bed.broker));
    publish(&mut bed, [2], QoS::AtLeastOnce);
    let mut one = open(&mut bed, "one", true, 5);
    let came = one.turn(&bed.broker, NOW_MS + 2_000);
    assert_eq!(values(&came), [2]);
}

#[test]
fn subscribing_again_changes_the_options() {
    let mut bed = Bed::roomy();
    let mut one = member(&mut bed, "one", true, 5, QoS::AtLeastOnce);
    let mut wished = wish(SHARED, QoS::ExactlyOnce, RetainedWanted::Always);
    wished.options.id = Some(9);
    let who = Principal::anonymous();
    bed.broker.subscribe(&who, &one.handle, &[wished], waiter().0).unwrap();
    bed.sync();
    publish(&mut bed, [1], QoS::ExactlyOnce);
    let came = turns(&mut bed, &mut [&mut one]);
    assert_eq!((came[0].len(), came[0][0].qos), (1, QoS::ExactlyOnce));
    assert_eq!(came[0][0].subscription_ids, [9]);
    assert_eq!(bed.broker.shares.count(), (1, 1));
}

#[test]
fn a_session_that_expires_leaves_its_groups() {
    let mut bed = Bed::roomy();
    let one = member(&mut bed, "one", true, 5, QoS::AtLeastOnce);
    bed.broker.close(&one.handle, Closing { discard_will: false, expiry_s: Some(3) }, NOW_MS);
    bed.sync();
    bed.run_jobs(NOW_MS + 3_000);
    bed.sync();
    assert_eq!((bed.broker.shares.count(), bed.broker.declared.count()), ((0, 0), 0));
}
