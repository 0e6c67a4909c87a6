//! The domain, in no protocol's words: what a publish, a subscription, a session, a log is.
//!
//! Connections call the verbs of [`Broker`]; every verb takes the principal and asks. Durable changes are
//! [`record`]s: submitted to the journal, applied in order by one thread ([`apply`]), frozen by
//! [`checkpoint`]s. Lock order: session registry → retained slot → a vhost's verbs or a group → journal submit → router
//! or live topology → declared queue → session or channel → outbound buffer; no lock is held across a write to disk.
//!
//! - [`message`], [`record`] the bytes of a message and of a journal record; [`via`] an address that replaces its own
//! - [`consumer`] the seam to a connection: deliver, wake, complete; [`pending`] what waits for records there;
//!   [`fanout`] a publish on its way
//! - [`router`] topic filters to destinations; [`crossing`] messages seen from the tree; [`replies`] direct reply-to
//! - [`exchanges`] exchanges, bindings, names of queues
//! - [`shares`] share groups of MQTT
//! - [`sessions`], [`queues`], [`retained`], [`logs`], [`groups`], [`sets`] the state
//! - [`publish`], [`routed`], [`connect`], [`wills`], [`subscribe`], [`replay`], [`settle`], [`append`],
//!   [`log_changes`] the verbs
//! - [`carry`] what a log holds, published again: routes out of logs
//! - [`apply`], [`checkpoint`], [`restore`] records to state, state to disk, disk to state
//! - [`engine`] the threads that apply and checkpoint; [`paging`] queue indexes within their budget
//! - [`audit`] whether rows of a checkpoint are what they must be
//! - [`census`] sessions and subscriptions, counted
//! - [`limits`] what apply and delivery are bounded by; [`backlog`] what waits in all queues; `room` who waits for the
//!   journal's

pub mod append;
pub mod apply;
pub mod audit;
pub mod backlog;
pub mod carry;
pub mod census;
pub mod checkpoint;
pub mod connect;
pub mod consumer;
#[cfg(test)]
mod crash;
pub mod crossing;
pub mod declared;
pub mod engine;
pub mod exchanges;
pub mod fanout;
pub mod groups;
pub mod limits;
pub mod log_changes;
pub mod logs;
pub mod message;
pub mod paging;
pub mod pending;
pub mod publish;
pub mod queues;
pub mod record;
pub mod replay;
pub mod replies;
pub mod restore;
pub mod retained;
mod room;
pub mod routed;
pub mod router;
pub mod sessions;
pub mod sets;
pub mod settle;
pub mod shares;
#[cfg(test)]
mod simulation;
pub mod standing;
pub mod subscribe;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(
    not(test),
    allow(dead_code, unused_imports, unreachable_pub, reason = "the rest is for tests")
)]
pub(crate) mod testbed;
pub mod via;
pub mod wills;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::auth::acl::Acl;
use crate::metrics::Metrics;
use crate::model::ids::{GroupId, Lsn, QueueId};
use crate::store::bodies::BodyStore;
use crate::store::journal::{Journal, SubmitError};
use crate::store::scratch::ScratchStore;

use self::backlog::Backlog;
use self::consumer::{Completer, Waiter};
use self::declared::keeping::Keeping;
use self::declared::registry::DeclaredQueues;
use self::exchanges::Exchanges;
use self::groups::Groups;
use self::limits::Limits;
use self::logs::registry::Logs;
use self::paging::{PageRows, Paging};
use self::queues::meter::Meter;
use self::record::Record;
use self::replies::Replies;
use self::retained::Retained;
use self::room::{Line, Waiting};
use self::router::Router;
use self::sessions::registry::Sessions;
use self::sessions::session::Session;
use self::sets::Sets;
use self::shares::registry::Shares;
use self::standing::Standing;

/// Something the broker must do at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Publish the will that the connection `epoch` left, unless the session was opened again.
    Will(QueueId, u64),
    /// End the session that the connection `epoch` left, unless it was opened again.
    Expiry(QueueId, u64),
    /// Drop what a declared queue holds too long or too much of, or a session too much of.
    TidyQueue(QueueId),
    /// Delete a declared queue unless somebody used it meanwhile.
    IdleQueue(QueueId),
    /// Give up what logs keep no longer.
    Retention,
    /// Look for offsets that are kept too long.
    ExpireOffsets,
    /// Look what is due in a group.
    Group(GroupId),
}

/// Where the broker leaves its deadlines; the wheel is the composition root's.
pub trait Timers: Send + Sync {
    /// Has [`Broker::run_job`] called with `job` once `deadline_ms` has passed.
    fn at(&self, deadline_ms: u64, job: Job);
}

/// Messages that no clean sender counts on any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The access rules say no.
    #[error("not authorised")]
    NotAuthorized,
    /// The journal takes nothing at the moment.
    #[error(transparent)]
    Journal(#[from] SubmitError),
    /// A limit of the configuration is reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// The topic has more levels than the configuration allows.
    #[error("the topic has too many levels")]
    TooManyLevels,
    /// The session belongs to another connection now.
    #[error("the session was taken over")]
    TakenOver,
}

impl BrokerError {
    /// The disk takes nothing at the moment; it may later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Journal(SubmitError::Unavailable { .. }))
    }
}

/// The broker: a handle shared by all connections.
pub struct Broker {
    /// Everything durable goes through it.
    pub journal: Arc<dyn Journal<Waiter>>,
    /// Topic filters to destinations.
    pub router: Router,
    /// Sessions.
    pub sessions: Sessions,
    /// Queues that clients declare, and those of share groups.
    pub declared: DeclaredQueues,
    /// Share groups.
    pub shares: Shares,
    /// Exchanges, bindings and the names of declared queues.
    pub exchanges: Exchanges,
    /// Retained messages.
    pub retained: Retained,
    /// Partitioned logs.
    pub logs: Logs,
    /// Consumer groups.
    pub groups: Groups,
    /// Channels that wait for direct replies.
    pub replies: Replies,
    /// Message bodies on disk.
    pub bodies: Arc<BodyStore>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What waits in durable queues.
    pub backlog: Backlog,
    /// Memory that durable messages take until a checkpoint writes them.
    pub(crate) memory: Arc<Meter>,
    /// Memory that messages take in sessions which no record keeps.
    pub(crate) volatile: Arc<Meter>,
    /// Memory that queue indexes take.
    pub paging: Paging,
    sets: Arc<Sets>,
    acl: ArcSwap<Acl>,
    limits: ArcSwap<Limits>,
    timers: Arc<dyn Timers>,
    applied: AtomicU64,
    room: Mutex<Line>,
    standing: Standing,
    /// Sessions where a message waits for this LSN to be applied.
    behind: Mutex<Vec<(Lsn, Arc<Session>)>>,
}

/// What a [`Broker`] is made of.
pub struct Parts {
    /// See [`Broker::journal`].
    pub journal: Arc<dyn Journal<Waiter>>,
    /// See [`Broker::bodies`].
    pub bodies: Arc<BodyStore>,
    /// Where transient messages go that no memory is left for.
    pub scratch: Arc<ScratchStore>,
    /// See [`Broker::metrics`].
    pub metrics: Arc<Metrics>,
    /// Retained messages as the last checkpoint left them.
    pub retained: Retained,
    /// Logs as the last checkpoint left them.
    pub logs: Logs,
    /// Pages of queues that are on disk only.
    pub pages: Arc<dyn PageRows>,
    /// Access rules.
    pub acl: Acl,
    /// Limits.
    pub limits: Limits,
    /// Deadlines.
    pub timers: Arc<dyn Timers>,
}

impl Broker {
    /// A broker over restored parts; [`restore`] fills in the sessions.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let paging = Paging::new(parts.pages, parts.limits.queue_index_bytes_max);
        let keeping = Keeping::new(
            parts.limits.transient_bytes_max,
            parts.scratch,
            Arc::clone(&parts.timers),
            Arc::clone(&parts.metrics),
        );
        let volatile = Meter::new(parts.limits.volatile_bytes_max);
        let backlog = Backlog::new(parts.limits.backlog, Arc::clone(&parts.metrics));
        Self {
            journal: parts.journal,
            router: Router::default(),
            sessions: Sessions::new(&paging.memory),
            declared: DeclaredQueues::new(keeping, &paging.memory),
            shares: Shares::default(),
            exchanges: Exchanges::default(),
            retained: parts.retained,
            logs: parts.logs,
            groups: Groups::default(),
            replies: Replies::default(),
            bodies: parts.bodies,
            metrics: parts.metrics,
            backlog,
            memory: Meter::new(usize::MAX),
            volatile,
            paging,
            sets: Arc::new(Sets::default()),
            acl: ArcSwap::from_pointee(parts.acl),
            limits: ArcSwap::from_pointee(parts.limits),
            timers: parts.timers,
            applied: AtomicU64::new(0),
            room: Mutex::default(),
            standing: Standing::default(),
            behind: Mutex::default(),
        }
    }

    /// Highest LSN applied.
    #[must_use]
    pub fn applied_lsn(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn set_applied(&self, lsn: Lsn) {
        self.applied.store(lsn.0, Ordering::Release);
        self.declared.keeping.set_applied(lsn.0);
    }

    /// Has the connection of `session` woken once `lsn` is applied.
    pub(crate) fn wake_when_applied(&self, lsn: Lsn, session: &Arc<Session>) {
        self.behind.lock().push((lsn, Arc::clone(session)));
        // It may have been applied before the registration.
        if self.applied_lsn() >= lsn {
            self.wake_applied();
        }
    }

    /// Wakes the connections whose wait is over.
    pub(crate) fn wake_applied(&self) {
        self.declared.keeping.call_applied();
        let applied = self.applied_lsn();
        let due: Vec<_> = {
            let mut behind = self.behind.lock();
            if behind.is_empty() {
                return;
            }
            behind.extract_if(.., |(lsn, _)| *lsn <= applied).collect()
        };
        for (_, session) in due {
            let link = session.inner.lock().link.clone();
            if let Some(link) = link {
                link.consumer.ready();
            }
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// Puts other access rules in force; cached routes carry verdicts, so all of them go.
    pub fn set_acl(&self, acl: Acl) {
        self.acl.store(Arc::new(acl));
        self.router.invalidate();
        self.exchanges.invalidate();
    }

    /// Submits one record.
    pub(crate) fn submit(
        &self,
        waiter: Option<Waiter>,
        record: &Record<'_>,
    ) -> Result<Lsn, SubmitError> {
        self.journal.submit_with(waiter, &mut |_, out| record.encode(out))
    }

    /// Submits one record that nobody waits for.
    pub(crate) fn submit_in_time(&self, record: &Record<'_>) -> Result<Lsn, SubmitError> {
        self.journal.submit_in_time(&mut |_, out| record.encode(out))
    }

    /// Tells `waiter` when every record submitted so far is applied.
    ///
    /// # Errors
    /// The journal takes nothing; the waiter is not told.
    pub fn tell_when_applied(&self, waiter: Waiter) -> Result<(), SubmitError> {
        self.submit(Some(waiter), &Record::Barrier).map(drop)
    }

    /// Whether connections should not be read because too much waits to be applied.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.journal.is_full()
    }

    /// Completes when the journal has room.
    pub fn when_room(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.wait_for_room(Waiting::Call(sender));
        receiver
    }

    /// Has `connection` woken when the journal has room.
    pub fn wake_when_room(&self, connection: Arc<dyn Completer>) {
        self.wait_for_room(Waiting::Connection(Arc::downgrade(&connection)));
    }

    fn wait_for_room(&self, waiting: Waiting) {
        self.room.lock().enter(waiting);
        // Room may have come before the registration.
        if !self.is_full() {
            self.announce_room();
        }
    }

    /// Wakes everyone who waits for room.
    pub fn announce_room(&self) {
        let line = std::mem::take(&mut *self.room.lock());
        line.tell();
    }
}
