//! MQTT topics as AMQP routing keys and back, filters as binding patterns and back. Part of `model`; pure.
//!
//! Levels become words: `/` and `.` **swap**, so that a topic with dots in a level comes back as it was
//! (`plant.1/temp` ↔ `plant/1.temp`). In a topic a level that is just `*` becomes the word `%2A`, for a word
//! `*` is a wildcard in patterns, and `%` becomes `%25`. The law, held by a property test:
//!
//! > `to_topic(to_key(t)) == t` for every topic `t` that does not begin with `$` and whose key fits a short
//! > string of 255 bytes.
//!
//! Topics that begin with `$` have a key too, for routes that name them; but no key leads into them: a client
//! that may publish to an exchange does not reach `$SYS`, and `#` of a binding does not mean them. Keys that
//! are no topic's (a `%` that escapes nothing, a word `*`, `+`, `#`, NUL, a leading `$`, the empty key) are
//! errors of [`to_topic`], which callers dead-letter and count, or go through [`to_topic_escaped`] where a
//! route asks for it.
//!
//! Patterns: `+` ↔ the word `*`, a final `#` ↔ a final `#`, both of which match the level before them too.

use std::borrow::Cow;

use crate::model::topic::{TopicError, TopicFilter, levels};

/// The most bytes of a routing or binding key: a short string's.
pub const KEY_BYTES_MAX: usize = 255;

/// Why a topic has no key, or a key no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key of this topic or filter is longer than [`KEY_BYTES_MAX`].
    #[error("routing key is longer than 255 bytes")]
    TooLong,
    /// No topic is empty [MQTT-4.7.3-1].
    #[error("routing key is empty")]
    Empty,
    /// A `%` that is not part of `%25` or of the word `%2A`.
    #[error("routing key has a % that escapes nothing")]
    Percent,
    /// The word `*`; as a level of a topic it is `%2A`.
    #[error("routing key has the word *")]
    Star,
    /// `+` or `#`, which no topic name may contain [MQTT-4.7.1-1].
    #[error("routing key has a + or #")]
    Wildcard,
    /// U+0000 [MQTT-4.7.3-2].
    #[error("routing key has a NUL")]
    Nul,
    /// A leading `$`: the broker's own topics.
    #[error("routing key begins with $")]
    Dollar,
}

/// Why a binding pattern has no topic filter that means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `#` stands before the last word.
    #[error("binding has a # that is not its last word")]
    MisplacedHash,
    /// It would read as a shared subscription (`$share/…`).
    #[error("binding begins with $share")]
    Share,
    /// A word that is no level of a topic.
    #[error("binding: {0}")]
    Word(#[from] KeyError),
    /// Not a filter for another reason.
    #[error("binding: {0}")]
    Filter(#[from] TopicError),
}

/// The routing key of `topic`, a valid topic name.
///
/// # Errors
/// [`KeyError::TooLong`].
pub fn to_key(topic: &str) -> Result<Cow<'_, str>, KeyError> {
    if topic.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    if topic.contains(['%', '*']) {
        let key = words_of(levels(topic).map(|level| escape_level(level)));
        return if key.len() > KEY_BYTES_MAX { Err(KeyError::TooLong) } else { Ok(key.into()) };
    }
    Ok(swap_all(topic))
}

/// Appends the routing key of `topic` to `out`, which stays as it was on an error: the hot path.
///
/// # Errors
/// As [`to_key`].
pub fn append_key(topic: &str, out: &mut Vec<u8>) -> Result<(), KeyError> {
    let simple = topic.len() <= KEY_BYTES_MAX
        && !topic.bytes().fold(false, |special, byte| special | matches!(byte, b'%' | b'*'));
    if simple {
        out.extend(topic.bytes().map(swap_byte));
    } else {
        out.extend_from_slice(to_key(topic)?.as_bytes());
    }
    Ok(())
}

/// The topic that `key` is the routing key of.
///
/// # Errors
/// See [`KeyError`]; what it gives is a valid topic name that does not begin with `$`.
pub fn to_topic(key: &str) -> Result<Cow<'_, str>, KeyError> {
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    if key.starts_with('$') {
        return Err(KeyError::Dollar);
    }
    if !key.contains(['%', '*', '+', '#', '\0']) {
        return Ok(swap_all(key));
    }
    let mut topic = String::with_capacity(key.len());
    for (index, word) in key.split('.').enumerate() {
        if index > 0 {
            topic.push('/');
        }
        level_of(word, &mut topic)?;
    }
    Ok(topic.into())
}

/// As [`to_topic`], for every key: one that is no topic's is taken literally and what may not stand in a
/// topic is percent-escaped (`+` → `%2B`, `%` → `%25`, the word `*` → `%2A`, a leading `$` → `%24`); the empty
/// key becomes `%`. No two such keys give one topic, but it may be one that a client can publish to as well.
#[must_use]
pub fn to_topic_escaped(key: &str) -> Cow<'_, str> {
    if let Ok(topic) = to_topic(key) {
        return topic;
    }
    if key.is_empty() {
        return "%".into();
    }
    let mut topic = String::with_capacity(key.len() + 8);
    for (index, word) in key.split('.').enumerate() {
        if index > 0 {
            topic.push('/');
        }
        if word == "*" {
            topic.push_str("%2A");
            continue;
        }
        for (at, character) in word.char_indices() {
            match character {
                '%' => topic.push_str("%25"),
                '+' => topic.push_str("%2B"),
                '#' => topic.push_str("%23"),
                '\0' => topic.push_str("%00"),
                '$' if index == 0 && at == 0 => topic.push_str("%24"),
                other => topic.push(swap(other)),
            }
        }
    }
    topic.into()
}

/// The binding pattern that matches the keys of exactly the topics that `filter` matches, `$share/{group}/`
/// apart; `$`-topics apart where the filter begins with a wildcard.
///
/// # Errors
/// [`KeyError::TooLong`].
pub fn binding_of(filter: &TopicFilter) -> Result<String, KeyError> {
    let binding = words_of(filter.levels().map(|level| match level {
        "+" => "*".into(),
        "#" => "#".into(),
        level => escape_level(level),
    }));
    if binding.len() > KEY_BYTES_MAX { Err(KeyError::TooLong) } else { Ok(binding) }
}

/// The topic filter that matches the topics of exactly the keys that `binding` matches. A first word that
/// begins with `$` is allowed: a filter may name such topics.
///
/// # Errors
/// See [`PatternError`]: there is none.
pub fn filter_of(binding: &str) -> Result<TopicFilter, PatternError> {
    if binding.is_empty() {
        return Err(KeyError::Empty.into());
    }
    if binding.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong.into());
    }
    let mut text = String::with_capacity(binding.len());
    let mut words = binding.split('.').peekable();
    while let Some(word) = words.next() {
        match word {
            "*" => text.push('+'),
            "#" if words.peek().is_some() => return Err(PatternError::MisplacedHash),
            "#" => text.push('#'),
            word => level_of(word, &mut text)?,
        }
        if words.peek().is_some() {
            text.push('/');
        }
    }
    plain_filter(&text)
}

/// A filter that matches every topic whose key `binding` matches, and as few others as a filter can: for
/// access checks of bindings that [`filter_of`] has no answer for. From the first `#` on it is `#`; a word
/// that is no level of a topic is `+`. As a filter, and as the binding, it means no `$`-topics unless it
/// names them.
///
/// # Errors
/// [`PatternError::Share`]: no plain filter names such topics.
pub fn over_approximation(binding: &str) -> Result<TopicFilter, PatternError> {
    let mut text = String::with_capacity(binding.len() + 1);
    let mut words = if binding.is_empty() { "#" } else { binding }.split('.').peekable();
    while let Some(word) = words.next() {
        let from = text.len();
        match word {
            "#" => {
                text.push('#');
                break;
            }
            "*" => text.push('+'),
            word => {
                if level_of(word, &mut text).is_err() {
                    text.truncate(from);
                    text.push('+');
                }
            }
        }
        if words.peek().is_some() {
            text.push('/');
        }
    }
    plain_filter(&text)
}

fn plain_filter(text: &str) -> Result<TopicFilter, PatternError> {
    match TopicFilter::parse(text) {
        Ok(filter) if filter.share_group().is_some() => Err(PatternError::Share),
        Err(TopicError::Share) => Err(PatternError::Share),
        other => Ok(other?),
    }
}

fn words_of<'a>(words: impl Iterator<Item = Cow<'a, str>>) -> String {
    let mut key = String::new();
    for (index, word) in words.enumerate() {
        if index > 0 {
            key.push('.');
        }
        key.push_str(&word);
    }
    key
}

/// One level as a word.
fn escape_level(level: &str) -> Cow<'_, str> {
    if level == "*" {
        return "%2A".into();
    }
    if !level.contains(['%', '.']) {
        return level.into();
    }
    level.replace('%', "%25").replace('.', "/").into()
}

/// Appends the level that `word` stands for.
fn level_of(word: &str, out: &mut String) -> Result<(), KeyError> {
    match word {
        "*" => return Err(KeyError::Star),
        "%2A" => {
            out.push('*');
            return Ok(());
        }
        _ => {}
    }
    let mut rest = word.chars();
    while let Some(character) = rest.next() {
        match character {
            '%' if rest.as_str().starts_with("25") => {
                out.push('%');
                rest.nth(1);
            }
            '%' => return Err(KeyError::Percent),
            '+' | '#' => return Err(KeyError::Wildcard),
            '\0' => return Err(KeyError::Nul),
            other => out.push(swap(other)),
        }
    }
    Ok(())
}

fn swap_all(text: &str) -> Cow<'_, str> {
    if text.contains(['/', '.']) {
        text.chars().map(swap).collect::<String>().into()
    } else {
        text.into()
    }
}

fn swap(character: char) -> char {
    match character {
        '/' => '.',
        '.' => '/',
        other => other,
    }
}

fn swap_byte(byte: u8) -> u8 {
    match byte {
        b'/' => b'.',
        b'.' => b'/',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        KEY_BYTES_MAX, KeyError, PatternError, append_key, binding_of, filter_of,
        over_approximation, to_key, to_topic, to_topic_escaped,
    };
    use crate::model::topic::{TopicFilter, check_topic_name};

    #[test]
    fn levels_and_words_swap_their_separators() {
        for (topic, key) in [
            ("a/b/c", "a.b.c"),
            ("plant.1/temp", "plant/1.temp"),
            ("a", "a"),
            ("/", "."),
            ("a//b/", "a..b."),
            (".", "/"),
            ("a/*/b", "a.%2A.b"),
            ("*", "%2A"),
            ("a*", "a*"),
            ("**", "**"),
            ("50%", "50%25"),
            ("%2A", "%252A"),
            ("*.x", "*/x"),
            ("été/x", "été.x"),
            ("a$", "a$"),
        ] {
            assert_eq!(to_key(topic).as_deref(), Ok(key));
            assert_eq!(to_topic(key).as_deref(), Ok(topic));
        }
    }

    #[test]
    fn keys_of_no_topic_are_refused_and_can_be_escaped() {
        for (key, why, escaped) in [
            ("", KeyError::Empty, "%"),
            ("50%", KeyError::Percent, "50%25"),
            ("a.%2A%25", KeyError::Percent, "a/%252A%2525"),
            ("%2a", KeyError::Percent, "%252a"),
            ("a%2A", KeyError::Percent, "a%252A"),
            ("a.*", KeyError::Star, "a/%2A"),
            ("a+b", KeyError::Wildcard, "a%2Bb"),
            ("a.#", KeyError::Wildcard, "a/%23"),
            ("a\0", KeyError::Nul, "a%00"),
            ("$SYS.x", KeyError::Dollar, "%24SYS/x"),
            ("%.a/b", KeyError::Percent, "%25/a.b"),
        ] {
            assert_eq!(to_topic(key), Err(why), "{key}");
            assert_eq!(to_topic_escaped(key), escaped, "{key}");
        }
        assert_eq!(to_topic_escaped("a.%2A"), "a/*");
        assert_eq!(to_topic(&"a".repeat(256)), Err(KeyError::TooLong));
    }

    #[test]
    fn dollar_topics_have_keys_that_do_not_lead_back() {
        assert_eq!(to_key("$SYS/x").as_deref(), Ok("$SYS.x"));
        assert_eq!(to_topic("$SYS.x"), Err(KeyError::Dollar));
        assert_eq!(filter_of("$SYS.#").unwrap().as_str(), "$SYS/#");
    }

    #[test]
    fn a_key_has_255_bytes_at_most() {
        assert!(to_key(&"a".repeat(255)).is_ok());
        for long in ["a".repeat(256), "%".repeat(86), format!("{}*", "*/".repeat(64))] {
            assert_eq!(to_key(&long), Err(KeyError::TooLong));
            let mut out = vec![1];
            assert_eq!(append_key(&long, &mut out), Err(KeyError::TooLong));
            assert_eq!(out, [1]);
            assert_eq!(binding_of(&TopicFilter::parse(&long).unwrap()), Err(KeyError::TooLong));
        }
    }

    #[test]
    fn patterns_without_a_filter_are_refused() {
        for (binding, why) in [
            ("", PatternError::Word(KeyError::Empty)),
            ("a.#.b", PatternError::MisplacedHash),
            ("#.#", PatternError::MisplacedHash),
            ("a#", PatternError::Word(KeyError::Wildcard)),
            ("+", PatternError::Word(KeyError::Wildcard)),
            ("a.%", PatternError::Word(KeyError::Percent)),
            ("a.\0", PatternError::Word(KeyError::Nul)),
            ("$share.g.a", PatternError::Share),
            ("$share.g", PatternError::Share),
        ] {
            assert_eq!(filter_of(binding), Err(why), "{binding}");
        }
        assert_eq!(filter_of("a*.%2A.*.#").unwrap().as_str(), "a*/*/+/#");
        assert!(filter_of(&"a".repeat(256)).is_err());
    }

    #[test]
    fn the_smallest_covering_filter_is_found() {
        for (binding, filter) in [
            ("a.#.b", "a/#"),
            ("#.b", "#"),
            ("a.*.b", "a/+/b"),
            ("a.b+.c", "a/+/c"),
            ("a.%", "a/+"),
            ("", "#"),
            ("a..b", "a//b"),
            ("$SYS.#.x", "$SYS/#"),
        ] {
            assert_eq!(over_approximation(binding).unwrap().as_str(), filter);
        }
        assert_eq!(over_approximation("$share.g.a"), Err(PatternError::Share));
    }

    /// Topic exchange matching, by the words of AMQP 3.1.3.3: zero words in the empty key.
    fn binding_matches(binding: &str, key: &str) -> bool {
        fn words(key: &str) -> Vec<&str> {
            if key.is_empty() { Vec::new() } else { key.split('.').collect() }
        }
        fn walk(pattern: &[&str], key: &[&str]) -> bool {
            match (pattern, key) {
                ([], []) => true,
                (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| walk(rest, &key[skipped..])),
                (["*", rest @ ..], [_, key @ ..]) => walk(rest, key),
                ([word, rest @ ..], [own, key @ ..]) => word == own && walk(rest, key),
                _ => false,
            }
        }
        walk(&words(binding), &words(key))
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "[ab*%.$2A5é]{1,4}",
            Just("*".to_owned()),
            Just("%2A".to_owned()),
            Just("%25".to_owned()),
        ]
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..6)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic that crosses", |topic| {
                !topic.is_empty() && !topic.starts_with('$')
            })
    }

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let pattern = prop_oneof![2 => level(), 2 => Just("+".to_owned())];
        (prop::collection::vec(pattern, 0..5), any::<bool>())
            .prop_map(|(mut levels, multi)| {
                if multi {
                    levels.push("#".to_owned());
                }
                levels.join("/")
            })
            .prop_filter_map("a filter", |text| TopicFilter::parse(&text).ok())
    }

    fn any_key() -> impl Strategy<Value = String> {
        prop_oneof!["[ab.*%#+$/2A5\u{0}é]{0,12}", ".{0,40}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn topics_come_back_from_their_keys(topic in topic()) {
            let key = to_key(&topic).unwrap();
            prop_assert_eq!(to_topic(&key), Ok(topic.as_str().into()));
            prop_assert_eq!(to_topic_escaped(&key), topic.as_str());
            let mut appended = Vec::new();
            append_key(&topic, &mut appended).unwrap();
            prop_assert_eq!(appended, key.as_bytes());
        }

        #[test]
        fn any_topic_that_fits_comes_back(topic in ".{1,300}") {
            let valid = check_topic_name(topic.as_bytes()).is_ok() && !topic.starts_with('$');
            if let (true, Ok(key)) = (valid, to_key(&topic)) {
                prop_assert!(key.len() <= KEY_BYTES_MAX);
                prop_assert_eq!(to_topic(&key), Ok(topic.as_str().into()));
            }
        }

        #[test]
        fn keys_come_back_from_their_topics(key in any_key()) {
            if let Ok(topic) = to_topic(&key) {
                prop_assert!(check_topic_name(topic.as_bytes()).is_ok() && !topic.starts_with('$'));
                prop_assert_eq!(to_key(&topic), Ok(key.as_str().into()));
            }
        }

        #[test]
        fn escaped_keys_are_topics_and_stay_apart(one in any_key(), other in any_key()) {
            let (first, second) = (to_topic_escaped(&one), to_topic_escaped(&other));
            prop_assert!(check_topic_name(first.as_bytes()).is_ok() && !first.starts_with('$'));
            if one != other && to_topic(&one).is_err() && to_topic(&other).is_err() {
                prop_assert_ne!(first, second);
            }
        }

        #[test]
        fn filters_come_back_from_their_bindings(filter in filter()) {
            let binding = binding_of(&filter).unwrap();
            if filter.share_group().is_none() {
                prop_assert_eq!(filter_of(&binding), Ok(filter.clone()));
                prop_assert_eq!(over_approximation(&binding), Ok(filter));
            }
        }

        #[test]
        fn a_filter_and_its_binding_match_the_same(filter in filter(), topic in topic()) {
            let (binding, key) = (binding_of(&filter).unwrap(), to_key(&topic).unwrap());
            prop_assert_eq!(filter.matches(&topic), binding_matches(&binding, &key));
        }

        #[test]
        fn the_covering_filter_covers(binding in "[ab*#.%+]{0,10}", topic in topic()) {
            let key = to_key(&topic).unwrap();
            if binding_matches(&binding, &key) {
                prop_assert!(over_approximation(&binding).unwrap().matches(&topic));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any_key()) {
            std::hint::black_box((filter_of(&text).ok(), over_approximation(&text).ok()));
        }
    }
}
