//! What protocols ask of groups, and the errors they get. Part of `broker::groups`.
//!
//! Every verb takes the principal and asks the access rules; names live in the principal's vhost. The classic
//! group protocol of Kafka (KIP-62, KIP-345, KIP-394, KIP-429): what members say of themselves and what they are
//! assigned is opaque here.

use std::future::Future;

use bytes::Bytes;
use thiserror::Error;

use crate::auth::Principal;
use crate::broker::logs::verbs::LogError;

/// Why a verb on a group was not carried out. Nothing changed, but for [`GroupError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The access rules say no.
    #[error("not authorised")]
    NotAuthorized,
    /// The name is empty, or one of a route's.
    #[error("no group may be called so")]
    InvalidGroup,
    /// There is no such group.
    #[error("unknown group")]
    UnknownGroup,
    /// Nobody of that member id is in the group.
    #[error("unknown member")]
    UnknownMember,
    /// The member must join again with this id (KIP-394).
    #[error("join again with the member id given")]
    MemberIdRequired(String),
    /// Another member has taken over the instance id (KIP-345).
    #[error("another member has this instance id")]
    Fenced,
    /// The group has gone on to another generation.
    #[error("the generation is another")]
    IllegalGeneration,
    /// Members are joining again.
    #[error("a rebalance is under way")]
    RebalanceInProgress,
    /// The protocol type is another, or no protocol is known to all members.
    #[error("the group's protocols do not fit")]
    InconsistentProtocol,
    /// The session timeout is out of bounds.
    #[error("the session timeout is out of bounds")]
    InvalidSessionTimeout,
    /// The group has as many members as the configuration allows.
    #[error("the group is full")]
    Full,
    /// The group has members.
    #[error("the group is not empty")]
    NotEmpty,
    /// The group reads this log.
    #[error("the group is subscribed to the log")]
    Subscribed,
    /// What a member says of itself, or the leader assigns, is too much.
    #[error("too many bytes for a group")]
    TooLarge,
    /// The metadata of an offset is too long.
    #[error("the offset's metadata is too long")]
    MetadataTooLong,
    /// The log or partition of an offset.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The broker takes nothing now; clients try again.
    #[error("not available: {0}")]
    Unavailable(String),
    /// Journaled, not known to be synced: no answer, the connection is closed (design §2, rule 1).
    #[error("in doubt")]
    InDoubt,
}

/// A member's request to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: String,
    /// Empty for a new member.
    pub member_id: String,
    /// Set by static members.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Silence after which it is out.
    pub session_timeout_ms: u32,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: u32,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// Protocols that it speaks, the preferred first, with its metadata for each.
    pub protocols: Vec<(String, Bytes)>,
    /// A new dynamic member is first told its id (version 4 on).
    pub wants_member_id: bool,
    /// The client knows what to do when a static leader joins again without a rebalance (version 9 on).
    pub knows_skip_assignment: bool,
    /// Why it joins, for the log.
    pub reason: Option<String>,
}

/// A generation, to one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its number.
    pub generation: i32,
    /// What kind of group.
    pub protocol_type: String,
    /// The protocol agreed on.
    pub protocol: String,
    /// Who assigns.
    pub leader: String,
    /// Who this is.
    pub member_id: String,
    /// To the leader, all members; to others none.
    pub members: Vec<JoinedMember>,
    /// The leader must not assign anew: the assignments stand (KIP-814).
    pub skip_assignment: bool,
}

/// A member, to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// Its metadata for the protocol agreed on.
    pub metadata: Bytes,
}

/// Who speaks, to be checked against the generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// −1 of whoever is no member.
    pub generation: i32,
    /// Empty of whoever is no member.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
}

/// A member asks for its assignment; the leader brings everybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Who.
    pub who: Membership,
    /// As joined, from version 5 on.
    pub protocol_type: Option<String>,
    /// As joined, from version 5 on.
    pub protocol: Option<String>,
    /// The leader's: by member id.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What kind of group.
    pub protocol_type: String,
    /// The protocol agreed on.
    pub protocol: String,
    /// Opaque.
    pub assignment: Bytes,
}

/// A member that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its id; may be empty when the instance id is there.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// Why, for the log.
    pub reason: Option<String>,
}

/// How a log is named in an offset request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogName {
    /// By name.
    Name(String),
    /// By the id given at its creation.
    Uuid([u8; 16]),
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The partition.
    pub partition: u32,
    /// What is read next.
    pub offset: i64,
    /// Leader epoch of the record before it, or −1.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// Offsets to commit in one log; a negative partition index is the protocol's affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCommit {
    /// The log.
    pub log: LogName,
    /// By partition.
    pub offsets: Vec<OffsetToCommit>,
}

/// A committed offset, or −1 without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: u32,
    /// What is read next; −1 for nothing committed.
    pub offset: i64,
    /// See [`OffsetToCommit::leader_epoch`].
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// What is fetched of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uuid: [u8; 16],
    /// By partition, or why not.
    pub offsets: Result<Vec<FetchedOffset>, GroupError>,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// Nobody is in it.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// The leader assigns.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// Kafka's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// `consumer`, …; empty of a group that only commits.
    pub protocol_type: String,
    /// Where it stands.
    pub state: GroupState,
}

/// A group, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Name, kind and state.
    pub listing: GroupListing,
    /// The protocol agreed on, once stable.
    pub protocol: String,
    /// Who is in it.
    pub members: Vec<MemberDescription>,
    /// Whether whoever asked may delete it.
    pub may_delete: bool,
}

/// A member, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Its metadata for the protocol agreed on.
    pub metadata: Bytes,
    /// Opaque.
    pub assignment: Bytes,
}

/// The broker's verbs on groups.
pub trait GroupBroker: Send + std::marker::Sync + 'static {
    /// Joins; completes when the generation is formed.
    fn join(
        &self,
        principal: &Principal,
        join: Join,
    ) -> impl Future<Output = Result<Joined, GroupError>> + Send;

    /// Brings or asks for assignments; completes when the leader has brought them and they are durable.
    fn sync(
        &self,
        principal: &Principal,
        sync: Sync,
    ) -> impl Future<Output = Result<Synced, GroupError>> + Send;

    /// A member is there.
    ///
    /// # Errors
    /// See [`GroupError`].
    fn heartbeat(&self, principal: &Principal, who: &Membership) -> Result<(), GroupError>;

    /// Members go.
    ///
    /// # Errors
    /// About the group; about each member inside.
    fn leave(
        &self,
        principal: &Principal,
        group: &str,
        members: &[Leaving],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError>;

    /// Commits offsets; completes when they are durable. By log and partition, in the order asked for.
    fn commit(
        &self,
        principal: &Principal,
        who: &Membership,
        logs: Vec<LogCommit>,
    ) -> impl Future<Output = Result<Vec<Vec<Result<(), GroupError>>>, GroupError>> + Send;

    /// What a group has committed: for the partitions named, or for all.
    ///
    /// # Errors
    /// About the group.
    fn committed(
        &self,
        principal: &Principal,
        group: &str,
        wanted: Option<&[(LogName, Vec<u32>)]>,
    ) -> Result<Vec<LogOffsets>, GroupError>;

    /// Every group that the principal may see.
    fn list_groups(&self, principal: &Principal) -> Vec<GroupListing>;

    /// One group; an unknown one is described as dead.
    ///
    /// # Errors
    /// `NotAuthorized`, `InvalidGroup`.
    fn describe_group(
        &self,
        principal: &Principal,
        group: &str,
    ) -> Result<GroupDescription, GroupError>;

    /// Deletes a group without members, with its offsets; completes when that is durable.
    fn delete_group(
        &self,
        principal: &Principal,
        group: &str,
    ) -> impl Future<Output = Result<(), GroupError>> + Send;

    /// Forgets offsets of logs that no member reads; by log and partition, in the order asked for.
    fn forget_offsets(
        &self,
        principal: &Principal,
        group: &str,
        places: Vec<(String, Vec<u32>)>,
    ) -> impl Future<Output = Result<Vec<Vec<Result<(), GroupError>>>, GroupError>> + Send;

    /// Whether the principal may read through the group, for whoever only wants to find it.
    ///
    /// # Errors
    /// `NotAuthorized`.
    fn may_use(&self, principal: &Principal, group: &str) -> Result<(), GroupError>;
}
