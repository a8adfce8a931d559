//! One connection to the server: a transport with its heartbeat, in one joined namespace.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::engine_io::{EngineIoPacket, Heartbeat};
use super::socket_io::{Namespace, SocketIoBody, SocketIoPacket};
use super::transport::engine::{Engine, EngineEvent, EngineOptions};
use super::transport::{ConnectError, ConnectPhase, TransportError};
use crate::config::SignalingConfig;
use crate::net::Net;

/// The most events that are kept before the reply to CONNECT; a server has reason to send one or two.
const EARLY_EVENTS_MAX: usize = 64;

/// A joined namespace. Dropping it closes the stream under it.
#[derive(Debug)]
pub struct Connection {
    engine: Engine,
    heartbeat: Heartbeat,
    /// Events that arrived before the reply to CONNECT.
    early: VecDeque<SocketIoBody>,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum DisconnectReason {
    /// Nothing arrived for the server's ping interval plus ping timeout.
    #[error("ping timeout")]
    PingTimeout,
    /// The server left the namespace: it wants this client gone.
    #[error("the server disconnected this client")]
    ServerDisconnect,
    /// The transport closed, broke, or carried something that cannot be read.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl Connection {
    /// Connects, and joins the root namespace with `auth`, all within `config.timeout`. An attempt
    /// that fails closes its stream before this returns.
    ///
    /// # Errors
    ///
    /// Every [`ConnectError`]; [`ConnectError::TimedOut`] names the step that ran out of time.
    pub async fn establish(
        net: Arc<dyn Net>,
        config: &SignalingConfig,
        auth: Map<String, Value>,
    ) -> Result<Self, ConnectError> {
        let options = EngineOptions::from_config(config)?;
        let limit = config.timeout;
        let phase = ConnectPhase::Namespace;
        let deadline = Instant::now() + limit;
        let (engine, open) = Engine::open(net, &options).await?;
        let mut connection = Self {
            engine,
            heartbeat: Heartbeat::new(&open, Instant::now()),
            early: VecDeque::new(),
        };
        timeout_at(deadline, connection.join(auth))
            .await
            .unwrap_or(Err(ConnectError::TimedOut { phase, limit }))?;
        Ok(connection)
    }

    /// Queues what shall be said; it is written while [`next`](Self::next) is polled.
    pub fn queue(&mut self, body: SocketIoBody) {
        let packet = SocketIoPacket::root(body);
        self.engine.queue(EngineIoPacket::Message(packet.encode()));
    }

    /// Whether the server has been silent for too long, which a process that was suspended can find
    /// before its timer fires.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.heartbeat.is_expired(now)
    }

    /// Waits for the next packet of the namespace, answers pings and writes what is queued. Safe to
    /// cancel.
    ///
    /// # Errors
    ///
    /// Why the connection ended; it is of no more use then.
    pub async fn next(&mut self) -> Result<SocketIoBody, DisconnectReason> {
        if let Some(body) = self.early.pop_front() {
            return Ok(body);
        }
        match self.receive().await? {
            SocketIoBody::Disconnect => Err(DisconnectReason::ServerDisconnect),
            body => Ok(body),
        }
    }

    /// Leaves the namespace and closes the WebSocket.
    ///
    /// # Errors
    ///
    /// [`TransportError::Broken`]; the stream is closed all the same.
    pub async fn close(mut self) -> Result<(), TransportError> {
        self.queue(SocketIoBody::Disconnect);
        self.engine.close().await
    }

    /// Sends CONNECT and waits for the reply. Nothing else is said before it: servers close a
    /// connection that sends events to a namespace it has not joined.
    async fn join(&mut self, auth: Map<String, Value>) -> Result<(), ConnectError> {
        let phase = ConnectPhase::Namespace;
        self.queue(SocketIoBody::Connect {
            payload: Some(auth),
        });
        loop {
            match self.receive().await {
                Ok(SocketIoBody::Connect { payload }) => {
                    return match payload {
                        Some(payload) if payload.contains_key("sid") => Ok(()),
                        _ => Err(ConnectError::OldProtocol),
                    };
                }
                Ok(SocketIoBody::ConnectError(refusal)) => {
                    return Err(ConnectError::Refused(refusal));
                }
                Ok(event @ SocketIoBody::Event { .. }) if self.early.len() < EARLY_EVENTS_MAX => {
                    self.early.push_back(event);
                }
                Ok(other) => {
                    let found = format!("{other:?}");
                    return Err(ConnectError::OutOfTurn { phase, found });
                }
                Err(DisconnectReason::Transport(source)) => {
                    return Err(ConnectError::Transport { phase, source });
                }
                Err(DisconnectReason::ServerDisconnect | DisconnectReason::PingTimeout) => {
                    let source = io::ErrorKind::TimedOut.into();
                    return Err(ConnectError::Network { phase, source });
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<SocketIoBody, DisconnectReason> {
        loop {
            let event = select! {
                biased;
                // A deadline that has passed counts even where packets wait to be read: after a
                // suspension they are old, and the server has given this client up.
                () = sleep_until(self.heartbeat.deadline()) => {
                    return Err(DisconnectReason::PingTimeout);
                }
                event = self.engine.next() => event?,
            };
            let packet = match event {
                EngineEvent::Packet(packet) => packet,
                other => {
                    tracing::debug!(event = ?other, "session");
                    continue;
                }
            };
            self.heartbeat.on_packet(Instant::now());
            match packet {
                EngineIoPacket::Ping(payload) => {
                    self.engine.queue(EngineIoPacket::Pong(payload));
                }
                EngineIoPacket::Message(text) => {
                    let packet = SocketIoPacket::parse(&text).map_err(TransportError::from)?;
                    if packet.namespace == Namespace::root() {
                        return Ok(packet.body);
                    }
                    tracing::debug!(namespace = packet.namespace.as_str(), "not joined");
                }
                other => tracing::debug!(packet = ?other, "skipped"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TransportKind;
    use crate::signaling::memory_net::{MemoryNet, serve_relay, settings};
    use crate::signaling::relay::RelayConfig;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    const SERVER: SocketAddr =
        SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)), 80);

    fn auth() -> Map<String, Value> {
        Map::from_iter([("user".into(), "anna".into())])
    }

    fn websocket_only() -> SignalingConfig {
        SignalingConfig {
            transports: vec![TransportKind::WebSocket],
            ..settings()
        }
    }

    /// The step in which an attempt against this network runs out of time.
    async fn stalled_phase(net: &MemoryNet) -> ConnectPhase {
        let start = Instant::now();
        match Connection::establish(Arc::new(net.clone()), &websocket_only(), auth()).await {
            Err(ConnectError::TimedOut { phase, limit }) => {
                assert_eq!(limit, Duration::from_secs(30));
                assert_eq!(start.elapsed().as_secs(), 30);
                phase
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_step_that_ran_out_of_time_is_named_and_its_stream_closed() {
        let net = MemoryNet::default();
        net.name("relay.example", &[SERVER.ip()]);
        net.stall(SERVER.ip());
        assert_eq!(stalled_phase(&net).await, ConnectPhase::Tcp);

        let net = MemoryNet::default();
        net.name("relay.example", &[SERVER.ip()]);
        let listener = net.listen_stream(SERVER).await.expect("free address");
        let (phase, request) = tokio::join!(stalled_phase(&net), async {
            let (mut stream, _) = listener.accept().await.expect("open listener");
            let mut request = String::new();
            stream.read_to_string(&mut request).await.expect("text");
            request
        });
        assert_eq!(phase, ConnectPhase::Http);
        assert!(
            request.starts_with("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"),
            "{request}"
        );

        for (says, expected) in [
            (None, ConnectPhase::Open),
            (
                Some(r#"0{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#),
                ConnectPhase::Namespace,
            ),
        ] {
            let (phase, ()) = tokio::join!(stalled_phase(&net), async {
                let (stream, _) = listener.accept().await.expect("open listener");
                let socket = tokio_tungstenite::accept_async(stream).await;
                let mut socket = socket.expect("a websocket client");
                if let Some(text) = says {
                    use futures_util::SinkExt;
                    socket.send(text.into()).await.expect("open");
                }
                tokio::time::sleep(Duration::from_secs(31)).await;
            });
            assert_eq!(phase, expected);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(net.live(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_packets_leaves_time_for_the_next() {
        let net = MemoryNet::default();
        let _relay = serve_relay(&net, RelayConfig::default()).await;
        let dead = [198, 51, 100, 1].into();
        net.name("relay.example", &[dead, SERVER.ip()]);
        net.stall(dead);
        let start = Instant::now();
        let joined = Connection::establish(Arc::new(net), &settings(), auth()).await;
        assert!(joined.is_ok(), "{joined:?}");
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_name_is_an_error_of_its_own_step() {
        let joined =
            Connection::establish(Arc::new(MemoryNet::default()), &settings(), auth()).await;
        assert!(matches!(
            joined,
            Err(ConnectError::Network {
                phase: ConnectPhase::Resolve,
                ..
            })
        ));
    }
}
