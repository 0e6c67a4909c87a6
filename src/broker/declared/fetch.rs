//! One message to whoever asks. Part of `broker::declared`.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::metrics::LocalCounters;
use crate::model::ids::ConnectionId;

use super::super::Broker;
use super::super::consumer::Delivery;
use super::queue::DeclaredQueue;
use super::verbs::ConsumeError;

impl Broker {
    /// Takes the first ready message out and shows it to `take`, with the number of those that are ready behind
    /// it; `None` when there is none. With `no_ack` it is gone afterwards, else the caller answers for its place.
    ///
    /// # Errors
    /// [`ConsumeError`]; nothing was taken.
    pub fn fetch<R>(
        &self,
        _who: &Principal,
        _queue: &Arc<DeclaredQueue>,
        _connection: ConnectionId,
        _no_ack: bool,
        _counters: &mut LocalCounters,
        _now_ms: u64,
        _take: impl FnOnce(&Delivery<'_>, u64) -> R,
    ) -> Result<Option<R>, ConsumeError> {
        Ok(None)
    }
}
