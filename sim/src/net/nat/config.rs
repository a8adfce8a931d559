//! How a NAT behaves, as one plain struct.

use std::ops::RangeInclusive;

use super::conflict::AddressConflict;
use super::expiry::{TcpTimers, UdpTimer};
use super::filtering::Filtering;
use super::fragment::Fragments;
use super::gateway::ApplicationGateway;
use super::hairpin::Hairpin;
use super::icmp::IcmpErrors;
use super::mapping::{Consistency, Mapping};
use super::nat64::Translation;
use super::pool::AddressPooling;
use super::ports::{PortAllocation, PortParity, WellKnownPorts};
use super::size::TooBig;
use super::tcp::{UnknownTcp, UnsolicitedSyn};

/// How a NAT behaves.
///
/// The default is what RFC 4787 requires and recommends, with the strictest filter: a well-behaved
/// home router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// When an external port is reused (RFC 4787 section 4.1; RFC 5382 section 4.1 demands the same
    /// for TCP). Default: endpoint-independent (REQ-1).
    pub mapping: Mapping,
    /// Whether the mapping stays the same under all conditions (RFC 4787 section 8). Default: it
    /// does (REQ-11).
    pub consistency: Consistency,
    /// Who may send to a mapped UDP port (RFC 4787 section 5), and who may open a TCP connection to
    /// a mapped TCP port (RFC 5382 section 4.3). Default: address-and-port-dependent, as most home
    /// routers; REQ-8 recommends one of the other two.
    pub filtering: Filtering,
    /// How external ports are chosen (RFC 4787 section 4.2.1). Default: preserved, without
    /// overloading (REQ-3).
    pub port_allocation: PortAllocation,
    /// The external ports that can be handed out, for each protocol and each external address. Port
    /// 0 is never handed out. Default: 1024 to 65535.
    pub port_range: RangeInclusive<u16>,
    /// Whether an even port stays even (RFC 4787 section 4.2.2). Default: preserved (REQ-4).
    pub parity: PortParity,
    /// Whether ports below 1024 stay there (RFC 4787 section 4.2.1). Default: preserved (REQ-3 a),
    /// which has an effect only where `port_range` holds such ports.
    pub well_known_ports: WellKnownPorts,
    /// How the external address of a new mapping is chosen where there are several (RFC 4787
    /// section 4.1). Default: paired (REQ-2).
    pub pooling: AddressPooling,
    /// How many mappings, of UDP and TCP together, one inside host can have at a time (RFC 6888
    /// section 3, REQ-4). Default: no limit but that of the ports.
    pub ports_per_host: Option<usize>,
    /// How long UDP is remembered (RFC 4787 section 4.3). Default: 5 min, refreshed by both
    /// directions (REQ-5 c, REQ-6).
    pub udp_timer: UdpTimer,
    /// How long TCP is remembered (RFC 5382 section 5, RFC 7857 section 2). Default: 2 h 4 min
    /// established, 4 min transitory (REQ-5).
    pub tcp_timers: TcpTimers,
    /// What is answered to a TCP segment that belongs to no connection and opens none (RFC 6146
    /// section 3.5.2.2). Default: nothing.
    pub unknown_tcp: UnknownTcp,
    /// What is answered to a TCP connection attempt from outside that is not admitted (RFC 5382
    /// section 4.3). Default: nothing (REQ-4).
    pub unsolicited_syn: UnsolicitedSyn,
    /// What happens to packets from inside to an external address (RFC 4787 section 6). Default:
    /// translated (REQ-9).
    pub hairpin: Hairpin,
    /// What happens to packets of outside nodes whose addresses are also used inside (RFC 4787
    /// section 4.4). Default: translated (REQ-7).
    pub address_conflict: AddressConflict,
    /// Whether addresses inside of payloads are rewritten (RFC 4787 section 7). Default: they are
    /// not (REQ-10).
    pub application_gateway: ApplicationGateway,
    /// What an ICMP error does (RFC 4787 section 9). Default: it is translated and ends no mapping
    /// (REQ-12).
    pub icmp_errors: IcmpErrors,
    /// What is answered to a packet that is too big and must not be fragmented (RFC 4787 section
    /// 10). Default: an ICMP error (REQ-13).
    pub too_big: TooBig,
    /// Which fragments are forwarded (RFC 4787 section 11). Default: all, in any order (REQ-14).
    pub fragments: Fragments,
    /// Between which families of addresses it translates. Default: within one family.
    pub translation: Translation,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            mapping: Mapping::default(),
            consistency: Consistency::default(),
            filtering: Filtering::default(),
            port_allocation: PortAllocation::default(),
            port_range: 1024..=65535,
            parity: PortParity::default(),
            well_known_ports: WellKnownPorts::default(),
            pooling: AddressPooling::default(),
            ports_per_host: None,
            udp_timer: UdpTimer::default(),
            tcp_timers: TcpTimers::default(),
            unknown_tcp: UnknownTcp::default(),
            unsolicited_syn: UnsolicitedSyn::default(),
            hairpin: Hairpin::default(),
            address_conflict: AddressConflict::default(),
            application_gateway: ApplicationGateway::default(),
            icmp_errors: IcmpErrors::default(),
            too_big: TooBig::default(),
            fragments: Fragments::default(),
            translation: Translation::default(),
        }
    }
}
