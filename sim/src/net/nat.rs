//! Network address and port translators as pure state machines.
//!
//! Behaviour follows the taxonomy of RFC 4787 (UDP) and RFC 5382 (TCP), as updated by RFC 7857, one
//! module a dimension. [`NatConfig`] holds them all, [`preset`] names boxes that are met in the
//! field. [`Nat`] carries UDP and TCP; what it does to ICMP errors, fragments and payloads is in
//! [`icmp`], [`fragment`], [`size`] and [`gateway`], as methods of the same [`Nat`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;

pub mod config;
pub mod conflict;
pub mod expiry;
pub mod filtering;
pub mod fragment;
pub mod gateway;
pub mod hairpin;
pub mod icmp;
pub mod mapping;
pub mod nat64;
pub mod pool;
pub mod ports;
pub mod preset;
pub mod size;
pub mod tcp;

mod table;

pub use config::NatConfig;
pub use conflict::AddressConflict;
pub use expiry::{Refresh, TcpTimers, UdpTimer};
pub use filtering::Filtering;
pub use fragment::Fragments;
pub use gateway::ApplicationGateway;
pub use hairpin::Hairpin;
pub use icmp::IcmpErrors;
pub use mapping::{Consistency, Mapping};
pub use nat64::Translation;
pub use pool::AddressPooling;
pub use ports::{PortAllocation, PortParity, WellKnownPorts};
pub use preset::{NatPreset, UnknownNatPreset};
pub use size::TooBig;
pub use tcp::{UnknownTcp, UnsolicitedSyn};

use self::expiry::Side;
use self::fragment::Reassembly;
use self::mapping::BindingKey;
use self::pool::Pool;
use self::ports::PortAllocator;
use self::table::Table;
use super::cause::DropCause;
use super::flow::{Flow, Protocol, TcpSignal};

/// What a NAT does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, with these addresses.
    Forward(Flow),
    /// It goes no further.
    Drop(DropCause),
    /// It goes no further, and its sender is answered with a TCP reset that seems to come from its
    /// destination.
    Refuse(DropCause),
}

/// A NAT with one or more external addresses.
#[derive(Debug, Clone)]
pub struct Nat {
    config: NatConfig,
    pool: Pool,
    ports: PortAllocator,
    table: Table,
    reassembly: Reassembly,
}

impl Nat {
    /// A NAT that has seen no packet yet. `pool` holds its external addresses; with none of the
    /// family that a packet needs it translates nothing.
    #[must_use]
    pub fn new(pool: Vec<IpAddr>, config: NatConfig) -> Self {
        Self {
            pool: Pool::new(pool),
            ports: port_allocator(&config),
            table: Table::default(),
            reassembly: Reassembly::default(),
            config,
        }
    }

    /// How it behaves.
    #[must_use]
    pub const fn config(&self) -> &NatConfig {
        &self.config
    }

    /// The addresses that packets from inside get, in the order of the pool.
    #[must_use]
    pub fn externals(&self) -> &[IpAddr] {
        self.pool.addresses()
    }

    /// Whether `address` is one of its external addresses.
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        self.pool.owns(address)
    }

    /// The number of mappings alive at `now`.
    pub fn live_mappings(&mut self, now: Duration) -> usize {
        self.table.expire(now);
        self.table.len()
    }

    /// Forgets everything and takes the addresses of `pool`, as a router does that restarts: the old
    /// ones, or new ones where the provider gives others.
    pub fn restart(&mut self, pool: Vec<IpAddr>) {
        *self = Self::new(pool, self.config.clone());
    }

    /// Forgets all mappings. Gives how many there were, those included that have ended since the
    /// last packet.
    pub fn flush(&mut self) -> usize {
        let count = self.table.len();
        self.table = Table::default();
        self.reassembly = Reassembly::default();
        count
    }

    /// Gives every mapping alive at `now` another external port of the same address, whatever the
    /// policy; timers and filters stay as they are. Gives how many have moved: all of them unless no
    /// port is free.
    pub fn rebind(&mut self, now: Duration, rng: &mut dyn Rng) -> usize {
        self.table.expire(now);
        let mut count = 0;
        for key in self.table.keys() {
            let Some(external) = self.table.get(&key).map(|binding| binding.external) else {
                continue;
            };
            let Some(taken) = self.table.used(key.protocol, external.ip()) else {
                continue;
            };
            // The old port is still taken, so it is not found again.
            let port = self.ports.allocate_anywhere(key.inside.port(), taken, rng);
            if let Some(port) = port {
                let moved = SocketAddr::new(external.ip(), port);
                self.table.relocate(&key, moved);
                count += 1;
            }
        }
        count
    }

    /// Judges a packet from an inside host. `signal` holds the flags of a TCP segment; without it
    /// a TCP segment counts as one in the middle of a connection.
    ///
    /// A packet to one of the NAT's own external addresses is hairpinned where the NAT does that,
    /// and then [`Verdict::Forward`] holds an inside destination.
    pub fn outbound(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: Option<TcpSignal>,
        rng: &mut dyn Rng,
    ) -> Verdict {
        self.table.expire(now);
        let signal = signal.unwrap_or(TcpSignal::ACK);
        self.translate_outbound(now, flow, signal, rng)
            .map_or_else(|refusal| refusal, Verdict::Forward)
    }

    /// Judges a packet that arrives at an external address. `signal` is as in
    /// [`outbound`](Self::outbound).
    pub fn inbound(&mut self, now: Duration, flow: Flow, signal: Option<TcpSignal>) -> Verdict {
        self.table.expire(now);
        self.translate_destination(now, flow, signal.unwrap_or(TcpSignal::ACK))
            .map_or_else(|refusal| refusal, Verdict::Forward)
    }

    fn translate_outbound(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: TcpSignal,
        rng: &mut dyn Rng,
    ) -> Result<Flow, Verdict> {
        let flow_outside = self.config.translation.towards_outside(flow);
        let flow_outside = flow_outside.map_err(Verdict::Drop)?;
        let destination = flow_outside.destination.ip();
        let is_hairpin = self.pool.owns(destination);
        if is_hairpin && self.config.hairpin == Hairpin::Refused {
            return Err(Verdict::Drop(DropCause::NatHairpinRefused));
        }
        let conflicts = self.config.address_conflict;
        if !conflicts.admits(flow.source.ip(), destination) {
            return Err(Verdict::Drop(DropCause::NatAddressConflict));
        }
        let outside = self.translate_source(now, flow_outside, signal, rng)?;
        if !is_hairpin {
            return Ok(outside);
        }
        let inside = self.translate_destination(now, outside, signal)?;
        Ok(match self.config.hairpin {
            Hairpin::InternalSource => Flow {
                source: flow.source,
                ..inside
            },
            Hairpin::Translated | Hairpin::Refused => inside,
        })
    }

    fn translate_source(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: TcpSignal,
        rng: &mut dyn Rng,
    ) -> Result<Flow, Verdict> {
        let key = self.key_of(flow);
        let remote = flow.destination;
        let binding = self.table.get(&key);
        let is_known = binding.is_some_and(|binding| binding.sessions.has(remote, now));
        if flow.protocol == Protocol::Tcp && !is_known && !signal.is_connection_attempt() {
            let unknown = self.config.unknown_tcp;
            if unknown != UnknownTcp::Adopted || signal.rst {
                return Err(unknown.verdict(DropCause::NatUnknownTcp, signal));
            }
        }
        let existing = binding.map(|binding| binding.external);
        let external = match existing {
            Some(external) => {
                self.note(now, &key, remote, Side::Inside, signal);
                external
            }
            None => self.bind(now, key, flow, signal, rng)?,
        };
        Ok(Flow {
            source: external,
            ..flow
        })
    }

    fn translate_destination(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: TcpSignal,
    ) -> Result<Flow, Verdict> {
        let is_attempt = flow.protocol == Protocol::Tcp && signal.is_connection_attempt();
        let remote = flow.source;
        let owner = self
            .table
            .owner(flow.protocol, flow.destination, remote, now);
        let binding = owner.and_then(|key| Some((key, self.table.get(&key)?)));
        let Some((key, binding)) = binding else {
            return Err(match flow.protocol {
                Protocol::Udp => Verdict::Drop(DropCause::NatNoMapping),
                Protocol::Tcp if is_attempt => self.unsolicited(),
                Protocol::Tcp => self
                    .config
                    .unknown_tcp
                    .verdict(DropCause::NatNoMapping, signal),
            });
        };
        let is_admitted = match flow.protocol {
            Protocol::Tcp if binding.sessions.has(remote, now) => true,
            Protocol::Tcp if !is_attempt => {
                let unknown = self.config.unknown_tcp;
                return Err(unknown.verdict(DropCause::NatUnknownTcp, signal));
            }
            Protocol::Udp | Protocol::Tcp => {
                let filtering = self.config.filtering;
                filtering.admits(&binding.sessions, remote, now)
            }
        };
        if !is_admitted {
            return Err(match flow.protocol {
                Protocol::Udp => Verdict::Drop(DropCause::NatFiltered),
                Protocol::Tcp => self.unsolicited(),
            });
        }
        let conflicts = self.config.address_conflict;
        if !conflicts.admits(key.inside.ip(), remote.ip()) {
            return Err(Verdict::Drop(DropCause::NatAddressConflict));
        }
        self.note(now, &key, remote, Side::Outside, signal);
        let source = self.config.translation.as_seen_inside(remote.ip());
        Ok(Flow {
            source: SocketAddr::new(source, remote.port()),
            destination: key.inside,
            ..flow
        })
    }

    /// What the binding of a packet from inside is found by.
    fn key_of(&self, flow: Flow) -> BindingKey {
        match self.config.consistency {
            Consistency::Deterministic => self.config.mapping.key(flow),
            Consistency::SymmetricOnCollision => {
                let symmetric = Mapping::AddressAndPortDependent.key(flow);
                if self.table.has(&symmetric) {
                    symmetric
                } else {
                    self.config.mapping.key(flow)
                }
            }
        }
    }

    /// Makes a binding for a packet from inside and gives its external endpoint.
    fn bind(
        &mut self,
        now: Duration,
        key: BindingKey,
        flow: Flow,
        signal: TcpSignal,
        rng: &mut dyn Rng,
    ) -> Result<SocketAddr, Verdict> {
        let host = flow.source.ip();
        let limit = self.config.ports_per_host;
        if limit.is_some_and(|limit| self.table.count_of(host) >= limit) {
            return Err(Verdict::Drop(DropCause::NatHostLimit));
        }
        let external = self.external_for(now, flow, rng).map_err(Verdict::Drop)?;
        let key = match self.config.consistency {
            Consistency::SymmetricOnCollision if external.port() != flow.source.port() => {
                Mapping::AddressAndPortDependent.key(flow)
            }
            Consistency::SymmetricOnCollision | Consistency::Deterministic => key,
        };
        let config = &self.config;
        let (remote, side) = (flow.destination, Side::Inside);
        self.table
            .insert(key, external, |sessions| match flow.protocol {
                Protocol::Udp => sessions.note_udp(now, remote, side, &config.udp_timer),
                Protocol::Tcp => sessions.note_tcp(now, remote, side, signal, &config.tcp_timers),
            });
        Ok(external)
    }

    /// A free external endpoint for a packet from inside.
    fn external_for(
        &mut self,
        now: Duration,
        flow: Flow,
        rng: &mut dyn Rng,
    ) -> Result<SocketAddr, DropCause> {
        let remote = flow.destination;
        let fits = |address: &IpAddr| address.is_ipv4() == remote.is_ipv4();
        if !self.pool.addresses().iter().any(fits) {
            return Err(DropCause::NatWrongFamily);
        }
        let paired = match self.config.pooling {
            AddressPooling::Paired => self.table.external_of(flow.source.ip()),
            AddressPooling::Arbitrary => None,
        };
        if let Some(address) = paired {
            return self
                .external_at(now, address, flow, rng)
                .ok_or(DropCause::NatPortsExhausted);
        }
        let start = self.pool.start(self.config.pooling, rng);
        for position in start..start + self.pool.len() {
            let address = self.pool.at(position);
            if fits(&address)
                && let Some(external) = self.external_at(now, address, flow, rng)
            {
                return Ok(external);
            }
        }
        Err(DropCause::NatPortsExhausted)
    }

    /// A free endpoint of one external address.
    fn external_at(
        &mut self,
        now: Duration,
        address: IpAddr,
        flow: Flow,
        rng: &mut dyn Rng,
    ) -> Option<SocketAddr> {
        self.table.prepare(flow.protocol, address);
        let taken = self.table.used(flow.protocol, address)?;
        let conflicts = |port| {
            let external = SocketAddr::new(address, port);
            self.table
                .is_spoken_to(flow.protocol, external, flow.destination, now)
        };
        let inside_port = flow.source.port();
        let port = self.ports.allocate(inside_port, taken, conflicts, rng)?;
        Some(SocketAddr::new(address, port))
    }

    /// Notes a packet of a binding that is let pass.
    fn note(
        &mut self,
        now: Duration,
        key: &BindingKey,
        remote: SocketAddr,
        side: Side,
        signal: TcpSignal,
    ) {
        let Some(binding) = self.table.get_mut(key) else {
            return;
        };
        let sessions = &mut binding.sessions;
        match key.protocol {
            Protocol::Udp => sessions.note_udp(now, remote, side, &self.config.udp_timer),
            Protocol::Tcp => {
                let before = sessions.ends_at(remote, now);
                sessions.note_tcp(now, remote, side, signal, &self.config.tcp_timers);
                // A connection that begins to close ends sooner than it was going to.
                if sessions.ends_at(remote, now) < before {
                    self.table.reschedule(key);
                }
            }
        }
    }

    fn unsolicited(&self) -> Verdict {
        self.config
            .unsolicited_syn
            .verdict(DropCause::NatUnsolicitedTcp)
    }
}

fn port_allocator(config: &NatConfig) -> PortAllocator {
    PortAllocator::new(
        config.port_allocation,
        config.parity,
        config.well_known_ports,
        config.port_range.clone(),
    )
}

#[cfg(test)]
mod tests;
