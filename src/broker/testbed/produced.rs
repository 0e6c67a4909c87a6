//! Batches as idempotent producers send them (KIP-98). Part of `broker::testbed`.

/// `batch` with a producer's identifier and epoch, and the sequence of its first record.
pub(in crate::broker) fn sequenced(
    mut batch: Vec<u8>,
    producer: i64,
    epoch: i16,
    sequence: i32,
) -> Vec<u8> {
    batch[43..51].copy_from_slice(&producer.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}
