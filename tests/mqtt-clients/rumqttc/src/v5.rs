//! rumqttc's client for MQTT 5.0.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason,
    PublishProperties, RetainForwardRule, SubscribeProperties, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{QoS, qos};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use serde_json::{Map, Value, json};

use crate::{
    Orders, Outcome, PACKET_BYTES_MAX, PAUSE, Shared, bytes_of, flag, hex, number, optional, say,
    text, transport,
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
    options.set_clean_start(flag(order, "clean"));
    options.set_transport(transport(order)?);
    options.set_max_packet_size(Some(PACKET_BYTES_MAX));
    options.set_session_expiry_interval(optional(order, "expiry"));
    options.set_receive_maximum(optional(order, "receive_maximum"));
    options.set_topic_alias_max(optional(order, "alias_maximum"));
    if order["username"].is_string() {
        options.set_credentials(text(order, "username"), text(order, "password"));
    }
    let will = &order["will"];
    if will.is_object() {
        let properties = LastWillProperties {
            delay_interval: optional(will, "delay"),
            user_properties: pairs(&will["properties"]),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: words(&will["properties"], "content_type"),
            response_topic: None,
            correlation_data: None,
        };
        let (topic, payload) = (text(will, "topic"), bytes_of(will, "payload"));
        options.set_last_will(LastWill::new(
            topic,
            payload,
            level(will)?,
            flag(will, "retain"),
            Some(properties),
        ));
    }
    Ok(options)
}

fn level(order: &Value) -> Outcome<QoS> {
    Ok(qos(u8::try_from(number(order, "qos"))?).ok_or("no such QoS")?)
}

fn pairs(properties: &Value) -> Vec<(String, String)> {
    let all = properties["user"].as_array().map(Vec::as_slice).unwrap_or(&[]);
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    all.iter().map(|pair| (word(&pair[0]), word(&pair[1]))).collect()
}

fn words(properties: &Value, name: &str) -> Option<String> {
    properties[name].as_str().map(str::to_owned)
}

fn publish_properties(given: &Value) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: optional(given, "payload_format"),
        message_expiry_interval: optional(given, "message_expiry"),
        topic_alias: optional(given, "topic_alias"),
        response_topic: words(given, "response_topic"),
        correlation_data: given["correlation_data"]
            .is_string()
            .then(|| Bytes::from(bytes_of(given, "correlation_data"))),
        user_properties: pairs(given),
        subscription_identifiers: Vec::new(),
        content_type: words(given, "content_type"),
    }
}

async fn carry_out(client: &AsyncClient, order: &Value, shared: &Shared) -> Outcome {
    match order["order"].as_str() {
        Some("publish") => {
            shared.asked(number(order, "number"))?;
            let (topic, payload) = (text(order, "topic"), bytes_of(order, "payload"));
            let (qos, retain) = (level(order)?, flag(order, "retain"));
            let properties = publish_properties(&order["properties"]);
            client.publish_with_properties(topic, qos, retain, payload, properties).await?;
        }
        Some("subscribe") => subscribe(client, order).await?,
        Some("unsubscribe") => client.unsubscribe(text(order, "filter")).await?,
        Some("disconnect") => {
            shared.leaving.store(true, Ordering::SeqCst);
            client.disconnect().await?;
        }
        _ => return Err(format!("no such order: {order}").into()),
    }
    Ok(())
}

async fn subscribe(client: &AsyncClient, order: &Value) -> Outcome {
    let mut filter = Filter::new(text(order, "filter"), level(order)?);
    filter.nolocal = flag(order, "no_local");
    filter.preserve_retain = flag(order, "as_published");
    filter.retain_forward_rule = match number(order, "handling") {
        1 => RetainForwardRule::OnNewSubscribe,
        2 => RetainForwardRule::Never,
        _ => RetainForwardRule::OnEverySubscribe,
    };
    let properties =
        SubscribeProperties { id: optional(order, "identifier"), user_properties: Vec::new() };
    client.subscribe_many_with_properties([filter], properties).await?;
    Ok(())
}

fn tell(event: Event, shared: &Shared) -> Outcome {
    match event {
        Event::Outgoing(Outgoing::Publish(mid)) => shared.sent(mid),
        Event::Incoming(Packet::PubAck(ack)) => shared.done(ack.pkid, acknowledged(&ack.reason)),
        Event::Incoming(Packet::PubComp(ack)) => shared.done(ack.pkid, 0),
        Event::Incoming(Packet::ConnAck(ack)) => {
            let assigned = ack.properties.and_then(|given| given.assigned_client_identifier);
            say(
                json!({"event": "connected", "code": refusal(ack.code), "present": ack.session_present,
                "assigned": assigned}),
            )
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            let codes: Vec<u8> = ack.return_codes.iter().map(granted).collect();
            say(json!({"event": "subscribed", "codes": codes}))
        }
        Event::Incoming(Packet::UnsubAck(_)) => say(json!({"event": "unsubscribed"})),
        Event::Incoming(Packet::Publish(got)) => say(json!({
            "event": "message", "topic": String::from_utf8_lossy(&got.topic), "payload": hex(&got.payload),
            "qos": got.qos as u8, "retain": got.retain, "dup": got.dup,
            "properties": got.properties.map(came).unwrap_or_default(),
        })),
        _ => Ok(()),
    }
}

/// The properties of a message that came, under the names of the orders.
fn came(properties: PublishProperties) -> Map<String, Value> {
    let mut found = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        value.map(|value| found.insert(name.to_owned(), value));
    };
    put("payload_format", properties.payload_format_indicator.map(Value::from));
    put("message_expiry", properties.message_expiry_interval.map(Value::from));
    put("topic_alias", properties.topic_alias.map(Value::from));
    put("response_topic", properties.response_topic.map(Value::from));
    put("correlation_data", properties.correlation_data.map(|data| hex(&data).into()));
    put("content_type", properties.content_type.map(Value::from));
    let user = properties.user_properties;
    put("user", (!user.is_empty()).then(|| json!(user)));
    let ids = properties.subscription_identifiers;
    put("subscription_id", (!ids.is_empty()).then(|| json!(ids)));
    found
}

fn acknowledged(reason: &PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}

fn granted(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9E,
        _ => 0x80,
    }
}

fn failed(error: ConnectionError) -> Outcome {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            say(json!({"event": "connected", "code": refusal(code), "present": false}))
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            say(json!({"event": "closed", "code": reason_code as u8}))
        }
        other => say(json!({"event": "closed", "why": other.to_string()})),
    }
}

fn refusal(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::ClientIdentifierNotValid => 0x85,
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
        ConnectReturnCode::ServerUnavailable => 0x88,
        ConnectReturnCode::ServerBusy => 0x89,
        _ => 0x80,
    }
}
