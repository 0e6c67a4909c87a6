//! Zstandard frames (RFC 8878). Part of `batch/inflate`.
//!
//! The decoder is zstd's own, which the Java client and librdkafka use too: what passes here, they can read. A frame
//! may refer back as far as that decoder takes without being asked, 128 MiB; memory that is not written to is not
//! taken.

use std::cell::Cell;

use zstd::stream::raw::{Decoder, Operation};

use crate::broker::logs::batch::inflate::{InflateFault, KEPT_BYTES_MAX};

thread_local! {
    /// A decoder that this thread has used: making one costs more than a small batch.
    static KEPT: Cell<Option<Decoder<'static>>> = const { Cell::new(None) };
}

/// The frames of a compressed batch, one after the other.
pub(super) struct ZstdFrames<'a> {
    rest: &'a [u8],
    decoder: Option<Decoder<'static>>,
    /// Whether the last frame has begun and not ended.
    within: bool,
    written: usize,
}

impl<'a> ZstdFrames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let kept = KEPT.take().and_then(|mut kept| kept.reinit().is_ok().then_some(kept));
        let decoder = kept.or_else(|| Decoder::new().ok());
        Self { rest: bytes, decoder, within: false, written: 0 }
    }

    /// Reads into `out` and gives back how many bytes; 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, InflateFault> {
        // Without memory for a decoder a batch cannot be looked into.
        let decoder = self.decoder.as_mut().ok_or(InflateFault::TooLarge)?;
        loop {
            if self.rest.is_empty() && !self.within {
                return Ok(0);
            }
            let step = decoder.run_on_buffers(self.rest, out);
            let step = step.map_err(|_| InflateFault::Malformed)?;
            self.rest = self.rest.get(step.bytes_read..).unwrap_or_default();
            self.within = step.remaining > 0;
            self.written = self.written.saturating_add(step.bytes_written);
            if step.bytes_written > 0 {
                return Ok(step.bytes_written);
            }
            if self.within && self.rest.is_empty() {
                return Err(InflateFault::Malformed);
            }
        }
    }
}

impl Drop for ZstdFrames<'_> {
    fn drop(&mut self) {
        // The window of a large content is not kept.
        if self.written <= KEPT_BYTES_MAX {
            KEPT.set(self.decoder.take());
        }
    }
}
