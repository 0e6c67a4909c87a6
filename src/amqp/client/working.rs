//! Methods of an open channel: which does what. Part of `amqp::client`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::amqp::codec::method::Method;
use crate::amqp::codec::reply::Reply;
use crate::amqp::connection::Flow;
use crate::amqp::consumer::Lane;
use crate::amqp::error::{Fault, ReplyCode};
use crate::amqp::ledger::Ledger;
use crate::amqp::owing::Owed;
use crate::broker::consumer::{Completer, Waiter};

use super::channel::Channel;
use super::{Client, Serving};

/// The queue whose messages a method takes or counts.
fn looked_into<'a>(method: &Method<'a>) -> Option<&'a str> {
    match method {
        Method::Get(get) => Some(get.queue),
        Method::QueuePurge(purge) => Some(purge.queue),
        Method::QueueDelete(delete) => Some(delete.queue),
        // Without a name it is a new one.
        Method::QueueDeclare(declare) => Some(declare.queue).filter(|name| !name.is_empty()),
        _ => None,
    }
}

pub(super) type Worked = Result<Flow, Fault>;

/// Something that is not offered.
pub(super) fn not_implemented(what: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(ReplyCode::NotImplemented, what)
}

/// Something that the state of things does not allow.
pub(super) fn unmet(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, why)
}

impl Client {
    pub(super) fn open_channel(&mut self, number: u16) {
        let Some(serving) = &mut self.serving else { return };
        serving.openings = serving.openings.wrapping_add(1);
        let lane = Lane {
            link: Arc::clone(&self.link),
            channel: number,
            frame_bytes_max: serving.frame_bytes_max,
            ledger: Arc::new(Ledger::new(self.limits.unacked_per_channel_max)),
        };
        serving.channels.insert(number, Box::new(Channel::new(lane, serving.openings)));
        self.send(number, Reply::ChannelOpenOk);
    }

    pub(super) fn work(&mut self, number: u16, method: Method<'_>, now_ms: u64) -> Worked {
        let settled = match method {
            Method::Ack(settle) => self.acknowledge(number, settle),
            Method::Reject(settle) | Method::Nack(settle) => self.reject(number, settle),
            _ => return self.work_rarely(number, method, now_ms),
        };
        settled.map(|()| Flow::Continue)
    }

    fn work_rarely(&mut self, number: u16, method: Method<'_>, now_ms: u64) -> Worked {
        // Acknowledged before: who is answered from the disk finds his acks there, too.
        self.settle_gathered();
        if let Some(name) = looked_into(&method)
            && self.catches_up(number, name)
        {
            return Ok(Flow::Again);
        }
        match method {
            Method::ExchangeDeclare(declare) => self.declare_exchange(number, &declare),
            Method::ExchangeDelete(delete) => self.delete_exchange(number, &delete),
            Method::ExchangeBind(bind) => self.bind_exchange(number, &bind, true),
            Method::ExchangeUnbind(bind) => self.bind_exchange(number, &bind, false),
            Method::QueueDeclare(declare) => self.declare_queue(number, &declare, now_ms),
            Method::QueueBind(bind) => self.bind_queue(number, &bind, true),
            Method::QueueUnbind(bind) => self.bind_queue(number, &bind, false),
            Method::QueuePurge(purge) => self.purge_queue(number, &purge, now_ms),
            Method::QueueDelete(delete) => self.delete_queue(number, &delete, now_ms),
            Method::Qos(qos) => self.limit_prefetch(number, qos),
            Method::Consume(consume) => self.consume(number, &consume, now_ms),
            Method::Cancel(cancel) => self.cancel(number, &cancel, now_ms),
            Method::Get(get) => self.get(number, &get, now_ms),
            Method::RecoverAsync(requeue) => self.recover(number, requeue).map(|()| Flow::Continue),
            Method::Recover(requeue) => {
                self.recover(number, requeue)?;
                Ok(self.answer(number, false, false, Reply::RecoverOk))
            }
            Method::ConfirmSelect(no_wait) => Ok(self.select_confirms(number, no_wait)),
            Method::Flow(true) => Ok(self.answer(number, false, false, Reply::FlowOk(true))),
            Method::Flow(false) => Err(not_implemented("active=false")),
            Method::AccessRequest => Ok(self.answer(number, false, false, Reply::AccessRequestOk)),
            Method::TxSelect => Err(self.refuse_transactions(number)),
            Method::TxCommit | Method::TxRollback => Err(unmet("channel is not transactional")),
            // Answers to the server's cancel, which asks for none.
            Method::CancelOk(_) => Ok(Flow::Continue),
            Method::Ack(settle) => self.acknowledge(number, settle).map(|()| Flow::Continue),
            Method::Reject(settle) | Method::Nack(settle) => {
                self.reject(number, settle).map(|()| Flow::Continue)
            }
        }
    }

    /// Whether a method that looks into the queue `name` must wait: what this connection published before it may
    /// not be there yet (design §2, rule 8).
    fn catches_up(&mut self, number: u16, name: &str) -> bool {
        let Some(serving) = &self.serving else { return false };
        let broker = &self.shared.broker;
        if !broker.is_behind(&serving.publisher)
            || !self.find_queue(serving, number, name).is_ok_and(|queue| queue.durable)
        {
            return false;
        }
        // Without a journal nothing will be there later either.
        let waits = broker.tell_when_applied(self.waiter(serving)()).is_ok();
        if let Some(serving) = self.serving.as_mut().filter(|_| waits) {
            serving.owing.owe(Owed::Turn);
            serving.catching_up = true;
        }
        waits
    }

    fn refuse_transactions(&self, number: u16) -> Fault {
        let channel = self.serving.as_ref().and_then(|serving| serving.channels.get(&number));
        if channel.is_some_and(|channel| channel.confirms.is_some()) {
            return unmet("cannot switch from confirm to tx mode");
        }
        not_implemented("transactions are not implemented yet, publisher confirms are")
    }

    /// Gives `reply` unless the client wants none: at once, or, when it `waits`, once the record is durable that
    /// took [`Self::waiter`]. Nothing is parsed meanwhile, so answers leave in the order of what they answer.
    pub(super) fn answer(
        &mut self,
        number: u16,
        no_wait: bool,
        waits: bool,
        reply: Reply<'_>,
    ) -> Flow {
        let Some(serving) = self.serving.as_mut().filter(|_| waits) else {
            if !no_wait {
                self.send(number, reply);
            }
            return Flow::Continue;
        };
        if no_wait {
            serving.owing.owe(Owed::Nothing);
            return Flow::Continue;
        }
        let mut frame = Vec::new();
        reply.put(number, &mut frame);
        serving.owing.owe(Owed::Answer);
        serving.answer = Some(frame);
        Flow::Stop
    }

    /// Who is told of the record that the next [`Self::answer`] waits for.
    pub(super) fn waiter(&self, serving: &Serving) -> impl FnOnce() -> Waiter + use<> {
        let (link, token) = (Arc::clone(&self.link), serving.owing.next_token());
        move || {
            let completer: Arc<dyn Completer> = link;
            Waiter::Connection(completer, token)
        }
    }
}
