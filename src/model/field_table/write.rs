//! Field tables built from nothing: server properties, `x-death`, headers of a message that crosses. Part of
//! `model/field_table`; pure.

use crate::model::field_table::FieldValue;

/// The most bytes the name of an entry may have.
pub const NAME_BYTES_MAX: usize = 255;

/// Why an entry was not written; the table is as it was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("field name is longer than 255 bytes")]
    NameTooLong,
    /// A string, table or array whose length is no 32-bit number.
    #[error("field value is longer than 4 GiB")]
    ValueTooLong,
}

/// Appends entries to the bytes of a table.
#[derive(Debug)]
pub struct TableWriter<'o> {
    out: &'o mut Vec<u8>,
}

/// Appends elements to the bytes of an array.
#[derive(Debug)]
pub struct ArrayWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> TableWriter<'o> {
    /// Appends to `out`, which holds the entries so far, without the length in front of them.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a whole table to `out`, its length in front.
    ///
    /// # Errors
    /// What `fill` returns, or [`WriteError::ValueTooLong`]; then `out` is as it was.
    pub fn framed(
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut TableWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let from = out.len();
        let written = framed(out, |out| fill(&mut TableWriter { out }));
        or_cut(out, from, written)
    }

    /// One entry.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(&mut self, name: &str, value: FieldValue<'_>) -> Result<(), WriteError> {
        self.entry(name, |out| put_value(out, value))
    }

    /// A long string.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn string(&mut self, name: &str, value: &str) -> Result<(), WriteError> {
        self.put(name, FieldValue::LongString(value.as_bytes()))
    }

    /// A nested table.
    ///
    /// # Errors
    /// What `fill` returns; see [`WriteError`].
    pub fn table(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut TableWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.entry(name, |out| {
            out.push(b'F');
            framed(out, |out| fill(&mut TableWriter { out }))
        })
    }

    /// A nested array.
    ///
    /// # Errors
    /// What `fill` returns; see [`WriteError`].
    pub fn array(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut ArrayWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.entry(name, |out| {
            out.push(b'A');
            framed(out, |out| fill(&mut ArrayWriter { out }))
        })
    }

    fn entry(
        &mut self,
        name: &str,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let length = u8::try_from(name.len()).map_err(|_| WriteError::NameTooLong)?;
        let from = self.out.len();
        self.out.push(length);
        self.out.extend_from_slice(name.as_bytes());
        let written = value(self.out);
        or_cut(self.out, from, written)
    }
}

impl ArrayWriter<'_> {
    /// One element.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(&mut self, value: FieldValue<'_>) -> Result<(), WriteError> {
        let from = self.out.len();
        let written = put_value(self.out, value);
        or_cut(self.out, from, written)
    }

    /// A long string.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn string(&mut self, value: &str) -> Result<(), WriteError> {
        self.put(FieldValue::LongString(value.as_bytes()))
    }

    /// A nested table.
    ///
    /// # Errors
    /// What `fill` returns; see [`WriteError`].
    pub fn table(
        &mut self,
        fill: impl FnOnce(&mut TableWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let from = self.out.len();
        self.out.push(b'F');
        let written = framed(self.out, |out| fill(&mut TableWriter { out }));
        or_cut(self.out, from, written)
    }

    /// A nested array.
    ///
    /// # Errors
    /// What `fill` returns; see [`WriteError`].
    pub fn array(
        &mut self,
        fill: impl FnOnce(&mut ArrayWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let from = self.out.len();
        self.out.push(b'A');
        let written = framed(self.out, |out| fill(&mut ArrayWriter { out }));
        or_cut(self.out, from, written)
    }
}

fn put_value(out: &mut Vec<u8>, value: FieldValue<'_>) -> Result<(), WriteError> {
    let mut fixed = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(bytes);
        Ok(())
    };
    match value {
        FieldValue::Bool(value) => fixed(b't', &[value.into()]),
        FieldValue::I8(value) => fixed(b'b', &value.to_be_bytes()),
        FieldValue::U8(value) => fixed(b'B', &[value]),
        FieldValue::I16(value) => fixed(b's', &value.to_be_bytes()),
        FieldValue::U16(value) => fixed(b'u', &value.to_be_bytes()),
        FieldValue::I32(value) => fixed(b'I', &value.to_be_bytes()),
        FieldValue::U32(value) => fixed(b'i', &value.to_be_bytes()),
        FieldValue::I64(value) => fixed(b'l', &value.to_be_bytes()),
        FieldValue::F32(value) => fixed(b'f', &value.to_be_bytes()),
        FieldValue::F64(value) => fixed(b'd', &value.to_be_bytes()),
        FieldValue::Decimal { scale, value } => {
            out.extend_from_slice(&[b'D', scale]);
            out.extend_from_slice(&value.to_be_bytes());
            Ok(())
        }
        FieldValue::Timestamp(value) => fixed(b'T', &value.to_be_bytes()),
        FieldValue::Void => fixed(b'V', &[]),
        FieldValue::LongString(bytes) => long(out, b'S', bytes),
        FieldValue::Bytes(bytes) => long(out, b'x', bytes),
        FieldValue::Array(array) => long(out, b'A', array.as_bytes()),
        FieldValue::Table(table) => long(out, b'F', table.as_bytes()),
    }
}

fn long(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) -> Result<(), WriteError> {
    let length = u32::try_from(bytes.len()).map_err(|_| WriteError::ValueTooLong)?;
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// What `fill` appends, with its length in front.
fn framed(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out)?;
    let length = u32::try_from(out.len() - at - 4).map_err(|_| WriteError::ValueTooLong)?;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn or_cut(
    out: &mut Vec<u8>,
    from: usize,
    written: Result<(), WriteError>,
) -> Result<(), WriteError> {
    if written.is_err() {
        out.truncate(from);
    }
    written
}
