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
use crate::kafka::codec::api::Api;
use crate::kafka::codec::primitives::DecodeError;
use crate::kafka::connection::{Connection, ConnectionFault, Request, Step};
use crate::kafka::handlers::{self, Context, Pending, Reply, Return, api_versions, produce};
use crate::kafka::outbound::Outbound;
use crate::metrics::ErrorKind;

/// This broker's number.
pub const NODE_ID: i32 = 0;

/// The smallest room that a read is given.
const READ_BYTES: usize = 16 * 1024;
/// What is read while no request may be taken: enough to see the peer leave, and to go on at once.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// A read buffer grown beyond this by one large request is given back after it.
const KEEP_BYTES: usize = 1024 * 1024;
/// A request of which so much is missing is read alone.
const LARGE_BYTES: usize = 32 * 1024;
/// As long as this much waits to be sent, no further answer is made.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// What the configuration says of Kafka listeners.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Largest Produce request, in bytes. 100 MiB.
    pub request_bytes_max: usize,
    /// Where clients are told to go; by default the address that they used.
    pub advertised: Option<(String, u16)>,
    /// Names the cluster, across restarts.
    pub cluster_id: String,
    /// Whether Metadata may create logs.
    pub auto_create: bool,
    /// Whether a replication factor above 1 is accepted, though there is one copy.
    pub any_replication_factor: bool,
    /// Largest answer to a Fetch, in bytes, but for a single larger batch. 2 MiB.
    pub fetch_bytes_max: usize,
    /// Longest hold of a Fetch, in milliseconds. 30 s.
    pub fetch_wait_ms_max: u64,
    /// A connection on which nothing moved for so long is closed, as Kafka does; clients open another. 10 min.
    pub idle_ms_max: u64,
    /// Produce requests of one connection that wait for their acks, 64.
    pub produce_waiting_max: usize,
    /// Bytes of the same. One request may be larger when it is alone. 16 MiB.
    pub produce_waiting_bytes_max: usize,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: 100 * 1024 * 1024,
            advertised: None,
            cluster_id: "rialto".to_owned(),
            auto_create: true,
            any_replication_factor: false,
            fetch_bytes_max: 2 * 1024 * 1024,
            fetch_wait_ms_max: 30_000,
            idle_ms_max: 600_000,
            produce_waiting_max: 64,
            produce_waiting_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// Where time comes from: `server` has the only clock.
pub trait Timer: Send + Sync {
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// What all Kafka connections share.
pub struct Shared<B> {
    /// The verbs.
    pub broker: Arc<B>,
    /// The configuration.
    pub config: KafkaConfig,
    /// The clock.
    pub timer: Arc<dyn Timer>,
}

impl<B> std::fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

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
    /// The peer's batch, sent with acks 0.
    #[error("a request that asked for no answer was refused: {0}")]
    Refused(LogError),
}

impl ServeError {
    /// How the peer broke the protocol, if it was the peer.
    #[must_use]
    pub fn violation(&self) -> Option<ErrorKind> {
        match self {
            Self::Io(_) | Self::InDoubt | Self::Idle => None,
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
    let connection = Connection::new(shared.config.request_bytes_max);
    let mut session = Session {
        context: Arc::new(Context { shared, principal, local: ends.local, peer: ends.peer }),
        reader,
        writer,
        connection,
        input: BytesMut::new(),
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        alone: false,
        outbound: Outbound::default(),
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
    waiting: VecDeque<(usize, Pending)>,
    waiting_bytes: usize,
    /// Whether a request other than Produce is under way, the last in `waiting`.
    alone: bool,
    outbound: Outbound,
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
        loop {
            let taken = self.take_requests()?;
            let read_max = self.make_room(&taken);
            let is_full = matches!(taken, Taken::BrokerFull);
            let may_answer = self.outbound.len() < UNSENT_BYTES_MAX;
            tokio::select! {
                biased;
                reply = front(&mut self.waiting), if may_answer && !self.waiting.is_empty() => {
                    self.settle(reply)?;
                    moved = true;
                }
                sent = self.outbound.send(&mut self.writer), if !self.outbound.is_idle() => {
                    sent?;
                    moved = true;
                }
                read = read(&mut self.reader, &mut self.input, read_max), if read_max > 0 => {
                    if read? == 0 {
                        return Ok(());
                    }
                    moved = true;
                }
                () = self.context.shared.broker.room(), if is_full => {}
                () = &mut idle => {
                    // A request that waits for its record is ours to answer, however long it takes.
                    let is_ours = may_answer && !self.waiting.is_empty();
                    if !moved && !is_ours && !is_full {
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
        }
    }

    /// Makes room for the next read and says how much it may bring; 0 if enough is read ahead. The buffer doubles
    /// as bytes arrive, up to what the request under way announced. A large request is read to its end and no
    /// further: the next one then begins where this one did, and nothing is moved.
    fn make_room(&mut self, taken: &Taken) -> usize {
        let length = self.input.len();
        let bound = match taken {
            Taken::AllBut { total } => (*total).max(READ_BYTES),
            Taken::Busy | Taken::BrokerFull => READ_AHEAD_BYTES,
        };
        if length >= bound {
            return 0;
        }
        if self.input.capacity() - length < READ_BYTES / 2 {
            self.input.reserve((bound - length).min(length).max(READ_BYTES));
        }
        if bound - length >= LARGE_BYTES { bound - length } else { usize::MAX }
    }

    fn shrink(&mut self) {
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::new();
        }
    }

    /// Takes the reply of the first request that waits.
    fn settle(&mut self, reply: Reply) -> Result<(), ServeError> {
        if let Some((bytes, _)) = self.waiting.pop_front() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        }
        if self.waiting.is_empty() {
            self.alone = false;
        }
        match reply {
            Reply::Answer(frame) => self.outbound.push(frame),
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
