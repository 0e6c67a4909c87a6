//! Ids, sessions, leaving, committing, restarts. Part of `broker::groups::group`.

use super::*;

fn asking(id: &str) -> Join {
    Join { wants_member_id: true, ..plain(id) }
}

#[test]
fn a_new_dynamic_member_is_told_its_id_first() {
    let mut rig = Rig::new();
    let ticket = rig.join(&asking(""), "a");
    assert_eq!(rig.refusal(ticket), &GroupError::MemberIdRequired("a".into()));
    assert_eq!(rig.state(), GroupState::Empty);
    assert!(!rig.group.is_vacant());
    let ticket = rig.join(&asking("a"), "-");
    assert_eq!(rig.joined(ticket).member_id, "a");
}

#[test]
fn an_id_that_nobody_joins_with_expires() {
    let mut rig = Rig::new();
    rig.join(&asking(""), "a");
    rig.pass(SESSION_MS);
    assert!(rig.group.is_vacant());
    let late = rig.join(&asking("a"), "-");
    assert_eq!(rig.refusal(late), &GroupError::UnknownMember);
}

#[test]
fn a_rebalance_waits_for_ids_that_were_given_out() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    rig.join(&asking(""), "b");
    assert_eq!(rig.state(), GroupState::Stable);
    let leader = rig.join(&plain("a"), "-");
    assert!(!rig.joined.contains_key(&leader));
    rig.pass(SESSION_MS);
    assert_eq!(rig.joined(leader).members.len(), 1);
}

#[test]
fn an_id_that_is_given_back_disturbs_nobody() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    rig.join(&asking(""), "b");
    assert_eq!(rig.leave(&[leaving("b", None)]), vec![Ok(())]);
    assert_eq!(rig.state(), GroupState::Stable);
    rig.join(&asking(""), "c");
    let leader = rig.join(&plain("a"), "-");
    assert!(!rig.joined.contains_key(&leader));
    rig.leave(&[leaving("c", None)]);
    assert_eq!(rig.joined(leader).members.len(), 1, "nobody else is waited for");
}

#[test]
fn an_id_given_out_is_no_static_members() {
    let mut rig = Rig::new();
    rig.join(&asking(""), "a");
    let ticket = rig.join(&fixed("a", "i"), "-");
    assert_eq!(rig.refusal(ticket), &GroupError::UnknownMember);
}

#[test]
fn sessions_out_of_bounds_are_refused() {
    let mut rig = Rig::new();
    let short = rig.join(&Join { session_timeout_ms: 5_999, ..plain("") }, "a");
    let long = rig.join(&Join { session_timeout_ms: 1_800_001, ..plain("") }, "a");
    assert_eq!(rig.refusal(short), &GroupError::InvalidSessionTimeout);
    assert_eq!(rig.refusal(long), &GroupError::InvalidSessionTimeout);
}

#[test]
fn a_member_that_says_too_much_is_refused() {
    let mut rig = Rig::new();
    let ticket = rig.join(&join("", &[("range", &"x".repeat(1024 * 1024))]), "a");
    assert_eq!(rig.refusal(ticket), &GroupError::TooLarge);
    let names: Vec<_> = (0..65).map(|at| format!("p{at}")).collect();
    let protocols: Vec<_> = names.iter().map(|name| (&**name, "")).collect();
    let ticket = rig.join(&join("", &protocols), "a");
    assert_eq!(rig.refusal(ticket), &GroupError::TooLarge);
    let ticket = rig.join(&join("", &protocols[1..]), "a");
    assert_eq!(rig.joined(ticket).protocol, "p1");
}

#[test]
fn a_silent_member_is_out_and_heartbeats_keep_it_in() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (plain(""), "b")]);
    rig.pass(SESSION_MS - 1);
    assert_eq!(rig.heartbeat("a", 1), Ok(()));
    rig.pass(1);
    assert_eq!(rig.heartbeat("b", 1), Err(GroupError::UnknownMember));
    assert_eq!(rig.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
    rig.pass(SESSION_MS);
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn whoever_waits_for_others_is_not_silent() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (plain(""), "b")]);
    let waits = rig.join(&join("b", &[("range", "new")]), "-");
    for _ in 0..5 {
        rig.pass(SESSION_MS - 1);
        assert!(rig.heartbeat("a", 1).is_err());
    }
    assert!(!rig.joined.contains_key(&waits));
    let leader = rig.join(&plain("a"), "-");
    assert_eq!(rig.joined(waits).generation, rig.joined(leader).generation);
}

#[test]
fn a_new_member_whose_client_may_be_gone_does_not_wait_for_ever() {
    let long = 3_600_000;
    let mut rig = Rig::stable(&[(Join { rebalance_timeout_ms: long, ..plain("") }, "a")]);
    let new = rig.join(&plain(""), "b");
    for _ in 0..60 {
        assert!(!rig.joined.contains_key(&new));
        assert!(rig.heartbeat("a", 1).is_err());
        rig.pass(5_000);
    }
    assert_eq!(rig.refusal(new), &GroupError::UnknownMember);
}

#[test]
fn members_leave_each_on_its_own_account() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (fixed("", "i"), "b"), (plain(""), "c")]);
    let gone = rig.leave(&[
        leaving("nobody", None),
        leaving("x", Some("i")),
        leaving("", Some("other")),
        leaving("", None),
        leaving("", Some("i")),
        leaving("c", None),
    ]);
    let unknown = Err(GroupError::UnknownMember);
    let fenced = Err(GroupError::Fenced);
    assert_eq!(gone, vec![unknown.clone(), fenced, unknown.clone(), unknown, Ok(()), Ok(())]);
    assert_eq!(rig.group.size(), 1);
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn whoever_leaves_while_it_waits_is_answered() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    let waits = rig.join(&plain(""), "b");
    rig.leave(&[leaving("b", None)]);
    assert_eq!(rig.refusal(waits), &GroupError::UnknownMember);
    rig.join(&asking(""), "c");
    assert_eq!(rig.leave(&[leaving("c", None)]), vec![Ok(())], "an id that has not joined");
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 1;
    rig.join(&plain(""), "a");
    rig.join(&plain(""), "b");
    rig.pass(10);
    let waits = rig.sync(who("b", 1), &[]);
    rig.leave(&[leaving("b", None)]);
    assert_eq!(rig.refusal(waits), &GroupError::UnknownMember);
}

#[test]
fn strangers_and_the_past_get_no_assignment() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    let stranger = rig.sync(who("x", 1), &[]);
    let past = rig.sync(who("a", 0), &[]);
    assert_eq!(rig.refusal(stranger), &GroupError::UnknownMember);
    assert_eq!(rig.refusal(past), &GroupError::IllegalGeneration);
    let other = Sync {
        who: who("a", 1),
        protocol_type: Some("consumer".into()),
        protocol: Some("sticky".into()),
        assignments: Vec::new(),
    };
    let other = rig.step(|group, step, ticket| {
        group.sync(step, &other, ticket);
        ticket
    });
    assert_eq!(rig.refusal(other), &GroupError::InconsistentProtocol);
    rig.join(&plain(""), "b");
    let early = rig.sync(who("a", 1), &[]);
    assert_eq!(rig.refusal(early), &GroupError::RebalanceInProgress);
}

#[test]
fn offsets_are_committed_by_members_of_the_generation() {
    let mut rig = Rig::new();
    let nobody = who("", -1);
    assert_eq!(rig.commit(&nobody), Ok(()), "nobody is in: whoever is no member may");
    rig.join(&plain(""), "a");
    assert_eq!(rig.commit(&who("a", 1)), Err(GroupError::RebalanceInProgress));
    rig.sync(who("a", 1), &[]);
    assert_eq!(rig.commit(&nobody), Err(GroupError::UnknownMember));
    assert_eq!(rig.commit(&who("b", 1)), Err(GroupError::UnknownMember));
    assert_eq!(rig.commit(&who("a", 0)), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.commit(&who("a", -1)), Err(GroupError::IllegalGeneration));
    rig.pass(SESSION_MS - 1);
    assert_eq!(rig.commit(&who("a", 1)), Ok(()));
    rig.pass(SESSION_MS - 1);
    assert_eq!(rig.heartbeat("a", 1), Ok(()), "a commit is a sign of life");
    rig.join(&plain(""), "b");
    assert_eq!(rig.commit(&who("a", 1)), Ok(()), "before it joins again it may still commit");
}

#[test]
fn a_restart_finds_the_members_where_they_were() {
    let rig = Rig::stable(&[(fixed("", "i"), "a"), (plain(""), "b")]);
    let snapshot = &rig.saves.last().unwrap().snapshot;
    let mut rig = Rig::over(Group::restore("g", snapshot, 1_000_000).unwrap());
    assert_eq!(rig.heartbeat("a", 1), Ok(()));
    assert_eq!(rig.commit(&who("b", 1)), Ok(()));
    let sync = rig.sync(who("b", 1), &[]);
    assert_eq!(rig.assignment(sync), b"b");
    let back = rig.join(&fixed("", "i"), "a2");
    assert_eq!((rig.joined(back).generation, rig.state()), (1, GroupState::Stable));
    rig.pass(SESSION_MS);
    assert_eq!(rig.group.size(), 0, "sessions begin with the restart");
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    let rig = Rig::stable(&[(fixed("", "i"), "a"), (plain(""), "b")]);
    let snapshot = &rig.saves.last().unwrap().snapshot;
    for cut in 0..snapshot.len() {
        assert!(Group::restore("g", &snapshot[..cut], 0).is_err(), "cut at {cut}");
    }
    let mut newer = snapshot.clone();
    newer[0] = 2;
    assert!(Group::restore("g", &newer, 0).is_err());
    let anew = Group::restore_empty("g", snapshot).unwrap();
    assert_eq!((anew.state(), anew.generation(), anew.size()), (GroupState::Empty, 1, 0));
}

#[test]
fn what_a_group_shows_depends_on_its_state() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    let shown = rig.group.describe();
    assert_eq!((&*shown.protocol, &shown.members[0].assignment[..]), ("range", &b"a"[..]));
    assert_eq!(shown.listing.protocol_type, "consumer");
    rig.join(&plain(""), "b");
    let shown = rig.group.describe();
    assert_eq!((&*shown.protocol, &shown.members[0].metadata[..]), ("", &b""[..]));
    assert_eq!(shown.listing.state, GroupState::PreparingRebalance);
}

#[test]
fn logs_that_members_subscribe_to_keep_their_offsets() {
    let subscription = "\0\u{1}\0\0\0\u{1}\0\u{3}log";
    let rig = Rig::stable(&[(join("", &[("range", subscription)]), "a")]);
    assert_eq!(rig.group.subscribes_to("log"), Ok(true));
    assert_eq!(rig.group.subscribes_to("other"), Ok(false));
    assert_eq!(Rig::new().group.subscribes_to("log"), Ok(false));
    let rig = Rig::stable(&[(plain(""), "a")]);
    assert_eq!(rig.group.subscribes_to("other"), Ok(true), "who knows");
    let rig = Rig::stable(&[(Join { protocol_type: "connect".into(), ..plain("") }, "a")]);
    assert_eq!(rig.group.subscribes_to("other"), Err(GroupError::NotEmpty));
}
