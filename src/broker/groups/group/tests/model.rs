//! Random lives of a few clients and a journal that answers when it likes, against what every client may rely on:
//! who leads, what was assigned, how long anybody waits. Part of `broker::groups::group`.

use proptest::prelude::*;

use super::*;

/// Longer than anybody waits: a rebalance, and the journal.
const WAIT_MS_MAX: u64 = 2 * REBALANCE_MS + 10;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A client joins, or joins again, with these words.
    Join(usize, bool),
    /// A static client has forgotten its id.
    Forget(usize),
    Sync(usize),
    Heartbeat(usize),
    Commit(usize),
    Leave(usize),
    Pass(u64),
    /// The journal answers for the oldest snapshot.
    Saved(bool),
    /// The broker restarts; whoever waits is not answered.
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let client = 0..5_usize;
    let op = prop_oneof![
        6 => (client.clone(), any::<bool>()).prop_map(|(at, new)| Op::Join(at, new)),
        1 => client.clone().prop_map(Op::Forget),
        6 => client.clone().prop_map(Op::Sync),
        4 => client.clone().prop_map(Op::Heartbeat),
        1 => client.clone().prop_map(Op::Commit),
        1 => client.prop_map(Op::Leave),
        4 => (1..12_000_u64).prop_map(Op::Pass),
        1 => (1..100_000_u64).prop_map(Op::Pass),
        5 => prop::bool::weighted(0.9).prop_map(Op::Saved),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..120)
}

#[derive(Default)]
struct Client {
    instance_id: Option<String>,
    id: String,
    generation: i32,
    /// Whom it has to assign to, as the leader of its generation.
    assigns_to: Vec<String>,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
}

struct World {
    rig: Rig,
    clients: Vec<Client>,
    /// When each request began that is not answered.
    since_ms: BTreeMap<Ticket, u64>,
    fresh: u32,
    generation: i32,
    /// Snapshots whose fate is open, and the one that is journaled.
    open: Vec<Save>,
    journaled: Option<Vec<u8>>,
}

impl World {
    fn new(delay_ms: u32) -> Self {
        let mut rig = Rig::new();
        rig.saves_at_once = false;
        rig.limits.initial_rebalance_delay_ms = delay_ms;
        let clients = (0..5).map(|at| Client {
            instance_id: (at >= 3).then(|| format!("i{at}")),
            ..Client::default()
        });
        Self {
            rig,
            clients: clients.collect(),
            since_ms: BTreeMap::new(),
            fresh: 0,
            generation: 0,
            open: Vec::new(),
            journaled: None,
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Join(at, new_words) => self.join(at, new_words),
            Op::Forget(at) => {
                if self.clients[at].instance_id.is_some() {
                    self.clients[at].id.clear();
                }
            }
            Op::Sync(at) => self.sync(at),
            Op::Heartbeat(at) => {
                let who = self.who(at);
                drop(self.rig.step(|group, step, _| group.heartbeat(step, &who)));
            }
            Op::Commit(at) => {
                let who = self.who(at);
                let state = self.rig.state();
                if self.rig.commit(&who).is_ok() {
                    assert_eq!(who.generation, self.rig.group.generation());
                    assert_ne!(state, GroupState::CompletingRebalance);
                }
            }
            Op::Leave(at) => {
                let member = leaving(&self.clients[at].id, self.clients[at].instance_id.as_deref());
                self.rig.leave(&[member]);
            }
            Op::Pass(ms) => self.rig.pass(ms),
            Op::Saved(well) => self.saved(well),
            Op::Restart => self.restart(),
        }
        self.open.extend(std::mem::take(&mut self.rig.saves));
        // A snapshot that nobody waits for is journaled behind those before it.
        self.hear();
        self.check();
    }

    fn who(&self, at: usize) -> Membership {
        let client = &self.clients[at];
        let instance_id = client.instance_id.clone();
        Membership { instance_id, ..who(&client.id, client.generation) }
    }

    fn join(&mut self, at: usize, new_words: bool) {
        self.fresh += 1;
        let fresh = format!("m{}", self.fresh);
        let protocols: &[_] = if new_words { &[("range", "n")] } else { &[("range", "m")] };
        let client = &self.clients[at];
        let join = Join {
            instance_id: client.instance_id.clone(),
            wants_member_id: at.is_multiple_of(2),
            ..join(&client.id, protocols)
        };
        let ticket = self.rig.join(&join, &fresh);
        self.since_ms.insert(ticket, self.rig.now_ms);
        self.clients[at].joining = Some(ticket);
    }

    fn sync(&mut self, at: usize) {
        let generation = self.clients[at].generation;
        let assignments: Vec<(String, String)> = self.clients[at]
            .assigns_to
            .iter()
            .map(|key| {
                let id = self.rig.group.roster.instance(key).unwrap_or(key);
                (id.to_owned(), format!("{key}@{generation}"))
            })
            .collect();
        let borrowed: Vec<_> = assignments.iter().map(|(id, it)| (&**id, &**it)).collect();
        let who = self.who(at);
        let ticket = self.rig.sync(who, &borrowed);
        self.since_ms.insert(ticket, self.rig.now_ms);
        self.clients[at].syncing = Some(ticket);
    }

    fn saved(&mut self, well: bool) {
        self.open.extend(std::mem::take(&mut self.rig.saves));
        if self.open.is_empty() {
            return;
        }
        let save = self.open.remove(0);
        if well {
            self.journaled = Some(save.snapshot);
        }
        let outcome = if well { Ok(()) } else { Err(GroupError::Unavailable("no".into())) };
        if let Some(number) = save.number {
            self.rig.saved(number, outcome);
        }
    }

    fn restart(&mut self) {
        let now_ms = self.rig.now_ms;
        let journaled = self.journaled.as_ref();
        let restored = journaled.map(|bytes| Group::restore("g", bytes, now_ms).unwrap());
        self.rig.group = restored.unwrap_or_else(|| Group::new("g"));
        self.generation = self.rig.group.generation();
        self.open.clear();
        self.since_ms.clear();
        for client in &mut self.clients {
            (client.joining, client.syncing) = (None, None);
            // A generation that was not journaled is formed again: its leader has to ask again.
            client.assigns_to.clear();
        }
    }

    /// Clients read their answers.
    fn hear(&mut self) {
        for ticket in self.rig.joined.keys().chain(self.rig.synced.keys()) {
            self.since_ms.remove(ticket);
        }
        let mut leaders: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for client in &mut self.clients {
            let answer = client.joining.and_then(|ticket| self.rig.joined.remove(&ticket));
            if let Some(answer) = answer {
                client.joining = None;
                match answer {
                    Ok(joined) => {
                        client.id.clone_from(&joined.member_id);
                        client.generation = joined.generation;
                        client.assigns_to.clear();
                        if joined.leader == joined.member_id {
                            leaders.entry(joined.generation).or_default().push(joined.leader);
                        }
                        assert!(
                            joined.members.is_empty() || leaders.contains_key(&joined.generation)
                        );
                        if !joined.skip_assignment {
                            let keys = joined.members.into_iter();
                            let keys = keys.map(|it| it.instance_id.unwrap_or(it.member_id));
                            client.assigns_to = keys.collect();
                        }
                    }
                    Err(GroupError::MemberIdRequired(id)) => client.id = id,
                    Err(GroupError::UnknownMember | GroupError::Fenced) => client.id.clear(),
                    Err(_) => {}
                }
            }
            let answer = client.syncing.and_then(|ticket| self.rig.synced.remove(&ticket));
            if let Some(answer) = answer {
                client.syncing = None;
                if let Ok(synced) = answer {
                    let key = client.instance_id.as_ref().unwrap_or(&client.id);
                    let expected = format!("{key}@{}", client.generation);
                    let told = String::from_utf8(synced.assignment.to_vec()).unwrap();
                    assert!(told == expected || told.is_empty(), "{told} is not {expected}");
                }
            }
        }
        assert!(leaders.values().all(|ids| ids.len() == 1), "one leader: {leaders:?}");
    }

    fn check(&mut self) {
        let group = &self.rig.group;
        assert!(group.generation() >= self.generation, "generations only grow");
        self.generation = group.generation();
        let leads = group.leader.as_deref().is_some_and(|id| group.roster.get(id).is_some());
        match group.state() {
            GroupState::Empty => assert!(group.roster.is_empty() && group.leader.is_none()),
            GroupState::PreparingRebalance => assert!(group.join_deadline_ms.is_some()),
            GroupState::CompletingRebalance => {
                assert!(leads && group.protocol.is_some());
                assert!(group.roster.iter().all(|member| member.joining.is_none()));
            }
            GroupState::Stable => assert!(leads && group.storing.is_none()),
            GroupState::Dead => unreachable!("nobody buries it"),
        }
        for member in group.roster.iter() {
            if let Some(instance) = &member.profile.instance_id {
                assert_eq!(group.roster.instance(instance), Some(&*member.profile.id));
            }
            assert!(
                member.deadline_ms.is_some()
                    || member.joining.is_some()
                    || member.syncing.is_some(),
                "nobody is in for ever"
            );
        }
        let oldest = self.since_ms.values().min().copied().unwrap_or(self.rig.now_ms);
        assert!(self.rig.now_ms - oldest <= WAIT_MS_MAX, "somebody waits too long");
    }

    /// Everybody has gone home: who waits is answered, and nobody stays.
    fn end(mut self) {
        for _ in 0..8 {
            self.rig.pass(WAIT_MS_MAX);
            self.open.extend(std::mem::take(&mut self.rig.saves));
            while !self.open.is_empty() {
                self.saved(true);
            }
            self.hear();
            self.check();
        }
        assert!(self.since_ms.is_empty(), "{:?} wait for ever", self.since_ms);
        assert_eq!(self.rig.state(), GroupState::Empty);
        assert_eq!(self.rig.group.next_deadline_ms(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn every_client_gets_what_it_may_rely_on(ops in ops(), delay_ms in 0..3_000_u32) {
        let mut world = World::new(delay_ms);
        for op in ops {
            world.run(op);
        }
        world.end();
    }
}
