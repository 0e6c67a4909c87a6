//! Bindings between durable exchanges and durable queues or exchanges. Part of `store::tables`.

use crate::model::ids::ShardId;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table, write_name};

const VERSION: u8 = 1;

/// Rows of bindings.
#[derive(Debug)]
pub struct Bindings;

/// Key: shard u16; vhost and source, each behind its length u16; whether to an exchange u8; destination and
/// binding key, each behind its length; arguments. A binding is all key: nothing else is known of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Vhost that the names live in.
    pub vhost: String,
    /// The exchange that messages come from.
    pub source: String,
    /// Whether the destination is an exchange, not a queue.
    pub to_exchange: bool,
    /// Name of what they go to.
    pub destination: String,
    /// Binding key.
    pub key: String,
    /// Field table.
    pub arguments: Vec<u8>,
}

impl BindingKey {
    /// Not after any binding from `source`, and after all from exchanges before it.
    #[must_use]
    pub fn first_of(shard: ShardId, vhost: &str, source: &str) -> Self {
        Self {
            shard,
            vhost: vhost.to_owned(),
            source: source.to_owned(),
            to_exchange: false,
            destination: String::new(),
            key: String::new(),
            arguments: Vec::new(),
        }
    }
}

/// A binding at the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingRow;

impl Table for Bindings {
    const NAME: &'static str = "bindings";
    type Key = BindingKey;
    type Row = BindingRow;

    fn encode_key(key: &BindingKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        write_name(&key.vhost, out);
        write_name(&key.source, out);
        out.push(u8::from(key.to_exchange));
        write_name(&key.destination, out);
        write_name(&key.key, out);
        out.extend_from_slice(&key.arguments);
    }

    fn decode_key(bytes: &[u8]) -> Result<BindingKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let shard = ShardId(reader.u16()?);
        let (vhost, source) = (reader.name()?.to_owned(), reader.name()?.to_owned());
        let at = bytes.len() - reader.0.len();
        let [to_exchange] = reader.array::<1>()?;
        let (destination, key) = (reader.name()?.to_owned(), reader.name()?.to_owned());
        let arguments = reader.0.to_vec();
        let to_exchange = match to_exchange {
            0 => false,
            1 => true,
            other => return Err(CodecError::Value { what: "flag", found: other.into(), at }),
        };
        Ok(BindingKey { shard, vhost, source, to_exchange, destination, key, arguments })
    }
}

impl Row for BindingRow {
    fn encode(&self, out: &mut Vec<u8>) {
        Writer(out).u8(VERSION);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        reader.finish()?;
        Ok(Self)
    }
}
