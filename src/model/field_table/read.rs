//! One entry or value off the front of a table's bytes, nested ones not looked into. Part of
//! `model/field_table`; pure.

use crate::model::field_table::{FieldArray, FieldTable, FieldValue, TableError};

/// The next entry; `rest` must not be empty.
pub(super) fn entry<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, FieldValue<'a>), TableError> {
    let [length] = fixed(rest)?;
    let name = take(rest, length.into())?;
    let name = std::str::from_utf8(name).map_err(|_| TableError::NameNotUtf8)?;
    Ok((name, value(rest)?))
}

/// The next value with its type octet; `rest` must not be empty.
pub(super) fn value<'a>(rest: &mut &'a [u8]) -> Result<FieldValue<'a>, TableError> {
    let [kind] = fixed(rest)?;
    Ok(match kind {
        b't' => FieldValue::Bool(fixed(rest)? != [0]),
        b'b' => FieldValue::I8(i8::from_be_bytes(fixed(rest)?)),
        b'B' => FieldValue::U8(u8::from_be_bytes(fixed(rest)?)),
        b's' => FieldValue::I16(i16::from_be_bytes(fixed(rest)?)),
        b'u' => FieldValue::U16(u16::from_be_bytes(fixed(rest)?)),
        b'I' => FieldValue::I32(i32::from_be_bytes(fixed(rest)?)),
        b'i' => FieldValue::U32(u32::from_be_bytes(fixed(rest)?)),
        b'l' | b'L' => FieldValue::I64(i64::from_be_bytes(fixed(rest)?)),
        b'f' => FieldValue::F32(f32::from_be_bytes(fixed(rest)?)),
        b'd' => FieldValue::F64(f64::from_be_bytes(fixed(rest)?)),
        b'D' => {
            let [scale] = fixed(rest)?;
            FieldValue::Decimal { scale, value: u32::from_be_bytes(fixed(rest)?) }
        }
        b'S' => FieldValue::LongString(long(rest)?),
        b'A' => FieldValue::Array(FieldArray { bytes: long(rest)? }),
        b'T' => FieldValue::Timestamp(u64::from_be_bytes(fixed(rest)?)),
        b'F' => FieldValue::Table(FieldTable { bytes: long(rest)? }),
        b'V' => FieldValue::Void,
        b'x' => FieldValue::Bytes(long(rest)?),
        other => return Err(TableError::UnknownType(other)),
    })
}

fn long<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], TableError> {
    let length = u32::from_be_bytes(fixed(rest)?);
    take(rest, usize::try_from(length).map_err(|_| TableError::Truncated)?)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], TableError> {
    let (taken, left) = rest.split_at_checked(count).ok_or(TableError::Truncated)?;
    *rest = left;
    Ok(taken)
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TableError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(TableError::Truncated)?;
    *rest = left;
    Ok(*taken)
}
