//! How long a NAT remembers (RFC 4787 section 4.3 for UDP, RFC 5382 section 5 for TCP).
//!
//! State is kept by session, that is by pair of mapping and remote endpoint, as connection
//! tracking routers do. A mapping lives as long as one of its sessions, and a filter admits a
//! remote as long as its session lives: traffic with one peer keeps the external port, but does
//! not keep the door open for another peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use super::tcp::TcpPhase;
use crate::net::flow::TcpSignal;

/// When an idle UDP session is forgotten (RFC 4787 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpTimer {
    /// How long a session lives after the last packet that refreshed it. REQ-5 demands two minutes
    /// or more and recommends five, the default.
    pub idle: Duration,
    /// The same for sessions with a remote port below 1024, which REQ-5 a allows to be shorter, as
    /// for DNS. Default: none, they live as long as all others.
    pub well_known_idle: Option<Duration>,
    /// Which packets refresh a session.
    pub refresh: Refresh,
}

impl UdpTimer {
    fn limit(&self, remote_port: u16) -> Duration {
        match self.well_known_idle {
            Some(limit) if remote_port < 1024 => limit,
            _ => self.idle,
        }
    }
}

impl Default for UdpTimer {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(5),
            well_known_idle: None,
            refresh: Refresh::Both,
        }
    }
}

/// The direction of packets that refresh a UDP session (RFC 4787 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Only packets from inside: nobody outside can hold a mapping open. REQ-6 demands that these
    /// refresh.
    Outbound,
    /// Only packets from outside: keep-alives that nobody answers keep nothing alive. REQ-6 forbids
    /// it.
    Inbound,
    /// Packets in either direction, which REQ-6 a allows.
    #[default]
    Both,
}

impl Refresh {
    const fn counts(self, side: Side) -> bool {
        matches!(
            (self, side),
            (Self::Both, _) | (Self::Outbound, Side::Inside) | (Self::Inbound, Side::Outside)
        )
    }
}

/// When an idle TCP session is forgotten (RFC 5382 section 5, REQ-5; RFC 7857 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTimers {
    /// For established connections, those half closed included; at least 2 h 4 min, so that
    /// keep-alives of two hours fit. That is the default.
    pub established: Duration,
    /// For connections that are partially open, closed by both sides, or reset; at least 4 min, the
    /// default.
    pub transitory: Duration,
}

impl TcpTimers {
    const fn limit(&self, phase: TcpPhase) -> Duration {
        match phase {
            TcpPhase::Established | TcpPhase::HalfClosed(_) => self.established,
            TcpPhase::Opening(_) | TcpPhase::Closing | TcpPhase::Reset => self.transitory,
        }
    }
}

impl Default for TcpTimers {
    fn default() -> Self {
        Self {
            established: Duration::from_mins(124),
            transitory: Duration::from_mins(4),
        }
    }
}

/// The side of the NAT that a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Side {
    Inside,
    Outside,
}

/// The sessions of one binding, by remote endpoint. Those that are over may still be among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(BTreeMap<SocketAddr, Session>);

#[derive(Debug, Clone, Copy)]
struct Session {
    ends_at: Duration,
    /// Only TCP has phases.
    phase: Option<TcpPhase>,
}

impl Session {
    fn is_alive(&self, now: Duration) -> bool {
        now < self.ends_at
    }
}

impl Sessions {
    pub(super) fn has(&self, remote: SocketAddr, now: Duration) -> bool {
        self.ends_at(remote, now).is_some()
    }

    /// When the session with `remote` ends; none where there is none alive.
    pub(super) fn ends_at(&self, remote: SocketAddr, now: Duration) -> Option<Duration> {
        let session = self.0.get(&remote)?;
        session.is_alive(now).then_some(session.ends_at)
    }

    pub(super) fn has_address(&self, address: IpAddr, now: Duration) -> bool {
        self.0
            .range(SocketAddr::new(address, 0)..)
            .take_while(|(remote, _)| remote.ip() == address)
            .any(|(_, session)| session.is_alive(now))
    }

    /// When the last session ends; none where there is no session.
    pub(super) fn all_end_at(&self) -> Option<Duration> {
        self.0.values().map(|session| session.ends_at).max()
    }

    pub(super) fn expire(&mut self, now: Duration) {
        self.0.retain(|_, session| session.is_alive(now));
    }

    /// Notes a UDP packet that the NAT lets pass. From outside it counts only where the timer is
    /// refreshed from there; it then opens a session for a sender that was not spoken to, because
    /// the mapping has to live on even if this sender is the only one left.
    pub(super) fn note_udp(
        &mut self,
        now: Duration,
        remote: SocketAddr,
        side: Side,
        timer: &UdpTimer,
    ) {
        let counts = timer.refresh.counts(side);
        let noted = Session {
            ends_at: now.saturating_add(timer.limit(remote.port())),
            phase: None,
        };
        match self.0.get_mut(&remote) {
            Some(known) if counts || (side == Side::Inside && !known.is_alive(now)) => {
                *known = noted;
            }
            None if counts || side == Side::Inside => {
                self.0.insert(remote, noted);
            }
            Some(_) | None => {}
        }
    }

    /// Notes a TCP segment that the NAT lets pass.
    pub(super) fn note_tcp(
        &mut self,
        now: Duration,
        remote: SocketAddr,
        side: Side,
        signal: TcpSignal,
        timers: &TcpTimers,
    ) {
        let known = self.0.get(&remote).filter(|session| session.is_alive(now));
        let phase = match known.and_then(|session| session.phase) {
            Some(phase) => phase.after(side, signal),
            None => TcpPhase::Opening(side),
        };
        self.0.insert(
            remote,
            Session {
                ends_at: now.saturating_add(timers.limit(phase)),
                phase: Some(phase),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    fn endpoint(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    fn timer(refresh: Refresh) -> UdpTimer {
        UdpTimer {
            idle: Duration::from_mins(1),
            well_known_idle: Some(Duration::from_secs(5)),
            refresh,
        }
    }

    /// When a session ends that was noted at the start and, from `side`, again after 30 s.
    #[track_caller]
    fn check(refresh: Refresh, side: Side, ends_at_secs: u64) {
        let remote = endpoint("192.0.2.1:5000");
        let mut sessions = Sessions::default();
        sessions.note_udp(START, remote, Side::Inside, &timer(refresh));
        let later = Duration::from_secs(30);
        sessions.note_udp(later, remote, side, &timer(refresh));
        let ends_at = sessions.ends_at(remote, later).map(|at| at.as_secs());
        assert_eq!(ends_at, Some(ends_at_secs), "{refresh:?} from {side:?}");
    }

    #[test]
    fn a_session_is_refreshed_from_the_side_that_counts() {
        check(Refresh::Both, Side::Inside, 90);
        check(Refresh::Both, Side::Outside, 90);
        check(Refresh::Outbound, Side::Inside, 90);
        check(Refresh::Outbound, Side::Outside, 60);
        check(Refresh::Inbound, Side::Inside, 60);
        check(Refresh::Inbound, Side::Outside, 90);
    }

    #[test]
    fn an_ended_session_begins_anew_from_inside_whatever_refreshes_it() {
        let remote = endpoint("192.0.2.1:5000");
        let mut sessions = Sessions::default();
        for secs in [0, 60] {
            let now = Duration::from_secs(secs);
            sessions.note_udp(now, remote, Side::Inside, &timer(Refresh::Inbound));
            let ends_at = sessions.ends_at(remote, now);
            assert_eq!(ends_at, Some(now + Duration::from_mins(1)));
        }
    }

    #[test]
    fn a_stranger_opens_a_session_only_where_packets_from_outside_count() {
        let stranger = endpoint("198.51.100.9:5000");
        for (refresh, opens) in [
            (Refresh::Both, true),
            (Refresh::Inbound, true),
            (Refresh::Outbound, false),
        ] {
            let mut sessions = Sessions::default();
            sessions.note_udp(START, stranger, Side::Outside, &timer(refresh));
            assert_eq!(sessions.has(stranger, START), opens, "{refresh:?}");
        }
    }

    #[test]
    fn well_known_ports_end_at_1023() {
        let timer = timer(Refresh::Both);
        let limits = [53, 1023, 1024, 5000].map(|port| timer.limit(port).as_secs());
        assert_eq!(limits, [5, 5, 60, 60]);
    }

    #[test]
    fn an_address_is_known_while_one_of_its_sessions_lives() {
        let mut sessions = Sessions::default();
        let timer = timer(Refresh::Both);
        for remote in ["192.0.2.1:53", "192.0.2.1:5000", "192.0.2.3:53"] {
            sessions.note_udp(START, endpoint(remote), Side::Inside, &timer);
        }
        let known = |secs: u64| {
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| {
                let address = address.parse().expect("an address");
                sessions.has_address(address, Duration::from_secs(secs))
            })
        };
        assert_eq!(known(4), [true, false, true]);
        assert_eq!(known(5), [true, false, false]);
        assert_eq!(known(60), [false; 3]);
    }
}
