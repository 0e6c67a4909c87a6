//! The logs that a consumer subscribes to, read from its metadata. Part of `broker::groups::group`; pure.
//!
//! | consumer subscription | |
//! |---|---|
//! | version | `i16`, from 0; later ones begin as version 0 does |
//! | topics | `i32` count, each `i16` length and bytes |
//! | user data, and more from version 1 on | not read |
//!
//! All numbers are big endian.

/// The protocol type whose metadata is laid out so.
pub const CONSUMER: &str = "consumer";

/// Names of the logs, or `None` if the metadata is not laid out so.
#[must_use]
pub fn logs(metadata: &[u8]) -> Option<Vec<&str>> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(*take::<2>(&mut rest)?);
    let count = u32::try_from(i32::from_be_bytes(*take::<4>(&mut rest)?)).ok()?;
    if version < 0 {
        return None;
    }
    let mut names = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(i16::from_be_bytes(*take::<2>(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(length)?;
        names.push(std::str::from_utf8(name).ok()?);
        rest = after;
    }
    Some(names)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::logs;

    #[test]
    fn names_are_read_at_any_version() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(logs(bytes), Some(vec!["a", "bc"]));
    }

    #[test]
    fn what_is_laid_out_otherwise_is_not_guessed() {
        assert_eq!(logs(b""), None);
        assert_eq!(logs(b"range"), None);
        assert_eq!(logs(b"\0\0\xff\xff\xff\xff"), None);
        assert_eq!(logs(b"\0\0\x7f\xff\xff\xff\0\x01a"), None);
        assert_eq!(logs(b"\0\0\0\0\0\x01\0\x05a"), None);
        assert_eq!(logs(b"\0\0\0\0\0\x01\0\x01\xff"), None);
    }
}
