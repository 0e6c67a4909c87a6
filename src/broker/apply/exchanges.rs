//! Exchanges and bindings. Part of `broker::apply`.

use super::super::consumer::Outcome;
use super::super::record::Record;
use super::Applier;

impl Applier {
    pub(super) fn change_exchanges(&mut self, record: &Record<'_>) -> Outcome {
        let _ = (&self.limits, record);
        Outcome::Done
    }
}
