//! Channels and connections that end: nothing that was out is lost, nothing of theirs stays. Part of
//! `amqp::client`.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use crate::amqp::codec::reply;
use crate::amqp::error::{Fault, ReplyCode};
use crate::broker::declared::verbs::Cancelled;
use crate::metrics::{CloseReason, Protocol};
use crate::server::driver::Ended;

use super::channel::Channel;
use super::{Client, Stage};

impl Client {
    /// A channel is over: what it acknowledged counts, what is out goes back, its consumers leave.
    pub(super) fn close_channel(&mut self, number: u16, now_ms: u64) {
        self.settle_gathered();
        self.tell_confirms();
        let removed = self.serving.as_mut().and_then(|serving| serving.channels.remove(&number));
        if let Some(channel) = removed {
            self.clear([channel], now_ms);
        }
    }

    /// In RabbitMQ's order: no message goes to a consumer that is leaving, and a queue that goes with its last
    /// consumer goes with what came back.
    fn clear(&mut self, channels: impl IntoIterator<Item = Box<Channel>>, now_ms: u64) {
        let (mut held, mut leaving) = (Vec::new(), AHashMap::<_, (_, AHashSet<_>)>::new());
        for channel in channels {
            {
                let mut book = channel.lane.ledger.book();
                book.close();
                book.take_all(&mut held);
            }
            if let Some(replying) = channel.replying {
                self.shared.broker.replies.forget(&replying.name);
            }
            for taker in channel.takers.into_values() {
                let of_queue = leaving.entry(taker.queue.id);
                let (_, ids) =
                    of_queue.or_insert_with(|| (Arc::clone(&taker.queue), AHashSet::new()));
                ids.insert(taker.id);
            }
        }
        let broker = &self.shared.broker;
        for (queue, ids) in leaving.into_values() {
            if broker.cancel_all(&queue, |id| ids.contains(&id), now_ms) == Cancelled::Last {
                broker.auto_delete_queue(&queue);
            }
        }
        self.give_back(&mut held);
    }

    /// The connection is over for the broker: channels, then the queues that are its own.
    pub(super) fn leave(&mut self, now_ms: u64) {
        self.settle_gathered();
        self.tell_confirms();
        let Some(serving) = &mut self.serving else { return };
        let channels = std::mem::take(&mut serving.channels);
        self.clear(channels.into_values(), now_ms);
        self.dispatch_due(now_ms);
        let Some(mut serving) = self.serving.take() else { return };
        let broker = &self.shared.broker;
        broker.leave(&serving.publisher.principal.vhost, serving.id);
        serving.publisher.counters.flush_into(&broker.metrics);
        tracing::debug!(peer = %self.peer, login = &*self.login, "an AMQP client left");
    }

    /// The broker stops.
    pub fn say_goodbye(&mut self) {
        if self.stage == Stage::Running {
            self.tell_confirms();
            let text = "broker forced connection closure with reason 'shutdown'";
            let fault = Fault::new(ReplyCode::ConnectionForced, text);
            self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
        }
        self.end(CloseReason::Shutdown);
    }

    /// The connection is over.
    pub fn ended(&mut self, why: Ended, now_ms: u64) {
        let reason = match (why, self.ended_by) {
            (_, Some(reason)) => reason,
            (Ended::Dropped, None) => CloseReason::Shutdown,
            (Ended::ByProtocol | Ended::ByPeer, None) => CloseReason::Lost,
        };
        let broker = Arc::clone(&self.shared.broker);
        broker.metrics.connections.open.of(Protocol::Amqp).dec();
        broker.metrics.connections.closed.of(Protocol::Amqp, reason).inc();
        self.leave(now_ms);
        self.place = None;
        self.link.close_inbox().iter().for_each(|queue| queue.call());
        tracing::debug!(peer = %self.peer, ?reason, "an AMQP connection ended");
    }
}
