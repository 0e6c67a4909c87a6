//! Bindings of a headers exchange. Part of `broker::exchanges`.
//!
//! `x-match` says how: `all` (the default) or `any` of the binding's arguments must stand among the message's
//! headers with the same value, those that begin with `x-` not counted; `all-with-x` and `any-with-x` count these
//! too, `x-match` itself never. A void argument asks only that the header is there. Values are compared as Erlang's
//! `==` does (`amqp.md`, last table). Without any argument `all` matches everything and `any` nothing.

use crate::model::field_table::compare::erlang_eq;
use crate::model::field_table::{FieldTable, FieldValue};

use super::target::{Collected, Target};

/// The argument that says how to match.
pub(super) const MATCH: &str = "x-match";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rule {
    any: bool,
    with_x: bool,
}

impl Rule {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"all" => Some(Self { any: false, with_x: false }),
            b"any" => Some(Self { any: true, with_x: false }),
            b"all-with-x" => Some(Self { any: false, with_x: true }),
            b"any-with-x" => Some(Self { any: true, with_x: true }),
            _ => None,
        }
    }

    fn of(arguments: FieldTable<'_>) -> Self {
        let named = arguments.get(MATCH);
        named.and_then(|value| Self::named(value.as_bytes()?)).unwrap_or_default()
    }

    /// Whether the argument `name` is compared.
    fn counts(self, name: &str) -> bool {
        name != MATCH && (self.with_x || !name.starts_with("x-"))
    }

    fn matches(self, arguments: FieldTable<'_>, headers: &Sorted<'_>) -> bool {
        let mut compared = arguments.iter().filter(|(name, _)| self.counts(name));
        let holds = |(name, wanted): (&str, FieldValue<'_>)| {
            headers
                .get(name)
                .is_some_and(|value| wanted == FieldValue::Void || erlang_eq(&wanted, value))
        };
        if self.any { compared.any(holds) } else { compared.all(holds) }
    }
}

/// Whether the arguments of a binding say how to match in words that are known.
///
/// # Errors
/// RabbitMQ's sentence.
pub(super) fn check(arguments: FieldTable<'_>) -> Result<(), String> {
    let Some(value) = arguments.get(MATCH) else { return Ok(()) };
    match value {
        FieldValue::LongString(name) if Rule::named(name).is_some() => Ok(()),
        FieldValue::LongString(name) => {
            let name = String::from_utf8_lossy(name);
            Err(format!(
                "Invalid x-match field value <<\"{name}\">>; expected all, any, all-with-x, or any-with-x"
            ))
        }
        other => {
            let kind = other.type_name();
            Err(format!("Invalid x-match field type {kind} (value {other}); expected longstr"))
        }
    }
}

/// A message's headers by name; of a repeated one the first.
struct Sorted<'h>(Vec<(&'h str, FieldValue<'h>)>);

impl<'h> Sorted<'h> {
    fn new(headers: Option<FieldTable<'h>>) -> Self {
        let mut entries: Vec<_> = headers.iter().flat_map(|table| table.iter()).collect();
        entries.sort_by(|one, other| one.0.cmp(other.0));
        entries.dedup_by(|one, other| one.0 == other.0);
        Self(entries)
    }

    fn get(&self, name: &str) -> Option<&FieldValue<'h>> {
        let at = self.0.binary_search_by(|(own, _)| (*own).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }
}

/// The bindings, in no order.
#[derive(Default)]
pub(super) struct HeaderBindings(Vec<(Box<[u8]>, Target)>);

impl HeaderBindings {
    /// `arguments` are a checked table. Bindings that differ in their key only stand here several times.
    pub(super) fn add(&mut self, arguments: &[u8], target: Target) {
        self.0.push((arguments.into(), target));
    }

    pub(super) fn remove(&mut self, arguments: &[u8], target: &Target) {
        let own = |(own, to): &(Box<[u8]>, Target)| **own == *arguments && to == target;
        if let Some(at) = self.0.iter().position(own) {
            self.0.swap_remove(at);
        }
    }

    pub(super) fn collect(&self, headers: Option<FieldTable<'_>>, into: &mut Collected<'_>) {
        let headers = Sorted::new(headers);
        for (arguments, target) in &self.0 {
            let arguments = FieldTable::stored(arguments);
            if Rule::of(arguments).matches(arguments, &headers) {
                into.take(target);
            }
        }
    }
}
