//! Access rules on both sides of `amq.topic`. Tests of `broker::publish`.

use std::sync::Arc;

use super::town::Town;
use crate::auth::acl::tests::EMPTY;
use crate::auth::acl::{Acl, RuleSpec};
use crate::broker::BrokerError;
use crate::broker::message::Message;
use crate::broker::publish::Published;
use crate::broker::publish::exchange::PublishError;
use crate::broker::replies::ReplyConsumer;
use crate::metrics::DropReason;
use crate::model::qos::QoS;

const RULE: RuleSpec<'_> = RuleSpec { allow: Some("*"), ..EMPTY };

fn enforce(town: &Town, rules: &[RuleSpec<'_>]) {
    town.bed.broker.set_acl(Acl::compile(rules.iter().copied()).unwrap());
}

fn exchange(name: &str) -> RuleSpec<'_> {
    RuleSpec { exchange: Some(name), ..RULE }
}

fn topics(filter: &str) -> RuleSpec<'_> {
    RuleSpec { filter: Some(filter), ..RULE }
}

const DENIED: Result<Published, PublishError> = Err(PublishError::NotAuthorized);

#[test]
fn publishing_through_amq_topic_needs_the_right_to_the_topic() {
    let mut town = Town::new();
    let queue = town.bound("q", false, "amq.topic", "#");
    let done = Ok(Published::Done { matched: true });
    let rules = [exchange("amq.topic"), topics("open/#")];
    assert_eq!(town.send_with("amq.topic", &["secret.x"], "1", false), done);
    enforce(&town, &rules);
    for _ in 0..2 {
        assert_eq!(town.send_with("amq.topic", &["open.x"], "2", false), done);
        assert_eq!(town.send_with("amq.topic", &["secret.x"], "3", false), DENIED);
        assert_eq!(town.send_with("amq.topic", &["open.x", "secret.x"], "4", false), DENIED);
    }
    // A key that is no topic's reaches nobody there.
    assert_eq!(town.send_with("amq.topic", &["100%"], "5", false), done);
    let allow = RULE;
    enforce(&town, &[exchange("*"), RuleSpec { queue: Some("*"), ..allow }, topics("open/#")]);
    let fetched = town.taken(&queue);
    assert_eq!(fetched.len(), 4, "{fetched:?}");
    assert_eq!(town.dropped(DropReason::Acl), 4);
}

#[test]
fn a_way_round_to_amq_topic_needs_it_too() {
    let mut town = Town::new();
    town.exchange("x", "fanout");
    town.chain("x", "amq.topic", "");
    enforce(&town, &[exchange("x"), topics("open/#")]);
    assert_eq!(town.send_with("x", &["secret"], "1", false), DENIED);
    let unwanted = Ok(Published::Done { matched: false });
    assert_eq!(town.send_with("x", &["open.y"], "2", false), unwanted);
    assert_eq!(town.send_with("amq.topic", &["open.y"], "3", false), DENIED);
    // Who may not publish to an exchange does not learn whether it is there.
    assert_eq!(town.send_with("nowhere", &["k"], "4", false), DENIED);
    // What a route carries on is the operator's business.
    town.route_to_tree("r", "x", "", |_| Some("secret/y".into()));
    assert_eq!(town.send_with("x", &["open.y"], "5", false), unwanted);
}

#[test]
fn the_tree_needs_no_right_to_amq_topic() {
    let mut town = Town::new();
    let queue = town.bound("q", false, "amq.topic", "#");
    enforce(&town, &[topics("open/#"), RuleSpec { queue: Some("q"), ..RULE }]);
    let published = town.say_with("open/x", "1", QoS::AtMostOnce, false, &[]);
    assert_eq!(published, Ok(Published::Done { matched: true }));
    let refused = town.say_with("secret/x", "2", QoS::AtMostOnce, false, &[]);
    assert_eq!(refused, Err(BrokerError::NotAuthorized));
    assert_eq!(town.taken(&queue), ["topic open/x|1"]);
}

struct Asker;

impl ReplyConsumer for Asker {
    fn reply(&self, _: &Message<'_>, _: u64) -> bool {
        true
    }
}

#[test]
fn the_default_exchange_is_asked_for_also_by_direct_replies() {
    let mut town = Town::new();
    let name = town.bed.broker.replies.register(Arc::new(Asker), 1);
    town.queue("q", false);
    let rule = RuleSpec { publish: false, ..exchange("amq.default") };
    enforce(&town, &[rule]);
    assert_eq!(town.send_with("", &[&name], "1", false), DENIED);
    assert_eq!(town.send_with("", &["q"], "1", false), DENIED);
    enforce(&town, &[exchange("amq.default")]);
    let done = Ok(Published::Done { matched: true });
    assert_eq!(town.send_with("", &[&name], "1", false), done);
    assert_eq!(town.send_with("", &["q"], "1", false), done);
}
