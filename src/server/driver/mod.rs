//! The one connection loop: socket in, engine, socket out. Part of `server`.
//!
//! A worker thread has one large read buffer; only an incomplete tail stays with its connection. Everything
//! complete is parsed before anything else happens, then whoever was written to is flushed once.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::net::outbound::{CLOSE, GO_ON, Outbound};
use crate::net::stream::Stream;
use crate::net::touched;

use super::clock::Clock;
use super::workers::flush_soon;

/// Bytes read at once; a larger packet is gathered in its connection's own buffer.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Bytes read at once by a publisher that had to wait for its subscribers.
const READ_HELD_BYTES: usize = 16 * 1024;
/// Step in which a large packet's buffer grows, so that an announced length reserves nothing.
const LARGE_STEP_BYTES: usize = 256 * 1024;
/// Reads in one turn before other connections get theirs.
const READS_PER_TURN: usize = 4;
/// How long a publisher waits for a subscriber whose buffer is half full. After that the subscriber counts as
/// stalled: nobody waits, and what is over its limit is dropped by its protocol's policy.
const PATIENCE: Duration = Duration::from_secs(1);
/// Writes in one turn that the socket took only in part.
const WRITES_PER_TURN: usize = 4;
/// Connections touched before they are flushed in the middle of a turn.
const TOUCHED_MAX: usize = 1000;

/// How long a connection that shall end may take to write what waits: a peer that does not read cannot keep its
/// session and its place.
const FAREWELL: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5000 });
/// How long it then waits for the peer to close, too, so that bytes on their way to us do not turn the goodbye
/// into a reset.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes discarded meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER_BYTES]);
}

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read on.
    Continue,
    /// Do not read until a signal changes the verdict.
    Pause,
    /// Write what waits, then end the connection.
    Close,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The protocol's own verdict.
    ByProtocol,
    /// The peer closed or the transport failed.
    ByPeer,
    /// The task was dropped (shutdown).
    Dropped,
}

/// A protocol's side of a connection: pure with regard to sockets and time.
pub trait Protocol: Send + 'static {
    /// Handles all complete packets of `input`; returns the bytes used and what to do next.
    fn receive(&mut self, input: &[u8], now_ms: u64) -> (usize, Verdict);
    /// A signal was raised: packets to pull, completions, a timer, a wish to close.
    fn wake(&mut self, signals: u32, now_ms: u64) -> Verdict;
    /// The connection is over; called once.
    fn ended(&mut self, why: Ended, now_ms: u64);
    /// Where this connection's packets wait.
    fn outbound(&self) -> &Arc<Outbound>;
}

struct Connection<P: Protocol> {
    stream: Stream,
    protocol: P,
    clock: Clock,
    tail: Vec<u8>,
    verdict: Verdict,
    ended: Option<Ended>,
    /// Subscribers that this publisher waits for, and until when.
    held: Option<Held>,
    /// The tail may hold whole packets: it is parsed again before more is read.
    unfinished: bool,
    /// Bytes read at once: less for a publisher that had to wait, so that it keeps little meanwhile.
    read_max: usize,
    /// It shall end; by then, whatever was written.
    farewell: Option<Pin<Box<tokio::time::Sleep>>>,
    /// It shall end, and what its peer said is read before; the signals that brought it.
    last_look: Option<(u32, Turn)>,
    /// The protocol knows that it is over.
    over: bool,
}

/// Ready when the runtime has had a turn.
type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Held {
    by: Vec<Arc<Outbound>>,
    until: Pin<Box<tokio::time::Sleep>>,
}

impl<P: Protocol> Drop for Connection<P> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Serves one connection until either side ends it.
///
/// No `async fn`, which would keep room for its arguments beside what they were moved into.
pub fn drive<P: Protocol>(
    stream: Stream,
    protocol: P,
    clock: Clock,
) -> impl Future<Output = ()> + Send {
    let mut connection = Connection {
        stream,
        protocol,
        clock,
        tail: Vec::new(),
        verdict: Verdict::Continue,
        ended: None,
        held: None,
        unfinished: false,
        read_max: READ_BUFFER_BYTES,
        farewell: None,
        last_look: None,
        over: false,
    };
    async move {
        poll_fn(|cx| connection.poll(cx)).await;
        connection.leave();
        if connection.ended == Some(Ended::ByProtocol) {
            // A failed goodbye changes nothing: the peer is gone already, or will not hear it. Its buffer is no
            // part of every connection.
            let goodbye = Box::pin(connection.say_goodbye());
            drop(tokio::time::timeout(LINGER, goodbye).await);
        }
    }
}

impl<P: Protocol> Connection<P> {
    /// Tells the protocol, once, that it is over.
    fn leave(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.protocol.outbound().close();
        let why = self.ended.unwrap_or(Ended::Dropped);
        self.protocol.ended(why, self.clock.now_ms());
        touched::flush();
        touched::forgive_congested();
    }

    /// Closes our side and discards what comes until the peer has closed, too.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.stream.poll_shutdown(cx)).await?;
        let mut discarded = 0;
        let mut bytes = [0; 4096];
        while discarded < LINGER_BYTES {
            match poll_fn(|cx| self.stream.poll_read(cx, &mut bytes)).await? {
                0 => break,
                count => discarded += count,
            }
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut signals = self.protocol.outbound().take_signals(cx.waker());
        if signals & CLOSE != 0 || self.last_look.is_some() {
            match self.look_once_more(signals, cx) {
                Poll::Ready(all) => signals = all,
                Poll::Pending => return Poll::Pending,
            }
        }
        if signals & !GO_ON != 0 && self.verdict != Verdict::Close {
            self.verdict = self.protocol.wake(signals, self.clock.now_ms());
            if signals & CLOSE != 0 {
                self.verdict = Verdict::Close;
            }
            touched::forgive_congested();
        }
        let more = !self.is_held(signals, cx) && self.read(cx);
        flush_soon();
        if self.verdict == Verdict::Close {
            self.protocol.outbound().seal();
        }
        if self.write(cx).is_err() || self.protocol.outbound().is_closed() {
            self.ended.get_or_insert(Ended::ByPeer);
        }
        if self.ended.is_some() {
            return Poll::Ready(());
        }
        if self.verdict == Verdict::Close && (self.is_written(cx) || self.is_late(cx)) {
            self.ended = Some(Ended::ByProtocol);
            return Poll::Ready(());
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads what the peer said before it is told to go: its own goodbye counts. The runtime is given one turn before, in
    /// which it learns what waits at the socket. Gives back all signals that came meanwhile.
    fn look_once_more(&mut self, signals: u32, cx: &mut Context<'_>) -> Poll<u32> {
        let look = self.last_look.get_or_insert_with(|| (0, Box::pin(tokio::task::yield_now())));
        look.0 |= signals;
        if look.1.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let signals = look.0;
        self.last_look = None;
        self.read(cx);
        Poll::Ready(signals)
    }

    /// Whether a connection that shall end took too long to write what waits.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let until = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        until.as_mut().poll(cx).is_ready()
    }

    /// Whether it still waits for its subscribers.
    fn is_held(&mut self, signals: u32, cx: &mut Context<'_>) -> bool {
        let Some(held) = &mut self.held else { return false };
        if held.until.as_mut().poll(cx).is_ready() {
            held.by.iter().for_each(|subscriber| subscriber.give_up());
        } else if signals & GO_ON == 0 {
            return true;
        }
        self.held = None;
        false
    }

    /// Waits, if what was just handled congested a subscriber: a flood is slowed to what its receivers take.
    /// True when somebody was congested, though he may have room again by now.
    fn hold_back(&mut self, cx: &mut Context<'_>) -> bool {
        let congested = touched::take_congested();
        if congested.is_empty() {
            self.read_max = (self.read_max * 2).min(READ_BUFFER_BYTES);
            return false;
        }
        touched::flush();
        let own = Arc::clone(self.protocol.outbound());
        let by: Vec<_> = congested.into_iter().filter(|one| one.wait_for(&own)).collect();
        if by.is_empty() {
            return true;
        }
        let mut until = Box::pin(tokio::time::sleep(PATIENCE));
        // Registers the timer; a deadline that has passed already is seen in the next turn.
        if until.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.held = Some(Held { by, until });
        self.read_max = READ_HELD_BYTES;
        true
    }

    fn may_read(&self) -> bool {
        self.verdict == Verdict::Continue && self.ended.is_none() && self.held.is_none()
    }

    /// Reads and parses; true when the turn ended before the socket was empty.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS_PER_TURN {
            if !self.may_read() || self.protocol.outbound().is_overrun() {
                return false;
            }
            if self.unfinished {
                let tail = std::mem::take(&mut self.tail);
                self.hand_over(&tail, tail.len(), cx);
                continue;
            }
            match self.read_once(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.ended = Some(Ended::ByPeer);
                    return false;
                }
                Poll::Ready(Ok(_)) => {}
            }
            if touched::count() >= TOUCHED_MAX {
                touched::flush();
            }
        }
        self.may_read()
    }

    fn read_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let have = self.tail.len();
            if have > READ_BUFFER_BYTES / 2 {
                return self.read_large(cx);
            }
            let (head, room) = buffer.split_at_mut(have);
            head.copy_from_slice(&self.tail);
            let room_bytes = room.len().min(self.read_max);
            let outcome = self.stream.poll_read(cx, room.get_mut(..room_bytes).unwrap_or_default());
            if let Poll::Ready(Ok(count)) = outcome
                && count > 0
            {
                self.tail.clear();
                if self.tail.capacity() > READ_BUFFER_BYTES {
                    self.tail = Vec::new();
                }
                self.hand_over(buffer, have + count, cx);
            }
            outcome
        })
    }

    fn read_large(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let have = self.tail.len();
        self.tail.resize(have + LARGE_STEP_BYTES, 0);
        let outcome = self.stream.poll_read(cx, self.tail.get_mut(have..).unwrap_or_default());
        let count = if let Poll::Ready(Ok(count)) = outcome { count } else { 0 };
        self.tail.truncate(have + count);
        if count > 0 {
            let tail = std::mem::take(&mut self.tail);
            let (used, verdict) = self.protocol.receive(&tail, self.clock.now_ms());
            self.tail = tail;
            self.tail.drain(..used.min(have + count));
            self.handled(verdict, cx);
        }
        outcome
    }

    /// Gives the first `filled` bytes to the protocol and keeps what it leaves.
    fn hand_over(&mut self, buffer: &[u8], filled: usize, cx: &mut Context<'_>) {
        let input = buffer.get(..filled).unwrap_or_default();
        let (used, verdict) = self.protocol.receive(input, self.clock.now_ms());
        if let Some(rest) = input.get(used..) {
            self.tail.extend_from_slice(rest);
        }
        self.handled(verdict, cx);
    }

    fn handled(&mut self, verdict: Verdict, cx: &mut Context<'_>) {
        self.verdict = verdict;
        let stopped = self.hold_back(cx) || !self.may_read();
        // What was left may be whole packets that only had to wait.
        self.unfinished = stopped && !self.tail.is_empty();
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let outbound = Arc::clone(self.protocol.outbound());
        for _ in 0..WRITES_PER_TURN {
            if outbound.is_blocked() {
                match self.stream.poll_writable(cx) {
                    Poll::Ready(Ok(())) => outbound.unblock(),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Ok(()),
                }
            }
            outbound.write_with(|bytes| self.stream.write_now(cx, bytes));
            if !outbound.is_blocked() {
                break;
            }
            if !self.stream.is_plain() {
                // The write that was refused has left this task's waker with the transport.
                return Ok(());
            }
        }
        if outbound.is_blocked() {
            // Others get their turn; the next one asks the socket again.
            cx.waker().wake_by_ref();
            return Ok(());
        }
        match self.stream.poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn is_written(&mut self, cx: &mut Context<'_>) -> bool {
        self.protocol.outbound().is_drained()
            && !matches!(self.stream.poll_flush(cx), Poll::Pending)
    }
}

#[cfg(test)]
mod tests;
