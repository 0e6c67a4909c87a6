//! The journal in this process, on the local disk. Part of `store::journal`.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::model::ids::Lsn;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::journal::batch::{HEADER, Image};
use crate::store::journal::queue::Shared;
use crate::store::journal::recovery::{Recovery, recover};
use crate::store::journal::replay::{Replay, Span, read_batch};
use crate::store::journal::segments::{Chain, Segments};
use crate::store::journal::spare::Spares;
use crate::store::journal::writer::{Unwritten, Writer};
use crate::store::journal::{
    Journal, JournalOptions, JournalState, OnRoom, Position, Sink, SubmitError,
};

/// A journal in a folder of segments. Opened, replayed, started, closed, in this order; dropped without
/// [`EmbeddedJournal::close`] it still writes what was submitted, but nobody waits for it.
pub struct EmbeddedJournal<W> {
    shared: Arc<Shared<W>>,
    disk: Arc<dyn Disk>,
    options: JournalOptions,
    chain: Arc<Chain>,
    spares: Arc<Spares>,
    pending: Mutex<Option<Pending>>,
    threads: Mutex<Threads>,
}

/// A journal whose past is known to be whole.
pub struct Opened<W> {
    /// To be started once the replay is applied. Takes submissions already.
    pub journal: Arc<EmbeddedJournal<W>>,
    /// Everything that the checkpoint does not cover.
    pub replay: Replay<W>,
    /// Where the next batch will be.
    pub next: Position,
}

/// What [`EmbeddedJournal::start`] needs of the recovery.
struct Pending {
    next: Position,
    next_generation: u64,
    last: Option<Span>,
    unsynced: Vec<String>,
    others: Vec<String>,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<Result<(), Unwritten>>>,
    spare: Option<JoinHandle<()>>,
}

impl<W: Send + 'static> EmbeddedJournal<W> {
    /// Reads and judges the folder; changes nothing in it.
    ///
    /// `from` is what the last checkpoint says, [`Position::START`] when there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for what no crash can have left, [`StoreError::Missing`] when the journal does
    /// not reach back or forward to `from`, [`StoreError::Version`], [`StoreError::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        options: JournalOptions,
        from: Position,
    ) -> Result<Opened<W>, StoreError> {
        let Recovery { spans, chain, others, next, next_generation, last, unsynced } =
            recover(disk.as_ref(), from)?;
        let spares = Spares::new(disk.clone(), &options);
        let shared = Shared::new(next.lsn, options.submit_bytes_max, options.batch_bytes_max);
        let journal = Arc::new(Self {
            shared: Arc::new(shared),
            disk: disk.clone(),
            options,
            chain: Arc::new(Chain::new(chain)),
            spares: Arc::new(spares),
            pending: Mutex::new(Some(Pending { next, next_generation, last, unsynced, others })),
            threads: Mutex::default(),
        });
        Ok(Opened { journal, replay: Replay::new(disk, spans), next })
    }

    /// Begins to write. First copies the last whole batch into a fresh segment and syncs it: what was read of
    /// it may have come from the page cache alone. So may all of what was left to the system, which is synced where it
    /// is. A second call does nothing.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn start(&self, sink: Sink<W>) -> Result<(), StoreError> {
        let Some(pending) = self.pending.lock().take() else { return Ok(()) };
        let folder = self.disk.path("");
        self.spares
            .adopt(&pending.others)
            .map_err(StoreError::io(&folder, "tidy the journal folder"))?;
        let mut segments = Segments {
            disk: self.disk.clone(),
            spares: self.spares.clone(),
            chain: self.chain.clone(),
            durability: self.options.durability,
            segment_bytes: self.options.segment_bytes,
            next_generation: pending.next_generation,
            active: None,
        };
        for name in &pending.unsynced {
            self.sync_segment(name)?;
        }
        if let Some(last) = &pending.last {
            self.copy_last(&mut segments, last)?;
        }
        let writer = Writer {
            shared: self.shared.clone(),
            segments,
            next_batch: pending.next.batch,
            retry: self.options.retry,
            sink,
        };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run())
            .map_err(StoreError::io(&folder, "start the journal's thread"))?;
        let mut threads = self.threads.lock();
        threads.writer = Some(thread);
        threads.spare =
            self.spares.start().map_err(StoreError::io(&folder, "start the spare thread"))?;
        Ok(())
    }

    /// Were a segment behind it on disk before all of this one, a power cut could leave a gap between them, which no
    /// journal has.
    fn sync_segment(&self, name: &str) -> Result<(), StoreError> {
        let path = self.disk.path(name);
        let file = self.disk.open(name).map_err(StoreError::io(&path, "open"))?;
        file.sync_data().map_err(StoreError::io(&path, "sync"))
    }

    fn copy_last(&self, segments: &mut Segments, last: &Span) -> Result<(), StoreError> {
        let path = self.disk.path(&last.name);
        let file = self.disk.open(&last.name).map_err(StoreError::io(&path, "open"))?;
        let (header, body) = read_batch(self.disk.as_ref(), file.as_ref(), last)?;
        let mut buffer = vec![0; HEADER];
        buffer.extend_from_slice(&body);
        let mut image = Image::new(buffer, header.number, header.first_lsn, header.count);
        segments
            .begin(&mut image)
            .map_err(StoreError::io(&self.disk.path(""), "begin a journal segment"))
    }

    /// [`Journal::submit_with`] without the indirection.
    ///
    /// # Errors
    /// See there.
    pub fn submit(
        &self,
        waiter: Option<W>,
        fill: impl FnOnce(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError> {
        self.shared.submit(waiter, fill)
    }

    /// Refuses further submissions, writes what waits, ends the threads. Not to be called from the sink.
    ///
    /// # Errors
    /// The journal could not write to the end; those records were never acknowledged.
    pub fn close(&self) -> Result<(), StoreError> {
        self.shared.end();
        self.spares.stop();
        let Threads { writer, spare } = std::mem::take(&mut *self.threads.lock());
        let failed = |reason: String| StoreError::Failed { file: self.disk.path(""), reason };
        if let Some(spare) = spare {
            spare.join().map_err(|_| failed("the spare thread panicked".into()))?;
        }
        match writer.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(Unwritten { records, reason }))) => {
                Err(failed(format!("{records} records were not written: {reason}")))
            }
            Some(Err(_)) => Err(failed("the journal's thread panicked".into())),
        }
    }

    /// Names of the segments, oldest first.
    #[cfg(test)]
    pub(super) fn segment_names(&self) -> Vec<String> {
        self.chain.names()
    }
}

impl<W: Send + 'static> Journal<W> for EmbeddedJournal<W> {
    fn submit_with(
        &self,
        waiter: Option<W>,
        fill: &mut dyn FnMut(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError> {
        self.shared.submit(waiter, fill)
    }

    fn submit_in_time(&self, fill: &mut dyn FnMut(Lsn, &mut Vec<u8>)) -> Result<Lsn, SubmitError> {
        self.shared.submit_in_time(fill)
    }

    fn last_lsn(&self) -> Lsn {
        self.shared.last_lsn()
    }

    fn at_last_lsn(&self, action: &mut dyn FnMut(Lsn)) {
        self.shared.at_last_lsn(action);
    }

    fn durable_lsn(&self) -> Lsn {
        self.shared.durable_lsn()
    }

    fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    fn on_room(&self, callback: OnRoom) {
        self.shared.on_room(callback);
    }

    fn applied(&self, bytes: usize) {
        self.shared.applied(bytes);
    }

    fn trim(&self, first_kept: u64) -> Result<(), StoreError> {
        self.chain.trim(self.disk.as_ref(), &self.spares, first_kept)
    }

    fn state(&self) -> JournalState {
        self.shared.state()
    }
}

impl<W> Drop for EmbeddedJournal<W> {
    fn drop(&mut self) {
        self.shared.end();
        self.spares.stop();
    }
}

impl<W> std::fmt::Debug for EmbeddedJournal<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedJournal").field("options", &self.options).finish_non_exhaustive()
    }
}
