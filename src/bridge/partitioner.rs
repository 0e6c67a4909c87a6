//! Which partition a key belongs to. Part of `bridge`; pure.
//!
//! The hash is the Java client's (murmur2 with its seed), so that a key lands in the same partition whether it
//! came over MQTT or from a Kafka producer, and a consumer that joins two logs by key finds both sides.

/// Java's `Utils.murmur2`, as the unsigned form of its result.
#[must_use]
fn murmur2(data: &[u8]) -> u32 {
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

/// The hash of a key whose remainder by the number of partitions is the partition that Kafka's default
/// partitioner chooses.
#[must_use]
pub fn key_hash(key: &[u8]) -> u32 {
    murmur2(key) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::{key_hash, murmur2};

    /// The first six are those of the Java client's own test (`UtilsTest.testMurmur2`), the next eight those of
    /// librdkafka's (`rdmurmur2.c`), which were made with the Java client; the last one somebody recorded with it.
    #[test]
    fn the_hash_is_javas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("kafka", 0xd067_cf64_u32.cast_signed()),
            ("giberish123456789", 0x8f55_2b0c_u32.cast_signed()),
            ("1234", 0x9fc9_7b14_u32.cast_signed()),
            ("234", 0xe7c0_09ca_u32.cast_signed()),
            ("34", 0x8739_30da_u32.cast_signed()),
            ("4", 0x5a4b_5ca1),
            ("PreAmbleWillBeRemoved,ThePrePartThatIs", 0x7842_4f1c),
            ("", 0x106e_08d9),
            ("été", -2_101_193_575),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_key_keeps_its_partition_whatever_its_sign() {
        assert_eq!(key_hash(b"foobar"), (-790_332_482_i32 & 0x7fff_ffff).cast_unsigned());
        assert!((0..1000_u32).all(|key| key_hash(&key.to_be_bytes()) <= i32::MAX.cast_unsigned()));
    }
}
