//! The tree against naive matching over a list; merging, generations. Part of `broker::router`. Share groups are tested
//! in `broker::shares`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::generations::Stamp;
use super::tree::Tree;
use super::{
    Answer, Destination, PartitionChoice, Route, RouteInput, RouteTarget, Router, VhostRouter,
};
use crate::broker::sessions::session::{Session, SessionKey};
use crate::broker::sessions::subscription::Subscription;
use crate::model::ids::{Lsn, QueueId};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

const SESSIONS: u64 = 4;
/// Publishes on nobody's behalf.
const STRANGER: QueueId = QueueId(99);

fn session(id: u64) -> Arc<Session> {
    let key = SessionKey { vhost: "/".into(), client_id: format!("c{id}").into() };
    Session::new(QueueId(id), key, Some(&crate::broker::queues::meter::Meter::new(0)))
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just("a"), 4 => Just("b"), 1 => Just(""), 1 => Just("$a"), 1 => Just("é")]
}

fn topic() -> impl Strategy<Value = String> {
    vec(level(), 1..5).prop_map(|levels| levels.join("/")).prop_filter("empty", |t| !t.is_empty())
}

fn any_filter() -> impl Strategy<Value = TopicFilter> {
    let pattern = prop_oneof![3 => level(), 2 => Just("+")];
    (vec(pattern, 0..4), any::<bool>()).prop_filter_map("empty", |(mut levels, rest)| {
        levels.extend(rest.then_some("#"));
        TopicFilter::parse(&levels.join("/")).ok()
    })
}

fn options() -> impl Strategy<Value = Subscription> {
    (0u8..3, any::<[bool; 2]>(), prop::option::of(1u32..9), 0u64..9).prop_map(
        |(qos, [no_local, retain_as_published], id, since)| Subscription {
            qos: QoS::from_bits(qos).unwrap(),
            no_local,
            retain_as_published,
            id,
            since: Lsn(since),
            replay_after: None,
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(u64, TopicFilter, Subscription),
    Unsubscribe(u64, TopicFilter),
    /// Takes out the subscription of this rank.
    Remove(usize),
    Since(u64, TopicFilter, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 1..=SESSIONS;
    prop_oneof![
        6 => (who.clone(), any_filter(), options()).prop_map(|(s, f, o)| Step::Subscribe(s, f, o)),
        1 => (who.clone(), any_filter()).prop_map(|(s, f)| Step::Unsubscribe(s, f)),
        3 => any::<usize>().prop_map(Step::Remove),
        1 => (who, any_filter(), 9u64..20).prop_map(|(s, f, l)| Step::Since(s, f, l)),
    ]
}

type List = BTreeMap<(u64, String), (TopicFilter, Subscription)>;

fn run(step: &Step, list: &mut List, router: &VhostRouter, sessions: &[Arc<Session>]) {
    let of = |id: &u64| &sessions[usize::try_from(*id).unwrap() - 1];
    match step {
        Step::Subscribe(id, filter, options) => {
            router.subscribe(filter, of(id), options);
            list.insert((*id, filter.to_string()), (filter.clone(), options.clone()));
        }
        Step::Unsubscribe(id, filter) => {
            let known = list.remove(&(*id, filter.to_string())).is_some();
            assert_eq!(router.unsubscribe(filter, QueueId(*id)), known);
        }
        Step::Remove(rank) if !list.is_empty() => {
            let key = list.keys().nth(rank % list.len()).unwrap().clone();
            let (filter, _) = list.remove(&key).unwrap();
            assert!(router.unsubscribe(&filter, QueueId(key.0)));
        }
        Step::Remove(_) => {}
        Step::Since(id, filter, since) => {
            router.set_since(filter, QueueId(*id), Lsn(*since));
            if let Some((_, options)) = list.get_mut(&(*id, filter.to_string())) {
                options.since = Lsn(*since);
            }
        }
    }
}

/// A destination without its session, subscription identifiers sorted.
type Plain = (u64, QoS, bool, Vec<u32>, Lsn);

fn plain(destination: &Destination) -> Plain {
    let mut ids = destination.subscription_ids.clone();
    ids.sort_unstable();
    let Destination { session, qos, retain_as_published, since, .. } = destination;
    (session.id.0, *qos, *retain_as_published, ids, *since)
}

fn answer(answer: &Answer) -> Vec<Plain> {
    answer.destinations.iter().map(plain).collect()
}

/// What the list says: every matching subscription, merged by session.
fn naive(list: &List, topic: &str, publisher: u64) -> Vec<Plain> {
    let mut merged: BTreeMap<u64, Plain> = BTreeMap::new();
    for ((id, _), (filter, options)) in list {
        if !filter.matches(topic) || (options.no_local && *id == publisher) {
            continue;
        }
        let one: Plain = (*id, options.qos, options.retain_as_published, Vec::new(), options.since);
        let all = merged.entry(*id).or_insert(one);
        all.1 = all.1.max(options.qos);
        all.2 |= options.retain_as_published;
        all.3.extend(options.id);
        all.3.sort_unstable();
        all.4 = all.4.min(options.since);
    }
    merged.into_values().collect()
}

proptest! {
    #[test]
    fn the_tree_agrees_with_a_list(
        steps in vec(step(), 1..40),
        topics in vec(topic(), 1..8),
        publisher in 1..=SESSIONS,
    ) {
        let router = Router::default().vhost("/");
        let sessions: Vec<_> = (1..=SESSIONS).map(session).collect();
        let mut list = List::new();
        let mut cached: Vec<(String, Stamp, Vec<Plain>)> = Vec::new();
        for step in &steps {
            run(step, &mut list, &router, &sessions);
            for topic in &topics {
                let found = answer(&router.resolve(topic, QueueId(publisher)));
                prop_assert_eq!(&found, &naive(&list, topic, publisher), "{}", topic);
            }
            // An answer that still counts as current is the answer.
            for (topic, stamp, old) in &cached {
                if router.is_current(*stamp) {
                    prop_assert_eq!(old, &naive(&list, topic, publisher), "{}", topic);
                }
            }
            let topic = &topics[0];
            cached.push((topic.clone(), router.stamp(topic), naive(&list, topic, publisher)));
        }
    }

    #[test]
    fn what_is_unsubscribed_leaves_nothing_behind(steps in vec(step(), 1..40)) {
        let mut tree = Tree::default();
        let mut kept: BTreeSet<(u64, TopicFilter)> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Subscribe(id, filter, options) => {
                    tree.subscribe(&filter, &session(id), &options);
                    kept.insert((id, filter));
                }
                Step::Since(id, filter, since) => {
                    tree.set_since(&filter, QueueId(id), Lsn(since));
                }
                Step::Unsubscribe(id, filter) => {
                    tree.unsubscribe(&filter, QueueId(id));
                    kept.remove(&(id, filter));
                }
                Step::Remove(_) => {}
            }
        }
        for (id, filter) in kept {
            prop_assert!(tree.unsubscribe(&filter, QueueId(id)));
        }
        prop_assert!(tree.is_unused());
    }
}

/// [MQTT-4.7.2-1] [MQTT5-4.7.2-1] and the examples of MQTT5-4.7.1.
#[test]
fn wildcards_match_as_the_specification_says() {
    for (wanted, topic, expected) in [
        ("sport/#", "sport", true),
        ("sport/+", "sport", false),
        ("+/+", "/finance", true),
        ("#", "$SYS/monitor", false),
        ("+/monitor", "$SYS/monitor", false),
        ("$SYS/#", "$SYS/monitor", true),
        ("a/#", "a/$b", true),
        ("a//b", "a/b", false),
    ] {
        let router = Router::default().vhost("/");
        router.subscribe(&filter(wanted), &session(1), &Subscription::default());
        let found = !router.resolve(topic, STRANGER).is_unroutable();
        assert_eq!(found, expected, "{wanted} {topic}");
    }
}

#[test]
fn a_filter_empties_the_cache_of_its_own_first_level_only() {
    let router = Router::default().vhost("/");
    let own = router.stamp("plant/1/temp");
    // A bucket of another level than `plant`: two names may share one.
    let other = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .map(|topic| router.stamp(topic))
        .find(|stamp| stamp.bucket() != own.bucket())
        .unwrap();
    router.subscribe(&filter("plant/+/temp"), &session(1), &Subscription::default());
    assert!(!router.is_current(own));
    assert!(router.is_current(other));
    for wanted in ["plant/2", "#"] {
        let stamp = router.stamp("plant/2");
        router.subscribe(&filter(wanted), &session(1), &Subscription::default());
        assert!(!router.is_current(stamp), "{wanted}");
    }
    assert!(!router.is_current(other), "a leading wildcard concerns everybody");
    let stamp = router.stamp("plant/2");
    router.invalidate();
    assert!(!router.is_current(stamp));
}

struct Named(&'static str);

impl Route for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn target(&self, _: &RouteInput<'_>) -> Result<RouteTarget, String> {
        let partition = PartitionChoice::Sticky;
        Ok(RouteTarget { log: self.0.to_owned(), partitions: None, key: None, partition })
    }
}

#[test]
fn routes_are_found_beside_sessions_and_make_a_topic_routable() {
    let router = Router::default();
    let plant = router.vhost("/");
    plant.add_route(&filter("f/+/t/#"), Arc::new(Named("one")));
    plant.add_route(&filter("f/#"), Arc::new(Named("two")));
    let names = |topic: &str| -> BTreeSet<String> {
        let found = plant.resolve(topic, STRANGER);
        assert_eq!(found.is_unroutable(), found.routes.is_empty());
        found.routes.iter().map(|route| route.name().to_owned()).collect()
    };
    assert_eq!(names("f/1/t/x"), ["one".to_owned(), "two".to_owned()].into());
    assert_eq!(names("f"), ["two".to_owned()].into());
    assert!(names("g").is_empty());
    plant.subscribe(&filter("f/#"), &session(1), &Subscription::default());
    plant.unsubscribe(&filter("f/#"), QueueId(1));
    assert_eq!(names("f").len(), 1, "a route outlives the sessions beside it");
    assert!(router.vhost("other").resolve("f/1/t", STRANGER).is_unroutable());
}

/// Topics as deep as they can be: loops, no recursion, and nothing quadratic.
#[test]
fn a_filter_of_65_535_levels_comes_and_goes() {
    let router = Router::default().vhost("/");
    let deep = ["/".repeat(65_534), "a/".repeat(32_767) + "a"];
    for topic in &deep {
        let wild = "+/".repeat(topic.matches('/').count().min(32_000)) + "#";
        for wanted in [topic.as_str(), wild.as_str(), "#"] {
            router.subscribe(&filter(wanted), &session(1), &Subscription::default());
            assert_eq!(router.resolve(topic, STRANGER).destinations.len(), 1, "{}", topic.len());
            assert!(router.unsubscribe(&filter(wanted), QueueId(1)));
            assert!(router.resolve(topic, STRANGER).is_unroutable());
        }
        // Dropped with the levels in place.
        router.subscribe(&filter(topic), &session(1), &Subscription::default());
    }
}

/// [MQTT-4.7.2-1] holds within a share group as well.
#[test]
fn a_leading_wildcard_of_a_share_group_does_not_see_dollar_topics() {
    let router = Router::default().vhost("/");
    for (wanted, seen) in
        [("$share/g/#", false), ("$share/g/+/x", false), ("$share/g/$SYS/#", true)]
    {
        router.subscribe(&filter(wanted), &session(1), &Subscription::default());
        assert_eq!(!router.resolve("$SYS/x", STRANGER).is_unroutable(), seen, "{wanted}");
        router.unsubscribe(&filter(wanted), QueueId(1));
    }
}

/// Empty levels are levels (MQTT5-4.7.3): `+` matches each.
#[test]
fn empty_levels_are_matched_like_others() {
    for (wanted, topic, expected) in [
        ("/", "/", true),
        ("+", "/", false),
        ("+/+", "/", true),
        ("+/+/+", "//", true),
        ("/+/", "//", true),
        ("//", "/", false),
        ("a/+/b", "a//b", true),
        ("a/#", "a/", true),
        ("a/+", "a/", true),
        ("/#", "/", true),
        ("/#", "a", false),
        ("+/#", "/", true),
        ("éé/+", "éé/", true),
    ] {
        let router = Router::default().vhost("/");
        router.subscribe(&filter(wanted), &session(1), &Subscription::default());
        assert_eq!(!router.resolve(topic, STRANGER).is_unroutable(), expected, "{wanted} {topic}");
    }
}
