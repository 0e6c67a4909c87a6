//! The record batch, v2: the format in which a log keeps messages, which is Kafka's byte for byte. Pure.
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | base offset `i64` | the broker's to set; outside the CRC |
//! | 8 | batch length `i32` | bytes after this field |
//! | 12 | leader epoch `i32` | the broker's to set; outside the CRC |
//! | 16 | magic `i8` | 2 |
//! | 17 | CRC-32C `u32` | over byte 21 to the end |
//! | 21 | attributes `i16` | bits 0–2 codec, 3 the log stamps records, 4 transactional, 5 control |
//! | 23 | last offset delta `i32` | the last record's offset less the first's |
//! | 27 | base timestamp `i64` | ms since 1970 |
//! | 35 | max timestamp `i64` | ms since 1970 |
//! | 43 | producer id `i64` | −1 without idempotence |
//! | 51 | producer epoch `i16` | −1 without idempotence |
//! | 53 | base sequence `i32` | −1 without idempotence |
//! | 57 | record count `i32` | |
//! | 61 | records | one compressed block if the codec says so |
//!
//! A record: `varint` length, then attributes `i8`, timestamp delta `varlong`, offset delta `varint`, key and
//! value (`varint` length or −1, bytes), `varint` header count, headers (`varint` length, key, `varint` length
//! or −1, value). Signed varints are zigzag.
//!
//! - [`header`] a view of the first 61 bytes
//! - [`check`] what a producer's batch must fulfil, [`walk`] its records
//! - [`inflate`] unpacks compressed records
//! - [`build`] makes batches of messages
//! - [`records`] reads records, [`Opened`](records::Opened) those of any codec
//! - [`varint`] signed varints

pub mod build;
pub mod check;
pub mod header;
pub mod inflate;
pub mod records;
pub mod varint;
pub mod walk;

#[cfg(test)]
pub(crate) mod tests;
