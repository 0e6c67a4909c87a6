//! `rialto passwd`: one user of a password file. Part of `cli`.

use std::io;
use std::path::Path;

use crate::auth::authenticator::PASSWORD_BYTES_MAX;
use crate::auth::password_file::{PasswordFile, PasswordFileError, check_name, random};
use crate::auth::scram::{ITERATIONS_MAX, ITERATIONS_MIN, SALT_BYTES, Unprepared, Verifier};
use crate::auth::user_record::{UserRecord, hash};
use crate::cli::terminal;

/// Why a password file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PasswdError {
    /// The file or the name is at fault.
    #[error(transparent)]
    File(#[from] PasswordFileError),
    /// No password could be read.
    #[error("the password cannot be read: {0}")]
    Input(#[from] io::Error),
    /// The password is at fault.
    #[error("{0}")]
    Password(&'static str),
    /// There can be no SCRAM verifier of it.
    #[error("{0}, so it cannot be used with --scram")]
    Unprepared(#[from] Unprepared),
    /// The name would not be found by a client that prepares it.
    #[error(
        "`{0}` cannot be used with --scram: SASLprep (RFC 4013) makes another name of it, or none"
    )]
    Name(String),
    /// The iterations are outside their range.
    #[error("--scram-iterations: {0} is outside 4,096 to 10,000,000")]
    Iterations(u32),
    /// There is nobody to delete.
    #[error("{file} has no user `{user}`")]
    Unknown {
        /// The file.
        file: String,
        /// The name.
        user: String,
    },
}

/// Sets the password of `user`, asked for on the terminal or read from standard input; the line to print. With
/// `scram`, its iterations, the file also gets a verifier; without, an earlier verifier goes with the earlier password.
///
/// # Errors
/// See [`PasswdError`]; then the file is as it was.
pub fn set(
    file: &Path,
    user: &str,
    password_stdin: bool,
    scram: Option<u32>,
) -> Result<String, PasswdError> {
    let users = open(file)?;
    // The name is checked before anybody is asked to type.
    check(user, scram)?;
    let password = if password_stdin || !terminal::is_interactive() {
        terminal::first_line(&mut io::stdin().lock())?
    } else {
        let password = terminal::ask("Password: ")?;
        if terminal::ask("Again: ")? != password {
            return Err(PasswdError::Password("the two passwords differ"));
        }
        password
    };
    set_in(users, file, user, &password, scram)
}

fn check(user: &str, scram: Option<u32>) -> Result<(), PasswdError> {
    check_name(user)?;
    let Some(iterations) = scram else { return Ok(()) };
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(PasswdError::Iterations(iterations));
    }
    if stringprep::saslprep(user).is_ok_and(|prepared| prepared == user) {
        Ok(())
    } else {
        Err(PasswdError::Name(user.to_owned()))
    }
}

fn set_in(
    mut users: PasswordFile,
    file: &Path,
    user: &str,
    password: &str,
    scram: Option<u32>,
) -> Result<String, PasswdError> {
    if password.is_empty() {
        return Err(PasswdError::Password("the password is empty"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswdError::Password("the password is longer than 4,096 bytes"));
    }
    let had_scram = users.user(user).is_some_and(|record| record.scram().is_some());
    let verifier = match scram {
        Some(iterations) => {
            users.make_decoys()?;
            Some(Verifier::derive(password, &random::<SALT_BYTES>()?, iterations)?)
        }
        None => None,
    };
    users.set(user, UserRecord::new(hash(password.as_bytes())?, verifier))?;
    users.write(file)?;
    let scram = match (scram, had_scram) {
        (Some(_), _) => ", with SCRAM-SHA-256",
        (None, true) => "; SCRAM-SHA-256 is off for it now (--scram keeps it on)",
        (None, false) => "",
    };
    Ok(format!("ok: {}: password of `{user}` set{scram}", file.display()))
}

/// Deletes `user`; the line to print.
///
/// # Errors
/// See [`PasswdError`]; then the file is as it was.
pub fn delete(file: &Path, user: &str) -> Result<String, PasswdError> {
    let mut users = PasswordFile::read(file)?;
    if !users.remove(user) {
        return Err(PasswdError::Unknown {
            file: file.display().to_string(),
            user: user.to_owned(),
        });
    }
    users.write(file)?;
    Ok(format!("ok: {}: `{user}` deleted", file.display()))
}

fn open(file: &Path) -> Result<PasswordFile, PasswordFileError> {
    match PasswordFile::read(file) {
        Err(PasswordFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            Ok(PasswordFile::default())
        }
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use argon2::PasswordVerifier;

    use super::{PasswdError, check, delete, open, set_in};
    use crate::auth::password_file::PasswordFile;

    fn is_password(file: &Path, user: &str, password: &str) -> bool {
        let users = PasswordFile::read(file).unwrap();
        let argon2 = argon2::Argon2::default();
        users
            .user(user)
            .is_some_and(|user| argon2.verify_password(password.as_bytes(), user.hash()).is_ok())
    }

    #[test]
    fn a_password_is_right_after_set_and_not_after_delete() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        set_in(open(&file).unwrap(), &file, "ann", "old", None).unwrap();
        assert!(!is_password(&file, "ann", "pw"));
        set_in(open(&file).unwrap(), &file, "ann", "pw", None).unwrap();
        assert!(is_password(&file, "ann", "pw"));
        assert!(set_in(open(&file).unwrap(), &file, "ann", "", None).is_err());
        delete(&file, "ann").unwrap();
        assert!(!is_password(&file, "ann", "pw"));
        assert!(delete(&file, "ann").unwrap_err().to_string().contains("has no user `ann`"));
    }

    #[test]
    fn a_verifier_comes_when_asked_for_and_goes_with_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let set = |password, scram| set_in(open(&file).unwrap(), &file, "ann", password, scram);
        let verifier = || PasswordFile::read(&file).unwrap().user("ann").unwrap().scram().cloned();
        assert!(set("pw", Some(5000)).unwrap().ends_with("set, with SCRAM-SHA-256"));
        let first = verifier().unwrap();
        assert_eq!(first.iterations(), 5000);
        let decoys = PasswordFile::read(&file).unwrap().decoys().copied();
        set("pw", Some(5000)).unwrap();
        assert_ne!(verifier(), Some(first), "each has a salt of its own");
        assert_eq!(PasswordFile::read(&file).unwrap().decoys().copied(), decoys);
        assert!(set("new", None).unwrap().contains("SCRAM-SHA-256 is off"));
        assert_eq!(verifier(), None);
        assert!(is_password(&file, "ann", "new"));
    }

    #[test]
    fn what_scram_cannot_carry_is_refused_before_anything_is_written() {
        assert!(check("ann", Some(15_000)).is_ok());
        assert!(matches!(check("ann", Some(100)), Err(PasswdError::Iterations(100))));
        assert!(check("e\u{301}", None).is_ok());
        assert!(matches!(check("e\u{301}", Some(5000)), Err(PasswdError::Name(_))));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let refused = set_in(open(&file).unwrap(), &file, "ann", "a\u{7}b", Some(5000));
        assert!(refused.unwrap_err().to_string().contains("cannot be used with --scram"));
        assert!(!file.exists());
    }
}
