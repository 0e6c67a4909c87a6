//! Pages of queue indexes that are not kept in memory. Part of `store::tables`.

use bytes::Bytes;

use crate::model::ids::{QueueId, ShardId};
use crate::store::codec::CodecError;
use crate::store::tables::{KeyReader, Table};

/// The broker's rows of its queues' pages.
#[derive(Debug)]
pub struct QueuePages;

/// Key: shard u16, queue u64, page u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Queue it belongs to.
    pub queue: QueueId,
    /// Number of the page within the queue.
    pub page: u64,
}

impl Table for QueuePages {
    const NAME: &'static str = "queue_pages";
    type Key = PageKey;
    type Row = Bytes;

    fn encode_key(key: &PageKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.queue.0.to_be_bytes());
        out.extend_from_slice(&key.page.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<PageKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = PageKey {
            shard: ShardId(reader.u16()?),
            queue: QueueId(reader.u64()?),
            page: reader.u64()?,
        };
        reader.finish()?;
        Ok(key)
    }
}
