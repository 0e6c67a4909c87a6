//! The one timer wheel: keep-alives, session expiry, will delays. Part of `server`.
//!
//! Deadlines fall into slots of [`SLOT_MS`]; one task sleeps until the next occupied slot. Nothing is
//! cancelled: what is woken looks whether its deadline still holds, and what is gone (`Weak`) costs a slot
//! entry until it would have fired.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::clock::Clock;

/// Granularity of deadlines in milliseconds.
pub const SLOT_MS: u64 = 64;

/// Something that waits for a point in time.
pub trait Timed: Send + Sync {
    /// Called on the timer's task once the deadline has passed; must not block.
    fn fire(&self, now_ms: u64);
}

/// What a slot holds.
enum Held {
    /// Gone when its owner is.
    Weak(Weak<dyn Timed>),
    /// Owned by the wheel.
    Strong(Arc<dyn Timed>),
}

/// Deadlines by slot.
#[derive(Default)]
pub struct Wheel {
    slots: Mutex<BTreeMap<u64, Vec<Held>>>,
    earlier: Notify,
}

impl Wheel {
    /// Has `timed` fired at the first slot boundary after `deadline_ms`, if it still exists then.
    pub fn schedule(&self, deadline_ms: u64, timed: Weak<dyn Timed>) {
        self.put(deadline_ms, Held::Weak(timed));
    }

    /// Has `timed` fired at the first slot boundary after `deadline_ms`.
    pub fn schedule_owned(&self, deadline_ms: u64, timed: Arc<dyn Timed>) {
        self.put(deadline_ms, Held::Strong(timed));
    }

    fn put(&self, deadline_ms: u64, timed: Held) {
        let slot = deadline_ms / SLOT_MS + 1;
        let mut slots = self.slots.lock();
        let is_first = slots.first_key_value().is_none_or(|(first, _)| slot < *first);
        slots.entry(slot).or_default().push(timed);
        drop(slots);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// What is due at `now_ms`.
    fn take_due(&self, now_ms: u64) -> Vec<Held> {
        let mut slots = self.slots.lock();
        let later = slots.split_off(&(now_ms / SLOT_MS + 1));
        let due = std::mem::replace(&mut *slots, later);
        due.into_values().flatten().collect()
    }

    fn next_ms(&self) -> Option<u64> {
        self.slots.lock().first_key_value().map(|(slot, _)| slot * SLOT_MS)
    }

    /// Fires deadlines until the task is dropped.
    pub async fn run(self: Arc<Self>, clock: Clock) {
        loop {
            for timed in self.take_due(clock.now_ms()) {
                let timed = match timed {
                    Held::Weak(timed) => timed.upgrade(),
                    Held::Strong(timed) => Some(timed),
                };
                if let Some(timed) = timed {
                    timed.fire(clock.now_ms());
                }
            }
            let now_ms = clock.now_ms();
            let wait_ms = self.next_ms().map(|next| next.saturating_sub(now_ms).max(1));
            let wait = Duration::from_millis(wait_ms.unwrap_or(3_600_000));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}
