//! Users and their argon2id hashes: a text file of `user:$argon2id$…` lines, `#` comments and empty lines
//! between them. Part of `auth`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use argon2::{Argon2, PasswordHash, PasswordHasher};

use crate::auth::principal::is_user_name;

/// Largest password file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most memory one hash may ask for, KiB: a line must not be able to take the machine down.
const HASH_MEMORY_KIB_MAX: u32 = 1 << 20;

/// Why a password file was refused: the user's or the disk's fault, as the text says.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// A line is neither a user nor a comment.
    #[error("{}:{line}: {text}", .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        text: String,
    },
    /// It cannot be read or written.
    #[error("{}: {error}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The name cannot be a user's.
    #[error("`{0}` cannot be a user's name")]
    Name(String),
    /// Hashing failed for want of memory or randomness.
    #[error("hashing failed: {0}")]
    Hash(String),
}

/// The users of a password file, in order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordFile {
    users: BTreeMap<String, String>,
}

impl PasswordFile {
    /// Reads `file`.
    ///
    /// # Errors
    /// With the line at fault.
    pub fn read(file: &Path) -> Result<Self, PasswordFileError> {
        let io = |error| PasswordFileError::Io { file: file.to_owned(), error };
        let mut text = String::new();
        let reader = fs::File::open(file).map_err(io)?;
        reader.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        if text.len() as u64 == FILE_BYTES_MAX {
            return Err(io(io::Error::other("too large for a password file")));
        }
        Self::parse(&text).map_err(|(line, text)| PasswordFileError::Line {
            file: file.to_owned(),
            line,
            text,
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let refuse = |text: &str| (index + 1, text.to_owned());
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line
                .split_once(':')
                .ok_or_else(|| refuse("expected `user:hash`, as `rialto passwd` writes it"))?;
            if !is_user_name(name) {
                return Err(refuse("this cannot be a user's name"));
            }
            check_hash(hash).map_err(refuse)?;
            if users.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err((index + 1, format!("user `{name}` appears twice")));
            }
        }
        Ok(Self { users })
    }

    /// The hash of `user`.
    #[must_use]
    pub fn hash(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(String::as_str)
    }

    /// Adds `user` or replaces its hash, made by [`hash`].
    ///
    /// # Errors
    /// The name cannot be a user's.
    pub fn set(&mut self, user: &str, hash: String) -> Result<(), PasswordFileError> {
        if !is_user_name(user) {
            return Err(PasswordFileError::Name(user.to_owned()));
        }
        self.users.insert(user.to_owned(), hash);
        Ok(())
    }

    /// Removes `user`; false when there is none.
    pub fn remove(&mut self, user: &str) -> bool {
        self.users.remove(user).is_some()
    }

    /// Writes the whole file under a new name beside it, syncs that, and renames it over `file`: whoever reads
    /// at any moment, even after a power cut, finds the old users or the new ones. A new file has mode 0600,
    /// an old one's mode is kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, file: &Path) -> Result<(), PasswordFileError> {
        let io = |error| PasswordFileError::Io { file: file.to_owned(), error };
        let mode = fs::metadata(file).map_or(0o600, |known| known.permissions().mode() & 0o777);
        let mut beside = file.as_os_str().to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = PathBuf::from(beside);
        let written = self.write_new(&beside, mode).and_then(|()| fs::rename(&beside, file));
        if written.is_err() {
            // The first error is the one to report; a file that was never made cannot be removed either.
            drop(fs::remove_file(&beside));
        }
        written.map_err(io)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }

    fn write_new(&self, file: &Path, mode: u32) -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
        let mut text = String::new();
        for (user, hash) in &self.users {
            text.push_str(&format!("{user}:{hash}\n"));
        }
        out.write_all(text.as_bytes())?;
        out.sync_all()
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{PasswordFile, hash};

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let mut users = PasswordFile::default();
        users.set("alice", hash(b"a").unwrap()).unwrap();
        users.set("bob@example.org", hash(b"b").unwrap()).unwrap();
        users.write(&file).unwrap();
        assert_eq!(PasswordFile::read(&file).unwrap(), users);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        assert!(users.remove("alice"));
        assert!(!users.remove("alice"));
        users.write(&file).unwrap();
        assert_eq!(PasswordFile::read(&file).unwrap(), users);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let good = format!("alice:{}", hash(b"a").unwrap());
        let huge = "eve:$argon2id$v=19$m=4000000,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for bad in [
            "no hash",
            "eve:plain",
            "%x:$argon2id$",
            "eve:$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            &good,
            huge,
        ] {
            fs::write(&file, format!("# users\n\n{good}\n{bad}\n")).unwrap();
            let error = PasswordFile::read(&file).unwrap_err().to_string();
            assert!(error.contains("users:4: "), "{bad}: {error}");
        }
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        let mut users = PasswordFile::default();
        for name in ["", "*", "anonymous", "%anonymous", "a:b", "a\nb"] {
            assert!(users.set(name, String::new()).is_err(), "{name:?}");
        }
    }
}
