//! Queues that clients declare by name. Part of `store::tables`.

use bytes::Bytes;

use crate::model::ids::{QueueId, ShardId};
use crate::store::codec::CodecError;
use crate::store::tables::{KeyReader, Table};

/// The broker's rows of its durable declared queues.
#[derive(Debug)]
pub struct Declared;

/// Key: shard u16, id u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeclaredKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// The queue.
    pub queue: QueueId,
}

impl Table for Declared {
    const NAME: &'static str = "declared_queues";
    type Key = DeclaredKey;
    type Row = Bytes;

    fn encode_key(key: &DeclaredKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.queue.0.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<DeclaredKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = DeclaredKey { shard: ShardId(reader.u16()?), queue: QueueId(reader.u64()?) };
        reader.finish()?;
        Ok(key)
    }
}
