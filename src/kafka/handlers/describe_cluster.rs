//! Answers DescribeCluster (KIP-700): one broker, which is the controller too. Part of `kafka/handlers`.

use crate::kafka::codec::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse, ENDPOINT_BROKER,
};
use crate::kafka::codec::messages::metadata::OPERATIONS_UNKNOWN;
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};
use crate::kafka::service::NODE_ID;

/// The endpoint type of controllers (KIP-919).
const ENDPOINT_CONTROLLER: i8 = 2;

pub(in crate::kafka) fn answer<B>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = DescribeClusterRequest::decode(reader, to.version)?;
    let (code, reason) = match request.endpoint_type {
        ENDPOINT_BROKER => (ErrorCode::None, None),
        ENDPOINT_CONTROLLER => {
            (ErrorCode::MismatchedEndpointType, Some("this is a broker, not a controller"))
        }
        _ => (ErrorCode::UnsupportedEndpointType, Some("no such type of endpoint")),
    };
    let (host, port) = context.advertised();
    let response = DescribeClusterResponse {
        error_code: code.code(),
        error_message: reason,
        endpoint_type: request.endpoint_type,
        cluster_id: &context.shared.config.cluster_id,
        node_id: NODE_ID,
        address: (code == ErrorCode::None).then_some((&*host, port)),
        // Rights are asked for by name here; there is none on the cluster as such.
        operations: OPERATIONS_UNKNOWN,
    };
    Ok(to.answer(|writer, version| response.encode(writer, version)))
}
