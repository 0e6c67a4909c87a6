//! What each request does. Part of `kafka`; one file per API.
//!
//! Produce is submitted while the read buffer is parsed, so that its order is the connection's, and answered
//! later. Everything else is carried out when all before it on its connection is answered, and the next
//! request waits for it, as in Kafka: so what a connection creates is there for what it sends next.

pub(super) mod alter_configs;
pub(super) mod api_versions;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_groups;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_groups;
pub(super) mod fetch;
pub(super) mod find_coordinator;
pub(super) mod heartbeat;
pub(super) mod incremental_alter_configs;
pub(super) mod init_producer_id;
pub(super) mod join_group;
pub(super) mod leave_group;
pub(super) mod list_groups;
pub(super) mod list_offsets;
pub(super) mod metadata;
pub(super) mod offset_commit;
pub(super) mod offset_delete;
pub(super) mod offset_fetch;
pub(super) mod offset_for_leader_epoch;
pub(super) mod produce;
pub(super) mod sync_group;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::auth::Principal;
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::budget::Claim;
use crate::kafka::codec::api::{Api, ApiRange};
use crate::kafka::codec::header::{self, RequestHeader};
use crate::kafka::codec::primitives::{DecodeError, Frame, Reader, Writer};
use crate::kafka::shared::Shared;

/// What one connection's requests are carried out with.
pub(super) struct Context<B> {
    /// What all connections share.
    pub(super) shared: Arc<Shared<B>>,
    /// Whoever asks.
    pub(super) principal: Principal,
    /// The address that the client reached.
    pub(super) local: SocketAddr,
    /// The address that it came from.
    pub(super) peer: SocketAddr,
}

impl<B> Context<B> {
    /// Where the client is told to go: the configured address, or the one that it used.
    fn advertised(&self) -> (String, u16) {
        match &self.shared.config.advertised {
            Some((host, port)) => (host.clone(), *port),
            None => (self.local.ip().to_canonical().to_string(), self.local.port()),
        }
    }
}

/// What is due when a request is done.
#[derive(Debug)]
pub(super) enum Reply {
    /// Send this.
    Answer(Frame),
    /// Send this, and hold the memory until it is sent.
    Large(Frame, Claim),
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

/// Begins a request other than Produce, whose body is `body`. `client_id` is what the client calls itself.
pub(super) fn begin<B: LogBroker>(
    context: &Arc<Context<B>>,
    to: Return,
    client_id: Option<&str>,
    body: &Reader<'_>,
) -> Pending {
    let context = Arc::clone(context);
    // Members are known by it; nobody else asks.
    let client_id = client_id.filter(|_| to.range.api == Api::JoinGroup);
    let client_id = client_id.unwrap_or_default().to_owned();
    let body = Bytes::copy_from_slice(body.rest());
    Box::pin(async move {
        let reader = Reader::new(&body, to.range.is_flexible(to.version));
        let done = match to.range.api {
            Api::ApiVersions => api_versions::answer(to, reader),
            Api::Metadata => metadata::answer(&context, to, reader).await,
            Api::Fetch => fetch::answer(&context, to, reader).await,
            Api::ListOffsets => list_offsets::answer(&context, to, reader).await,
            Api::CreateTopics => create_topics::answer(&context, to, reader).await,
            Api::Produce => match produce::submit(&context, to, reader) {
                Ok(pending) => Ok(pending.await),
                Err(error) => Err(error),
            },
            Api::OffsetCommit => offset_commit::answer(&context, to, reader).await,
            Api::OffsetFetch => offset_fetch::answer(&context, to, reader),
            Api::FindCoordinator => find_coordinator::answer(&context, to, reader),
            Api::JoinGroup => join_group::answer(&context, to, client_id, reader).await,
            Api::Heartbeat => heartbeat::answer(&context, to, reader),
            Api::LeaveGroup => leave_group::answer(&context, to, reader),
            Api::SyncGroup => sync_group::answer(&context, to, reader).await,
            Api::DescribeGroups => describe_groups::answer(&context, to, reader),
            Api::ListGroups => list_groups::answer(&context, to, reader),
            Api::DeleteGroups => delete_groups::answer(&context, to, reader).await,
            Api::OffsetDelete => offset_delete::answer(&context, to, reader).await,
            // Producers and leader epochs.
            Api::InitProducerId => init_producer_id::answer(&context, to, reader).await,
            Api::OffsetForLeaderEpoch => offset_for_leader_epoch::answer(&context, to, reader),
            // Administration.
            Api::DeleteTopics => delete_topics::answer(&context, to, reader).await,
            Api::DeleteRecords => delete_records::answer(&context, to, reader).await,
            Api::DescribeConfigs => describe_configs::answer(&context, to, reader),
            Api::AlterConfigs => alter_configs::answer(&context, to, reader).await,
            Api::CreatePartitions => create_partitions::answer(&context, to, reader).await,
            Api::IncrementalAlterConfigs => {
                incremental_alter_configs::answer(&context, to, reader).await
            }
            Api::DescribeCluster => describe_cluster::answer(&context, to, reader),
        };
        done.unwrap_or_else(Reply::Malformed)
    })
}
