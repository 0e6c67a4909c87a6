//! Answers OffsetDelete, when the offsets are durably forgotten. Part of `kafka/handlers`.

use crate::broker::groups::verbs::GroupError;
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::offset_delete::{
    OffsetDeleteRequest, TopicDeleted, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = OffsetDeleteRequest::decode(reader)?;
    let places = request.topics.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().filter_map(|index| u32::try_from(*index).ok());
        ((*name).to_owned(), partitions.collect())
    });
    let places = places.collect();
    let broker = &context.shared.broker;
    let outcome = broker.forget_offsets(&context.principal, request.group, places).await;
    let (code, topics) = match outcome {
        Err(GroupError::InDoubt) => return Ok(Reply::InDoubt),
        Err(error) => (ErrorCode::from(&error), Vec::new()),
        Ok(verdicts) => {
            let topics = request.topics.iter().zip(verdicts);
            let topics = topics.map(|((name, partitions), verdicts)| TopicDeleted {
                name: (*name).to_owned(),
                partitions: deleted(partitions, &verdicts),
            });
            (ErrorCode::None, topics.collect())
        }
    };
    Ok(to.answer(|writer, _| encode_response(writer, code.code(), &topics)))
}

fn deleted(partitions: &[i32], verdicts: &[Result<(), GroupError>]) -> Vec<(i32, i16)> {
    let mut verdicts = verdicts.iter();
    let deleted = partitions.iter().map(|index| {
        // A negative partition was not asked about.
        let verdict = if *index < 0 { None } else { verdicts.next() };
        let code = match verdict {
            Some(Ok(())) => ErrorCode::None,
            Some(Err(error)) => ErrorCode::from(error),
            None => ErrorCode::UnknownTopicOrPartition,
        };
        (*index, code.code())
    });
    deleted.collect()
}
