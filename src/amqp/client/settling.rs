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
        let Some(serving) = &mut self.serving else { return Ok(()) };
        serving.take(number, settle, None)
    }

    /// `basic.reject` and `basic.nack`: back into the queue, or gone.
    pub(super) fn reject(&mut self, number: u16, settle: Settle) -> Result<(), Fault> {
        if !settle.requeue {
            return self.acknowledge(number, settle);
        }
        let Some(serving) = &mut self.serving else { return Ok(()) };
        let mut held = Vec::new();
        serving.take(number, settle, Some(&mut held))?;
        self.give_back(&mut held);
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

    /// Puts deliveries back to where they were; their queues are dispatched at the end of the batch.
    pub(super) fn give_back(&mut self, held: &mut Vec<Held>) {
        let Some(serving) = &mut self.serving else { return };
        let broker = &self.shared.broker;
        // All of a queue at once, so that nobody takes a later message between two of them.
        held.sort_by_key(|one| one.queue.id);
        for group in held.chunk_by(|one, other| one.queue.id == other.queue.id) {
            let Some(first) = group.first() else { continue };
            let places: Vec<Place> = group.iter().map(|one| one.place).collect();
            broker.return_places(&first.queue, &places);
            serving.due.push(Arc::clone(&first.queue));
        }
        held.clear();
    }

    /// Hands in what was acknowledged in this batch.
    pub(super) fn settle_gathered(&mut self) {
        let Some(serving) = &mut self.serving else { return };
        let broker = &self.shared.broker;
        by_queue(&mut serving.settled, |queue, places, is_last| {
            broker.settle_places(queue, places);
            if is_last {
                broker.submit_settled_places(queue);
            }
        });
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
        if !room {
            // Consumers that were refused for what they share are fed when there is some.
            self.link.starve();
        }
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
        let Serving { due, lent, id, encodings, publisher, .. } = &mut **serving;
        if due.is_empty() && lent.is_empty() {
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
            for queue in lent.drain(..) {
                let counters = &mut publisher.counters;
                if broker.dispatch(&queue, *id, encodings, counters, now_ms).is_err() {
                    // A consumer's connection shall hear of it.
                    queue.call();
                }
            }
        });
        if let Some((queue, why)) = failed {
            let fault = refusal::consuming(&ConsumeError::Storage(why), &queue);
            self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
            self.end(CloseReason::Broker);
        }
    }
}

impl Serving {
    /// Takes what `settle` names off its channel's list: into `held`, or to what is settled with this batch.
    fn take(
        &mut self,
        number: u16,
        settle: Settle,
        held: Option<&mut Vec<Held>>,
    ) -> Result<(), Fault> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let (tag, multiple) = (settle.delivery_tag, settle.multiple);
        let out = held.unwrap_or(&mut self.settled);
        channel
            .lane
            .ledger
            .book()
            .take(tag, multiple, out)
            .map_err(|UnknownTag| unmet(format!("unknown delivery tag {tag}")))?;
        if !std::mem::replace(&mut channel.settled, true) {
            self.relieved.push(number);
        }
        Ok(())
    }
}

/// Places handed to a queue at a time.
const PLACES_MAX: usize = 64;

/// Empties `held`, the deliveries of each queue together, some at a time; `each` learns which are its last.
fn by_queue(held: &mut Vec<Held>, mut each: impl FnMut(&Arc<DeclaredQueue>, &[Place], bool)) {
    if held.is_empty() {
        return;
    }
    if !held.is_sorted_by_key(|one| one.queue.id) {
        held.sort_by_key(|one| one.queue.id);
    }
    let mut places = [Place::at(0); PLACES_MAX];
    for group in held.chunk_by(|one, other| one.queue.id == other.queue.id) {
        let parts = group.len().div_ceil(PLACES_MAX);
        for (part_number, part) in group.chunks(PLACES_MAX).enumerate() {
            for (slot, one) in places.iter_mut().zip(part) {
                *slot = one.place;
            }
            if let (Some(first), Some(places)) = (part.first(), places.get(..part.len())) {
                each(&first.queue, places, part_number + 1 == parts);
            }
        }
    }
    held.clear();
    if held.capacity() > KEPT_MAX {
        *held = Vec::new();
    }
}

/// Deliveries whose room is kept for the next batch.
const KEPT_MAX: usize = 4096;
