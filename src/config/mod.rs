//! Configuration: one TOML file, every key with a default, unknown keys refused. Imports `auth` and `model` only,
//! so every layer above those may hold a section of it.
//!
//! - [`source`] the text of a file and where in it a key stands; the error every loader reports
//! - [`sections`] one struct a section, one documented field a key; [`amqp`], [`auth`], [`groups`], [`kafka`], [`limits`],
//!   [`queues`] and [`rules`] in files of their own
//! - [`address`] where a listener binds
//! - [`byte_size`] numbers of bytes, written `1048576` or `"1MiB"`
//! - [`check`] what no single key can say: ranges, combinations, who may connect from where
//! - [`response_information`] what MQTT clients are told to build response topics from
//! - [`live`] the parts that may change while the broker runs, behind an atomic pointer
//!
//! `rialto.toml` at the root of the repository holds every key with its default; a test keeps the two equal.

pub mod address;
pub mod amqp;
pub mod auth;
pub mod byte_size;
pub mod check;
pub mod groups;
pub mod kafka;
pub mod limits;
pub mod live;
pub mod queues;
pub mod response_information;
pub mod rules;
pub mod sections;
pub mod source;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::address::ListenAddress;
use crate::config::amqp::AmqpSection;
use crate::config::auth::AuthSection;
use crate::config::groups::GroupsSection;
use crate::config::kafka::KafkaSection;
use crate::config::limits::LimitsSection;
use crate::config::queues::QueuesSection;
use crate::config::rules::AclRule;
use crate::config::sections::{
    CheckpointSection, JournalSection, ListenersSection, LogSection, LogsSection, MemorySection,
    MqttSection, RetainedSection, StoreSection, TlsSection,
};
use crate::config::source::{ConfigError, Source};

/// Everything a user may set. Relative paths are relative to the working directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where durable state is kept; created when absent, locked while the broker runs.
    pub data_dir: PathBuf,
    /// Folder of route files (`*.toml`), read in the order of their names; an absent folder holds no routes.
    pub bridge_config: PathBuf,
    /// Folder of certificates and keys; filled with development ones when it holds none.
    pub certs: PathBuf,
    /// Where each protocol listens.
    pub listeners: ListenersSection,
    /// Connections of one address and of one user.
    pub limits: LimitsSection,
    /// Certificate and client authentication of TLS listeners.
    pub tls: TlsSection,
    /// Who may connect.
    pub auth: AuthSection,
    /// Who may publish and subscribe to what: the first matching rule decides. No rules: everything is allowed.
    pub acl: Vec<AclRule>,
    /// Limits of MQTT clients and sessions.
    pub mqtt: MqttSection,
    /// Limits of retained messages.
    pub retained: RetainedSection,
    /// What all queues together may hold.
    pub queues: QueuesSection,
    /// Limits of AMQP clients, queues and exchanges.
    pub amqp: AmqpSection,
    /// The Kafka listener.
    pub kafka: KafkaSection,
    /// Partitioned logs (Kafka topics).
    pub logs: LogsSection,
    /// Consumer groups and their offsets.
    pub groups: GroupsSection,
    /// The write-ahead log.
    pub journal: JournalSection,
    /// When live state is written out and the journal trimmed.
    pub checkpoint: CheckpointSection,
    /// Room on disk.
    pub store: StoreSection,
    /// Budgets of memory.
    pub memory: MemorySection,
    /// What the broker says about itself.
    pub log: LogSection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            bridge_config: PathBuf::from("bridge-config"),
            certs: PathBuf::from("certs"),
            listeners: ListenersSection::default(),
            limits: LimitsSection::default(),
            tls: TlsSection::default(),
            auth: AuthSection::default(),
            acl: Vec::new(),
            mqtt: MqttSection::default(),
            retained: RetainedSection::default(),
            queues: QueuesSection::default(),
            amqp: AmqpSection::default(),
            kafka: KafkaSection::default(),
            logs: LogsSection::default(),
            groups: GroupsSection::default(),
            journal: JournalSection::default(),
            checkpoint: CheckpointSection::default(),
            store: StoreSection::default(),
            memory: MemorySection::default(),
            log: LogSection::default(),
        }
    }
}

/// What the command line sets; each given value wins over the file's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--bridge-config`
    pub bridge_config: Option<PathBuf>,
    /// `--certs`
    pub certs: Option<PathBuf>,
    /// `--mqtt`
    pub mqtt: Option<ListenAddress>,
    /// `--mqtts`
    pub mqtts: Option<ListenAddress>,
    /// `--amqp`
    pub amqp: Option<ListenAddress>,
    /// `--amqps`
    pub amqps: Option<ListenAddress>,
    /// `--kafka`
    pub kafka: Option<ListenAddress>,
    /// `--admin`
    pub admin: Option<ListenAddress>,
    /// `--log-format`
    pub log_format: Option<sections::LogFormat>,
}

/// How the broker was started: kept, so that a reload reads the same file with the same overrides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// `--config`; without it every key has its default.
    pub config_file: Option<PathBuf>,
    /// The rest of the command line.
    pub overrides: Overrides,
}

impl Options {
    /// Reads the file, lays the command line over it and checks the whole.
    ///
    /// # Errors
    /// Every fault found, each with file, line and key where it has them.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let (source, mut config) = match &self.config_file {
            Some(file) => {
                let source = Source::read(file)?;
                let config = source.parse()?;
                (source, config)
            }
            None => (Source::empty(), Config::default()),
        };
        config.apply(&self.overrides);
        check::check(&config).map_err(|faults| source.errors(faults))?;
        Ok(config)
    }
}

impl Config {
    /// Reads and checks `file`.
    ///
    /// # Errors
    /// Every fault found, each with file, line and key.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Options { config_file: Some(file.to_owned()), overrides: Overrides::default() }.resolve()
    }

    /// Replaces what the command line sets.
    pub fn apply(&mut self, overrides: &Overrides) {
        fn set<T: Clone>(target: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                *target = value.clone();
            }
        }
        set(&mut self.data_dir, overrides.data_dir.as_ref());
        set(&mut self.bridge_config, overrides.bridge_config.as_ref());
        set(&mut self.certs, overrides.certs.as_ref());
        set(&mut self.listeners.mqtt, overrides.mqtt.as_ref());
        set(&mut self.listeners.mqtts, overrides.mqtts.as_ref());
        set(&mut self.listeners.amqp, overrides.amqp.as_ref());
        set(&mut self.listeners.amqps, overrides.amqps.as_ref());
        set(&mut self.listeners.kafka, overrides.kafka.as_ref());
        set(&mut self.listeners.admin, overrides.admin.as_ref());
        set(&mut self.log.format, overrides.log_format.as_ref());
    }
}

#[cfg(test)]
mod tests;
