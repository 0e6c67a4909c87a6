//! Serves one connection: bytes in, requests, the broker's verbs, answers out. Part of `kafka`.
//!
//! One task does it all. Produce requests are submitted as they are read and wait for their acks in a queue;
//! every other request is carried out alone, when the queue before it is answered. Answers leave in the order
//! of the requests. Three bounds hold a connection: what waits in the queue (count and bytes), what waits to be
//! sent, and what is read ahead; whoever does not read its answers is not read either.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::auth::Principal;
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::budget::Claim;
use crate::kafka::codec::api::Api;
use crate::kafka::codec::primitives::DecodeError;
use crate::kafka::connection::{Connection, ConnectionFault, Request, Step};
use crate::kafka::handlers::{self, Context, Pending, Reply, Return, api_versions, produce};
use crate::kafka::outbound::Outbound;
use crate::kafka::shared::Shared;
use crate::metrics::ErrorKind;

/// This broker's number.
pub const NODE_ID: i32 = 0;

/// The smallest room that a read is given.
const READ_BYTES: usize = 16 * 1024;
/// What is read while no request may be taken: enough to see the peer leave, and to go on at once. So much every
/// connection may hold without asking.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// A read buffer grown beyond this by one large request is given back after it.
const KEEP_BYTES: usize = 1024 * 1024;
/// A request of which so much is missing is read alone.
const LARGE_BYTES: usize = 32 * 1024;
/// As long as this much waits to be sent, no further answer is made.
const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// How often a connection that holds memory others may want is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// What must move meanwhile on one that others wait for.
const MOVED_BYTES_MIN: usize = 64 * 1024;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The address that the peer reached.
    pub local: SocketAddr,
    /// The address that it came from.
    pub peer: SocketAddr,
}

/// Why a connection ended otherwise than by the peer's leave or a shutdown.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer's framing or header.
    #[error(transparent)]
    Fault(#[from] ConnectionFault),
    /// The peer's request.
    #[error("malformed request: {0}")]
    Malformed(#[from] DecodeError),
    /// Storage: a batch may or may not be durable.
    #[error("a request is in doubt")]
    InDoubt,
    /// Nothing moved for longer than is allowed.
    #[error("nothing moved for too long")]
    Idle,
    /// The peer held memory that others waited for, and neither sent nor took what it was for.
    #[error("it moved too little while others waited for its memory")]
    Stalled,
    /// The peer's batch, sent with acks 0.
    #[error("a request that asked for no answer was refused: {0}")]
    Refused(LogError),
}

impl ServeError {
    /// How the peer broke the protocol, if it was the peer.
    #[must_use]
    pub fn violation(&self) -> Option<ErrorKind> {
        match self {
            Self::Io(_) | Self::InDoubt | Self::Idle | Self::Stalled => None,
            Self::Fault(_) | Self::Malformed(_) => Some(ErrorKind::Malformed),
            Self::Refused(_) => Some(ErrorKind::Protocol),
        }
    }
}

/// Serves `stream` until the peer leaves, `shutdown` turns true, or an error. `principal` is who the
/// peer is.
///
/// # Errors
/// See [`ServeError`]; the caller logs and counts it.
pub async fn serve<S, B>(
    stream: S,
    ends: Ends,
    principal: Principal,
    shared: Arc<Shared<B>>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    B: LogBroker,
{
    let (reader, writer) = tokio::io::split(stream);
    let config = &shared.config;
    let connection = Connection::new(config.request_bytes_max, config.other_request_bytes_max);
    let memory = Claim::new(&shared.requests);
    let mut session = Session {
        context: Arc::new(Context { shared, principal, local: ends.local, peer: ends.peer }),
        reader,
        writer,
        connection,
        input: BytesMut::new(),
        memory,
        starved: false,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        alone: false,
        outbound: Outbound::default(),
        moved_bytes: 0,
    };
    tokio::select! {
        biased;
        // A sender that is gone is a shutdown too.
        _ = shutdown.wait_for(|stop| *stop) => {}
        ended = session.run() => return ended,
    }
    session.finish().await
}

/// Why no further request was taken off the input.
enum Taken {
    /// The next one is not whole before the input has `total` bytes.
    AllBut { total: usize },
    /// Answers have to be made or sent first. There are some in `waiting` or `outbound`.
    Busy,
    /// The journal takes nothing now.
    BrokerFull,
}

struct Session<S, B> {
    context: Arc<Context<B>>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    connection: Connection,
    input: BytesMut,
    /// What `input` and the request that is carried out alone take.
    memory: Claim,
    /// Nothing more is read before there is memory for it.
    starved: bool,
    waiting: VecDeque<(usize, Pending)>,
    waiting_bytes: usize,
    /// Whether a request other than Produce is under way, the last in `waiting`.
    alone: bool,
    outbound: Outbound,
    /// Bytes read and sent since the last look at it.
    moved_bytes: usize,
}

impl<S, B> Session<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    B: LogBroker,
{
    async fn run(&mut self) -> Result<(), ServeError> {
        let idle_max = Duration::from_millis(self.context.shared.config.idle_ms_max);
        let mut idle = self.context.shared.timer.sleep(idle_max);
        let mut moved = false;
        let mut watch = None;
        loop {
            let taken = self.take_requests()?;
            let read_max = self.make_room(&taken);
            let is_full = matches!(taken, Taken::BrokerFull);
            let may_answer = self.outbound.len() < UNSENT_BYTES_MAX;
            let holds = self.memory.held() > 0 || self.outbound.claim().is_some();
            if holds && watch.is_none() {
                watch = Some(self.context.shared.timer.sleep(WATCH_EVERY));
            }
            tokio::select! {
                biased;
                reply = front(&mut self.waiting), if may_answer && !self.waiting.is_empty() => {
                    self.settle(reply)?;
                    moved = true;
                }
                sent = self.outbound.send(&mut self.writer), if !self.outbound.is_idle() => {
                    self.moved_bytes += sent?;
                    moved = true;
                }
                read = read(&mut self.reader, &mut self.input, read_max), if read_max > 0 => {
                    let bytes = read?;
                    if bytes == 0 {
                        return Ok(());
                    }
                    self.moved_bytes += bytes;
                    moved = true;
                }
                () = self.context.shared.broker.room(), if is_full => {}
                () = self.memory.turn(), if self.starved => moved = true,
                () = elapsed(&mut watch), if watch.is_some() => {
                    watch = None;
                    self.look(&taken)?;
                }
                () = &mut idle => {
                    // A request that waits for its record is ours to answer, however long it takes.
                    let is_ours = may_answer && !self.waiting.is_empty();
                    if !moved && !is_ours && !is_full && !self.starved {
                        return Err(ServeError::Idle);
                    }
                    moved = false;
                    idle = self.context.shared.timer.sleep(idle_max);
                }
            }
        }
    }

    /// Takes requests off the input until it holds no whole one, or none may be taken.
    fn take_requests(&mut self) -> Result<Taken, ServeError> {
        loop {
            let config = &self.context.shared.config;
            let busy = self.alone
                || self.waiting.len() >= config.produce_waiting_max
                || self.waiting_bytes >= config.produce_waiting_bytes_max
                || self.outbound.len() >= UNSENT_BYTES_MAX;
            if busy {
                return Ok(Taken::Busy);
            }
            if self.context.shared.broker.is_full() {
                return Ok(Taken::BrokerFull);
            }
            let consumed = match self.connection.next(&self.input)? {
                Step::More { total } => {
                    self.shrink();
                    return Ok(Taken::AllBut { total });
                }
                Step::FutureApiVersions { correlation_id, consumed } => {
                    let frame = api_versions::answer_future(correlation_id);
                    let reply = Reply::Answer(frame);
                    self.waiting.push_back((0, Box::pin(async move { reply })));
                    consumed
                }
                Step::Request(request) => {
                    let (consumed, is_alone, pending) = start(&self.context, &request)?;
                    self.alone = is_alone;
                    self.waiting_bytes += consumed;
                    self.waiting.push_back((consumed, pending));
                    consumed
                }
            };
            self.input.advance(consumed);
            if self.alone {
                self.recount();
            }
        }
    }

    /// Makes room for the next read and says how much it may bring; 0 if enough is read ahead. The buffer doubles
    /// as bytes arrive, up to what the request under way announced. A large request is read to its end and no
    /// further: the next one then begins where this one did, and nothing is moved.
    fn make_room(&mut self, taken: &Taken) -> usize {
        self.starved = false;
        let length = self.input.len();
        let bound = match taken {
            Taken::AllBut { total } => (*total).max(READ_BYTES),
            Taken::Busy | Taken::BrokerFull => READ_AHEAD_BYTES,
        };
        if length >= bound {
            self.memory.give_way();
            return 0;
        }
        if self.input.capacity() - length < READ_BYTES / 2 {
            let more = (bound - length).min(length).max(READ_BYTES);
            if !self.memory.raise(asked_for(length + more) + self.alone_bytes()) {
                self.starved = true;
                return 0;
            }
            self.input.reserve(more);
            self.recount();
        }
        if bound - length >= LARGE_BYTES { bound - length } else { usize::MAX }
    }

    /// Gives back what an empty buffer has too much of: less is kept when others wait for memory.
    fn shrink(&mut self) {
        let kept = if self.memory.is_contended() { READ_AHEAD_BYTES } else { KEEP_BYTES };
        if self.input.is_empty() && self.input.capacity() > kept {
            self.input = BytesMut::new();
        }
        self.recount();
    }

    /// What the request that is carried out alone takes.
    fn alone_bytes(&self) -> usize {
        asked_for(if self.alone { self.waiting_bytes } else { 0 })
    }

    /// Holds memory for what there is.
    fn recount(&mut self) {
        self.memory.set(asked_for(self.input.capacity()) + self.alone_bytes());
    }

    /// Sees to memory that is held for nothing, and to a peer that lets others wait for it.
    fn look(&mut self, taken: &Taken) -> Result<(), ServeError> {
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.recount();
        }
        let is_sending = matches!(taken, Taken::AllBut { .. }) && !self.starved;
        let by_request = is_sending && self.waiting.is_empty() && self.memory.keeps_others_out();
        let by_answer = self.outbound.claim().is_some_and(Claim::keeps_others_out);
        let moved_bytes = std::mem::take(&mut self.moved_bytes);
        if (by_request || by_answer) && moved_bytes < MOVED_BYTES_MIN {
            return Err(ServeError::Stalled);
        }
        Ok(())
    }

    /// Takes the reply of the first request that waits.
    fn settle(&mut self, reply: Reply) -> Result<(), ServeError> {
        if let Some((bytes, _)) = self.waiting.pop_front() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        }
        if self.waiting.is_empty() && std::mem::take(&mut self.alone) {
            self.recount();
        }
        match reply {
            Reply::Answer(frame) => self.outbound.push(frame, None),
            Reply::Large(frame, claim) => self.outbound.push(frame, Some(claim)),
            Reply::Silent => {}
            Reply::Malformed(error) => return Err(error.into()),
            Reply::InDoubt => return Err(ServeError::InDoubt),
            Reply::Refused(error) => return Err(ServeError::Refused(error)),
        }
        Ok(())
    }

    /// Answers what was submitted, takes nothing more. A fetch that waits is dropped.
    async fn finish(mut self) -> Result<(), ServeError> {
        if self.alone {
            self.waiting.pop_back();
        }
        while !self.waiting.is_empty() {
            let reply = front(&mut self.waiting).await;
            self.settle(reply)?;
        }
        while !self.outbound.is_idle() {
            self.outbound.send(&mut self.writer).await?;
        }
        Ok(self.writer.shutdown().await?)
    }
}

/// What a buffer or a request of `bytes` has to ask for.
fn asked_for(bytes: usize) -> usize {
    if bytes > READ_AHEAD_BYTES { bytes } else { 0 }
}

/// Completes when the time is up; never, without a time.
async fn elapsed(sleep: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

/// Begins a request; says how many bytes it took and whether it must be carried out alone.
fn start<B: LogBroker>(
    context: &Arc<Context<B>>,
    request: &Request<'_>,
) -> Result<(usize, bool, Pending), DecodeError> {
    let to = Return::of(request.range, &request.header);
    if request.range.api == Api::Produce {
        let pending = produce::submit(context, to, request.body.clone())?;
        return Ok((request.consumed, false, pending));
    }
    let pending = handlers::begin(context, to, request.header.client_id, &request.body);
    Ok((request.consumed, true, pending))
}

/// Reads at most `bytes_max` into the room that `input` has.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    input: &mut BytesMut,
    bytes_max: usize,
) -> io::Result<usize> {
    reader.read_buf(&mut input.limit(bytes_max)).await
}

/// Completes with the reply of the first request that waits; never, if none does. Drop-safe.
async fn front(waiting: &mut VecDeque<(usize, Pending)>) -> Reply {
    match waiting.front_mut() {
        Some((_, pending)) => poll_fn(|task| pending.as_mut().poll(task)).await,
        None => std::future::pending().await,
    }
}
