//! Every wrong byte is found. Part of `store::verify`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::ids::{LogId, Lsn, QueueId, SHARD, SetId};
use crate::store::backup::Target;
use crate::store::backup::plan::Planned;
use crate::store::bodies::check::check as check_bodies;
use crate::store::bodies::{BodyOptions, BodyRef, BodyStore};
use crate::store::disk::folder::Folder;
use crate::store::disk::overlay::Overlay;
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::journal::embedded::{EmbeddedJournal, Opened};
use crate::store::journal::extent::extents;
use crate::store::journal::{JournalOptions, Position};
use crate::store::partition::PartitionOptions;
use crate::store::partition::check::check as check_partition;
use crate::store::partition::files::PartitionFiles;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::bodies::{BodyRow, Live};
use crate::store::tables::body_pages::{BodyPageKey, BodyPageRow};
use crate::store::tables::db::Db;
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::page_sums::PageSum;
use crate::store::tables::partitions::PartitionRow;
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::verify::journal;
use crate::store::verify::pages::BesidePages;
use crate::store::verify::references::References;
use crate::store::verify::{Fault, Inspector};

#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    notes: Vec<String>,
    bytes: u64,
}

impl Inspector for Found {
    fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

fn bodies(disk: &SimulatedDisk) -> (Vec<BodyRef>, Vec<(u32, u64)>) {
    let options = BodyOptions { segment_bytes: 1000, handles_max: 2 };
    let store = BodyStore::open(disk.shared(), options, []).unwrap();
    let mut writer = store.writer();
    let places = (0..4).map(|index| writer.append(&vec![index; 7 * usize::from(index)]).unwrap());
    let places = places.collect();
    (places, writer.finish().unwrap())
}

#[test]
fn every_wrong_byte_of_a_body_segment_is_found() {
    let disk = SimulatedDisk::default();
    let (places, lengths) = bodies(&disk);
    let [(segment, valid_len)] = lengths[..] else { panic!("{lengths:?}") };
    let mut found = Found::default();
    let whole = check_bodies(&*disk.shared(), segment, valid_len, &mut found);
    assert_eq!((found.faults.len(), found.bytes, whole.count()), (0, valid_len, 4));
    assert!(places.iter().all(|place| whole.holds(place.offset, place.len)));
    assert!(!whole.holds(places[1].offset + 1, places[1].len));
    for at in 0..valid_len as usize {
        disk.damage("00000001.seg", |bytes| bytes[at] ^= 0x40);
        let mut found = Found::default();
        check_bodies(&*disk.shared(), segment, valid_len, &mut found);
        assert!(!found.faults.is_empty(), "byte {at}");
        assert!(found.faults.iter().all(|fault| fault.file.contains("00000001.seg")));
        disk.damage("00000001.seg", |bytes| bytes[at] ^= 0x40);
    }
    let mut found = Found::default();
    check_bodies(&*disk.shared(), segment, valid_len + 1, &mut found);
    assert!(found.faults[0].expected.contains("bytes, but it has"), "{:?}", found.faults);
}

#[test]
fn references_are_compared_with_bodies_and_counts() {
    let disk = SimulatedDisk::default();
    let (places, lengths) = bodies(&disk);
    let (segment, valid_len) = lengths[0];
    let read = |live_refs| {
        let mut references = References::default();
        let row = BodyRow { valid_len, live_refs, live: Live::Uncounted };
        references.read(&*disk.shared(), segment, row, &mut Found::default());
        references
    };
    let mut found = Found::default();
    let mut references = read(4);
    places.iter().for_each(|place| references.refer("q", *place, &mut found));
    references.compare(&mut found);
    assert!(found.faults.is_empty(), "{:?}", found.faults);

    references.refer("q", BodyRef { offset: 17, ..places[0] }, &mut found);
    references.refer("q", BodyRef { segment: 9, ..places[0] }, &mut found);
    references.compare(&mut found);
    let texts: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
    assert!(texts[0].contains("no such body") && texts[1].contains("no such segment"), "{texts:?}");
    assert!(texts[2].ends_with("expected 5 references, as queues hold, found 4"), "{texts:?}");
}

#[test]
fn bytes_in_use_are_compared_with_what_is_referred_to() {
    let disk = SimulatedDisk::default();
    let (places, lengths) = bodies(&disk);
    let (segment, valid_len) = lengths[0];
    for (bytes, faults) in [(74, 0), (73, 1)] {
        let (mut found, mut references) = (Found::default(), References::default());
        let row =
            BodyRow { valid_len, live_refs: 4, live: Live::Bytes { bytes, is_shared: false } };
        references.read(&*disk.shared(), segment, row, &mut found);
        places.iter().for_each(|place| references.refer("q", *place, &mut found));
        references.compare(&mut found);
        assert_eq!(found.faults.len(), faults, "{:?}", found.faults);
    }
}

#[test]
fn what_is_kept_beside_pages_is_compared_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("meta.redb"), 1 << 20).unwrap();
    let page = |page| PageKey { shard: SHARD, queue: QueueId(1), page };
    let names = |segment, number| BodyPageKey { segment, page: page(number) };
    let sum = PageSum { live: 2, ..PageSum::default() };
    // A row stands for the segments that it names.
    let segments = |_: &PageKey, row: &[u8]| {
        Some(row.iter().map(|segment| u32::from(*segment)).collect::<BTreeSet<u32>>())
    };
    let judge = || {
        let mut found = Found::default();
        let mut beside = BesidePages::open(&db, true, &mut found).unwrap();
        db.for_each::<QueuePages>(|key, row| {
            beside.check(&key, &sum, &segments(&key, &row[..]).unwrap(), &mut found)
        })
        .unwrap();
        beside.finish(&db, segments, &mut found).unwrap();
        let places = found.faults.into_iter().map(|fault| fault.file).collect::<Vec<_>>();
        (places, found.notes.len())
    };
    let mut write = CheckpointWrite::new(checkpoint());
    for number in [0, 1] {
        write.queue_pages.put(page(number), Bytes::from_static(&[7]));
        write.page_sums.put(page(number), sum);
        write.body_pages.put(names(7, number), BodyPageRow);
    }
    db.commit(&write).unwrap();
    assert_eq!(judge(), (Vec::new(), 0));

    let mut write = CheckpointWrite::new(checkpoint());
    write.body_pages.delete(names(7, 0));
    write.body_pages.put(names(8, 1), BodyPageRow);
    write.page_sums.put(page(1), PageSum { live: 3, ..sum });
    write.page_sums.put(page(9), sum);
    db.commit(&write).unwrap();
    let row = |table: &str, key: &dyn std::fmt::Debug| format!("table {table}, key {key:?}");
    let (missing, stray) = (row("body_pages", &names(7, 0)), row("body_pages", &names(8, 1)));
    let (wrong, alone) = (row("page_sums", &page(1)), row("page_sums", &page(9)));
    assert_eq!(judge(), (vec![missing.clone(), wrong, alone, stray.clone()], 0));
    db.forget_page_sums();
    assert_eq!(judge(), (vec![missing, stray], 1), "an earlier build's sums are not believed");
}

fn checkpoint() -> CheckpointRow {
    CheckpointRow {
        next_lsn: Lsn(1),
        next_batch: 1,
        next_queue_id: QueueId(2),
        next_log_id: LogId(1),
        next_set_id: SetId(1),
        next_producer_id: 0,
        broker_uuid: [0; 16],
        written_ms: 0,
        queued_messages_max: u64::MAX,
        queued_bytes_max: u64::MAX,
    }
}

fn batch(base_offset: i64, records: i32, timestamp: i64) -> Vec<u8> {
    let mut bytes = vec![base_offset as u8; 61 + 30];
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&(49 + 30_i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[35..43].copy_from_slice(&timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn partition(disk: &SimulatedDisk) -> PartitionRow {
    let options = PartitionOptions {
        segment_bytes: 400,
        segment_ms: u64::MAX,
        index_interval_bytes: 100,
        write_bytes: 100,
    };
    let files = PartitionFiles::open(disk.shared(), options, &[]).unwrap();
    for index in 0..7 {
        let (base, time) = (index * 2, 100 - index);
        files.append(base, base + 1, time, [&batch(base, 2, time), &[]]).unwrap();
    }
    files.sync().unwrap();
    let segments = files.valid_lengths();
    assert!(segments.len() > 1);
    PartitionRow {
        segments,
        next_offset: 14,
        log_start: 3,
        leader_epoch: 0,
        producers: Bytes::new(),
    }
}

#[test]
fn every_wrong_byte_of_a_partition_is_found() {
    let disk = SimulatedDisk::default();
    let row = partition(&disk);
    let check = |row: &PartitionRow| {
        let mut found = Found::default();
        let batches = check_partition(&*disk.shared(), row, &mut found);
        (found, batches)
    };
    let (found, batches) = check(&row);
    assert_eq!((found.faults, found.notes.len(), batches), (Vec::new(), 0, 7));
    for (base, valid_len) in &row.segments {
        let name = format!("{base:020}.v1.log");
        for at in 0..*valid_len as usize {
            // The leader epoch is the broker's to change: no checksum covers it (KIP-98).
            if (12..16).contains(&(at % 91)) {
                continue;
            }
            disk.damage(&name, |bytes| bytes[at] ^= 0x40);
            let (found, _) = check(&row);
            let is_named = found.faults.iter().any(|fault| fault.file.contains(&name));
            assert!(is_named, "{name} byte {at}: {:?}", found.faults);
            disk.damage(&name, |bytes| bytes[at] ^= 0x40);
        }
        let name = format!("{base:020}.v1.index");
        let length = disk.shared().open(&name).unwrap().length().unwrap();
        for at in 0..length as usize {
            disk.damage(&name, |bytes| bytes[at] ^= 0x40);
            let (found, _) = check(&row);
            assert!(found.faults.is_empty() && found.notes.len() == 1, "{name} byte {at}");
            disk.damage(&name, |bytes| bytes[at] ^= 0x40);
        }
    }
    for wrong in [
        PartitionRow { next_offset: 15, ..row.clone() },
        PartitionRow { log_start: -1, ..row.clone() },
        PartitionRow { log_start: 15, ..row.clone() },
        PartitionRow { segments: row.segments[1..].to_vec(), ..row.clone() },
    ] {
        assert_eq!(check(&wrong).0.faults.len(), 1, "{wrong:?}");
    }
}

#[test]
fn an_index_that_is_whole_and_wrong_is_a_fault() {
    let disk = SimulatedDisk::default();
    let row = partition(&disk);
    let name = format!("{:020}.v1.index", row.segments[0].0);
    disk.damage(&name, |bytes| {
        // The place of the second entry: behind magic, version, three numbers, count and one entry, and its offset.
        bytes[8 + 1 + 24 + 1 + 24 + 8] ^= 1;
        let end = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
    });
    let mut found = Found::default();
    check_partition(&*disk.shared(), &row, &mut found);
    assert_eq!(found.faults.len(), 1, "{:?}", found.faults);
    assert!(found.faults[0].file.ends_with(".v1.index"));
}

#[test]
fn segments_of_a_newer_format_are_told_by_their_names() {
    let disk = SimulatedDisk::default();
    let row = partition(&disk);
    let name = format!("{:020}.v1.log", row.segments[1].0);
    disk.shared().rename(&name, &name.replace(".v1.", ".v3.")).unwrap();
    let mut found = Found::default();
    check_partition(&*disk.shared(), &row, &mut found);
    assert!(found.faults.iter().any(|fault| fault.is_newer && fault.found == "version 3"));
    let options = PartitionOptions::default();
    let error = PartitionFiles::open(disk.shared(), options, &row.segments).unwrap_err();
    assert!(error.to_string().contains("format version 3; this build reads versions up to 1"));
    assert!(disk.shared().list().unwrap().contains(&name.replace(".v1.", ".v3.")));
}

/// A journal in `dir` whose writer goes on: record numbers and the positions after their batches.
fn journal_of(dir: &std::path::Path, count: u64) -> (Arc<EmbeddedJournal<()>>, Vec<Position>) {
    let options = JournalOptions {
        segment_bytes: 4096,
        batch_bytes_max: 1500,
        spare_segments: 0,
        ..JournalOptions::default()
    };
    let disk = Folder::open(dir).unwrap();
    let Opened { journal, replay, .. } =
        EmbeddedJournal::<()>::open(disk, options, Position::START).unwrap();
    assert_eq!(replay.count(), 0);
    let (sender, written) = std::sync::mpsc::channel();
    journal.start(Box::new(move |batch| drop(sender.send(batch)))).unwrap();
    let mut positions = Vec::new();
    for number in 1..=count {
        let bytes = vec![number as u8; 100 + number as usize * 37 % 900];
        journal.submit(None, |_, out| out.extend_from_slice(&bytes)).unwrap();
        let batch = written.recv().unwrap();
        positions.push(Position { batch: batch.number + 1, lsn: batch.next_lsn() });
    }
    (journal, positions)
}

#[test]
fn a_copy_of_a_journal_up_to_any_record_is_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (journal, positions) = journal_of(&data.join("journal"), 30);
    let root = Overlay::over(&data);
    let source = root.folder("journal").unwrap();
    for (from, end) in [(None, 0), (None, 29), (Some(4), 4), (Some(4), 17), (Some(28), 29)] {
        let from = from.map_or(Position::START, |at: usize| positions[at]);
        let next = positions[end];
        let last = Lsn(next.lsn.0 - 1);
        let target = Target::begin(&dir.path().join("copy")).unwrap();
        for extent in extents(&*source, from, last).unwrap() {
            let (bytes, file_bytes) = (extent.bytes, extent.file_bytes);
            let folder = vec!["journal".to_owned()];
            let planned = Planned { folder, name: extent.name, bytes, file_bytes };
            target.copy(&*root, &planned, &mut |_| ()).unwrap();
        }
        let copy = Overlay::over(&target.path().join("journal"));
        let opened =
            EmbeddedJournal::<()>::open(Arc::clone(&copy), JournalOptions::default(), from);
        assert_eq!(opened.unwrap().next, next, "from {from:?} to {last}");
        let (mut found, mut read) = (Found::default(), Vec::new());
        let count = journal::check(copy, from, &mut found, &mut |lsn, bytes| {
            read.push((lsn.0, bytes[0]));
            if lsn == last { Err("a word".to_owned()) } else { Ok(()) }
        });
        let wanted: Vec<_> = (from.lsn.0..next.lsn.0).map(|lsn| (lsn, lsn as u8)).collect();
        assert_eq!((read, count.records), (wanted.clone(), wanted.len() as u64));
        assert_eq!(found.faults.len(), usize::from(!wanted.is_empty()), "{:?}", found.faults);
    }
    let beyond = Lsn(positions[29].lsn.0);
    assert!(extents(&*source, positions[3], beyond).is_err());
    journal.close().unwrap();
    assert!(extents(&*Overlay::over(dir.path()), Position::START, Lsn(0)).unwrap().is_empty());
    assert!(extents(&*Overlay::over(dir.path()), positions[3], beyond).is_err());
}
