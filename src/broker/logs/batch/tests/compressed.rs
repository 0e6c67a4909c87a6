//! Compressed batches, and records that are not what the header says: what is valid passes and is read back, what is
//! not is refused with the place, and neither takes more than its share.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::packing::{PACKINGS, Packing, with_records};
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::check::{BatchFault, Checks, check};
use crate::broker::logs::batch::header::{BatchHeader, HEADER_BYTES, renew_crc};
use crate::broker::logs::batch::records::{Opened, RecordFault};
use crate::broker::logs::batch::varint;
use crate::broker::logs::batch::walk::RecordFlaw;

type Message = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

type Edit = &'static dyn Fn(&mut Vec<u8>);

fn built(messages: &[Message]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for (timestamp_ms, key, value, headers) in messages {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        builder.push(&NewRecord {
            timestamp_ms: *timestamp_ms,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        });
    }
    builder.finish().unwrap()
}

fn three() -> Vec<u8> {
    let headers = || vec![("h".to_owned(), b"1".to_vec()), ("h".to_owned(), b"2".to_vec())];
    built(&[
        (1000, Some(b"k".to_vec()), Some(b"hello".to_vec()), headers()),
        (1003, None, Some(b"world".to_vec()), vec![]),
        (1001, Some(vec![]), None, headers()),
    ])
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let bytes = |most| option::of(vec(any::<u8>(), 0..most));
    let headers = vec((".{0,9}", vec(any::<u8>(), 0..20)), 0..4);
    vec((0_i64..1 << 45, bytes(40), bytes(300), headers), 1..40)
}

fn fault(bytes: &[u8]) -> BatchFault {
    check(bytes, usize::MAX, &Checks::default()).unwrap_err()
}

fn flaw(bytes: &[u8]) -> (i32, RecordFlaw) {
    match fault(bytes) {
        BatchFault::Record { index, flaw } => (index, flaw),
        other => panic!("{other}"),
    }
}

#[test]
fn every_codec_passes_and_is_read_back() {
    let plain = three();
    let expected = Opened::new(&plain).unwrap();
    for packing in PACKINGS {
        let packed = packing.batch(&plain);
        let checked = check(&packed, usize::MAX, &Checks::default()).unwrap();
        assert_eq!(checked.bytes, packed, "{packing:?}");
        let opened = Opened::new(&packed).unwrap();
        assert!(opened.records().eq(expected.records()), "{packing:?}");
        let first = opened.records().next().unwrap().unwrap();
        let headers: Vec<_> = first.headers().collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (&b"h"[..], Some(&b"2"[..]))]);
    }
}

#[test]
fn the_oracle_reads_what_passes() {
    for packing in PACKINGS.into_iter().filter(|packing| *packing != Packing::RawSnappy) {
        let packed = packing.batch(&three());
        let set = RecordBatchDecoder::decode(&mut Bytes::from(packed)).unwrap();
        assert_eq!(set.records.len(), 3, "{packing:?}");
    }
}

/// Kafka's `LogValidator` writes the highest timestamp that it found.
#[test]
fn a_header_that_lies_about_time_is_corrected() {
    for codec in [None, Some(Packing::Zstd)] {
        let mut batch = codec.map_or(three(), |packing| packing.batch(&three()));
        for said in [i64::MAX, -1, -5, 1004] {
            batch[35..43].copy_from_slice(&said.to_be_bytes());
            renew_crc(&mut batch);
            let checked = check(&batch, usize::MAX, &Checks::default()).unwrap();
            assert_eq!(checked.header.max_timestamp, 1003);
            let again = check(&checked.bytes, usize::MAX, &Checks::default()).unwrap();
            assert_eq!((again.header, &again.bytes), (checked.header, &checked.bytes));
        }
    }
    let mut unseen = three();
    unseen[35..43].copy_from_slice(&(-5_i64).to_be_bytes());
    renew_crc(&mut unseen);
    let blind = Checks { records: false, ..Checks::default() };
    assert_eq!(check(&unseen, usize::MAX, &blind).unwrap_err(), BatchFault::Invalid);
}

#[test]
fn timestamps_out_of_range_are_refused_with_their_place() {
    let (oldest_ms, newest_ms) = (1000, 1002);
    let checks = Checks { oldest_ms, newest_ms, ..Checks::default() };
    let found = check(&three(), usize::MAX, &checks).unwrap_err();
    assert_eq!(found, BatchFault::Record { index: 1, flaw: RecordFlaw::Timestamp });
    let none = built(&[(-1, None, None, vec![])]);
    assert_eq!(check(&none, usize::MAX, &checks).unwrap().header.max_timestamp, -1);
}

/// Two records of one byte each; `edit` changes the second's body.
fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let batch = built(&[(7, None, Some(b"x".to_vec()), vec![]), (7, None, None, vec![])]);
    let first = HEADER_BYTES + 8;
    let mut body = batch[first + 1..].to_vec();
    edit(&mut body);
    let mut records = batch[HEADER_BYTES..first].to_vec();
    varint::put(&mut records, i64::try_from(body.len()).unwrap());
    records.extend_from_slice(&body);
    with_records(&batch, 0, &records)
}

fn with_count(mut batch: Vec<u8>, count: i32) -> Vec<u8> {
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    renew_crc(&mut batch);
    batch
}

/// A body is attributes, time delta, offset delta, key, value, header count.
#[test]
fn each_flaw_is_named_with_the_records_place() {
    assert!(check(&edited(|_| {}), usize::MAX, &Checks::default()).is_ok());
    let cases: [(RecordFlaw, Edit); 12] = [
        (RecordFlaw::Offset, &|body| body[2] = 4),
        (RecordFlaw::Offset, &|body| body[2] = 0),
        (RecordFlaw::NegativeLength, &|body| body[3] = 3),
        (RecordFlaw::NegativeLength, &|body| body[4] = 5),
        (RecordFlaw::HeaderCount, &|body| body[5] = 1),
        (RecordFlaw::HeaderCount, &|body| body[5] = 2),
        (RecordFlaw::Length, &|body| body.push(0)),
        (RecordFlaw::Cut, &|body| body.truncate(5)),
        (RecordFlaw::Cut, &|body| body[4] = 40),
        (RecordFlaw::NegativeLength, &|body| body.splice(5.., [2, 1, 0]).for_each(drop)),
        (RecordFlaw::NegativeLength, &|body| body.splice(5.., [2, 0, 3]).for_each(drop)),
        (RecordFlaw::LongNumber, &|body| {
            body.splice(2..3, [0x82, 0x80, 0x80, 0x80, 0x80, 0]).for_each(drop);
        }),
    ];
    for (expected, edit) in cases {
        let plain = edited(edit);
        assert_eq!(flaw(&plain), (1, expected));
        for packing in PACKINGS {
            assert_eq!(flaw(&packing.batch(&plain)), (1, expected), "{packing:?}");
        }
    }
    let wide = edited(|body| body.splice(1..2, [0xff; 10]).for_each(drop));
    assert_eq!(flaw(&wide), (1, RecordFlaw::LongNumber));
    assert_eq!(flaw(&with_count(three(), 4)), (3, RecordFlaw::Cut));
    assert_eq!(flaw(&with_count(three(), 2)), (2, RecordFlaw::Leftover));
    assert_eq!(flaw(&with_count(three(), i32::MAX)), (3, RecordFlaw::Cut));
    for packing in PACKINGS {
        let packed = packing.batch(&three());
        assert_eq!(flaw(&with_count(packed.clone(), 4)), (3, RecordFlaw::Cut), "{packing:?}");
        assert_eq!(flaw(&with_count(packed, 2)), (2, RecordFlaw::Leftover), "{packing:?}");
    }
}

#[test]
fn what_is_no_compressed_block_is_refused() {
    for codec in 1..=4 {
        for garbage in [&b""[..], b"\0", b"garbage", &[0xff; 300]] {
            let batch = with_records(&three(), codec, garbage);
            let (index, found) = flaw(&batch);
            let expected = match (garbage, codec) {
                // Nothing is no block at all in these two.
                (b"", 2 | 4) => RecordFlaw::Cut,
                _ => RecordFlaw::Compression,
            };
            assert_eq!((index, found), (0, expected), "{codec} {garbage:?}");
        }
    }
    for packing in PACKINGS {
        let packed = packing.pack(&three()[HEADER_BYTES..]);
        for end in 0..packed.len() {
            let cut = with_records(&three(), packing.bits(), &packed[..end]);
            assert!(matches!(fault(&cut), BatchFault::Record { .. }), "{packing:?} {end}");
        }
        let longer = with_records(&three(), packing.bits(), &[&packed[..], b"\0"].concat());
        assert!(matches!(fault(&longer), BatchFault::Record { .. }), "{packing:?}");
    }
}

/// Values of zeros: small batches that stand for a lot.
#[test]
fn bombs_are_refused_within_bounds() {
    let checks = Checks { inflated_bytes_max: 1 << 20, ..Checks::default() };
    for (bytes, passes) in [(1 << 19, true), (1 << 20, false), (8 << 20, false)] {
        let plain = built(&[(0, None, Some(vec![0; bytes]), vec![])]);
        for packing in PACKINGS {
            let packed = packing.batch(&plain);
            let found = check(&packed, usize::MAX, &checks);
            let expected = if passes { None } else { Some(BatchFault::Inflated) };
            assert_eq!(found.err(), expected, "{packing:?} {bytes}");
        }
    }
    let plain = built(&[(0, None, Some(vec![0; 20 << 20]), vec![])]);
    for packing in [Packing::Gzip, Packing::Zstd] {
        let packed = packing.batch(&plain);
        let expected = if packing == Packing::Gzip { None } else { Some(BatchFault::Inflated) };
        let found = check(&packed, usize::MAX, &Checks::default()).err();
        assert_eq!(found, expected, "{packing:?}: {}", packed.len());
    }
}

#[test]
fn an_unknown_codec_is_not_opened() {
    let batch = with_records(&three(), 5, b"x");
    assert_eq!(Opened::new(&batch).err(), Some(RecordFault::Compressed));
    assert_eq!(Opened::new(&three()[..70]).err(), Some(RecordFault::Truncated));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batch_passes_in_any_codec_and_comes_back(messages in messages()) {
        let plain = built(&messages);
        prop_assert!(check(&plain, usize::MAX, &Checks::default()).is_ok());
        let expected = Opened::new(&plain).unwrap();
        for packing in PACKINGS {
            let packed = packing.batch(&plain);
            let checked = check(&packed, usize::MAX, &Checks::default()).unwrap();
            prop_assert_eq!(&checked.bytes, &packed);
            let opened = Opened::new(&packed).unwrap();
            prop_assert_eq!(opened.records().count(), messages.len());
            prop_assert!(opened.records().eq(expected.records()));
        }
    }

    /// Whatever passes can be read whole, by us and by the oracle's decoder of the same bytes.
    #[test]
    fn a_mutated_batch_is_refused_or_consistent(
        messages in messages(), at: prop::sample::Index, byte: u8, codec in 0_usize..6,
    ) {
        let plain = built(&messages);
        let mut batch = PACKINGS.get(codec).map_or(plain.clone(), |packing| packing.batch(&plain));
        let at = 21 + at.index(batch.len() - 21);
        batch[at] = byte;
        renew_crc(&mut batch);
        if let Ok(checked) = check(&batch, usize::MAX, &Checks::default()) {
            let opened = Opened::new(&checked.bytes).unwrap();
            let records: Vec<_> = opened.records().map(Result::unwrap).collect();
            prop_assert_eq!(records.len(), usize::try_from(checked.header.record_count).unwrap());
            let highest = records.iter().map(|record| record.timestamp_ms).max().unwrap();
            prop_assert_eq!(checked.header.max_timestamp, highest.max(-1));
            for (offset, record) in (checked.header.base_offset..).zip(&records) {
                prop_assert_eq!(record.offset, offset);
                record.headers().for_each(drop);
            }
        }
    }

    #[test]
    fn any_records_are_gone_over_without_panic(
        codec in 0_i16..5, count in 1..9_i32, records in vec(any::<u8>(), 0..300),
    ) {
        let batch = with_count(with_records(&three(), codec, &records), count);
        if check(&batch, usize::MAX, &Checks::default()).is_ok() {
            prop_assert_eq!(Opened::new(&batch).unwrap().records().count(), count as usize);
        }
        prop_assert!(BatchHeader::read(&batch).is_some());
    }
}

/// Every single byte of a small batch of each codec, set to every value.
#[test]
fn every_mutation_of_a_small_batch_is_refused_or_consistent() {
    let plain = three();
    let batches = PACKINGS.iter().map(|packing| packing.batch(&plain));
    for batch in batches.chain([plain.clone()]) {
        for at in 21..batch.len() {
            for bit in 0..8 {
                let mut mutated = batch.clone();
                mutated[at] ^= 1 << bit;
                renew_crc(&mut mutated);
                let Ok(checked) = check(&mutated, usize::MAX, &Checks::default()) else { continue };
                let opened = Opened::new(&checked.bytes).unwrap();
                assert_eq!(opened.records().filter_map(Result::ok).count(), 3, "{at} {bit}");
            }
        }
    }
}
