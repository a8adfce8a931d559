//! One ICE generation: an agent with one pair of credentials, on a bridge of its own.
//!
//! A restart is a new generation beside the old one, since the agent's own `restart` refuses while
//! it gathers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::{AgentConfig, IpFilterFn};
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::candidate::{Candidate, CandidateType as AgentCandidateType};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::state::ConnectionState;
use webrtc_ice::udp_network::{EphemeralUDP, UDPNetwork};
use webrtc_ice::url::{ProtoType, SchemeType, Url};
use webrtc_util::Conn;

use super::bridge::{
    Announcer, Bridge, BridgeError, BridgeEvent, Family, is_candidate, real_of, virtual_of,
};
use super::connection::{IceRole, IceState};
use super::failure::PeerFailure;
use super::sdp::IceCredentials;
use super::servers;
use crate::candidates::{CandidateAttribute, CandidateType, with_local_preference};
use crate::config::{IceConfig, TransportPolicy};
use crate::net::{Net, TrafficClass};
use crate::redaction;

/// By how much the local preference of candidates that are relayed over TCP is lower, so that
/// relays that are reached over UDP are preferred: over TCP one lost packet holds up all behind it
/// (RFC 8445 section 5.1.2.1 leaves the value open).
const LOCAL_PREFERENCE_LESS_OVER_TCP: u32 = 1 << 15;

/// How often the agent offers a check of the selected pair. The bridge lets pass those that consent asks
/// for.
const CHECK_OFFER_INTERVAL: Duration = Duration::from_millis(200);

/// How long gathering may take to end once every question of it has been refused.
const GATHERING_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the agent's last packets may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the release of an allocation is repeated: ten times over a network that loses packets.
/// Without it an allocation lives for ten minutes more, and counts against the quota of its user.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(4500);

/// How long the end of a generation is waited for. It goes on in the background.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a host with both families waits at least before it selects a pair of host candidates.
/// The pair that is valid first is selected otherwise, and which one that is says nothing about
/// the families. As long as a client with both families waits between two attempts (RFC 8305
/// section 5).
const DUAL_STACK_WAIT: Duration = Duration::from_millis(250);

/// The agent's ports on a host with IPv6. Its sockets to TURN servers take theirs from 5000 to
/// 5999, on all addresses at once, and are refused a port that an IPv6 socket has.
const IPV6_HOST_PORTS: (u16, u16) = (6000, 6999);

type SharedCandidate = Arc<dyn Candidate + Send + Sync>;

/// What a generation reports.
#[derive(Debug)]
pub(crate) enum GenerationEvent {
    /// A local candidate, to be announced as it is.
    LocalCandidate(CandidateAttribute),
    /// No more local candidates come.
    LocalCandidatesComplete,
    State(IceState),
    Selected(Selected),
    /// The system has closed the socket at this address, and most likely all others with it. Told
    /// once.
    SocketLost(SocketAddr),
    /// The other side has agreed to nothing for 30 s, and nothing more is sent to it.
    ConsentLost,
}

/// The two ends of the selected pair.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) local: (CandidateType, SocketAddr),
    pub(crate) remote: (CandidateType, SocketAddr),
}

/// Why a remote candidate is of no use to this agent, though nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("only UDP candidates are paired")]
    Transport,
    #[error("this host has no IPv6 address")]
    Family,
    #[error("an address of its scope is of no use to another host")]
    Scope,
    #[error("names in candidates are not resolved")]
    HostName,
    #[error("the agent refuses it")]
    Refused,
}

/// One ICE agent. Dropping it without [`Generation::close`] closes it in the background.
#[derive(Debug)]
pub(crate) struct Generation {
    parts: Option<Parts>,
    /// Where the generation lives. When its runtime is gone, so is everything of it; another
    /// runtime that happens to be current then must not revive it.
    runtime: Handle,
}

struct Parts {
    agent: Arc<Agent>,
    bridge: Bridge,
    gathering: watch::Receiver<Gathering>,
    begun: watch::Sender<Gathering>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathering {
    NotBegun,
    Begun,
    Complete,
}

impl Generation {
    /// Makes the agent. Nothing is sent before [`Self::gather`].
    ///
    /// # Errors
    ///
    /// [`PeerFailure::NoInterface`] or [`PeerFailure::Internal`].
    pub(crate) async fn new(
        net: Arc<dyn Net>,
        ice: &IceConfig,
        class: TrafficClass,
        credentials: &IceCredentials,
        events: mpsc::UnboundedSender<GenerationEvent>,
    ) -> Result<Self, PeerFailure> {
        let servers = servers::usable(&ice.servers);
        let to = events.clone();
        let listener = Box::new(move |event| {
            let event = match event {
                BridgeEvent::SocketLost(address) => GenerationEvent::SocketLost(address),
                BridgeEvent::ConsentLost => GenerationEvent::ConsentLost,
            };
            // Nobody listens once the connection is closed.
            let _ = to.send(event);
        });
        let bridge = Bridge::start(net, class, &servers, ice.backup_ping_interval, listener)
            .await
            .map_err(|error| match error {
                BridgeError::Virtual(_) => PeerFailure::Internal(error.to_string()),
                BridgeError::Interfaces(_) | BridgeError::NoAddress => {
                    PeerFailure::NoInterface(error.to_string())
                }
            })?;
        let urls = servers
            .iter()
            .zip(bridge.servers())
            .map(|(server, place)| Url {
                scheme: match server.turn {
                    Some(_) => SchemeType::Turn,
                    None => SchemeType::Stun,
                },
                host: place.ip().to_string(),
                port: place.port(),
                username: server
                    .turn
                    .as_ref()
                    .map_or_else(String::new, |turn| turn.username.clone()),
                password: server
                    .turn
                    .as_ref()
                    .map_or_else(String::new, |turn| turn.password.clone()),
                proto: ProtoType::Udp,
            })
            .collect();
        let agent = Agent::new(agent_config(ice, credentials, urls, &bridge))
            .await
            .map_err(|error| PeerFailure::Internal(format!("ICE agent: {error}")))?;

        let (begun, gathering) = watch::channel(Gathering::NotBegun);
        report(&agent, ice.policy, &bridge.announcer(), &begun, &events);
        Ok(Self {
            parts: Some(Parts {
                agent: Arc::new(agent),
                bridge,
                gathering,
                begun,
            }),
            runtime: Handle::current(),
        })
    }

    /// Starts gathering; a second call does nothing.
    pub(crate) fn gather(&self) -> Result<(), PeerFailure> {
        let parts = self.parts();
        if *parts.gathering.borrow() != Gathering::NotBegun {
            return Ok(());
        }
        parts.begun.send_replace(Gathering::Begun);
        parts
            .agent
            .gather_candidates()
            .map_err(|error| PeerFailure::Internal(format!("gathering: {error}")))
    }

    /// Gives a remote candidate of this generation to the agent.
    ///
    /// # Errors
    ///
    /// [`Unusable`] where the candidate can pair with nothing here.
    pub(crate) fn add_remote(&self, attribute: &CandidateAttribute) -> Result<(), Unusable> {
        if attribute.transport != "udp" {
            return Err(Unusable::Transport);
        }
        // The zone of a link-local address means nothing here.
        let (address, _zone) = attribute
            .address
            .split_once('%')
            .unwrap_or((&attribute.address, ""));
        let address: IpAddr = address.parse().map_err(|_| Unusable::HostName)?;
        if !is_candidate(address) {
            return Err(Unusable::Scope);
        }
        // A candidate of IPv4 may pair with a relayed one even where the host has none of its own,
        // while TURN servers relay to IPv6 only on request (RFC 8656 section 14.6).
        if address.is_ipv6() && !self.parts().bridge.has(Family::V6) {
            return Err(Unusable::Family);
        }
        let translated = CandidateAttribute {
            // In the one form that the agent compares (RFC 5952).
            address: virtual_of(address).to_string(),
            // Of no use for pairing, and the agent reads nothing behind them.
            extensions: Vec::new(),
            ..attribute.clone()
        };
        let text = translated.to_string();
        let candidate = unmarshal_candidate(text.trim_start_matches("candidate:"))
            .map_err(|_| Unusable::Refused)?;
        let candidate: SharedCandidate = Arc::new(candidate);
        self.parts()
            .agent
            .add_remote_candidate(&candidate)
            .map_err(|_| Unusable::Refused)
    }

    /// Checks pairs until one is selected, and gives the path. Never ends where none works: the
    /// state event tells. `cancel` ends it early.
    pub(crate) fn connect(
        &self,
        role: IceRole,
        remote: &IceCredentials,
        cancel: mpsc::Receiver<()>,
    ) -> impl Future<Output = Result<Arc<dyn Conn + Send + Sync>, PeerFailure>> + Send + 'static
    {
        let parts = self.parts();
        parts.bridge.begin_checks(remote.pwd());
        let agent = Arc::clone(&parts.agent);
        let (ufrag, pwd) = (remote.ufrag().to_owned(), remote.pwd().to_owned());
        async move {
            let path: Result<Arc<dyn Conn + Send + Sync>, _> = match role {
                IceRole::Controlling => match agent.dial(cancel, ufrag, pwd).await {
                    Ok(path) => Ok(path),
                    Err(error) => Err(error),
                },
                IceRole::Controlled => match agent.accept(cancel, ufrag, pwd).await {
                    Ok(path) => Ok(path),
                    Err(error) => Err(error),
                },
            };
            path.map_err(|error| PeerFailure::Internal(format!("ICE: {error}")))
        }
    }

    /// Releases TURN allocations, closes all sockets and ends all tasks.
    pub(crate) async fn close(mut self) {
        if let Some(parts) = self.parts.take() {
            // In a task of its own: abandoned half-way, the agent's tasks would stay for ever.
            let closing = tokio::spawn(shut_down(parts));
            if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
                tracing::debug!("ICE agent still closing after {CLOSE_TIMEOUT:?}");
            }
        }
    }

    fn parts(&self) -> &Parts {
        self.parts
            .as_ref()
            .expect("parts are taken only by close and drop, which end the generation")
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.runtime.spawn(shut_down(parts));
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("bridge", &self.bridge)
            .field("gathering", &*self.gathering.borrow())
            .finish_non_exhaustive()
    }
}

fn agent_config(
    ice: &IceConfig,
    credentials: &IceCredentials,
    urls: Vec<Url>,
    bridge: &Bridge,
) -> AgentConfig {
    let candidate_types = match ice.policy {
        TransportPolicy::All => vec![
            AgentCandidateType::Host,
            AgentCandidateType::ServerReflexive,
            AgentCandidateType::Relay,
        ],
        TransportPolicy::RelayOnly => vec![AgentCandidateType::Relay],
    };
    let has_v6 = bridge.has(Family::V6);
    let has_v4 = bridge.has(Family::V4);
    let host_wait = if has_v4 && has_v6 {
        ice.acceptance.host.max(DUAL_STACK_WAIT)
    } else {
        ice.acceptance.host
    };
    AgentConfig {
        urls,
        local_ufrag: credentials.ufrag().to_owned(),
        local_pwd: credentials.pwd().to_owned(),
        multicast_dns_mode: MulticastDnsMode::Disabled,
        disconnected_timeout: Some(ice.receiving_timeout),
        failed_timeout: Some(ice.failed_timeout),
        keepalive_interval: Some(CHECK_OFFER_INTERVAL),
        udp_network: if has_v6 {
            let (first, last) = IPV6_HOST_PORTS;
            UDPNetwork::Ephemeral(EphemeralUDP::new(first, last).expect("first to last"))
        } else {
            UDPNetwork::default()
        },
        // IPv4 is always there: it is the only family in which the agent asks servers.
        network_types: if has_v6 {
            vec![NetworkType::Udp4, NetworkType::Udp6]
        } else {
            vec![NetworkType::Udp4]
        },
        ip_filter: Arc::new((!has_v4).then(|| -> IpFilterFn { Box::new(|ip| ip.is_ipv6()) })),
        candidate_types,
        check_interval: ice.check_interval,
        max_binding_requests: Some(ice.binding_requests_max),
        host_acceptance_min_wait: Some(host_wait),
        srflx_acceptance_min_wait: Some(ice.acceptance.server_reflexive),
        prflx_acceptance_min_wait: Some(ice.acceptance.peer_reflexive),
        relay_acceptance_min_wait: Some(ice.acceptance.relayed),
        net: Some(bridge.virtual_net()),
        ..AgentConfig::default()
    }
}

/// Turns the agent's call-backs into events. None of them waits for anything but the bridge, since
/// the agent may hold its locks while they run.
fn report(
    agent: &Agent,
    policy: TransportPolicy,
    announcer: &Announcer,
    gathering: &watch::Sender<Gathering>,
    events: &mpsc::UnboundedSender<GenerationEvent>,
) {
    let (to, announce, complete) = (events.clone(), announcer.clone(), gathering.clone());
    agent.on_candidate(Box::new(move |candidate| {
        let (to, announce, complete) = (to.clone(), announce.clone(), complete.clone());
        Box::pin(async move {
            let event = if let Some(candidate) = candidate {
                let Some(attribute) = announced(&announce, policy, &candidate).await else {
                    return;
                };
                GenerationEvent::LocalCandidate(attribute)
            } else {
                complete.send_replace(Gathering::Complete);
                GenerationEvent::LocalCandidatesComplete
            };
            // Nobody listens once the connection is closed.
            let _ = to.send(event);
        })
    }));

    let to = events.clone();
    agent.on_connection_state_change(Box::new(move |state| {
        if let Some(state) = ice_state(state) {
            let _ = to.send(GenerationEvent::State(state));
        }
        Box::pin(async {})
    }));

    let (to, announce) = (events.clone(), announcer.clone());
    agent.on_selected_candidate_pair_change(Box::new(move |local, remote| {
        let (to, announce) = (to.clone(), announce.clone());
        let (local, remote) = (Arc::clone(local), Arc::clone(remote));
        Box::pin(async move {
            let selected = Selected {
                local: (kind(&local), local_address(&announce, &local).await),
                remote: (kind(&remote), real_address(remote.addr())),
            };
            let _ = to.send(GenerationEvent::Selected(selected));
        })
    }));
}

/// The attribute under which a local candidate is announced: with real addresses.
async fn announced(
    announcer: &Announcer,
    policy: TransportPolicy,
    candidate: &SharedCandidate,
) -> Option<CandidateAttribute> {
    let mut attribute: CandidateAttribute = match candidate.marshal().parse() {
        Ok(attribute) => attribute,
        Err(error) => {
            tracing::warn!(%error, "local candidate not announced");
            return None;
        }
    };
    let base = match &attribute.related {
        None => candidate.addr(),
        Some((_, port)) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port),
    };
    let over_tcp = match attribute.kind {
        CandidateType::Relayed => announcer.connection(base.port()),
        _ => None,
    };
    if over_tcp.is_some() {
        // Candidates that were obtained over different transports are not alike (RFC 8445 section
        // 5.1.1.3).
        attribute.foundation.push_str("tcp");
    }
    let real = match over_tcp {
        Some(address) => Ok(address),
        None => announcer.announced(base).await,
    };
    let base = match real {
        Ok(base) => base,
        Err(error) => {
            tracing::warn!(error = %redaction::scrubbed(error), kind = %attribute.kind, "local candidate not announced");
            return None;
        }
    };
    let address = match attribute.kind {
        CandidateType::Host => base,
        _ => real_address(candidate.addr()),
    };
    attribute.priority =
        with_local_preference(attribute.priority, announcer.local_preference(base.ip()));
    // The agent holds all relays for equal: the other side, at least, shall know better.
    if over_tcp.is_some() {
        let less = LOCAL_PREFERENCE_LESS_OVER_TCP << 8;
        attribute.priority = attribute.priority.saturating_sub(less);
    }
    attribute.address = address.ip().to_string();
    attribute.port = address.port();
    if attribute.related.is_some() {
        attribute.related = Some(match policy {
            TransportPolicy::All => (base.ip().to_string(), base.port()),
            // The other side shall learn no address of this host.
            TransportPolicy::RelayOnly => (unspecified(address.ip()).to_string(), 9),
        });
    }
    Some(attribute)
}

async fn local_address(announcer: &Announcer, candidate: &SharedCandidate) -> SocketAddr {
    let address = candidate.addr();
    match candidate.candidate_type() {
        AgentCandidateType::Host => announcer.announced(address).await.unwrap_or(address),
        _ => real_address(address),
    }
}

fn real_address(seen: SocketAddr) -> SocketAddr {
    SocketAddr::new(real_of(seen.ip()), seen.port())
}

/// The unspecified address of the family of `address`.
fn unspecified(address: IpAddr) -> IpAddr {
    match Family::of(address) {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn kind(candidate: &SharedCandidate) -> CandidateType {
    match candidate.candidate_type() {
        AgentCandidateType::ServerReflexive => CandidateType::ServerReflexive,
        AgentCandidateType::PeerReflexive => CandidateType::PeerReflexive,
        AgentCandidateType::Relay => CandidateType::Relayed,
        AgentCandidateType::Host | AgentCandidateType::Unspecified => CandidateType::Host,
    }
}

fn ice_state(state: ConnectionState) -> Option<IceState> {
    match state {
        ConnectionState::New => Some(IceState::New),
        ConnectionState::Checking => Some(IceState::Checking),
        ConnectionState::Connected | ConnectionState::Completed => Some(IceState::Connected),
        ConnectionState::Disconnected => Some(IceState::Disconnected),
        ConnectionState::Failed => Some(IceState::Failed),
        ConnectionState::Closed => Some(IceState::Closed),
        ConnectionState::Unspecified => None,
    }
}

/// Ends an agent. An agent that is closed while it gathers keeps the candidates it finds later,
/// and their tasks, for ever: so gathering ends first.
async fn shut_down(mut parts: Parts) {
    parts.bridge.refuse_all().await;
    if *parts.gathering.borrow() == Gathering::Begun {
        let complete = |state: &Gathering| *state == Gathering::Complete;
        if timeout(GATHERING_TIMEOUT, parts.gathering.wait_for(complete))
            .await
            .is_err()
        {
            tracing::debug!("still gathering after {GATHERING_TIMEOUT:?}");
        }
    }
    if let Err(error) = parts.agent.close().await {
        tracing::debug!(error = %redaction::scrubbed(error), "closing the ICE agent");
    }
    // The release of a TURN allocation may still be inside the virtual network.
    let _ = timeout(FLUSH_TIMEOUT, parts.bridge.flush()).await;
    if timeout(RELEASE_TIMEOUT, parts.bridge.released())
        .await
        .is_err()
    {
        tracing::debug!("a relay has not confirmed the end of its allocation");
    }
    parts.bridge.close().await;
}
