//! Channels, methods and contents on an open connection.

use super::super::{Flow, Limits, Violation};
use super::{
    LIMITS, Owner, body, channel_close, channel_close_ok, channel_open, connection_close_ok,
    declare, header, login, method, open, protocol_header, publish, published, raw, start_ok,
    tune_ok,
};
use crate::amqp::codec::frame::HEARTBEAT;

/// What closes the connection when `wrong` comes on one with channel 1 open.
fn close_after(wrong: &[u8]) -> (String, u16, u16) {
    let mut owner = Owner::running();
    owner.feed(wrong);
    owner.close()
}

fn assert_close(wrong: &[u8], text: &str, class: u16, number: u16) {
    assert_eq!(close_after(wrong), (text.to_owned(), class, number));
}

#[test]
fn a_message_in_one_piece_is_one_event() {
    let mut owner = Owner::running();
    let message = [method(1, publish()), header(1, 3), body(1, b"abc")].concat();
    owner.feed(&[message.clone(), message].concat());
    assert_eq!(owner.events, [published(1, b"abc"), published(1, b"abc")]);
}

#[test]
fn an_empty_message_has_no_body_frame() {
    let mut owner = Owner::running();
    owner.feed(&[method(1, publish()), header(1, 0), method(1, publish())].concat());
    owner.feed(&header(1, 0));
    assert_eq!(owner.events, [published(1, b""), published(1, b"")]);
}

#[test]
fn a_message_in_many_pieces_is_the_same_event() {
    let mut owner = Owner::running();
    owner.feed(&method(1, publish()));
    owner.feed(&HEARTBEAT);
    owner.feed(&header(1, 6));
    for part in [&b"a"[..], b"", b"bcd"] {
        owner.feed(&body(1, part));
    }
    assert_eq!(owner.events, ["Heartbeat"]);
    owner.feed(&body(1, b"ef"));
    owner.feed(&[method(1, publish()), header(1, 2)].concat());
    owner.feed(&body(1, b"gh"));
    assert_eq!(owner.events[1..], [published(1, b"abcdef"), published(1, b"gh")]);
}

#[test]
fn messages_of_two_channels_may_be_interleaved() {
    let mut owner = Owner::running();
    let frames = [
        method(2, channel_open()),
        method(1, publish()),
        method(2, publish()),
        header(2, 2),
        header(1, 2),
        body(1, b"a"),
        body(2, b"xy"),
        body(1, b"b"),
    ];
    owner.feed(&frames.concat());
    assert_eq!(
        owner.events,
        ["ChannelOpen(2)".to_owned(), published(2, b"xy"), published(1, b"ab")]
    );
}

#[test]
fn an_owner_may_stop_after_any_event() {
    let mut owner = Owner::running().answering("Publish", Flow::Stop);
    let message = [method(1, publish()), header(1, 3), body(1, b"abc")].concat();
    let two = [message.clone(), message.clone()].concat();
    let mut seen = 0;
    let (used, outcome) = owner.engine.receive(&two, &mut |_| {
        seen += 1;
        Flow::Stop
    });
    assert_eq!((used, outcome, seen), (message.len(), Ok(()), 1));
    owner.feed(&two[used..]);
    assert_eq!(owner.events.len(), 1);
}

/// The last table of the reference, from a running RabbitMQ: the overhead of a frame is forgiven.
#[test]
fn a_payload_may_be_as_long_as_a_frame() {
    let tuned = |frame_max| {
        let mut owner = Owner::new(LIMITS);
        owner.feed(&protocol_header());
        owner.feed(&[method(0, start_ok()), method(0, tune_ok(4, frame_max, 0))].concat());
        owner.feed(&[method(0, open()), method(1, channel_open())].concat());
        owner.feed(&[method(1, publish()), header(1, 8000)].concat());
        owner.events.clear();
        owner
    };
    let mut owner = tuned(4096);
    owner.feed(&body(1, &[0; 4096]));
    assert_eq!(owner.violation, None);
    let mut owner = tuned(4096);
    owner.feed(&body(1, &[0; 4097])[..7]);
    let text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}";
    assert_eq!(owner.close(), (text.to_owned(), 0, 0));
    assert!(matches!(owner.violation, Some(Violation::Lost(_))));
}

#[test]
fn frames_that_are_none_end_the_connection() {
    assert_close(b"\x05", "FRAME_ERROR - type 5, all octets = <<>>: unknown_frame", 0, 0);
    let mut end = raw(1, 1, b"0123456789abcdefg");
    end.pop();
    end.push(b'!');
    assert_close(
        &end,
        "FRAME_ERROR - type 1, first 16 octets = <<\"0123456789abcdef\">>: \
         {invalid_frame_end_marker,33}",
        0,
        0,
    );
    for short in [raw(1, 1, b"\0\x3C\0"), raw(1, 0, b"\0\x3C\0")] {
        let text = "FRAME_ERROR - type 1, all octets = <<0,60,0>>: unknown_frame";
        assert_close(&short, text, 0, 0);
    }
}

#[test]
fn heartbeats_belong_to_channel_0_and_are_empty() {
    for number in [1, 3] {
        assert_close(&raw(8, number, b""), "UNEXPECTED_FRAME - type 8, all octets = <<>>", 0, 0);
    }
    for number in [0, 1] {
        let text = "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame";
        assert_close(&raw(8, number, b"x"), text, 0, 0);
    }
}

#[test]
fn contents_do_not_belong_to_channel_0() {
    let text = "UNEXPECTED_FRAME - type 3, all octets = <<\"x\">>";
    assert_close(&raw(3, 0, b"x"), text, 0, 0);
}

#[test]
fn methods_stand_where_they_belong() {
    let at_the_wrong_time = "CHANNEL_ERROR - unexpected method in connection state running";
    assert_close(&method(0, open()), at_the_wrong_time, 10, 40);
    assert_close(&method(0, connection_close_ok()), at_the_wrong_time, 10, 51);
    assert_close(&method(0, channel_open()), at_the_wrong_time, 20, 10);
    assert_close(&method(0, publish()), at_the_wrong_time, 60, 40);
    assert_close(&raw(1, 0, b"\0\x0A\0\x0A"), at_the_wrong_time, 10, 10);

    let not_open = "CHANNEL_ERROR - expected 'channel.open'";
    assert_close(&method(2, declare("q")), not_open, 50, 10);
    assert_close(&method(2, channel_close()), not_open, 20, 40);
    assert_close(&raw(1, 2, b"\0\x32\0\x0B"), not_open, 50, 11);
    assert_close(&method(1, channel_open()), "CHANNEL_ERROR - second 'channel.open' seen", 20, 10);

    let not_for_clients = "COMMAND_INVALID - unimplemented method";
    assert_close(&raw(1, 1, b"\0\x32\0\x0B\x01q"), not_for_clients, 50, 11);
    assert_close(&method(1, channel_close_ok()), not_for_clients, 20, 41);
    assert_close(&method(1, open()), not_for_clients, 10, 40);
    for number in [0, 1, 2] {
        let text = "COMMAND_INVALID - unknown method 99 of class 60";
        assert_close(&raw(1, number, b"\0\x3C\0\x63"), text, 60, 99);
    }
}

#[test]
fn arguments_must_be_whole_and_names_utf8() {
    let text = "FRAME_ERROR - cannot decode <<0,0,5,97>>";
    assert_close(&raw(1, 1, b"\0\x32\0\x0A\0\0\x05a"), text, 50, 10);
    let text = "FRAME_ERROR - Malformed UTF-8 in shortstr";
    let bind = b"\0\x32\0\x14\0\0\x01q\x01x\x01\xFF\0\0\0\0\0";
    assert_close(&raw(1, 1, bind), text, 0, 0);
    let text = "SYNTAX_ERROR - unknown field type 0x3f";
    let arguments = b"\0\x32\0\x0A\0\0\x01q\0\0\0\0\x03\x01a?";
    assert_close(&raw(1, 1, arguments), text, 50, 10);
}

#[test]
fn a_content_follows_its_method() {
    let begun = |frames: &[Vec<u8>]| [method(1, publish()), frames.concat()].concat();
    let text = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    assert_close(&header(1, 1), text, 0, 0);
    assert_close(&body(1, b"x"), text, 0, 0);
    assert_close(&body(2, b"x"), text, 0, 0);
    let text = "UNEXPECTED_FRAME - expected content header for class 60, got non content header \
                frame instead";
    assert_close(&begun(&[method(1, publish())]), text, 60, 40);
    assert_close(&begun(&[body(1, b"x")]), text, 60, 40);
    assert_close(&begun(&[raw(2, 1, b"\0\x3C\0\x01\0\0\0\0\0\0\0\0\0\0")]), text, 60, 40);
    let short = raw(2, 1, b"\0\x3C");
    let told = "FRAME_ERROR - type 2, all octets = <<0,60>>: unknown_frame";
    for wrong in [short.clone(), begun(&[short]), raw(2, 0, b"\0\x3C")] {
        assert_close(&wrong, told, 0, 0);
    }
    let text = "UNEXPECTED_FRAME - expected content header for class 60, got one for class 10 \
                instead";
    assert_close(&begun(&[raw(2, 1, b"\0\x0A\0\0\0\0\0\0\0\0\0\0\0\0")]), text, 60, 40);
    let text = "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    assert_close(&begun(&[header(1, 2), method(1, declare("q"))]), text, 60, 40);
    assert_close(&begun(&[header(1, 2), header(1, 2)]), text, 60, 40);
    assert_close(&begun(&[header(1, 2), method(1, channel_close())]), text, 60, 40);
}

/// RabbitMQ 3.10 swallows what is too long for ever, and takes bad flags as its own fault.
#[test]
fn a_content_is_what_its_header_says() {
    let begun = |frames: &[Vec<u8>]| [method(1, publish()), frames.concat()].concat();
    let text = "FRAME_ERROR - content body frame exceeds remaining content size";
    assert_close(&begun(&[header(1, 2), body(1, b"abc")]), text, 60, 40);
    assert_close(&begun(&[header(1, 2), body(1, b"a"), body(1, b"bc")]), text, 60, 40);
    let text = "SYNTAX_ERROR - content properties break off";
    let truncated = raw(2, 1, b"\0\x3C\0\0\0\0\0\0\0\0\0\0\x80\0\x05a");
    assert_close(&begun(&[truncated]), text, 60, 40);
    let text = "SYNTAX_ERROR - content properties have a continued flag word";
    let continued = raw(2, 1, b"\0\x3C\0\0\0\0\0\0\0\0\0\0\0\x01\0\0");
    assert_close(&begun(&[continued]), text, 60, 40);
}

#[test]
fn a_message_that_is_too_large_costs_the_channel_only() {
    for announced in [20_001, u64::MAX] {
        let mut owner = Owner::running();
        let frames =
            [method(1, publish()), header(1, announced), body(1, &[0; 8000]), body(1, b"x")];
        owner.feed(&frames.concat());
        let text = format!("message size {announced} is larger than configured max size 20000");
        assert_eq!(
            owner.events,
            [format!(
                "ChannelFault(1, Fault {{ code: PreconditionFailed, explanation: \"{text}\", \
                 method: MethodId {{ class: 60, method: 40 }} }})"
            )]
        );
        owner.feed(&method(2, channel_open()));
        owner.feed(&[method(2, publish()), header(2, 0)].concat());
        owner.feed(&[method(1, channel_close_ok()), method(1, channel_open())].concat());
        assert_eq!(
            owner.events[1..],
            [
                "ChannelOpen(2)".to_owned(),
                published(2, b""),
                "ChannelCloseOk(1)".to_owned(),
                "ChannelOpen(1)".to_owned(),
            ]
        );
        assert_eq!(owner.violation, None);
    }
}

#[test]
fn unfinished_messages_have_a_budget() {
    let mut owner = Owner::running();
    owner.feed(&[method(2, channel_open()), method(3, channel_open())].concat());
    for number in [1, 2, 3] {
        owner.feed(&[method(number, publish()), header(number, 20_000)].concat());
        for _ in 0..2 {
            owner.feed(&body(number, &[0; 8000]));
        }
    }
    let text = "RESOURCE_ERROR - messages that are not completely received exceed 40000 bytes on \
                this connection";
    assert_eq!(owner.close(), (text.to_owned(), 60, 40));
    assert_eq!(owner.engine.channels.unfinished_bytes(), 0);
}

#[test]
fn one_message_always_fits_the_budget() {
    let limits = Limits { unfinished_bytes_max: 0, ..LIMITS };
    let mut owner = Owner::new(limits);
    owner.feed(&[login(), method(1, channel_open())].concat());
    for _ in 0..3 {
        owner.feed(&[method(1, publish()), header(1, 20_000)].concat());
        for bytes in [8000, 8000, 4000] {
            owner.feed(&body(1, &vec![0; bytes]));
        }
    }
    assert_eq!(owner.violation, None);
    assert_eq!(owner.engine.channels.unfinished_bytes(), 0);
}

#[test]
fn channels_are_counted_not_numbered() {
    let mut owner = Owner::running();
    for number in [65_535, 700, 9] {
        owner.feed(&method(number, channel_open()));
    }
    owner.feed(&method(9, channel_close()));
    owner.feed(&method(10, channel_open()));
    assert_eq!(owner.violation, None);
    owner.feed(&method(11, channel_open()));
    let text = "NOT_ALLOWED - number of channels opened (4) has reached the negotiated \
                channel_max (4)";
    assert_eq!(owner.close(), (text.to_owned(), 0, 0));
}

#[test]
fn a_channel_closed_by_its_client_is_free_at_once() {
    let mut owner = Owner::running();
    let frames = [method(1, channel_close()), method(1, channel_open()), method(1, declare("q"))];
    owner.feed(&frames.concat());
    let kinds: Vec<&str> =
        owner.events.iter().filter_map(|event| event.split(['(', ' ']).next()).collect();
    assert_eq!(kinds, ["ChannelClose", "ChannelOpen", "Method"]);
}

#[test]
fn a_channel_closed_from_this_side_is_free_after_close_ok() {
    let mut owner = Owner::running().answering("Method(1, QueueDeclare", Flow::CloseChannel);
    let frames = [
        method(1, declare("q")),
        method(1, declare("ignored")),
        method(1, publish()),
        header(1, 2),
        body(1, b"ab"),
        method(1, channel_open()),
        method(2, channel_open()),
    ];
    owner.feed(&frames.concat());
    assert_eq!(owner.events.len(), 2);
    assert_eq!(owner.events[1], "ChannelOpen(2)");
    // The closes of both sides have crossed.
    owner.feed(&[method(1, channel_close()), method(1, declare("ignored"))].concat());
    owner.feed(&[method(1, channel_close_ok()), method(1, channel_open())].concat());
    assert!(owner.events[2].starts_with("ChannelClose(1"));
    assert_eq!(owner.events[3..], ["ChannelCloseOk(1)", "ChannelOpen(1)"]);
    assert_eq!(owner.violation, None);
}

#[test]
fn a_channel_closed_outside_an_event_is_closing_too() {
    let mut owner = Owner::running();
    owner.feed(&[method(1, publish()), header(1, 5)].concat());
    owner.engine.close_channel(1);
    owner.engine.close_channel(7);
    assert_eq!(owner.engine.channels.unfinished_bytes(), 0);
    owner.feed(&[body(1, b"abcde"), method(1, declare("ignored"))].concat());
    assert!(owner.events.is_empty());
    owner.feed(&method(1, channel_close_ok()));
    assert_eq!(owner.events, ["ChannelCloseOk(1)"]);
}

#[test]
fn a_publish_may_cost_its_channel() {
    for split in [false, true] {
        let mut owner = Owner::running().answering("Publish", Flow::CloseChannel);
        let frames = [method(1, publish()), header(1, 2), body(1, b"ab"), method(1, publish())];
        if split {
            frames.iter().for_each(|frame| owner.feed(frame));
        } else {
            owner.feed(&frames.concat());
        }
        assert_eq!(owner.events, [published(1, b"ab")]);
        owner.feed(&method(1, channel_close_ok()));
        assert_eq!(owner.events.len(), 2);
    }
}
