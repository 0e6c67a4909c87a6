//! Consumer groups: who is in them. Part of `store::tables`; how far they have read is in [`offsets`](super::offsets).

use bytes::Bytes;

use crate::model::ids::ShardId;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table, write_name};

const VERSION: u8 = 1;

/// Rows of groups. One that only commits offsets has none.
#[derive(Debug)]
pub struct Groups;

/// Key: shard u16, length of the vhost u16, vhost, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Vhost that the name lives in.
    pub vhost: String,
    /// Name.
    pub group: String,
}

/// A group at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// When its membership was journaled, milliseconds since the Unix epoch.
    pub put_ms: u64,
    /// The membership: the broker's own bytes, with a version of their own.
    pub snapshot: Bytes,
}

impl Table for Groups {
    const NAME: &'static str = "groups";
    type Key = GroupKey;
    type Row = GroupRow;

    fn encode_key(key: &GroupKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        write_name(&key.vhost, out);
        out.extend_from_slice(key.group.as_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<GroupKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let shard = ShardId(reader.u16()?);
        let vhost = reader.name()?.to_owned();
        let group = reader.text(reader.0.len())?.to_owned();
        Ok(GroupKey { shard, vhost, group })
    }
}

impl Row for GroupRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.u64(self.put_ms);
        writer.bytes(&self.snapshot);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let put_ms = reader.u64()?;
        let snapshot = Bytes::copy_from_slice(reader.bytes()?);
        reader.finish()?;
        Ok(Self { put_ms, snapshot })
    }
}
