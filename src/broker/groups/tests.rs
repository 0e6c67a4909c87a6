//! Groups of a whole broker: waiters, deadlines, records, restarts. Part of `broker::groups`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::verbs::{
    GroupBroker, GroupError, GroupState, Join, Joined, Leaving, LogCommit, LogName, Membership,
    OffsetToCommit, Sync, Synced,
};
use crate::auth::acl::tests::EMPTY;
use crate::auth::acl::{Acl, RuleSpec};
use crate::auth::principal::Principal;
use crate::broker::append::LogFront;
use crate::broker::engine::NowMs;
use crate::broker::logs::verbs::{CreateLog, LogBroker, LogError};
use crate::broker::testbed::{Bed, Refusing};

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, GroupError>> + Send + 'a>>;
type Verdicts = Vec<Vec<Result<(), GroupError>>>;

/// A broker with two logs of two partitions, seen as protocols see it.
struct Desk {
    bed: Bed,
    front: Arc<LogFront>,
    now: Arc<AtomicU64>,
    who: Principal,
}

fn poll<T>(pending: &mut Pending<'_, T>) -> Option<Result<T, GroupError>> {
    match pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn front(bed: &Bed, now: &Arc<AtomicU64>) -> Arc<LogFront> {
    let now = Arc::clone(now);
    let now_ms: NowMs = Arc::new(move || now.load(Ordering::Relaxed));
    let (broker, wall_ms) = (Arc::clone(&bed.broker), Arc::clone(&now_ms));
    Arc::new(LogFront { broker, now_ms, wall_ms })
}

fn join(group: &str, id: &str, instance: Option<&str>) -> Join {
    Join {
        group: group.into(),
        member_id: id.into(),
        instance_id: instance.map(str::to_owned),
        client_id: "client".into(),
        client_host: "/1.2.3.4".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01a"))],
        wants_member_id: false,
        knows_skip_assignment: true,
        reason: None,
    }
}

fn who(group: &str, id: &str, generation: i32) -> Membership {
    Membership { group: group.into(), generation, member_id: id.into(), instance_id: None }
}

fn offset(partition: u32, offset: i64) -> OffsetToCommit {
    OffsetToCommit { partition, offset, leader_epoch: 0, metadata: "said".into() }
}

fn commit_of(log: &str, offsets: Vec<OffsetToCommit>) -> LogCommit {
    LogCommit { log: LogName::Name(log.into()), offsets }
}

impl Desk {
    fn new() -> Self {
        let mut bed = Bed::new();
        let now = Arc::new(AtomicU64::new(1_000_000));
        bed.resume(1_000_000);
        bed.sync();
        let front = front(&bed, &now);
        let mut desk = Self { bed, front, now, who: Principal::anonymous() };
        for name in ["a", "b"] {
            let log = CreateLog {
                name: name.into(),
                partitions: Some(2),
                config: Vec::new(),
                validate_only: false,
            };
            let (front, who) = (Arc::clone(&desk.front), desk.who.clone());
            let mut created = Box::pin(async move { front.create(&who, log).await });
            let mut context = Context::from_waker(Waker::noop());
            assert!(created.as_mut().poll(&mut context).is_pending());
            desk.bed.sync();
            assert!(created.as_mut().poll(&mut context).is_ready());
        }
        desk
    }

    fn join(&self, join: Join) -> Pending<'static, Joined> {
        let (front, who) = (Arc::clone(&self.front), self.who.clone());
        let mut pending: Pending<'_, _> = Box::pin(async move { front.join(&who, join).await });
        // What a request does at once it does when it is looked at for the first time.
        let first = poll(&mut pending);
        first.map_or(pending, |answer| Box::pin(async move { answer }))
    }

    fn sync(
        &self,
        who: Membership,
        assignments: &[(&str, &'static str)],
    ) -> Pending<'static, Synced> {
        let owned = |(id, it): &(&str, &'static str)| ((*id).to_owned(), Bytes::from(*it));
        let assignments = assignments.iter().map(owned).collect();
        let sync = Sync { who, protocol_type: None, protocol: None, assignments };
        let (front, who) = (Arc::clone(&self.front), self.who.clone());
        let mut pending: Pending<'_, _> = Box::pin(async move { front.sync(&who, sync).await });
        let first = poll(&mut pending);
        first.map_or(pending, |answer| Box::pin(async move { answer }))
    }

    fn commit(&mut self, who: &Membership, logs: Vec<LogCommit>) -> Result<Verdicts, GroupError> {
        let (front, principal, who) = (Arc::clone(&self.front), self.who.clone(), who.clone());
        self.durably(Box::pin(async move { front.commit(&principal, &who, logs).await }))
    }

    fn delete(&mut self, group: &'static str) -> Result<(), GroupError> {
        let (front, who) = (Arc::clone(&self.front), self.who.clone());
        self.durably(Box::pin(async move { front.delete_group(&who, group).await }))
    }

    fn forget(
        &mut self,
        group: &'static str,
        places: &[(&str, u32)],
    ) -> Result<Verdicts, GroupError> {
        let places = places.iter().map(|(log, at)| ((*log).to_owned(), vec![*at])).collect();
        let (front, who) = (Arc::clone(&self.front), self.who.clone());
        self.durably(Box::pin(async move { front.forget_offsets(&who, group, places).await }))
    }

    /// The answer, which comes when what was submitted is durable, or at once.
    fn durably<T>(&mut self, mut pending: Pending<'static, T>) -> Result<T, GroupError> {
        poll(&mut pending).unwrap_or_else(|| {
            self.bed.sync();
            poll(&mut pending).expect("it is durable")
        })
    }

    fn heartbeat(&self, who: &Membership) -> Result<(), GroupError> {
        self.front.heartbeat(&self.who, who)
    }

    fn state(&self, group: &str) -> GroupState {
        self.front.describe_group(&self.who, group).unwrap().listing.state
    }

    fn names(&self) -> Vec<String> {
        self.front.list_groups(&self.who).into_iter().map(|it| it.group).collect()
    }

    fn offset(&self, group: &str, log: &str, partition: u32) -> i64 {
        let wanted = [(LogName::Name(log.into()), vec![partition])];
        let found = self.front.committed(&self.who, group, Some(&wanted)).unwrap();
        found[0].offsets.as_ref().unwrap()[0].offset
    }

    fn pass(&mut self, ms: u64) {
        let until_ms = self.now.load(Ordering::Relaxed) + ms;
        self.now.store(until_ms, Ordering::Relaxed);
        // A deadline that is set again for a time that has passed is due at once.
        for _ in 0..3 {
            self.bed.run_jobs(until_ms);
        }
    }

    /// A group of one static member in its first generation; its id.
    fn stable(&mut self, group: &str) -> String {
        let mut joined = self.join(join(group, "", Some("i")));
        self.pass(100);
        let id = poll(&mut joined).unwrap().unwrap().member_id;
        let mut synced = self.sync(who(group, &id, 1), &[(&id, "all")]);
        assert!(poll(&mut synced).is_none(), "not before it is durable");
        self.bed.sync();
        assert_eq!(&poll(&mut synced).unwrap().unwrap().assignment[..], b"all");
        id
    }

    fn restart(self) -> Self {
        let Self { bed, front: old, now, who } = self;
        drop(old);
        let mut bed = bed.restart(&mut |_, _| 0);
        bed.resume(now.load(Ordering::Relaxed));
        bed.sync();
        let front = front(&bed, &now);
        Self { bed, front, now, who }
    }
}

#[test]
fn members_and_offsets_are_found_after_a_restart_with_and_without_a_checkpoint() {
    for checkpoint in [false, true] {
        let mut desk = Desk::new();
        let id = desk.stable("g");
        let offsets = vec![offset(0, 5), offset(1, 7)];
        desk.commit(&who("g", &id, 1), vec![commit_of("a", offsets)]).unwrap();
        if checkpoint {
            desk.bed.checkpoint(1_000_000);
        }
        let mut desk = desk.restart();
        assert_eq!(desk.heartbeat(&who("g", &id, 1)), Ok(()));
        assert_eq!((desk.offset("g", "a", 0), desk.offset("g", "a", 1)), (5, 7));
        assert_eq!((desk.offset("g", "b", 0), desk.offset("g", "none", 3)), (-1, -1));
        desk.commit(&who("g", &id, 1), vec![commit_of("a", vec![offset(0, 6)])]).unwrap();
        assert_eq!(desk.offset("g", "a", 0), 6);
        let mut back = desk.join(join("g", "", Some("i")));
        assert!(poll(&mut back).is_none(), "not before it is durable");
        desk.bed.sync();
        let back = poll(&mut back).unwrap().unwrap();
        assert_eq!((back.generation, back.skip_assignment), (1, true));
        let fenced = Membership { instance_id: Some("i".into()), ..who("g", &id, 1) };
        assert_eq!(desk.heartbeat(&fenced), Err(GroupError::Fenced));
    }
}

#[test]
fn a_generation_that_was_not_durable_is_not_there_after_a_restart() {
    let mut desk = Desk::new();
    let mut joined = desk.join(join("g", "", None));
    desk.pass(100);
    let id = poll(&mut joined).unwrap().unwrap().member_id;
    let mut synced = desk.sync(who("g", &id, 1), &[(&id, "all")]);
    assert_eq!(poll(&mut synced), None);
    drop(synced);
    let desk = desk.restart();
    assert_eq!(desk.heartbeat(&who("g", &id, 1)), Err(GroupError::UnknownMember));
    assert_eq!(desk.state("g"), GroupState::Dead);
}

#[test]
fn a_journal_that_refuses_is_told_to_the_leader() {
    let mut desk = Desk::new();
    let mut joined = desk.join(join("g", "", None));
    desk.pass(100);
    let id = poll(&mut joined).unwrap().unwrap().member_id;
    desk.bed.tape.refuse(Refusing::AtOnce);
    let mut synced = desk.sync(who("g", &id, 1), &[(&id, "all")]);
    let answer = poll(&mut synced).unwrap();
    assert!(matches!(answer, Err(GroupError::Unavailable(_))), "{answer:?}");
    let refused = desk.commit(&who("other", "", -1), vec![commit_of("a", vec![offset(0, 1)])]);
    assert!(matches!(refused, Err(GroupError::Unavailable(_))), "{refused:?}");
    desk.bed.tape.refuse(Refusing::Never);
    let mut again = desk.join(join("g", &id, None));
    assert_eq!(poll(&mut again).unwrap().unwrap().generation, 2);
}

#[test]
fn silent_members_are_out_and_the_empty_group_is_remembered() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    desk.pass(9_000);
    assert_eq!(desk.heartbeat(&who("g", &id, 1)), Ok(()));
    desk.pass(9_000);
    assert_eq!(desk.state("g"), GroupState::Stable, "the deadline was put off");
    desk.pass(1_000);
    assert_eq!(desk.state("g"), GroupState::Empty);
    desk.bed.sync();
    let desk = desk.restart();
    assert_eq!(desk.state("g"), GroupState::Empty);
    assert_eq!(desk.heartbeat(&who("g", &id, 1)), Err(GroupError::UnknownMember));
}

#[test]
fn a_client_that_goes_while_its_join_waits_is_forgotten_with_its_session() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    drop(desk.join(join("g", "", None)));
    let mut again = desk.join(join("g", &id, Some("i")));
    let joined = poll(&mut again).unwrap().unwrap();
    assert_eq!((joined.generation, joined.members.len()), (2, 2));
    let mut synced = desk.sync(who("g", &id, 2), &[(&id, "all")]);
    desk.bed.sync();
    poll(&mut synced).unwrap().unwrap();
    for _ in 0..2 {
        desk.pass(5_000);
        drop(desk.heartbeat(&who("g", &id, 2)));
    }
    let mut again = desk.join(join("g", &id, Some("i")));
    assert_eq!(poll(&mut again).unwrap().unwrap().members.len(), 1);
}

#[test]
fn groups_that_nobody_joined_in_the_end_leave_nothing() {
    let mut desk = Desk::new();
    let asks = Join { wants_member_id: true, ..join("g", "", None) };
    let given = poll(&mut desk.join(asks)).unwrap().unwrap_err();
    assert!(matches!(given, GroupError::MemberIdRequired(_)));
    assert_eq!(desk.names(), ["g"]);
    desk.pass(10_000);
    assert_eq!(desk.names(), [""; 0]);
    let refused = Join { session_timeout_ms: 1, ..join("g", "", None) };
    let refused = poll(&mut desk.join(refused)).unwrap();
    assert_eq!(refused, Err(GroupError::InvalidSessionTimeout));
    assert!(desk.bed.broker.groups.live.is_empty());
}

#[test]
fn there_are_as_many_groups_as_allowed() {
    let mut desk = Desk::new();
    for at in 0..6 {
        let who = who(&format!("g{at}"), "", -1);
        desk.commit(&who, vec![commit_of("a", vec![offset(0, 1)])]).unwrap();
    }
    let full = desk.commit(&who("one more", "", -1), vec![commit_of("a", vec![offset(0, 1)])]);
    assert_eq!(full, Err(GroupError::Full));
    assert_eq!(poll(&mut desk.join(join("one more", "", None))).unwrap(), Err(GroupError::Full));
    let mut desk = desk.restart();
    assert_eq!(desk.names().len(), 6);
    desk.delete("g0").unwrap();
    desk.commit(&who("one more", "", -1), vec![commit_of("a", vec![offset(0, 1)])]).unwrap();
}

#[test]
fn each_offset_is_taken_or_refused_on_its_own_account() {
    let mut desk = Desk::new();
    let long = OffsetToCommit { metadata: "x".repeat(17), ..offset(1, 1) };
    let logs = vec![
        commit_of("a", vec![offset(0, 1), offset(2, 1), long]),
        commit_of("none", vec![offset(0, 1)]),
        LogCommit { log: LogName::Uuid([9; 16]), offsets: vec![offset(0, 1)] },
        commit_of("b", vec![offset(1, 9)]),
    ];
    let verdicts = desk.commit(&who("g", "", -1), logs).unwrap();
    let unknown = || Err(GroupError::Log(LogError::UnknownLog));
    let partition = Err(GroupError::Log(LogError::UnknownPartition));
    assert_eq!(verdicts[0], [Ok(()), partition, Err(GroupError::MetadataTooLong)]);
    assert_eq!(verdicts[1..], [vec![unknown()], vec![unknown()], vec![Ok(())]]);
    let all = desk.front.committed(&desk.who, "g", None).unwrap();
    let told: Vec<_> = all.iter().map(|log| (&*log.name, log.offsets.clone().unwrap())).collect();
    assert_eq!((told[0].0, told[0].1[0].offset, &*told[0].1[0].metadata), ("a", 1, "said"));
    assert_eq!((told[1].0, told[1].1[0].partition, told[1].1[0].offset), ("b", 1, 9));
    let uuid = [(LogName::Uuid(all[1].uuid), vec![1]), (LogName::Uuid([9; 16]), vec![0])];
    let by_uuid = desk.front.committed(&desk.who, "g", Some(&uuid)).unwrap();
    assert_eq!((&*by_uuid[0].name, by_uuid[0].offsets.clone().unwrap()[0].offset), ("b", 9));
    assert_eq!(by_uuid[1].offsets, Err(GroupError::Log(LogError::UnknownLog)));
}

#[test]
fn offsets_are_committed_by_members_or_to_groups_without_any() {
    let mut desk = Desk::new();
    let one = || vec![commit_of("a", vec![offset(0, 1)])];
    let nowhere = desk.commit(&who("g", "m", 3), one());
    assert_eq!(nowhere, Err(GroupError::UnknownGroup));
    assert_eq!(desk.state("g"), GroupState::Dead, "that made no group");
    let id = desk.stable("g");
    assert_eq!(desk.commit(&who("g", "", -1), one()), Err(GroupError::UnknownMember));
    assert_eq!(desk.commit(&who("g", &id, 0), one()), Err(GroupError::IllegalGeneration));
    assert_eq!(desk.commit(&who("g", &id, 1), Vec::new()), Ok(Vec::new()));
    assert_eq!(desk.commit(&who("g", &id, 1), one()), Ok(vec![vec![Ok(())]]));
    assert_eq!(desk.commit(&who("", "", -1), one()), Ok(vec![vec![Ok(())]]), "as in Kafka");
}

#[test]
fn a_group_is_deleted_with_its_offsets_when_nobody_is_in_it() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    desk.commit(&who("g", &id, 1), vec![commit_of("a", vec![offset(0, 1)])]).unwrap();
    assert_eq!(desk.delete("g"), Err(GroupError::NotEmpty));
    assert_eq!(desk.delete("none"), Err(GroupError::UnknownGroup));
    let gone = Leaving { member_id: id, instance_id: None, reason: None };
    assert_eq!(desk.front.leave(&desk.who, "g", &[gone]), Ok(vec![Ok(())]));
    assert_eq!(desk.delete("g"), Ok(()));
    assert_eq!((desk.state("g"), desk.offset("g", "a", 0)), (GroupState::Dead, -1));
    let mut desk = desk.restart();
    assert_eq!(desk.names(), [""; 0]);
    desk.stable("g");
    assert_eq!(desk.offset("g", "a", 0), -1);
}

#[test]
fn a_group_that_is_deleted_while_its_end_is_on_its_way_to_the_journal_begins_without_members() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    let gone = Leaving { member_id: id.clone(), instance_id: None, reason: None };
    desk.front.leave(&desk.who, "g", &[gone]).unwrap()[0].clone().unwrap();
    let (front, principal) = (Arc::clone(&desk.front), desk.who.clone());
    let mut deleted: Pending<'_, ()> =
        Box::pin(async move { front.delete_group(&principal, "g").await });
    assert!(poll(&mut deleted).is_none());
    let next = desk.join(join("g", "", None));
    assert_eq!(desk.heartbeat(&who("g", &id, 1)), Err(GroupError::UnknownMember));
    desk.bed.sync();
    assert_eq!(poll(&mut deleted), Some(Ok(())));
    drop(next);
}

#[test]
fn offsets_of_logs_that_nobody_reads_may_be_forgotten() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    let logs = ["a", "b"].map(|log| commit_of(log, vec![offset(0, 1)]));
    desk.commit(&who("g", &id, 1), logs.into()).unwrap();
    let verdicts = desk.forget("g", &[("a", 0), ("b", 0), ("none", 0)]).unwrap();
    let unknown = Err(GroupError::Log(LogError::UnknownLog));
    assert_eq!(verdicts, [vec![Err(GroupError::Subscribed)], vec![Ok(())], vec![unknown]]);
    assert_eq!((desk.offset("g", "a", 0), desk.offset("g", "b", 0)), (1, -1));
    assert_eq!(desk.forget("none", &[("a", 0)]), Err(GroupError::UnknownGroup));
}

/// The journal fails when the last member goes: its offsets are kept as long as if it had not.
#[test]
fn a_group_whose_end_could_not_be_journaled_keeps_its_offsets_from_then_on() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    let one = || vec![commit_of("a", vec![offset(0, 1)])];
    desk.commit(&who("g", &id, 1), one()).unwrap();
    for _ in 0..4 {
        desk.pass(5_000);
        desk.heartbeat(&who("g", &id, 1)).unwrap();
        desk.bed.sync();
    }
    desk.bed.tape.refuse(Refusing::AtOnce);
    let gone = Leaving { member_id: id, instance_id: None, reason: None };
    assert_eq!(desk.front.leave(&desk.who, "g", &[gone]), Ok(vec![Ok(())]));
    desk.bed.tape.refuse(Refusing::Never);
    for _ in 0..9 {
        desk.pass(1_000);
        desk.bed.sync();
        assert_eq!(desk.offset("g", "a", 0), 1);
    }
    for _ in 0..4 {
        desk.pass(1_000);
        desk.bed.sync();
    }
    assert_eq!((desk.offset("g", "a", 0), desk.state("g")), (-1, GroupState::Dead));
}

#[test]
fn a_commit_that_commits_nothing_makes_no_group() {
    let mut desk = Desk::new();
    let nothing = desk.commit(&who("g", "", -1), vec![commit_of("none", vec![offset(0, 1)])]);
    assert_eq!(nothing, Ok(vec![vec![Err(GroupError::Log(LogError::UnknownLog))]]));
    desk.bed.tape.refuse(Refusing::AtOnce);
    desk.commit(&who("g", "", -1), vec![commit_of("a", vec![offset(0, 1)])]).unwrap_err();
    assert!(desk.bed.broker.groups.live.is_empty());
}

#[test]
fn offsets_are_forgotten_though_the_clock_was_set_back() {
    let mut desk = Desk::new();
    desk.commit(&who("g", "", -1), vec![commit_of("a", vec![offset(0, 1)])]).unwrap();
    desk.now.fetch_sub(500_000, Ordering::Relaxed);
    assert_eq!(desk.forget("g", &[("a", 0)]), Ok(vec![vec![Ok(())]]));
    assert_eq!(desk.offset("g", "a", 0), -1);
}

#[test]
fn groups_of_routes_are_seen_and_left_alone() {
    let mut desk = Desk::new();
    let one = || vec![commit_of("a", vec![offset(0, 1)])];
    let route = "$route.r";
    assert_eq!(poll(&mut desk.join(join(route, "", None))).unwrap(), Err(GroupError::InvalidGroup));
    assert_eq!(desk.commit(&who(route, "", -1), one()), Err(GroupError::InvalidGroup));
    assert_eq!(desk.delete(route), Err(GroupError::InvalidGroup));
    assert_eq!(desk.forget(route, &[("a", 0)]), Err(GroupError::InvalidGroup));
    assert_eq!(desk.heartbeat(&who(route, "m", 1)), Err(GroupError::InvalidGroup));
    assert_eq!(desk.front.leave(&desk.who, route, &[]), Err(GroupError::InvalidGroup));
    assert_eq!(poll(&mut desk.join(join("", "", None))).unwrap(), Err(GroupError::InvalidGroup));
    let log = desk.bed.broker.logs.table.by_name("/", "a").unwrap().id;
    let moved = super::applied::CommittedOffset {
        offset: 4,
        leader_epoch: -1,
        metadata: "".into(),
        committed_ms: 1,
    };
    desk.bed.broker.groups.applied.lock().commit("/", route, [((log, 0), moved)]);
    assert_eq!((desk.names(), desk.offset(route, "a", 0)), (vec![route.to_owned()], 4));
    assert_eq!(desk.state(route), GroupState::Empty);
}

#[test]
fn the_rules_are_asked() {
    let mut desk = Desk::new();
    let id = desk.stable("g");
    let rule = RuleSpec { allow: Some("*"), log: Some("a"), ..EMPTY };
    let read = RuleSpec { log: None, group: Some("r*"), configure: false, publish: false, ..rule };
    desk.bed.broker.set_acl(Acl::compile([rule, read]).unwrap());
    let no = GroupError::NotAuthorized;
    assert_eq!(desk.heartbeat(&who("g", &id, 1)), Err(no.clone()));
    assert_eq!(poll(&mut desk.join(join("g", "", None))).unwrap(), Err(no.clone()));
    assert_eq!(poll(&mut desk.sync(who("g", &id, 1), &[])).unwrap(), Err(no.clone()));
    assert_eq!(desk.front.committed(&desk.who, "g", None), Err(no.clone()));
    assert_eq!(desk.front.describe_group(&desk.who, "g"), Err(no.clone()));
    assert_eq!(desk.front.may_use(&desk.who, "g"), Err(no.clone()));
    assert_eq!(desk.names(), [""; 0]);
    let logs = ["a", "b"].map(|log| commit_of(log, vec![offset(0, 1)]));
    let verdicts = desk.commit(&who("r1", "", -1), logs.into()).unwrap();
    let refused = Err(GroupError::Log(LogError::NotAuthorized));
    assert_eq!(verdicts, [vec![Ok(())], vec![refused]]);
    assert_eq!(desk.delete("r1"), Err(no.clone()));
    assert_eq!(desk.forget("r1", &[("a", 0)]), Err(no));
    assert!(!desk.front.describe_group(&desk.who, "r1").unwrap().may_delete);
}

#[test]
fn groups_take_no_more_memory_than_they_may_and_whoever_is_in_stays() {
    let desk = Desk::new();
    let mut limits = *desk.bed.broker.limits();
    limits.groups.bytes_max = 100_000;
    desk.bed.broker.limits.store(Arc::new(limits));
    let large = |group: &str, bytes: usize| {
        let protocols = vec![("range".to_owned(), Bytes::from(vec![0; bytes]))];
        Join { protocols, ..join(group, "", Some("same")) }
    };
    let weights = &desk.bed.broker.groups.live.weights;
    let mut first = desk.join(large("a", 40_000));
    assert!(poll(&mut first).is_none());
    assert!((80_000..100_000).contains(&weights.sum()));
    let mut refused = desk.join(large("b", 40_000));
    assert_eq!(poll(&mut refused), Some(Err(GroupError::Full)));
    assert!(desk.bed.broker.groups.live.get("/", "b").is_none());
    // As it was it may join again; with more to say it may not.
    let mut again = desk.join(large("a", 40_000));
    assert_ne!(poll(&mut again), Some(Err(GroupError::Full)));
    let mut more = desk.join(large("a", 80_000));
    assert_eq!(poll(&mut more), Some(Err(GroupError::Full)));
    assert!((80_000..100_000).contains(&weights.sum()));
}

#[test]
fn a_group_that_is_deleted_takes_the_ids_it_gave_out_along() {
    let mut desk = Desk::new();
    desk.commit(&who("g", "", -1), vec![commit_of("a", vec![offset(0, 1)])]).unwrap();
    let mut asked = desk.join(Join { wants_member_id: true, ..join("g", "", None) });
    assert!(matches!(poll(&mut asked), Some(Err(GroupError::MemberIdRequired(_)))));
    assert!(desk.bed.broker.groups.live.weights.sum() > 0);
    assert_eq!(desk.delete("g"), Ok(()));
    assert_eq!(desk.bed.broker.groups.live.weights.sum(), 0);
}
