//! The server's half of a SCRAM exchange: message in, message out. Part of `auth::scram`.
//!
//! An unknown user and a wrong password are told apart by nothing: both get a salt, do the same work and end with the
//! same error.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::message::{client_final, client_first};
use super::{Key, Verifier, mac, sha256};

/// Why a login failed: the client's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not what the RFC says.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The name is empty, badly escaped, or nothing that SASLprep allows.
    #[error("the user name cannot be read")]
    Name,
    /// The client asked for SCRAM-SHA-256-PLUS.
    #[error("channel binding is not offered")]
    ChannelBinding,
    /// What the client binds to is not what it said first: somebody stands between.
    #[error("the channel binding is not the one announced")]
    BindingChanged,
    /// A mandatory extension; the RFC defines none.
    #[error("extensions are not offered")]
    Extension,
    /// An authorization name other than the user's.
    #[error("acting for another user is not offered")]
    ActingForOthers,
    /// The nonce is not the one of this exchange.
    #[error("the nonce is not the one of this exchange")]
    Nonce,
    /// Unknown user or wrong password.
    #[error("bad user name or password")]
    Proof,
}

impl ScramError {
    /// The `server-error` of RFC 5802 §7.
    #[must_use]
    pub const fn server_error(self) -> &'static str {
        match self {
            Self::Malformed(_) => "e=invalid-encoding",
            Self::Name => "e=invalid-username-encoding",
            Self::ChannelBinding => "e=channel-binding-not-supported",
            Self::BindingChanged => "e=channel-bindings-dont-match",
            Self::Extension => "e=extensions-not-supported",
            Self::ActingForOthers | Self::Nonce => "e=other-error",
            Self::Proof => "e=invalid-proof",
        }
    }
}

/// What is known of the user of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The verifier, or a decoy.
    pub verifier: Verifier,
    /// Whether it is no decoy.
    pub known: bool,
}

/// An exchange whose salt is on its way to the client.
#[derive(Debug)]
pub struct ServerExchange {
    user: String,
    candidate: Candidate,
    gs2_header: String,
    /// Both halves.
    nonce: String,
    /// `client-first-message-bare , server-first-message ,`
    messages: String,
}

impl ServerExchange {
    /// Answers the client's first message; `nonce` is our half, fresh and unpredictable, of printable ASCII without
    /// comma. `find` is asked once, for the name as SASLprep leaves it.
    ///
    /// # Errors
    /// See [`ScramError`].
    pub fn begin(
        message: &[u8],
        nonce: &str,
        find: impl FnOnce(&str) -> Candidate,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let first = client_first(message)?;
        let candidate = find(&first.user);
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = BASE64.encode(&candidate.verifier.salt);
        let answer = format!("r={nonce},s={salt},i={}", candidate.verifier.iterations);
        let exchange = Self {
            candidate,
            gs2_header: first.gs2_header.to_owned(),
            nonce,
            messages: format!("{},{answer},", first.bare),
            user: first.user,
        };
        Ok((exchange, answer.into_bytes()))
    }

    /// Who the client says it is, as SASLprep leaves it.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Checks the client's proof; our own one, `server-final-message`.
    ///
    /// # Errors
    /// See [`ScramError`].
    pub fn finish(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let last = client_final(message)?;
        if last.nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        if last.channel_binding != self.gs2_header.as_bytes() {
            return Err(ScramError::BindingChanged);
        }
        let parts = [self.messages.as_bytes(), last.without_proof.as_bytes()];
        let verifier = &self.candidate.verifier;
        let mut client_key = mac(&verifier.stored_key, &parts);
        for (byte, proof) in client_key.iter_mut().zip(last.proof) {
            *byte ^= proof;
        }
        let right = is_same(&sha256(&client_key), &verifier.stored_key);
        if !right || !self.candidate.known {
            return Err(ScramError::Proof);
        }
        let signature = BASE64.encode(mac(&verifier.server_key, &parts));
        Ok(format!("v={signature}").into_bytes())
    }
}

/// Our half of a nonce; `None` without randomness.
#[must_use]
pub fn fresh_nonce() -> Option<String> {
    let mut random = [0u8; 18];
    getrandom::fill(&mut random).ok()?;
    let mut nonce = String::with_capacity(2 * random.len());
    for byte in random {
        write!(nonce, "{byte:02x}").ok()?;
    }
    Some(nonce)
}

/// Takes the same time wherever they differ.
fn is_same(one: &Key, other: &Key) -> bool {
    let differing = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine;
    use proptest::prelude::*;
    use ring::{hmac, pbkdf2};

    use super::{BASE64, Candidate, ScramError, ServerExchange, Verifier, fresh_nonce};
    use crate::auth::scram::tests::SALT;

    /// RFC 7677 §3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const ANSWER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn pencil() -> Candidate {
        Candidate { verifier: Verifier::derive("pencil", SALT, 4096).unwrap(), known: true }
    }

    fn begun(candidate: Candidate) -> ServerExchange {
        ServerExchange::begin(FIRST, NONCE, |_| candidate).unwrap().0
    }

    /// A client's final message, written from the RFC and not from the code above.
    pub(crate) fn client_final(gs2: &str, bare: &str, answer: &str, password: &str) -> String {
        let part = |name: &str| answer.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let salt = BASE64.decode(part("s=")).unwrap();
        let mut salted = [0u8; 32];
        let rounds = part("i=").parse().unwrap();
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
        };
        let client_key = sign(&salted, b"Client Key");
        let stored = ring::digest::digest(&ring::digest::SHA256, &client_key);
        let without = format!("c={},r={}", BASE64.encode(gs2), part("r="));
        let signature = sign(stored.as_ref(), format!("{bare},{answer},{without}").as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        format!("{without},p={}", BASE64.encode(proof))
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (exchange, answer) = ServerExchange::begin(FIRST, NONCE, |user| {
            assert_eq!(user, "user");
            pencil()
        })
        .unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), ANSWER);
        assert_eq!(exchange.user(), "user");
        let proof = exchange.finish(FINAL.as_bytes()).unwrap();
        assert_eq!(proof, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn nobody_gets_in_with_less() {
        let decoy = Candidate { known: false, ..pencil() };
        assert_eq!(begun(decoy).finish(FINAL.as_bytes()), Err(ScramError::Proof));
        let changed = |from, to| FINAL.replacen(from, to, 1);
        for (message, error) in [
            (changed("p=dH", "p=dI"), ScramError::Proof),
            (changed("c=biws", "c=eSws"), ScramError::BindingChanged),
            (changed("hNlF", "hNlG"), ScramError::Nonce),
        ] {
            assert_eq!(begun(pencil()).finish(message.as_bytes()), Err(error), "{message}");
        }
        let other = Verifier::derive("Pencil", SALT, 4096).unwrap();
        let other = Candidate { verifier: other, known: true };
        assert_eq!(begun(other).finish(FINAL.as_bytes()), Err(ScramError::Proof));
    }

    #[test]
    fn nonces_do_not_repeat_and_are_printable() {
        let [one, other] = [fresh_nonce().unwrap(), fresh_nonce().unwrap()];
        assert_ne!(one, other);
        assert!(one.len() == 36 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whoever_knows_the_password_gets_in_and_nobody_else(
            password in "[ -~]{1,20}",
            user in "[a-z@.]{1,10}",
            gs2 in prop::sample::select(vec!["n,,", "y,,"]),
            guess in "[ -~]{1,20}",
        ) {
            let bare = format!("n={user},r=abc");
            let candidate = Candidate {
                verifier: Verifier::derive(&password, b"salt", 4096).unwrap(),
                known: true,
            };
            let begin = || {
                let first = format!("{gs2}{bare}");
                ServerExchange::begin(first.as_bytes(), "xyz", |_| candidate.clone()).unwrap()
            };
            let (exchange, answer) = begin();
            let answer = String::from_utf8(answer).unwrap();
            let right = client_final(gs2, &bare, &answer, &password);
            prop_assert_eq!(exchange.user(), &user);
            prop_assert!(exchange.finish(right.as_bytes()).is_ok());
            if guess != password {
                let wrong = client_final(gs2, &bare, &answer, &guess);
                prop_assert_eq!(begin().0.finish(wrong.as_bytes()), Err(ScramError::Proof));
            }
        }
    }
}
