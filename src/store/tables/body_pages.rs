//! Which pages of queues refer to a body segment: whoever empties the segment finds them here. Part of
//! `store::tables`.
//!
//! The reverse of what pages say, written and deleted with them. A row too much does no harm: the page says what
//! is true.

use crate::model::ids::{QueueId, ShardId};
use crate::store::codec::CodecError;
use crate::store::tables::queue_pages::PageKey;
use crate::store::tables::{KeyReader, Row, Table};

/// Rows without content: the key says it all.
#[derive(Debug)]
pub struct BodyPages;

/// Key: shard u16, segment u32, queue u64, page u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyPageKey {
    /// The segment's number.
    pub segment: u32,
    /// A page that refers to it; of the same shard.
    pub page: PageKey,
}

impl BodyPageKey {
    /// What the keys of all pages of a segment begin with.
    #[must_use]
    pub fn prefix(shard: ShardId, segment: u32) -> [u8; 6] {
        let ([a, b], [c, d, e, f]) = (shard.0.to_be_bytes(), segment.to_be_bytes());
        [a, b, c, d, e, f]
    }
}

/// Nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyPageRow;

impl Table for BodyPages {
    const NAME: &'static str = "body_pages";
    type Key = BodyPageKey;
    type Row = BodyPageRow;

    fn encode_key(key: &BodyPageKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&BodyPageKey::prefix(key.page.shard, key.segment));
        out.extend_from_slice(&key.page.queue.0.to_be_bytes());
        out.extend_from_slice(&key.page.page.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<BodyPageKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let shard = ShardId(reader.u16()?);
        let segment = reader.u32()?;
        let page = PageKey { shard, queue: QueueId(reader.u64()?), page: reader.u64()? };
        reader.finish()?;
        Ok(BodyPageKey { segment, page })
    }
}

impl Row for BodyPageRow {
    fn encode(&self, _: &mut Vec<u8>) {}

    /// Whatever it holds: a later build may say more.
    fn decode(_: &[u8]) -> Result<Self, CodecError> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{BodyPageKey, BodyPages};
    use crate::model::ids::{QueueId, ShardId};
    use crate::store::tables::Table;
    use crate::store::tables::queue_pages::PageKey;

    #[test]
    fn keys_come_back_and_sort_by_segment() {
        let page = PageKey { shard: ShardId(1), queue: QueueId(u64::MAX), page: 7 };
        let (mut low, mut high) = (Vec::new(), Vec::new());
        BodyPages::encode_key(&BodyPageKey { segment: 255, page }, &mut low);
        let next = BodyPageKey { segment: 256, page: PageKey { queue: QueueId(0), ..page } };
        BodyPages::encode_key(&next, &mut high);
        assert!(low < high);
        assert!(high.starts_with(&BodyPageKey::prefix(ShardId(1), 256)));
        assert_eq!(BodyPages::decode_key(&high), Ok(next));
        assert!(BodyPages::decode_key(&high[1..]).is_err());
    }
}
