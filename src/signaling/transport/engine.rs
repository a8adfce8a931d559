//! One Engine.IO session, over whichever transport carries it now.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::dial::Dialer;
use super::meter::Meter;
use super::polling::PollingTransport;
use super::probe::Prober;
use super::websocket::WebSocketTransport;
use super::{ConnectError, ConnectPhase, Inbound, TransportError};
use crate::config::{SignalingConfig, TransportKind};
use crate::key_log::KeyLog;
use crate::net::tls::TlsTrust;
use crate::net::{ByteStream, Net};
use crate::signaling::endpoint::{Endpoint, EndpointError};
use crate::signaling::engine_io::{EngineIoPacket, OpenPacket};

/// How long the next probe of a WebSocket waits where one has failed before in this session or on the
/// way to it: what stands in its way now will mostly still do so a moment later, and a probe is not free
/// for the session.
pub const PROBE_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// What a session needs to be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// The server.
    pub endpoint: Endpoint,
    /// The transports to try, in this order.
    pub transports: Vec<TransportKind>,
    /// The limit on the whole attempt: name, TCP, TLS, HTTP and open packet, of all transports.
    pub timeout: Duration,
    /// What each try of a transport may take from the moment that TCP is up, but for the last one.
    pub transport_patience: Duration,
    /// Which certificates are accepted.
    pub trust: TlsTrust,
    /// Where the secrets of TLS go.
    pub key_log: KeyLog,
    /// How long after a failed WebSocket the next probe comes. [`PROBE_AGAIN_AFTER`] by default.
    pub probe_again_after: Duration,
}

/// Whether a transport of the last round might have come up on another connection: it was not refused,
/// nothing was heard at all.
fn ran_out_of_patience(failures: &[(TransportKind, ConnectError)], count: usize) -> bool {
    let mut last_round = failures.iter().rev().take(count);
    last_round.any(|(_, error)| matches!(error, ConnectError::TimedOut { .. }))
}

/// An open session. Dropping it closes every stream it has.
#[derive(Debug)]
pub struct Engine {
    carrier: Carrier,
    meter: Meter,
    /// How much of what the meter counts was told.
    told: u64,
}

/// What carries a session's packets.
#[derive(Debug)]
enum Carrier {
    WebSocket(Box<WebSocketTransport>),
    Polling {
        polling: Box<PollingTransport>,
        /// Where the session may move.
        prober: Option<Box<Prober>>,
    },
}

/// What happens in a session.
#[derive(Debug)]
pub enum EngineEvent {
    /// A packet arrived.
    Packet(EngineIoPacket),
    /// The server showed that it is there without sending a packet.
    SignOfLife,
    /// What is being written goes out piece by piece, so the path is alive.
    Progress,
    /// The session moved to another transport. Nothing was lost on the way.
    Upgraded {
        /// The transport that carries it now.
        to: TransportKind,
    },
    /// The session could not move and stays with the transport that it has. It is tried again later.
    UpgradeFailed {
        /// Why.
        error: ConnectError,
    },
}

impl EngineOptions {
    /// The options of a configuration whose URL has no path.
    ///
    /// # Errors
    ///
    /// Every [`EndpointError`].
    pub fn from_config(config: &SignalingConfig) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::from_config(config)?;
        Ok(Self::new(endpoint, config))
    }

    /// The options of a configuration, for a server that was read from its URL before.
    #[must_use]
    pub fn new(endpoint: Endpoint, config: &SignalingConfig) -> Self {
        Self {
            endpoint,
            transports: config.transports.clone(),
            timeout: config.timeout,
            transport_patience: config.transport_patience,
            trust: config.trust.clone(),
            key_log: config.key_log.clone(),
            probe_again_after: PROBE_AGAIN_AFTER,
        }
    }
}

impl Engine {
    /// Opens a session. The transports are tried in order within one attempt, and again from the first
    /// one where the network has swallowed something of a try; a failure below all of them (name, TCP,
    /// certificate) ends it at once. An attempt that fails or is dropped closes its
    /// streams, and each transport's are closed before the next one is tried.
    ///
    /// # Errors
    ///
    /// Every [`ConnectError`] but those of a namespace. Where more than one transport was tried, it is
    /// [`ConnectError::EveryTransport`].
    pub async fn open(
        net: Arc<dyn Net>,
        options: &EngineOptions,
    ) -> Result<(Self, OpenPacket), ConnectError> {
        let dialer = Dialer::new(net, &options.endpoint, &options.trust, &options.key_log)?;
        let limit = options.timeout;
        let deadline = Instant::now() + limit;
        let mut failures = Vec::new();
        let count = options.transports.len();
        for (index, transport) in options.transports.iter().cycle().enumerate() {
            let is_first_of_round = index % count == 0 && index > 0;
            if is_first_of_round && !ran_out_of_patience(&failures, count) {
                break;
            }
            // The last try may take what is left.
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = options.transport_patience;
            let patience = (left > patience * 2).then_some(patience);
            let mut phase = ConnectPhase::Resolve;
            let attempt = Attempt {
                dialer: &dialer,
                options,
                transport: *transport,
                has_failed: failures.iter().map(|(transport, _)| *transport).collect(),
            };
            let outcome = timeout_at(deadline, attempt.run(patience, &mut phase)).await;
            match outcome.unwrap_or(Err(ConnectError::TimedOut { phase, limit })) {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    tracing::debug!(%transport, %error, "no session over this transport");
                    let is_over = error.is_below_transports() || Instant::now() >= deadline;
                    failures.push((*transport, error));
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(match failures.pop() {
            None => ConnectError::NoTransport,
            Some((_, only)) if failures.is_empty() => only,
            Some(last) => {
                failures.push(last);
                ConnectError::EveryTransport { failures }
            }
        })
    }

    /// The transport that carries the session now.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        match &self.carrier {
            Carrier::WebSocket(_) => TransportKind::WebSocket,
            Carrier::Polling { .. } => TransportKind::Polling,
        }
    }

    /// Queues a packet; it is written while [`next`](Self::next) is polled.
    pub fn queue(&mut self, packet: EngineIoPacket) {
        match &mut self.carrier {
            Carrier::WebSocket(websocket) => websocket.queue(packet),
            Carrier::Polling { polling, .. } => polling.queue(packet),
        }
    }

    /// Whether nothing that was queued is unwritten. Over polling a packet counts as written once the
    /// server has answered the request that carries it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        match &self.carrier {
            Carrier::WebSocket(websocket) => websocket.is_writable(),
            Carrier::Polling { polling, .. } => polling.is_writable(),
        }
    }

    /// Asks the server for a sign of life, which it gives at once if it is there: any event of
    /// [`next`](Self::next) that comes from the server is one. A WebSocket has a question of its own.
    /// Over polling `packet` is written, since the answer to any request shows that the server is
    /// there; it must be one without any effect.
    pub fn provoke(&mut self, packet: EngineIoPacket) {
        match &mut self.carrier {
            Carrier::WebSocket(websocket) => websocket.provoke(),
            Carrier::Polling { polling, .. } => polling.queue(packet),
        }
    }

    /// Waits for what happens next, and writes what is queued meanwhile. Safe to cancel: nothing is
    /// lost in either direction by dropping the future.
    ///
    /// There is no time limit but those of an upgrade: over polling a server may leave a request
    /// unanswered for as long as the heartbeat allows, so the heartbeat decides.
    ///
    /// # Errors
    ///
    /// Why the session ended, a close packet of the server included; it is of no more use then.
    pub async fn next(&mut self) -> Result<EngineEvent, TransportError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Writes what is queued and tells the server that the session is over. Dropping the future closes
    /// the streams all the same.
    ///
    /// # Errors
    ///
    /// Every [`TransportError`] of the attempt to say so.
    pub async fn close(self) -> Result<(), TransportError> {
        match self.carrier {
            Carrier::WebSocket(websocket) => websocket.close().await,
            Carrier::Polling { polling, .. } => polling.close().await,
        }
    }

    pub(in crate::signaling) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<EngineEvent, TransportError>> {
        let event = self.poll_carrier(context)?;
        let count = self.meter.read();
        if event.is_pending() && count != self.told {
            self.told = count;
            return Poll::Ready(Ok(EngineEvent::Progress));
        }
        event.map(Ok)
    }

    fn poll_carrier(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<EngineEvent, TransportError>> {
        let inbound = match &mut self.carrier {
            Carrier::WebSocket(websocket) => ready!(websocket.poll_next(context))?,
            Carrier::Polling { polling, prober } => match (polling.poll_next(context)?, prober) {
                (Poll::Ready(inbound), _) => inbound,
                (Poll::Pending, None) => return Poll::Pending,
                (Poll::Pending, Some(prober)) => {
                    let outcome = ready!(prober.poll_upgraded(context, polling));
                    return Poll::Ready(Ok(self.on_probed(outcome)));
                }
            },
        };
        Poll::Ready(match inbound {
            Inbound::Packet(EngineIoPacket::Close) => Err(TransportError::Closed {
                how: "engine.io close packet".into(),
            }),
            Inbound::Packet(packet) => Ok(EngineEvent::Packet(packet)),
            Inbound::SignOfLife => Ok(EngineEvent::SignOfLife),
        })
    }

    fn on_probed(&mut self, outcome: Result<WebSocketTransport, ConnectError>) -> EngineEvent {
        match outcome {
            Err(error) => EngineEvent::UpgradeFailed { error },
            Ok(mut websocket) => {
                if let Carrier::Polling { polling, .. } = &mut self.carrier {
                    for packet in polling.take_unsent() {
                        websocket.queue(packet);
                    }
                }
                self.carrier = Carrier::WebSocket(Box::new(websocket));
                let to = TransportKind::WebSocket;
                EngineEvent::Upgraded { to }
            }
        }
    }
}

/// The attempt to open a session over one transport.
struct Attempt<'a> {
    dialer: &'a Dialer,
    options: &'a EngineOptions,
    transport: TransportKind,
    /// The transports that were tried before.
    has_failed: Vec<TransportKind>,
}

impl Attempt<'_> {
    /// `patience` counts from the moment that TCP is up.
    async fn run(
        self,
        patience: Option<Duration>,
        phase: &mut ConnectPhase,
    ) -> Result<(Engine, OpenPacket), ConnectError> {
        let stream = self.dialer.connect(phase).await?;
        match patience {
            None => self.open(stream, phase).await,
            Some(limit) => match timeout(limit, self.open(stream, phase)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ConnectError::TimedOut {
                    phase: *phase,
                    limit,
                }),
            },
        }
    }

    async fn open(
        &self,
        stream: Box<dyn ByteStream>,
        phase: &mut ConnectPhase,
    ) -> Result<(Engine, OpenPacket), ConnectError> {
        *phase = ConnectPhase::Tls;
        let network = |source| ConnectError::Network {
            phase: ConnectPhase::Tcp,
            source,
        };
        let address = stream.peer_addr().map_err(network)?;
        let stream = self.dialer.protect(stream).await?;
        let (carrier, open) = match self.transport {
            TransportKind::WebSocket => {
                *phase = ConnectPhase::Http;
                let url = self.options.endpoint.request(self.transport, None)?;
                let mut websocket = WebSocketTransport::open(stream, url).await?;
                *phase = ConnectPhase::Open;
                let open = open_packet(&mut websocket).await?;
                (Carrier::WebSocket(Box::new(websocket)), open)
            }
            TransportKind::Polling => {
                let dialer = self.dialer.clone();
                let endpoint = &self.options.endpoint;
                let (polling, open) =
                    PollingTransport::open(stream, dialer, address, endpoint, phase).await?;
                let polling = Box::new(polling);
                let prober = self.prober(address, &open)?;
                (Carrier::Polling { polling, prober }, open)
            }
        };
        let meter = self.dialer.meter();
        let told = meter.read();
        let engine = Engine {
            carrier,
            meter,
            told,
        };
        Ok((engine, open))
    }

    /// Where a polling session may move: to a WebSocket, if that is configured and the server offers it.
    fn prober(
        &self,
        address: SocketAddr,
        open: &OpenPacket,
    ) -> Result<Option<Box<Prober>>, ConnectError> {
        let to = TransportKind::WebSocket;
        let is_offered = open.upgrades.iter().any(|name| *name == to.to_string());
        if !is_offered || !self.options.transports.contains(&to) {
            return Ok(None);
        }
        let again_after = self.options.probe_again_after;
        let first_after = if self.has_failed.contains(&to) {
            again_after
        } else {
            Duration::ZERO
        };
        let url = self.options.endpoint.request(to, Some(&open.sid))?;
        let dialer = self.dialer.clone();
        let prober = Prober::new(dialer, address, url, first_after, again_after);
        Ok(Some(Box::new(prober)))
    }
}

async fn open_packet(websocket: &mut WebSocketTransport) -> Result<OpenPacket, ConnectError> {
    let phase = ConnectPhase::Open;
    loop {
        let inbound = poll_fn(|context| websocket.poll_next(context)).await;
        match inbound.map_err(|source| ConnectError::Transport { phase, source })? {
            Inbound::Packet(EngineIoPacket::Open(open)) => return Ok(open),
            Inbound::Packet(other) => {
                let found = other.name();
                return Err(ConnectError::OutOfTurn { phase, found });
            }
            Inbound::SignOfLife => {}
        }
    }
}
