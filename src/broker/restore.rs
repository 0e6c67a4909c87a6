//! From disk to state: the last checkpoint, then whatever the journal holds beyond it. Part of `broker`.
//!
//! Routes into sessions are restored before any listener opens: a session that is present is routable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::AHashMap;

use crate::model::ids::{LogId, QueueId, SetId};
use crate::model::topic::TopicFilter;
use crate::store::codec::Reader;
use crate::store::error::StoreError;
use crate::store::journal::Position;
use crate::store::partition::folders::LogFolders;
use crate::store::tables::Changes;
use crate::store::tables::bodies::{Bodies, BodyRow};
use crate::store::tables::db::Db;
use crate::store::tables::logs::{LogRow, Logs as LogsTable};
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::page_sums::{PageSum, PageSums};
use crate::store::tables::partitions::{PartitionRow, Partitions};
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::retained::Retained as RetainedTable;
use crate::store::tables::sessions::Sessions as SessionsTable;
use crate::store::tables::sets::Sets as SetsTable;

use super::Broker;
use super::apply::{AppliedLimits, Applier};
use super::connect::{Closing, SessionHandle};
use super::declared::frozen;
use super::declared::queue::DeclaredQueue;
use super::exchanges::restore as exchanges;
use super::groups::frozen as groups;
use super::logs::log::LogState;
use super::logs::partition::Partition;
use super::logs::registry::Logs;
use super::logs::settings::LogSettings;
use super::logs::stored;
use super::queues::page::Page;
use super::queues::queue::Queue;
use super::record::{Record, SetMember};
use super::retained::{Retained, row as retained_row};
use super::sessions::row::{SessionRow, decode_page, sum_entries};
use super::sessions::session::{NEVER_EXPIRES_S, Session};
use super::{Job, Parts};

fn malformed(what: String) -> impl FnOnce(String) -> StoreError {
    move |reason| StoreError::Failed { file: what.into(), reason }
}

/// Where replay begins, and what the checkpoint says of the whole.
#[must_use]
pub fn position(checkpoint: Option<&CheckpointRow>) -> Position {
    checkpoint.map_or(Position::START, CheckpointRow::position)
}

/// Body segments that the checkpoint names.
///
/// # Errors
/// The database cannot be read.
pub fn segments(db: &Db) -> Result<BTreeMap<u32, BodyRow>, StoreError> {
    let mut segments = BTreeMap::new();
    db.for_each::<Bodies>(|key, row| {
        segments.insert(key.segment, row);
        Ok(())
    })?;
    Ok(segments)
}

/// The index of retained messages.
///
/// # Errors
/// The database cannot be read.
pub fn retained(db: &Arc<Db>) -> Result<Retained, StoreError> {
    let retained = Retained::new(Arc::new(retained_row::StoredRows(Arc::clone(db))));
    db.for_each_raw::<RetainedTable>(|key, bytes| {
        let (lsn, message) = retained_row::decode(bytes).map_err(|error| {
            malformed(format!("retained message of {}", key.topic))(error.to_string())
        })?;
        retained.restore(&key.vhost, &key.topic, lsn, message.len() as u64);
        Ok(())
    })?;
    Ok(retained)
}

/// Logs and their partitions; files are cut back to what the checkpoint counts.
///
/// # Errors
/// A row or a file does not fit.
pub fn logs(db: &Db, folders: LogFolders, defaults: LogSettings) -> Result<Logs, StoreError> {
    let mut rows: BTreeMap<LogId, LogRow> = BTreeMap::new();
    db.for_each::<LogsTable>(|key, row| {
        rows.insert(key.log, row);
        Ok(())
    })?;
    let mut partitions: AHashMap<(LogId, u32), PartitionRow> = AHashMap::new();
    db.for_each::<Partitions>(|key, row| {
        partitions.insert((key.log, key.partition), row);
        Ok(())
    })?;
    folders.remove_unlisted(&rows.keys().copied().collect::<BTreeSet<_>>())?;
    let logs = Logs::new(Arc::new(folders.clone()), defaults);
    for (id, row) in rows {
        let name = || format!("log {}", row.name);
        let settings = row.config.iter().map(|(key, value)| (&**key, &**value));
        let settings =
            logs.defaults.with(settings).map_err(|error| malformed(name())(error.to_string()))?;
        let mut restored = Vec::new();
        for index in 0..row.partitions {
            let part = partitions
                .remove(&(id, index))
                .ok_or_else(|| malformed(name())(format!("partition {index} has no row")))?;
            let log = (id, &*row.name);
            let files = stored::open(&folders, log, index, &settings, &part.segments)?;
            let partition = Partition::restore(id, index, settings.append_time, files, &part)
                .map_err(|error| malformed(name())(error.to_string()))?;
            restored.push(Arc::new(partition));
        }
        let log = Arc::new(LogState {
            id,
            vhost: row.vhost,
            name: row.name,
            uuid: row.uuid,
            created_ms: row.created_ms,
            config: row.config,
            settings,
            partitions: restored,
        });
        logs.table.insert(&log);
        logs.raise_next_id(id.0.saturating_add(1));
    }
    Ok(logs)
}

/// A broker and its applier as the last checkpoint left them; the journal is still to be replayed.
///
/// # Errors
/// A row does not fit.
pub fn broker(
    parts: Parts,
    db: &Db,
    checkpoint: Option<&CheckpointRow>,
) -> Result<(Arc<Broker>, Applier), StoreError> {
    let broker = Arc::new(Broker::new(parts));
    restore_sessions(&broker, db)?;
    frozen::restore(&broker, db)?;
    restore_pages(&broker, db)?;
    exchanges::read(&broker.exchanges, db)?;
    groups::read(&mut broker.groups.applied.lock(), db)?;
    let sets = restore_sets(db)?;
    let limits = match checkpoint {
        Some(row) => {
            AppliedLimits { messages_max: row.queued_messages_max, bytes_max: row.queued_bytes_max }
        }
        None => AppliedLimits { messages_max: u64::MAX, bytes_max: u64::MAX },
    };
    if let Some(row) = checkpoint {
        broker.sessions.raise_next_id(row.next_queue_id.0);
        broker.logs.raise_next_id(row.next_log_id.0);
        broker.restore_sets(row.next_set_id.0, []);
        broker.logs.raise_next_producer(row.next_producer_id);
    }
    let mut applier = Applier::new(Arc::clone(&broker), position(checkpoint), sets, limits);
    applier.count_refusing(&broker.declared.all());
    broker.count_backlog();
    Ok((broker, applier))
}

fn restore_sessions(broker: &Broker, db: &Db) -> Result<(), StoreError> {
    db.for_each::<SessionsTable>(|key, bytes| {
        let row = SessionRow::decode(&bytes)
            .map_err(|error| malformed(format!("session {}", key.queue))(error.to_string()))?;
        let session = broker.sessions.by_id_or_new(key.queue, || row.key);
        let mut inner = session.inner.lock();
        inner.state = row.state;
        inner.queue.set_tail(row.tail);
        Ok(())
    })
}

/// Whose pages they are.
#[derive(Clone)]
enum Owner {
    Session(Arc<Session>),
    Declared(Arc<DeclaredQueue>),
}

impl Owner {
    /// Whether messages are still to come on the page.
    fn restore_out(&self, number: u64, sum: PageSum) -> bool {
        let tail = match self {
            Self::Session(session) => {
                let mut inner = session.inner.lock();
                inner.persisted.insert(number);
                inner.queue.restore_out(number, sum);
                inner.queue.tail()
            }
            Self::Declared(queue) => {
                let mut inner = queue.inner.lock();
                inner.persisted.insert(number);
                inner.ledger.restore_out(number, sum);
                inner.ledger.queue.tail()
            }
        };
        Page::number_of(tail) == number
    }

    fn bring_tail_in(&self, broker: &Broker, id: QueueId) -> Result<(), String> {
        let bring_in = |queue: &mut Queue| {
            let tail = queue.tail();
            broker.paging.bring_in(id, queue, tail, tail.saturating_add(1))
        };
        match self {
            Self::Session(session) => bring_in(&mut session.inner.lock().queue),
            Self::Declared(queue) => bring_in(&mut queue.inner.lock().ledger.queue),
        }
    }
}

fn owner(broker: &Broker, id: QueueId) -> Option<Owner> {
    let session = broker.sessions.by_id(id).map(Owner::Session);
    session.or_else(|| broker.declared.by_id(id).map(Owner::Declared))
}

/// Queues as long as they were, their pages on disk but for those that messages are still to come on.
fn restore_pages(broker: &Broker, db: &Db) -> Result<(), StoreError> {
    let mut last: Option<(QueueId, Owner)> = None;
    let mut tails = Vec::new();
    for_each_sum(db, |key, sum| {
        let owner = match last.take().filter(|(id, _)| *id == key.queue) {
            Some((_, owner)) => owner,
            None => owner(broker, key.queue).ok_or_else(|| {
                malformed(format!("queue {}", key.queue))("pages without a queue".to_owned())
            })?,
        };
        if owner.restore_out(key.page, sum) {
            tails.push((key.queue, owner.clone()));
        }
        last = Some((key.queue, owner));
        Ok(())
    })?;
    for (id, owner) in tails {
        owner.bring_tail_in(broker, id).map_err(malformed(format!("queue {id}")))?;
    }
    Ok(())
}

/// What each page comes to; of a directory that an earlier build wrote, all pages are read for that.
fn for_each_sum(
    db: &Db,
    mut each: impl FnMut(PageKey, PageSum) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if db.has_page_sums()? {
        return db.for_each::<PageSums>(each);
    }
    db.for_each::<QueuePages>(|key, bytes| {
        let entries = decode_page(key.queue, key.page, &bytes).map_err(|error| {
            malformed(format!("page {} of queue {}", key.page, key.queue))(error.to_string())
        })?;
        each(key, sum_entries(key.page, entries))
    })
}

/// Keeps what pages come to, if an earlier build left it out; to be called before the first checkpoint.
///
/// # Errors
/// The database cannot be read or written.
pub fn keep_page_sums(db: &Db) -> Result<(), StoreError> {
    if db.has_page_sums()? {
        return Ok(());
    }
    let mut sums = Changes::<PageSums>::default();
    for_each_sum(db, |key, sum| {
        sums.put(key, sum);
        Ok(())
    })?;
    tracing::info!(pages = sums.puts.len(), "pages of queues are added up, once after an upgrade");
    db.put_page_sums(&sums)
}

fn restore_sets(db: &Db) -> Result<AHashMap<SetId, Arc<[SetMember]>>, StoreError> {
    let mut sets = AHashMap::new();
    db.for_each::<SetsTable>(|key, bytes| {
        let mut reader = Reader::new(&bytes);
        let members = (|| {
            let count = reader.count(4)?;
            (0..count).map(|_| SetMember::decode(&mut reader)).collect::<Result<Vec<_>, _>>()
        })();
        let members =
            members.map_err(|error| malformed(format!("set {}", key.set))(error.to_string()))?;
        sets.insert(key.set, members.into());
        Ok(())
    })?;
    Ok(sets)
}

/// The journal is replayed: what only lives in memory is made again. No record may be submitted before the
/// journal was started.
///
/// # Errors
/// A page of a session's queue cannot be read.
pub fn revive(broker: &Broker, applier: &Applier) -> Result<(), StoreError> {
    broker.restore_sets(0, applier.sets().keys().copied());
    frozen::revive(broker);
    broker.revive_shares();
    let mut keys = broker.sessions.keys();
    for session in broker.sessions.all() {
        let router = broker.router.vhost(&session.key.vhost);
        let mut inner = session.inner.lock();
        let inner = &mut *inner;
        inner.owner_epoch = inner.state.epoch;
        inner.expiry_s = inner.state.expiry_s;
        inner.will = inner.state.will.clone();
        inner.subscriptions = inner.state.subscriptions.clone();
        inner.sent = inner.state.sent;
        if inner.state.connected {
            // What the last connection was sent is not known beyond its window.
            let window = usize::from(inner.state.receive_max);
            let id = session.id;
            let sent_below = broker.paging.end_of_first(id, &mut inner.queue, window);
            inner.sent = inner.sent.max(sent_below.map_err(malformed(format!("session {id}")))?);
            // Acknowledgements whose records were lost may stand in front of it: what was taken over and sent is perhaps
            // beyond the window of what is here now, and for nobody else all the same [MQTT-4.8.2-5].
            let last_taken = inner.state.taken.last_key_value();
            let taken_below = last_taken.map_or(0, |(position, _)| position.saturating_add(1));
            inner.sent = inner.sent.max(taken_below);
        }
        inner.cursor = inner.queue.head();
        for (filter, subscription) in &inner.subscriptions {
            if let Ok(filter) = TopicFilter::parse(filter) {
                match filter.share_group() {
                    Some(_) => broker.revive_member(&session, &filter, subscription.qos),
                    None => router.subscribe(&filter, &session, subscription),
                }
                broker.metrics.state.subscriptions.inc();
            }
        }
        keys.insert(session.key.clone(), Arc::clone(&session));
    }
    drop(keys);
    for session in broker.sessions.all() {
        let what = malformed(format!("session {}", session.id));
        broker.bind_taken(&session).map_err(what)?;
    }
    exchanges::revive(broker);
    Ok(())
}

/// The journal takes records: sessions whose connection the crash took are closed, deadlines are set again,
/// limits of the configuration are put in force.
pub fn resume(broker: &Broker, applied: AppliedLimits, now_ms: u64) {
    let queue = broker.limits().queue;
    let wanted = queue.applied();
    if applied != wanted {
        let record = Record::Limits {
            queued_messages_max: wanted.messages_max,
            queued_bytes_max: wanted.bytes_max,
        };
        if let Err(error) = broker.submit(None, &record) {
            tracing::warn!(%error, "the configured queue limits are not in force");
        }
    }
    broker.retire_sets();
    broker.resume_shares();
    broker.begin_retention(now_ms);
    frozen::resume(broker, now_ms);
    broker.revive_groups(now_ms);
    broker.schedule_expiry(now_ms);
    for session in broker.sessions.all() {
        broker.look_at_length(&session, now_ms);
        resume_session(broker, &session, now_ms);
    }
}

fn resume_session(broker: &Broker, session: &Arc<Session>, now_ms: u64) {
    let (id, state) = (session.id, session.inner.lock().state.clone());
    let epoch = state.epoch;
    let found = broker.sessions.keys().get(&session.key).map(|found| found.id);
    if found != Some(id) {
        // Its end was refused while the disk failed, and another one of its key opened since.
        broker.publish_left_will(session, now_ms);
        if let Err(error) = broker.submit(None, &Record::EndSession { session: id, epoch }) {
            tracing::warn!(session = %id, %error, "a session that nobody finds stays for now");
        }
        drop(broker.end_live(session));
        return;
    }
    if state.connected {
        let handle = SessionHandle { session: Arc::clone(session), epoch };
        broker.close(&handle, Closing::default(), now_ms);
        return;
    }
    if let Some(due_ms) = state.will.and_then(|will| will.due_ms) {
        schedule(broker, due_ms, Job::Will(id, epoch), now_ms);
    }
    if state.expiry_s != NEVER_EXPIRES_S {
        let deadline_ms = state.closed_ms.saturating_add(u64::from(state.expiry_s) * 1000);
        schedule(broker, deadline_ms, Job::Expiry(id, epoch), now_ms);
    }
}

fn schedule(broker: &Broker, deadline_ms: u64, job: Job, now_ms: u64) {
    if deadline_ms <= now_ms {
        broker.run_job(job, now_ms);
    } else {
        broker.timers.at(deadline_ms, job);
    }
}
