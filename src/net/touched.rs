//! Which connections this thread has written to and not yet flushed. Part of `net`.
//!
//! A publisher remembers whom it touched; the worker flushes each once, after every connection that was
//! ready in the same turn of its event loop has been read. Threads without a worker's flusher call
//! [`flush`] themselves.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::outbound::{Outbound, Pushed};

/// Bytes encoded by a thread before it flushes in the middle of its turn.
const FLUSH_BYTES: usize = 256 * 1024;
/// Congested connections that one publisher waits for at a time. Many, because each that is left out costs it
/// another wait.
const CONGESTED_MAX: usize = 16 * 1024;
/// Newest entries among which a connection is looked for before it is noted again: a fan-out names each once.
const CONGESTED_LOOK_BACK: usize = 16;

thread_local! {
    static TOUCHED: RefCell<Vec<Arc<Outbound>>> = const { RefCell::new(Vec::new()) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static CONGESTED: RefCell<Vec<Arc<Outbound>>> = const { RefCell::new(Vec::new()) };
}

/// Puts `outbound` on this thread's lists as an append to it says.
pub fn note(outbound: &Arc<Outbound>, pushed: Pushed) {
    BYTES.set(BYTES.get() + pushed.bytes);
    if pushed.first {
        TOUCHED.with_borrow_mut(|list| list.push(Arc::clone(outbound)));
    }
    if pushed.congested {
        CONGESTED.with_borrow_mut(|list| {
            let mut newest = list.iter().rev().take(CONGESTED_LOOK_BACK);
            let known = newest.any(|known| Arc::ptr_eq(known, outbound));
            if !known && list.len() < CONGESTED_MAX {
                list.push(Arc::clone(outbound));
            }
        });
    }
}

/// Runs `work`, in which connections are written to by no publisher: nobody waits for those that it congests.
pub fn without_congestion<R>(work: impl FnOnce() -> R) -> R {
    let before = take_congested();
    let outcome = work();
    CONGESTED.set(before);
    outcome
}

/// Whether somebody that this thread wrote to since the last [`take_congested`] became congested.
#[must_use]
pub fn is_congested() -> bool {
    CONGESTED.with_borrow(|list| !list.is_empty())
}

/// Takes the connections that became congested since the last call: whoever wrote to them should wait.
#[must_use]
pub fn take_congested() -> Vec<Arc<Outbound>> {
    CONGESTED.with_borrow_mut(std::mem::take)
}

/// Forgets who became congested: what this thread did was no publisher's doing, so nobody waits, least of all
/// the connection that comes next.
pub fn forgive_congested() {
    CONGESTED.with_borrow_mut(Vec::clear);
}

/// Flushes when much waits: what was just encoded is still in the processor's cache. Called between messages,
/// with no lock held.
pub fn relieve() {
    if BYTES.get() >= FLUSH_BYTES {
        flush();
    }
}

/// How many connections wait for their flush.
#[must_use]
pub fn count() -> usize {
    TOUCHED.with_borrow(Vec::len)
}

/// Flushes every connection on this thread's list.
pub fn flush() {
    BYTES.set(0);
    let mut list = TOUCHED.take();
    for outbound in &list {
        outbound.flush();
    }
    list.clear();
    // The list's capacity is kept; a flush never adds to it.
    TOUCHED.with_borrow_mut(|current| {
        if current.is_empty() {
            *current = list;
        }
    });
}
