//! Appends, turns of the route, refusals, checkpoints and power cuts in any order: in the end every durable
//! destination has each record of each partition once, in order. Part of the tests of `broker::carry`.

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::refusals::{narrow, take};
use super::{LOG, TREE, Yard};
use crate::broker::carry::Beginning;
use crate::broker::testbed::Refusing;
use crate::broker::testbed::client::NOW_MS;

const PARTITIONS: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Records by their kind: 0 with a durable destination, 1 without, 2 without an address.
    Append {
        partition: u32,
        kinds: Vec<u8>,
        synced: bool,
    },
    Work,
    Sync,
    Checkpoint,
    Take {
        count: usize,
    },
    Refuse {
        refusing: bool,
    },
    Restart {
        quarters: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..PARTITIONS, vec(0u8..3, 1..6), any::<bool>())
            .prop_map(|(partition, kinds, synced)| Step::Append { partition, kinds, synced }),
        8 => Just(Step::Work),
        4 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        2 => (1usize..4).prop_map(|count| Step::Take { count }),
        1 => any::<bool>().prop_map(|refusing| Step::Refuse { refusing }),
        1 => (0usize..5).prop_map(|quarters| Step::Restart { quarters }),
    ]
}

struct Run {
    yard: Yard,
    next: u32,
    taken: Vec<String>,
}

impl Run {
    fn step(&mut self, step: &Step) {
        self.yard.now_ms += 40;
        match step {
            Step::Append { partition, kinds, synced } => {
                let records: Vec<(&str, String)> = kinds
                    .iter()
                    .map(|kind| {
                        self.next += 1;
                        let key = ["d/a", "n/a", ""][usize::from(*kind)];
                        (key, format!("{partition}.{}.{kind}", self.next))
                    })
                    .collect();
                let pairs: Vec<_> = records.iter().map(|(key, value)| (*key, &**value)).collect();
                self.yard.bed().tape.refuse(Refusing::Never);
                if *synced {
                    self.yard.append(*partition, &pairs);
                }
            }
            Step::Work => self.yard.work(),
            Step::Sync => self.yard.bed().sync(),
            Step::Checkpoint => self.yard.bed().checkpoint_step(NOW_MS),
            Step::Take { count } => {
                self.yard.bed().tape.refuse(Refusing::Never);
                let taken = take(&mut self.yard, "narrow", *count);
                self.taken.extend(taken);
            }
            Step::Refuse { refusing } => {
                let refusing = if *refusing { Refusing::AtOnce } else { Refusing::Never };
                self.yard.bed().tape.refuse(refusing);
            }
            Step::Restart { quarters } => {
                self.yard.bed().tape.refuse(Refusing::Never);
                self.yard.restart(*quarters);
                self.yard.route_into("copy", "d/#");
            }
        }
    }

    fn finish(mut self) {
        self.yard.bed().tape.refuse(Refusing::Never);
        loop {
            self.yard.settle();
            let taken = take(&mut self.yard, "narrow", 100);
            if taken.is_empty() {
                break;
            }
            self.taken.extend(taken);
        }
        for partition in 0..PARTITIONS {
            let at = usize::try_from(partition).unwrap();
            let of = format!("{partition}.");
            let of_partition = |all: &[String]| -> Vec<String> {
                all.iter().filter(|value| value.starts_with(&of)).cloned().collect()
            };
            let appended = self.yard.in_log(LOG, at);
            let durable: Vec<String> =
                appended.iter().filter(|value| value.ends_with(".0")).cloned().collect();
            assert_eq!(of_partition(&self.yard.in_session("keeps")), durable, "session");
            assert_eq!(of_partition(&self.taken), durable, "queue that refuses");
            assert_eq!(of_partition(&self.yard.in_queue("orders")), durable, "queue");
            assert_eq!(of_partition(&self.yard.in_log("copy", 0)), durable, "log");
            assert_eq!(self.yard.position(partition), i64::try_from(appended.len()).unwrap());
        }
        assert_eq!(self.yard.in_session("keeps"), self.yard.in_queue("orders"));
        assert_eq!(self.yard.in_session("keeps"), self.yard.in_log("copy", 0));
    }
}

fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 48, max_shrink_iters: 200, ..default },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_record_is_in_every_durable_destination_once(steps in vec(step(), 0..80)) {
        let mut yard = Yard::new(PARTITIONS, Beginning::Earliest, TREE);
        yard.session("keeps", "d/#");
        yard.queue("orders", "d.#", &[]);
        yard.queue("narrow", "d.#", &narrow(2));
        yard.route_into("copy", "d/#");
        let mut run = Run { yard, next: 0, taken: Vec::new() };
        steps.iter().for_each(|step| run.step(step));
        run.finish();
    }
}
