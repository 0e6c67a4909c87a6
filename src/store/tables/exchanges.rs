//! Durable exchanges. Part of `store::tables`.

use crate::model::ids::ShardId;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table, write_name};

const VERSION: u8 = 1;

/// Rows of exchanges.
#[derive(Debug)]
pub struct Exchanges;

/// Key: shard u16, length of the vhost u16, vhost, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Vhost that the name lives in.
    pub vhost: String,
    /// Name.
    pub name: String,
}

/// An exchange at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeRow {
    /// Name of its type.
    pub kind: String,
    /// Whether it goes with the last binding from it.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// Field table as declared.
    pub arguments: Vec<u8>,
}

impl Table for Exchanges {
    const NAME: &'static str = "exchanges";
    type Key = ExchangeKey;
    type Row = ExchangeRow;

    fn encode_key(key: &ExchangeKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        write_name(&key.vhost, out);
        out.extend_from_slice(key.name.as_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<ExchangeKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let shard = ShardId(reader.u16()?);
        let vhost = reader.name()?.to_owned();
        let name = reader.text(reader.0.len())?.to_owned();
        Ok(ExchangeKey { shard, vhost, name })
    }
}

impl Row for ExchangeRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.str(&self.kind);
        writer.bool(self.auto_delete);
        writer.bool(self.internal);
        writer.bytes(&self.arguments);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let kind = reader.str()?.to_owned();
        let (auto_delete, internal) = (reader.bool()?, reader.bool()?);
        let arguments = reader.bytes()?.to_vec();
        reader.finish()?;
        Ok(Self { kind, auto_delete, internal, arguments })
    }
}
