//! `control.sock` in the data directory: where tools of the same host talk to the running broker. Part of `app`.
//!
//! Who may open the socket may use it: it is its owner's alone, as the files beside it should be. Today it serves
//! backups; [`wire`] says what is said. Threads of its own, a few, so that nothing here delays a connection.

pub mod wire;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::broker::Broker;
use crate::broker::checkpoint::pins::Pins;
use crate::broker::engine::Engine;
use crate::store::error::StoreError;
use crate::store::tables::db::Db;

use self::wire::{Answer, BACKUP, END, ENDED, SOCKET, read_line, write_end, write_row};
use super::storage::Storage;

/// Longest path of a socket, the system's limit less its closing zero.
pub const PATH_BYTES_MAX: usize = 107;
/// Connections at a time.
const CLIENTS_MAX: usize = 4;
/// How long a client may take to say or to take something.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a checkpoint; a backup is as good without, only its journal is longer.
const CHECKPOINT_STEPS: u32 = 300;
const CHECKPOINT_STEP: Duration = Duration::from_millis(100);

/// The socket being served.
pub(super) struct Control {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    broker: Arc<Broker>,
    engine: Arc<Engine>,
    db: Arc<Db>,
    pins: Arc<Pins>,
    stopping: AtomicBool,
    clients: Mutex<Vec<(UnixStream, JoinHandle<()>)>>,
}

impl Control {
    /// Opens the socket. The broker serves without it too: then `None`, and a warning.
    pub(super) fn open(data_dir: &Path, storage: &Storage) -> Option<Self> {
        let path = data_dir.join(SOCKET);
        let shared = Arc::new(Shared {
            broker: Arc::clone(&storage.broker),
            engine: Arc::clone(&storage.engine),
            db: Arc::clone(&storage.db),
            pins: Arc::clone(&storage.pins),
            stopping: AtomicBool::new(false),
            clients: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let opened = listen(&path).and_then(|listener| {
            let run = move || serving.accept(&listener);
            std::thread::Builder::new().name("control".into()).spawn(run)
        });
        match opened {
            Ok(thread) => Some(Self { path, shared, thread }),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "no control socket: backups need a stopped broker");
                None
            }
        }
    }

    /// Ends every connection and removes the socket.
    pub(super) fn close(self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the accepting thread.
        drop(UnixStream::connect(&self.path));
        if self.thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
        for (stream, thread) in self.shared.clients.lock().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
            thread.join().ok();
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket not removed");
        }
    }
}

/// A socket that only its owner may connect to: its mode is set before it listens.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES_MAX {
        let text = format!("its path has {length} bytes, a socket's has {PATH_BYTES_MAX} at most");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // The lock is held: one that is there belongs to a process that is gone.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(CLIENTS_MAX as i32)?;
    Ok(socket.into())
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            let began = stream.and_then(|stream| self.begin(stream));
            if let Err(error) = began {
                tracing::warn!(%error, "a connection to the control socket failed");
            }
        }
    }

    fn begin(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let mut clients = self.clients.lock();
        clients.retain(|(_, thread)| !thread.is_finished());
        if clients.len() >= CLIENTS_MAX {
            return answer(&stream, &Answer::Refused("too many connections".to_owned()));
        }
        let (shared, known) = (Arc::clone(self), stream.try_clone()?);
        let run = move || {
            if let Err(error) = shared.serve(&stream) {
                tracing::warn!(%error, "a backup was not seen to its end");
            }
            stream.shutdown(Shutdown::Both).ok();
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(run)?;
        clients.push((known, thread));
        Ok(())
    }

    fn serve(&self, mut stream: &UnixStream) -> Result<(), Failure> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if read_line(&mut stream)? != BACKUP {
            let text = format!("not understood; this broker knows `{BACKUP}`");
            return Ok(answer(stream, &Answer::Refused(text))?);
        }
        let _pin = self.pins.set();
        self.checkpoint();
        let snapshot = self.db.snapshot()?;
        // Taken after the snapshot: whatever was acknowledged before the request is up to here.
        let last = self.broker.journal.durable_lsn();
        tracing::info!(lsn = last.0, "a backup begins");
        answer(stream, &Answer::Begun { last_lsn: last.0 })?;
        let mut out = BufWriter::with_capacity(256 << 10, stream);
        let mut rows = 0;
        snapshot.for_each::<Failure>(|table, key, row| {
            rows += 1;
            Ok(write_row(&mut out, table, key, row)?)
        })?;
        drop(snapshot);
        write_end(&mut out, rows)?;
        out.flush()?;
        drop(out);
        // Copying takes as long as it takes.
        stream.set_read_timeout(None)?;
        let said = read_line(&mut stream)?;
        if said == END {
            stream.write_all(format!("{ENDED}\n").as_bytes())?;
            tracing::info!(lsn = last.0, "a backup was copied");
        }
        Ok(())
    }

    /// Has a checkpoint taken, if one can be had soon: it makes the journal short.
    fn checkpoint(&self) {
        let done = self.engine.checkpoint();
        for _ in 0..CHECKPOINT_STEPS {
            let waited = done.recv_timeout(CHECKPOINT_STEP);
            let is_over = !matches!(waited, Err(RecvTimeoutError::Timeout));
            if is_over || self.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }
}

fn answer(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let line = serde_json::to_string(answer).map_err(io::Error::other)?;
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Why a client was not served to the end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}
