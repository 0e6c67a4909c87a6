//! Static members (KIP-345). Part of `broker::groups::group`.

use super::*;

fn who_is(id: &str, instance: &str) -> Membership {
    Membership { instance_id: Some(instance.into()), ..who(id, 1) }
}

fn two() -> Rig {
    Rig::stable(&[(fixed("", "i"), "a"), (fixed("", "j"), "b")])
}

#[test]
fn a_static_follower_comes_back_without_a_rebalance() {
    let mut rig = two();
    let back = rig.join(&fixed("", "j"), "b2");
    let joined = rig.joined(back).clone();
    assert_eq!((joined.generation, &*joined.member_id, &*joined.leader), (1, "b2", "a"));
    assert!(joined.members.is_empty() && !joined.skip_assignment);
    assert_eq!(rig.state(), GroupState::Stable);
    let sync = rig.sync(who_is("b2", "j"), &[]);
    assert_eq!(rig.assignment(sync), b"b", "it has what the one before had");
    let fenced = rig.sync(who_is("b", "j"), &[]);
    assert_eq!(rig.refusal(fenced), &GroupError::Fenced);
    assert_eq!(rig.heartbeat("b", 1), Err(GroupError::UnknownMember));
    assert_eq!(rig.commit(&who_is("b", "j")), Err(GroupError::Fenced));
    let fenced = rig.join(&fixed("b", "j"), "-");
    assert_eq!(rig.refusal(fenced), &GroupError::Fenced);
}

#[test]
fn a_static_leader_comes_back_and_leaves_the_assignments_alone() {
    let mut rig = two();
    let back = rig.join(&fixed("", "i"), "a2");
    let joined = rig.joined(back);
    assert_eq!((&*joined.leader, joined.members.len()), ("a2", 2));
    assert!(joined.skip_assignment);
}

#[test]
fn an_old_client_does_not_learn_that_it_leads() {
    let mut rig = two();
    let old = Join { knows_skip_assignment: false, ..fixed("", "i") };
    let back = rig.join(&old, "a2");
    let joined = rig.joined(back);
    assert_eq!((&*joined.leader, joined.members.len()), ("a", 0));
    assert!(!joined.skip_assignment);
}

#[test]
fn a_static_member_that_comes_back_is_journaled_before_it_is_told() {
    let mut rig = two();
    rig.saves_at_once = false;
    let back = rig.join(&fixed("", "j"), "b2");
    assert!(!rig.joined.contains_key(&back));
    let save = rig.saves.last().unwrap();
    let restored = Group::restore("g", &save.snapshot, 0).unwrap();
    assert_eq!(restored.roster.instance("j"), Some("b2"));
    let number = save.number.unwrap();
    rig.saved(number, Ok(()));
    assert_eq!(rig.joined(back).member_id, "b2");
}

#[test]
fn a_static_member_that_cannot_be_journaled_is_as_it_was() {
    let mut rig = two();
    rig.saves_at_once = false;
    let back = rig.join(&Join { session_timeout_ms: 20_000, ..fixed("", "i") }, "a2");
    let number = rig.saves.last().unwrap().number.unwrap();
    rig.saved(number, Err(GroupError::Unavailable("disk".into())));
    assert_eq!(rig.refusal(back), &GroupError::Unavailable("disk".into()));
    assert_eq!(rig.heartbeat("a", 1), Ok(()));
    assert_eq!(rig.group.leader.as_deref(), Some("a"));
    let profile = &rig.group.roster.get("a").unwrap().profile;
    assert_eq!(profile.session_timeout_ms, SESSION_MS as u32);
    assert_eq!(rig.group.roster.instance("i"), Some("a"));
}

#[test]
fn a_journal_that_never_answers_makes_a_static_member_rebalance() {
    let mut rig = two();
    rig.saves_at_once = false;
    let back = rig.join(&Join { session_timeout_ms: 1_000_000, ..fixed("", "j") }, "b2");
    for _ in 0..REBALANCE_MS / 5_000 {
        assert!(!rig.joined.contains_key(&back));
        assert_eq!(rig.heartbeat("a", 1), Ok(()));
        rig.pass(5_000);
    }
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    rig.join(&fixed("a", "i"), "-");
    assert_eq!(rig.joined(back).generation, 2);
}

#[test]
fn a_static_member_that_changes_the_protocol_makes_all_join_again() {
    let protocols = [("range", ""), ("sticky", "")];
    let of = |instance: &str, protocols| Join {
        instance_id: Some(instance.to_owned()),
        ..join("", protocols)
    };
    let mut rig = Rig::stable(&[(of("i", &protocols), "a"), (of("j", &protocols), "b")]);
    let back = rig.join(&of("j", &protocols[1..]), "b2");
    assert!(!rig.joined.contains_key(&back));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_member_that_comes_back_while_the_leader_assigns_makes_all_join_again() {
    let mut rig = Rig::new();
    rig.limits.initial_rebalance_delay_ms = 1;
    rig.join(&fixed("", "i"), "a");
    rig.join(&fixed("", "j"), "b");
    rig.pass(10);
    let waits = rig.sync(who_is("b", "j"), &[]);
    rig.join(&fixed("", "j"), "b2");
    assert_eq!(rig.refusal(waits), &GroupError::Fenced);
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn of_two_static_members_with_one_name_the_later_stays() {
    let mut rig = two();
    rig.join(&plain(""), "c");
    let first = rig.join(&fixed("", "j"), "b2");
    let second = rig.join(&fixed("", "j"), "b3");
    assert_eq!(rig.refusal(first), &GroupError::Fenced);
    let leader = rig.join(&fixed("a", "i"), "-");
    assert_eq!(rig.joined(second).generation, rig.joined(leader).generation);
}

#[test]
fn a_static_member_is_kept_over_a_rebalance_until_its_session_ends() {
    let long = Join { session_timeout_ms: 1_000_000, ..fixed("", "j") };
    let mut rig = Rig::stable(&[(plain(""), "a"), (long, "b")]);
    let leader = rig.join(&plain("a"), "-");
    rig.pass(REBALANCE_MS);
    assert_eq!(rig.joined(leader).members.len(), 2, "it may come back");
    rig.sync(who("a", 2), &[("a", "1")]);
    for _ in 0..REBALANCE_MS / 5_000 {
        assert_eq!(rig.heartbeat("a", 2), Ok(()));
        rig.pass(5_000);
    }
    assert_eq!(rig.group.size(), 1, "it has not asked for its assignment");
}

#[test]
fn a_rebalance_that_only_absent_static_members_are_in_waits_for_them() {
    let long = |instance| Join { session_timeout_ms: 1_000_000, ..fixed("", instance) };
    let mut rig = Rig::stable(&[(long("i"), "a"), (long("j"), "b")]);
    rig.leave(&[leaving("", Some("i"))]);
    rig.pass(5 * REBALANCE_MS);
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    let back = rig.join(&long("j"), "b2");
    assert_eq!(rig.joined(back).members.len(), 1);
}

#[test]
fn a_static_member_of_a_full_group_takes_its_own_place() {
    let joins = [
        (fixed("", "i"), "a"),
        (fixed("", "j"), "b"),
        (fixed("", "k"), "c"),
        (fixed("", "l"), "d"),
    ];
    let mut rig = Rig::stable(&joins);
    let back = rig.join(&fixed("", "j"), "b2");
    assert_eq!(rig.joined(back).generation, 1);
    let other = rig.join(&fixed("", "m"), "e");
    assert_eq!(rig.refusal(other), &GroupError::Full);
}
