//! Consumers of a channel as queues see them: deliveries are encoded straight into the connection's buffer by
//! whoever dispatches. Part of `amqp`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::amqp::codec::content::Deliver;
use crate::amqp::ledger::{Ledger, Refusal};
use crate::amqp::link::Link;
use crate::amqp::outgoing;
use crate::broker::consumer::{Delivery, Encodings, Offered, QueueConsumer};
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::message::Message;
use crate::broker::replies::ReplyConsumer;
use crate::model::ids::ConsumerId;
use crate::net::outbound::{Push, READY};
use crate::net::touched;

/// What all consumers of a channel share.
#[derive(Clone)]
pub struct Lane {
    /// The connection.
    pub link: Arc<Link>,
    /// The channel's number.
    pub channel: u16,
    /// The longest frame that the peer takes.
    pub frame_bytes_max: u32,
    /// Tags and credit.
    pub ledger: Arc<Ledger>,
}

/// A consumer of a declared queue.
pub struct Taker {
    /// Its id in the queue.
    pub id: ConsumerId,
    /// Its name on the channel.
    pub tag: Arc<str>,
    /// The queue.
    pub queue: Arc<DeclaredQueue>,
    /// Deliveries are settled as they are sent.
    pub no_ack: bool,
    lane: Lane,
    /// The connection's task knows that the queue has something.
    called: AtomicBool,
}

impl Taker {
    /// A consumer that the ledger knows already.
    #[must_use]
    pub fn new(
        id: ConsumerId,
        tag: Arc<str>,
        queue: Arc<DeclaredQueue>,
        no_ack: bool,
        lane: Lane,
    ) -> Self {
        Self { id, tag, queue, no_ack, lane, called: AtomicBool::new(false) }
    }

    /// The connection's task is about to dispatch the queue.
    pub fn answer(&self) {
        self.called.store(false, Ordering::Release);
    }
}

impl QueueConsumer for Taker {
    fn offer(&self, delivery: &Delivery<'_>, encodings: &mut Encodings) -> Offered {
        let Lane { link, channel, frame_bytes_max, ledger } = &self.lane;
        let mut book = ledger.book();
        match book.admit(self.id, !self.no_ack) {
            Ok(()) => {}
            Err(Refusal::NoCredit) => return Offered::NoCredit,
            Err(Refusal::Closed) => return Offered::Closed,
        }
        let address = outgoing::address(delivery.message, delivery.via);
        let deliver = Deliver {
            consumer_tag: &self.tag,
            delivery_tag: book.next_tag(),
            redelivered: delivery.redelivered,
            exchange: address.exchange,
            routing_key: &address.routing_key,
        };
        let (message, now_ms) = (delivery.message, delivery.now_ms);
        let pushed =
            outgoing::with_content(message, now_ms, *frame_bytes_max, encodings, |content| {
                link.outbound.push(|out| deliver.put(*channel, content, *frame_bytes_max, out))
            });
        match pushed.outcome {
            Push::Accepted if self.no_ack => book.pass(),
            Push::Accepted => book.hold(delivery.queue, delivery.place, Some(self.id)),
            Push::Full => {
                book.starve(self.id);
                link.starve();
            }
            Push::Closed => {}
        }
        drop(book);
        touched::note(&link.outbound, pushed);
        match pushed.outcome {
            Push::Accepted => Offered::Taken,
            Push::Full => {
                // Asks for the signal that follows when the buffer has drained; it may have done so already.
                if link.outbound.has_room() {
                    link.outbound.signal(READY);
                }
                Offered::Full
            }
            Push::Closed => Offered::Closed,
        }
    }

    fn has_credit(&self) -> bool {
        self.lane.ledger.book().has_credit(self.id, !self.no_ack)
    }

    fn ready(&self) {
        if !self.called.swap(true, Ordering::AcqRel) {
            self.lane.link.call(self.lane.channel, self.id);
        }
    }

    fn cancelled(&self) {
        self.lane.link.cancelled(self.lane.channel, self.id);
    }
}

/// A consumer of direct replies: they are in no queue, and nobody acknowledges them.
pub struct ReplyTaker {
    /// Its name on the channel.
    pub tag: Arc<str>,
    /// Its channel.
    pub lane: Lane,
}

impl ReplyConsumer for ReplyTaker {
    fn reply(&self, message: &Message<'_>, now_ms: u64) -> bool {
        let Lane { link, channel, frame_bytes_max, ledger } = &self.lane;
        let mut book = ledger.book();
        if !book.is_open() {
            return false;
        }
        let address = outgoing::address(message, None);
        let deliver = Deliver {
            consumer_tag: &self.tag,
            delivery_tag: book.next_tag(),
            redelivered: false,
            exchange: address.exchange,
            routing_key: &address.routing_key,
        };
        let mut alone = Encodings::default();
        let pushed =
            outgoing::with_content(message, now_ms, *frame_bytes_max, &mut alone, |content| {
                link.outbound.push(|out| deliver.put(*channel, content, *frame_bytes_max, out))
            });
        let taken = pushed.outcome == Push::Accepted;
        if taken {
            book.pass();
        }
        drop(book);
        touched::note(&link.outbound, pushed);
        taken
    }
}
