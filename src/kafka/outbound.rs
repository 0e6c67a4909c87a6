//! Answers on their way out, large pieces uncopied. Part of `kafka`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::kafka::budget::Claim;
use crate::kafka::codec::primitives::Frame;

/// Pieces that one system call takes.
const PIECES_MAX: usize = 64;

/// Pieces to send, in order.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Memory of answers, each until all before this many bytes of everything are sent.
    claims: VecDeque<(u64, Claim)>,
    /// Bytes sent so far.
    sent: u64,
    unflushed: bool,
}

impl Outbound {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether everything was sent and flushed.
    pub(super) fn is_idle(&self) -> bool {
        self.pieces.is_empty() && !self.unflushed
    }

    /// The memory that the oldest answer holds which has a claim to some.
    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claims.front().map(|(_, claim)| claim)
    }

    /// Puts an answer behind the others, and with it what its memory counts in.
    pub(super) fn push(&mut self, frame: Frame, claim: Option<Claim>) {
        self.bytes += frame.len();
        let end = self.sent + self.bytes as u64;
        self.claims.extend(claim.map(|claim| (end, claim)));
        self.pieces.extend(frame.pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    /// Writes once, or flushes when everything is written; says how much was written. Drop-safe: nothing is counted
    /// that was not taken.
    pub(super) async fn send<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> io::Result<usize> {
        if self.pieces.is_empty() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(0);
        }
        let slices: Vec<IoSlice<'_>> =
            self.pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.bytes -= written;
        self.sent += written as u64;
        let mut left = written;
        while let Some(piece) = self.pieces.front_mut() {
            if left < piece.len() {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
        while self.claims.front().is_some_and(|(end, _)| *end <= self.sent) {
            self.claims.pop_front();
        }
        Ok(written)
    }
}
