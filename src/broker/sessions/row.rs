//! A session's durable part and its queue's pages as a checkpoint keeps them. Part of `broker::sessions`.

use std::sync::Arc;

use crate::model::ids::QueueId;
use crate::store::bodies::BodyRef;
use crate::store::codec::{CodecError, Reader, Writer};

use super::super::queues::entry::Entry;
use super::super::queues::page::PAGE_POSITIONS;
use super::session::{Durable, SessionKey, Will};
use super::subscription::Subscription;

const VERSION: u8 = 1;

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
        w.u8(VERSION);
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
        bytes
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
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
        w.u8(entry.durable_flags());
        let ids = entry.subscription_ids.as_deref().unwrap_or_default();
        w.count(ids.len());
        ids.iter().for_each(|id| w.u32(*id));
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
        let position = number * PAGE_POSITIONS + slot;
        let order = r.varint()?;
        let body = BodyRef { segment: r.u32()?, offset: r.u32()?, len: r.u32()? };
        let flags = r.u8()?;
        let ids = r.count(4)?;
        let mut subscription_ids = Vec::with_capacity(ids);
        for _ in 0..ids {
            subscription_ids.push(r.u32()?);
        }
        let subscription_ids = (ids > 0).then(|| subscription_ids.into());
        entries.push(PageEntry { position, order, body, flags, subscription_ids });
    }
    r.finish()?;
    Ok(entries)
}
