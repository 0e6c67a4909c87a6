//! How generations come about. Part of `broker::groups::group`.

use super::*;

#[test]
fn the_first_member_leads_the_first_generation() {
    let mut rig = Rig::new();
    let ticket = rig.join(&plain(""), "a");
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation, &*joined.leader, &*joined.member_id), (1, "a", "a"));
    assert_eq!((&*joined.protocol, joined.members.len()), ("range", 1));
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
    let sync = rig.sync(who("a", 1), &[("a", "all")]);
    assert_eq!(rig.assignment(sync), b"all");
    assert_eq!(rig.state(), GroupState::Stable);
}

#[test]
fn the_first_generation_waits_for_more_members_while_they_come() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 3_000;
    let first = rig.join(&plain(""), "a");
    rig.pass(2_999);
    let second = rig.join(&plain(""), "b");
    rig.pass(3_000);
    assert!(rig.joined.is_empty(), "somebody came: another wait");
    rig.pass(1);
    rig.pass(3_000);
    assert_eq!(rig.joined(first).members.len(), 2);
    assert_eq!((rig.joined(second).generation, rig.joined(second).members.len()), (1, 0));
}

#[test]
fn the_first_generation_does_not_wait_beyond_the_rebalance_timeout() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 3_000;
    rig.limits.members_max = 100;
    let first = rig.join(&Join { rebalance_timeout_ms: 10_000, ..plain("") }, "a");
    for second in 0..10 {
        assert!(!rig.joined.contains_key(&first));
        rig.join(&plain(""), &format!("b{second}"));
        rig.pass(1_000);
    }
    assert_eq!(rig.joined(first).members.len(), 11);
}

#[test]
fn whoever_comes_later_makes_everybody_join_again() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    let second = rig.join(&plain(""), "b");
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    assert_eq!(rig.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
    let first = rig.join(&plain("a"), "-");
    let generation = rig.joined(first).generation;
    assert_eq!((generation, rig.joined(first).members.len()), (2, 2));
    assert_eq!((&*rig.joined(second).leader, rig.joined(second).members.len()), ("a", 0));
    assert_eq!(rig.heartbeat("a", 1), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.heartbeat("a", 2), Ok(()));
}

#[test]
fn assignments_are_handed_out_when_they_are_journaled() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 1;
    rig.saves_at_once = false;
    rig.join(&plain(""), "a");
    rig.join(&plain(""), "b");
    rig.pass(10);
    let follower = rig.sync(who("b", 1), &[]);
    let leader = rig.sync(who("a", 1), &[("a", "1"), ("stranger", "3")]);
    assert!(rig.synced.is_empty());
    let number = rig.saves.last().unwrap().number.unwrap();
    rig.saved(number, Ok(()));
    assert_eq!(rig.assignment(leader), b"1");
    assert_eq!(rig.assignment(follower), b"", "whoever the leader left out gets nothing");
    let again = rig.sync(who("b", 1), &[]);
    assert_eq!(rig.assignment(again), b"");
}

#[test]
fn refused_assignments_have_everybody_join_again() {
    let mut rig = Rig::new();
    rig.saves_at_once = false;
    rig.join(&plain(""), "a");
    let sync = rig.sync(who("a", 1), &[("a", "1")]);
    let number = rig.saves.last().unwrap().number.unwrap();
    rig.saved(number, Err(GroupError::Unavailable("disk".into())));
    assert_eq!(rig.refusal(sync), &GroupError::Unavailable("disk".into()));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    let again = rig.join(&plain("a"), "-");
    assert_eq!(rig.joined(again).generation, 2);
}

#[test]
fn a_journal_that_never_answers_sends_everybody_to_join_again() {
    let mut rig = Rig::new();
    rig.saves_at_once = false;
    rig.join(&plain(""), "a");
    let sync = rig.sync(who("a", 1), &[("a", "1")]);
    rig.pass(REBALANCE_MS);
    assert_eq!(rig.refusal(sync), &GroupError::RebalanceInProgress);
    let number = rig.saves.last().unwrap().number.unwrap();
    rig.saved(number, Ok(()));
    assert_ne!(rig.state(), GroupState::Stable, "it came too late");
}

#[test]
fn a_member_that_comes_while_the_leader_assigns_begins_anew() {
    let mut rig = Rig::new();
    rig.saves_at_once = false;
    rig.join(&plain(""), "a");
    let sync = rig.sync(who("a", 1), &[("a", "1")]);
    rig.join(&plain(""), "b");
    assert_eq!(rig.refusal(sync), &GroupError::RebalanceInProgress);
    let number = rig.saves.last().unwrap().number.unwrap();
    rig.saved(number, Ok(()));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn dynamic_members_that_do_not_join_in_time_are_out() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (plain(""), "b")]);
    let third = rig.join(&plain(""), "c");
    for _ in 0..REBALANCE_MS / 5_000 {
        assert!(!rig.joined.contains_key(&third));
        // They are alive, and do not come.
        assert_eq!(rig.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
        assert_eq!(rig.heartbeat("b", 1), Err(GroupError::RebalanceInProgress));
        rig.pass(5_000);
    }
    assert_eq!((&*rig.joined(third).leader, rig.joined(third).members.len()), ("c", 1));
    assert_eq!(rig.heartbeat("a", 1), Err(GroupError::UnknownMember));
}

#[test]
fn members_that_do_not_ask_for_their_assignment_in_time_are_out() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 1;
    rig.join(&plain(""), "a");
    rig.join(&plain(""), "b");
    rig.pass(10);
    let leader = rig.sync(who("a", 1), &[("a", "1")]);
    assert_eq!(rig.assignment(leader), b"1");
    for _ in 0..REBALANCE_MS / 5_000 {
        assert_eq!((rig.heartbeat("a", 1), rig.heartbeat("b", 1)), (Ok(()), Ok(())));
        rig.pass(5_000);
    }
    assert_eq!(rig.heartbeat("b", 1), Err(GroupError::UnknownMember));
    assert_eq!(rig.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_leader_that_leaves_is_followed_by_the_oldest() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (plain(""), "b"), (plain(""), "c")]);
    assert_eq!(rig.leave(&[leaving("a", None)]), vec![Ok(())]);
    let third = rig.join(&plain("c"), "-");
    let second = rig.join(&plain("b"), "-");
    assert_eq!(rig.joined(second).members.len(), 2);
    assert_eq!(rig.joined(third).leader, "b");
}

#[test]
fn a_leader_that_does_not_join_is_followed_by_one_who_did() {
    let mut rig = Rig::stable(&[(fixed("", "i"), "a"), (plain(""), "b"), (plain(""), "c")]);
    let mut waits = Vec::new();
    rig.join(&join("c", &[("range", "new")]), "-");
    waits.push(rig.join(&plain("b"), "-"));
    rig.heartbeat("a", 1).unwrap_err();
    rig.pass(SESSION_MS - 1);
    rig.heartbeat("a", 1).unwrap_err();
    for _ in 0..REBALANCE_MS / 5_000 {
        drop(rig.heartbeat("a", 1));
        rig.pass(5_000);
    }
    assert_eq!(rig.joined(waits[0]).leader, "b");
}

#[test]
fn the_protocol_that_most_prefer_among_those_that_all_speak_is_chosen() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 1;
    rig.join(&join("", &[("x", ""), ("range", ""), ("sticky", "")]), "a");
    rig.join(&join("", &[("sticky", ""), ("range", "")]), "b");
    let last = rig.join(&join("", &[("y", ""), ("sticky", ""), ("range", "")]), "c");
    rig.pass(10);
    assert_eq!(rig.joined(last).protocol, "sticky");
}

#[test]
fn of_two_protocols_with_equal_votes_the_oldest_members_is_chosen() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 1;
    rig.join(&join("", &[("b", ""), ("a", "")]), "a");
    let last = rig.join(&join("", &[("a", ""), ("b", "")]), "b");
    rig.pass(10);
    assert_eq!(rig.joined(last).protocol, "b");
}

#[test]
fn members_without_a_protocol_in_common_are_refused() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    let none = rig.join(&join("", &[]), "b");
    let other = rig.join(&join("", &[("sticky", "")]), "b");
    let kind = rig.join(&Join { protocol_type: "connect".into(), ..plain("") }, "b");
    for ticket in [none, other, kind] {
        assert_eq!(rig.refusal(ticket), &GroupError::InconsistentProtocol);
    }
    let mut empty = Rig::new();
    let untyped = empty.join(&Join { protocol_type: String::new(), ..plain("") }, "b");
    assert_eq!(empty.refusal(untyped), &GroupError::InconsistentProtocol);
    assert!(empty.group.is_vacant());
}

#[test]
fn a_member_that_joins_again_while_it_waits_gets_the_later_answer() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (plain(""), "b")]);
    let first = rig.join(&join("b", &[("range", "new")]), "-");
    let second = rig.join(&join("b", &[("range", "newer")]), "-");
    assert_eq!(rig.refusal(first), &GroupError::RebalanceInProgress);
    let leader = rig.join(&plain("a"), "-");
    assert_eq!(rig.joined(second).generation, 2);
    let told = rig.joined(leader).members.iter().find(|member| member.member_id == "b");
    assert_eq!(&told.unwrap().metadata[..], b"newer");
}

#[test]
fn a_follower_with_nothing_new_is_told_its_generation_again() {
    let mut rig = Rig::stable(&[(plain(""), "a"), (plain(""), "b")]);
    let same = rig.join(&plain("b"), "-");
    assert_eq!(rig.joined(same).generation, 1);
    assert_eq!(rig.state(), GroupState::Stable);
    let leader = rig.join(&plain("a"), "-");
    assert!(!rig.joined.contains_key(&leader), "a leader that joins again wants to assign anew");
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_join_whose_answer_was_missed_is_answered_again_while_the_leader_assigns() {
    let mut rig = Rig::new();
    rig.join(&plain(""), "a");
    let again = rig.join(&plain("a"), "-");
    assert_eq!((rig.joined(again).generation, rig.joined(again).members.len()), (1, 1));
    rig.join(&join("a", &[("range", "new")]), "-");
    assert_eq!(rig.group.generation(), 2, "what it says has changed");
}

#[test]
fn a_group_that_becomes_empty_keeps_its_generations() {
    let mut rig = Rig::stable(&[(plain(""), "a")]);
    rig.leave(&[leaving("a", None)]);
    assert_eq!((rig.state(), rig.group.generation()), (GroupState::Empty, 2));
    let save = rig.saves.last().unwrap();
    assert_eq!(save.number, None);
    let restored = Group::restore("g", &save.snapshot, 0).unwrap();
    assert_eq!((restored.state(), restored.generation()), (GroupState::Empty, 2));
    let next = rig.join(&join("", &[("other", "")]), "b");
    assert_eq!(rig.joined(next).generation, 3);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut rig =
        Rig::stable(&[(plain(""), "a"), (plain(""), "b"), (plain(""), "c"), (plain(""), "d")]);
    let fifth = rig.join(&plain(""), "e");
    assert_eq!(rig.refusal(fifth), &GroupError::Full);
    assert_eq!(rig.state(), GroupState::Stable);
    let mut rig = Rig::new();
    let asks = Join { wants_member_id: true, ..plain("") };
    let given: Vec<_> = (0..5).map(|at| rig.join(&asks, &format!("m{at}"))).collect();
    assert_eq!(rig.refusal(given[3]), &GroupError::MemberIdRequired("m3".into()));
    assert_eq!(rig.refusal(given[4]), &GroupError::Full, "ids are bounded too");
}
