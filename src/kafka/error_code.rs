//! Kafka's error codes, and what the broker's errors become. Part of `kafka`.

use crate::broker::groups::verbs::GroupError;
use crate::broker::logs::batch::check::BatchFault;
use crate::broker::logs::batch::walk::RecordFlaw;
use crate::broker::logs::partition::FetchError;
use crate::broker::logs::producers::SequenceFault;
use crate::broker::logs::verbs::LogError;

/// The codes that this broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
#[expect(missing_docs, reason = "the names are Kafka's and say what they mean")]
pub enum ErrorCode {
    None = 0,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    LeaderNotAvailable = 5,
    RequestTimedOut = 7,
    MessageTooLarge = 10,
    OffsetMetadataTooLarge = 12,
    CoordinatorLoadInProgress = 14,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    InvalidTopic = 17,
    NotEnoughReplicas = 19,
    InvalidRequiredAcks = 21,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    InvalidCommitOffsetSize = 28,
    TopicAuthorizationFailed = 29,
    GroupAuthorizationFailed = 30,
    ClusterAuthorizationFailed = 31,
    InvalidTimestamp = 32,
    UnsupportedVersion = 35,
    TopicAlreadyExists = 36,
    InvalidPartitions = 37,
    InvalidReplicationFactor = 38,
    InvalidReplicaAssignment = 39,
    InvalidConfig = 40,
    NotController = 41,
    InvalidRequest = 42,
    UnsupportedForMessageFormat = 43,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    DuplicateSequenceNumber = 46,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    InvalidTransactionTimeout = 50,
    ConcurrentTransactions = 51,
    TransactionalIdAuthorizationFailed = 53,
    KafkaStorageError = 56,
    UnknownProducerId = 59,
    ReassignmentInProgress = 60,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    FetchSessionIdNotFound = 70,
    TopicDeletionDisabled = 73,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    MemberIdRequired = 79,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    GroupSubscribedToTopic = 86,
    InvalidRecord = 87,
    UnstableOffsetCommit = 88,
    ProducerFenced = 90,
    ResourceNotFound = 91,
    UnknownTopicId = 100,
    StaleMemberEpoch = 113,
    MismatchedEndpointType = 114,
    UnsupportedEndpointType = 115,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }
}

impl From<&LogError> for ErrorCode {
    fn from(error: &LogError) -> Self {
        match error {
            LogError::NotAuthorized => Self::TopicAuthorizationFailed,
            LogError::UnknownLog | LogError::UnknownPartition => Self::UnknownTopicOrPartition,
            LogError::InvalidName => Self::InvalidTopic,
            LogError::Exists => Self::TopicAlreadyExists,
            LogError::InvalidPartitions => Self::InvalidPartitions,
            LogError::InvalidSetting(_) => Self::InvalidConfig,
            LogError::OffsetOutOfRange => Self::OffsetOutOfRange,
            LogError::TooMany => Self::PolicyViolation,
            LogError::Batch(fault) => Self::from(*fault),
            LogError::Sequence(SequenceFault::OutOfOrder) => Self::OutOfOrderSequenceNumber,
            LogError::Sequence(SequenceFault::Fenced) => Self::InvalidProducerEpoch,
            LogError::Storage(_) => Self::KafkaStorageError,
            // Clients take it for passing and try again. An answer in doubt is never sent.
            LogError::Unavailable(_) | LogError::InDoubt => Self::NotEnoughReplicas,
        }
    }
}

impl From<&GroupError> for ErrorCode {
    fn from(error: &GroupError) -> Self {
        match error {
            GroupError::NotAuthorized => Self::GroupAuthorizationFailed,
            GroupError::InvalidGroup => Self::InvalidGroupId,
            GroupError::UnknownGroup => Self::GroupIdNotFound,
            GroupError::UnknownMember => Self::UnknownMemberId,
            GroupError::MemberIdRequired(_) => Self::MemberIdRequired,
            GroupError::Fenced => Self::FencedInstanceId,
            GroupError::IllegalGeneration => Self::IllegalGeneration,
            GroupError::RebalanceInProgress => Self::RebalanceInProgress,
            GroupError::InconsistentProtocol => Self::InconsistentGroupProtocol,
            GroupError::InvalidSessionTimeout => Self::InvalidSessionTimeout,
            GroupError::Full => Self::GroupMaxSizeReached,
            GroupError::NotEmpty => Self::NonEmptyGroup,
            GroupError::Subscribed => Self::GroupSubscribedToTopic,
            GroupError::TooLarge => Self::InvalidRequest,
            GroupError::MetadataTooLong => Self::OffsetMetadataTooLarge,
            GroupError::Log(error) => Self::from(error),
            // Clients look for the coordinator again, and try again. An answer in doubt is never sent.
            GroupError::Unavailable(_) | GroupError::InDoubt => Self::CoordinatorNotAvailable,
        }
    }
}

impl From<BatchFault> for ErrorCode {
    fn from(fault: BatchFault) -> Self {
        match fault {
            BatchFault::Corrupt => Self::CorruptMessage,
            BatchFault::OldFormat => Self::UnsupportedForMessageFormat,
            BatchFault::Invalid | BatchFault::NotOne => Self::InvalidRecord,
            BatchFault::UnknownCodec => Self::UnsupportedCompressionType,
            BatchFault::Transactional => Self::InvalidTxnState,
            BatchFault::Record { flaw: RecordFlaw::Timestamp, .. } => Self::InvalidTimestamp,
            BatchFault::Record { .. } => Self::InvalidRecord,
            // The Java client splits such a batch and sends its halves.
            BatchFault::TooLarge | BatchFault::Inflated => Self::MessageTooLarge,
        }
    }
}

impl From<&FetchError> for ErrorCode {
    fn from(error: &FetchError) -> Self {
        match error {
            FetchError::OutOfRange { .. } => Self::OffsetOutOfRange,
            FetchError::Gone => Self::UnknownTopicOrPartition,
            FetchError::Storage(_) => Self::KafkaStorageError,
        }
    }
}
