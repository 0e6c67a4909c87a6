//! Access rules at work. Tests of `auth::acl`.

use proptest::prelude::*;

use super::{Acl, Action, Resource, RuleSpec, Verdict};
use crate::auth::principal::Principal;
use crate::model::topic::matches;

/// A rule about nothing, for nobody, that speaks of everything one may do.
pub(crate) const EMPTY: RuleSpec<'_> = RuleSpec {
    allow: None,
    deny: None,
    publish: true,
    subscribe: true,
    configure: true,
    filter: None,
    log: None,
    group: None,
    exchange: None,
    queue: None,
    vhost: "/",
};

fn allow<'a>(who: &'a str, filter: &'a str) -> RuleSpec<'a> {
    RuleSpec { allow: Some(who), filter: Some(filter), ..EMPTY }
}

fn deny<'a>(who: &'a str, filter: &'a str) -> RuleSpec<'a> {
    RuleSpec { deny: Some(who), filter: Some(filter), ..EMPTY }
}

fn acl(specs: &[RuleSpec<'_>]) -> Acl {
    Acl::compile(specs.iter().copied()).unwrap()
}

fn publish(acl: &Acl, user: &str, client: &str, topic: &str) -> bool {
    acl.allows(&Principal::named(user), client, Action::Publish, "/", topic).allowed
}

fn subscribe(acl: &Acl, user: &str, client: &str, filter: &str) -> bool {
    acl.allows(&Principal::named(user), client, Action::Subscribe, "/", filter).allowed
}

#[test]
fn without_rules_everything_is_allowed_and_with_rules_the_rest_is_denied() {
    let open = Acl::default();
    assert!(open.is_open() && publish(&open, "a", "c", "x") && subscribe(&open, "a", "c", "#"));
    let closed = acl(&[allow("a", "x")]);
    assert!(publish(&closed, "a", "c", "x"));
    assert!(!publish(&closed, "a", "c", "y") && !publish(&closed, "b", "c", "x"));
}

#[test]
fn the_first_matching_rule_decides_and_is_named() {
    let rules = acl(&[deny("*", "a/secret"), allow("*", "a/#"), deny("*", "a/b")]);
    let alice = Principal::named("alice");
    let verdict = |topic| rules.allows(&alice, "c", Action::Publish, "/", topic);
    assert_eq!(verdict("a/secret"), Verdict { allowed: false, rule: Some(0) });
    assert_eq!(verdict("a/b"), Verdict { allowed: true, rule: Some(1) });
    assert_eq!(verdict("z"), Verdict { allowed: false, rule: None });
}

#[test]
fn a_subscription_needs_one_allow_that_covers_it_and_no_earlier_deny_that_meets_it() {
    let rules =
        acl(&[deny("*", "a/secret"), allow("*", "a/+"), allow("*", "b/#"), deny("*", "b/x")]);
    assert!(subscribe(&rules, "u", "c", "a/b") && subscribe(&rules, "u", "c", "b/#"));
    assert!(subscribe(&rules, "u", "c", "b"), "`#` is also the parent");
    assert!(!subscribe(&rules, "u", "c", "a/+"), "a/secret is in it");
    assert!(!subscribe(&rules, "u", "c", "a/#"), "the allow covers a part only");
    assert!(!subscribe(&rules, "u", "c", "#"));
    assert!(subscribe(&rules, "u", "c", "$share/g/b/x"), "a later deny does not matter");
    assert!(!subscribe(&rules, "u", "c", "$share/g/a/secret"));
}

#[test]
fn names_stand_for_themselves_in_filters() {
    let rules = acl(&[allow("*", "users/%u/#"), allow("*", "clients/x-%c/%u")]);
    assert!(
        publish(&rules, "ann", "c", "users/ann/x") && !publish(&rules, "ann", "c", "users/bob/x")
    );
    assert!(
        subscribe(&rules, "ann", "c", "users/ann/+") && !subscribe(&rules, "ann", "c", "users/+/x")
    );
    assert!(publish(&rules, "ann", "7", "clients/x-7/ann"));
    assert!(publish(&rules, "u%c", "7", "clients/x-7/u%c"), "values are not looked into");
}

#[test]
fn a_name_that_would_change_a_filter_is_not_put_in() {
    let rules = acl(&[allow("*", "c/%c/#")]);
    for client in ["+", "#", "a/b", "", "a+", "x\0"] {
        assert!(!publish(&rules, "u", client, &format!("c/{client}/x")), "{client:?}");
        assert!(!subscribe(&rules, "u", client, "c/+/x") && !subscribe(&rules, "u", client, "c/#"));
    }
    let first = acl(&[allow("*", "%c/#")]);
    assert!(!subscribe(&first, "u", "$SYS", "$SYS/#"), "no client names itself into `$SYS`");
    assert!(subscribe(&first, "u", "S$", "S$/#"));

    let denied = acl(&[deny("*", "locked/%c/#"), allow("*", "#")]);
    assert!(!publish(&denied, "u", "7", "locked/7/x") && publish(&denied, "u", "7", "locked/8/x"));
    assert!(!publish(&denied, "u", "+", "locked/8/x"), "an odd name does not slip past a deny");
    assert!(publish(&denied, "u", "+", "open/8"));
}

#[test]
fn who_has_not_logged_in_is_nobody_by_name() {
    let rules = acl(&[allow("%anonymous", "public/#"), allow("ann", "ann/#"), allow("*", "u/%u")]);
    let nobody = Principal::anonymous();
    let may = |topic| rules.allows(&nobody, "c", Action::Publish, "/", topic).allowed;
    assert!(may("public/x") && !may("ann/x") && !may("u/anonymous") && !may("u/"));
    assert!(!publish(&rules, "ann", "c", "public/x") && publish(&rules, "ann", "c", "ann/x"));
}

#[test]
fn rules_keep_to_their_action_and_vhost() {
    let rules = acl(&[
        RuleSpec { subscribe: false, ..allow("*", "p") },
        RuleSpec { publish: false, ..allow("*", "s") },
        RuleSpec { vhost: "*", ..allow("*", "everywhere") },
    ]);
    assert!(publish(&rules, "u", "c", "p") && !subscribe(&rules, "u", "c", "p"));
    assert!(!publish(&rules, "u", "c", "s") && subscribe(&rules, "u", "c", "s"));
    let other =
        |topic| rules.allows(&Principal::named("u"), "c", Action::Publish, "other", topic).allowed;
    assert!(!other("p") && other("everywhere"));
}

#[test]
fn logs_have_rules_of_their_own() {
    let log = |who, log| RuleSpec { allow: Some(who), log: Some(log), ..EMPTY };
    let rules = acl(&[log("ann", "telemetry"), log("ann", "plant-*"), allow("ann", "#")]);
    let may =
        |name| rules.allows_log(&Principal::named("ann"), Action::Subscribe, "/", name).allowed;
    assert!(
        may("telemetry") && may("plant-1") && may("plant-") && !may("telemetry2") && !may("other")
    );
    assert!(
        !acl(&[log("ann", "telemetry")])
            .allows_log(&Principal::anonymous(), Action::Publish, "/", "telemetry")
            .allowed
    );
}

#[test]
fn who_may_write_a_log_may_not_change_it_unless_a_rule_says_so() {
    let rule = |action: [bool; 3], log| RuleSpec {
        allow: Some("ann"),
        publish: action[0],
        subscribe: action[1],
        configure: action[2],
        log: Some(log),
        ..EMPTY
    };
    let rules = acl(&[
        RuleSpec { deny: Some("ann"), log: Some("audit"), ..EMPTY },
        rule([true, true, false], "telemetry"),
        rule([false, false, true], "*"),
    ]);
    let ann = Principal::named("ann");
    let may = |action, log| rules.allows_log(&ann, action, "/", log).allowed;
    assert!(may(Action::Publish, "telemetry") && may(Action::Configure, "telemetry"));
    assert!(may(Action::Configure, "other") && !may(Action::Subscribe, "other"));
    assert!(!may(Action::Configure, "audit"), "the first that matches decides");
    let bob = Principal::named("bob");
    assert!(rules.allows_some_log(&ann, "/") && !rules.allows_some_log(&bob, "/"));
    assert!(!rules.allows_some_log(&ann, "other") && Acl::default().allows_some_log(&bob, "/"));
    let reads = acl(&[rule([false, true, true], "telemetry"), allow("ann", "#")]);
    assert!(!reads.allows_some_log(&ann, "/"));
}

#[test]
fn groups_have_rules_of_their_own() {
    let rule = |subscribe, configure, group| RuleSpec {
        allow: Some("ann"),
        publish: false,
        subscribe,
        configure,
        group: Some(group),
        ..EMPTY
    };
    let rules =
        acl(&[rule(true, false, "analytics"), rule(true, true, "ann-*"), allow("ann", "#")]);
    let ann = Principal::named("ann");
    let may =
        |action, group| rules.allows_resource(&ann, action, "/", Resource::Group(group)).allowed;
    assert!(may(Action::Subscribe, "analytics") && !may(Action::Configure, "analytics"));
    assert!(may(Action::Subscribe, "ann-1") && may(Action::Configure, "ann-1"));
    assert!(!may(Action::Subscribe, "other"));
    assert!(!rules.allows_log(&ann, Action::Subscribe, "/", "analytics").allowed);
    let nobody = Principal::anonymous();
    let group = Resource::Group("analytics");
    assert!(!rules.allows_resource(&nobody, Action::Subscribe, "/", group).allowed);
    assert!(Acl::default().allows_resource(&nobody, Action::Configure, "/", group).allowed);
}

#[test]
fn exchanges_and_queues_have_rules_of_their_own() {
    let rule = |rights: [bool; 3], exchange, queue| RuleSpec {
        allow: Some("ann"),
        configure: rights[0],
        publish: rights[1],
        subscribe: rights[2],
        exchange,
        queue,
        ..EMPTY
    };
    let rules = acl(&[
        RuleSpec { deny: Some("*"), queue: Some("secret*"), ..EMPTY },
        rule([true, false, false], Some("shop"), None),
        rule([false, true, true], None, Some("*")),
        allow("ann", "#"),
    ]);
    let ann = Principal::named("ann");
    let may = |action, resource| rules.allows_resource(&ann, action, "/", resource).allowed;
    assert!(may(Action::Configure, Resource::Exchange("shop")));
    assert!(!may(Action::Publish, Resource::Exchange("shop")));
    assert!(!may(Action::Configure, Resource::Exchange("shop2")));
    assert!(!may(Action::Configure, Resource::Queue("shop")), "a queue is no exchange");
    assert!(may(Action::Subscribe, Resource::Queue("shop")));
    assert!(!may(Action::Subscribe, Resource::Queue("secrets")), "the first that matches decides");
    assert!(
        !rules.allows(&ann, "", Action::Configure, "/", "a").allowed,
        "nobody configures topics"
    );
    assert!(!rules.allows_log(&ann, Action::Publish, "/", "shop").allowed);
    let other = rules.allows_resource(&ann, Action::Publish, "other", Resource::Queue("shop"));
    assert!(!other.allowed);
    let open = Acl::default();
    assert!(open.allows_resource(&ann, Action::Configure, "/", Resource::Queue("q")).allowed);
}

#[test]
fn a_rule_that_says_nothing_clear_is_refused() {
    let faulty = [
        EMPTY,
        RuleSpec { deny: Some("*"), ..allow("*", "a") },
        RuleSpec { log: Some("l"), ..allow("*", "a") },
        RuleSpec { allow: Some("a"), ..EMPTY },
        RuleSpec { vhost: "", ..allow("*", "a") },
        RuleSpec { allow: Some("*"), log: Some("a b"), ..EMPTY },
        RuleSpec { allow: Some("*"), log: Some(""), ..EMPTY },
        RuleSpec { exchange: Some("x"), ..allow("*", "a") },
        RuleSpec { allow: Some("*"), exchange: Some("x"), queue: Some("q"), ..EMPTY },
        RuleSpec { allow: Some("*"), exchange: Some(""), ..EMPTY },
        RuleSpec { allow: Some("*"), queue: Some(""), ..EMPTY },
        RuleSpec { publish: false, subscribe: false, ..allow("*", "a") },
        RuleSpec { allow: Some("*"), group: Some(""), ..EMPTY },
        RuleSpec { allow: Some("*"), group: Some("g"), log: Some("l"), ..EMPTY },
        RuleSpec {
            subscribe: false,
            configure: false,
            allow: Some("*"),
            group: Some("g"),
            ..EMPTY
        },
        allow("%everyone", "a"),
        allow("*", ""),
        allow("*", "a+"),
        allow("*", "#/a"),
        allow("*", "a/%x"),
        allow("*", "a/50%"),
        allow("*", "$share/g/a"),
    ];
    for (index, spec) in faulty.into_iter().enumerate() {
        assert!(Acl::compile([allow("*", "ok"), spec]).is_err_and(|(at, _)| at == 1), "{index}");
    }
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "$s", "+"]);
    (prop::collection::vec(level, 1..3), any::<bool>()).prop_map(|(mut levels, tail)| {
        if tail {
            levels.push("#");
        }
        levels.join("/")
    })
}

proptest! {
    /// The law that makes a granted subscription safe: each topic in it would be granted alone.
    #[test]
    fn a_granted_subscription_delivers_only_topics_that_are_allowed(
        rules in prop::collection::vec((any::<bool>(), filter()), 1..5),
        asked in filter(),
        topics in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "$s", "z", "a/a", "a/b", "a/z", "b/a", "b/z", "z/a", "z/z", "$s/a", "$s/z", "a/b/z", "z/z/z",
        ]), 8),
    ) {
        let specs = rules.iter().map(|(yes, filter)| if *yes { allow("*", filter) } else { deny("*", filter) });
        let acl = Acl::compile(specs).unwrap();
        if subscribe(&acl, "u", "c", &asked) {
            for topic in topics.into_iter().filter(|topic| matches(&asked, topic)) {
                let who = Principal::named("u");
                prop_assert!(acl.allows(&who, "c", Action::Subscribe, "/", topic).allowed, "{}", topic);
            }
        }
    }
}
