//! OffsetFetch (9), versions 1–10: how far groups have read. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | group `s` | 1–7 |
//! | topics `[` name `s`, partitions `[i32]`, tags `]`, `?` from 2: null for all | 1–7 |
//! | groups `[` group `s`, member id `?s` (9–), member epoch `i32` (9–), group's topics, tags `]` | 8– |
//! | group's topics: `?[` name `s` (8–9) or topic id `uuid` (10–), partitions `[i32]`, tags `]` | 8– |
//! | require stable `bool` (KIP-447) | 7– |
//! | tags | 6– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 3– |
//! | topics `[` name `s`, `[` partition, tags `]`, tags `]` | 1–7 |
//! | error `i16` | 2–7 |
//! | groups `[` group `s`, `[` name `s` (8–9) or topic id `uuid` (10–), `[` partition, tags `]`, tags `]`, error `i16`, tags `]` | 8– |
//! | partition: index `i32`, offset `i64`, leader epoch `i32` (5–), metadata `?s`, error `i16` | 1– |
//! | tags | 6– |

use std::collections::HashSet;

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Whose offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest<'a> {
    /// One below version 8. No offset is asked for twice.
    pub groups: Vec<GroupQuery<'a>>,
    /// Whether offsets that an open transaction may still change are to be withheld.
    pub require_stable: bool,
}

/// Which offsets of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupQuery<'a> {
    /// The group.
    pub group: &'a str,
    /// With the consumer protocol of KIP-848, who asks.
    pub member_id: Option<&'a str>,
    /// With the consumer protocol of KIP-848; else −1.
    pub member_epoch: i32,
    /// `None` for all logs that the group has offsets in.
    pub topics: Option<Vec<TopicQuery<'a>>>,
}

/// Which offsets of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicQuery<'a> {
    /// Empty from version 10.
    pub name: &'a str,
    /// All zero below version 10.
    pub id: [u8; 16],
    /// The partitions.
    pub partitions: Vec<i32>,
}

impl<'a> OffsetFetchRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let groups = if version <= 7 {
            let group = reader.string()?;
            let topics = topics(&mut reader, version)?;
            if topics.is_none() && version < 2 {
                return Err(DecodeError::Null);
            }
            vec![GroupQuery { group, member_id: None, member_epoch: -1, topics }]
        } else {
            reader.array(|reader| {
                let group = reader.string()?;
                let (member_id, member_epoch) = if version >= 9 {
                    (reader.nullable_string()?, reader.i32()?)
                } else {
                    (None, -1)
                };
                let topics = topics(reader, version)?;
                reader.end()?;
                Ok(GroupQuery { group, member_id, member_epoch, topics })
            })?
        };
        let groups = asked_once(groups);
        let require_stable = if version >= 7 { reader.bool()? } else { false };
        reader.end()?;
        Ok(Self { groups, require_stable })
    }
}

fn topics<'a>(
    reader: &mut Reader<'a>,
    version: i16,
) -> Result<Option<Vec<TopicQuery<'a>>>, DecodeError> {
    reader.nullable_array(|reader| {
        let (name, id) =
            if version <= 9 { (reader.string()?, [0; 16]) } else { ("", reader.uuid()?) };
        let partitions = reader.array(Reader::i32)?;
        reader.end()?;
        Ok(TopicQuery { name, id, partitions })
    })
}

/// Leaves out what is asked for again: all offsets of a group, or that of one partition. A log may be named several
/// times, with other partitions each time.
fn asked_once(mut groups: Vec<GroupQuery<'_>>) -> Vec<GroupQuery<'_>> {
    let mut whole = HashSet::new();
    let mut places = HashSet::new();
    groups.retain_mut(|query| {
        let Some(topics) = &mut query.topics else { return whole.insert(query.group) };
        for topic in topics {
            let (name, id) = (topic.name, topic.id);
            topic.partitions.retain(|index| places.insert((query.group, name, id, *index)));
        }
        true
    });
    groups
}

/// The offsets of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffsets {
    /// The group.
    pub group: String,
    /// 0, or why the group's offsets are not told. Version 1 has no place for it: every partition listed gets it.
    pub error_code: i16,
    /// By log.
    pub topics: Vec<TopicOffsets>,
}

/// The offsets of a group in one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOffsets {
    /// Sent below version 10.
    pub name: String,
    /// Sent from version 10.
    pub id: [u8; 16],
    /// By partition.
    pub partitions: Vec<PartitionOffset>,
}

/// The offset of a group in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition.
    pub index: i32,
    /// The next one to read; −1 if none was ever kept, which is no error.
    pub offset: i64,
    /// As committed, −1 if unknown.
    pub leader_epoch: i32,
    /// As committed; empty if there is none.
    pub metadata: String,
    /// 0, or why the offset is not told.
    pub error_code: i16,
}

impl PartitionOffset {
    /// Nothing was ever kept, or with an `error_code`, nothing is told.
    #[must_use]
    pub fn none(index: i32, error_code: i16) -> Self {
        Self { index, offset: -1, leader_epoch: -1, metadata: String::new(), error_code }
    }
}

/// Writes the body at `version`. Below version 8 it has room for one group only, the first.
pub fn encode_response(writer: &mut Writer, version: i16, groups: &[GroupOffsets]) {
    if version >= 3 {
        writer.i32(0);
    }
    if version >= 8 {
        writer.array(groups, |writer, group| {
            writer.string(&group.group);
            encode_topics(writer, version, group);
            writer.i16(group.error_code);
            writer.end();
        });
    } else if let Some(group) = groups.first() {
        encode_topics(writer, version, group);
        if version >= 2 {
            writer.i16(group.error_code);
        }
    }
    writer.end();
}

fn encode_topics(writer: &mut Writer, version: i16, group: &GroupOffsets) {
    let of_all = if version == 1 { group.error_code } else { 0 };
    writer.array(&group.topics, |writer, topic| {
        if version <= 9 {
            writer.string(&topic.name);
        } else {
            writer.uuid(&topic.id);
        }
        writer.array(&topic.partitions, |writer, partition| {
            writer.i32(partition.index);
            writer.i64(partition.offset);
            if version >= 5 {
                writer.i32(partition.leader_epoch);
            }
            writer.string(&partition.metadata);
            writer.i16(if of_all == 0 { partition.error_code } else { of_all });
            writer.end();
        });
        writer.end();
    });
}
