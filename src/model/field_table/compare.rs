//! When two field values are the same. Part of `model/field_table`; pure.
//!
//! RabbitMQ compares the Erlang terms that it decodes values to: numbers of all widths, and timestamps, are
//! one kind, integers and floats compare by value, long strings and byte arrays are both binaries, a table is
//! a list of `{name, type, value}` and an array one of `{type, value}`. So inside a nested table types must
//! be the same, at the top they need not. Both laws below were seen on a running RabbitMQ 3.10.

use crate::model::field_table::{Elements, Entries, FieldValue};

/// How deep nested values are looked into: no more than a check can let through.
const DEPTH_MAX: u8 = u8::MAX;

/// Whether a header matches a binding's argument: Erlang's `==`. The integer 1 is the double 1.0, the string
/// `"1"` is neither.
#[must_use]
pub fn erlang_eq(one: &FieldValue<'_>, other: &FieldValue<'_>) -> bool {
    same(one, other, DEPTH_MAX)
}

/// Whether an argument is declared again as it was: [`erlang_eq`], only that an integer is never a float. Its
/// failure is 406 `inequivalent arg`.
#[must_use]
pub fn equivalent(one: &FieldValue<'_>, other: &FieldValue<'_>) -> bool {
    float(one).is_some() == float(other).is_some() && erlang_eq(one, other)
}

fn same(one: &FieldValue<'_>, other: &FieldValue<'_>, depth: u8) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    if let (Some(one), Some(other)) = (one.as_bytes(), other.as_bytes()) {
        return one == other;
    }
    match (one, other) {
        (FieldValue::Bool(one), FieldValue::Bool(other)) => one == other,
        (FieldValue::Void, FieldValue::Void) => true,
        (FieldValue::Decimal { .. }, FieldValue::Decimal { .. }) => one == other,
        (FieldValue::Table(one), FieldValue::Table(other)) => {
            same_entries(one.iter(), other.iter(), depth)
        }
        (FieldValue::Array(one), FieldValue::Array(other)) => {
            same_elements(one.iter(), other.iter(), depth)
        }
        // Both are the empty list.
        (FieldValue::Table(table), FieldValue::Array(array))
        | (FieldValue::Array(array), FieldValue::Table(table)) => {
            table.is_empty() && array.is_empty()
        }
        _ => same_number(one, other),
    }
}

fn same_entries(mut one: Entries<'_>, mut other: Entries<'_>, depth: u8) -> bool {
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some((name, value)), Some((other_name, other_value)))
                if name == other_name && same_typed(&value, &other_value, depth) => {}
            _ => return false,
        }
    }
}

fn same_elements(mut one: Elements<'_>, mut other: Elements<'_>, depth: u8) -> bool {
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if same_typed(&one, &other, depth) => {}
            _ => return false,
        }
    }
}

fn same_typed(one: &FieldValue<'_>, other: &FieldValue<'_>, depth: u8) -> bool {
    one.type_name() == other.type_name() && same(one, other, depth)
}

fn same_number(one: &FieldValue<'_>, other: &FieldValue<'_>) -> bool {
    match (integer(one), float(one), integer(other), float(other)) {
        (Some(one), _, Some(other), _) => one == other,
        #[expect(clippy::float_cmp, reason = "the law is equality of values")]
        (_, Some(one), _, Some(other)) => one == other,
        (Some(integer), _, _, Some(float)) | (_, Some(float), Some(integer), _) => {
            is_integer(float, integer)
        }
        _ => false,
    }
}

/// Whether `float` is exactly `integer`, without rounding the latter.
fn is_integer(float: f64, integer: i128) -> bool {
    /// 2^65, beyond every integer of a field and exact as a float.
    const BOUND: f64 = 36_893_488_147_419_103_232.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the bound")]
    let whole = || float as i128;
    float.abs() < BOUND && float.fract() == 0.0 && whole() == integer
}

fn integer(value: &FieldValue<'_>) -> Option<i128> {
    match value {
        FieldValue::Timestamp(seconds) => Some((*seconds).into()),
        _ => value.as_i64().map(i128::from),
    }
}

fn float(value: &FieldValue<'_>) -> Option<f64> {
    match *value {
        FieldValue::F32(value) => Some(value.into()),
        FieldValue::F64(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{equivalent, erlang_eq};
    use crate::model::field_table::write::TableWriter;
    use crate::model::field_table::{FieldArray, FieldTable, FieldValue};

    fn table(fill: impl FnOnce(&mut TableWriter<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(&mut TableWriter::new(&mut bytes));
        bytes
    }

    #[test]
    fn headers_match_by_value_as_in_erlang() {
        use FieldValue::{
            Bool, Bytes, Decimal, F32, F64, I32, I64, LongString, Timestamp, U8, Void,
        };
        let same = [
            (I32(1), F64(1.0)),
            (U8(7), I64(7)),
            (Timestamp(5), I64(5)),
            (Timestamp(5), F64(5.0)),
            (F32(0.5), F64(0.5)),
            (F64(0.0), F64(-0.0)),
            (LongString(b"a"), Bytes(b"a")),
            (Void, Void),
            (Decimal { scale: 1, value: 5 }, Decimal { scale: 1, value: 5 }),
            (I64(i64::MAX - 1_023), F64(9_223_372_036_854_774_784.0)),
            (Timestamp(u64::MAX), Timestamp(u64::MAX)),
        ];
        for (one, other) in same {
            assert!(erlang_eq(&one, &other) && erlang_eq(&other, &one), "{one:?} {other:?}");
        }
        let different = [
            (LongString(b"1"), I32(1)),
            (Bool(true), I32(1)),
            (Void, LongString(b"")),
            (F32(0.1), F64(0.1)),
            (I64(i64::MAX), F64(9_223_372_036_854_775_807.0)),
            (Timestamp(u64::MAX), I64(-1)),
            (Timestamp(u64::MAX), F64(18_446_744_073_709_551_615.0)),
            (Decimal { scale: 1, value: 50 }, Decimal { scale: 0, value: 5 }),
            (Decimal { scale: 0, value: 5 }, I32(5)),
            (F64(f64::NAN), F64(f64::NAN)),
            (F64(f64::INFINITY), I64(i64::MAX)),
        ];
        for (one, other) in different {
            assert!(!erlang_eq(&one, &other) && !erlang_eq(&other, &one), "{one:?} {other:?}");
        }
    }

    #[test]
    fn nested_values_are_the_same_only_with_their_types() {
        let long = table(|w| w.put("a", FieldValue::I64(1)).unwrap());
        let int = table(|w| w.put("a", FieldValue::I32(1)).unwrap());
        let as_table = |bytes| FieldValue::Table(FieldTable { bytes });
        assert!(erlang_eq(&as_table(&long), &as_table(&long)));
        assert!(!erlang_eq(&as_table(&long), &as_table(&int)));
        assert!(!erlang_eq(&as_table(&long), &as_table(&[])));
        assert!(erlang_eq(&as_table(&[]), &FieldValue::Array(FieldArray { bytes: &[] })));
        assert!(!erlang_eq(&as_table(&long), &FieldValue::Array(FieldArray { bytes: &[] })));
    }

    /// As `rabbit_misc:assert_args_equivalence/4` of 3.10.8 answered.
    #[test]
    fn arguments_are_equivalent_as_in_rabbitmq() {
        use FieldValue::{Bytes, F32, F64, I32, I64, LongString, Timestamp};
        for (one, other) in [
            (I64(5), I32(5)),
            (F32(5.0), F64(5.0)),
            (Timestamp(5), I64(5)),
            (LongString(b"5"), Bytes(b"5")),
        ] {
            assert!(equivalent(&one, &other), "{one:?} {other:?}");
        }
        for (one, other) in [
            (I64(5), F64(5.0)),
            (Timestamp(5), F64(5.0)),
            (LongString(b"5"), I64(5)),
            (F64(1.5), F64(2.5)),
        ] {
            assert!(!equivalent(&one, &other), "{one:?} {other:?}");
        }
    }
}
