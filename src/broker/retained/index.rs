//! Topics with a retained message, in order of their levels. Part of `broker::retained`.
//!
//! One ordered map from whole topics to slots: no node a level, so that a topic takes the same memory however deep it
//! is, and nothing recurses. Topics are ordered level by level: `a`, `a/b`, `a.b`, for `/` counts as the lowest byte
//! of all. What stands below a topic is then one piece of the map, and a search with wildcards leaps over pieces that
//! cannot match instead of reading them. A search is bounded and goes on where it stopped: whoever replays a million
//! topics holds the index for a moment at a time, and a list of them never.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::topic::TopicFilter;

use super::slot::Slot;

/// Topics passed one by one on the way to the next that may match, before the map is searched for it.
const STEPS_MAX: usize = 4;
/// The byte behind `/` in the order of topics: a topic followed by it comes behind everything below that topic.
const BEHIND: u8 = 1;
/// The byte behind `$`.
const BEHIND_DOLLAR: u8 = b'$' + 1;

/// Every topic.
#[derive(Debug, Default)]
pub struct Index {
    slots: BTreeMap<Name, Arc<Slot>>,
}

/// How much one call of [`Index::search`] may do.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// Slots given back.
    pub found_max: usize,
    /// Topics looked at, matching or not.
    pub looked_max: usize,
}

impl Portion {
    /// No bound.
    pub const ALL: Self = Self { found_max: usize::MAX, looked_max: usize::MAX };
}

/// Where a search goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The least that was not looked at; `None` when nothing is left.
    from: Option<Vec<u8>>,
}

impl Cursor {
    /// Before the first topic that `filter` may match.
    #[must_use]
    pub fn start(filter: &TopicFilter) -> Self {
        let text = filter.filter();
        let wildcard = text.find(['+', '#']).unwrap_or(text.len());
        // Up to its level; the topic above is the first that `#` matches.
        let literal = text.as_bytes().get(..wildcard).unwrap_or_default();
        Self { from: Some(literal.strip_suffix(b"/").unwrap_or(literal).to_vec()) }
    }

    /// Behind `topic`.
    #[must_use]
    pub fn after(topic: &str) -> Self {
        Self { from: Some(with(topic.as_bytes(), b'/')) }
    }

    /// Whether everything was looked at.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.from.is_none()
    }
}

impl Index {
    /// The slot of `topic`.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<Arc<Slot>> {
        self.slots.get(&Place(topic.as_bytes()) as &dyn Path).cloned()
    }

    /// The slot of `topic`, made if there is none.
    pub fn get_or_insert(&mut self, vhost: &Arc<str>, topic: &str) -> Arc<Slot> {
        let slot = Slot::new(vhost, topic);
        Arc::clone(self.slots.entry(Name(Arc::clone(&slot.topic))).or_insert(slot))
    }

    /// Takes `slot` out if nothing is left of it and nobody else holds it.
    pub fn remove_empty(&mut self, slot: &Arc<Slot>) {
        let path = Place(slot.topic.as_bytes());
        let ours = self.slots.get(&path as &dyn Path).is_some_and(|own| Arc::ptr_eq(own, slot));
        // The index and the caller hold it; a third holder is a publish on its way.
        if ours && Arc::strong_count(slot) <= 2 && slot.is_empty() {
            self.slots.remove(&path as &dyn Path);
        }
    }

    /// The next slots whose topic `filter` matches, in the order of topics. Moves `cursor` on, to the end when there
    /// are no more.
    pub fn search(
        &self,
        filter: &TopicFilter,
        cursor: &mut Cursor,
        portion: Portion,
    ) -> Vec<Arc<Slot>> {
        let mut found = Vec::new();
        let mut looked = 0;
        while let Some(from) = cursor.from.take() {
            let start = Place(&from);
            let bounds = (Bound::Included(&start as &dyn Path), Bound::Unbounded);
            let mut target: Option<Vec<u8>> = None;
            let mut steps = 0;
            for (name, slot) in self.slots.range::<dyn Path, _>(bounds) {
                if let Some(least) = &target
                    && by_level(name.bytes(), least) == Ordering::Less
                {
                    steps += 1;
                    if steps > STEPS_MAX {
                        break;
                    }
                    continue;
                }
                (target, steps) = (None, 0);
                if found.len() >= portion.found_max || looked >= portion.looked_max {
                    cursor.from = Some(name.bytes().to_vec());
                    return found;
                }
                looked += 1;
                match look(filter.filter(), &name.0) {
                    Look::Matches => found.push(Arc::clone(slot)),
                    Look::GoesOnAt(least) => target = Some(least),
                    Look::Over => return found,
                }
            }
            // Without a step too many the map came to its end.
            cursor.from = target.filter(|_| steps > STEPS_MAX);
        }
        found
    }
}

/// What a filter says of a topic in order.
enum Look {
    Matches,
    /// Not this one; no topic before these bytes is matched.
    GoesOnAt(Vec<u8>),
    /// Neither this one nor any behind it.
    Over,
}

/// Whether `filter` matches `topic`, and if not, where the next that it may match can be.
fn look(filter: &str, topic: &str) -> Look {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        // A leading wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
        return Look::GoesOnAt(vec![BEHIND_DOLLAR]);
    }
    let bytes = topic.as_bytes();
    let before = |at: usize| bytes.get(..at).unwrap_or_default();
    let mut names = topic.split('/');
    // Where the level begins.
    let mut at = 0;
    for pattern in filter.split('/') {
        // `#` also matches the level above it (MQTT5-4.7.1.2).
        if pattern == "#" {
            return Look::Matches;
        }
        let Some(name) = names.next() else {
            let mut below = with(bytes, b'/');
            if pattern != "+" {
                below.extend_from_slice(pattern.as_bytes());
            }
            return Look::GoesOnAt(below);
        };
        if pattern != "+" {
            match name.cmp(pattern) {
                Ordering::Equal => {}
                Ordering::Less => {
                    return Look::GoesOnAt([before(at), pattern.as_bytes()].concat());
                }
                Ordering::Greater if at == 0 => return Look::Over,
                Ordering::Greater => return Look::GoesOnAt(with(before(at - 1), BEHIND)),
            }
        }
        at += name.len() + 1;
    }
    match names.next() {
        None => Look::Matches,
        Some(_) => Look::GoesOnAt(with(before(at - 1), BEHIND)),
    }
}

fn with(bytes: &[u8], last: u8) -> Vec<u8> {
    let mut longer = Vec::with_capacity(bytes.len() + 1);
    longer.extend_from_slice(bytes);
    longer.push(last);
    longer
}

/// The order of topics: byte by byte, `/` before every other. No topic contains the byte 0 [MQTT-4.7.3-2].
fn by_level(one: &[u8], other: &[u8]) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    // Neighbours begin alike: eight bytes at a time as far as they do.
    let ((ones, _), (others, _)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let alike = 8 * ones.iter().zip(others).take_while(|(a, b)| a == b).count();
    let rest = |bytes| <[u8]>::get(bytes, alike..).unwrap_or_default();
    let differing = rest(one).iter().zip(rest(other)).find(|(a, b)| a != b);
    match differing {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => one.len().cmp(&other.len()),
    }
}

/// A place in the order of topics: a topic, or somewhere between two.
trait Path {
    fn bytes(&self) -> &[u8];
}

impl PartialEq for dyn Path + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for dyn Path + '_ {}

impl PartialOrd for dyn Path + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Path + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.bytes(), other.bytes())
    }
}

/// A topic as key of the map.
#[derive(Debug, PartialEq, Eq)]
struct Name(Arc<str>);

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.bytes(), other.bytes())
    }
}

impl Path for Name {
    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'a> Borrow<dyn Path + 'a> for Name {
    fn borrow(&self) -> &(dyn Path + 'a) {
        self
    }
}

/// Bytes to search by.
struct Place<'a>(&'a [u8]);

impl Path for Place<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::{Cursor, Index, Portion, by_level};
    use crate::model::topic::{TopicFilter, matches};

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ab]{1,2}",
            1 => Just(String::new()),
            1 => Just("$a".to_owned()),
            1 => Just("a.".to_owned()),
            1 => Just("\u{1}".to_owned()),
            1 => Just("é".to_owned()),
        ]
    }

    fn topic() -> impl Strategy<Value = String> {
        vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("empty", |t| !t.is_empty())
    }

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let pattern = prop_oneof![2 => level(), 2 => Just("+".to_owned())];
        (vec(pattern, 0..4), any::<bool>()).prop_filter_map("empty", |(mut levels, rest)| {
            if rest {
                levels.push("#".to_owned());
            }
            TopicFilter::parse(&levels.join("/")).ok()
        })
    }

    fn index(topics: impl IntoIterator<Item = String>) -> Index {
        let mut index = Index::default();
        let vhost: Arc<str> = "/".into();
        for topic in topics {
            index.get_or_insert(&vhost, &topic);
        }
        index
    }

    fn found(index: &Index, filter: &TopicFilter, portion: Portion) -> Vec<String> {
        let mut cursor = Cursor::start(filter);
        let mut found = Vec::new();
        let mut calls = 0;
        while !cursor.is_over() {
            let slots = index.search(filter, &mut cursor, portion);
            assert!(slots.len() <= portion.found_max);
            found.extend(slots.iter().map(|slot| slot.topic.to_string()));
            calls += 1;
            assert!(calls < 10_000, "a search comes to its end");
        }
        found
    }

    proptest! {
        #[test]
        fn a_search_agrees_with_a_list_in_whatever_portions(
            topics in btree_set(topic(), 0..60),
            filter in filter(),
            found_max in 1_usize..5,
            looked_max in 1_usize..5,
        ) {
            let mut expected: Vec<String> =
                topics.iter().filter(|topic| matches(filter.filter(), topic)).cloned().collect();
            expected.sort_by(|a, b| a.split('/').cmp(b.split('/')));
            let index = index(topics);
            prop_assert_eq!(&found(&index, &filter, Portion::ALL), &expected);
            prop_assert_eq!(&found(&index, &filter, Portion { found_max, looked_max }), &expected);
            for (at, topic) in expected.iter().enumerate() {
                let mut cursor = Cursor::after(topic);
                let rest = index.search(&filter, &mut cursor, Portion::ALL);
                let rest: Vec<String> = rest.iter().map(|slot| slot.topic.to_string()).collect();
                prop_assert_eq!(&rest[..], &expected[at + 1..], "after {}", topic);
            }
        }

        #[test]
        fn topics_are_ordered_level_by_level(one in topic(), other in topic()) {
            let expected = one.split('/').cmp(other.split('/'));
            prop_assert_eq!(by_level(one.as_bytes(), other.as_bytes()), expected);
        }
    }

    /// What cannot match is leapt over, not read.
    #[test]
    fn a_search_looks_at_few_topics_besides_those_that_match() {
        let topics = (0..300).flat_map(|device| {
            (0..30).map(move |sensor| format!("site/{device:03}/s{sensor:02}/value"))
        });
        let index = index(topics.chain((0..3000).map(|n| format!("other/{n}"))));
        for (text, matching) in [
            ("site/+/s07/value", 300),
            ("site/123/+/value", 30),
            ("site/123/#", 30),
            ("+/123/s07/value", 1),
            ("other/7", 1),
            ("site/+/none/value", 0),
            ("nothing/#", 0),
            ("+/+/+/value/+", 0),
        ] {
            let filter = TopicFilter::parse(text).unwrap();
            assert_eq!(found(&index, &filter, Portion::ALL).len(), matching, "{text}");
            // Each device costs at most a look before, at and behind what is wanted there.
            let looked_max = if text.starts_with("+/+/+") { 12_100 } else { 950 };
            let mut cursor = Cursor::start(&filter);
            let portion = Portion { found_max: usize::MAX, looked_max };
            index.search(&filter, &mut cursor, portion);
            assert!(cursor.is_over(), "{text}");
        }
    }

    #[test]
    fn a_topic_of_65_535_levels_is_found_and_removed_again() {
        let slashes = "/".repeat(65_535);
        let letters = "a/".repeat(32_767) + "a";
        let mut index = index([slashes.clone(), letters.clone(), "a".to_owned()]);
        let filter = |text: &str| TopicFilter::parse(text).unwrap();
        assert_eq!(found(&index, &filter("#"), Portion::ALL).len(), 3);
        assert_eq!(found(&index, &filter("a/#"), Portion::ALL).len(), 2);
        assert_eq!(found(&index, &filter(&letters), Portion::ALL), std::slice::from_ref(&letters));
        let wild = "+/".repeat(32_767) + "+";
        assert_eq!(found(&index, &filter(&wild), Portion::ALL), std::slice::from_ref(&letters));
        for topic in [&slashes, &letters] {
            let slot = index.get(topic).unwrap();
            index.remove_empty(&slot);
        }
        assert_eq!(found(&index, &filter("#"), Portion::ALL), ["a"]);
    }
}
