//! Two hundred clients of one relay, which restarts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue::config::SignalingConfig;
use ringtrue::net::Net;
use ringtrue::signaling::relay::{Relay, RelayConfig};
use ringtrue::signaling::socket::{SocketEvent, SocketIo, SocketOptions};
use ringtrue_sim::determinism::{Capture, Plugs, run_on_own_thread};
use ringtrue_sim::net::link::LinkPair;
use ringtrue_sim::net::topology::{Families, HostId, NetworkConfig, Topology};
use ringtrue_sim::seed::Seed;
use ringtrue_sim::server::signaling;
use ringtrue_sim::trace::digest::Chain;
use ringtrue_sim::trace::{Event, EventKind, Observer, Recorder};
use ringtrue_sim::world::host::Names;
use ringtrue_sim::world::{Machine, World};
use serde_json::json;

const CLIENTS: usize = 200;
const HOST: &str = "relay.example";
const PORT: u16 = 80;
/// Between each host and the core; the world's step is two of these.
const DELAY: Duration = Duration::from_millis(50);

/// When each connection to the relay was dialled: the first SYN of each.
#[derive(Clone, Default)]
struct Dials(Arc<Mutex<Vec<Duration>>>);

impl Dials {
    fn after(&self, moment: Duration) -> Vec<Duration> {
        let dials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after: Vec<_> = dials.iter().copied().filter(|at| *at >= moment).collect();
        after.sort_unstable();
        after
    }
}

impl Observer for Dials {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        const SYN: u8 = 1;
        if let EventKind::PacketSent(packet) = &event.kind
            && packet.tcp.flags == SYN
        {
            let mut dials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            dials.push(event.at);
        }
    }
}

fn serve(world: &mut World, host: HostId, address: SocketAddr) {
    let net: Arc<dyn Net> = world.net(host);
    let relay = Relay::new(RelayConfig::default());
    world.domain(host).spawn(async move {
        let served = signaling::run(net, address, relay, |_| {}).await;
        served.expect("the address is free");
    });
}

/// A client that stays connected, and counts itself while it is.
async fn stay(net: Arc<dyn Net>, number: usize, connected: Arc<AtomicUsize>) {
    let auth =
        json!({"user": format!("user-{number}"), "token": "t", "device": format!("{number}")});
    let options = SocketOptions {
        signaling: SignalingConfig::default(),
        auth: auth.as_object().expect("an object").clone(),
        ..SocketOptions::default()
    };
    let url = format!("http://{HOST}");
    let (socket, mut events) = SocketIo::new(net)
        .socket(&url, options)
        .expect("a good url");
    socket.connect();
    while let Some(event) = events.recv().await {
        match event {
            SocketEvent::Connected { .. } => connected.fetch_add(1, Ordering::Relaxed),
            SocketEvent::Disconnected { .. } => connected.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

fn run_until(world: &mut World, moment: Duration) {
    while world.now() < moment {
        world.step();
    }
}

/// The dials after the relay went away, and how long after its return all clients were connected.
fn restart(seed: u64, away: Duration) -> (Vec<Duration>, Option<Duration>) {
    let dials = Dials::default();
    let capture = Capture::enter(Seed::new(seed), Plugs::all()).expect("a fresh thread");
    let mut topology = Topology::new();
    let mut machines = Vec::new();
    let link = || LinkPair::from(DELAY);
    for network in ["north", "south"] {
        let id = topology
            .add_network(network, NetworkConfig::default())
            .expect("room");
        for number in 0..CLIENTS / 2 {
            let name = format!("{network}-{number}");
            let host = topology.add_host(&name, id, link()).expect("room");
            machines.push(Machine {
                name,
                interfaces: vec![host],
            });
        }
    }
    let relay = topology
        .add_server(HOST, link(), Families::V4)
        .expect("room");
    let clients: Vec<HostId> = machines
        .iter()
        .map(|machine| machine.interfaces[0])
        .collect();
    machines.push(Machine {
        name: HOST.to_owned(),
        interfaces: vec![relay],
    });
    let addresses = topology.addresses(relay).to_vec();
    let address = SocketAddr::new(addresses[0], PORT);
    let names = Names::from([(HOST.to_owned(), addresses)]);
    let recorder = Recorder::new(vec![Box::new(dials.clone())]);
    let mut world = World::with_machines(capture, recorder, topology, names, &machines);
    world.lengthen_steps(DELAY * 2);
    serve(&mut world, relay, address);
    let connected = Arc::new(AtomicUsize::new(0));
    for (number, client) in clients.iter().enumerate() {
        let staying = stay(world.net(*client), number, Arc::clone(&connected));
        world.domain(*client).spawn(staying);
    }
    run_until(&mut world, Duration::from_secs(20));
    assert_eq!(
        connected.load(Ordering::Relaxed),
        CLIENTS,
        "before the restart"
    );

    let gone = world.now();
    world.kill(relay);
    run_until(&mut world, gone + away);
    serve(&mut world, relay, address);
    let back = world.now();
    let mut all_at = None;
    while world.now() < back + Duration::from_secs(90) && all_at.is_none() {
        world.step();
        let is_up = connected.load(Ordering::Relaxed) == CLIENTS;
        all_at = (is_up && world.now() > gone + Duration::from_secs(1)).then(|| world.now() - back);
    }
    for client in &clients {
        world.kill(*client);
    }
    let until = world.now() + Duration::from_secs(1);
    run_until(&mut world, until);
    (dials.after(gone), all_at)
}

/// How many of these moments are in the fullest 100 ms.
fn fullest(moments: &[Duration]) -> usize {
    let window = Duration::from_millis(100);
    let counts = moments.iter().enumerate().map(|(index, from)| {
        let later = moments[index..].iter();
        later.take_while(|at| **at < *from + window).count()
    });
    counts.max().unwrap_or_default()
}

#[track_caller]
fn check_spread(away: Duration) {
    for seed in 1..=2 {
        let ended = run_on_own_thread("herd", || restart(seed, away));
        let (dials, all_at) = ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(dials.len() >= CLIENTS, "seed {seed}: {} dials", dials.len());
        let most = fullest(&dials);
        assert!(most * 5 <= CLIENTS, "seed {seed}: {most} dials in 100 ms");
        let all_at = all_at.expect("all come back");
        assert!(all_at <= Duration::from_secs(12), "seed {seed}: {all_at:?}");
    }
}

#[test]
fn two_hundred_clients_of_a_relay_that_restarts_come_back_spread_out() {
    check_spread(Duration::from_secs(1));
}

#[test]
fn they_are_spread_out_after_a_long_outage_too() {
    check_spread(Duration::from_mins(1));
}
