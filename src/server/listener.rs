//! Binding and accepting: counts, limits, back-off. Part of `server`; what a connection speaks is a closure.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 4096;
/// Silence after which the system asks whether the peer's machine is still there: protocols without a keep alive
/// of their own, or clients that want none, would never learn that it is not.
const PROBE_AFTER: Duration = Duration::from_secs(120);
/// Between two such questions.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Questions without an answer before the connection is given up.
const PROBES_MAX: u32 = 4;
/// Pause after accept failed (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds `address` for listening, so that a port in use is known before anything is announced.
///
/// # Errors
/// The system's own, the address in use above all.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections open now, bounded.
pub struct Gate {
    open: AtomicUsize,
    max: usize,
}

/// One open connection's place; given back on drop.
pub struct Place(Arc<Gate>);

impl Gate {
    /// A gate that lets `max` connections through at a time.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), max })
    }

    /// Places taken.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// A place, unless all are taken.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let entered = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < self.max).then_some(open + 1)
        });
        entered.ok().map(|_| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts until dropped, handing each connection to `serve`.
///
/// # Errors
/// When the listener cannot be registered with this runtime.
pub async fn accept(
    listener: StdListener,
    serve: impl Fn(StdStream, SocketAddr) + Send,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small packets must not wait for an earlier one's acknowledgement (Nagle).
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
                }
                let probes = TcpKeepalive::new()
                    .with_time(PROBE_AFTER)
                    .with_interval(PROBE_INTERVAL)
                    .with_retries(PROBES_MAX);
                if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&probes) {
                    tracing::debug!(%peer, %error, "cannot set TCP keep alive");
                }
                match stream.into_std() {
                    Ok(stream) => serve(stream, peer),
                    Err(error) => tracing::warn!(%peer, %error, "cannot hand over a connection"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
