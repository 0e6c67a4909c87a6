//! Carries out InitProducerId: a number for a producer that is idempotent, not transactional. Part of
//! `kafka/handlers`.
//!
//! A producer that bumps its epoch after a fault (KIP-360) sends the number and epoch that it has; without a
//! transactional id it gets a new number and epoch 0, as in Kafka. Of number and epoch one alone is INVALID_REQUEST.
//!
//! Transactions are not served. Whoever names a transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED: the
//! one code that Java's clients and librdkafka alike take as final; others are tried again for minutes.

use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::codec::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// What a new number begins with.
const FIRST_EPOCH: i16 = 0;

pub(super) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = InitProducerIdRequest::decode(reader, to.version)?;
    let response = match refusal(&request) {
        Some(code) => InitProducerIdResponse::refusal(code.code()),
        None => match context.shared.broker.new_producer_id(&context.principal).await {
            Ok(producer_id) => {
                InitProducerIdResponse { error_code: 0, producer_id, producer_epoch: FIRST_EPOCH }
            }
            Err(LogError::InDoubt) => return Ok(Reply::InDoubt),
            Err(LogError::NotAuthorized) => {
                InitProducerIdResponse::refusal(ErrorCode::ClusterAuthorizationFailed.code())
            }
            // Nothing else can be wrong but for the journal; clients ask again after this one.
            Err(_) => InitProducerIdResponse::refusal(ErrorCode::CoordinatorLoadInProgress.code()),
        },
    };
    Ok(to.answer(|writer, _| response.encode(writer)))
}

fn refusal(request: &InitProducerIdRequest<'_>) -> Option<ErrorCode> {
    if request.transactional_id.is_some_and(str::is_empty) {
        return Some(ErrorCode::InvalidRequest);
    }
    if request.transactional_id.is_some() {
        return Some(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    ((request.producer_id == -1) != (request.producer_epoch == -1))
        .then_some(ErrorCode::InvalidRequest)
}
