//! Which method a client sent, and with which arguments. Part of `amqp::codec`.
//!
//! The methods are divided by who answers them: the connection engine sees to those that open and close
//! connections and channels and to `basic.publish`, whose content it gathers; [`Method`] holds the others.

use thiserror::Error;

use crate::amqp::codec::basic::{Cancel, Consume, Get, PublishHead, Qos, Settle};
use crate::amqp::codec::exchange::{ExchangeBind, ExchangeDeclare, ExchangeDelete};
use crate::amqp::codec::handshake::{self, Close, Secret, StartOk, TuneOk, UpdateSecret};
use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::queue::{QueueBind, QueueDeclare, QueueDelete, QueuePurge};
use crate::amqp::codec::wire::{Reader, WireError};

/// A method that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMethod<'a> {
    /// `connection.…`
    Connection(ConnectionMethod<'a>),
    /// `channel.open`, `channel.close`, `channel.close-ok`
    Channel(ChannelMethod<'a>),
    /// `basic.publish`
    Publish(PublishHead<'a>),
    /// Any other.
    Work(Method<'a>),
}

/// A method of channel 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionMethod<'a> {
    /// `connection.start-ok`
    StartOk(StartOk<'a>),
    /// `connection.secure-ok`
    SecureOk(Secret<'a>),
    /// `connection.tune-ok`
    TuneOk(TuneOk),
    /// `connection.open` with its virtual host
    Open(&'a str),
    /// `connection.close`
    Close(Close<'a>),
    /// `connection.close-ok`
    CloseOk,
    /// `connection.update-secret`
    UpdateSecret(UpdateSecret<'a>),
}

/// A method that opens or closes a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelMethod<'a> {
    /// `channel.open`
    Open,
    /// `channel.close`
    Close(Close<'a>),
    /// `channel.close-ok`
    CloseOk,
}

/// A method of an open channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// `channel.flow` with its `active`
    Flow(bool),
    /// `access.request`, a relic that is always granted
    AccessRequest,
    /// `exchange.declare`
    ExchangeDeclare(ExchangeDeclare<'a>),
    /// `exchange.delete`
    ExchangeDelete(ExchangeDelete<'a>),
    /// `exchange.bind`
    ExchangeBind(ExchangeBind<'a>),
    /// `exchange.unbind`
    ExchangeUnbind(ExchangeBind<'a>),
    /// `queue.declare`
    QueueDeclare(QueueDeclare<'a>),
    /// `queue.bind`
    QueueBind(QueueBind<'a>),
    /// `queue.unbind`
    QueueUnbind(QueueBind<'a>),
    /// `queue.purge`
    QueuePurge(QueuePurge<'a>),
    /// `queue.delete`
    QueueDelete(QueueDelete<'a>),
    /// `basic.qos`
    Qos(Qos),
    /// `basic.consume`
    Consume(Consume<'a>),
    /// `basic.cancel`
    Cancel(Cancel<'a>),
    /// `basic.cancel-ok` with the consumer's tag; some clients answer the server's cancel though it asks for none
    CancelOk(&'a str),
    /// `basic.get`
    Get(Get<'a>),
    /// `basic.ack`
    Ack(Settle),
    /// `basic.reject`
    Reject(Settle),
    /// `basic.nack`
    Nack(Settle),
    /// `basic.recover-async` with its `requeue`
    RecoverAsync(bool),
    /// `basic.recover` with its `requeue`
    Recover(bool),
    /// `confirm.select` with its `nowait`
    ConfirmSelect(bool),
    /// `tx.select`
    TxSelect,
    /// `tx.commit`
    TxCommit,
    /// `tx.rollback`
    TxRollback,
}

impl Method<'_> {
    /// Its numbers, which an error names.
    #[must_use]
    pub const fn id(&self) -> MethodId {
        match self {
            Self::Flow(_) => MethodId::CHANNEL_FLOW,
            Self::AccessRequest => MethodId::ACCESS_REQUEST,
            Self::ExchangeDeclare(_) => MethodId::EXCHANGE_DECLARE,
            Self::ExchangeDelete(_) => MethodId::EXCHANGE_DELETE,
            Self::ExchangeBind(_) => MethodId::EXCHANGE_BIND,
            Self::ExchangeUnbind(_) => MethodId::EXCHANGE_UNBIND,
            Self::QueueDeclare(_) => MethodId::QUEUE_DECLARE,
            Self::QueueBind(_) => MethodId::QUEUE_BIND,
            Self::QueueUnbind(_) => MethodId::QUEUE_UNBIND,
            Self::QueuePurge(_) => MethodId::QUEUE_PURGE,
            Self::QueueDelete(_) => MethodId::QUEUE_DELETE,
            Self::Qos(_) => MethodId::BASIC_QOS,
            Self::Consume(_) => MethodId::BASIC_CONSUME,
            Self::Cancel(_) => MethodId::BASIC_CANCEL,
            Self::CancelOk(_) => MethodId::BASIC_CANCEL_OK,
            Self::Get(_) => MethodId::BASIC_GET,
            Self::Ack(_) => MethodId::BASIC_ACK,
            Self::Reject(_) => MethodId::BASIC_REJECT,
            Self::Nack(_) => MethodId::BASIC_NACK,
            Self::RecoverAsync(_) => MethodId::BASIC_RECOVER_ASYNC,
            Self::Recover(_) => MethodId::BASIC_RECOVER,
            Self::ConfirmSelect(_) => MethodId::CONFIRM_SELECT,
            Self::TxSelect => MethodId::TX_SELECT,
            Self::TxCommit => MethodId::TX_COMMIT,
            Self::TxRollback => MethodId::TX_ROLLBACK,
        }
    }
}

/// Why a method cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MethodFault {
    /// The specification does not know these numbers.
    #[error("unknown method")]
    Unknown,
    /// Only servers send it.
    #[error("unimplemented method")]
    ServerOnly,
    /// Its arguments are not what they must be.
    #[error(transparent)]
    Arguments(#[from] WireError),
}

/// A method that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{method}: {fault}")]
pub struct MethodError {
    /// Its numbers.
    pub method: MethodId,
    /// Why.
    pub fault: MethodFault,
}

/// The numbers at the front of a method frame's payload; `None` where it is too short for them.
#[must_use]
#[inline]
pub fn id(payload: &[u8]) -> Option<MethodId> {
    let (&[c0, c1, m0, m1], _) = payload.split_first_chunk()?;
    Some(MethodId { class: u16::from_be_bytes([c0, c1]), method: u16::from_be_bytes([m0, m1]) })
}

/// Where in a method frame's payload the arguments begin.
pub const ARGUMENTS_AT: usize = 4;

/// Reads the arguments of the method `id`.
///
/// # Errors
/// A client may not send it, or its arguments are malformed.
#[inline]
pub fn read<'a>(id: MethodId, arguments: &'a [u8]) -> Result<ClientMethod<'a>, MethodError> {
    let mut reader = Reader::new(arguments);
    let read = match id {
        MethodId::BASIC_PUBLISH => {
            PublishHead::read(&mut reader).map(ClientMethod::Publish).map_err(MethodFault::from)
        }
        MethodId::BASIC_ACK => Settle::read_ack(&mut reader)
            .map(|settle| ClientMethod::Work(Method::Ack(settle)))
            .map_err(MethodFault::from),
        _ => read_rare(id, &mut reader),
    };
    match (read, reader.end()) {
        (Ok(method), Ok(())) => Ok(method),
        (Err(fault), _) => Err(MethodError { method: id, fault }),
        (Ok(_), Err(error)) => Err(MethodError { method: id, fault: error.into() }),
    }
}

fn read_rare<'a>(id: MethodId, reader: &mut Reader<'a>) -> Result<ClientMethod<'a>, MethodFault> {
    use ConnectionMethod as C;
    let method = match id {
        MethodId::CONNECTION_START_OK => C::StartOk(StartOk::read(reader)?),
        MethodId::CONNECTION_SECURE_OK => C::SecureOk(Secret(reader.long_bytes()?)),
        MethodId::CONNECTION_TUNE_OK => C::TuneOk(TuneOk::read(reader)?),
        MethodId::CONNECTION_OPEN => C::Open(handshake::read_open(reader)?),
        MethodId::CONNECTION_CLOSE => C::Close(Close::read(reader)?),
        MethodId::CONNECTION_CLOSE_OK => C::CloseOk,
        MethodId::CONNECTION_UPDATE_SECRET => C::UpdateSecret(UpdateSecret::read(reader)?),
        MethodId::CHANNEL_OPEN => {
            reader.short_str()?;
            return Ok(ClientMethod::Channel(ChannelMethod::Open));
        }
        MethodId::CHANNEL_CLOSE => {
            return Ok(ClientMethod::Channel(ChannelMethod::Close(Close::read(reader)?)));
        }
        MethodId::CHANNEL_CLOSE_OK => return Ok(ClientMethod::Channel(ChannelMethod::CloseOk)),
        _ => return read_work(id, reader).map(ClientMethod::Work),
    };
    Ok(ClientMethod::Connection(method))
}

fn read_work<'a>(id: MethodId, reader: &mut Reader<'a>) -> Result<Method<'a>, MethodFault> {
    use Method as M;
    Ok(match id {
        MethodId::CHANNEL_FLOW => M::Flow(reader.flags()?.at(0)),
        MethodId::ACCESS_REQUEST => {
            reader.short_str()?;
            reader.flags()?;
            M::AccessRequest
        }
        MethodId::EXCHANGE_DECLARE => M::ExchangeDeclare(ExchangeDeclare::read(reader)?),
        MethodId::EXCHANGE_DELETE => M::ExchangeDelete(ExchangeDelete::read(reader)?),
        MethodId::EXCHANGE_BIND => M::ExchangeBind(ExchangeBind::read(reader)?),
        MethodId::EXCHANGE_UNBIND => M::ExchangeUnbind(ExchangeBind::read(reader)?),
        MethodId::QUEUE_DECLARE => M::QueueDeclare(QueueDeclare::read(reader)?),
        MethodId::QUEUE_BIND => M::QueueBind(QueueBind::read(reader)?),
        MethodId::QUEUE_UNBIND => M::QueueUnbind(QueueBind::read_unbind(reader)?),
        MethodId::QUEUE_PURGE => M::QueuePurge(QueuePurge::read(reader)?),
        MethodId::QUEUE_DELETE => M::QueueDelete(QueueDelete::read(reader)?),
        MethodId::BASIC_QOS => M::Qos(Qos::read(reader)?),
        MethodId::BASIC_CONSUME => M::Consume(Consume::read(reader)?),
        MethodId::BASIC_CANCEL => M::Cancel(Cancel::read(reader)?),
        MethodId::BASIC_CANCEL_OK => M::CancelOk(reader.short_str()?),
        MethodId::BASIC_GET => M::Get(Get::read(reader)?),
        MethodId::BASIC_REJECT => M::Reject(Settle::read_reject(reader)?),
        MethodId::BASIC_NACK => M::Nack(Settle::read_nack(reader)?),
        MethodId::BASIC_RECOVER_ASYNC => M::RecoverAsync(reader.flags()?.at(0)),
        MethodId::BASIC_RECOVER => M::Recover(reader.flags()?.at(0)),
        MethodId::CONFIRM_SELECT => M::ConfirmSelect(reader.flags()?.at(0)),
        MethodId::TX_SELECT => M::TxSelect,
        MethodId::TX_COMMIT => M::TxCommit,
        MethodId::TX_ROLLBACK => M::TxRollback,
        _ if id.name().is_some() => return Err(MethodFault::ServerOnly),
        _ => return Err(MethodFault::Unknown),
    })
}
