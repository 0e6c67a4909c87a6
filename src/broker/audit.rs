//! Whether the rows of a checkpoint are what they must be, and refer to what is there. Part of `broker`.
//!
//! The tables are read in the order in which they refer to each other: [`Audit`] remembers names and numbers. It
//! keeps the name of every queue, exchange and log.

use ahash::{AHashMap, AHashSet};

use crate::model::ids::{LogId, QueueId};
use crate::store::bodies::BodyRef;
use crate::store::codec::{CodecError, Reader};
use crate::store::tables::Table;
use crate::store::tables::bindings::{BindingKey, Bindings};
use crate::store::tables::declared::{Declared, DeclaredKey};
use crate::store::tables::exchanges::{ExchangeKey, ExchangeRow, Exchanges};
use crate::store::tables::groups::{GroupKey, GroupRow, Groups};
use crate::store::tables::logs::{LogKey, LogRow};
use crate::store::tables::offsets::{OffsetKey, Offsets};
use crate::store::tables::page_sums::PageSum;
use crate::store::tables::partitions::{PartitionKey, Partitions};
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::retained::{Retained, RetainedKey};
use crate::store::tables::sessions::{SessionKey, Sessions};
use crate::store::tables::sets::{SetKey, Sets};
use crate::store::verify::Fault;

use super::declared::row::DeclaredRow;
use super::exchanges::kind::ExchangeKind;
use super::groups::group::Group;
use super::message::Message;
use super::record::SetMember;
use super::retained::row;
use super::sessions::row::{SessionRow, decode_page, sum_entries};

/// Exchanges whose names begin so are there without being declared.
const PREDECLARED: &str = "amq.";

/// What was read so far.
#[derive(Debug, Default)]
pub struct Audit {
    /// Next position of each queue.
    queues: AHashMap<QueueId, u64>,
    /// vhost and name.
    declared: AHashSet<(String, String)>,
    exchanges: AHashSet<(String, String)>,
    /// Partitions of each log.
    logs: AHashMap<LogId, u32>,
}

fn undecodable<T: Table>(key: &T::Key) -> impl FnOnce(CodecError) -> Fault {
    let key = format!("{key:?}");
    move |error| Fault::row(T::NAME, &key, &error)
}

fn wrong<T: Table>(key: &T::Key, expected: &str, found: impl Into<String>) -> Fault {
    Fault::of(format!("table {}, key {key:?}", T::NAME), expected, found)
}

impl Audit {
    /// A session.
    ///
    /// # Errors
    /// What is wrong with it; so everywhere here.
    pub fn session(&mut self, key: &SessionKey, bytes: &[u8]) -> Result<(), Fault> {
        // Known even if its row is not: its pages are not lost with it.
        self.queues.insert(key.queue, u64::MAX);
        let row = SessionRow::decode(bytes).map_err(undecodable::<Sessions>(key))?;
        self.queues.insert(key.queue, row.tail);
        if let Some(will) = &row.state.will {
            Message::decode(&will.message).map_err(undecodable::<Sessions>(key))?;
        }
        Ok(())
    }

    /// A declared queue.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn declared(&mut self, key: &DeclaredKey, bytes: &[u8]) -> Result<(), Fault> {
        let is_new = self.queues.insert(key.queue, u64::MAX).is_none();
        let row = DeclaredRow::decode(bytes).map_err(undecodable::<Declared>(key))?;
        self.queues.insert(key.queue, row.tail);
        if !is_new {
            return Err(wrong::<Declared>(key, "a number of its own", "a session's"));
        }
        if row.share {
            // A group may have an older queue that is not empty yet.
            return Ok(());
        }
        match self.declared.insert((row.vhost.to_string(), row.name.to_string())) {
            true => Ok(()),
            false => Err(wrong::<Declared>(key, "a name of its own", row.name.to_string())),
        }
    }

    /// A page of a queue: the bodies that it refers to, and what it comes to.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn page(&self, key: &PageKey, bytes: &[u8]) -> Result<(Vec<BodyRef>, PageSum), Fault> {
        let entries =
            decode_page(key.queue, key.page, bytes).map_err(undecodable::<QueuePages>(key))?;
        let Some(tail) = self.queues.get(&key.queue) else {
            return Err(wrong::<QueuePages>(key, "a queue that it belongs to", "none"));
        };
        if let Some(last) = entries.last().filter(|last| last.position >= *tail) {
            let expected = format!("positions below {tail}");
            return Err(wrong::<QueuePages>(key, &expected, format!("{}", last.position)));
        }
        let bodies = entries.iter().map(|entry| entry.body).collect();
        Ok((bodies, sum_entries(key.page, entries)))
    }

    /// An interned set.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn set(&self, key: &SetKey, bytes: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(4).map_err(undecodable::<Sets>(key))?;
        for _ in 0..count {
            SetMember::decode(&mut reader).map_err(undecodable::<Sets>(key))?;
        }
        reader.finish().map_err(undecodable::<Sets>(key))
    }

    /// A retained message.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn retained(&self, key: &RetainedKey, bytes: &[u8]) -> Result<(), Fault> {
        let (_, message) = row::decode(bytes).map_err(undecodable::<Retained>(key))?;
        let message = Message::decode(message).map_err(undecodable::<Retained>(key))?;
        match message.payload.is_empty() {
            true => Err(wrong::<Retained>(key, "a payload", "none")),
            false => Ok(()),
        }
    }

    /// An exchange.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn exchange(&mut self, key: &ExchangeKey, row: &ExchangeRow) -> Result<(), Fault> {
        self.exchanges.insert((key.vhost.clone(), key.name.clone()));
        match ExchangeKind::named(&row.kind) {
            Some(_) => Ok(()),
            None => Err(wrong::<Exchanges>(key, "a type of exchange", row.kind.clone())),
        }
    }

    /// A binding; after all exchanges and declared queues.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn binding(&self, key: &BindingKey) -> Result<(), Fault> {
        let exchange = |name: &str| {
            name.starts_with(PREDECLARED)
                || self.exchanges.contains(&(key.vhost.clone(), name.to_owned()))
        };
        if !exchange(&key.source) {
            return Err(wrong::<Bindings>(key, "an exchange of its source's name", "none"));
        }
        let is_there = match key.to_exchange {
            true => exchange(&key.destination),
            false => self.declared.contains(&(key.vhost.clone(), key.destination.clone())),
        };
        match is_there {
            true => Ok(()),
            false => Err(wrong::<Bindings>(key, "its destination", "none")),
        }
    }

    /// A log.
    pub fn log(&mut self, key: &LogKey, row: &LogRow) {
        self.logs.insert(key.log, row.partitions);
    }

    /// A partition; after all logs.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn partition(&self, key: &PartitionKey) -> Result<(), Fault> {
        match self.logs.get(&key.log).is_some_and(|partitions| key.partition < *partitions) {
            true => Ok(()),
            false => Err(wrong::<Partitions>(key, "a log with such a partition", "none")),
        }
    }

    /// Partitions that there must be; after all logs.
    pub fn partitions(&self) -> impl Iterator<Item = (LogId, u32)> + '_ {
        self.logs.iter().flat_map(|(log, count)| (0..*count).map(|partition| (*log, partition)))
    }

    /// A group.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn group(&self, key: &GroupKey, row: &GroupRow) -> Result<(), Fault> {
        match Group::restore_empty(&key.group, &row.snapshot) {
            Ok(_) => Ok(()),
            Err(error) => Err(undecodable::<Groups>(key)(error)),
        }
    }

    /// A committed offset; after all logs.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn offset(&self, key: &OffsetKey) -> Result<(), Fault> {
        match self.logs.contains_key(&key.log) {
            true => Ok(()),
            false => Err(wrong::<Offsets>(key, "a log of that number", "none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Audit;
    use crate::broker::declared::row::DeclaredRow;
    use crate::broker::groups::group::Group;
    use crate::broker::sessions::row::SessionRow;
    use crate::broker::sessions::session::{Durable, SessionKey as Key};
    use crate::model::ids::{LogId, QueueId, SHARD};
    use crate::store::tables::declared::DeclaredKey;
    use crate::store::tables::groups::{GroupKey, GroupRow};
    use crate::store::tables::offsets::OffsetKey;
    use crate::store::tables::queue_pages::PageKey;
    use crate::store::tables::retained::RetainedKey;
    use crate::store::tables::sessions::SessionKey;

    fn session() -> Vec<u8> {
        let key = Key { vhost: "/".into(), client_id: "c".into() };
        SessionRow::encode(&key, &Durable::default(), 256)
    }

    fn queue() -> Vec<u8> {
        let (vhost, name, table) = ("/".into(), "q".into(), [].into());
        DeclaredRow { vhost, name, auto_delete: false, table, tail: 3, share: false }.encode()
    }

    fn page() -> Vec<u8> {
        // Version, one entry: slot 2, order 1, body, flags, no identifiers.
        let mut bytes = vec![1, 1, 2, 1];
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&[1, 0]);
        bytes
    }

    #[test]
    fn rows_of_a_newer_build_are_told_apart_from_damage() {
        let newer = |mut bytes: Vec<u8>| {
            // There are two versions of sessions and declared queues.
            bytes[0] += 2;
            bytes
        };
        let mut audit = Audit::default();
        let key = SessionKey { shard: SHARD, queue: QueueId(1) };
        assert!(audit.session(&key, &session()).is_ok());
        assert!(audit.session(&key, &newer(session())).unwrap_err().is_newer);
        assert!(!audit.session(&key, &session()[..9]).unwrap_err().is_newer);
        let key = DeclaredKey { shard: SHARD, queue: QueueId(2) };
        assert!(audit.declared(&key, &newer(queue())).unwrap_err().is_newer);
        let key = PageKey { shard: SHARD, queue: QueueId(1), page: 0 };
        let (bodies, sum) = audit.page(&key, &page()).unwrap();
        assert_eq!((bodies.len(), sum.live, sum.first, sum.newest), (1, 1, 2, 1));
        let mut bytes = page();
        // Far beyond any version of the future's builds that this one may learn to read.
        bytes[0] = 0xf0;
        assert!(audit.page(&key, &bytes).unwrap_err().is_newer);
        let key = RetainedKey { shard: SHARD, vhost: "/".into(), topic: "t".into() };
        assert!(audit.retained(&key, &[2, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().is_newer);
        let key = GroupKey { shard: SHARD, vhost: "/".into(), group: "g".into() };
        let snapshot = |bytes: Vec<u8>| GroupRow { put_ms: 1, snapshot: bytes.into() };
        let bytes = Group::new("g").snapshot(None);
        assert!(audit.group(&key, &snapshot(bytes.clone())).is_ok());
        assert!(audit.group(&key, &snapshot(newer(bytes))).unwrap_err().is_newer);
    }

    #[test]
    fn what_refers_to_nothing_is_found() {
        let mut audit = Audit::default();
        let key = |queue| PageKey { shard: SHARD, queue: QueueId(queue), page: 0 };
        let declared = DeclaredKey { shard: SHARD, queue: QueueId(5) };
        audit.declared(&declared, &queue()).unwrap();
        assert!(audit.page(&key(5), &page()).is_ok());
        assert!(audit.page(&key(6), &page()).is_err());
        assert!(audit.page(&PageKey { page: 1, ..key(5) }, &page()).is_err(), "beyond its end");
        let other = DeclaredKey { queue: QueueId(7), ..declared };
        assert!(audit.declared(&other, &queue()).is_err(), "its name is taken");
        let (vhost, group) = (String::from("/"), String::from("g"));
        let offset = OffsetKey { shard: SHARD, vhost, group, log: LogId(1), partition: 0 };
        assert!(audit.offset(&offset).is_err());
    }
}
