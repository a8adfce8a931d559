//! What `webrtc-ice` 0.17.2 does against the RFCs, as it is: each of these fails when the library mends it,
//! and what the client does about it can go then.

use std::net::Ipv4Addr;
use std::sync::Arc;

use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::candidate_base::{CandidateBaseConfig, unmarshal_candidate};
use webrtc_ice::candidate::candidate_host::CandidateHostConfig;
use webrtc_ice::candidate::candidate_relay::CandidateRelayConfig;
use webrtc_ice::candidate::{Candidate, CandidateType};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_util::vnet::net::{Net, NetConfig};

/// RFC 8445 section 5.1.2.1: candidates of one type have each a local preference of their own.
#[test]
fn webrtc_ice_0_17_2_gives_candidates_of_one_type_one_priority() {
    let base = |address: &str| CandidateBaseConfig {
        network: "udp".into(),
        address: address.into(),
        port: 9,
        component: 1,
        ..CandidateBaseConfig::default()
    };
    let host = |address: &str| {
        let config = CandidateHostConfig {
            base_config: base(address),
            ..CandidateHostConfig::default()
        };
        config.new_candidate_host().expect("an address").priority()
    };
    let relay = |address: &str| {
        let config = CandidateRelayConfig {
            base_config: base(address),
            ..CandidateRelayConfig::default()
        };
        config.new_candidate_relay().expect("an address").priority()
    };
    assert_eq!(host("192.168.1.2"), host("192.168.7.2"));
    assert_eq!(relay("192.0.2.4"), relay("192.0.2.5"));
}

/// RFC 8838 section 12 and RFC 8839 section 5.4: a candidate of another generation is not this agent's.
#[tokio::test]
async fn webrtc_ice_0_17_2_takes_candidates_of_another_generation() {
    let agent = agent().await;
    let foreign = "1 1 udp 2130706431 192.0.2.9 5000 typ host ufrag theirs";
    let foreign = unmarshal_candidate(foreign).expect("a candidate");
    let foreign: Arc<dyn Candidate + Send + Sync> = Arc::new(foreign);
    agent.add_remote_candidate(&foreign).expect("it is taken");
    // It is added by a task of the library's.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.get_remote_candidates_stats().await.len(), 1);
    agent.close().await.expect("it ends");
}

/// An agent in a network without anybody.
async fn agent() -> Agent {
    let net = NetConfig {
        static_ips: vec![Ipv4Addr::new(10, 0, 0, 1).to_string()],
        ..NetConfig::default()
    };
    let config = AgentConfig {
        network_types: vec![NetworkType::Udp4],
        candidate_types: vec![CandidateType::Host],
        multicast_dns_mode: MulticastDnsMode::Disabled,
        net: Some(Arc::new(Net::new(Some(net)))),
        ..AgentConfig::default()
    };
    Agent::new(config).await.expect("an agent")
}
