//! What a server sends without a body. Part of `amqp::codec`.

use crate::amqp::codec::frame::{FRAME_END, FrameKind, put_frame, put_head};
use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::wire::{put_long_bytes, put_short_str};
use crate::amqp::error::Fault;
use crate::model::field_table::FieldTable;

/// A method from server to client, without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `connection.start`: who we are and how to log in, mechanisms separated by spaces.
    Start {
        /// Product, version, capabilities.
        server_properties: FieldTable<'a>,
        /// Names of SASL mechanisms.
        mechanisms: &'a str,
    },
    /// `connection.secure`
    Secure {
        /// For the SASL mechanism.
        challenge: &'a [u8],
    },
    /// `connection.tune`
    Tune {
        /// Channels that may be open at the same time.
        channels_max: u16,
        /// The longest frame in bytes.
        frame_bytes_max: u32,
        /// Seconds between heartbeats.
        heartbeat_s: u16,
    },
    /// `connection.open-ok`
    OpenOk,
    /// `connection.close`
    Close {
        /// The number of a [`ReplyCode`](crate::amqp::error::ReplyCode).
        code: u16,
        /// The reply text.
        text: &'a str,
        /// What was wrong.
        method: MethodId,
    },
    /// `connection.close-ok`
    CloseOk,
    /// `connection.blocked`
    Blocked {
        /// Why nothing is read.
        reason: &'a str,
    },
    /// `connection.unblocked`
    Unblocked,
    /// `connection.update-secret-ok`
    UpdateSecretOk,
    /// `channel.open-ok`
    ChannelOpenOk,
    /// `channel.flow-ok` with its `active`
    FlowOk(bool),
    /// `channel.close`
    ChannelClose {
        /// The number of a [`ReplyCode`](crate::amqp::error::ReplyCode).
        code: u16,
        /// The reply text.
        text: &'a str,
        /// What was wrong.
        method: MethodId,
    },
    /// `channel.close-ok`
    ChannelCloseOk,
    /// `access.request-ok`
    AccessRequestOk,
    /// `exchange.declare-ok`
    ExchangeDeclareOk,
    /// `exchange.delete-ok`
    ExchangeDeleteOk,
    /// `exchange.bind-ok`
    ExchangeBindOk,
    /// `exchange.unbind-ok`
    ExchangeUnbindOk,
    /// `queue.declare-ok`
    QueueDeclareOk {
        /// The name, chosen by whom ever.
        queue: &'a str,
        /// Messages that are ready.
        message_count: u32,
        /// Consumers.
        consumer_count: u32,
    },
    /// `queue.bind-ok`
    QueueBindOk,
    /// `queue.unbind-ok`
    QueueUnbindOk,
    /// `queue.purge-ok` with the count of messages
    QueuePurgeOk(u32),
    /// `queue.delete-ok` with the count of messages
    QueueDeleteOk(u32),
    /// `basic.qos-ok`
    QosOk,
    /// `basic.consume-ok` with the consumer's tag
    ConsumeOk(&'a str),
    /// `basic.cancel` with the consumer's tag: its queue is gone; no answer is asked for
    Cancel(&'a str),
    /// `basic.cancel-ok` with the consumer's tag
    CancelOk(&'a str),
    /// `basic.get-empty`
    GetEmpty,
    /// `basic.recover-ok`
    RecoverOk,
    /// `basic.ack`, a confirm
    Ack {
        /// The publish, counted from 1 after `confirm.select`.
        delivery_tag: u64,
        /// This one and all before it.
        multiple: bool,
    },
    /// `basic.nack`, a refusal in the place of a confirm
    Nack {
        /// The publish.
        delivery_tag: u64,
        /// This one and all before it.
        multiple: bool,
    },
    /// `confirm.select-ok`
    ConfirmSelectOk,
    /// `tx.select-ok`
    TxSelectOk,
    /// `tx.commit-ok`
    TxCommitOk,
    /// `tx.rollback-ok`
    TxRollbackOk,
}

impl Reply<'_> {
    /// Its numbers.
    #[must_use]
    pub const fn id(&self) -> MethodId {
        match self {
            Self::Start { .. } => MethodId::CONNECTION_START,
            Self::Secure { .. } => MethodId::CONNECTION_SECURE,
            Self::Tune { .. } => MethodId::CONNECTION_TUNE,
            Self::OpenOk => MethodId::CONNECTION_OPEN_OK,
            Self::Close { .. } => MethodId::CONNECTION_CLOSE,
            Self::CloseOk => MethodId::CONNECTION_CLOSE_OK,
            Self::Blocked { .. } => MethodId::CONNECTION_BLOCKED,
            Self::Unblocked => MethodId::CONNECTION_UNBLOCKED,
            Self::UpdateSecretOk => MethodId::CONNECTION_UPDATE_SECRET_OK,
            Self::ChannelOpenOk => MethodId::CHANNEL_OPEN_OK,
            Self::FlowOk(_) => MethodId::CHANNEL_FLOW_OK,
            Self::ChannelClose { .. } => MethodId::CHANNEL_CLOSE,
            Self::ChannelCloseOk => MethodId::CHANNEL_CLOSE_OK,
            Self::AccessRequestOk => MethodId::ACCESS_REQUEST_OK,
            Self::ExchangeDeclareOk => MethodId::EXCHANGE_DECLARE_OK,
            Self::ExchangeDeleteOk => MethodId::EXCHANGE_DELETE_OK,
            Self::ExchangeBindOk => MethodId::EXCHANGE_BIND_OK,
            Self::ExchangeUnbindOk => MethodId::EXCHANGE_UNBIND_OK,
            Self::QueueDeclareOk { .. } => MethodId::QUEUE_DECLARE_OK,
            Self::QueueBindOk => MethodId::QUEUE_BIND_OK,
            Self::QueueUnbindOk => MethodId::QUEUE_UNBIND_OK,
            Self::QueuePurgeOk(_) => MethodId::QUEUE_PURGE_OK,
            Self::QueueDeleteOk(_) => MethodId::QUEUE_DELETE_OK,
            Self::QosOk => MethodId::BASIC_QOS_OK,
            Self::ConsumeOk(_) => MethodId::BASIC_CONSUME_OK,
            Self::Cancel(_) => MethodId::BASIC_CANCEL,
            Self::CancelOk(_) => MethodId::BASIC_CANCEL_OK,
            Self::GetEmpty => MethodId::BASIC_GET_EMPTY,
            Self::RecoverOk => MethodId::BASIC_RECOVER_OK,
            Self::Ack { .. } => MethodId::BASIC_ACK,
            Self::Nack { .. } => MethodId::BASIC_NACK,
            Self::ConfirmSelectOk => MethodId::CONFIRM_SELECT_OK,
            Self::TxSelectOk => MethodId::TX_SELECT_OK,
            Self::TxCommitOk => MethodId::TX_COMMIT_OK,
            Self::TxRollbackOk => MethodId::TX_ROLLBACK_OK,
        }
    }

    /// Appends it as a frame of `channel`, which is 0 for `connection.…`.
    pub fn put(&self, channel: u16, out: &mut Vec<u8>) {
        put_frame(out, FrameKind::Method, channel, |out| {
            put_id(out, self.id());
            self.put_arguments(out);
        });
    }

    fn put_arguments(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Start { server_properties, mechanisms } => {
                out.extend_from_slice(&[0, 9]);
                put_long_bytes(out, server_properties.as_bytes());
                put_long_bytes(out, mechanisms.as_bytes());
                put_long_bytes(out, b"en_US");
            }
            Self::Secure { challenge } => put_long_bytes(out, challenge),
            Self::Tune { channels_max, frame_bytes_max, heartbeat_s } => {
                out.extend_from_slice(&channels_max.to_be_bytes());
                out.extend_from_slice(&frame_bytes_max.to_be_bytes());
                out.extend_from_slice(&heartbeat_s.to_be_bytes());
            }
            Self::Close { code, text, method } | Self::ChannelClose { code, text, method } => {
                out.extend_from_slice(&code.to_be_bytes());
                put_short_str(out, text);
                put_id(out, method);
            }
            Self::QueueDeclareOk { queue, message_count, consumer_count } => {
                put_short_str(out, queue);
                out.extend_from_slice(&message_count.to_be_bytes());
                out.extend_from_slice(&consumer_count.to_be_bytes());
            }
            Self::QueuePurgeOk(count) | Self::QueueDeleteOk(count) => {
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Blocked { reason: text } | Self::ConsumeOk(text) | Self::CancelOk(text) => {
                put_short_str(out, text);
            }
            Self::Cancel(consumer_tag) => {
                put_short_str(out, consumer_tag);
                out.push(1);
            }
            Self::Ack { delivery_tag, multiple } | Self::Nack { delivery_tag, multiple } => {
                out.extend_from_slice(&delivery_tag.to_be_bytes());
                out.push(u8::from(multiple));
            }
            Self::FlowOk(active) => out.push(u8::from(active)),
            // Fields that mean nothing any more: known hosts, a channel id, a ticket.
            Self::OpenOk | Self::GetEmpty => out.push(0),
            Self::ChannelOpenOk => out.extend_from_slice(&[0; 4]),
            Self::AccessRequestOk => out.extend_from_slice(&[0, 1]),
            Self::CloseOk
            | Self::Unblocked
            | Self::UpdateSecretOk
            | Self::ChannelCloseOk
            | Self::ExchangeDeclareOk
            | Self::ExchangeDeleteOk
            | Self::ExchangeBindOk
            | Self::ExchangeUnbindOk
            | Self::QueueBindOk
            | Self::QueueUnbindOk
            | Self::QosOk
            | Self::RecoverOk
            | Self::ConfirmSelectOk
            | Self::TxSelectOk
            | Self::TxCommitOk
            | Self::TxRollbackOk => {}
        }
    }
}

/// Appends the close that `fault` causes: of the connection when `channel` is 0, else of that channel. How far a
/// fault reaches says [`Fault::scope`]; this only writes.
pub fn put_close(fault: &Fault, channel: u16, out: &mut Vec<u8>) {
    let (code, text, method) = (fault.code.number(), &*fault.reply_text(), fault.method);
    if channel == 0 {
        Reply::Close { code, text, method }.put(0, out);
    } else {
        Reply::ChannelClose { code, text, method }.put(channel, out);
    }
}

/// Appends `basic.ack`, the most frequent of these, in one piece.
#[inline]
pub fn put_ack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool) {
    const ARGUMENTS_BYTES: usize = 4 + 8 + 1;
    put_head(out, FrameKind::Method, channel, ARGUMENTS_BYTES);
    put_id(out, MethodId::BASIC_ACK);
    out.extend_from_slice(&delivery_tag.to_be_bytes());
    out.extend_from_slice(&[u8::from(multiple), FRAME_END]);
}

#[inline]
pub(super) fn put_id(out: &mut Vec<u8>, id: MethodId) {
    let [c0, c1] = id.class.to_be_bytes();
    let [m0, m1] = id.method.to_be_bytes();
    out.extend_from_slice(&[c0, c1, m0, m1]);
}
