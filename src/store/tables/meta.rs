//! The database's own format and the position of its checkpoint. Part of `store::tables`.

use crate::model::ids::{LogId, Lsn, QueueId, SetId};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::journal::Position;

const VERSION: u8 = 1;

/// The newest database format this build reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// Name of the table.
pub(super) const NAME: &str = "meta";
/// Key of the format number, a u32.
pub(super) const FORMAT_KEY: &str = "format";
/// Key of the [`CheckpointRow`].
pub(super) const CHECKPOINT_KEY: &str = "checkpoint";
/// Key of the next LSN of the checkpoint up to which sums of pages were kept, a u64.
pub(super) const PAGE_SUMS_KEY: &str = "page_sums";

/// Where replay begins, and the next identifier of each kind: none is ever given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointRow {
    /// First record that the checkpoint does not cover.
    pub next_lsn: Lsn,
    /// Its batch.
    pub next_batch: u64,
    /// Next queue.
    pub next_queue_id: QueueId,
    /// Next log.
    pub next_log_id: LogId,
    /// Next destination set.
    pub next_set_id: SetId,
    /// Next producer id (KIP-98).
    pub next_producer_id: i64,
    /// Identity of this data directory, made at its creation.
    pub broker_uuid: [u8; 16],
    /// When the checkpoint was written, milliseconds since the Unix epoch.
    pub written_ms: u64,
    /// Messages that a queue holds at most, as applied.
    pub queued_messages_max: u64,
    /// Bytes that a queue holds at most, as applied.
    pub queued_bytes_max: u64,
}

impl CheckpointRow {
    /// Where the journal's replay begins.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { batch: self.next_batch, lsn: self.next_lsn }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.u64(self.next_lsn.0);
        writer.u64(self.next_batch);
        writer.u64(self.next_queue_id.0);
        writer.u32(self.next_log_id.0);
        writer.u64(self.next_set_id.0);
        writer.i64(self.next_producer_id);
        writer.raw(&self.broker_uuid);
        writer.u64(self.written_ms);
        writer.u64(self.queued_messages_max);
        writer.u64(self.queued_bytes_max);
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let row = Self {
            next_lsn: Lsn(reader.u64()?),
            next_batch: reader.u64()?,
            next_queue_id: QueueId(reader.u64()?),
            next_log_id: LogId(reader.u32()?),
            next_set_id: SetId(reader.u64()?),
            next_producer_id: reader.i64()?,
            broker_uuid: reader.array()?,
            written_ms: reader.u64()?,
            queued_messages_max: reader.u64()?,
            queued_bytes_max: reader.u64()?,
        };
        reader.finish()?;
        Ok(row)
    }
}
