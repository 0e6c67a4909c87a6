//! How a queue spreads messages over its consumers. Part of `model`.

use serde::{Deserialize, Serialize};

/// How messages are spread over the consumers of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turns {
    /// Whoever holds the fewest messages that it has not acknowledged; among equals, in turn.
    #[default]
    LeastOutstanding,
    /// Each in turn.
    RoundRobin,
    /// Whatever one client publishes goes to the same consumer, in order, as long as the same ones are there.
    HashClient,
    /// The same of whatever is published to one topic.
    HashTopic,
}

impl Turns {
    /// What decides alone who gets a message of `client_id` under `topic`; `None` when anybody may.
    #[must_use]
    pub fn key(self, client_id: &str, topic: &str) -> Option<u64> {
        match self {
            Self::LeastOutstanding | Self::RoundRobin => None,
            // What no client of MQTT published has its topic to go by.
            Self::HashClient if !client_id.is_empty() => Some(hash(client_id)),
            Self::HashClient | Self::HashTopic => Some(hash(topic)),
        }
    }
}

/// FNV-1a, stirred. Who owns what must not depend on the process, so that a restart changes nothing.
#[must_use]
pub fn hash(text: &str) -> u64 {
    let folded = text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    stir(folded)
}

/// How strongly `consumer` asks for `key`: the strongest gets it, so that one who comes or goes changes the owner of as
/// few keys as possible (rendezvous hashing).
#[must_use]
pub fn weight(key: u64, consumer: u64) -> u64 {
    stir(key ^ consumer.rotate_left(32))
}

/// The finisher of splitmix64.
fn stir(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::{hash, weight};

    fn owner(key: u64, consumers: &[u64]) -> u64 {
        *consumers.iter().max_by_key(|one| weight(key, **one)).unwrap()
    }

    #[test]
    fn keys_are_spread_and_stay_where_they_are_when_others_leave() {
        let consumers: Vec<u64> = (0..4).map(|at| hash(&format!("worker-{at}"))).collect();
        let keys: Vec<u64> = (0..4_000).map(|at| hash(&format!("device-{at}"))).collect();
        for one in &consumers {
            let count = keys.iter().filter(|key| owner(**key, &consumers) == *one).count();
            assert!((800..1_200).contains(&count), "{count}");
        }
        let fewer = &consumers[..3];
        for key in keys {
            let before = owner(key, &consumers);
            assert!(before == consumers[3] || before == owner(key, fewer));
        }
    }
}
