//! The batch format: what is built is read back, what is broken is refused; the crate `kafka-protocol` agrees.

mod compressed;
mod lookup;
pub(crate) mod packing;

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::check::{BatchFault, Checks, check as check_with};
use crate::broker::logs::batch::header::{BatchHeader, patch, renew_crc, stamp};
use crate::broker::logs::batch::records::{RecordFault, batches, records};

/// The header of a batch that passes as it is.
fn check(bytes: &[u8], bytes_max: usize) -> Result<BatchHeader, BatchFault> {
    check_with(bytes, bytes_max, &Checks::default()).map(|checked| checked.header)
}

fn batch(values: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for (time, value) in (1000..).zip(values) {
        let headers: [(&str, &[u8]); 2] = [("a", b"1"), ("a", b"2")];
        builder.push(&NewRecord {
            timestamp_ms: time,
            key: Some(b"key"),
            value: Some(value),
            headers: &headers,
        });
    }
    builder.finish().unwrap()
}

/// A batch with `bytes` at `at` and a right CRC.
fn altered(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch(&[b"x", b"y"]);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    renew_crc(&mut batch);
    batch
}

#[test]
fn what_is_built_passes_the_check_and_is_read_back() {
    let mut built = batch(&[b"x", b"yy", b""]);
    let header = check(&built, 1000).unwrap();
    assert_eq!((header.record_count, header.last_offset_delta), (3, 2));
    assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1002));
    patch(&mut built, 40, 7);
    assert!(check(&built, 1000).is_ok(), "the broker's fields lie outside the CRC");
    let read: Vec<_> = records(&built).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), [40, 41, 42]);
    assert_eq!(read[1].value, Some(&b"yy"[..]));
    assert_eq!(read[2].timestamp_ms, 1002);
    let headers: Vec<_> = read[0].headers().collect();
    assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (&b"a"[..], Some(&b"2"[..]))]);
}

#[test]
fn the_oracle_reads_what_is_built() {
    let mut built = batch(&[b"x", b"yy"]);
    patch(&mut built, 5, 0);
    let set = RecordBatchDecoder::decode(&mut Bytes::from(built)).unwrap();
    assert_eq!(set.records.len(), 2);
    assert_eq!((set.records[1].offset, set.records[1].timestamp), (6, 1001));
    assert_eq!(set.records[1].value.as_deref(), Some(&b"yy"[..]));
}

#[test]
fn a_stamped_batch_has_one_time_and_a_right_crc() {
    let mut built = batch(&[b"x", b"y"]);
    let (head, rest) = built.split_first_chunk_mut().unwrap();
    stamp(head, rest, 5555);
    let header = BatchHeader::read(&built).unwrap();
    assert!(header.is_append_time());
    assert_eq!(crc32c::crc32c(&built[21..]), header.crc);
    assert!(records(&built).unwrap().all(|r| r.unwrap().timestamp_ms == 5555));
}

#[test]
fn faults_are_told_apart() {
    let good = batch(&[b"x", b"y"]);
    let fault = |bytes: &[u8]| check(bytes, 1000).unwrap_err();
    assert_eq!(fault(&[]), BatchFault::NotOne);
    assert_eq!(fault(&[good.clone(), good.clone()].concat()), BatchFault::NotOne);
    assert_eq!(fault(&good[..good.len() - 1]), BatchFault::Corrupt);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(fault(&flipped), BatchFault::Corrupt);
    assert_eq!(check(&good, good.len() - 1).unwrap_err(), BatchFault::TooLarge);
    assert_eq!(fault(&altered(16, &[1])), BatchFault::OldFormat);
    assert_eq!(fault(&[0; 61]), BatchFault::Corrupt);
    assert_eq!(fault(&altered(16, &[3])), BatchFault::Invalid);
    assert_eq!(fault(&altered(8, &(-5_i32).to_be_bytes())), BatchFault::Corrupt);
    assert_eq!(fault(&altered(23, &2_i32.to_be_bytes())), BatchFault::Invalid);
    assert_eq!(fault(&altered(57, &0_i32.to_be_bytes())), BatchFault::NotOne);
    assert_eq!(fault(&altered(21, &5_i16.to_be_bytes())), BatchFault::UnknownCodec);
    assert_eq!(fault(&altered(21, &0x20_i16.to_be_bytes())), BatchFault::Invalid);
    assert_eq!(fault(&altered(21, &0x10_i16.to_be_bytes())), BatchFault::Transactional);
    assert_eq!(fault(&altered(21, &0x08_i16.to_be_bytes())), BatchFault::Invalid);
    assert_eq!(fault(&altered(43, &9_i64.to_be_bytes())), BatchFault::Invalid);
}

#[test]
fn compressed_records_are_left_alone_if_so_asked() {
    let compressed = altered(21, &1_i16.to_be_bytes());
    let blind = Checks { compressed: false, ..Checks::default() };
    assert!(check_with(&compressed, 1000, &blind).is_ok());
    assert_eq!(records(&compressed).err(), Some(RecordFault::Compressed));
}

proptest! {
    #[test]
    fn any_bytes_are_checked_and_read_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        prop_assert!(check(&bytes, 1000).is_err());
        if let Ok(found) = records(&bytes) {
            for record in found.flatten() {
                prop_assert!(record.headers().count() <= bytes.len());
            }
        }
        prop_assert!(batches(&bytes).count() <= bytes.len());
    }

    #[test]
    fn garbage_records_under_a_right_crc_end_in_a_fault(
        at in 61_usize..90, byte: u8
    ) {
        let mut broken = batch(&[b"hello", b"world"]);
        if let Some(place) = broken.get_mut(at) {
            *place = byte;
        }
        renew_crc(&mut broken);
        for record in records(&broken).unwrap().flatten() {
            record.headers().for_each(drop);
        }
    }

    #[test]
    fn every_record_comes_back(
        messages in proptest::collection::vec(
            (
                0_i64..1 << 45,
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            ),
            1..30,
        )
    ) {
        let mut builder = BatchBuilder::default();
        for (timestamp_ms, key, value) in &messages {
            builder.push(&NewRecord {
                timestamp_ms: *timestamp_ms,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &[],
            });
        }
        let built = builder.finish().unwrap();
        prop_assert!(builder.is_empty());
        prop_assert!(check(&built, usize::MAX).is_ok());
        let read: Vec<_> = records(&built).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), messages.len());
        for (record, (timestamp_ms, key, value)) in read.iter().zip(&messages) {
            prop_assert_eq!(record.timestamp_ms, *timestamp_ms);
            prop_assert_eq!(record.key, key.as_deref());
            prop_assert_eq!(record.value, value.as_deref());
        }
    }
}
