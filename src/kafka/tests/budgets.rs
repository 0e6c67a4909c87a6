//! Many large requests and slow readers at once: memory stays within its budget, and nobody is left out.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages as theirs;
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::double::{MemoryBroker, NeverTimer, RealTimer};
use super::{batch, fetch, produce, produced, request};
use crate::auth::Principal;
use crate::kafka::service::{Ends, ServeError, serve};
use crate::kafka::shared::{KafkaConfig, Shared, Timer};

const MIB: usize = 1 << 20;

/// Time in which ten seconds are a tenth of one.
struct Hasty;

impl Timer for Hasty {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        RealTimer.sleep(duration / 100)
    }
}

/// Connections to one broker.
struct House {
    shared: Arc<Shared<MemoryBroker>>,
    stop: watch::Sender<bool>,
}

type Served = JoinHandle<Result<(), ServeError>>;

impl House {
    fn new(requests_bytes_max: usize, fetches_bytes_max: usize, timer: Arc<dyn Timer>) -> Self {
        let config =
            KafkaConfig { requests_bytes_max, fetches_bytes_max, ..KafkaConfig::default() };
        let broker = Arc::new(MemoryBroker::default());
        let (stop, _) = watch::channel(false);
        Self { shared: Arc::new(Shared::new(broker, config, timer)), stop }
    }

    /// A connection whose client has asked for metadata, which made the log `t`.
    async fn enter(&self, buffer: usize) -> (DuplexStream, Served) {
        let (mut stream, ours) = tokio::io::duplex(buffer);
        let local = "127.0.0.1:9092".parse().unwrap();
        let (ends, who) = (Ends { local, peer: local }, Principal::anonymous());
        let shared = Arc::clone(&self.shared);
        let served = tokio::spawn(serve(ours, ends, who, shared, self.stop.subscribe()));
        let asked = theirs::metadata_request::MetadataRequestTopic::default();
        let create = theirs::MetadataRequest::default()
            .with_topics(Some(vec![asked.with_name(Some(super::topic("t")))]))
            .with_allow_auto_topic_creation(true);
        stream.write_all(&request(ApiKey::Metadata, 12, 1, &create)).await.unwrap();
        answer(&mut stream).await;
        (stream, served)
    }
}

async fn answer(stream: &mut DuplexStream) -> Vec<u8> {
    let length = stream.read_u32().await.unwrap();
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// A Produce request of a batch with `bytes` of value.
fn large(bytes: usize) -> Vec<u8> {
    request(ApiKey::Produce, 8, 7, &produce("t", -1, batch(&vec![b'v'; bytes])))
}

/// Length and key of a Produce request of 100 MB, as much of it as makes Apache Kafka take memory for all.
fn announcement() -> Vec<u8> {
    let mut bytes = 99_000_000_u32.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 8]);
    bytes
}

#[tokio::test]
async fn forty_connections_that_announce_a_hundred_megabytes_take_nothing() {
    let house = House::new(4 * MIB, 4 * MIB, Arc::new(RealTimer));
    let mut idle = Vec::new();
    for _ in 0..40 {
        let (mut stream, served) = house.enter(64 * 1024).await;
        stream.write_all(&announcement()).await.unwrap();
        stream.write_all(&[0; 10_000]).await.unwrap();
        idle.push((stream, served));
    }
    let (mut stream, _served) = house.enter(64 * 1024).await;
    stream.write_all(&large(900_000)).await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(!answered.is_empty());
    assert!(house.shared.requests.held() < 4 * MIB, "{}", house.shared.requests.held());
    assert_eq!(house.shared.broker.end("t"), 1);
}

#[tokio::test]
async fn large_requests_of_many_connections_are_all_served_within_the_budget() {
    let house = House::new(2 * MIB, 4 * MIB, Arc::new(RealTimer));
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (mut stream, _served) = house.enter(32 * 1024).await;
        clients.push(tokio::spawn(async move {
            for _ in 0..3 {
                stream.write_all(&large(1_000_000)).await.unwrap();
                answer(&mut stream).await;
            }
        }));
    }
    let shared = Arc::clone(&house.shared);
    let watching = tokio::spawn(async move {
        let mut most = 0;
        while shared.broker.end("t") < 48 {
            most = most.max(shared.requests.held());
            tokio::task::yield_now().await;
        }
        most
    });
    for client in clients {
        client.await.unwrap();
    }
    let most = watching.await.unwrap();
    // The budget, one beyond it, and what a buffer grows in one go.
    assert!(most <= 2 * MIB + 3 * MIB, "{most}");
}

#[tokio::test]
async fn who_stops_halfway_is_closed_once_others_wait() {
    let house = House::new(MIB, MIB, Arc::new(Hasty));
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let (mut stream, served) = house.enter(MIB).await;
        stream.write_all(&announcement()).await.unwrap();
        stream.write_all(&vec![0; 600_000]).await.unwrap();
        stalled.push((stream, served));
    }
    let (mut stream, _served) = house.enter(MIB).await;
    stream.write_all(&large(900_000)).await.unwrap();
    answer(&mut stream).await;
    assert_eq!(house.shared.broker.end("t"), 1);
}

#[tokio::test]
async fn slow_readers_of_large_answers_hold_the_budget_and_no_more() {
    let house = House::new(4 * MIB, 2 * MIB, Arc::new(Hasty));
    let (mut writer, _served) = house.enter(MIB).await;
    for _ in 0..2 {
        writer.write_all(&large(900_000)).await.unwrap();
        answer(&mut writer).await;
    }
    let ask = request(ApiKey::Fetch, 11, 3, &fetch("t", 0, 1));
    let mut slow = Vec::new();
    for _ in 0..8 {
        let (mut stream, served) = house.enter(16 * 1024).await;
        stream.write_all(&ask).await.unwrap();
        slow.push((stream, served));
    }
    // One that reads gets its answer when those that do not are closed.
    let (mut reader, _served) = house.enter(16 * 1024).await;
    reader.write_all(&ask).await.unwrap();
    let got = answer(&mut reader).await;
    assert!(got.len() > 900_000);
    assert!(house.shared.fetches.held() <= 4 * MIB, "{}", house.shared.fetches.held());
    house.stop.send_replace(true);
}

#[tokio::test]
async fn producers_are_told_to_wait_while_the_journal_is_full() {
    let mut client = super::connect_with(MemoryBroker::holding_acks(), Arc::new(NeverTimer));
    client.metadata("t", true).await;
    client.send(ApiKey::Produce, 8, 1, &produce("t", -1, batch(b"v"))).await;
    client.broker.until_appended(1).await;
    client.broker.set_full(true);
    client.broker.release(0);
    let (_, response) = client.receive::<theirs::ProduceResponse>(8).await;
    assert_eq!((produced(&response), response.throttle_time_ms), ((0, 0), 100));
    client.broker.set_full(false);
    client.send(ApiKey::Produce, 8, 2, &produce("t", -1, batch(b"v"))).await;
    client.broker.until_appended(2).await;
    client.broker.release(1);
    let (_, response) = client.receive::<theirs::ProduceResponse>(8).await;
    assert_eq!(response.throttle_time_ms, 0);
}
