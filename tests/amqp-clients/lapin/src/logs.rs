//! Publish/subscribe, routing and topics: the same log lines through three types of exchange.

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::{Outcome, body, consume, next, own_queue, text};

/// One of the tutorials' exchanges.
pub struct Logs {
    exchange: &'static str,
    kind: ExchangeKind,
}

pub const FANOUT: Logs = Logs { exchange: "logs", kind: ExchangeKind::Fanout };
pub const DIRECT: Logs = Logs { exchange: "direct_logs", kind: ExchangeKind::Direct };
pub const TOPIC: Logs = Logs { exchange: "topic_logs", kind: ExchangeKind::Topic };

impl Logs {
    async fn declare(&self, channel: &Channel) -> Outcome {
        channel
            .exchange_declare(
                self.exchange.into(),
                self.kind.clone(),
                ExchangeDeclareOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(())
    }

    /// One line under a routing key.
    pub async fn emit(&self, channel: &Channel, key: &str, line: &str) -> Outcome {
        self.declare(channel).await?;
        channel
            .basic_publish(
                self.exchange.into(),
                key.into(),
                BasicPublishOptions::default(),
                line.as_bytes(),
                BasicProperties::default(),
            )
            .await?;
        let prefix = if key.is_empty() { String::new() } else { format!("{key}: ") };
        println!("sent {prefix}{line}");
        Ok(())
    }

    /// The first word is the key, the rest the line.
    pub async fn emit_under(
        &self,
        channel: &Channel,
        words: &[String],
        otherwise: &str,
    ) -> Outcome {
        let (key, rest) =
            words.split_first().map_or((otherwise, words), |(key, rest)| (key.as_str(), rest));
        self.emit(channel, key, &text(rest, "Hello World!")).await
    }

    /// Prints what comes by these keys into a queue of its own.
    pub async fn receive(&self, channel: &Channel, keys: &[String]) -> Outcome {
        self.declare(channel).await?;
        let queue = own_queue(channel).await?;
        let name = queue.name().as_str();
        for key in keys {
            channel
                .queue_bind(
                    name.into(),
                    self.exchange.into(),
                    key.as_str().into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
        }
        let mut consumer = consume(channel, name, true).await?;
        println!("waiting");
        loop {
            let delivery = next(&mut consumer).await?;
            let key = delivery.routing_key.as_str();
            let prefix = if key.is_empty() { String::new() } else { format!("{key}: ") };
            println!("received {prefix}{}", body(&delivery));
        }
    }
}
