//! From the protocol header to the open connection, and out again.

use super::super::{Flow, Limits, Violation};
use super::{
    LIMITS, Owner, channel_open, connection_close, connection_close_ok, declare, login, method,
    open, protocol_header, publish, raw, start_ok, tune_ok,
};
use crate::amqp::codec::frame::HEARTBEAT;

#[test]
fn a_login_is_told_step_by_step() {
    let mut owner = Owner::new(LIMITS);
    owner.feed(&login());
    assert_eq!(
        owner.events,
        [
            "ProtocolHeader",
            "StartOk(StartOk { client_properties: [], mechanism: \"PLAIN\", \
             response: 12 secret bytes, locale: \"en_US\" })",
            "TuneOk(TuneOk { channels_max: 4, frame_bytes_max: 8192, heartbeat_s: 30 })",
            "Open(\"/\")",
        ]
    );
    assert_eq!(owner.violation, None);
    assert!(owner.engine.is_running());
    assert_eq!(owner.engine.tuned().heartbeat_s, 30);
}

#[test]
fn nothing_is_received_before_the_login_is_judged() {
    let mut owner = Owner::new(LIMITS);
    let login = login();
    let mut seen = 0;
    let (used, outcome) = owner.engine.receive(&login, &mut |_| {
        seen += 1;
        if seen == 2 { Flow::Stop } else { Flow::Continue }
    });
    assert_eq!(outcome, Ok(()));
    assert_eq!(used, 8 + method(0, start_ok()).len());
    let (none, outcome) = owner.engine.receive(&login[used..], &mut |_| panic!("not yet"));
    assert_eq!((none, outcome), (0, Ok(())));
}

#[test]
fn another_protocol_is_answered_with_ours() {
    for first in [&b"GET / HTTP/1.1\r\n"[..], b"AMQP\0\x01\0\0", b"\x16\x03\x01", b"AMQQ", b"X"] {
        let mut owner = Owner::new(LIMITS);
        owner.feed(first);
        let Some(violation) = &owner.violation else { panic!("{first:?}") };
        let mut out = Vec::new();
        violation.put(&mut out);
        assert_eq!(out, b"AMQP\0\0\x09\x01");
        assert!(!violation.awaits_close_ok());
        owner.feed(&login());
        assert!(owner.events.is_empty() && owner.tail.is_empty());
    }
}

#[test]
fn amqp_0_9_is_as_good_as_0_9_1() {
    let mut owner = Owner::new(LIMITS);
    owner.feed(b"AMQP\x01\x01\0\x09");
    assert_eq!(owner.events, ["ProtocolHeader"]);
}

/// Seen from RabbitMQ 3.10: the socket is closed without a frame.
#[test]
fn an_agreement_beyond_the_offer_is_refused_in_silence() {
    for (channels, frame, good) in [
        (4, 8192, true),
        (1, 4096, true),
        (0, 8192, false),
        (5, 8192, false),
        (4, 0, false),
        (4, 4095, false),
        (4, 8193, false),
    ] {
        let mut owner = Owner::new(LIMITS);
        owner.feed(&protocol_header());
        owner.feed(&method(0, start_ok()));
        owner.feed(&method(0, tune_ok(channels, frame, 0)));
        let silent = matches!(owner.violation, Some(Violation::Silent(_)));
        assert_eq!(silent, !good, "{channels} {frame} {:?}", owner.violation);
    }
}

#[test]
fn a_stranger_is_told_nothing() {
    let too_long = raw(1, 0, &vec![0; 8193]);
    let not_utf8 = raw(1, 0, b"\0\x0A\0\x0B\0\0\0\0\x01\xFF\0\0\0\0\0");
    for wrong in [
        method(0, tune_ok(4, 8192, 0)),
        method(0, open()),
        method(0, channel_open()),
        method(0, connection_close_ok()),
        method(1, channel_open()),
        method(1, publish()),
        raw(8, 0, b"x"),
        raw(2, 0, b"x"),
        raw(3, 1, b"x"),
        raw(1, 0, b"\0\x0A\0"),
        raw(1, 0, b"\0\x0A\0\x63"),
        raw(1, 0, b"\0\x0A\0\x0B\0\0\0\x09"),
        b"HELO".to_vec(),
        not_utf8,
        too_long[..7].to_vec(),
    ] {
        let mut owner = Owner::new(LIMITS);
        owner.feed(&protocol_header());
        owner.feed(&wrong);
        assert!(matches!(owner.violation, Some(Violation::Silent(_))), "{wrong:?}");
        let mut out = Vec::new();
        owner.violation.as_ref().unwrap().put(&mut out);
        assert!(out.is_empty());
        owner.feed(&login());
        assert_eq!(owner.events, ["ProtocolHeader"]);
    }
}

#[test]
fn a_frame_before_tune_ok_is_short_whatever_is_offered() {
    let mut owner = Owner::new(Limits { frame_bytes_max: 131_072, ..LIMITS });
    owner.feed(&protocol_header());
    owner.feed(&[1, 0, 0, 0, 0, 0x20, 0]);
    assert_eq!(owner.violation, None);
    let mut owner = Owner::new(Limits { frame_bytes_max: 131_072, ..LIMITS });
    owner.feed(&protocol_header());
    owner.feed(&[1, 0, 0, 0, 0, 0x20, 1]);
    assert!(owner.violation.is_some());
}

#[test]
fn between_tuning_and_opening_a_fault_is_told() {
    let mut owner = Owner::new(LIMITS);
    let login = login();
    owner.feed(&login[..login.len() - method(0, open()).len()]);
    owner.feed(&method(0, start_ok()));
    let text = "CHANNEL_ERROR - unexpected method in connection state opening";
    assert_eq!(owner.close(), (text.to_owned(), 10, 11));
}

#[test]
fn heartbeats_and_a_goodbye_are_heard_at_any_time() {
    for so_far in 1..=3 {
        let mut owner = Owner::new(LIMITS);
        let steps = [protocol_header(), method(0, start_ok()), method(0, tune_ok(4, 8192, 30))];
        owner.feed(&steps[..so_far].concat());
        owner.feed(&HEARTBEAT);
        owner.feed(&method(0, connection_close()));
        owner.feed(&HEARTBEAT);
        assert_eq!(owner.events[so_far], "Heartbeat");
        assert!(owner.events[so_far + 1].starts_with("ConnectionClose("));
        assert_eq!(owner.events.len(), so_far + 2);
        assert_eq!(owner.violation, None);
    }
}

#[test]
fn after_a_goodbye_nothing_counts() {
    let mut owner = Owner::running();
    owner.feed(&method(0, connection_close()));
    assert_eq!(
        owner.events,
        ["ConnectionClose(Close { code: 200, text: \"bye\", \
          method: MethodId { class: 0, method: 0 } })"]
    );
    assert!(!owner.engine.is_running());
    owner.feed(b"anything at all");
    assert!(owner.tail.is_empty());
    assert_eq!((owner.events.len(), owner.violation), (1, None));
}

#[test]
fn after_a_close_was_sent_only_its_answer_counts() {
    let mut owner = Owner::running();
    owner.engine.close();
    owner.feed(&method(1, declare("q")));
    owner.feed(&method(9, publish()));
    owner.feed(&method(0, open()));
    owner.feed(&raw(3, 1, b"x"));
    owner.feed(&raw(1, 0, b""));
    assert!(owner.events.is_empty());
    // Both sides said close: both answer.
    owner.feed(&method(0, connection_close()));
    owner.feed(&method(0, connection_close_ok()));
    assert!(owner.events[0].starts_with("ConnectionClose("));
    assert_eq!(owner.events[1], "ConnectionCloseOk");
    owner.feed(b"anything at all");
    assert_eq!((owner.events.len(), owner.violation), (2, None));
}

#[test]
fn an_owner_that_closes_within_an_event_hears_no_more() {
    let mut owner = Owner::running().answering("Method(1, QueueDeclare", Flow::CloseConnection);
    owner.feed(&[method(1, declare("a")), method(1, declare("b"))].concat());
    assert_eq!(owner.events.len(), 1);
    owner.feed(&method(0, connection_close_ok()));
    assert_eq!(owner.events[1], "ConnectionCloseOk");
}

#[test]
fn bytes_out_of_step_after_a_close_was_sent_end_it() {
    let mut owner = Owner::running();
    owner.engine.close();
    owner.feed(b"XYZ");
    assert!(matches!(owner.violation, Some(Violation::Silent(_))));
}
