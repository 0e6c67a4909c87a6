//! RPC: Fibonacci numbers asked for by message, answered where and under which id the question says.

use lapin::options::{BasicAckOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};

use crate::{Outcome, body, consume, next, own_queue};

const QUEUE: &str = "rpc_queue";

fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

pub async fn server(channel: &Channel) -> Outcome {
    channel
        .queue_declare(QUEUE.into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let mut consumer = consume(channel, QUEUE, false).await?;
    println!("waiting");
    loop {
        let delivery = next(&mut consumer).await?;
        let n: u64 = body(&delivery).parse()?;
        println!("asked for fib({n})");
        let asked = &delivery.properties;
        let reply_to = asked.reply_to().clone().ok_or("no reply-to")?;
        let id = asked.correlation_id().clone().ok_or("no correlation id")?;
        channel
            .basic_publish(
                "".into(),
                reply_to,
                BasicPublishOptions::default(),
                fib(n).to_string().as_bytes(),
                BasicProperties::default().with_correlation_id(id),
            )
            .await?;
        delivery.ack(BasicAckOptions::default()).await?;
    }
}

pub async fn client(channel: &Channel, n: &str) -> Outcome {
    let callback = own_queue(channel).await?;
    let mut answers = consume(channel, callback.name().as_str(), true).await?;
    let id = ShortString::from(format!("question-{}", std::process::id()));
    channel
        .basic_publish(
            "".into(),
            QUEUE.into(),
            BasicPublishOptions::default(),
            n.as_bytes(),
            BasicProperties::default()
                .with_reply_to(callback.name().clone())
                .with_correlation_id(id.clone()),
        )
        .await?;
    loop {
        let answer = next(&mut answers).await?;
        if answer.properties.correlation_id().as_ref() == Some(&id) {
            println!("fib({n}) = {}", body(&answer));
            return Ok(());
        }
    }
}
