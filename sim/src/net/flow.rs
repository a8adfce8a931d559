//! What a middlebox reads of a packet: protocol, addresses and the TCP flags.

use std::fmt;
use std::net::SocketAddr;

/// The transport protocols of the simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Byte streams.
    Tcp,
}

impl Protocol {
    /// Its name in texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The five-tuple of a packet, as it stands at one place of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The transport protocol.
    pub protocol: Protocol,
    /// Who the packet says it is from.
    pub source: SocketAddr,
    /// Where it is going.
    pub destination: SocketAddr,
}

impl Flow {
    /// A UDP flow.
    #[must_use]
    pub const fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Udp,
            source,
            destination,
        }
    }

    /// A TCP flow.
    #[must_use]
    pub const fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Tcp,
            source,
            destination,
        }
    }

    /// The flow of an answer to this packet.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} -> {}",
            self.protocol, self.source, self.destination
        )
    }
}

/// The TCP flags that a middlebox follows a connection by (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the four bits of the TCP header"
)]
pub struct TcpSignal {
    /// Synchronizes sequence numbers: opens a connection.
    pub syn: bool,
    /// The acknowledgment field is valid.
    pub ack: bool,
    /// The sender has nothing more to send.
    pub fin: bool,
    /// The connection is gone.
    pub rst: bool,
}

impl TcpSignal {
    /// The first segment of a connection.
    pub const SYN: Self = Self {
        syn: true,
        ack: false,
        fin: false,
        rst: false,
    };
    /// The answer to it.
    pub const SYN_ACK: Self = Self {
        syn: true,
        ack: true,
        fin: false,
        rst: false,
    };
    /// Any segment in the middle of a connection.
    pub const ACK: Self = Self {
        syn: false,
        ack: true,
        fin: false,
        rst: false,
    };
    /// The last segment of one direction.
    pub const FIN_ACK: Self = Self {
        syn: false,
        ack: true,
        fin: true,
        rst: false,
    };
    /// The end of a connection without good-bye.
    pub const RST: Self = Self {
        syn: false,
        ack: false,
        fin: false,
        rst: true,
    };

    /// Whether the segment asks for a new connection.
    #[must_use]
    pub const fn is_connection_attempt(self) -> bool {
        self.syn && !self.ack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reversed_flow_swaps_both_ends() {
        let flow = Flow::udp(
            "10.0.0.1:1".parse().expect("a socket address"),
            "10.0.0.2:2".parse().expect("a socket address"),
        );
        assert_eq!(flow.reversed().to_string(), "udp 10.0.0.2:2 -> 10.0.0.1:1");
        assert_eq!(flow.reversed().reversed(), flow);
    }
}
