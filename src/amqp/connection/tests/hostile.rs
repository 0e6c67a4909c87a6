//! Whatever comes, and however it is cut: no panic, bounded memory, the same events.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::{Index, select};

use super::super::{Connection, Flow, Violation};
use super::{
    LIMITS, Owner, body, channel_close, channel_close_ok, channel_open, connection_close,
    connection_close_ok, declare, header, login, method, publish, raw,
};
use crate::amqp::codec::frame::{HEARTBEAT, OVERHEAD_BYTES};

/// A conversation of most kinds of frames, some of which end it.
fn conversation() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let number = select(vec![1u16, 1, 1, 2, 3, 4, 5, 65_535]);
    let frame = (number, 0..16usize, vec(any::<u8>(), 0..40)).prop_map(|(number, kind, bytes)| {
        let size = bytes.len() as u64;
        match kind {
            0..=2 => method(number, channel_open()),
            3..=5 => {
                [method(number, publish()), header(number, size), body(number, &bytes)].concat()
            }
            6 => {
                [method(number, publish()), header(number, size + 1), body(number, &bytes)].concat()
            }
            7 => method(number, channel_close()),
            8 => method(number, channel_close_ok()),
            9 => method(number, declare("queue")),
            10 => HEARTBEAT.to_vec(),
            11 => body(number, &bytes),
            12 => header(number, size),
            13 => method(number, publish()),
            14 => raw(1, number, &bytes),
            _ => method(0, connection_close()),
        }
    });
    vec(frame, 0..30)
}

/// What came of `bytes`, cut at the places in `cuts`.
fn outcome(bytes: &[u8], cuts: &[usize], answers: &[(&'static str, Flow)]) -> Owner {
    let mut owner = Owner::new(LIMITS);
    owner.answers = answers.to_vec();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        let to = to.clamp(from, bytes.len());
        owner.feed(&bytes[from..to]);
        assert_bounded(&owner);
        from = to;
    }
    owner
}

/// What waits is less than a frame, what is kept within its budget.
fn assert_bounded(owner: &Owner) {
    let frame_bytes_max = LIMITS.frame_bytes_max as usize + OVERHEAD_BYTES;
    assert!(owner.tail.len() < frame_bytes_max, "{} bytes wait", owner.tail.len());
    assert!(owner.engine.channels.unfinished_bytes() <= LIMITS.unfinished_bytes_max);
    assert!(owner.engine.channels.count() <= usize::from(LIMITS.channels_max));
    if owner.violation.is_some() && !matches!(owner.violation, Some(Violation::Close(_))) {
        assert!(owner.tail.is_empty());
    }
}

fn assert_same(one: &Owner, other: &Owner) {
    assert_eq!(one.events, other.events);
    assert_eq!(one.violation, other.violation);
    assert_eq!(one.tail, other.tail);
}

proptest! {
    #[test]
    fn bytes_mean_the_same_however_they_are_cut(
        frames in conversation(), cuts in vec(any::<Index>(), 0..6),
        answer in select(vec![
            ("Method", Flow::Stop), ("Publish", Flow::Stop), ("Publish", Flow::CloseChannel),
            ("Method", Flow::CloseChannel), ("ChannelOpen(3", Flow::CloseConnection),
        ]),
    ) {
        let bytes = [login(), frames.concat()].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let whole = outcome(&bytes, &[], &[answer]);
        assert_same(&whole, &outcome(&bytes, &cuts, &[answer]));
    }

    #[test]
    fn bytes_mean_the_same_one_by_one(frames in conversation()) {
        let bytes = [login(), frames.concat()].concat();
        let each: Vec<usize> = (0..bytes.len()).collect();
        assert_same(&outcome(&bytes, &[], &[]), &outcome(&bytes, &each, &[]));
    }

    #[test]
    fn a_stranger_may_send_anything(bytes in vec(any::<u8>(), 0..600), polite: bool) {
        let mut all = super::protocol_header();
        if !polite {
            all.clear();
        }
        all.extend(bytes);
        outcome(&all, &[], &[]);
    }

    #[test]
    fn a_client_may_send_anything(bytes in vec(any::<u8>(), 0..600), kind in 0u8..10, number in 0u16..3) {
        let mut owner = Owner::running();
        owner.feed(&raw(kind, number, &bytes));
        assert_bounded(&owner);
        let mut owner = Owner::running();
        owner.feed(&bytes);
        assert_bounded(&owner);
    }

    /// Bytes of a sound conversation are changed, dropped, doubled, before and after login.
    #[test]
    fn a_conversation_may_be_garbled(
        frames in conversation(),
        changes in vec((any::<Index>(), any::<u8>(), 0..4usize), 1..8),
    ) {
        let mut bytes = [login(), frames.concat()].concat();
        for (place, byte, how) in changes {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        let cuts = [bytes.len() / 3, bytes.len() / 2];
        let owner = outcome(&bytes, &cuts, &[]);
        // However it ended, what is told is one whole close, or nothing.
        let mut out = Vec::new();
        if let Some(violation) = &owner.violation {
            violation.put(&mut out);
            prop_assert_eq!(violation.awaits_close_ok() && out.is_empty(), false);
        }
        prop_assert!(out.len() <= OVERHEAD_BYTES + 4 + 2 + 256 + 4);
    }

    /// An announced length reserves nothing and is not waited for when it is too long.
    #[test]
    fn an_announced_length_is_judged_at_once(
        kind in select(vec![1u8, 2, 3, 8]), number: u16, size in 8193u32.., logged_in: bool,
    ) {
        let mut owner = if logged_in { Owner::running() } else { Owner::new(LIMITS) };
        if !logged_in {
            owner.feed(&super::protocol_header());
        }
        let mut head = vec![kind];
        head.extend(number.to_be_bytes());
        head.extend(size.to_be_bytes());
        owner.feed(&head);
        prop_assert!(matches!(
            (owner.violation, logged_in),
            (Some(Violation::Lost(_)), true) | (Some(Violation::Silent(_)), false)
        ));
    }

    /// After a close was sent, anything but bytes that are no frames is swallowed.
    #[test]
    fn a_closing_connection_swallows_all_frames(frames in conversation()) {
        let mut owner = Owner::running();
        owner.engine.close();
        owner.feed(&frames.concat());
        prop_assert!(owner.events.iter().all(|event| event.starts_with("ConnectionClose(")));
        prop_assert_eq!(&owner.violation, &None);
        owner.feed(&method(0, connection_close_ok()));
        let last = owner.events.last().map(String::as_str);
        prop_assert_eq!(last, Some("ConnectionCloseOk"));
    }
}

/// A codec that goes as deep as a table does overflows its stack here, before any login.
#[test]
fn nested_tables_in_a_login_are_refused() {
    let mut table = Vec::new();
    for _ in 0..1000 {
        let mut outer = b"\x01aF".to_vec();
        outer.extend((table.len() as u32).to_be_bytes());
        outer.append(&mut table);
        table = outer;
    }
    let mut arguments = b"\0\x0A\0\x0B".to_vec();
    arguments.extend((table.len() as u32).to_be_bytes());
    arguments.extend(&table);
    arguments.extend(b"\x05PLAIN\0\0\0\0\x00");
    let mut owner = Owner::new(LIMITS);
    owner.feed(&[super::protocol_header(), raw(1, 0, &arguments)].concat());
    assert_eq!(owner.events, ["ProtocolHeader"]);
    assert!(matches!(owner.violation, Some(Violation::Silent(_))));
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 192, "{}", size_of::<Connection>());
}
