//! Acknowledgements and returns. Part of `amqp::client`.

use std::sync::Arc;

use crate::amqp::codec::basic::Settle;
use crate::amqp::codec::reply;
use crate::amqp::error::Fault;
use crate::amqp::ledger::{Held, UnknownTag};
use crate::amqp::refusal;
use crate::broker::declared::place::Place;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::declared::verbs::ConsumeError;
use crate::metrics::CloseReason;
use crate::net::touched;

use super::working::{not_implemented, unmet};
use super::{Client, Serving};

impl Client {
    pub(super) fn acknowledge(&mut self, number: u16, settle: Settle) -> Result<(), Fault> {
        let mut held = Vec::new();
        self.take(number, settle, &mut held)?;
        if let Some(serving) = &mut self.serving {
            gather(&mut serving.settled, held);
        }
        Ok(())
    }

    /// `basic.reject` and `basic.nack`: back into the queue, or gone.
    pub(super) fn reject(&mut self, number: u16, settle: Settle) -> Result<(), Fault> {
        if !settle.requeue {
            return self.acknowledge(number, settle);
        }
        let mut held = Vec::new();
        self.take(number, settle, &mut held)?;
        self.give_back(held);
        Ok(())
    }

    /// `basic.recover`: all that is out on the channel goes back.
    pub(super) fn recover(&mut self, number: u16, requeue: bool) -> Result<(), Fault> {
        if !requeue {
            return Err(not_implemented("requeue=false"));
        }
        let all = Settle { delivery_tag: 0, multiple: true, requeue: true };
        self.reject(number, all)
    }

    fn take(&mut self, number: u16, settle: Settle, held: &mut Vec<Held>) -> Result<(), Fault> {
        let Some(serving) = &mut self.serving else { return Ok(()) };
        let Some(channel) = serving.channels.get_mut(&number) else { return Ok(()) };
        let (tag, multiple) = (settle.delivery_tag, settle.multiple);
        channel
            .lane
            .ledger
            .book()
            .take(tag, multiple, held)
            .map_err(|UnknownTag| unmet(format!("unknown delivery tag {tag}")))?;
        if !std::mem::replace(&mut channel.settled, true) {
            serving.relieved.push(number);
        }
        Ok(())
    }

    /// Puts deliveries back to where they were; their queues are dispatched at the end of the batch.
    pub(super) fn give_back(&mut self, held: Vec<Held>) {
        let Some(serving) = &mut self.serving else { return };
        let mut returned = Vec::new();
        gather(&mut returned, held);
        for (queue, places) in returned {
            self.shared.broker.return_places(&queue, &places);
            serving.due.push(queue);
        }
    }

    /// Hands in what was acknowledged in this batch.
    pub(super) fn settle_gathered(&mut self) {
        let Some(serving) = &mut self.serving else { return };
        let broker = &self.shared.broker;
        for (queue, places) in serving.settled.drain(..) {
            broker.settle_places(&queue, &places);
            broker.submit_settled_places(&queue);
        }
    }

    /// Notes the queues whose consumers on this connection can take something again.
    pub(super) fn relieve(&mut self) {
        let starved = self.link.take_starved();
        let Some(serving) = &mut self.serving else { return };
        let Serving { channels, relieved, due, .. } = &mut **serving;
        if starved {
            relieved.clear();
            for channel in channels.values_mut() {
                channel.settled = false;
                channel.lane.ledger.book().feed(true, due);
            }
            return;
        }
        if relieved.is_empty() {
            return;
        }
        let room = self.link.outbound.has_room();
        for number in relieved.drain(..) {
            if let Some(channel) = channels.get_mut(&number) {
                channel.settled = false;
                channel.lane.ledger.book().feed(room, due);
            }
        }
    }

    /// Has the queues that have something for this connection, or lost something of it, hand out.
    pub(super) fn dispatch_due(&mut self, now_ms: u64) {
        let Some(serving) = &mut self.serving else { return };
        let Serving { due, id, encodings, publisher, .. } = &mut **serving;
        if due.is_empty() {
            return;
        }
        due.sort_unstable_by_key(|queue| queue.id);
        due.dedup_by_key(|queue| queue.id);
        let broker = &self.shared.broker;
        let mut failed = None;
        touched::without_congestion(|| {
            for queue in due.drain(..) {
                let counters = &mut publisher.counters;
                if let Err(error) = broker.dispatch(&queue, *id, encodings, counters, now_ms) {
                    failed = Some((queue, error));
                }
            }
        });
        if let Some((queue, why)) = failed {
            let fault = refusal::consuming(&ConsumeError::Storage(why), &queue, &self.login);
            self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
            self.end(CloseReason::Broker);
        }
    }
}

/// Sorts deliveries by their queues, of which there are few.
fn gather(by_queue: &mut Vec<(Arc<DeclaredQueue>, Vec<Place>)>, held: Vec<Held>) {
    for Held { queue, place, .. } in held {
        let known = by_queue.iter_mut().rev().find(|(known, _)| Arc::ptr_eq(known, &queue));
        match known {
            Some((_, places)) => places.push(place),
            None => by_queue.push((queue, vec![place])),
        }
    }
}
