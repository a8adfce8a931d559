//! The stateful filter of home gateways (RFC 6092): whoever is inside may speak to anybody, and is
//! spoken to only after that.
//!
//! It is meant for IPv6, where no NAT does the same in passing, and judges IPv4 in the same way.
//!
//! What RFC 6092 says of ICMP has no place here, for this network carries UDP and TCP only: an
//! unsolicited SYN is dropped without the answer of REC-34.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Packet;
use crate::net::flow::Protocol;
use crate::net::nat::expiry::Side;
use crate::net::nat::tcp::TcpPhase;
use crate::net::nat::{Filtering, Refresh, TcpTimers, UdpTimer};

/// Less than every endpoint that is.
const FIRST_ENDPOINT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How a gateway keeps out what nobody inside asked for (RFC 6092 section 3).
///
/// The default is what the RFC recommends for gateways that nobody administers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatefulFilter {
    /// Who may send UDP to an inside endpoint that has sent some. REC-17 makes the
    /// endpoint-independent filter the default, since peer-to-peer calls need it.
    pub udp: Filtering,
    /// How long UDP is remembered, and which packets refresh it. REC-14 demands two minutes or more
    /// and makes five the default; REC-16 demands that packets from inside refresh it, and permits
    /// that those from outside do.
    pub udp_timer: UdpTimer,
    /// Who may open a TCP connection to an inside endpoint that has opened one. REC-33 makes the
    /// endpoint-independent filter the default. Simultaneous open passes with any (REC-31).
    pub tcp: Filtering,
    /// How long TCP is remembered. REC-35 demands 2 h 4 min or more for established connections and
    /// four minutes or more for the others.
    pub tcp_timers: TcpTimers,
}

impl Default for StatefulFilter {
    fn default() -> Self {
        Self {
            udp: Filtering::EndpointIndependent,
            udp_timer: UdpTimer::default(),
            tcp: Filtering::EndpointIndependent,
            tcp_timers: TcpTimers::default(),
        }
    }
}

/// The state records of a filter (RFC 6092 section 2.3).
#[derive(Debug, Clone)]
pub(super) struct Records {
    config: StatefulFilter,
    by_flow: BTreeMap<Key, Record>,
}

impl Records {
    pub(super) const fn new(config: StatefulFilter) -> Self {
        Self {
            config,
            by_flow: BTreeMap::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_flow.clear();
    }

    /// Whether the packet may pass.
    pub(super) fn admits(&self, now: Duration, packet: Packet) -> bool {
        if packet.side == Side::Inside {
            return true;
        }
        let own = self.by_flow.get(&Key::of(packet));
        if own.is_some_and(|record| record.is_alive(now, &self.config)) {
            return true;
        }
        let filtering = match packet.protocol {
            Protocol::Udp => self.config.udp,
            // Only a first segment can belong to a connection that is not known yet.
            Protocol::Tcp if packet.signal.is_connection_attempt() => self.config.tcp,
            Protocol::Tcp => return false,
        };
        match filtering {
            Filtering::EndpointIndependent => self.has_live(now, packet, |_| true),
            Filtering::AddressDependent => {
                let address = packet.remote.ip();
                self.has_live(now, packet, |remote| remote.ip() == address)
            }
            Filtering::AddressAndPortDependent => false,
        }
    }

    /// Notes a packet that passes.
    pub(super) fn note(&mut self, now: Duration, packet: Packet) {
        let key = Key::of(packet);
        let config = self.config;
        let known = self
            .by_flow
            .get_mut(&key)
            .filter(|record| record.is_alive(now, &config));
        let phase = match packet.protocol {
            Protocol::Udp => {
                let refresh = config.udp_timer.refresh;
                if packet.side == Side::Outside && refresh != Refresh::Both {
                    return;
                }
                None
            }
            Protocol::Tcp => match known.as_ref().and_then(|record| record.phase) {
                Some(phase) => Some(phase.after(packet.side, packet.signal)),
                // The end of something that is not known begins nothing.
                None if packet.signal.rst => return,
                // A connection in its middle is taken up again when its inside end speaks, which
                // section 3.3.1 permits.
                None => Some(TcpPhase::Opening(packet.side)),
            },
        };
        let record = Record {
            refreshed_at: now,
            phase,
        };
        if let Some(known) = known {
            *known = record;
        } else {
            self.by_flow
                .retain(|_, record| record.is_alive(now, &config));
            self.by_flow.insert(key, record);
        }
    }

    /// Whether the inside endpoint of the packet has a live record with such a remote endpoint.
    fn has_live(
        &self,
        now: Duration,
        packet: Packet,
        is_meant: impl Fn(SocketAddr) -> bool,
    ) -> bool {
        let first = Key {
            remote: FIRST_ENDPOINT,
            ..Key::of(packet)
        };
        self.by_flow
            .range(first..)
            .take_while(|(key, _)| (key.protocol, key.inside) == (packet.protocol, packet.inside))
            .any(|(key, record)| is_meant(key.remote) && record.is_alive(now, &self.config))
    }
}

/// What a record is kept for; ordered so that the records of an inside endpoint stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    protocol: Protocol,
    inside: SocketAddr,
    remote: SocketAddr,
}

impl Key {
    const fn of(packet: Packet) -> Self {
        Self {
            protocol: packet.protocol,
            inside: packet.inside,
            remote: packet.remote,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    refreshed_at: Duration,
    /// Only TCP has phases.
    phase: Option<TcpPhase>,
}

impl Record {
    fn is_alive(self, now: Duration, config: &StatefulFilter) -> bool {
        let limit = match self.phase {
            None => config.udp_timer.idle,
            Some(TcpPhase::Established | TcpPhase::HalfClosed(_)) => config.tcp_timers.established,
            Some(TcpPhase::Opening(_) | TcpPhase::Closing | TcpPhase::Reset) => {
                config.tcp_timers.transitory
            }
        };
        now.saturating_sub(self.refreshed_at) < limit
    }
}
