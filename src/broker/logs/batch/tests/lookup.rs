//! Records are found by time in batches of any codec.

use super::packing::{PACKINGS, Packing};
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::check::{Checks, check};
use crate::broker::logs::batch::header::renew_crc;
use crate::broker::logs::files::MemorySegments;
use crate::broker::logs::lookup::{FoundOffset, OffsetQuery};
use crate::broker::logs::partition::Partition;
use crate::model::ids::LogId;

/// A partition of batches with these timestamps, as a producer sent them whose headers say `said`.
fn partition(batches: &[&[i64]], packing: Option<Packing>, said: Option<i64>) -> Partition {
    let partition = Partition::new(LogId(1), 0, false, Box::<MemorySegments>::default());
    for times in batches {
        let mut builder = BatchBuilder::default();
        for timestamp_ms in *times {
            let record = NewRecord {
                timestamp_ms: *timestamp_ms,
                key: None,
                value: Some(b"v"),
                headers: &[],
            };
            builder.push(&record);
        }
        let plain = builder.finish().unwrap();
        let mut batch = packing.map_or(plain.clone(), |packing| packing.batch(&plain));
        if let Some(said) = said {
            batch[35..43].copy_from_slice(&said.to_be_bytes());
            renew_crc(&mut batch);
        }
        let checked = check(&batch, usize::MAX, &Checks::default()).unwrap();
        partition.append_batch(9, &checked.bytes);
    }
    partition
}

fn at(offset: i64, time: i64) -> Option<FoundOffset> {
    Some(FoundOffset { offset, timestamp_ms: Some(time) })
}

#[test]
fn the_first_record_at_or_after_a_time_is_found_in_every_codec() {
    for packing in PACKINGS.map(Some).into_iter().chain([None]) {
        let batches: [&[i64]; 3] = [&[10, 30, 20], &[5, 6], &[25, 40, 35]];
        let partition = partition(&batches, packing, None);
        let find = |time| partition.find(OffsetQuery::AtOrAfter(time)).unwrap();
        assert_eq!([find(0), find(11), find(31)], [at(0, 10), at(1, 30), at(6, 40)]);
        assert_eq!(find(41), None);
        assert_eq!(partition.find(OffsetQuery::Newest).unwrap(), at(6, 40), "{packing:?}");
    }
}

/// The time index goes by what headers say.
#[test]
fn a_header_that_lies_does_not_lead_lookups_astray() {
    for said in [0, i64::MAX] {
        let partition = partition(&[&[10, 20], &[30, 40]], Some(Packing::Zstd), Some(said));
        let find = |time| partition.find(OffsetQuery::AtOrAfter(time)).unwrap();
        assert_eq!([find(15), find(35), find(50)], [at(1, 20), at(3, 40), None]);
        assert_eq!(partition.find(OffsetQuery::Newest).unwrap(), at(3, 40));
    }
}
