//! The agent, and the socket that it is given in the place of those that it would open by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ringtrue::net::{DatagramSocket, TrafficClass};
use ringtrue_sim::endpoint::Seat;
use stun::message::{BINDING_REQUEST, Getter as _, Message};
use stun::{agent::TransactionId, xoraddr::XorMappedAddress};
use tokio::sync::mpsc;
use webrtc_ice::agent::{Agent, agent_config::AgentConfig};
use webrtc_ice::udp_mux::{UDPMuxDefault, UDPMuxParams};
use webrtc_ice::{
    candidate::{Candidate, CandidateType, candidate_base::unmarshal_candidate},
    mdns::MulticastDnsMode,
    network_type::NetworkType,
    udp_network::UDPNetwork,
};
use webrtc_util::vnet::{interface::Interface, net::Net, net::NetConfig};
use webrtc_util::{Conn, Error};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An agent with a socket of its own, what carries its packets, and the address that it has.
pub(crate) async fn open_agent(seat: &Seat) -> Outcome<(Agent, Arc<UDPMuxDefault>, SocketAddr)> {
    let socket = Seen::open(seat).await?;
    let here = socket.seen;
    let mux = UDPMuxDefault::new(UDPMuxParams::new(socket));
    let agent = agent_at(here, Arc::clone(&mux)).await?;
    Ok((agent, mux, here))
}

/// Tells an agent of the other one by its line: `UFRAG PWD ADDRESS`. Returns the first two.
pub(crate) fn add_remote(agent: &Agent, line: &str) -> Outcome<(String, String)> {
    let [ufrag, pwd, there] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(line.into());
    };
    let there: SocketAddr = there.parse()?;
    let candidate = format!("1 1 udp 1 {} {} typ host", there.ip(), there.port());
    let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(unmarshal_candidate(&candidate)?);
    agent.add_remote_candidate(&candidate)?;
    Ok((ufrag.to_owned(), pwd.to_owned()))
}

/// An agent whose only candidate is the address that the world sees.
async fn agent_at(here: SocketAddr, mux: Arc<UDPMuxDefault>) -> Outcome<Agent> {
    let net = Arc::new(Net::new(Some(NetConfig::default())));
    let interface = Interface::convert(here, None)?;
    net.get_nic()?
        .lock()
        .await
        .add_addrs_to_interface("eth0", &[interface])
        .await?;
    let agent = Agent::new(AgentConfig {
        udp_network: UDPNetwork::Muxed(mux),
        network_types: vec![NetworkType::Udp4],
        candidate_types: vec![CandidateType::Host],
        multicast_dns_mode: MulticastDnsMode::Disabled,
        net: Some(net),
        ..AgentConfig::default()
    })
    .await?;
    let (gathered, mut done) = mpsc::unbounded_channel();
    agent.on_candidate(Box::new(move |candidate| {
        let _ = gathered.send(candidate.is_none());
        Box::pin(async {})
    }));
    agent.gather_candidates()?;
    while done.recv().await == Some(false) {}
    Ok(agent)
}

/// A socket that goes by the address that its NAT gave it, as a STUN server tells.
struct Seen {
    socket: Arc<dyn DatagramSocket>,
    seen: SocketAddr,
}

impl Seen {
    async fn open(seat: &Seat) -> Outcome<Self> {
        let any = "0.0.0.0:0".parse()?;
        let socket = seat
            .net
            .bind_datagram(any, TrafficClass::BestEffort)
            .await?;
        let server = seat.net.resolve("stun.l.google.com").await?[0];
        let (mut message, mut mapped) = (Message::new(), XorMappedAddress::default());
        message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId::new())])?;
        socket
            .send_to(&message.raw, SocketAddr::new(server, 19302))
            .await?;
        let mut buffer = [0; 1500];
        let (length, _) = socket.recv_from(&mut buffer).await?;
        message.unmarshal_binary(&buffer[..length])?;
        mapped.get_from(&message)?;
        Ok(Self {
            socket,
            seen: SocketAddr::new(mapped.ip, mapped.port),
        })
    }
}

type Io<T> = Result<T, Error>;

#[async_trait]
impl Conn for Seen {
    async fn connect(&self, _: SocketAddr) -> Io<()> {
        Err(Error::ErrAlreadyClosed)
    }
    async fn recv(&self, buffer: &mut [u8]) -> Io<usize> {
        Ok(self.recv_from(buffer).await?.0)
    }
    async fn recv_from(&self, buffer: &mut [u8]) -> Io<(usize, SocketAddr)> {
        Ok(self.socket.recv_from(buffer).await?)
    }
    async fn send(&self, _: &[u8]) -> Io<usize> {
        Err(Error::ErrAlreadyClosed)
    }
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> Io<usize> {
        Ok(self.socket.send_to(payload, remote).await?)
    }
    fn local_addr(&self) -> Io<SocketAddr> {
        Ok(self.seen)
    }
    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }
    async fn close(&self) -> Io<()> {
        Ok(())
    }
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
