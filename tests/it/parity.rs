//! One suite of checks that every [`Net`] has to pass.
//!
//! A check has two halves, one for each host, since on some networks a socket works only in the
//! futures of its own host. The halves tell each other their addresses beside the network.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringtrue::net::tokio::TokioNet;
use ringtrue::net::{ByteStream, DatagramSocket, Net, StreamListener, TrafficClass};
use ringtrue_sim::determinism::{Capture, Plugs, has_panicked, run_on_own_thread};
use ringtrue_sim::net::{LinkPair, NetworkConfig, Topology};
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::Recorder;
use ringtrue_sim::world::World;
use ringtrue_sim::world::host::Names;
use ringtrue_sim::world::turmoil::TurmoilNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A behaviour of [`Net`] and the two halves that check it.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) left: Half,
    pub(crate) right: Half,
}

/// What one host does in a check. It panics where the network does not do what it should.
pub(crate) type Half = fn(Arc<dyn Net>, Partner) -> BoxFuture;

pub(crate) type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The way to the other half of a check that does not use the network under test.
pub(crate) struct Partner {
    sender: UnboundedSender<SocketAddr>,
    receiver: UnboundedReceiver<SocketAddr>,
}

impl Partner {
    /// The two ends for the two halves of one check.
    pub(crate) fn pair() -> (Self, Self) {
        let (to_right, from_left) = unbounded_channel();
        let (to_left, from_right) = unbounded_channel();
        (
            Self {
                sender: to_right,
                receiver: from_right,
            },
            Self {
                sender: to_left,
                receiver: from_left,
            },
        )
    }

    /// Tells an address. The other half may have finished.
    fn tell(&self, address: SocketAddr) {
        let _ = self.sender.send(address);
    }

    /// Waits for an address that the other half tells.
    async fn hear(&mut self) -> SocketAddr {
        self.receiver
            .recv()
            .await
            .expect("the other half tells its address")
    }

    /// Waits until the other half has finished.
    async fn finished(mut self) {
        while self.receiver.recv().await.is_some() {}
    }
}

/// Gives a row of the table from the names of the two functions.
macro_rules! checks {
    ($($name:ident: $left:ident, $right:ident;)*) => {
        &[$(Check {
            name: stringify!($name),
            left: |net, partner| Box::pin($left(net, partner)),
            right: |net, partner| Box::pin($right(net, partner)),
        }),*]
    };
}

/// The whole suite.
pub(crate) const CHECKS: &[Check] = checks! {
    datagrams_are_answered_to_their_source: echo_one_datagram, expect_datagram_echo;
    datagrams_keep_their_boundaries: receive_three_datagrams, send_three_datagrams;
    a_datagram_too_long_for_the_buffer_is_cut: receive_cut_datagram, send_long_datagram;
    port_zero_binds_a_free_port: bind_free_ports, do_nothing;
    a_port_is_bound_once: bind_one_port_twice, do_nothing;
    a_dropped_socket_frees_its_port: bind_again_after_drop, do_nothing;
    a_foreign_address_cannot_be_bound: bind_foreign_address, do_nothing;
    streams_carry_bytes_both_ways: echo_stream, expect_stream_echo;
    both_ends_of_a_stream_agree_on_addresses: accept_and_compare, connect_and_compare;
    a_shut_down_stream_still_receives: answer_after_end, end_then_receive;
    a_dropped_stream_ends_for_the_other: accept_and_drop, expect_end;
    a_closed_port_refuses_streams: close_port, expect_refusal;
    a_literal_resolves_to_itself: resolve_literals, do_nothing;
    an_unknown_name_is_not_found: resolve_unknown_name, do_nothing;
    interfaces_can_be_bound: bind_every_interface, do_nothing;
};

/// How long a check may take. On paused or simulated clocks this is virtual time.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_host_of_the_world_passes_the_suite() {
    for check in CHECKS {
        let run = || {
            let capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
            let mut topology = Topology::new();
            let network = topology
                .add_network("lan", NetworkConfig::default())
                .expect("the first network");
            let [left, right] = ["left", "right"].map(|name| {
                topology
                    .add_host(name, network, LinkPair::default())
                    .expect("one of two hosts")
            });
            let recorder = Recorder::new(Vec::new());
            let mut world = World::new(capture, recorder, topology, Names::new());
            let finished = Arc::new(AtomicUsize::new(0));
            let partners = Partner::pair();
            for (host, half, partner) in [
                (left, check.left, partners.0),
                (right, check.right, partners.1),
            ] {
                let half = half(world.net(host), partner);
                let finished = Arc::clone(&finished);
                world.domain(host).spawn(async move {
                    half.await;
                    finished.fetch_add(1, Ordering::SeqCst);
                });
            }
            while finished.load(Ordering::SeqCst) < 2 {
                assert!(world.now() < LIMIT, "it takes longer than {LIMIT:?}");
                assert!(!has_panicked(), "a half has failed");
                world.step();
            }
        };
        if let Err(error) = run_on_own_thread(check.name, run) {
            panic!("{error}");
        }
    }
}

#[tokio::test]
async fn tokio_net_passes_the_suite() {
    for check in CHECKS {
        let net: Arc<dyn Net> = Arc::new(TokioNet::loopback_only());
        let (left, right) = Partner::pair();
        let halves = async {
            tokio::join!(
                (check.left)(Arc::clone(&net), left),
                (check.right)(net, right)
            )
        };
        let outcome = tokio::time::timeout(LIMIT, halves).await;
        assert!(
            outcome.is_ok(),
            "{} takes longer than {LIMIT:?}",
            check.name
        );
    }
}

#[test]
fn turmoil_net_passes_the_suite() {
    for check in CHECKS {
        let mut simulation = turmoil::Builder::new()
            .simulation_duration(LIMIT)
            .rng_seed(1)
            .build();
        let (left, right) = Partner::pair();
        for (host, half, partner) in [("left", check.left, left), ("right", check.right, right)] {
            simulation.client(host, async move {
                half(Arc::new(TurmoilNet::new(turmoil::lookup(host))), partner).await;
                Ok(())
            });
        }
        simulation
            .run()
            .unwrap_or_else(|error| panic!("{}: {error}", check.name));
    }
}

/// The second half of checks that need one host only.
async fn do_nothing(_net: Arc<dyn Net>, partner: Partner) {
    partner.finished().await;
}

async fn echo_one_datagram(net: Arc<dyn Net>, partner: Partner) {
    let socket = bind(&*net).await;
    partner.tell(local_addr(&*socket));
    let (payload, source) = receive(&*socket, 100).await;
    socket
        .send_to(&payload, source)
        .await
        .expect("the source can be answered");
    partner.finished().await;
}

async fn expect_datagram_echo(net: Arc<dyn Net>, mut partner: Partner) {
    let remote = partner.hear().await;
    let socket = bind(&*net).await;
    let sent = socket
        .send_to(b"echo", remote)
        .await
        .expect("a datagram can be sent");
    assert_eq!(sent, 4);
    assert_eq!(receive(&*socket, 100).await, (b"echo".to_vec(), remote));
}

async fn receive_three_datagrams(net: Arc<dyn Net>, partner: Partner) {
    let socket = bind(&*net).await;
    partner.tell(local_addr(&*socket));
    let mut payloads = Vec::new();
    for _ in 0..3 {
        payloads.push(receive(&*socket, 2000).await.0);
    }
    // Datagrams may overtake each other.
    payloads.sort_by_key(Vec::len);
    assert_eq!(payloads, [vec![], vec![1; 10], vec![2; 1200]]);
}

async fn send_three_datagrams(net: Arc<dyn Net>, mut partner: Partner) {
    let remote = partner.hear().await;
    let socket = bind(&*net).await;
    for payload in [vec![], vec![1; 10], vec![2; 1200]] {
        let sent = socket
            .send_to(&payload, remote)
            .await
            .expect("a datagram can be sent");
        assert_eq!(sent, payload.len());
    }
    partner.finished().await;
}

async fn receive_cut_datagram(net: Arc<dyn Net>, partner: Partner) {
    let socket = bind(&*net).await;
    partner.tell(local_addr(&*socket));
    for expected in [&b"long"[..], b"next"] {
        assert_eq!(receive(&*socket, 4).await.0, expected);
        partner.tell(local_addr(&*socket));
    }
}

async fn send_long_datagram(net: Arc<dyn Net>, mut partner: Partner) {
    let socket = bind(&*net).await;
    for payload in [&b"longer than four bytes"[..], b"next"] {
        let remote = partner.hear().await;
        socket
            .send_to(payload, remote)
            .await
            .expect("a datagram can be sent");
    }
    partner.finished().await;
}

async fn bind_free_ports(net: Arc<dyn Net>, _partner: Partner) {
    let (first, second) = (bind(&*net).await, bind(&*net).await);
    let (first, second) = (local_addr(&*first), local_addr(&*second));
    assert_ne!(first.port(), 0);
    assert_ne!(first, second);
    assert_eq!(first.ip(), own_address(&*net).ip());
    let listener = listen(&*net).await;
    assert_ne!(listening_at(&*listener).port(), 0);
    assert_eq!(listening_at(&*listener).ip(), first.ip());
}

async fn bind_one_port_twice(net: Arc<dyn Net>, _partner: Partner) {
    let socket = bind(&*net).await;
    let second = net
        .bind_datagram(local_addr(&*socket), TrafficClass::BestEffort)
        .await;
    assert_eq!(error_kind(second), io::ErrorKind::AddrInUse);
    let listener = listen(&*net).await;
    let second = net.listen_stream(listening_at(&*listener)).await;
    assert_eq!(error_kind(second), io::ErrorKind::AddrInUse);
}

async fn bind_again_after_drop(net: Arc<dyn Net>, _partner: Partner) {
    let socket = bind(&*net).await;
    let local = local_addr(&*socket);
    drop(socket);
    net.bind_datagram(local, TrafficClass::ExpeditedForwarding)
        .await
        .expect("the port is free");
    let listener = listen(&*net).await;
    let local = listening_at(&*listener);
    drop(listener);
    net.listen_stream(local).await.expect("the port is free");
}

async fn bind_foreign_address(net: Arc<dyn Net>, _partner: Partner) {
    let foreign = "203.0.113.77:0".parse().expect("a socket address");
    let socket = net.bind_datagram(foreign, TrafficClass::BestEffort).await;
    assert_eq!(error_kind(socket), io::ErrorKind::AddrNotAvailable);
    let listener = net.listen_stream(foreign).await;
    assert_eq!(error_kind(listener), io::ErrorKind::AddrNotAvailable);
}

/// More than fits into the buffers on the way, so that both ends have to wait at times.
const STREAM_BYTES: usize = 300_000;

async fn echo_stream(net: Arc<dyn Net>, partner: Partner) {
    let (mut stream, _) = accept_one(&*net, &partner).await;
    let mut buffer = [0; 1000];
    loop {
        let count = stream.read(&mut buffer).await.expect("the stream is open");
        if count == 0 {
            break;
        }
        stream
            .write_all(&buffer[..count])
            .await
            .expect("the stream is open");
    }
    stream.shutdown().await.expect("the stream is open");
    partner.finished().await;
}

async fn expect_stream_echo(net: Arc<dyn Net>, mut partner: Partner) {
    let stream = connect(&*net, partner.hear().await).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    // The period is prime, so that no lost or repeated buffer goes unnoticed.
    let bytes: Vec<u8> = (0..251).cycle().take(STREAM_BYTES).collect();
    let write = async {
        writer.write_all(&bytes).await.expect("the stream is open");
        writer.shutdown().await.expect("the stream is open");
    };
    let read = async {
        let mut echo = Vec::new();
        reader
            .read_to_end(&mut echo)
            .await
            .expect("the stream is open");
        echo
    };
    let ((), echo) = tokio::join!(write, read);
    assert!(
        echo == bytes,
        "{} of {STREAM_BYTES} bytes came back, or others",
        echo.len()
    );
}

async fn accept_and_compare(net: Arc<dyn Net>, mut partner: Partner) {
    let (stream, accepted_from) = accept_one(&*net, &partner).await;
    let remote = partner.hear().await;
    assert_eq!(accepted_from, remote);
    assert_eq!(stream.peer_addr().expect("the stream is open"), remote);
    partner.tell(stream.local_addr().expect("the stream is open"));
    partner.finished().await;
}

async fn connect_and_compare(net: Arc<dyn Net>, mut partner: Partner) {
    let listening_at = partner.hear().await;
    let stream = connect(&*net, listening_at).await;
    assert_eq!(
        stream.peer_addr().expect("the stream is open"),
        listening_at
    );
    partner.tell(stream.local_addr().expect("the stream is open"));
    assert_eq!(partner.hear().await, listening_at);
}

async fn answer_after_end(net: Arc<dyn Net>, partner: Partner) {
    let (mut stream, _) = accept_one(&*net, &partner).await;
    let mut request = Vec::new();
    stream
        .read_to_end(&mut request)
        .await
        .expect("the stream ends in order");
    assert_eq!(request, b"request");
    stream
        .write_all(b"answer")
        .await
        .expect("this direction is open");
    stream.shutdown().await.expect("this direction is open");
    partner.finished().await;
}

async fn end_then_receive(net: Arc<dyn Net>, mut partner: Partner) {
    let mut stream = connect(&*net, partner.hear().await).await;
    stream
        .write_all(b"request")
        .await
        .expect("the stream is open");
    stream.shutdown().await.expect("the stream is open");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .await
        .expect("the other direction is open");
    assert_eq!(answer, b"answer");
}

async fn accept_and_drop(net: Arc<dyn Net>, partner: Partner) {
    drop(accept_one(&*net, &partner).await);
    partner.finished().await;
}

async fn expect_end(net: Arc<dyn Net>, mut partner: Partner) {
    let mut stream = connect(&*net, partner.hear().await).await;
    match stream.read(&mut [0; 10]).await {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

async fn close_port(net: Arc<dyn Net>, partner: Partner) {
    let listener = listen(&*net).await;
    let address = listening_at(&*listener);
    drop(listener);
    partner.tell(address);
    partner.finished().await;
}

async fn expect_refusal(net: Arc<dyn Net>, mut partner: Partner) {
    let stream = net.connect_stream(partner.hear().await).await;
    assert_eq!(error_kind(stream), io::ErrorKind::ConnectionRefused);
}

async fn resolve_literals(net: Arc<dyn Net>, _partner: Partner) {
    for literal in ["192.0.2.7", "2001:db8::7"] {
        let expected: IpAddr = literal.parse().expect("an address");
        assert_eq!(
            net.resolve(literal)
                .await
                .expect("a literal needs no server"),
            [expected]
        );
    }
}

async fn resolve_unknown_name(net: Arc<dyn Net>, _partner: Partner) {
    // No resolver asks a server for a name with an empty label.
    for name in ["no..such..name", ""] {
        assert_eq!(
            error_kind(net.resolve(name).await),
            io::ErrorKind::NotFound,
            "{name:?}"
        );
    }
}

async fn bind_every_interface(net: Arc<dyn Net>, _partner: Partner) {
    let interfaces = net.interfaces().expect("the host has interfaces");
    assert!(!interfaces.is_empty());
    for interface in interfaces {
        let local = SocketAddr::new(interface.address, 0);
        let socket = net.bind_datagram(local, TrafficClass::BestEffort).await;
        let bound = local_addr(&*socket.expect("an interface's address can be bound"));
        assert_eq!(bound.ip(), interface.address);
    }
}

/// The address to bind to, with port 0.
fn own_address(net: &dyn Net) -> SocketAddr {
    let interfaces = net.interfaces().expect("the host has interfaces");
    SocketAddr::new(
        interfaces.first().expect("the host has interfaces").address,
        0,
    )
}

async fn bind(net: &dyn Net) -> Arc<dyn DatagramSocket> {
    net.bind_datagram(own_address(net), TrafficClass::BestEffort)
        .await
        .expect("a port is free")
}

async fn listen(net: &dyn Net) -> Box<dyn StreamListener> {
    net.listen_stream(own_address(net))
        .await
        .expect("a port is free")
}

async fn connect(net: &dyn Net, remote: SocketAddr) -> Box<dyn ByteStream> {
    net.connect_stream(remote)
        .await
        .expect("somebody listens there")
}

async fn accept_one(net: &dyn Net, partner: &Partner) -> (Box<dyn ByteStream>, SocketAddr) {
    let listener = listen(net).await;
    partner.tell(listening_at(&*listener));
    listener.accept().await.expect("the listener is open")
}

async fn receive(socket: &dyn DatagramSocket, buffer_bytes: usize) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; buffer_bytes];
    let (count, source) = socket
        .recv_from(&mut buffer)
        .await
        .expect("the socket is open");
    buffer.truncate(count);
    (buffer, source)
}

fn local_addr(socket: &dyn DatagramSocket) -> SocketAddr {
    socket.local_addr().expect("the socket is open")
}

fn listening_at(listener: &dyn StreamListener) -> SocketAddr {
    listener.local_addr().expect("the listener is open")
}

#[track_caller]
fn error_kind<T>(result: io::Result<T>) -> io::ErrorKind {
    match result {
        Ok(_) => panic!("this has to fail"),
        Err(error) => error.kind(),
    }
}
