//! From a user name and password to a principal. Part of `auth`.

use argon2::{Argon2, PasswordVerifier};

use crate::auth::password_file::PasswordFile;
use crate::auth::principal::Principal;

/// Longest password that is hashed, bytes; MQTT allows 65,535, and nobody's is that long.
pub const PASSWORD_BYTES_MAX: usize = 4096;

/// Logins verified at once: a crowd that reconnects waits its turn instead of taking the memory (19 MiB each)
/// and every core.
pub const VERIFICATIONS_MAX: usize = 4;

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

/// Why a login was refused: the peer's to mend. Says nothing of which half was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials, and this peer needs some.
    #[error("credentials are required")]
    CredentialsRequired,
    /// Unknown user, wrong password, or no password.
    #[error("bad user name or password")]
    BadCredentials,
}

/// Verifies logins against the users of a password file.
#[derive(Debug)]
pub struct Authenticator {
    users: Option<PasswordFile>,
    policy: AnonymousPolicy,
}

impl Authenticator {
    /// Without `users` a login cannot be verified, see [`Authenticator::verify`].
    #[must_use]
    pub fn new(users: Option<PasswordFile>, policy: AnonymousPolicy) -> Self {
        Self { users, policy }
    }

    /// Whether [`verify`](Self::verify) will hash a password, which takes tens of milliseconds and 19 MiB: then
    /// call it on a blocking pool, and no more than [`VERIFICATIONS_MAX`] at once.
    #[must_use]
    pub fn is_slow(&self, user: Option<&str>) -> bool {
        user.is_some() && self.users.is_some()
    }

    /// The principal of a peer that offers these credentials.
    ///
    /// Where no users are known, a name proves nothing: the peer is anonymous whatever it calls itself, if
    /// anonymous peers may connect. Where users are known, offered credentials must be right, even from a
    /// peer that could have stayed anonymous.
    ///
    /// # Errors
    /// [`AuthError`], for the protocol to put in its own words.
    pub fn verify(
        &self,
        user: Option<&str>,
        password: Option<&[u8]>,
        peer_is_loopback: bool,
    ) -> Result<Principal, AuthError> {
        let (Some(user), Some(users)) = (user, &self.users) else {
            return self.anonymous(peer_is_loopback);
        };
        let password = password.unwrap_or_default();
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(AuthError::BadCredentials);
        }
        let known = users.hash(user);
        let right = Argon2::default().verify_password(password, known.unwrap_or(NOBODY)).is_ok();
        if right && known.is_some() {
            Ok(Principal::named(user))
        } else {
            Err(AuthError::BadCredentials)
        }
    }

    /// The principal of a peer whose protocol makes it offer something: [`GUEST`] with that as its password stands
    /// for no credentials, unless a user has that name. Unlike in [`Self::verify`], what nobody can verify is
    /// refused.
    ///
    /// # Errors
    /// [`AuthError::BadCredentials`].
    pub fn verify_offered(
        &self,
        user: &str,
        password: &[u8],
        peer_is_loopback: bool,
    ) -> Result<Principal, AuthError> {
        let is_user = self.users.as_ref().is_some_and(|users| users.hash(user).is_some());
        if !is_user && user == GUEST && password == GUEST.as_bytes() {
            return self.anonymous(peer_is_loopback).map_err(|_| AuthError::BadCredentials);
        }
        if self.users.is_none() {
            return Err(AuthError::BadCredentials);
        }
        self.verify(Some(user), Some(password), peer_is_loopback)
    }

    /// The principal of a peer that offers no credentials. Never slow.
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
}

#[cfg(test)]
mod tests {
    use super::{AnonymousPolicy, AuthError, Authenticator, NOBODY, PASSWORD_BYTES_MAX};
    use crate::auth::password_file::{PasswordFile, hash};

    fn with_alice(policy: AnonymousPolicy) -> Authenticator {
        let mut users = PasswordFile::default();
        users.set("alice", hash(b"secret").unwrap()).unwrap();
        Authenticator::new(Some(users), policy)
    }

    #[test]
    fn only_the_right_password_of_a_known_user_is_let_in() {
        let authenticator = with_alice(AnonymousPolicy::Everywhere);
        let verify = |user, password| authenticator.verify(Some(user), password, true);
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
            let authenticator = with_alice(policy);
            [true, false].map(|loopback| authenticator.verify(None, None, loopback).is_ok())
        };
        assert_eq!(reach(AnonymousPolicy::Never), [false, false]);
        assert_eq!(reach(AnonymousPolicy::Loopback), [true, false]);
        assert_eq!(reach(AnonymousPolicy::Everywhere), [true, true]);
    }

    #[test]
    fn a_name_nobody_can_verify_is_not_believed() {
        let authenticator = Authenticator::new(None, AnonymousPolicy::Loopback);
        let principal = authenticator.verify(Some("root"), Some(b"x"), true).unwrap();
        assert_eq!((&*principal.name, principal.anonymous), ("anonymous", true));
        assert!(authenticator.verify(Some("root"), Some(b"x"), false).is_err());
        assert!(!authenticator.is_slow(Some("root")));
    }

    #[test]
    fn a_guest_is_anonymous_where_anonymous_peers_are_welcome() {
        let offer = |authenticator: &Authenticator, user, password: &str, loopback| {
            authenticator
                .verify_offered(user, password.as_bytes(), loopback)
                .ok()
                .map(|principal| principal.anonymous)
        };
        let open = Authenticator::new(None, AnonymousPolicy::Loopback);
        assert_eq!(offer(&open, "guest", "guest", true), Some(true));
        assert_eq!(offer(&open, "guest", "guest", false), None);
        assert_eq!(offer(&open, "guest", "wrong", true), None);
        assert_eq!(offer(&open, "alice", "secret", true), None);
        let closed = with_alice(AnonymousPolicy::Never);
        assert_eq!(offer(&closed, "guest", "guest", true), None);
        assert_eq!(offer(&closed, "alice", "secret", false), Some(false));
        let mut users = PasswordFile::default();
        users.set("guest", hash(b"other").unwrap()).unwrap();
        let named = Authenticator::new(Some(users), AnonymousPolicy::Loopback);
        assert_eq!(offer(&named, "guest", "guest", true), None);
        assert_eq!(offer(&named, "guest", "other", true), Some(false));
    }

    #[test]
    fn the_hash_of_nobody_is_as_dear_as_a_real_one() {
        let real = hash(b"x").unwrap();
        let cost = |hash: &str| hash.split('$').nth(3).map(str::to_owned);
        assert_eq!(cost(NOBODY), cost(&real));
        assert!(argon2::PasswordHash::new(NOBODY).is_ok());
    }
}
