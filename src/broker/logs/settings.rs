//! What can be set on a log, under Kafka's names. Part of `broker/logs`.
//!
//! A log keeps what was set as text, and this typed view of it. A value that this broker would not act upon
//! (compaction, recompression, a second replica) is refused rather than stored and ignored.

use thiserror::Error;

/// The typed view of a log's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `retention.ms`: how long records stay; `None` (−1) for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`: how much a partition keeps; `None` (−1) without bound.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`: when a segment is closed.
    pub segment_bytes: u64,
    /// `segment.ms`: when a segment is closed.
    pub segment_ms: u64,
    /// `max.message.bytes`: the largest batch.
    pub batch_bytes_max: usize,
    /// `message.timestamp.type` is `LogAppendTime`: the log stamps records.
    pub append_time: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            retention_ms: Some(604_800_000),
            retention_bytes: None,
            segment_bytes: 128 * 1024 * 1024,
            segment_ms: 604_800_000,
            batch_bytes_max: 1_048_588,
            append_time: false,
        }
    }
}

/// A setting that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: {reason}")]
pub struct SettingFault {
    /// Which.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// The names that may be set, with their defaults as Kafka prints them.
const KNOWN: [(&str, &str); 9] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("min.insync.replicas", "1"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "134217728"),
    ("segment.ms", "604800000"),
];

/// The largest batch that can be asked for: a journal record must hold it.
const BATCH_BYTES_LIMIT: u64 = 100 * 1024 * 1024;

impl LogSettings {
    /// Reads settings over Kafka's defaults; the last of a repeated name counts.
    ///
    /// # Errors
    /// The first setting that is unknown or out of range.
    pub fn parse<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SettingFault> {
        Self::default().with(settings)
    }

    /// These settings with `settings` over them.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn with<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SettingFault> {
        let mut parsed = self.clone();
        for (name, value) in settings {
            parsed.set(name, value).map_err(|reason| SettingFault { name: name.into(), reason })?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "cleanup.policy" => one_of(value, "delete", "only delete is supported")?,
            "compression.type" => one_of(value, "producer", "only producer is supported")?,
            "min.insync.replicas" => one_of(value, "1", "there is one replica")?,
            "max.message.bytes" => {
                let bytes = number(value, 0, BATCH_BYTES_LIMIT)?;
                self.batch_bytes_max = usize::try_from(bytes).map_err(|_| "out of range")?;
            }
            "message.timestamp.type" => match value {
                "CreateTime" => self.append_time = false,
                "LogAppendTime" => self.append_time = true,
                _ => return Err("must be CreateTime or LogAppendTime"),
            },
            "retention.bytes" => self.retention_bytes = number_or_endless(value)?,
            "retention.ms" => self.retention_ms = number_or_endless(value)?,
            "segment.bytes" => self.segment_bytes = number(value, 1024 * 1024, i32::MAX as u64)?,
            "segment.ms" => self.segment_ms = number(value, 1, i64::MAX as u64)?,
            _ => return Err("unknown setting"),
        }
        Ok(())
    }
}

fn one_of(value: &str, allowed: &str, otherwise: &'static str) -> Result<(), &'static str> {
    if value == allowed { Ok(()) } else { Err(otherwise) }
}

fn number(value: &str, min: u64, max: u64) -> Result<u64, &'static str> {
    let number: u64 = value.parse().map_err(|_| "not a number in range")?;
    if (min..=max).contains(&number) { Ok(number) } else { Err("not a number in range") }
}

fn number_or_endless(value: &str) -> Result<Option<u64>, &'static str> {
    if value == "-1" { Ok(None) } else { number(value, 0, i64::MAX as u64).map(Some) }
}

/// Every setting with the value in force, by name, and whether it was set rather than left at its default.
#[must_use]
pub fn effective(set: &[(String, String)]) -> Vec<(&'static str, String, bool)> {
    KNOWN
        .iter()
        .map(|(name, default)| match set.iter().rev().find(|(key, _)| key == name) {
            Some((_, value)) => (*name, value.clone(), true),
            None => (*name, (*default).to_owned(), false),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, LogSettings, effective};

    #[test]
    fn the_printed_defaults_are_the_defaults() {
        assert_eq!(LogSettings::parse(KNOWN), Ok(LogSettings::default()));
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("compression.type", "zstd"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "-2"),
            ("segment.bytes", "1"),
            ("flush.messages", "1"),
        ] {
            assert!(LogSettings::parse([(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn set_values_are_told_from_defaults() {
        let set = [("retention.ms".to_owned(), "5".to_owned())];
        let all = effective(&set);
        assert!(all.contains(&("retention.ms", "5".to_owned(), true)));
        assert!(all.contains(&("segment.ms", "604800000".to_owned(), false)));
    }
}
