//! Accepts streams and serves them.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use socketioxide::socket::Sid;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Relay;
use super::health::{HEALTH_PATH, health, unavailable};
use super::hub::{Hub, Phase};
use super::streams::{GuardedStream, StreamId};
use crate::net::tls::TlsAcceptor;
use crate::net::{ByteStream, StreamListener};
use crate::redaction;

/// How long a TLS handshake may take.
const TLS_LIMIT: Duration = Duration::from_secs(10);

/// How long nothing is accepted after accepting has failed, as it does where no file descriptor is
/// free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often in a row accepting may fail before the listener is given up.
const ACCEPT_FAILURES_MAX: u32 = 50;

/// Serves every connection of `listener`, each in a task of its own, until the relay is shut down or
/// the listener fails for good. Dropping the future stops accepting and leaves open connections
/// alone.
///
/// # Errors
///
/// What the listener answers when it can accept no more.
pub async fn serve(relay: Relay, listener: Box<dyn StreamListener>) -> io::Result<()> {
    accept(relay, listener, None).await
}

/// The same for connections that are protected by TLS.
///
/// # Errors
///
/// What the listener answers when it can accept no more. A handshake that fails ends its own
/// connection.
pub async fn serve_tls(
    relay: Relay,
    listener: Box<dyn StreamListener>,
    tls: TlsAcceptor,
) -> io::Result<()> {
    accept(relay, listener, Some(tls)).await
}

async fn accept(
    relay: Relay,
    listener: Box<dyn StreamListener>,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    let hub = relay.hub;
    let mut phase = hub.phase.subscribe();
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut phase, Phase::Closed) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                failures += 1;
                if failures == ACCEPT_FAILURES_MAX {
                    return Err(error);
                }
                tracing::warn!(%error, "signaling connection not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failures = 0;
        tracing::debug!(remote = %redaction::address(remote), "signaling connection accepted");
        let room = if hub.streams.count() < hub.config.connections_max {
            Room::Free
        } else {
            Room::None
        };
        let stream = hub.streams.guard(stream);
        tokio::spawn(serve_stream(Arc::clone(&hub), stream, tls.clone(), room));
    }
}

/// Waits until the relay's life has come so far.
async fn reached(phase: &mut watch::Receiver<Phase>, until: Phase) {
    // The sender lives as long as the hub, which the waiting tasks hold.
    let _ = phase.wait_for(|phase| *phase >= until).await;
}

/// Whether there is room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    None,
}

async fn serve_stream(hub: Arc<Hub>, stream: GuardedStream, tls: Option<TlsAcceptor>, room: Room) {
    let id = stream.id();
    let stream: Box<dyn ByteStream> = match tls {
        None => Box::new(stream),
        Some(tls) => match timeout(TLS_LIMIT, tls.accept(Box::new(stream))).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "signaling connection without tls");
                return;
            }
            Err(_) => {
                tracing::debug!(limit = ?TLS_LIMIT, "tls handshake given up");
                return;
            }
        },
    };
    let mut phase = hub.phase.subscribe();
    let is_draining = !hub.is_serving();
    let service = StreamService {
        hub,
        stream: id,
        room,
    };
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // It would be read from the operating system's clock.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        // A connection that comes while the relay drains is to hear so, and not to be closed at once.
        () = reached(&mut phase, Phase::Draining), if !is_draining => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "signaling connection ended");
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers the requests of one stream.
struct StreamService {
    hub: Arc<Hub>,
    stream: StreamId,
    room: Room,
}

impl Service<Request<Incoming>> for StreamService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let hub = &self.hub;
        let own = if request.uri().path() == HEALTH_PATH {
            health(hub, request.method())
        } else if self.room == Room::None || !hub.is_serving() {
            unavailable()
        } else {
            if let Some(query) = request.uri().query() {
                match session_of(query) {
                    Some(session) => hub.streams.carry(self.stream, session),
                    None => hub.streams.carry_handshake(self.stream),
                }
            }
            // By it the session that is opened finds its stream.
            request.extensions_mut().insert(self.stream);
            let answered = hub.service.call(request);
            return Box::pin(async move { Ok(answered.await?.map(BodyExt::boxed_unsync)) });
        };
        Box::pin(async move { Ok(own.map(BodyExt::boxed_unsync)) })
    }
}

/// The session that a request belongs to.
fn session_of(query: &str) -> Option<Sid> {
    let mut fields = query.split('&');
    let id = fields.find_map(|field| field.strip_prefix("sid="))?;
    id.parse().ok()
}
