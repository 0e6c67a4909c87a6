//! The whole broker against a naive model of it, in virtual time. Part of `broker`, for tests only.
//!
//! Clients of all three worlds do anything at any time: after each step the broker's state is the model's, its answers
//! are the model's, and a replay of the journal gives that very state again. A restart, after a cut that lost whatever
//! nobody was told of, changes nothing.
//!
//! - [`model`] what a broker should be, in vectors and maps
//! - [`world`] the broker, and what its clients do; [`mqtt`], [`others`] the verbs
//! - [`view`] both of them side by side
//!
//! `RIALTO_LONG=1` plays many more; `PROPTEST_CASES` says how many.

mod model;
mod mqtt;
mod others;
mod view;
mod world;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_oneof, proptest,
};
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};

use self::world::{Mutation, play};

const CLIENTS: usize = 3;
/// Sorted, as the model wants to find them.
const FILTERS: [&str; 5] = ["#", "+/b", "a/#", "a/b", "z"];
/// The last one is published with QoS 0: it may be delivered.
const TOPICS: [&str; 4] = ["a/b", "a/c", "b/b", "z"];
/// Where wills go.
const WILL: usize = 2;
const BEST_EFFORT: usize = 3;
/// The first gets what MQTT clients publish to `a/b`, the second is short in every sense.
const QUEUES: [&str; 2] = ["plain", "short"];
const SHORT_MAX: usize = 3;
const SHORT_TTL_MS: u64 = 3_000;
/// The last one gets what MQTT clients publish to `a/c`.
const LOGS: [&str; 3] = ["one", "two", "routed"];
const ROUTED: usize = 2;
const RECEIVE_MAX: usize = 3;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Open { who: usize, clean: bool, expires: bool, will: Option<u32> },
    Close { who: usize, discard_will: bool },
    Subscribe { who: usize, filter: usize, qos: u8 },
    Unsubscribe { who: usize, filter: usize },
    Publish { who: usize, topic: usize, qos: u8, id: u16 },
    Retain { who: usize, is_empty: bool },
    Release { who: usize, id: u16 },
    Acknowledge { who: usize },
    Declare { queue: usize },
    DeleteQueue { queue: usize },
    Send { queue: usize, count: usize },
    Fetch { queue: usize },
    Answer { queue: usize, requeue: bool },
    Purge { queue: usize },
    Create { log: usize },
    Append { log: usize, producer: Option<(i64, i32)> },
    Cut { log: usize, back: i64 },
    DeleteLog { log: usize },
    Commit { log: usize, offset: i64 },
    Tick { ms: u64 },
    Checkpoint,
    Restart { seed: u64, unsynced: bool },
}

fn of_mqtt() -> impl Strategy<Value = Step> {
    let who = || 0..CLIENTS;
    let filter = || 0..FILTERS.len();
    prop_oneof![
        4 => (who(), prop::bool::weighted(0.15), prop::bool::weighted(0.3),
              option::of(0u32..9)).prop_map(|(who, clean, expires, will)| Step::Open {
                  who, clean, expires, will: will.filter(|_| who == 2)
              }),
        2 => (who(), any::<bool>())
            .prop_map(|(who, discard_will)| Step::Close { who, discard_will }),
        5 => (who(), filter(), 0u8..3)
            .prop_map(|(who, filter, qos)| Step::Subscribe { who, filter, qos }),
        1 => (who(), filter()).prop_map(|(who, filter)| Step::Unsubscribe { who, filter }),
        12 => (who(), 0..TOPICS.len(), 1u8..3, 1u16..4).prop_map(|(who, topic, qos, id)| {
            let qos = if topic == BEST_EFFORT { 0 } else { qos };
            Step::Publish { who, topic, qos, id }
        }),
        2 => (who(), prop::bool::weighted(0.3))
            .prop_map(|(who, is_empty)| Step::Retain { who, is_empty }),
        2 => (who(), 1u16..4).prop_map(|(who, id)| Step::Release { who, id }),
        14 => who().prop_map(|who| Step::Acknowledge { who }),
    ]
}

fn of_others() -> impl Strategy<Value = Step> {
    let queue = || 0..QUEUES.len();
    let log = || 0..LOGS.len() - 1;
    // The sequence that is next, the one before, or one too far.
    let sequence = prop_oneof![6 => Just(0), 2 => Just(-1), 1 => Just(1)];
    prop_oneof![
        3 => queue().prop_map(|queue| Step::Declare { queue }),
        1 => queue().prop_map(|queue| Step::DeleteQueue { queue }),
        6 => (queue(), 1usize..4).prop_map(|(queue, count)| Step::Send { queue, count }),
        5 => queue().prop_map(|queue| Step::Fetch { queue }),
        4 => (queue(), any::<bool>()).prop_map(|(queue, requeue)| Step::Answer { queue, requeue }),
        1 => queue().prop_map(|queue| Step::Purge { queue }),
        3 => log().prop_map(|log| Step::Create { log }),
        9 => (log(), option::weighted(0.8, (1i64..3, sequence)))
            .prop_map(|(log, producer)| Step::Append { log, producer }),
        2 => (log(), 0i64..4).prop_map(|(log, back)| Step::Cut { log, back }),
        1 => log().prop_map(|log| Step::DeleteLog { log }),
        3 => (log(), 0i64..9).prop_map(|(log, offset)| Step::Commit { log, offset }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => of_mqtt(),
        15 => of_others(),
        3 => prop_oneof![3 => 1u64..3_000, 1 => 3_000u64..20_000].prop_map(|ms| Step::Tick { ms }),
        4 => Just(Step::Checkpoint),
        2 => (any::<u64>(), any::<bool>())
            .prop_map(|(seed, unsynced)| Step::Restart { seed, unsynced }),
    ]
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    match (std::env::var_os("PROPTEST_CASES"), std::env::var_os("RIALTO_LONG")) {
        (Some(_), _) => default,
        (None, Some(_)) => ProptestConfig { cases: 120, ..default },
        // The same plays each time: others are for the long form.
        (None, None) => {
            let rng_seed = RngSeed::Fixed(6);
            ProptestConfig { cases: 16, max_shrink_iters: 200, rng_seed, ..default }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_broker_is_what_the_model_is(steps in vec(step(), 1..120)) {
        if let Err(violation) = play(&steps, Mutation::None) {
            prop_assert!(false, "{}", violation);
        }
    }
}

/// The very check of the test above finds a broker with a fault out, within a few plays.
fn is_caught(mutation: Mutation) {
    let mut runner = TestRunner::deterministic();
    let plays = vec(step(), 40..80);
    let found = (0..20).find_map(|_| {
        let steps = plays.new_tree(&mut runner).unwrap().current();
        assert_eq!(
            play(&steps, Mutation::None),
            Ok(()),
            "without a fault there is nothing to find"
        );
        play(&steps, mutation).err()
    });
    assert!(found.is_some(), "{mutation:?} goes unnoticed");
}

#[test]
fn a_dropped_record_is_noticed() {
    is_caught(Mutation::DropRecord);
}

#[test]
fn a_forgotten_identifier_of_qos_2_is_noticed() {
    is_caught(Mutation::ForgetInbound);
}

#[test]
fn a_forgotten_sequence_of_a_producer_is_noticed() {
    is_caught(Mutation::ForgetProducers);
}

#[test]
fn a_restart_that_forgets_the_last_batch_is_noticed() {
    is_caught(Mutation::LoseBatch);
}
