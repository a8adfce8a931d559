//! Transparent interception of TCP, as captive portals and transparent proxies do it.
//!
//! A gateway rewrites the destination of what its hosts send to certain ports, so that an interceptor
//! of its own gets it, and puts the original address back as the source of the answers. The two ends
//! notice nothing. The interceptor can ask what the original destination was, as a proxy on Linux
//! does with `SO_ORIGINAL_DST`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::flow::{Flow, Protocol, TcpSignal};
use super::nat::TcpTimers;
use super::nat::expiry::Side;
use super::nat::tcp::TcpPhase;

/// How many connections are remembered at once. Beyond it the one that was silent for longest is
/// forgotten, as in the connection table of a small router.
const CONNECTIONS_MAX: usize = 4096;

/// Redirects connections from inside to an interceptor.
///
/// The interceptor sees a client by the address and port that its segments have here, so a client
/// that opens a second connection from the same port takes the place of its first one.
#[derive(Debug, Clone)]
pub struct Redirect {
    ports: BTreeSet<u16>,
    to: SocketAddr,
    timers: TcpTimers,
    by_client: BTreeMap<SocketAddr, Connection>,
}

impl Redirect {
    /// Redirects what goes to one of `ports`, whatever the address, to the interceptor at `to`.
    #[must_use]
    pub fn new(ports: impl IntoIterator<Item = u16>, to: SocketAddr) -> Self {
        Self {
            ports: ports.into_iter().collect(),
            to,
            timers: TcpTimers::default(),
            by_client: BTreeMap::new(),
        }
    }

    /// Where the interceptor is.
    #[must_use]
    pub const fn to(&self) -> SocketAddr {
        self.to
    }

    /// The flow with which a packet from inside goes on: to the interceptor where it belongs to a
    /// redirected connection, unchanged otherwise. A connection that began before the redirection is
    /// left alone. `signal` is as in [`Firewall::outbound`](super::Firewall::outbound).
    pub fn outbound(&mut self, now: Duration, flow: Flow, signal: Option<TcpSignal>) -> Flow {
        // What the interceptor itself sends, or is sent openly, is not to come back to it.
        let is_own = flow.source.ip() == self.to.ip() || flow.destination == self.to;
        if flow.protocol != Protocol::Tcp || is_own {
            return flow;
        }
        let signal = signal.unwrap_or(TcpSignal::ACK);
        let client = flow.source;
        let known = self
            .by_client
            .get_mut(&client)
            .filter(|connection| connection.is_alive(now, &self.timers))
            .filter(|connection| connection.original == flow.destination);
        if let Some(connection) = known {
            connection.note(now, Side::Inside, signal);
        } else if signal.is_connection_attempt() && self.ports.contains(&flow.destination.port()) {
            self.remember(now, client, flow.destination);
        } else {
            return flow;
        }
        Flow::tcp(client, self.to)
    }

    /// The flow with which a packet to an inside host goes on: where it is the interceptor's answer
    /// on a redirected connection it gets the original destination as its source.
    pub fn inbound(&mut self, now: Duration, flow: Flow, signal: Option<TcpSignal>) -> Flow {
        if flow.protocol != Protocol::Tcp || flow.source != self.to {
            return flow;
        }
        let connection = self
            .by_client
            .get_mut(&flow.destination)
            .filter(|connection| connection.is_alive(now, &self.timers));
        let Some(connection) = connection else {
            return flow;
        };
        connection.note(now, Side::Outside, signal.unwrap_or(TcpSignal::ACK));
        Flow::tcp(connection.original, flow.destination)
    }

    /// Where the client that the interceptor sees as `client` wanted to go.
    #[must_use]
    pub fn original_destination(&self, now: Duration, client: SocketAddr) -> Option<SocketAddr> {
        self.by_client
            .get(&client)
            .filter(|connection| connection.is_alive(now, &self.timers))
            .map(|connection| connection.original)
    }

    fn remember(&mut self, now: Duration, client: SocketAddr, original: SocketAddr) {
        let timers = self.timers;
        self.by_client
            .retain(|_, connection| connection.is_alive(now, &timers));
        if self.by_client.len() >= CONNECTIONS_MAX {
            let silent =
                |(client, connection): (&SocketAddr, &Connection)| (connection.seen_at, *client);
            if let Some((_, longest)) = self.by_client.iter().map(silent).min() {
                self.by_client.remove(&longest);
            }
        }
        let connection = Connection {
            original,
            seen_at: now,
            phase: TcpPhase::Opening(Side::Inside),
        };
        self.by_client.insert(client, connection);
    }
}

/// A redirected connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    original: SocketAddr,
    seen_at: Duration,
    phase: TcpPhase,
}

impl Connection {
    fn note(&mut self, now: Duration, side: Side, signal: TcpSignal) {
        self.seen_at = now;
        self.phase = self.phase.after(side, signal);
    }

    fn is_alive(&self, now: Duration, timers: &TcpTimers) -> bool {
        let limit = match self.phase {
            TcpPhase::Established | TcpPhase::HalfClosed(_) => timers.established,
            TcpPhase::Opening(_) | TcpPhase::Closing | TcpPhase::Reset => timers.transitory,
        };
        now.saturating_sub(self.seen_at) < limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    fn endpoint(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    fn client() -> SocketAddr {
        endpoint("192.168.1.2:50000")
    }

    fn server() -> SocketAddr {
        endpoint("192.0.2.1:80")
    }

    fn interceptor() -> SocketAddr {
        endpoint("192.168.1.254:3128")
    }

    /// A redirection of HTTP through which the client has sent a SYN to the server.
    fn opened() -> Redirect {
        let mut redirect = Redirect::new([80], interceptor());
        let sent = redirect.outbound(START, Flow::tcp(client(), server()), Some(TcpSignal::SYN));
        assert_eq!(sent, Flow::tcp(client(), interceptor()));
        redirect
    }

    #[test]
    fn the_two_ends_of_a_redirected_connection_notice_nothing() {
        let mut redirect = opened();
        assert_eq!(
            redirect.original_destination(START, client()),
            Some(server())
        );
        let answer = Flow::tcp(interceptor(), client());
        assert_eq!(
            redirect.inbound(START, answer, Some(TcpSignal::SYN_ACK)),
            Flow::tcp(server(), client())
        );
        assert_eq!(
            redirect.outbound(START, Flow::tcp(client(), server()), None),
            Flow::tcp(client(), interceptor())
        );
    }

    #[test]
    fn what_is_not_meant_goes_where_it_wants() {
        let mut redirect = opened();
        let syn = Some(TcpSignal::SYN);
        for flow in [
            Flow::udp(client(), server()),
            Flow::tcp(endpoint("192.168.1.2:50001"), endpoint("192.0.2.1:443")),
            // The proxy's own connection to the server.
            Flow::tcp(endpoint("192.168.1.254:50000"), server()),
        ] {
            assert_eq!(redirect.outbound(START, flow, syn), flow);
        }
        let from_server = Flow::tcp(server(), endpoint("192.168.1.254:50000"));
        assert_eq!(redirect.inbound(START, from_server, None), from_server);
        let to_nobody = Flow::tcp(interceptor(), endpoint("192.168.1.3:1"));
        assert_eq!(redirect.inbound(START, to_nobody, None), to_nobody);
    }

    #[test]
    fn a_connection_from_before_the_redirection_is_left_alone() {
        let mut redirect = Redirect::new([80], interceptor());
        let flow = Flow::tcp(client(), server());
        assert_eq!(redirect.outbound(START, flow, Some(TcpSignal::ACK)), flow);
    }

    #[test]
    fn a_port_that_is_used_again_goes_to_its_new_destination() {
        let mut redirect = opened();
        let other = endpoint("192.0.2.9:80");
        redirect.outbound(START, Flow::tcp(client(), other), Some(TcpSignal::SYN));
        assert_eq!(redirect.original_destination(START, client()), Some(other));
    }

    #[test]
    fn a_redirection_is_forgotten_when_its_connection_is_over_or_idle() {
        let mut redirect = opened();
        let answer = Flow::tcp(interceptor(), client());
        redirect.inbound(START, answer, Some(TcpSignal::SYN_ACK));
        let known = |redirect: &Redirect, minutes| {
            let now = Duration::from_mins(minutes);
            redirect.original_destination(now, client()).is_some()
        };
        assert!(known(&redirect, 123));
        assert!(!known(&redirect, 124));
        redirect.inbound(START, answer, Some(TcpSignal::RST));
        assert!(known(&redirect, 3));
        assert!(!known(&redirect, 4));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_most_silent_first() {
        let mut redirect = Redirect::new([80], interceptor());
        let client = |number: usize| {
            let port = u16::try_from(number + 1).expect("under the bound of ports");
            SocketAddr::new(endpoint("192.168.1.2:1").ip(), port)
        };
        for number in 0..=CONNECTIONS_MAX {
            let now = Duration::from_millis(u64::try_from(number).expect("small"));
            let flow = Flow::tcp(client(number), server());
            redirect.outbound(now, flow, Some(TcpSignal::SYN));
        }
        let now = Duration::from_secs(5);
        assert_eq!(redirect.by_client.len(), CONNECTIONS_MAX);
        assert_eq!(redirect.original_destination(now, client(0)), None);
        assert_eq!(
            redirect.original_destination(now, client(1)),
            Some(server())
        );
    }
}
