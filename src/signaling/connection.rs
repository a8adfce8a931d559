//! One connection to the server: a transport with its heartbeat, in one joined namespace.

use std::collections::VecDeque;
use std::io;

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::endpoint::Endpoint;
use super::engine_io::{EngineIoPacket, Heartbeat};
use super::socket_io::{Namespace, SocketIoBody, SocketIoPacket};
use super::transport::{
    ConnectError, ConnectPhase, TransportError, WebSocketTransport, select_transport,
};
use crate::config::SignalingConfig;
use crate::net::Net;

/// The most events that are kept before the reply to CONNECT; a server has reason to send one or two.
const EARLY_EVENTS_MAX: usize = 64;

/// A joined namespace. Dropping it closes the stream under it.
#[derive(Debug)]
pub struct Connection {
    transport: WebSocketTransport,
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
        net: &dyn Net,
        config: &SignalingConfig,
        auth: Map<String, Value>,
    ) -> Result<Self, ConnectError> {
        select_transport(&config.transports)?;
        let endpoint = Endpoint::from_config(config)?;
        let limit = config.timeout;
        let deadline = Instant::now() + limit;
        let mut phase = ConnectPhase::Resolve;
        let attempt = async {
            let (transport, open) =
                WebSocketTransport::open(net, &endpoint, deadline, &mut phase).await?;
            phase = ConnectPhase::Namespace;
            let mut connection = Self {
                transport,
                heartbeat: Heartbeat::new(&open, Instant::now()),
                early: VecDeque::new(),
            };
            connection.join(auth).await?;
            Ok(connection)
        };
        let outcome = timeout_at(deadline, attempt).await;
        outcome.unwrap_or(Err(ConnectError::TimedOut { phase, limit }))
    }

    /// Queues what shall be said; it is written while [`next`](Self::next) is polled.
    pub fn queue(&mut self, body: SocketIoBody) {
        let packet = SocketIoPacket::root(body);
        self.transport
            .queue(EngineIoPacket::Message(packet.encode()));
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
        self.transport.close().await
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
            let packet = select! {
                biased;
                // A deadline that has passed counts even where packets wait to be read: after a
                // suspension they are old, and the server has given this client up.
                () = sleep_until(self.heartbeat.deadline()) => {
                    return Err(DisconnectReason::PingTimeout);
                }
                packet = self.transport.next() => packet?,
            };
            self.heartbeat.on_packet(Instant::now());
            match packet {
                EngineIoPacket::Ping(payload) => {
                    self.transport.queue(EngineIoPacket::Pong(payload));
                }
                EngineIoPacket::Message(text) => {
                    let packet = SocketIoPacket::parse(&text).map_err(TransportError::from)?;
                    if packet.namespace == Namespace::root() {
                        return Ok(packet.body);
                    }
                    tracing::debug!(namespace = packet.namespace.as_str(), "not joined");
                }
                EngineIoPacket::Close => {
                    let how = "engine.io close packet".into();
                    return Err(TransportError::Closed { how }.into());
                }
                other => tracing::debug!(packet = ?other, "skipped"),
            }
        }
    }
}
