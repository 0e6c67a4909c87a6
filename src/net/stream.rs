//! Plain TCP and TLS as one stream that a connection's task polls. Part of `net`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// An accepted connection, past its TLS handshake if it has one.
pub enum Stream {
    /// Plain TCP; the writing half is shared so that others may flush into it.
    Tcp(OwnedReadHalf, Arc<OwnedWriteHalf>),
    /// TLS: only the owner's task touches it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// A plain connection.
    #[must_use]
    pub fn tcp(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self::Tcp(read, Arc::new(write))
    }

    /// The socket that others may write to without waiting; none under TLS.
    #[must_use]
    pub fn inline(&self) -> Option<Arc<OwnedWriteHalf>> {
        match self {
            Self::Tcp(_, socket) => Some(Arc::clone(socket)),
            Self::Tls(_) => None,
        }
    }

    /// Whether a refused write leaves the task's waker nowhere: [`Self::poll_writable`] must.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Tcp(..))
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut target = ReadBuf::new(buffer);
        // The halves' own read knows that a short one emptied the socket: no second call to learn it.
        match self {
            Self::Tcp(socket, _) => ready!(Pin::new(socket).poll_read(cx, &mut target))?,
            Self::Tls(stream) => ready!(Pin::new(stream).poll_read(cx, &mut target))?,
        }
        Poll::Ready(Ok(target.filled().len()))
    }

    /// Whether the transport takes bytes again; under TLS always, as its own writes wait.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_, socket) => socket.as_ref().as_ref().poll_write_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Writes what is taken now; `WouldBlock` registers the task's waker.
    ///
    /// # Errors
    /// The transport's own, and `WouldBlock`.
    pub fn write_now(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(_, socket) => socket.try_write(bytes),
            Self::Tls(stream) => {
                let mut written = 0;
                while written < bytes.len() {
                    let rest = bytes.get(written..).unwrap_or_default();
                    match Pin::new(&mut *stream).poll_write(cx, rest) {
                        Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                        Poll::Ready(Ok(count)) => written += count,
                        Poll::Ready(Err(error)) => return Err(error),
                        Poll::Pending if written == 0 => {
                            return Err(io::ErrorKind::WouldBlock.into());
                        }
                        Poll::Pending => return Ok(written),
                    }
                }
                Ok(written)
            }
        }
    }

    /// Pushes buffered TLS records to the socket; plain TCP has none.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(..) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says goodbye on the transport (TLS close_notify, TCP FIN).
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_, socket) => {
                // Reading stays open so that a peer's late bytes do not turn the goodbye into a reset.
                let socket: &TcpStream = socket.as_ref().as_ref();
                let outcome = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
                Poll::Ready(outcome)
            }
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
