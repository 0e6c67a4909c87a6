//! Why the broker does or does not serve. Part of `admin`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// What can keep the broker from serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It has not finished starting.
    Start,
    /// The journal cannot be written.
    Journal,
    /// Checkpoints fail, so the journal grows.
    Checkpoint,
    /// The disk is nearly full.
    Room,
    /// It is stopping.
    Stop,
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Journal => "journal",
            Self::Checkpoint => "checkpoint",
            Self::Room => "room",
            Self::Stop => "stop",
        }
    }
}

/// What stands against serving right now; nothing means ready. Shared between those who know and the admin
/// listener; its lock is a leaf, held for no longer than a copy.
#[derive(Debug, Default)]
pub struct Readiness {
    against: Mutex<BTreeMap<Condition, String>>,
}

impl Readiness {
    /// Not ready: [`Condition::Start`] is set until somebody clears it.
    #[must_use]
    pub fn starting() -> Self {
        let readiness = Self::default();
        readiness.set(Condition::Start, "replaying the journal");
        readiness
    }

    /// Says that `condition` keeps the broker from serving, and why.
    pub fn set(&self, condition: Condition, why: impl Into<String>) {
        self.against.lock().insert(condition, why.into());
    }

    /// Says that `condition` is well again.
    pub fn clear(&self, condition: Condition) {
        self.against.lock().remove(&condition);
    }

    /// Whether nothing stands against serving.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.against.lock().is_empty()
    }

    /// What stands against serving, `condition: why` each.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let against = self.against.lock();
        against.iter().map(|(condition, why)| format!("{}: {why}", condition.name())).collect()
    }
}
