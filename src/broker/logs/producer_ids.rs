//! Numbers for idempotent producers (KIP-98): none is given out twice. Part of `broker/logs`.
//!
//! A block is journaled before the first of its ids is given out; what of it is left at a restart is given up.

use std::ops::Range;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::logs::verbs::LogError;
use crate::broker::record::{LogChange, Record};

/// Ids that one record gives away.
const BLOCK: i64 = 1_000;

/// Ids at hand.
#[derive(Debug, Default)]
pub struct ProducerIds(Mutex<AtHand>);

#[derive(Debug, Default)]
struct AtHand {
    free: Range<i64>,
    /// Ids below are in records that were submitted.
    promised: i64,
}

impl ProducerIds {
    fn take(&self) -> Option<i64> {
        self.0.lock().free.next()
    }

    /// Submits a block that begins at `journaled` or later; the lock keeps blocks apart.
    fn promise(
        &self,
        journaled: i64,
        submit: impl FnOnce(i64) -> Result<(), LogError>,
    ) -> Result<Range<i64>, LogError> {
        let mut at_hand = self.0.lock();
        let first = journaled.max(at_hand.promised);
        let Some(next) = first.checked_add(BLOCK) else {
            return Err(LogError::Unavailable("every producer id is given out".to_owned()));
        };
        submit(next)?;
        at_hand.promised = next;
        Ok(first..next)
    }

    /// Keeps a durable block, unless somebody else brought one meanwhile: then its ids are never used.
    fn keep(&self, block: Range<i64>) {
        let mut at_hand = self.0.lock();
        if at_hand.free.is_empty() {
            at_hand.free = block;
        }
    }
}

impl Broker {
    /// An id that no producer has had; it begins with epoch 0. Completes at once unless a block must be journaled.
    ///
    /// # Errors
    /// `NotAuthorized` for whoever may write to no log, `Unavailable`, `InDoubt`.
    pub async fn new_producer_id(&self, who: &Principal) -> Result<i64, LogError> {
        if !self.acl.load().allows_some_log(who, &who.vhost) {
            return Err(LogError::NotAuthorized);
        }
        let ids = &self.logs.producer_ids;
        if let Some(id) = ids.take() {
            return Ok(id);
        }
        let (sender, done) = oneshot::channel();
        let mut block = ids.promise(self.logs.next_producer(), |next| {
            let record = Record::LogChange(LogChange::Producers { next });
            self.submit(Some(Waiter::Call(sender)), &record)?;
            Ok(())
        })?;
        match done.await {
            Ok(Outcome::Done) => {}
            Ok(_) | Err(_) => return Err(LogError::InDoubt),
        }
        let id = block.next().ok_or(LogError::InDoubt)?;
        ids.keep(block);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use crate::auth::acl::{Acl, RuleSpec};
    use crate::auth::principal::Principal;
    use crate::broker::logs::verbs::LogError;
    use crate::broker::testbed::{Bed, Refusing};

    fn next(bed: &mut Bed) -> Result<i64, LogError> {
        let broker = std::sync::Arc::clone(&bed.broker);
        let who = Principal::anonymous();
        let mut asked = pin!(broker.new_producer_id(&who));
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(answer) = asked.as_mut().poll(&mut cx) {
            return answer;
        }
        bed.sync();
        match asked.as_mut().poll(&mut cx) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("durable, and still not told"),
        }
    }

    #[test]
    fn ids_follow_each_other_and_never_come_back_after_a_restart() {
        let mut bed = Bed::new();
        bed.resume(0);
        bed.sync();
        let mut given = BTreeSet::new();
        for life in 0..4 {
            for _ in 0..1_500 {
                let id = next(&mut bed).unwrap();
                assert!(given.insert(id), "{id} twice");
            }
            if life % 2 == 0 {
                bed.checkpoint(1);
            }
            bed = bed.restart(&mut |_, _| 0);
            bed.resume(0);
            bed.sync();
        }
        assert_eq!(given.first(), Some(&0));
        assert!(given.last().is_some_and(|last| *last < 4 * 2_000), "{given:?}");
    }

    /// Many who ask at once get different ids, also when some give up and when a power cut takes the record.
    #[test]
    fn ids_of_those_who_ask_at_once_differ() {
        let mut bed = Bed::new();
        bed.resume(0);
        bed.sync();
        let broker = std::sync::Arc::clone(&bed.broker);
        let who = Principal::anonymous();
        let mut cx = Context::from_waker(Waker::noop());
        let mut asked: Vec<_> = (0..5).map(|_| Box::pin(broker.new_producer_id(&who))).collect();
        for one in &mut asked {
            assert!(one.as_mut().poll(&mut cx).is_pending(), "given before it is durable");
        }
        drop(asked.pop());
        bed.sync();
        let mut given = BTreeSet::new();
        for one in &mut asked {
            let Poll::Ready(id) = one.as_mut().poll(&mut cx) else { panic!("not told") };
            assert!(given.insert(id.unwrap()));
        }
        drop(asked);
        for _ in 0..6_000 {
            assert!(given.insert(next(&mut bed).unwrap()));
        }
        let mut lost = Box::pin(broker.new_producer_id(&who));
        while let Poll::Ready(id) = lost.as_mut().poll(&mut cx) {
            given.insert(id.unwrap());
            lost = Box::pin(broker.new_producer_id(&who));
        }
        drop(lost);
        drop(broker);
        let mut bed = bed.restart(&mut |_, _| 0);
        assert!(given.insert(next(&mut bed).unwrap()));
    }

    #[test]
    fn a_journal_that_refuses_and_rules_that_deny_give_no_id() {
        let mut bed = Bed::new();
        bed.tape.refuse(Refusing::AtOnce);
        assert!(matches!(next(&mut bed), Err(LogError::Storage(_))));
        bed.tape.refuse(Refusing::Never);
        assert_eq!(next(&mut bed), Ok(0));
        let reads = RuleSpec {
            allow: Some("*"),
            deny: None,
            publish: false,
            subscribe: true,
            configure: true,
            filter: None,
            log: Some("*"),
            group: None,
            exchange: None,
            queue: None,
            vhost: "*",
        };
        bed.broker.set_acl(Acl::compile([reads]).unwrap());
        assert_eq!(next(&mut bed), Err(LogError::NotAuthorized));
    }
}
