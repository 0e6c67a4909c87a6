//! `[auth]`: who may connect, and what it may cost to find out. Part of `config`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::auth::checks::CheckSettings;
use crate::config::sections::Anonymous;
use crate::config::source::Fault;

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// Who may connect without user name and password. Default `auto`.
    pub anonymous: Anonymous,
    /// Users and their hashes as `rialto passwd` writes them. Default empty: there are no users.
    pub password_file: PathBuf,
    /// Threads that check passwords, of low priority; 0 is half of the cores. Default 0.
    pub check_threads: usize,
    /// Different logins that may wait for one; more are told that the server is busy. Default 256.
    pub checks_waiting_max: usize,
    /// How long a login that was right is not hashed again, seconds; 0 always hashes. Default 600.
    pub remembered_s: u64,
    /// How many of those are remembered, 64 bytes each. Default 100,000.
    pub remembered_max: usize,
    /// Wrong passwords a minute for one user from one address; then its logins are refused unseen until the minute is
    /// over. 0 is no limit. Default 20.
    pub failures_per_minute_max: u32,
}

impl Default for AuthSection {
    fn default() -> Self {
        let settings = CheckSettings::default();
        Self {
            anonymous: Anonymous::Auto,
            password_file: PathBuf::new(),
            check_threads: settings.threads,
            checks_waiting_max: settings.waiting_max,
            remembered_s: settings.remembered_ms / 1000,
            remembered_max: settings.remembered_max,
            failures_per_minute_max: settings.failures_max,
        }
    }
}

impl AuthSection {
    /// As the threads that check passwords take it.
    #[must_use]
    pub fn checks(&self) -> CheckSettings {
        CheckSettings {
            threads: self.check_threads,
            waiting_max: self.checks_waiting_max,
            remembered_ms: self.remembered_s.saturating_mul(1000),
            remembered_max: self.remembered_max,
            failures_max: self.failures_per_minute_max,
        }
    }

    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        let mut range = |key: &str, value: u64, min: u64, max: u64| {
            if value < min || value > max {
                faults.push(Fault::new(key, format!("{value} is outside {min} to {max}")));
            }
        };
        range("auth.check_threads", self.check_threads as u64, 0, 256);
        range("auth.checks_waiting_max", self.checks_waiting_max as u64, 1, 1_000_000);
        range("auth.remembered_s", self.remembered_s, 0, 86_400);
        range("auth.remembered_max", self.remembered_max as u64, 0, 10_000_000);
    }
}
