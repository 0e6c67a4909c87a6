//! Answers Fetch, holding it back until there is enough to read. Part of `kafka/handlers`.
//!
//! There are no fetch sessions (KIP-227 leaves that to the broker): the session id is always 0, and a client
//! that believes in one is told to begin with a full fetch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::logs::batch::header::BatchHeader;
use crate::broker::logs::batch::records::batches;
use crate::broker::logs::partition::{FetchError, Partition};
use crate::broker::logs::verbs::{LogBroker, LogError, LogRef};
use crate::broker::logs::waiters::{Registrations, Waiter};
use crate::kafka::budget::Claim;
use crate::kafka::codec::messages::fetch::{
    FetchPartition, FetchRequest, FetchTopic, PartitionRecords, TopicRecords, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::list_offsets::check_epoch;
use crate::kafka::handlers::{Context, Reply, Return};

/// One topic of the request, its partitions found.
struct Target<'a> {
    topic: &'a FetchTopic<'a>,
    by_id: bool,
    partitions: Vec<(FetchPartition, Result<Arc<Partition>, ErrorCode>)>,
}

/// One reading of all partitions.
struct Reading {
    topics: Vec<TopicRecords>,
    bytes: usize,
    /// Whether waiting would bring nothing: a partition failed, or what it has does not fit.
    is_final: bool,
}

impl Reading {
    /// Whether of a partition that was read there is more: whole batches seldom fill the room to the last byte, and a
    /// reading ends with a file. So much is there already, however few bytes it is; waiting would bring nothing.
    fn leaves_some(&self) -> bool {
        let mut partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.any(|read| {
            let last = batches(&read.records).last().and_then(BatchHeader::read);
            last.is_some_and(|last| last.last_offset().saturating_add(1) < read.high_watermark)
        })
    }
}

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = FetchRequest::decode(reader, to.version)?;
    if request.session_epoch > 0 {
        let code = ErrorCode::FetchSessionIdNotFound.code();
        return Ok(to.answer(|writer, version| encode_response(writer, version, code, &[])));
    }
    let targets: Vec<Target<'_>> =
        request.topics.iter().map(|topic| find(context, topic, to.version)).collect();
    let mut memory = Claim::new(&context.shared.fetches);
    let reading = wait_and_read(context, &request, &targets, &mut memory).await;
    let code = ErrorCode::None.code();
    let reply =
        to.answer(|writer, version| encode_response(writer, version, code, &reading.topics));
    Ok(match reply {
        Reply::Answer(frame) if memory.held() > 0 => Reply::Large(frame, memory),
        other => other,
    })
}

fn find<'a, B: LogBroker>(
    context: &Context<B>,
    topic: &'a FetchTopic<'a>,
    version: i16,
) -> Target<'a> {
    let by_id = version >= 13;
    let log = if by_id { LogRef::Uuid(topic.id) } else { LogRef::Name(topic.name) };
    let one = |wanted: &FetchPartition| {
        let index = u32::try_from(wanted.index).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        let found = context.shared.broker.partition(&context.principal, log, index);
        let partition = found.map_err(|error| match error {
            LogError::UnknownLog if by_id => ErrorCode::UnknownTopicId,
            other => ErrorCode::from(&other),
        })?;
        check_epoch(&partition, wanted.leader_epoch)?;
        Ok(partition)
    };
    let partitions = topic.partitions.iter().map(|wanted| (*wanted, one(wanted))).collect();
    Target { topic, by_id, partitions }
}

/// Reads until there are `min_bytes`, something failed, or the time is up. Afterwards `memory` holds what was read.
async fn wait_and_read<B: LogBroker>(
    context: &Context<B>,
    request: &FetchRequest<'_>,
    targets: &[Target<'_>],
    memory: &mut Claim,
) -> Reading {
    let config = &context.shared.config;
    let asked = usize::try_from(request.max_bytes).unwrap_or(0);
    let bytes_max = asked.min(config.fetch_bytes_max);
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0).min(config.fetch_wait_ms_max);
    // More than may be sent can never come together.
    let wanted = usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max);
    let mut time_up = context.shared.timer.sleep(Duration::from_millis(wait_ms));
    let mut late = wait_ms == 0;
    loop {
        while !memory.raise(bytes_max) {
            memory.turn().await;
        }
        let reading = read(targets, bytes_max);
        memory.set(reading.bytes);
        if late || reading.is_final || reading.bytes >= wanted || reading.leaves_some() {
            return reading;
        }
        let waiter = Waiter::new(wanted - reading.bytes);
        let mut registrations = Registrations::new(Arc::clone(&waiter));
        if !register(&mut registrations, targets, &reading) {
            continue;
        }
        // It is read again: meanwhile others may have the memory.
        drop(reading);
        memory.set(0);
        tokio::select! {
            () = waiter.woken() => {}
            () = &mut time_up => late = true,
        }
    }
}

/// Registers for everything read; false if a partition has moved since.
fn register(registrations: &mut Registrations, targets: &[Target<'_>], reading: &Reading) -> bool {
    let read = reading.topics.iter().flat_map(|topic| &topic.partitions);
    let found = targets.iter().flat_map(|target| &target.partitions);
    found.zip(read).all(|((_, partition), read)| {
        partition.as_ref().map_or(true, |p| registrations.add(p, read.high_watermark))
    })
}

fn read(targets: &[Target<'_>], bytes_max: usize) -> Reading {
    let mut reading =
        Reading { topics: Vec::with_capacity(targets.len()), bytes: 0, is_final: false };
    for target in targets {
        let mut partitions = Vec::with_capacity(target.partitions.len());
        for (wanted, found) in &target.partitions {
            let left = bytes_max.saturating_sub(reading.bytes);
            let read = match found {
                Ok(partition) => read_one(wanted, partition, left, reading.bytes == 0)
                    .map_err(|code| code_of_gone(code, target.by_id)),
                Err(code) => Err(*code),
            };
            let (read, is_cut) = read.unwrap_or_else(|code| (failed(wanted.index, code), true));
            reading.is_final |= is_cut;
            reading.bytes += read.records.len();
            partitions.push(read);
        }
        let (name, id) = (target.topic.name.to_owned(), target.topic.id);
        reading.topics.push(TopicRecords { name, id, partitions });
    }
    reading
}

/// A log that was deleted while a fetch waited is unknown as it was asked for.
fn code_of_gone(code: ErrorCode, by_id: bool) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition if by_id => ErrorCode::UnknownTopicId,
        other => other,
    }
}

/// Reads one partition; true if what it has does not fit. Only the answer's first batch may exceed what is
/// left (KIP-74).
fn read_one(
    wanted: &FetchPartition,
    partition: &Partition,
    left: usize,
    is_first: bool,
) -> Result<(PartitionRecords, bool), ErrorCode> {
    let bytes_max = usize::try_from(wanted.max_bytes).unwrap_or(0).min(left);
    let bytes_max = if is_first { bytes_max.max(1) } else { bytes_max };
    let slice = partition.read(wanted.offset, bytes_max).map_err(|error| {
        if let FetchError::Storage(error) = &error {
            let (log, index) = (partition.log(), partition.index());
            tracing::error!(%log, index, %error, "reading a log failed");
        }
        ErrorCode::from(&error)
    })?;
    let fits = is_first || slice.records.len() <= bytes_max;
    let records = PartitionRecords {
        index: wanted.index,
        error_code: ErrorCode::None.code(),
        high_watermark: slice.high_watermark,
        log_start_offset: slice.log_start,
        records: if fits { slice.records } else { Bytes::new() },
    };
    Ok((records, !fits))
}

fn failed(index: i32, code: ErrorCode) -> PartitionRecords {
    PartitionRecords {
        index,
        error_code: code.code(),
        high_watermark: -1,
        log_start_offset: -1,
        records: Bytes::new(),
    }
}
