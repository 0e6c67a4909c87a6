//! Bodies against crashes, failures and damage. Part of `store::bodies`.

use proptest::prelude::*;

use crate::store::bodies::{BodyOptions, BodyRef, BodyStore};
use crate::store::codec::{Reader, Writer};
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::error::StoreError;

const OPTIONS: BodyOptions = BodyOptions { segment_bytes: 1000, handles_max: 2 };

fn body(index: usize) -> Vec<u8> {
    vec![index as u8; index * 83 % 400]
}

#[test]
fn a_body_larger_than_a_segment_gets_its_own() {
    let disk = SimulatedDisk::default();
    let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
    let mut writer = store.writer();
    let small = writer.append(b"small").unwrap();
    let large = writer.append(&[1; 5000]).unwrap();
    let after = writer.append(b"after").unwrap();
    writer.finish().unwrap();
    assert_eq!([small.segment, large.segment, after.segment], [1, 2, 3]);
    assert_eq!(store.read(large).unwrap().len(), 5000);
}

#[test]
fn a_failed_sync_leaves_only_what_was_checkpointed() {
    let disk = SimulatedDisk::default();
    let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
    let mut writer = store.writer();
    let kept = writer.append(b"kept").unwrap();
    let lengths = writer.finish().unwrap();
    let mut writer = store.writer();
    assert_eq!(writer.append(b"lost").unwrap().segment, kept.segment);
    disk.inject(|faults| faults.syncs = 1);
    assert!(matches!(writer.finish(), Err(StoreError::Io { .. })));
    // The next one stays away from that file.
    let mut writer = store.writer();
    let next = writer.append(b"again").unwrap();
    assert_ne!(next.segment, kept.segment);
    let more = writer.finish().unwrap();
    let disk = disk.crash(&mut |_, unsynced| unsynced);
    let listed = lengths.into_iter().chain(more);
    let store = BodyStore::open(disk.shared(), OPTIONS, listed).unwrap();
    assert_eq!(store.read(kept).unwrap(), "kept");
    assert_eq!(store.read(next).unwrap(), "again");
}

#[test]
fn damage_is_told_with_its_place() {
    let disk = SimulatedDisk::default();
    let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
    let mut writer = store.writer();
    let place = writer.append(b"a body").unwrap();
    let lengths = writer.finish().unwrap();
    disk.damage("00000001.seg", |bytes| bytes[place.offset as usize + 9] ^= 1);
    assert!(matches!(store.read(place), Err(StoreError::Corrupt { offset: 16, .. })));
    for wrong in [BodyRef { len: 5, ..place }, BodyRef { offset: 900, ..place }] {
        assert!(matches!(store.read(wrong), Err(StoreError::Corrupt { .. })));
    }
    let too_long = [(1, lengths[0].1 + 1)];
    let before = disk.everything();
    let result = BodyStore::open(disk.shared(), OPTIONS, too_long);
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    let result = BodyStore::open(disk.shared(), OPTIONS, [(1, 16), (7, 20)]);
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    assert_eq!(disk.everything(), before);
    disk.damage("00000001.seg", |bytes| bytes[8] = 9);
    let result = BodyStore::open(disk.shared(), OPTIONS, lengths);
    assert!(matches!(result, Err(StoreError::Version { found: 9, .. })));
}

#[test]
fn an_unlinked_segment_is_gone() {
    let disk = SimulatedDisk::default();
    let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
    let mut writer = store.writer();
    let place = writer.append(b"a body").unwrap();
    writer.finish().unwrap();
    store.read(place).unwrap();
    store.unlink(place.segment).unwrap();
    store.unlink(place.segment).unwrap();
    assert!(store.read(place).is_err());
    assert_ne!(store.writer().append(b"new").unwrap().segment, place.segment);
}

proptest! {
    #[test]
    fn bodies_come_back_after_a_crash(
        rounds in proptest::collection::vec(0usize..30, 1..6),
        seed: u32,
    ) {
        let mut disk = SimulatedDisk::default();
        let mut listed = std::collections::BTreeMap::new();
        let mut known = Vec::new();
        for (round, count) in rounds.into_iter().enumerate() {
            let store = BodyStore::open(disk.shared(), OPTIONS, listed.clone()).unwrap();
            let mut writer = store.writer();
            for index in 0..count {
                known.push((writer.append(&body(index)).unwrap(), index));
            }
            listed.extend(writer.finish().unwrap());
            // A checkpoint that never became current.
            let mut writer = store.writer();
            for index in 0..round {
                writer.append(&body(index)).unwrap();
            }
            drop(writer);
            for (place, index) in &known {
                prop_assert_eq!(&store.read(*place).unwrap()[..], &body(*index)[..]);
            }
            disk = disk.cut(u64::from(seed) + round as u64);
        }
        let store = BodyStore::open(disk.shared(), OPTIONS, listed).unwrap();
        for (place, index) in known {
            prop_assert_eq!(&store.read(place).unwrap()[..], &body(index)[..]);
        }
    }

    #[test]
    fn references_round_trip(segment: u32, offset: u32, len: u32) {
        let place = BodyRef { segment, offset, len };
        let mut bytes = Vec::new();
        place.encode(&mut Writer(&mut bytes));
        prop_assert_eq!(bytes.len(), 12);
        prop_assert_eq!(BodyRef::decode(&mut Reader::new(&bytes))?, place);
    }
}
