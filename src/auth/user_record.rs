//! What the password file keeps of one user: `argon2id hash[:SCRAM verifier]`. Part of `auth`.

use std::fmt;

use argon2::{Argon2, PasswordHash, PasswordHasher};

use crate::auth::password_file::PasswordFileError;
use crate::auth::scram::Verifier;

/// Most memory one hash may ask for, KiB: a line must not be able to take the machine down.
const HASH_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most memory times passes, KiB: nor the time of every login.
const HASH_WORK_KIB_MAX: u64 = 16 << 20;

/// One user's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    hash: Box<str>,
    scram: Option<Verifier>,
}

impl UserRecord {
    /// The record of a user with this argon2id hash, made by [`hash`], and perhaps a verifier.
    #[must_use]
    pub fn new(hash: String, scram: Option<Verifier>) -> Self {
        Self { hash: hash.into(), scram }
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // PHC strings have no colon.
        let (hash, scram) = match text.split_once(':') {
            Some((hash, scram)) => (hash, Some(Verifier::parse(scram)?)),
            None => (text, None),
        };
        check_hash(hash)?;
        Ok(Self { hash: hash.into(), scram })
    }

    /// The argon2id hash, a PHC string.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The verifier, if the user may log in by SCRAM.
    #[must_use]
    pub fn scram(&self) -> Option<&Verifier> {
        self.scram.as_ref()
    }
}

impl fmt::Display for UserRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.hash)?;
        self.scram.as_ref().map_or(Ok(()), |scram| write!(out, ":{scram}"))
    }
}

/// The argon2id hash of `password` with a fresh salt, as a PHC string.
///
/// # Errors
/// No memory or no randomness.
pub fn hash(password: &[u8]) -> Result<String, PasswordFileError> {
    let hash = Argon2::default().hash_password(password);
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordFileError::Hash(error.to_string()))
}

fn check_hash(hash: &str) -> Result<(), &'static str> {
    let parsed = PasswordHash::new(hash).map_err(|_| "the hash is no PHC string")?;
    if parsed.algorithm.as_str() != "argon2id" || parsed.hash.is_none() || parsed.salt.is_none() {
        return Err("the hash is not a whole argon2id hash");
    }
    let params = argon2::Params::try_from(&parsed)
        .map_err(|_| "the hash's parameters are not argon2id's")?;
    if params.m_cost() > HASH_MEMORY_KIB_MAX {
        return Err("the hash asks for more than 1 GiB of memory");
    }
    if u64::from(params.m_cost()) * u64::from(params.t_cost()) > HASH_WORK_KIB_MAX {
        return Err("the hash asks for more work than a login may take");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{UserRecord, hash};
    use crate::auth::scram::Verifier;

    #[test]
    fn a_record_survives_its_text() {
        let hash = hash(b"pw").unwrap();
        let scram = Verifier::derive("pw", b"salt", 4096).unwrap();
        for record in [UserRecord::new(hash.clone(), None), UserRecord::new(hash, Some(scram))] {
            assert_eq!(UserRecord::parse(&record.to_string()), Ok(record));
        }
    }

    #[test]
    fn what_no_login_could_bear_is_refused() {
        let tail = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (cost, fits) in
            [("m=19456,t=2,p=1", true), ("m=4000000,t=2,p=1", false), ("m=19456,t=1000,p=1", false)]
        {
            let text = format!("$argon2id$v=19${cost}{tail}");
            assert_eq!(UserRecord::parse(&text).is_ok(), fits, "{cost}");
        }
    }
}
