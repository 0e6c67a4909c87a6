//! Bytes to records. Part of `broker::record`. Counts are bounded by the bytes that remain.

use std::sync::Arc;

use super::encode::HAS_VIA;
use super::{
    Binding, CodecError, Condition, GroupRecord, LogChange, LogId, Lsn, OpenSession, QoS, QueueId,
    Reader, Record, ReplayItem, RoutedAppend, SetId, SetMember, Subscription, TakenItem, VERSION,
    Via, kind,
};

fn queue(r: &mut Reader<'_>) -> Result<QueueId, CodecError> {
    r.varint().map(QueueId)
}

fn qos(r: &mut Reader<'_>) -> Result<QoS, CodecError> {
    let at = r.position();
    let bits = r.u8()?;
    QoS::from_bits(bits).ok_or(CodecError::Value { what: "QoS", found: u64::from(bits), at })
}

pub(super) fn many<'a, T>(
    r: &mut Reader<'a>,
    bytes_min: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let count = r.count(bytes_min)?;
    (0..count).map(|_| read(r)).collect()
}

impl<'a> Record<'a> {
    /// Reads a record's bytes.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit; a newer version is one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let at = r.position();
        let record = match r.u8()? {
            kind::PUBLISH => return publish(r),
            kind::APPEND => return append_batch(r),
            kind::DEFINE_SET => Self::DefineSet {
                id: SetId(r.varint()?),
                members: many(&mut r, 4, SetMember::decode)?,
            },
            kind::RETIRE_SET => Self::RetireSet { id: SetId(r.varint()?) },
            kind::OPEN_SESSION => Self::OpenSession(OpenSession::decode(&mut r)?),
            kind::CLOSE_SESSION => Self::CloseSession {
                session: queue(&mut r)?,
                epoch: r.varint()?,
                time_ms: r.u64()?,
                expiry_s: r.u32()?,
                sent: r.varint()?,
                will_due_ms: r.option(Reader::u64)?,
            },
            kind::END_SESSION => Self::EndSession { session: queue(&mut r)?, epoch: r.varint()? },
            kind::SUBSCRIBE => Self::Subscribe {
                session: queue(&mut r)?,
                epoch: r.varint()?,
                subscriptions: many(&mut r, 2, |r| Ok((r.str()?, Subscription::decode(r)?)))?,
            },
            kind::REPLAY => Self::Replay {
                session: queue(&mut r)?,
                epoch: r.varint()?,
                filter: r.str()?,
                after: r.option(Reader::str)?,
                items: many(&mut r, 3, replay_item)?,
            },
            kind::UNSUBSCRIBE => Self::Unsubscribe {
                session: queue(&mut r)?,
                epoch: r.varint()?,
                filters: many(&mut r, 1, Reader::str)?,
            },
            kind::SETTLE => {
                Self::Settle { queue: queue(&mut r)?, positions: many(&mut r, 1, Reader::varint)? }
            }
            kind::RELEASE => Self::Release { queue: queue(&mut r)?, position: r.varint()? },
            kind::FORGET_INBOUND => Self::ForgetInbound {
                session: queue(&mut r)?,
                epoch: r.varint()?,
                packet_id: r.u16()?,
            },
            kind::CREATE_LOG => create_log(&mut r)?,
            kind::LIMITS => {
                Self::Limits { queued_messages_max: r.u64()?, queued_bytes_max: r.u64()? }
            }
            kind::DROP_RETAINED => {
                Self::DropRetained { vhost: r.str()?, topic: r.str()?, value: Lsn(r.varint()?) }
            }
            kind::GROUP => Self::Group(GroupRecord::decode(&mut r)?),
            kind::LOG_CHANGE => Self::LogChange(LogChange::decode(&mut r)?),
            kind @ (kind::DECLARE_SHARE | kind::TAKE) => shares(kind, &mut r)?,
            kind @ kind::DECLARE_EXCHANGE..=kind::BARRIER => topology(kind, &mut r)?,
            other => {
                let found = u64::from(other);
                return Err(CodecError::Value { what: "record kind", found, at });
            }
        };
        r.finish()?;
        Ok(record)
    }
}

/// Records about share groups.
fn shares<'a>(kind: u8, r: &mut Reader<'a>) -> Result<Record<'a>, CodecError> {
    if kind == kind::DECLARE_SHARE {
        return Ok(Record::DeclareShare { id: queue(r)?, vhost: r.str()?, filter: r.str()? });
    }
    let (session, epoch) = (queue(r)?, r.varint()?);
    Ok(Record::Take { session, epoch, items: many(r, 6, TakenItem::decode)? })
}

/// Records about exchanges, bindings and declared queues.
fn topology<'a>(kind: u8, r: &mut Reader<'a>) -> Result<Record<'a>, CodecError> {
    Ok(match kind {
        kind::DECLARE_EXCHANGE => Record::DeclareExchange {
            vhost: r.str()?,
            name: r.str()?,
            kind: r.str()?,
            auto_delete: r.bool()?,
            internal: r.bool()?,
            arguments: r.bytes()?,
        },
        kind::DELETE_EXCHANGE => Record::DeleteExchange { vhost: r.str()?, name: r.str()? },
        kind::BIND => Record::Bind(Binding::decode(r)?),
        kind::UNBIND => Record::Unbind(Binding::decode(r)?),
        kind::DECLARE_QUEUE => Record::DeclareQueue {
            id: queue(r)?,
            vhost: r.str()?,
            name: r.str()?,
            auto_delete: r.bool()?,
            arguments: r.bytes()?,
        },
        kind::DELETE_QUEUE => Record::DeleteQueue { id: queue(r)? },
        kind::SETTLE_RANGES => Record::SettleRanges {
            queue: queue(r)?,
            ranges: many(r, 2, |r| Ok((r.varint()?, r.varint()?)))?,
        },
        _ => Record::Barrier,
    })
}

fn publish(mut r: Reader<'_>) -> Result<Record<'_>, CodecError> {
    Ok(Record::Publish {
        vhost: r.str()?,
        condition: condition(&mut r)?,
        set: r.option(|r| r.varint().map(SetId))?,
        members: many(&mut r, 4, SetMember::decode)?,
        retained: r.bool()?,
        appends: many(&mut r, 9, routed_append)?,
        message: r.rest(),
    })
}

fn routed_append<'a>(r: &mut Reader<'a>) -> Result<RoutedAppend<'a>, CodecError> {
    let (log, partition) = (LogId(r.u32()?), r.u32()?);
    let at = r.position();
    let flags = r.u8()?;
    if flags > 0b11 {
        return Err(CodecError::Value { what: "flags of an append", found: flags.into(), at });
    }
    let key = if flags & 1 != 0 { Some(r.bytes()?) } else { None };
    let via = if flags & 0b10 != 0 { Some(Arc::new(Via::decode(r)?)) } else { None };
    Ok(RoutedAppend { log, partition, key, via })
}

fn append_batch(mut r: Reader<'_>) -> Result<Record<'_>, CodecError> {
    Ok(Record::Append {
        log: LogId(r.u32()?),
        partition: r.u32()?,
        time_ms: r.u64()?,
        batch: r.rest(),
    })
}

fn create_log<'a>(r: &mut Reader<'a>) -> Result<Record<'a>, CodecError> {
    Ok(Record::CreateLog {
        id: LogId(r.u32()?),
        vhost: r.str()?,
        name: r.str()?,
        uuid: r.array()?,
        time_ms: r.u64()?,
        partitions: r.u32()?,
        config: many(r, 2, |r| Ok((r.str()?, r.str()?)))?,
    })
}

fn condition<'a>(r: &mut Reader<'a>) -> Result<Condition<'a>, CodecError> {
    let at = r.position();
    match r.u8()? {
        0 => Ok(Condition::None),
        1 => Ok(Condition::Inbound { session: queue(r)?, epoch: r.varint()?, packet_id: r.u16()? }),
        2 => Ok(Condition::Will { session: queue(r)?, epoch: r.varint()? }),
        3 => Ok(Condition::Position {
            group: r.str()?,
            log: LogId(r.u32()?),
            partition: r.u32()?,
            expected: r.i64()?,
            next: r.i64()?,
        }),
        found => Err(CodecError::Value { what: "condition", found: u64::from(found), at }),
    }
}

fn replay_item<'a>(r: &mut Reader<'a>) -> Result<ReplayItem<'a>, CodecError> {
    Ok(ReplayItem { qos: qos(r)?, subscription_id: r.option(Reader::u32)?, message: r.bytes()? })
}

impl SetMember {
    /// Reads the member's bytes.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (queue, qos) = (queue(r)?, qos(r)?);
        let at = r.position();
        let flags = r.u8()?;
        if flags > 1 | HAS_VIA {
            return Err(CodecError::Value { what: "flags of a member", found: flags.into(), at });
        }
        let subscription_ids = many(r, 4, Reader::u32)?;
        let via = if flags & HAS_VIA != 0 { Some(Arc::new(Via::decode(r)?)) } else { None };
        Ok(Self { queue, qos, retain_as_published: flags & 1 != 0, subscription_ids, via })
    }
}

impl<'a> Binding<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, CodecError> {
        Ok(Self {
            vhost: r.str()?,
            source: r.str()?,
            to_exchange: r.bool()?,
            destination: r.str()?,
            key: r.str()?,
            arguments: r.bytes()?,
        })
    }
}

impl<'a> OpenSession<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, CodecError> {
        Ok(Self {
            session: queue(r)?,
            vhost: r.str()?,
            client_id: r.str()?,
            epoch: r.varint()?,
            time_ms: r.u64()?,
            expiry_s: r.u32()?,
            receive_max: r.u16()?,
            will: r.option(|r| Ok((r.u32()?, r.bytes()?)))?,
            replaces: r.option(queue)?,
        })
    }
}
