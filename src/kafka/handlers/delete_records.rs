//! Carries out DeleteRecords. Part of `kafka/handlers`. What was given up is gone after a crash too.

use crate::broker::logs::admin::END;
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::codec::messages::delete_records::{
    DeleteRecordsRequest, PartitionCut, TO_THE_END, TopicCut, TopicCuts, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = DeleteRecordsRequest::decode(reader)?;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        match cut(context, topic).await {
            Ok(partitions) => topics.push(TopicCut { name: topic.name.to_owned(), partitions }),
            Err(LogError::InDoubt) => return Ok(Reply::InDoubt),
            Err(error) => {
                let code = ErrorCode::from(&error);
                let partitions = topic.partitions.iter().map(|(index, _)| failed(*index, code));
                topics.push(TopicCut {
                    name: topic.name.to_owned(),
                    partitions: partitions.collect(),
                });
            }
        }
    }
    Ok(to.answer(|writer, _| encode_response(writer, &topics)))
}

async fn cut<B: LogBroker>(
    context: &Context<B>,
    topic: &TopicCuts<'_>,
) -> Result<Vec<PartitionCut>, LogError> {
    let before: Vec<(u32, i64)> = topic
        .partitions
        .iter()
        .map(|(index, offset)| {
            // No log has so many partitions: a negative number is an unknown one too.
            let index = u32::try_from(*index).unwrap_or(u32::MAX);
            (index, if *offset == TO_THE_END { END } else { *offset })
        })
        .collect();
    let (principal, broker) = (&context.principal, &context.shared.broker);
    let starts = broker.delete_records(principal, topic.name, &before).await?;
    let cuts = topic.partitions.iter().zip(starts).map(|((index, _), start)| match start {
        Ok(low_watermark) => {
            PartitionCut { index: *index, low_watermark, error_code: ErrorCode::None.code() }
        }
        Err(error) => failed(*index, ErrorCode::from(&error)),
    });
    Ok(cuts.collect())
}

fn failed(index: i32, code: ErrorCode) -> PartitionCut {
    PartitionCut { index, low_watermark: -1, error_code: code.code() }
}
