//! Which partition a key belongs to. Part of `bridge`; pure.
//!
//! The hash is the Java client's (murmur2 with its seed), so that a key lands in the same partition whether it
//! came over MQTT or from a Kafka producer, and a consumer that joins two logs by key finds both sides.

/// Java's `Utils.murmur2`, as the unsigned form of its result.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    // Java's array length is an `int`: longer data does not occur there, and wraps here.
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest: u32, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

/// The partition of `key` among `partitions`, as Kafka's default partitioner has it. Zero partitions count as
/// one.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// Where records without a key go: one partition for a while, so that its batches fill, then the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sticky {
    partition: u32,
    bytes: usize,
}

impl Sticky {
    /// Bytes after which the next partition's turn comes; Kafka's `batch.size`.
    pub const BYTES: usize = 16 << 10;

    /// The partition of a record of `bytes`. Depends on nothing but what it was given before.
    pub fn next(&mut self, bytes: usize, partitions: u32) -> u32 {
        if self.bytes >= Self::BYTES {
            self.bytes = 0;
            self.partition = self.partition.wrapping_add(1);
        }
        self.bytes = self.bytes.saturating_add(bytes.max(1));
        self.partition %= partitions.max(1);
        self.partition
    }
}

#[cfg(test)]
mod tests {
    use super::{Sticky, murmur2, partition_of};

    #[test]
    fn the_hash_is_javas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_key_keeps_its_partition_whatever_its_sign() {
        assert_eq!(
            partition_of(b"foobar", 12),
            ((-790_332_482_i32 & 0x7fff_ffff) % 12).cast_unsigned()
        );
        assert_eq!(partition_of(b"x", 0), 0);
        assert!((0..1000_u32).all(|key| partition_of(&key.to_be_bytes(), 7) < 7));
    }

    #[test]
    fn records_without_a_key_stay_for_a_batch_and_then_move_on() {
        let mut sticky = Sticky::default();
        let partitions: Vec<u32> = (0..8).map(|_| sticky.next(Sticky::BYTES / 2, 3)).collect();
        assert_eq!(partitions, [0, 0, 1, 1, 2, 2, 0, 0]);
        assert_eq!(sticky.next(1, 1), 0, "a log that is smaller now");
    }
}
