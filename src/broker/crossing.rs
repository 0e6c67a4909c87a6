//! A message seen from the topic tree, wherever it was published. Part of `broker`.
//!
//! A message is stored as it came; what was published to an exchange is converted where it meets a session or a
//! log (design §4). The other direction is the AMQP service's, which encodes what it delivers.

use crate::model::content::Properties;
use crate::model::crossing::content_to_topic;
use crate::model::routing_key::to_topic;

use super::message::{Form, Message};
use super::via::Via;

/// Most bytes of properties that a converted message carries: an MQTT client's packets are not larger by default.
const PROPERTIES_BYTES_MAX: usize = 256 << 10;

/// What a converted message borrows from.
#[derive(Debug, Default)]
pub struct TopicView {
    topic: String,
    properties: Vec<u8>,
}

/// Why a message cannot be seen from the topic tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Its routing key has no topic.
    #[error("the routing key is no topic")]
    NoTopic,
}

impl TopicView {
    /// `message` under its topic, or under the topic that `via` names.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn of<'a>(
        &'a mut self,
        message: &Message<'a>,
        via: Option<&'a Via>,
    ) -> Result<Message<'a>, ViewError> {
        let named = match via {
            Some(Via::Topic(topic)) => Some(&**topic),
            _ => None,
        };
        let Form::Exchange(_) = message.form else {
            return Ok(Message { topic: named.unwrap_or(message.topic), ..*message });
        };
        self.properties.clear();
        let properties = Properties::stored(message.properties);
        content_to_topic(&properties, PROPERTIES_BYTES_MAX, &mut self.properties);
        if named.is_none() {
            self.topic = to_topic(message.topic).map_err(|_| ViewError::NoTopic)?.into_owned();
        }
        Ok(Message {
            topic: named.unwrap_or(&self.topic),
            properties: &self.properties,
            form: Form::Topic,
            ..*message
        })
    }
}
