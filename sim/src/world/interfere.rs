//! What can be done to a running world from outside: the deeds that faults are made of.
//!
//! Everything here takes effect between two steps. What it breaks shows in the trace as drops with a
//! cause; [`World::watch`] tells whether there were any.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turmoil_net::Packet as KernelPacket;

use super::World;
use super::device::{Carrier, Device};
use crate::fault::{Breakage, Direction};
use crate::net::cause::DropCause;
use crate::net::fabric::Fabric;
use crate::net::link::LinkPair;
use crate::net::topology::{HostId, NetworkId, Topology};

/// Counts the packets that are dropped for a cause.
#[derive(Debug, Clone)]
pub struct Watch {
    /// By which the watcher knows it.
    pub number: usize,
    /// Where; anywhere if `None`.
    pub place: Option<String>,
    /// Why.
    pub cause: DropCause,
    /// How many there were.
    pub count: u64,
    /// When the first one was dropped.
    pub first: Option<Duration>,
}

impl World {
    /// What is connected to what.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        self.fabric.topology()
    }

    /// The network in motion, to change what it does.
    pub(super) fn fabric_mut(&mut self) -> &mut Fabric<super::cargo::Cargo> {
        &mut self.fabric
    }

    /// The machine of `host`.
    #[must_use]
    pub fn device(&self, host: HostId) -> &Device {
        &self.hosts[host.index()].device
    }

    /// Breaks the connections of a machine to `remote`, at both ends. Gives how many there were.
    pub fn break_connections(&mut self, host: HostId, remote: SocketAddr, how: Breakage) -> usize {
        let mut count = 0;
        for interface in self.interfaces_of(host) {
            let is_meant = |end: SocketAddr| end == remote;
            let (told, broken) = self
                .connections
                .break_at_both_ends(interface, is_meant, how);
            count += broken;
            self.tell(told);
        }
        count
    }

    /// Connects or disconnects an interface. The operating system aborts the connections of one that
    /// is disconnected; its UDP sockets stay open and reach nobody. Gives how many connections were
    /// aborted.
    pub fn set_carrier(&mut self, interface: HostId, carrier: Carrier) -> usize {
        self.hosts[interface.index()]
            .device
            .set_carrier(interface, carrier);
        match carrier {
            Carrier::Up => 0,
            Carrier::Down => self.abort_connections(interface),
        }
    }

    /// Closes everything that is open on an interface, as an operating system does from outside of
    /// an application. Gives how many connections were aborted.
    pub fn close_sockets(&mut self, interface: HostId) -> usize {
        self.hosts[interface.index()]
            .device
            .close_sockets(interface);
        self.abort_connections(interface)
    }

    /// Switches a host off: it neither takes nor sends anything.
    pub fn switch_off(&mut self, host: HostId) {
        self.off.insert(host);
    }

    /// Switches a host on again.
    pub fn switch_on(&mut self, host: HostId) {
        self.off.remove(&host);
    }

    /// Makes the application of `host` stand still: its timers are frozen, its kernel goes on.
    pub fn pause(&mut self, host: HostId) {
        let number = self.hosts[host.index()].domain;
        if self.domains[number].is_some() {
            self.paused.insert(number);
        }
    }

    /// Lets the application of `host` go on: every timer of the time between is due at once.
    pub fn resume(&mut self, host: HostId) {
        let number = self.hosts[host.index()].domain;
        if !self.paused.remove(&number) {
            return;
        }
        if let Some(domain) = self.domains[number].take() {
            self.running.set(domain.name());
            domain.resume(self.now);
            self.egress.collect(self.now);
            self.domains[number] = Some(domain);
        }
    }

    /// Drops every packet that the kernel of `host` wants to send at this moment, as when the power
    /// fails. Gives how many there were.
    pub fn discard_egress(&mut self, host: HostId) {
        let was_off = !self.off.insert(host);
        self.egress.collect(self.now);
        self.send_all();
        if !was_off {
            self.off.remove(&host);
        }
    }

    /// Makes packets through a gateway vanish; `None` ends it.
    pub fn set_blackhole(&mut self, network: NetworkId, direction: Option<Direction>) {
        self.fabric.set_blackhole(network, direction);
    }

    /// Changes the uplink of a network.
    pub fn change_uplink(&mut self, network: NetworkId, to: LinkPair) {
        let now = self.now;
        self.fabric.reconfigure_uplink(now, network, to);
    }

    /// Changes the link of a host.
    ///
    /// # Panics
    ///
    /// As [`with_machines`](Self::with_machines).
    pub fn change_host_link(&mut self, host: HostId, to: LinkPair) {
        let now = self.now;
        self.fabric.reconfigure_host_link(now, host, to);
        self.measure_step();
    }

    /// Counts drops from now on.
    pub fn watch(&mut self, number: usize, place: Option<String>, cause: DropCause) {
        self.watches.push(Watch {
            number,
            place,
            cause,
            count: 0,
            first: None,
        });
    }

    /// What was counted under this number so far, which is counted no longer.
    pub fn unwatch(&mut self, number: usize) -> Vec<Watch> {
        let (done, left) = std::mem::take(&mut self.watches)
            .into_iter()
            .partition(|watch| watch.number == number);
        self.watches = left;
        done
    }

    /// All counts.
    #[must_use]
    pub fn watches(&self) -> &[Watch] {
        &self.watches
    }

    /// The interfaces of the machine of `host`.
    #[must_use]
    pub fn interfaces_of(&self, host: HostId) -> Vec<HostId> {
        let domain = self.hosts[host.index()].domain;
        let all = self.fabric.topology().hosts();
        all.filter(|each| self.hosts[each.index()].domain == domain)
            .collect()
    }

    pub(super) fn note_drop(&mut self, at: Duration, place: &str, cause: DropCause) {
        for watch in &mut self.watches {
            let here = watch.place.as_deref().is_none_or(|name| name == place);
            if here && watch.cause == cause {
                watch.count += 1;
                watch.first.get_or_insert(at);
            }
        }
    }

    fn abort_connections(&mut self, interface: HostId) -> usize {
        let (told, count) = self.connections.abort_all(interface);
        self.tell(told);
        count
    }

    /// Hands packets to the kernels that they are addressed to.
    fn tell(&mut self, packets: Vec<KernelPacket>) {
        for packet in packets {
            self.egress.hand_over(packet);
        }
        self.egress.collect(self.now);
    }

    /// Where a server is reached.
    #[must_use]
    pub fn socket_of(&self, host: HostId, port: u16) -> Option<SocketAddr> {
        let first: Option<IpAddr> = self.addresses(host).next();
        first.map(|address| SocketAddr::new(address, port))
    }
}
