//! A transparent HTTP proxy, as it stands in companies and schools: it passes requests and answers,
//! long-polling among them, and no upgrade.
//!
//! It forwards each request to where its client wanted to go, without the fields that are meant for
//! one hop only (RFC 9110 section 7.6.1). `Connection` and `Upgrade` are two of these, so a server
//! never learns that a WebSocket was asked for. Some servers answer the rest of such a request with
//! an error. Ours answers 101 on the strength of `Sec-WebSocket-Key`, which the proxy did not ask
//! for and reports as a bad gateway (RFC 9110 section 15.6.3).

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringtrue::net::{ByteStream, Net};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a connection to a server may take to come up.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// The fields that are meant for one hop, beside those that `Connection` names (RFC 9110 section
/// 7.6.1).
const ONE_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Says where a client wanted to go, by the address at which the proxy sees it; `None` where it was
/// not sent here by a redirection.
pub type OriginalDestination = Arc<dyn Fn(SocketAddr) -> Option<SocketAddr> + Send + Sync>;

/// Serves the proxy on `local` until the future is dropped; `ready` is called with the address that
/// it listens on.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(
    net: Arc<dyn Net>,
    local: SocketAddr,
    original_destination: OriginalDestination,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    let listener = net.listen_stream(local).await?;
    ready(listener.local_addr()?);
    loop {
        let (stream, seen_as) = listener.accept().await?;
        let Some(server) = original_destination(seen_as) else {
            tracing::debug!(client = %seen_as, "nobody was redirected to the proxy from there");
            continue;
        };
        tokio::spawn(serve_stream(Arc::clone(&net), stream, server));
    }
}

async fn serve_stream(net: Arc<dyn Net>, stream: Box<dyn ByteStream>, server: SocketAddr) {
    let upstream = Arc::new(Upstream {
        net,
        server,
        idle: Mutex::default(),
    });
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { Ok::<_, Infallible>(upstream.relay(request).await) }
    });
    let outcome = server::Builder::new()
        .timer(TokioTimer::new())
        // It would be read from the operating system's clock.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = outcome {
        tracing::debug!(%server, %error, "connection through the proxy ended");
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

/// The proxy's own way to the server of one client connection.
struct Upstream {
    net: Arc<dyn Net>,
    server: SocketAddr,
    /// The connection of the request before, to be used again.
    idle: Mutex<Option<client::SendRequest<Incoming>>>,
}

/// Why a request got no answer from its server.
#[derive(Debug, Error)]
enum RelayError {
    #[error("no connection to the server within {CONNECT_LIMIT:?}")]
    TooLate,
    #[error("no connection to the server: {0}")]
    NotConnected(io::Error),
    #[error("the server's answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the server changes to a protocol that nobody asked it for")]
    Unasked,
}

impl Upstream {
    /// The server's answer, or the proxy's own where there is none.
    async fn relay(&self, request: Request<Incoming>) -> Response<Body> {
        match self.forward(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(server = %self.server, %error, "request not passed on");
                let text = Bytes::from(format!("{error}\n"));
                let body = Full::new(text).map_err(|never: Infallible| match never {});
                let mut response = Response::new(body.boxed());
                *response.status_mut() = error.status();
                response
            }
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, RelayError> {
        keep_end_to_end(request.headers_mut());
        let mut sender = self.connection().await?;
        let mut response = sender.send_request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(RelayError::Unasked);
        }
        *self.idle.lock().await = Some(sender);
        keep_end_to_end(response.headers_mut());
        Ok(response.map(BodyExt::boxed))
    }

    async fn connection(&self) -> Result<client::SendRequest<Incoming>, RelayError> {
        if let Some(mut sender) = self.idle.lock().await.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = timeout(CONNECT_LIMIT, self.net.connect_stream(self.server))
            .await
            .map_err(|_| RelayError::TooLate)?
            .map_err(RelayError::NotConnected)?;
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        let server = self.server;
        // It ends with the sender, or with the server.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%server, %error, "the proxy's connection ended");
            }
        });
        Ok(sender)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl RelayError {
    /// What the client is told (RFC 9110 section 15.6).
    const fn status(&self) -> StatusCode {
        match self {
            Self::TooLate => StatusCode::GATEWAY_TIMEOUT,
            Self::NotConnected(_) | Self::Broken(_) | Self::Unasked => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Leaves the fields that are meant for the other end, and says who passed them on (RFC 9110 section
/// 7.6.3).
fn keep_end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&ONE_HOP) {
        headers.remove(name);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 proxy"));
}

#[cfg(test)]
mod tests {
    use ringtrue::net::StreamListener;
    use ringtrue::net::tokio::TokioNet;
    use ringtrue::signaling::relay::{Relay, RelayConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;
    use crate::server::{probe, signaling};

    /// A relay on loopback, and a proxy to which its clients are redirected.
    async fn relay_and_proxy() -> (SocketAddr, SocketAddr) {
        let net: Arc<dyn Net> = Arc::new(TokioNet::loopback_only());
        let relay = Relay::new(RelayConfig::default());
        let (sender, address) = oneshot::channel();
        tokio::spawn(signaling::run(
            Arc::clone(&net),
            probe::ANY_LOOPBACK,
            relay,
            move |address| sender.send(address).expect("the test waits"),
        ));
        let server = address.await.expect("loopback has a free port");
        (server, proxy_before(net, Some(server)).await)
    }

    async fn proxy_before(net: Arc<dyn Net>, server: Option<SocketAddr>) -> SocketAddr {
        let (sender, address) = oneshot::channel();
        tokio::spawn(run(
            net,
            probe::ANY_LOOPBACK,
            Arc::new(move |_| server),
            move |address| sender.send(address).expect("the test waits"),
        ));
        address.await.expect("loopback has a free port")
    }

    #[tokio::test]
    async fn long_polling_passes() {
        let (_, proxy) = relay_and_proxy().await;
        let answer = probe::get(proxy, "/socket.io/?EIO=4&transport=polling").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("via: 1.1 proxy\r\n"), "{answer}");
        // The open packet of Engine.IO.
        assert!(answer.contains("0{\"sid\":"), "{answer}");
    }

    #[tokio::test]
    async fn a_poll_waits_for_what_its_post_brings() {
        let (_, proxy) = relay_and_proxy().await;
        let path = "/socket.io/?EIO=4&transport=polling";
        let opened = probe::get(proxy, path).await;
        let id = opened.split("\"sid\":\"").nth(1).expect("a session");
        let id = id.split('"').next().expect("the end of its id");
        let session = format!("{path}&sid={id}");
        let connect = "40{\"user\":\"anna\",\"token\":\"secret\"}";
        // The namespace is joined when such a packet comes; a ping may come before it.
        let joined = async {
            loop {
                let polled = probe::get(proxy, &session).await;
                assert!(polled.starts_with("HTTP/1.1 200 OK\r\n"), "{polled}");
                if polled.contains("40{\"sid\":") {
                    break;
                }
            }
        };
        let ((), posted) = tokio::join!(joined, probe::post(proxy, &session, connect));
        assert!(posted.starts_with("HTTP/1.1 200 OK\r\n"), "{posted}");
    }

    #[tokio::test]
    async fn a_websocket_comes_up_without_the_proxy_only() {
        let (server, proxy) = relay_and_proxy().await;
        probe::check_websocket(server).await;
        probe::check_no_websocket(proxy, StatusCode::BAD_GATEWAY).await;
    }

    /// Accepts one connection and reads the head of its first request.
    async fn accept_request(listener: &dyn StreamListener) -> (Box<dyn ByteStream>, String) {
        let (mut stream, _) = listener.accept().await.expect("the proxy connects");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("more of the request"));
        }
        (stream, String::from_utf8(head).expect("a request in text"))
    }

    #[tokio::test]
    async fn no_upgrade_reaches_the_server() {
        let net: Arc<dyn Net> = Arc::new(TokioNet::loopback_only());
        let listener = net.listen_stream(probe::ANY_LOOPBACK).await;
        let listener = listener.expect("loopback has a free port");
        let server = listener.local_addr().expect("bound");
        let proxy = proxy_before(net, Some(server)).await;
        let refuse = async {
            let (mut stream, head) = accept_request(&*listener).await;
            let head = head.to_ascii_lowercase();
            assert!(!head.contains("\r\nupgrade:"), "{head}");
            assert!(!head.contains("\r\nconnection:"), "{head}");
            assert!(head.contains("\r\nsec-websocket-key:"), "{head}");
            let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(refusal).await.expect("the proxy listens");
            stream
        };
        // Servers that look for the upgrade itself answer in this way.
        let refused = probe::check_no_websocket(proxy, StatusCode::BAD_REQUEST);
        tokio::join!(refuse, refused);
    }

    #[tokio::test]
    async fn an_answer_is_passed_on_while_it_is_written() {
        let net: Arc<dyn Net> = Arc::new(TokioNet::loopback_only());
        let listener = net.listen_stream(probe::ANY_LOOPBACK).await;
        let listener = listener.expect("loopback has a free port");
        let server = listener.local_addr().expect("bound");
        let proxy = proxy_before(Arc::clone(&net), Some(server)).await;
        let client = net.connect_stream(proxy).await;
        let mut client = client.expect("the proxy listens");
        let request = b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n";
        client.write_all(request).await.expect("the proxy reads");
        let (mut stream, _) = accept_request(&*listener).await;
        let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(begin).await.expect("the proxy reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"first") {
            answer.push(client.read_u8().await.expect("the first part"));
        }
        let end = b"4\r\nlast\r\n0\r\n\r\n";
        stream.write_all(end).await.expect("the proxy reads");
        while !answer.ends_with(b"last") {
            answer.push(client.read_u8().await.expect("the last part"));
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_bad_gateway() {
        let net: Arc<dyn Net> = Arc::new(TokioNet::loopback_only());
        let listener = net.listen_stream(probe::ANY_LOOPBACK).await;
        let closed = listener.expect("loopback").local_addr().expect("bound");
        let proxy = proxy_before(net, Some(closed)).await;
        let answer = probe::get(proxy, "/").await;
        assert!(
            answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn whoever_was_not_redirected_is_not_served() {
        let net = Arc::new(TokioNet::loopback_only());
        let proxy = proxy_before(net, None).await;
        assert_eq!(probe::get(proxy, "/").await, "");
    }

    #[test]
    fn only_what_is_meant_for_the_other_end_is_passed_on() {
        let field = |name: &str, value: &str| {
            let name: HeaderName = name.parse().expect("a field name");
            (name, HeaderValue::from_str(value).expect("a field value"))
        };
        let mut headers: HeaderMap = [
            field("host", "relay.example"),
            field("connection", "close, X-Hop"),
            field("upgrade", "websocket"),
            field("x-hop", "1"),
            field("keep-alive", "timeout=5"),
            field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        .into_iter()
        .collect();
        keep_end_to_end(&mut headers);
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "sec-websocket-key", "via"]);
    }
}
