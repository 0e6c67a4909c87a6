//! A data directory that nobody serves, read without changing it: what a start would make of it. Part of `app`.

use std::path::Path;
use std::sync::Arc;

use crate::admin::readiness::Readiness;
use crate::broker::Broker;
use crate::broker::apply::Applier;
use crate::broker::checkpoint::{Checkpointer, Frozen};
use crate::config::Config;
use crate::config::live::Bundle;
use crate::metrics::Metrics;
use crate::model::ids::Lsn;
use crate::server::clock::Clock;
use crate::server::timer::Wheel;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::tables::bodies::BodyRow;
use crate::store::tables::db::Db;

use super::AppError;
use super::storage::{Restored, Surroundings};
use super::timers::BrokerTimers;

/// State as the checkpoint and the journal have it.
pub struct Offline {
    /// The state. Nothing can be submitted: its journal was not started.
    pub broker: Arc<Broker>,
    /// The database.
    pub db: Arc<Db>,
    /// The data directory's identity; zeros before the first checkpoint.
    pub uuid: [u8; 16],
    applier: Applier,
    segments: std::collections::BTreeMap<u32, BodyRow>,
    now_ms: u64,
}

/// Reads the checkpoint in `db` and applies the journal in `root`, as a start does. Both are to lie on an
/// [`Overlay`](crate::store::disk::overlay::Overlay): files are cut back and logs appended to.
///
/// # Errors
/// What a start would say.
pub fn restore(root: Arc<dyn Disk>, db: Arc<Db>, config: &Config) -> Result<Offline, AppError> {
    // Who may log in is no matter here, and its files may be elsewhere.
    let config = Config { auth: Default::default(), acl: Vec::new(), ..config.clone() };
    let clock = Clock::default();
    let bundle = Bundle::new(config)?;
    let metrics = Arc::new(Metrics::new(clock.now_ms() as f64 / 1000.0)?);
    let around = Surroundings {
        bundle: &bundle,
        metrics: &metrics,
        readiness: &Arc::new(Readiness::starting()),
        timers: &BrokerTimers::new(Arc::new(Wheel::default()), clock),
        now_ms: Arc::new(move || clock.now_ms()),
    };
    let Restored { broker, applier, db, checkpoint, segments, .. } =
        Restored::read(root, db, &around)?;
    let uuid = checkpoint.map_or([0; 16], |row| row.broker_uuid);
    Ok(Offline { broker, db, uuid, applier, segments, now_ms: clock.now_ms() })
}

impl Offline {
    /// The last record.
    #[must_use]
    pub fn last(&self) -> Lsn {
        Lsn(self.applier.next().lsn.0.saturating_sub(1))
    }

    /// Takes a checkpoint, so that the tables hold everything up to [`Self::last`].
    ///
    /// # Errors
    /// A file that the checkpoint before names cannot be read.
    pub fn settle(&mut self) -> Result<(), AppError> {
        let Some(mut frozen) = Frozen::take(&self.broker, &mut self.applier) else {
            let reason = "the files of a log failed".to_owned();
            return Err(StoreError::Failed { file: Path::new("logs").to_owned(), reason }.into());
        };
        let segments = std::mem::take(&mut self.segments);
        let (broker, db) = (Arc::clone(&self.broker), Arc::clone(&self.db));
        let mut checkpointer = Checkpointer::new(broker, db, self.uuid, segments);
        let written = checkpointer.write(&mut frozen, self.now_ms)?;
        Checkpointer::settle(&self.broker, written);
        Ok(())
    }
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    Clock::default().now_ms()
}
