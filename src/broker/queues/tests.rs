//! A queue against a sorted map; its packet identifiers; what a checkpoint sees of it. Part of `broker::queues`.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::entry::{Body, Entry, Stored};
use super::page::{PAGE_POSITIONS, Page};
use super::queue::{Queue, packet_id};
use crate::model::qos::QoS;
use crate::store::bodies::BodyRef;

fn entry(order: u64, length: usize) -> Entry {
    let body = Body::Memory(Stored::new(vec![0; length].into()));
    Entry::new(order, body, QoS::AtLeastOnce, false)
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    /// Takes out the live position of this rank, counted round.
    Remove(usize),
    RemoveAnywhere(u64),
    Release(usize),
    Freeze,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..9).prop_map(Step::Push),
        5 => any::<usize>().prop_map(Step::Remove),
        1 => (0u64..2_000).prop_map(Step::RemoveAnywhere),
        1 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Freeze),
    ]
}

/// What the queue should be: lengths by position.
#[derive(Default)]
struct Model {
    live: BTreeMap<u64, (usize, bool)>,
    tail: u64,
    /// The pages as a database would have them after the freezes so far.
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Model {
    fn nth(&self, rank: usize) -> Option<u64> {
        let count = self.live.len();
        (count > 0).then(|| *self.live.keys().nth(rank % count).unwrap())
    }

    fn run(&mut self, queue: &mut Queue, step: &Step) {
        match step {
            Step::Push(length) => {
                assert_eq!(queue.push(entry(self.tail, *length)), self.tail);
                self.live.insert(self.tail, (*length, false));
                self.tail += 1;
            }
            Step::Remove(rank) => {
                let Some(position) = self.nth(*rank) else { return };
                let removed = queue.remove(position).unwrap();
                let (length, released) = self.live.remove(&position).unwrap();
                assert_eq!((removed.order, removed.body.len()), (position, length as u64));
                assert_eq!(removed.is_released(), released);
            }
            Step::RemoveAnywhere(position) => {
                let known = self.live.remove(position).is_some();
                assert_eq!(queue.remove(*position).is_some(), known);
            }
            Step::Release(rank) => {
                let Some(position) = self.nth(*rank) else { return };
                queue.get_mut(position).unwrap().release();
                self.live.get_mut(&position).unwrap().1 = true;
            }
            Step::Freeze => self.freeze(queue),
        }
    }

    fn freeze(&mut self, queue: &mut Queue) {
        for (number, page) in queue.freeze() {
            match page {
                Some(page) => self.pages.insert(number, page),
                None => self.pages.remove(&number),
            };
        }
    }

    fn check(&self, queue: &Queue) {
        let bytes: usize = self.live.values().map(|(length, _)| *length).sum();
        assert_eq!(queue.live(), self.live.len() as u64);
        assert_eq!(queue.bytes(), bytes as u64);
        assert_eq!(queue.tail(), self.tail);
        let head = self.live.keys().next().copied().unwrap_or(self.tail);
        assert_eq!(queue.head(), head);
        let positions: Vec<u64> = queue.iter().map(|(position, _)| position).collect();
        assert!(positions.iter().eq(self.live.keys()));
        for from in [0, head, head + 1, self.tail / 2, self.tail, self.tail + PAGE_POSITIONS] {
            let next = self.live.range(from..).next().map(|(position, _)| *position);
            assert_eq!(queue.next_live(from), next, "from {from}");
        }
    }
}

/// What a checkpoint writes of pages, and a restart reads.
fn restored(pages: &BTreeMap<u64, Arc<Page>>, tail: u64) -> Queue {
    let mut queue = Queue::default();
    queue.set_tail(tail);
    for (number, page) in pages {
        let entries: Vec<(u64, Entry)> = page
            .iter(*number)
            .map(|(position, entry)| {
                let len = u32::try_from(entry.body.len()).unwrap();
                let body = BodyRef { segment: 1, offset: 2, len };
                let ids = entry.subscription_ids.clone();
                let mut restored = Entry::restored(entry.order, body, entry.durable_flags());
                restored.subscription_ids = ids;
                (position, restored)
            })
            .collect();
        queue.restore(entries.into_iter());
    }
    queue
}

proptest! {
    #[test]
    fn a_queue_agrees_with_a_sorted_map(
        start in prop_oneof![Just(0u64), 200u64..300],
        steps in vec(step(), 1..400),
    ) {
        let mut queue = Queue::starting_at(start);
        let mut model = Model { tail: start, ..Model::default() };
        for step in &steps {
            model.run(&mut queue, step);
            model.check(&queue);
        }
        // Everything that a checkpoint was ever told of, put together, is the queue.
        model.freeze(&mut queue);
        prop_assert!(queue.freeze().is_empty());
        let again = restored(&model.pages, queue.tail());
        model.check(&again);
        for (position, entry) in queue.iter() {
            let other = again.get(position).unwrap();
            prop_assert_eq!(
                (entry.order, entry.durable_flags(), entry.body.len()),
                (other.order, other.durable_flags(), other.body.len())
            );
        }
    }

    #[test]
    fn an_identifier_in_flight_names_its_position(
        head in prop_oneof![0u64..3, 65_530u64..65_540, any::<u32>().prop_map(u64::from)],
        ahead in prop_oneof![Just(0u64), Just(65_534), 0u64..65_535],
    ) {
        let mut queue = Queue::starting_at(head);
        queue.push(entry(0, 1));
        if ahead > 0 {
            queue.put(head + ahead, entry(1, 1));
        }
        prop_assert!(queue.has_packet_id(head + ahead));
        prop_assert!(!queue.has_packet_id(head + 65_535), "its identifier is the head's");
        prop_assert_eq!(packet_id(head), packet_id(head + 65_535));
        prop_assert_eq!(queue.position_of(packet_id(head + ahead)), Some(head + ahead));
        prop_assert_eq!(queue.position_of(packet_id(head)), Some(head));
        queue.remove(head + ahead);
        prop_assert_eq!(queue.position_of(packet_id(head + ahead)), None);
    }
}

/// [MQTT-2.2.1-2] and the range of MQTT-2.2.1: never 0, each once.
#[test]
fn packet_identifiers_run_through_their_whole_range() {
    let ids: std::collections::BTreeSet<u16> =
        (0..65_535).map(|position| packet_id(position).get()).collect();
    assert_eq!((ids.len(), ids.first(), ids.last()), (65_535, Some(&1), Some(&u16::MAX)));
    assert_eq!(packet_id(65_535).get(), 1);
}

#[test]
fn a_frozen_page_does_not_change_with_the_queue() {
    let mut queue = Queue::default();
    for order in 0..3 {
        queue.push(entry(order, 5));
    }
    let frozen = queue.freeze();
    queue.remove(1);
    queue.get_mut(2).unwrap().release();
    queue.push(entry(3, 5));
    let page = frozen[0].1.as_ref().unwrap();
    assert_eq!(page.live(), 3);
    assert!(!page.get(2).unwrap().is_released());
    assert!(page.get(3).is_none());
    assert_eq!(queue.freeze().len(), 1, "the page is written again");
}

#[test]
fn memory_is_given_back_only_for_the_very_message_that_was_written() {
    let body = BodyRef { segment: 7, offset: 16, len: 5 };
    let mut queue = Queue::default();
    let first = queue.push(entry(10, 5));
    let second = queue.push(entry(11, 5));
    queue.freeze();
    queue.remove(first);
    assert!(!queue.on_disk(first, 10, body), "acknowledged meanwhile");
    assert!(!queue.on_disk(second, 10, body), "another message");
    assert!(queue.on_disk(second, 11, body));
    assert!(matches!(queue.get(second).unwrap().body, Body::Disk(at) if at == body));
    assert_eq!(queue.bytes(), 5);
    let dirty: Vec<u64> = queue.freeze().iter().map(|(number, _)| *number).collect();
    assert_eq!(dirty, [0], "the removal is still to be written, the body's place is no change");
    assert!(queue.freeze().is_empty());
}

#[test]
fn what_the_receiver_settled_is_not_written_but_what_it_released_is() {
    let mut queue = Queue::default();
    queue.push(entry(1, 1));
    queue.freeze();
    queue.get_volatile(0).unwrap().settle();
    assert!(queue.get(0).unwrap().is_settled());
    assert!(queue.freeze().is_empty());
    queue.get_mut(0).unwrap().release();
    assert_eq!(queue.freeze().len(), 1);
    let kept = queue.get(0).unwrap();
    let body = BodyRef { segment: 0, offset: 0, len: 1 };
    let again = Entry::restored(kept.order, body, kept.durable_flags());
    assert!(again.is_released() && !again.is_settled());
}
