//! How much a client may send and have under way. Part of `mqtt`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a connection may ask of us. The same values belong into CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest packet in bytes, fixed header included.
    pub packet_bytes_max: usize,
    /// Longest CONNECT in bytes: it comes before anybody is authenticated.
    pub connect_bytes_max: usize,
    /// Highest topic alias a client may use; 0 means none. MQTT 5 only.
    pub topic_alias_max: u16,
    /// How many PUBLISH above QoS 0 a client may leave unacknowledged. MQTT 5 only.
    pub receive_max: u16,
    /// Most filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 1 << 20,
            connect_bytes_max: 256 << 10,
            topic_alias_max: 32,
            receive_max: 1024,
            filters_max: 4096,
        }
    }
}

/// How many PUBLISH above QoS 0 the client has under way. The engine counts up; whoever writes the PUBACK,
/// the PUBCOMP or a failing PUBREC counts down, from any thread, before the bytes leave.
#[derive(Clone, Debug, Default)]
pub struct InboundWindow(Arc<AtomicU32>);

impl InboundWindow {
    /// One exchange has ended. Ends of exchanges from an earlier connection change nothing at 0.
    pub fn done(&self) {
        // `Err` means 0 before and after.
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1))
            .unwrap_or_default();
    }

    /// How many are under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
