//! A queue against a sorted map; its packet identifiers; what a checkpoint sees of it. Part of `broker::queues`.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::entry::{Body, Entry, Move, Stored};
use super::page::{PAGE_POSITIONS, Page};
use super::queue::{Next, Queue, packet_id};
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
    /// A checkpoint from beginning to end.
    Freeze,
    /// Every page that may go out goes, but for those of this remainder.
    Out(u64),
    /// The page of the live position of this rank comes in.
    In(usize),
    /// A checkpoint moves the body at the live position of this rank.
    Move(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..9).prop_map(Step::Push),
        5 => any::<usize>().prop_map(Step::Remove),
        1 => (0u64..2_000).prop_map(Step::RemoveAnywhere),
        1 => any::<usize>().prop_map(Step::Release),
        2 => Just(Step::Freeze),
        2 => (0u64..4).prop_map(Step::Out),
        3 => any::<usize>().prop_map(Step::In),
        1 => any::<usize>().prop_map(Step::Move),
    ]
}

/// What the queue should be: lengths by position.
#[derive(Default)]
struct Model {
    live: BTreeMap<u64, (usize, bool)>,
    tail: u64,
    /// The pages as a database would have them after the freezes so far.
    pages: BTreeMap<u64, Page>,
}

/// A page as its row has it, bodies in `segment`.
fn as_row(number: u64, page: &Page, segment: u32) -> Page {
    let mut row = Page::default();
    for (position, entry) in page.iter(number) {
        let len = u32::try_from(entry.body.len()).unwrap();
        let body = match entry.body {
            Body::Disk(body) => body,
            _ => BodyRef { segment, offset: 16, len },
        };
        let mut restored = Entry::restored(entry.order, body, entry.durable_flags());
        restored.payload_bytes = entry.payload_bytes;
        row.put(position, restored);
    }
    row
}

impl Model {
    fn nth(&self, rank: usize) -> Option<u64> {
        let count = self.live.len();
        (count > 0).then(|| *self.live.keys().nth(rank % count).unwrap())
    }

    /// Has the page of `position` in memory, as everyone does who needs a message of it.
    fn bring_in(&self, queue: &mut Queue, position: u64) {
        for absent in queue.absent_within(position, position + 1) {
            let page = self.pages[&absent.number].clone();
            assert_eq!(queue.page_in(absent, page.clone()), Ok(true));
            assert_eq!(queue.page_in(absent, page), Ok(false), "it is there");
        }
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
                self.bring_in(queue, position);
                let removed = queue.remove(position).unwrap();
                let (length, released) = self.live.remove(&position).unwrap();
                assert_eq!((removed.order, removed.body.len()), (position, length as u64));
                assert_eq!(removed.is_released(), released);
            }
            Step::RemoveAnywhere(position) => {
                let known = self.live.contains_key(position);
                if queue.is_out(*position) {
                    assert!(queue.remove(*position).is_none());
                    self.bring_in(queue, *position);
                }
                assert_eq!(queue.remove(*position).is_some(), known);
                self.live.remove(position);
            }
            Step::Release(rank) => {
                let Some(position) = self.nth(*rank) else { return };
                self.bring_in(queue, position);
                queue.get_mut(position).unwrap().release();
                self.live.get_mut(&position).unwrap().1 = true;
            }
            Step::Freeze => self.freeze(queue),
            Step::Out(spared) => {
                let here: Vec<u64> =
                    queue.pages_here().filter(|page| page % 4 != *spared).collect();
                for number in here {
                    let absent = queue.page_out(number).then(|| queue.absent_from(number, 1)[0]);
                    if let Some(absent) = absent {
                        assert!(self.pages.contains_key(&number) && queue.is_absent(absent));
                    }
                }
            }
            Step::In(rank) => {
                let Some(position) = self.nth(*rank) else { return };
                self.bring_in(queue, position);
            }
            Step::Move(rank) => self.move_body(queue, *rank),
        }
    }

    fn freeze(&mut self, queue: &mut Queue) {
        for (number, page) in queue.freeze() {
            let Some(page) = page else {
                self.pages.remove(&number);
                continue;
            };
            let row = as_row(number, &page, 1);
            for (position, entry) in row.iter(number) {
                if let Body::Disk(body) = entry.body {
                    assert!(queue.on_disk(position, entry.order, body));
                }
            }
            self.pages.insert(number, row);
        }
    }

    /// Only of a page whose row is right: a checkpoint that rewrites others writes what it froze.
    fn move_body(&mut self, queue: &mut Queue, rank: usize) {
        self.freeze(queue);
        let Some(position) = self.nth(rank) else { return };
        let number = Page::number_of(position);
        let stale = queue.absent_from(number, 1).into_iter().find(|it| it.number == number);
        let row = self.pages.get_mut(&number).unwrap();
        let before = row.clone();
        let entry = row.get_mut(position).unwrap();
        let Body::Disk(old) = entry.body else { panic!("a row without a body") };
        let new = BodyRef { segment: old.segment + 1, ..old };
        entry.body = Body::Disk(new);
        queue.moved(number, &[Move { position, old, new }]);
        if let Some(stale) = stale {
            assert_eq!(queue.page_in(stale, before), Ok(false), "read before the move");
        } else {
            assert!(matches!(queue.get(position).unwrap().body, Body::Disk(at) if at == new));
        }
    }

    fn check(&self, queue: &Queue) {
        let bytes: usize = self.live.values().map(|(length, _)| *length).sum();
        assert_eq!(queue.live(), self.live.len() as u64);
        assert_eq!(queue.bytes(), bytes as u64);
        assert_eq!(queue.tail(), self.tail);
        let head = self.live.keys().next().copied().unwrap_or(self.tail);
        assert_eq!(queue.head(), head);
        let is_here = |position: &u64| !queue.is_out(*position);
        let positions: Vec<u64> = queue.iter_here().map(|(position, _)| position).collect();
        assert!(positions.iter().eq(self.live.keys().filter(|position| is_here(position))));
        let newest = self.live.keys().next_back().copied();
        assert_eq!(queue.newest(), newest, "orders are positions here");
        let index: usize = queue.iter_here().count() * size_of::<Entry>();
        assert!(queue.index_bytes() >= index);
        assert!(queue.count_here() > 0 || queue.index_bytes() == 0);
        for from in [0, head, head + 1, self.tail / 2, self.tail, self.tail + PAGE_POSITIONS] {
            let next = self.live.range(from..).next().map(|(position, _)| *position);
            match queue.next(from) {
                // The page may hold none from there on, but nothing comes before it.
                Some(Next::Out(page)) => {
                    let before = next.is_some_and(|next| next < Page::first_of(page).max(from));
                    assert!(!before && next.is_none_or(|next| Page::number_of(next) >= page));
                }
                Some(Next::Here(position)) => assert_eq!(Some(position), next, "from {from}"),
                None => assert_eq!(next, None, "from {from}"),
            }
        }
    }
}

/// What a checkpoint writes of pages, and a restart reads.
fn restored(pages: &BTreeMap<u64, Page>, tail: u64) -> Queue {
    let mut queue = Queue::default();
    queue.set_tail(tail);
    for (number, page) in pages {
        queue.restore_out(*number, page.sum());
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
        let mut again = restored(&model.pages, queue.tail());
        model.check(&again);
        let positions: Vec<u64> = model.live.keys().copied().collect();
        for position in positions {
            model.bring_in(&mut queue, position);
            model.bring_in(&mut again, position);
            let (entry, other) = (queue.get(position).unwrap(), again.get(position).unwrap());
            prop_assert_eq!(
                (entry.order, entry.durable_flags(), entry.body.len()),
                (other.order, other.durable_flags(), other.body.len())
            );
        }
        model.check(&again);
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

/// [MQTT-2.3.1-4] [MQTT5-2.2.1-4]: never 0, each once.
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
