//! MQTT topic names and filters: validation and matching (MQTT5-4.7, MQTT5-4.8). Part of `model`.
//!
//! The broker's own addresses have this form too: a topic is one to 65,535 bytes of UTF-8 split into levels
//! by `/`, where every level may be empty. A filter is parsed once, at SUBSCRIBE or at configuration load,
//! and is valid from then on.

use std::fmt;
use std::str::Split;
use std::sync::Arc;

/// The most bytes a topic name or filter may have [MQTT-4.7.3-3].
pub const TOPIC_BYTES_MAX: usize = 65_535;

const SHARE_PREFIX: &str = "$share/";

/// Why a topic name or filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No character at all [MQTT-4.7.3-1].
    #[error("topic is empty")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("topic is longer than 65,535 bytes")]
    TooLong,
    /// Not UTF-8, surrogates included [MQTT-1.5.4-1].
    #[error("topic is not UTF-8")]
    NotUtf8,
    /// Contains U+0000 [MQTT-4.7.3-2].
    #[error("topic contains U+0000")]
    Nul,
    /// A topic name contains `+` or `#` [MQTT-4.7.1-1].
    #[error("topic name contains a wildcard")]
    WildcardInName,
    /// `+` that does not fill its level, or `#` that does not fill the last one [MQTT-4.7.1-1, 4.7.1-2].
    #[error("wildcard does not stand alone in its level, or # is not last")]
    MisplacedWildcard,
    /// `$share/` without a group, with a wildcard in it, or without a filter [MQTT-4.8.2-1, 4.8.2-2].
    #[error("shared subscription without a group name or filter")]
    Share,
}

/// Checks a topic name as it stands in a PUBLISH and gives it back as text.
///
/// # Errors
/// Empty, too long, not UTF-8, U+0000 or a wildcard; when several apply, the first of this list.
#[inline]
pub fn check_topic_name(bytes: &[u8]) -> Result<&str, TopicError> {
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    let name = std::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    // Without an early exit the compiler turns this into vector instructions; the usual name is valid.
    if bytes.iter().fold(false, |bad, &b| bad | (b == 0) | (b == b'+') | (b == b'#')) {
        let nul = bytes.contains(&0);
        return Err(if nul { TopicError::Nul } else { TopicError::WildcardInName });
    }
    Ok(name)
}

/// Where mosquitto's bridges say whether they are connected, in the will of each among others.
const BRIDGE_STATES: &str = "$SYS/broker/connection/";

/// Whether `topic` is one that the broker speaks of itself under, and nobody else: `$SYS` and what is below, but what
/// bridges say of themselves. A bridge that may not say it is refused as a whole, for its will.
#[must_use]
pub fn is_system(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && !topic.starts_with(BRIDGE_STATES)
}

/// The levels of a topic name or of the text of a filter; always at least one.
pub fn levels(text: &str) -> Split<'_, char> {
    text.split('/')
}

/// A valid topic filter, shared or not. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Where the filter proper begins in `text`; 0 unless the subscription is shared.
    filter_at: u32,
}

impl TopicFilter {
    /// Parses `text`; `$share/{group}/{filter}` is taken apart.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        if text.as_bytes().contains(&0) {
            return Err(TopicError::Nul);
        }
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            check_wildcards(text)?;
            return Ok(Self { text: text.into(), filter_at: 0 });
        };
        let (group, filter) = shared.split_once('/').ok_or(TopicError::Share)?;
        if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
            return Err(TopicError::Share);
        }
        check_wildcards(filter)?;
        let filter_at =
            u32::try_from(text.len() - filter.len()).map_err(|_| TopicError::TooLong)?;
        Ok(Self { text: text.into(), filter_at })
    }

    /// As subscribed, with `$share/{group}/` if there was one. Two subscriptions of a session are the same
    /// when this is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What topics are matched against: without `$share/{group}/`.
    #[must_use]
    pub fn filter(&self) -> &str {
        self.text.get(self.filter_at as usize..).unwrap_or_default()
    }

    /// The group of a shared subscription.
    #[must_use]
    pub fn share_group(&self) -> Option<&str> {
        let end = (self.filter_at as usize).checked_sub(1)?;
        self.text.get(SHARE_PREFIX.len()..end)
    }

    /// The levels of [`Self::filter`].
    pub fn levels(&self) -> Split<'_, char> {
        levels(self.filter())
    }

    /// Whether `+` or `#` occurs: if not, the filter matches one topic only.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.filter().contains(['+', '#'])
    }

    /// Whether `topic`, a valid topic name, is matched.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        matches(self.filter(), topic)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Whether `filter` (valid, without `$share`) matches `topic` (a valid name): `+` is exactly one level, `#`
/// the level before it and everything below (MQTT5-4.7.1.2); neither, when first, matches a topic that
/// begins with `$` [MQTT-4.7.2-1].
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = levels(topic);
    for pattern in levels(filter) {
        if pattern == "#" {
            return true;
        }
        let Some(name) = names.next() else { return false };
        if pattern != "+" && pattern != name {
            return false;
        }
    }
    names.next().is_none()
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut rest = levels(filter).peekable();
    while let Some(level) = rest.next() {
        let wild = level.contains(['+', '#']);
        let placed = level == "+" || (level == "#" && rest.peek().is_none());
        if wild && !placed {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{TOPIC_BYTES_MAX, TopicError, TopicFilter, check_topic_name, matches};
    use proptest::prelude::*;

    #[test]
    fn topic_names_are_checked_in_the_documented_order() {
        assert_eq!(check_topic_name(b""), Err(TopicError::Empty)); // [MQTT-4.7.3-1]
        assert_eq!(check_topic_name(b"a/\0"), Err(TopicError::Nul)); // [MQTT-4.7.3-2]
        assert_eq!(check_topic_name(b"a/+"), Err(TopicError::WildcardInName)); // [MQTT-4.7.1-1]
        assert_eq!(check_topic_name(b"a#"), Err(TopicError::WildcardInName));
        assert_eq!(check_topic_name(b"\xED\xA0\x80"), Err(TopicError::NotUtf8)); // [MQTT-1.5.4-1]
        assert_eq!(check_topic_name("/".as_bytes()), Ok("/"));
        assert_eq!(check_topic_name("été/x".as_bytes()), Ok("été/x"));
        assert!(check_topic_name(&[b'a'; TOPIC_BYTES_MAX]).is_ok()); // [MQTT-4.7.3-3]
        assert_eq!(check_topic_name(&[b'a'; TOPIC_BYTES_MAX + 1]), Err(TopicError::TooLong));
    }

    /// U+FEFF is no mark to be stripped [MQTT-1.5.4-3]; control characters and non-characters are taken as any other
    /// (MQTT5-1.5.4 leaves that to the receiver): devices send them, and no harm comes of it.
    #[test]
    fn every_character_but_nul_is_a_character_of_topics() {
        for text in [
            "\u{feff}a",
            "a\u{1}\u{1f}\u{7f}\u{9f}",
            "\u{fffe}\u{ffff}\u{1fffe}",
            "\u{10ffff}",
            "a\tb c\n",
        ] {
            assert_eq!(check_topic_name(text.as_bytes()), Ok(text));
            assert!(TopicFilter::parse(text).unwrap().matches(text));
            assert!(
                !TopicFilter::parse(text).unwrap().matches(text.trim_start_matches('\u{feff}'))
                    || !text.starts_with('\u{feff}')
            );
        }
    }

    #[test]
    fn matching_takes_as_many_levels_as_there_can_be() {
        let deep = "a/".repeat(32_767) + "a";
        for pattern in [deep.clone(), "+/".repeat(32_767) + "+", "+/".repeat(32_767) + "#"] {
            assert!(TopicFilter::parse(&pattern).unwrap().matches(&deep));
        }
        assert!(!TopicFilter::parse(&("+/".repeat(32_766) + "+")).unwrap().matches(&deep));
        assert!(TopicFilter::parse(&"/".repeat(65_535)).unwrap().matches(&"/".repeat(65_535)));
    }

    #[test]
    fn wildcards_fill_their_level() {
        for good in ["#", "+", "+/", "/+", "+/+/#", "a/+/b", "a/#", "//#", "$SYS/#", "$share"] {
            assert!(TopicFilter::parse(good).is_ok(), "{good}");
        }
        for bad in ["a#", "#/a", "a/#/b", "a+/b", "a/+b", "++", "+#", "##"] {
            assert_eq!(TopicFilter::parse(bad), Err(TopicError::MisplacedWildcard), "{bad}");
        }
        assert_eq!(TopicFilter::parse(""), Err(TopicError::Empty));
        assert_eq!(TopicFilter::parse("a\0"), Err(TopicError::Nul));
        assert_eq!(TopicFilter::parse(&"a".repeat(65_536)), Err(TopicError::TooLong));
    }

    /// [MQTT5-4.8.2-1] [MQTT5-4.8.2-2]
    #[test]
    fn shared_filters_are_taken_apart() {
        let shared = TopicFilter::parse("$share/consumers/sport/+/#").unwrap();
        assert_eq!(shared.share_group(), Some("consumers"));
        assert_eq!(shared.filter(), "sport/+/#");
        assert_eq!(shared.as_str(), "$share/consumers/sport/+/#");
        assert!(shared.matches("sport/tennis"));
        let root = TopicFilter::parse("$share/g//finance").unwrap();
        assert_eq!(root.filter(), "/finance");
        let plain = TopicFilter::parse("share/g/t").unwrap();
        assert_eq!((plain.share_group(), plain.filter()), (None, "share/g/t"));
        for bad in ["$share/", "$share/g", "$share/g/", "$share//t", "$share/+/t", "$share/a#/t"] {
            assert_eq!(TopicFilter::parse(bad), Err(TopicError::Share), "{bad}");
        }
        assert_eq!(TopicFilter::parse("$share/g/a#"), Err(TopicError::MisplacedWildcard));
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false), // [MQTT-4.7.2-1]
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("été/#", "été/x", true),
            ("ACCOUNTS", "Accounts", false), // [MQTT-4.7.3-4]
            ("a", "a/", false),
            ("a//b", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    fn naive(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", f @ ..], [_, t @ ..]) => naive(f, t),
            ([a, f @ ..], [b, t @ ..]) => a == b && naive(f, t),
            _ => false,
        }
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[ab]{1,2}", Just("$a".to_owned()), Just("é".to_owned())]
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..6)
            .prop_map(|l| l.join("/"))
            .prop_filter("not empty", |t| !t.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let pattern = prop_oneof![3 => level(), 2 => Just("+".to_owned())];
        (prop::collection::vec(pattern, 0..5), any::<bool>())
            .prop_map(|(mut levels, multi)| {
                if multi {
                    levels.push("#".to_owned());
                }
                levels.join("/")
            })
            .prop_filter("not empty", |f| !f.is_empty())
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_naive_matcher(f in filter(), t in topic()) {
            let parsed = TopicFilter::parse(&f).unwrap();
            let (fl, tl): (Vec<_>, Vec<_>) = (f.split('/').collect(), t.split('/').collect());
            let hidden = t.starts_with('$') && (fl[0] == "+" || fl[0] == "#");
            prop_assert_eq!(parsed.matches(&t), !hidden && naive(&fl, &tl));
        }

        #[test]
        fn every_topic_matches_itself_as_a_filter(t in topic()) {
            prop_assert!(check_topic_name(t.as_bytes()).is_ok());
            prop_assert!(TopicFilter::parse(&t).unwrap().matches(&t));
        }

        #[test]
        fn arbitrary_text_never_panics(f in "[$/#+a-b\u{0}é]{0,12}", t in ".{0,12}") {
            if let Ok(filter) = TopicFilter::parse(&f) {
                let again = filter.share_group().map_or(String::new(), |g| format!("$share/{g}/")) + filter.filter();
                prop_assert_eq!(again.as_str(), filter.as_str());
                std::hint::black_box(filter.matches(&t));
            }
        }
    }
}
