//! The parts of the configuration that may change while the broker runs. Part of `config`.
//!
//! [`Bundle`] holds the configuration the broker started with and a [`Live`] behind an atomic pointer. Whoever
//! needs a live part loads the pointer when it begins something (a login, a subscribe, a read batch) and keeps
//! that one snapshot to its end, so that one request never sees two configurations. What `apply` uses is a
//! record in the journal, not a value from here (rule 3 of the design).

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::auth::acl::Acl;
use crate::auth::authenticator::{AnonymousPolicy, Authenticator};
use crate::auth::checks::PasswordChecks;
use crate::auth::password_file::PasswordFile;
use crate::config::Config;
use crate::config::amqp::AmqpSection;
use crate::config::kafka::KafkaSection;
use crate::config::sections::{Anonymous, MqttSection};
use crate::config::source::{ConfigError, Fault, Source};

/// One consistent state of everything that reloads.
#[derive(Debug)]
pub struct Live {
    /// Who may connect.
    pub authenticator: Authenticator,
    /// Who may do what.
    pub acl: Acl,
    /// Limits of MQTT clients; a connection keeps those it began with.
    pub mqtt: MqttSection,
    /// Limits of AMQP clients; a connection keeps those it began with.
    pub amqp: Arc<AmqpSection>,
    /// Limits of Kafka clients; a connection keeps those it began with.
    pub kafka: KafkaSection,
}

/// The configuration of a running broker.
#[derive(Debug)]
pub struct Bundle {
    /// As at the start: listeners, folders, the store's settings. These change only with a restart.
    pub started: Config,
    /// The threads that check passwords; they outlive a reload.
    pub checks: Arc<PasswordChecks>,
    live: ArcSwap<Live>,
}

impl Bundle {
    /// Reads the files that a checked configuration names.
    ///
    /// # Errors
    /// A password file that cannot be read or has a line that is no user, or a rule that does not compile.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let checks = PasswordChecks::new(config.auth.checks())
            .map_err(|error| refuse("auth", format!("no random key: {error}")))?;
        let checks = Arc::new(checks);
        let live = Live::new(&config, &checks)?;
        Ok(Self { started: config, checks, live: ArcSwap::from_pointee(live) })
    }

    /// The current live parts: keep the guard for one piece of work, not for a connection's life.
    pub fn live(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// Puts the live parts of a checked configuration in force; whoever holds the old ones finishes with them.
    ///
    /// # Errors
    /// As [`Bundle::new`]; then nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<(), ConfigError> {
        self.live.store(Arc::new(Live::new(config, &self.checks)?));
        self.checks.configure(config.auth.checks());
        Ok(())
    }
}

impl Live {
    /// # Errors
    /// As [`Bundle::new`].
    fn new(config: &Config, checks: &Arc<PasswordChecks>) -> Result<Self, ConfigError> {
        let file = &config.auth.password_file;
        let users = if file.as_os_str().is_empty() {
            None
        } else {
            let read = PasswordFile::read(file);
            Some(read.map_err(|error| refuse("auth.password_file", error.to_string()))?)
        };
        let policy = match (config.auth.anonymous, users.is_some()) {
            (Anonymous::Everywhere, _) => AnonymousPolicy::Everywhere,
            (Anonymous::Loopback, _) | (Anonymous::Auto, false) => AnonymousPolicy::Loopback,
            (Anonymous::Never, _) | (Anonymous::Auto, true) => AnonymousPolicy::Never,
        };
        let specs = config.acl.iter().map(|rule| rule.spec());
        let acl = Acl::compile(specs)
            .map_err(|(index, text)| refuse(&format!("acl[{index}]"), text.to_owned()))?;
        Ok(Self {
            authenticator: Authenticator::new(users, policy, Arc::clone(checks)),
            acl,
            mqtt: config.mqtt.clone(),
            amqp: Arc::new(config.amqp.clone()),
            kafka: config.kafka.clone(),
        })
    }
}

fn refuse(key: &str, text: String) -> ConfigError {
    Source::empty().errors(vec![Fault::new(key, text)])
}
