//! How many files, and so connections, this process may have open. Part of `server`.
//!
//! Systems start programs with a low soft limit (1,024 mostly) for the sake of old ones, and a high hard limit for
//! whoever asks. A broker asks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Least number of files that connections leave to the store: its segments, partitions and tables.
const STORE_MIN: u64 = 128;

/// Raises the soft limit of open files to the hard one; returns what may be open afterwards, `None` for no limit.
pub fn raise() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current != before.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current
}

/// How many of `wanted` connections there is room for when `files` may be open: a tenth of them, at least
/// [`STORE_MIN`], is the store's.
#[must_use]
pub fn connections(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    let room = files.saturating_sub((files / 10).max(STORE_MIN)).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::{connections, raise};

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        assert_eq!(raise(), hard);
        assert_eq!(raise(), hard);
    }

    #[test]
    fn connections_leave_files_to_the_store() {
        assert_eq!(connections(100_000, None), 100_000);
        assert_eq!(connections(100_000, Some(20_000)), 18_000);
        assert_eq!(connections(100_000, Some(1024)), 896);
        assert_eq!(connections(500, Some(1024)), 500);
        assert_eq!(connections(500, Some(100)), 1);
    }
}
