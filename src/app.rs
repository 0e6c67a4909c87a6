//! The composition root: configuration, certificates, routes, metrics and the admin listener, in this order,
//! and the reverse on the way down.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::admin::readiness::{Condition, Readiness};
use crate::admin::{self, AdminState};
use crate::bridge::file;
use crate::bridge::route::RouteMetrics;
use crate::config::address::ListenAddress;
use crate::config::live::Bundle;
use crate::config::sections::{ClientCertificate, LogFormat, LogSection, TlsSection};
use crate::config::source::ConfigError;
use crate::config::{Config, Options};
use crate::metrics::{Metrics, MetricsError};
use crate::net::dev_certs::{Provision, provide};
use crate::net::tls::{ClientAuth, Tls, TlsError, TlsFiles};

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
    /// The runtime or a signal handler.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Two metrics have one name.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Directives for log lines.
    #[error("log.level: {0}")]
    LogLevel(String),
}

/// Starts the broker and returns when it has stopped.
///
/// # Errors
/// One clear line.
pub fn run(options: &Options) -> Result<(), AppError> {
    let config = options.resolve()?;
    init_log(&config.log)?;
    let bundle = Bundle::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(bundle))
}

async fn serve(bundle: Bundle) -> Result<(), AppError> {
    let config = &bundle.started;
    let now_ms = now_ms();
    let metrics = Arc::new(Metrics::new(now_ms as f64 / 1000.0)?);
    let readiness = Arc::new(Readiness::starting());
    let routes = file::load(&config.bridge_config)?;
    let route_metrics = RouteMetrics::new(&routes, &metrics)?;
    if config.listeners.mqtts != ListenAddress::Off {
        let files = tls_files(&config.certs, &config.tls);
        if provide(&config.certs, &files, now_ms)? == Provision::Made {
            tracing::info!(folder = %config.certs.display(), "made development certificates");
        }
        drop(Tls::open(files)?);
    }
    drop(route_metrics);
    readiness.clear(Condition::Start);
    let mut stop = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = stop.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    match bind_admin(config).await? {
        None => shutdown.await,
        Some((listener, address)) => {
            tracing::info!(%address, "admin listens");
            admin::serve(listener, AdminState { metrics, readiness }, shutdown).await?;
        }
    }
    Ok(())
}

async fn bind_admin(config: &Config) -> Result<Option<(TcpListener, SocketAddr)>, AppError> {
    let refuse = |error| AppError::Listen {
        what: format!("listeners.admin {}", config.listeners.admin),
        error,
    };
    let Some(addresses) = config.listeners.admin.resolve().map_err(refuse)? else {
        return Ok(None);
    };
    let listener = TcpListener::bind(addresses.as_slice()).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    Ok(Some((listener, address)))
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

/// Log lines go to standard error; `RUST_LOG` wins over the configuration.
fn init_log(log: &LogSection) -> Result<(), AppError> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| log.level.clone());
    let filter =
        EnvFilter::try_new(&directives).map_err(|error| AppError::LogLevel(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // A subscriber that is already there, as under a test, stays.
    drop(match log.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    });
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
