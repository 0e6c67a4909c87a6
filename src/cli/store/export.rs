//! `rialto store export`: everything durable, one JSON object a line. Part of `cli::store`.
//!
//! The journal is applied to the checkpoint in memory, and a checkpoint taken there; then every table is walked
//! from its beginning to its end, and bodies and batches are read one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::app::offline::{self, Offline};
use crate::broker::declared::row::DeclaredRow;
use crate::broker::groups::group::Group;
use crate::broker::logs::batch::records::{Opened, batches};
use crate::broker::logs::log::LogState;
use crate::broker::logs::partition::Partition;
use crate::broker::message::Message;
use crate::broker::retained::row;
use crate::broker::sessions::row::{PageEntry, SessionRow, decode_page};
use crate::model::ids::QueueId;
use crate::store::error::StoreError;
use crate::store::tables::bindings::Bindings;
use crate::store::tables::declared::Declared;
use crate::store::tables::exchanges::Exchanges;
use crate::store::tables::groups::Groups;
use crate::store::tables::logs;
use crate::store::tables::offsets::Offsets;
use crate::store::tables::queue_pages::QueuePages;
use crate::store::tables::retained::Retained;
use crate::store::tables::sessions::Sessions;

use super::lines;
use super::{Looked, Place, StoreCommandError, look, open_db, progress};

/// Bytes of a log that are read at once.
const READ_BYTES: usize = 1 << 20;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// MQTT sessions with their subscriptions and queued messages
    Sessions,
    /// AMQP queues with their messages
    Queues,
    /// Exchanges and bindings
    Exchanges,
    /// Retained messages
    Retained,
    /// Logs with their records
    Logs,
    /// Consumer groups with their offsets
    Groups,
}

/// Writes what is asked for, or everything, to standard output.
///
/// # Errors
/// The directory is served, or a start would refuse it; standard output is gone.
pub fn run(place: &Place, what: &[Kind]) -> Result<ExitCode, StoreCommandError> {
    let config = place.config()?;
    let Looked { root, _lock } = look(&config)?;
    let mut progress = progress(place);
    let db = open_db(&root)?;
    progress.line("applying the journal");
    let mut offline = offline::restore(root, db, &config)?;
    offline.settle()?;
    let wanted: BTreeSet<Kind> = match what {
        [] => Kind::value_variants().iter().copied().collect(),
        some => some.iter().copied().collect(),
    };
    let out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut export = Export { offline, out, count: 0, failed: None };
    for kind in wanted {
        progress.line(&format!("writing {kind:?}").to_lowercase());
        export.kind(kind)?;
    }
    export.out.flush().map_err(StoreCommandError::io("standard output"))?;
    progress.line(&format!("{} lines", export.count));
    Ok(ExitCode::SUCCESS)
}

struct Export<W> {
    offline: Offline,
    out: W,
    count: u64,
    /// What standard output said, while a table is walked.
    failed: Option<io::Error>,
}

fn malformed(what: &str, error: impl ToString) -> StoreError {
    StoreError::Failed { file: what.into(), reason: error.to_string() }
}

impl<W: Write> Export<W> {
    fn kind(&mut self, kind: Kind) -> Result<(), StoreCommandError> {
        let walked = match kind {
            Kind::Sessions => self.sessions(),
            Kind::Queues => self.queues(),
            Kind::Exchanges => self.exchanges(),
            Kind::Retained => self.retained(),
            Kind::Logs => self.logs(),
            Kind::Groups => self.groups(),
        };
        match self.failed.take() {
            Some(source) => Err(StoreCommandError::io("standard output")(source)),
            None => Ok(walked?),
        }
    }

    /// Writes a line; an error ends the walk.
    fn line(&mut self, value: &Value) -> Result<(), StoreError> {
        self.count += 1;
        writeln!(self.out, "{value}").map_err(|error| {
            let stop = malformed("standard output", &error);
            self.failed = Some(error);
            stop
        })
    }

    fn sessions(&mut self) -> Result<(), StoreError> {
        let db = std::sync::Arc::clone(&self.offline.db);
        let mut keys = BTreeMap::new();
        db.for_each::<Sessions>(|key, bytes| {
            let row = SessionRow::decode(&bytes).map_err(|error| malformed("session", error))?;
            self.line(&lines::session(&row))?;
            let of = json!({ "session": &*row.key.client_id, "vhost": &*row.key.vhost });
            keys.insert(key.queue, of);
            Ok(())
        })?;
        self.messages(&keys)
    }

    fn queues(&mut self) -> Result<(), StoreError> {
        let db = std::sync::Arc::clone(&self.offline.db);
        let mut keys = BTreeMap::new();
        db.for_each::<Declared>(|key, bytes| {
            let row = DeclaredRow::decode(&bytes).map_err(|error| malformed("queue", error))?;
            self.line(&lines::queue(&row))?;
            keys.insert(key.queue, json!({ "queue": &*row.name, "vhost": &*row.vhost }));
            Ok(())
        })?;
        self.messages(&keys)
    }

    /// The messages of the queues in `keys`.
    fn messages(&mut self, keys: &BTreeMap<QueueId, Value>) -> Result<(), StoreError> {
        let db = std::sync::Arc::clone(&self.offline.db);
        db.for_each::<QueuePages>(|key, bytes| {
            let Some(of) = keys.get(&key.queue) else { return Ok(()) };
            let page = decode_page(key.queue, key.page, &bytes);
            for entry in page.map_err(|error| malformed("queue page", error))? {
                self.message(of, &entry)?;
            }
            Ok(())
        })
    }

    fn message(&mut self, of: &Value, entry: &PageEntry) -> Result<(), StoreError> {
        let body = self.offline.broker.bodies.read(entry.body)?;
        let message = Message::decode(&body).map_err(|error| malformed("message", error))?;
        self.line(&lines::queued(of, entry, &message))
    }

    fn exchanges(&mut self) -> Result<(), StoreError> {
        let db = std::sync::Arc::clone(&self.offline.db);
        db.for_each::<Exchanges>(|key, row| self.line(&lines::exchange(&key, &row)))?;
        db.for_each::<Bindings>(|key, _| self.line(&lines::binding(&key)))
    }

    fn retained(&mut self) -> Result<(), StoreError> {
        let db = std::sync::Arc::clone(&self.offline.db);
        db.for_each::<Retained>(|key, bytes| {
            let (_, message) = row::decode(&bytes).map_err(|error| malformed("retained", error))?;
            let message = Message::decode(message).map_err(|error| malformed("retained", error))?;
            self.line(&lines::retained(&key, &message))
        })
    }

    fn logs(&mut self) -> Result<(), StoreError> {
        let mut logs = self.offline.broker.logs.table.all();
        logs.sort_by_key(|log| log.id);
        for log in logs {
            self.line(&lines::log(&log))?;
            for partition in &log.partitions {
                self.records(&log, partition)?;
            }
        }
        Ok(())
    }

    fn records(&mut self, log: &LogState, partition: &Partition) -> Result<(), StoreError> {
        let name = format!("log {} partition {}", log.name, partition.index());
        let mut next = partition.log_start();
        while next < partition.end() {
            let slice = partition.read(next, READ_BYTES).map_err(|e| malformed(&name, e))?;
            let before = next;
            for batch in batches(&slice.records) {
                let opened = Opened::new(batch).map_err(|error| malformed(&name, error))?;
                next = opened.header().last_offset().saturating_add(1);
                for record in opened.records() {
                    let record = record.map_err(|error| malformed(&name, error))?;
                    // A batch may reach back before the start.
                    if record.offset >= partition.log_start() {
                        self.line(&lines::record(log, partition.index(), &record))?;
                    }
                }
            }
            if next == before {
                return Err(malformed(&name, format!("no batch at offset {next}")));
            }
        }
        Ok(())
    }

    fn groups(&mut self) -> Result<(), StoreError> {
        let db = std::sync::Arc::clone(&self.offline.db);
        db.for_each::<Groups>(|key, row| {
            let group = Group::restore(&key.group, &row.snapshot, row.put_ms)
                .map_err(|error| malformed("group", error))?;
            self.line(&lines::group(&key, row.put_ms, &group.describe()))
        })?;
        let names = logs::names(&db)?;
        db.for_each::<Offsets>(|key, row| {
            let log = names.get(&key.log).map_or("", String::as_str);
            self.line(&lines::offset(&key, log, &row))
        })
    }
}
