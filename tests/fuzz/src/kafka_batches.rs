//! Any bytes as a producer's batch: what passes the check is read to its end, and what is compressed unpacks to no
//! more than it may.

use rialto::broker::logs::batch::check::{Checks, check};
use rialto::broker::logs::batch::header::BatchHeader;
use rialto::broker::logs::batch::inflate::{Codec, bytes_max, inflate};
use rialto::broker::logs::batch::records::{Opened, batches};

const HEADER_BYTES: usize = 61;
/// What a batch may unpack to here: enough for every path, little enough to be quick.
const CAP: u64 = 4 << 20;

/// The first byte chooses: the bytes as they are, with a header that is put right, or as records behind a header of
/// ours, compressed or not.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = super::split_first(data) else { return };
    match kind % 4 {
        0 => judge(rest),
        1 => judge(&repaired(rest.to_vec())),
        2 => {
            if let Some(batch) = composed(rest) {
                judge(&batch);
            }
        }
        _ => unpack(rest),
    }
}

fn judge(bytes: &[u8]) {
    for (records, compressed) in [(true, true), (false, false)] {
        let checks = Checks { records, compressed, inflated_bytes_max: CAP, ..Checks::default() };
        let Ok(checked) = check(bytes, 1 << 20, &checks) else { continue };
        assert_eq!(checked.bytes.len(), bytes.len());
        assert_eq!(BatchHeader::read(&checked.bytes).unwrap(), checked.header);
        assert_eq!(batches(&checked.bytes).count(), 1);
        if !records {
            continue;
        }
        // What was corrected passes as it is.
        assert_eq!(check(&checked.bytes, 1 << 20, &checks).unwrap().header, checked.header);
        let opened = Opened::new(&checked.bytes).unwrap();
        // As in Kafka, -1 is no time, and nothing was before it.
        let (mut count, mut highest) = (0, -1);
        for record in opened.records() {
            let record = record.unwrap();
            assert_eq!(record.offset, checked.header.base_offset.wrapping_add(count));
            highest = highest.max(record.timestamp_ms);
            count += 1;
            record.headers().for_each(drop);
        }
        assert_eq!(count, i64::from(checked.header.record_count));
        assert_eq!(highest, checked.header.max_timestamp);
    }
}

/// The same with a length, a format and a CRC that fit.
fn repaired(mut batch: Vec<u8>) -> Vec<u8> {
    if batch.len() < HEADER_BYTES {
        return batch;
    }
    let length = u32::try_from(batch.len() - 12).unwrap_or_default();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// A header with this codec and this many records before the rest.
fn composed(data: &[u8]) -> Option<Vec<u8>> {
    let [codec, count, times, records @ ..] = data else { return None };
    let mut batch = vec![0; HEADER_BYTES];
    batch[22] = codec % 6;
    let count = i32::from(*count);
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    let base = i64::from(*times) * 1000;
    batch[27..35].copy_from_slice(&base.to_be_bytes());
    batch[35..43].copy_from_slice(&base.to_be_bytes());
    batch[43..57].fill(0xFF);
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend_from_slice(records);
    Some(repaired(batch))
}

fn unpack(data: &[u8]) {
    let [codec, cap, bytes @ ..] = data else { return };
    let Some(codec) = Codec::from_bits(i16::from(codec % 4) + 1) else { return };
    let most = bytes_max(bytes.len(), CAP).min(u64::from(*cap) << 12);
    if let Ok(unpacked) = inflate(codec, bytes, most) {
        assert!(unpacked.len() as u64 <= most, "{} bytes of {most}", unpacked.len());
    }
}

/// CRC-32C a bit at a time: the inputs are short, and it shares nothing with what it checks.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 }
        })
    })
}
