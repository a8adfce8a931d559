//! A packet in the shape in which the virtual network takes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::SystemTime;

use webrtc_util::vnet::chunk::Chunk;

use super::traffic::Packet;

/// A datagram on its way to one of the agent's sockets.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
}

impl From<Packet> for Datagram {
    fn from(packet: Packet) -> Self {
        Self {
            source: packet.remote,
            destination: packet.local,
            payload: packet.payload,
        }
    }
}

impl fmt::Display for Datagram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "udp {} => {}", self.source, self.destination)
    }
}

impl Chunk for Datagram {
    // Time stamps serve a router's delay, which inbound packets do not pass through: no clock is
    // read.
    fn set_timestamp(&mut self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn get_timestamp(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn get_source_ip(&self) -> IpAddr {
        self.source.ip()
    }

    fn get_destination_ip(&self) -> IpAddr {
        self.destination.ip()
    }

    fn set_source_addr(&mut self, address: &str) -> Result<(), webrtc_util::Error> {
        self.source = SocketAddr::from_str(address)?;
        Ok(())
    }

    fn set_destination_addr(&mut self, address: &str) -> Result<(), webrtc_util::Error> {
        self.destination = SocketAddr::from_str(address)?;
        Ok(())
    }

    fn source_addr(&self) -> SocketAddr {
        self.source
    }

    fn destination_addr(&self) -> SocketAddr {
        self.destination
    }

    fn user_data(&self) -> Vec<u8> {
        self.payload.clone()
    }

    fn tag(&self) -> String {
        String::new()
    }

    fn network(&self) -> String {
        "udp".into()
    }

    fn clone_to(&self) -> Box<dyn Chunk + Send + Sync> {
        Box::new(self.clone())
    }
}
