//! What other threads hold of a connection: its buffer, and what is left for its task. Part of `amqp`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::auth::Principal;
use crate::auth::authenticator::AuthError;
use crate::auth::checks::Applicant;
use crate::broker::consumer::{Completer, Outcome};
use crate::broker::declared::queue::DeclaredQueue;
use crate::model::ids::ConsumerId;
use crate::net::outbound::{Outbound, READY, TIMER};
use crate::server::timer::Timed;

/// What other threads hold of a connection.
pub struct Link {
    /// Its frames.
    pub outbound: Arc<Outbound>,
    inbox: Mutex<Inbox>,
    /// A consumer was refused for want of room in the buffer.
    starved: AtomicBool,
}

/// What was left for the connection's task.
#[derive(Default)]
pub struct Inbox {
    /// Outcomes of records, by token.
    pub outcomes: Vec<(u64, Outcome)>,
    /// The verdict on a login.
    pub login: Option<Result<Principal, AuthError>>,
    /// Consumers whose queue has something for them, with their channels.
    pub ready: Vec<(u16, ConsumerId)>,
    /// Consumers whose queue is gone, with their channels.
    pub cancelled: Vec<(u16, ConsumerId)>,
    /// Queues to be dispatched whose consumers are anybody's.
    pub lent: Vec<Arc<DeclaredQueue>>,
    /// Nobody reads it any more.
    over: bool,
}

impl Link {
    /// A link to a connection that has said nothing yet.
    #[must_use]
    pub fn new(outbound: Arc<Outbound>) -> Arc<Self> {
        Arc::new(Self { outbound, inbox: Mutex::default(), starved: AtomicBool::new(false) })
    }

    /// Takes what was left.
    pub fn take_inbox(&self) -> Inbox {
        std::mem::take(&mut *self.inbox.lock())
    }

    /// Ends the inbox; returns queues that were left and that somebody else must dispatch now.
    pub fn close_inbox(&self) -> Vec<Arc<DeclaredQueue>> {
        let mut inbox = self.inbox.lock();
        inbox.over = true;
        std::mem::take(&mut inbox.lent)
    }

    /// A consumer was refused for want of room: its queue is to be asked again when there is some.
    pub fn starve(&self) {
        self.starved.store(true, Ordering::Release);
    }

    /// Whether somebody was, since the last call, and there is room now. If there is not, the task will be woken.
    pub fn take_starved(&self) -> bool {
        self.starved.load(Ordering::Acquire)
            && self.outbound.has_room()
            && self.starved.swap(false, Ordering::AcqRel)
    }

    /// Has the connection's task dispatch the queue of a consumer.
    pub fn call(&self, channel: u16, consumer: ConsumerId) {
        self.inbox.lock().ready.push((channel, consumer));
        self.outbound.signal(READY);
    }

    /// Has the connection's task end a consumer whose queue is gone.
    pub fn cancelled(&self, channel: u16, consumer: ConsumerId) {
        self.inbox.lock().cancelled.push((channel, consumer));
        self.outbound.signal(READY);
    }
}

impl Applicant for Link {
    fn is_gone(&self) -> bool {
        self.outbound.is_closed()
    }

    /// Leaves the verdict and wakes the task.
    fn decided(&self, verdict: Result<Principal, AuthError>) {
        self.inbox.lock().login = Some(verdict);
        self.outbound.signal(READY);
    }
}

impl Completer for Link {
    fn complete(&self, token: u64, outcome: Outcome) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.outcomes.push((token, outcome));
        inbox.outcomes.len() == 1
    }

    fn wake(&self) {
        self.outbound.signal(READY);
    }

    fn lend(&self, queue: &Arc<DeclaredQueue>) -> bool {
        let mut inbox = self.inbox.lock();
        if !inbox.over {
            inbox.lent.push(Arc::clone(queue));
        }
        !inbox.over
    }
}

impl Timed for Link {
    fn fire(&self, _now_ms: u64) {
        self.outbound.signal(TIMER);
    }
}
