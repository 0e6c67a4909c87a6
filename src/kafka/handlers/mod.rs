//! What each request does. Part of `kafka`; one file per API.
//!
//! Produce is submitted while the read buffer is parsed, so that its order is the connection's, and answered
//! later. Everything else is carried out when all before it on its connection is answered, and the next
//! request waits for it, as in Kafka: so what a connection creates is there for what it sends next.

pub(super) mod api_versions;
pub(super) mod create_topics;
pub(super) mod fetch;
pub(super) mod list_offsets;
pub(super) mod metadata;
pub(super) mod produce;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::auth::Principal;
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::codec::api::{Api, ApiRange};
use crate::kafka::codec::header::{self, RequestHeader};
use crate::kafka::codec::primitives::{DecodeError, Frame, Reader, Writer};
use crate::kafka::service::Shared;

/// What one connection's requests are carried out with.
pub(super) struct Context<B> {
    /// What all connections share.
    pub(super) shared: Arc<Shared<B>>,
    /// Whoever asks.
    pub(super) principal: Principal,
    /// The address that the client reached.
    pub(super) local: SocketAddr,
}

/// What is due when a request is done.
#[derive(Debug)]
pub(super) enum Reply {
    /// Send this.
    Answer(Frame),
    /// Nothing: Produce with acks 0.
    Silent,
    /// The request's body cannot be read.
    Malformed(DecodeError),
    /// It may or may not be durable: close, say nothing.
    InDoubt,
    /// Produce with acks 0 failed: closing is the only sign that there is.
    Refused(LogError),
}

/// A request under way.
pub(super) type Pending = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Return {
    pub(super) range: &'static ApiRange,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
}

impl Return {
    pub(super) fn of(range: &'static ApiRange, header: &RequestHeader<'_>) -> Self {
        Self { range, version: header.api_version, correlation_id: header.correlation_id }
    }

    /// The answer whose body `encode` writes.
    pub(super) fn answer(self, encode: impl FnOnce(&mut Writer, i16)) -> Reply {
        let mut writer = header::respond(self.range, self.version, self.correlation_id);
        encode(&mut writer, self.version);
        Reply::Answer(writer.finish())
    }
}

/// Begins a request other than Produce, whose body is `body`.
pub(super) fn begin<B: LogBroker>(
    context: &Arc<Context<B>>,
    to: Return,
    body: &Reader<'_>,
) -> Pending {
    let context = Arc::clone(context);
    let body = Bytes::copy_from_slice(body.rest());
    Box::pin(async move {
        let reader = Reader::new(&body, to.range.is_flexible(to.version));
        let done = match to.range.api {
            Api::ApiVersions => api_versions::answer(to, reader),
            Api::Metadata => metadata::answer(&context, to, reader).await,
            Api::Fetch => fetch::answer(&context, to, reader).await,
            Api::ListOffsets => list_offsets::answer(&context, to, reader),
            Api::CreateTopics => create_topics::answer(&context, to, reader).await,
            Api::Produce => match produce::submit(&context, to, reader) {
                Ok(pending) => Ok(pending.await),
                Err(error) => Err(error),
            },
            // What `SERVED` does not name is not decoded, so none of these arrives.
            // Groups.
            Api::OffsetCommit
            | Api::OffsetFetch
            | Api::FindCoordinator
            | Api::JoinGroup
            | Api::Heartbeat
            | Api::LeaveGroup
            | Api::SyncGroup
            | Api::DescribeGroups
            | Api::ListGroups
            | Api::DeleteGroups
            | Api::OffsetDelete => Err(DecodeError::OutOfRange),
            // Producers and leader epochs.
            Api::InitProducerId | Api::OffsetForLeaderEpoch => Err(DecodeError::OutOfRange),
            // Administration.
            Api::DeleteTopics
            | Api::DeleteRecords
            | Api::DescribeConfigs
            | Api::AlterConfigs
            | Api::CreatePartitions
            | Api::IncrementalAlterConfigs
            | Api::DescribeCluster => Err(DecodeError::OutOfRange),
        };
        done.unwrap_or_else(Reply::Malformed)
    })
}
