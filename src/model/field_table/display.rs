//! A field value as RabbitMQ's error texts print it: `received '5' but current is '6'`. Part of
//! `model/field_table`; pure.
//!
//! Strings and numbers stand as they are, nested values as the Erlang terms that RabbitMQ has for them. The
//! caller cuts the text to the 255 bytes of a reply; output stops growing soon after `TEXT_BYTES`.

use std::fmt::{self, Write};

use crate::model::field_table::{FieldArray, FieldTable, FieldValue};

/// More than fits any reply text.
const TEXT_BYTES: usize = 512;
/// How deep nested values are shown.
const DEPTH_MAX: u8 = 32;

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.as_bytes() {
            return f.write_str(&String::from_utf8_lossy(bytes));
        }
        let mut text = String::new();
        term(&mut text, self, DEPTH_MAX)?;
        f.write_str(&text)
    }
}

fn term(out: &mut String, value: &FieldValue<'_>, depth: u8) -> fmt::Result {
    if let Some(integer) = value.as_i64() {
        return write!(out, "{integer}");
    }
    match *value {
        FieldValue::Bool(value) => write!(out, "{value}"),
        FieldValue::F32(value) => float(out, value.into()),
        FieldValue::F64(value) => float(out, value),
        FieldValue::Decimal { scale, value } => write!(out, "{{{scale},{value}}}"),
        FieldValue::Timestamp(seconds) => write!(out, "{seconds}"),
        FieldValue::Void => out.write_str("undefined"),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => binary(out, bytes),
        FieldValue::Table(inner) => table(out, inner, depth),
        FieldValue::Array(inner) => array(out, inner, depth),
        FieldValue::I8(_)
        | FieldValue::U8(_)
        | FieldValue::I16(_)
        | FieldValue::U16(_)
        | FieldValue::I32(_)
        | FieldValue::U32(_)
        | FieldValue::I64(_) => Ok(()),
    }
}

fn table(out: &mut String, table: FieldTable<'_>, depth: u8) -> fmt::Result {
    let Some(depth) = depth.checked_sub(1) else { return out.write_str("...") };
    out.write_char('[')?;
    for (index, (name, value)) in table.iter().enumerate() {
        if out.len() > TEXT_BYTES {
            return Ok(());
        }
        out.write_str(if index == 0 { "{" } else { ",{" })?;
        binary(out, name.as_bytes())?;
        write!(out, ",{},", value.type_name())?;
        term(out, &value, depth)?;
        out.write_char('}')?;
    }
    out.write_char(']')
}

fn array(out: &mut String, array: FieldArray<'_>, depth: u8) -> fmt::Result {
    let Some(depth) = depth.checked_sub(1) else { return out.write_str("...") };
    out.write_char('[')?;
    for (index, value) in array.iter().enumerate() {
        if out.len() > TEXT_BYTES {
            return Ok(());
        }
        write!(out, "{}{},", if index == 0 { "{" } else { ",{" }, value.type_name())?;
        term(out, &value, depth)?;
        out.write_char('}')?;
    }
    out.write_char(']')
}

/// A binary in Erlang's notation: quoted where it is printable, else octet by octet.
fn binary(out: &mut String, bytes: &[u8]) -> fmt::Result {
    let shown = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
    let printable = shown.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if printable && !shown.is_empty() {
        out.write_str("<<\"")?;
        for byte in shown {
            if matches!(byte, b'"' | b'\\') {
                out.write_char('\\')?;
            }
            out.write_char(char::from(*byte))?;
        }
        return out.write_str("\">>");
    }
    out.write_str("<<")?;
    for (index, byte) in shown.iter().enumerate() {
        write!(out, "{}{byte}", if index == 0 { "" } else { "," })?;
    }
    out.write_str(">>")
}

/// The shortest digits that read back as the same number; Erlang never leaves out the point.
fn float(out: &mut String, value: f64) -> fmt::Result {
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => write!(out, "{digits}.0e{exponent}"),
        _ => out.write_str(&text),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::field_table::write::TableWriter;
    use crate::model::field_table::{FieldTable, FieldValue};

    #[test]
    fn values_are_printed_as_rabbitmq_prints_them() {
        let mut bytes = Vec::new();
        let mut writer = TableWriter::new(&mut bytes);
        writer.put("a", FieldValue::I32(1)).unwrap();
        writer
            .array("b", |array| {
                array.put(FieldValue::I64(1))?;
                array.table(|_| Ok(()))
            })
            .unwrap();
        writer.put("c", FieldValue::LongString(&[1, 255])).unwrap();
        for (value, text) in [
            (FieldValue::LongString(b"classic"), "classic"),
            (FieldValue::I64(-5), "-5"),
            (FieldValue::Bool(true), "true"),
            (FieldValue::F64(5.0), "5.0"),
            (FieldValue::F64(1e100), "1.0e100"),
            (FieldValue::Decimal { scale: 1, value: 5 }, "{1,5}"),
            (FieldValue::Void, "undefined"),
            (
                FieldValue::Table(FieldTable::stored(&bytes)),
                "[{<<\"a\">>,signedint,1},{<<\"b\">>,array,[{long,1},{table,[]}]},{<<\"c\">>,longstr,<<1,255>>}]",
            ),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn a_huge_table_is_not_printed_whole() {
        let mut bytes = Vec::new();
        let mut writer = TableWriter::new(&mut bytes);
        for _ in 0..10_000 {
            writer.put("name", FieldValue::LongString(&[7; 100])).unwrap();
        }
        assert!(FieldValue::Table(FieldTable::stored(&bytes)).to_string().len() < 2_000);
    }
}
