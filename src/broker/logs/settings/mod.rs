//! What can be set on a log, under Kafka's names. Part of `broker/logs`.
//!
//! A log keeps what was set as text, and a typed view of it. A value that this broker would not act upon (compaction,
//! recompression, a second replica) is refused rather than stored and ignored.
//!
//! - [`known`] every name: type, default, what is done with it
//! - [`listed`] the values in force and where they come from
//! - [`change`] what administrators ask for: other values, or none

pub mod change;
pub mod known;
pub mod listed;

use thiserror::Error;

use crate::broker::logs::batch::inflate::INFLATED_BYTES_MAX;

use self::known::{Known, Rule};

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
    /// `message.timestamp.before.max.ms`: how far a record's timestamp may lie in the past (KIP-937).
    pub before_max_ms: u64,
    /// `message.timestamp.after.max.ms`: how far a record's timestamp may lie in the future (KIP-937).
    pub after_max_ms: u64,
    /// The most that a compressed batch may unpack to while it is checked; no log says so itself.
    pub unpacked_bytes_max: u64,
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
            before_max_ms: LONG_MAX,
            after_max_ms: 3_600_000,
            unpacked_bytes_max: INFLATED_BYTES_MAX,
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

/// The largest batch that can be asked for: a journal record must hold it.
const BATCH_BYTES_LIMIT: u64 = 100 * 1024 * 1024;
const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
const INT_MAX: u64 = i32::MAX as u64;
const LONG_MAX: u64 = i64::MAX as u64;

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
            let known = Known::of(name);
            let done = known.ok_or("unknown setting").and_then(|known| parsed.set(known, value));
            done.map_err(|reason| SettingFault { name: name.into(), reason })?;
        }
        Ok(parsed)
    }

    fn set(&mut self, known: &Known, value: &str) -> Result<(), &'static str> {
        match known.rule {
            Rule::Served => self.serve(known.name, value),
            Rule::Holds { .. } => known.kind.check(value),
            Rule::Fixed { only, .. } if known.kind.is_same(value, only) => Ok(()),
            Rule::Fixed { otherwise, .. } => Err(otherwise),
        }
    }

    fn serve(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "max.message.bytes" => {
                let bytes = number(value, 0, BATCH_BYTES_LIMIT)?;
                self.batch_bytes_max = usize::try_from(bytes).map_err(|_| OUT_OF_RANGE)?;
            }
            "message.timestamp.after.max.ms" => self.after_max_ms = number(value, 0, LONG_MAX)?,
            "message.timestamp.before.max.ms" => self.before_max_ms = number(value, 0, LONG_MAX)?,
            "message.timestamp.type" => match value {
                "CreateTime" => self.append_time = false,
                "LogAppendTime" => self.append_time = true,
                _ => return Err("must be CreateTime or LogAppendTime"),
            },
            "retention.bytes" => self.retention_bytes = number_or_endless(value)?,
            "retention.ms" => self.retention_ms = number_or_endless(value)?,
            "segment.bytes" => self.segment_bytes = number(value, SEGMENT_BYTES_MIN, INT_MAX)?,
            "segment.ms" => self.segment_ms = number(value, 1, LONG_MAX)?,
            _ => return Err("unknown setting"),
        }
        Ok(())
    }

    /// The value of a served setting as Kafka prints it.
    fn text(&self, name: &str) -> Option<String> {
        let endless = |value: Option<u64>| value.map_or("-1".to_owned(), |v| v.to_string());
        Some(match name {
            "max.message.bytes" => self.batch_bytes_max.to_string(),
            "message.timestamp.after.max.ms" => self.after_max_ms.to_string(),
            "message.timestamp.before.max.ms" => self.before_max_ms.to_string(),
            "message.timestamp.type" if self.append_time => "LogAppendTime".to_owned(),
            "message.timestamp.type" => "CreateTime".to_owned(),
            "retention.bytes" => endless(self.retention_bytes),
            "retention.ms" => endless(self.retention_ms),
            "segment.bytes" => self.segment_bytes.to_string(),
            "segment.ms" => self.segment_ms.to_string(),
            _ => return None,
        })
    }

    /// The lowest and the highest timestamp that a record may have at `now_ms`. A log that stamps records asks no
    /// producer.
    #[must_use]
    pub fn times(&self, now_ms: u64) -> (i64, i64) {
        if self.append_time {
            return (i64::MIN, i64::MAX);
        }
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let oldest = match self.before_max_ms {
            LONG_MAX.. => i64::MIN,
            before => signed(now_ms).saturating_sub(signed(before)),
        };
        (oldest, signed(now_ms.saturating_add(self.after_max_ms)))
    }
}

const OUT_OF_RANGE: &str = "not a number in range";

fn number(value: &str, min: u64, max: u64) -> Result<u64, &'static str> {
    let number: u64 = value.trim().parse().map_err(|_| OUT_OF_RANGE)?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(OUT_OF_RANGE) }
}

fn number_or_endless(value: &str) -> Result<Option<u64>, &'static str> {
    if value.trim() == "-1" { Ok(None) } else { number(value, 0, LONG_MAX).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::known::KNOWN;
    use super::{LogSettings, SettingFault};

    #[test]
    fn every_default_may_be_set_and_changes_nothing() {
        let defaults = LogSettings::default();
        for known in &KNOWN {
            let text = known.default_text(&defaults);
            assert_eq!(defaults.with([(known.name, &*text)]), Ok(defaults.clone()), "{known:?}");
        }
        assert!(KNOWN.is_sorted_by(|a, b| a.name < b.name), "found by searching");
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("compression.type", "zstd"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "-2"),
            ("segment.bytes", "1"),
            ("segment.bytes", "2147483648"),
            ("segment.ms", "0"),
            ("max.message.bytes", "-1"),
            ("message.timestamp.type", "createtime"),
            ("flush.messages", "often"),
            ("unclean.leader.election.enable", "true"),
            ("remote.storage.enable", "true"),
            ("no.such.setting", "1"),
        ] {
            let fault = LogSettings::parse([(name, value)]);
            let Err(SettingFault { name: named, .. }) = fault else { panic!("{name}={value}") };
            assert_eq!(named, name);
        }
    }

    #[test]
    fn what_holds_anyway_is_kept() {
        let flush = LogSettings::parse([("flush.messages", "1"), ("flush.ms", "1000")]);
        assert_eq!(flush, Ok(LogSettings::default()));
    }

    #[test]
    fn times_are_bounded_unless_the_log_stamps() {
        let settings = LogSettings { before_max_ms: 10, after_max_ms: 5, ..LogSettings::default() };
        assert_eq!(settings.times(100), (90, 105));
        let defaults = LogSettings::default();
        assert_eq!(defaults.times(100), (i64::MIN, 3_600_100));
        let stamps = LogSettings { append_time: true, ..settings };
        assert_eq!(stamps.times(100), (i64::MIN, i64::MAX));
    }
}
