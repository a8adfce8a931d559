//! Middleboxes that cut idle TCP connections, by a reset or in silence.
//!
//! RFC 5382 section 5 (REQ-5) wants an established connection kept for 2 h 4 min at least, so that the
//! keep-alives of RFC 9293 section 3.8.4 come in time. Firewalls and load balancers in the field cut
//! after minutes, and most of them without a word.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::{FirewallVerdict, Packet};
use crate::net::cause::DropCause;
use crate::net::flow::Flow;
use crate::net::nat::tcp::TcpPhase;

/// When and how a middlebox cuts TCP connections that carry nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdleCut {
    /// How long a connection lives after its last segment in either direction. REQ-5 of RFC 5382
    /// asks for 2 h 4 min or more.
    pub after: Duration,
    /// What the two ends hear of it.
    pub how: CutBy,
}

/// What the two ends of a connection hear when a middlebox cuts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutBy {
    /// Both get a TCP reset when the timer fires, and whoever still sends gets another one.
    Reset,
    /// Nothing: segments vanish from then on, and only the ends' own timers can tell.
    Silence,
}

/// The connections that are not idle.
///
/// A segment that belongs to none of them was cut, so nothing has to be kept of those that were.
#[derive(Debug, Clone)]
pub(super) struct IdleConnections {
    config: IdleCut,
    alive: BTreeMap<Ends, Connection>,
    /// No connection is due earlier than this.
    earliest_due: Option<Duration>,
}

impl IdleConnections {
    pub(super) const fn new(config: IdleCut) -> Self {
        Self {
            config,
            alive: BTreeMap::new(),
            earliest_due: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.alive.clear();
        self.earliest_due = None;
    }

    pub(super) fn judge(&mut self, now: Duration, packet: Packet) -> FirewallVerdict {
        let ends = Ends {
            inside: packet.inside,
            remote: packet.remote,
        };
        let is_attempt = packet.signal.is_connection_attempt();
        match self.alive.get_mut(&ends) {
            Some(connection) if !connection.is_idle(now, self.config.after) => {
                connection.phase = connection.phase.after(packet.side, packet.signal);
                connection.seen_at = now;
                FirewallVerdict::Pass
            }
            _ if is_attempt => {
                if self.config.how == CutBy::Silence {
                    // Nobody asks for these, so they are thrown away where new ones come.
                    self.forget_idle(now);
                }
                let connection = Connection {
                    seen_at: now,
                    phase: TcpPhase::Opening(packet.side),
                };
                self.alive.insert(ends, connection);
                let due = now + self.config.after;
                self.earliest_due = Some(self.earliest_due.map_or(due, |other| other.min(due)));
                FirewallVerdict::Pass
            }
            cut => {
                if cut.is_some() {
                    self.alive.remove(&ends);
                }
                match self.config.how {
                    // A reset is never answered with a reset (RFC 9293 section 3.5.2).
                    CutBy::Reset if !packet.signal.rst => {
                        FirewallVerdict::Reset(DropCause::FirewallIdleCut)
                    }
                    CutBy::Reset | CutBy::Silence => {
                        FirewallVerdict::Drop(DropCause::FirewallIdleCut)
                    }
                }
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.earliest_due
            .filter(|_| self.config.how == CutBy::Reset)
    }

    pub(super) fn expired(&mut self, now: Duration) -> Vec<Flow> {
        if self.earliest_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let after = self.config.after;
        let is_told = |connection: &Connection| {
            let is_open = matches!(
                connection.phase,
                TcpPhase::Established | TcpPhase::HalfClosed(_)
            );
            is_open && connection.is_idle(now, after)
        };
        let told = match self.config.how {
            CutBy::Silence => Vec::new(),
            CutBy::Reset => self
                .alive
                .iter()
                .filter(|(_, connection)| is_told(connection))
                .map(|(ends, _)| Flow::tcp(ends.inside, ends.remote))
                .collect(),
        };
        self.forget_idle(now);
        told
    }

    fn forget_idle(&mut self, now: Duration) {
        let after = self.config.after;
        self.alive
            .retain(|_, connection| !connection.is_idle(now, after));
        let seen = self.alive.values().map(|connection| connection.seen_at);
        self.earliest_due = seen.min().map(|seen_at| seen_at + after);
    }
}

/// Which connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ends {
    inside: SocketAddr,
    remote: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    seen_at: Duration,
    /// Nobody is told of the end of a connection that never began or is over.
    phase: TcpPhase,
}

impl Connection {
    fn is_idle(self, now: Duration, after: Duration) -> bool {
        now.saturating_sub(self.seen_at) >= after
    }
}
