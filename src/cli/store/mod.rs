//! `rialto store`: a data directory, checked, written out, copied. Part of `cli`.
//!
//! - [`verify`] reads all of it and says what is wrong
//! - [`export`] everything durable as lines of JSON; [`lines`] their forms
//! - [`backup`] a copy, of a running broker too; [`running`] how that is asked
//! - [`progress`] how far it has come, on standard error
//!
//! Nothing here changes the directory that it reads. Exit codes are those of `cli`; of [`verify`] 0 whole, 1 damaged,
//! 2 not to be judged.

pub mod backup;
pub mod export;
pub mod lines;
pub mod progress;
pub mod running;
pub mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::app::AppError;
use crate::config::source::ConfigError;
use crate::config::{Config, Options, Overrides};
use crate::store::disk::Disk;
use crate::store::disk::overlay::Overlay;
use crate::store::error::StoreError;
use crate::store::tables::db::Db;
use crate::store::tables::on_disk;
use crate::store::{DirLock, lock_to_look};

use self::export::Kind;
use self::progress::Progress;

/// Memory for pages of the database.
const DATABASE_CACHE_BYTES: usize = 64 << 20;

/// What is to be done with a data directory.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read everything in a stopped broker's data directory, or in a backup: every checksum, every reference.
    /// Nothing is changed. Exit code 0: whole; 1: damaged; 2: it could not be judged
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Write everything durable in a stopped broker's data directory, or in a backup, to standard output: one JSON
    /// object a line
    Export {
        #[command(flatten)]
        place: Place,
        /// Only these kinds, separated by commas
        #[arg(long, value_name = "KINDS", value_delimiter = ',', value_enum)]
        what: Vec<Kind>,
    },
    /// Copy a data directory, also while its broker runs: everything acknowledged before is in the copy, from which
    /// `rialto --data-dir` starts
    Backup {
        #[command(flatten)]
        place: Place,
        /// Folder of the copy; must be missing or empty
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Which data directory.
#[derive(Debug, Args)]
pub struct Place {
    /// Configuration file, for its data_dir
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Place {
    fn config(&self) -> Result<Config, ConfigError> {
        let overrides = Overrides { data_dir: self.data_dir.clone(), ..Overrides::default() };
        Options { config_file: self.config.clone(), overrides }.resolve()
    }
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreCommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What a start would refuse.
    #[error(transparent)]
    App(#[from] AppError),
    /// The directory is served.
    #[error(
        "{0} is in use: stop the broker, or take a backup of it (`rialto store backup --to DIR`, which a running \
         broker allows) and look at that"
    )]
    Running(String),
    /// The running broker does not let a backup be taken.
    #[error("{0}")]
    Refused(String),
    /// Standard output or the socket.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// The system's word.
        source: io::Error,
    },
    /// What was copied is not whole.
    #[error(
        "the copy is damaged, {0} faults: there is no backup; `rialto store verify` tells more of the original"
    )]
    Damaged(u64),
}

impl StoreCommandError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// Does it.
#[must_use]
pub fn run(command: &StoreCommand) -> ExitCode {
    let (outcome, refused) = match command {
        StoreCommand::Verify { place } => (verify::run(place), 2),
        StoreCommand::Export { place, what } => (export::run(place, what), 1),
        StoreCommand::Backup { place, to } => (backup::run(place, to), 1),
    };
    outcome.unwrap_or_else(|error| {
        // Standard error may be gone too; the exit code still tells.
        drop(writeln!(io::stderr(), "{error}"));
        ExitCode::from(refused)
    })
}

/// A data directory that is only looked at.
struct Looked {
    root: Arc<dyn Disk>,
    _lock: DirLock,
}

fn look(config: &Config) -> Result<Looked, StoreCommandError> {
    let lock = lock_to_look(&config.data_dir).map_err(|error| match error {
        StoreError::Locked { .. } => {
            StoreCommandError::Running(config.data_dir.display().to_string())
        }
        other => other.into(),
    })?;
    Ok(Looked { root: Overlay::over(&config.data_dir), _lock: lock })
}

fn open_db(root: &Arc<dyn Disk>) -> Result<Arc<Db>, StoreError> {
    on_disk::open_existing(root, DATABASE_CACHE_BYTES).map(Arc::new)
}

fn progress(place: &Place) -> Progress {
    Progress::new(place.quiet)
}
