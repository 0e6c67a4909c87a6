//! Retained messages, body and metadata. Part of `store::tables`.

use bytes::Bytes;

use crate::model::ids::ShardId;
use crate::store::codec::CodecError;
use crate::store::tables::{KeyReader, Table};

/// The broker's rows of retained messages.
#[derive(Debug)]
pub struct Retained;

/// Key: shard u16, length of the vhost u16, vhost, topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetainedKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Mount point the topic lives in, at most 65,535 bytes.
    pub vhost: String,
    /// Topic name.
    pub topic: String,
}

/// Appends the key's bytes without asking for owned strings.
pub(super) fn encode_key(shard: ShardId, vhost: &str, topic: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&shard.0.to_be_bytes());
    // Every protocol's vhost and mount point names are shorter; a longer one shares its key with its beginning.
    let length = vhost.len().min(usize::from(u16::MAX));
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(vhost.as_bytes().get(..length).unwrap_or_default());
    out.extend_from_slice(topic.as_bytes());
}

impl Table for Retained {
    const NAME: &'static str = "retained";
    type Key = RetainedKey;
    type Row = Bytes;

    fn encode_key(key: &RetainedKey, out: &mut Vec<u8>) {
        encode_key(key.shard, &key.vhost, &key.topic, out);
    }

    fn decode_key(bytes: &[u8]) -> Result<RetainedKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let shard = ShardId(reader.u16()?);
        let length = reader.u16()?;
        let vhost = reader.text(length.into())?.to_owned();
        let topic = reader.text(reader.0.len())?.to_owned();
        Ok(RetainedKey { shard, vhost, topic })
    }
}
