//! From a routing key to a topic. Part of `bridge`; pure.

use crate::bridge::template::{RenderError, RouteContext, Template};
use crate::model::routing_key::{to_topic, to_topic_escaped};
use crate::model::topic::{TopicFilter, check_topic_name};

/// Carries what a binding catches into the topic tree.
#[derive(Clone, Debug)]
pub struct IntoTree {
    /// Name of the exchange.
    pub exchange: Box<str>,
    /// What it is declared as if it is not there.
    pub exchange_type: Box<str>,
    /// Binding key.
    pub binding: Box<str>,
    /// The binding as a filter: what the template's places refer to.
    pub filter: TopicFilter,
    /// Keys without a topic are percent-escaped instead of refused.
    pub escapes: bool,
    pub(super) topic: Template,
}

impl IntoTree {
    /// The topic of messages with routing key `key`.
    ///
    /// # Errors
    /// The key has no topic, or what the template gives is none.
    pub fn topic(&self, key: &str) -> Result<String, RenderError> {
        let mapped = if self.escapes {
            to_topic_escaped(key)
        } else {
            to_topic(key).map_err(|_| RenderError::Unmapped)?
        };
        let context = RouteContext {
            topic: &mapped,
            client_id: "",
            username: None,
            properties: &[],
            payload: &[],
        };
        let mut topic = Vec::new();
        self.topic.render(&context, &mut topic)?;
        check_topic_name(&topic).map_err(|_| RenderError::Unmapped)?;
        String::from_utf8(topic).map_err(|_| RenderError::Unmapped)
    }
}
