//! How one exchange finds the bindings that a message matches. Part of `broker::exchanges`.

use ahash::AHashMap;

use crate::model::field_table::FieldTable;

use super::headers::HeaderBindings;
use super::kind::ExchangeKind;
use super::target::{Collected, Target, Targets};
use super::trie::Trie;

/// What a message is compared by.
pub(super) struct Asked<'k, 'h> {
    /// Its routing key, and those of its CC and BCC headers.
    pub(super) keys: &'k [&'k str],
    /// Its headers, read when a headers exchange is met.
    pub(super) headers: &'k mut dyn FnMut() -> Option<FieldTable<'h>>,
}

/// An exchange's bindings, laid out for its type.
pub(super) enum Matcher {
    Direct(AHashMap<Box<str>, Targets>),
    Fanout(Targets),
    Topic(Box<Trie>),
    Headers(HeaderBindings),
}

impl Matcher {
    pub(super) fn new(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Direct => Self::Direct(AHashMap::new()),
            ExchangeKind::Fanout => Self::Fanout(Targets::default()),
            ExchangeKind::Topic => Self::Topic(Box::default()),
            ExchangeKind::Headers => Self::Headers(HeaderBindings::default()),
        }
    }

    pub(super) fn add(&mut self, key: &str, arguments: &[u8], target: Target) {
        match self {
            Self::Direct(keys) => match keys.get_mut(key) {
                Some(targets) => targets.add(target),
                None => keys.entry(key.into()).or_default().add(target),
            },
            Self::Fanout(targets) => targets.add(target),
            Self::Topic(trie) => trie.add(key, target),
            Self::Headers(bindings) => bindings.add(arguments, target),
        }
    }

    pub(super) fn remove(&mut self, key: &str, arguments: &[u8], target: &Target) {
        match self {
            Self::Direct(keys) => {
                let Some(targets) = keys.get_mut(key) else { return };
                targets.remove(target);
                if targets.is_empty() {
                    keys.remove(key);
                }
            }
            Self::Fanout(targets) => targets.remove(target),
            Self::Topic(trie) => trie.remove(key, target),
            Self::Headers(bindings) => bindings.remove(arguments, target),
        }
    }

    /// Every target whose binding matches; some may come more than once.
    pub(super) fn collect(&self, asked: &mut Asked<'_, '_>, into: &mut Collected<'_>) {
        match self {
            Self::Direct(keys) => {
                for targets in asked.keys.iter().filter_map(|key| keys.get(*key)) {
                    into.take_all(targets);
                }
            }
            Self::Fanout(targets) => into.take_all(targets),
            Self::Topic(trie) => {
                for key in asked.keys {
                    trie.collect(key, |targets| into.take_all(targets));
                }
            }
            Self::Headers(bindings) => {
                into.hits.by_headers = true;
                bindings.collect((asked.headers)(), into);
            }
        }
    }
}
