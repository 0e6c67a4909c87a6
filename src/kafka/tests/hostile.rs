//! Every request served, whole and changed at random, at the service itself: it answers or closes.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kafka::codec::api;
use crate::kafka::codec::messages::tests::hostile::{Dice, all, change};
use crate::kafka::tests::connect_with;
use crate::kafka::tests::double::{MemoryBroker, RealTimer};

/// A request behind its length and header.
fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("tester")))
        .encode(&mut out, ApiKey::try_from(key).unwrap().request_header_version(version))
        .unwrap();
    out.extend_from_slice(body);
    [&(out.len() as u32).to_be_bytes()[..], &out].concat()
}

/// Sends `bytes` on a connection of its own and waits for its end; a panic would be an error of the join.
async fn send_and_leave(bytes: &[u8]) -> usize {
    let mut client = connect_with(MemoryBroker::default(), Arc::new(RealTimer));
    client.metadata("t", true).await;
    client.stream.write_all(bytes).await.unwrap();
    client.stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).await.unwrap();
    drop(client.served.await.unwrap());
    answer.len()
}

#[tokio::test]
async fn every_request_served_may_be_changed_at_will() {
    let rounds = if std::env::var_os("RIALTO_LONG").is_some() { 200 } else { 4 };
    let mut dice = Dice(11);
    for range in api::served() {
        for sample in all().iter().filter(|sample| sample.api == range.api) {
            send_and_leave(&frame(range.key, sample.version, &sample.body)).await;
            for _ in 0..rounds {
                let mut body = sample.body.clone();
                change(&mut body, &mut dice);
                send_and_leave(&frame(range.key, sample.version, &body)).await;
            }
        }
    }
}

/// What the samples name does not exist, so no request has to wait for anything but itself.
#[tokio::test]
async fn every_request_served_is_answered() {
    for range in api::served() {
        for sample in all().iter().filter(|sample| sample.api == range.api) {
            let mut client = connect_with(MemoryBroker::default(), Arc::new(RealTimer));
            let bytes = frame(range.key, sample.version, &sample.body);
            client.stream.write_all(&bytes).await.unwrap();
            let length = client.stream.read_u32().await.unwrap();
            assert!(length >= 4, "{:?} {}", range.api, sample.version);
        }
    }
}
