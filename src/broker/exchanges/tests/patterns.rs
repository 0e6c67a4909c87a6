//! The tree of topic patterns against a naive matcher.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::broker::exchanges::target::Target;
use crate::broker::exchanges::trie::{Trie, words};

fn target(number: usize) -> Target {
    Target::Exchange(number.to_string().into())
}

fn matched(trie: &Trie, key: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    trie.collect(key, |targets| {
        for target in targets.iter() {
            if let Target::Exchange(name) = target {
                found.insert(name.to_string());
            }
        }
    });
    found
}

/// As the specification says it, trying everything.
fn naive(pattern: &[&str], key: &[&str]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((&"#", rest)) => (0..=key.len()).any(|skipped| naive(rest, &key[skipped..])),
        Some((&"*", rest)) => !key.is_empty() && naive(rest, &key[1..]),
        Some((word, rest)) => key.first() == Some(word) && naive(rest, &key[1..]),
    }
}

fn matches(pattern: &str, key: &str) -> bool {
    let (pattern, key): (Vec<_>, Vec<_>) = (words(pattern).collect(), words(key).collect());
    naive(&pattern, &key)
}

fn key_of(words: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    vec(prop::sample::select(words), 0..most).prop_map(|words| words.join("."))
}

fn pattern() -> impl Strategy<Value = String> {
    key_of(&["a", "b", "", "*", "#", "#", "a*"], 6)
}

fn key() -> impl Strategy<Value = String> {
    key_of(&["a", "b", "", "c", "*", "#", "a*"], 7)
}

#[test]
fn words_are_split_at_dots_and_may_be_empty() {
    let split = |key| words(key).collect::<Vec<_>>();
    assert_eq!(split(""), Vec::<&str>::new());
    assert_eq!(split("."), ["", ""]);
    assert_eq!(split("a..b."), ["a", "", "b", ""]);
}

/// amqp.md §1.4.
#[test]
fn stars_are_one_word_and_hashes_any_number() {
    for (pattern, key) in [
        ("#", ""),
        ("#", "a.b"),
        ("*", "a"),
        ("*", "."),
        ("a.#", "a"),
        ("a.#.b", "a.b"),
        ("a.#.b", "a.x.y.b"),
        ("#.#", ""),
        ("#.*.#", "a"),
        ("a.*", "a."),
        ("", ""),
        ("a*b", "a*b"),
        ("#.a.#.a", "a.a"),
    ] {
        assert_eq!(matches(pattern, key), key != "." || pattern != "*", "{pattern} {key}");
        let mut trie = Trie::default();
        trie.add(pattern, target(0));
        assert_eq!(matched(&trie, key).len(), usize::from(matches(pattern, key)));
    }
    for (pattern, key) in [
        ("*", ""),
        ("*.#", ""),
        ("", "."),
        ("a", "a."),
        ("a.#.b", "a"),
        ("#.a.#.a", "a"),
        ("a*", "ab"),
    ] {
        let mut trie = Trie::default();
        trie.add(pattern, target(0));
        assert!(matched(&trie, key).is_empty() && !matches(pattern, key), "{pattern} {key}");
    }
}

proptest! {
    #[test]
    fn the_tree_finds_what_the_naive_matcher_finds(
        patterns in vec(pattern(), 0..12),
        removed in vec(any::<prop::sample::Index>(), 0..8),
        keys in vec(key(), 1..6),
    ) {
        let mut trie = Trie::default();
        let mut bound: Vec<Option<&String>> = Vec::new();
        for (number, pattern) in patterns.iter().enumerate() {
            trie.add(pattern, target(number));
            bound.push(Some(pattern));
        }
        for index in removed {
            if bound.is_empty() {
                continue;
            }
            let number = index.index(bound.len());
            if let Some(pattern) = bound[number].take() {
                trie.remove(pattern, &target(number));
            }
        }
        for key in &keys {
            let expected: BTreeSet<String> = bound
                .iter()
                .enumerate()
                .filter(|(_, pattern)| pattern.is_some_and(|pattern| matches(pattern, key)))
                .map(|(number, _)| number.to_string())
                .collect();
            prop_assert_eq!(matched(&trie, key), expected, "{:?}", key);
        }
        for (number, pattern) in bound.iter().enumerate() {
            if let Some(pattern) = pattern {
                trie.remove(pattern, &target(number));
            }
        }
        prop_assert_eq!((trie.len(), trie.words_len()), (1, 0), "nothing is left behind");
    }
}

/// Two bindings that differ in their arguments lead to one target twice: it goes with the second.
#[test]
fn a_target_stays_until_its_last_binding_goes() {
    let mut trie = Trie::default();
    trie.add("a.*", target(1));
    trie.add("a.*", target(1));
    trie.remove("a.*", &target(1));
    assert_eq!(matched(&trie, "a.b").len(), 1);
    trie.remove("a.*", &target(2));
    trie.remove("b.#", &target(1));
    trie.remove("a.*", &target(1));
    assert_eq!((matched(&trie, "a.b").len(), trie.len()), (0, 1));
}

/// With a `#` for every second word a walk that branches would not end.
#[test]
fn many_hashes_cost_the_product_of_words_and_nodes_at_most() {
    let mut trie = Trie::default();
    for number in 0..200 {
        let words: Vec<&str> = (0..60)
            .flat_map(|at| ["#", if number >> (at % 8) & 1 == 0 { "a" } else { "*" }])
            .collect();
        trie.add(&words.join("."), target(number));
    }
    let key = vec!["a"; 125].join(".");
    assert_eq!(matched(&trie, &key).len(), 200);
    let short = vec!["a"; 59].join(".");
    assert!(matched(&trie, &short).is_empty());
}

#[test]
fn many_targets_of_one_key_are_found_and_removed() {
    let mut trie = Trie::default();
    for number in 0..500 {
        trie.add("k", target(number));
        trie.add("k", target(number));
    }
    for number in (0..500).rev().step_by(2) {
        trie.remove("k", &target(number));
        trie.remove("k", &target(number));
    }
    let left: BTreeSet<String> =
        (0..500).step_by(2).map(|number: usize| number.to_string()).collect();
    assert_eq!(matched(&trie, "k"), left);
    for number in (0..500).step_by(2) {
        trie.remove("k", &target(number));
        assert!(matched(&trie, "k").contains(&number.to_string()));
        trie.remove("k", &target(number));
        assert!(!matched(&trie, "k").contains(&number.to_string()));
    }
    assert_eq!(trie.len(), 1);
}
