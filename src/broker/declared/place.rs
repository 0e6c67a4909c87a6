//! A message's place in a declared queue. Part of `broker::declared`.

/// Where a message stands: durable ones have a position of their own, transient ones of a durable queue stand in
/// front of the position that was next when they came. Places sort as messages are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Position in the queue's pages.
    pub position: u64,
    /// [`Place::ON`] for the message at the position itself; else its turn among those in front of it.
    pub turn: u64,
}

impl Place {
    /// The turn of the message at the position itself: after all that stand in front of it.
    pub const ON: u64 = u64::MAX;

    /// The place of the message at `position`.
    #[must_use]
    pub fn at(position: u64) -> Self {
        Self { position, turn: Self::ON }
    }

    /// The first place behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.turn.checked_add(1) {
            Some(turn) => Self { position: self.position, turn },
            None => Self { position: self.position.saturating_add(1), turn: 0 },
        }
    }
}
