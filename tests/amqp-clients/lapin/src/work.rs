//! Work queues: durable tasks, shared out among workers that take one at a time.

use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};

use crate::{Outcome, body, consume, next};

const QUEUE: &str = "task_queue";
const PERSISTENT: u8 = 2;

async fn declare(channel: &Channel) -> Outcome {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await?;
    Ok(())
}

pub async fn new_task(channel: &Channel, task: &str) -> Outcome {
    declare(channel).await?;
    channel
        .basic_publish(
            "".into(),
            QUEUE.into(),
            BasicPublishOptions::default(),
            task.as_bytes(),
            BasicProperties::default().with_delivery_mode(PERSISTENT),
        )
        .await?;
    println!("sent {task}");
    Ok(())
}

/// Works as long as DOT_SECONDS says for each dot in a task, then acknowledges it.
pub async fn worker(channel: &Channel) -> Outcome {
    declare(channel).await?;
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let dot: f64 = std::env::var("DOT_SECONDS").map_or(Ok(1.0), |seconds| seconds.parse())?;
    let mut consumer = consume(channel, QUEUE, false).await?;
    println!("waiting");
    loop {
        let delivery = next(&mut consumer).await?;
        let task = body(&delivery).into_owned();
        println!("received {task}");
        let dots = task.matches('.').count() as f64;
        tokio::time::sleep(Duration::from_secs_f64(dots * dot)).await;
        delivery.ack(BasicAckOptions::default()).await?;
        println!("done {task}");
    }
}
