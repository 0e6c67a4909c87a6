//! From a message to log name, key and partition. Part of `bridge`; pure.

use crate::bridge::template::{RenderError, RouteContext, Template};
use crate::broker::logs::name;
use crate::model::topic::TopicFilter;

/// Carries what a filter catches into a log.
#[derive(Clone, Debug)]
pub struct IntoLog {
    /// Which topics it carries.
    pub filter: TopicFilter,
    /// Partitions of a log that this route creates; `None` is the broker's default.
    pub partitions: Option<u32>,
    pub(super) log: Template,
    /// `None`: records have no key.
    pub(super) key: Option<Template>,
    pub(super) partition: Option<Template>,
}

/// Where one message goes. Kept by the caller and filled again and again, so that a route allocates nothing
/// per message once its buffers have grown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    log: Vec<u8>,
    key: Vec<u8>,
    has_key: bool,
    partition: Option<u32>,
    scratch: Vec<u8>,
}

impl IntoLog {
    /// The log's name, if every message goes into the same one.
    #[must_use]
    pub fn fixed_log(&self) -> Option<&str> {
        self.log.fixed()
    }

    /// Works out where `message`, matched by [`IntoLog::filter`], goes.
    ///
    /// # Errors
    /// The message lacks what a template names, or gives no log name or partition. It is then counted and not
    /// carried; `target` holds nothing of use.
    pub fn aim(&self, message: &RouteContext<'_>, target: &mut Target) -> Result<(), RenderError> {
        target.log.clear();
        target.key.clear();
        self.log.render(message, &mut target.log)?;
        if !std::str::from_utf8(&target.log).is_ok_and(name::is_valid) {
            return Err(RenderError::BadLogName);
        }
        target.has_key = self.key.is_some();
        if let Some(key) = &self.key {
            key.render(message, &mut target.key)?;
        }
        target.partition = None;
        if let Some(partition) = &self.partition {
            target.scratch.clear();
            partition.render(message, &mut target.scratch)?;
            let number = parse_partition(&target.scratch).ok_or(RenderError::BadPartition)?;
            target.partition = Some(number);
        }
        Ok(())
    }
}

impl Target {
    /// The log's name; valid after [`IntoLog::aim`] succeeded.
    #[must_use]
    pub fn log(&self) -> &str {
        std::str::from_utf8(&self.log).unwrap_or_default()
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(&*self.key)
    }

    /// The partition that the route names, if it names one.
    #[must_use]
    pub fn explicit(&self) -> Option<u32> {
        self.partition
    }
}

/// Digits only: what `u32` parses besides (`+1`) is no partition that somebody meant.
pub(super) fn parse_partition(text: &[u8]) -> Option<u32> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
