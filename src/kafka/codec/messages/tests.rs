//! Every message against the crate `kafka-protocol`, at every version: it encodes the requests that we decode
//! and decodes the responses that we encode.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::{ApiKey, RequestHeader as TheirHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::kafka::codec::api::{self, Api, ApiRange, SERVED};
use crate::kafka::codec::header::{self, Decoded};
use crate::kafka::codec::messages::{
    api_versions, create_topics, fetch, list_offsets, metadata, produce,
};
use crate::kafka::codec::primitives::{DecodeError, Frame, Reader, Writer};

const ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const ID_TEXT: &str = "01020304-0506-0708-090a-0b0c0d0e0f10";

fn range(api: Api) -> &'static ApiRange {
    api::LAYOUTS.iter().find(|range| range.api == api).unwrap()
}

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

fn topic(value: &'static str) -> theirs::TopicName {
    theirs::TopicName(text(value))
}

/// A whole request frame as the oracle encodes it.
fn request(api: Api, version: i16, body: &impl Encodable) -> Vec<u8> {
    let range = range(api);
    let mut out = BytesMut::new();
    let header = TheirHeader::default()
        .with_request_api_key(range.key)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(text("tester")));
    let key = ApiKey::try_from(range.key).unwrap();
    header.encode(&mut out, key.request_header_version(version)).unwrap();
    body.encode(&mut out, version).unwrap();
    out.to_vec()
}

/// Decodes the header as the connection does and hands the body on; it must be read to its end.
fn body_of(frame: &[u8]) -> Reader<'_> {
    match header::decode(frame).unwrap() {
        Decoded::Served { header, body, .. } => {
            assert_eq!(header.correlation_id, 77);
            assert_eq!(header.client_id, Some("tester"));
            body
        }
        other => panic!("not served: {other:?}"),
    }
}

/// The response that `encode` writes, as the oracle decodes it.
fn response<T: Decodable>(api: Api, version: i16, encode: impl FnOnce(&mut Writer, i16)) -> T {
    let mut writer = header::respond(range(api), version, 99);
    encode(&mut writer, version);
    let mut bytes = flat(&writer.finish());
    assert_eq!(bytes.get_u32() as usize, bytes.len());
    let key = ApiKey::try_from(range(api).key).unwrap();
    let header = ResponseHeader::decode(&mut bytes, key.response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 99);
    let decoded = T::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "version {version}: {} bytes left", bytes.len());
    decoded
}

fn flat(frame: &Frame) -> Bytes {
    frame.pieces.iter().flatten().copied().collect::<Vec<u8>>().into()
}

fn versions(api: Api) -> std::ops::RangeInclusive<i16> {
    range(api).min..=range(api).max
}

#[test]
fn api_versions_requests() {
    for version in versions(Api::ApiVersions) {
        let mut body = theirs::ApiVersionsRequest::default();
        if version >= 3 {
            body = body
                .with_client_software_name(text("kcat"))
                .with_client_software_version(text("1.7"));
        }
        let frame = request(Api::ApiVersions, version, &body);
        let ours = api_versions::ApiVersionsRequest::decode(body_of(&frame), version).unwrap();
        let expected = if version >= 3 { ("kcat", "1.7") } else { ("", "") };
        assert_eq!((ours.software_name, ours.software_version), expected);
    }
}

#[test]
fn api_versions_responses_name_what_is_served() {
    for version in versions(Api::ApiVersions) {
        let read: theirs::ApiVersionsResponse =
            response(Api::ApiVersions, version, |w, v| api_versions::encode_response(w, v, 35));
        assert_eq!(read.error_code, 35);
        let named: Vec<_> =
            read.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        assert_eq!(named[0], (0, 0, 13));
        assert_eq!(named.len(), SERVED.len());
    }
}

#[test]
fn metadata_requests() {
    for version in versions(Api::Metadata) {
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
        let frame = request(Api::Metadata, version, &body);
        let ours = metadata::MetadataRequest::decode(body_of(&frame), version).unwrap();
        let id = if version >= 10 { ID } else { [0; 16] };
        let expected = metadata::TopicRequest { id, name: Some("telemetry") };
        assert_eq!(ours.topics, Some(vec![expected]));
        assert_eq!(ours.allow_auto_creation, version < 4);
        let none = if version == 0 { Some(Vec::new()) } else { None };
        let all = theirs::MetadataRequest::default().with_topics(none);
        let frame = request(Api::Metadata, version, &all);
        let ours = metadata::MetadataRequest::decode(body_of(&frame), version).unwrap();
        assert_eq!(ours.topics, None, "version {version}");
    }
}

#[test]
fn metadata_responses() {
    let topics = vec![
        metadata::TopicMetadata {
            error_code: 0,
            name: Some("telemetry".into()),
            id: ID,
            leader_epochs: vec![0, 3],
        },
        metadata::TopicMetadata {
            error_code: 3,
            name: None,
            id: [0; 16],
            leader_epochs: Vec::new(),
        },
    ];
    let ours = metadata::MetadataResponse {
        node_id: 0,
        host: "::1",
        port: 9092,
        cluster_id: "venice",
        topics,
    };
    for version in versions(Api::Metadata) {
        let read: theirs::MetadataResponse =
            response(Api::Metadata, version, |w, v| ours.encode(w, v));
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
    }
}

#[test]
fn produce_requests() {
    use theirs::produce_request::{PartitionProduceData, TopicProduceData};
    let records = vec![5_u8; 300];
    for version in versions(Api::Produce) {
        let data = PartitionProduceData::default()
            .with_index(4)
            .with_records(Some(Bytes::from(records.clone())));
        let empty = PartitionProduceData::default().with_index(5).with_records(None);
        let body = theirs::ProduceRequest::default()
            .with_transactional_id(Some(theirs::TransactionalId(text("t"))))
            .with_acks(-1)
            .with_timeout_ms(1500)
            .with_topic_data(vec![if version >= 13 {
                TopicProduceData::default()
                    .with_topic_id(ID_TEXT.parse().unwrap())
                    .with_partition_data(vec![data, empty])
            } else {
                TopicProduceData::default()
                    .with_name(topic("telemetry"))
                    .with_partition_data(vec![data, empty])
            }]);
        let frame = request(Api::Produce, version, &body);
        let ours = produce::ProduceRequest::decode(body_of(&frame), version).unwrap();
        assert_eq!((ours.transactional_id, ours.acks, ours.timeout_ms), (Some("t"), -1, 1500));
        let (name, id) = if version >= 13 { ("", ID) } else { ("telemetry", [0; 16]) };
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
        }],
    }];
    for version in versions(Api::Produce) {
        let read: theirs::ProduceResponse =
            response(Api::Produce, version, |w, v| produce::encode_response(w, v, &ours));
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
    }
}

#[test]
fn fetch_requests() {
    use theirs::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
    for version in versions(Api::Fetch) {
        let mut part = FetchPartition::default()
            .with_partition(2)
            .with_fetch_offset(1 << 40)
            .with_partition_max_bytes(4096);
        part.current_leader_epoch = if version >= 9 { 6 } else { -1 };
        if version >= 12 {
            part.last_fetched_epoch = 5;
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
            body.cluster_id = Some(text("venice"));
        }
        let frame = request(Api::Fetch, version, &body);
        let ours = fetch::FetchRequest::decode(body_of(&frame), version).unwrap();
        assert_eq!((ours.max_wait_ms, ours.min_bytes, ours.max_bytes), (500, 1, 1 << 20));
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
    for version in versions(Api::Fetch) {
        let read: theirs::FetchResponse =
            response(Api::Fetch, version, |w, v| fetch::encode_response(w, v, 0, &ours));
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

#[test]
fn list_offsets_requests() {
    use theirs::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    // The oracle ends at version 10; 11 has the same layout.
    for version in 1..=10 {
        let mut part = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(-2);
        part.current_leader_epoch = if version >= 4 { 2 } else { -1 };
        let mut body = theirs::ListOffsetsRequest::default()
            .with_replica_id(theirs::BrokerId(-1))
            .with_topics(vec![
                ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![part]),
            ]);
        if version >= 2 {
            body.isolation_level = 1;
        }
        if version >= 10 {
            body.timeout_ms = 5;
        }
        let frame = request(Api::ListOffsets, version, &body);
        let ours = list_offsets::ListOffsetsRequest::decode(body_of(&frame), version).unwrap();
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
    // The oracle ends at version 10; 11 has the same layout.
    for version in 1..=10 {
        let read: theirs::ListOffsetsResponse =
            response(Api::ListOffsets, version, |w, v| list_offsets::encode_response(w, v, &ours));
        let part = &read.topics[0].partitions[0];
        assert_eq!((part.partition_index, part.timestamp, part.offset), (1, 1000, 17));
        assert_eq!(part.leader_epoch, if version >= 4 { 2 } else { -1 });
    }
}

#[test]
fn create_topics_requests() {
    use theirs::create_topics_request::{
        CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
    };
    for version in versions(Api::CreateTopics) {
        let config = CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("5")));
        let assignment = CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(vec![theirs::BrokerId(0)]);
        let body = theirs::CreateTopicsRequest::default()
            .with_topics(vec![
                CreatableTopic::default()
                    .with_name(topic("t"))
                    .with_num_partitions(-1)
                    .with_replication_factor(-1)
                    .with_assignments(vec![assignment])
                    .with_configs(vec![config]),
            ])
            .with_timeout_ms(9)
            .with_validate_only(true);
        let frame = request(Api::CreateTopics, version, &body);
        let ours = create_topics::CreateTopicsRequest::decode(body_of(&frame)).unwrap();
        assert!(ours.validate_only);
        let first = &ours.topics[0];
        assert_eq!((first.name, first.partitions, first.replication_factor), ("t", -1, -1));
        assert_eq!(first.assignments[0].brokers, [0]);
        assert_eq!(first.configs, [("retention.ms", Some("5"))]);
    }
}

#[test]
fn create_topics_responses() {
    let ours = [create_topics::TopicResult {
        name: "t".into(),
        id: ID,
        error_code: 36,
        error_message: Some("there".into()),
        partitions: 3,
        replication_factor: 1,
        configs: vec![create_topics::CreatedConfig {
            name: "retention.ms".into(),
            value: "5".into(),
            source: create_topics::SOURCE_TOPIC,
        }],
    }];
    for version in versions(Api::CreateTopics) {
        let read: theirs::CreateTopicsResponse = response(Api::CreateTopics, version, |w, v| {
            create_topics::encode_response(w, v, &ours);
        });
        let first = &read.topics[0];
        assert_eq!(first.error_code, 36);
        assert_eq!(first.error_message.as_ref().unwrap().as_str(), "there");
        assert_eq!(first.num_partitions, if version >= 5 { 3 } else { -1 });
        if version >= 5 {
            let configs = first.configs.as_ref().unwrap();
            assert_eq!(configs[0].value.as_ref().unwrap().as_str(), "5");
        }
        let id = first.topic_id.into_bytes();
        assert_eq!(id, if version >= 7 { ID } else { [0; 16] });
    }
}

/// Decodes `body` as every request at every version.
fn decode_all(body: &[u8]) -> Vec<Result<(), DecodeError>> {
    let mut results = Vec::new();
    for range in api::served() {
        for version in range.min..=range.max {
            let reader = Reader::new(body, range.is_flexible(version));
            results.push(match range.api {
                Api::Produce => produce::ProduceRequest::decode(reader, version).map(drop),
                Api::Fetch => fetch::FetchRequest::decode(reader, version).map(drop),
                Api::ListOffsets => {
                    list_offsets::ListOffsetsRequest::decode(reader, version).map(drop)
                }
                Api::Metadata => metadata::MetadataRequest::decode(reader, version).map(drop),
                Api::ApiVersions => {
                    api_versions::ApiVersionsRequest::decode(reader, version).map(drop)
                }
                Api::CreateTopics => create_topics::CreateTopicsRequest::decode(reader).map(drop),
                other => panic!("{other:?} is served but not decoded here"),
            });
        }
    }
    results
}

#[test]
fn four_bytes_that_abort_the_oracle_are_an_error_here() {
    let results = decode_all(&i32::MAX.to_be_bytes());
    assert!(results.iter().filter(|result| result.is_err()).count() > 40);
}

proptest::proptest! {
    #[test]
    fn any_body_decodes_or_fails(
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)
    ) {
        decode_all(&body);
    }

    #[test]
    fn any_header_decodes_or_fails(
        frame in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)
    ) {
        drop(header::decode(&frame));
    }
}
