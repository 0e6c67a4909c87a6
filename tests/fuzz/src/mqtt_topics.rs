//! Topic names, filters, routing keys and bindings against the words of the specifications: which filters there are,
//! what they match, and the law by which names cross to AMQP and back.

use rialto::model::routing_key::{
    append_key, binding_of, filter_of, over_approximation, to_key, to_topic, to_topic_escaped,
};
use rialto::model::topic::{TopicFilter, check_topic_name};

/// Lines of text; each is taken as a filter, a name, a key and a binding, and held against each.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data.get(..4096).unwrap_or(data));
    let lines: Vec<&str> = text.split('\n').take(8).collect();
    for one in &lines {
        check_filter(one);
        check_key(one);
        drop((filter_of(one).ok(), over_approximation(one).ok()));
        for other in &lines {
            check_pair(one, other);
        }
    }
}

/// MQTT5-4.7.1 and MQTT5-4.8.2, word for word.
fn is_filter(text: &str) -> bool {
    let placed = |filter: &str| {
        let levels: Vec<&str> = filter.split('/').collect();
        levels.iter().enumerate().all(|(at, level)| {
            let is_last = at + 1 == levels.len();
            *level == "+" || (*level == "#" && is_last) || !level.contains(['+', '#'])
        })
    };
    if text.is_empty() || text.len() > 65_535 || text.contains('\0') {
        return false;
    }
    let levels: Vec<&str> = text.split('/').collect();
    if levels[0] != "$share" || levels.len() == 1 {
        return placed(text);
    }
    let group = levels[1];
    let filter = levels.get(2..).unwrap_or_default().join("/");
    !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty() && placed(&filter)
}

fn check_filter(text: &str) {
    let parsed = TopicFilter::parse(text);
    assert_eq!(parsed.is_ok(), is_filter(text), "{text:?}");
    let Ok(filter) = parsed else { return };
    assert_eq!(filter.as_str(), text);
    let group = filter.share_group().map_or(String::new(), |name| format!("$share/{name}/"));
    assert_eq!(format!("{group}{}", filter.filter()), text);
    if let Ok(binding) = binding_of(&filter)
        && filter.share_group().is_none()
    {
        assert_eq!(filter_of(&binding), Ok(filter));
    }
}

fn check_key(text: &str) {
    let is_name = check_topic_name(text.as_bytes()).is_ok();
    assert_eq!(is_name, !text.is_empty() && !text.contains(['+', '#', '\0']), "{text:?}");
    if let (true, Ok(key)) = (is_name, to_key(text)) {
        let mut appended = Vec::new();
        append_key(text, &mut appended).unwrap();
        assert_eq!(appended, key.as_bytes());
        if !text.starts_with('$') {
            assert_eq!(to_topic(&key).as_deref(), Ok(text));
            assert_eq!(to_topic_escaped(&key), text);
        }
    }
    if let Ok(topic) = to_topic(text) {
        assert!(check_topic_name(topic.as_bytes()).is_ok() && !topic.starts_with('$'));
        assert_eq!(to_key(&topic).as_deref(), Ok(text));
    }
    let escaped = to_topic_escaped(text);
    if escaped.len() <= 65_535 {
        assert!(check_topic_name(escaped.as_bytes()).is_ok() && !escaped.starts_with('$'));
    }
}

/// MQTT5-4.7.1.2, MQTT5-4.7.1.3.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([one, filter @ ..], [other, topic @ ..]) => one == other && matches(filter, topic),
        _ => false,
    }
}

/// AMQP 0-9-1, 3.1.3.3.
fn binds(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| binds(rest, &key[skipped..])),
        (["*", rest @ ..], [_, key @ ..]) => binds(rest, key),
        ([word, rest @ ..], [own, key @ ..]) => word == own && binds(rest, key),
        _ => false,
    }
}

fn check_pair(filter: &str, topic: &str) {
    let Ok(filter) = TopicFilter::parse(filter) else { return };
    if check_topic_name(topic.as_bytes()).is_err() {
        return;
    }
    let patterns: Vec<&str> = filter.filter().split('/').collect();
    let levels: Vec<&str> = topic.split('/').collect();
    // [MQTT-4.7.2-1]
    let is_hidden = topic.starts_with('$') && matches!(patterns[0], "+" | "#");
    let expected = !is_hidden && matches(&patterns, &levels);
    assert_eq!(filter.matches(topic), expected, "{filter} {topic}");
    let few = |text: &[&str]| text.len() <= 12;
    if let (Ok(binding), Ok(key)) = (binding_of(&filter), to_key(topic))
        && !topic.starts_with('$')
        && few(&patterns)
        && few(&levels)
    {
        let words: Vec<&str> = binding.split('.').collect();
        let key: Vec<&str> = key.split('.').collect();
        assert_eq!(binds(&words, &key), expected, "{binding} {topic}");
    }
}
