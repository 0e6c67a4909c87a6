//! Who is let in by which credentials. Tests of `auth::authenticator`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{AnonymousPolicy, AuthError, Authenticator, NOBODY, Offer, PASSWORD_BYTES_MAX};
use crate::auth::checks::tests::Letterbox;
use crate::auth::checks::{Applicant, CheckSettings, PasswordChecks};
use crate::auth::password_file::PasswordFile;
use crate::auth::principal::Principal;
use crate::auth::scram::Verifier;
use crate::auth::scram::exchange::ScramError;
use crate::auth::scram::exchange::tests::client_final;
use crate::auth::user_record::{UserRecord, hash};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const AFAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn authenticator(users: Option<PasswordFile>, policy: AnonymousPolicy) -> Authenticator {
    let checks = PasswordChecks::new(CheckSettings::default()).unwrap();
    Authenticator::new(users, policy, Arc::new(checks))
}

fn with_user(name: &str, password: &str, policy: AnonymousPolicy) -> Authenticator {
    let mut users = PasswordFile::default();
    let scram = Verifier::derive(password, b"salt", 4096).unwrap();
    let record = UserRecord::new(hash(password.as_bytes()).unwrap(), Some(scram));
    users.set(name, record).unwrap();
    authenticator(Some(users), policy)
}

/// The verdict, whenever it comes.
fn verdict(
    authenticator: &Authenticator,
    user: Option<&str>,
    password: Option<&[u8]>,
    address: IpAddr,
) -> Result<Principal, AuthError> {
    let letterbox = Letterbox::new();
    let offer = Offer { user, password, address };
    let applicant = || Arc::clone(&letterbox) as Arc<dyn Applicant>;
    authenticator.log_in(&offer, 0, applicant).unwrap_or_else(|| letterbox.verdict())
}

#[test]
fn only_the_right_password_of_a_known_user_is_let_in() {
    let authenticator = with_user("alice", "secret", AnonymousPolicy::Everywhere);
    let verify = |user, password| verdict(&authenticator, Some(user), password, HERE);
    let alice = verify("alice", Some(b"secret".as_slice())).unwrap();
    assert_eq!((&*alice.name, alice.anonymous), ("alice", false));
    let long = vec![b'x'; PASSWORD_BYTES_MAX + 1];
    for (user, password) in [
        ("alice", Some(b"Secret".as_slice())),
        ("alice", Some(b"".as_slice())),
        ("alice", None),
        ("alice", Some(long.as_slice())),
        ("bob", Some(b"secret".as_slice())),
        ("", Some(b"secret".as_slice())),
    ] {
        assert_eq!(verify(user, password), Err(AuthError::BadCredentials), "{user}");
    }
}

#[test]
fn the_policy_decides_on_peers_without_credentials() {
    let reach = |policy| {
        let authenticator = with_user("alice", "secret", policy);
        [HERE, AFAR].map(|address| verdict(&authenticator, None, None, address).is_ok())
    };
    assert_eq!(reach(AnonymousPolicy::Never), [false, false]);
    assert_eq!(reach(AnonymousPolicy::Loopback), [true, false]);
    assert_eq!(reach(AnonymousPolicy::Everywhere), [true, true]);
}

#[test]
fn a_name_nobody_can_verify_is_not_believed() {
    let authenticator = authenticator(None, AnonymousPolicy::Loopback);
    let offer = |address| verdict(&authenticator, Some("root"), Some(b"x"), address);
    let principal = offer(HERE).unwrap();
    assert_eq!((&*principal.name, principal.anonymous), ("anonymous", true));
    assert!(offer(AFAR).is_err());
    assert!(!authenticator.offers_scram());
}

#[test]
fn a_guest_is_anonymous_where_anonymous_peers_are_welcome() {
    let offer = |authenticator: &Authenticator, user, password: &str, address| {
        let letterbox = Letterbox::new();
        let applicant = || Arc::clone(&letterbox) as Arc<dyn Applicant>;
        authenticator
            .log_in_offered(user, password.as_bytes(), address, 0, applicant)
            .unwrap_or_else(|| letterbox.verdict())
            .ok()
            .map(|principal| principal.anonymous)
    };
    let open = authenticator(None, AnonymousPolicy::Loopback);
    assert_eq!(offer(&open, "guest", "guest", HERE), Some(true));
    assert_eq!(offer(&open, "guest", "guest", AFAR), None);
    assert_eq!(offer(&open, "guest", "wrong", HERE), None);
    assert_eq!(offer(&open, "alice", "secret", HERE), None);
    let closed = with_user("alice", "secret", AnonymousPolicy::Never);
    assert_eq!(offer(&closed, "guest", "guest", HERE), None);
    assert_eq!(offer(&closed, "alice", "secret", AFAR), Some(false));
    let named = with_user("guest", "other", AnonymousPolicy::Loopback);
    assert_eq!(offer(&named, "guest", "guest", HERE), None);
    assert_eq!(offer(&named, "guest", "other", HERE), Some(false));
}

#[test]
fn the_hash_of_nobody_is_as_dear_as_a_real_one() {
    let real = hash(b"x").unwrap();
    let cost = |hash: &str| hash.split('$').nth(3).map(str::to_owned);
    assert_eq!(cost(NOBODY), cost(&real));
    assert!(argon2::PasswordHash::new(NOBODY).is_ok());
}

#[test]
fn scram_lets_the_same_user_in() {
    let authenticator = with_user("alice", "secret", AnonymousPolicy::Never);
    assert!(authenticator.offers_scram());
    let attempt = |user: &str, password| {
        let bare = format!("n={user},r=c");
        let first = format!("n,,{bare}");
        let (exchange, answer) = authenticator.begin_scram(first.as_bytes(), "s").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let last = client_final("n,,", &bare, &answer, password);
        (answer, exchange.finish(last.as_bytes()).map(|_| ()))
    };
    assert_eq!(attempt("alice", "secret").1, Ok(()));
    assert_eq!(attempt("alice", "wrong").1, Err(ScramError::Proof));
    let (answer, outcome) = attempt("nobody", "secret");
    assert_eq!(outcome, Err(ScramError::Proof));
    assert!(answer.ends_with(",i=4096"), "{answer}");
    assert_eq!(attempt("nobody", "other").0, answer, "an unknown user's salt stays");
}
