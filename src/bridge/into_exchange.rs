//! From a topic to an exchange and a routing key. Part of `bridge`; pure.

use crate::bridge::template::{RenderError, RouteContext, Template};
use crate::model::routing_key::{KEY_BYTES_MAX, to_key};
use crate::model::topic::TopicFilter;

/// Carries what a filter catches into an exchange.
#[derive(Clone, Debug)]
pub struct IntoExchange {
    /// Which topics it carries.
    pub filter: TopicFilter,
    /// Name of the exchange.
    pub exchange: Box<str>,
    /// What it is declared as if it is not there.
    pub exchange_type: Box<str>,
    pub(super) key: Template,
}

impl IntoExchange {
    /// The routing key of messages with `context`'s topic and publisher.
    ///
    /// What is filled in stands in the key as the topic's levels do: `/` and `.` change places.
    ///
    /// # Errors
    /// The publisher lacks what the template names, or the key would not fit.
    pub fn key(&self, context: &RouteContext<'_>) -> Result<String, RenderError> {
        let mut key = Vec::new();
        self.key.render_with(context, &mut key, |value, out| {
            let mapped = to_key(value).map_err(|_| RenderError::Unmapped)?;
            out.extend_from_slice(mapped.as_bytes());
            Ok(())
        })?;
        if key.len() > KEY_BYTES_MAX {
            return Err(RenderError::Unmapped);
        }
        String::from_utf8(key).map_err(|_| RenderError::Unmapped)
    }
}
