//! What a connection does by the clock, and when it is not read. Part of `amqp::client`.

use std::sync::Arc;

use crate::amqp::codec::frame::HEARTBEAT;
use crate::amqp::codec::reply::Reply;
use crate::amqp::heart::Beat;
use crate::broker::backlog::Crowding;
use crate::broker::consumer::Completer;
use crate::metrics::CloseReason;
use crate::server::driver::Verdict;
use crate::server::timer::Timed;

use super::{Client, Serving, Stage};

/// Confirms owed beyond which a client is not read: its publishes may be a tenth of what we keep of them.
const OWED_MAX: usize = 64 * 1024;
/// How long a client is left without a word after what it may have been guessing, as RabbitMQ does.
const SILENCE_MS: u64 = 3000;
/// How long a client is not read before it is told.
const BLOCKED_AFTER_MS: u64 = 1000;
/// How often somebody looks whether a client may go on that was told to stop because queues are nearly full, ms.
const LOOK_MS: u64 = 500;

impl Client {
    pub(super) fn schedule(&self, deadline_ms: u64) {
        let timed: Arc<dyn Timed> = self.link.clone();
        self.shared.wheel.schedule(deadline_ms, Arc::downgrade(&timed));
    }

    /// Has it looked at by `deadline_ms`, unless it is before anyway: that look asks for the next.
    fn look_by(&mut self, deadline_ms: u64, now_ms: u64) {
        if self.look_ms <= now_ms || self.look_ms > deadline_ms {
            self.look_ms = deadline_ms;
            self.schedule(deadline_ms);
        }
    }

    /// Answers with silence, then with the end.
    pub(super) fn fall_silent(&mut self, why: CloseReason, now_ms: u64) {
        self.ended_by.get_or_insert(why);
        self.stage = Stage::Silent;
        self.deadline_ms = now_ms + SILENCE_MS;
        self.schedule(self.deadline_ms);
    }

    /// A timer fired.
    pub fn look_at_clock(&mut self, now_ms: u64) {
        match self.stage {
            Stage::Ended => return,
            Stage::Running => {}
            Stage::Silent | Stage::Greeting | Stage::Authenticating | Stage::Tuning => {
                if now_ms >= self.deadline_ms {
                    self.end(CloseReason::ConnectTimeout);
                    return;
                }
            }
        }
        if self.paused_ms.is_some_and(|since| now_ms >= since + BLOCKED_AFTER_MS) {
            self.tell_blocked("the journal is full");
        }
        let outbound = &self.link.outbound;
        let left = std::mem::take(&mut self.sent) || outbound.pending_bytes() > 0;
        let unread = self.paused_ms.is_some()
            || self.is_slowed
            || self.stands_still()
            || outbound.is_overrun();
        match self.heart.look(now_ms, left, unread) {
            Beat::Wait => {
                self.sent = left;
                return;
            }
            Beat::Rest => {}
            Beat::Send => outbound.push_reply(|out| out.extend_from_slice(&HEARTBEAT)),
            Beat::Dead => {
                tracing::info!(peer = %self.peer, login = &*self.login, "an AMQP client fell silent");
                self.end(CloseReason::KeepAlive);
                return;
            }
        }
        if let Some(next_ms) = self.heart.next_ms() {
            self.schedule(next_ms);
        }
    }

    fn tell_blocked(&mut self, reason: &str) {
        if self.traits.blocked && !self.told_blocked && self.stage == Stage::Running {
            self.told_blocked = true;
            self.send(0, Reply::Blocked { reason });
        }
    }

    /// Whether nothing is parsed until a record is applied.
    fn stands_still(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.answer.is_some() || serving.catching_up)
    }

    /// Not read from now on, if it was.
    fn rest(&mut self, now_ms: u64) -> Verdict {
        if self.paused_ms.is_none() {
            self.paused_ms = Some(now_ms);
            self.schedule(now_ms + BLOCKED_AFTER_MS);
        }
        Verdict::Pause
    }

    /// Whether the disk takes nothing from publishers, and this is one: it is told, and woken when that is over.
    fn is_refused(&mut self) -> bool {
        if !self.publishing && !self.told_blocked && !self.trusts {
            return false;
        }
        let Some(why) = self.shared.broker.refusal() else {
            self.awaits_disk = false;
            return false;
        };
        self.tell_blocked(&why);
        if !std::mem::replace(&mut self.awaits_disk, true) {
            let link: Arc<dyn Completer> = self.link.clone();
            self.shared.broker.wake_when_well(link);
        }
        true
    }

    /// Whether it is not even read on, because what it publishes could be refused in no way that it hears of: as long
    /// as the disk takes nothing.
    pub fn must_wait(&mut self, now_ms: u64) -> bool {
        if !self.trusts || !self.is_refused() {
            return false;
        }
        self.rest(now_ms) == Verdict::Pause
    }

    /// When to look again at a client that publishes into queues without room; it is told at once.
    fn look_again_ms(&mut self, now_ms: u64) -> Option<u64> {
        let serving = self.serving.as_mut()?;
        let broker = &self.shared.broker;
        let channels = &serving.channels;
        let acknowledges =
            || channels.values().any(|channel| channel.lane.ledger.book().unacked() > 0);
        let at_ms = serving.brake.holds(broker, &mut serving.publisher, acknowledges, now_ms)?;
        self.tell_blocked("queues are nearly full");
        Some(at_ms)
    }

    /// Whether a channel has more unconfirmed than it may.
    fn has_too_many_unconfirmed(&mut self) -> bool {
        let unconfirmed_max = self.limits.unconfirmed_per_channel_max;
        if !self.serving.as_ref().is_some_and(|serving| serving.unconfirmed) {
            return false;
        }
        // What is refused already is told now: if that is all, nothing else would have it read again.
        self.tell_confirms();
        let Some(serving) = &mut self.serving else { return false };
        let mut confirms = serving.channels.values().filter_map(|it| it.confirms.as_ref());
        let is_over = confirms.any(|confirms| confirms.open() >= unconfirmed_max);
        serving.unconfirmed = is_over;
        is_over
    }

    /// Whether a client that was told to stop may be told to go on.
    fn is_free(&self) -> bool {
        let crowding = |serving: &Serving| self.shared.broker.crowding(&serving.publisher);
        self.serving.as_ref().is_none_or(|serving| crowding(serving) == Crowding::Free)
    }

    /// Not read while a declaration is on its way, while too many confirms are or too many answers wait for its
    /// socket, and, if it publishes, while the journal is full, or queues are, or, without confirms, while the disk takes
    /// nothing. A client that only acknowledges is always read.
    pub fn pause_or_continue(&mut self, now_ms: u64) -> Verdict {
        let owed = self.serving.as_ref().map_or(0, |serving| serving.owing.len());
        let owes_too_much = owed >= OWED_MAX || self.has_too_many_unconfirmed();
        if owes_too_much {
            // It is not silent if nobody listens.
            self.is_slowed = true;
            return Verdict::Pause;
        }
        if self.stands_still() || self.link.outbound.is_overrun() {
            return Verdict::Pause;
        }
        self.is_slowed = false;
        if self.is_refused() {
            return if self.trusts { self.rest(now_ms) } else { Verdict::Continue };
        }
        let broker = &self.shared.broker;
        let mut full = self.publishing && broker.is_full();
        if full {
            let link: Arc<dyn Completer> = self.link.clone();
            broker.wake_when_room(link);
            // Room may have come before the registration.
            full = broker.is_full();
        }
        if full {
            return self.rest(now_ms);
        }
        self.publishing = false;
        if let Some(at_ms) = self.look_again_ms(now_ms) {
            self.look_by(at_ms, now_ms);
            self.is_slowed = true;
            return Verdict::Pause;
        }
        self.paused_ms = None;
        if self.told_blocked && self.is_free() {
            self.told_blocked = false;
            self.send(0, Reply::Unblocked);
        } else if self.told_blocked {
            self.look_by(now_ms + LOOK_MS, now_ms);
        }
        Verdict::Continue
    }
}
