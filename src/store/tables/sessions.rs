//! Sessions and other queues: settings, subscriptions, in-flight ids, the index of what waits. Part of `store::tables`.

use bytes::Bytes;

use crate::model::ids::{QueueId, ShardId};
use crate::store::codec::CodecError;
use crate::store::tables::{KeyReader, Table};

/// The broker's rows of its queues, an MQTT session's included.
#[derive(Debug)]
pub struct Sessions;

/// Key: shard u16, id u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Queue it belongs to.
    pub queue: QueueId,
}

impl Table for Sessions {
    const NAME: &'static str = "sessions";
    type Key = SessionKey;
    type Row = Bytes;

    fn encode_key(key: &SessionKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.queue.0.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<SessionKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = SessionKey { shard: ShardId(reader.u16()?), queue: QueueId(reader.u64()?) };
        reader.finish()?;
        Ok(key)
    }
}
