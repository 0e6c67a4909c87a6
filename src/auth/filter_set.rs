//! Topic filters as sets of topics: does one filter cover another, do two meet? Part of `auth`; pure.
//!
//! A filter stands for the set of topic names it matches (MQTT5-4.7): `+` is any one level, a final `#` any
//! number of levels and also their parent, and neither matches a first level that begins with `$`
//! [MQTT-4.7.2-1]. Both answers are exact for valid filters; for a text that is no valid filter they err to
//! "no".

/// Whether every topic that `inner` matches is matched by `outer` too.
#[must_use]
pub fn covers(outer: &str, inner: &str) -> bool {
    if hides(outer, inner) {
        return false;
    }
    // `+/#` is every topic that `#` is: each topic has a first level, and the rest may be nothing.
    if inner == "#" && outer == "+/#" {
        return true;
    }
    let mut parts = inner.split('/');
    for outer in outer.split('/') {
        match (outer, parts.next()) {
            ("#", _) => return true,
            ("+", Some(part)) if part != "#" => {}
            (outer, Some(part)) if outer == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// Whether some topic is matched by both.
#[must_use]
pub fn meets(one: &str, other: &str) -> bool {
    if hides(one, other) || hides(other, one) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether the leading wildcard of `filter` keeps it from the `$`-topics that are all `other` speaks of.
fn hides(filter: &str, other: &str) -> bool {
    (filter.starts_with('+') || filter.starts_with('#')) && other.starts_with('$')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{covers, meets};
    use crate::model::topic::matches;

    #[test]
    fn a_filter_covers_what_it_contains() {
        for (outer, inner) in [
            ("#", "a/b"),
            ("#", "+/#"),
            ("#", "#"),
            ("+/#", "#"),
            ("a/#", "a"),
            ("a/#", "a/+/b"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("$SYS/#", "$SYS/x/#"),
            ("a/#", "a/#"),
            ("+/b", "a/b"),
        ] {
            assert!(covers(outer, inner), "{outer} covers {inner}");
        }
        for (outer, inner) in [
            ("a/+", "a/#"),
            ("a/+/#", "a/#"),
            ("#", "$SYS/#"),
            ("+/x", "$SYS/x"),
            ("a", "a/#"),
            ("a/b", "a/+"),
            ("+", "#"),
            ("a/b", "a"),
            ("a", "a/b"),
            ("+/+/#", "#"),
        ] {
            assert!(!covers(outer, inner), "{outer} does not cover {inner}");
        }
    }

    #[test]
    fn filters_meet_where_a_topic_is_in_both() {
        for (one, other) in [
            ("a/+", "+/b"),
            ("a/#", "a"),
            ("#", "x"),
            ("a/#", "+/b/c"),
            ("+/+", "a/#"),
            ("$S/+", "$S/#"),
        ] {
            assert!(meets(one, other) && meets(other, one), "{one} meets {other}");
        }
        for (one, other) in
            [("a/+", "b/+"), ("a/+", "a"), ("#", "$SYS/x"), ("a/b", "a/b/+"), ("+", "a/b")]
        {
            assert!(!meets(one, other) && !meets(other, one), "{one} does not meet {other}");
        }
    }

    /// Every topic of up to four levels over a small alphabet: enough to tell apart filters of three levels.
    fn topics() -> Vec<String> {
        let levels = ["a", "b", "", "$s", "z"];
        let mut all: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        let mut last = all.clone();
        for _ in 0..3 {
            last = last
                .iter()
                .flat_map(|head| levels.map(|level| format!("{head}/{level}")))
                .collect();
            all.extend(last.iter().cloned());
        }
        all.retain(|topic| !topic.is_empty());
        all
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "", "$s", "+"]);
        (prop::collection::vec(level, 0..3), any::<bool>()).prop_filter_map(
            "empty",
            |(mut levels, tail)| {
                if tail {
                    levels.push("#");
                }
                let filter = levels.join("/");
                (!filter.is_empty()).then_some(filter)
            },
        )
    }

    proptest! {
        #[test]
        fn both_answers_are_those_of_the_sets(one in filter(), other in filter()) {
            let (mut covered, mut met) = (true, false);
            for topic in topics() {
                let (in_one, in_other) = (matches(&one, &topic), matches(&other, &topic));
                covered &= in_one || !in_other;
                met |= in_one && in_other;
            }
            prop_assert_eq!(covers(&one, &other), covered, "{} covers {}", one, other);
            prop_assert_eq!(meets(&one, &other), met, "{} meets {}", one, other);
        }
    }
}
