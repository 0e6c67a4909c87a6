//! Groups of durable and clean sessions, at random, with power cuts, against what everybody was promised. Tests of
//! `broker::shares`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::broker::testbed::client::{Client, NOW_MS, Numbered, Sent, publisher, waiter};
use crate::broker::testbed::snapshot::snapshot;
use crate::broker::testbed::{Bed, check_references};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

const SHARED: &str = "$share/g/t";
/// The last one's session ends with its connection.
const MEMBERS: usize = 4;
const CLEAN: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Publish(bool),
    Turn(usize),
    Acknowledge(usize),
    Connect(usize),
    Leave(usize),
    Unsubscribe(usize),
    Sync,
    Checkpoint,
    Restart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..MEMBERS;
    prop_oneof![
        10 => any::<bool>().prop_map(Step::Publish),
        12 => who().prop_map(Step::Turn),
        10 => who().prop_map(Step::Acknowledge),
        5 => who().prop_map(Step::Connect),
        3 => who().prop_map(Step::Leave),
        1 => (1..MEMBERS).prop_map(Step::Unsubscribe),
        8 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        1 => any::<u64>().prop_map(Step::Restart),
    ]
}

fn make_room(bed: &Bed) {
    let mut limits = *bed.broker.limits();
    limits.queue.messages_max = 100_000;
    bed.broker.limits.store(Arc::new(limits));
}

/// What a member has of the messages.
#[derive(Default)]
struct Member {
    client: Option<Client>,
    /// Sent on this connection and not answered for good; whether PUBREC was sent.
    open: Vec<(Sent, bool)>,
    /// QoS 2 identifiers that the client holds, and what came under them (method B of MQTT-4.3.3).
    received: BTreeMap<u16, u32>,
    /// What it was given of QoS 2, each time.
    twos: Vec<u32>,
}

struct World {
    bed: Bed,
    members: Vec<Member>,
    next: u32,
    /// Synced, by whether they are of QoS 2.
    accepted: BTreeMap<u32, bool>,
    fresh: Vec<(u32, bool)>,
    /// Acknowledged by somebody, the record synced.
    done: BTreeSet<u32>,
    /// What a session took with it that is over.
    gone: BTreeSet<u32>,
    /// What a session that is not durable was sent before a power cut, which it did not outlive.
    again: BTreeSet<u32>,
}

impl World {
    fn new() -> Self {
        let bed = Bed::new();
        make_room(&bed);
        bed.resume(NOW_MS);
        let members = (0..MEMBERS).map(|_| Member::default()).collect();
        let (accepted, fresh) = (BTreeMap::new(), Vec::new());
        let (done, gone, again) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut world = Self { bed, members, next: 1, accepted, fresh, done, gone, again };
        world.connect(0);
        world
    }

    fn sync(&mut self) {
        self.bed.sync();
        self.accepted.extend(self.fresh.drain(..));
    }

    fn connect(&mut self, who: usize) {
        if self.members[who].client.is_some() {
            return;
        }
        self.sync();
        let broker = Arc::clone(&self.bed.broker);
        let id = format!("m{who}");
        let mut client = Client::open(&broker, &id, who != CLEAN, 3, || self.bed.sync());
        let member = &mut self.members[who];
        if !client.handle.session.inner.lock().subscriptions.contains_key(SHARED) {
            client.subscribe(&broker, SHARED, QoS::ExactlyOnce, || self.bed.sync());
        }
        if who == CLEAN {
            member.received.clear();
        }
        member.client = Some(client);
    }

    fn leave(&mut self, who: usize) {
        let member = &mut self.members[who];
        let Some(client) = member.client.take() else { return };
        client.close(&self.bed.broker);
        let open = std::mem::take(&mut member.open);
        if who == CLEAN {
            let of_two = open.iter().filter(|(sent, _)| sent.qos == QoS::ExactlyOnce);
            self.gone.extend(of_two.map(|(sent, _)| sent.value()));
            self.gone.extend(std::mem::take(&mut member.received).into_values());
            // That nobody else gets those is on disk a moment later; a power cut before that gives them to others.
            self.sync();
        }
    }

    fn turn(&mut self, who: usize) {
        self.sync();
        let member = &mut self.members[who];
        let Some(client) = &mut member.client else { return };
        client.turn(&self.bed.broker, NOW_MS);
        // A dispatch serves everybody.
        for member in &mut self.members {
            let Some(client) = &mut member.client else { continue };
            // What this one's own turn took is in what it has seen.
            let came: Vec<Sent> = client.seen.drain(..).chain(client.receiver.take()).collect();
            for sent in came {
                if sent.release {
                    member.open.retain(|(open, _)| open.packet_id != sent.packet_id);
                    member.open.push((sent, true));
                    continue;
                }
                if sent.qos == QoS::ExactlyOnce && !member.received.contains_key(&sent.packet_id) {
                    member.received.insert(sent.packet_id, sent.value());
                    member.twos.push(sent.value());
                }
                let id = sent.packet_id;
                assert!(member.open.iter().all(|(open, _)| open.packet_id != id), "id {id} twice");
                member.open.push((sent, false));
                assert!(member.open.len() <= 3, "more than the receive maximum");
            }
        }
    }

    fn acknowledge(&mut self, who: usize) {
        let member = &mut self.members[who];
        let Some(client) = &mut member.client else { return };
        if member.open.is_empty() {
            return;
        }
        let (sent, released) = member.open.remove(0);
        let id = sent.packet_id;
        if sent.qos == QoS::ExactlyOnce && !released {
            assert!(client.release(&self.bed.broker, id));
            member.open.push((sent, true));
        } else {
            assert!(client.settle(&self.bed.broker, id), "{sent:?}");
            if let Some(value) = member.received.remove(&id) {
                self.done.insert(value);
            } else if !sent.release {
                self.done.insert(sent.value());
            }
        }
        // What is acknowledged and not synced may come again, to whoever it may.
        self.sync();
    }

    fn unsubscribe(&mut self, who: usize) {
        self.sync();
        let Some(client) = &self.members[who].client else { return };
        let filter = TopicFilter::parse(SHARED).unwrap();
        self.bed.broker.unsubscribe(&client.handle, &[filter], waiter().0).unwrap();
        self.sync();
        // Away and back: it must not be for good.
        self.leave(who);
        self.sync();
        self.connect(who);
    }

    fn restart(mut self, seed: u64) -> Self {
        self.fresh.clear();
        for who in 0..MEMBERS {
            let member = &mut self.members[who];
            member.client = None;
            let open = std::mem::take(&mut member.open);
            if who == CLEAN {
                self.again.extend(open.iter().map(|(sent, _)| sent.value()));
                // What it said PUBREC for is done with.
                let released = open.iter().filter(|(_, released)| *released);
                self.gone.extend(released.map(|(sent, _)| sent.value()));
                member.received.clear();
            }
        }
        self.bed = self.bed.cut(seed);
        make_room(&self.bed);
        self.bed.resume(NOW_MS);
        self.sync();
        self
    }

    fn run(mut self, steps: &[Step]) -> Self {
        for step in steps {
            match step {
                Step::Publish(two) => {
                    let qos = if *two { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                    let message = Numbered::new("t", self.next, qos);
                    message.publish(&self.bed.broker, &mut publisher(&self.bed.broker));
                    self.fresh.push((self.next, *two));
                    self.next += 1;
                }
                Step::Turn(who) => self.turn(*who),
                Step::Acknowledge(who) => self.acknowledge(*who),
                Step::Connect(who) => self.connect(*who),
                Step::Leave(who) => self.leave(*who),
                Step::Unsubscribe(who) => self.unsubscribe(*who),
                Step::Sync => self.sync(),
                Step::Checkpoint => {
                    self.sync();
                    self.bed.checkpoint_step(NOW_MS);
                }
                Step::Restart(seed) => self = self.restart(*seed),
            }
        }
        self
    }

    /// Everybody comes and answers everything.
    fn finish(mut self) -> Self {
        (0..MEMBERS).for_each(|who| self.connect(who));
        for _ in 0..400 {
            for who in 0..MEMBERS {
                self.turn(who);
                self.acknowledge(who);
            }
        }
        self.sync();
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// Nothing accepted is lost, nothing of QoS 2 comes to two members or to one twice, nobody is sent more than it
    /// takes at a time, a replay gives the state that was live, and in the end nothing is left.
    #[test]
    fn a_group_keeps_what_it_promised(steps in vec(step(), 1..120)) {
        let world = World::new().run(&steps).finish();
        let mut twos = BTreeMap::<u32, usize>::new();
        for value in world.members.iter().flat_map(|member| &member.twos) {
            *twos.entry(*value).or_default() += 1;
        }
        for (value, is_two) in &world.accepted {
            prop_assert!(world.done.contains(value) || world.gone.contains(value), "{value} is lost");
            if *is_two && !world.again.contains(value) {
                prop_assert_eq!(twos.get(value), Some(&1), "{}", value);
            }
        }
        prop_assert_eq!(world.bed.broker.metrics.state.queued.get(), 0);
        check_references(&world.bed.db());
        let live = snapshot(&world.bed);
        prop_assert_eq!(live, snapshot(&Bed::over(world.bed.tape.copy())));
    }
}
