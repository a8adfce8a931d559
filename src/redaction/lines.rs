//! No line that a call leaves in the log says an address, a candidate or a credential, at any level.

use std::fmt::{self, Write as _};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::scrubbed;
use crate::audio::track::OpusTrack;
use crate::candidates::is_ice_char;
use crate::client::{CallClient, ClientEvent};
use crate::config::{ClientConfig, Credentials, IceServer, SignalingConfig};
use crate::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};
use crate::peer::cable::{Cable, SERVER};
use crate::signaling::client::{Identity, SignalingClient, SignalingEvent};
use crate::signaling::memory_net::{MemoryNet, serve_relay};
use crate::signaling::message::{CallId, CallMessage, Envelope, TrickledCandidate};
use crate::signaling::relay::RelayConfig;

const VOICE: &[u8] = include_bytes!("../../fixtures/tone-low.opus");

/// Nobody may read these: what proves a user to the signaling server, in its two ways, the ICE password
/// of a bad offer, and the password of a TURN server that does not answer.
const SECRETS: [&str; 4] = [
    "token-7c1d5b",
    "query-0be61f",
    "IcePasswordOfTheOffer3",
    "turn-9a42e0",
];

/// What shows that a description or a candidate was quoted.
const QUOTED: [&str; 5] = ["ice-pwd:", "a=ice", "v=0", "candidate:1", " typ "];

/// Every field of every line and span of ours.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes all");
    }
}

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, Line(line): Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ringtrue")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut line = Line::default();
        attributes.record(&mut line);
        self.keep(line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line::default();
        values.record(&mut line);
        self.keep(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.keep(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Datagrams over a cable, streams in memory.
#[derive(Debug)]
struct Everything {
    datagrams: Arc<dyn Net>,
    streams: MemoryNet,
}

#[async_trait]
impl Net for Everything {
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        class: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        self.datagrams.bind_datagram(local, class).await
    }

    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        self.streams.connect_stream(remote).await
    }

    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        self.streams.listen_stream(local).await
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self.streams.resolve(host).await {
            Ok(found) => Ok(found),
            Err(_) => self.datagrams.resolve(host).await,
        }
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        self.datagrams.interfaces()
    }
}

/// What all clients reach.
struct Scene {
    cable: Cable,
    streams: MemoryNet,
}

impl Scene {
    fn net(&self, address: &str) -> Arc<dyn Net> {
        Arc::new(Everything {
            datagrams: self.cable.host(&[address]),
            streams: self.streams.clone(),
        })
    }

    fn client(
        &self,
        name: &str,
        address: &str,
    ) -> (CallClient, mpsc::UnboundedReceiver<ClientEvent>) {
        let mut config = ClientConfig {
            signaling: signaling(),
            ..ClientConfig::default()
        };
        config.ice.servers = servers();
        let voice = OpusTrack::parse(VOICE).expect("the fixture is a track");
        CallClient::start(self.net(address), config, identity(name), voice)
    }
}

fn identity(name: &str) -> Identity {
    Identity {
        name: name.into(),
        token: SECRETS[0].into(),
    }
}

fn signaling() -> SignalingConfig {
    SignalingConfig {
        url: format!("http://203.0.113.1:80?token={}", SECRETS[1]),
        ..SignalingConfig::default()
    }
}

/// One server that works, and one for each thing that can be wrong with a server.
fn servers() -> Vec<IceServer> {
    let credentials = |password: &str| {
        Some(Credentials {
            username: "user".into(),
            password: password.into(),
        })
    };
    [
        (format!("turn:{SERVER}"), credentials("password")),
        ("turn:198.51.100.7".into(), credentials(SECRETS[3])),
        (
            "turn:198.51.100.7?transport=tcp".into(),
            credentials(SECRETS[3]),
        ),
        ("turn:198.51.100.8".into(), None),
        ("turns:198.51.100.9".into(), credentials(SECRETS[3])),
        (format!("turn:user:{}@198.51.100.9:x", SECRETS[3]), None),
        ("stun:nowhere.example".into(), None),
    ]
    .into_iter()
    .map(|(url, credentials)| IceServer { url, credentials })
    .collect()
}

/// Waits for an event that is `wanted`.
async fn until(
    events: &mut mpsc::UnboundedReceiver<ClientEvent>,
    wanted: impl Fn(&ClientEvent) -> bool,
) -> ClientEvent {
    let waiting = async {
        loop {
            let event = events.recv().await.expect("a living client");
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(Duration::from_mins(2), waiting)
        .await
        .expect("the event comes within 2 min")
}

fn is_connected(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::SignalingConnected)
}

fn is_audio(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::AudioConnected { .. })
}

/// A call with everything that logs: strangers, bad servers, a lost connection, its end.
async fn a_call() {
    let scene = Scene {
        cable: Cable::default(),
        streams: MemoryNet::default(),
    };
    scene.cable.name_server(&["192.0.2.99"]);
    let server = scene.cable.serve(&["192.0.2.99"], "192.0.2.98").await;
    let _relay = serve_relay(&scene.streams, RelayConfig::default()).await;
    let (anna, mut at_anna) = scene.client("anna", "192.0.2.1");
    let (boris, mut at_boris) = scene.client("boris", "192.0.2.2");
    until(&mut at_anna, is_connected).await;
    until(&mut at_boris, is_connected).await;
    a_stranger(&scene).await;

    let call = anna.call("boris").await.expect("not in a call");
    until(&mut at_boris, |event| {
        matches!(event, ClientEvent::Incoming { .. })
    })
    .await;
    // His candidates overtake his answer.
    sleep(Duration::from_secs(1)).await;
    boris.answer(&call).await.expect("it rings");
    until(&mut at_anna, is_audio).await;
    until(&mut at_boris, is_audio).await;
    scene.streams.cut_all();
    until(&mut at_anna, is_connected).await;
    anna.hang_up(&call).await.expect("it is not over");
    until(&mut at_boris, |event| {
        matches!(event, ClientEvent::Ended { .. })
    })
    .await;
    anna.flushed().await;
    boris.flushed().await;
    server.close().await.expect("the server runs");
}

/// Somebody who sends what cannot be read.
async fn a_stranger(scene: &Scene) {
    let net = scene.net("192.0.2.66");
    let (mallory, mut events) = SignalingClient::start(net, signaling(), identity("mallory"));
    while !matches!(events.recv().await, Some(SignalingEvent::Connected)) {}
    let candidate = |text: &str| {
        CallMessage::Candidate(TrickledCandidate {
            candidate: text.into(),
            sdp_mid: "0".into(),
            username_fragment: "abcd".into(),
        })
    };
    let password = SECRETS[2];
    let bodies = [
        candidate("candidate:1 1 udp 1 198.51.100.66 99999 typ host"),
        candidate("candidate:1 1 udp 198.51.100.66 9 typ host"),
        candidate("candidate:1 1 udp 1 198.51.100.66 9 typ host"),
        CallMessage::offer(format!(
            "v=0\r\no=- 1 1 IN IP4 198.51.100.66\r\na=ice-pwd:{password}\r\nnonsense"
        )),
        CallMessage::offer(format!("v=0 198.51.100.66 {password}")),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        // A refused offer ends its call.
        let call = CallId(format!("stranger{number}"));
        let sent = mallory.send(Envelope {
            from: String::new(),
            to: "boris".into(),
            call,
            body,
        });
        sent.await.expect("boris is there");
    }
    mallory.close().await;
}

/// Whether a word could be a password that was drawn for this very call: those of ICE have 22 characters
/// at the least (RFC 8839 section 5.4), keys of SRTP more in any spelling but that of names, which are
/// hexadecimal.
fn is_like_a_password(word: &str) -> bool {
    word.len() >= 22 && !word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[track_caller]
fn check_line(line: &str) {
    assert_eq!(line, scrubbed(line).to_string(), "an address is in it");
    let mut words = line.split(|symbol: char| !symbol.is_ascii() || !is_ice_char(symbol as u8));
    let password = words.find(|word| is_like_a_password(word));
    assert_eq!(password, None, "it is in {line}");
    for forbidden in SECRETS
        .iter()
        .chain(&QUOTED)
        .chain(&["\"password\"", "198.51.100", "192.0.2"])
    {
        assert!(!line.contains(forbidden), "{forbidden:?} is in {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_line_of_a_call_says_an_address_or_a_credential() {
    // A line that another thread, which nobody listens to, is the first to say at the very moment of
    // listening could stay unheard, so each is said once before.
    a_call().await;
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(lines.clone());
    a_call().await;
    drop(guard);

    let lines = lines.take();
    for line in &lines {
        check_line(line);
    }
    for wanted in [
        "✅ AUDIO CONNECTION ESTABLISHED",
        "🧊 Processing ",
        "✅ Added remote ICE candidate candidate=udp host [address]",
        "🔌 WebSocket connecting url=http://[address]:80?[query]",
        "remote candidate refused",
        "offer makes no sense",
        "ICE server skipped",
        "TURN over TCP ended",
        "its name does not resolve",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(wanted)),
            "{wanted:?} is not among {lines:#?}"
        );
    }
}
