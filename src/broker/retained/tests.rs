//! The index and its slots against maps; overlays, checkpoints, clean-up. Part of `broker::retained`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::row;
use super::{Retained, RetainedRows};
use crate::broker::queues::entry::Stored;
use crate::model::ids::Lsn;
use crate::model::topic::TopicFilter;

/// Rows as a checkpoint left them.
#[derive(Default)]
struct Rows(Mutex<BTreeMap<String, Bytes>>);

impl RetainedRows for Rows {
    fn read(&self, _: &str, topic: &str) -> Result<Option<Bytes>, String> {
        Ok(self.0.lock().get(topic).cloned())
    }
}

fn value(lsn: u64) -> Arc<Stored> {
    Stored::new(lsn.to_le_bytes().to_vec().into())
}

fn topic() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just(""), 1 => Just("$a")];
    vec(level, 1..4).prop_map(|levels| levels.join("/")).prop_filter("empty", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![2 => Just("a"), 1 => Just("b"), 1 => Just("$a"), 2 => Just("+")];
    (vec(level, 0..4), any::<bool>()).prop_filter_map("empty", |(mut levels, rest)| {
        levels.extend(rest.then_some("#"));
        TopicFilter::parse(&levels.join("/")).ok()
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// A publish takes an LSN; an empty one ends the value.
    Submit(String, bool),
    /// The oldest submitted one is applied, or its condition failed.
    Apply(bool),
    /// The applied value expires.
    Expire(String),
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (topic(), prop::bool::weighted(0.3)).prop_map(|(t, end)| Step::Submit(t, end)),
        4 => prop::bool::weighted(0.8).prop_map(Step::Apply),
        1 => topic().prop_map(Step::Expire),
        1 => Just(Step::Checkpoint),
    ]
}

/// A retained publish on its way: LSN, topic, whether it ends the value.
type Submitted = (u64, String, bool);

#[derive(Default)]
struct Model {
    applied: BTreeMap<String, u64>,
    waiting: Vec<Submitted>,
    /// The newest submitted of each topic, until its own LSN is decided.
    overlay: BTreeMap<String, (u64, bool)>,
    lsn: u64,
}

impl Model {
    fn newest(&self, topic: &str) -> Option<u64> {
        match self.overlay.get(topic) {
            Some((_, true)) => None,
            Some((lsn, false)) => Some(*lsn),
            None => self.applied.get(topic).copied(),
        }
    }

    fn submit(&mut self, retained: &Retained, topic: &str, end: bool) {
        self.lsn += 1;
        let stored = (!end).then(|| value(self.lsn));
        retained.slot("/", topic).hold().put(Lsn(self.lsn), stored, None);
        self.overlay.insert(topic.to_owned(), (self.lsn, end));
        self.waiting.push((self.lsn, topic.to_owned(), end));
    }

    fn decide(&mut self, retained: &Retained, holds: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let (lsn, topic, end) = self.waiting.remove(0);
        if self.overlay.get(&topic).is_some_and(|(newest, _)| *newest == lsn) {
            self.overlay.remove(&topic);
        }
        if !holds {
            retained.withdraw("/", &topic, Lsn(lsn));
            return;
        }
        retained.apply("/", &topic, Lsn(lsn), (!end).then(|| value(lsn)));
        if end {
            self.applied.remove(&topic);
        } else {
            self.applied.insert(topic, lsn);
        }
    }

    fn check(&self, retained: &Retained, rows: &Rows, filter: &TopicFilter) {
        assert_eq!(retained.len(), self.applied.len());
        assert_eq!(retained.bytes(), 8 * self.applied.len() as u64);
        let found = retained.matching("/", filter);
        assert!(
            found.is_sorted_by(|a, b| a.topic.split('/').lt(b.topic.split('/'))),
            "in topic order, each once"
        );
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for topic in self.applied.keys().chain(self.overlay.keys()) {
            if let Some(lsn) = self.newest(topic).filter(|_| filter.matches(topic)) {
                expected.insert(topic.clone(), lsn);
            }
        }
        let mut values = BTreeMap::new();
        for slot in found {
            assert!(filter.matches(&slot.topic));
            let newest = slot.hold().newest();
            let Some(newest) = newest else { continue };
            let bytes = retained.read(&slot, &newest).unwrap().unwrap();
            assert_eq!(*bytes, newest.lsn.0.to_le_bytes(), "the value of that very record");
            values.insert(slot.topic.to_string(), newest.lsn.0);
        }
        assert_eq!(values, expected, "rows: {:?}", rows.0.lock().keys());
    }
}

fn checkpoint(retained: &Retained, rows: &Rows) {
    let frozen = retained.freeze();
    for (slot, value) in &frozen {
        match value {
            None => {
                rows.0.lock().remove(&*slot.topic);
            }
            Some(value) => {
                let stored = value.stored.as_ref().unwrap();
                rows.0.lock().insert(slot.topic.to_string(), stored.bytes.clone());
            }
        }
    }
    retained.checkpointed(&frozen);
}

proptest! {
    #[test]
    fn the_newest_value_is_found_whatever_is_submitted_applied_or_checkpointed(
        steps in vec(step(), 1..60),
        filter in filter(),
    ) {
        let rows = Arc::new(Rows::default());
        let retained = Retained::new(rows.clone());
        let all = TopicFilter::parse("#").unwrap();
        let mut model = Model::default();
        for step in &steps {
            match step {
                Step::Submit(topic, end) => model.submit(&retained, topic, *end),
                Step::Apply(holds) => model.decide(&retained, *holds),
                Step::Expire(topic) => {
                    let lsn = model.applied.remove(topic).unwrap_or(0);
                    retained.expire("/", topic, Lsn(lsn));
                }
                Step::Checkpoint => checkpoint(&retained, &rows),
            }
            model.check(&retained, &rows, &filter);
            model.check(&retained, &rows, &all);
        }
        // A restart finds the same, once nothing is under way.
        while !model.waiting.is_empty() {
            model.decide(&retained, true);
        }
        checkpoint(&retained, &rows);
        let again = Retained::new(rows.clone());
        for (topic, lsn) in &model.applied {
            again.restore("/", topic, Lsn(*lsn), 8);
        }
        model.check(&again, &rows, &filter);
        // Nothing is left in memory of topics that have no value.
        let mut slots: Vec<String> =
            retained.matching("/", &all).iter().map(|slot| slot.topic.to_string()).collect();
        slots.extend(
            ["$a/#"].iter().flat_map(|text| {
                retained.matching("/", &TopicFilter::parse(text).unwrap())
            }).map(|slot| slot.topic.to_string()),
        );
        slots.sort();
        prop_assert_eq!(slots, model.applied.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn a_row_survives_its_bytes_and_no_bytes_panic(
        lsn in any::<u64>(),
        message in vec(any::<u8>(), 0..40),
    ) {
        let bytes = row::encode(Lsn(lsn), &message);
        prop_assert_eq!(row::decode(&bytes), Ok((Lsn(lsn), &message[..])));
        for cut in 0..bytes.len().min(9) {
            prop_assert!(row::decode(&bytes[..cut]).is_err());
        }
        std::hint::black_box(row::decode(&message)).ok();
    }
}

#[test]
fn a_refused_publish_gives_the_topic_back() {
    let retained = Retained::new(Arc::new(Rows::default()));
    let slot = retained.slot("/", "a");
    slot.hold().put(Lsn(5), Some(value(5)), None);
    slot.hold().take_back(Lsn(4));
    assert!(slot.hold().is_taken(), "another record's value stays");
    slot.hold().take_back(Lsn(5));
    assert!(!slot.hold().is_taken());
    drop(slot);
    retained.release("/", "a");
    assert!(retained.matching("/", &TopicFilter::parse("#").unwrap()).is_empty());
}

/// Else whoever says that first would need no room for the value after it.
#[test]
fn the_end_of_no_value_takes_no_place() {
    let retained = Retained::new(Arc::new(Rows::default()));
    let slot = retained.slot("/", "a");
    slot.hold().put(Lsn(1), None, None);
    assert!(!slot.hold().is_taken());
    slot.hold().put(Lsn(2), Some(value(2)), None);
    assert!(slot.hold().is_taken());
}

#[test]
fn a_topic_that_somebody_is_about_to_use_is_not_released() {
    let retained = Retained::new(Arc::new(Rows::default()));
    let slot = retained.slot("/", "a/b");
    retained.release("/", "a/b");
    slot.hold().put(Lsn(1), Some(value(1)), None);
    assert!(Arc::ptr_eq(&slot, &retained.slot("/", "a/b")));
}

#[test]
fn what_the_broker_says_of_itself_takes_no_room_and_gives_way_to_no_record() {
    let retained = Retained::new(Arc::new(Rows::default()));
    let slot = retained.slot("/", "$SYS/x");
    retained.announce(&mut slot.hold(), value(1));
    retained.announce(&mut slot.hold(), value(2));
    assert_eq!((retained.len(), retained.bytes()), (0, 0));
    assert_eq!(slot.hold().newest().unwrap().lsn, Lsn(0), "older than any subscription");
    // A route of the configuration may write there.
    retained.apply("/", "$SYS/x", Lsn(3), Some(value(3)));
    assert_eq!(retained.len(), 1);
    retained.announce(&mut slot.hold(), value(4));
    assert_eq!((retained.len(), retained.bytes()), (0, 0));
    retained.apply("/", "$SYS/x", Lsn(5), None);
    assert_eq!((retained.len(), retained.bytes()), (0, 0));
}
