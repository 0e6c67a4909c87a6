//! From a log's record to a topic, or to an exchange and a routing key. Part of `bridge`; pure.

use crate::bridge::record_template::RecordTemplate;
use crate::bridge::template::RenderError;
use crate::broker::carry::{Beginning, Outgoing, Outlet};
use crate::model::qos::QoS;
use crate::model::routing_key::KEY_BYTES_MAX;
use crate::model::topic::check_topic_name;

/// Carries what a log holds.
#[derive(Clone, Debug)]
pub struct OutOfLog {
    /// Name of the log.
    pub log: Box<str>,
    /// Where it begins in a log that was there before the route.
    pub beginning: Beginning,
    /// Where it leads.
    pub way: Way,
}

/// Where a route out of a log leads.
#[derive(Clone, Debug)]
pub enum Way {
    /// Into the topic tree.
    Tree {
        /// Template of the topic.
        topic: RecordTemplate,
        /// The promise.
        qos: QoS,
        /// Becomes the topic's retained message.
        retain: bool,
    },
    /// To an exchange.
    Exchange {
        /// Its name.
        exchange: Box<str>,
        /// What it is declared as if it is not there.
        exchange_type: Box<str>,
        /// Template of the routing key.
        key: RecordTemplate,
        /// Delivery mode 2.
        persistent: bool,
    },
}

impl OutOfLog {
    /// Where it leads, as the broker is told.
    #[must_use]
    pub fn outlet(&self) -> Outlet<'_> {
        match &self.way {
            Way::Tree { qos, retain, .. } => Outlet::Tree { qos: *qos, retain: *retain },
            Way::Exchange { exchange, persistent, .. } => {
                Outlet::Exchange { name: exchange, persistent: *persistent }
            }
        }
    }

    /// Appends topic or routing key of `outgoing`'s message to `out`, which was empty.
    ///
    /// # Errors
    /// The record lacks what the template names, or what it gives is none.
    pub fn address(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match &self.way {
            Way::Tree { topic, .. } => {
                topic.render(outgoing, out)?;
                // Topics of the broker's own are for those who name them, not for whoever chooses a key.
                let is_named =
                    matches!(topic.texts().next(), Some(Some(text)) if text.starts_with('$'));
                let is_own = out.first() == Some(&b'$') && !is_named;
                if is_own || check_topic_name(out).is_err() {
                    return Err(RenderError::Unmapped);
                }
            }
            Way::Exchange { key, .. } => {
                key.render(outgoing, out)?;
                if out.len() > KEY_BYTES_MAX {
                    return Err(RenderError::Unmapped);
                }
            }
        }
        Ok(())
    }
}
