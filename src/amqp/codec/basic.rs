//! The arguments of `basic.…`, from the client. Part of `amqp::codec`.

use crate::amqp::codec::wire::{Reader, WireError};
use crate::model::field_table::FieldTable;

/// `basic.qos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qos {
    /// Bytes in advance; only 0, no limit, is offered anywhere.
    pub prefetch_bytes: u32,
    /// Messages in advance; 0 for no limit.
    pub prefetch_count: u16,
    /// For the channel as a whole; otherwise for each consumer started from now on.
    pub global: bool,
}

/// `basic.consume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consume<'a> {
    /// The queue; empty for the one declared last on the channel.
    pub queue: &'a str,
    /// The name of the consumer; empty for one that the server chooses.
    pub consumer_tag: &'a str,
    /// Not what this connection published; RabbitMQ ignores it.
    pub no_local: bool,
    /// Deliveries are settled as they are sent.
    pub no_ack: bool,
    /// No other consumer.
    pub exclusive: bool,
    /// No answer is wanted.
    pub no_wait: bool,
    /// Such as `x-priority`.
    pub arguments: FieldTable<'a>,
}

/// `basic.cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel<'a> {
    /// The consumer.
    pub consumer_tag: &'a str,
    /// No answer is wanted.
    pub no_wait: bool,
}

/// `basic.get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Get<'a> {
    /// The queue; empty for the one declared last on the channel.
    pub queue: &'a str,
    /// The message is settled as it is sent.
    pub no_ack: bool,
}

/// `basic.publish`, whose content follows in frames of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// The exchange; empty for the default one.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// Send it back when no queue matches.
    pub mandatory: bool,
    /// Send it back when no consumer can take it at once.
    pub immediate: bool,
}

/// `basic.ack`, `basic.nack` and `basic.reject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The delivery; 0 with `multiple` means all.
    pub delivery_tag: u64,
    /// This delivery and all before it.
    pub multiple: bool,
    /// Back into the queue; of an acknowledgement always false.
    pub requeue: bool,
}

impl Qos {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            prefetch_bytes: reader.u32()?,
            prefetch_count: reader.u16()?,
            global: reader.flags()?.at(0),
        })
    }
}

impl<'a> Consume<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        let (queue, consumer_tag) = (reader.short_str()?, reader.short_str()?);
        let flags = reader.flags()?;
        Ok(Self {
            queue,
            consumer_tag,
            no_local: flags.at(0),
            no_ack: flags.at(1),
            exclusive: flags.at(2),
            no_wait: flags.at(3),
            arguments: reader.table()?,
        })
    }
}

impl<'a> Cancel<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { consumer_tag: reader.short_str()?, no_wait: reader.flags()?.at(0) })
    }
}

impl<'a> Get<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        Ok(Self { queue: reader.short_str()?, no_ack: reader.flags()?.at(0) })
    }
}

impl<'a> PublishHead<'a> {
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        let (exchange, routing_key) = (reader.short_str()?, reader.short_str()?);
        let flags = reader.flags()?;
        Ok(Self { exchange, routing_key, mandatory: flags.at(0), immediate: flags.at(1) })
    }
}

impl Settle {
    #[inline]
    pub(super) fn read_ack(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let delivery_tag = reader.u64()?;
        Ok(Self { delivery_tag, multiple: reader.flags()?.at(0), requeue: false })
    }

    pub(super) fn read_reject(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let delivery_tag = reader.u64()?;
        Ok(Self { delivery_tag, multiple: false, requeue: reader.flags()?.at(0) })
    }

    pub(super) fn read_nack(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let delivery_tag = reader.u64()?;
        let flags = reader.flags()?;
        Ok(Self { delivery_tag, multiple: flags.at(0), requeue: flags.at(1) })
    }
}
