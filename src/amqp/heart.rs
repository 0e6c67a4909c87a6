//! Whether the peer lives, and whether it is to be told that we do [AMQP 4.2.7]. Part of `amqp`; pure.

/// Heartbeats of one connection. A half interval is the unit: within one that saw nothing leave a heartbeat is
/// sent, and a peer that is silent for four of them is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heart {
    half_ms: u64,
    heard_ms: u64,
    next_ms: u64,
}

/// What a look at the clock came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Too early.
    Wait,
    /// Nothing left for half an interval: send a heartbeat.
    Send,
    /// Nothing to do until the next look.
    Rest,
    /// The peer is gone.
    Dead,
}

impl Heart {
    /// Begins with an interval of `interval_s` seconds; 0 is none.
    #[must_use]
    pub fn new(interval_s: u16, now_ms: u64) -> Self {
        let half_ms = u64::from(interval_s) * 500;
        Self { half_ms, heard_ms: now_ms, next_ms: now_ms + half_ms }
    }

    /// Something came.
    pub fn hear(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// When to look next; never without an interval.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        (self.half_ms > 0).then_some(self.next_ms)
    }

    /// Looks. `sent` says whether anything left since the last look, `unread` whether what the peer may have said
    /// is left in its socket.
    pub fn look(&mut self, now_ms: u64, sent: bool, unread: bool) -> Beat {
        if self.half_ms == 0 || now_ms < self.next_ms {
            return Beat::Wait;
        }
        self.next_ms = now_ms + self.half_ms;
        if unread {
            self.heard_ms = now_ms;
        }
        if now_ms.saturating_sub(self.heard_ms) >= 4 * self.half_ms {
            return Beat::Dead;
        }
        if sent { Beat::Rest } else { Beat::Send }
    }
}

#[cfg(test)]
mod tests {
    use super::{Beat, Heart};

    #[test]
    fn a_silent_peer_is_gone_after_two_intervals() {
        let mut heart = Heart::new(2, 0);
        assert_eq!(heart.look(500, false, false), Beat::Wait);
        assert_eq!(heart.look(1000, false, false), Beat::Send);
        assert_eq!(heart.look(2000, true, false), Beat::Rest);
        heart.hear(2500);
        assert_eq!(heart.look(4100, true, false), Beat::Rest);
        assert_eq!(heart.look(6400, true, false), Beat::Rest);
        assert_eq!(heart.look(7400, true, false), Beat::Dead);
    }

    #[test]
    fn who_is_not_read_is_not_silent() {
        let mut heart = Heart::new(1, 0);
        assert_eq!(heart.look(9000, false, true), Beat::Send);
        assert_eq!(heart.look(9500, false, false), Beat::Send);
        assert_eq!(Heart::new(0, 0).look(u64::MAX, false, false), Beat::Wait);
        assert_eq!(Heart::new(0, 0).next_ms(), None);
    }
}
