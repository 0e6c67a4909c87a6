//! Delivery to everyone who does not wait for the journal. Part of `broker::publish`.

use std::sync::Arc;

use crate::metrics::DropReason;
use crate::model::ids::Lsn;
use crate::model::qos::QoS;

use super::super::Broker;
use super::super::consumer::Encodings;
use super::super::crossing::TopicView;
use super::super::fanout::{Drop, Fanout, Fate, QueueLimits};
use super::super::message::{Form, Message};
use super::super::queues::entry::Stored;
use super::super::queues::meter::Meter;
use super::super::router::Destination;
use super::Publisher;
use super::resolve::Reach;
use super::route::is_durable;

/// The label of a drop.
#[must_use]
pub fn drop_reason(why: Drop) -> DropReason {
    match why {
        Drop::Offline => DropReason::Qos0Offline,
        Drop::QueueFull => DropReason::QueueFull,
        Drop::SlowConsumer => DropReason::OutboundFull,
        Drop::TooLarge => DropReason::PacketTooLarge,
        Drop::Expired => DropReason::Expired,
        Drop::Unmapped => DropReason::Unmapped,
        Drop::Rejected => DropReason::QueueFull,
        Drop::Overflow => DropReason::Overflow,
        Drop::Gone => DropReason::NoSubscriber,
        Drop::NoRoom => DropReason::NoRoom,
        Drop::Corrupt => DropReason::Corrupt,
    }
}

/// One message on its way, and what all destinations of it share.
struct Flight<'a> {
    message: Message<'a>,
    now_ms: u64,
    /// Non-durable destinations of a retained message that came later get it by replay.
    lsn: Option<Lsn>,
    behind: u64,
    limits: QueueLimits,
    memory: &'a Arc<Meter>,
    /// The encoded body as published, made when the first destination must queue it.
    stored: Option<Arc<Stored>>,
}

impl Publisher {
    fn count(&mut self, fate: Fate, qos: QoS) {
        match fate {
            Fate::Delivered => self.counters.delivered[qos as usize] += 1,
            Fate::Queued => {}
            Fate::Displaced(count) => self.counters.drop_messages(DropReason::Overflow, count),
            Fate::Dropped(why) => self.counters.drop_messages(drop_reason(why), 1),
        }
    }
}

impl Broker {
    /// Delivers to everyone who does not wait for the journal, in durable queues behind the record `behind`.
    /// A retained message's `lsn` decides which sessions get it by replay instead. True when a queue refused it.
    pub(super) fn deliver_direct(
        &self,
        publisher: &mut Publisher,
        reach: &Reach,
        message: Message<'_>,
        lsn: Option<Lsn>,
        behind: Option<Lsn>,
        now_ms: u64,
    ) -> bool {
        if reach.sessions.is_empty() && reach.queues.is_empty() {
            if reach.is_unroutable() && reach.unmapped == 0 && reach.failed.is_empty() {
                publisher.counters.drop_messages(DropReason::NoSubscriber, 1);
            }
            return false;
        }
        let mut encodings = std::mem::take(&mut publisher.encodings);
        let mut flight = Flight {
            message,
            now_ms,
            lsn,
            behind: behind.unwrap_or_default().0,
            limits: self.limits.load().queue,
            memory: &self.volatile,
            stored: None,
        };
        let refused = deliver_to_queues(publisher, reach, &mut flight, &mut encodings);
        deliver_to_sessions(self, publisher, reach, &mut flight, &mut encodings);
        publisher.encodings = encodings;
        refused
    }
}

/// True when a queue refused it, or had no room for it.
fn deliver_to_queues(
    publisher: &mut Publisher,
    reach: &Reach,
    flight: &mut Flight<'_>,
    encodings: &mut Encodings,
) -> bool {
    if reach.queues.is_empty() {
        return false;
    }
    let mut refused = false;
    let by_record = flight.message.qos > QoS::AtMostOnce;
    encodings.reset(reach.queues.len() > 1);
    let mut fanout = Fanout {
        message: flight.message,
        now_ms: flight.now_ms,
        behind: flight.behind,
        limits: flight.limits,
        memory: flight.memory,
        encodings,
        stored: flight.stored.take(),
    };
    for target in &reach.queues {
        if by_record && target.queue.durable {
            continue;
        }
        let fate = target.queue.deliver(target.via.as_ref(), &mut fanout);
        refused |= matches!(fate, Fate::Dropped(Drop::Rejected | Drop::NoRoom));
        publisher.count(fate, fanout.message.qos);
    }
    flight.stored = fanout.stored;
    refused
}

/// What to tell the operator when a limit of the session was reached.
fn reached(fate: Fate) -> Option<DropReason> {
    match fate {
        Fate::Displaced(_) => Some(DropReason::Overflow),
        Fate::Dropped(why @ (Drop::QueueFull | Drop::SlowConsumer | Drop::NoRoom)) => {
            Some(drop_reason(why))
        }
        Fate::Delivered | Fate::Queued | Fate::Dropped(_) => None,
    }
}

/// Sessions with the same address stand together: the message is seen from the tree once for all of them.
fn deliver_to_sessions(
    broker: &Broker,
    publisher: &mut Publisher,
    reach: &Reach,
    flight: &mut Flight<'_>,
    encodings: &mut Encodings,
) {
    let mut rest: &[Destination] = &reach.sessions;
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|to| to.via == first.via).count();
        let (group, others) = rest.split_at(alike);
        rest = others;
        let mut view = TopicView::default();
        let Ok(message) = view.of(&flight.message, first.via.as_deref()) else {
            publisher.counters.drop_messages(DropReason::Unmapped, group.len() as u64);
            continue;
        };
        encodings.reset(group.len() > 1);
        let as_published = flight.message.form == Form::Topic && first.via.is_none();
        let mut fanout = Fanout {
            message,
            now_ms: flight.now_ms,
            behind: flight.behind,
            limits: flight.limits,
            memory: flight.memory,
            encodings,
            stored: if as_published { flight.stored.take() } else { None },
        };
        for to in group {
            let by_record = message.qos > QoS::AtMostOnce && is_durable(to);
            let by_replay = flight.lsn.is_some_and(|lsn| to.since >= lsn);
            if by_record || by_replay {
                continue;
            }
            let fate = to.session.deliver(to, &mut fanout);
            if fate == Fate::Delivered {
                publisher.counters.payload_sent += message.payload.len() as u64;
            }
            publisher.count(fate, message.qos.min(to.qos));
            if let Some(why) = reached(fate) {
                broker.tell_full(&to.session, why, flight.now_ms);
            }
        }
    }
}
