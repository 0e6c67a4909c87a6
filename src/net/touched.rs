//! Which connections this thread has written to and not yet flushed. Part of `net`.
//!
//! A publisher remembers whom it touched; the worker flushes each once, after every connection that was
//! ready in the same turn of its event loop has been read. Threads without a worker's flusher call
//! [`flush`] themselves.

use std::cell::RefCell;
use std::sync::Arc;

use super::outbound::Outbound;

thread_local! {
    static TOUCHED: RefCell<Vec<Arc<Outbound>>> = const { RefCell::new(Vec::new()) };
}

/// Puts `outbound` on this thread's list. Call it when [`Outbound::push`] says that it was first.
pub fn add(outbound: &Arc<Outbound>) {
    TOUCHED.with_borrow_mut(|list| list.push(Arc::clone(outbound)));
}

/// How many connections wait for their flush.
#[must_use]
pub fn count() -> usize {
    TOUCHED.with_borrow(Vec::len)
}

/// Flushes every connection on this thread's list.
pub fn flush() {
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
