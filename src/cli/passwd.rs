//! `rialto passwd`: one user of a password file. Part of `cli`.

use std::io;
use std::path::Path;

use crate::auth::authenticator::PASSWORD_BYTES_MAX;
use crate::auth::password_file::{self, PasswordFile, PasswordFileError};
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
    /// There is nobody to delete.
    #[error("{file} has no user `{user}`")]
    Unknown {
        /// The file.
        file: String,
        /// The name.
        user: String,
    },
}

/// Sets the password of `user`, asked for on the terminal or read from standard input; the line to print.
///
/// # Errors
/// See [`PasswdError`]; then the file is as it was.
pub fn set(file: &Path, user: &str, password_stdin: bool) -> Result<String, PasswdError> {
    let mut users = open(file)?;
    // The name is checked before anybody is asked to type.
    users.set(user, String::new())?;
    let password = if password_stdin || !terminal::is_interactive() {
        terminal::first_line(&mut io::stdin().lock())?
    } else {
        let password = terminal::ask("Password: ")?;
        if terminal::ask("Again: ")? != password {
            return Err(PasswdError::Password("the two passwords differ"));
        }
        password
    };
    set_in(users, file, user, &password)
}

fn set_in(
    mut users: PasswordFile,
    file: &Path,
    user: &str,
    password: &str,
) -> Result<String, PasswdError> {
    if password.is_empty() {
        return Err(PasswdError::Password("the password is empty"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswdError::Password("the password is longer than 4,096 bytes"));
    }
    users.set(user, password_file::hash(password.as_bytes())?)?;
    users.write(file)?;
    Ok(format!("ok: {}: password of `{user}` set", file.display()))
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
    use super::{delete, open, set_in};
    use crate::auth::authenticator::{AnonymousPolicy, Authenticator};
    use crate::auth::password_file::PasswordFile;

    #[test]
    fn a_user_can_log_in_after_set_and_not_after_delete() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let login = || {
            let users = PasswordFile::read(&file).unwrap();
            Authenticator::new(Some(users), AnonymousPolicy::Never).verify(
                Some("ann"),
                Some(b"pw"),
                true,
            )
        };
        set_in(open(&file).unwrap(), &file, "ann", "old").unwrap();
        assert!(login().is_err());
        set_in(open(&file).unwrap(), &file, "ann", "pw").unwrap();
        assert!(login().is_ok());
        assert!(set_in(open(&file).unwrap(), &file, "ann", "").is_err());
        delete(&file, "ann").unwrap();
        assert!(login().is_err());
        assert!(delete(&file, "ann").unwrap_err().to_string().contains("has no user `ann`"));
    }
}
