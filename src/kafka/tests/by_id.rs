//! Logs named by the id that they were given, as Produce does from version 13 and Fetch too.

use kafka_protocol::messages as theirs;
use kafka_protocol::messages::ApiKey;

use crate::kafka::tests::double::MemoryBroker;
use crate::kafka::tests::{batch, connect, fetch, produce, produced};

#[tokio::test]
async fn logs_are_written_and_read_by_id() {
    let mut client = connect(MemoryBroker::default());
    let id = client.metadata("t", true).await.topics[0].topic_id;
    let mut request = produce("", -1, batch(b"v"));
    request.topic_data[0].topic_id = id;
    client.send(ApiKey::Produce, 13, 1, &request).await;
    let (_, response) = client.receive::<theirs::ProduceResponse>(13).await;
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(produced(&response), (0, 0));
    let mut request = fetch("", 0, 1);
    request.topics[0].topic_id = id;
    client.send(ApiKey::Fetch, 18, 2, &request).await;
    let (_, response) = client.receive::<theirs::FetchResponse>(18).await;
    assert_eq!(response.responses[0].topic_id, id);
    assert!(!response.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
}

#[tokio::test]
async fn an_id_that_no_log_has_gets_a_code_of_its_own() {
    let mut client = connect(MemoryBroker::default());
    let id = client.metadata("t", true).await.topics[0].topic_id;
    let mut request = produce("", -1, batch(b"v"));
    request.topic_data[0].topic_id = "01010101-0101-0101-0101-010101010101".parse().unwrap();
    client.send(ApiKey::Produce, 13, 1, &request).await;
    let (_, response) = client.receive::<theirs::ProduceResponse>(13).await;
    assert_eq!(produced(&response), (100, -1));
    // A log that is there and has no such partition keeps the usual code.
    request.topic_data[0].topic_id = id;
    request.topic_data[0].partition_data[0].index = 9;
    client.send(ApiKey::Produce, 13, 2, &request).await;
    let (_, response) = client.receive::<theirs::ProduceResponse>(13).await;
    assert_eq!(produced(&response), (3, -1));
}
