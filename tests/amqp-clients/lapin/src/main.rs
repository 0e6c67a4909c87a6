//! RabbitMQ's six tutorials with lapin: each of their programs is a subcommand, so that one link step serves all.
//!
//!     lapin-tutorials receive | send | worker | new_task TEXT | receive_logs | emit_log TEXT | …
//!
//! The broker is at localhost:5672, or where AMQP_URL says.

mod hello;
mod logs;
mod rpc;
mod work;

use std::error::Error;

use futures_lite::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer, Queue};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (program, rest) = arguments.split_first().ok_or("which program?")?;
    let address =
        std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://localhost:5672/%2F".to_owned());
    let connection = Connection::connect(&address, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    match program.as_str() {
        "send" => hello::send(&channel).await?,
        "receive" => hello::receive(&channel).await?,
        "new_task" => work::new_task(&channel, &text(rest, "Hello World!")).await?,
        "worker" => work::worker(&channel).await?,
        "emit_log" => logs::FANOUT.emit(&channel, "", &text(rest, "info: Hello World!")).await?,
        "receive_logs" => logs::FANOUT.receive(&channel, &[String::new()]).await?,
        "emit_log_direct" => logs::DIRECT.emit_under(&channel, rest, "info").await?,
        "receive_logs_direct" => logs::DIRECT.receive(&channel, rest).await?,
        "emit_log_topic" => logs::TOPIC.emit_under(&channel, rest, "anonymous.info").await?,
        "receive_logs_topic" => logs::TOPIC.receive(&channel, rest).await?,
        "rpc_server" => rpc::server(&channel).await?,
        "rpc_client" => rpc::client(&channel, rest.first().map_or("30", String::as_str)).await?,
        other => return Err(format!("no program {other}").into()),
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// The words of the command line as one text.
fn text(words: &[String], otherwise: &str) -> String {
    if words.is_empty() { otherwise.to_owned() } else { words.join(" ") }
}

/// A queue with a name of the server's, which goes with this connection.
async fn own_queue(channel: &Channel) -> Outcome<Queue> {
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare("".into(), options, FieldTable::default()).await?)
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Outcome<Consumer> {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

/// The next message of a consumer that nobody is expected to cancel.
async fn next(consumer: &mut Consumer) -> Outcome<Delivery> {
    Ok(consumer.next().await.ok_or("the consumer was cancelled")??)
}

fn body(delivery: &Delivery) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&delivery.data)
}
