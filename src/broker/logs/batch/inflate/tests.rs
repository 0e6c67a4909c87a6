//! The formats as their own tools write them, and what must not pass.

use twox_hash::XxHash32;

use super::{Codec, INFLATED_BYTES_MAX, InflateFault, bytes_max, inflate};
use crate::broker::logs::batch::tests::packing::{PACKINGS, Packing};

const ROOM: u64 = 1 << 20;

/// What the samples below hold.
fn content() -> Vec<u8> {
    (0..40).flat_map(|at| format!("reading {} of the furnace;", at % 7).into_bytes()).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn codec(packing: Packing) -> Codec {
    Codec::from_bits(packing.bits()).unwrap()
}

/// `lz4 -BI --no-frame-crc`, reading from a pipe.
const LZ4_PLAIN: &str = "04224d1860408248000000f40a72656164696e672030206f6620746865206675726e6163653b19001f311900051f321900051f331900051f341900051f351900051f361900050faf00ffffff1c506e6163653b00000000";
/// `lz4 -BI -BX`: checksums of blocks and content.
const LZ4_CHECKSUMS: &str = "04224d187440bd48000000f40a72656164696e672030206f6620746865206675726e6163653b19001f311900051f321900051f331900051f341900051f351900051f361900050faf00ffffff1c506e6163653ba84dea6900000000e5d35cbc";
/// `lz4 --content-size`: that, and the content's checksum.
const LZ4_SIZE: &str = "04224d186c40e8030000000000009648000000f40a72656164696e672030206f6620746865206675726e6163653b19001f311900051f321900051f331900051f341900051f351900051f361900050faf00ffffff1c506e6163653b00000000e5d35cbc";
/// `zstd -3` of a file: content size and checksum.
const ZSTD_SIZE: &str = "28b52ffd64e802a5030002c40d14a0356d1fddd1b64d624395c559d93bf1dabf32015677f1aceee259ddc5b3ba8b677517cfea0e5220e6040a6501a072508930c640f2042820e0e78880073250c0031928e0810c14f040060a782003053c9081023c9081021ec840010f64a080073250c0031928e0810c14f03860f19bf0f4064282";
/// `zstd --ultra -22`, reading from a pipe: a window of 128 MiB for 1,000 bytes.
const ZSTD_WINDOW: &str = "28b52ffd0488a50100f872656164696e672030206f6620746865206675726e6163653b31323334353608209063eb366515400e64a0040f6401227eed18f4064282";
/// `zstd --ultra -22 --long=28`: of 256 MiB, which zstd itself refuses unless told otherwise.
const ZSTD_LONG: &str = "28b52ffd0490a50100f872656164696e672030206f6620746865206675726e6163653b31323334353608209063eb366515400e64a0040f6401227eed18f4064282";

#[test]
fn what_the_formats_own_tools_write_is_read() {
    for sample in [LZ4_PLAIN, LZ4_CHECKSUMS, LZ4_SIZE] {
        assert_eq!(inflate(Codec::Lz4, &bytes(sample), ROOM), Ok(content()), "{sample}");
    }
    for sample in [ZSTD_SIZE, ZSTD_WINDOW] {
        assert_eq!(inflate(Codec::Zstd, &bytes(sample), ROOM), Ok(content()), "{sample}");
    }
    assert_eq!(inflate(Codec::Zstd, &bytes(ZSTD_LONG), ROOM), Err(InflateFault::Malformed));
}

#[test]
fn long_contents_come_back_from_every_codec() {
    let mut noise = 1_u32;
    let mut random = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    };
    let mixed: Vec<u8> = (0..3 << 20).map(|at| if at & 64 == 0 { random() } else { 7 }).collect();
    for packing in PACKINGS {
        let packed = packing.pack(&mixed);
        assert!(inflate(codec(packing), &packed, ROOM * 4) == Ok(mixed.clone()), "{packing:?}");
        let little = mixed.len() as u64 - 1;
        assert_eq!(inflate(codec(packing), &packed, little), Err(InflateFault::TooLarge));
    }
}

#[test]
fn several_gzip_members_and_zstd_frames_are_one_content() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        let two = [packing.pack(b"one"), packing.pack(b"two")].concat();
        assert_eq!(inflate(codec(packing), &two, ROOM), Ok(b"onetwo".to_vec()));
    }
    let two = [bytes(LZ4_PLAIN), bytes(LZ4_PLAIN)].concat();
    assert_eq!(inflate(Codec::Lz4, &two, ROOM), Err(InflateFault::Malformed));
}

/// What the Java client cannot read must not be stored.
#[test]
fn lz4_blocks_that_lean_on_earlier_ones_are_refused() {
    let mut linked = bytes(LZ4_PLAIN);
    for flag in [0x60, 0x40] {
        linked[4] = flag;
        linked[6] = XxHash32::oneshot(0, &linked[4..6]).to_le_bytes()[1];
        assert_eq!(inflate(Codec::Lz4, &linked, ROOM).is_ok(), flag == 0x60);
    }
}

/// Lengths, sizes and checksums that a format carries: what is not right there is not passed on to consumers.
#[test]
fn a_broken_checksum_or_size_is_found() {
    let zstd = bytes(ZSTD_SIZE);
    for at in (0..zstd.len()).filter(|at| zstd.len() - at <= 4 || (5..7).contains(at)) {
        let mut broken = zstd.clone();
        broken[at] ^= 1;
        assert!(inflate(Codec::Zstd, &broken, ROOM).is_err(), "{at}");
    }
    let reserved = {
        let mut sample = zstd;
        sample[4] |= 8;
        sample
    };
    assert_eq!(inflate(Codec::Zstd, &reserved, ROOM), Err(InflateFault::Malformed));
    for sample in [bytes(LZ4_CHECKSUMS), bytes(LZ4_SIZE)] {
        for at in 0..sample.len() {
            let mut broken = sample.clone();
            broken[at] ^= 1;
            // Bits that say nothing about the content may change.
            let found = inflate(Codec::Lz4, &broken, ROOM);
            assert!(found.is_err() || found == Ok(content()), "{at}");
        }
    }
    let mut gzip = Packing::Gzip.pack(&content());
    let end = gzip.len() - 8;
    gzip[end] ^= 1;
    assert_eq!(inflate(Codec::Gzip, &gzip, ROOM), Err(InflateFault::Malformed));
}

/// A length that is only said takes no memory.
#[test]
fn a_length_without_content_is_refused() {
    let snappy = [0xff, 0xff, 0xff, 0x7f, 0, b'x'];
    assert_eq!(inflate(Codec::Snappy, &snappy, ROOM), Err(InflateFault::TooLarge));
    let within = [0x80, 0x80, 0x20, 0, b'x'];
    assert_eq!(inflate(Codec::Snappy, &within, ROOM), Err(InflateFault::Malformed));
    let framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff";
    assert_eq!(inflate(Codec::Snappy, framed, ROOM), Err(InflateFault::Malformed));
    // Zstandard, one segment of 2^40 bytes, and 128 KiB of zeros in four bytes.
    let segment = bytes("28b52ffde0000000000001000001000000");
    assert_eq!(inflate(Codec::Zstd, &segment, ROOM), Err(InflateFault::Malformed));
    let zeros = [bytes("28b52ffd0088"), bytes("02001000").repeat(9)].concat();
    assert_eq!(inflate(Codec::Zstd, &zeros, ROOM), Err(InflateFault::TooLarge));
}

#[test]
fn the_bound_grows_with_what_was_sent() {
    let most = |compressed| bytes_max(compressed, INFLATED_BYTES_MAX);
    assert_eq!([most(0), most(1000), most(100_000)], [16 << 20, 16 << 20, 104_000_000]);
    assert_eq!(most(1 << 20), 128 << 20);
    assert_eq!(bytes_max(usize::MAX, 1 << 20), 1 << 20);
}
