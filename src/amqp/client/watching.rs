//! What a connection does by the clock, and when it is not read. Part of `amqp::client`.

use std::sync::Arc;

use crate::amqp::codec::frame::HEARTBEAT;
use crate::amqp::codec::reply::Reply;
use crate::amqp::heart::Beat;
use crate::broker::consumer::Completer;
use crate::metrics::CloseReason;
use crate::server::driver::Verdict;
use crate::server::timer::Timed;

use super::{Client, Stage};

/// Confirms owed beyond which a client is not read: its publishes may be a tenth of what we keep of them.
const OWED_MAX: usize = 64 * 1024;
/// How long a client is left without a word after what it may have been guessing, as RabbitMQ does.
const SILENCE_MS: u64 = 3000;
/// How long a client is not read before it is told.
const BLOCKED_AFTER_MS: u64 = 1000;

impl Client {
    pub(super) fn schedule(&self, deadline_ms: u64) {
        let timed: Arc<dyn Timed> = self.link.clone();
        self.shared.wheel.schedule(deadline_ms, Arc::downgrade(&timed));
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
        let unread = self.paused_ms.is_some() || self.stands_still() || outbound.is_overrun();
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
        if !self.publishing && !self.told_blocked {
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

    /// Whether it hears of each publish that is refused.
    fn confirms(&self) -> bool {
        let channels = self.serving.as_ref().map(|serving| serving.channels.values());
        channels.is_some_and(|mut all| all.any(|channel| channel.confirms.is_some()))
    }

    /// Not read while a declaration is on its way, while too many confirms are or too many answers wait for its
    /// socket, and, if it publishes, while the journal is full, or, without confirms, while the disk takes nothing. A
    /// client that only acknowledges is always read.
    pub fn pause_or_continue(&mut self, now_ms: u64) -> Verdict {
        let owed = self.serving.as_ref().map_or(0, |serving| serving.owing.len());
        if self.stands_still() || owed >= OWED_MAX || self.link.outbound.is_overrun() {
            return Verdict::Pause;
        }
        if self.is_refused() {
            return if self.confirms() { Verdict::Continue } else { self.rest(now_ms) };
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
        self.paused_ms = None;
        if std::mem::take(&mut self.told_blocked) {
            self.send(0, Reply::Unblocked);
        }
        Verdict::Continue
    }
}
