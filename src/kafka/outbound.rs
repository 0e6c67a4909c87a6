//! Answers on their way out, large pieces uncopied. Part of `kafka`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::kafka::codec::primitives::Frame;

/// Pieces that one system call takes.
const PIECES_MAX: usize = 64;

/// Pieces to send, in order.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pieces: VecDeque<Bytes>,
    bytes: usize,
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

    /// Puts an answer behind the others.
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.pieces.extend(frame.pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    /// Writes once, or flushes when everything is written. Drop-safe: nothing is counted that was not taken.
    pub(super) async fn send<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.pieces.is_empty() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let slices: Vec<IoSlice<'_>> =
            self.pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.bytes -= written;
        let mut left = written;
        while let Some(piece) = self.pieces.front_mut() {
            if left < piece.len() {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
        Ok(())
    }
}
