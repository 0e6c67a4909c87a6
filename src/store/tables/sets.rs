//! Interned destination sets still in use at the checkpoint (design §2, rule 2). Part of `store::tables`.

use bytes::Bytes;

use crate::model::ids::{SetId, ShardId};
use crate::store::codec::CodecError;
use crate::store::tables::{KeyReader, Table};

/// The broker's rows of its destination sets.
#[derive(Debug)]
pub struct Sets;

/// Key: shard u16, id u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// The set.
    pub set: SetId,
}

impl Table for Sets {
    const NAME: &'static str = "sets";
    type Key = SetKey;
    type Row = Bytes;

    fn encode_key(key: &SetKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.set.0.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<SetKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = SetKey { shard: ShardId(reader.u16()?), set: SetId(reader.u64()?) };
        reader.finish()?;
        Ok(key)
    }
}
