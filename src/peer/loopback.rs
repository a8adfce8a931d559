//! Two peers on real sockets of this host, without servers.

#![expect(
    clippy::disallowed_methods,
    reason = "a network of real sockets for the tests of this module"
)]

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::config::{ConnConfig, ServerConfig};

use super::cable::OneUser;
use super::sdp::{Fingerprint, SessionDescription};
use super::*;
use crate::candidates::{CandidateAttribute, CandidateType};
use crate::config::{Credentials, IceConfig, IceServer, MediaConfig};
use crate::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};

/// Nothing but UDP on 127.0.0.1, and two names: one there, one that never answers.
#[derive(Debug)]
struct Loopback;

const LIVE: &str = "live.example";
const DEAD: &str = "dead.example";

#[derive(Debug)]
struct LoopbackSocket(UdpSocket);

#[async_trait]
impl Net for Loopback {
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        _: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        Ok(Arc::new(LoopbackSocket(UdpSocket::bind(local).await?)))
    }

    async fn connect_stream(&self, _: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn listen_stream(&self, _: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            LIVE => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            DEAD => std::future::pending().await,
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        Ok(vec![Interface {
            name: "lo".into(),
            address: Ipv4Addr::LOCALHOST.into(),
        }])
    }
}

#[async_trait]
impl DatagramSocket for LoopbackSocket {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        self.0.send_to(payload, remote).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

pub(super) struct Side {
    pub(super) connection: PeerConnection,
    pub(super) events: mpsc::UnboundedReceiver<PeerEvent>,
}

fn side(role: IceRole, ice: IceConfig) -> Side {
    side_on(Arc::new(Loopback), role, ice)
}

pub(super) fn side_on(net: Arc<dyn Net>, role: IceRole, ice: IceConfig) -> Side {
    let identity = MediaIdentity::generate().expect("a certificate can be made");
    let (connection, events) =
        PeerConnection::new(net, ice, &MediaConfig::default(), role, identity);
    Side { connection, events }
}

/// The default configuration without servers.
pub(super) fn ice() -> IceConfig {
    IceConfig {
        servers: Vec::new(),
        ..IceConfig::default()
    }
}

/// The description as it arrives at the other side: through its text.
pub(super) fn through_text(description: &SessionDescription) -> SessionDescription {
    description.to_string().parse().expect("own text is valid")
}

/// Exchanges descriptions and starts both sides.
pub(super) fn introduce(offerer: &Side, answerer: &Side, tamper: impl Fn(&mut SessionDescription)) {
    let offer = offerer.connection.local_description().expect("an offer");
    answerer
        .connection
        .set_remote(through_text(&offer))
        .expect("a valid offer");
    let answer = answerer.connection.local_description().expect("an answer");
    let mut answer = through_text(&answer);
    tamper(&mut answer);
    offerer
        .connection
        .set_remote(answer)
        .expect("a valid answer");
    for side in [offerer, answerer] {
        side.connection.start_gathering();
        side.connection.start().expect("both descriptions are set");
    }
}

/// Trickles candidates both ways until `enough` holds for both sides' events.
pub(super) async fn run_until(
    offerer: &mut Side,
    answerer: &mut Side,
    enough: impl Fn(&[PeerEvent]) -> bool,
) -> [Vec<PeerEvent>; 2] {
    let mut seen = [Vec::new(), Vec::new()];
    let work = async {
        while !seen.iter().all(|events| enough(events)) {
            let (index, event) = tokio::select! {
                biased;
                Some(event) = offerer.events.recv() => (0, event),
                Some(event) = answerer.events.recv() => (1, event),
            };
            if let PeerEvent::LocalCandidate(candidate) = &event {
                let other = if index == 0 { &answerer } else { &offerer };
                other
                    .connection
                    .add_remote_candidate(candidate)
                    .expect("a candidate of the announced generation");
            }
            seen[index].push(event);
        }
    };
    timeout(Duration::from_secs(5), work)
        .await
        .expect("finished within 5 s");
    seen
}

pub(super) fn audio(sequence_number: u16, payload: u8) -> AudioPacket {
    AudioPacket {
        sequence_number,
        timestamp: u32::from(sequence_number) * 960,
        marker: Marker::Continuation,
        payload: Bytes::from(vec![payload; 80]),
    }
}

#[tokio::test]
async fn two_peers_hear_each_other() {
    let mut offerer = side(IceRole::Controlling, ice());
    let mut answerer = side(IceRole::Controlled, ice());
    assert_eq!(
        offerer.connection.send_audio(audio(0, 0)),
        Err(PeerError::NotConnected)
    );
    introduce(&offerer, &answerer, |_| {});
    let connected = |events: &[PeerEvent]| events.contains(&PeerEvent::DtlsConnected);
    let seen = run_until(&mut offerer, &mut answerer, connected).await;
    for events in &seen {
        assert!(events.iter().any(|event| matches!(
            event,
            PeerEvent::Selected { local: CandidateType::Host, local_address, .. }
                if local_address.ip().is_loopback()
        )));
    }

    for sequence_number in 0..30 {
        for (side, payload) in [(&offerer, 1), (&answerer, 2)] {
            side.connection
                .send_audio(audio(sequence_number, payload))
                .expect("connected");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let heard = |events: &[PeerEvent]| -> BTreeSet<(u16, u8)> {
        let audio = events.iter().filter_map(|event| match event {
            PeerEvent::Audio(packet) => Some((packet.sequence_number, packet.payload[0])),
            _ => None,
        });
        audio.collect()
    };
    let all_heard = |events: &[PeerEvent]| heard(events).len() == 30;
    let [at_offerer, at_answerer] = run_until(&mut offerer, &mut answerer, all_heard).await;
    assert!(heard(&at_offerer).iter().all(|(_, payload)| *payload == 2));
    assert!(heard(&at_answerer).iter().all(|(_, payload)| *payload == 1));

    offerer.connection.close().await;
    let told = async {
        while let Some(event) = answerer.events.recv().await {
            if event == PeerEvent::ClosedByPeer {
                return;
            }
        }
    };
    timeout(Duration::from_secs(1), told)
        .await
        .expect("the other side is told");
    answerer.connection.close().await;
}

#[tokio::test]
async fn a_peer_with_another_certificate_is_refused() {
    let mut offerer = side(IceRole::Controlling, ice());
    let mut answerer = side(IceRole::Controlled, ice());
    let wrong = Fingerprint([7; 32]);
    introduce(&offerer, &answerer, |answer| answer.fingerprint = wrong);
    let failed = |events: &[PeerEvent]| {
        events
            .iter()
            .any(|event| matches!(event, PeerEvent::Failed(_)))
    };
    let [at_offerer, _] = run_until(&mut offerer, &mut answerer, failed).await;
    assert!(at_offerer.iter().any(|event| matches!(
        event,
        PeerEvent::Failed(PeerFailure::FingerprintMismatch { announced, .. })
            if *announced == wrong
    )));
    offerer.connection.close().await;
    answerer.connection.close().await;
}

#[tokio::test]
async fn a_peer_without_candidates_is_unreachable_and_the_cause_says_so() {
    let impatient = IceConfig {
        receiving_timeout: Duration::from_millis(200),
        failed_timeout: Duration::from_millis(200),
        ..ice()
    };
    let mut offerer = side(IceRole::Controlling, impatient.clone());
    let answerer = side(IceRole::Controlled, impatient);
    introduce(&offerer, &answerer, |_| {});
    let failure = async {
        loop {
            if let Some(PeerEvent::Failed(failure)) = offerer.events.recv().await {
                return failure;
            }
        }
    };
    let failure = timeout(Duration::from_secs(5), failure)
        .await
        .expect("failed within 5 s");
    assert_eq!(
        failure.to_string(),
        "no candidate pair worked: local host; remote none"
    );
}

#[tokio::test]
async fn candidates_of_another_generation_are_refused() {
    let offerer = side(IceRole::Controlling, ice());
    let answerer = side(IceRole::Controlled, ice());
    introduce(&offerer, &answerer, |_| {});
    let foreign = crate::signaling::message::TrickledCandidate {
        candidate: "candidate:1 1 udp 1 192.0.2.1 5000 typ host".into(),
        sdp_mid: "0".into(),
        username_fragment: "other".into(),
    };
    assert!(matches!(
        offerer.connection.add_remote_candidate(&foreign),
        Err(PeerError::WrongGeneration { given, .. }) if given == "other"
    ));
}

#[tokio::test]
async fn closing_or_dropping_leaves_nothing_behind() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let tasks_before = metrics.num_alive_tasks();
    let net = Arc::new(Loopback);
    let mut offerer = side_on(net.clone(), IceRole::Controlling, ice());
    let mut answerer = side_on(net.clone(), IceRole::Controlled, ice());
    introduce(&offerer, &answerer, |_| {});
    let connected = |events: &[PeerEvent]| events.contains(&PeerEvent::DtlsConnected);
    run_until(&mut offerer, &mut answerer, connected).await;
    // One side says goodbye, the other is dropped.
    offerer.connection.close().await;
    drop((offerer, answerer));
    let ended = async {
        while metrics.num_alive_tasks() > tasks_before || Arc::strong_count(&net) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = timeout(Duration::from_secs(3), ended).await;
    assert!(
        outcome.is_ok(),
        "{} tasks and {} uses of the network are left",
        metrics.num_alive_tasks() - tasks_before,
        Arc::strong_count(&net) - 1
    );
}

/// A STUN and TURN server on loopback, and its port.
async fn turn_server() -> (turn::server::Server, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    let relay = RelayAddressGeneratorStatic {
        relay_address: Ipv4Addr::LOCALHOST.into(),
        address: "127.0.0.1".into(),
        net: Arc::new(webrtc_util::vnet::net::Net::new(None)),
    };
    let server = turn::server::Server::new(ServerConfig {
        conn_configs: vec![ConnConfig {
            conn: Arc::new(socket),
            relay_addr_generator: Box::new(relay),
        }],
        realm: "ringtrue.example".into(),
        auth_handler: Arc::new(OneUser),
        channel_bind_timeout: Duration::ZERO,
        alloc_close_notify: None,
    })
    .await
    .expect("a valid configuration");
    (server, port)
}

async fn allocations(server: &turn::server::Server) -> usize {
    server
        .get_allocations_info(None)
        .await
        .expect("the server runs")
        .len()
}

#[tokio::test]
async fn servers_are_found_beside_a_dead_name_and_allocations_are_released() {
    let (server, port) = turn_server().await;
    let with_servers = IceConfig {
        servers: vec![
            IceServer {
                url: format!("stun:{DEAD}:{port}"),
                credentials: None,
            },
            IceServer {
                url: format!("turn:{LIVE}:{port}"),
                credentials: Some(Credentials {
                    username: "user".into(),
                    password: "password".into(),
                }),
            },
        ],
        ..IceConfig::default()
    };
    let mut offerer = side(IceRole::Controlling, with_servers);
    offerer.connection.start_gathering();
    let mut kinds = BTreeSet::new();
    let gathering = async {
        while kinds.len() < 3 {
            if let Some(PeerEvent::LocalCandidate(candidate)) = offerer.events.recv().await {
                let attribute: CandidateAttribute =
                    candidate.candidate.parse().expect("own candidate is valid");
                assert_eq!(attribute.address, "127.0.0.1");
                kinds.insert(attribute.kind);
            }
        }
    };
    timeout(Duration::from_secs(2), gathering)
        .await
        .expect("all kinds are found while one name still hangs");
    assert_eq!(allocations(&server).await, 1);

    offerer.connection.close().await;
    let released = async {
        while allocations(&server).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(1), released)
        .await
        .expect("the allocation is released");
    server.close().await.expect("the server runs");
}
