//! Topic aliases towards one client (MQTT5-3.3.2.3.4): which topics have one, and which deserve one. Part of `mqtt`.
//!
//! An alias makes every further packet of its topic shorter and the one that introduces it three bytes longer. While
//! there are free ones each topic gets one at first sight. After that a topic must have been seen shortly before, and
//! takes the place of one that was not used lately (a clock with a few lives each): a client whose topics are all
//! different pays for no more introductions than it has aliases.
//!
//! The table lives as long as its connection [MQTT-3.3.2-7] and holds [`BYTES_MAX`] of topics at most.

use std::num::NonZeroU16;
use std::sync::Arc;

use ahash::AHashMap;

/// Bytes of topics that one table holds.
const BYTES_MAX: usize = 16 * 1024;
/// Shortest topic worth it: the property takes three bytes, and may lengthen the property length by one.
const TOPIC_BYTES_MIN: usize = 5;
/// Turns of the clock that a used alias survives.
const LIVES: u8 = 2;
/// Aliases that one look for a free place goes by.
const LOOKS: usize = 8;
/// Topics without an alias that are remembered, by their hashes.
const SEEN: usize = 64;

/// How a message's topic is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// In full.
    InFull,
    /// By its alias alone.
    Alias(NonZeroU16),
    /// In full, with an alias for the next time: [`Aliases::introduced`] is called once the packet is in the buffer.
    Introduces(NonZeroU16),
}

/// The table of one connection.
#[derive(Debug)]
pub struct Aliases {
    by_topic: AHashMap<Arc<str>, usize>,
    /// By alias - 1.
    places: Vec<Place>,
    max: usize,
    bytes: usize,
    /// The next place to be looked at.
    hand: usize,
    seen: Option<Box<[u64; SEEN]>>,
}

#[derive(Debug)]
struct Place {
    topic: Arc<str>,
    lives: u8,
}

impl Aliases {
    /// A table of at most `max` aliases, of which none is introduced yet.
    #[must_use]
    pub fn new(max: NonZeroU16) -> Self {
        Self {
            by_topic: AHashMap::new(),
            places: Vec::new(),
            max: usize::from(max.get()),
            bytes: 0,
            hand: 0,
            seen: None,
        }
    }

    /// How the next message to `topic` is written.
    pub fn write(&mut self, topic: &str) -> Written {
        if topic.len() < TOPIC_BYTES_MIN {
            return Written::InFull;
        }
        if let Some(&index) = self.by_topic.get(topic) {
            if let Some(place) = self.places.get_mut(index) {
                place.lives = LIVES;
            }
            return alias_of(index).map_or(Written::InFull, Written::Alias);
        }
        let free = self.places.len();
        let index = if free < self.max && self.bytes + topic.len() <= BYTES_MAX {
            Some(free)
        } else if self.was_seen(topic) {
            self.place_for(topic.len())
        } else {
            None
        };
        index.and_then(alias_of).map_or(Written::InFull, Written::Introduces)
    }

    /// The packet that introduces `alias` for `topic` is on its way: later ones may use it.
    pub fn introduced(&mut self, alias: NonZeroU16, topic: &str) {
        let index = usize::from(alias.get()) - 1;
        let topic: Arc<str> = topic.into();
        self.bytes += topic.len();
        if let Some(place) = self.places.get_mut(index) {
            self.bytes = self.bytes.saturating_sub(place.topic.len());
            self.by_topic.remove(&place.topic);
            *place = Place { topic: Arc::clone(&topic), lives: 1 };
        } else {
            self.places.push(Place { topic: Arc::clone(&topic), lives: 1 });
        }
        self.by_topic.insert(topic, index);
    }

    /// Whether `topic` was asked for shortly before; from now on it was.
    fn was_seen(&mut self, topic: &str) -> bool {
        // 0 is nothing.
        let hash = self.by_topic.hasher().hash_one(topic) | 1;
        let seen = self.seen.get_or_insert_with(|| Box::new([0; SEEN]));
        let at = usize::try_from(hash >> 32).unwrap_or_default() % SEEN;
        seen.get_mut(at).is_some_and(|slot| std::mem::replace(slot, hash) == hash)
    }

    /// A place whose topic was not used lately and leaves room for `bytes`.
    fn place_for(&mut self, bytes: usize) -> Option<usize> {
        for _ in 0..LOOKS.min(self.places.len()) {
            let index = self.hand % self.places.len();
            self.hand = index + 1;
            let place = self.places.get_mut(index)?;
            let fits = self.bytes - place.topic.len() + bytes <= BYTES_MAX;
            if place.lives == 0 && fits {
                return Some(index);
            }
            place.lives = place.lives.saturating_sub(1);
        }
        None
    }
}

fn alias_of(index: usize) -> Option<NonZeroU16> {
    u16::try_from(index + 1).ok().and_then(NonZeroU16::new)
}

#[cfg(test)]
mod tests {
    use super::{Aliases, BYTES_MAX, Written};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::num::NonZeroU16;

    fn table(max: u16) -> Aliases {
        Aliases::new(NonZeroU16::new(max).unwrap())
    }

    /// Sends to `topic`, as a connection with room does.
    fn send(table: &mut Aliases, topic: &str) -> Written {
        let written = table.write(topic);
        if let Written::Introduces(alias) = written {
            table.introduced(alias, topic);
        }
        written
    }

    fn is_introduction(written: Written) -> bool {
        matches!(written, Written::Introduces(_))
    }

    #[test]
    fn a_topic_is_introduced_once_and_then_stands_for_itself() {
        let mut table = table(2);
        assert_eq!(send(&mut table, "first/topic"), Written::Introduces(NonZeroU16::MIN));
        assert_eq!(send(&mut table, "first/topic"), Written::Alias(NonZeroU16::MIN));
        assert_eq!(send(&mut table, "abcd"), Written::InFull, "no byte is saved");
    }

    #[test]
    fn what_did_not_leave_introduces_nothing() {
        let mut table = table(1);
        assert!(is_introduction(table.write("first/topic")));
        assert!(is_introduction(table.write("first/topic")));
    }

    #[test]
    fn topics_that_never_come_again_take_no_place() {
        let mut table = table(4);
        let all = (0..10_000).map(|number| send(&mut table, &format!("once/{number}")));
        assert_eq!(all.filter(|written| is_introduction(*written)).count(), 4);
    }

    #[test]
    fn a_topic_that_comes_often_takes_the_place_of_one_that_does_not() {
        let mut table = table(2);
        send(&mut table, "idle/one");
        send(&mut table, "idle/two");
        let taken = (0..8).map(|_| send(&mut table, "busy/one")).collect::<Vec<_>>();
        assert!(matches!(taken.last(), Some(Written::Alias(_))), "{taken:?}");
    }

    #[test]
    fn topics_take_no_more_memory_than_they_may() {
        let mut table = table(64);
        for number in 0..200 {
            let topic = format!("{number:04}/{}", "x".repeat(1000));
            send(&mut table, &topic);
            send(&mut table, &topic);
        }
        assert!(table.bytes <= BYTES_MAX && table.places.len() <= 16, "{}", table.bytes);
        let long = "y".repeat(BYTES_MAX + 1);
        assert!((0..20).all(|_| send(&mut table, &long) == Written::InFull));
    }

    proptest! {
        /// Whoever reads the packets finds the topic that was meant, with no alias above the maximum.
        #[test]
        fn a_reader_finds_every_topic(
            max in 1..6u16,
            sent in prop::collection::vec((0..9usize, any::<bool>()), 0..200),
        ) {
            let mut table = table(max);
            let mut reader = BTreeMap::new();
            for (topic, leaves) in sent {
                let topic = format!("topic/{topic}");
                match table.write(&topic) {
                    Written::InFull => {}
                    Written::Alias(alias) => prop_assert_eq!(reader.get(&alias), Some(&topic)),
                    Written::Introduces(alias) => {
                        prop_assert!(alias.get() <= max);
                        if leaves {
                            table.introduced(alias, &topic);
                            reader.insert(alias, topic);
                        }
                    }
                }
            }
            let held: usize = table.places.iter().map(|place| place.topic.len()).sum();
            prop_assert_eq!((held, table.by_topic.len()), (table.bytes, table.places.len()));
        }
    }
}
