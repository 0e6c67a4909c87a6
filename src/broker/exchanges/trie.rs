//! Patterns of a topic exchange as a tree of words. Part of `broker::exchanges`.
//!
//! A key is split at `.`; the empty key has no words, an empty word is a word. In a pattern the word `*` stands
//! for exactly one word, `#` for any number of them, at any place (`amqp.md` §1.4).
//!
//! A message walks the tree one word at a time with the set of nodes that it may stand at. A node is reached on
//! one path only, so nothing is visited twice, but for `#`: once reached, such a node stays in the set, because
//! it swallows every further word. The cost is the number of words times the number of nodes stood at, whatever
//! the number of `#` in a pattern: nothing branches.

use ahash::{AHashMap, AHashSet};

use super::target::{Target, Targets};

/// The words of a key or pattern.
pub(super) fn words(key: &str) -> impl Iterator<Item = &str> {
    let none = key.is_empty();
    key.split('.').filter(move |_| !none)
}

type NodeId = u32;
type WordId = u32;

const ROOT: NodeId = 0;

/// What leads from a node to a child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Word(WordId),
    /// `*`.
    Any,
    /// `#`.
    Many,
}

struct Node {
    parent: NodeId,
    /// How the parent leads here.
    step: Step,
    any: Option<NodeId>,
    many: Option<NodeId>,
    /// Number of children of all kinds.
    children: u32,
    targets: Targets,
}

impl Node {
    fn new(parent: NodeId, step: Step) -> Self {
        Self { parent, step, any: None, many: None, children: 0, targets: Targets::default() }
    }
}

/// The patterns.
pub(super) struct Trie {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    edges: AHashMap<(NodeId, WordId), NodeId>,
    /// Every word of an edge, with the number of edges.
    words: AHashMap<Box<str>, (WordId, u32)>,
    texts: Vec<Box<str>>,
    free_words: Vec<WordId>,
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(ROOT, Step::Many)],
            free: Vec::new(),
            edges: AHashMap::new(),
            words: AHashMap::new(),
            texts: Vec::new(),
            free_words: Vec::new(),
        }
    }
}

impl Trie {
    /// Binds `target` under `pattern` once more.
    pub(super) fn add(&mut self, pattern: &str, target: Target) {
        let mut at = ROOT;
        for word in words(pattern) {
            let step = match word {
                "*" => Step::Any,
                "#" => Step::Many,
                word => Step::Word(self.intern(word)),
            };
            at = match self.child(at, step) {
                Some(child) => child,
                None => self.grow(at, step),
            };
        }
        if let Some(node) = self.node_mut(at) {
            node.targets.add(target);
        }
    }

    /// Takes one binding of `target` under `pattern` back.
    pub(super) fn remove(&mut self, pattern: &str, target: &Target) {
        let mut at = ROOT;
        for word in words(pattern) {
            let step = match word {
                "*" => Some(Step::Any),
                "#" => Some(Step::Many),
                word => self.word(word).map(Step::Word),
            };
            let Some(child) = step.and_then(|step| self.child(at, step)) else { return };
            at = child;
        }
        if let Some(node) = self.node_mut(at) {
            node.targets.remove(target);
        }
        self.prune(at);
    }

    /// Calls `hit` with the targets of every pattern that matches `key`.
    pub(super) fn collect(&self, key: &str, mut hit: impl FnMut(&Targets)) {
        let mut standing = Vec::new();
        let mut next = Vec::new();
        let mut swallowing = Swallowing::default();
        self.enter(ROOT, &mut standing, &mut swallowing);
        for word in words(key) {
            let word = self.word(word);
            // Those that are reached with this word see the following ones only.
            let before = swallowing.list.len();
            for at in 0..standing.len() + before {
                let node = match standing.get(at) {
                    Some(node) => Some(*node),
                    None => swallowing.list.get(at - standing.len()).copied(),
                };
                let Some(node) = node else { break };
                let child = word.and_then(|word| self.edges.get(&(node, word)).copied());
                if let Some(child) = child {
                    self.enter(child, &mut next, &mut swallowing);
                }
                if let Some(child) = self.node(node).and_then(|node| node.any) {
                    self.enter(child, &mut next, &mut swallowing);
                }
            }
            std::mem::swap(&mut standing, &mut next);
            next.clear();
            if standing.is_empty() && swallowing.list.is_empty() {
                return;
            }
        }
        for node in standing.iter().chain(&swallowing.list) {
            if let Some(node) = self.node(*node).filter(|node| !node.targets.is_empty()) {
                hit(&node.targets);
            }
        }
    }

    /// Stands at `node`, and at the `#` that may follow it with no word.
    fn enter(&self, node: NodeId, standing: &mut Vec<NodeId>, swallowing: &mut Swallowing) {
        standing.push(node);
        let mut many = self.node(node).and_then(|node| node.many);
        while let Some(node) = many.filter(|node| swallowing.insert(*node)) {
            many = self.node(node).and_then(|node| node.many);
        }
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    fn child(&self, at: NodeId, step: Step) -> Option<NodeId> {
        match step {
            Step::Word(word) => self.edges.get(&(at, word)).copied(),
            Step::Any => self.node(at)?.any,
            Step::Many => self.node(at)?.many,
        }
    }

    fn word(&self, word: &str) -> Option<WordId> {
        self.words.get(word).map(|(id, _)| *id)
    }

    /// The number of a word; it stays only if an edge is made with it.
    fn intern(&mut self, word: &str) -> WordId {
        if let Some(known) = self.word(word) {
            return known;
        }
        let id = self.free_words.pop().unwrap_or_else(|| {
            self.texts.push(Box::default());
            (self.texts.len() - 1) as WordId
        });
        if let Some(text) = self.texts.get_mut(id as usize) {
            *text = word.into();
        }
        self.words.insert(word.into(), (id, 0));
        id
    }

    /// A new child. Words and nodes are fewer than bindings times the words of a key, far below 2^32.
    fn grow(&mut self, parent: NodeId, step: Step) -> NodeId {
        let node = Node::new(parent, step);
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.nodes.get_mut(id as usize) {
                    *slot = node;
                }
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        if let Step::Word(word) = step {
            self.edges.insert((parent, word), id);
            self.count_word(word, 1);
        }
        if let Some(parent) = self.node_mut(parent) {
            parent.children += 1;
            match step {
                Step::Word(_) => {}
                Step::Any => parent.any = Some(id),
                Step::Many => parent.many = Some(id),
            }
        }
        id
    }

    fn count_word(&mut self, word: WordId, change: i32) {
        let Some(text) = self.texts.get(word as usize) else { return };
        let Some((_, edges)) = self.words.get_mut(text) else { return };
        *edges = edges.saturating_add_signed(change);
        if *edges == 0 {
            self.words.remove(text);
            self.free_words.push(word);
        }
    }

    /// Removes nodes that hold and lead to nothing, from `at` upwards.
    fn prune(&mut self, mut at: NodeId) {
        while at != ROOT {
            let Some(node) = self.node(at) else { return };
            if node.children > 0 || !node.targets.is_empty() {
                return;
            }
            let (parent, step) = (node.parent, node.step);
            if let Step::Word(word) = step {
                self.edges.remove(&(parent, word));
                self.count_word(word, -1);
            }
            if let Some(parent) = self.node_mut(parent) {
                parent.children -= 1;
                match step {
                    Step::Word(_) => {}
                    Step::Any => parent.any = None,
                    Step::Many => parent.many = None,
                }
            }
            self.free.push(at);
            at = parent;
        }
    }

    /// Nodes in use, the root among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Words in use.
    #[cfg(test)]
    pub(super) fn words_len(&self) -> usize {
        self.words.len()
    }
}

/// The `#` nodes that a walk has reached, in order, each once.
#[derive(Default)]
struct Swallowing {
    list: Vec<NodeId>,
    /// The same once they are many.
    seen: AHashSet<NodeId>,
}

impl Swallowing {
    const SCANNED_MAX: usize = 16;

    /// False when it is there already.
    fn insert(&mut self, node: NodeId) -> bool {
        if self.list.len() < Self::SCANNED_MAX {
            if self.list.contains(&node) {
                return false;
            }
        } else {
            if self.seen.is_empty() {
                self.seen.extend(&self.list);
            }
            if !self.seen.insert(node) {
                return false;
            }
        }
        self.list.push(node);
        true
    }
}
