//! What a broker should be: vectors and maps, written from `docs/guarantees.md` and the protocols' rules. Part of the
//! simulation of `broker`.
//!
//! It knows nothing of records, positions, pages or files. Messages are numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::{FILTERS, QUEUES, RECEIVE_MAX, ROUTED, SHORT_MAX, SHORT_TTL_MS, TOPICS, WILL};

/// A message of MQTT: number, topic, quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) topic: usize,
    pub(super) qos: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// Sent, on this connection or an earlier one.
    Sent,
    /// PUBREC came: PUBREL goes out until PUBCOMP comes.
    Released,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) connected: bool,
    pub(super) expiry_s: u32,
    pub(super) subscriptions: BTreeMap<usize, u8>,
    pub(super) queue: Vec<(u64, u8, State)>,
    /// Identifiers of QoS 2 publishes that were not released.
    pub(super) inbound: BTreeSet<u16>,
    /// Delay in seconds, and the message's number.
    pub(super) will: Option<(u32, u64)>,
    /// When the will is due and when the session ends, once it is not connected.
    pub(super) will_due_ms: Option<u64>,
    pub(super) ends_ms: Option<u64>,
    /// What it sends again after a reconnect, and what is new: not said to the client yet.
    pub(super) to_say: Vec<(u64, bool)>,
}

/// A message in an AMQP queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) number: u64,
    expires_ms: u64,
    pub(super) out: bool,
    pub(super) returned: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) start: usize,
    pub(super) values: Vec<u64>,
    /// Of each producer: offset of its last record, and the sequence after it.
    producers: BTreeMap<i64, (usize, i32)>,
}

/// What an append comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    At(i64),
    Refused,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) now_ms: u64,
    pub(super) sessions: BTreeMap<usize, Session>,
    pub(super) retained: BTreeMap<usize, Message>,
    pub(super) queues: BTreeMap<usize, Vec<Queued>>,
    /// Queues that get what is published to a topic.
    pub(super) bound: BTreeSet<usize>,
    pub(super) logs: BTreeMap<usize, Log>,
    /// Committed by the group: offset and when.
    pub(super) offsets: BTreeMap<usize, (i64, u64)>,
}

/// MQTT-4.7.1: level by level.
fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    for (at, level) in filter.iter().enumerate() {
        match *level {
            "#" => return true,
            "+" if at < topic.len() => {}
            level if topic.get(at) == Some(&level) => {}
            _ => return false,
        }
    }
    filter.len() == topic.len()
}

impl Model {
    /// A message reaches everybody it concerns.
    pub(super) fn deliver(&mut self, message: Message) {
        let topic = TOPICS[message.topic];
        for session in self.sessions.values_mut() {
            let granted =
                session.subscriptions.iter().filter(|(at, _)| matches(FILTERS[**at], topic));
            let Some(granted) = granted.map(|(_, qos)| *qos).max() else { continue };
            if granted.min(message.qos) > 0 {
                session.queue.push((message.number, granted.min(message.qos), State::Waiting));
            }
        }
        if message.qos > 0 && topic == "a/b" {
            for queue in self.bound.clone() {
                self.enqueue(queue, message.number);
            }
        }
        if topic == "a/c" {
            self.logs.entry(ROUTED).or_default().values.push(message.number);
        }
    }

    /// With QoS 2 under an identifier that was not released it is a repetition (MQTT-4.3.3).
    pub(super) fn publish(&mut self, who: usize, id: u16, message: Message) {
        if message.qos == 2 {
            let Some(session) = self.sessions.get_mut(&who) else { return };
            if !session.inbound.insert(id) {
                return;
            }
        }
        self.deliver(message);
    }

    pub(super) fn retain(&mut self, message: Message, is_empty: bool) {
        match is_empty {
            true => drop(self.retained.remove(&message.topic)),
            false => drop(self.retained.insert(message.topic, message)),
        }
        self.deliver(message);
    }

    /// A client connects (MQTT-3.1.2.4, MQTT5-3.1.2.5); whoever was connected under its name is gone (MQTT-3.1.4-3).
    pub(super) fn open(
        &mut self,
        who: usize,
        clean: bool,
        expiry_s: u32,
        will: Option<(u32, u64)>,
    ) {
        if let Some(before) = self.sessions.get_mut(&who) {
            let left = before.will.take();
            let pending = before.will_due_ms.take().is_some() || before.connected;
            if let Some((delay_s, number)) = left.filter(|_| pending)
                && (clean || (before.connected && delay_s == 0))
            {
                self.deliver_will(number);
            }
            if clean {
                self.sessions.remove(&who);
            }
        }
        let session = self.sessions.entry(who).or_default();
        session.connected = true;
        session.expiry_s = expiry_s;
        session.will = will;
        session.ends_ms = None;
        session.to_say.clear();
        // MQTT-4.4.0-1: again, in the order in which they were sent.
        let again = session.queue.iter().filter(|(_, _, state)| *state != State::Waiting);
        session.to_say =
            again.map(|(number, _, state)| (*number, *state == State::Released)).collect();
    }

    fn deliver_will(&mut self, number: u64) {
        self.deliver(Message { number, topic: WILL, qos: 1 });
    }

    pub(super) fn close(&mut self, who: usize, discard_will: bool) {
        let now_ms = self.now_ms;
        let Some(session) = self.sessions.get_mut(&who).filter(|session| session.connected) else {
            return;
        };
        session.connected = false;
        session.to_say.clear();
        if discard_will {
            session.will = None;
        }
        let ends = session.expiry_s != u32::MAX;
        session.ends_ms = ends.then(|| now_ms + u64::from(session.expiry_s) * 1000);
        match session.will {
            Some((0, number)) => {
                session.will = None;
                self.deliver_will(number);
            }
            Some((delay_s, _)) => {
                let delay_s = delay_s.min(session.expiry_s);
                session.will_due_ms = Some(now_ms + u64::from(delay_s) * 1000);
            }
            None => {}
        }
    }

    /// Time passes: what is due happens, the earliest first.
    pub(super) fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        loop {
            let dues = self.sessions.iter().flat_map(|(who, session)| {
                let will = session.will_due_ms.map(|at| (at, false, *who));
                let end = session.ends_ms.map(|at| (at, true, *who));
                will.into_iter().chain(end)
            });
            let Some((_, is_end, who)) = dues.filter(|(at, _, _)| *at <= self.now_ms).min() else {
                break;
            };
            let Some(session) = self.sessions.get_mut(&who) else { break };
            session.will_due_ms = None;
            if let Some((_, number)) = session.will.take() {
                self.deliver_will(number);
            }
            if is_end {
                self.sessions.remove(&who);
            }
        }
        for number in 0..QUEUES.len() {
            self.tidy(number);
        }
    }

    /// What the broker sends next to a client that takes everything; numbers, and whether it is a PUBREL.
    pub(super) fn said(&mut self, who: usize) -> Vec<(u64, bool)> {
        let Some(session) = self.sessions.get_mut(&who).filter(|session| session.connected) else {
            return Vec::new();
        };
        let mut said = std::mem::take(&mut session.to_say);
        let mut under_way =
            session.queue.iter().filter(|(_, _, state)| *state != State::Waiting).count();
        for (number, _, state) in &mut session.queue {
            if *state == State::Waiting && under_way < RECEIVE_MAX {
                *state = State::Sent;
                under_way += 1;
                said.push((*number, false));
            }
        }
        said
    }

    /// The client answers the first message that waits for it: PUBACK, PUBREC, or PUBCOMP. What it answered.
    pub(super) fn acknowledge(&mut self, who: usize) -> Option<(u64, u8, State)> {
        let session = self.sessions.get_mut(&who).filter(|session| session.connected)?;
        let at = session.queue.iter().position(|(_, _, state)| *state != State::Waiting)?;
        let (number, qos, state) = session.queue[at];
        if qos == 2 && state == State::Sent {
            session.queue[at].2 = State::Released;
        } else {
            session.queue.remove(at);
        }
        Some((number, qos, state))
    }

    pub(super) fn subscribe(&mut self, who: usize, filter: usize, qos: u8) {
        let Some(session) = self.sessions.get_mut(&who) else { return };
        session.subscriptions.insert(filter, qos);
        // MQTT-3.3.1-6: the values of its topics come at once.
        for message in self.retained.values() {
            if matches(FILTERS[filter], TOPICS[message.topic]) && qos.min(message.qos) > 0 {
                session.queue.push((message.number, qos.min(message.qos), State::Waiting));
            }
        }
    }

    pub(super) fn enqueue(&mut self, queue: usize, number: u64) {
        let now_ms = self.now_ms;
        let Some(messages) = self.queues.get_mut(&queue) else { return };
        let expires_ms = if queue == 1 { now_ms + SHORT_TTL_MS } else { u64::MAX };
        messages.push(Queued { number, expires_ms, out: false, returned: false });
        self.tidy(queue);
    }

    /// Too old at the front, then too many (drop-head); what is out does not count.
    pub(super) fn tidy(&mut self, queue: usize) {
        let now_ms = self.now_ms;
        let Some(messages) = self.queues.get_mut(&queue) else { return };
        while let Some(at) = messages.iter().position(|one| !one.out)
            && messages[at].expires_ms <= now_ms
        {
            messages.remove(at);
        }
        while queue == 1 && messages.iter().filter(|one| !one.out).count() > SHORT_MAX {
            let Some(at) = messages.iter().position(|one| !one.out) else { break };
            messages.remove(at);
        }
    }

    /// basic.get.
    pub(super) fn fetch(&mut self, queue: usize) -> Option<(u64, bool)> {
        self.tidy(queue);
        let one = self.queues.get_mut(&queue)?.iter_mut().find(|one| !one.out)?;
        one.out = true;
        Some((one.number, one.returned))
    }

    /// basic.ack or basic.reject of the oldest one that is out; or it goes back to its place.
    pub(super) fn answer(&mut self, queue: usize, number: u64, requeue: bool) {
        let Some(messages) = self.queues.get_mut(&queue) else { return };
        let Some(at) = messages.iter().position(|one| one.number == number && one.out) else {
            return;
        };
        if requeue {
            (messages[at].out, messages[at].returned) = (false, true);
            self.tidy(queue);
        } else {
            messages.remove(at);
        }
    }

    /// KIP-98: a batch of a producer is in the log once, and in sequence.
    pub(super) fn append(
        &mut self,
        log: usize,
        producer: Option<(i64, i32)>,
        number: u64,
    ) -> Answer {
        let Some(log) = self.logs.get_mut(&log) else { return Answer::Refused };
        if let Some((id, sequence)) = producer {
            match log.producers.get(&id) {
                Some((offset, next)) if sequence == next - 1 => return Answer::At(*offset as i64),
                Some((_, next)) if sequence != *next => return Answer::Refused,
                _ => {}
            }
            log.producers.insert(id, (log.values.len(), sequence + 1));
        }
        log.values.push(number);
        Answer::At(log.values.len() as i64 - 1)
    }

    /// The sequence that a producer sends next.
    pub(super) fn sequence(&self, log: usize, producer: i64) -> i32 {
        let log = self.logs.get(&log);
        log.and_then(|log| log.producers.get(&producer)).map_or(0, |(_, next)| *next)
    }

    pub(super) fn delete_log(&mut self, log: usize) {
        self.logs.remove(&log);
        self.offsets.remove(&log);
    }

    /// All that outlives a restart, which ends every connection.
    pub(super) fn restart(&mut self) {
        for who in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.close(who, false);
        }
        for messages in self.queues.values_mut() {
            messages.iter_mut().for_each(|one| (one.out, one.returned) = (false, false));
        }
        for number in 0..QUEUES.len() {
            self.tidy(number);
        }
    }
}
