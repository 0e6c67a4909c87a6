//! Exchanges, queues and bindings. Part of `amqp::client`.
//!
//! What is durable is answered when its record is: see [`Client::answer`].

use std::sync::Arc;

use crate::amqp::codec::exchange::{ExchangeBind, ExchangeDeclare, ExchangeDelete};
use crate::amqp::codec::queue::{QueueBind, QueueDeclare, QueueDelete, QueuePurge};
use crate::amqp::codec::reply::Reply;
use crate::amqp::connection::Flow;
use crate::amqp::error::Fault;
use crate::amqp::refusal;
use crate::broker::exchanges::error::{Entity, TopologyError};
use crate::broker::exchanges::verbs::{
    BindingSpec, Changed, ExchangeDeclaration, QueueDeclaration,
};
use crate::broker::replies::{REPLY_TO, Replies};

use super::consuming::named;
use super::working::Worked;
use super::{Client, Serving};

/// A count as methods carry it.
fn count(messages: u64) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

impl Client {
    pub(super) fn declare_exchange(
        &mut self,
        number: u16,
        declare: &ExchangeDeclare<'_>,
    ) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let declaration = ExchangeDeclaration {
            name: declare.exchange,
            kind: declare.kind,
            passive: declare.passive,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments.as_bytes(),
        };
        let who = &serving.publisher.principal;
        let changed = self
            .shared
            .broker
            .declare_exchange(who, &declaration, self.waiter(serving))
            .map_err(|error| refusal::topology(&error))?;
        Ok(self.answer(number, declare.no_wait, changed.waits, Reply::ExchangeDeclareOk))
    }

    pub(super) fn delete_exchange(&mut self, number: u16, delete: &ExchangeDelete<'_>) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let who = &serving.publisher.principal;
        let (name, if_unused) = (delete.exchange, delete.if_unused);
        let changed = self
            .shared
            .broker
            .delete_exchange(who, name, if_unused, self.waiter(serving))
            .map_err(|error| refusal::topology(&error))?;
        Ok(self.answer(number, delete.no_wait, changed.waits, Reply::ExchangeDeleteOk))
    }

    /// `exchange.bind`, or `exchange.unbind`.
    pub(super) fn bind_exchange(
        &mut self,
        number: u16,
        bind: &ExchangeBind<'_>,
        binds: bool,
    ) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let spec = BindingSpec {
            source: bind.source,
            destination: bind.destination,
            key: bind.routing_key,
            arguments: bind.arguments.as_bytes(),
        };
        let changed = self.change_binding(serving, Entity::Exchange, &spec, binds)?;
        let reply = if binds { Reply::ExchangeBindOk } else { Reply::ExchangeUnbindOk };
        Ok(self.answer(number, bind.no_wait, changed.waits, reply))
    }

    pub(super) fn declare_queue(
        &mut self,
        number: u16,
        declare: &QueueDeclare<'_>,
        now_ms: u64,
    ) -> Worked {
        if declare.queue.starts_with(REPLY_TO) {
            return self.find_replies(number, declare);
        }
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let declaration = QueueDeclaration {
            name: declare.queue,
            passive: declare.passive,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments: declare.arguments.as_bytes(),
        };
        let who = &serving.publisher.principal;
        let waiter = self.waiter(serving);
        let declared = self
            .shared
            .broker
            .declare_queue(who, serving.id, &declaration, waiter, now_ms)
            .map_err(|error| refusal::topology(&error))?;
        let name = &declared.queue.name;
        self.remember_queue(number, name);
        let reply = Reply::QueueDeclareOk {
            queue: name,
            message_count: count(declared.messages),
            consumer_count: count(declared.consumers),
        };
        Ok(self.answer(number, declare.no_wait, declared.waits, reply))
    }

    /// Declaring a name of direct replies asks whether whoever waits for them is still there; the general name
    /// always is.
    fn find_replies(&mut self, number: u16, declare: &QueueDeclare<'_>) -> Worked {
        let queue = declare.queue;
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let known = queue == REPLY_TO
            || (Replies::is_reply_key(queue) && self.shared.broker.replies.get(queue).is_some());
        if !known {
            let vhost = &serving.publisher.principal.vhost;
            return Err(refusal::topology(&TopologyError::no_queue(vhost, queue)));
        }
        self.remember_queue(number, &queue.into());
        let reply = Reply::QueueDeclareOk { queue, message_count: 0, consumer_count: 1 };
        Ok(self.answer(number, declare.no_wait, false, reply))
    }

    fn remember_queue(&mut self, number: u16, name: &Arc<str>) {
        let channel = self.serving.as_mut().and_then(|serving| serving.channels.get_mut(&number));
        if let Some(channel) = channel {
            channel.last_queue = Some(Arc::clone(name));
        }
    }

    fn change_binding(
        &self,
        serving: &Serving,
        to: Entity,
        spec: &BindingSpec<'_>,
        binds: bool,
    ) -> Result<Changed, Fault> {
        let (broker, who) = (&self.shared.broker, &serving.publisher.principal);
        let waiter = self.waiter(serving);
        let changed = if binds {
            broker.bind(who, serving.id, to, spec, waiter)
        } else {
            broker.unbind(who, serving.id, to, spec, waiter)
        };
        changed.map_err(|error| refusal::topology(&error))
    }

    /// `queue.bind`, or `queue.unbind`. Without a name and without a key both are the queue's declared last.
    pub(super) fn bind_queue(&mut self, number: u16, bind: &QueueBind<'_>, binds: bool) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let Some(channel) = serving.channels.get(&number) else { return Ok(Flow::Continue) };
        let queue = named(bind.queue, channel)?;
        let nameless = bind.queue.is_empty() && bind.routing_key.is_empty();
        let spec = BindingSpec {
            source: bind.exchange,
            destination: &queue,
            key: if nameless { &queue } else { bind.routing_key },
            arguments: bind.arguments.as_bytes(),
        };
        let changed = self.change_binding(serving, Entity::Queue, &spec, binds)?;
        let reply = if binds { Reply::QueueBindOk } else { Reply::QueueUnbindOk };
        Ok(self.answer(number, bind.no_wait, changed.waits, reply))
    }

    pub(super) fn purge_queue(
        &mut self,
        number: u16,
        purge: &QueuePurge<'_>,
        now_ms: u64,
    ) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let queue = self.find_queue(serving, number, purge.queue)?;
        let who = &serving.publisher.principal;
        let waiter = self.waiter(serving);
        let purged = self
            .shared
            .broker
            .purge(who, &queue, serving.id, waiter, now_ms)
            .map_err(|error| refusal::consuming(&error, &queue))?;
        let reply = Reply::QueuePurgeOk(count(purged.count));
        Ok(self.answer(number, purge.no_wait, purged.waits, reply))
    }

    pub(super) fn delete_queue(
        &mut self,
        number: u16,
        delete: &QueueDelete<'_>,
        now_ms: u64,
    ) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let Some(channel) = serving.channels.get(&number) else { return Ok(Flow::Continue) };
        let name = named(delete.queue, channel)?;
        let who = &serving.publisher.principal;
        let waiter = self.waiter(serving);
        let (if_unused, if_empty) = (delete.if_unused, delete.if_empty);
        let deleted = self
            .shared
            .broker
            .delete_queue(who, serving.id, &name, if_unused, if_empty, waiter, now_ms)
            .map_err(|error| refusal::topology(&error))?;
        let reply = Reply::QueueDeleteOk(count(deleted.messages));
        Ok(self.answer(number, delete.no_wait, deleted.waits, reply))
    }
}
