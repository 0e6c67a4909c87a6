//! How long records stay. Part of `broker/logs`; pure.
//!
//! As in Kafka, whole segments go, the oldest first: by time when all their records are older than `retention.ms`, by
//! the records' own timestamps; by size while the rest would still be as large as `retention.bytes`. A segment that
//! is still appended to goes too, when all in it is too old.

use crate::broker::logs::settings::LogSettings;
use crate::store::partition::SegmentInfo;

/// The offset before which a partition gives its records up at `now_ms`; `None` if all stay.
#[must_use]
pub fn new_start(settings: &LogSettings, segments: &[SegmentInfo], now_ms: u64) -> Option<i64> {
    let by_time = settings.retention_ms.map_or(0, |ms| expired(segments, now_ms, ms));
    let by_bytes = settings.retention_bytes.map_or(0, |bytes| surplus(segments, bytes));
    let last = by_time.max(by_bytes).checked_sub(1)?;
    segments.get(last).map(|segment| segment.next_offset)
}

/// How many of the first segments are too old. One whose records have no time is as old as the next that has.
fn expired(segments: &[SegmentInfo], now_ms: u64, retention_ms: u64) -> usize {
    let mut count = 0;
    for (at, segment) in segments.iter().enumerate() {
        let Ok(newest) = u64::try_from(segment.max_timestamp) else { continue };
        if now_ms.saturating_sub(newest) <= retention_ms {
            break;
        }
        count = at + 1;
    }
    count
}

/// How many of the first segments are too much.
fn surplus(segments: &[SegmentInfo], bytes_max: u64) -> usize {
    let mut rest: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut count = 0;
    for segment in segments {
        rest = rest.saturating_sub(segment.bytes);
        if rest < bytes_max {
            break;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::new_start;
    use crate::broker::logs::settings::LogSettings;
    use crate::store::partition::SegmentInfo;

    /// Segments of ten records and a hundred bytes each, with these latest timestamps.
    fn segments(times: &[i64]) -> Vec<SegmentInfo> {
        let one = |(at, time): (i64, &i64)| SegmentInfo {
            base_offset: at * 10,
            next_offset: at * 10 + 10,
            bytes: 100,
            max_timestamp: *time,
        };
        (0..).zip(times).map(one).collect()
    }

    fn settings(ms: Option<u64>, bytes: Option<u64>) -> LogSettings {
        LogSettings { retention_ms: ms, retention_bytes: bytes, ..LogSettings::default() }
    }

    #[test]
    fn segments_go_when_all_in_them_is_too_old() {
        let start = |times: &[i64]| new_start(&settings(Some(50), None), &segments(times), 100);
        assert_eq!(start(&[]), None);
        assert_eq!(start(&[50, 60]), None, "exactly as old as allowed");
        assert_eq!(start(&[49, 60]), Some(10));
        assert_eq!(start(&[10, 60, 20]), Some(10), "an old one behind a young one stays");
        assert_eq!(start(&[10, 20, 30]), Some(30), "the last one too");
        assert_eq!(start(&[-1, 20, 90]), Some(20), "without a time: as old as the next");
        assert_eq!(start(&[-1, -1]), None);
        assert_eq!(start(&[500, 10]), None, "from the future");
    }

    #[test]
    fn segments_go_while_the_rest_is_enough() {
        let start = |bytes| new_start(&settings(None, Some(bytes)), &segments(&[1; 4]), 100);
        assert_eq!(start(400), None);
        assert_eq!(start(301), None);
        assert_eq!(start(300), Some(10));
        assert_eq!(start(150), Some(20));
        assert_eq!(start(0), Some(40));
        let both = settings(Some(50), Some(300));
        assert_eq!(
            new_start(&both, &segments(&[1, 2, 3, 90]), 100),
            Some(30),
            "whatever asks for more"
        );
        assert_eq!(new_start(&settings(None, None), &segments(&[1; 4]), u64::MAX), None);
    }
}
