//! Headers exchanges: what the last table of amqp.md saw on a running RabbitMQ.

use super::{BindingSpec, Topology, exchange};
use crate::broker::exchanges::error::TopologyError;
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;

fn table(entries: &[(&str, FieldValue<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TableWriter::new(&mut bytes);
    for (name, value) in entries {
        writer.put(name, *value).unwrap();
    }
    bytes
}

fn text(value: &str) -> FieldValue<'_> {
    FieldValue::LongString(value.as_bytes())
}

/// Whether a message with `headers` matches a binding with `arguments`.
fn hits(arguments: &[(&str, FieldValue<'_>)], headers: &[(&str, FieldValue<'_>)]) -> bool {
    let topology = Topology::new();
    topology.declare(&exchange("h", "headers")).unwrap();
    topology.queues(&["q"]);
    let arguments = table(arguments);
    let spec = BindingSpec { source: "h", destination: "q", key: "k", arguments: &arguments };
    topology.bind(&spec).unwrap();
    !topology.reached_by_headers("h", &table(headers)).is_empty()
}

#[test]
fn all_arguments_or_any_must_be_there() {
    let (a, b) = (("a", text("1")), ("b", FieldValue::I32(2)));
    let all = ("x-match", text("all"));
    let any = ("x-match", text("any"));
    assert!(hits(&[a, b], &[b, a, ("c", text(""))]), "all is the default");
    assert!(hits(&[all, a, b], &[a, b]) && !hits(&[all, a, b], &[a]));
    assert!(hits(&[any, a, b], &[b]) && !hits(&[any, a, b], &[("a", text("2"))]));
    assert!(!hits(&[all, a], &[]) && !hits(&[any, a], &[]));
}

#[test]
fn without_arguments_all_matches_everything_and_any_nothing() {
    let a = ("a", text("1"));
    assert!(hits(&[], &[]) && hits(&[], &[a]));
    assert!(hits(&[("x-match", text("all"))], &[a]) && !hits(&[("x-match", text("any"))], &[a]));
}

#[test]
fn values_are_compared_as_erlang_does() {
    let one = |value| [("n", value)];
    assert!(hits(&one(FieldValue::I32(1)), &one(FieldValue::F64(1.0))));
    assert!(hits(&one(FieldValue::U8(1)), &one(FieldValue::I64(1))));
    assert!(!hits(&one(FieldValue::I32(1)), &one(text("1"))));
    assert!(hits(&one(FieldValue::Void), &one(text("anything"))), "void asks for presence");
    assert!(!hits(&one(FieldValue::Void), &[("m", text("1"))]));
}

#[test]
fn names_with_x_count_in_the_modes_that_say_so() {
    let (x, a) = (("x-a", text("1")), ("a", text("1")));
    let mode = |name| ("x-match", text(name));
    assert!(hits(&[mode("all"), x, a], &[a]), "x-a is not looked at");
    assert!(!hits(&[mode("all-with-x"), x, a], &[a]) && hits(&[mode("all-with-x"), x, a], &[a, x]));
    assert!(!hits(&[mode("any"), x], &[x]) && hits(&[mode("any-with-x"), x], &[x]));
    assert!(!hits(&[mode("any-with-x")], &[mode("any-with-x")]), "x-match itself never counts");
}

#[test]
fn a_mode_that_is_none_is_refused() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    for (value, told) in [
        (
            text("some"),
            "Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x",
        ),
        (FieldValue::I32(5), "Invalid x-match field type signedint (value 5); expected longstr"),
    ] {
        let arguments = table(&[("x-match", value)]);
        let spec =
            BindingSpec { source: "amq.match", destination: "q", key: "", arguments: &arguments };
        assert_eq!(topology.bind(&spec), Err(TopologyError::BadArgument(told.to_owned())));
        let elsewhere = BindingSpec { source: "amq.fanout", ..spec };
        assert!(topology.bind(&elsewhere).is_ok(), "other types do not look");
    }
}

#[test]
fn bindings_that_differ_in_arguments_are_two_and_in_their_order_one() {
    let topology = Topology::new();
    topology.queues(&["q"]);
    let (a, b) = (("a", text("1")), ("b", text("2")));
    let bound = |arguments: &[u8], is: bool| {
        let spec = BindingSpec { source: "amq.headers", destination: "q", key: "", arguments };
        if is { topology.bind(&spec) } else { topology.unbind(&spec) }.unwrap();
    };
    let both = table(&[a, b]);
    bound(&both, true);
    bound(&table(&[a]), true);
    assert_eq!(topology.reached_by_headers("amq.headers", &both), ["q"]);
    bound(&table(&[b, a]), false);
    assert_eq!(topology.reached_by_headers("amq.headers", &table(&[a])), ["q"]);
    bound(&table(&[a]), false);
    assert!(topology.reached_by_headers("amq.headers", &both).is_empty());
}
