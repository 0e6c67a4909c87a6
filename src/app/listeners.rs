//! What is listened on, and what each listener speaks. Part of `app`.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::amqp::service::{Service as AmqpService, Shared as AmqpShared};
use crate::broker::append::LogFront;
use crate::config::address::ListenAddress;
use crate::config::limits::LimitsSection;
use crate::kafka::service::{Ends, ServeError, serve};
use crate::kafka::shared::{KafkaConfig, Shared as KafkaShared, Timer};
use crate::metrics::label::Label;
use crate::metrics::{CloseReason, Limit, Metrics, Protocol};
use crate::mqtt::service::{Service as MqttService, Shared as MqttShared};
use crate::net::outbound::{CLOSE, Outbound};
use crate::net::stream::Stream;
use crate::net::tls::Tls;
use crate::server::admission::{AddressPlace, Addresses, Users};
use crate::server::clock::Clock;
use crate::server::driver::drive;
use crate::server::listener::{Gate, Place, accept, bind};
use crate::server::workers::Workers;

use super::AppError;

/// A TLS handshake must be through by then.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A bound listener and its name in configuration and start-up line.
pub(super) struct Bound {
    pub(super) name: &'static str,
    pub(super) listener: StdListener,
    pub(super) address: SocketAddr,
}

/// Binds `address` unless it is off: the first of its addresses that can be bound.
pub(super) fn bind_one(
    name: &'static str,
    address: &ListenAddress,
) -> Result<Option<Bound>, AppError> {
    let refuse = |error| AppError::Listen { what: format!("listeners.{name} {address}"), error };
    let Some(addresses) = address.resolve().map_err(refuse)? else { return Ok(None) };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for candidate in addresses {
        match bind(candidate) {
            Ok(listener) => {
                let address = listener.local_addr().map_err(refuse)?;
                return Ok(Some(Bound { name, listener, address }));
            }
            Err(error) => last = error,
        }
    }
    Err(refuse(last))
}

/// MQTT and AMQP connections, those that have not logged in among them, which the broker knows nothing of.
#[derive(Default)]
pub(super) struct Roll(Mutex<Known>);

#[derive(Default)]
struct Known {
    list: Vec<Weak<Outbound>>,
    /// Entries before the next look for those that are gone.
    clean_at: usize,
    /// The broker stops.
    closed: bool,
}

impl Roll {
    /// Entries before the first look for those that are gone.
    const CLEAN_MIN: usize = 1024;

    fn enter(&self, outbound: &Arc<Outbound>) {
        let mut known = self.0.lock();
        if known.closed {
            // Accepted before the listeners closed, and not begun until after all others were told.
            outbound.signal(CLOSE);
            return;
        }
        known.list.push(Arc::downgrade(outbound));
        if known.list.len() >= known.clean_at.max(Self::CLEAN_MIN) {
            known.list.retain(|one| one.strong_count() > 0);
            known.clean_at = known.list.len() * 2;
        }
    }

    /// Has every connection end.
    pub(super) fn close(&self) {
        let known = {
            let mut known = self.0.lock();
            known.closed = true;
            std::mem::take(&mut known.list)
        };
        for outbound in known.iter().filter_map(Weak::upgrade) {
            outbound.signal(CLOSE);
        }
    }
}

/// A connection that was let in.
struct Entered {
    /// Among all, and among those of its address.
    places: (Place, AddressPlace),
    /// Whether its address is within its rate.
    in_time: bool,
}

/// Who is at the other end.
struct Peer {
    address: SocketAddr,
    in_time: bool,
}

/// What one address may hold and open.
pub(super) fn addresses(limits: &LimitsSection) -> Arc<Addresses> {
    let rate = limits.connection_rate_per_address_max;
    Addresses::new(limits.connections_per_address_max, rate, limits.connection_burst_s)
}

/// What one user may hold and open.
pub(super) fn users(limits: &LimitsSection) -> Arc<Users> {
    let rate = limits.connection_rate_per_user_max;
    Users::new(limits.connections_per_user_max, rate, limits.connection_burst_s)
}

/// A connection being served.
type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) workers: Arc<Workers>,
    pub(super) gate: Arc<Gate>,
    pub(super) addresses: Arc<Addresses>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) mqtt: MqttShared,
    pub(super) amqp: AmqpShared,
    pub(super) kafka: Arc<KafkaShared<LogFront>>,
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) roll: Arc<Roll>,
}

impl Connections {
    /// Places for a connection from `peer`; `None` when it is closed at once. Whoever is only too fast and `can_be_told`
    /// gets them to be told.
    fn enter(&self, protocol: Protocol, peer: SocketAddr, can_be_told: bool) -> Option<Entered> {
        let Some(place) = self.gate.enter() else {
            self.refuse(protocol, peer, Limit::Connections);
            return None;
        };
        let Some(of_address) = self.addresses.enter(peer.ip()) else {
            self.refuse(protocol, peer, Limit::ConnectionsPerAddress);
            return None;
        };
        let in_time = self.addresses.is_in_time(peer.ip(), self.clock.now_ms());
        if !in_time && !can_be_told {
            self.refuse(protocol, peer, Limit::ConnectionRatePerAddress);
            return None;
        }
        Some(Entered { places: (place, of_address), in_time })
    }

    fn refuse(&self, protocol: Protocol, peer: SocketAddr, limit: Limit) {
        self.metrics.connections.closed.of(protocol, CloseReason::Limit).inc();
        if let Some(left_out) = self.metrics.limits.refuse(limit, self.clock.now_ms()) {
            tracing::warn!(%peer, protocol = protocol.name(), left_out,
                "a connection was closed: {} is reached", limit.key());
        }
    }

    /// Accepts connections that speak `protocol`, MQTT or AMQP, over TLS if `tls` is given.
    pub(super) async fn driven(
        self,
        protocol: Protocol,
        listener: StdListener,
        tls: Option<Arc<Tls>>,
    ) -> io::Result<()> {
        accept(listener, move |stream, peer| {
            // Before a TLS handshake, which is what it costs most, nobody is told.
            let can_be_told = protocol == Protocol::Mqtt && tls.is_none();
            let Some(entered) = self.enter(protocol, peer, can_be_told) else { return };
            let (connections, tls) = (Box::new(self.clone()), tls.clone());
            self.workers.spawn(async move {
                // In a box: what it takes to begin is given back while the connection is served.
                let Entered { places, in_time } = entered;
                let peer = Peer { address: peer, in_time };
                let begun = Box::pin(connections.begin(protocol, stream, peer, tls)).await;
                if let Some(served) = begun {
                    served.await;
                }
                drop(places);
            });
        })
        .await
    }

    /// Sees to the transport; what it returns serves the connection to its end.
    async fn begin(
        self: Box<Self>,
        protocol: Protocol,
        stream: StdStream,
        peer: Peer,
        tls: Option<Arc<Tls>>,
    ) -> Option<Served> {
        let address = peer.address;
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(peer = %address, %error, "cannot serve a connection");
                return None;
            }
        };
        let stream = match tls {
            None => Stream::tcp(stream),
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.current()).accept(stream);
                let mut shutdown = self.shutdown.clone();
                let shaken = tokio::select! {
                    shaken = tokio::time::timeout(HANDSHAKE_MAX, handshake) => shaken,
                    _ = shutdown.wait_for(|stop| *stop) => return None,
                };
                match shaken {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    Ok(Err(error)) => {
                        self.refuse_tls(protocol, address, &error.to_string());
                        return None;
                    }
                    Err(_) => {
                        self.refuse_tls(protocol, address, "handshake timed out");
                        return None;
                    }
                }
            }
        };
        Some(self.serve(protocol, stream, peer))
    }

    fn serve(&self, protocol: Protocol, stream: Stream, peer: Peer) -> Served {
        let Peer { address: peer, in_time } = peer;
        let live = Arc::clone(&self.mqtt.config.live());
        let limit = match protocol {
            Protocol::Amqp => live.amqp.outbound_buffer_bytes_max,
            Protocol::Mqtt | Protocol::Kafka => live.mqtt.outbound_buffer_bytes_max,
        };
        drop(live);
        let outbound = Arc::new(Outbound::new(stream.inline(), limit));
        self.roll.enter(&outbound);
        let now_ms = self.clock.now_ms();
        if protocol == Protocol::Amqp {
            let service = AmqpService::new(&self.amqp, outbound, peer, now_ms);
            Box::pin(drive(stream, service, self.clock))
        } else {
            let service = MqttService::new(&self.mqtt, outbound, peer, now_ms);
            let service = if in_time { service } else { service.turned_away() };
            Box::pin(drive(stream, service, self.clock))
        }
    }

    fn refuse_tls(&self, protocol: Protocol, peer: SocketAddr, error: &str) {
        self.metrics.connections.closed.of(protocol, CloseReason::Tls).inc();
        tracing::debug!(%peer, error, "a TLS handshake failed");
    }

    /// Accepts Kafka connections.
    pub(super) async fn kafka(self, listener: StdListener) -> io::Result<()> {
        accept(listener, move |stream, peer| {
            let Some(entered) = self.enter(Protocol::Kafka, peer, false) else { return };
            let connections = self.clone();
            self.workers.spawn(async move {
                connections.serve_kafka(stream, peer).await;
                drop(entered.places);
            });
        })
        .await
    }

    async fn serve_kafka(self, stream: StdStream, peer: SocketAddr) {
        let counters = &self.metrics.connections;
        let live = Arc::clone(&self.mqtt.config.live());
        let Ok(principal) = live.authenticator.anonymous(peer.ip().is_loopback()) else {
            counters.auth_failures.of(Protocol::Kafka).inc();
            counters.closed.of(Protocol::Kafka, CloseReason::NotAuthorized).inc();
            return tracing::info!(%peer, "a Kafka client without credentials was refused");
        };
        let stream = TcpStream::from_std(stream).and_then(|stream| {
            let local = stream.local_addr()?;
            Ok((stream, local))
        });
        let (stream, local) = match stream {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%peer, %error, "cannot serve a connection"),
        };
        counters.opened.of(Protocol::Kafka).inc();
        counters.open.of(Protocol::Kafka).inc();
        let shared = Arc::clone(&self.kafka);
        let served =
            serve(stream, Ends { local, peer }, principal, shared, self.shutdown.clone()).await;
        counters.open.of(Protocol::Kafka).dec();
        let reason = match served {
            Ok(()) => CloseReason::Client,
            Err(error) => {
                tracing::debug!(%peer, %error, "a Kafka connection ended");
                self.count_kafka(&error)
            }
        };
        counters.closed.of(Protocol::Kafka, reason).inc();
    }

    fn count_kafka(&self, error: &ServeError) -> CloseReason {
        match error.violation() {
            None if matches!(error, ServeError::Stalled) => CloseReason::SlowConsumer,
            None => CloseReason::Lost,
            Some(kind) => {
                self.metrics.connections.protocol_errors.of(Protocol::Kafka, kind).inc();
                CloseReason::ProtocolError
            }
        }
    }
}

/// Sleeping for protocols that may not look at a clock.
pub(super) struct Sleeper;

impl Timer for Sleeper {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The Kafka listener's share of the configuration.
pub(super) fn kafka_config(config: &crate::config::Config, cluster_id: String) -> KafkaConfig {
    let advertised = config.kafka.advertised.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?))
    });
    KafkaConfig {
        request_bytes_max: config.kafka.request_bytes_max,
        other_request_bytes_max: config.kafka.other_request_bytes_max,
        requests_bytes_max: config.kafka.requests_bytes_max,
        fetches_bytes_max: config.kafka.fetches_bytes_max,
        advertised,
        cluster_id,
        auto_create: config.logs.auto_create,
        fetch_bytes_max: config.kafka.fetch_bytes_max,
        produce_waiting_max: config.kafka.requests_in_flight_max,
        ..KafkaConfig::default()
    }
}
