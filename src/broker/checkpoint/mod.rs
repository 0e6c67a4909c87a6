//! Checkpoints: what is still live, written out of the journal's way. Part of `broker`.
//!
//! The applier freezes what changed at a batch boundary and goes on; a thread of its own writes the bodies,
//! syncs them and the partition files, and makes everything current with one redb commit that carries the
//! position. Only then is the journal trimmed, memory given back, and files without references removed.
//!
//! - [`bodies`] bodies on their way to disk, over as many attempts as that takes
//! - [`pages`] queues' pages and the bodies they name; [`named`] the same in rows
//! - [`upkeep`] body segments from checkpoint to checkpoint; [`segments`] who refers to them
//! - [`compaction`] sparse ones emptied, [`survey`] which those are
//! - [`pins`] keep files while a backup copies them

pub(in crate::broker) mod bodies;
mod compaction;
mod named;
pub(in crate::broker) mod pages;
pub mod pins;
mod segments;
mod survey;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;

use crate::model::ids::{LogId, QueueId, SHARD, SetId};
use crate::store::codec::Writer;
use crate::store::error::StoreError;
use crate::store::journal::Position;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::bindings::BindingRow;
use crate::store::tables::bodies::BodyRow;
use crate::store::tables::db::Db;
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::retained::RetainedKey;
use crate::store::tables::sessions::SessionKey as SessionRowKey;
use crate::store::tables::sets::SetKey;

use self::bodies::{Bodies, Places};
use self::pages::{Placed, put_pages};
use self::pins::{GivenUp, Pins};
use self::segments::Segments;
use self::upkeep::Upkeep;
use super::Broker;
use super::apply::{AppliedLimits, Applier, Delta};
use super::declared::frozen::FrozenQueues;
use super::declared::queue::DeclaredQueue;
use super::exchanges::applied::FrozenTopology;
use super::groups::frozen::FrozenGroups;
use super::logs::frozen::FrozenLogs;
use super::queues::ended::EndedQueue;
use super::queues::page::Page;
use super::record::SetMember;
use super::retained::row;
use super::retained::slot::{Slot, Value};
use super::sessions::row::SessionRow;
use super::sessions::session::Session;

/// State at a batch boundary, of whatever changed since the checkpoint before.
pub struct Frozen {
    position: Position,
    sessions: Vec<FrozenSession>,
    ended: Vec<EndedQueue>,
    declared: FrozenQueues,
    sets: AHashMap<SetId, Option<Arc<[SetMember]>>>,
    logs: FrozenLogs,
    retained: Vec<(Arc<Slot>, Option<Value>)>,
    topology: FrozenTopology,
    groups: FrozenGroups,
    next_queue_id: u64,
    next_log_id: u32,
    next_set_id: u64,
    next_producer_id: i64,
    limits: AppliedLimits,
    /// Bodies that an attempt at this checkpoint put on disk already.
    places: Places,
}

struct FrozenSession {
    session: Arc<Session>,
    row: Vec<u8>,
    pages: Vec<(u64, Option<Arc<Page>>)>,
}

/// Bodies that a checkpoint wrote for entries that were in memory.
pub struct Written {
    bodies: Vec<(Arc<Session>, Placed)>,
    declared: Vec<(Arc<DeclaredQueue>, Placed)>,
    retained: Vec<(Arc<Slot>, Option<Value>)>,
}

impl Frozen {
    /// Freezes `applier`'s state. `None` when a partition's files failed: until a restart rebuilds them the
    /// journal must keep everything (rule 4).
    pub fn take(broker: &Broker, applier: &mut Applier) -> Option<Self> {
        let delta = applier.take_delta();
        let Delta { partitions, logs, deleted_logs, .. } = &delta;
        let Some(logs) = FrozenLogs::take(&broker.logs.table, partitions, logs, deleted_logs)
        else {
            applier.restore_delta(delta);
            return None;
        };
        let Delta { sessions, ended, declared, ended_declared, sets, .. } = delta;
        Some(Self {
            position: applier.next(),
            sessions: sessions.into_iter().filter_map(freeze_session).collect(),
            ended,
            declared: FrozenQueues::take(declared, ended_declared),
            sets,
            logs,
            retained: broker.retained.freeze(),
            topology: broker.exchanges.applied.lock().freeze(),
            groups: FrozenGroups::take(&mut broker.groups.applied.lock()),
            next_queue_id: broker.sessions.next_id(),
            next_log_id: broker.logs.next_id(),
            next_set_id: broker.next_set_id(),
            next_producer_id: broker.logs.next_producer(),
            limits: applier.limits(),
            places: Places::default(),
        })
    }

    /// Whether files failed so that only a restart can rebuild them, from the journal.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.logs.is_hopeless()
    }

    /// The position that the checkpoint will carry.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }
}

fn freeze_session(session: Arc<Session>) -> Option<FrozenSession> {
    let mut inner = session.inner.lock();
    inner.dirty = false;
    if !inner.state.exists {
        return None;
    }
    let row = SessionRow::encode(&session.key, &inner.state, inner.queue.tail());
    let pages = inner.queue.freeze();
    for (number, page) in &pages {
        match page {
            Some(_) => inner.persisted.insert(*number),
            None => inner.persisted.remove(number),
        };
    }
    drop(inner);
    Some(FrozenSession { session, row, pages })
}

/// Rows, and where bodies are now that were in memory, of sessions and of declared queues.
type Gathered = (CheckpointWrite, Vec<(Arc<Session>, Placed)>, Vec<(Arc<DeclaredQueue>, Placed)>);

/// Writes checkpoints, one after the other.
pub struct Checkpointer {
    broker: Arc<Broker>,
    db: Arc<Db>,
    broker_uuid: [u8; 16],
    upkeep: Upkeep,
    pins: Arc<Pins>,
    /// By checkpoints that found pins.
    given_up: Vec<GivenUp>,
}

impl Checkpointer {
    /// A checkpointer over what the last checkpoint left.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        db: Arc<Db>,
        broker_uuid: [u8; 16],
        segments: BTreeMap<u32, BodyRow>,
    ) -> Self {
        let segments = Segments::new(segments);
        let upkeep = Upkeep::new(Arc::clone(&broker), Arc::clone(&db), segments);
        let (pins, given_up) = (Arc::default(), Vec::new());
        Self { broker, db, broker_uuid, upkeep, pins, given_up }
    }

    /// The same, copying at most about `bytes_max` bytes out of mostly dead body segments with each checkpoint; 0:
    /// none.
    #[must_use]
    pub fn compacting(mut self, bytes_max: u64) -> Self {
        self.upkeep.set_bytes_max(bytes_max);
        self
    }

    /// What backups keep files by.
    #[must_use]
    pub fn pins(&self) -> Arc<Pins> {
        Arc::clone(&self.pins)
    }

    /// Writes `frozen` and makes it current. What it returns is handed to [`Checkpointer::settle`] on the
    /// applier's thread.
    ///
    /// # Errors
    /// The disk refuses. The checkpoint before stays current, or, after a failed commit, perhaps this one: only after
    /// a success anybody acts on it. To be called again with the same until it succeeds: no other checkpoint has these
    /// changes. Bodies that were synced count for the next attempt, all others are written anew, elsewhere.
    pub fn write(&mut self, frozen: &mut Frozen, now_ms: u64) -> Result<Written, StoreError> {
        let (write, bodies, declared) = self.gather(frozen, now_ms)?;
        self.db.commit(&write)?;
        frozen.places.tell();
        let dead = self.upkeep.committed();
        // Named by no checkpoint any more (rule 10), but a backup may still copy it.
        let (logs, first_kept) = (frozen.logs.removals(), frozen.position.batch);
        self.given_up.push(GivenUp { segments: dead, logs, first_kept });
        if !self.pins.are_held() {
            self.given_up.drain(..).for_each(|given_up| given_up.remove(&self.broker));
        }
        let retained = std::mem::take(&mut frozen.retained);
        Ok(Written { bodies, declared, retained })
    }

    /// Everything that the commit makes current, on disk or in what is returned.
    fn gather(&mut self, frozen: &mut Frozen, now_ms: u64) -> Result<Gathered, StoreError> {
        let mut write = CheckpointWrite::new(CheckpointRow {
            next_lsn: frozen.position.lsn,
            next_batch: frozen.position.batch,
            next_queue_id: QueueId(frozen.next_queue_id),
            next_log_id: LogId(frozen.next_log_id),
            next_set_id: SetId(frozen.next_set_id),
            next_producer_id: frozen.next_producer_id,
            broker_uuid: self.broker_uuid,
            written_ms: now_ms,
            queued_messages_max: frozen.limits.messages_max,
            queued_bytes_max: frozen.limits.bytes_max,
        });
        let mut bodies = Bodies::new(&mut frozen.places, self.broker.bodies.writer());
        let mut written = Vec::new();
        for session in &frozen.sessions {
            let placed = put_session(&mut write, session, &mut bodies)?;
            written.push((Arc::clone(&session.session), placed));
        }
        for ended in &frozen.ended {
            write.sessions.delete(SessionRowKey { shard: SHARD, queue: ended.queue });
            ended.put(&mut write);
        }
        let declared = frozen.declared.put(&mut write, &mut bodies)?;
        put_sets(&mut write, &frozen.sets);
        put_retained(&mut write, &frozen.retained);
        put_topology(&mut write, &frozen.topology);
        frozen.groups.put(&mut write);
        bodies.finish()?;
        let lengths = frozen.places.lengths().iter();
        self.upkeep.complete(&mut write, lengths.map(|(segment, len)| (*segment, *len)))?;
        // Before the rows: a file that fails is replaced by another one, which the rows then name.
        frozen.logs.sync()?;
        frozen.logs.put(&mut write);
        Ok((write, written, declared))
    }

    /// Gives memory back: entries and retained values whose bodies are on disk now. A message that is gone by
    /// then leaves its page's row with the next checkpoint. To be called on the applier's thread, before another
    /// checkpoint is begun.
    pub fn settle(broker: &Broker, written: Written) {
        let sessions = written.bodies.iter().map(|(session, _)| session.id);
        let queues = written.declared.iter().map(|(queue, _)| queue.id);
        let changed: Vec<QueueId> = sessions.chain(queues).collect();
        for (session, placed) in written.bodies {
            let mut inner = session.inner.lock();
            for (position, order, body) in placed {
                inner.queue.on_disk(position, order, body);
            }
        }
        for (queue, placed) in written.declared {
            let mut inner = queue.inner.lock();
            for (position, order, body) in placed {
                inner.ledger.queue.on_disk(position, order, body);
            }
        }
        broker.retained.checkpointed(&written.retained);
        broker.page_out(changed.into_iter());
    }
}

/// Writes a session's row and changed pages; returns where bodies that were in memory are now.
fn put_session(
    write: &mut CheckpointWrite,
    frozen: &FrozenSession,
    bodies: &mut Bodies<'_>,
) -> Result<Placed, StoreError> {
    let queue = frozen.session.id;
    let key = SessionRowKey { shard: SHARD, queue };
    write.sessions.put(key, frozen.row.clone().into());
    put_pages(write, queue, &frozen.pages, bodies)
}

fn put_sets(write: &mut CheckpointWrite, sets: &AHashMap<SetId, Option<Arc<[SetMember]>>>) {
    for (id, members) in sets {
        let key = SetKey { shard: SHARD, set: *id };
        match members {
            None => write.sets.delete(key),
            Some(members) => {
                let mut bytes = Vec::new();
                let mut w = Writer(&mut bytes);
                w.count(members.len());
                members.iter().for_each(|member| member.encode(&mut w));
                write.sets.put(key, bytes.into());
            }
        }
    }
}

fn put_retained(write: &mut CheckpointWrite, retained: &[(Arc<Slot>, Option<Value>)]) {
    for (slot, value) in retained {
        let key = RetainedKey {
            shard: SHARD,
            vhost: slot.vhost.to_string(),
            topic: slot.topic.to_string(),
        };
        match value {
            None => write.retained.delete(key),
            // Without a body in memory its row is already right.
            Some(Value { lsn, stored: Some(stored), .. }) => {
                write.retained.put(key, row::encode(*lsn, &stored.bytes));
            }
            Some(Value { stored: None, .. }) => {}
        }
    }
}

fn put_topology(write: &mut CheckpointWrite, topology: &FrozenTopology) {
    for (key, row) in &topology.exchanges {
        match row {
            Some(row) => write.exchanges.put(key.clone(), row.clone()),
            None => write.exchanges.delete(key.clone()),
        }
    }
    for (key, present) in &topology.bindings {
        match present {
            true => write.bindings.put(key.clone(), BindingRow),
            false => write.bindings.delete(key.clone()),
        }
    }
}
