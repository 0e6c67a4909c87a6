//! Which names a log may have: Kafka's rule. Part of `broker/logs`.

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 249;

/// Whether `name` may name a log: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn names_follow_kafkas_alphabet() {
        for good in ["a", "Telemetry-1_x.y", "...", &"x".repeat(249)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\0", &"x".repeat(250)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
