//! Users and what is kept of their passwords: a text file of `user:$argon2id$…[:SCRAM-SHA-256$…]` lines, `#` comments
//! and empty lines between them, and one line `%decoys:…` with the key that unknown users' SCRAM salts are made of.
//! Part of `auth`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::auth::principal::is_user_name;
use crate::auth::scram::{ITERATIONS_DEFAULT, Key, key, key_text};
use crate::auth::user_record::UserRecord;

/// Largest password file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// What stands in a user's place before the decoys' key; no user's name begins so.
const DECOYS: &str = "%decoys";

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
    users: BTreeMap<String, UserRecord>,
    /// Kept in the file, so that an unknown user's salt is the same after a restart.
    decoys: Option<Key>,
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
        let mut found = Self::default();
        for (index, line) in text.lines().enumerate() {
            let refuse = |text: &str| (index + 1, text.to_owned());
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, record) = line
                .split_once(':')
                .ok_or_else(|| refuse("expected `user:hash`, as `rialto passwd` writes it"))?;
            if name == DECOYS {
                found.decoys = Some(key(record).map_err(refuse)?);
                continue;
            }
            if !is_user_name(name) {
                return Err(refuse("this cannot be a user's name"));
            }
            let record = UserRecord::parse(record).map_err(refuse)?;
            if found.users.insert(name.to_owned(), record).is_some() {
                return Err((index + 1, format!("user `{name}` appears twice")));
            }
        }
        Ok(found)
    }

    /// The record of `user`.
    #[must_use]
    pub fn user(&self, user: &str) -> Option<&UserRecord> {
        self.users.get(user)
    }

    /// Adds `user` or replaces its record.
    ///
    /// # Errors
    /// The name cannot be a user's.
    pub fn set(&mut self, user: &str, record: UserRecord) -> Result<(), PasswordFileError> {
        check_name(user)?;
        self.users.insert(user.to_owned(), record);
        Ok(())
    }

    /// Whether somebody may log in by SCRAM.
    #[must_use]
    pub fn has_scram(&self) -> bool {
        self.users.values().any(|record| record.scram().is_some())
    }

    /// How often most clients of this file hash, which is what an unknown user is told to do.
    #[must_use]
    pub fn usual_iterations(&self) -> u32 {
        let mut counts = BTreeMap::new();
        for iterations in self.users.values().filter_map(|record| record.scram()) {
            *counts.entry(iterations.iterations()).or_insert(0_usize) += 1;
        }
        let usual = counts.into_iter().max_by_key(|(_, users)| *users);
        usual.map_or(ITERATIONS_DEFAULT, |(iterations, _)| iterations)
    }

    /// The key of decoys, see [`Verifier::decoy`](crate::auth::scram::Verifier::decoy).
    #[must_use]
    pub fn decoys(&self) -> Option<&Key> {
        self.decoys.as_ref()
    }

    /// Makes a key of decoys if there is none.
    ///
    /// # Errors
    /// No randomness.
    pub fn make_decoys(&mut self) -> Result<(), PasswordFileError> {
        if self.decoys.is_none() {
            self.decoys = Some(random()?);
        }
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
        if let Some(decoys) = &self.decoys {
            text.push_str(&format!("{DECOYS}:{}\n", key_text(decoys)));
        }
        for (user, record) in &self.users {
            text.push_str(&format!("{user}:{record}\n"));
        }
        out.write_all(text.as_bytes())?;
        out.sync_all()
    }
}

/// Whether `name` may be a user's.
///
/// # Errors
/// It may not.
pub fn check_name(name: &str) -> Result<(), PasswordFileError> {
    if is_user_name(name) { Ok(()) } else { Err(PasswordFileError::Name(name.to_owned())) }
}

/// Random bytes.
///
/// # Errors
/// There are none.
pub fn random<const N: usize>() -> Result<[u8; N], PasswordFileError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| PasswordFileError::Hash(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::PasswordFile;
    use crate::auth::scram::Verifier;
    use crate::auth::user_record::{UserRecord, hash};

    fn record(password: &str) -> UserRecord {
        UserRecord::new(hash(password.as_bytes()).unwrap(), None)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let mut users = PasswordFile::default();
        users.set("alice", record("a")).unwrap();
        let scram = Verifier::derive("b", b"salt", 4096).unwrap();
        let both = UserRecord::new(hash(b"b").unwrap(), Some(scram));
        users.set("bob@example.org", both).unwrap();
        users.make_decoys().unwrap();
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
            &format!("{}:SCRAM-SHA-1$4096:AAAA$A:B", good.replace("alice", "eve")),
            "%decoys:short",
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
            assert!(users.set(name, record("x")).is_err(), "{name:?}");
        }
    }

    #[test]
    fn decoys_do_as_most_users_do() {
        let mut users = PasswordFile::default();
        assert!(!users.has_scram());
        assert_eq!(users.usual_iterations(), 15_000);
        for (name, iterations) in [("a", 5000), ("b", 5000), ("c", 9000)] {
            let scram = Verifier::derive("x", b"salt", iterations).unwrap();
            users.set(name, UserRecord::new(String::new(), Some(scram))).unwrap();
        }
        assert!(users.has_scram());
        assert_eq!(users.usual_iterations(), 5000);
        users.make_decoys().unwrap();
        let first = *users.decoys().unwrap();
        users.make_decoys().unwrap();
        assert_eq!(users.decoys(), Some(&first), "a key stays");
    }
}
