//! Clients that try the servers of this module on real loopback sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use ringtrue::config::{SignalingConfig, TransportKind};
use ringtrue::net::Net as _;
use ringtrue::net::tokio::TokioNet;
use ringtrue::signaling::client::{Identity, SignalingClient, SignalingEvent, SocketConnectError};
use ringtrue::signaling::transport::ConnectError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Any free port of the loopback address.
pub(super) const ANY_LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The whole answer to a GET request.
pub(super) async fn get(server: SocketAddr, path: &str) -> String {
    ask(server, "GET", path, "").await
}

/// The whole answer to a POST request.
pub(super) async fn post(server: SocketAddr, path: &str, body: &str) -> String {
    ask(server, "POST", path, body).await
}

/// Starts the production client against `server` and checks that it joins.
pub(super) async fn check_websocket(server: SocketAddr) {
    let event = first_events::<1>(server).await;
    assert!(matches!(event, [SignalingEvent::Connected]), "{event:?}");
}

/// Starts the production client, with no other transport to fall back to, against `server` and checks
/// that its attempt fails with `status` and is to be repeated after a wait. What a network does to a client is no error of its own, so
/// nothing may be logged as one.
pub(super) async fn check_no_websocket(server: SocketAddr, status: StatusCode) {
    let errors = ErrorSeen::default();
    let subscriber = tracing_subscriber::registry().with(errors.clone());
    let logs = tracing::subscriber::set_default(subscriber);
    let [failed, then] = first_events::<2>(server).await;
    drop(logs);
    assert!(!errors.0.load(Ordering::Relaxed), "an error was logged");
    let SignalingEvent::ConnectFailed { error } = failed else {
        panic!("{failed:?}");
    };
    assert!(!error.is_final(), "{error}");
    let SocketConnectError::Attempt(error) = error else {
        panic!("{error:?}");
    };
    let ConnectError::HttpUpgrade(cause) = &*error else {
        panic!("{error:?}");
    };
    let tungstenite::Error::Http(answer) = &**cause else {
        panic!("{cause:?}");
    };
    assert_eq!(answer.status(), status);
    let is_repeated = matches!(&then, SignalingEvent::Reconnecting { attempt: 1, .. });
    assert!(is_repeated, "{then:?}");
}

/// Notes whether anything is logged as an error.
#[derive(Clone, Default)]
struct ErrorSeen(Arc<AtomicBool>);

impl<S: Subscriber> Layer<S> for ErrorSeen {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

async fn first_events<const COUNT: usize>(server: SocketAddr) -> [SignalingEvent; COUNT] {
    let config = SignalingConfig {
        url: format!("http://{server}"),
        transports: vec![TransportKind::WebSocket],
        ..SignalingConfig::default()
    };
    let identity = Identity {
        name: "anna".into(),
        token: "secret".into(),
    };
    let net = Arc::new(TokioNet::loopback_only());
    let (client, mut events) = SignalingClient::start(net, config, identity);
    let mut first = Vec::new();
    while first.len() < COUNT {
        first.push(events.recv().await.expect("another event"));
    }
    client.close().await;
    first.try_into().expect("as many as were counted")
}

async fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let net = TokioNet::loopback_only();
    let mut stream = net.connect_stream(server).await.expect("a listener");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: relay.example\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    // Whoever is not served may find the connection reset, which answers the question as well.
    if sent.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    String::from_utf8(answer).expect("an answer in text")
}
