//! What changes of logs leave on disk. Part of the tests of `broker::apply`.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::START_MS;
use crate::auth::principal::Principal;
use crate::broker::logs::admin::END;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::partition::{FetchError, Partition};
use crate::broker::logs::settings::change::SettingsChange;
use crate::broker::logs::verbs::{CreateLog, LogError, LogRef};
use crate::broker::testbed::Bed;
use crate::store::disk::Disk;

/// Polls once, syncs, and gives the outcome.
fn carried_out<T>(bed: &mut Bed, verb: impl Future<Output = T>) -> T {
    let mut verb = pin!(verb);
    let mut task = Context::from_waker(Waker::noop());
    if let Poll::Ready(done) = verb.as_mut().poll(&mut task) {
        return done;
    }
    bed.sync();
    let Poll::Ready(done) = verb.poll(&mut task) else { panic!("applied and not told") };
    done
}

fn create(bed: &mut Bed, name: &str, config: &[(&str, &str)]) -> [u8; 16] {
    let spec = CreateLog {
        name: name.to_owned(),
        partitions: Some(1),
        config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        validate_only: false,
    };
    let broker = Arc::clone(&bed.broker);
    carried_out(bed, broker.create_log(&Principal::anonymous(), spec, START_MS)).unwrap().uuid
}

/// Appends a batch of so many bytes at `time`.
fn append(bed: &mut Bed, name: &str, time: u64, bytes: usize) -> Result<i64, LogError> {
    let mut builder = BatchBuilder::default();
    let (value, timestamp_ms) = (vec![b'x'; bytes], i64::try_from(time).unwrap());
    builder.push(&NewRecord { timestamp_ms, key: None, value: Some(&value), headers: &[] });
    let batch = builder.finish().unwrap();
    let broker = Arc::clone(&bed.broker);
    let ack = broker.append_batch(&Principal::anonymous(), name, 0, &batch, (time, time))?;
    carried_out(bed, ack).map(|appended| appended.base_offset)
}

fn partition(bed: &Bed, name: &str) -> Arc<Partition> {
    Arc::clone(&bed.broker.logs.table.by_name("/", name).expect("it is there").partitions[0])
}

fn folders(bed: &Bed) -> Vec<String> {
    bed.disk.folder("logs").unwrap().list_folders().unwrap()
}

/// Bytes of all files of a partition.
fn on_disk(bed: &Bed, name: &str) -> u64 {
    let log = bed.broker.logs.table.by_name("/", name).unwrap();
    let folder = format!("{}-{name}", log.id);
    let folder = bed.disk.folder("logs").unwrap().folder(&folder).unwrap().folder("0").unwrap();
    let names = folder.list().unwrap();
    names.iter().map(|name| folder.open(name).unwrap().length().unwrap()).sum()
}

#[test]
fn a_deleted_log_is_out_of_sight_at_once_and_off_the_disk_after_a_checkpoint() {
    let mut bed = Bed::roomy();
    bed.resume(START_MS);
    let first = create(&mut bed, "t", &[]);
    append(&mut bed, "t", START_MS, 100).unwrap();
    bed.checkpoint(START_MS);
    let old = partition(&bed, "t");
    let broker = Arc::clone(&bed.broker);
    let who = Principal::anonymous();
    carried_out(&mut bed, broker.delete_log(&who, LogRef::Name("t"))).unwrap();
    assert!(matches!(old.read(0, 100), Err(FetchError::Gone)));
    assert_eq!(append(&mut bed, "t", START_MS, 1), Err(LogError::UnknownLog));
    let again = carried_out(&mut bed, broker.delete_log(&who, LogRef::Uuid(first)));
    assert_eq!(again, Err(LogError::UnknownLog));
    assert_eq!(folders(&bed).len(), 1, "until a checkpoint no longer names it");
    assert_ne!(create(&mut bed, "t", &[]), first);
    assert_eq!(append(&mut bed, "t", START_MS, 100), Ok(0), "it inherits nothing");
    bed.checkpoint(START_MS);
    assert_eq!(folders(&bed).len(), 1);
    drop(broker);
    let bed = bed.restart(&mut |_, _| 0);
    assert_eq!(partition(&bed, "t").end(), 1);
    assert_eq!(folders(&bed).len(), 1);
}

#[test]
fn a_log_is_made_anew_while_its_deletion_is_under_way() {
    let mut bed = Bed::roomy();
    bed.resume(START_MS);
    let first = create(&mut bed, "t", &[]);
    let (broker, who) = (Arc::clone(&bed.broker), Principal::anonymous());
    let mut task = Context::from_waker(Waker::noop());
    let mut deletion = pin!(broker.delete_log(&who, LogRef::Name("t")));
    assert!(deletion.as_mut().poll(&mut task).is_pending());
    // Whoever is routed meanwhile gets the new one too.
    let (routed, _) = broker.log_for_route("/", "t", Some(1), START_MS).unwrap();
    let spec = CreateLog {
        name: "t".to_owned(),
        partitions: None,
        config: Vec::new(),
        validate_only: false,
    };
    let created = broker.create_log(&who, spec, START_MS);
    assert_eq!(carried_out(&mut bed, created).unwrap_err(), LogError::Exists);
    bed.sync();
    assert_eq!(deletion.poll(&mut task), Poll::Ready(Ok(())));
    let log = broker.logs.table.by_name("/", "t").unwrap();
    assert_eq!(log.id, routed);
    assert_ne!(log.uuid, first);
    assert!(!broker.logs.is_any_going());
}

#[test]
fn retention_by_time_and_by_size_gives_the_disk_back() {
    let mut bed = Bed::roomy();
    bed.resume(START_MS);
    // A batch has a segment of its own, as they are a minute apart.
    create(&mut bed, "t", &[("segment.ms", "1"), ("retention.ms", "600000")]);
    for minute in 0..20 {
        append(&mut bed, "t", START_MS + minute * 60_000, 1000).unwrap();
    }
    bed.checkpoint(START_MS);
    let before = on_disk(&bed, "t");
    let now_ms = START_MS + 20 * 60_000;
    bed.broker.retain_logs(now_ms);
    bed.sync();
    assert_eq!(partition(&bed, "t").log_start(), 10, "those of ten minutes ago are kept");
    assert_eq!(on_disk(&bed, "t"), before, "files go with a checkpoint");
    bed.checkpoint(now_ms);
    assert_eq!(on_disk(&bed, "t"), before / 2);
    let (broker, who) = (Arc::clone(&bed.broker), Principal::anonymous());
    let set = vec![("retention.bytes".to_owned(), "3000".to_owned())];
    let change = SettingsChange::Replace(set);
    carried_out(&mut bed, broker.configure_log(&who, "t", change, false)).unwrap();
    bed.broker.retain_logs(now_ms);
    bed.sync();
    assert_eq!(partition(&bed, "t").log_start(), 17, "three are more than 3,000 bytes");
    bed.checkpoint(now_ms);
    drop(broker);
    let mut bed = bed.restart(&mut |_, _| 0);
    assert_eq!((partition(&bed, "t").log_start(), partition(&bed, "t").end()), (17, 20));
    assert_eq!(append(&mut bed, "t", now_ms, 10), Ok(20));
}

#[test]
fn a_log_that_is_silent_for_too_long_gives_up_all_and_goes_on() {
    let mut bed = Bed::roomy();
    bed.resume(START_MS);
    create(&mut bed, "t", &[("retention.ms", "1000")]);
    for _ in 0..3 {
        append(&mut bed, "t", START_MS, 100).unwrap();
    }
    bed.checkpoint(START_MS);
    let now_ms = START_MS + 1001;
    bed.broker.retain_logs(now_ms);
    bed.sync();
    bed.checkpoint(now_ms);
    assert_eq!(on_disk(&bed, "t"), 0);
    let mut bed = bed.restart(&mut |_, _| 0);
    assert_eq!((partition(&bed, "t").log_start(), partition(&bed, "t").end()), (3, 3));
    assert_eq!(append(&mut bed, "t", now_ms, 100), Ok(3));
    assert!(partition(&bed, "t").read(2, 100).is_err());
    assert!(!partition(&bed, "t").read(3, 100).unwrap().records.is_empty());
}

#[test]
fn deleted_records_stay_deleted_whether_a_checkpoint_knows_or_not() {
    for checkpoints in [false, true] {
        let mut bed = Bed::roomy();
        bed.resume(START_MS);
        create(&mut bed, "t", &[]);
        for _ in 0..5 {
            append(&mut bed, "t", START_MS, 10).unwrap();
        }
        bed.checkpoint(START_MS);
        let (broker, who) = (Arc::clone(&bed.broker), Principal::anonymous());
        let cut = broker.delete_records(&who, "t", &[(0, 3), (0, 9), (7, 0)]);
        let starts = carried_out(&mut bed, cut).unwrap();
        let refused = [LogError::OffsetOutOfRange, LogError::UnknownPartition].map(Err);
        assert_eq!(starts, [vec![Ok(3)], refused.to_vec()].concat());
        if checkpoints {
            bed.checkpoint(START_MS);
        }
        drop(broker);
        let mut bed = bed.restart(&mut |_, _| 0);
        assert_eq!(partition(&bed, "t").log_start(), 3);
        let broker = Arc::clone(&bed.broker);
        let all = broker.delete_records(&who, "t", &[(0, END)]);
        assert_eq!(carried_out(&mut bed, all).unwrap(), [Ok(5)]);
    }
}

#[test]
fn settings_changed_at_once_by_two_are_both_in_force() {
    let mut bed = Bed::roomy();
    bed.resume(START_MS);
    create(&mut bed, "t", &[]);
    let (broker, who) = (Arc::clone(&bed.broker), Principal::anonymous());
    let set = |name: &str, value: &str| {
        use crate::broker::logs::settings::change::Edit;
        SettingsChange::Edit(vec![(name.to_owned(), Edit::Set(value.to_owned()))])
    };
    {
        let mut task = Context::from_waker(Waker::noop());
        let mut one = pin!(broker.configure_log(&who, "t", set("retention.ms", "5"), false));
        let mut two = pin!(broker.configure_log(&who, "t", set("max.message.bytes", "80"), false));
        assert!(one.as_mut().poll(&mut task).is_pending());
        assert!(two.as_mut().poll(&mut task).is_pending());
        bed.sync();
        assert_eq!(one.poll(&mut task), Poll::Ready(Ok(())));
        assert_eq!(two.poll(&mut task), Poll::Ready(Ok(())));
    }
    let log = broker.logs.table.by_name("/", "t").unwrap();
    assert_eq!((log.settings.retention_ms, log.settings.batch_bytes_max), (Some(5), 80));
    assert!(broker.logs.underway.lock().configuring.is_empty());
    assert!(matches!(append(&mut bed, "t", START_MS, 100), Err(LogError::Batch(_))));
    drop(broker);
    let bed = bed.restart(&mut |_, _| 0);
    let log = bed.broker.logs.table.by_name("/", "t").unwrap();
    assert_eq!((log.settings.retention_ms, log.settings.batch_bytes_max), (Some(5), 80));
}
