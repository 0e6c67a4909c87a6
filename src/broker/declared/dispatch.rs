//! Ready messages to consumers that can take some. Part of `broker::declared`.

use std::sync::Arc;

use crate::metrics::LocalCounters;
use crate::model::ids::ConnectionId;

use super::super::Broker;
use super::super::consumer::Encodings;
use super::queue::DeclaredQueue;

impl Broker {
    /// Hands out what is ready, in order, until nobody can take more or enough was done for once (somebody is
    /// called to go on then). `connection` is the caller's: its consumers may have got credit or room.
    ///
    /// Called by a connection's task after [`super::super::consumer::QueueConsumer::ready`], after
    /// acknowledgements, after consuming and when there is room again; never by the applier. The caller flushes.
    pub fn dispatch(
        &self,
        _queue: &Arc<DeclaredQueue>,
        _connection: ConnectionId,
        _encodings: &mut Encodings,
        _counters: &mut LocalCounters,
        _now_ms: u64,
    ) {
    }
}
