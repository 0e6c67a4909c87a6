//! rumqttc's client for MQTT 3.1.1.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, LastWill, MqttOptions, Outgoing,
    Packet, QoS, SubscribeReasonCode, qos,
};
use serde_json::{Value, json};

use crate::{
    Orders, Outcome, PACKET_BYTES_MAX, PAUSE, Shared, bytes_of, flag, hex, number, say, text,
    transport,
};

pub async fn run(connect: &Value, mut orders: Orders) -> Outcome {
    let (client, mut events) = AsyncClient::new(options(connect)?, 1000);
    let shared = Arc::new(Shared::default());
    let also = shared.clone();
    // Apart from the connection, which must be polled while an order waits for room.
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            if let Err(error) = carry_out(&client, &order, &also).await {
                eprintln!("{order}: {error}");
                std::process::exit(1);
            }
        }
        std::process::exit(0);
    });
    loop {
        match events.poll().await {
            Ok(event) => tell(event, &shared)?,
            Err(error) => {
                failed(error)?;
                if shared.leaving.load(Ordering::SeqCst) {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn options(order: &Value) -> Outcome<MqttOptions> {
    let port = u16::try_from(number(order, "port"))?;
    let mut options = MqttOptions::new(text(order, "id"), "localhost", port);
    options.set_keep_alive(Duration::from_secs(number(order, "keepalive")));
    options.set_clean_session(flag(order, "clean"));
    options.set_transport(transport(order)?);
    options.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    if order["username"].is_string() {
        options.set_credentials(text(order, "username"), text(order, "password"));
    }
    let will = &order["will"];
    if will.is_object() {
        let qos = level(will)?;
        options.set_last_will(LastWill::new(
            text(will, "topic"),
            bytes_of(will, "payload"),
            qos,
            flag(will, "retain"),
        ));
    }
    Ok(options)
}

fn level(order: &Value) -> Outcome<QoS> {
    Ok(qos(u8::try_from(number(order, "qos"))?)?)
}

async fn carry_out(client: &AsyncClient, order: &Value, shared: &Shared) -> Outcome {
    match order["order"].as_str() {
        Some("publish") => {
            shared.asked(number(order, "number"))?;
            let (topic, payload) = (text(order, "topic"), bytes_of(order, "payload"));
            client.publish(topic, level(order)?, flag(order, "retain"), payload).await?;
        }
        Some("subscribe") => client.subscribe(text(order, "filter"), level(order)?).await?,
        Some("unsubscribe") => client.unsubscribe(text(order, "filter")).await?,
        Some("disconnect") => {
            shared.leaving.store(true, Ordering::SeqCst);
            client.disconnect().await?;
        }
        _ => return Err(format!("no such order: {order}").into()),
    }
    Ok(())
}

fn tell(event: Event, shared: &Shared) -> Outcome {
    match event {
        Event::Outgoing(Outgoing::Publish(mid)) => shared.sent(mid),
        Event::Incoming(Packet::PubAck(ack)) => shared.done(ack.pkid, 0),
        Event::Incoming(Packet::PubComp(ack)) => shared.done(ack.pkid, 0),
        Event::Incoming(Packet::ConnAck(ack)) => say(
            json!({"event": "connected", "code": ack.code as u8, "present": ack.session_present}),
        ),
        Event::Incoming(Packet::SubAck(ack)) => {
            let codes: Vec<u8> = ack.return_codes.iter().map(granted).collect();
            say(json!({"event": "subscribed", "codes": codes}))
        }
        Event::Incoming(Packet::UnsubAck(_)) => say(json!({"event": "unsubscribed"})),
        Event::Incoming(Packet::Publish(got)) => say(json!({
            "event": "message", "topic": got.topic, "payload": hex(&got.payload), "qos": got.qos as u8,
            "retain": got.retain, "dup": got.dup, "properties": {},
        })),
        _ => Ok(()),
    }
}

fn granted(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::Failure => 0x80,
    }
}

fn failed(error: ConnectionError) -> Outcome {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            say(json!({"event": "connected", "code": refusal(code), "present": false}))
        }
        other => say(json!({"event": "closed", "why": other.to_string()})),
    }
}

fn refusal(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::RefusedProtocolVersion => 1,
        ConnectReturnCode::BadClientId => 2,
        ConnectReturnCode::ServiceUnavailable => 3,
        ConnectReturnCode::BadUserNamePassword => 4,
        ConnectReturnCode::NotAuthorized => 5,
    }
}
