//! Any bytes as what the store reads back: journal records, messages, batches, rows. What is read is written and read
//! again as it was.

use std::fmt::Debug;
use std::hint::black_box;

use bytes::Bytes;
use rialto::broker::declared::row::DeclaredRow;
use rialto::broker::message::Message;
use rialto::broker::record::{Record, SetMember};
use rialto::broker::retained::row as retained;
use rialto::broker::sessions::row::{SessionRow, decode_page};
use rialto::model::ids::{Lsn, QueueId};
use rialto::model::property::properties;
use rialto::store::codec::{CodecError, Reader};
use rialto::store::journal::batch::Batch;
use rialto::store::tables::bindings::Bindings;
use rialto::store::tables::bodies::Bodies;
use rialto::store::tables::body_pages::BodyPages;
use rialto::store::tables::exchanges::Exchanges;
use rialto::store::tables::groups::Groups;
use rialto::store::tables::logs::Logs;
use rialto::store::tables::offsets::Offsets;
use rialto::store::tables::page_sums::PageSums;
use rialto::store::tables::partitions::Partitions;
use rialto::store::tables::queue_pages::QueuePages;
use rialto::store::tables::retained::Retained;
use rialto::store::tables::sessions::Sessions;
use rialto::store::tables::sets::Sets;
use rialto::store::tables::{Row, Table};

/// The first byte chooses what the rest is.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = super::split_first(data) else { return };
    match kind % 24 {
        // Records first: most of what is written, and all that is replayed.
        0..=7 => record(rest),
        8 => message(rest),
        9 => batch(rest),
        10 => drop(SessionRow::decode(rest).map(drop)),
        11 => drop(decode_page(QueueId(7), 3, rest).map(drop)),
        12 => declared(rest),
        13 => drop(retained::decode(rest).map(drop)),
        14 => drop(SetMember::decode(&mut Reader::new(rest)).map(drop)),
        15 => drop(properties(rest).count()),
        16 => row::<Logs>(rest),
        17 => row::<Groups>(rest),
        18 => row::<Offsets>(rest),
        19 => row::<Partitions>(rest),
        20 => row::<Bodies>(rest),
        21 => row::<Exchanges>(rest),
        22 => row::<PageSums>(rest),
        _ => keys(rest),
    }
}

fn record(bytes: &[u8]) {
    let Ok(read) = Record::decode(bytes) else { return };
    let mut written = Vec::new();
    read.encode(&mut written);
    assert_eq!(Record::decode(&written).as_ref(), Ok(&read));
    let mut again = Vec::new();
    read.encode(&mut again);
    assert_eq!(written, again);
}

fn message(bytes: &[u8]) {
    let Ok(read) = Message::decode(bytes) else { return };
    let mut written = Vec::new();
    read.encode(&mut written);
    assert_eq!(Message::decode(&written).as_ref(), Ok(&read));
    black_box((read.is_expired(5), read.remaining_s(5)));
}

fn batch(bytes: &[u8]) {
    let records = Bytes::copy_from_slice(bytes);
    let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let batch = Batch::<()> { number: 1, first_lsn: Lsn(1), count, records, waiters: Vec::new() };
    let mut total = 0;
    for one in batch.iter() {
        match one {
            Ok((_, record)) => total += record.len() + 4,
            Err(_) => break,
        }
    }
    assert!(total <= bytes.len());
}

fn declared(bytes: &[u8]) {
    let Ok(read) = DeclaredRow::decode(bytes) else { return };
    assert_eq!(DeclaredRow::decode(&read.encode()), Ok(read));
}

/// A row is written as it was read, in a form that reads the same.
fn row<T: Table>(bytes: &[u8]) {
    let Ok(read) = T::Row::decode(bytes) else { return };
    let mut written = Vec::new();
    read.encode(&mut written);
    let again = T::Row::decode(&written);
    assert!(again.is_ok(), "a row of {} that cannot be read again", T::NAME);
    let mut twice = Vec::new();
    if let Ok(again) = again {
        again.encode(&mut twice);
    }
    assert_eq!(written, twice, "a row of {}", T::NAME);
}

fn keys(bytes: &[u8]) {
    key::<Bindings>(bytes);
    key::<Bodies>(bytes);
    key::<BodyPages>(bytes);
    key::<Exchanges>(bytes);
    key::<Groups>(bytes);
    key::<Logs>(bytes);
    key::<Offsets>(bytes);
    key::<PageSums>(bytes);
    key::<Partitions>(bytes);
    key::<QueuePages>(bytes);
    key::<Retained>(bytes);
    key::<Sessions>(bytes);
    key::<Sets>(bytes);
}

/// A key is the bytes it was read from: nothing else finds its row.
fn key<T: Table>(bytes: &[u8])
where
    T::Key: Debug,
{
    let read: Result<T::Key, CodecError> = T::decode_key(bytes);
    if let Ok(read) = read {
        let mut written = Vec::new();
        T::encode_key(&read, &mut written);
        assert_eq!(written, bytes, "{read:?} of {}", T::NAME);
    }
}
