//! Where a route begins, and what happens to its log meanwhile. Part of the tests of `broker::carry`.

use super::{LOG, ROUTE, TREE, Yard, all_to};
use crate::broker::carry::{Beginning, group_of};
use crate::broker::record::{GroupRecord, LogChange, Record};
use crate::broker::testbed::client::NOW_MS;
use crate::metrics::label::RouteFailure;

#[test]
fn the_latest_of_a_log_that_was_there_is_what_comes_after_the_first_start() {
    let mut yard = Yard::new(2, Beginning::Latest, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["before"]));
    yard.settle();
    assert_eq!([yard.position(0), yard.position(1)], [1, 0]);
    // What came while the broker was away counts.
    yard.append(0, &all_to("d/a", &["1"]));
    yard.append(1, &all_to("d/a", &["2"]));
    yard.restart(4);
    yard.settle();
    let mut kept = yard.in_session("keeps");
    kept.sort();
    assert_eq!(kept, ["1", "2"]);
}

#[test]
fn the_earliest_is_the_first_record_that_is_still_there() {
    let mut yard = Yard::new(1, Beginning::Earliest, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1", "2", "3"]));
    let broker = yard.broker();
    broker.logs.table.by_name("/", LOG).unwrap().partitions[0].advance_start(1);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["2", "3"]);
    assert_eq!(yard.failed(), [], "what was gone before the route was never its own");
}

/// A log that comes later is the route's from its first record on, whatever `from` says.
#[test]
fn a_log_that_comes_later_is_read_from_its_start() {
    let mut yard = Yard::without_log(Beginning::Latest, TREE);
    yard.session("keeps", "d/#");
    yard.settle();
    yard.create(1);
    yard.append(0, &all_to("d/a", &["1"]));
    yard.restart(0);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1"]);
}

#[test]
fn a_log_created_anew_is_another_one() {
    let mut yard = Yard::new(1, Beginning::Latest, TREE);
    yard.session("keeps", "d/#");
    yard.settle();
    yard.append(0, &all_to("d/a", &["1", "2"]));
    yard.settle();
    let broker = yard.broker();
    let old = broker.logs.table.by_name("/", LOG).unwrap().id;
    broker.logs.table.remove(old);
    broker.groups.applied.lock().forget_log(old);
    yard.settle();
    yard.create(1);
    yard.append(0, &all_to("d/a", &["3"]));
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "2", "3"]);
    assert_eq!(yard.position(0), 1);
}

#[test]
fn a_group_that_was_deleted_begins_anew() {
    let mut yard = Yard::new(1, Beginning::Earliest, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1"]));
    yard.settle();
    let (broker, group) = (yard.broker(), group_of(ROUTE));
    let delete = GroupRecord::Delete { vhost: "/", group: &group };
    broker.submit(None, &Record::Group(delete)).unwrap();
    // On its way when the group goes: it changes nothing.
    yard.append(0, &all_to("d/a", &["2"]));
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "1", "2"]);
    assert_eq!(yard.position(0), 2);
}

#[test]
fn what_was_trimmed_before_the_route_read_it_is_counted() {
    let mut yard = Yard::new(1, Beginning::Earliest, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1"]));
    yard.settle();
    yard.append(0, &all_to("d/a", &["2", "3", "4"]));
    yard.broker().logs.table.by_name("/", LOG).unwrap().partitions[0].advance_start(3);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "4"]);
    assert_eq!(yard.failed(), [(RouteFailure::Trimmed, 2)]);
    assert_eq!(yard.position(0), 4);
}

/// A crash between the two records of a beginning.
#[test]
fn a_beginning_that_was_cut_off_is_finished() {
    let mut yard = Yard::new(1, Beginning::Latest, TREE);
    yard.session("keeps", "d/#");
    let (broker, group) = (yard.broker(), group_of(ROUTE));
    let log = broker.logs.table.by_name("/", LOG).unwrap().id;
    let offsets = vec![crate::broker::record::Committed {
        log,
        partition: 0,
        offset: 0,
        leader_epoch: -1,
        metadata: "",
    }];
    let commit = GroupRecord::Commit { vhost: "/", group: &group, time_ms: NOW_MS, offsets };
    broker.submit(None, &Record::Group(commit)).unwrap();
    yard.append(0, &all_to("d/a", &["1"]));
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1"]);
    assert!(broker.groups.applied.lock().get("/", &group).unwrap().snapshot.is_some());
}

/// Whatever `from` says: the partition came after the route.
#[test]
fn a_partition_that_comes_later_is_read_from_its_start() {
    let mut yard = Yard::new(1, Beginning::Latest, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["before"]));
    yard.settle();
    let broker = yard.broker();
    let changes = broker.logs.table.changes();
    let id = broker.logs.table.by_name("/", LOG).unwrap().id;
    let grow = LogChange::Grow { id, partitions: 2 };
    broker.submit(None, &Record::LogChange(grow)).unwrap();
    yard.bed().sync();
    assert!(changes.has_changed().unwrap(), "whoever waits for the log is woken");
    drop((broker, changes));
    yard.append(1, &all_to("d/a", &["1"]));
    yard.restart(4);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1"]);
    assert_eq!([yard.position(0), yard.position(1)], [1, 1]);
    let broker = yard.broker();
    let changes = broker.logs.table.changes();
    broker.submit(None, &Record::LogChange(LogChange::Delete { id })).unwrap();
    yard.append(0, &all_to("d/a", &["gone"]));
    assert!(changes.has_changed().unwrap());
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1"]);
}
