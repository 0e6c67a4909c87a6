//! What is hashed, what is remembered, who is held back. Tests of `auth::checks`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHasher};
use parking_lot::Mutex;

use super::{Applicant, CheckSettings, Login, PasswordChecks};
use crate::auth::authenticator::AuthError;
use crate::auth::principal::Principal;

type Verdict = Result<Principal, AuthError>;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than any hash takes, with all cores busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes one verdict.
pub(crate) struct Letterbox {
    gone: AtomicBool,
    sender: Sender<Verdict>,
    receiver: Mutex<Receiver<Verdict>>,
}

impl Letterbox {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = channel();
        Arc::new(Self { gone: AtomicBool::new(false), sender, receiver: Mutex::new(receiver) })
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.receiver.lock().recv_timeout(PATIENCE).unwrap()
    }
}

impl Applicant for Letterbox {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn decided(&self, verdict: Verdict) {
        self.sender.send(verdict).unwrap();
    }
}

/// Of little cost: what it costs is not what is tested.
fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let argon2 = Argon2::from(Params::new(64, 1, 1, None).unwrap());
    argon2.hash_password(password).map(|hash| hash.to_string())
}

struct Bed {
    checks: PasswordChecks,
    hash: String,
}

impl Bed {
    fn new(settings: CheckSettings) -> Self {
        let checks = PasswordChecks::new(CheckSettings { threads: 1, ..settings }).unwrap();
        Self { checks, hash: hash(b"right").unwrap() }
    }

    fn submit(&self, password: &str, now_ms: u64, letterbox: &Arc<Letterbox>) -> Option<Verdict> {
        let login = Login {
            user: "ann",
            password: password.as_bytes(),
            hash: &self.hash,
            known: true,
            address: HERE,
        };
        self.checks.check(&login, now_ms, || Arc::clone(letterbox) as Arc<dyn Applicant>)
    }

    fn verdict(&self, password: &str, now_ms: u64) -> Verdict {
        let letterbox = Letterbox::new();
        self.submit(password, now_ms, &letterbox).unwrap_or_else(|| letterbox.verdict())
    }

    fn hashed(&self) -> u64 {
        self.checks.counts().hashed
    }

    /// Occupies the thread: whatever is submitted next waits.
    fn hold(&self) -> impl Drop + '_ {
        self.checks.shared.state.lock().threads = 1;
        struct Release<'a>(&'a Bed);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.checks.shared.state.lock().threads = 0;
            }
        }
        Release(self)
    }
}

#[test]
fn what_was_right_is_not_hashed_again_for_a_while() {
    let bed = Bed::new(CheckSettings { remembered_ms: 1000, ..CheckSettings::default() });
    for now_ms in [0, 1, 999] {
        assert_eq!(bed.verdict("right", now_ms), Ok(Principal::named("ann")));
    }
    assert_eq!((bed.hashed(), bed.checks.counts().remembered), (1, 2));
    assert!(bed.verdict("right", 1000).is_ok());
    assert_eq!(bed.hashed(), 2);
}

#[test]
fn what_was_wrong_is_hashed_each_time() {
    let bed = Bed::new(CheckSettings::default());
    for _ in 0..2 {
        assert_eq!(bed.verdict("wrong", 0), Err(AuthError::BadCredentials));
    }
    assert!(bed.verdict("right", 0).is_ok());
    assert_eq!(bed.verdict("wrong", 0), Err(AuthError::BadCredentials));
    assert_eq!(bed.hashed(), 4);
}

#[test]
fn a_changed_record_forgets() {
    let mut bed = Bed::new(CheckSettings::default());
    assert!(bed.verdict("right", 0).is_ok());
    bed.hash = hash(b"other").unwrap();
    assert_eq!(bed.verdict("right", 0), Err(AuthError::BadCredentials));
    bed.hash = hash(b"right").unwrap();
    assert!(bed.verdict("right", 0).is_ok());
    assert_eq!(bed.hashed(), 3);
}

#[test]
fn nothing_is_remembered_where_nothing_shall_be() {
    for settings in [
        CheckSettings { remembered_ms: 0, ..CheckSettings::default() },
        CheckSettings { remembered_max: 0, ..CheckSettings::default() },
    ] {
        let bed = Bed::new(settings);
        assert!(bed.verdict("right", 0).is_ok() && bed.verdict("right", 0).is_ok());
        assert_eq!(bed.hashed(), 2);
    }
    let bed = Bed::new(CheckSettings::default());
    assert!(bed.verdict("right", 0).is_ok());
    bed.checks.configure(CheckSettings { remembered_ms: 0, ..CheckSettings::default() });
    assert!(bed.verdict("right", 0).is_ok());
    assert_eq!(bed.hashed(), 2);
}

#[test]
fn equal_logins_that_wait_are_one_hash() {
    let bed = Bed::new(CheckSettings::default());
    let crowd: Vec<_> = (0..50).map(|_| Letterbox::new()).collect();
    let held = bed.hold();
    for letterbox in &crowd {
        assert_eq!(bed.submit("right", 0, letterbox), None);
    }
    assert_eq!(bed.checks.counts().waiting, 1);
    drop(held);
    // Starts the thread that was said to be there.
    assert_eq!(bed.verdict("wrong", 0), Err(AuthError::BadCredentials));
    assert!(crowd.iter().all(|letterbox| letterbox.verdict().is_ok()));
    assert_eq!(bed.hashed(), 2);
}

#[test]
fn too_many_that_wait_are_sent_away() {
    let bed = Bed::new(CheckSettings { waiting_max: 2, ..CheckSettings::default() });
    let held = bed.hold();
    let letterbox = Letterbox::new();
    assert_eq!(bed.submit("1", 0, &letterbox), None);
    assert_eq!(bed.submit("2", 0, &letterbox), None);
    assert_eq!(bed.submit("3", 0, &letterbox), Some(Err(AuthError::Busy)));
    assert_eq!(bed.submit("2", 0, &letterbox), None, "an equal one takes no room");
    assert_eq!((bed.checks.counts().busy, bed.checks.counts().waiting), (1, 2));
    drop(held);
}

#[test]
fn nobody_is_hashed_for_who_is_gone() {
    let bed = Bed::new(CheckSettings::default());
    let held = bed.hold();
    let [gone, here] = [Letterbox::new(), Letterbox::new()];
    assert_eq!(bed.submit("1", 0, &gone), None);
    assert_eq!(bed.submit("2", 0, &gone), None);
    assert_eq!(bed.submit("2", 0, &here), None);
    gone.gone.store(true, Ordering::Relaxed);
    drop(held);
    assert_eq!(bed.verdict("wrong", 0), Err(AuthError::BadCredentials));
    assert_eq!(here.verdict(), Err(AuthError::BadCredentials));
    assert_eq!(bed.hashed(), 2);
    assert!(gone.receiver.lock().try_recv().is_err());
}

#[test]
fn whoever_fails_too_often_waits_for_the_minute_to_end() {
    let bed = Bed::new(CheckSettings { failures_max: 2, ..CheckSettings::default() });
    assert!(bed.verdict("right", 0).is_ok());
    for password in ["wrong", "also wrong"] {
        assert_eq!(bed.verdict(password, 0), Err(AuthError::BadCredentials));
    }
    assert_eq!(bed.verdict("wrong", 59_999), Err(AuthError::TooManyFailures));
    assert!(bed.verdict("right", 59_999).is_ok(), "remembered: it takes no hash");
    assert_eq!((bed.hashed(), bed.checks.counts().held_back), (3, 1));
    assert_eq!(bed.verdict("wrong", 60_000), Err(AuthError::BadCredentials));
}

#[test]
fn failures_count_for_those_who_wait_already() {
    let bed = Bed::new(CheckSettings { failures_max: 1, ..CheckSettings::default() });
    let held = bed.hold();
    let [one, other] = [Letterbox::new(), Letterbox::new()];
    assert_eq!(bed.submit("1", 0, &one), None);
    assert_eq!(bed.submit("2", 0, &other), None);
    drop(held);
    let last = Letterbox::new();
    assert_eq!(bed.submit("3", 0, &last), None);
    assert_eq!(one.verdict(), Err(AuthError::BadCredentials));
    assert_eq!(other.verdict(), Err(AuthError::TooManyFailures));
    assert_eq!(last.verdict(), Err(AuthError::TooManyFailures));
    assert_eq!(bed.hashed(), 1);
}
