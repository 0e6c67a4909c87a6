//! Connections over loopback sockets that pause, stall, flood and leave at will. Tests of `server::driver`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Ended, Protocol, Verdict, drive};
use crate::net::dev_certs::provide;
use crate::net::outbound::{CLOSE, Outbound, Push, READY};
use crate::net::stream::Stream;
use crate::net::tls::{ClientAuth, TlsFiles, server_config};
use crate::net::touched;
use crate::server::clock::Clock;
use crate::server::workers::Workers;

/// No test takes as long unless something is stuck.
const STUCK: Duration = Duration::from_secs(60);

type Receive = Box<dyn FnMut(&[u8], &Arc<Outbound>) -> (usize, Verdict) + Send>;
type Wake = Box<dyn FnMut(u32, &Arc<Outbound>) -> Verdict + Send>;

/// A protocol of two closures.
struct Probe {
    outbound: Arc<Outbound>,
    receive: Receive,
    wake: Wake,
    ended: Arc<AtomicUsize>,
}

impl Probe {
    fn new(
        outbound: &Arc<Outbound>,
        receive: impl FnMut(&[u8], &Arc<Outbound>) -> (usize, Verdict) + Send + 'static,
    ) -> Self {
        Self {
            outbound: Arc::clone(outbound),
            receive: Box::new(receive),
            wake: Box::new(|_, _| Verdict::Continue),
            ended: Arc::default(),
        }
    }

    fn on_wake(self, wake: impl FnMut(u32, &Arc<Outbound>) -> Verdict + Send + 'static) -> Self {
        Self { wake: Box::new(wake), ..self }
    }
}

impl Protocol for Probe {
    fn receive(&mut self, input: &[u8], _now_ms: u64) -> (usize, Verdict) {
        (self.receive)(input, &self.outbound)
    }

    fn wake(&mut self, signals: u32, _now_ms: u64) -> Verdict {
        (self.wake)(signals, &self.outbound)
    }

    fn ended(&mut self, _why: Ended, _now_ms: u64) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

async fn plain() -> (Box<dyn Wire>, Stream) {
    let (client, server) = tcp_pair().await;
    (Box::new(client), Stream::tcp(server))
}

async fn tls() -> (Box<dyn Wire>, Stream) {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("server.crt"),
        key: folder.path().join("server.key"),
        clients: ClientAuth::Off,
    };
    provide(folder.path(), &files, Clock::default().now_ms()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, server) = tcp_pair().await;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let acceptor = TlsAcceptor::from(server_config(&files).unwrap());
    let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
    (Box::new(client.unwrap()), Stream::Tls(Box::new(server.unwrap())))
}

fn drive_here(stream: Stream, probe: Probe) -> JoinHandle<()> {
    tokio::spawn(drive(stream, probe, Clock::default()))
}

fn ignore(input: &[u8], _: &Arc<Outbound>) -> (usize, Verdict) {
    (input.len(), Verdict::Continue)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(STUCK, future).await {
        Ok(value) => value,
        Err(_) => panic!("stuck: {what}"),
    }
}

/// Lets other tasks run until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    within(what, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_no_turns() {
    for kind in ["tcp", "tls"] {
        let (client, stream) = if kind == "tls" { tls().await } else { plain().await };
        let outbound = Arc::new(Outbound::new(stream.inline(), 1 << 20));
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let probe = Probe::new(&outbound, ignore).on_wake(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Verdict::Continue
        });
        let task = drive_here(stream, probe);
        outbound.push_forced(|out| out.resize(32 << 20, 7));
        outbound.flush();
        until("the socket to fill", || outbound.is_blocked()).await;
        // Whatever comes at once has come.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = turns.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let spun = turns.load(Ordering::SeqCst) - before;
        assert!(spun < 5, "{kind}: {spun} turns for nothing");
        drop(client);
        within("the end", task).await.unwrap();
    }
}

#[tokio::test]
async fn who_does_not_read_its_answers_is_not_read() {
    const LIMIT: usize = 64 << 10;
    for kind in ["tcp", "tls"] {
        let (mut client, stream) = if kind == "tls" { tls().await } else { plain().await };
        let outbound = Arc::new(Outbound::new(stream.inline(), LIMIT));
        let probe = Probe::new(&outbound, |input, outbound| {
            outbound.push_reply(|out| out.extend_from_slice(input));
            (input.len(), Verdict::Continue)
        });
        let task = drive_here(stream, probe);
        let chunk = vec![9u8; 64 << 10];
        let mut sent = 0;
        // Until nothing is taken any more for a while.
        while let Ok(count) =
            tokio::time::timeout(Duration::from_millis(200), client.write(&chunk)).await
        {
            sent += count.unwrap();
            let waits = outbound.pending_bytes();
            assert!(waits < 1 << 20, "{kind}: {waits} bytes wait after {sent}");
            assert!(sent < 256 << 20, "{kind}: everything is taken");
        }
        let (mut reader, mut writer) = tokio::io::split(client);
        let reading = async {
            let mut back = 0;
            let mut buffer = vec![0; 64 << 10];
            while back < sent {
                back += reader.read(&mut buffer).await.unwrap();
            }
            back
        };
        // Under TLS the last bytes leave only while the answers are read.
        let (back, flushed) = within(kind, async { tokio::join!(reading, writer.flush()) }).await;
        flushed.unwrap();
        assert_eq!(back, sent, "{kind}");
        drop((reader, writer));
        within("the end", task).await.unwrap();
    }
}

#[tokio::test]
async fn a_goodbye_that_nobody_reads_does_not_keep_the_connection() {
    for kind in ["tcp", "tls"] {
        let (client, stream) = if kind == "tls" { tls().await } else { plain().await };
        let outbound = Arc::new(Outbound::new(stream.inline(), 1 << 20));
        let probe = Probe::new(&outbound, ignore);
        let ended = Arc::clone(&probe.ended);
        let task = drive_here(stream, probe);
        outbound.push_forced(|out| out.resize(32 << 20, 7));
        outbound.flush();
        until("the socket to fill", || outbound.is_blocked()).await;
        outbound.signal(CLOSE);
        within("the end", task).await.unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1, "{kind}");
        drop(client);
    }
}

#[tokio::test]
async fn a_goodbye_is_read_though_the_peer_goes_on_sending() {
    let (mut client, stream) = plain().await;
    let outbound = Arc::new(Outbound::new(stream.inline(), 1 << 20));
    let probe = Probe::new(&outbound, |input, outbound| {
        outbound.push_reply(|out| out.extend_from_slice(b"goodbye"));
        (input.len(), Verdict::Close)
    });
    let task = drive_here(stream, probe);
    client.write_all(b"something wrong").await.unwrap();
    let mut heard = Vec::new();
    within("the goodbye", async {
        // Bytes that meet a closed socket would reset it, and the goodbye be lost.
        for _ in 0..20 {
            client.write_all(&[1; 1000]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.read_to_end(&mut heard).await.unwrap();
    })
    .await;
    assert_eq!(heard, b"goodbye");
    drop(client);
    within("the end", task).await.unwrap();
}

#[tokio::test]
async fn nobody_is_held_for_what_another_connection_did() {
    let (_stalled_client, stalled) = plain().await;
    let stalled = Arc::new(Outbound::new(stalled.inline(), 1000));
    let (_puller_client, stream) = plain().await;
    let outbound = Arc::new(Outbound::new(stream.inline(), 1 << 20));
    let target = Arc::clone(&stalled);
    let puller = Probe::new(&outbound, ignore).on_wake(move |_, _| {
        touched::note(&target, target.push(|out| out.resize(out.len() + 600, 0)));
        Verdict::Continue
    });
    let _puller = drive_here(stream, puller);
    outbound.signal(READY);
    until("the pull", || stalled.pending_bytes() > 0 || !touched::is_congested()).await;
    let (mut client, stream) = plain().await;
    let probe =
        Probe::new(&Arc::new(Outbound::new(stream.inline(), 1 << 20)), |input, outbound| {
            let verdict = u8::from(touched::is_congested());
            outbound.push_reply(|out| out.push(verdict));
            (input.len(), Verdict::Continue)
        });
    let _innocent = drive_here(stream, probe);
    client.write_all(b"x").await.unwrap();
    assert_eq!(within("the answer", client.read_u8()).await.unwrap(), 0);
}

/// Many subscribers that take nothing cost their publisher one wait, not one each.
#[tokio::test]
async fn subscribers_that_stop_reading_stop_their_publisher_about_a_second() {
    const FRAMES: u32 = 2000;
    const STUCK_ONES: usize = 300;
    const TAKEN: usize = 64;
    let stuck: Vec<_> =
        (0..STUCK_ONES).map(|_| Arc::new(Outbound::new(None, TAKEN << 10))).collect();
    let (mut reader, stream) = plain().await;
    let live = Arc::new(Outbound::new(stream.inline(), 1 << 20));
    let _live = drive_here(stream, Probe::new(&live, ignore));
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    let (mut writer, stream) = plain().await;
    let own = Arc::new(Outbound::new(stream.inline(), 1 << 20));
    let publisher = Probe::new(&own, move |input, _| {
        let mut used = 0;
        for frame in input.as_chunks::<1024>().0 {
            used += frame.len();
            for target in stuck.iter().chain([&live]) {
                let pushed = target.push(|out| out.extend_from_slice(frame));
                touched::note(target, pushed);
                counted.fetch_add(usize::from(pushed.outcome == Push::Full), Ordering::SeqCst);
            }
            if touched::is_congested() {
                break;
            }
        }
        (used, Verdict::Continue)
    });
    let _publisher = drive_here(stream, publisher);
    let begun = Instant::now();
    let reading = async {
        let mut frame = [0; 1024];
        for number in 0..FRAMES {
            reader.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame[..4], number.to_be_bytes());
        }
    };
    let writing = async {
        for number in 0..FRAMES {
            let mut frame = [0; 1024];
            frame[..4].copy_from_slice(&number.to_be_bytes());
            writer.write_all(&frame).await.unwrap();
        }
    };
    within("the live subscriber", async { tokio::join!(reading, writing) }).await;
    let took = begun.elapsed();
    // One after the other they would take minutes.
    assert!(took < Duration::from_secs(8), "{took:?}");
    let over = STUCK_ONES * (FRAMES as usize - TAKEN);
    assert_eq!(refused.load(Ordering::SeqCst), over, "every drop is known");
}

/// Numbers that look random; the same ones every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const FRAME: usize = 64;
const ROUND: u32 = 5000;
const PUBLISHED: u8 = 1;
const ANSWER: u8 = 2;

/// Answers each frame and passes it on; pauses at random until somebody signals.
fn relay(own: &Arc<Outbound>, next: Arc<Outbound>, seed: u64, dropped: Arc<AtomicUsize>) -> Probe {
    let mut dice = Dice(seed);
    let wakes = tokio::runtime::Handle::current();
    Probe::new(own, move |input, outbound| {
        let mut used = 0;
        for frame in input.as_chunks::<FRAME>().0 {
            used += FRAME;
            outbound.push_reply(|out| {
                out.extend_from_slice(frame);
                let at = out.len() - FRAME;
                out[at] = ANSWER;
            });
            let pushed = next.push(|out| out.extend_from_slice(frame));
            touched::note(&next, pushed);
            dropped.fetch_add(usize::from(pushed.outcome != Push::Accepted), Ordering::SeqCst);
            touched::relieve();
            if dice.below(200) == 0 {
                // A completion from another thread, as the applier's.
                let outbound = Arc::clone(outbound);
                wakes.spawn(async move { outbound.signal(READY) });
                return (used, Verdict::Pause);
            }
            if touched::is_congested() {
                break;
            }
        }
        (used, Verdict::Continue)
    })
}

/// Writes all frames in pieces of any size, reads everything with pauses; what was published by its neighbour
/// comes in order.
async fn client(wire: Box<dyn Wire>, seed: u64, dropped: Arc<AtomicUsize>) {
    let (mut reader, mut writer) = tokio::io::split(wire);
    let mut dice = Dice(seed);
    let writing = async {
        let mut dice = Dice(seed + 1);
        let mut bytes = Vec::new();
        for number in 0..ROUND {
            let mut frame = [PUBLISHED; FRAME];
            frame[1..5].copy_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&frame);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = usize::try_from(1 + dice.below(40_000)).unwrap().min(rest.len());
            writer.write_all(&rest[..piece]).await.unwrap();
            writer.flush().await.unwrap();
            rest = &rest[piece..];
            if dice.below(8) == 0 {
                tokio::time::sleep(Duration::from_millis(dice.below(3))).await;
            }
        }
    };
    let reading = async {
        let (mut answers, mut published, mut last) = (0, 0, None);
        let mut frame = [0; FRAME];
        while answers < ROUND || published + dropped.load(Ordering::SeqCst) < ROUND as usize {
            reader.read_exact(&mut frame).await.unwrap();
            let number = u32::from_be_bytes(frame[1..5].try_into().unwrap());
            if frame[0] == ANSWER {
                assert_eq!(number, answers, "an answer out of order");
                answers += 1;
            } else {
                assert!(last < Some(number), "{number} after {last:?}");
                last = Some(number);
                published += 1;
            }
            if dice.below(3000) == 0 {
                tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
            }
        }
    };
    tokio::join!(reading, writing);
}

/// Each connection publishes to the next one round a ring, so that everybody waits for everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_of_publishers_with_pauses_comes_through() {
    const RING: usize = 6;
    let workers = Workers::start(2).unwrap();
    let mut wires = Vec::new();
    let mut streams = Vec::new();
    for index in 0..RING {
        let (wire, stream) = if index % 3 == 2 { tls().await } else { plain().await };
        wires.push(wire);
        streams.push(stream);
    }
    let outbounds: Vec<_> =
        streams.iter().map(|stream| Arc::new(Outbound::new(stream.inline(), 64 << 10))).collect();
    let dropped: Vec<Arc<AtomicUsize>> = (0..RING).map(|_| Arc::default()).collect();
    for (index, stream) in streams.into_iter().enumerate() {
        let next = (index + 1) % RING;
        let seed = 0x9e37_79b9 + index as u64;
        let probe =
            relay(&outbounds[index], Arc::clone(&outbounds[next]), seed, dropped[next].clone());
        // The sockets belong to this test's runtime, the tasks to the workers: as good as any.
        workers.spawn(drive(stream, probe, Clock::default()));
    }
    let clients: Vec<_> = wires
        .into_iter()
        .zip(dropped)
        .enumerate()
        .map(|(index, (wire, dropped))| {
            tokio::spawn(client(wire, 0x1234_5678 + index as u64, dropped))
        })
        .collect();
    within("the ring", async {
        for client in clients {
            client.await.unwrap();
        }
    })
    .await;
    tokio::task::spawn_blocking(move || workers.stop()).await.unwrap();
}
