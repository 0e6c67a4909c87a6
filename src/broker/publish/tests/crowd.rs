//! Queues that are nearly full, all of them or one. Tests of `broker::publish`.

use super::town::Town;
use crate::broker::BrokerError;
use crate::broker::backlog::{BacklogLimits, Crowding};
use crate::broker::publish::crowd::Brake;
use crate::broker::publish::exchange::PublishError;
use crate::broker::testbed::client::NOW_MS;
use crate::metrics::DropReason;
use crate::model::qos::QoS;

const NOTHING: BacklogLimits =
    BacklogLimits { bytes_max: 0, queue_bytes_max: 0, drops_newest: false };

/// A town where `bytes_max` bytes may wait, and a durable queue `q` bound to topic `a`.
fn town(limits: BacklogLimits) -> Town {
    let mut town = Town::new();
    town.bed.broker.backlog.set_limits(limits);
    town.bound("q", true, "amq.topic", "a");
    town
}

/// Publishes until the bound is reached; how many it took.
fn fill(town: &mut Town) -> u64 {
    let text = "x".repeat(100);
    for count in 1..100 {
        town.send("amq.topic", "a", &text, true);
        town.bed.sync();
        if town.bed.broker.crowding(&town.channel) == Crowding::Full {
            return count;
        }
    }
    panic!("no bound");
}

#[test]
fn at_the_bound_whoever_can_be_told_is_refused_and_nobody_gets_the_message() {
    let mut town = town(BacklogLimits { bytes_max: 1000, ..NOTHING });
    let mut guest = town.client("guest", false, "a");
    let kept = fill(&mut town);
    assert!((5..=10).contains(&kept), "{kept}");
    town.got(&mut guest);
    town.channel.can_be_told = true;
    let refused = town.send_with("amq.topic", &["a"], "late", true);
    assert_eq!(refused, Err(PublishError::Limit("bytes in queues")));
    town.device.can_be_told = true;
    let refused = town.say_with("a", "late", QoS::AtLeastOnce, true, &[]);
    assert_eq!(refused, Err(BrokerError::Limit("bytes in queues")));
    assert!(town.got(&mut guest).is_empty());
    assert_eq!(town.dropped(DropReason::QueuesFull), 2);
    // What no durable queue gets is nobody's burden.
    town.say("a", "fleeting", QoS::AtMostOnce);
    town.send("amq.topic", "elsewhere", "x", true);
    assert_eq!(town.got(&mut guest).len(), 1);
    // Room comes back with what is taken out.
    let before = town.bed.broker.backlog.bytes();
    let broker = town.broker();
    broker
        .delete_queue(&town.who, super::town::OWN, "q", false, false, super::town::unheard, NOW_MS)
        .unwrap();
    town.bed.sync();
    assert!(before >= 1000);
    assert_eq!(town.bed.broker.backlog.bytes(), 0);
    assert!(town.say_with("a", "again", QoS::AtLeastOnce, false, &[]).is_ok());
}

#[test]
fn who_cannot_be_told_gets_in_and_is_not_read_any_more() {
    let mut town = town(BacklogLimits { bytes_max: 1000, ..NOTHING });
    let kept = fill(&mut town);
    let broker = town.broker();
    let mut brake = Brake::default();
    let mut now_ms = NOW_MS;
    assert!(town.bed.broker.backlog.bytes() >= 1000 && kept > 0);
    // For ever, for it has nothing to acknowledge.
    for _ in 0..20 {
        let at_ms = brake.holds(&broker, &mut town.channel, || false, now_ms).unwrap();
        assert!(at_ms > now_ms);
        now_ms = at_ms;
    }
    // Its acknowledgements are read, once a second.
    assert_eq!(brake.holds(&broker, &mut town.channel, || true, now_ms), None);
    town.send("amq.topic", "a", "x", true);
    town.bed.sync();
    assert!(brake.holds(&broker, &mut town.channel, || true, now_ms).is_some());
    // Who publishes nothing durable is not held.
    let mut other = Brake::default();
    assert_eq!(other.holds(&broker, &mut town.device, || false, now_ms), None);
}

#[test]
fn from_nine_tenths_on_publishers_are_read_with_pauses() {
    let mut town = town(BacklogLimits { bytes_max: 10_000, ..NOTHING });
    let text = "x".repeat(100);
    while town.bed.broker.crowding(&town.channel) == Crowding::Free {
        town.send("amq.topic", "a", &text, true);
        town.bed.sync();
    }
    let broker = town.broker();
    assert!((9000..9400).contains(&broker.backlog.bytes()));
    let mut brake = Brake::default();
    let at_ms = brake.holds(&broker, &mut town.channel, || false, NOW_MS).unwrap();
    assert!(brake.holds(&broker, &mut town.channel, || false, at_ms - 1).is_some());
    assert_eq!(brake.holds(&broker, &mut town.channel, || false, at_ms), None);
    town.send("amq.topic", "a", &text, true);
    assert!(brake.holds(&broker, &mut town.channel, || false, at_ms).is_some());
}

#[test]
fn queues_go_without_the_newest_where_that_is_the_policy_and_all_others_get_it() {
    let mut town = town(BacklogLimits { bytes_max: 1000, drops_newest: true, ..NOTHING });
    town.client("away", true, "a");
    let mut guest = town.client("guest", false, "a");
    town.route_to_log("log", "a");
    fill(&mut town);
    town.got(&mut guest);
    let logged = town.logged().len();
    let waiting = town.bed.broker.backlog.bytes();
    for retain in [false, true] {
        town.say_with("a", "late", QoS::AtLeastOnce, retain, &[]).unwrap();
        town.bed.sync();
    }
    assert_eq!(town.bed.broker.backlog.bytes(), waiting);
    assert_eq!(town.dropped(DropReason::QueuesFull), 4);
    assert_eq!(town.logged().len(), logged + 2);
    assert_eq!(town.got(&mut guest).len(), 2);
    let mut brake = Brake::default();
    let broker = town.broker();
    let at_ms = brake.holds(&broker, &mut town.device, || false, NOW_MS).unwrap();
    assert_eq!(brake.holds(&broker, &mut town.device, || false, at_ms), None);
}

#[test]
fn one_queue_at_its_bound_refuses_for_all_of_the_message_and_leaves_others_alone() {
    let mut town = town(BacklogLimits { queue_bytes_max: 500, ..NOTHING });
    let other = town.queue("other", true);
    assert!((5..=6).contains(&fill(&mut town)));
    town.channel.can_be_told = true;
    let refused = town.send_with("amq.topic", &["a"], "late", true);
    assert_eq!(refused, Err(PublishError::Limit("bytes in queues")));
    assert!(town.send_with("", &["other"], "x", true).is_ok());
    town.bed.sync();
    assert_eq!(town.taken(&other).len(), 1);
}

#[test]
fn a_restart_counts_what_it_finds() {
    let mut town = town(NOTHING);
    town.client("away", true, "a");
    for _ in 0..5 {
        town.say("a", "kept", QoS::AtLeastOnce);
    }
    town.bed.sync();
    let before = town.bed.broker.backlog.bytes();
    assert!(before > 0);
    town.bed.checkpoint(NOW_MS);
    let bed = town.bed.restart(&mut |_, _| 0);
    assert_eq!(bed.broker.backlog.bytes(), before);
    assert_eq!(bed.broker.metrics.state.queued.get(), 10);
}
