//! Averages that forget: what happens a minute, over one, five and fifteen minutes. Part of `mqtt::sys`.
//!
//! As mosquitto reckons them, and the kernel its load: each interval's rate moves an average towards itself, the
//! further the longer the interval is against the average's time.

use super::totals::Totals;

/// The times that are averaged over, ms, and how topics call them.
pub const SPANS: [(f64, &str); 3] = [(60_000.0, "1min"), (300_000.0, "5min"), (900_000.0, "15min")];

/// A total since the start.
type Count = fn(&Totals) -> u64;

/// What is averaged, as topics call it, and where it is counted.
pub const SERIES: [(&str, Count); 9] = [
    ("messages/received", |totals| totals.packets_received),
    ("messages/sent", |totals| totals.packets_sent),
    ("publish/dropped", |totals| totals.messages_dropped),
    ("publish/received", |totals| totals.messages_received),
    ("publish/sent", |totals| totals.messages_sent),
    ("bytes/received", |totals| totals.bytes_received),
    ("bytes/sent", |totals| totals.bytes_sent),
    ("sockets", |totals| totals.sockets),
    ("connections", |totals| totals.connects),
];

/// An average for each of [`SERIES`] and [`SPANS`], a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loads(pub [[f64; SPANS.len()]; SERIES.len()]);

impl Loads {
    /// Adds what was counted in the last `interval_ms`.
    pub fn add(&mut self, before: &Totals, after: &Totals, interval_ms: u64) {
        if interval_ms == 0 {
            return;
        }
        let interval_ms = interval_ms as f64;
        for (averages, (_, count)) in self.0.iter_mut().zip(SERIES) {
            let rate = count(after).saturating_sub(count(before)) as f64 * (60_000.0 / interval_ms);
            for (average, (span_ms, _)) in averages.iter_mut().zip(SPANS) {
                *average = rate + (-interval_ms / span_ms).exp() * (*average - rate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Loads, SERIES};
    use crate::mqtt::sys::totals::Totals;

    #[test]
    fn a_steady_rate_is_its_own_average_in_the_end_and_a_pause_is_forgotten_slowly() {
        let place = SERIES.iter().position(|(name, _)| *name == "publish/sent").unwrap();
        let mut loads = Loads::default();
        let mut totals = Totals::default();
        for _ in 0..1000 {
            // Ten in ten seconds: sixty a minute.
            let next = Totals { messages_sent: totals.messages_sent + 10, ..totals };
            loads.add(&totals, &next, 10_000);
            totals = next;
        }
        assert!(loads.0[place].iter().all(|average| (average - 60.0).abs() < 0.01), "{loads:?}");
        loads.add(&totals, &totals, 60_000);
        let [one, five, fifteen] = loads.0[place];
        // One time constant has passed for the first: e to the power of -1, -1/5, -1/15.
        assert!((one - 22.07).abs() < 0.01 && (five - 49.12).abs() < 0.01, "{loads:?}");
        assert!((fifteen - 56.13).abs() < 0.01, "{loads:?}");
    }

    /// The first interval after a start weighs what it lasted: figures of mosquitto 2.0 after a second with 5
    /// messages are 4.92, 1.00 and 0.33.
    #[test]
    fn the_first_interval_gives_the_figures_that_mosquitto_gives() {
        let mut loads = Loads::default();
        let after = Totals { packets_received: 5, ..Totals::default() };
        loads.add(&Totals::default(), &after, 2_000);
        let [one, five, fifteen] = loads.0[0].map(|average| format!("{average:.2}"));
        assert_eq!((&*one, &*five, &*fifteen), ("4.92", "1.00", "0.33"));
    }
}
