//! Acknowledgements, both ways. Part of `broker`.

use std::num::NonZeroU16;

use crate::metrics::LocalCounters;
use crate::store::journal::SubmitError;

use super::Broker;
use super::connect::SessionHandle;
use super::consumer::{Encodings, Waiter};
use super::publish::drop_reason;
use super::record::Record;
use super::sessions::pull::{Acknowledged, Settled};
use super::shares::holding::Answered;

/// What a receiver's PUBREC came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// PUBREL may leave.
    AtOnce,
    /// PUBREL waits for the waiter.
    Waits,
    /// Nothing of that identifier is in flight.
    Unknown,
    /// The message of that identifier is not of QoS 2.
    OutOfTurn,
}

impl Broker {
    /// The receiver is done with `id`, as `how` says. Durable positions are gathered in `settled` for one record a
    /// read batch.
    pub fn acknowledge(
        &self,
        handle: &SessionHandle,
        id: NonZeroU16,
        how: Acknowledged,
        settled: &mut Vec<u64>,
    ) -> Settled {
        let done = handle.session.settle(handle.epoch, id, how);
        if done == Settled::Unknown {
            return self.answered(handle.session.settle_held(handle.epoch, id, how));
        }
        if let Settled::Position(position) = done
            && handle.session.durable
        {
            settled.push(position);
        }
        done
    }

    /// The same for a message of a share group; its queue's record follows with the read batch.
    fn answered(&self, answered: Answered) -> Settled {
        match answered {
            Answered::Done(queue, place) => {
                self.settle_places(&queue, &[place]);
                Settled::Shared
            }
            Answered::Again => Settled::Shared,
            Answered::Unknown => Settled::Unknown,
            Answered::OutOfTurn => Settled::OutOfTurn,
        }
    }

    /// PUBREC of a message of a share group that no record keeps for the session.
    fn release_shared(&self, handle: &SessionHandle, id: NonZeroU16) -> Released {
        match self.answered(handle.session.release_held(handle.epoch, id)) {
            Settled::Shared => Released::AtOnce,
            Settled::OutOfTurn => Released::OutOfTurn,
            Settled::Position(_) | Settled::Unknown => Released::Unknown,
        }
    }

    /// Submits what was gathered; nobody waits for it.
    pub fn submit_settled(&self, handle: &SessionHandle, settled: &mut Vec<u64>) {
        let touched = std::mem::take(&mut handle.session.inner.lock().shares.touched);
        touched.iter().for_each(|queue| self.submit_settled_places(queue));
        if settled.is_empty() {
            return;
        }
        let positions = std::mem::take(settled);
        let record = Record::Settle { queue: handle.session.id, positions };
        if self.submit_in_time(&record).is_err()
            && let Record::Settle { positions, .. } = record
        {
            // Kept for the next read batch: without the record a restart would send these again.
            *settled = positions;
        }
    }

    /// The receiver holds QoS 2 message `id`. For a durable session PUBREL must wait for the waiter.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn release(
        &self,
        handle: &SessionHandle,
        id: NonZeroU16,
        waiter: Waiter,
    ) -> Result<Released, SubmitError> {
        let position = match handle.session.release(handle.epoch, id) {
            Settled::Position(position) => position,
            Settled::Unknown => return Ok(self.release_shared(handle, id)),
            Settled::Shared | Settled::OutOfTurn => return Ok(Released::OutOfTurn),
        };
        if !handle.session.durable {
            return Ok(Released::AtOnce);
        }
        self.submit(Some(waiter), &Record::Release { queue: handle.session.id, position })?;
        Ok(Released::Waits)
    }

    /// The publisher released its QoS 2 identifier `id`; PUBCOMP of a durable session waits for the waiter.
    /// Only for the connection that has the session when it is applied: by then another one may use the
    /// identifier again.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn forget_inbound(
        &self,
        handle: &SessionHandle,
        id: NonZeroU16,
        waiter: Waiter,
    ) -> Result<(), SubmitError> {
        let (session, epoch) = (handle.session.id, handle.epoch);
        let record = Record::ForgetInbound { session, epoch, packet_id: id.get() };
        self.submit(Some(waiter), &record).map(|_| ())
    }

    /// QoS 2 identifiers that a resumed session has taken and not released.
    #[must_use]
    pub fn inbound_ids(&self, handle: &SessionHandle) -> Vec<u16> {
        handle.session.inner.lock().state.inbound.iter().copied().collect()
    }

    /// Hands queued messages to the connection while its window is open.
    ///
    /// # Errors
    /// A body cannot be read; the connection should end, its messages stay.
    pub fn pull(
        &self,
        handle: &SessionHandle,
        encodings: &mut Encodings,
        counters: &mut LocalCounters,
        settled: &mut Vec<u64>,
        now_ms: u64,
    ) -> Result<(), String> {
        let applied = self.applied_lsn().0;
        let session = &handle.session;
        let (bodies, paging) = (&*self.bodies, &self.paging);
        let pulled = session.pull(handle.epoch, applied, now_ms, bodies, paging, encodings);
        for (total, more) in counters.delivered.iter_mut().zip(pulled.delivered) {
            *total += more;
        }
        counters.payload_sent += pulled.payload_bytes;
        for why in pulled.reasons {
            counters.drop_messages(drop_reason(why), 1);
        }
        settled.extend(pulled.dropped);
        if let Some(lsn) = pulled.waits_for {
            self.wake_when_applied(lsn, session);
        }
        pulled.failed.map_or(Ok(()), Err)
    }
}
