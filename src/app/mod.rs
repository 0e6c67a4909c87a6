//! The composition root: configuration, store, broker, routes, listeners, in this order, and the reverse on the
//! way down.
//!
//! - [`storage`] the data directory: lock, checkpoint, replay, threads
//! - [`listeners`] what is listened on, and what each speaks
//! - [`routes`] the routes of `bridge-config/`
//! - [`sys`] when `$SYS` is looked at
//! - [`timers`] the broker's deadlines on the server's wheel
//! - [`control`] tools of the same host: backups
//! - [`offline`] a data directory that nobody serves, only looked at
//! - [`logging`] the broker's own log lines

pub mod control;
mod disk_watch;
mod gauges;
mod listeners;
mod logging;
mod logins;
pub mod offline;
mod routes;
mod storage;
mod sys;
mod timers;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::readiness::{Condition, Readiness};
use crate::admin::{self, AdminState};
use crate::amqp::service::Shared as AmqpShared;
use crate::bridge::file;
use crate::broker::append::LogFront;
use crate::broker::apply::ApplyError;
use crate::broker::consumer::CloseReason;
use crate::broker::engine::NowMs;
use crate::config::address::ListenAddress;
use crate::config::live::Bundle;
use crate::config::sections::{ClientCertificate, TlsSection};
use crate::config::source::ConfigError;
use crate::config::{Config, Options};
use crate::kafka::shared::Shared as KafkaShared;
use crate::metrics::{Metrics, MetricsError, Protocol};
use crate::mqtt::service::Shared as MqttShared;
use crate::net::dev_certs::{Provision, provide};
use crate::net::tls::{ClientAuth, Tls, TlsError, TlsFiles};
use crate::net::touched;
use crate::server::clock::Clock;
use crate::server::listener::Gate;
use crate::server::open_files;
use crate::server::timer::Wheel;
use crate::server::workers::Workers;
use crate::store::error::StoreError;

use self::control::Control;
use self::listeners::{Bound, Connections, Roll, Sleeper, bind_one, kafka_config};
use self::storage::{Storage, Surroundings};
use self::sys::Announcements;
use self::timers::BrokerTimers;

/// Longest wait for connections to take their goodbye.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
/// Between two looks at whether they have.
const FAREWELL_STEP: Duration = Duration::from_millis(10);
/// Between two looks at the journal's health.
const WATCH_STEP: Duration = Duration::from_secs(1);

/// Why the broker did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration or a route.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener.
    #[error("{what}: {error}")]
    Listen {
        /// Which key, and the address.
        what: String,
        /// The system's word.
        error: io::Error,
    },
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that the journal holds.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The runtime or a signal handler.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Two metrics have one name.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// An exchange that a route needs.
    #[error("route {route}: {reason}")]
    Route {
        /// Its name.
        route: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// Directives for log lines.
    #[error("log.level: {0}")]
    LogLevel(String),
}

/// Listeners bound before anything slow is done, so that a port in use is known at once.
struct Sockets {
    mqtt: Option<Bound>,
    mqtts: Option<Bound>,
    amqp: Option<Bound>,
    amqps: Option<Bound>,
    kafka: Option<Bound>,
    admin: Option<Bound>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, AppError> {
        Ok(Self {
            mqtt: bind_one("mqtt", &config.listeners.mqtt)?,
            mqtts: bind_one("mqtts", &config.listeners.mqtts)?,
            amqp: bind_one("amqp", &config.listeners.amqp)?,
            amqps: bind_one("amqps", &config.listeners.amqps)?,
            kafka: bind_one("kafka", &config.listeners.kafka)?,
            admin: bind_one("admin", &config.listeners.admin)?,
        })
    }

    fn announce(&self) {
        let all = [&self.mqtt, &self.mqtts, &self.amqp, &self.amqps, &self.kafka, &self.admin];
        for bound in all.into_iter().flatten() {
            tracing::info!("listening {} {}", bound.name, bound.address);
        }
    }
}

/// Starts the broker and returns when it has stopped.
///
/// # Errors
/// One clear line.
pub fn run(options: &Options) -> Result<(), AppError> {
    let begun = Instant::now();
    let config = options.resolve()?;
    logging::init(&config.log).map_err(AppError::LogLevel)?;
    let bundle = Arc::new(Bundle::new(config)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(bundle, begun))
}

async fn serve(bundle: Arc<Bundle>, begun: Instant) -> Result<(), AppError> {
    let config = &bundle.started;
    let clock = Clock::default();
    let now_ms: NowMs = Arc::new(move || clock.now_ms());
    let mut signals = Signals::new()?;
    let files = open_files::raise();
    let metrics = Arc::new(Metrics::new(clock.now_ms() as f64 / 1000.0)?);
    let readiness = Arc::new(Readiness::starting());
    let routes = file::load(&config.bridge_config)?;
    let mut sockets = Sockets::bind(config)?;
    let tls = open_tls(config, clock.now_ms())?;
    let wheel = Arc::new(Wheel::default());
    let timers = BrokerTimers::new(Arc::clone(&wheel), clock);
    let around = Surroundings {
        bundle: &bundle,
        metrics: &metrics,
        readiness: &readiness,
        timers: &timers,
        now_ms: Arc::clone(&now_ms),
    };
    let storage = Arc::new(Storage::open(&config.data_dir, &around)?);
    metrics.register(gauges::Gauges::new(&storage.broker)?)?;
    metrics.register(logins::Logins::new(Arc::clone(&bundle.checks))?)?;
    let control = Control::open(&config.data_dir, &storage);
    let readers = routes::install(&storage, &routes, &metrics, clock.now_ms())?;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = Arc::new(Workers::start(workers)?);
    let (stop, shutdown) = watch::channel(false);
    let (mqtt, amqp) = share(&storage, &bundle, &wheel);
    let connections = Connections {
        workers: Arc::clone(&workers),
        gate: gate(config, files),
        addresses: listeners::addresses(&config.limits),
        metrics: Arc::clone(&metrics),
        clock,
        mqtt,
        amqp,
        kafka: Arc::new(share_kafka(&storage, config, now_ms)),
        shutdown: shutdown.clone(),
        roll: Arc::new(Roll::default()),
    };
    routes::start(readers, &workers, clock);
    sockets.announce();
    let background = start_background(&storage, &metrics, &readiness, wheel, config, clock);
    let accepting = start_accepting(&mut sockets, &connections, tls);
    let admin = start_admin(sockets.admin.take(), &metrics, &readiness, shutdown)?;
    readiness.clear(Condition::Start);
    metrics.ready.set(1);
    tracing::info!("ready in {} ms", begun.elapsed().as_millis());
    signals.wait().await;
    tracing::info!("stopping");
    readiness.set(Condition::Stop, "stopping");
    metrics.ready.set(0);
    end(accepting);
    stop.send_replace(true);
    farewell(&storage, &connections).await;
    drop(admin);
    end(background);
    workers.stop();
    touched::flush();
    control.close();
    storage.close();
    tracing::info!("stopped");
    Ok(())
}

fn end(tasks: Tasks) {
    tasks.into_iter().for_each(|task| task.abort());
}

/// As many connections as the configuration allows, and as there may be files.
fn gate(config: &Config, files: Option<u64>) -> Arc<Gate> {
    let wanted = config.listeners.connections_max;
    let max = open_files::connections(wanted, files);
    match files {
        Some(files) => tracing::info!(files, connections_max = max, "open files are limited"),
        None => tracing::info!(connections_max = max, "open files are not limited"),
    }
    Gate::new(max)
}

/// What MQTT connections share, and what AMQP connections do.
fn share(storage: &Storage, bundle: &Arc<Bundle>, wheel: &Arc<Wheel>) -> (MqttShared, AmqpShared) {
    let users = listeners::users(&bundle.started.limits);
    let mqtt = MqttShared {
        broker: Arc::clone(&storage.broker),
        config: Arc::clone(bundle),
        wheel: Arc::clone(wheel),
        users: Arc::clone(&users),
    };
    let amqp = AmqpShared {
        broker: Arc::clone(&storage.broker),
        config: Arc::clone(bundle),
        wheel: Arc::clone(wheel),
        users,
        cluster_name: storage.cluster_id.as_str().into(),
    };
    (mqtt, amqp)
}

/// What Kafka connections share.
fn share_kafka(storage: &Storage, config: &Config, now_ms: NowMs) -> KafkaShared<LogFront> {
    let (broker, wall_ms) = (Arc::clone(&storage.broker), Arc::new(Clock::wall_ms));
    let broker = Arc::new(LogFront { broker, now_ms, wall_ms });
    let kafka = kafka_config(config, storage.cluster_id.clone());
    KafkaShared::new(broker, kafka, Arc::new(Sleeper))
}

/// Says goodbye to every connection in its protocol's words and waits until it is read, or long enough.
async fn farewell(storage: &Storage, connections: &Connections) {
    for session in storage.broker.sessions.all() {
        let link = session.inner.lock().link.clone();
        if let Some(link) = link {
            link.consumer.close(CloseReason::ShuttingDown);
        }
    }
    connections.roll.close();
    let deadline = Instant::now() + FAREWELL_MAX;
    while connections.gate.open() > 0 && Instant::now() < deadline {
        tokio::time::sleep(FAREWELL_STEP).await;
    }
}

type Tasks = Vec<tokio::task::JoinHandle<()>>;

fn start_accepting(
    sockets: &mut Sockets,
    connections: &Connections,
    tls: Option<Arc<Tls>>,
) -> Tasks {
    let mut tasks = Vec::new();
    for (bound, protocol, tls) in [
        (sockets.mqtt.take(), Protocol::Mqtt, None),
        (sockets.mqtts.take(), Protocol::Mqtt, tls.clone()),
        (sockets.amqp.take(), Protocol::Amqp, None),
        (sockets.amqps.take(), Protocol::Amqp, tls),
    ] {
        if let Some(Bound { name, listener, .. }) = bound {
            let accepting = connections.clone().driven(protocol, listener, tls);
            tasks.push(spawn_accepting(name, accepting));
        }
    }
    if let Some(bound) = sockets.kafka.take() {
        tasks.push(spawn_accepting("kafka", connections.clone().kafka(bound.listener)));
    }
    tasks
}

fn spawn_accepting(
    name: &'static str,
    accepting: impl Future<Output = io::Result<()>> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = accepting.await {
            tracing::error!(name, %error, "a listener ended");
        }
    })
}

/// The timer wheel, the checkpoint interval, `$SYS`, the watch over the journal.
fn start_background(
    storage: &Arc<Storage>,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    wheel: Arc<Wheel>,
    config: &Config,
    clock: Clock,
) -> Tasks {
    let announcements = Announcements::begin(&storage.broker, config.mqtt.sys_interval_s, clock);
    let interval = Duration::from_secs(config.checkpoint.interval_s.max(1));
    let engine = Arc::clone(&storage.engine);
    let checkpoints = tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            engine.request_checkpoint();
        }
    });
    let (storage, metrics) = (Arc::clone(storage), Arc::clone(metrics));
    let readiness = Arc::clone(readiness);
    let mut disk = storage.watch(config.store.free_bytes_min);
    disk.look(&storage.broker, &metrics, &readiness);
    let watch = tokio::spawn(async move {
        loop {
            tokio::time::sleep(WATCH_STEP).await;
            disk.look(&storage.broker, &metrics, &readiness);
        }
    });
    let mut tasks = vec![tokio::spawn(wheel.run(clock)), checkpoints, watch];
    tasks.extend(announcements.map(|sys| tokio::spawn(sys.run())));
    tasks
}

fn start_admin(
    bound: Option<Bound>,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<Option<tokio::task::JoinHandle<()>>> {
    let Some(bound) = bound else { return Ok(None) };
    let listener = tokio::net::TcpListener::from_std(bound.listener)?;
    let state = AdminState { metrics: Arc::clone(metrics), readiness: Arc::clone(readiness) };
    Ok(Some(tokio::spawn(async move {
        let stopped = async move {
            // A dropped sender stops it as well.
            drop(shutdown.wait_for(|stop| *stop).await);
        };
        if let Err(error) = admin::serve(listener, state, stopped).await {
            tracing::error!(%error, "the admin listener ended");
        }
    })))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn open_tls(config: &Config, now_ms: u64) -> Result<Option<Arc<Tls>>, AppError> {
    let listeners = &config.listeners;
    if listeners.mqtts == ListenAddress::Off && listeners.amqps == ListenAddress::Off {
        return Ok(None);
    }
    let files = tls_files(&config.certs, &config.tls);
    if provide(&config.certs, &files, now_ms)? == Provision::Made {
        tracing::info!(folder = %config.certs.display(), "made development certificates");
    }
    Ok(Some(Arc::new(Tls::open(files)?)))
}

/// The files that `[tls]` names, below `certs` unless absolute.
fn tls_files(certs: &Path, tls: &TlsSection) -> TlsFiles {
    let ca = certs.join(&tls.client_ca);
    TlsFiles {
        certificate: certs.join(&tls.certificate),
        key: certs.join(&tls.key),
        clients: match tls.client_certificate {
            ClientCertificate::Off => ClientAuth::Off,
            ClientCertificate::Optional => ClientAuth::Optional(ca),
            ClientCertificate::Required => ClientAuth::Required(ca),
        },
    }
}
