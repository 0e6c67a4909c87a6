//! From what a peer offers to a principal. Part of `auth`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::checks::{Applicant, Login, PasswordChecks};
use crate::auth::password_file::PasswordFile;
use crate::auth::principal::Principal;
use crate::auth::scram::exchange::{Candidate, ScramError, ServerExchange};
use crate::auth::scram::{Key, Verifier};
use crate::auth::user_record::UserRecord;

/// Longest password that is hashed, bytes; MQTT allows 65,535, and nobody's is that long.
pub const PASSWORD_BYTES_MAX: usize = 4096;

/// The name and the password that AMQP clients offer when they were given none.
pub const GUEST: &str = "guest";

/// Hash that no password has, of the same cost as real ones: an unknown user takes as long as a wrong password.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Who may connect without logging in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousPolicy {
    /// Nobody.
    Never,
    /// Peers with a loopback address.
    Loopback,
    /// Everybody.
    Everywhere,
}

/// Why a login was refused. Says nothing of which half was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials, and this peer needs some.
    #[error("credentials are required")]
    CredentialsRequired,
    /// Unknown user, wrong password, or no password.
    #[error("bad user name or password")]
    BadCredentials,
    /// Too many passwords wait to be checked: ours, and over soon.
    #[error("too many logins wait to be verified")]
    Busy,
    /// Too many wrong passwords for this user from this address: the next minute may bring better ones.
    #[error("too many failed logins, wait a minute")]
    TooManyFailures,
}

/// What a peer offers.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The user's name, if any was given.
    pub user: Option<&'a str>,
    /// The password, if any was given.
    pub password: Option<&'a [u8]>,
    /// Where it comes from.
    pub address: IpAddr,
}

/// Verifies logins against the users of a password file.
#[derive(Debug)]
pub struct Authenticator {
    users: Option<PasswordFile>,
    policy: AnonymousPolicy,
    checks: Arc<PasswordChecks>,
    /// For a file that has no key of its own.
    decoys: Key,
    /// Whether a user may log in by SCRAM.
    offers_scram: bool,
    /// What an unknown user is told to do. Counted once: to count takes the longer the more users there are, and would
    /// tell an unknown one from a known one.
    usual_iterations: u32,
}

impl Authenticator {
    /// Without `users` a login cannot be verified, see [`Authenticator::log_in`].
    #[must_use]
    pub fn new(
        users: Option<PasswordFile>,
        policy: AnonymousPolicy,
        checks: Arc<PasswordChecks>,
    ) -> Self {
        let decoys = users.as_ref().and_then(|users| users.decoys().copied());
        let decoys = decoys.unwrap_or_else(|| checks.decoys());
        let offers_scram = users.as_ref().is_some_and(PasswordFile::has_scram);
        let usual_iterations = users.as_ref().map_or(0, PasswordFile::usual_iterations);
        Self { users, policy, checks, decoys, offers_scram, usual_iterations }
    }

    /// The principal of a peer that offers these credentials; `None`: `applicant` is told later.
    ///
    /// Where no users are known, a name proves nothing: the peer is anonymous whatever it calls itself, if
    /// anonymous peers may connect. Where users are known, offered credentials must be right, even from a
    /// peer that could have stayed anonymous.
    ///
    /// # Errors
    /// [`AuthError`], for the protocol to put in its own words.
    pub fn log_in(
        &self,
        offer: &Offer<'_>,
        now_ms: u64,
        applicant: impl FnOnce() -> Arc<dyn Applicant>,
    ) -> Option<Result<Principal, AuthError>> {
        let (Some(user), Some(users)) = (offer.user, &self.users) else {
            return Some(self.anonymous(offer.address.is_loopback()));
        };
        let password = offer.password.unwrap_or_default();
        // No user has an empty password, and to say so takes no hash.
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Some(Err(AuthError::BadCredentials));
        }
        let known = users.user(user).map(UserRecord::hash);
        let login = Login {
            user,
            password,
            hash: known.unwrap_or(NOBODY),
            known: known.is_some(),
            address: offer.address,
        };
        self.checks.check(&login, now_ms, applicant)
    }

    /// The principal of a peer whose protocol makes it offer something: [`GUEST`] with that as its password stands
    /// for no credentials, unless a user has that name. Unlike in [`Self::log_in`], what nobody can verify is
    /// refused.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn log_in_offered(
        &self,
        user: &str,
        password: &[u8],
        address: IpAddr,
        now_ms: u64,
        applicant: impl FnOnce() -> Arc<dyn Applicant>,
    ) -> Option<Result<Principal, AuthError>> {
        let is_user = self.users.as_ref().is_some_and(|users| users.user(user).is_some());
        if !is_user && user == GUEST && password == GUEST.as_bytes() {
            let guest = self.anonymous(address.is_loopback());
            return Some(guest.map_err(|_| AuthError::BadCredentials));
        }
        if self.users.is_none() {
            return Some(Err(AuthError::BadCredentials));
        }
        let offer = Offer { user: Some(user), password: Some(password), address };
        self.log_in(&offer, now_ms, applicant)
    }

    /// The principal of a peer that offers no credentials.
    ///
    /// # Errors
    /// [`AuthError::CredentialsRequired`].
    pub fn anonymous(&self, peer_is_loopback: bool) -> Result<Principal, AuthError> {
        let welcome = match self.policy {
            AnonymousPolicy::Never => false,
            AnonymousPolicy::Loopback => peer_is_loopback,
            AnonymousPolicy::Everywhere => true,
        };
        if welcome { Ok(Principal::anonymous()) } else { Err(AuthError::CredentialsRequired) }
    }

    /// Whether a user may log in by SCRAM.
    #[must_use]
    pub fn offers_scram(&self) -> bool {
        self.offers_scram
    }

    /// Answers a client's first SCRAM message; `nonce` as [`ServerExchange::begin`] wants it. Never slow: the hashing
    /// is the client's.
    ///
    /// # Errors
    /// See [`ScramError`]; an unknown user is found out by its proof, like a wrong password.
    pub fn begin_scram(
        &self,
        message: &[u8],
        nonce: &str,
    ) -> Result<(ServerExchange, Vec<u8>), ScramError> {
        ServerExchange::begin(message, nonce, |user| {
            let users = self.users.as_ref();
            let verifier = users.and_then(|users| users.user(user)).and_then(UserRecord::scram);
            let known = verifier.is_some();
            let verifier = verifier
                .cloned()
                .unwrap_or_else(|| Verifier::decoy(user, &self.decoys, self.usual_iterations));
            Candidate { verifier, known }
        })
    }

    /// Whether this user has failed too often from this address in this minute.
    #[must_use]
    pub fn is_held_back(&self, user: &str, address: IpAddr, now_ms: u64) -> bool {
        self.checks.is_held_back(user, address, now_ms)
    }

    /// Counts a SCRAM proof that was wrong; passwords count by themselves.
    pub fn count_failure(&self, user: &str, address: IpAddr, now_ms: u64) {
        self.checks.count_failure(user, address, now_ms);
    }
}

#[cfg(test)]
mod tests;
