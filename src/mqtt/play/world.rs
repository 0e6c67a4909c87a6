//! The broker, its connections as the server's loop drives them, and time. Part of `mqtt::play`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::ending::How;
use super::hear;
use super::hearing::Hearing;
use super::ledger::Ledger;
use super::mind::{Kept, Mind, WINDOW_MAX};
use super::peer::{Owed, Peer, Stage};
use super::say::{self, Hello};
use super::tell;
use crate::broker::testbed::Bed;
use crate::config::Config;
use crate::config::live::Bundle;
use crate::mqtt::service::{Service, Shared};
use crate::net::outbound::{CLOSE, GO_ON, Outbound, TIMER};
use crate::net::touched;
use crate::server::admission::Users;
use crate::server::driver::{Ended, Protocol, Verdict};
use crate::server::timer::Wheel;

/// Messages above QoS 0 that a client may have under way towards the broker.
pub(super) const RECEIVE_MAX: u16 = 6;
/// Topic aliases that a client may use.
pub(super) const ALIAS_MAX: u16 = 3;
/// The longest packet of a client.
const PACKET_BYTES_MAX: usize = 1500;
/// Room in the buffer towards a client.
const ROOM_BYTES: usize = 1 << 20;
/// When plays begin.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// Turns after which nothing should be left to do.
const TURNS_MAX: usize = 5_000;

/// The keeper's place among the connections, and its mind.
pub(super) const KEEPER: usize = 0;

/// Everything there is.
pub(super) struct World {
    bed: Option<Bed>,
    shared: Shared,
    pub(super) now_ms: u64,
    pub(super) peers: [Option<Peer>; 4],
    pub(super) minds: [Mind; 3],
    pub(super) ledger: Ledger,
    serials: u64,
    /// Whether the journal is synced after every step.
    pub(super) is_eager: bool,
}

fn bundle() -> Arc<Bundle> {
    static BUNDLE: OnceLock<Arc<Bundle>> = OnceLock::new();
    let made = BUNDLE.get_or_init(|| {
        let mut config = Config::default();
        config.mqtt.receive_max = RECEIVE_MAX;
        config.mqtt.topic_alias_max = ALIAS_MAX;
        config.mqtt.packet_bytes_max = PACKET_BYTES_MAX;
        config.mqtt.inflight_max = WINDOW_MAX;
        Arc::new(Bundle::new(config).unwrap())
    });
    Arc::clone(made)
}

fn shared(bed: &Bed) -> Shared {
    let broker = Arc::clone(&bed.broker);
    let wheel = Arc::new(Wheel::default());
    Shared { broker, config: bundle(), wheel, users: Users::new(0, 0, 1) }
}

impl World {
    /// The keeper is there and has what it subscribed to.
    pub(super) fn new() -> Self {
        let mut bed = Bed::roomy();
        bed.resume(BEGIN_MS);
        bed.sync();
        let mut world = Self {
            shared: shared(&bed),
            bed: Some(bed),
            now_ms: BEGIN_MS,
            peers: [None, None, None, None],
            minds: [Mind::new("keeper"), Mind::new("a"), Mind::new("b")],
            ledger: Ledger::default(),
            serials: 0,
            is_eager: true,
        };
        world.connect(KEEPER, KEEPER, Self::keeper_hello(true, Some(2)));
        world.sync();
        world.minds[KEEPER].filters.push("#");
        world.peer(KEEPER).unwrap().may_grant.push_back((9, 1, 1));
        world.say(KEEPER, &say::subscribe(1, &["#"], 2, 0, true), 0);
        world.sync();
        assert!(world.peer(KEEPER).unwrap().may_grant.is_empty());
        world
    }

    pub(super) fn keeper_hello(is_v5: bool, receive_max: Option<u16>) -> Hello {
        Hello {
            is_v5,
            client_id: "keeper",
            clean: false,
            keep_alive_s: 0,
            expiry_s: u32::MAX,
            receive_max,
            packet_bytes_max: None,
            alias_max: 2,
            wants_reasons: true,
            will: None,
        }
    }

    fn bed(&mut self) -> &mut Bed {
        self.bed.as_mut().unwrap()
    }

    pub(super) fn peer(&mut self, slot: usize) -> Option<&mut Peer> {
        self.peers[slot].as_mut()
    }

    /// A connection at `slot`, whose CONNECT is sent.
    pub(super) fn connect(&mut self, slot: usize, who: usize, hello: Hello) {
        self.lose(slot);
        self.await_resumption(who, hello.clean);
        self.serials += 1;
        let outbound = Arc::new(Outbound::new(None, ROOM_BYTES));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1883));
        let service = Service::new(&self.shared, Arc::clone(&outbound), address, self.now_ms);
        let packet = hello.packet();
        tell(|| format!("{slot} comes, {hello:?}"));
        let mut peer = Peer::new(service, outbound, hello, who);
        peer.serial = self.serials;
        peer.expects_present = self.expects_present(who, peer.hello.clean);
        if peer.hello.clean {
            // Who asks for a clean start has forgotten, whatever becomes of the asking [MQTT-3.1.2-6].
            self.forget(who);
        }
        for other in self.peers.iter_mut().flatten().filter(|other| other.who == who) {
            other.successors += 1;
        }
        if self.minds[who].is_asking && who != KEEPER {
            // What the one before has become nobody can tell it.
            self.confuse(who);
        }
        let mind = &mut self.minds[who];
        mind.is_asking = true;
        (mind.owner, mind.starts_clean) = (Some(peer.serial), peer.hello.clean);
        if let Some(most) = peer.hello.receive_max.filter(|_| peer.hello.is_v5) {
            mind.window = mind.window.min(most.into());
        }
        self.arm(&peer);
        self.peers[slot] = Some(peer);
        self.say(slot, &packet, 0);
    }

    /// Sends `bytes`, in pieces of `piece` bytes unless that is 0.
    pub(super) fn say(&mut self, slot: usize, bytes: &[u8], piece: usize) {
        tell(|| format!("{slot} says {bytes:02x?}"));
        let piece = if piece == 0 { bytes.len().max(1) } else { piece };
        for part in bytes.chunks(piece) {
            let now_ms = self.now_ms;
            let Some(peer) = self.peer(slot) else { return };
            peer.said_ms = now_ms;
            peer.tail.extend_from_slice(part);
            self.read(slot);
            self.pump();
        }
    }

    /// The server's loop: what was read is handled while the connection may be read.
    fn read(&mut self, slot: usize) {
        let now_ms = self.now_ms;
        let Some(peer) = self.peers[slot].as_mut() else { return };
        for _ in 0..TURNS_MAX {
            if peer.verdict != Verdict::Continue || peer.tail.is_empty() {
                touched::flush();
                return;
            }
            let (used, verdict) = peer.service.receive(&peer.tail, now_ms);
            peer.tail.drain(..used);
            peer.verdict = verdict;
            drop(touched::take_congested());
            if used == 0 {
                touched::flush();
                return;
            }
        }
        panic!("a connection is read for ever");
    }

    /// Everybody is woken, written to and heard until nothing more happens.
    pub(super) fn pump(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut moved = false;
            for slot in 0..self.peers.len() {
                moved |= self.turn(slot);
            }
            if !moved {
                return;
            }
        }
        panic!("connections wake each other for ever");
    }

    fn turn(&mut self, slot: usize) -> bool {
        let now_ms = self.now_ms;
        let Some(peer) = self.peers[slot].as_mut() else { return false };
        let signals = peer.outbound.take_signals(Waker::noop());
        let is_woken = signals & !GO_ON != 0 && peer.verdict != Verdict::Close;
        if is_woken {
            peer.verdict = peer.service.wake(signals, now_ms);
            if signals & CLOSE != 0 {
                peer.verdict = Verdict::Close;
            }
            touched::forgive_congested();
            self.read(slot);
        }
        let heard = self.listen(slot);
        let Some(peer) = self.peers[slot].as_mut() else { return true };
        if peer.verdict == Verdict::Close {
            peer.outbound.seal();
            self.listen(slot);
            self.end(slot, How::Server);
            return true;
        }
        let to_say = std::mem::take(&mut peer.to_say);
        let speaks = !to_say.is_empty();
        for packet in to_say {
            let Some(peer) = self.peers[slot].as_mut() else { break };
            peer.tail.extend_from_slice(&packet);
            peer.said_ms = now_ms;
        }
        if speaks {
            self.read(slot);
        }
        is_woken || heard || speaks
    }

    /// The client at `slot` reads what came, unless it is deaf.
    fn listen(&mut self, slot: usize) -> bool {
        let now_ms = self.now_ms;
        let Some(peer) = self.peers[slot].as_mut() else { return false };
        if peer.is_deaf {
            return false;
        }
        let mut came = Vec::new();
        peer.outbound.write_with(|bytes| {
            came.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        peer.heard.extend_from_slice(&came);
        let mut at = 0;
        while let Some((heard, length)) = hear::next(&peer.heard[at..], peer.hello.is_v5) {
            at += length;
            let mind = &mut self.minds[peer.who];
            if mind.owner != Some(peer.serial) && peer.stage == Stage::Accepted {
                // Somebody has its session by now; what still comes is for nobody.
                if matches!(heard, hear::Heard::Disconnect { .. }) {
                    peer.stage = Stage::Over;
                }
                continue;
            }
            let keeps = peer.who == KEEPER;
            tell(|| format!("  {slot} hears {heard:?}"));
            Hearing { peer, mind, ledger: &mut self.ledger, keeps, now_ms }.hear(heard);
        }
        peer.heard.drain(..at);
        !came.is_empty()
    }

    /// The network is gone, and both sides notice.
    pub(super) fn lose(&mut self, slot: usize) {
        if self.peers[slot].is_some() {
            self.end(slot, How::Network);
            self.pump();
        }
    }

    pub(super) fn end(&mut self, slot: usize, how: How) {
        let Some(mut peer) = self.peers[slot].take() else { return };
        tell(|| format!("{slot} ends {how:?}"));
        peer.outbound.close();
        let why = if how == How::Server { Ended::ByProtocol } else { Ended::ByPeer };
        peer.service.ended(why, self.now_ms);
        touched::flush();
        touched::forgive_congested();
        self.ended(&peer, how);
    }

    /// What was submitted is synced, applied and answered.
    pub(super) fn sync(&mut self) {
        self.harden();
        self.pump();
    }

    fn harden(&mut self) {
        tell(|| "sync".to_owned());
        self.ledger.harden();
        self.minds.iter_mut().for_each(Mind::harden);
        self.bed().sync();
    }

    pub(super) fn checkpoint_step(&mut self) {
        let now_ms = self.now_ms;
        self.harden();
        self.bed().checkpoint_step(now_ms);
        self.pump();
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        tell(|| format!("{ms} ms pass"));
        let now_ms = self.now_ms;
        for peer in self.peers.iter().flatten() {
            peer.outbound.signal(TIMER);
        }
        self.pump();
        self.bed().run_jobs(now_ms);
        self.pump();
        self.become_due();
    }

    /// The power goes: every connection, and what was not synced.
    pub(super) fn crash(&mut self, seed: u64) {
        tell(|| "the power goes".to_owned());
        touched::flush();
        touched::forgive_congested();
        for slot in 0..self.peers.len() {
            if let Some(peer) = self.peers[slot].take() {
                self.ended(&peer, How::Crash);
            }
        }
        self.ledger.soften();
        self.minds.iter_mut().for_each(Mind::doubt);
        self.minds[KEEPER].kept = Kept::Until(u64::MAX);
        let bed = self.bed.take().unwrap().restarted(seed);
        bed.resume(self.now_ms);
        self.shared = shared(&bed);
        self.bed = Some(bed);
        self.sync();
        self.pass(0);
        self.sync();
    }

    /// The client at `slot` does the `rank`th thing that it owes.
    pub(super) fn answer(&mut self, slot: usize, rank: usize, piece: usize) {
        let Some(peer) = self.peers[slot].as_mut() else { return };
        if !peer.is_in() || peer.owed.is_empty() {
            return;
        }
        let owed = peer.owed.remove(rank % peer.owed.len());
        let is_v5 = peer.hello.is_v5;
        let packet = match owed {
            Owed::Ack(id) => {
                peer.under_way.remove(&id);
                say::ack(4, id, 0, is_v5)
            }
            Owed::Rec(id) => {
                peer.allow(6, id);
                say::ack(5, id, 0, is_v5)
            }
            Owed::Rel(id) => {
                peer.allow(7, id);
                say::ack(6, id, 0, is_v5)
            }
            Owed::Comp(id) => {
                peer.under_way.remove(&id);
                say::ack(7, id, 0, is_v5)
            }
        };
        self.say(slot, &packet, piece);
    }

    /// Every promise is due: players go, time passes, and the keeper takes all that is left.
    pub(super) fn finish(&mut self) {
        self.sync();
        (1..self.peers.len()).for_each(|slot| self.lose(slot));
        self.sync();
        self.pass(60_000);
        self.sync();
        for _ in 0..TURNS_MAX {
            let fresh =
                self.peers[KEEPER].as_ref().is_none_or(|peer| peer.stage != Stage::Accepted);
            if fresh {
                self.connect(KEEPER, KEEPER, Self::keeper_hello(true, None));
                self.sync();
            }
            let Some(peer) = self.peers[KEEPER].as_mut() else { continue };
            peer.is_deaf = false;
            self.pump();
            let Some(peer) = self.peers[KEEPER].as_mut() else { continue };
            if peer.owed.is_empty() && !fresh {
                let under_way = &peer.under_way;
                assert!(
                    under_way.is_empty(),
                    "QoS 2 messages that are not released: {under_way:?}"
                );
                self.ledger.settle();
                return;
            }
            self.answer(KEEPER, 0, 0);
            self.sync();
        }
        panic!("the keeper is sent messages for ever");
    }
}
