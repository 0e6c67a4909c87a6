//! A retained value as a checkpoint keeps it: the LSN (u64, little endian) and the encoded message. Part of
//! `broker::retained`.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::ids::{Lsn, SHARD};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::db::Db;

use super::RetainedRows;

const VERSION: u8 = 1;

/// The row's bytes.
#[must_use]
pub fn encode(lsn: Lsn, message: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(message.len() + 9);
    let mut w = Writer(&mut bytes);
    w.u8(VERSION);
    w.u64(lsn.0);
    w.raw(message);
    bytes.into()
}

/// Reads a row.
///
/// # Errors
/// It is too short.
pub fn decode(bytes: &[u8]) -> Result<(Lsn, &[u8]), CodecError> {
    let mut r = Reader::new(bytes);
    r.version(VERSION)?;
    Ok((Lsn(r.u64()?), r.rest()))
}

/// Rows in the database.
pub struct StoredRows(pub Arc<Db>);

impl RetainedRows for StoredRows {
    fn read(&self, vhost: &str, topic: &str) -> Result<Option<Bytes>, String> {
        let row = self.0.retained(SHARD, vhost, topic).map_err(|error| error.to_string())?;
        let Some(row) = row else { return Ok(None) };
        let (_, message) = decode(&row).map_err(|error| error.to_string())?;
        Ok(Some(row.slice_ref(message)))
    }
}
