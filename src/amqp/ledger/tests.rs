//! Tags, acknowledgements and credit, against a plain list. Tests of `amqp::ledger`.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Book, Ledger, Refusal, UnknownTag};
use crate::broker::declared::keeping::Keeping;
use crate::broker::declared::place::Place;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::declared::settings::QueueSettings;
use crate::broker::{Job, Timers};
use crate::metrics::Metrics;
use crate::model::ids::{ConsumerId, QueueId};
use crate::store::disk::folder::Folder;
use crate::store::scratch::{ScratchOptions, ScratchStore};

/// Deadlines that nobody waits for.
struct Never;

impl Timers for Never {
    fn at(&self, _deadline_ms: u64, _job: Job) {}
}

fn queue(id: u64) -> Arc<DeclaredQueue> {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::open(folder.path()).unwrap();
    let scratch = ScratchStore::open(disk, ScratchOptions::default()).unwrap();
    let metrics = Arc::new(Metrics::new(0.0).unwrap());
    let keeping = Keeping::new(0, scratch, Arc::new(Never), metrics);
    DeclaredQueue::new(QueueId(id), "/".into(), "q".into(), QueueSettings::default(), &keeping)
}

fn with_consumer(prefetch: u32, unacked_max: usize) -> (Ledger, Arc<DeclaredQueue>) {
    let (ledger, queue) = (Ledger::new(unacked_max), queue(1));
    ledger.book().add(ConsumerId(1), Arc::clone(&queue), prefetch);
    ledger.book().start(ConsumerId(1));
    (ledger, queue)
}

fn take(book: &mut Book, tag: u64, multiple: bool) -> Result<Vec<u64>, UnknownTag> {
    let mut out = Vec::new();
    book.take(tag, multiple, &mut out)?;
    Ok(out.iter().map(|held| held.place.position).collect())
}

#[test]
fn a_consumer_takes_what_its_prefetch_allows() {
    let (ledger, queue) = with_consumer(2, 100);
    let mut book = ledger.book();
    for position in 0..2 {
        book.admit(ConsumerId(1), true).unwrap();
        book.hold(&queue, Place::at(position), Some(ConsumerId(1)));
    }
    let mut fed = Vec::new();
    assert!(!book.has_credit(ConsumerId(1), true) && book.has_credit(ConsumerId(1), false));
    assert_eq!(book.admit(ConsumerId(1), true), Err(Refusal::NoCredit));
    book.feed(true, &mut fed);
    assert!(fed.is_empty());
    assert_eq!(take(&mut book, 1, false), Ok(vec![0]));
    book.feed(false, &mut fed);
    assert_eq!(fed.len(), 1);
    book.feed(true, &mut fed);
    assert_eq!(fed.len(), 1, "fed once");
}

#[test]
fn the_channels_limit_holds_for_all_its_consumers_and_not_for_get() {
    let (ledger, queue) = with_consumer(0, 100);
    let mut book = ledger.book();
    book.add(ConsumerId(2), Arc::clone(&queue), 0);
    book.start(ConsumerId(2));
    book.limit(1);
    book.hold(&queue, Place::at(0), None);
    assert!(book.has_credit(ConsumerId(1), true));
    book.hold(&queue, Place::at(1), Some(ConsumerId(1)));
    assert_eq!(book.admit(ConsumerId(2), true), Err(Refusal::NoCredit));
    let mut fed = Vec::new();
    assert_eq!(take(&mut book, 2, false), Ok(vec![1]));
    book.feed(true, &mut fed);
    assert_eq!(fed.len(), 1);
}

#[test]
fn without_prefetch_the_brokers_own_limit_holds() {
    let (ledger, queue) = with_consumer(0, 3);
    let mut book = ledger.book();
    for position in 0..3 {
        book.admit(ConsumerId(1), true).unwrap();
        book.hold(&queue, Place::at(position), Some(ConsumerId(1)));
    }
    assert_eq!(book.admit(ConsumerId(1), true), Err(Refusal::NoCredit));
    book.admit(ConsumerId(1), false).unwrap();
}

#[test]
fn nobody_is_served_before_consume_ok_or_after_the_end() {
    let (ledger, queue) = (Ledger::new(10), queue(1));
    let mut book = ledger.book();
    book.add(ConsumerId(7), Arc::clone(&queue), 0);
    assert_eq!(book.admit(ConsumerId(7), false), Err(Refusal::NoCredit));
    book.start(ConsumerId(7));
    book.admit(ConsumerId(7), false).unwrap();
    book.remove(ConsumerId(7));
    assert_eq!(book.admit(ConsumerId(7), false), Err(Refusal::Closed));
    book.add(ConsumerId(8), queue, 0);
    book.start(ConsumerId(8));
    book.close();
    assert_eq!(book.admit(ConsumerId(8), false), Err(Refusal::Closed));
}

#[derive(Clone, Debug)]
enum Step {
    Hold,
    Pass,
    Take(u64, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Hold),
        1 => Just(Step::Pass),
        4 => (0u64..80, prop::bool::weighted(0.2)).prop_map(|(tag, all)| Step::Take(tag, all)),
    ]
}

proptest! {
    /// As RabbitMQ: only a tag that is out can be named, and `multiple` takes all before it, too.
    #[test]
    fn tags_are_taken_as_from_a_plain_list(steps in vec(step(), 1..300)) {
        let (ledger, queue) = with_consumer(0, 1000);
        let mut book = ledger.book();
        let mut plain: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Hold => {
                    plain.push(book.next_tag());
                    let place = Place::at(book.next_tag());
                    book.hold(&queue, place, Some(ConsumerId(1)));
                }
                Step::Pass => book.pass(),
                Step::Take(tag, multiple) => {
                    let known = plain.contains(&tag);
                    let expected = if multiple && tag == 0 {
                        Ok(std::mem::take(&mut plain))
                    } else if !known {
                        Err(UnknownTag)
                    } else if multiple {
                        let rest = plain.iter().copied().filter(|one| *one > tag).collect();
                        let all = std::mem::replace(&mut plain, rest);
                        Ok(all.into_iter().filter(|one| *one <= tag).collect())
                    } else {
                        plain.retain(|one| *one != tag);
                        Ok(vec![tag])
                    };
                    prop_assert_eq!(take(&mut book, tag, multiple), expected);
                }
            }
            prop_assert_eq!(book.unacked(), plain.len());
        }
    }
}
