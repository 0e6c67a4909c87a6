//! A session's durable part and its queue's pages as a checkpoint keeps them. Part of `broker::sessions`.

use std::sync::Arc;

use crate::model::ids::QueueId;
use crate::store::bodies::BodyRef;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::page_sums::PageSum;

use super::super::queues::entry::{Entry, HAS_DETAILS, HAS_VIA, NEVER_MS};
use super::super::queues::page::PAGE_POSITIONS;
use super::super::via::Via;
use super::session::{Durable, SessionKey, Will};
use super::subscription::Subscription;

/// Of a page, and of a session that took nothing over from a share group.
const VERSION: u8 = 1;
/// Of a session that did: positions follow.
const TAKEN_VERSION: u8 = 2;

/// A session as restored.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRow {
    /// What it is found by.
    pub key: SessionKey,
    /// Its applied state; `exists` is true.
    pub state: Durable,
    /// Next position of its queue.
    pub tail: u64,
}

impl SessionRow {
    /// The row's bytes.
    #[must_use]
    pub fn encode(key: &SessionKey, state: &Durable, tail: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        let mut w = Writer(&mut bytes);
        w.u8(if state.taken.is_empty() { VERSION } else { TAKEN_VERSION });
        w.str(&key.vhost);
        w.str(&key.client_id);
        w.varint(tail);
        w.varint(state.epoch);
        w.bool(state.connected);
        w.u32(state.expiry_s);
        w.u64(state.closed_ms);
        w.u16(state.receive_max);
        w.varint(state.sent);
        w.option(state.will.as_ref(), |w, will| {
            w.u32(will.delay_s);
            w.option(will.due_ms, Writer::u64);
            w.bytes(&will.message);
        });
        w.count(state.subscriptions.len());
        for (filter, subscription) in &state.subscriptions {
            w.str(filter);
            subscription.encode(&mut w);
        }
        w.count(state.inbound.len());
        state.inbound.iter().for_each(|id| w.u16(*id));
        if !state.taken.is_empty() {
            w.count(state.taken.len());
            for (position, (queue, place)) in &state.taken {
                w.varint(*position);
                w.varint(queue.0);
                w.varint(*place);
            }
        }
        bytes
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        let has_taken = bytes.first() == Some(&TAKEN_VERSION);
        r.version(if has_taken { TAKEN_VERSION } else { VERSION })?;
        let key = SessionKey { vhost: r.str()?.into(), client_id: r.str()?.into() };
        let tail = r.varint()?;
        let mut state = Durable {
            exists: true,
            epoch: r.varint()?,
            connected: r.bool()?,
            expiry_s: r.u32()?,
            closed_ms: r.u64()?,
            receive_max: r.u16()?,
            sent: r.varint()?,
            will: r.option(|r| {
                Ok(Will {
                    delay_s: r.u32()?,
                    due_ms: r.option(Reader::u64)?,
                    message: r.bytes()?.to_vec(),
                })
            })?,
            ..Durable::default()
        };
        for _ in 0..r.count(2)? {
            let filter = Arc::from(r.str()?);
            state.subscriptions.insert(filter, Subscription::decode(&mut r)?);
        }
        for _ in 0..r.count(2)? {
            state.inbound.insert(r.u16()?);
        }
        for _ in 0..if has_taken { r.count(3)? } else { 0 } {
            let position = r.varint()?;
            state.taken.insert(position, (QueueId(r.varint()?), r.varint()?));
        }
        r.finish()?;
        Ok(Self { key, state, tail })
    }
}

/// One entry of a page on disk.
#[derive(Clone, Debug)]
pub struct PageEntry {
    /// Position in the queue.
    pub position: u64,
    /// LSN of the record that put it there.
    pub order: u64,
    /// Where its body is.
    pub body: BodyRef,
    /// `Entry::durable_flags`.
    pub flags: u8,
    /// Subscription identifiers.
    pub subscription_ids: Option<Arc<[u32]>>,
    /// The address it is delivered under, where a route changed it.
    pub via: Option<Arc<Via>>,
    /// When it expires in a declared queue.
    pub expires_ms: u64,
    /// Bytes of its payload in a declared queue.
    pub payload_bytes: u32,
}

impl PageEntry {
    /// The entry, with its body on disk.
    #[must_use]
    pub fn restored(self) -> Entry {
        let mut entry = Entry::restored(self.order, self.body, self.flags);
        entry.subscription_ids = self.subscription_ids;
        entry.via = self.via;
        entry.expires_ms = self.expires_ms;
        entry.payload_bytes = self.payload_bytes;
        entry
    }
}

/// What a page comes to, by its live entries.
#[must_use]
pub fn sum_page<'a>(
    number: u64,
    entries: impl IntoIterator<Item = (u64, &'a Entry, BodyRef)>,
) -> PageSum {
    let mut sum = PageSum::default();
    for (position, entry, body) in entries {
        if sum.live == 0 {
            sum.first = u32::try_from(position - number * PAGE_POSITIONS).unwrap_or(0);
        }
        sum.live += 1;
        sum.bytes += u64::from(body.len);
        sum.payload_bytes += u64::from(entry.payload_bytes);
        sum.newest = entry.order;
    }
    sum
}

/// What a page comes to that was read.
#[must_use]
pub fn sum_entries(number: u64, entries: Vec<PageEntry>) -> PageSum {
    let entries: Vec<_> =
        entries.into_iter().map(|it| (it.position, it.body, it.restored())).collect();
    sum_page(number, entries.iter().map(|(position, body, entry)| (*position, entry, *body)))
}

/// The bytes of a page: its live entries with the bodies they were given.
#[must_use]
pub fn encode_page<'a>(
    number: u64,
    entries: impl ExactSizeIterator<Item = (u64, &'a Entry, BodyRef)>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * 24 + 8);
    let mut w = Writer(&mut bytes);
    w.u8(VERSION);
    w.count(entries.len());
    for (position, entry, body) in entries {
        w.varint(position - number * PAGE_POSITIONS);
        w.varint(entry.order);
        w.u32(body.segment);
        w.u32(body.offset);
        w.u32(body.len);
        let flags = entry.durable_flags();
        w.u8(flags);
        let ids = entry.subscription_ids.as_deref().unwrap_or_default();
        w.count(ids.len());
        ids.iter().for_each(|id| w.u32(*id));
        if let Some(via) = &entry.via {
            via.encode(&mut w);
        }
        if flags & HAS_DETAILS != 0 {
            w.u32(entry.payload_bytes);
            w.u64(entry.expires_ms);
        }
    }
    bytes
}

/// Reads a page.
///
/// # Errors
/// [`CodecError`] naming what does not fit.
pub fn decode_page(
    queue: QueueId,
    number: u64,
    bytes: &[u8],
) -> Result<Vec<PageEntry>, CodecError> {
    let mut r = Reader::new(bytes);
    r.version(VERSION)?;
    let count = r.count(16)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let at = r.position();
        let slot = r.varint()?;
        if slot >= PAGE_POSITIONS {
            return Err(CodecError::Value { what: "slot of a queue page", found: queue.0, at });
        }
        let position = number
            .checked_mul(PAGE_POSITIONS)
            .and_then(|first| first.checked_add(slot))
            .ok_or(CodecError::Value { what: "number of a queue page", found: number, at })?;
        let order = r.varint()?;
        let body = BodyRef { segment: r.u32()?, offset: r.u32()?, len: r.u32()? };
        let flags = r.u8()?;
        let ids = r.count(4)?;
        let mut subscription_ids = Vec::with_capacity(ids);
        for _ in 0..ids {
            subscription_ids.push(r.u32()?);
        }
        let subscription_ids = (ids > 0).then(|| subscription_ids.into());
        let via = if flags & HAS_VIA != 0 { Some(Arc::new(Via::decode(&mut r)?)) } else { None };
        let has_details = flags & HAS_DETAILS != 0;
        let (payload_bytes, expires_ms) =
            if has_details { (r.u32()?, r.u64()?) } else { (0, NEVER_MS) };
        entries.push(PageEntry {
            position,
            order,
            body,
            flags,
            subscription_ids,
            via,
            expires_ms,
            payload_bytes,
        });
    }
    r.finish()?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::{PAGE_POSITIONS, PageEntry, SessionRow, decode_page, encode_page};
    use crate::broker::queues::entry::{Body, Entry, Stored};
    use crate::broker::sessions::session::{Durable, SessionKey, Will};
    use crate::broker::sessions::subscription::Subscription;
    use crate::broker::via::Via;
    use crate::model::ids::{Lsn, QueueId};
    use crate::model::qos::QoS;
    use crate::store::bodies::BodyRef;

    fn subscription() -> impl Strategy<Value = Subscription> {
        let flags = (0u8..3, any::<[bool; 2]>());
        (flags, option::of(any::<u32>()), any::<u64>(), option::of(".{0,5}")).prop_map(
            |((qos, [no_local, retain_as_published]), id, since, replay_after)| Subscription {
                qos: QoS::from_bits(qos).unwrap(),
                no_local,
                retain_as_published,
                id,
                since: Lsn(since),
                replay_after,
            },
        )
    }

    fn state() -> impl Strategy<Value = Durable> {
        let will = (any::<u32>(), option::of(any::<u64>()), vec(any::<u8>(), 0..9))
            .prop_map(|(delay_s, due_ms, message)| Will { delay_s, due_ms, message });
        let numbers = (any::<u64>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u16>());
        let subscriptions = vec((".{1,5}", subscription()), 0..4);
        let taken = vec((any::<u64>(), any::<(u64, u64)>()), 0..3);
        let ids = (vec(any::<u16>(), 0..5), taken);
        (numbers, any::<u64>(), option::of(will), subscriptions, ids).prop_map(
            |(numbers, sent, will, subscriptions, (inbound, taken))| {
                let taken = taken.into_iter();
                let (epoch, connected, expiry_s, closed_ms, receive_max) = numbers;
                let subscriptions: BTreeMap<Arc<str>, Subscription> =
                    subscriptions.into_iter().map(|(f, s)| (f.into(), s)).collect();
                let inbound: BTreeSet<u16> = inbound.into_iter().collect();
                Durable {
                    exists: true,
                    epoch,
                    connected,
                    expiry_s,
                    closed_ms,
                    receive_max,
                    sent,
                    will,
                    subscriptions,
                    inbound,
                    taken: taken
                        .map(|(at, (queue, place))| (at, (QueueId(queue), place)))
                        .collect(),
                }
            },
        )
    }

    type Flat = (u64, u64, BodyRef, u8, Option<Arc<[u32]>>, Option<Arc<Via>>, (u64, u32));

    fn flat(entry: PageEntry) -> Flat {
        let details = (entry.expires_ms, entry.payload_bytes);
        let (ids, via) = (entry.subscription_ids, entry.via);
        (entry.position, entry.order, entry.body, entry.flags, ids, via, details)
    }

    proptest! {
        #[test]
        fn a_session_survives_its_row(state in state(), client_id in ".{0,9}", tail in any::<u64>()) {
            let key = SessionKey { vhost: "/".into(), client_id: client_id.into() };
            let bytes = SessionRow::encode(&key, &state, tail);
            let row = SessionRow { key, state, tail };
            prop_assert_eq!(SessionRow::decode(&bytes), Ok(row));
            for cut in 0..bytes.len() {
                prop_assert!(SessionRow::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn a_page_survives_its_row(
            number in prop_oneof![0u64..3, Just(u64::MAX / PAGE_POSITIONS - 1)],
            slots in btree_set(0..PAGE_POSITIONS, 0..20),
            (order, segment) in (any::<u64>(), any::<u32>()),
            ids in vec(any::<u32>(), 0..3),
        ) {
            let first = number * PAGE_POSITIONS;
            let body = BodyRef { segment, offset: 7, len: 3 };
            let entries: Vec<(u64, Entry)> = slots
                .iter()
                .map(|slot| {
                    let memory = Body::Memory(Stored::new(vec![1, 2, 3].into()));
                    let mut entry = Entry::new(order, memory, QoS::ExactlyOnce, slot % 2 == 0);
                    entry.subscription_ids = (!ids.is_empty()).then(|| ids.clone().into());
                    if slot % 5 == 0 {
                        entry.via = Some(Arc::new(Via::Topic("t".into())));
                    }
                    if slot % 3 == 0 {
                        entry.release();
                    }
                    if slot % 4 == 0 {
                        entry.expires_ms = order;
                        entry.payload_bytes = segment;
                    }
                    entry.settle();
                    entry.set_out(true);
                    (first + slot, entry)
                })
                .collect();
            let bytes = encode_page(number, entries.iter().map(|(at, entry)| (*at, entry, body)));
            let expected: Vec<Flat> = entries
                .iter()
                .map(|(at, entry)| {
                    let ids = entry.subscription_ids.clone();
                    let details = (entry.expires_ms, entry.payload_bytes);
                    let flags = entry.durable_flags();
                    (*at, entry.order, body, flags, ids, entry.via.clone(), details)
                })
                .collect();
            let page = decode_page(QueueId(1), number, &bytes).unwrap();
            prop_assert_eq!(page.into_iter().map(flat).collect::<Vec<_>>(), expected);
            for cut in 0..bytes.len() {
                prop_assert!(decode_page(QueueId(1), number, &bytes[..cut]).is_err());
            }
            if !slots.is_empty() {
                prop_assert!(decode_page(QueueId(1), u64::MAX, &bytes).is_err());
            }
        }

        #[test]
        fn random_bytes_never_panic(number in any::<u64>(), bytes in vec(any::<u8>(), 0..80)) {
            let version = 1 + (number % 2) as u8;
            let body: Vec<u8> = [version].into_iter().chain(bytes).collect();
            std::hint::black_box(SessionRow::decode(&body)).ok();
            std::hint::black_box(decode_page(QueueId(1), number, &body)).ok();
        }
    }
}
