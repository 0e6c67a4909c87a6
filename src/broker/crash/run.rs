//! A broker as `app` runs it, on a disk that forgets. Part of the crash tests of `broker`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;

use super::consuming::PRODUCED;
use super::mutation::Mutation;
use super::{CHECKPOINT_BYTES, IntoLog, NOW_MS, QUEUE, SESSIONS};
use crate::auth::acl::Acl;
use crate::auth::principal::Principal;
use crate::broker::apply::Applier;
use crate::broker::checkpoint::Checkpointer;
use crate::broker::connect::{Opening, SessionHandle};
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::engine::{Due, Engine, Observer};
use crate::broker::exchanges::error::Entity;
use crate::broker::exchanges::verbs::{BindingSpec, QueueDeclaration};
use crate::broker::logs::settings::LogSettings;
use crate::broker::paging::StoredPages;
use crate::broker::sessions::subscription::Subscription;
use crate::broker::subscribe::{RetainedWanted, Wish};
use crate::broker::testbed::client::waiter;
use crate::broker::testbed::{Deadlines, Violation, check_references, limits};
use crate::broker::{Broker, Parts, restore};
use crate::metrics::Metrics;
use crate::model::ids::{ConnectionId, Lsn};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::store::bodies::{BodyOptions, BodyStore};
use crate::store::disk::Disk;
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::journal::embedded::EmbeddedJournal;
use crate::store::journal::{Durability, JournalOptions};
use crate::store::partition::folders::LogFolders;
use crate::store::scratch::{ScratchOptions, ScratchStore};
use crate::store::tables::bodies::BodyRow;
use crate::store::tables::db::Db;
use crate::store::tables::on_disk;

pub(super) const CONNECTION: ConnectionId = ConnectionId(1);

struct Silent;

impl Observer for Silent {
    fn begun(&self) {}
    fn done(&self, _: Lsn) {}
    fn failed(&self, _: &str) {}
    fn stuck(&self, error: &str) {
        panic!("{error}");
    }
}

/// Why a broker does not run.
#[derive(Debug)]
pub(super) enum Failed {
    /// The power went meanwhile.
    Power(String),
    /// It should.
    Violation(Violation),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Power(why)
    }
}

pub(super) struct Running {
    pub(super) broker: Arc<Broker>,
    engine: Engine,
    journal: Arc<EmbeddedJournal<Waiter>>,
}

/// What a broker stands on.
fn parts(
    disk: &SimulatedDisk,
    db: &Arc<Db>,
    journal: Arc<EmbeddedJournal<Waiter>>,
    segments: &BTreeMap<u32, BodyRow>,
) -> Result<Parts, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let folder = |name: &str| disk.folder(name).map_err(|error| said(&error));
    let lengths: Vec<_> = segments.iter().map(|(id, row)| (*id, row.valid_len)).collect();
    let bodies = BodyOptions { segment_bytes: 2048, handles_max: 2 };
    let logs = LogFolders::new(folder("logs")?);
    let settings = LogSettings { segment_bytes: 4096, ..LogSettings::default() };
    let mut limits = limits();
    limits.queue.messages_max = 100_000;
    Ok(Parts {
        journal,
        bodies: BodyStore::open(folder("bodies")?, bodies, lengths)
            .map_err(|error| said(&error))?,
        scratch: ScratchStore::open(folder("scratch")?, ScratchOptions::default())
            .map_err(|error| said(&error))?,
        metrics: Arc::new(Metrics::new(0.0).unwrap()),
        retained: restore::retained(db).map_err(|error| said(&error))?,
        logs: restore::logs(db, logs, settings).map_err(|error| said(&error))?,
        pages: Arc::new(StoredPages(Arc::clone(db))),
        acl: Acl::default(),
        limits,
        timers: Arc::<Deadlines>::default(),
    })
}

impl Running {
    /// As `app` starts a broker; fails when the power goes meanwhile. `check` sees what the restart found.
    pub(super) fn start(
        disk: &SimulatedDisk,
        check: impl FnOnce(&Broker) -> Result<(), Violation>,
    ) -> Result<Self, Failed> {
        Self::start_mutated(disk, Mutation::None, check)
    }

    /// The same, of a broker with a fault.
    pub(super) fn start_mutated(
        disk: &SimulatedDisk,
        mutation: Mutation,
        check: impl FnOnce(&Broker) -> Result<(), Violation>,
    ) -> Result<Self, Failed> {
        match Self::begin(disk, mutation, check) {
            Err(Failed::Power(why)) if !disk.is_cut() => {
                Err(Failed::Violation(format!("it does not start: {why}")))
            }
            other => other,
        }
    }

    fn begin(
        disk: &SimulatedDisk,
        mutation: Mutation,
        check: impl FnOnce(&Broker) -> Result<(), Violation>,
    ) -> Result<Self, Failed> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let folder = |name: &str| disk.folder(name).map_err(|error| said(&error));
        let db = Arc::new(on_disk::open(&folder("meta")?).map_err(|error| said(&error))?);
        let checkpoint = db.checkpoint().map_err(|error| said(&error))?;
        check_references(&db);
        let options = JournalOptions {
            segment_bytes: 8 * 1024,
            batch_bytes_max: 2 * 1024,
            durability: Durability::Fsync,
            spare_segments: 1,
            retry: Duration::from_millis(1),
            ..JournalOptions::default()
        };
        let opened = EmbeddedJournal::<Waiter>::open(
            folder("journal")?,
            options,
            restore::position(checkpoint.as_ref()),
        )
        .map_err(|error| said(&error))?;
        let segments = restore::segments(&db).map_err(|error| said(&error))?;
        let parts = parts(disk, &db, opened.journal.clone(), &segments)?;
        let (broker, mut applier): (Arc<Broker>, Applier) =
            restore::broker(parts, &db, checkpoint.as_ref()).map_err(|error| said(&error))?;
        for batch in opened.replay {
            let batch = batch.map_err(|error| said(&error))?;
            applier.replay_batch(batch).unwrap();
        }
        restore::keep_page_sums(&db).map_err(|error| said(&error))?;
        restore::revive(&broker, &applier).map_err(|error| said(&error))?;
        check(&broker).map_err(Failed::Violation)?;
        let applied = applier.limits();
        let checkpointer =
            Checkpointer::new(Arc::clone(&broker), db, [7; 16], segments).compacting(1 << 20);
        let engine = Engine::start(
            Arc::clone(&broker),
            applier,
            checkpointer,
            Due {
                journal_bytes: CHECKPOINT_BYTES,
                memory_bytes: CHECKPOINT_BYTES,
                retry: Duration::from_millis(1),
            },
            Arc::new(|| NOW_MS),
            Arc::new(Silent),
        )
        .unwrap();
        let running = Self { broker, engine, journal: opened.journal };
        let sink = mutation.over(running.engine.sink(), &running.broker);
        if let Err(error) = running.journal.start(sink) {
            running.stop();
            return Err(Failed::Power(error.to_string()));
        }
        restore::resume(&running.broker, applied, NOW_MS);
        let filter = TopicFilter::parse("t/#").unwrap();
        running.broker.router.vhost("/").add_route(&filter, Arc::new(IntoLog));
        Ok(running)
    }

    pub(super) fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub(super) fn stop(self) {
        self.engine.hasten();
        // Without power it cannot write what waits.
        self.journal.close().ok();
        self.engine.stop();
    }

    /// Two durable sessions that nobody serves, a bound queue, and a log.
    pub(super) fn prepare(&self) {
        self.broker.prepare_log("/", PRODUCED, Some(1), NOW_MS);
        for client_id in SESSIONS {
            let opening = Opening {
                client_id,
                clean_start: false,
                expiry_s: u32::MAX,
                receive_max: 10,
                will: None,
            };
            let who = Principal::anonymous();
            let (told, opened) = waiter();
            let handle: SessionHandle =
                self.broker.open(&who, opening, told, NOW_MS).unwrap().handle;
            opened.blocking_recv().unwrap();
            let options = Subscription { qos: QoS::ExactlyOnce, ..Subscription::default() };
            let filter = TopicFilter::parse("t/#").unwrap();
            let wish = Wish { filter, options, retained: RetainedWanted::Never };
            let (told, subscribed) = waiter();
            self.broker.subscribe(&who, &handle, &[wish], told).unwrap();
            subscribed.blocking_recv().unwrap();
        }
        for told in self.bind(QUEUE, "t.#").expect("the journal takes it") {
            told.blocking_recv().unwrap();
        }
    }

    /// Declares a durable queue and binds it to `amq.topic`; gives what is still to be waited for, `None` when the
    /// power is gone.
    pub(super) fn bind(&self, name: &str, key: &str) -> Option<Vec<Receiver<Outcome>>> {
        let who = Principal::anonymous();
        let declaration = QueueDeclaration {
            name,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: &[],
        };
        let (declared, binding) = (waiter(), waiter());
        let spec = BindingSpec { source: "amq.topic", destination: name, key, arguments: &[] };
        let (broker, told) = (&self.broker, || declared.0);
        let queue = broker.declare_queue(&who, CONNECTION, &declaration, told, NOW_MS).ok()?;
        let bound = broker.bind(&who, CONNECTION, Entity::Queue, &spec, || binding.0).ok()?;
        let waits = [(queue.waits, declared.1), (bound.waits, binding.1)];
        Some(waits.into_iter().filter(|(waits, _)| *waits).map(|(_, told)| told).collect())
    }
}
