//! What cannot be carried, and what is refused for a while. Part of the tests of `broker::carry`.

use super::{OWN, TREE, Yard, all_to};
use crate::auth::principal::Principal;
use crate::broker::carry::{Beginning, Outlet};
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::header;
use crate::broker::testbed::Refusing;
use crate::broker::testbed::client::NOW_MS;
use crate::metrics::label::RouteFailure;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::TableWriter;

const EARLY: Beginning = Beginning::Earliest;

/// Arguments of a queue that refuses what comes when it holds `length` messages.
pub(super) fn narrow(length: i32) -> Vec<u8> {
    let mut table = Vec::new();
    let mut writer = TableWriter::new(&mut table);
    writer.put("x-max-length", FieldValue::I32(length)).unwrap();
    writer.string("x-overflow", "reject-publish").unwrap();
    table
}

/// Takes up to `count` messages out of a queue for good.
pub(super) fn take(yard: &mut Yard, queue: &str, count: usize) -> Vec<String> {
    let (broker, who) = (yard.broker(), Principal::anonymous());
    let queue = broker.exchanges.vhost("/").unwrap().queue(queue).unwrap();
    let mut counters = LocalCounters::new(Protocol::Mqtt);
    let mut taken = Vec::new();
    for _ in 0..count {
        let payload = |delivery: &crate::broker::consumer::Delivery<'_>| {
            String::from_utf8(delivery.message.payload.to_vec()).unwrap()
        };
        let one = broker
            .fetch(&who, &queue, OWN, true, &mut counters, NOW_MS, |delivery, _| payload(delivery));
        let Some(one) = one.unwrap() else { break };
        taken.push(one);
    }
    yard.bed().sync();
    taken
}

#[test]
fn what_has_no_address_is_counted_and_passed() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &[("d/a", "1"), ("", "lost"), ("d/a", "2"), ("", "lost too")]);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "2"]);
    assert_eq!(yard.failed(), [(RouteFailure::MissingValue, 1); 2]);
    assert_eq!(yard.position(0), 4);
}

#[test]
fn a_batch_that_cannot_be_read_is_counted_and_passed() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1"]));
    let mut builder = BatchBuilder::default();
    for _ in 0..3 {
        let record =
            NewRecord { timestamp_ms: 1, key: Some(b"d/a"), value: Some(b"bad"), headers: &[] };
        builder.push(&record);
    }
    let mut batch = builder.finish().unwrap();
    // The second record's length.
    let length = (batch.len() - header::HEADER_BYTES) / 3;
    batch[header::HEADER_BYTES + length] = 0x7f;
    yard.append_batch(0, &batch);
    yard.append(0, &all_to("d/a", &["2"]));
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "bad", "2"]);
    assert_eq!(yard.failed(), [(RouteFailure::Corrupt, 2)]);
    assert_eq!(yard.position(0), 5);
}

/// A full queue holds the partition up; all destinations get each record once, guests too.
#[test]
fn a_queue_that_refuses_holds_the_route_up_and_loses_nothing() {
    let mut yard = Yard::new(2, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.queue("narrow", "d.#", &narrow(2));
    let mut guest = yard.guest("g", "#");
    let values: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let pairs: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(at, value)| (if at % 2 == 0 { "d/a" } else { "n/a" }, value.as_str()))
        .collect();
    yard.append(0, &pairs);
    yard.settle();
    assert_eq!(yard.in_queue("narrow"), ["0", "2"]);
    assert_eq!(yard.in_session("keeps"), ["0", "2"], "all or none");
    // Others are not held up.
    yard.append(1, &all_to("n/b", &["20"]));
    yard.settle();
    assert_eq!(yard.position(1), 1);
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.extend(take(&mut yard, "narrow", 1));
        yard.settle();
    }
    let even: Vec<String> = (0..20).step_by(2).map(|number| number.to_string()).collect();
    assert_eq!(taken, even);
    assert_eq!(yard.in_session("keeps"), even);
    assert_eq!(yard.position(0), 20);
    let broker = yard.broker();
    guest.turn(&broker, NOW_MS);
    let mut seen = guest.values();
    seen.sort_unstable();
    assert_eq!(seen, (0..21).collect::<Vec<_>>(), "once each");
    assert_eq!(yard.source.carried.load(std::sync::atomic::Ordering::Relaxed), 21);
}

#[test]
fn a_journal_that_takes_nothing_is_tried_again() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1"]));
    yard.settle();
    yard.append(0, &all_to("d/a", &["2", "3"]));
    yard.bed().tape.refuse(Refusing::AtOnce);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1"]);
    yard.bed().tape.refuse(Refusing::Never);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1", "2", "3"]);
    assert_eq!(yard.position(0), 3);
    assert_eq!(yard.failed(), []);
}

#[test]
fn a_beginning_that_the_journal_refuses_is_tried_again() {
    let mut yard = Yard::new(1, EARLY, TREE);
    yard.session("keeps", "d/#");
    yard.append(0, &all_to("d/a", &["1"]));
    yard.bed().tape.refuse(Refusing::AtOnce);
    yard.settle();
    yard.bed().tape.refuse(Refusing::Never);
    yard.settle();
    assert_eq!(yard.in_session("keeps"), ["1"]);
}

#[test]
fn an_exchange_that_is_missing_is_waited_for() {
    let outlet = Outlet::Exchange { name: "later", persistent: true };
    let mut yard = Yard::new(1, EARLY, outlet);
    yard.append(0, &all_to("k", &["1"]));
    yard.settle();
    assert_eq!(yard.position(0), 0);
    yard.broker().prepare_exchange("/", "later", "fanout").unwrap();
    yard.settle();
    assert_eq!(yard.position(0), 1);
    assert_eq!(yard.failed(), []);
}

/// A second reader begins while the last move of the first is on its way: its chain is broken, and nobody who waits
/// is there to be told.
#[test]
fn a_position_that_somebody_else_moved_is_taken_up_without_anything_durable() {
    let mut yard = Yard::new(1, EARLY, TREE);
    let mut guest = yard.guest("g", "n/#");
    yard.settle();
    let values: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    yard.append(0, &all_to("n/a", &values));
    yard.work();
    yard.work();
    yard.reader = super::reader(yard.bed.as_ref().unwrap(), &yard.source);
    yard.work();
    yard.bed().sync();
    assert_eq!(yard.position(0), 300);
    yard.append(0, &all_to("n/a", &values[..100]));
    yard.settle();
    assert_eq!(yard.position(0), 400);
    let broker = yard.broker();
    assert_eq!(guest.turn(&broker, NOW_MS).len(), 300 + 256 + 100, "a chunk again by the second");
}
