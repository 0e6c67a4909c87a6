//! Worker threads: one current-thread runtime a core, each with its flusher. Part of `server`.
//!
//! Chosen over one work-stealing runtime by measurement, see `docs/performance.md`: a connection never
//! migrates, so its read buffer, flush list and counters are the thread's own.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

use crate::net::touched;
use crate::server::rouser::Rouser;

/// Threads of a worker for what would hold it up: verifying passwords, each of which takes tens of megabytes and
/// a core's whole attention by intent. More wait their turn.
const BLOCKING_MAX: usize = 2;

thread_local! {
    static FLUSHER: RefCell<Option<Rc<Notify>>> = const { RefCell::new(None) };
}

/// Asks this thread's worker to flush what was touched once the connections that are ready now were read.
/// Flushes at once on a thread that is no worker.
pub fn flush_soon() {
    if touched::count() == 0 {
        return;
    }
    FLUSHER.with_borrow(|flusher| match flusher {
        Some(flusher) => flusher.notify_one(),
        None => touched::flush(),
    });
}

struct Worker {
    handle: Handle,
    rouser: Arc<Rouser>,
}

/// The worker threads.
pub struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
    stops: Mutex<Vec<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Workers {
    /// Starts `count` workers (at least one).
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut workers = Vec::new();
        let mut stops = Vec::new();
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread()
                .max_blocking_threads(BLOCKING_MAX)
                .enable_all()
                .build()?;
            let rouser = Rouser::new();
            let own = Arc::clone(&rouser);
            workers.push(Worker { handle: runtime.handle().clone(), rouser });
            let (stop, stopped) = oneshot::channel::<()>();
            let thread =
                std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                    own.settle();
                    drop(runtime.spawn(own.run()));
                    let local = tokio::task::LocalSet::new();
                    local.spawn_local(flush_turns());
                    local.block_on(&runtime, async {
                        // A dropped sender stops the worker as well.
                        let _dropped = stopped.await;
                    });
                })?;
            stops.push((stop, thread));
        }
        Ok(Self { workers, next: AtomicUsize::new(0), stops: Mutex::new(stops) })
    }

    /// The worker whose turn it is.
    fn pick(&self) -> &Worker {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.workers[turn % self.workers.len()]
    }

    /// The first worker: listeners and the timer live there.
    pub fn first(&self) -> &Handle {
        &self.workers[0].handle
    }

    /// Runs `future` on the worker whose turn it is.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let worker = self.pick();
        drop(worker.handle.spawn(Arc::clone(&worker.rouser).roused(future)));
    }

    /// Ends all workers; their tasks are dropped where they stand.
    pub fn stop(&self) {
        for (stop, thread) in self.stops.lock().drain(..) {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

async fn flush_turns() {
    let wanted = Rc::new(Notify::new());
    FLUSHER.with_borrow_mut(|flusher| *flusher = Some(Rc::clone(&wanted)));
    loop {
        wanted.notified().await;
        touched::flush();
    }
}
