//! The service over a broker in memory: what leaves a connection for what enters it.

mod admin;
mod administered;
mod budgets;
mod by_id;
mod double;
mod groups;
mod hostile;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::auth::Principal;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::kafka::service::{Ends, ServeError, serve};
use crate::kafka::shared::{KafkaConfig, Shared, Timer};
use crate::kafka::tests::double::{MemoryBroker, NeverTimer, NoTimer};

struct Client {
    stream: DuplexStream,
    broker: Arc<MemoryBroker>,
    served: JoinHandle<Result<(), ServeError>>,
    stop: watch::Sender<bool>,
}

fn connect(broker: MemoryBroker) -> Client {
    connect_with(broker, Arc::new(NeverTimer))
}

fn connect_with(broker: MemoryBroker, timer: Arc<dyn Timer>) -> Client {
    let (stream, theirs) = tokio::io::duplex(1 << 20);
    let broker = Arc::new(broker);
    let shared = Arc::new(Shared::new(Arc::clone(&broker), KafkaConfig::default(), timer));
    let (stop, stopped) = watch::channel(false);
    let local = "127.0.0.1:9092".parse().unwrap();
    let principal = Principal::anonymous();
    let ends = Ends { local, peer: local };
    let served = tokio::spawn(serve(theirs, ends, principal, shared, stopped));
    Client { stream, broker, served, stop }
}

fn request<T: Encodable + HeaderVersion>(key: ApiKey, version: i16, id: i32, body: &T) -> Vec<u8> {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .encode(&mut out, T::header_version(version))
        .unwrap();
    body.encode(&mut out, version).unwrap();
    [&(out.len() as u32).to_be_bytes()[..], &out].concat()
}

impl Client {
    async fn send<T: Encodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        id: i32,
        body: &T,
    ) {
        self.stream.write_all(&request(key, version, id, body)).await.unwrap();
    }

    async fn receive<T: Decodable + HeaderVersion>(&mut self, version: i16) -> (i32, T) {
        let length = self.stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).await.unwrap();
        let mut body = Bytes::from(body);
        let header = ResponseHeader::decode(&mut body, T::header_version(version)).unwrap();
        let decoded = T::decode(&mut body, version).unwrap();
        assert!(!body.has_remaining());
        (header.correlation_id, decoded)
    }

    async fn metadata(&mut self, name: &'static str, create: bool) -> theirs::MetadataResponse {
        let body = theirs::MetadataRequest::default()
            .with_topics(Some(vec![
                theirs::metadata_request::MetadataRequestTopic::default()
                    .with_name(Some(topic(name))),
            ]))
            .with_allow_auto_topic_creation(create);
        self.send(ApiKey::Metadata, 12, 1, &body).await;
        self.receive(12).await.1
    }
}

fn topic(name: &'static str) -> theirs::TopicName {
    theirs::TopicName(StrBytes::from_static_str(name))
}

fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.push(&NewRecord { timestamp_ms: 5, key: None, value: Some(value), headers: &[] });
    builder.finish().unwrap().into()
}

fn produce(name: &'static str, acks: i16, records: Bytes) -> theirs::ProduceRequest {
    use theirs::produce_request::{PartitionProduceData, TopicProduceData};
    theirs::ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![
        TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![
            PartitionProduceData::default().with_index(0).with_records(Some(records)),
        ]),
    ])
}

fn fetch(name: &'static str, offset: i64, min_bytes: i32) -> theirs::FetchRequest {
    use theirs::fetch_request::{FetchPartition, FetchTopic};
    theirs::FetchRequest::default()
        .with_max_wait_ms(10_000)
        .with_min_bytes(min_bytes)
        .with_max_bytes(1 << 20)
        .with_topics(vec![FetchTopic::default().with_topic(topic(name)).with_partitions(vec![
            FetchPartition::default()
                .with_partition(0)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20),
        ])])
}

fn produced(response: &theirs::ProduceResponse) -> (i16, i64) {
    let part = &response.responses[0].partition_responses[0];
    (part.error_code, part.base_offset)
}

#[tokio::test]
async fn metadata_creates_only_when_allowed_and_names_the_address_used() {
    let mut client = connect(MemoryBroker::default());
    let refused = client.metadata("telemetry", false).await;
    assert_eq!(refused.topics[0].error_code, 3);
    let created = client.metadata("telemetry", true).await;
    assert_eq!((created.topics[0].error_code, created.topics[0].partitions.len()), (0, 1));
    assert_eq!((created.brokers[0].host.as_str(), created.brokers[0].port), ("127.0.0.1", 9092));
    let bad = client.metadata("no/such name", true).await;
    assert_eq!(bad.topics[0].error_code, 17);
}

#[tokio::test]
async fn pipelined_produces_are_submitted_at_once_and_answered_in_order() {
    let mut client = connect(MemoryBroker::holding_acks());
    client.metadata("t", true).await;
    for id in 10..13 {
        client.send(ApiKey::Produce, 8, id, &produce("t", -1, batch(b"v"))).await;
    }
    client.broker.until_appended(3).await;
    client.broker.release(2);
    client.broker.release(1);
    client.broker.release(0);
    for id in 10..13 {
        let (answered, response) = client.receive::<theirs::ProduceResponse>(8).await;
        assert_eq!((answered, produced(&response)), (id, (0, i64::from(id) - 10)));
    }
}

#[tokio::test]
async fn a_request_behind_a_produce_sees_what_it_appended() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    let both = [
        request(ApiKey::Produce, 8, 1, &produce("t", 1, batch(b"v"))),
        request(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)),
    ];
    client.stream.write_all(&both.concat()).await.unwrap();
    assert_eq!(client.receive::<theirs::ProduceResponse>(8).await.0, 1);
    let (id, response) = client.receive::<theirs::FetchResponse>(11).await;
    let part = &response.responses[0].partitions[0];
    assert_eq!((id, part.error_code, part.high_watermark), (2, 0, 1));
    assert_eq!(part.records.as_ref().unwrap().len(), batch(b"v").len());
}

#[tokio::test]
async fn a_fetch_waits_for_an_append_on_another_connection() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)).await;
    tokio::task::yield_now().await;
    client.broker.append_now("t", &batch(b"late"));
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
}

/// The timer never fires here.
#[tokio::test]
async fn a_fetch_does_not_wait_for_what_lies_behind_the_batches_that_fit() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    for _ in 0..3 {
        client.broker.append_now("t", &batch(&[1; 400_000]));
    }
    // Two of three fit, and a third of the room stays empty.
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1 << 20)).await;
    let answered = client.receive::<theirs::FetchResponse>(11);
    let (_, response) = tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
    let records = response.responses[0].partitions[0].records.as_ref().unwrap();
    assert_eq!(records.len(), 2 * batch(&[1; 400_000]).len());
}

#[tokio::test]
async fn a_fetch_error_is_answered_at_once() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 5, 1)).await;
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 1);
    client.send(ApiKey::Fetch, 11, 3, &fetch("unknown", 0, 1)).await;
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 3);
    client
        .send(ApiKey::Fetch, 11, 4, &fetch("t", 0, 1).with_session_id(4).with_session_epoch(3))
        .await;
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!((response.error_code, response.responses.len()), (70, 0));
}

#[tokio::test]
async fn refused_batches_get_kafkas_codes() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    let mut corrupt = batch(b"v").to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let mut old = batch(b"v").to_vec();
    old[16] = 1;
    let large = batch(&vec![0; 2 << 20]);
    let cases = [
        ("t", 1, Bytes::from(corrupt), 2),
        ("t", 1, Bytes::from(old), 43),
        ("t", 1, Bytes::new(), 87),
        ("t", 1, large, 10),
        ("t", 7, batch(b"v"), 21),
        ("unknown", 1, batch(b"v"), 3),
    ];
    for (name, acks, records, code) in cases {
        client.send(ApiKey::Produce, 8, 1, &produce(name, acks, records)).await;
        let (_, response) = client.receive::<theirs::ProduceResponse>(8).await;
        assert_eq!(produced(&response), (code, -1));
    }
}

#[tokio::test]
async fn acks_0_is_not_answered_and_its_refusal_closes() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.send(ApiKey::Produce, 8, 1, &produce("t", 0, batch(b"v"))).await;
    client.send(ApiKey::Produce, 8, 2, &produce("t", 1, batch(b"v"))).await;
    let (id, response) = client.receive::<theirs::ProduceResponse>(8).await;
    assert_eq!((id, produced(&response)), (2, (0, 1)));
    client.send(ApiKey::Produce, 8, 3, &produce("t", 0, Bytes::new())).await;
    assert!(matches!(client.served.await.unwrap(), Err(ServeError::Refused(_))));
}

#[tokio::test]
async fn malformed_requests_close_the_connection() {
    for bytes in [
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff][..],
        &[0, 0, 0, 2, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = connect(MemoryBroker::default());
        client.stream.write_all(bytes).await.unwrap();
        assert!(client.served.await.unwrap().is_err(), "{bytes:?}");
    }
}

#[tokio::test]
async fn an_api_versions_to_come_is_answered_in_version_0() {
    let mut client = connect(MemoryBroker::default());
    let future = [&[0, 0, 0, 10, 0, 18, 0, 50, 0, 0, 0, 9][..], &[0xff, 0xff]].concat();
    client.stream.write_all(&future).await.unwrap();
    let (id, response) = client.receive::<theirs::ApiVersionsResponse>(0).await;
    assert_eq!((id, response.error_code), (9, 35));
    assert!(response.api_keys.iter().any(|key| key.api_key == 18 && key.max_version == 4));
}

#[tokio::test]
async fn a_shutdown_answers_what_was_submitted_and_drops_a_waiting_fetch() {
    let mut client = connect(MemoryBroker::holding_acks());
    client.metadata("t", true).await;
    client.send(ApiKey::Produce, 8, 1, &produce("t", 1, batch(b"v"))).await;
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1 << 20)).await;
    client.broker.until_appended(1).await;
    client.stop.send_replace(true);
    tokio::task::yield_now().await;
    client.broker.release(0);
    assert_eq!(client.receive::<theirs::ProduceResponse>(8).await.0, 1);
    assert!(client.served.await.unwrap().is_ok());
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_full_journal_holds_requests_back_and_loses_none() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.broker.set_full(true);
    let large = batch(&[1; 100_000]);
    for id in 0..4 {
        client.send(ApiKey::Produce, 8, id, &produce("t", -1, large.clone())).await;
    }
    tokio::task::yield_now().await;
    assert_eq!(client.broker.end("t"), 0);
    client.broker.set_full(false);
    for id in 0..4 {
        let (answered, response) = client.receive::<theirs::ProduceResponse>(8).await;
        assert_eq!((answered, produced(&response)), (id, (0, i64::from(id))));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answers_is_not_read_either() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.broker.append_now("t", &batch(&[1; 900_000]));
    // Far more than all buffers hold: sending ends only if the service stops reading.
    let fetches = request(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)).repeat(40_000);
    let sending = client.stream.write_all(&fetches);
    let sent = tokio::time::timeout(Duration::from_millis(300), sending).await;
    assert!(sent.is_err(), "40,000 fetches were taken of a peer that reads nothing");
}

#[tokio::test]
async fn a_peer_that_leaves_ends_a_waiting_fetch() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)).await;
    drop(client.stream);
    let ended = tokio::time::timeout(Duration::from_secs(10), client.served).await;
    assert!(ended.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn logs_are_created_as_asked_or_refused_with_a_reason() {
    use theirs::create_topics_request::{CreatableTopic, CreatableTopicConfig};
    let new = |name, partitions, replicas, config: &'static str| {
        let config = CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str("cleanup.policy"))
            .with_value(Some(StrBytes::from_static_str(config)));
        CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(vec![config])
    };
    let mut client = connect(MemoryBroker::default());
    let body = theirs::CreateTopicsRequest::default().with_timeout_ms(1).with_topics(vec![
        new("a", 3, 1, "delete"),
        new("b", -1, -1, "delete"),
        new("a/b", 1, 1, "delete"),
        new("c", 0, 1, "delete"),
        new("d", 1, 3, "delete"),
        new("e", 1, 1, "compact"),
        new("f", 1, 1, "delete"),
        new("f", 1, 1, "delete"),
    ]);
    client.send(ApiKey::CreateTopics, 7, 1, &body).await;
    let (_, response) = client.receive::<theirs::CreateTopicsResponse>(7).await;
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, 0, 17, 37, 38, 40, 42, 42]);
    assert_eq!(response.topics[0].num_partitions, 3);
    assert!(response.topics[5].error_message.as_ref().unwrap().contains("cleanup.policy"));
    let again = body.with_validate_only(true);
    client.send(ApiKey::CreateTopics, 7, 2, &again).await;
    let (_, response) = client.receive::<theirs::CreateTopicsResponse>(7).await;
    assert_eq!(response.topics[0].error_code, 36);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn requests_with_any_byte_changed_never_panic_the_service(
        at in 0_usize..200,
        byte: u8,
        which in 0_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut client = connect(MemoryBroker::default());
            client.metadata("t", true).await;
            let mut bytes = match which {
                0 => request(ApiKey::Produce, 9, 1, &produce("t", 1, batch(b"v"))),
                1 => request(ApiKey::Fetch, 12, 1, &fetch("t", 0, 0)),
                _ => request(ApiKey::Metadata, 9, 1, &theirs::MetadataRequest::default()),
            };
            let place = at % bytes.len();
            bytes[place] = byte;
            client.stream.write_all(&bytes).await.unwrap();
            client.stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.stream.read_to_end(&mut answer).await.unwrap();
            // A panic would be a join error; any end of the connection is well.
            drop(client.served.await.unwrap());
        });
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed() {
    let client = connect_with(MemoryBroker::default(), Arc::new(NoTimer));
    assert!(matches!(client.served.await.unwrap(), Err(ServeError::Idle)));
}
