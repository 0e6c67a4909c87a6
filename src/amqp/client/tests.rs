//! A client's state without sockets: what a connection is given, what it writes, when it is woken. Tests of
//! `amqp::client`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use crate::amqp::service::{Service, Shared};
use crate::broker::testbed::Bed;
use crate::config::Config;
use crate::config::live::Bundle;
use crate::net::outbound::{Outbound, READY};
use crate::server::admission::Users;
use crate::server::driver::{Ended, Protocol, Verdict};

const NOW_MS: u64 = 1_700_000_000_000;
/// The buffer of every peer: consumers are refused beyond it, and beyond the half nobody is asked again.
const BUFFER_BYTES: usize = 4096;

/// One connection with an open vhost, and what its task keeps.
struct Peer {
    service: Service,
    tail: Vec<u8>,
    written: Vec<u8>,
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &length, payload, &[0xCE]].concat()
}

fn method(channel: u16, class: u16, number: u16, arguments: &[&[u8]]) -> Vec<u8> {
    let id = [class.to_be_bytes(), number.to_be_bytes()].concat();
    frame(1, channel, &[id, arguments.concat()].concat())
}

fn declare(channel: u16, queue: &str, durable: bool) -> Vec<u8> {
    method(channel, 50, 10, &[&[0, 0], &short(queue), &[u8::from(durable) << 1], &[0; 4]])
}

fn consume(channel: u16, queue: &str, tag: &str) -> Vec<u8> {
    method(channel, 60, 20, &[&[0, 0], &short(queue), &short(tag), &[0], &[0; 4]])
}

fn prefetch(channel: u16, count: u16, global: bool) -> Vec<u8> {
    method(channel, 60, 10, &[&[0; 4], &count.to_be_bytes(), &[u8::from(global)]])
}

fn ack(channel: u16, tag: u64) -> Vec<u8> {
    method(channel, 60, 80, &[&tag.to_be_bytes(), &[0]])
}

fn publish(channel: u16, queue: &str, body: &[u8], persistent: bool) -> Vec<u8> {
    let mode = if persistent { 2 } else { 1 };
    let head = [&[0, 60, 0, 0][..], &(body.len() as u64).to_be_bytes(), &[0x10, 0, mode]].concat();
    let publish = method(channel, 60, 40, &[&[0, 0], &short(""), &short(queue), &[0]]);
    [publish, frame(2, channel, &head), frame(3, channel, body)].concat()
}

impl Peer {
    fn new(bed: &Bed) -> Self {
        let shared = Shared {
            broker: Arc::clone(&bed.broker),
            config: Arc::new(Bundle::new(Config::default()).unwrap()),
            wheel: Arc::default(),
            users: Users::new(0, 0, 1),
            cluster_name: "test".into(),
        };
        let outbound = Arc::new(Outbound::new(None, BUFFER_BYTES));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let service = Service::new(&shared, outbound, address, NOW_MS);
        let mut peer = Self { service, tail: Vec::new(), written: Vec::new() };
        peer.give(b"AMQP\0\0\x09\x01");
        let login = [&[0, 0, 0, 12][..], b"\0guest\0guest"].concat();
        peer.give(&method(0, 10, 11, &[&[0; 4], &short("PLAIN"), &login, &short("en_US")]));
        peer.give(&method(0, 10, 31, &[&[7, 255], &[0, 1, 0, 0], &[0, 0]]));
        peer.give(&method(0, 10, 40, &[&short("/"), &[0, 0]]));
        peer.give(&method(1, 20, 10, &[&[0]]));
        peer.drain();
        peer
    }

    /// The task reads `bytes`, and what it left before, as far as it may.
    fn give(&mut self, bytes: &[u8]) -> Verdict {
        self.tail.extend_from_slice(bytes);
        let (used, verdict) = self.service.receive(&self.tail, NOW_MS);
        self.tail.drain(..used);
        verdict
    }

    /// The task takes a turn if it was woken, and reads on if it may; whether it was.
    fn turn(&mut self) -> bool {
        let signals = self.service.outbound().take_signals(Waker::noop());
        if signals & READY == 0 {
            return false;
        }
        if self.service.wake(signals, NOW_MS) == Verdict::Continue && !self.tail.is_empty() {
            self.give(&[]);
        }
        true
    }

    /// The socket takes everything; gives the methods written since the last call, as channel, class and method.
    fn drain(&mut self) -> Vec<(u16, u16, u16)> {
        self.drain_with(&mut |_| {})
    }

    /// The bodies written since the last call.
    fn bodies(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        self.drain_with(&mut |body| bodies.push(String::from_utf8(body.to_vec()).unwrap()));
        bodies
    }

    fn drain_with(&mut self, body: &mut dyn FnMut(&[u8])) -> Vec<(u16, u16, u16)> {
        let (outbound, written) = (Arc::clone(self.service.outbound()), &mut self.written);
        outbound.write_with(|bytes| {
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        let written = std::mem::take(&mut self.written);
        let (mut rest, mut methods) = (&*written, Vec::new());
        while let [kind, c0, c1, l0, l1, l2, l3, behind @ ..] = rest {
            let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
            if *kind == 1 {
                let two = |at: usize| u16::from_be_bytes([behind[at], behind[at + 1]]);
                methods.push((u16::from_be_bytes([*c0, *c1]), two(0), two(2)));
            }
            if *kind == 3 {
                body(&behind[..length]);
            }
            rest = &behind[length + 1..];
        }
        methods
    }

    fn end(mut self) {
        self.service.outbound().close();
        self.service.ended(Ended::ByPeer, NOW_MS);
    }
}

const DELIVER: (u16, u16, u16) = (1, 60, 60);

/// A consumer that was refused for its channel's limit gets its turn though the acknowledgement that made room in
/// the limit found the buffer more than half full.
#[test]
fn a_limit_of_the_channel_and_a_full_buffer_end_one_after_the_other() {
    let bed = Bed::roomy();
    let mut peer = Peer::new(&bed);
    peer.give(&[declare(1, "a", false), declare(1, "b", false), prefetch(1, 1, true)].concat());
    peer.give(&[consume(1, "a", "a"), consume(1, "b", "b")].concat());
    peer.give(&[publish(1, "a", b"1", false), publish(1, "b", b"2", false)].concat());
    let delivered = peer.drain().into_iter().filter(|method| *method == DELIVER).count();
    assert_eq!(delivered, 1, "one on the channel at a time");
    // Something else fills the buffer beyond the half: the answers to gets, for example.
    peer.service.outbound().push_reply(|out| out.extend(frame(8, 0, &[0; 3000])));
    peer.give(&ack(1, 1));
    assert_eq!(peer.drain(), [], "nobody is asked while there is no room");
    assert!(peer.turn(), "there is room");
    assert_eq!(peer.drain(), [DELIVER]);
    peer.end();
}

/// What a connection published before is in the queue when it looks into it.
#[test]
fn a_get_waits_for_the_records_of_its_connection_and_for_nobody_elses() {
    let mut bed = Bed::roomy();
    let mut peer = Peer::new(&bed);
    peer.give(&declare(1, "q", true));
    bed.sync();
    assert!(peer.turn());
    peer.drain();
    let get = method(1, 60, 70, &[&[0, 0], &short("q"), &[0]]);
    let sent =
        [publish(1, "q", b"1", true), publish(1, "q", b"2", false), get.clone(), get.clone()];
    assert_eq!(peer.give(&sent.concat()), Verdict::Pause);
    assert!(peer.drain().is_empty() && !peer.turn());
    bed.sync();
    assert!(peer.turn());
    assert_eq!(peer.drain(), [(1, 60, 71); 2]);
    let mut other = Peer::new(&bed);
    assert_eq!(other.give(&publish(1, "q", b"3", true)), Verdict::Continue);
    peer.give(&get);
    assert_eq!(peer.drain(), [(1, 60, 72)], "it is not asked to wait for others");
    peer.end();
    other.end();
}

/// However many channels had them and in whatever order they were sent: messages go back to where they were, and to
/// nobody who is leaving, too.
#[test]
fn what_was_out_on_all_channels_goes_back_in_order() {
    let bed = Bed::roomy();
    let mut peer = Peer::new(&bed);
    peer.give(&[method(2, 20, 10, &[&[0]]), declare(1, "q", false)].concat());
    for channel in [1, 2] {
        peer.give(&[prefetch(channel, 100, false), consume(channel, "q", "c")].concat());
    }
    let expected: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    for body in &expected {
        peer.give(&publish(1, "q", body.as_bytes(), false));
        peer.drain();
    }
    let queue = bed.broker.exchanges.of("/").queue("q").unwrap();
    assert_eq!((queue.counts().ready, queue.counts().unacked), (50, 200));
    // The first are returned, go out again, and so have the highest tags.
    let requeue = method(1, 60, 120, &[&20u64.to_be_bytes(), &[0b11]]);
    peer.give(&requeue);
    peer.drain();
    peer.end();
    assert_eq!((queue.counts().ready, queue.counts().consumers), (250, 0));
    let mut other = Peer::new(&bed);
    let get = method(1, 60, 70, &[&[0, 0], &short("q"), &[1]]);
    let got: Vec<String> = expected
        .iter()
        .flat_map(|_| {
            other.give(&get);
            other.bodies()
        })
        .collect();
    assert_eq!(got, expected);
    other.end();
}
