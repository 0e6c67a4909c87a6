//! Numbers of bytes in configuration: an integer, or a text with a binary unit (`"64KiB"`, `"1 MiB"`, `"2GiB"`).
//! Part of `config`; used as `#[serde(deserialize_with = "byte_size::deserialize")]` on plain integers.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// Reads a number of bytes into any integer that can hold it.
///
/// # Errors
/// Neither form, negative, or too large for the target.
pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let bytes = from.deserialize_any(BytesVisitor)?;
    T::try_from(bytes).map_err(|_| D::Error::custom(format!("{bytes} bytes are too many here")))
}

/// The number of bytes that `text` names, if it names one.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| {
        text.strip_suffix(name).map(|number| (number.trim_end(), *unit))
    })?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a number of bytes: an integer, or a text such as \"64KiB\", \"1MiB\", \"2GiB\"",
        )
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_are_binary_and_need_a_whole_number() {
        assert_eq!(parse("64KiB"), Some(65_536));
        assert_eq!(parse("1 MiB"), Some(1 << 20));
        assert_eq!(parse("2GiB"), Some(2 << 30));
        assert_eq!(parse("7B"), Some(7));
        for text in ["", "MiB", "1.5MiB", "-1KiB", "1MB", "12", "99999999999999GiB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
