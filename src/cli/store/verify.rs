//! `rialto store verify`: everything in a data directory that nobody serves. Part of `cli::store`.
//!
//! First the files, each by the rules of its format, and what refers to what; then, if all of that is well, a start
//! over an overlay: the checkpoint restored and the journal applied to it, in memory alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::app::offline;
use crate::broker::audit::Audit;
use crate::broker::record::Record;
use crate::store::bodies::BodyRef;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::journal::Position;
use crate::store::partition::check;
use crate::store::partition::folders::LogFolders;
use crate::store::tables::bindings::Bindings;
use crate::store::tables::bodies::{Bodies, Live};
use crate::store::tables::db::Db;
use crate::store::tables::declared::Declared;
use crate::store::tables::exchanges::Exchanges;
use crate::store::tables::groups::Groups;
use crate::store::tables::logs::Logs;
use crate::store::tables::offsets::Offsets;
use crate::store::tables::on_disk;
use crate::store::tables::partitions::Partitions;
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::retained::Retained;
use crate::store::tables::sessions::Sessions;
use crate::store::tables::sets::Sets;
use crate::store::verify::journal;
use crate::store::verify::pages::BesidePages;
use crate::store::verify::references::References;
use crate::store::verify::tables::rows;
use crate::store::verify::{Fault, Inspector};

use super::progress::Progress;
use super::{DATABASE_CACHE_BYTES, Looked, Place, StoreCommandError, look, progress};

/// Faults that are shown; the others are counted.
const SHOWN_MAX: u64 = 1_000;

/// Collects what is found and shows it.
#[derive(Debug)]
pub struct Report {
    progress: Progress,
    faults: u64,
    /// Faults that are no damage: a newer build wrote it.
    newer: u64,
    counts: Vec<(&'static str, u64)>,
}

impl Report {
    /// Shows progress on `progress` and faults on standard output.
    #[must_use]
    pub fn new(progress: Progress) -> Self {
        Self { progress, faults: 0, newer: 0, counts: Vec::new() }
    }

    /// How many faults there are.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> String {
        let counts = self.counts.iter().map(|(what, count)| format!("{count} {what}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// Shows something else again.
    #[must_use]
    pub fn into_progress(self) -> Progress {
        self.progress
    }

    fn say(&mut self, text: &str) {
        self.progress.step_aside();
        // A reader that is gone does not change the verdict.
        drop(writeln!(io::stdout(), "{text}"));
    }
}

impl Inspector for Report {
    fn fault(&mut self, fault: Fault) {
        self.faults += 1;
        self.newer += u64::from(fault.is_newer);
        if self.faults <= SHOWN_MAX {
            self.say(&format!("fault: {fault}"));
        }
    }

    fn note(&mut self, text: String) {
        self.say(&format!("note: {text}"));
    }

    fn read(&mut self, bytes: u64) {
        self.progress.add(bytes);
    }
}

/// Verifies the directory.
///
/// # Errors
/// It is served, or no data directory.
pub fn run(place: &Place) -> Result<ExitCode, StoreCommandError> {
    let config = place.config()?;
    let Looked { root, _lock } = look(&config)?;
    let mut report = Report::new(progress(place));
    report.progress.begin("database", size_of(&config.data_dir.join("meta.redb")));
    match on_disk::open_checked(&root, DATABASE_CACHE_BYTES) {
        Ok(db) => {
            let db = Arc::new(db);
            inspect(&root, &db, &config.data_dir, &mut report);
            if report.faults == 0 {
                report.progress.begin("applying the journal", 0);
                if let Err(error) = offline::restore(root, db, &config) {
                    let place = "a start in memory".to_owned();
                    report.fault(Fault::of(place, "to succeed", error.to_string()));
                }
            }
        }
        Err(error) => report.fault(error.into()),
    }
    report.progress.end();
    Ok(verdict(&config.data_dir, &mut report))
}

fn verdict(dir: &Path, report: &mut Report) -> ExitCode {
    let (dir, counts) = (dir.display(), report.counts());
    if report.faults == 0 {
        report.say(&format!("ok: {dir}: {counts}"));
        return ExitCode::SUCCESS;
    }
    if report.newer > 0 {
        // Other faults may come of what could not be read.
        report.say(&format!("{dir}: written by a newer build; this one cannot judge it"));
        return ExitCode::from(2);
    }
    report.say(&format!("damaged: {dir}: {} faults; read {counts}", report.faults));
    ExitCode::FAILURE
}

fn size_of(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |about| about.len())
}

/// Bytes of all files in `folder`.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_in(&entry.path()),
        _ => size_of(&entry.path()),
    });
    sizes.sum()
}

/// Checks files, rows and references of `root`, which is the folder `dir`.
pub fn inspect(root: &Arc<dyn Disk>, db: &Db, dir: &Path, report: &mut Report) {
    let mut audit = Audit::default();
    report.progress.begin("bodies", bytes_in(&dir.join("bodies")));
    inspect_queues(root, db, &mut audit, report);
    inspect_names(db, &mut audit, report);
    report.progress.begin("logs", bytes_in(&dir.join("logs")));
    inspect_logs(root, db, &mut audit, report);
    report.progress.begin("journal", bytes_in(&dir.join("journal")));
    inspect_journal(root, db, report);
    report.progress.end();
}

fn folder(root: &Arc<dyn Disk>, name: &str, report: &mut Report) -> Option<Arc<dyn Disk>> {
    match root.folder(name) {
        Ok(folder) => Some(folder),
        Err(source) => {
            let file = root.path(name);
            report.fault(StoreError::Io { file, doing: "open", source }.into());
            None
        }
    }
}

/// Bodies, and who refers to them.
fn inspect_queues(root: &Arc<dyn Disk>, db: &Db, audit: &mut Audit, report: &mut Report) {
    let Some(disk) = folder(root, "bodies", report) else { return };
    let mut references = References::default();
    let mut is_counted = true;
    rows::<Bodies>(db, report, |key, row, report| {
        is_counted &= row.live != Live::Uncounted;
        references.read(disk.as_ref(), key.segment, row, report);
        Ok(())
    });
    let sessions = rows::<Sessions>(db, report, |key, row, _| audit.session(key, &row));
    let queues = rows::<Declared>(db, report, |key, row, _| audit.declared(key, &row));
    let mut beside = match BesidePages::open(db, is_counted, report) {
        Ok(beside) => beside,
        Err(error) => return report.fault(error.into()),
    };
    let mut messages = 0;
    let pages = rows::<QueuePages>(db, report, |key, row, report| {
        let (bodies, sum) = audit.page(key, &row)?;
        messages += bodies.len() as u64;
        beside.check(key, &sum, &segments_of(&bodies), report)?;
        let whose = format!("page {} of queue {}", key.page, key.queue);
        bodies.into_iter().for_each(|body| references.refer(&whose, body, report));
        Ok(())
    });
    references.compare(report);
    let named = |key: &PageKey, row: &[u8]| {
        audit.page(key, row).ok().map(|(bodies, _)| segments_of(&bodies))
    };
    if let Err(error) = beside.finish(db, named, report) {
        report.fault(error.into());
    }
    let (segments, bodies) = references.counts();
    report.counts.extend([
        ("body segments", segments as u64),
        ("bodies", bodies as u64),
        ("sessions", sessions),
        ("queues", queues),
        ("pages", pages),
        ("queued messages", messages),
    ]);
}

fn segments_of(bodies: &[BodyRef]) -> BTreeSet<u32> {
    bodies.iter().map(|body| body.segment).collect()
}

/// Tables without files.
fn inspect_names(db: &Db, audit: &mut Audit, report: &mut Report) {
    let counts = [
        ("sets", rows::<Sets>(db, report, |key, row, _| audit.set(key, &row))),
        (
            "retained messages",
            rows::<Retained>(db, report, |key, row, _| audit.retained(key, &row)),
        ),
        ("exchanges", rows::<Exchanges>(db, report, |key, row, _| audit.exchange(key, &row))),
        ("bindings", rows::<Bindings>(db, report, |key, _, _| audit.binding(key))),
    ];
    report.counts.extend(counts);
}

/// Logs with their files, and groups, which refer to them.
fn inspect_logs(root: &Arc<dyn Disk>, db: &Db, audit: &mut Audit, report: &mut Report) {
    let Some(disk) = folder(root, "logs", report) else { return };
    let folders = LogFolders::new(disk);
    let mut names = BTreeMap::new();
    let logs = rows::<Logs>(db, report, |key, row, _| {
        audit.log(key, &row);
        names.insert(key.log, row.name);
        Ok(())
    });
    let mut missing: BTreeSet<_> = audit.partitions().collect();
    let mut batches = 0;
    let partitions = rows::<Partitions>(db, report, |key, row, report| {
        missing.remove(&(key.log, key.partition));
        audit.partition(key)?;
        let name = names.get(&key.log).map_or("", String::as_str);
        let disk = folders.partition(key.log, name, key.partition)?;
        batches += check::check(disk.as_ref(), &row, report);
        Ok(())
    });
    for (log, partition) in missing {
        let place = format!("table partitions, log {log}, partition {partition}");
        report.fault(Fault::of(place, "a row", "none"));
    }
    let counts = [
        ("logs", logs),
        ("partitions", partitions),
        ("batches", batches),
        ("groups", rows::<Groups>(db, report, |key, row, _| audit.group(key, &row))),
        ("offsets", rows::<Offsets>(db, report, |key, _, _| audit.offset(key))),
    ];
    report.counts.extend(counts);
}

fn inspect_journal(root: &Arc<dyn Disk>, db: &Db, report: &mut Report) {
    let position = match db.checkpoint() {
        Ok(row) => row.map_or(Position::START, |row| row.position()),
        Err(error) => return report.fault(error.into()),
    };
    let Some(disk) = folder(root, "journal", report) else { return };
    let count = journal::check(disk, position, report, &mut |_, bytes| {
        Record::decode(bytes).map(drop).map_err(|error| error.to_string())
    });
    let counts = [("journal batches", count.batches), ("records to apply", count.records)];
    report.counts.extend(counts);
}
