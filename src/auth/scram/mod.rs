//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what a file keeps of a password, and the server's half of the exchange.
//! Part of `auth`.
//!
//! A verifier lets its holder check a client's proof and prove himself to the client, and does not let him log in as
//! the client. Whoever steals it can guess passwords offline, at the price of `iterations` HMACs a guess.
//!
//! - [`exchange`] the two messages of a client and the two answers
//! - `message` their grammar

pub mod exchange;
mod message;

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// The mechanism's name, as clients write it.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// What RFC 7677 asks for at least.
pub const ITERATIONS_MIN: u32 = 4096;
/// The client, perhaps a small device, does this work at each login.
pub const ITERATIONS_DEFAULT: u32 = 15_000;
/// A client that is asked for more than this would seem to hang.
pub const ITERATIONS_MAX: u32 = 10_000_000;
/// Length of the salts that are made here, bytes.
pub const SALT_BYTES: usize = 16;
/// Longest salt that is read.
const SALT_BYTES_MAX: usize = 256;
/// Length of SHA-256's outputs, bytes.
pub const KEY_BYTES: usize = 32;

/// SHA-256's output.
pub type Key = [u8; KEY_BYTES];

/// Why a password has no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password has characters that SASLprep (RFC 4013) does not allow")]
pub struct Unprepared;

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Box<[u8]>,
    iterations: NonZeroU32,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// The verifier of `password` with `salt`; `iterations` below [`ITERATIONS_MIN`] are raised to it.
    ///
    /// # Errors
    /// The password cannot be prepared by SASLprep.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, Unprepared> {
        let prepared = stringprep::saslprep(password).map_err(|_| Unprepared)?;
        let iterations = at_least_min(iterations);
        let mut salted = [0; KEY_BYTES];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, salt, prepared.as_bytes(), &mut salted);
        Ok(Self {
            salt: salt.into(),
            iterations,
            stored_key: sha256(&mac(&salted, &[b"Client Key"])),
            server_key: mac(&salted, &[b"Server Key"]),
        })
    }

    /// A verifier that no password has, the same for the same `user` and `secret`: whoever asks for an unknown user
    /// sees a salt like any other, again and again the same.
    #[must_use]
    pub fn decoy(user: &str, secret: &Key, iterations: u32) -> Self {
        let part = |name: &[u8]| mac(secret, &[name, user.as_bytes()]);
        let salt = part(b"salt:");
        Self {
            salt: salt.first_chunk::<SALT_BYTES>().map_or_else(Box::default, |salt| (*salt).into()),
            iterations: at_least_min(iterations),
            stored_key: part(b"stored:"),
            server_key: part(b"server:"),
        }
    }

    /// Reads what [`Display`](fmt::Display) writes, which is what PostgreSQL writes too:
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let shape = "expected SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey";
        let rest = text.strip_prefix(MECHANISM).and_then(|rest| rest.strip_prefix('$'));
        let (head, keys) = rest.and_then(|rest| rest.split_once('$')).ok_or(shape)?;
        let (iterations, salt) = head.split_once(':').ok_or(shape)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(shape)?;
        let iterations: u32 = iterations.parse().map_err(|_| "the iterations are no number")?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err("the iterations are not between 4,096 and 10,000,000");
        }
        let salt = BASE64.decode(salt).map_err(|_| "the salt is not base64")?;
        if !(1..=SALT_BYTES_MAX).contains(&salt.len()) {
            return Err("the salt is not of 1 to 256 bytes");
        }
        Ok(Self {
            salt: salt.into(),
            iterations: at_least_min(iterations),
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// How often the client hashes.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&*self.salt, &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        write!(out, "{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// Keys belong into no log.
impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// Reads a key in base64.
///
/// # Errors
/// It is none.
pub fn key(text: &str) -> Result<Key, &'static str> {
    let bytes = BASE64.decode(text).map_err(|_| "a key is not base64")?;
    bytes.try_into().map_err(|_| "a key is not of 32 bytes")
}

/// A key as [`key`] reads it.
#[must_use]
pub fn key_text(key: &Key) -> String {
    BASE64.encode(key)
}

fn at_least_min(iterations: u32) -> NonZeroU32 {
    NonZeroU32::new(iterations.max(ITERATIONS_MIN)).unwrap_or(NonZeroU32::MIN)
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    for part in parts {
        context.update(part);
    }
    fixed(context.sign().as_ref())
}

fn sha256(bytes: &[u8]) -> Key {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 always gives 32 bytes.
fn fixed(bytes: &[u8]) -> Key {
    bytes.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES, MECHANISM, Verifier, key, key_text};

    /// RFC 7677's example.
    pub(super) const SALT: &[u8] = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81";

    #[test]
    fn a_verifier_survives_its_text() {
        let verifier = Verifier::derive("pencil", SALT, 4096).unwrap();
        let text = verifier.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{text}");
        assert_eq!(Verifier::parse(&text), Ok(verifier.clone()));
        let shown = format!("{verifier:?}");
        assert!(!shown.contains("stored_key"), "{shown}");
    }

    #[test]
    fn broken_verifiers_are_refused() {
        let good = Verifier::derive("pencil", SALT, 4096).unwrap().to_string();
        let other = |from: &str, to: &str| good.replacen(from, to, 1);
        for bad in [
            String::new(),
            MECHANISM.to_owned(),
            other("SHA-256", "SHA-1"),
            other("$4096:", "$4095:"),
            other("$4096:", "$10000001:"),
            other("$4096:", "$many:"),
            other("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            other("W22ZaJ0SNY7soEsUEjb6gQ==", "!"),
            good.trim_end_matches('=').to_owned(),
            format!("{good}AAAA"),
        ] {
            assert!(Verifier::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn iterations_are_never_below_the_rfc() {
        assert_eq!(Verifier::derive("x", SALT, 1).unwrap().iterations(), 4096);
        assert_eq!(Verifier::decoy("x", &[7; KEY_BYTES], 0).iterations(), 4096);
    }

    #[test]
    fn a_decoy_is_stable_and_of_its_user_alone() {
        let decoy = |user, secret| Verifier::decoy(user, &[secret; KEY_BYTES], 4096);
        assert_eq!(decoy("eve", 1), decoy("eve", 1));
        assert_ne!(decoy("eve", 1).salt, decoy("eva", 1).salt);
        assert_ne!(decoy("eve", 1).salt, decoy("eve", 2).salt);
        assert_eq!(decoy("eve", 1).salt.len(), SALT.len());
    }

    /// RFC 4013: the two spellings of a letter, and a soft hyphen, are one password.
    #[test]
    fn passwords_are_prepared() {
        let verifier = |password| Verifier::derive(password, SALT, 4096).unwrap();
        assert_eq!(verifier("I\u{AD}X"), verifier("IX"));
        assert_eq!(verifier("e\u{301}"), verifier("\u{E9}"));
        assert!(Verifier::derive("a\u{7}", SALT, 4096).is_err());
    }

    #[test]
    fn keys_survive_their_text() {
        assert_eq!(key(&key_text(&[9; KEY_BYTES])), Ok([9; KEY_BYTES]));
        assert!(key("AAAA").is_err());
    }
}
