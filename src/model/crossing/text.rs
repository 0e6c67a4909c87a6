//! Header values as text for MQTT. Part of `model/crossing`; pure.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::field_table::{FieldArray, FieldTable, FieldValue};

/// The most bytes a string of MQTT may have (MQTT5-1.5.4).
pub const STRING_BYTES_MAX: usize = 65_535;
/// How deep nested values are looked into: no more than a check can let through.
const DEPTH_MAX: u8 = u8::MAX;

/// Whether every receiver must take `text` as a string: no control characters, no noncharacters
/// (MQTT5-1.5.4, "SHOULD NOT include").
#[must_use]
pub fn is_polite(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.chars().any(is_disallowed)
}

/// The bytes of a header's value for a user property: strings as they are, all else written out, nested
/// values as JSON. `None` when the text would be longer than a string of MQTT.
pub(super) fn value_bytes<'a>(value: &FieldValue<'a>) -> Option<Cow<'a, [u8]>> {
    let bytes: Cow<'a, [u8]> = match *value {
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => bytes.into(),
        FieldValue::Void => Cow::Borrowed(&[]),
        FieldValue::F32(float) => format!("{float:?}").into_bytes().into(),
        FieldValue::F64(float) => format!("{float:?}").into_bytes().into(),
        _ => {
            let mut text = String::new();
            json(&mut text, value, DEPTH_MAX).ok()?;
            text.into_bytes().into()
        }
    };
    (bytes.len() <= STRING_BYTES_MAX).then_some(bytes)
}

/// Appends `value` as JSON (RFC 8259). Bytes that are no text become a string in base64; floats that JSON has
/// no word for become null. Fails when `out` grows too long.
fn json(out: &mut String, value: &FieldValue<'_>, depth: u8) -> std::fmt::Result {
    if out.len() > STRING_BYTES_MAX {
        return Err(std::fmt::Error);
    }
    if let Some(integer) = value.as_i64() {
        return write!(out, "{integer}");
    }
    match *value {
        FieldValue::Bool(value) => write!(out, "{value}"),
        FieldValue::F32(float) if float.is_finite() => write!(out, "{float:?}"),
        FieldValue::F64(float) if float.is_finite() => write!(out, "{float:?}"),
        FieldValue::Decimal { scale, value } => decimal(out, scale, value),
        FieldValue::Timestamp(seconds) => write!(out, "{seconds}"),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => {
            match std::str::from_utf8(bytes) {
                Ok(text) => json_string(out, text),
                Err(_) => json_string(out, &STANDARD.encode(bytes)),
            }
        }
        FieldValue::Table(table) => json_object(out, table, depth),
        FieldValue::Array(array) => json_array(out, array, depth),
        _ => out.write_str("null"),
    }
}

fn json_object(out: &mut String, table: FieldTable<'_>, depth: u8) -> std::fmt::Result {
    let depth = depth.checked_sub(1).ok_or(std::fmt::Error)?;
    out.push('{');
    for (index, (name, value)) in table.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json_string(out, name)?;
        out.push(':');
        json(out, &value, depth)?;
    }
    out.push('}');
    Ok(())
}

fn json_array(out: &mut String, array: FieldArray<'_>, depth: u8) -> std::fmt::Result {
    let depth = depth.checked_sub(1).ok_or(std::fmt::Error)?;
    out.push('[');
    for (index, value) in array.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json(out, &value, depth)?;
    }
    out.push(']');
    Ok(())
}

/// A string in quotes, everything escaped that MQTT lets a receiver refuse.
fn json_string(out: &mut String, text: &str) -> std::fmt::Result {
    if text.len() > STRING_BYTES_MAX {
        return Err(std::fmt::Error);
    }
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other if is_disallowed(other) => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(())
}

/// `value / 10^scale`, with a point or, far behind it, an exponent.
fn decimal(out: &mut String, scale: u8, value: u32) -> std::fmt::Result {
    /// `u32` has ten digits; as many zeros before them are readable.
    const POINT_MAX: u8 = 20;
    if scale == 0 {
        return write!(out, "{value}");
    }
    if scale > POINT_MAX {
        return write!(out, "{value}e-{scale}");
    }
    let width = usize::from(scale) + 1;
    let digits = format!("{value:0width$}");
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    write!(out, "{whole}.{fraction}")
}

fn is_disallowed(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::{STRING_BYTES_MAX, is_polite, value_bytes};
    use crate::model::field_table::write::TableWriter;
    use crate::model::field_table::{FieldTable, FieldValue};

    fn text(value: FieldValue<'_>) -> Option<String> {
        value_bytes(&value).map(|bytes| String::from_utf8(bytes.into_owned()).unwrap())
    }

    #[test]
    fn scalars_are_written_out() {
        for (value, expected) in [
            (FieldValue::Bool(true), "true"),
            (FieldValue::I8(-1), "-1"),
            (FieldValue::I64(i64::MIN), "-9223372036854775808"),
            (FieldValue::Timestamp(u64::MAX), "18446744073709551615"),
            (FieldValue::F64(1.0), "1.0"),
            (FieldValue::F32(0.1), "0.1"),
            (FieldValue::F64(f64::NAN), "NaN"),
            (FieldValue::Decimal { scale: 2, value: 12_345 }, "123.45"),
            (FieldValue::Decimal { scale: 3, value: 5 }, "0.005"),
            (FieldValue::Decimal { scale: 0, value: 5 }, "5"),
            (FieldValue::Decimal { scale: 255, value: 5 }, "5e-255"),
            (FieldValue::Void, ""),
            (FieldValue::LongString(b"x"), "x"),
        ] {
            assert_eq!(text(value).as_deref(), Some(expected));
        }
    }

    #[test]
    fn nested_values_are_json() {
        let mut bytes = Vec::new();
        let mut writer = TableWriter::new(&mut bytes);
        writer.string("q\"\\", "line\nU+FFFE \u{FFFE}\u{1FFFE}\u{7F}é").unwrap();
        writer.put("none", FieldValue::Void).unwrap();
        writer.put("nan", FieldValue::F64(f64::NAN)).unwrap();
        writer.put("raw", FieldValue::LongString(&[0xFF])).unwrap();
        writer
            .array("list", |array| {
                array.put(FieldValue::I32(1))?;
                array.table(|_| Ok(()))?;
                array.put(FieldValue::Decimal { scale: 1, value: 15 })
            })
            .unwrap();
        let json = text(FieldValue::Table(FieldTable::stored(&bytes))).unwrap();
        assert_eq!(
            json,
            "{\"q\\\"\\\\\":\"line\\nU+FFFE \\ufffe\\ud83f\\udffe\\u007fé\",\"none\":null,\"nan\":null,\"raw\":\"/w==\",\"list\":[1,{},1.5]}"
        );
        assert!(is_polite(&json));
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }

    #[test]
    fn text_that_is_too_long_is_not_built() {
        let mut bytes = Vec::new();
        let mut writer = TableWriter::new(&mut bytes);
        for _ in 0..STRING_BYTES_MAX {
            writer.put("a", FieldValue::Decimal { scale: 20, value: 1 }).unwrap();
        }
        assert_eq!(text(FieldValue::Table(FieldTable::stored(&bytes))), None);
        assert_eq!(text(FieldValue::LongString(&[b'a'; STRING_BYTES_MAX + 1])), None);
        assert!(text(FieldValue::LongString(&[b'a'; STRING_BYTES_MAX])).is_some());
    }
}
