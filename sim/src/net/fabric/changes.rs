//! What changes while a network is in motion: links, gateways, and what becomes of packets there.

use std::time::Duration;

use super::{Body, Fabric, Hop, Interception, Owner};
use crate::fault::{AddressAfter, Direction};
use crate::net::link::{LinkConfig, LinkPair};
use crate::net::topology::{HostId, NetworkId, TopologyError};

impl<B: Body> Fabric<B> {
    /// Changes the link of a host or server for packets sent into it from now on.
    pub fn reconfigure_host_link(&mut self, now: Duration, host: HostId, config: LinkPair) {
        self.reconfigure(now, Hop::FromHost(host), config.up);
        self.reconfigure(now, Hop::ToHost(host), config.down);
    }

    /// Changes the uplink of a network for packets sent into it from now on. What waits in its queue
    /// goes by the new rate.
    pub fn reconfigure_uplink(&mut self, now: Duration, network: NetworkId, config: LinkPair) {
        self.reconfigure(now, Hop::Up(network), config.up);
        self.reconfigure(now, Hop::Down(network), config.down);
    }

    fn reconfigure(&mut self, now: Duration, hop: Hop, config: LinkConfig) {
        // The fabric may be ahead of its hosts, and the past cannot be changed any more.
        let now = now.max(self.advanced_until);
        let mut outputs = std::mem::take(&mut self.early);
        for packet in self.wire_mut(hop).reconfigure(now, config) {
            self.propagate(now, hop, packet, &mut outputs);
        }
        self.early = outputs;
        self.schedule_departure(now, hop);
    }

    /// Restarts the gateway of a network that has a NAT: mappings and what firewalls know are gone, and
    /// it has a new external address where `address` says so. Gives how many mappings were lost.
    ///
    /// # Errors
    ///
    /// When no address is left to give.
    pub fn restart_nat(
        &mut self,
        now: Duration,
        network: NetworkId,
        address: AddressAfter,
    ) -> Result<usize, TopologyError> {
        let Some(nat) = &mut self.gateways[network.index()].nat else {
            return Ok(0);
        };
        let lost = nat.live_mappings(now);
        let mut pool = nat.externals().to_vec();
        if address == AddressAfter::New {
            let mut fresh = Vec::new();
            for _ in &pool {
                fresh.push(self.topology.another_external(network)?);
            }
            let scope = self.scope_mut(self.topology.behind(network));
            scope.retain(|address, _| !pool.contains(address));
            scope.extend(
                fresh
                    .iter()
                    .map(|address| (*address, Owner::Gateway(network))),
            );
            pool = fresh;
        }
        let gateway = &mut self.gateways[network.index()];
        gateway.restart_firewalls();
        if let Some(nat) = &mut gateway.nat {
            nat.restart(pool);
        }
        Ok(lost)
    }

    /// Makes packets through the gateway of `network` vanish in this direction; `None` ends it.
    pub fn set_blackhole(&mut self, network: NetworkId, direction: Option<Direction>) {
        self.gateways[network.index()].blackhole = direction;
    }

    /// Sends connections of a network's hosts to one of them instead; `None` ends it.
    pub fn intercept(&mut self, network: NetworkId, interception: Option<Interception>) {
        self.gateways[network.index()].interception = interception;
    }
}
