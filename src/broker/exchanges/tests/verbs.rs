//! Declaring, binding, deleting: what is refused and in which words, what goes with what, who waits.

use tokio::sync::oneshot;

use super::{NOW_MS, OTHER, OWN, Topology, binding, exchange, queue, unheard};
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::exchanges::TopologyLimits;
use crate::broker::exchanges::error::{Entity, TopologyError};
use crate::broker::exchanges::verbs::{
    BindingSpec, Changed, Deleted, ExchangeDeclaration, QueueDeclaration,
};
use crate::broker::testbed::Refusing;
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;

fn arguments(entries: &[(&str, FieldValue<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TableWriter::new(&mut bytes);
    for (name, value) in entries {
        writer.put(name, *value).unwrap();
    }
    bytes
}

fn text<T>(result: Result<T, TopologyError>) -> String {
    result.err().map_or_else(|| "it was allowed".to_owned(), |error| error.to_string())
}

const AT_ONCE: Result<Changed, TopologyError> = Ok(Changed { waits: false });
const WAITS: Result<Changed, TopologyError> = Ok(Changed { waits: true });

#[test]
fn exchanges_are_declared_once_and_again_as_they_are() {
    let topology = Topology::new();
    let direct = exchange("x", "direct");
    assert_eq!(topology.declare(&direct), AT_ONCE);
    assert_eq!(topology.declare(&direct), AT_ONCE);
    assert_eq!(
        topology.declare(&ExchangeDeclaration { passive: true, kind: "", ..direct }),
        AT_ONCE
    );
    let declared = |change: ExchangeDeclaration<'_>| text(topology.declare(&change));
    assert_eq!(
        declared(exchange("x", "fanout")),
        "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'"
    );
    assert_eq!(
        declared(ExchangeDeclaration { durable: true, ..direct }),
        "inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'true' but current is 'false'"
    );
    let alternate = arguments(&[("alternate-exchange", FieldValue::LongString(b"y"))]);
    assert_eq!(
        declared(ExchangeDeclaration { arguments: &alternate, ..direct }),
        "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received the value 'y' of type \
         'longstr' but current is none"
    );
    assert_eq!(declared(exchange("x", "x-magic")), "unknown exchange type 'x-magic'");
    assert_eq!(declared(exchange("", "direct")), "operation not permitted on the default exchange");
    assert_eq!(
        declared(exchange("amq.mine", "direct")),
        "exchange name 'amq.mine' contains reserved prefix 'amq.*'"
    );
    let predeclared = ExchangeDeclaration { durable: true, ..exchange("amq.topic", "topic") };
    assert_eq!(topology.declare(&predeclared), AT_ONCE);
    assert_eq!(
        declared(ExchangeDeclaration { passive: true, ..exchange("none", "") }),
        "no exchange 'none' in vhost '/'"
    );
    let number = arguments(&[("alternate-exchange", FieldValue::I32(1))]);
    assert_eq!(
        declared(ExchangeDeclaration { arguments: &number, ..exchange("z", "direct") }),
        "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'z' in vhost '/'"
    );
}

#[test]
fn line_ends_in_names_do_not_count() {
    let topology = Topology::new();
    topology.declare(&exchange("a\r\nb", "direct")).unwrap();
    assert!(topology.vhost().has_exchange("ab"));
    topology.queues(&["q\n"]);
    topology.bind(&binding("a\nb", "\rq", "k\n")).unwrap();
    assert_eq!(topology.reached("ab", "k\n"), ["q"]);
    topology.delete_queue("q\r").unwrap();
    topology.delete("\nab", false).unwrap();
    assert!(!topology.vhost().has_exchange("ab"));
}

#[test]
fn queues_are_declared_once_and_again_as_they_are() {
    let topology = Topology::new();
    let plain = queue("q");
    let first = topology.declare_queue(&plain).unwrap();
    let again = topology.declare_queue_of(OTHER, &plain).unwrap();
    assert_eq!((again.queue.id, again.messages, again.waits), (first.queue.id, 0, false));
    let declared = |change: QueueDeclaration<'_>| text(topology.declare_queue(&change));
    assert_eq!(
        declared(QueueDeclaration { auto_delete: true, ..plain }),
        "inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'"
    );
    assert!(declared(QueueDeclaration { exclusive: true, ..plain }).starts_with(
        "cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally"
    ));
    assert_eq!(
        declared(queue("amq.mine")),
        "queue name 'amq.mine' contains reserved prefix 'amq.*'"
    );
    let missing = QueueDeclaration { passive: true, ..queue("none") };
    assert_eq!(declared(missing), "no queue 'none' in vhost '/'");
    assert_eq!(topology.declare_queue(&missing).err(), Some(TopologyError::no_queue("/", "none")));
}

#[test]
fn arguments_of_queues_are_compared_by_value() {
    let topology = Topology::new();
    let limit = |value| arguments(&[("x-max-length", value), ("own", FieldValue::Bool(true))]);
    let with = |arguments: &[u8]| {
        topology
            .declare_queue(&QueueDeclaration { arguments, ..queue("q") })
            .map(|known| known.messages)
    };
    assert_eq!(with(&limit(FieldValue::I32(5))), Ok(0));
    assert_eq!(with(&limit(FieldValue::I64(5))), Ok(0), "numbers are numbers");
    let classic = ("x-queue-type", FieldValue::LongString(b"classic"));
    let five = ("x-max-length", FieldValue::U8(5));
    assert_eq!(with(&arguments(&[classic, five])), Ok(0), "unknown ones are not compared");
    assert_eq!(
        text(with(&limit(FieldValue::I32(6)))),
        "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received '6' but current is '5'"
    );
    assert_eq!(
        text(with(&[])),
        "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but current is the value '5' \
         of type 'signedint'"
    );
    assert!(text(with(b"\x05ab")).starts_with("arguments: "), "no table at all");
}

#[test]
fn the_broker_makes_up_names_that_differ() {
    let topology = Topology::new();
    let one = topology.declare_queue(&queue("")).unwrap().queue;
    let two = topology.declare_queue(&queue("\r\n")).unwrap().queue;
    assert_ne!(one.name, two.name);
    let made_up = one.name.strip_prefix("amq.gen-").unwrap();
    assert!(
        made_up.len() == 22
            && made_up.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    );
    assert_eq!(topology.reached("", &one.name), [one.name.to_string()]);
}

#[test]
fn exclusive_queues_are_their_connections_and_go_with_it() {
    let topology = Topology::new();
    let own = QueueDeclaration { exclusive: true, durable: true, ..queue("q") };
    let declared = topology.declare_queue(&own).unwrap();
    assert!(!declared.queue.durable && !declared.waits, "it would not survive anyway");
    assert!(topology.declare_queue(&own).is_ok());
    let locked = TopologyError::Locked { name: "q".into(), vhost: "/".into() };
    let broker = topology.broker();
    let who = &topology.who;
    let spec = binding("amq.fanout", "q", "");
    let passive = QueueDeclaration { passive: true, ..queue("q") };
    assert_eq!(topology.declare_queue_of(OTHER, &own).err(), Some(locked.clone()));
    assert_eq!(topology.declare_queue_of(OTHER, &passive).err(), Some(locked.clone()));
    assert_eq!(broker.find_queue(who, OTHER, "q").err(), Some(locked.clone()));
    assert_eq!(broker.bind(who, OTHER, Entity::Queue, &spec, unheard), Err(locked.clone()));
    assert_eq!(
        broker.unbind(who, OTHER, Entity::Queue, &spec, unheard),
        AT_ONCE,
        "there is no such binding"
    );
    topology.bind(&spec).unwrap();
    assert_eq!(broker.unbind(who, OTHER, Entity::Queue, &spec, unheard), Err(locked.clone()));
    let deleted = broker.delete_queue(who, OTHER, "q", false, false, unheard, NOW_MS);
    assert_eq!(deleted, Err(locked));
    assert!(broker.find_queue(who, OWN, "q").is_ok());

    broker.leave("/", OTHER);
    assert!(topology.vhost().queue("q").is_some());
    broker.leave("/", OWN);
    assert!(topology.vhost().queue("q").is_none() && declared.queue.is_gone());
    assert!(topology.reached("amq.fanout", "").is_empty());
    assert!(broker.declared.by_id(declared.queue.id).is_none());
    assert!(topology.declare_queue_of(OTHER, &own).is_ok());
}

#[test]
fn bindings_need_both_ends_and_are_made_once() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    topology.declare(&exchange("x", "direct")).unwrap();
    assert_eq!(text(topology.bind(&binding("none", "no", "k"))), "no exchange 'none' in vhost '/'");
    assert_eq!(text(topology.bind(&binding("x", "no", "k"))), "no queue 'no' in vhost '/'");
    assert_eq!(text(topology.chain(&binding("x", "no", "k"))), "no exchange 'no' in vhost '/'");
    for refused in [
        topology.bind(&binding("", "q", "k")),
        topology.chain(&binding("", "x", "k")),
        topology.chain(&binding("x", "", "k")),
        topology.unbind(&binding("", "q", "k")),
        topology.delete("", false),
    ] {
        assert_eq!(refused, Err(TopologyError::DefaultExchange));
    }
    let spec = binding("x", "q", "k");
    assert_eq!((topology.bind(&spec), topology.bind(&spec)), (AT_ONCE, AT_ONCE));
    assert_eq!(topology.vhost().look(|live| live.bindings()), 1);
    let other = arguments(&[("a", FieldValue::I32(1))]);
    topology.bind(&BindingSpec { arguments: &other, ..spec }).unwrap();
    topology.unbind(&spec).unwrap();
    assert_eq!(topology.reached("x", "k"), ["q"], "the one with arguments is another");
    for missing in [
        topology.unbind(&spec),
        topology.unbind(&binding("none", "no", "k")),
        topology.unchain(&binding("x", "no", "k")),
        topology.delete("none", true),
    ] {
        assert_eq!(missing, AT_ONCE, "as good as removed");
    }
    assert_eq!(topology.delete_queue("no"), Ok(Deleted { messages: 0, waits: false }));
}

#[test]
fn what_is_in_use_stays_where_that_was_asked() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    topology.declare(&exchange("x", "direct")).unwrap();
    topology.declare(&exchange("y", "direct")).unwrap();
    topology.bind(&binding("x", "q", "k")).unwrap();
    topology.chain(&binding("x", "y", "k")).unwrap();
    let used = TopologyError::InUse { what: Entity::Exchange, name: "x".into(), vhost: "/".into() };
    assert_eq!(used.to_string(), "exchange 'x' in vhost '/' in use");
    assert_eq!(topology.delete("x", true), Err(used));
    assert_eq!(topology.delete("y", true), AT_ONCE, "only bindings from it count");
    assert_eq!(topology.delete("x", false), AT_ONCE);
    assert_eq!(
        text(topology.delete("amq.direct", false)),
        "deletion of system exchange 'amq.direct' in vhost '/' not allowed"
    );
}

#[test]
fn auto_delete_exchanges_go_with_their_last_binding_and_never_before_one() {
    let topology = Topology::new();
    let vhost = topology.vhost();
    let going = |name| ExchangeDeclaration { auto_delete: true, ..exchange(name, "fanout") };
    for name in ["a", "b", "c"] {
        topology.declare(&going(name)).unwrap();
    }
    topology.queues(&["q", "r"]);
    topology.chain(&binding("a", "b", "")).unwrap();
    topology.chain(&binding("b", "c", "")).unwrap();
    topology.chain(&binding("c", "c", "self")).unwrap();
    topology.bind(&binding("c", "q", "")).unwrap();
    topology.bind(&binding("c", "r", "")).unwrap();
    topology.delete_queue("q").unwrap();
    topology.unchain(&binding("c", "c", "self")).unwrap();
    assert!(vhost.has_exchange("c"), "one binding is left");
    topology.delete_queue("r").unwrap();
    assert!(
        !["a", "b", "c"].iter().any(|name| vhost.has_exchange(name)),
        "one takes the other along"
    );
    assert_eq!(vhost.look(|live| live.bindings()), 0);

    topology.declare(&going("a")).unwrap();
    topology.queues(&["q"]);
    topology.unbind(&binding("a", "q", "")).unwrap();
    assert!(vhost.has_exchange("a"), "it never had one");
    topology.chain(&binding("amq.fanout", "a", "")).unwrap();
    topology.unchain(&binding("amq.fanout", "a", "")).unwrap();
    assert!(vhost.has_exchange("a"), "bindings to it do not count");
    topology.bind(&binding("a", "q", "")).unwrap();
    topology.unbind(&binding("a", "q", "")).unwrap();
    assert!(!vhost.has_exchange("a"));

    topology.declare(&going("a")).unwrap();
    topology.chain(&binding("a", "a", "")).unwrap();
    topology.delete("a", false).unwrap();
    assert!(!vhost.has_exchange("a"), "its own binding takes nothing along twice");
}

#[test]
fn limits_are_told_and_only_new_things_count() {
    let topology = Topology::new();
    let limits = TopologyLimits { queues_max: 1, exchanges_max: 7, bindings_max: 1 };
    topology.broker().exchanges.set_limits(limits);
    topology.queues(&["q", "q"]);
    assert_eq!(
        text(topology.declare_queue(&queue("r"))),
        "cannot declare queue 'r': queue limit in vhost '/' (1) is reached"
    );
    let x = exchange("x", "direct");
    assert_eq!((topology.declare(&x), topology.declare(&x)), (AT_ONCE, AT_ONCE));
    assert!(matches!(topology.declare(&exchange("y", "direct")), Err(TopologyError::Limit(_))));
    let spec = binding("x", "q", "k");
    assert_eq!((topology.bind(&spec), topology.bind(&spec)), (AT_ONCE, AT_ONCE));
    assert!(matches!(topology.bind(&binding("x", "q", "l")), Err(TopologyError::Limit(_))));
    topology.unbind(&spec).unwrap();
    topology.delete_queue("q").unwrap();
    topology.queues(&["r"]);
    assert_eq!(topology.bind(&binding("x", "r", "l")), AT_ONCE);
}

fn waiter() -> (Waiter, oneshot::Receiver<Outcome>) {
    let (sender, told) = oneshot::channel();
    (Waiter::Call(sender), told)
}

#[test]
fn durable_things_are_answered_when_applied_and_again_behind_the_same_record() {
    let mut topology = Topology::new();
    let durable = ExchangeDeclaration { durable: true, ..exchange("x", "direct") };
    let (first, mut first_told) = waiter();
    let broker = std::sync::Arc::clone(&topology.bed.broker);
    let who = topology.who.clone();
    assert_eq!(broker.declare_exchange(&who, &durable, || first), WAITS);
    let (again, mut again_told) = waiter();
    assert_eq!(broker.declare_exchange(&who, &durable, || again), WAITS);
    let passive = ExchangeDeclaration { passive: true, ..durable };
    let (asked, mut asked_told) = waiter();
    assert_eq!(broker.declare_exchange(&who, &passive, || asked), WAITS);
    assert!(first_told.try_recv().is_err() && again_told.try_recv().is_err());
    topology.bed.sync();
    for told in [&mut first_told, &mut again_told, &mut asked_told] {
        assert_eq!(told.try_recv(), Ok(Outcome::Done));
    }
    assert_eq!(topology.declare(&durable), AT_ONCE);
    assert_eq!(topology.delete("x", false), WAITS);
    assert_eq!(topology.delete("x", false), WAITS, "its end is not durable yet");
    topology.bed.sync();
    assert_eq!(topology.delete("x", false), AT_ONCE);
}

#[test]
fn bindings_are_durable_when_both_ends_are() {
    let mut topology = Topology::new();
    let durable = |name| ExchangeDeclaration { durable: true, ..exchange(name, "fanout") };
    topology.declare(&durable("x")).unwrap();
    topology.declare(&exchange("y", "fanout")).unwrap();
    topology.queues(&["transient"]);
    let lasting = QueueDeclaration { durable: true, ..queue("lasting") };
    assert!(topology.declare_queue(&lasting).unwrap().waits);
    topology.bed.sync();
    assert!(!topology.declare_queue(&lasting).unwrap().waits);
    assert_eq!(topology.bind(&binding("x", "transient", "")), AT_ONCE);
    assert_eq!(topology.bind(&binding("y", "lasting", "")), AT_ONCE);
    assert_eq!(topology.chain(&binding("x", "y", "")), AT_ONCE);
    assert_eq!(topology.bind(&binding("x", "lasting", "")), WAITS);
    assert_eq!(topology.bind(&binding("x", "lasting", "")), WAITS, "not applied yet");
    topology.bed.sync();
    assert_eq!(topology.bind(&binding("x", "lasting", "")), AT_ONCE);
    assert_eq!(topology.unbind(&binding("x", "transient", "")), AT_ONCE);
    assert_eq!(topology.unbind(&binding("x", "lasting", "")), WAITS);
}

/// A transient queue takes the durable auto-delete exchange along: the answer waits for that record.
#[test]
fn an_answer_waits_for_everything_that_goes_along() {
    let mut topology = Topology::new();
    let going = ExchangeDeclaration { durable: true, auto_delete: true, ..exchange("x", "fanout") };
    topology.declare(&going).unwrap();
    topology.queues(&["q"]);
    topology.bind(&binding("x", "q", "")).unwrap();
    topology.bed.sync();
    let (waiting, mut told) = waiter();
    let broker = std::sync::Arc::clone(&topology.bed.broker);
    let deleted =
        broker.delete_queue(&topology.who, OWN, "q", false, false, || waiting, NOW_MS).unwrap();
    assert!(deleted.waits && told.try_recv().is_err());
    topology.bed.sync();
    assert_eq!(told.try_recv(), Ok(Outcome::Done));
    assert_eq!(broker.exchanges.applied.lock().exchanges().count(), 0);
}

#[test]
fn what_the_journal_refuses_changes_nothing() {
    let mut topology = Topology::new();
    let durable = ExchangeDeclaration { durable: true, ..exchange("x", "fanout") };
    let lasting = QueueDeclaration { durable: true, ..queue("q") };
    topology.declare(&durable).unwrap();
    topology.declare_queue(&lasting).unwrap();
    topology.bind(&binding("x", "q", "k")).unwrap();
    topology.bed.sync();
    let queues = topology.broker().declared.all().len();
    topology.bed.tape.refuse(Refusing::AtOnce);
    let refused =
        |result: Result<Changed, TopologyError>| matches!(result, Err(TopologyError::Journal(_)));
    assert!(refused(topology.declare(&ExchangeDeclaration { name: "y", ..durable })));
    assert!(matches!(
        topology.declare_queue(&QueueDeclaration { name: "r", ..lasting }),
        Err(TopologyError::Journal(_))
    ));
    assert!(refused(topology.bind(&binding("x", "q", "l"))));
    assert!(refused(topology.unbind(&binding("x", "q", "k"))));
    assert!(refused(topology.delete("x", false)));
    assert!(matches!(topology.delete_queue("q"), Err(TopologyError::Journal(_))));
    assert!(!topology.broker().auto_delete_queue(&topology.vhost().queue("q").unwrap()));
    topology.bed.tape.refuse(Refusing::Never);
    assert!(!topology.vhost().has_exchange("y") && topology.vhost().queue("r").is_none());
    assert_eq!(topology.broker().declared.all().len(), queues);
    assert_eq!(topology.reached("x", ""), ["q"]);
    assert_eq!(topology.vhost().look(|live| live.bindings()), 1);
}

/// The queue is gone, what should have followed stays: the answer is an error all the same.
#[test]
fn what_the_journal_refuses_of_the_rest_is_told() {
    let topology = Topology::new();
    let going = ExchangeDeclaration { durable: true, auto_delete: true, ..exchange("x", "fanout") };
    topology.declare(&going).unwrap();
    topology.queues(&["q"]);
    topology.bind(&binding("x", "q", "")).unwrap();
    topology.bed.tape.refuse(Refusing::AtOnce);
    assert!(matches!(topology.delete_queue("q"), Err(TopologyError::Journal(_))));
    assert!(topology.vhost().queue("q").is_none() && topology.vhost().has_exchange("x"));
    assert_eq!(topology.vhost().look(|live| live.bindings()), 0);
}

#[test]
fn a_vhost_that_is_not_there_is_named() {
    let mut topology = Topology::new();
    topology.who.vhost = "other".into();
    assert_eq!(text(topology.declare(&exchange("x", "direct"))), "vhost other not found");
    topology.broker().leave("other", OWN);
}
