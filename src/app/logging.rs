//! The broker's own log lines. Part of `app`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::sections::{LogFormat, LogSection};

/// Log lines go to standard error; `RUST_LOG` wins over the configuration.
///
/// # Errors
/// Directives that do not parse.
pub(super) fn init(log: &LogSection) -> Result<(), String> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(&directives).map_err(|error| error.to_string())?;
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
