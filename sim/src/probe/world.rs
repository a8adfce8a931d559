//! A world for one NAT: a probing host behind it, and a STUN server with two addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue::net::Net;
use tracing::error;

use super::{Classification, ProbeConfig, ProbeError, classify};
use crate::determinism::{Capture, Plugs, has_panicked, run_on_own_thread};
use crate::net::link::LinkPair;
use crate::net::nat::NatConfig;
use crate::net::topology::{Families, HostId, NetworkConfig, Topology};
use crate::seed::Seed;
use crate::server::stun::{self, Corners};
use crate::trace::Recorder;
use crate::world::World;
use crate::world::host::Names;

/// Between each host and the next node. The world's step is as long as two of these, and most of a
/// probe is waiting: with a way that is long, twenty minutes of it are few steps.
const DELAY: Duration = Duration::from_millis(500);

/// The two ports of a STUN server (RFC 8489 section 18.6, and the next one).
const PORTS: [u16; 2] = [3478, 3479];

/// No NAT takes longer to classify.
const PATIENCE: Duration = Duration::from_hours(2);

/// Classifies the NAT with this configuration in a world of its own, where nothing is lost.
///
/// # Errors
///
/// [`ProbeError`] where the NAT lets the probe do nothing at all.
///
/// # Panics
///
/// Never: the thread of a run is fresh.
pub fn classify_nat(config: &NatConfig, seed: Seed) -> Result<Classification, ProbeError> {
    run_on_own_thread("probe", || in_world(config, seed))?
}

fn in_world(config: &NatConfig, seed: Seed) -> Result<Classification, ProbeError> {
    let capture = Capture::enter(seed, Plugs::all()).expect("the thread of a run is fresh");
    let mut topology = Topology::new();
    let link = || LinkPair::from(DELAY);
    let home = NetworkConfig {
        nat: Some(config.clone()),
        uplink: LinkPair::from(Duration::from_millis(1)),
        ..NetworkConfig::default()
    };
    let home = topology.add_network("home", home)?;
    let client = topology.add_host("client", home, link())?;
    let servers = [
        topology.add_server("stun-1", link(), Families::V4)?,
        topology.add_server("stun-2", link(), Families::V4)?,
    ];
    let mut world = World::new(capture, Recorder::new(Vec::new()), topology, Names::new());
    world.lengthen_steps(DELAY * 2);

    let corners = Corners {
        addresses: servers.map(|server| address(&world, server)),
        ports: PORTS,
    };
    let nets = servers.map(|server| world.net(server) as Arc<dyn Net>);
    world.domain(servers[0]).spawn(async move {
        if let Err(cause) = stun::run(nets, corners).await {
            error!(%cause, "the STUN server stopped");
        }
    });
    let outcome = Arc::new(Mutex::new(None));
    let (net, local) = (world.net(client), address(&world, client));
    let server = SocketAddr::new(corners.addresses[0], corners.ports[0]);
    let found = Arc::clone(&outcome);
    world.domain(client).spawn(async move {
        let config = ProbeConfig {
            retransmission_timeout: DELAY * 6,
            requests_max: 2,
            ..ProbeConfig::default()
        };
        let result = classify(net, local, server, config).await;
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    loop {
        if let Some(result) = outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            return result;
        }
        if has_panicked() || world.now() > PATIENCE {
            return Err(ProbeError::Endless(world.now()));
        }
        world.step();
    }
}

/// The only address of a host.
fn address(world: &World, host: HostId) -> IpAddr {
    let mut addresses = world.addresses(host);
    addresses.next().expect("every host has an address")
}
