//! The channels of a connection: which are open, which are closing, what has arrived on them. Part of
//! `amqp::connection`.

use std::collections::HashMap;

use ahash::RandomState;

use super::assembly::Assembly;

/// What may come on a channel.
#[derive(Debug)]
pub(super) enum Channel {
    /// Methods; while a content is gathered only its frames.
    Open(Option<Box<Assembly>>),
    /// `channel.close` was sent: nothing but its answer counts.
    Closing,
}

/// All channels that are not free.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_number: HashMap<u16, Channel, RandomState>,
    /// What all assemblies together keep.
    unfinished_bytes: usize,
}

impl Channels {
    /// Those that are open or closing.
    pub(super) fn count(&self) -> usize {
        self.by_number.len()
    }

    #[inline]
    pub(super) fn find(&self, number: u16) -> Option<&Channel> {
        self.by_number.get(&number)
    }

    pub(super) fn open(&mut self, number: u16) {
        self.by_number.insert(number, Channel::Open(None));
    }

    /// The channel is closing; false if it was free or closing already.
    pub(super) fn close(&mut self, number: u16) -> bool {
        drop(self.take(number));
        match self.by_number.get_mut(&number) {
            Some(channel @ Channel::Open(_)) => {
                *channel = Channel::Closing;
                true
            }
            Some(Channel::Closing) | None => false,
        }
    }

    /// The number is free again.
    pub(super) fn free(&mut self, number: u16) {
        drop(self.take(number));
        self.by_number.remove(&number);
    }

    /// Takes what has arrived of a message.
    pub(super) fn take(&mut self, number: u16) -> Option<Box<Assembly>> {
        let Some(Channel::Open(assembly)) = self.by_number.get_mut(&number) else { return None };
        let taken = assembly.take()?;
        self.unfinished_bytes = self.unfinished_bytes.saturating_sub(taken.kept_bytes());
        Some(taken)
    }

    /// Keeps what has arrived of a message; the channel is open and keeps nothing else.
    pub(super) fn keep(&mut self, number: u16, unfinished: Box<Assembly>) {
        if let Some(Channel::Open(assembly)) = self.by_number.get_mut(&number) {
            self.unfinished_bytes += unfinished.kept_bytes();
            *assembly = Some(unfinished);
        }
    }

    /// What is kept of messages.
    pub(super) const fn unfinished_bytes(&self) -> usize {
        self.unfinished_bytes
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
