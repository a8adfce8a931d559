//! The middleboxes of a scenario that are hosts themselves: captive portals and proxies.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue::net::Net;
use tracing::error;

use super::World;
use super::device::Lookup;
use crate::determinism;
use crate::net::fabric::{Interception, Others};
use crate::net::redirect::Redirect;
use crate::net::topology::{HostId, NetworkId, Topology, TopologyError};
use crate::scenario::model::{Network, ProxyKind};
use crate::server::proxy::OriginalDestination;
use crate::server::{portal, proxy};

/// The port that portals and proxies listen on.
const PORT: u16 = 80;

/// The boxes of a world, each in the network whose hosts it gets in the way of.
#[derive(Debug, Default)]
pub struct Boxes {
    all: Vec<Interceptor>,
}

#[derive(Debug)]
struct Interceptor {
    network: NetworkId,
    host: HostId,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Proxy,
    Portal {
        /// When everybody is let through; `None` once that has happened.
        until: Option<Duration>,
    },
}

impl Boxes {
    /// Adds the box of a network, where it has one.
    pub(super) fn add_to(
        &mut self,
        topology: &mut Topology,
        id: NetworkId,
        name: &str,
        network: &Network,
    ) -> Result<(), TopologyError> {
        let (kind, what) = match (network.proxy, network.portal) {
            (Some(ProxyKind::BreaksWebSocket), _) => (Kind::Proxy, "proxy"),
            (None, Some(portal)) => {
                let until = Some(portal.until);
                (Kind::Portal { until }, "portal")
            }
            (None, None) => return Ok(()),
        };
        let host = topology.add_host(&format!("{what} of {name}"), id, network.lan)?;
        self.all.push(Interceptor {
            network: id,
            host,
            kind,
        });
        Ok(())
    }

    /// Puts the boxes in the way of connections to the port that is signaled over.
    pub(super) fn start(&self, world: &mut World, signaling_port: u16) {
        for each in &self.all {
            let address = world
                .addresses(each.host)
                .find(std::net::IpAddr::is_ipv4)
                .map(|ip| SocketAddr::new(ip, PORT));
            let Some(address) = address else {
                continue;
            };
            let redirect = Redirect::new([signaling_port, PORT], address);
            let redirect = Arc::new(Mutex::new(redirect));
            let others = match each.kind {
                Kind::Proxy => Others::Pass,
                Kind::Portal { .. } => Others::Captive,
            };
            let interception = Interception {
                redirect: Arc::clone(&redirect),
                others,
            };
            world.intercept(each.network, Some(interception));
            match each.kind {
                Kind::Proxy => start_proxy(world, each.host, address, redirect),
                Kind::Portal { .. } => {
                    start_portal(world, each.host, address);
                    let lookup = Lookup::AllAt(vec![address.ip()]);
                    set_lookup(world, each, &lookup);
                }
            }
        }
    }

    /// Lets through whoever has waited long enough.
    pub(super) fn act(&mut self, world: &mut World) {
        for each in &mut self.all {
            let Kind::Portal { until } = &mut each.kind else {
                continue;
            };
            if until.is_some_and(|until| until <= world.now()) {
                *until = None;
                world.intercept(each.network, None);
                set_lookup(world, each, &Lookup::Works);
            }
        }
    }
}

/// How the hosts beside a box look up names.
fn set_lookup(world: &World, interceptor: &Interceptor, lookup: &Lookup) {
    for host in world.topology().hosts() {
        let topology = world.topology();
        let inner = topology.network_of(host);
        let mut around = std::iter::successors(inner, |network| topology.behind(*network));
        let is_guest = around.any(|network| network == interceptor.network);
        if is_guest && host != interceptor.host {
            world.device(host).set_lookup(host, lookup);
        }
    }
}

fn start_proxy(
    world: &mut World,
    host: HostId,
    address: SocketAddr,
    redirect: Arc<Mutex<Redirect>>,
) {
    let net: Arc<dyn Net> = world.net(host);
    let original: OriginalDestination = Arc::new(move |client| {
        let redirect = redirect.lock().unwrap_or_else(PoisonError::into_inner);
        redirect.original_destination(determinism::now(), client)
    });
    world.domain(host).spawn(async move {
        if let Err(cause) = proxy::run(net, address, original, |_| {}).await {
            error!(%address, %cause, "the proxy stopped");
        }
    });
}

fn start_portal(world: &mut World, host: HostId, address: SocketAddr) {
    let net: Arc<dyn Net> = world.net(host);
    world.domain(host).spawn(async move {
        if let Err(cause) = portal::run(net, address, |_| {}).await {
            error!(%address, %cause, "the captive portal stopped");
        }
    });
}
