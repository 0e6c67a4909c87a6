//! The thread that writes. Part of `store::journal`.
//!
//! Takes what waits, writes it as one batch, syncs once, says so, takes what came meanwhile. A batch that
//! could not be written stays in its hands under its number until a segment holds it: it is in doubt, and
//! nobody is answered.

use std::sync::Arc;
use std::time::Duration;

use crate::model::ids::Lsn;
use crate::store::journal::Sink;
use crate::store::journal::batch::Image;
use crate::store::journal::queue::{Chunk, Shared};
use crate::store::journal::segments::Segments;

pub(super) struct Writer<W> {
    pub(super) shared: Arc<Shared<W>>,
    pub(super) segments: Segments,
    pub(super) next_batch: u64,
    pub(super) retry: Duration,
    pub(super) sink: Sink<W>,
}

/// Refuses submissions when the thread ends, however it does: nobody would write them.
struct CloseAtEnd<W>(Arc<Shared<W>>);

impl<W> Drop for CloseAtEnd<W> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The journal was closed while it could not write.
#[derive(Debug, Clone)]
pub(super) struct Unwritten {
    /// How many records.
    pub(super) records: u64,
    /// The last failure.
    pub(super) reason: String,
}

impl<W> Writer<W> {
    /// Runs until the journal is closed and everything is written, or closed while nothing can be.
    pub(super) fn run(mut self) -> Result<(), Unwritten> {
        let _closed = CloseAtEnd(self.shared.clone());
        while let Some(Chunk { buffer, first_lsn, count, waiters, .. }) = self.shared.take() {
            let mut image = Image::new(buffer, self.next_batch, first_lsn, count);
            self.write(&mut image)?;
            self.next_batch += 1;
            self.shared.set_durable(Lsn(first_lsn + u64::from(count) - 1));
            let (batch, buffer) = image.into_batch(waiters);
            self.shared.refill(buffer);
            (self.sink)(batch);
        }
        Ok(())
    }

    /// Tries until it works, or a last time once the journal is being closed.
    fn write(&mut self, image: &mut Image) -> Result<(), Unwritten> {
        let mut attempts = 0u32;
        loop {
            let last_attempt = attempts > 0 && self.shared.is_ended();
            match self.segments.write(image) {
                Ok(()) if attempts == 0 => return Ok(()),
                Ok(()) => {
                    tracing::info!(attempts, "the journal writes again");
                    self.shared.recovered();
                    return Ok(());
                }
                Err(error) => {
                    attempts = attempts.saturating_add(1);
                    // Once per outage and then rarely: the state is on the health page.
                    if attempts == 1 || attempts.is_multiple_of(60) {
                        tracing::error!(
                            batch = image.header().number, attempts, %error,
                            "the journal cannot write; nothing is acknowledged until it can"
                        );
                    }
                    let reason = error.to_string();
                    self.shared.failed(attempts, &reason, self.retry);
                    if last_attempt {
                        let records = u64::from(image.header().count) + self.shared.waiting();
                        return Err(Unwritten { records, reason });
                    }
                }
            }
        }
    }
}
