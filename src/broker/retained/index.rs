//! Topics with a retained message, by level, in order. Part of `broker::retained`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::topic::TopicFilter;

use super::slot::Slot;

/// One level.
#[derive(Debug, Default)]
pub struct Index {
    children: BTreeMap<Box<str>, Self>,
    slot: Option<Arc<Slot>>,
}

impl Index {
    /// The slot of `topic`.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<Arc<Slot>> {
        let mut node = self;
        for level in topic.split('/') {
            node = node.children.get(level)?;
        }
        node.slot.clone()
    }

    /// The slot of `topic`, made if there is none.
    pub fn get_or_insert(&mut self, vhost: &str, topic: &str) -> Arc<Slot> {
        let mut node = self;
        for level in topic.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        Arc::clone(node.slot.get_or_insert_with(|| Slot::new(vhost, topic)))
    }

    /// Takes `slot` out if nothing is left of it and nobody else holds it, and the levels only it used.
    pub fn remove_empty(&mut self, slot: &Arc<Slot>) {
        let topic = Arc::clone(&slot.topic);
        self.remove(Some(&topic), slot);
    }

    fn remove(&mut self, levels: Option<&str>, slot: &Arc<Slot>) {
        let Some(levels) = levels else {
            // The index and the caller hold it; a third holder is a publish on its way.
            let ours = self.slot.as_ref().is_some_and(|own| Arc::ptr_eq(own, slot));
            if ours && Arc::strong_count(slot) <= 2 && slot.is_empty() {
                self.slot = None;
            }
            return;
        };
        let (level, below) = match levels.split_once('/') {
            Some((level, below)) => (level, Some(below)),
            None => (levels, None),
        };
        if let Some(child) = self.children.get_mut(level) {
            child.remove(below, slot);
            if child.slot.is_none() && child.children.is_empty() {
                self.children.remove(level);
            }
        }
    }

    /// The slots whose topic `filter` matches, in topic order.
    #[must_use]
    pub fn matching(&self, filter: &TopicFilter) -> Vec<Arc<Slot>> {
        let mut found = Vec::new();
        let levels: Vec<&str> = filter.filter().split('/').collect();
        self.collect(&levels, true, &mut found);
        found
    }

    fn collect(&self, levels: &[&str], first: bool, found: &mut Vec<Arc<Slot>>) {
        // A leading wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
        let visible = |name: &str| !(first && name.starts_with('$'));
        match levels.split_first() {
            None => found.extend(self.slot.iter().map(Arc::clone)),
            Some((&"#", _)) => {
                // `#` also matches the level above it (MQTT5-4.7.1.2).
                found.extend(self.slot.iter().map(Arc::clone));
                for (name, child) in &self.children {
                    if visible(name) {
                        child.collect(levels, false, found);
                    }
                }
            }
            Some((&"+", rest)) => {
                for (name, child) in &self.children {
                    if visible(name) {
                        child.collect(rest, false, found);
                    }
                }
            }
            Some((name, rest)) => {
                if let Some(child) = self.children.get(*name) {
                    child.collect(rest, false, found);
                }
            }
        }
    }
}
