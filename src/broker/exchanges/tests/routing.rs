//! Where messages go.

use std::sync::Arc;

use super::{Topology, binding, exchange, names, queue};
use crate::broker::exchanges::hits::{ExchangeRoute, Hits, RouteError};
use crate::broker::exchanges::verbs::ExchangeDeclaration;
use crate::model::field_table::write::TableWriter;

fn with_alternate(alternate: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    TableWriter::new(&mut bytes).string("alternate-exchange", alternate).unwrap();
    bytes
}

struct Named(&'static str);

impl ExchangeRoute for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn topic(&self, _: &str, key: &str) -> Result<String, String> {
        Ok(key.replace('.', "/"))
    }
}

#[test]
fn each_type_compares_in_its_way() {
    let topology = Topology::new();
    topology.queues(&["one", "two"]);
    for (source, key) in [("amq.direct", "k"), ("amq.fanout", "k"), ("amq.topic", "a.*")] {
        topology.bind(&binding(source, "one", key)).unwrap();
    }
    topology.bind(&binding("amq.fanout", "two", "")).unwrap();
    assert_eq!(topology.reached("amq.direct", "k"), ["one"]);
    assert!(topology.reached("amq.direct", "K").is_empty());
    assert_eq!(topology.reached("amq.fanout", "whatever"), ["one", "two"]);
    assert_eq!(topology.reached("amq.topic", "a.b"), ["one"]);
    assert_eq!(topology.reached("", "two"), ["two"], "the default exchange");
    assert!(topology.reached("", "three").is_empty());
}

#[test]
fn a_missing_exchange_and_an_internal_one_take_nothing() {
    let topology = Topology::new();
    let internal = ExchangeDeclaration { internal: true, ..exchange("inside", "fanout") };
    topology.declare(&internal).unwrap();
    assert_eq!(topology.route("none", &["k"]).err(), Some(RouteError::NoExchange));
    assert_eq!(topology.route("inside", &["k"]).err(), Some(RouteError::Internal));
    assert_eq!(topology.route("amq.rabbitmq.trace", &["k"]).err(), Some(RouteError::Internal));
    topology.queues(&["q"]);
    topology.bind(&binding("inside", "q", "")).unwrap();
    topology.chain(&binding("amq.direct", "inside", "k")).unwrap();
    assert_eq!(topology.reached("amq.direct", "k"), ["q"], "other exchanges may");
}

#[test]
fn each_queue_is_hit_once_whatever_the_number_of_ways_and_circles_end() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    for name in ["a", "b", "c", "d"] {
        topology.declare(&exchange(name, "fanout")).unwrap();
        topology.bind(&binding(name, "q", "")).unwrap();
        topology.bind(&binding(name, "q", "again")).unwrap();
    }
    for (from, to) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "a"), ("d", "d")] {
        topology.chain(&binding(from, to, "")).unwrap();
    }
    for name in ["a", "b", "c", "d"] {
        assert_eq!(topology.reached(name, "k"), ["q"]);
    }
}

/// Diamonds in a row: a walk that follows every path would take 2^60 steps.
#[test]
fn paths_do_not_multiply() {
    let topology = Topology::new();
    topology.queues(&["end"]);
    let name = |level: usize, side: &str| format!("{level}{side}");
    for level in 0..60 {
        for side in ["l", "r"] {
            topology.declare(&exchange(&name(level, side), "fanout")).unwrap();
        }
    }
    for level in 0..59 {
        for (from, to) in [("l", "l"), ("l", "r"), ("r", "l"), ("r", "r")] {
            topology.chain(&binding(&name(level, from), &name(level + 1, to), "")).unwrap();
        }
    }
    topology.bind(&binding("59r", "end", "")).unwrap();
    assert_eq!(topology.reached("0l", ""), ["end"]);
}

#[test]
fn an_alternate_exchange_takes_what_no_binding_matched() {
    let topology = Topology::new();
    topology.queues(&["caught", "own"]);
    let arguments = with_alternate("rest");
    let first = ExchangeDeclaration { arguments: &arguments, ..exchange("first", "direct") };
    topology.declare(&first).unwrap();
    topology.bind(&binding("first", "own", "own")).unwrap();
    let before = topology.vhost().generation();
    assert!(topology.reached("first", "other").is_empty(), "it need not be there");
    topology.declare(&exchange("rest", "fanout")).unwrap();
    assert_ne!(topology.vhost().generation(), before, "cached answers ask again");
    topology.bind(&binding("rest", "caught", "")).unwrap();
    assert_eq!(topology.reached("first", "other"), ["caught"]);
    assert_eq!(topology.reached("first", "own"), ["own"]);
    let both = topology.route("first", &["own", "other"]).unwrap();
    assert_eq!(names(&both), ["own"], "one of its keys matched");
    let arguments = with_alternate("");
    let named = ExchangeDeclaration { arguments: &arguments, ..exchange("named", "direct") };
    topology.declare(&named).unwrap();
    assert_eq!(topology.reached("named", "own"), ["own"], "the default exchange as alternate");
}

#[test]
fn several_keys_add_up() {
    let topology = Topology::new();
    topology.queues(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        topology.bind(&binding("amq.direct", name, name)).unwrap();
        topology.bind(&binding("amq.topic", name, &format!("#.{name}"))).unwrap();
    }
    for exchange in ["amq.direct", "amq.topic", ""] {
        assert_eq!(names(&topology.route(exchange, &["a", "c", "a"]).unwrap()), ["a", "c"]);
    }
}

#[test]
fn the_topic_tree_is_reached_through_its_exchange_only() {
    let topology = Topology::new();
    assert!(!topology.vhost().is_tree_bound());
    topology.declare(&exchange("first", "fanout")).unwrap();
    assert!(topology.route("amq.topic", &["a.b"]).unwrap().reached_tree);
    assert!(!topology.route("first", &["a.b"]).unwrap().reached_tree);
    topology.chain(&binding("first", "amq.topic", "")).unwrap();
    assert!(topology.route("first", &["a.b"]).unwrap().reached_tree);
    assert!(!topology.vhost().is_tree_bound(), "a binding to it is none from it");

    topology.queues(&["near", "far"]);
    topology.bind(&binding("amq.topic", "near", "a.*")).unwrap();
    topology.declare(&exchange("behind", "fanout")).unwrap();
    topology.chain(&binding("amq.topic", "behind", "#")).unwrap();
    topology.bind(&binding("behind", "far", "")).unwrap();
    assert!(topology.vhost().is_tree_bound());
    let from_tree = |key| {
        let mut hits = Hits::default();
        topology.vhost().route_from_tree(key, || None, &mut hits);
        names(&hits)
    };
    assert_eq!(from_tree("a.b"), ["far", "near"]);
    assert_eq!(from_tree("x"), ["far"]);
    topology.unbind(&binding("amq.topic", "near", "a.*")).unwrap();
    topology.delete("behind", false).unwrap();
    assert!(!topology.vhost().is_tree_bound() && from_tree("a.b").is_empty());
}

#[test]
fn routes_are_destinations_and_outlive_their_exchange() {
    let topology = Topology::new();
    let vhost = topology.vhost();
    vhost.add_route("later", "a.#", Arc::new(Named("early")));
    topology.declare(&exchange("later", "topic")).unwrap();
    vhost.add_route("later", "a.b", Arc::new(Named("late")));
    vhost.add_route("later", "a.b", Arc::new(Named("late")));
    let routes = |key| {
        let hits = topology.route("later", &[key]).unwrap();
        hits.routes.iter().map(|route| route.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (routes("a.b"), routes("a.c")),
        (vec!["early".into(), "late".into()], vec!["early".into()])
    );
    assert!(topology.delete("later", true).is_ok(), "a route is no use of it");
    assert_eq!(topology.route("later", &["a"]).err(), Some(RouteError::NoExchange));
    topology.declare(&exchange("later", "topic")).unwrap();
    assert_eq!(routes("a.b").len(), 2);
    vhost.add_route("amq.topic", "#", Arc::new(Named("tree")));
    assert!(vhost.is_tree_bound());
}

/// What may be cached says so.
#[test]
fn the_generation_is_raised_by_what_changes_answers_and_by_nothing_else() {
    let topology = Topology::new();
    let vhost = topology.vhost();
    let raised = |done: &dyn Fn() -> bool| {
        let before = vhost.generation();
        assert!(done());
        vhost.generation() != before
    };
    assert!(!raised(&|| topology.declare_queue(&queue("q")).is_ok()));
    assert!(raised(&|| topology.declare(&exchange("x", "fanout")).is_ok()));
    assert!(!raised(&|| topology.declare(&exchange("x", "fanout")).is_ok()), "it was there");
    assert!(raised(&|| topology.bind(&binding("x", "q", "k")).is_ok()));
    assert!(!raised(&|| topology.bind(&binding("x", "q", "k")).is_ok()), "it was there");
    assert!(!raised(&|| topology.declare_queue(&queue("q")).is_ok()));
    assert!(raised(&|| topology.unbind(&binding("x", "q", "k")).is_ok()));
    assert!(!raised(&|| topology.unbind(&binding("x", "q", "k")).is_ok()));
    assert!(!raised(&|| topology.delete_queue("q").is_ok()));
    topology.queues(&["q"]);
    topology.bind(&binding("x", "q", "k")).unwrap();
    assert!(raised(&|| topology.delete_queue("q").is_ok()), "it was bound");
    assert!(raised(&|| topology.delete("x", false).is_ok()));
    assert!(raised(&|| {
        topology.broker().set_acl(crate::auth::acl::Acl::default());
        true
    }));
}

/// The cost of a key is its depth, not the number of bindings.
#[test]
fn ten_thousand_bindings_are_found_apart() {
    let topology = Topology::new();
    topology.queues(&["q", "all"]);
    for number in 0..10_000 {
        topology.bind(&binding("amq.topic", "q", &format!("site.{number}.*.state"))).unwrap();
    }
    topology.bind(&binding("amq.topic", "all", "site.#")).unwrap();
    assert_eq!(topology.reached("amq.topic", "site.77.x.state"), ["all", "q"]);
    assert_eq!(topology.reached("amq.topic", "site.10000.x.state"), ["all"]);
    topology.delete_queue("q").unwrap();
    assert_eq!(topology.reached("amq.topic", "site.77.x.state"), ["all"]);
    assert_eq!(topology.vhost().look(|live| live.bindings()), 1);
}
