//! Logs (Kafka topics): identity and settings. Part of `store::tables`.

use std::collections::BTreeMap;

use crate::model::ids::{LogId, ShardId};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::error::StoreError;
use crate::store::tables::db::Db;
use crate::store::tables::{KeyReader, Row, Table};

const VERSION: u8 = 1;

/// Rows of logs.
#[derive(Debug)]
pub struct Logs;

/// Key: shard u16, log u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// The log.
    pub log: LogId,
}

/// The name of each log.
///
/// # Errors
/// The database cannot be read.
pub fn names(db: &Db) -> Result<BTreeMap<LogId, String>, StoreError> {
    let mut names = BTreeMap::new();
    db.for_each::<Logs>(|key, row| {
        names.insert(key.log, row.name);
        Ok(())
    })?;
    Ok(names)
}

/// A log at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Vhost that the name lives in.
    pub vhost: String,
    /// Name.
    pub name: String,
    /// Kafka's topic id (KIP-516), kept for the log's life.
    pub uuid: [u8; 16],
    /// Creation, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Number of partitions.
    pub partitions: u32,
    /// Settings that differ from the defaults, in order.
    pub config: Vec<(String, String)>,
}

impl Table for Logs {
    const NAME: &'static str = "logs";
    type Key = LogKey;
    type Row = LogRow;

    fn encode_key(key: &LogKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.log.0.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<LogKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = LogKey { shard: ShardId(reader.u16()?), log: LogId(reader.u32()?) };
        reader.finish()?;
        Ok(key)
    }
}

impl Row for LogRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.str(&self.vhost);
        writer.str(&self.name);
        writer.raw(&self.uuid);
        writer.u64(self.created_ms);
        writer.varint(self.partitions.into());
        writer.count(self.config.len());
        for (name, value) in &self.config {
            writer.str(name);
            writer.str(value);
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let vhost = reader.str()?.to_owned();
        let name = reader.str()?.to_owned();
        let uuid = reader.array()?;
        let created_ms = reader.u64()?;
        let partitions = reader.varint_u32()?;
        let count = reader.count(2)?;
        let mut config = Vec::with_capacity(count);
        for _ in 0..count {
            config.push((reader.str()?.to_owned(), reader.str()?.to_owned()));
        }
        reader.finish()?;
        Ok(Self { vhost, name, uuid, created_ms, partitions, config })
    }
}
