//! What of a group outlasts a restart, as bytes. Part of `broker::groups::group`.
//!
//! | field | |
//! |---|---|
//! | version | `u8`, 1 |
//! | generation | `i32` |
//! | protocol type, protocol, leader | each an optional string |
//! | members | a count, then each: |
//! | … id, instance id (optional), client id, address | strings |
//! | … session timeout, rebalance timeout | `u32`, ms |
//! | … protocols | a count, then name and metadata |
//! | … assignment | bytes |
//!
//! Strings, counts and numbers as in [`crate::store::codec`]. A group with members is stable in it, one without is
//! empty: no other state is journaled.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::broker::groups::group::Group;
use crate::broker::groups::group::member::{Member, Profile};
use crate::broker::groups::verbs::GroupState;
use crate::store::codec::{CodecError, Reader, Writer};

/// The version that is written.
const VERSION: u8 = 1;

impl Group {
    /// The group as it is, with `assignments` by member id in place of those it has.
    pub fn snapshot(&self, assignments: Option<&BTreeMap<String, Bytes>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut w = Writer(&mut bytes);
        w.u8(VERSION);
        w.i32(self.generation);
        for value in [&self.protocol_type, &self.protocol, &self.leader] {
            w.option(value.as_deref(), |w, value| w.str(value));
        }
        w.count(self.roster.len());
        for member in self.roster.iter() {
            let assignment = assignments.and_then(|it| it.get(&member.profile.id));
            write_profile(&mut w, &member.profile);
            w.bytes(assignment.unwrap_or(&member.assignment));
        }
        bytes
    }

    /// The group that `snapshot` was taken of. Its members are in, and their sessions begin at `now_ms`: they go on
    /// where they were.
    ///
    /// # Errors
    /// The bytes are not a snapshot.
    pub fn restore(name: &str, snapshot: &[u8], now_ms: u64) -> Result<Self, CodecError> {
        let mut group = Self::read(name, snapshot)?;
        for member in group.roster.iter_mut() {
            member.touch(now_ms);
        }
        Ok(group)
    }

    /// The group that `snapshot` was taken of, without its members: what a group that begins anew goes on from.
    ///
    /// # Errors
    /// The bytes are not a snapshot.
    pub fn restore_empty(name: &str, snapshot: &[u8]) -> Result<Self, CodecError> {
        let read = Self::read(name, snapshot)?;
        Ok(Self {
            generation: read.generation,
            protocol_type: read.protocol_type,
            ..Self::new(name)
        })
    }

    fn read(name: &str, snapshot: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(snapshot);
        r.version(VERSION)?;
        let mut group = Self::new(name);
        group.generation = r.i32()?;
        group.protocol_type = r.option(|r| r.str().map(str::to_owned))?;
        group.protocol = r.option(|r| r.str().map(str::to_owned))?;
        group.leader = r.option(|r| r.str().map(str::to_owned))?;
        for _ in 0..r.count(13)? {
            let mut member = Member::new(read_profile(&mut r)?);
            member.assignment = Bytes::copy_from_slice(r.bytes()?);
            group.roster.add(member);
        }
        r.finish()?;
        if !group.roster.is_empty() {
            group.state = GroupState::Stable;
        }
        Ok(group)
    }
}

fn write_profile(w: &mut Writer<'_>, profile: &Profile) {
    w.str(&profile.id);
    w.option(profile.instance_id.as_deref(), |w, value| w.str(value));
    w.str(&profile.client_id);
    w.str(&profile.client_host);
    w.u32(profile.session_timeout_ms);
    w.u32(profile.rebalance_timeout_ms);
    w.count(profile.protocols.len());
    for (name, metadata) in &profile.protocols {
        w.str(name);
        w.bytes(metadata);
    }
}

fn read_profile(r: &mut Reader<'_>) -> Result<Profile, CodecError> {
    let id = r.str()?.to_owned();
    let instance_id = r.option(|r| r.str().map(str::to_owned))?;
    let client_id = r.str()?.to_owned();
    let client_host = r.str()?.to_owned();
    let session_timeout_ms = r.u32()?;
    let rebalance_timeout_ms = r.u32()?;
    let protocols = (0..r.count(2)?)
        .map(|_| Ok((r.str()?.to_owned(), Bytes::copy_from_slice(r.bytes()?))))
        .collect::<Result<_, CodecError>>()?;
    Ok(Profile {
        id,
        instance_id,
        client_id,
        client_host,
        session_timeout_ms,
        rebalance_timeout_ms,
        protocols,
    })
}
