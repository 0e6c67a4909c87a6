//! What expires and what does not. Tests of `broker::groups::expiry`.

use bytes::Bytes;

use super::{Ages, Verdict};
use crate::auth::principal::Principal;
use crate::broker::groups::applied::{AppliedGroup, CommittedOffset};
use crate::broker::groups::group::Step;
use crate::broker::groups::verbs::{Join, LogCommit, LogName, Membership, OffsetToCommit};
use crate::broker::logs::verbs::CreateLog;
use crate::broker::record::{Committed, GroupRecord, Record};
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::waiter;
use crate::model::ids::LogId;

const START: u64 = 1_700_000_000_000;
/// Retention and time between two looks, as the bed has them.
const KEPT_MS: u64 = 10_000;
const CHECK_MS: u64 = 1_000;

fn group(put_ms: Option<u64>, commits: &[u64]) -> AppliedGroup {
    let offset = |committed_ms| CommittedOffset {
        offset: 1,
        leader_epoch: -1,
        metadata: "".into(),
        committed_ms,
    };
    let places = commits.iter().enumerate();
    AppliedGroup {
        snapshot: put_ms.map(|at| (at, Bytes::new())),
        offsets: places.map(|(at, ms)| ((LogId(1), at as u32), offset(*ms))).collect(),
    }
}

#[test]
fn offsets_expire_from_when_the_group_became_empty_or_from_their_commit() {
    let ages = Ages { offsets_until_ms: 100, groups_until_ms: 200 };
    let part = Some(Verdict { until_ms: 100, all: false });
    let all = Some(Verdict { until_ms: 100, all: true });
    assert_eq!(ages.judge(&group(None, &[100, 101])), part);
    assert_eq!(ages.judge(&group(None, &[99, 100])), all);
    assert_eq!(ages.judge(&group(None, &[101])), None);
    assert_eq!(ages.judge(&group(Some(101), &[1, 2])), None, "somebody was in it since");
    assert_eq!(ages.judge(&group(Some(100), &[1, 2])), all);
    assert_eq!(ages.judge(&group(Some(100), &[1, 101])), part, "reset by a tool");
}

#[test]
fn a_group_without_offsets_goes_with_the_next_look() {
    let ages = Ages { offsets_until_ms: 100, groups_until_ms: 200 };
    assert_eq!(ages.judge(&group(Some(201), &[])), None);
    assert_eq!(ages.judge(&group(Some(200), &[])), Some(Verdict { until_ms: 200, all: true }));
}

struct World {
    bed: Bed,
    log: LogId,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut bed = Bed::new();
        bed.resume(START);
        bed.sync();
        let spec = CreateLog {
            name: "l".to_owned(),
            partitions: Some(3),
            config: Vec::new(),
            validate_only: false,
        };
        let broker = bed.broker.clone();
        let who = Principal::anonymous();
        let mut created = Box::pin(broker.create_log(&who, spec, START));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(created.as_mut().poll(&mut cx).is_pending());
        bed.sync();
        let log = bed.broker.logs.table.by_name("/", "l").unwrap().id;
        Self { bed, log, now_ms: START }
    }

    fn submit(&mut self, record: GroupRecord<'_>) {
        self.bed.broker.submit(Some(waiter().0), &Record::Group(record)).unwrap();
    }

    /// As a consumer that is no member commits.
    fn commit(&mut self, group: &str, partition: u32) {
        let member = Membership {
            group: group.to_owned(),
            generation: -1,
            member_id: String::new(),
            instance_id: None,
        };
        let offset =
            OffsetToCommit { partition, offset: 5, leader_epoch: 0, metadata: String::new() };
        let log = LogCommit { log: LogName::Name("l".to_owned()), offsets: vec![offset] };
        let broker = self.bed.broker.clone();
        let who = Principal::anonymous();
        let mut committed = Box::pin(broker.commit_offsets(&who, &member, vec![log], self.now_ms));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(committed.as_mut().poll(&mut cx).is_pending());
    }

    fn later(&mut self, ms: u64) {
        self.now_ms += ms;
        self.bed.run_jobs(self.now_ms);
        self.bed.sync();
    }

    fn offsets(&self, group: &str) -> Option<usize> {
        self.bed.broker.groups.applied.lock().get("/", group).map(|it| it.offsets.len())
    }

    fn is_live(&self, group: &str) -> bool {
        self.bed.broker.groups.live.get("/", group).is_some()
    }
}

#[test]
fn commits_of_groups_without_members_expire_one_by_one_and_the_group_with_the_last() {
    let mut world = World::new();
    world.commit("g", 0);
    world.bed.sync();
    world.later(KEPT_MS / 2);
    world.commit("g", 1);
    world.bed.sync();
    assert_eq!(world.offsets("g"), Some(2));
    world.later(KEPT_MS / 2 - 1);
    assert_eq!(world.offsets("g"), Some(2));
    world.later(CHECK_MS);
    assert_eq!(world.offsets("g"), Some(1));
    assert!(world.is_live("g"));
    world.later(KEPT_MS);
    assert_eq!(world.offsets("g"), None);
    assert!(!world.is_live("g"));
    // What expired is gone after a restart, with a checkpoint and without.
    let bed = world.bed.restart(&mut |_, _| 0);
    assert!(bed.broker.groups.applied.lock().is_empty());
}

/// The record is on its way when somebody commits: what was acknowledged stays.
#[test]
fn a_commit_that_overtakes_the_expiry_is_kept() {
    let mut world = World::new();
    world.commit("g", 0);
    world.bed.sync();
    world.now_ms += KEPT_MS + CHECK_MS;
    world.bed.run_jobs(world.now_ms);
    assert!(!world.is_live("g"));
    world.commit("g", 2);
    world.bed.sync();
    assert_eq!(world.offsets("g"), Some(1));
    world.later(CHECK_MS);
    assert_eq!(world.offsets("g"), Some(1));
    assert!(world.is_live("g"));
}

/// What keeps a group is on its way while it is looked at: it can be listed and deleted when that is durable.
#[test]
fn a_group_whose_commit_is_on_its_way_is_not_forgotten() {
    for has_past in [false, true] {
        let mut world = World::new();
        if has_past {
            world.commit("g", 0);
            world.bed.sync();
        }
        world.now_ms += KEPT_MS + CHECK_MS;
        world.commit("g", 1);
        world.bed.run_jobs(world.now_ms);
        world.bed.sync();
        assert!(world.is_live("g"), "{has_past}");
        world.later(CHECK_MS);
        assert_eq!(world.offsets("g"), Some(1));
        assert!(world.is_live("g"));
    }
}

#[test]
fn routes_and_groups_in_use_keep_their_offsets() {
    let mut world = World::new();
    let log = world.log;
    let committed = Committed { log, partition: 0, offset: 9, leader_epoch: -1, metadata: "" };
    for group in ["$route.r", "used"] {
        let offsets = vec![committed];
        world.submit(GroupRecord::Commit { vhost: "/", group, time_ms: START, offsets });
    }
    world.bed.sync();
    let join = Join {
        group: "used".to_owned(),
        member_id: String::new(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::new())],
        wants_member_id: false,
        knows_skip_assignment: false,
        reason: None,
    };
    let broker = world.bed.broker.clone();
    let rules = broker.limits().groups;
    let joined = broker.with_group_or_new(&"/".into(), "used", |_, inner| {
        let (ticket, _) = inner.wait_to_join();
        inner.group.join(&mut Step::new(START, &rules), &join, "member", ticket);
    });
    joined.unwrap();
    world.now_ms += KEPT_MS * 3;
    broker.expire_offsets(world.now_ms);
    world.bed.sync();
    assert_eq!((world.offsets("$route.r"), world.offsets("used")), (Some(1), Some(1)));
}

#[test]
fn a_group_whose_log_is_deleted_is_listed_no_more() {
    let mut world = World::new();
    world.commit("g", 0);
    world.bed.sync();
    assert_eq!(world.bed.broker.groups.applied.lock().forget_log(world.log), 1);
    world.later(CHECK_MS);
    assert!(!world.is_live("g"));
}
