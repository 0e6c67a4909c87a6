//! The command line: `rialto`, `rialto check`, `rialto passwd`, `rialto store`. Beside `app`, which it starts.
//!
//! - [`check`] a configuration and its routes, without starting anything
//! - [`passwd`] one user of a password file
//! - [`store`] a data directory, checked, written out, copied
//! - [`terminal`] asking for a password without showing it
//!
//! Exit codes: 0 done, 1 refused (one clear line a fault on standard error), 2 a wrong command line.

pub mod check;
pub mod passwd;
pub mod store;
pub mod terminal;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app;
use crate::auth::scram::ITERATIONS_DEFAULT;
use crate::config::address::ListenAddress;
use crate::config::sections::LogFormat;
use crate::config::{Options, Overrides};

use self::store::StoreCommand;

/// A message broker: MQTT, AMQP 0-9-1 and the Kafka protocol over one durable journal.
///
/// Without options it listens on loopback only: MQTT 1883, MQTT over TLS 8883, AMQP 5672, AMQP over TLS 5671,
/// Kafka 9092, admin HTTP 15672, and keeps its data in ./data. ADDR is host:port, :port (loopback), [IPv6]:port or off; port 0 is any free one.
#[derive(Debug, Parser)]
#[command(name = "rialto", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file, TOML; every key has a default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of durable state [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of route files [default: bridge-config]
    #[arg(long, value_name = "DIR")]
    bridge_config: Option<PathBuf>,
    /// Folder of certificates; development ones are made when it holds none [default: certs]
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
    /// MQTT over TCP [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<ListenAddress>,
    /// MQTT over TLS [default: 127.0.0.1:8883]
    #[arg(long, value_name = "ADDR")]
    mqtts: Option<ListenAddress>,
    /// AMQP 0-9-1 over TCP [default: 127.0.0.1:5672]
    #[arg(long, value_name = "ADDR")]
    amqp: Option<ListenAddress>,
    /// AMQP 0-9-1 over TLS [default: 127.0.0.1:5671]
    #[arg(long, value_name = "ADDR")]
    amqps: Option<ListenAddress>,
    /// Kafka protocol [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    kafka: Option<ListenAddress>,
    /// HTTP: /metrics, /healthz, /readyz [default: 127.0.0.1:15672]
    #[arg(long, value_name = "ADDR")]
    admin: Option<ListenAddress>,
    /// How log lines look [default: human]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration and its routes; say file, line and key of each fault
    Check {
        /// Configuration file
        config: PathBuf,
        /// Folder of route files, instead of the configuration's
        #[arg(long, value_name = "DIR")]
        bridge_config: Option<PathBuf>,
    },
    /// Set or delete a user's password in a password file
    Passwd {
        /// Password file; created when absent
        file: PathBuf,
        /// The user's name
        user: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        /// Also keep a verifier, with which the user may log in by SCRAM-SHA-256
        #[arg(long)]
        scram: bool,
        /// How often a client hashes at each SCRAM login
        #[arg(long, value_name = "N", default_value_t = ITERATIONS_DEFAULT, requires = "scram")]
        scram_iterations: u32,
        /// Delete the user
        #[arg(long, conflicts_with_all = ["password_stdin", "scram"])]
        delete: bool,
    },
    /// Check a data directory, write out what it holds, or copy it
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Does what this process's command line says; returns when that is done, for a broker when it has stopped.
#[must_use]
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    if let Some(Command::Store(command)) = &line.command {
        return store::run(command);
    }
    let outcome = execute(line);
    match outcome
        .map(|text| if text.is_empty() { Ok(()) } else { writeln!(io::stdout(), "{text}") })
    {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error.to_string()),
        Err(text) => fail(&text),
    }
}

/// Standard error may be gone too; the exit code still tells.
fn fail(text: &str) -> ExitCode {
    let written = writeln!(io::stderr(), "{text}");
    drop(written);
    ExitCode::FAILURE
}

/// What to print on success, or why not.
fn execute(line: CommandLine) -> Result<String, String> {
    match line.command {
        // Has exit codes of its own.
        Some(Command::Store(_)) => Ok(String::new()),
        None => {
            app::run(&line.run.into()).map(|()| String::new()).map_err(|error| error.to_string())
        }
        Some(Command::Check { config, bridge_config }) => {
            check::check(config, bridge_config).map_err(|error| error.to_string())
        }
        Some(Command::Passwd { file, user, delete: true, .. }) => {
            passwd::delete(&file, &user).map_err(|error| error.to_string())
        }
        Some(Command::Passwd { file, user, password_stdin, scram, scram_iterations, .. }) => {
            let scram = scram.then_some(scram_iterations);
            passwd::set(&file, &user, password_stdin, scram).map_err(|error| error.to_string())
        }
    }
}

impl From<RunArgs> for Options {
    fn from(args: RunArgs) -> Self {
        let log_format = args.log_format.map(|format| match format {
            Format::Human => LogFormat::Human,
            Format::Json => LogFormat::Json,
        });
        Self {
            config_file: args.config,
            overrides: Overrides {
                data_dir: args.data_dir,
                bridge_config: args.bridge_config,
                certs: args.certs,
                mqtt: args.mqtt,
                mqtts: args.mqtts,
                amqp: args.amqp,
                amqps: args.amqps,
                kafka: args.kafka,
                admin: args.admin,
                log_format,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::CommandLine;
    use crate::config::{Config, Options};

    fn options(args: &[&str]) -> Result<Options, clap::Error> {
        let line = CommandLine::try_parse_from([&["rialto"], args].concat())?;
        Ok(line.run.into())
    }

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_option_reaches_the_configuration() {
        let args = "--data-dir d --bridge-config b --certs c --mqtt :1 --mqtts [::1]:2 --kafka off \
                    --amqp :3 --amqps off --admin localhost:0 --log-format json";
        let args: Vec<&str> = args.split(' ').filter(|arg| !arg.is_empty()).collect();
        let config = options(&args).unwrap().resolve().unwrap();
        let listeners = &config.listeners;
        let shown = [
            &listeners.mqtt,
            &listeners.mqtts,
            &listeners.amqp,
            &listeners.amqps,
            &listeners.kafka,
            &listeners.admin,
        ];
        assert_eq!(
            shown.map(ToString::to_string),
            ["127.0.0.1:1", "[::1]:2", "127.0.0.1:3", "off", "off", "localhost:0"]
        );
        assert_eq!(
            [config.data_dir, config.bridge_config, config.certs],
            ["d", "b", "c"].map(std::path::PathBuf::from)
        );
        assert_eq!(config.log.format, crate::config::sections::LogFormat::Json);
        assert_eq!(options(&[]).unwrap().resolve().unwrap(), Config::default());
    }

    #[test]
    fn a_wrong_address_is_refused_with_its_option() {
        let error = options(&["--mqtt", "nowhere"]).unwrap_err().to_string();
        assert!(error.contains("--mqtt") && error.contains("`nowhere` is no address"), "{error}");
    }
}
