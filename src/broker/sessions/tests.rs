//! A session against a model of its receiver: window, order, redelivery, what is dropped. Part of `broker::sessions`.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::broker::Broker;
use crate::broker::publish::Publisher;
use crate::broker::queues::queue::packet_id;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::{Client, NOW_MS, Numbered, Sent, publisher, settle};
use crate::metrics::DropReason;
use crate::model::qos::QoS;

#[derive(Clone, Debug)]
enum Step {
    Publish(QoS),
    Sync,
    Pull,
    /// The next acknowledgement of the message of this rank among those in flight.
    Acknowledge(usize),
    /// The connection's buffer is full, or has room again.
    Full(bool),
    /// The client comes back with this window.
    Reconnect(u16),
    /// The next step of a checkpoint; after the last one pages go out.
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = (0u8..3).prop_map(|bits| QoS::from_bits(bits).unwrap());
    prop_oneof![
        6 => qos.prop_map(Step::Publish),
        3 => Just(Step::Sync),
        3 => Just(Step::Pull),
        6 => any::<usize>().prop_map(Step::Acknowledge),
        1 => any::<bool>().prop_map(Step::Full),
        1 => (1u16..6).prop_map(Step::Reconnect),
        4 => Just(Step::Checkpoint),
    ]
}

/// A message that the receiver was sent and has not acknowledged for good.
#[derive(Clone, Debug)]
struct Flight {
    value: u32,
    qos: QoS,
    id: u16,
    released: bool,
    /// Sent, or sent again, on this connection.
    here: bool,
}

struct Model {
    bed: Bed,
    broker: Arc<Broker>,
    publisher: Publisher,
    client: Client,
    durable: bool,
    window: u16,
    published: u32,
    /// What must arrive, in this order.
    owed: Vec<u32>,
    flights: Vec<Flight>,
    last_volatile: Option<u32>,
}

impl Model {
    fn new(durable: bool, window: u16) -> Self {
        let mut bed = Bed::roomy();
        let broker = Arc::clone(&bed.broker);
        let mut client = Client::open(&broker, "c", durable, window, || bed.sync());
        client.subscribe(&broker, "#", QoS::ExactlyOnce, || bed.sync());
        let publisher = publisher(&broker);
        Self {
            bed,
            broker,
            publisher,
            client,
            durable,
            window,
            published: 0,
            owed: Vec::new(),
            flights: Vec::new(),
            last_volatile: None,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Publish(qos) => {
                self.published += 1;
                let message = Numbered::new("t", self.published, *qos);
                message.publish(&self.broker, &mut self.publisher);
                if *qos > QoS::AtMostOnce {
                    self.owed.push(self.published);
                }
            }
            Step::Sync => self.bed.sync(),
            Step::Pull => {}
            Step::Acknowledge(rank) => self.acknowledge(*rank),
            Step::Full(full) => self.client.receiver.full.store(*full, Ordering::SeqCst),
            Step::Reconnect(window) if self.durable => self.reconnect(*window),
            Step::Reconnect(_) => {}
            Step::Checkpoint => self.bed.checkpoint_step(NOW_MS),
        }
        if matches!(step, Step::Pull) {
            for sent in self.client.turn(&self.broker, NOW_MS) {
                self.receive(&sent);
            }
        } else {
            for sent in self.client.receiver.take() {
                self.receive(&sent);
            }
        }
    }

    fn acknowledge(&mut self, rank: usize) {
        let here: Vec<usize> =
            (0..self.flights.len()).filter(|at| self.flights[*at].here).collect();
        if here.is_empty() {
            return;
        }
        let at = here[rank % here.len()];
        let Flight { id, qos, released, .. } = self.flights[at];
        if qos == QoS::ExactlyOnce && !released {
            assert!(self.client.release(&self.broker, id));
            self.flights[at].released = true;
        } else {
            assert!(self.client.settle(&self.broker, id));
            assert!(!self.client.settle(&self.broker, id), "acknowledged twice");
            self.flights.remove(at);
        }
    }

    fn reconnect(&mut self, window: u16) {
        self.client.close(&self.broker);
        let bed = &mut self.bed;
        let old = std::mem::replace(
            &mut self.client,
            Client::open(&self.broker, "c", true, window, || bed.sync()),
        );
        for flight in &mut self.flights {
            flight.here = false;
            let stale = NonZeroU16::new(flight.id).unwrap();
            assert!(!settle(&self.broker, &old.handle, stale, &mut Vec::new()), "of the old one");
        }
        self.window = window;
    }

    fn receive(&mut self, sent: &Sent) {
        if sent.qos == QoS::AtMostOnce {
            assert!(!sent.dup && sent.packet_id == 0, "[MQTT-3.3.1-2] [MQTT-2.2.1-2]");
            assert!(self.last_volatile < Some(sent.value()), "order of QoS 0");
            self.last_volatile = Some(sent.value());
            return;
        }
        let here = self.flights.iter().filter(|flight| flight.here).count();
        // Releases wait for no window [MQTT-3.3.4-10], and need not wait for messages that do.
        let fits = sent.release || here < usize::from(self.window);
        assert!(fits, "[MQTT-3.3.4-9] window of {}", self.window);
        // What was in flight goes out again first, in order [MQTT-4.6.0-1].
        let mut away = self.flights.iter_mut().filter(|flight| !flight.here);
        if let Some(again) = away.find(|flight| flight.released == sent.release) {
            again.here = true;
            assert_eq!((sent.packet_id, sent.qos), (again.id, again.qos), "[MQTT-4.4.0-1]");
            assert!(sent.release || (sent.dup && sent.value() == again.value), "{sent:?}");
            return;
        }
        assert!(self.flights.iter().all(|flight| flight.here), "a release is owed");
        assert!(!sent.dup && !sent.release, "{sent:?} for the first time");
        assert_eq!(self.owed.remove(0), sent.value(), "in the order published");
        let id = sent.packet_id;
        assert!(self.flights.iter().all(|flight| flight.id != id), "[MQTT-2.2.1-3]");
        let (value, qos) = (sent.value(), sent.qos);
        self.flights.push(Flight { value, qos, id, released: false, here: true });
    }

    /// Everything arrives in the end.
    fn drain(&mut self) {
        self.run(&Step::Full(false));
        for _ in 0..4 * self.published + 8 {
            for step in [Step::Sync, Step::Pull, Step::Acknowledge(0)] {
                self.run(&step);
            }
        }
        self.run(&Step::Sync);
        assert_eq!(self.owed, [0u32; 0], "never sent");
        assert!(self.flights.is_empty());
        let inner = self.client.handle.session.inner.lock();
        assert_eq!((inner.queue.live(), inner.in_flight), (0, 0));
        assert!(inner.volatile.is_empty() && inner.is_drained());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_gets_everything_in_order_within_its_window(
        durable in any::<bool>(),
        window in 1u16..6,
        steps in vec(step(), 1..150),
    ) {
        let mut model = Model::new(durable, window);
        for step in &steps {
            model.run(step);
        }
        model.drain();
    }
}

fn pair(durable: bool, window: u16) -> (Bed, Arc<Broker>, Publisher, Client) {
    let Model { bed, broker, publisher, client, .. } = Model::new(durable, window);
    (bed, broker, publisher, client)
}

fn dropped(broker: &Broker, client: &mut Client, reason: DropReason) -> u64 {
    client.counters.flush_into(&broker.metrics);
    broker.metrics.messages.dropped.of(reason).get()
}

#[test]
fn a_qos_0_message_goes_behind_its_own_publishers_records() {
    let (mut bed, broker, mut publisher, mut client) = pair(true, 9);
    Numbered::new("t", 1, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    Numbered::new("t", 2, QoS::AtMostOnce).publish(&broker, &mut publisher);
    assert_eq!(client.turn(&broker, NOW_MS), [], "nothing is durable yet");
    Numbered::new("t", 3, QoS::ExactlyOnce).publish(&broker, &mut publisher);
    Numbered::new("t", 4, QoS::AtMostOnce).publish(&broker, &mut publisher);
    bed.sync();
    client.turn(&broker, NOW_MS);
    assert_eq!(client.values(), [1, 2, 3, 4]);
    // With nothing under way it is served at once.
    Numbered::new("t", 5, QoS::AtMostOnce).publish(&broker, &mut publisher);
    assert_eq!(client.receiver.take()[0].value(), 5);
}

/// The applier's thread makes a batch visible record by record, and the connection may look in between.
#[test]
fn half_an_applied_batch_shows_nothing_out_of_order() {
    let (mut bed, broker, mut publisher, mut client) = pair(true, 9);
    for value in [1, 3, 5] {
        Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        Numbered::new("t", value + 1, QoS::AtMostOnce).publish(&broker, &mut publisher);
    }
    let before = broker.applied_lsn();
    bed.sync();
    // As it is while the last record's effects are seen and the batch is not yet done.
    broker.set_applied(before);
    client.turn(&broker, NOW_MS);
    assert_eq!(client.values(), [1, 2, 3, 4, 5]);
    broker.set_applied(broker.journal.last_lsn());
    client.turn(&broker, NOW_MS);
    assert_eq!(client.values(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_expires_in_the_queue_is_dropped_and_counted() {
    let (mut bed, broker, mut publisher, mut client) = pair(true, 1);
    for value in 1..4 {
        let expiry_s = (value == 2).then_some(1);
        let message = Numbered::new("t", value, QoS::AtLeastOnce);
        Numbered { expiry_s, ..message }.publish(&broker, &mut publisher);
    }
    bed.sync();
    let first = client.turn(&broker, NOW_MS);
    assert!(client.settle(&broker, first[0].packet_id));
    client.turn(&broker, NOW_MS + 1_000);
    assert_eq!(client.values(), [1, 3], "the next one takes its place in the window");
    assert_eq!(dropped(&broker, &mut client, DropReason::Expired), 1);
    bed.sync();
    assert_eq!(client.handle.session.inner.lock().queue.live(), 1, "gone for good");
}

/// MQTT5-3.3.2.3.3 lets a message expire; [MQTT5-4.3.3-7] [MQTT5-4.4.0-1] have what was sent go on.
#[test]
fn what_was_sent_once_does_not_expire() {
    let (mut bed, broker, mut publisher, mut client) = pair(true, 9);
    for (value, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce), (3, QoS::ExactlyOnce)] {
        let message = Numbered { expiry_s: Some(1), ..Numbered::new("t", value, qos) };
        message.publish(&broker, &mut publisher);
    }
    bed.sync();
    let sent = client.turn(&broker, NOW_MS);
    assert!(client.release(&broker, sent[1].packet_id));
    bed.sync();
    client.close(&broker);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    let again = client.turn(&broker, NOW_MS + 60_000);
    let what: Vec<(u16, bool, bool)> =
        again.iter().map(|sent| (sent.packet_id, sent.dup, sent.release)).collect();
    let [one, two, three] = [0, 1, 2].map(|at| sent[at].packet_id);
    assert_eq!(what, [(one, true, false), (two, false, true), (three, true, false)]);
}

/// Messages acknowledged out of order leave gaps: what is in flight may reach far beyond the window's size.
#[test]
fn after_a_crash_what_may_have_been_sent_is_marked() {
    let (mut bed, broker, mut publisher, mut client) = pair(true, 2);
    for value in 1..7 {
        Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    }
    bed.sync();
    // 1 stays, 2 to 4 are acknowledged, 5 is sent, 6 is not.
    for _ in 0..4 {
        let newest = client.turn(&broker, NOW_MS).pop().unwrap();
        if newest.value() < 5 {
            assert!(client.settle(&broker, newest.packet_id));
        }
    }
    bed.sync();
    assert_eq!(client.values(), [1, 2, 3, 4, 5]);
    let epoch = client.handle.epoch;
    drop((broker, publisher, client));
    let mut bed = bed.restart(&mut |_, _| 0);
    bed.resume(NOW_MS);
    let broker = Arc::clone(&bed.broker);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    assert!(client.handle.epoch > epoch);
    let again = client.turn(&broker, NOW_MS);
    let what: Vec<(u32, bool)> = again.iter().map(|sent| (sent.value(), sent.dup)).collect();
    assert_eq!(what, [(1, true), (5, true), (6, false)], "[MQTT-3.3.1-1]");
}

#[test]
fn a_full_buffer_drops_qos_0_and_queues_the_rest() {
    for durable in [false, true] {
        let (mut bed, broker, mut publisher, mut client) = pair(durable, 9);
        client.receiver.full.store(true, Ordering::SeqCst);
        Numbered::new("t", 1, QoS::AtMostOnce).publish(&broker, &mut publisher);
        Numbered::new("t", 2, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        Numbered::new("t", 3, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        bed.sync();
        assert_eq!(client.turn(&broker, NOW_MS), []);
        publisher.counters.flush_into(&broker.metrics);
        let lost = broker.metrics.messages.dropped.of(DropReason::OutboundFull).get();
        assert_eq!(lost, 1, "durable {durable}");
        assert!(client.receiver.ready.load(Ordering::SeqCst) > 0, "called when there is room");
        client.receiver.full.store(false, Ordering::SeqCst);
        client.turn(&broker, NOW_MS);
        assert_eq!(client.values(), [2, 3]);
    }
}

#[test]
fn without_a_connection_qos_0_is_dropped_and_the_rest_waits() {
    let (mut bed, broker, mut publisher, client) = pair(true, 9);
    client.close(&broker);
    bed.sync();
    for (value, qos) in [(1, QoS::AtMostOnce), (2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce)] {
        Numbered::new("t", value, qos).publish(&broker, &mut publisher);
    }
    publisher.counters.flush_into(&broker.metrics);
    assert_eq!(broker.metrics.messages.dropped.of(DropReason::Qos0Offline).get(), 1);
    let mut client = Client::open(&broker, "c", true, 9, || bed.sync());
    let sent = client.turn(&broker, NOW_MS);
    assert_eq!(client.values(), [2, 3]);
    assert!(sent.iter().all(|sent| !sent.dup), "nobody was sent them before");
}

/// [MQTT5-3.1.2-25]: what is too large for the receiver is done with.
#[test]
fn what_the_receiver_cannot_take_leaves_the_queue() {
    for durable in [false, true] {
        let (mut bed, broker, mut publisher, mut client) = pair(durable, 1);
        client.receiver.refuses_large.store(true, Ordering::SeqCst);
        for value in 1..4 {
            Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        }
        bed.sync();
        client.turn(&broker, NOW_MS);
        bed.sync();
        client.receiver.refuses_large.store(false, Ordering::SeqCst);
        publisher.counters.flush_into(&broker.metrics);
        assert_eq!(dropped(&broker, &mut client, DropReason::PacketTooLarge), 3);
        Numbered::new("t", 4, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        bed.sync();
        client.turn(&broker, NOW_MS);
        assert_eq!(client.values(), [4], "durable {durable}");
        let inner = client.handle.session.inner.lock();
        assert_eq!((inner.queue.live(), inner.in_flight), (1, 1));
    }
}

/// The window of 65,535 and more: an identifier is free only once its message is done with.
#[test]
fn one_message_that_is_never_acknowledged_holds_its_identifier_only() {
    let (_bed, broker, mut publisher, mut client) = pair(false, u16::MAX);
    Numbered::new("t", 0, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    let stuck = client.receiver.take()[0].packet_id;
    let mut ids = BTreeSet::from([stuck]);
    for value in 1..65_535 {
        Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        let sent = client.receiver.take();
        assert!(ids.insert(sent[0].packet_id));
        assert!(client.settle(&broker, sent[0].packet_id));
    }
    Numbered::new("t", 65_535, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    assert_eq!(client.turn(&broker, NOW_MS), [], "its identifier is in use");
    assert_eq!(packet_id(65_535).get(), stuck);
    assert!(client.settle(&broker, stuck));
    let sent = client.turn(&broker, NOW_MS);
    assert_eq!((sent[0].value(), sent[0].packet_id), (65_535, stuck));
}

#[test]
fn a_taken_over_connection_is_told_and_gets_nothing_more() {
    for durable in [false, true] {
        let (mut bed, broker, mut publisher, mut old) = pair(durable, 9);
        let mut new = Client::open(&broker, "c", durable, 9, || bed.sync());
        assert!(old.receiver.closed.lock().is_some());
        new.subscribe(&broker, "#", QoS::ExactlyOnce, || bed.sync());
        Numbered::new("t", 1, QoS::AtLeastOnce).publish(&broker, &mut publisher);
        Numbered::new("t", 2, QoS::AtMostOnce).publish(&broker, &mut publisher);
        old.close(&broker);
        bed.sync();
        assert_eq!((old.turn(&broker, NOW_MS), new.turn(&broker, NOW_MS).len()), (vec![], 2));
        assert_eq!(new.values(), [1, 2], "durable {durable}");
    }
}

/// The message was sent again before the record of its acknowledgement was applied.
#[test]
fn an_acknowledgement_recorded_after_a_takeover_leaves_the_window_whole() {
    let mut bed = Bed::new();
    let broker = Arc::clone(&bed.broker);
    let mut old = Client::open(&broker, "slow", true, 1, || bed.sync());
    old.subscribe(&broker, "t", QoS::AtLeastOnce, || bed.sync());
    let mut publisher = publisher(&broker);
    for value in 1..3 {
        Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    }
    bed.sync();
    let id = NonZeroU16::new(old.turn(&broker, NOW_MS)[0].packet_id).unwrap();
    let mut settled = Vec::new();
    assert!(settle(&broker, &old.handle, id, &mut settled));
    let mut new = Client::open(&broker, "slow", true, 1, || bed.sync());
    assert_eq!(new.turn(&broker, NOW_MS)[0].value(), 1);
    new.receiver.ready.store(0, Ordering::SeqCst);
    broker.submit_settled(&old.handle, &mut settled);
    bed.sync();
    assert!(!new.settle(&broker, id.get()), "it is done with");
    assert!(new.receiver.ready.load(Ordering::SeqCst) > 0, "it is called to go on");
    assert_eq!(new.turn(&broker, NOW_MS)[0].value(), 2);
}

/// A fast receiver is ahead of the journal: identifiers run out although nothing is in flight any more.
#[test]
fn a_receiver_that_used_every_identifier_goes_on_when_its_records_are_applied() {
    let mut bed = Bed::new();
    let broker = Arc::clone(&bed.broker);
    let mut client = Client::open(&broker, "fast", true, u16::MAX, || bed.sync());
    client.subscribe(&broker, "t", QoS::AtLeastOnce, || bed.sync());
    let mut publisher = publisher(&broker);
    for value in 0..65_540 {
        Numbered::new("t", value, QoS::AtLeastOnce).publish(&broker, &mut publisher);
    }
    bed.sync();
    let mut got = 0;
    loop {
        let came = client.turn(&broker, NOW_MS);
        if came.is_empty() {
            break;
        }
        got += came.len();
        for sent in came {
            assert!(client.settle(&broker, sent.packet_id));
        }
    }
    assert_eq!(got, 65_535, "one more would repeat an identifier");
    client.receiver.ready.store(0, Ordering::SeqCst);
    bed.sync();
    assert!(client.receiver.ready.load(Ordering::SeqCst) > 0, "it is called to go on");
    assert_eq!(client.turn(&broker, NOW_MS).len(), 5);
}
