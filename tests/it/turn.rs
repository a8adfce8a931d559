//! TURN over TCP: calls that have no other way, and servers that are dead beside one that lives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue::candidates::CandidateAttribute;
use ringtrue::config::{Credentials, IceConfig, IceServer, MediaConfig};
use ringtrue::peer::{IceRole, MediaIdentity, PeerConnection, PeerEvent};
use ringtrue_sim::determinism::{Capture, Plugs, has_panicked, run_on_own_thread};
use ringtrue_sim::net::topology::Families;
use ringtrue_sim::net::{LinkPair, NetworkConfig, Topology};
use ringtrue_sim::report::CandidateType;
use ringtrue_sim::scenario::model::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::server::turn::{self, TurnAddresses, TurnConfig, TurnControl};
use ringtrue_sim::trace::Recorder;
use ringtrue_sim::world::World;
use ringtrue_sim::world::host::Names;
use tokio::time::{Instant, timeout};

use crate::support::{check, report, scenario_of};

/// A call between two networks, of which those that are named block UDP.
fn blocked(networks: &[&str], uplink: &str) -> Scenario {
    let network = |name: &str| {
        let udp = if networks.contains(&name) {
            "blocked"
        } else {
            "open"
        };
        format!(
            "[network.{name}-net]\nnat = \"port-restricted\"\nudp = \"{udp}\"\nuplink = {uplink}\n\
             [peer.{name}]\nnetwork = \"{name}-net\"\n"
        )
    };
    let text = format!(
        "about = \"UDP is blocked for {}\"\n{}{}\
         [expect]\npath = \"relayed\"\n[talk]\nfor = \"2s\"\n",
        networks.join(" and "),
        network("alice"),
        network("bob"),
    );
    scenario_of(&text)
}

#[test]
fn whoever_cannot_use_udp_talks_over_tcp() {
    for networks in [&["alice"][..], &["bob"], &["alice", "bob"]] {
        let scenario = blocked(networks, r#"{ delay = "15ms" }"#);
        let first = check(&scenario, 1);
        for name in networks {
            assert_eq!(first.selected[*name], CandidateType::Relayed);
        }
        let time = first.time_to_audio().expect("audio was connected");
        assert!(time < Duration::from_secs(5), "{networks:?}: {time:?}");
        assert_eq!(first.digest, report(&scenario, 1).digest);
    }
}

#[test]
fn losses_hold_audio_over_tcp_up_and_do_not_end_it() {
    let scenario = blocked(&["alice", "bob"], r#"{ delay = "15ms", loss = "5%" }"#);
    for seed in 0..20 {
        // Two losses in a row hold up more audio than the expectation allows, so it is not asked for.
        let report = report(&scenario, seed);
        assert_eq!(report.audio_connected_ms.len(), 2, "{:?}", report.failures);
    }
}

/// What came of a gathering.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Gathered {
    /// When the first relayed candidate was there.
    relayed: Option<Duration>,
    /// The priorities of all of them.
    priorities: Vec<u32>,
    /// When no more were to come.
    complete: Option<Duration>,
    refused: u64,
}

/// A host that gathers from the servers of these URLs. `live.example` serves UDP at port 80 and
/// TCP at port 443, `silent.example` is an address that nobody has, and there are no other names.
#[track_caller]
fn gather(urls: &[&str], outage: fn(&TurnControl)) -> Gathered {
    let run = || {
        let capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        let mut topology = Topology::new();
        let network = topology
            .add_network("home", NetworkConfig::default())
            .expect("the first network");
        let alice = topology
            .add_host("alice", network, LinkPair::default())
            .expect("the first host");
        let live = topology
            .add_server("live.example", LinkPair::default(), Families::V4)
            .expect("the first server");
        let address = topology.addresses(live)[0];
        let names = Names::from([
            ("live.example".to_owned(), vec![address]),
            ("silent.example".to_owned(), vec![[192, 0, 2, 200].into()]),
        ]);
        let mut world = World::new(capture, Recorder::new(Vec::new()), topology, names);

        let control = TurnControl::default();
        outage(&control);
        let (net, switch) = (world.net(live), control.clone());
        world.domain(live).spawn(async move {
            let addresses = TurnAddresses {
                udp: vec![SocketAddr::new(address, 80)],
                tcp: vec![SocketAddr::new(address, 443)],
            };
            let _server = turn::start(net, &addresses, TurnConfig::default(), switch)
                .await
                .expect("the ports are free");
            std::future::pending::<()>().await;
        });

        let gathered = Arc::new(Mutex::new(None));
        let (net, result) = (world.net(alice), Arc::clone(&gathered));
        let ice = IceConfig {
            servers: urls.iter().map(|url| server(url)).collect(),
            ..IceConfig::default()
        };
        world.domain(alice).spawn(async move {
            let outcome = listen(net, ice).await;
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        loop {
            assert!(!has_panicked(), "the gathering has failed");
            world.step();
            let outcome = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = outcome.clone() {
                return Gathered {
                    refused: control.refused(),
                    ..outcome
                };
            }
        }
    };
    run_on_own_thread("gathering", run).unwrap_or_else(|error| panic!("{error}"))
}

async fn listen(net: Arc<dyn ringtrue::net::Net>, ice: IceConfig) -> Gathered {
    let media = MediaConfig::default();
    let identity = MediaIdentity::generate().expect("a certificate can be made");
    let (connection, mut events) =
        PeerConnection::new(net, ice, &media, IceRole::Controlling, identity);
    let start = Instant::now();
    connection.start_gathering();
    let mut gathered = Gathered::default();
    let gathering = async {
        while let Some(event) = events.recv().await {
            match event {
                PeerEvent::LocalCandidate(candidate) => {
                    let attribute: CandidateAttribute =
                        candidate.candidate.parse().expect("own candidate is valid");
                    if attribute.kind == CandidateType::Relayed {
                        gathered.relayed.get_or_insert(start.elapsed());
                        gathered.priorities.push(attribute.priority);
                    }
                }
                PeerEvent::LocalCandidatesComplete => {
                    gathered.complete = Some(start.elapsed());
                    return;
                }
                _ => {}
            }
        }
    };
    // Whatever is not found by then counts as never.
    let _ = timeout(Duration::from_secs(20), gathering).await;
    connection.close().await;
    gathered
}

fn server(url: &str) -> IceServer {
    IceServer {
        url: url.to_owned(),
        credentials: url.starts_with("turn").then(|| Credentials {
            username: "ringtrue".into(),
            password: "ringtrue".into(),
        }),
    }
}

/// Servers of every kind that are dead in every way: no such name, no answer, no open port.
const DEAD: [&str; 8] = [
    "stun:nowhere.example",
    "stun:silent.example",
    "turn:nowhere.example",
    "turn:nowhere.example?transport=tcp",
    "turn:silent.example",
    "turn:silent.example?transport=tcp",
    "turn:live.example:81",
    "turn:live.example:444?transport=tcp",
];

/// How long servers over TCP wait for those over UDP.
const HEAD_START: Duration = Duration::from_millis(500);

#[test]
fn dead_servers_delay_no_other() {
    let all_and = |url| [&DEAD[..], &[url]].concat();
    let over_udp = "turn:live.example:80";
    let alone = gather(&[over_udp], TurnControl::serve).relayed;
    assert!(alone.is_some());
    assert_eq!(
        gather(&all_and(over_udp), TurnControl::serve).relayed,
        alone
    );

    let over_tcp = "turn:live.example:443?transport=tcp";
    let alone = gather(&[over_tcp], TurnControl::serve).relayed;
    let alone = alone.expect("it is found over TCP");
    let beside = gather(&all_and(over_tcp), TurnControl::serve).relayed;
    assert_eq!(beside, Some(alone + HEAD_START));
}

#[test]
fn no_relay_over_tcp_is_asked_for_beside_one_over_udp() {
    let both = [
        "turn:live.example:80",
        "turn:live.example:443?transport=tcp",
    ];
    let [udp, tcp] = both.map(|url| gather(&[url], TurnControl::serve).priorities);
    assert_eq!(gather(&both, TurnControl::serve).priorities, udp);
    assert_eq!(tcp.len(), 1);
    assert!(tcp < udp);
}

#[test]
fn a_server_that_refuses_ends_gathering_at_once() {
    for url in [
        "turn:live.example:80",
        "turn:live.example:443?transport=tcp",
    ] {
        for outage in [TurnControl::refuse_credentials, TurnControl::reach_quota] {
            let gathered = gather(&[url], outage);
            assert_eq!(gathered.relayed, None);
            assert_eq!(gathered.refused, 1);
            let complete = gathered.complete.expect("gathering ends");
            assert!(complete < Duration::from_millis(500), "{url}: {complete:?}");
        }
    }
}
