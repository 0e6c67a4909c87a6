//! What is durable survives; what routes is what was declared. Random topologies against a naive one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{NOW_MS, OWN, Topology, binding, exchange, queue, unheard};
use crate::auth::principal::Principal;
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{ExchangeDeclaration, QueueDeclaration};
use crate::broker::testbed::Bed;

const EXCHANGES: [&str; 5] = ["amq.fanout", "amq.direct", "a", "b", "c"];
const QUEUES: [&str; 4] = ["q", "r", "s", "t"];
const KEYS: [&str; 2] = ["k", "l"];

#[derive(Clone, Debug)]
enum Step {
    Declare { name: usize, durable: bool, auto_delete: bool },
    Delete { name: usize, if_unused: bool },
    DeclareQueue { name: usize, durable: bool, exclusive: bool },
    DeleteQueue { name: usize },
    Leave,
    Bind { from: usize, to_exchange: bool, to: usize, key: usize },
    Unbind { from: usize, to_exchange: bool, to: usize, key: usize },
    Sync,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let spec = || (0..EXCHANGES.len(), any::<bool>(), 0usize..5, 0..KEYS.len());
    prop_oneof![
        4 => (2..EXCHANGES.len(), any::<[bool; 2]>())
            .prop_map(|(name, [durable, auto_delete])| Step::Declare { name, durable, auto_delete }),
        1 => (2..EXCHANGES.len(), any::<bool>())
            .prop_map(|(name, if_unused)| Step::Delete { name, if_unused }),
        4 => (0..QUEUES.len(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(name, durable, exclusive)| Step::DeclareQueue { name, durable, exclusive }),
        1 => (0..QUEUES.len()).prop_map(|name| Step::DeleteQueue { name }),
        1 => Just(Step::Leave),
        9 => spec().prop_map(|(from, to_exchange, to, key)| Step::Bind { from, to_exchange, to, key }),
        3 => spec()
            .prop_map(|(from, to_exchange, to, key)| Step::Unbind { from, to_exchange, to, key }),
        2 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
    ]
}

/// A binding: from, whether to an exchange, to, key.
type Bound = (&'static str, bool, &'static str, &'static str);

/// What there should be, kept in the plainest way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// Durable, auto-delete.
    exchanges: BTreeMap<&'static str, (bool, bool)>,
    /// Durable, exclusive.
    queues: BTreeMap<&'static str, (bool, bool)>,
    bindings: BTreeSet<Bound>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        for name in &EXCHANGES[..2] {
            model.exchanges.insert(name, (true, false));
        }
        model
    }

    fn has(&self, to_exchange: bool, name: &str) -> bool {
        if to_exchange { self.exchanges.contains_key(name) } else { self.queues.contains_key(name) }
    }

    fn remove(&mut self, is_exchange: bool, name: &'static str) {
        if is_exchange {
            self.exchanges.remove(name);
            self.bindings.retain(|bound| bound.0 != name);
        } else {
            self.queues.remove(name);
        }
        let lost: Vec<_> = self
            .bindings
            .iter()
            .filter(|bound| (bound.1, bound.2) == (is_exchange, name))
            .copied()
            .collect();
        self.unbind(&lost);
    }

    fn unbind(&mut self, lost: &[Bound]) {
        for bound in lost {
            self.bindings.remove(bound);
        }
        for bound in lost {
            let empty = !self.bindings.iter().any(|other| other.0 == bound.0);
            if empty && self.exchanges.get(bound.0).is_some_and(|(_, auto_delete)| *auto_delete) {
                self.remove(true, bound.0);
            }
        }
    }

    /// What a restart leaves.
    fn durable(&self) -> Self {
        let keep = |all: &BTreeMap<&'static str, (bool, bool)>| {
            all.iter().filter(|(_, (durable, _))| *durable).map(|(k, v)| (*k, *v)).collect()
        };
        let mut kept = Self {
            exchanges: keep(&self.exchanges),
            queues: keep(&self.queues),
            bindings: BTreeSet::new(),
        };
        let lasts = |bound: &&Bound| kept.has(true, bound.0) && kept.has(bound.1, bound.2);
        let bindings = self.bindings.iter().filter(lasts).copied().collect();
        kept.bindings = bindings;
        kept
    }

    /// Queues reached from `exchange`, by walking every path.
    fn reached(&self, exchange: &'static str, key: &str) -> Vec<String> {
        let mut open = vec![exchange];
        let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            for bound in self.bindings.iter().filter(|bound| bound.0 == name) {
                if name != "amq.fanout" && bound.3 != key {
                    continue;
                }
                if bound.1 {
                    open.push(bound.2);
                } else {
                    found.insert(bound.2.to_owned());
                }
            }
        }
        found.into_iter().collect()
    }
}

struct World {
    topology: Topology,
    model: Model,
}

impl World {
    fn new(bed: Bed, model: Model) -> Self {
        bed.resume(NOW_MS);
        Self { topology: Topology { bed, who: Principal::named("ann") }, model }
    }

    fn run(&mut self, step: &Step) {
        let (topology, model) = (&mut self.topology, &mut self.model);
        match *step {
            Step::Declare { name, durable, auto_delete } => {
                let name = EXCHANGES[name];
                let declaration =
                    ExchangeDeclaration { durable, auto_delete, ..exchange(name, "direct") };
                let known = model.exchanges.get(name).copied();
                let declared = topology.declare(&declaration).is_ok();
                assert_eq!(declared, known.is_none_or(|known| known == (durable, auto_delete)));
                model.exchanges.entry(name).or_insert((durable, auto_delete));
            }
            Step::Delete { name, if_unused } => {
                let name = EXCHANGES[name];
                let used = if_unused && model.bindings.iter().any(|bound| bound.0 == name);
                assert_eq!(topology.delete(name, if_unused).is_ok(), !used);
                if !used {
                    model.remove(true, name);
                }
            }
            Step::DeclareQueue { name, durable, exclusive } => {
                let name = QUEUES[name];
                let declaration = QueueDeclaration { durable, exclusive, ..queue(name) };
                let wanted = (durable && !exclusive, exclusive);
                let known = model.queues.get(name).copied();
                let declared = topology.declare_queue(&declaration).is_ok();
                assert_eq!(declared, known.is_none_or(|known| known == wanted));
                model.queues.entry(name).or_insert(wanted);
            }
            Step::DeleteQueue { name } => {
                topology.delete_queue(QUEUES[name]).unwrap();
                model.remove(false, QUEUES[name]);
            }
            Step::Leave => {
                topology.broker().leave("/", OWN);
                let exclusive: Vec<_> = model
                    .queues
                    .iter()
                    .filter(|(_, queue)| queue.1)
                    .map(|(name, _)| *name)
                    .collect();
                exclusive.into_iter().for_each(|name| model.remove(false, name));
            }
            Step::Bind { from, to_exchange, to, key } => {
                let bound = name_binding(from, to_exchange, to, key);
                let spec = binding(bound.0, bound.2, bound.3);
                let made =
                    if to_exchange { topology.chain(&spec) } else { topology.bind(&spec) }.is_ok();
                assert_eq!(made, model.has(true, bound.0) && model.has(to_exchange, bound.2));
                if made {
                    model.bindings.insert(bound);
                }
            }
            Step::Unbind { from, to_exchange, to, key } => {
                let bound = name_binding(from, to_exchange, to, key);
                let spec = binding(bound.0, bound.2, bound.3);
                if to_exchange { topology.unchain(&spec) } else { topology.unbind(&spec) }.unwrap();
                if model.bindings.contains(&bound) {
                    model.unbind(&[bound]);
                }
            }
            Step::Sync => topology.bed.sync(),
            Step::Checkpoint => topology.bed.checkpoint_step(NOW_MS),
        }
    }

    fn check(&self) {
        let (topology, model) = (&self.topology, &self.model);
        let vhost = topology.vhost();
        for name in QUEUES {
            assert_eq!(vhost.queue(name).is_some(), model.queues.contains_key(name), "{name}");
        }
        for name in EXCHANGES {
            assert_eq!(vhost.has_exchange(name), model.exchanges.contains_key(name), "{name}");
            if !vhost.has_exchange(name) {
                continue;
            }
            for key in KEYS {
                assert_eq!(topology.reached(name, key), model.reached(name, key), "{name} {key}");
            }
        }
        assert_eq!(vhost.look(|live| live.bindings()), model.bindings.len());
        assert_eq!(applied(topology), model.durable());
    }
}

fn name_binding(from: usize, to_exchange: bool, to: usize, key: usize) -> Bound {
    let to = if to_exchange { EXCHANGES[to] } else { QUEUES[to % QUEUES.len()] };
    (EXCHANGES[from], to_exchange, to, KEYS[key])
}

fn known(name: &str) -> &'static str {
    EXCHANGES.into_iter().chain(QUEUES).chain(KEYS).find(|own| *own == name).unwrap()
}

/// The applied topology in the model's words.
fn applied(topology: &Topology) -> Model {
    let mut model = Model::new();
    let applied = topology.broker().exchanges.applied.lock();
    for (_, name, row) in applied.exchanges() {
        model.exchanges.insert(known(name), (true, row.auto_delete));
    }
    for queue in topology.broker().declared.all().iter().filter(|queue| queue.durable) {
        model.queues.insert(known(&queue.name), (true, false));
    }
    for bound in applied.bindings() {
        let (from, to) = (known(&bound.source), known(&bound.destination));
        model.bindings.insert((from, bound.to_exchange, to, known(&bound.key)));
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Live, applied, replayed from the start, and from whatever checkpoint there is: all the same.
    #[test]
    fn a_restart_finds_what_was_durable(
        before in vec(step(), 1..80),
        after in vec(step(), 0..40),
    ) {
        let mut world = World::new(Bed::new(), Model::new());
        for steps in [before, after] {
            for step in &steps {
                world.run(step);
            }
            world.topology.bed.sync();
            world.check();
            let durable = world.model.durable();
            World::new(Bed::over(world.topology.bed.tape.copy()), durable.clone()).check();
            world = World::new(world.topology.bed.restart(&mut |_, _| 0), durable);
            world.check();
        }
    }
}

/// What was told before its record was synced is not lost, and what was not told may be.
#[test]
fn unsynced_declarations_are_lost_and_leave_nothing() {
    let mut topology = Topology::new();
    let durable = ExchangeDeclaration { durable: true, ..exchange("a", "direct") };
    topology.declare(&durable).unwrap();
    topology.bed.sync();
    topology.chain(&binding("a", "amq.fanout", "k")).unwrap();
    topology.delete("a", false).unwrap();
    let topology =
        Topology { bed: topology.bed.restart(&mut |_, _| 0), who: Principal::named("ann") };
    assert!(topology.vhost().has_exchange("a"));
    assert_eq!(topology.vhost().look(|live| live.bindings()), 0);
    let again = topology.declare(&durable).unwrap();
    assert!(!again.waits, "it was applied before the restart");
}

/// Names, types and arguments come back as they were.
#[test]
fn settings_and_arguments_survive_a_checkpoint() {
    use crate::model::field_table::FieldValue;
    use crate::model::field_table::write::TableWriter;

    let mut table = Vec::new();
    let mut writer = TableWriter::new(&mut table);
    writer.string("alternate-exchange", "amq.fanout").unwrap();
    writer.put("é", FieldValue::I32(-1)).unwrap();
    let declaration = ExchangeDeclaration {
        durable: true,
        internal: true,
        auto_delete: true,
        arguments: &table,
        ..exchange("ü.x", "headers")
    };
    let mut topology = Topology::new();
    topology.declare(&declaration).unwrap();
    let spec =
        super::BindingSpec { arguments: &table, ..binding("ü.x", "amq.fanout", "ключ") };
    topology.chain(&spec).unwrap();
    topology.bed.sync();
    topology.bed.checkpoint(NOW_MS);
    let topology =
        Topology { bed: topology.bed.restart(&mut |_, _| 0), who: Principal::named("ann") };
    assert_eq!(topology.declare(&declaration).map(|known| known.waits), Ok(false));
    let vhost = topology.vhost();
    assert_eq!(vhost.look(|live| live.bindings()), 1);
    let alternate = vhost.look(|live| live.exchanges["ü.x"].settings.alternate.clone());
    assert_eq!(alternate.as_deref(), Some("amq.fanout"));
    assert!(vhost.look(|live| live.is_bound(Entity::Exchange, &"amq.fanout".into())));
    let unbound =
        topology.broker().unbind(&topology.who, OWN, Entity::Exchange, &spec, unheard).unwrap();
    assert!(unbound.waits && !vhost.has_exchange("ü.x"), "the last one takes it along");
}
