//! Hello world: one message through the queue `hello`.

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};

use crate::{Outcome, body, consume, next};

const QUEUE: &str = "hello";

pub async fn send(channel: &Channel) -> Outcome {
    channel
        .queue_declare(QUEUE.into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    channel
        .basic_publish(
            "".into(),
            QUEUE.into(),
            BasicPublishOptions::default(),
            b"Hello World!",
            BasicProperties::default(),
        )
        .await?;
    println!("sent Hello World!");
    Ok(())
}

pub async fn receive(channel: &Channel) -> Outcome {
    channel
        .queue_declare(QUEUE.into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    let mut consumer = consume(channel, QUEUE, true).await?;
    println!("waiting");
    loop {
        println!("received {}", body(&next(&mut consumer).await?));
    }
}
