//! ApiVersions, Metadata, Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, InitProducerId; and the headers.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::{ApiKey, RequestHeader as TheirHeader};
use kafka_protocol::protocol::Encodable;

use crate::kafka::codec::api::{self, Api};
use crate::kafka::codec::header::{self, Decoded};
use crate::kafka::codec::messages::tests::{
    ID, ID_TEXT, Sample, responses, samples, some, text, topic,
};
use crate::kafka::codec::messages::{
    api_versions, fetch, init_producer_id, list_offsets, metadata, offset_for_leader_epoch, produce,
};

pub(super) fn all() -> Vec<Sample> {
    let of_each = [
        api_versions_samples(),
        metadata_samples(),
        metadata_of_all_samples(),
        produce_samples(),
        fetch_samples(),
        list_offsets_samples(),
        offset_for_leader_epoch_samples(),
        init_producer_id_samples(),
    ];
    of_each.into_iter().flatten().collect()
}

#[test]
fn headers_are_read_at_every_version_served() {
    for range in api::served() {
        for version in range.min..=range.max {
            let theirs = TheirHeader::default()
                .with_request_api_key(range.key)
                .with_request_api_version(version)
                .with_correlation_id(77)
                .with_client_id(some("tester"));
            let key = ApiKey::try_from(range.key).unwrap();
            let mut frame = BytesMut::new();
            theirs.encode(&mut frame, key.request_header_version(version)).unwrap();
            frame.extend_from_slice(b"body");
            let Decoded::Served { range: found, header, body } = header::decode(&frame).unwrap()
            else {
                panic!("{:?} {version} is not served", range.api);
            };
            assert_eq!(found.api, range.api);
            assert_eq!((header.api_version, header.correlation_id), (version, 77));
            assert_eq!(header.client_id, Some("tester"));
            assert_eq!(body.rest(), b"body");
        }
    }
}

fn api_versions_samples() -> Vec<Sample> {
    samples(Api::ApiVersions, |version| {
        let body = theirs::ApiVersionsRequest::default();
        if version < 3 {
            return body;
        }
        body.with_client_software_name(text("kcat")).with_client_software_version(text("1.7"))
    })
}

#[test]
fn api_versions_requests() {
    for sample in api_versions_samples() {
        let ours =
            api_versions::ApiVersionsRequest::decode(sample.reader(), sample.version).unwrap();
        let expected = if sample.version >= 3 { ("kcat", "1.7") } else { ("", "") };
        assert_eq!((ours.software_name, ours.software_version), expected);
    }
}

#[test]
fn api_versions_responses_name_what_is_served() {
    let encode = |w: &mut _, v| api_versions::encode_response(w, v, 35);
    for (_, read) in responses::<theirs::ApiVersionsResponse>(Api::ApiVersions, encode) {
        assert_eq!(read.error_code, 35);
        let named: Vec<_> =
            read.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        assert_eq!(named[0], (0, 0, 13));
        assert_eq!(named.len(), api::SERVED.len());
    }
}

fn metadata_samples() -> Vec<Sample> {
    samples(Api::Metadata, |version| {
        let mut asked = theirs::metadata_request::MetadataRequestTopic::default()
            .with_name(Some(topic("telemetry")));
        if version >= 10 {
            asked.topic_id = ID_TEXT.parse().unwrap();
        }
        let mut body = theirs::MetadataRequest::default().with_topics(Some(vec![asked]));
        if version >= 4 {
            body.allow_auto_topic_creation = false;
        }
        if version >= 8 {
            body.include_topic_authorized_operations = true;
        }
        body
    })
}

fn metadata_of_all_samples() -> Vec<Sample> {
    samples(Api::Metadata, |version| {
        let all = if version == 0 { Some(Vec::new()) } else { None };
        theirs::MetadataRequest::default().with_topics(all)
    })
}

#[test]
fn metadata_requests() {
    for sample in metadata_samples() {
        let version = sample.version;
        let ours = metadata::MetadataRequest::decode(sample.reader(), version).unwrap();
        let id = if version >= 10 { ID } else { [0; 16] };
        let expected = metadata::TopicRequest { id, name: Some("telemetry") };
        assert_eq!(ours.topics, Some(vec![expected]));
        assert_eq!(ours.allow_auto_creation, version < 4);
    }
    for sample in metadata_of_all_samples() {
        let ours = metadata::MetadataRequest::decode(sample.reader(), sample.version).unwrap();
        assert_eq!(ours.topics, None, "version {}", sample.version);
    }
}

#[test]
fn metadata_by_id_has_no_name() {
    let asked = theirs::metadata_request::MetadataRequestTopic::default()
        .with_topic_id(ID_TEXT.parse().unwrap())
        .with_name(None);
    let all = samples(Api::Metadata, |version| {
        let asked = if version >= 10 { vec![asked.clone()] } else { Vec::new() };
        theirs::MetadataRequest::default().with_topics(Some(asked))
    });
    for sample in all.iter().filter(|sample| sample.version >= 10) {
        let ours = metadata::MetadataRequest::decode(sample.reader(), sample.version).unwrap();
        assert_eq!(ours.topics, Some(vec![metadata::TopicRequest { id: ID, name: None }]));
    }
}

#[test]
fn metadata_responses() {
    let found = metadata::TopicMetadata {
        error_code: 0,
        name: Some("telemetry".into()),
        id: ID,
        leader_epochs: vec![0, 3],
    };
    let missed = metadata::TopicMetadata { error_code: 3, ..metadata::TopicMetadata::default() };
    let ours = metadata::MetadataResponse {
        node_id: 0,
        host: "::1",
        port: 9092,
        cluster_id: "venice",
        topics: vec![found, missed],
    };
    let read = responses::<theirs::MetadataResponse>(Api::Metadata, |w, v| ours.encode(w, v));
    for (version, read) in read {
        assert_eq!((read.brokers[0].host.as_str(), read.brokers[0].port), ("::1", 9092));
        let cluster = read.cluster_id.as_ref().map(|id| id.as_str());
        assert_eq!(cluster, (version >= 2).then_some("venice"));
        assert_eq!(read.topics[0].name.as_ref().unwrap().as_str(), "telemetry");
        let parts = &read.topics[0].partitions;
        assert_eq!((parts.len(), parts[1].partition_index), (2, 1));
        assert_eq!(parts[1].leader_epoch, if version >= 7 { 3 } else { -1 });
        assert_eq!(parts[1].isr_nodes, vec![theirs::BrokerId(0)]);
        let id = read.topics[0].topic_id.into_bytes();
        assert_eq!(id, if version >= 10 { ID } else { [0; 16] });
        assert_eq!(read.topics[1].error_code, 3);
        assert_eq!(read.topics[1].name.is_none(), version >= 12);
    }
}

fn produce_samples() -> Vec<Sample> {
    use theirs::produce_request::{PartitionProduceData, TopicProduceData};
    samples(Api::Produce, |version| {
        let data = PartitionProduceData::default()
            .with_index(4)
            .with_records(Some(Bytes::from(vec![5_u8; 300])));
        let empty = PartitionProduceData::default().with_index(5).with_records(None);
        let mut asked = TopicProduceData::default().with_partition_data(vec![data, empty]);
        if version >= 13 {
            asked.topic_id = ID_TEXT.parse().unwrap();
        } else {
            asked.name = topic("telemetry");
        }
        theirs::ProduceRequest::default()
            .with_transactional_id(Some(theirs::TransactionalId(text("t"))))
            .with_acks(-1)
            .with_timeout_ms(1500)
            .with_topic_data(vec![asked])
    })
}

#[test]
fn produce_requests() {
    let records = vec![5_u8; 300];
    for sample in produce_samples() {
        let ours = produce::ProduceRequest::decode(sample.reader(), sample.version).unwrap();
        assert_eq!((ours.transactional_id, ours.acks, ours.timeout_ms), (Some("t"), -1, 1500));
        let (name, id) = if sample.version >= 13 { ("", ID) } else { ("telemetry", [0; 16]) };
        assert_eq!((ours.topics[0].name, ours.topics[0].id), (name, id));
        let expected = [
            produce::PartitionData { index: 4, records: Some(&records) },
            produce::PartitionData { index: 5, records: None },
        ];
        assert_eq!(ours.topics[0].partitions, expected);
    }
}

#[test]
fn produce_responses() {
    let ours = [produce::TopicOutcome {
        name: "telemetry".into(),
        id: ID,
        partitions: vec![produce::PartitionOutcome {
            index: 4,
            error_code: 87,
            base_offset: 12,
            append_time_ms: -1,
            log_start_offset: 3,
            error_message: Some("no".into()),
            record_error: Some((2, "why".into())),
        }],
    }];
    let encode = |w: &mut _, v| produce::encode_response(w, v, &ours, 0);
    for (version, read) in responses::<theirs::ProduceResponse>(Api::Produce, encode) {
        if version >= 13 {
            assert_eq!(read.responses[0].topic_id.into_bytes(), ID);
        } else {
            assert_eq!(read.responses[0].name.as_str(), "telemetry");
        }
        let part = &read.responses[0].partition_responses[0];
        assert_eq!((part.index, part.error_code, part.base_offset), (4, 87, 12));
        assert_eq!(part.log_start_offset, if version >= 5 { 3 } else { -1 });
        let message = part.error_message.as_ref().map(|m| m.as_str());
        assert_eq!(message, (version >= 8).then_some("no"));
        let records = part.record_errors.iter().map(|error| {
            (error.batch_index, error.batch_index_error_message.as_ref().unwrap().as_str())
        });
        let expected = if version >= 8 { vec![(2, "why")] } else { Vec::new() };
        assert_eq!(records.collect::<Vec<_>>(), expected);
    }
}

fn fetch_samples() -> Vec<Sample> {
    use theirs::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
    samples(Api::Fetch, |version| {
        let mut part = FetchPartition::default()
            .with_partition(2)
            .with_fetch_offset(1 << 40)
            .with_partition_max_bytes(4096);
        part.current_leader_epoch = if version >= 9 { 6 } else { -1 };
        if version >= 12 {
            part.last_fetched_epoch = 5;
        }
        if version >= 18 {
            part.high_watermark = 9;
        }
        let mut asked = FetchTopic::default().with_partitions(vec![part]);
        let mut forgotten = ForgottenTopic::default().with_partitions(vec![1, 2]);
        if version >= 13 {
            asked.topic_id = ID_TEXT.parse().unwrap();
            forgotten.topic_id = ID_TEXT.parse().unwrap();
        } else {
            asked.topic = topic("telemetry");
            forgotten.topic = topic("telemetry");
        }
        let mut body = theirs::FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_isolation_level(1)
            .with_topics(vec![asked]);
        if version <= 14 {
            body.replica_id = theirs::BrokerId(-1);
        }
        if version >= 7 {
            body.session_id = 8;
            body.session_epoch = 9;
            body.forgotten_topics_data = vec![forgotten];
        }
        if version >= 12 {
            body.cluster_id = some("venice");
        }
        body
    })
}

#[test]
fn fetch_requests() {
    for sample in fetch_samples() {
        let version = sample.version;
        let ours = fetch::FetchRequest::decode(sample.reader(), version).unwrap();
        assert_eq!((ours.max_wait_ms, ours.min_bytes, ours.max_bytes), (500, 1, 1 << 20));
        assert_eq!(ours.isolation_level, 1);
        let session = if version >= 7 { (8, 9) } else { (0, -1) };
        assert_eq!((ours.session_id, ours.session_epoch), session);
        let (name, id) = if version >= 13 { ("", ID) } else { ("telemetry", [0; 16]) };
        assert_eq!((ours.topics[0].name, ours.topics[0].id), (name, id));
        let leader_epoch = if version >= 9 { 6 } else { -1 };
        let expected =
            fetch::FetchPartition { index: 2, leader_epoch, offset: 1 << 40, max_bytes: 4096 };
        assert_eq!(ours.topics[0].partitions, [expected]);
    }
}

#[test]
fn fetch_responses_carry_large_and_empty_records() {
    let part = |index, records: Vec<u8>| fetch::PartitionRecords {
        index,
        error_code: 0,
        high_watermark: 90,
        log_start_offset: 5,
        records: records.into(),
    };
    let ours = [fetch::TopicRecords {
        name: "telemetry".into(),
        id: ID,
        partitions: vec![part(0, vec![3; 10_000]), part(1, Vec::new()), part(2, vec![4; 10])],
    }];
    let encode = |w: &mut _, v| fetch::encode_response(w, v, 0, &ours);
    for (version, read) in responses::<theirs::FetchResponse>(Api::Fetch, encode) {
        let topic = &read.responses[0];
        if version >= 13 {
            assert_eq!(topic.topic_id.into_bytes(), ID);
        } else {
            assert_eq!(topic.topic.as_str(), "telemetry");
        }
        let lengths: Vec<_> =
            topic.partitions.iter().map(|p| p.records.as_ref().map(Bytes::len)).collect();
        assert_eq!(lengths, [Some(10_000), Some(0), Some(10)]);
        let part = &topic.partitions[2];
        assert_eq!((part.high_watermark, part.last_stable_offset), (90, 90));
        assert_eq!(part.log_start_offset, if version >= 5 { 5 } else { -1 });
        assert_eq!(part.preferred_read_replica.0, -1);
    }
}

fn list_offsets_samples() -> Vec<Sample> {
    use theirs::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    samples(Api::ListOffsets, |version| {
        let mut part = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(-2);
        part.current_leader_epoch = if version >= 4 { 2 } else { -1 };
        let asked = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![part]);
        let mut body = theirs::ListOffsetsRequest::default()
            .with_replica_id(theirs::BrokerId(-1))
            .with_topics(vec![asked]);
        if version >= 2 {
            body.isolation_level = 1;
        }
        if version >= 10 {
            body.timeout_ms = 5;
        }
        body
    })
}

#[test]
fn list_offsets_requests() {
    for sample in list_offsets_samples() {
        let version = sample.version;
        let ours = list_offsets::ListOffsetsRequest::decode(sample.reader(), version).unwrap();
        assert_eq!(ours.isolation_level, i8::from(version >= 2));
        let leader_epoch = if version >= 4 { 2 } else { -1 };
        let expected = list_offsets::PartitionQuery { index: 1, leader_epoch, timestamp: -2 };
        assert_eq!((ours.topics[0].name, &ours.topics[0].partitions[..]), ("t", &[expected][..]));
    }
}

#[test]
fn list_offsets_responses() {
    let ours = [list_offsets::TopicOffsets {
        name: "t".into(),
        partitions: vec![list_offsets::PartitionOffset {
            index: 1,
            error_code: 0,
            timestamp: 1000,
            offset: 17,
            leader_epoch: 2,
        }],
    }];
    let encode = |w: &mut _, v| list_offsets::encode_response(w, v, &ours);
    for (version, read) in responses::<theirs::ListOffsetsResponse>(Api::ListOffsets, encode) {
        let part = &read.topics[0].partitions[0];
        assert_eq!((part.partition_index, part.timestamp, part.offset), (1, 1000, 17));
        assert_eq!(part.leader_epoch, if version >= 4 { 2 } else { -1 });
    }
}

fn offset_for_leader_epoch_samples() -> Vec<Sample> {
    use theirs::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    samples(Api::OffsetForLeaderEpoch, |version| {
        let part = OffsetForLeaderPartition::default()
            .with_partition(4)
            .with_current_leader_epoch(6)
            .with_leader_epoch(5);
        let asked =
            OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![part]);
        let mut body = theirs::OffsetForLeaderEpochRequest::default().with_topics(vec![asked]);
        if version >= 3 {
            body.replica_id = theirs::BrokerId(-1);
        }
        body
    })
}

#[test]
fn offset_for_leader_epoch_both_ways() {
    use offset_for_leader_epoch as ours;
    for sample in offset_for_leader_epoch_samples() {
        let read =
            ours::OffsetForLeaderEpochRequest::decode(sample.reader(), sample.version).unwrap();
        let expected = ours::PartitionEpoch { index: 4, current_leader_epoch: 6, leader_epoch: 5 };
        assert_eq!(read.topics, [ours::TopicEpochs { name: "t", partitions: vec![expected] }]);
    }
    let end = ours::EpochEnd { index: 4, error_code: 0, leader_epoch: 5, end_offset: 900 };
    let answer = [ours::TopicEnds { name: "t".into(), partitions: vec![end] }];
    let read =
        responses::<theirs::OffsetForLeaderEpochResponse>(Api::OffsetForLeaderEpoch, |w, _| {
            ours::encode_response(w, &answer)
        });
    for (_, read) in read {
        let part = &read.topics[0].partitions[0];
        assert_eq!((part.partition, part.error_code), (4, 0));
        assert_eq!((part.leader_epoch, part.end_offset), (5, 900));
    }
}

fn init_producer_id_samples() -> Vec<Sample> {
    samples(Api::InitProducerId, |version| {
        let mut body = theirs::InitProducerIdRequest::default()
            .with_transactional_id((version % 2 == 0).then(|| theirs::TransactionalId(text("t"))))
            .with_transaction_timeout_ms(60_000);
        if version >= 3 {
            body.producer_id = theirs::ProducerId(8000);
            body.producer_epoch = 3;
        }
        body
    })
}

#[test]
fn init_producer_id_both_ways() {
    use init_producer_id as ours;
    for sample in init_producer_id_samples() {
        let version = sample.version;
        let read = ours::InitProducerIdRequest::decode(sample.reader(), version).unwrap();
        assert_eq!(read.transactional_id, (version % 2 == 0).then_some("t"));
        assert_eq!(read.transaction_timeout_ms, 60_000);
        let producer = if version >= 3 { (8000, 3) } else { (-1, -1) };
        assert_eq!((read.producer_id, read.producer_epoch), producer);
    }
    let answer = ours::InitProducerIdResponse { error_code: 0, producer_id: 7, producer_epoch: 1 };
    let encode = |w: &mut _, _| answer.encode(w);
    for (_, read) in responses::<theirs::InitProducerIdResponse>(Api::InitProducerId, encode) {
        assert_eq!((read.error_code, read.producer_id.0, read.producer_epoch), (0, 7, 1));
    }
}
