//! Records about groups: what they read up to, who is in them. Part of `broker::record`.

use crate::model::ids::LogId;
use crate::store::codec::{CodecError, Reader, Writer};

/// How far a group has read one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<'a> {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
    /// The offset that it reads next.
    pub offset: i64,
    /// Leader epoch of the record before it, −1 if the client said none.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: &'a str,
}

/// A durable change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord<'a> {
    /// Offsets were committed.
    Commit {
        /// vhost.
        vhost: &'a str,
        /// The group.
        group: &'a str,
        /// When.
        time_ms: u64,
        /// By partition.
        offsets: Vec<Committed<'a>>,
    },
    /// The group's membership, as [`crate::broker::groups`] writes it, whenever it has become stable or empty.
    Put {
        /// vhost.
        vhost: &'a str,
        /// The group.
        group: &'a str,
        /// When.
        time_ms: u64,
        /// The membership's bytes.
        snapshot: &'a [u8],
    },
    /// Offsets are given up: on request, or because they expired.
    Forget {
        /// vhost.
        vhost: &'a str,
        /// The group.
        group: &'a str,
        /// Only what was committed at this time or earlier.
        until_ms: u64,
        /// Of which partitions.
        places: Vec<(LogId, u32)>,
    },
    /// What is too old is given up, and the group if nothing is left; nothing if its membership is newer.
    Expire {
        /// vhost.
        vhost: &'a str,
        /// The group.
        group: &'a str,
        /// What was committed and put at this time or earlier is too old.
        until_ms: u64,
    },
    /// The group is gone, with its offsets.
    Delete {
        /// vhost.
        vhost: &'a str,
        /// The group.
        group: &'a str,
    },
}

const COMMIT: u8 = 1;
const PUT: u8 = 2;
const FORGET: u8 = 3;
const DELETE: u8 = 4;
const EXPIRE: u8 = 5;

impl<'a> GroupRecord<'a> {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Commit { vhost, group, time_ms, offsets } => {
                w.u8(COMMIT);
                w.str(vhost);
                w.str(group);
                w.u64(*time_ms);
                w.count(offsets.len());
                for committed in offsets {
                    w.u32(committed.log.0);
                    w.u32(committed.partition);
                    w.i64(committed.offset);
                    w.i32(committed.leader_epoch);
                    w.str(committed.metadata);
                }
            }
            Self::Put { vhost, group, time_ms, snapshot } => {
                w.u8(PUT);
                w.str(vhost);
                w.str(group);
                w.u64(*time_ms);
                w.bytes(snapshot);
            }
            Self::Forget { vhost, group, until_ms, places } => {
                w.u8(FORGET);
                w.str(vhost);
                w.str(group);
                w.u64(*until_ms);
                w.count(places.len());
                for (log, partition) in places {
                    w.u32(log.0);
                    w.u32(*partition);
                }
            }
            Self::Expire { vhost, group, until_ms } => {
                w.u8(EXPIRE);
                w.str(vhost);
                w.str(group);
                w.u64(*until_ms);
            }
            Self::Delete { vhost, group } => {
                w.u8(DELETE);
                w.str(vhost);
                w.str(group);
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, CodecError> {
        let at = r.position();
        let kind = r.u8()?;
        let (vhost, group) = (r.str()?, r.str()?);
        Ok(match kind {
            COMMIT => Self::Commit {
                vhost,
                group,
                time_ms: r.u64()?,
                offsets: super::decode::many(r, 21, |r| {
                    Ok(Committed {
                        log: LogId(r.u32()?),
                        partition: r.u32()?,
                        offset: r.i64()?,
                        leader_epoch: r.i32()?,
                        metadata: r.str()?,
                    })
                })?,
            },
            PUT => Self::Put { vhost, group, time_ms: r.u64()?, snapshot: r.bytes()? },
            FORGET => Self::Forget {
                vhost,
                group,
                until_ms: r.u64()?,
                places: super::decode::many(r, 8, |r| Ok((LogId(r.u32()?), r.u32()?)))?,
            },
            DELETE => Self::Delete { vhost, group },
            EXPIRE => Self::Expire { vhost, group, until_ms: r.u64()? },
            found => {
                let found = u64::from(found);
                return Err(CodecError::Value { what: "kind of a group's record", found, at });
            }
        })
    }
}
