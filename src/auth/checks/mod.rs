//! Passwords verified beside the workers: a few threads of low priority, a bounded queue, and a short memory for what
//! was right. Part of `auth`.
//!
//! A hash takes tens of milliseconds and 19 MiB by intent, and a crowd that reconnects brings ten thousand of them. So
//! a login that was right is remembered for a while by a keyed hash of the user, the password and the user's record:
//! never the password itself, and nothing that is worth anything in another process. A record that changed has
//! another hash, so it forgets by itself. Equal logins that wait are one hash. What is wrong is not remembered, only
//! counted: who fails too often is held back for the rest of the minute, from that address, under that name.
//!
//! - `hashing` one hash; `successes` and `failures` what is remembered

mod failures;
mod hashing;
mod successes;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ahash::AHashMap;
use parking_lot::{Condvar, Mutex};
use ring::hmac;

use crate::auth::authenticator::AuthError;
use crate::auth::principal::Principal;
use crate::auth::scram::Key;

use self::failures::Failures;
use self::hashing::Scratch;
use self::successes::Successes;

/// A keyed hash of a login.
type Fingerprint = [u8; 32];

/// How much the kernel prefers everybody else.
const NICENESS: i32 = 10;

/// Somebody who waits for a verdict.
pub trait Applicant: Send + Sync {
    /// Whether nobody wants to know any more: then nothing is hashed.
    fn is_gone(&self) -> bool;
    /// Gives the verdict, once.
    fn decided(&self, verdict: Result<Principal, AuthError>);
}

/// How much is done and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// Threads; 0 is half of the cores. Takes effect before the first password is checked.
    pub threads: usize,
    /// Different logins that may wait for a thread.
    pub waiting_max: usize,
    /// How long a right login is remembered, ms; 0 is not at all.
    pub remembered_ms: u64,
    /// How many are remembered.
    pub remembered_max: usize,
    /// Wrong passwords a minute for a user from one address, after which its logins are refused unseen; 0 is no limit.
    pub failures_max: u32,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            waiting_max: 256,
            remembered_ms: 600_000,
            remembered_max: 100_000,
            failures_max: 20,
        }
    }
}

/// A login to verify.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a [u8],
    /// The PHC string it must match.
    pub(super) hash: &'a str,
    /// False for a user there is not, with a hash that nobody's password has.
    pub(super) known: bool,
    pub(super) address: IpAddr,
}

/// What was done since the start, and what waits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckCounts {
    /// Hashes computed.
    pub hashed: u64,
    /// Logins that were right a short while before.
    pub remembered: u64,
    /// Logins refused because too many waited.
    pub busy: u64,
    /// Logins refused because of earlier failures.
    pub held_back: u64,
    /// Different logins that wait.
    pub waiting: u64,
}

/// See the module's head.
pub struct PasswordChecks {
    shared: Arc<Shared>,
}

struct Shared {
    key: hmac::Key,
    /// See [`PasswordChecks::decoys`].
    decoys: Key,
    state: Mutex<State>,
    work: Condvar,
    hashed: AtomicU64,
    remembered: AtomicU64,
    busy: AtomicU64,
    held_back: AtomicU64,
}

#[derive(Default)]
struct State {
    settings: CheckSettings,
    threads: usize,
    stopping: bool,
    /// Jobs that no thread has yet.
    order: VecDeque<Fingerprint>,
    /// Those, and the ones in work.
    jobs: AHashMap<Fingerprint, Job>,
    successes: Successes,
    failures: Failures,
}

struct Job {
    work: Arc<Work>,
    applicants: Vec<Waiting>,
}

/// A [`Login`] of its own.
struct Work {
    user: Box<str>,
    password: Box<[u8]>,
    hash: Box<str>,
    known: bool,
}

struct Waiting {
    applicant: Arc<dyn Applicant>,
    address: IpAddr,
    since_ms: u64,
}

impl PasswordChecks {
    /// Threads are started when there is something to do.
    ///
    /// # Errors
    /// There is no randomness for the key.
    pub fn new(settings: CheckSettings) -> Result<Self, getrandom::Error> {
        let (mut secret, mut decoys) = ([0; 32], Key::default());
        getrandom::fill(&mut secret)?;
        getrandom::fill(&mut decoys)?;
        let state = State { settings, ..State::default() };
        let shared = Arc::new(Shared {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            decoys,
            state: Mutex::new(state),
            work: Condvar::new(),
            hashed: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        });
        Ok(Self { shared })
    }

    /// Puts other settings in force.
    pub fn configure(&self, settings: CheckSettings) {
        let mut state = self.shared.state.lock();
        if settings.remembered_ms == 0 || settings.remembered_max == 0 {
            state.successes.clear();
        }
        state.settings = settings;
    }

    /// A key for decoys, of this process: the same after a reload, another after a restart.
    pub(super) fn decoys(&self) -> Key {
        self.shared.decoys
    }

    /// What was done.
    #[must_use]
    pub fn counts(&self) -> CheckCounts {
        let shared = &self.shared;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CheckCounts {
            hashed: read(&shared.hashed),
            remembered: read(&shared.remembered),
            busy: read(&shared.busy),
            held_back: read(&shared.held_back),
            waiting: shared.state.lock().order.len() as u64,
        }
    }

    /// Whether this user has failed too often from this address in this minute; counted.
    pub(super) fn is_held_back(&self, user: &str, address: IpAddr, now_ms: u64) -> bool {
        let state = self.shared.state.lock();
        let over = state.failures.is_over(user, address, state.settings.failures_max, now_ms);
        drop(state);
        self.shared.held_back.fetch_add(u64::from(over), Ordering::Relaxed);
        over
    }

    /// Counts a failure that was found out elsewhere.
    pub(super) fn count_failure(&self, user: &str, address: IpAddr, now_ms: u64) {
        self.shared.state.lock().failures.count(user, address, now_ms);
    }

    /// Verifies `login`: at once if it was right a short while ago or cannot be looked at now; else `None`, and
    /// `applicant` is told.
    pub(super) fn check(
        &self,
        login: &Login<'_>,
        now_ms: u64,
        applicant: impl FnOnce() -> Arc<dyn Applicant>,
    ) -> Option<Result<Principal, AuthError>> {
        let shared = &self.shared;
        let fingerprint = shared.fingerprint(login);
        let mut state = shared.state.lock();
        if login.known && state.successes.contains(&fingerprint, now_ms) {
            shared.remembered.fetch_add(1, Ordering::Relaxed);
            return Some(Ok(Principal::named(login.user)));
        }
        let failures_max = state.settings.failures_max;
        if state.failures.is_over(login.user, login.address, failures_max, now_ms) {
            shared.held_back.fetch_add(1, Ordering::Relaxed);
            return Some(Err(AuthError::TooManyFailures));
        }
        let waiting = Waiting { applicant: applicant(), address: login.address, since_ms: now_ms };
        if let Some(job) = state.jobs.get_mut(&fingerprint) {
            job.applicants.push(waiting);
            return None;
        }
        if state.order.len() >= state.settings.waiting_max || !shared.has_thread(&mut state) {
            shared.busy.fetch_add(1, Ordering::Relaxed);
            return Some(Err(AuthError::Busy));
        }
        let work = Arc::new(Work {
            user: login.user.into(),
            password: login.password.into(),
            hash: login.hash.into(),
            known: login.known,
        });
        state.jobs.insert(fingerprint, Job { work, applicants: vec![waiting] });
        state.order.push_back(fingerprint);
        drop(state);
        shared.work.notify_one();
        None
    }
}

impl std::fmt::Debug for PasswordChecks {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("PasswordChecks").field(&self.counts()).finish()
    }
}

impl Drop for PasswordChecks {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// Lengths are in it, so that no two logins are spelled alike.
    fn fingerprint(&self, login: &Login<'_>) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [login.user.as_bytes(), login.password, login.hash.as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Starts threads that are missing; false when there is none at all.
    fn has_thread(self: &Arc<Self>, state: &mut State) -> bool {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let wanted = match state.settings.threads {
            0 => (cores / 2).max(1),
            threads => threads,
        };
        while state.threads < wanted {
            let shared = Arc::clone(self);
            let name = format!("passwords-{}", state.threads);
            match thread::Builder::new().name(name).spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                Err(_) => break,
            }
        }
        state.threads > 0
    }

    /// What a thread does until the end.
    fn work(&self) {
        // Where this is not allowed the threads have the priority of all others.
        let (Ok(_) | Err(_)) = rustix::process::nice(NICENESS);
        let mut scratch = Scratch::default();
        while let Some(fingerprint) = self.next(&mut scratch) {
            self.decide(fingerprint, &mut scratch);
        }
    }

    fn next(&self, scratch: &mut Scratch) -> Option<Fingerprint> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(fingerprint) = state.order.pop_front() {
                return Some(fingerprint);
            }
            scratch.give_back();
            self.work.wait(&mut state);
        }
    }

    /// Hashes unless nobody wants to know, then tells everybody who asked meanwhile.
    fn decide(&self, fingerprint: Fingerprint, scratch: &mut Scratch) {
        let Some(work) = self.begin(&fingerprint) else { return };
        let right = scratch.matches(&work.hash, &work.password) && work.known;
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        let Some(job) = state.jobs.remove(&fingerprint) else { return };
        if right {
            let settings = state.settings;
            let since_ms = job.applicants.iter().map(|waiting| waiting.since_ms).min();
            if let Some(since_ms) = since_ms.filter(|_| settings.remembered_ms > 0) {
                let until_ms = since_ms.saturating_add(settings.remembered_ms);
                state.successes.insert(fingerprint, until_ms, settings.remembered_max);
            }
        } else {
            for waiting in &job.applicants {
                state.failures.count(&work.user, waiting.address, waiting.since_ms);
            }
        }
        drop(state);
        for waiting in job.applicants {
            waiting.applicant.decided(if right {
                Ok(Principal::named(&work.user))
            } else {
                Err(AuthError::BadCredentials)
            });
        }
    }

    /// What is to be hashed; `None` when all who asked are gone or have failed too often meanwhile.
    fn begin(&self, fingerprint: &Fingerprint) -> Option<Arc<Work>> {
        let mut state = self.state.lock();
        let State { jobs, failures, settings, .. } = &mut *state;
        let job = jobs.get_mut(fingerprint)?;
        let work = Arc::clone(&job.work);
        job.applicants.retain(|waiting| !waiting.applicant.is_gone());
        let is_over = |waiting: &mut Waiting| {
            failures.is_over(&work.user, waiting.address, settings.failures_max, waiting.since_ms)
        };
        let over: Vec<Waiting> = job.applicants.extract_if(.., is_over).collect();
        let unwanted = job.applicants.is_empty();
        if unwanted {
            jobs.remove(fingerprint);
        }
        drop(state);
        self.held_back.fetch_add(over.len() as u64, Ordering::Relaxed);
        for waiting in over {
            waiting.applicant.decided(Err(AuthError::TooManyFailures));
        }
        (!unwanted).then_some(work)
    }
}

#[cfg(test)]
pub(crate) mod tests;
