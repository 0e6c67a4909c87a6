//! What is remembered is what would be found: a publisher that remembers and one that just came see the same, whatever
//! changes between two messages. Tests of `broker::publish`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::town::{Town, channel, unheard};
use crate::broker::publish::exchange::PublishError;
use crate::broker::publish::{Published, Publisher};
use crate::broker::testbed::client::{Client, publisher};
use crate::model::field_table::write::TableWriter;
use crate::model::qos::QoS;
use crate::model::routing_key::{to_key, to_topic};
use crate::model::topic::TopicFilter;

const QUEUES: [&str; 3] = ["q", "r", "s"];
/// The last but one sends what it cannot place to the default exchange.
const EXCHANGES: [&str; 4] = ["amq.topic", "x", "y", "amq.headers"];
const KEYS: [&str; 5] = ["a", "a.b", "q", "#", "a.*"];
const FILTERS: [&str; 3] = ["a", "a/+", "#"];

#[derive(Clone, Debug)]
enum Step {
    Declare { queue: usize, durable: bool },
    Delete { queue: usize },
    DeclareExchange { exchange: usize },
    DeleteExchange { exchange: usize },
    Bind { exchange: usize, queue: usize, key: usize },
    Unbind { exchange: usize, queue: usize, key: usize },
    Chain { from: usize, to: usize, key: usize },
    Subscribe { filter: usize },
    Unsubscribe { filter: usize },
    Say { key: usize, persistent: bool },
    Send { exchange: usize, key: usize, persistent: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let queue = || 0..QUEUES.len();
    // The own ones more often.
    let own = || 1..3usize;
    let binding = || (0..EXCHANGES.len(), queue(), 0..KEYS.len());
    prop_oneof![
        4 => (queue(), any::<bool>()).prop_map(|(queue, durable)| Step::Declare { queue, durable }),
        1 => queue().prop_map(|queue| Step::Delete { queue }),
        2 => own().prop_map(|exchange| Step::DeclareExchange { exchange }),
        1 => own().prop_map(|exchange| Step::DeleteExchange { exchange }),
        5 => binding().prop_map(|(exchange, queue, key)| Step::Bind { exchange, queue, key }),
        2 => binding().prop_map(|(exchange, queue, key)| Step::Unbind { exchange, queue, key }),
        2 => (0..EXCHANGES.len(), 0..EXCHANGES.len(), 0..KEYS.len())
            .prop_map(|(from, to, key)| Step::Chain { from, to, key }),
        1 => (0..FILTERS.len()).prop_map(|filter| Step::Subscribe { filter }),
        1 => (0..FILTERS.len()).prop_map(|filter| Step::Unsubscribe { filter }),
        9 => (0..3usize, any::<bool>()).prop_map(|(key, persistent)| Step::Say { key, persistent }),
        9 => (0..=EXCHANGES.len(), 0..3usize, any::<bool>())
            .prop_map(|(exchange, key, persistent)| Step::Send { exchange, key, persistent }),
    ]
}

struct World {
    town: Town,
    client: Client,
}

impl World {
    fn new() -> Self {
        let mut town = Town::new();
        town.route_to_exchange("out", "a/#", "x", |topic| to_key(topic).ok().map(Into::into));
        town.route_to_tree("back", "y", "#", |key| to_topic(key).ok().map(Into::into));
        let client = town.client("c", true, "none");
        Self { town, client }
    }

    fn run(&mut self, step: &Step) {
        let (broker, town) = (self.town.broker(), &mut self.town);
        match *step {
            Step::Declare { queue, durable } => {
                if broker.exchanges.of("/").queue(QUEUES[queue]).is_none() {
                    town.queue(QUEUES[queue], durable);
                }
            }
            Step::Delete { queue } => town.delete_queue(QUEUES[queue]),
            Step::DeclareExchange { exchange } => {
                let mut arguments = Vec::new();
                if exchange == 2 {
                    TableWriter::new(&mut arguments).string("alternate-exchange", "").unwrap();
                }
                town.exchange_with(EXCHANGES[exchange], "topic", false, &arguments);
            }
            Step::DeleteExchange { exchange } => {
                let name = EXCHANGES[exchange];
                broker.delete_exchange(&town.who, name, false, unheard).unwrap();
            }
            Step::Bind { exchange, queue, key } => {
                town.try_bind(EXCHANGES[exchange], QUEUES[queue], KEYS[key]);
            }
            Step::Unbind { exchange, queue, key } => {
                town.try_unbind(EXCHANGES[exchange], QUEUES[queue], KEYS[key]);
            }
            Step::Chain { from, to, key } => {
                town.try_chain(EXCHANGES[from], EXCHANGES[to], KEYS[key]);
            }
            Step::Subscribe { filter } => {
                self.client.subscribe(&broker, FILTERS[filter], QoS::AtLeastOnce, || {
                    town.bed.sync();
                });
            }
            Step::Unsubscribe { filter } => {
                let filter = TopicFilter::parse(FILTERS[filter]).unwrap();
                broker.unsubscribe(&self.client.handle, &[filter], unheard()).unwrap();
            }
            Step::Say { key, persistent } => {
                let topic = to_topic(KEYS[key]).unwrap();
                let qos = if persistent { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                let fresh = publisher(&broker);
                self.twice(fresh, |town| Ok(town.say(&topic, "m", qos)), |town| &mut town.device);
            }
            Step::Send { exchange, key, persistent } => {
                let exchange = EXCHANGES.get(exchange).copied().unwrap_or("");
                let fresh = channel(&broker, &town.who);
                self.twice(
                    fresh,
                    |town| town.send_with(exchange, &[KEYS[key]], "m", persistent),
                    |town| &mut town.channel,
                );
            }
        }
    }

    /// By whoever remembers, then by one who knows nothing.
    fn twice(
        &mut self,
        mut fresh: Publisher,
        publish: impl Fn(&mut Town) -> Result<Published, PublishError>,
        whose: impl Fn(&mut Town) -> &mut Publisher,
    ) {
        let first = publish(&mut self.town);
        let seen = self.seen();
        std::mem::swap(whose(&mut self.town), &mut fresh);
        let second = publish(&mut self.town);
        std::mem::swap(whose(&mut self.town), &mut fresh);
        assert_eq!(first, second);
        assert_eq!(seen, self.seen());
    }

    /// What is in every destination now; it is taken out.
    fn seen(&mut self) -> Vec<Vec<String>> {
        let mut all = vec![self.town.got(&mut self.client)];
        all[0].sort();
        let broker = self.town.broker();
        let came = std::mem::take(&mut self.client.seen);
        for sent in came.iter().filter(|sent| sent.packet_id != 0) {
            assert!(self.client.settle(&broker, sent.packet_id));
        }
        for name in QUEUES {
            let queue = broker.exchanges.of("/").queue(name);
            all.push(queue.map(|queue| self.town.taken(&queue)).unwrap_or_default());
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_remembered_is_stale(steps in vec(step(), 1..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.run(step));
    }
}
