//! Every setting of a log that has a name in Kafka 4: type, default, what is done with it. Part of
//! `broker/logs/settings`; pure.

use super::LogSettings;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A fraction.
    Double,
    /// Words with commas between them.
    List,
}

impl Kind {
    /// Checks that `value` is of this type.
    pub(super) fn check(self, value: &str) -> Result<(), &'static str> {
        let value = value.trim();
        let is_fine = match self {
            Self::Boolean => {
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            }
            Self::Int => value.parse::<i32>().is_ok_and(|number| number >= 0),
            Self::Long => value.parse::<i64>().is_ok_and(|number| number >= 0),
            Self::Double => value.parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number)),
            Self::Text | Self::List => true,
        };
        if is_fine { Ok(()) } else { Err("not a value of its type in range") }
    }

    /// Whether two texts say the same.
    pub(super) fn is_same(self, one: &str, other: &str) -> bool {
        let (one, other) = (one.trim(), other.trim());
        match self {
            Self::Boolean => one.eq_ignore_ascii_case(other),
            Self::Int | Self::Long => one.parse::<i64>().is_ok_and(|one| other.parse() == Ok(one)),
            Self::Double => one.parse::<f64>().is_ok_and(|one| other.parse() == Ok(one)),
            Self::Text | Self::List => one == other,
        }
    }
}

/// What is done with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is one of [`LogSettings`].
    Served,
    /// Any value of its type is kept: whatever it is, what it asks for holds.
    Holds {
        /// The value of a log that does not say.
        default: &'static str,
    },
    /// One value describes this broker, and no other is taken.
    Fixed {
        /// That value.
        only: &'static str,
        /// Why no other.
        otherwise: &'static str,
    },
}

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name on a log.
    pub name: &'static str,
    /// Its name on a broker, which says the default; empty if there is none.
    pub broker_name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// What is done with it.
    pub rule: Rule,
    /// What it means here.
    pub doc: &'static str,
}

impl Known {
    /// The setting called `name`.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        let at = KNOWN.binary_search_by(|known| known.name.cmp(name)).ok()?;
        KNOWN.get(at)
    }

    /// The value of a log that does not say, where the configuration says `defaults`.
    #[must_use]
    pub fn default_text(&self, defaults: &LogSettings) -> String {
        match self.rule {
            Rule::Served => defaults.text(self.name).unwrap_or_default(),
            Rule::Holds { default } => default.to_owned(),
            Rule::Fixed { only, .. } => only.to_owned(),
        }
    }
}

const NO_COMPACTION: &str = "there is no compaction: only its default is taken";
const NO_RECOMPRESSION: &str =
    "batches are kept as producers compress them: only its default is taken";
const NO_TIERS: &str = "there is no tiered storage: only its default is taken";
const ONE_REPLICA: &str = "there is one replica: only its default is taken";
const OWN_FILES: &str = "files are not laid out by it: only its default is taken";

const fn served(
    name: &'static str,
    broker_name: &'static str,
    kind: Kind,
    doc: &'static str,
) -> Known {
    Known { name, broker_name, kind, rule: Rule::Served, doc }
}

const fn holds(
    name: &'static str,
    broker_name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Known {
    Known { name, broker_name, kind: Kind::Long, rule: Rule::Holds { default }, doc }
}

const fn fixed(
    name: &'static str,
    broker_name: &'static str,
    kind: Kind,
    only: &'static str,
    otherwise: &'static str,
) -> Known {
    Known { name, broker_name, kind, rule: Rule::Fixed { only, otherwise }, doc: otherwise }
}

/// All of them, by name.
pub const KNOWN: [Known; 33] = [
    fixed(
        "cleanup.policy",
        "log.cleanup.policy",
        Kind::List,
        "delete",
        "only delete is supported: there is no compaction",
    ),
    fixed("compression.gzip.level", "compression.gzip.level", Kind::Int, "-1", NO_RECOMPRESSION),
    fixed("compression.lz4.level", "compression.lz4.level", Kind::Int, "9", NO_RECOMPRESSION),
    fixed(
        "compression.type",
        "compression.type",
        Kind::Text,
        "producer",
        "only producer is supported: batches are kept as producers compress them",
    ),
    fixed("compression.zstd.level", "compression.zstd.level", Kind::Int, "3", NO_RECOMPRESSION),
    fixed(
        "delete.retention.ms",
        "log.cleaner.delete.retention.ms",
        Kind::Long,
        "86400000",
        NO_COMPACTION,
    ),
    fixed(
        "file.delete.delay.ms",
        "log.segment.delete.delay.ms",
        Kind::Long,
        "60000",
        "files go with the checkpoint after: only its default is taken",
    ),
    holds(
        "flush.messages",
        "log.flush.interval.messages",
        "9223372036854775807",
        "Every record is synced before it is acknowledged, whatever this says.",
    ),
    holds(
        "flush.ms",
        "log.flush.interval.ms",
        "9223372036854775807",
        "Every record is synced before it is acknowledged, whatever this says.",
    ),
    fixed("follower.replication.throttled.replicas", "", Kind::List, "", ONE_REPLICA),
    fixed("index.interval.bytes", "log.index.interval.bytes", Kind::Int, "4096", OWN_FILES),
    fixed("leader.replication.throttled.replicas", "", Kind::List, "", ONE_REPLICA),
    fixed("local.retention.bytes", "log.local.retention.bytes", Kind::Long, "-2", NO_TIERS),
    fixed("local.retention.ms", "log.local.retention.ms", Kind::Long, "-2", NO_TIERS),
    fixed(
        "max.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        NO_COMPACTION,
    ),
    served(
        "max.message.bytes",
        "message.max.bytes",
        Kind::Int,
        "The largest record batch, as compressed, in bytes.",
    ),
    served(
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
        Kind::Long,
        "How far a record's timestamp may lie in the future, unless the log stamps records.",
    ),
    served(
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
        Kind::Long,
        "How far a record's timestamp may lie in the past, unless the log stamps records.",
    ),
    served(
        "message.timestamp.type",
        "log.message.timestamp.type",
        Kind::Text,
        "CreateTime: records have the producer's time; LogAppendTime: the log stamps them.",
    ),
    fixed(
        "min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio",
        Kind::Double,
        "0.5",
        NO_COMPACTION,
    ),
    fixed(
        "min.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        Kind::Long,
        "0",
        NO_COMPACTION,
    ),
    fixed("min.insync.replicas", "min.insync.replicas", Kind::Int, "1", ONE_REPLICA),
    fixed("preallocate", "log.preallocate", Kind::Boolean, "false", OWN_FILES),
    fixed("remote.log.copy.disable", "", Kind::Boolean, "false", NO_TIERS),
    fixed("remote.log.delete.on.disable", "", Kind::Boolean, "false", NO_TIERS),
    fixed("remote.storage.enable", "", Kind::Boolean, "false", NO_TIERS),
    served(
        "retention.bytes",
        "log.retention.bytes",
        Kind::Long,
        "How many bytes a partition keeps, in whole segments; -1 for all.",
    ),
    served(
        "retention.ms",
        "log.retention.ms",
        Kind::Long,
        "How long records are kept, in whole segments, by their timestamps; -1 for ever.",
    ),
    served(
        "segment.bytes",
        "log.segment.bytes",
        Kind::Int,
        "A partition's file is closed and the next begun at this size.",
    ),
    fixed("segment.index.bytes", "log.index.size.max.bytes", Kind::Int, "10485760", OWN_FILES),
    fixed("segment.jitter.ms", "log.roll.jitter.ms", Kind::Long, "0", OWN_FILES),
    served(
        "segment.ms",
        "log.roll.ms",
        Kind::Long,
        "A partition's file is closed when a batch is so much younger than its first one.",
    ),
    fixed(
        "unclean.leader.election.enable",
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        ONE_REPLICA,
    ),
];
