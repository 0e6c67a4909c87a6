//! Records that change logs which are there. Part of `broker::record`.

use crate::model::ids::LogId;
use crate::store::codec::{CodecError, Reader, Writer};

/// A durable change of a log, or of what all logs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChange<'a> {
    /// The log is gone, with its batches and every group's offsets in it.
    Delete {
        /// The log.
        id: LogId,
    },
    /// It has more partitions.
    Grow {
        /// The log.
        id: LogId,
        /// How many from now on.
        partitions: u32,
    },
    /// Its settings are these from now on.
    Configure {
        /// The log.
        id: LogId,
        /// All that is set on it.
        config: Vec<(&'a str, &'a str)>,
    },
    /// Batches before these offsets are given up: by retention, or because somebody asked.
    AdvanceStart {
        /// The log.
        id: LogId,
        /// Partition and its new first offset.
        starts: Vec<(u32, i64)>,
    },
    /// Producer ids below this one may have been given out (KIP-98).
    Producers {
        /// The first that was not.
        next: i64,
    },
}

const DELETE: u8 = 1;
const GROW: u8 = 2;
const CONFIGURE: u8 = 3;
const ADVANCE_START: u8 = 4;
const PRODUCERS: u8 = 5;

impl<'a> LogChange<'a> {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Delete { id } => {
                w.u8(DELETE);
                w.u32(id.0);
            }
            Self::Grow { id, partitions } => {
                w.u8(GROW);
                w.u32(id.0);
                w.u32(*partitions);
            }
            Self::Configure { id, config } => {
                w.u8(CONFIGURE);
                w.u32(id.0);
                w.count(config.len());
                for (key, value) in config {
                    w.str(key);
                    w.str(value);
                }
            }
            Self::AdvanceStart { id, starts } => {
                w.u8(ADVANCE_START);
                w.u32(id.0);
                w.count(starts.len());
                for (partition, offset) in starts {
                    w.u32(*partition);
                    w.i64(*offset);
                }
            }
            Self::Producers { next } => {
                w.u8(PRODUCERS);
                w.i64(*next);
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, CodecError> {
        let at = r.position();
        Ok(match r.u8()? {
            DELETE => Self::Delete { id: LogId(r.u32()?) },
            GROW => Self::Grow { id: LogId(r.u32()?), partitions: r.u32()? },
            CONFIGURE => Self::Configure {
                id: LogId(r.u32()?),
                config: super::decode::many(r, 2, |r| Ok((r.str()?, r.str()?)))?,
            },
            ADVANCE_START => Self::AdvanceStart {
                id: LogId(r.u32()?),
                starts: super::decode::many(r, 12, |r| Ok((r.u32()?, r.i64()?)))?,
            },
            PRODUCERS => Self::Producers { next: r.i64()? },
            found => {
                let found = u64::from(found);
                return Err(CodecError::Value { what: "kind of a log's change", found, at });
            }
        })
    }
}
