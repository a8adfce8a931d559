//! Network address and port translators as pure state machines.
//!
//! Behaviour follows the taxonomy of RFC 4787 (UDP) and RFC 5382 (TCP), one module a dimension:
//! [`mapping`], [`filtering`], [`ports`], [`expiry`] and [`hairpin`]. [`preset`] names the classic
//! combinations.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::Rng;

pub mod expiry;
pub mod filtering;
pub mod hairpin;
pub mod mapping;
pub mod ports;
pub mod preset;

pub use expiry::{Refresh, TcpTimers, UdpTimer};
pub use filtering::Filtering;
pub use hairpin::Hairpin;
pub use mapping::Mapping;
pub use ports::PortAllocation;
pub use preset::{NatPreset, UnknownNatPreset};

use self::expiry::{Side, Timers};
use self::mapping::Bindings;
use self::ports::PortAllocator;
use super::cause::DropCause;
use super::flow::{Flow, Protocol, TcpSignal};

/// How a NAT behaves.
///
/// The default is what RFC 4787 requires with the strictest filter: a well-behaved home router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// When an external port is reused (RFC 4787 section 4.1), for UDP and TCP alike.
    pub mapping: Mapping,
    /// Who may send to a mapped UDP port (RFC 4787 section 5). TCP connections from outside are
    /// never admitted, except to meet one that the inside endpoint is opening itself (RFC 5382
    /// section 4.2).
    pub filtering: Filtering,
    /// How external ports are chosen (RFC 4787 section 4.2).
    pub port_allocation: PortAllocation,
    /// The external ports that can be handed out, for each protocol.
    pub port_range: RangeInclusive<u16>,
    /// How long UDP is remembered (RFC 4787 section 4.3).
    pub udp_timer: UdpTimer,
    /// How long TCP is remembered (RFC 5382 section 5).
    pub tcp_timers: TcpTimers,
    /// What happens to packets from inside to the external address (RFC 4787 section 6).
    pub hairpin: Hairpin,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            mapping: Mapping::default(),
            filtering: Filtering::default(),
            port_allocation: PortAllocation::default(),
            port_range: 1024..=65535,
            udp_timer: UdpTimer::default(),
            tcp_timers: TcpTimers::default(),
            hairpin: Hairpin::default(),
        }
    }
}

/// What a NAT does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, with these addresses.
    Forward(Flow),
    /// It goes no further.
    Drop(DropCause),
    /// It goes no further, and its sender is told by a reset.
    Refuse(DropCause),
}

/// A NAT with one external address.
#[derive(Debug, Clone)]
pub struct Nat {
    external: IpAddr,
    pool: Vec<IpAddr>,
    mapping: Mapping,
    filtering: Filtering,
    hairpin: Hairpin,
    timers: Timers,
    ports: PortAllocator,
    bindings: Bindings,
}

impl Nat {
    /// A NAT that has seen no packet yet.
    #[must_use]
    pub fn new(pool: Vec<IpAddr>, config: NatConfig) -> Self {
        Self {
            external: pool[0],
            pool,
            mapping: config.mapping,
            filtering: config.filtering,
            hairpin: config.hairpin,
            timers: Timers {
                udp: config.udp_timer,
                tcp: config.tcp_timers,
            },
            ports: PortAllocator::new(config.port_allocation, config.port_range),
            bindings: Bindings::default(),
        }
    }

    /// The address that packets from inside get.
    #[must_use]
    pub fn externals(&self) -> &[IpAddr] {
        &self.pool
    }

    /// The number of mappings alive at `now`.
    pub fn live_mappings(&mut self, now: Duration) -> usize {
        self.bindings.expire(now, &self.timers);
        self.bindings.len()
    }

    /// Forgets all mappings, as a router does that restarts.
    pub fn restart(&mut self, pool: Vec<IpAddr>) {
        self.external = pool[0];
        self.pool = pool;
        self.bindings.clear();
    }

    /// Judges a packet from an inside host. `signal` holds the flags of a TCP segment; without it
    /// a TCP segment counts as one in the middle of a connection.
    ///
    /// A packet to the NAT's own external address is hairpinned where the NAT does that, and then
    /// [`Verdict::Forward`] holds an inside destination.
    pub fn outbound(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: Option<TcpSignal>,
        rng: &mut dyn Rng,
    ) -> Verdict {
        let is_hairpin = flow.destination.ip() == self.external;
        if is_hairpin && self.hairpin == Hairpin::Refused {
            return Verdict::Drop(DropCause::NatHairpinRefused);
        }
        let signal = signal.unwrap_or(TcpSignal::ACK);
        match self.translate_source(now, flow, signal, rng) {
            Err(cause) => Verdict::Drop(cause),
            Ok(outside) if is_hairpin => self.inbound(now, outside, Some(signal)),
            Ok(outside) => Verdict::Forward(outside),
        }
    }

    /// Judges a packet that arrives at the external address. `signal` is as in
    /// [`outbound`](Self::outbound).
    pub fn inbound(&mut self, now: Duration, flow: Flow, signal: Option<TcpSignal>) -> Verdict {
        match self.translate_destination(now, flow, signal.unwrap_or(TcpSignal::ACK)) {
            Err(cause) => Verdict::Drop(cause),
            Ok(inside) => Verdict::Forward(inside),
        }
    }

    fn translate_source(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: TcpSignal,
        rng: &mut dyn Rng,
    ) -> Result<Flow, DropCause> {
        let key = self.mapping.key(flow);
        self.bindings.expire_one(&key, now, &self.timers);
        if !self.bindings.has(&key) {
            if flow.protocol == Protocol::Tcp && signal.rst {
                // A reset ends a connection, there is nothing to remember of one not known.
                return Err(DropCause::NatNoMapping);
            }
            self.bindings.expire(now, &self.timers);
            let is_taken = |port| self.bindings.is_taken(flow.protocol, port);
            let port = self
                .ports
                .allocate(flow.source.port(), is_taken, rng)
                .ok_or(DropCause::NatPortsExhausted)?;
            self.bindings.insert(key, port);
        }
        let binding = self
            .bindings
            .by_key_mut(&key)
            .ok_or(DropCause::NatNoMapping)?;
        let (remote, side) = (flow.destination, Side::Inside);
        match flow.protocol {
            Protocol::Udp => {
                binding
                    .sessions
                    .note_udp(now, remote, side, self.timers.udp.refresh);
            }
            Protocol::Tcp => binding.sessions.note_tcp(now, remote, side, signal),
        }
        Ok(Flow {
            source: SocketAddr::new(self.external, binding.port),
            ..flow
        })
    }

    fn translate_destination(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: TcpSignal,
    ) -> Result<Flow, DropCause> {
        let is_attempt = flow.protocol == Protocol::Tcp && signal.is_connection_attempt();
        let unless_attempt = |cause| {
            if is_attempt {
                DropCause::NatUnsolicitedTcp
            } else {
                cause
            }
        };
        let unmapped = unless_attempt(DropCause::NatNoMapping);
        let filtered = unless_attempt(DropCause::NatFiltered);

        let port = flow.destination.port();
        let key = self.bindings.key_at(flow.protocol, port).ok_or(unmapped)?;
        self.bindings.expire_one(&key, now, &self.timers);
        let binding = self.bindings.by_key_mut(&key).ok_or(unmapped)?;
        let (remote, side) = (flow.source, Side::Outside);
        match flow.protocol {
            Protocol::Udp if self.filtering.admits(&binding.sessions, remote) => {
                binding
                    .sessions
                    .note_udp(now, remote, side, self.timers.udp.refresh);
            }
            Protocol::Tcp if binding.sessions.has(remote) => {
                binding.sessions.note_tcp(now, remote, side, signal);
            }
            Protocol::Udp | Protocol::Tcp => return Err(filtered),
        }
        Ok(Flow {
            destination: key.inside,
            ..flow
        })
    }
}

#[cfg(test)]
mod tests;
