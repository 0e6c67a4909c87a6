//! What the fuzz targets do with the bytes they are given: one module a target, each with `run`, which panics on a
//! finding. `targets/` hands them to libFuzzer; `tests/fuzz_replay.rs` runs seeds and findings through the same code
//! with stable Rust. `mqtt_connection` is `rialto::mqtt::play`, which needs the inside of the library.

pub mod amqp_frames;
pub mod config_files;
pub mod kafka_batches;
pub mod kafka_requests;
pub mod mqtt_codec;
pub mod mqtt_topics;
pub mod store_records;

/// A target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target but `mqtt_connection`.
pub const TARGETS: &[Target] = &[
    ("amqp_frames", amqp_frames::run),
    ("config_files", config_files::run),
    ("kafka_batches", kafka_batches::run),
    ("kafka_requests", kafka_requests::run),
    ("mqtt_codec", mqtt_codec::run),
    ("mqtt_topics", mqtt_topics::run),
    ("store_records", store_records::run),
];

/// The first byte and the rest; nothing from nothing.
pub(crate) fn split_first(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}
