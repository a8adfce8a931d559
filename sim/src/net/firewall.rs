//! The packet filters of a gateway as a pure state machine.
//!
//! A [`Firewall`] judges packets by their addresses as the inside network sees them: on the way out
//! before a NAT has translated them, on the way in after it. Packets between two hosts of the network
//! do not meet it.
//!
//! What it does is put together from four filters, each off unless it is configured: UDP by protocol,
//! TCP by port, [unsolicited packets](StatefulFilter) by state, and [idle connections](IdleCut) by
//! time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::cause::DropCause;
use super::flow::{Flow, Protocol, TcpSignal};
use super::nat::expiry::Side;

pub mod idle;
pub mod stateful;

pub use idle::{CutBy, IdleCut};
pub use stateful::StatefulFilter;

use self::idle::IdleConnections;
use self::stateful::Records;

/// What a gateway lets pass between its network and the core. The default passes everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FirewallConfig {
    /// What becomes of UDP, in both directions: many company and hotel networks pass TCP only.
    /// Default open.
    pub udp: Passage,
    /// What becomes of TCP. Default open.
    pub tcp: TcpPassage,
    /// Cuts TCP connections that carry nothing for a while. Default never.
    pub idle_tcp: Option<IdleCut>,
    /// Drops what nobody inside has asked for (RFC 6092). Default everything is let in.
    pub stateful: Option<StatefulFilter>,
}

/// Whether a kind of packet passes a firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passage {
    /// It passes.
    #[default]
    Open,
    /// It is dropped without an answer.
    Blocked,
}

/// Which TCP a firewall lets pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TcpPassage {
    /// All of it.
    #[default]
    Open,
    /// Connections from inside to these ports, and what comes back on them. Everything else is
    /// dropped without an answer, connections from outside among it.
    OnlyPorts(BTreeSet<u16>),
}

/// What a firewall does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallVerdict {
    /// It goes on.
    Pass,
    /// It goes no further, and nobody is told.
    Drop(DropCause),
    /// It goes no further, and its *sender* is answered with a TCP reset in the name of its
    /// destination. The other end is told nothing by this: its next segment is answered in the same
    /// way, and [`Firewall::expired`] names the connections whose both ends are to be reset at once.
    Reset(DropCause),
}

/// A gateway's filters with their state.
#[derive(Debug, Clone)]
pub struct Firewall {
    config: FirewallConfig,
    /// Nothing is configured, so that nothing has to be looked at.
    is_open: bool,
    idle: Option<IdleConnections>,
    records: Option<Records>,
}

impl FirewallConfig {
    /// Judges a packet by its protocol alone.
    ///
    /// # Errors
    ///
    /// The cause for which the packet is dropped.
    pub const fn check(&self, protocol: Protocol) -> Result<(), DropCause> {
        match (protocol, self.udp) {
            (Protocol::Udp, Passage::Blocked) => Err(DropCause::FirewallUdpBlocked),
            (Protocol::Udp, Passage::Open) | (Protocol::Tcp, _) => Ok(()),
        }
    }
}

impl TcpPassage {
    fn admits(&self, side: Side, remote_port: u16, signal: TcpSignal) -> bool {
        match self {
            Self::Open => true,
            Self::OnlyPorts(ports) => {
                let is_from_outside = side == Side::Outside && signal.is_connection_attempt();
                !is_from_outside && ports.contains(&remote_port)
            }
        }
    }
}

impl Firewall {
    /// A firewall that has seen no packet yet.
    #[must_use]
    pub fn new(config: FirewallConfig) -> Self {
        Self {
            is_open: config == FirewallConfig::default(),
            idle: config.idle_tcp.map(IdleConnections::new),
            records: config.stateful.map(Records::new),
            config,
        }
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> &FirewallConfig {
        &self.config
    }

    /// Judges a packet from an inside host, before a NAT translates it. `signal` holds the flags of
    /// a TCP segment; without it a TCP segment counts as one in the middle of a connection.
    pub fn outbound(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: Option<TcpSignal>,
    ) -> FirewallVerdict {
        if self.is_open {
            return FirewallVerdict::Pass;
        }
        let packet = Packet {
            side: Side::Inside,
            protocol: flow.protocol,
            inside: flow.source,
            remote: flow.destination,
            signal: signal.unwrap_or(TcpSignal::ACK),
        };
        self.judge(now, packet)
    }

    /// Judges a packet from outside, after a NAT has translated it. `signal` is as in
    /// [`outbound`](Self::outbound).
    pub fn inbound(
        &mut self,
        now: Duration,
        flow: Flow,
        signal: Option<TcpSignal>,
    ) -> FirewallVerdict {
        if self.is_open {
            return FirewallVerdict::Pass;
        }
        let packet = Packet {
            side: Side::Outside,
            protocol: flow.protocol,
            inside: flow.destination,
            remote: flow.source,
            signal: signal.unwrap_or(TcpSignal::ACK),
        };
        self.judge(now, packet)
    }

    /// When [`expired`](Self::expired) is to be asked next, as a time since the start of the run;
    /// it may then still name nothing, because a packet can come in between. `None` where no
    /// connection is to be reset of its own accord.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.idle.as_ref().and_then(IdleConnections::poll_timeout)
    }

    /// The connections that were cut for idleness up to and including `now` and whose both ends get
    /// a reset, each once and in the direction from inside to outside. Empty where idle connections
    /// are cut [in silence](CutBy::Silence).
    pub fn expired(&mut self, now: Duration) -> Vec<Flow> {
        self.idle
            .as_mut()
            .map(|idle| idle.expired(now))
            .unwrap_or_default()
    }

    /// Forgets all state, as a gateway does that restarts: connections of before count as cut, and
    /// nobody outside is admitted until somebody inside speaks again.
    pub fn restart(&mut self) {
        if let Some(idle) = &mut self.idle {
            idle.clear();
        }
        if let Some(records) = &mut self.records {
            records.clear();
        }
    }

    fn judge(&mut self, now: Duration, packet: Packet) -> FirewallVerdict {
        if let Err(cause) = self.config.check(packet.protocol) {
            return FirewallVerdict::Drop(cause);
        }
        let is_tcp = packet.protocol == Protocol::Tcp;
        let port = packet.remote.port();
        if is_tcp && !self.config.tcp.admits(packet.side, port, packet.signal) {
            return FirewallVerdict::Drop(DropCause::FirewallPortBlocked);
        }
        // What is not admitted must not keep a connection from being idle, and what is cut must not
        // keep a state record alive.
        if let Some(records) = &self.records
            && !records.admits(now, packet)
        {
            return FirewallVerdict::Drop(DropCause::FirewallUnsolicited);
        }
        if let (Some(idle), true) = (&mut self.idle, is_tcp) {
            let verdict = idle.judge(now, packet);
            if verdict != FirewallVerdict::Pass {
                return verdict;
            }
        }
        if let Some(records) = &mut self.records {
            records.note(now, packet);
        }
        FirewallVerdict::Pass
    }
}

/// A packet as the filters see it, whichever way it goes.
#[derive(Debug, Clone, Copy)]
struct Packet {
    /// Where it comes from.
    side: Side,
    protocol: Protocol,
    inside: SocketAddr,
    remote: SocketAddr,
    /// The flags of a segment; nothing where the protocol is UDP.
    signal: TcpSignal,
}

#[cfg(test)]
mod tests;
