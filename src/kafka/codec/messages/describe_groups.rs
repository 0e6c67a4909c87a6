//! DescribeGroups (15), versions 0–6: all about some groups. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | groups `[s]` | 0– |
//! | include operations `bool` | 3– |
//! | tags | 5– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | `[` error `i16`, error message `?s` (6–), group `s`, state `s`, protocol type `s`, protocol `s`, members, operations `i32` (3–), tags `]` | 0– |
//! | members `[` member id `s`, instance id `?s` (4–), client id `s`, client host `s`, metadata `bytes`, assignment `bytes`, tags `]` | 0– |
//! | tags | 5– |

use bytes::Bytes;

use crate::kafka::codec::messages::keep_once;
use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsRequest<'a> {
    /// Their names, each once.
    pub groups: Vec<&'a str>,
    /// Whether to say what the client may do with them.
    pub include_operations: bool,
}

impl<'a> DescribeGroupsRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let mut groups = reader.array(Reader::string)?;
        keep_once(&mut groups);
        let include_operations = if version >= 3 { reader.bool()? } else { false };
        reader.end()?;
        Ok(Self { groups, include_operations })
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// 0, or why it is not described. Below version 6 an unknown group is `Dead`, without an error.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
    /// Its name.
    pub group: String,
    /// `PreparingRebalance`, `CompletingRebalance`, `Stable`, `Empty` or `Dead`; empty with an error.
    pub state: String,
    /// Such as `consumer`; empty if nobody ever joined.
    pub protocol_type: String,
    /// The protocol in force, of a stable group; else empty.
    pub protocol: String,
    /// The members.
    pub members: Vec<DescribedMember>,
    /// Bits of what the client may do; `i32::MIN` if it did not ask.
    pub operations: i32,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// What it said in the protocol in force, opaque.
    pub metadata: Bytes,
    /// What it is assigned, opaque.
    pub assignment: Bytes,
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, groups: &[DescribedGroup]) {
    if version >= 1 {
        writer.i32(0);
    }
    writer.array(groups, |writer, group| {
        writer.i16(group.error_code);
        if version >= 6 {
            writer.nullable_string(group.error_message.as_deref());
        }
        writer.string(&group.group);
        writer.string(&group.state);
        writer.string(&group.protocol_type);
        writer.string(&group.protocol);
        writer.array(&group.members, |writer, member| {
            writer.string(&member.member_id);
            if version >= 4 {
                writer.nullable_string(member.instance_id.as_deref());
            }
            writer.string(&member.client_id);
            writer.string(&member.client_host);
            writer.bytes(&member.metadata);
            writer.bytes(&member.assignment);
            writer.end();
        });
        if version >= 3 {
            writer.i32(group.operations);
        }
        writer.end();
    });
    writer.end();
}
