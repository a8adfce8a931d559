//! How long a NAT remembers (RFC 4787 section 4.3 for UDP, RFC 5382 section 5 for TCP).
//!
//! State is kept by session, that is by pair of mapping and remote endpoint, as connection
//! tracking routers do. A mapping lives as long as one of its sessions, and a filter admits a
//! remote as long as its session lives: traffic with one peer keeps the external port, but does
//! not keep the door open for another peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::flow::TcpSignal;

/// When an idle UDP session is forgotten (RFC 4787 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpTimer {
    /// How long a session lives after the last packet that refreshed it. REQ-5 demands two minutes
    /// or more and recommends five.
    pub idle: Duration,
    /// Which packets refresh a session.
    pub refresh: Refresh,
}

impl Default for UdpTimer {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(5),
            refresh: Refresh::Both,
        }
    }
}

/// The direction of packets that refresh a UDP session (RFC 4787 section 4.3). REQ-6 demands
/// outbound refresh, so there is no way to turn it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Refresh {
    /// Only packets from inside: nobody outside can hold a mapping open.
    Outbound,
    /// Packets in either direction.
    #[default]
    Both,
}

/// When an idle TCP session is forgotten (RFC 5382 section 5, REQ-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTimers {
    /// For established connections; at least 2 h 4 min, so that keep-alives of two hours fit.
    pub established: Duration,
    /// For connections that are partially open or closing; at least 4 min.
    pub transitory: Duration,
}

impl Default for TcpTimers {
    fn default() -> Self {
        Self {
            established: Duration::from_mins(124),
            transitory: Duration::from_mins(4),
        }
    }
}

/// All timers of a NAT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timers {
    pub(super) udp: UdpTimer,
    pub(super) tcp: TcpTimers,
}

/// The side of the NAT that a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Side {
    Inside,
    Outside,
}

/// The live sessions of one binding, by remote endpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(BTreeMap<SocketAddr, Session>);

impl Sessions {
    pub(super) fn has(&self, remote: SocketAddr) -> bool {
        self.0.contains_key(&remote)
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.0.keys().any(|remote| remote.ip() == address)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn expire(&mut self, now: Duration, timers: &Timers) {
        self.0.retain(|_, session| session.is_alive(now, timers));
    }

    /// Notes a UDP packet that the NAT lets pass. From outside it counts only where the timer is
    /// refreshed from there; it then opens a session for a sender that was not spoken to, because
    /// the mapping has to live on even if this sender is the only one left.
    pub(super) fn note_udp(
        &mut self,
        now: Duration,
        remote: SocketAddr,
        side: Side,
        refresh: Refresh,
    ) {
        if side == Side::Inside || refresh == Refresh::Both {
            self.0.insert(
                remote,
                Session {
                    refreshed_at: now,
                    phase: None,
                },
            );
        }
    }

    /// Notes a TCP segment that the NAT lets pass.
    pub(super) fn note_tcp(
        &mut self,
        now: Duration,
        remote: SocketAddr,
        side: Side,
        signal: TcpSignal,
    ) {
        let phase = match self.0.get(&remote).and_then(|session| session.phase) {
            Some(phase) => phase.after(side, signal),
            None => TcpPhase::Opening(side),
        };
        self.0.insert(
            remote,
            Session {
                refreshed_at: now,
                phase: Some(phase),
            },
        );
    }
}

#[derive(Debug, Clone, Copy)]
struct Session {
    refreshed_at: Duration,
    /// Only TCP has phases.
    phase: Option<TcpPhase>,
}

impl Session {
    fn is_alive(&self, now: Duration, timers: &Timers) -> bool {
        let limit = match self.phase {
            None => timers.udp.idle,
            Some(TcpPhase::Established | TcpPhase::HalfClosed(_)) => timers.tcp.established,
            Some(TcpPhase::Opening(_) | TcpPhase::Closing) => timers.tcp.transitory,
        };
        now.saturating_sub(self.refreshed_at) < limit
    }
}

/// How far a TCP connection has come, as far as a NAT can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum TcpPhase {
    /// Only this side has spoken.
    Opening(Side),
    /// Both sides have spoken.
    Established,
    /// This side has sent its FIN.
    HalfClosed(Side),
    /// Both sides have sent a FIN, or one a reset.
    Closing,
}

impl TcpPhase {
    pub(in crate::net) fn after(self, side: Side, signal: TcpSignal) -> Self {
        if signal.rst {
            return Self::Closing;
        }
        match self {
            Self::Opening(first) if first != side => Self::Established,
            Self::Established if signal.fin => Self::HalfClosed(side),
            Self::HalfClosed(first) if signal.fin && first != side => Self::Closing,
            // The same two endpoints may begin anew.
            Self::HalfClosed(_) | Self::Closing if signal.is_connection_attempt() => {
                Self::Opening(side)
            }
            unchanged => unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase_after(segments: &[(Side, TcpSignal)]) -> TcpPhase {
        segments
            .iter()
            .fold(TcpPhase::Opening(Side::Inside), |phase, (side, signal)| {
                phase.after(*side, *signal)
            })
    }

    #[test]
    fn a_connection_is_established_by_an_answer_and_closing_after_both_fins() {
        let mut segments = vec![(Side::Inside, TcpSignal::SYN)];
        assert_eq!(phase_after(&segments), TcpPhase::Opening(Side::Inside));
        segments.push((Side::Outside, TcpSignal::SYN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::Established);
        segments.push((Side::Outside, TcpSignal::FIN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::HalfClosed(Side::Outside));
        segments.push((Side::Outside, TcpSignal::FIN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::HalfClosed(Side::Outside));
        segments.push((Side::Inside, TcpSignal::FIN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::Closing);
        segments.push((Side::Inside, TcpSignal::SYN));
        assert_eq!(phase_after(&segments), TcpPhase::Opening(Side::Inside));
    }

    #[test]
    fn a_reset_from_either_side_closes() {
        for side in [Side::Inside, Side::Outside] {
            let phase = phase_after(&[(Side::Outside, TcpSignal::SYN_ACK), (side, TcpSignal::RST)]);
            assert_eq!(phase, TcpPhase::Closing);
        }
    }
}
