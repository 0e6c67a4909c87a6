//! Who may do what.

use super::{NOW_MS, OWN, Topology, binding, exchange, queue, unheard};
use crate::auth::acl::tests::EMPTY;
use crate::auth::acl::{Acl, RuleSpec};
use crate::broker::exchanges::error::{Entity, TopologyError};
use crate::broker::exchanges::verbs::{Changed, ExchangeDeclaration, QueueDeclaration};
use crate::model::field_table::write::TableWriter;

const NOTHING: RuleSpec<'_> =
    RuleSpec { allow: Some("ann"), publish: false, subscribe: false, configure: false, ..EMPTY };

/// What ann is allowed: `c`onfigure, `p`ublish, `s`ubscribe on an exchange, queue or filter.
fn allowed(topology: &Topology, rules: &[(&str, &str)]) {
    let specs = rules.iter().map(|(rights, object)| {
        let (kind, name) = object.split_once(':').unwrap();
        RuleSpec {
            configure: rights.contains('c'),
            publish: rights.contains('p'),
            subscribe: rights.contains('s'),
            exchange: (kind == "exchange").then_some(name),
            queue: (kind == "queue").then_some(name),
            filter: (kind == "filter").then_some(name),
            ..NOTHING
        }
    });
    topology.broker().set_acl(Acl::compile(specs).unwrap());
}

fn refusal<T>(result: Result<T, TopologyError>) -> Option<String> {
    match result {
        Err(TopologyError::AccessRefused(text)) => Some(text),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

fn refused(what: &str) -> Option<String> {
    Some(format!("access to {what} in vhost '/' refused for user 'ann'"))
}

#[test]
fn declaring_and_deleting_is_configuring() {
    let topology = Topology::new();
    allowed(&topology, &[("c", "exchange:mine-*"), ("c", "queue:mine"), ("ps", "queue:theirs")]);
    assert_eq!(refusal(topology.declare(&exchange("mine-1", "direct"))), None);
    assert_eq!(
        refusal(topology.declare(&exchange("other", "direct"))),
        refused("exchange 'other'")
    );
    assert_eq!(refusal(topology.declare_queue(&queue("mine"))), None);
    assert_eq!(refusal(topology.declare_queue(&queue("mine2"))), refused("queue 'mine2'"));
    assert_eq!(refusal(topology.declare_queue(&queue("theirs"))), refused("queue 'theirs'"));
    assert_eq!(refusal(topology.delete("other", false)), refused("exchange 'other'"));
    assert_eq!(refusal(topology.delete_queue("theirs")), refused("queue 'theirs'"));
    assert_eq!(refusal(topology.delete_queue("mine")), None);
}

/// rabbitmq-server#16085
#[test]
fn asking_whether_it_is_there_needs_any_right() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    let ask = QueueDeclaration { passive: true, ..queue("q") };
    for rights in ["c", "p", "s"] {
        allowed(&topology, &[(rights, "queue:q"), (rights, "exchange:amq.topic")]);
        assert_eq!(refusal(topology.declare_queue(&ask)), None);
        let exchange = ExchangeDeclaration { passive: true, ..exchange("amq.topic", "") };
        assert_eq!(refusal(topology.declare(&exchange)), None);
        let other = ExchangeDeclaration { name: "amq.direct", ..exchange };
        assert_eq!(refusal(topology.declare(&other)), refused("exchange 'amq.direct'"));
    }
}

#[test]
fn binding_writes_to_the_destination_and_reads_from_the_source() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    topology.declare(&exchange("x", "fanout")).unwrap();
    let to_queue = binding("amq.fanout", "q", "");
    let to_exchange = binding("amq.fanout", "x", "");
    allowed(&topology, &[("s", "exchange:amq.fanout")]);
    assert_eq!(refusal(topology.bind(&to_queue)), refused("queue 'q'"));
    assert_eq!(refusal(topology.chain(&to_exchange)), refused("exchange 'x'"));
    allowed(&topology, &[("p", "exchange:*"), ("p", "queue:*")]);
    assert_eq!(refusal(topology.bind(&to_queue)), refused("exchange 'amq.fanout'"));
    assert_eq!(refusal(topology.unchain(&to_exchange)), refused("exchange 'amq.fanout'"));
    allowed(&topology, &[("s", "exchange:amq.*"), ("p", "exchange:x"), ("p", "queue:q")]);
    assert_eq!(refusal(topology.bind(&to_queue)), None);
    assert_eq!(refusal(topology.chain(&to_exchange)), None);
}

#[test]
fn an_alternate_exchange_is_read_from_and_written_to() {
    let topology = Topology::new();
    let mut arguments = Vec::new();
    TableWriter::new(&mut arguments).string("alternate-exchange", "rest").unwrap();
    let declaration = ExchangeDeclaration { arguments: &arguments, ..exchange("x", "direct") };
    allowed(&topology, &[("c", "exchange:x"), ("p", "exchange:rest")]);
    assert_eq!(refusal(topology.declare(&declaration)), refused("exchange 'x'"));
    allowed(&topology, &[("cs", "exchange:x")]);
    assert_eq!(refusal(topology.declare(&declaration)), refused("exchange 'rest'"));
    allowed(&topology, &[("cs", "exchange:x"), ("p", "exchange:rest")]);
    assert_eq!(topology.declare(&declaration), Ok(Changed { waits: false }));
}

/// The same topics under both names: no way round the rules of the tree.
#[test]
fn the_topic_tree_asks_for_the_rights_of_its_topics() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    allowed(
        &topology,
        &[
            ("ps", "exchange:*"),
            ("p", "queue:q"),
            ("p", "filter:plant/+/set"),
            ("s", "filter:plant/1/#"),
        ],
    );
    let bind = |key| refusal(topology.bind(&binding("amq.topic", "q", key)));
    let tree = |key| {
        let user = "refused for user 'ann'";
        Some(format!("access to topic '{key}' in exchange 'amq.topic' in vhost '/' {user}"))
    };
    assert_eq!(bind("plant.1.#"), None);
    assert_eq!(bind("plant.1.a.*"), None);
    assert_eq!(bind("plant.1.#.x"), None, "covered by plant/1/#");
    for key in ["#", "plant.*.a", "*.1.#", "plant.2", "#.x"] {
        assert_eq!(bind(key), tree(key), "{key}");
    }
    let elsewhere = binding("amq.fanout", "q", "#");
    assert_eq!(refusal(topology.bind(&elsewhere)), None, "no other exchange is the tree");
    let publish = |exchange: &str, keys: &[&str]| {
        let hits = topology.route(exchange, keys).unwrap();
        refusal(topology.broker().check_publish(&topology.who, exchange, keys, &hits))
    };
    assert_eq!(publish("amq.topic", &["plant.1.set"]), None);
    assert_eq!(publish("amq.topic", &["plant.1.get"]), tree("plant.1.get"));
    assert_eq!(publish("amq.topic", &["plant.1.set", "x"]), tree("x"), "each of its keys");
    assert_eq!(publish("amq.direct", &["plant.1.get"]), None);
    topology.chain(&binding("amq.direct", "amq.topic", "plant.1.get")).unwrap();
    assert_eq!(publish("amq.direct", &["plant.1.get"]), tree("plant.1.get"), "by a detour too");
    assert_eq!(publish("", &["q"]), None);
    allowed(&topology, &[("p", "exchange:amq.t*")]);
    assert_eq!(publish("", &["q"]), refused("exchange 'amq.default'"));
}

#[test]
fn without_rules_everybody_may_do_everything() {
    let topology = Topology::new();
    let who = crate::auth::principal::Principal::anonymous();
    let broker = topology.broker();
    broker.declare_exchange(&who, &exchange("x", "topic"), unheard).unwrap();
    broker.declare_queue(&who, OWN, &queue("q"), unheard, NOW_MS).unwrap();
    broker.bind(&who, OWN, Entity::Queue, &binding("amq.topic", "q", "#.x"), unheard).unwrap();
    let hits = topology.route("amq.topic", &["a.x"]).unwrap();
    assert!(broker.check_publish(&who, "amq.topic", &["a.x"], &hits).is_ok());
}
