//! The same call on plain turmoil 0.7: the production client on [`TurmoilNet`], with the servers and delays of
//! the world, and without NATs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringtrue::config::ClientConfig;
use ringtrue::net::Net;
use ringtrue::peer::servers::{Scheme, ServerUrl, Transport};
use ringtrue::signaling::endpoint::Endpoint as SignalingEndpoint;
use ringtrue::signaling::relay::turn_credentials::{TurnCredentialIssuer, TurnSecret};
use ringtrue::signaling::relay::{Relay, RelayConfig};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use turmoil::Sim;

use super::samples::Sample;
use super::{BenchError, timed};
use crate::check::facts::{FactCollector, Facts};
use crate::determinism::{Capture, Plugs, run_on_own_thread, set_now};
use crate::endpoint::{Command, Endpoint as _, Logbook, RingtrueEndpoint, Seat, Storage};
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::server::signaling;
use crate::server::turn::{self, TurnAddresses, TurnConfig, TurnControl};
use crate::trace::{AppEvent, Recorder};
use crate::world::turmoil::TurmoilNet;

/// How long the call may last in virtual time.
const LIMIT: Duration = Duration::from_mins(2);

/// How long the callee lets it ring, as where a scenario has no script.
const ANSWER_AFTER_RINGING: Duration = Duration::from_secs(1);

/// How often whoever directs the call looks at it: about as often as the world's director does.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What the signaling relay and the TURN servers share.
const SECRET: &str = "ringtrue";

/// Runs the scenario's first two peers, of which one calls the other, on turmoil.
pub(super) fn sample(scenario: &Scenario, seed: Seed) -> Result<Sample, BenchError> {
    let (ended, wall) = timed(|| run_on_own_thread("turmoil", || call(scenario, seed)));
    let ended = ended.map_err(|error| error.to_string());
    match ended.and_then(|ended| ended) {
        Ok(virtual_time) => Ok(Sample { wall, virtual_time }),
        Err(message) => Err(BenchError::Call {
            scenario: format!("{} on turmoil", scenario.about),
            seed,
            message,
        }),
    }
}

/// How long the call lasted in virtual time.
fn call(scenario: &Scenario, seed: Seed) -> Result<Duration, String> {
    let capture = Capture::enter(seed, Plugs::all()).expect("the thread of a run is fresh");
    let mut builder = turmoil::Builder::new();
    builder.simulation_duration(LIMIT).rng_seed(seed.number());
    let mut simulation = builder.build();
    let config = scenario.client_config();
    let servers = serve(&mut simulation, &config)?;
    let facts = FactCollector::default();
    let recorder = Recorder::new(vec![Box::new(facts.clone())]);
    let talk = scenario.talk.unwrap_or_default();
    let mut peers = scenario.peers.keys().take(2).map(String::as_str);
    let (Some(caller), Some(other)) = (peers.next(), peers.next()) else {
        return Err("a call needs two peers".to_owned());
    };
    let (calls, first_commands) = unbounded_channel();
    let (answers, other_commands) = unbounded_channel();
    let direct = direct(facts, calls, answers, other.to_owned(), talk);
    let seat_of = |name: &str, commands| {
        let voices = voices(scenario);
        let logbook = Logbook::new(recorder.clone(), name.into(), voices.clone());
        let (name, config) = (name.to_owned(), config.clone());
        // Of its own host only can a future ask for the address.
        move || Seat {
            name: name.as_str().into(),
            net: net(&name),
            user: name,
            config,
            voices,
            storage: Storage::default(),
            commands,
            logbook,
        }
    };
    let calling = seat_of(caller, first_commands);
    simulation.client(caller, async move {
        tokio::join!(RingtrueEndpoint.run(calling()), direct);
        Ok(())
    });
    let answering = seat_of(other, other_commands);
    simulation.client(other, async move {
        RingtrueEndpoint.run(answering()).await;
        Ok(())
    });
    set_delays(&simulation, scenario, &[caller, other], &servers);
    let ended = loop {
        let is_over = simulation.step().map_err(|error| error.to_string())?;
        set_now(simulation.elapsed());
        if is_over {
            break simulation.elapsed();
        }
    };
    drop(simulation);
    drop(capture);
    Ok(ended)
}

/// Makes the peers do what they do where a scenario has no script. Both applications end with it, since it
/// has their commands.
async fn direct(
    facts: FactCollector,
    first: UnboundedSender<Command>,
    other: UnboundedSender<Command>,
    callee: String,
    talk: Duration,
) {
    let tell = |whom: &UnboundedSender<Command>, command| {
        whom.send(command)
            .expect("the application runs until this ends");
    };
    tell(&first, Command::Call { callee });
    until(&facts, |facts| facts.first_ringing().is_some()).await;
    tokio::time::sleep(ANSWER_AFTER_RINGING).await;
    tell(&other, Command::Answer);
    until(&facts, |facts| facts.audio_on_both_sides().is_some()).await;
    tokio::time::sleep(talk).await;
    tell(&first, Command::HangUp);
    let is_end = |event: &AppEvent| matches!(event, AppEvent::Ended { .. });
    until(&facts, |facts| {
        facts.app.iter().filter(|fact| is_end(&fact.event)).count() == 2
    })
    .await;
}

async fn until(facts: &FactCollector, is_so: impl Fn(&Facts) -> bool) {
    while !facts.with(&is_so) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Adds every server that the client is configured for, by name, and gives these names.
fn serve(simulation: &mut Sim<'_>, config: &ClientConfig) -> Result<Vec<String>, String> {
    let endpoint = SignalingEndpoint::from_config(&config.signaling);
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let urls = config.ice.servers.iter();
    let urls: Vec<(&str, ServerUrl)> = urls
        .filter_map(|server| Some((server.url.as_str(), server.url.parse().ok()?)))
        .collect();
    let is_turn = |url: &ServerUrl| url.scheme == Scheme::Turn;
    let turn_urls = urls.iter().filter(|(_, url)| is_turn(url));
    let turn_urls: Vec<String> = turn_urls.map(|(text, _)| (*text).to_owned()).collect();
    let mut ports: BTreeMap<String, [BTreeSet<u16>; 2]> = BTreeMap::new();
    for (_, url) in urls {
        let [udp, tcp] = ports.entry(url.host).or_default();
        match url.transport {
            Transport::Udp => udp.insert(url.port),
            Transport::Tcp => tcp.insert(url.port),
        };
    }
    let mut names = vec![endpoint.host().to_owned()];
    names.extend(ports.keys().cloned());

    let (name, port) = (endpoint.host().to_owned(), endpoint.port());
    simulation.host(endpoint.host(), move || {
        let (name, turn_urls) = (name.clone(), turn_urls.clone());
        async move {
            let issuer = TurnCredentialIssuer::new(
                TurnSecret::new(SECRET),
                turn_urls,
                TurnCredentialIssuer::DEFAULT_TTL,
                turn::date,
            );
            let relay = Relay::new(RelayConfig {
                turn: Some(issuer),
                ..RelayConfig::default()
            });
            signaling::run(net(&name), anywhere(port), relay, |_| {}).await?;
            Ok(())
        }
    });
    for (name, [udp, tcp]) in ports {
        let host = name.clone();
        simulation.host(name.as_str(), move || {
            let own = turmoil::lookup(host.as_str());
            let at = |ports: &BTreeSet<u16>| {
                let addresses = ports.iter().map(|port| SocketAddr::new(own, *port));
                addresses.collect()
            };
            let addresses = TurnAddresses {
                udp: at(&udp),
                tcp: at(&tcp),
            };
            let net: Arc<dyn Net> = Arc::new(TurmoilNet::new(own));
            async move {
                let config = TurnConfig {
                    secret: Some(TurnSecret::new(SECRET)),
                    ..TurnConfig::default()
                };
                let server = turn::start(net, &addresses, config, TurnControl::default()).await?;
                // It serves as long as its handle is held.
                std::future::pending::<()>().await;
                drop(server);
                Ok(())
            }
        });
    }
    Ok(names)
}

/// Gives the ways between the hosts the delays that they have in the scenario's world, where all networks are
/// alike.
fn set_delays(simulation: &Sim<'_>, scenario: &Scenario, peers: &[&str; 2], servers: &[String]) {
    let network = scenario.networks.values().next();
    let to_core = network.map_or(Duration::ZERO, |network| {
        network.lan.up.delay + network.uplink.up.delay
    });
    let [one, other] = *peers;
    simulation.set_link_latency(one, other, 2 * to_core);
    for server in servers {
        for peer in peers {
            let delay = to_core + scenario.servers.delay;
            simulation.set_link_latency(*peer, server.as_str(), delay);
        }
        for other in servers.iter().filter(|other| *other != server) {
            let delay = 2 * scenario.servers.delay;
            simulation.set_link_latency(server.as_str(), other.as_str(), delay);
        }
    }
}

/// What each user plays.
fn voices(scenario: &Scenario) -> BTreeMap<String, ringtrue::audio::track::OpusTrack> {
    let peers = scenario.peers.values();
    peers
        .map(|peer| (peer.user.clone(), scenario.tracks[&peer.plays].clone()))
        .collect()
}

fn net(host: &str) -> Arc<dyn Net> {
    Arc::new(TurmoilNet::new(turmoil::lookup(host)))
}

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}
