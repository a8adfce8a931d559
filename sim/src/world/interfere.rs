//! What can be done to a running world from outside: the deeds that faults are made of.
//!
//! Everything here takes effect between two steps. What it breaks shows in the trace as drops with a
//! cause; [`World::watch`] tells whether there were any.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use turmoil_net::Packet as KernelPacket;

use super::World;
use super::device::{Carrier, Device};
use super::wire::{FrameCut, Tap};
use crate::fault::{AddressAfter, Breakage, Direction};
use crate::net::cause::DropCause;
use crate::net::fabric::Interception;
use crate::net::link::LinkPair;
use crate::net::nat::Nat;
use crate::net::topology::{HostId, NetworkId, Topology, TopologyError};
use crate::trace::HostName;

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

    /// The machine of `host`.
    #[must_use]
    pub fn device(&self, host: HostId) -> &Device {
        &self.hosts[host.index()].device
    }

    /// Breaks the connections of a machine whose remote end `is_meant`, at both ends. Gives how many
    /// there were.
    pub fn break_connections(
        &mut self,
        host: HostId,
        is_meant: impl Fn(SocketAddr) -> bool,
        how: Breakage,
    ) -> usize {
        let mut count = 0;
        for interface in self.interfaces_of(host) {
            let (told, broken) = self
                .connections
                .break_at_both_ends(interface, &is_meant, how);
            count += broken;
            self.tell(told);
        }
        count
    }

    /// Listens in on what the machine of `host` says to the servers at `servers` over TCP, and writes
    /// down what shows on the wire.
    pub fn listen_in(&mut self, host: HostId, servers: BTreeSet<SocketAddr>) {
        let hosts = self.interfaces_of(host).into_iter().collect();
        self.connections.listen_in(Tap::new(hosts, servers));
    }

    /// Cuts a connection of the machine of `host`, which must be [listened
    /// to](Self::listen_in), when its frame comes.
    pub fn cut_at(&mut self, host: HostId, cut: FrameCut) {
        self.connections.cut_at(host, cut);
    }

    /// The connections that were cut at a frame since the last call: by which fault, and when.
    pub fn take_cut(&mut self) -> Vec<(usize, Duration)> {
        std::mem::take(&mut self.cut)
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

    /// Whether an application runs on the machine of `host`, and does not stand still.
    #[must_use]
    pub fn is_running(&self, host: HostId) -> bool {
        let number = self.hosts[host.index()].domain;
        self.domains[number].is_some() && !self.paused.contains(&number)
    }

    /// Makes the application of `host` stand still: its timers are frozen, its kernel goes on.
    /// `false` where none runs there, or it stands still already.
    pub fn pause(&mut self, host: HostId) -> bool {
        let number = self.hosts[host.index()].domain;
        self.domains[number].is_some() && self.paused.insert(number)
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

    /// Ends the application of `host` as a power failure does: nobody is told, and the host is switched
    /// off. Who goes on sending is answered with a reset once it is on again.
    pub fn power_off(&mut self, host: HostId) {
        let interfaces = self.interfaces_of(host);
        self.off.extend(&interfaces);
        // The application goes first. Its listeners take along the connections that are half open, which
        // the kernel of the world would keep for ever once they were reset.
        self.kill(host);
        for interface in interfaces {
            self.abort_connections(interface);
        }
        self.send_all();
    }

    /// Lets go of whatever is left of the connections of a server whose application is gone, so that it
    /// can listen again. With `SO_REUSEADDR`, which the kernels of the world do not know, it could do so
    /// beside them.
    pub fn free_ports(&mut self, host: HostId) {
        for interface in self.interfaces_of(host) {
            let told = self.connections.clear(interface);
            self.tell(told);
        }
    }

    /// Whether the application of `host` stands still.
    #[must_use]
    pub fn stands_still(&self, host: HostId) -> bool {
        self.paused.contains(&self.hosts[host.index()].domain)
    }

    /// How many connections of `host` are open.
    #[must_use]
    pub fn open_connections(&self, host: HostId) -> usize {
        self.connections.open_at(host)
    }

    /// How many packets reached `host` while its application stood still.
    #[must_use]
    pub fn waiting_at(&self, host: HostId) -> u64 {
        let domain = self.hosts[host.index()].domain;
        self.waited.get(&domain).copied().unwrap_or_default()
    }

    /// The NAT of a network, where it has one, with the generator that it draws from.
    pub fn nat_mut(&mut self, network: NetworkId) -> Option<(&mut Nat, &mut ChaCha8Rng)> {
        self.fabric.nat_mut(network)
    }

    /// Restarts the NAT of a network. Gives how many mappings were lost.
    ///
    /// # Errors
    ///
    /// When there is no other address to give it.
    pub fn restart_nat(
        &mut self,
        network: NetworkId,
        address: AddressAfter,
    ) -> Result<usize, TopologyError> {
        self.fabric.restart_nat(self.now, network, address)
    }

    /// Sends connections of a network's hosts to one of them instead; `None` ends it.
    pub fn intercept(&mut self, network: NetworkId, interception: Option<Interception>) {
        self.fabric.intercept(network, interception);
    }

    /// Makes packets through a gateway vanish; `None` ends it.
    pub fn set_blackhole(&mut self, network: NetworkId, direction: Option<Direction>) {
        self.fabric.set_blackhole(network, direction);
    }

    /// What the uplink of a network is like now.
    #[must_use]
    pub fn uplink(&self, network: NetworkId) -> LinkPair {
        self.fabric.uplink(network)
    }

    /// What the link of a host is like now.
    #[must_use]
    pub fn host_link(&self, host: HostId) -> LinkPair {
        self.fabric.host_link(host)
    }

    /// How many packets the uplink of a network has carried.
    #[must_use]
    pub fn carried_by_uplink(&self, network: NetworkId) -> u64 {
        self.fabric.carried_by_uplink(network)
    }

    /// How many packets the link of a host has carried.
    #[must_use]
    pub fn carried_to(&self, host: HostId) -> u64 {
        self.fabric.carried_to(host)
    }

    /// The name of the machine of `host`.
    #[must_use]
    pub fn name_of(&self, host: HostId) -> &HostName {
        &self.hosts[host.index()].name
    }

    /// Changes the uplink of a network.
    pub fn change_uplink(&mut self, network: NetworkId, to: LinkPair) {
        let now = self.now;
        self.fabric.reconfigure_uplink(now, network, to);
        self.measure_segments();
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
        self.measure_segments();
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
        self.note_wire(self.now);
        for packet in packets {
            self.egress.hand_over(packet);
        }
        self.egress.collect(self.now);
    }
}
