//! `rialto store backup`: a copy of a data directory, whether its broker runs or not. Part of `cli::store`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::app::offline::now_ms;
use crate::config::Config;
use crate::model::ids::Lsn;
use crate::store::backup::Target;
use crate::store::backup::plan::{Planned, plan};
use crate::store::disk::Disk;
use crate::store::disk::overlay::Overlay;
use crate::store::error::StoreError;
use crate::store::journal::JournalOptions;
use crate::store::journal::Position;
use crate::store::journal::embedded::EmbeddedJournal;
use crate::store::tables::snapshot::{Copy, RawRow};

use super::progress::{Progress, size};
use super::running::Running;
use super::verify::{Report, inspect};
use super::{Looked, Place, StoreCommandError, look, open_db, progress};

/// Copies the directory to `to`.
///
/// # Errors
/// Then there is no backup.
pub fn run(place: &Place, to: &Path) -> Result<ExitCode, StoreCommandError> {
    let config = place.config()?;
    let target = Target::begin(to)?;
    let mut progress = progress(place);
    let (online, last) = match look(&config) {
        Ok(looked) => (false, copy_stopped(&looked, &target, &mut progress)?),
        Err(StoreCommandError::Running(_)) => {
            (true, copy_running(&config, &target, &mut progress)?)
        }
        Err(error) => return Err(error),
    };
    let copy = Overlay::over(target.path());
    let db = open_db(&copy)?;
    let mut report = Report::new(progress);
    inspect(&copy, &db, target.path(), &mut report);
    if report.faults() > 0 {
        return Err(StoreCommandError::Damaged(report.faults()));
    }
    let checkpoint = db.checkpoint()?;
    drop(db);
    let counts = report.counts();
    let uuid = checkpoint.map_or([0; 16], |row| row.broker_uuid);
    let label = json!({
        "format": 1,
        "taken_ms": now_ms(),
        "online": online,
        "last_lsn": last.0,
        "checkpoint_lsn": checkpoint.map_or(0, |row| row.next_lsn.0.saturating_sub(1)),
        "broker_uuid": uuid.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "rialto": env!("CARGO_PKG_VERSION"),
        "counts": counts,
    });
    target.finish(&format!("{label}\n"))?;
    let mut progress = report.into_progress();
    progress.line(&format!("ok: {}: up to record {}, {counts}", to.display(), last.0));
    Ok(ExitCode::SUCCESS)
}

/// Of a running broker: it keeps its files meanwhile.
fn copy_running(
    config: &Config,
    target: &Target,
    progress: &mut Progress,
) -> Result<Lsn, StoreCommandError> {
    progress.line("asking the running broker");
    let (mut running, last) = Running::begin(&config.data_dir)?;
    let mut copy = Copy::create(&target.path().join("meta.redb"))?;
    running.rows(&mut copy)?;
    copy.finish()?;
    copy_files(&Overlay::over(&config.data_dir), target, last, progress)?;
    running.end()?;
    Ok(last)
}

/// Of a stopped one, up to where its journal is whole.
fn copy_stopped(
    looked: &Looked,
    target: &Target,
    progress: &mut Progress,
) -> Result<Lsn, StoreCommandError> {
    let root = &looked.root;
    let db = open_db(root)?;
    let from = db.checkpoint()?.map_or(Position::START, |row| row.position());
    let path = root.path("journal");
    let disk = root.folder("journal").map_err(|source| StoreError::Io {
        file: path,
        doing: "open",
        source,
    })?;
    let opened = EmbeddedJournal::<()>::open(disk, JournalOptions::default(), from)?;
    let last = Lsn(opened.next.lsn.0.saturating_sub(1));
    drop(opened);
    let mut copy = Copy::create(&target.path().join("meta.redb"))?;
    db.snapshot()?.for_each::<StoreError>(|table, key, row| {
        let (key, row) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(row));
        copy.put(RawRow { table: table.to_owned(), key, row })
    })?;
    copy.finish()?;
    copy_files(root, target, last, progress)?;
    Ok(last)
}

/// Copies what the rows that are in the target name.
fn copy_files(
    root: &Arc<dyn Disk>,
    target: &Target,
    last: Lsn,
    progress: &mut Progress,
) -> Result<(), StoreCommandError> {
    let files = {
        let db = open_db(&Overlay::over(target.path()))?;
        plan(root, &db, last)?
    };
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    progress.begin(format!("copying {} files", files.len()), total);
    copy_each(root.as_ref(), target, &files, progress)?;
    progress.end();
    progress.line(&format!("copied {}", size(total)));
    Ok(())
}

fn copy_each(
    root: &dyn Disk,
    target: &Target,
    files: &[Planned],
    progress: &mut Progress,
) -> Result<(), StoreError> {
    for file in files {
        target.copy(root, file, &mut |bytes| progress.add(bytes))?;
    }
    Ok(())
}
