//! A channel as its connection's task keeps it. Part of `amqp::client`.

use std::sync::Arc;

use ahash::AHashMap;

use crate::amqp::codec::reply::{Reply, put_ack};
use crate::amqp::confirms::{Confirm, Confirms};
use crate::amqp::consumer::{Lane, Taker};
use crate::model::ids::ConsumerId;
use crate::net::outbound::Outbound;

/// A consumer of direct replies.
pub(super) struct Replying {
    /// Its name on the channel.
    pub(super) tag: Arc<str>,
    /// The routing key that replies are sent to.
    pub(super) name: Box<str>,
}

/// An open channel.
pub(super) struct Channel {
    /// What its consumers share.
    pub(super) lane: Lane,
    /// Which opening of its number this is.
    pub(super) opening: u32,
    /// Consumers by tag.
    pub(super) takers: AHashMap<Arc<str>, Arc<Taker>>,
    /// Consumers by id.
    pub(super) tags: AHashMap<ConsumerId, Arc<str>>,
    /// Its consumer of direct replies.
    pub(super) replying: Option<Replying>,
    /// Confirm mode.
    pub(super) confirms: Option<Box<Confirms>>,
    /// Its number stands on the list of those whose confirms are to be told.
    pub(super) telling: bool,
    /// Its number stands on the list of those that acknowledged something.
    pub(super) settled: bool,
    /// Prefetch of consumers started from now on; 0 is any number.
    pub(super) prefetch: u32,
    /// The queue declared last on it.
    pub(super) last_queue: Option<Arc<str>>,
}

impl Channel {
    /// A channel on which nothing has happened.
    pub(super) fn new(lane: Lane, opening: u32) -> Self {
        Self {
            lane,
            opening,
            takers: AHashMap::new(),
            tags: AHashMap::new(),
            replying: None,
            confirms: None,
            telling: false,
            settled: false,
            prefetch: 0,
            last_queue: None,
        }
    }

    /// Whether a consumer has this tag.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.takers.contains_key(tag)
            || self.replying.as_ref().is_some_and(|replying| *replying.tag == *tag)
    }

    /// The consumer `id`.
    pub(super) fn taker(&self, id: ConsumerId) -> Option<&Arc<Taker>> {
        self.takers.get(self.tags.get(&id)?)
    }

    /// Takes the consumer called `tag` off the channel.
    pub(super) fn remove(&mut self, tag: &str) -> Option<Arc<Taker>> {
        let taker = self.takers.remove(tag)?;
        self.tags.remove(&taker.id);
        self.lane.ledger.book().remove(taker.id);
        Some(taker)
    }

    /// Sends the confirms that may leave.
    pub(super) fn tell(&mut self, outbound: &Outbound) {
        self.telling = false;
        let Some(confirms) = &mut self.confirms else { return };
        let Some(mut confirm) = confirms.take() else { return };
        let channel = self.lane.channel;
        outbound.push_reply(|out| {
            loop {
                match confirm {
                    Confirm::Ack(number, multiple) => put_ack(out, channel, number, multiple),
                    Confirm::Nack(delivery_tag) => {
                        Reply::Nack { delivery_tag, multiple: false }.put(channel, out);
                    }
                }
                match confirms.take() {
                    Some(more) => confirm = more,
                    None => break,
                }
            }
        });
    }
}
