//! A connection's outbound buffer: anyone may append whole packets, one flusher at a time writes them.
//!
//! This is the lower half of the connection seam (design, "Speed"): publishers encode straight into the
//! buffers of their subscribers and flush each once. An inline flush is a plain TCP `try_write` and never
//! waits; over TLS, and when the socket is full, the bytes stay here and the owner's task is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;

/// The owner has packets to pull or completions to read.
pub const READY: u32 = 1;
/// A timer of this connection fired.
pub const TIMER: u32 = 2;
/// The connection shall end; the reason stands in the protocol's own state.
pub const CLOSE: u32 = 4;
/// Bytes wait that only the owner can write.
const OWNER_FLUSH: u32 = 8;
/// The owner wants to know when the buffer has been drained.
const WANT_ROOM: u32 = 16;
/// A subscriber that this publisher waited for has room again.
pub const GO_ON: u32 = 32;

/// An append, and what the caller owes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What came of it.
    pub outcome: Push,
    /// First since the last flush: the buffer goes onto the caller's flush list.
    pub first: bool,
    /// Bytes appended.
    pub bytes: usize,
    /// Beyond half of the limit: the publisher should wait a moment before it goes on.
    pub congested: bool,
}

/// What came of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// In the buffer.
    Accepted,
    /// Over the limit: nothing was appended.
    Full,
    /// The connection is gone.
    Closed,
}

/// Bytes on their way to one peer, with the signals that wake its task.
pub struct Outbound {
    state: Mutex<State>,
    signals: AtomicU32,
    waker: Mutex<Option<Waker>>,
    /// Present on plain TCP: whoever appended may also write.
    inline: Option<Arc<OwnedWriteHalf>>,
    limit_bytes: usize,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    spare: Vec<u8>,
    /// A flusher holds the bytes it took; others leave theirs here.
    writing: bool,
    /// The socket took less than it was given; only the owner goes on.
    blocked: bool,
    /// On somebody's list of connections to flush.
    touched: bool,
    closed: bool,
    /// What waits is still written, nothing more is taken.
    sealed: bool,
    /// The owner waits for the last byte to leave.
    wants_drained: bool,
    sent_bytes: u64,
    /// Appended by [`Outbound::push_reply`] since somebody last asked.
    replies: u64,
    /// The socket took something since somebody last asked.
    moved: bool,
    /// Beyond half of its limit since it was last below a quarter.
    congested: bool,
    /// Congested for longer than anybody waits: what is over the limit is dropped until it has drained.
    stalled: bool,
    /// Publishers that wait for it.
    waiting: Vec<Arc<Outbound>>,
}

/// Answers that wait beyond the limit before their peer is no longer read. Deliveries end at the limit, so only
/// one that sends and does not read gets there.
const ANSWERS_BYTES: usize = 64 * 1024;

/// Buffers that grew beyond this are given back when they run empty.
const KEEP_BYTES: usize = 64 * 1024;

impl Outbound {
    /// An empty buffer of at most `limit_bytes`; `inline` allows others to write to the socket.
    #[must_use]
    pub fn new(inline: Option<Arc<OwnedWriteHalf>>, limit_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            signals: AtomicU32::new(0),
            waker: Mutex::new(None),
            inline,
            limit_bytes,
        }
    }

    /// Appends what `encode` writes unless the buffer is over its limit. Whole packets only: a later flush
    /// may send any prefix.
    pub fn push(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        self.append(self.limit_bytes, encode)
    }

    /// As [`Self::push`], but over the limit too: what a session's window bounds.
    pub fn push_forced(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        let pushed = self.append(usize::MAX, encode);
        // Who pulls his own queue is no publisher that should wait.
        Pushed { congested: false, ..pushed }
    }

    fn append(&self, limit: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        let mut state = self.state.lock();
        let refused = if state.closed || state.sealed {
            Some(Push::Closed)
        } else if state.pending.len() >= limit {
            Some(Push::Full)
        } else {
            None
        };
        if let Some(outcome) = refused {
            return Pushed { outcome, first: false, bytes: 0, congested: false };
        }
        let before = state.pending.len();
        encode(&mut state.pending);
        let bytes = state.pending.len() - before;
        let first = !state.touched;
        state.touched = true;
        state.congested |= state.pending.len() >= self.limit_bytes / 2;
        let congested = state.congested && !state.stalled;
        Pushed { outcome: Push::Accepted, first, bytes, congested }
    }

    /// Has `publisher` signalled [`GO_ON`] when this buffer has drained. False when it is not worth waiting:
    /// it has drained already, or has stalled.
    pub fn wait_for(&self, publisher: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        if !state.congested || state.stalled || state.closed {
            return false;
        }
        state.waiting.push(Arc::clone(publisher));
        true
    }

    /// Somebody waited long enough: until it has drained nobody waits for it.
    pub fn give_up(&self) {
        let waiting = {
            let mut state = self.state.lock();
            if !state.congested {
                return;
            }
            state.stalled = true;
            std::mem::take(&mut state.waiting)
        };
        for publisher in waiting {
            publisher.signal(GO_ON);
        }
    }

    /// Appends regardless of the limit: answers to the peer's own packets, which are bounded by not reading it,
    /// see [`Self::is_overrun`].
    pub fn push_reply(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if !state.closed && !state.sealed {
            state.replies += 1;
            encode(&mut state.pending);
        }
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.state.lock().pending.len()
    }

    /// Whether the buffer is below half of its limit; if not, the owner is signalled [`READY`] once it drains.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.state.lock();
        if state.closed || state.pending.len() < self.limit_bytes / 2 {
            return true;
        }
        self.signals.fetch_or(WANT_ROOM, Ordering::AcqRel);
        false
    }

    /// Whether so many answers wait that their peer should not be read; the owner is signalled [`READY`] once
    /// they have drained.
    #[must_use]
    pub fn is_overrun(&self) -> bool {
        let state = self.state.lock();
        if state.closed || state.pending.len() < self.limit_bytes.saturating_add(ANSWERS_BYTES) {
            return false;
        }
        self.signals.fetch_or(WANT_ROOM, Ordering::AcqRel);
        true
    }

    /// Whether the buffer is at its limit but the socket took some of it since the last call: the peer is slow
    /// and not gone.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        let mut state = self.state.lock();
        std::mem::take(&mut state.moved) && state.pending.len() >= self.limit_bytes
    }

    /// Takes nothing more; what waits is still written.
    pub fn seal(&self) {
        self.state.lock().sealed = true;
    }

    /// Whether everything appended has left, or never will; if not, the owner is woken when it has.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let mut state = self.state.lock();
        let drained = state.closed || (state.pending.is_empty() && !state.writing);
        state.wants_drained = !drained;
        drained
    }

    /// Bytes handed to the transport since the last call.
    #[must_use]
    pub fn take_sent_bytes(&self) -> u64 {
        std::mem::take(&mut self.state.lock().sent_bytes)
    }

    /// Bytes handed to the transport, and answers appended, since the last call.
    #[must_use]
    pub fn take_sent(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.sent_bytes), std::mem::take(&mut state.replies))
    }

    /// Writes what the socket takes now; never waits. Wakes the owner for the rest.
    pub fn flush(&self) {
        let Some(socket) = &self.inline else {
            let mut state = self.state.lock();
            state.touched = false;
            let waits = !state.pending.is_empty();
            drop(state);
            if waits {
                self.signal(OWNER_FLUSH);
            }
            return;
        };
        if self.write_out(|bytes| socket.try_write(bytes)) {
            self.signal(OWNER_FLUSH);
        }
    }

    /// Writes with the owner's `write` until it would block or nothing waits. The owner looks for itself what
    /// came of it: to be woken for what it just saw would have it spin.
    pub fn write_with(&self, write: impl FnMut(&[u8]) -> std::io::Result<usize>) {
        self.write_out(write);
    }

    /// Writes until `write` would block or nothing waits; true when the owner has something to do about it.
    ///
    /// Only one flusher is in `write` at a time, so bytes leave in the order they were appended.
    fn write_out(&self, mut write: impl FnMut(&[u8]) -> std::io::Result<usize>) -> bool {
        let mut state = self.state.lock();
        state.touched = false;
        if state.writing || state.blocked {
            return false;
        }
        while !state.pending.is_empty() && !state.closed {
            state.writing = true;
            let spare = std::mem::take(&mut state.spare);
            let mut chunk = std::mem::replace(&mut state.pending, spare);
            drop(state);
            let outcome = write(&chunk);
            state = self.state.lock();
            state.writing = false;
            match outcome {
                Ok(written) if written == chunk.len() => {
                    state.sent_bytes += written as u64;
                    state.moved = true;
                    chunk.clear();
                    if chunk.capacity() <= KEEP_BYTES {
                        state.spare = chunk;
                    }
                }
                Ok(written) => {
                    state.sent_bytes += written as u64;
                    state.moved = true;
                    chunk.drain(..written);
                    Self::put_back(&mut state, chunk);
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    Self::put_back(&mut state, chunk);
                    break;
                }
                Err(_) => Self::shut(&mut state),
            }
        }
        let wake =
            state.blocked || state.closed || (state.wants_drained && state.pending.is_empty());
        if state.pending.is_empty() && state.pending.capacity() > KEEP_BYTES {
            state.pending = Vec::new();
        }
        let roomy = state.pending.len() < self.limit_bytes / 2;
        let mut waiting = Vec::new();
        if state.congested && (state.closed || state.pending.len() < self.limit_bytes / 4) {
            state.congested = false;
            state.stalled = false;
            waiting = std::mem::take(&mut state.waiting);
        }
        drop(state);
        for publisher in waiting {
            publisher.signal(GO_ON);
        }
        if roomy && self.signals.load(Ordering::Acquire) & WANT_ROOM != 0 {
            self.signals.fetch_and(!WANT_ROOM, Ordering::AcqRel);
            self.signal(READY);
        }
        wake
    }

    fn put_back(state: &mut State, mut rest: Vec<u8>) {
        rest.append(&mut state.pending);
        state.spare = std::mem::replace(&mut state.pending, rest);
        state.blocked = true;
    }

    fn shut(state: &mut State) {
        state.closed = true;
        state.pending = Vec::new();
        state.spare = Vec::new();
    }

    /// Whether the owner must wait for the socket before it writes on.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.state.lock().blocked
    }

    /// The owner saw the socket writable.
    pub fn unblock(&self) {
        self.state.lock().blocked = false;
    }

    /// Drops what waits and refuses what comes.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            Self::shut(&mut state);
            std::mem::take(&mut state.waiting)
        };
        for publisher in waiting {
            publisher.signal(GO_ON);
        }
    }

    /// Whether [`Self::close`] was called or a write failed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Raises `signal` and wakes the owner's task if it was not raised already.
    pub fn signal(&self, signal: u32) {
        if self.signals.fetch_or(signal, Ordering::AcqRel) & signal == 0 {
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The owner registers its waker, then takes the signals: none raised after is lost.
    pub fn take_signals(&self, waker: &Waker) -> u32 {
        {
            let mut slot = self.waker.lock();
            match &*slot {
                Some(known) if known.will_wake(waker) => {}
                _ => *slot = Some(waker.clone()),
            }
        }
        self.signals.fetch_and(WANT_ROOM, Ordering::AcqRel) & !WANT_ROOM
    }
}
