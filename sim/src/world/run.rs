//! One run: a scenario and a seed in, a report out. Nothing else goes in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use ringtrue::config::ClientConfig;
use ringtrue::signaling::endpoint::{Endpoint, EndpointError};
use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;

use super::World;
use super::director::{Director, Ending};
use super::host::Names;
use super::servers::ServerHosts;
use crate::check::call::LastCall;
use crate::check::facts::FactCollector;
use crate::check::verdict;
use crate::determinism::{self, Capture, Plugs, RunError, canary, run_on_own_thread};
use crate::net::firewall::FirewallConfig;
use crate::net::link::LinkPair;
use crate::net::nat::{NatConfig, NatPreset};
use crate::net::topology::{HostId, NetworkConfig, Topology, TopologyError};
use crate::report::timeline::TimelineCollector;
use crate::report::{Failure, FailureCause, Outcome, PacketOrEvent, Report};
use crate::scenario::model::{self, Scenario};
use crate::seed::Seed;
use crate::trace::log::TraceLayer;
use crate::trace::{EventKind, Observer, Recorder};

/// How long a world goes on once its peers are gone, so that the servers notice: the way of the last
/// packets on the slowest networks. The relay's library releases what a connection holds only when
/// the other side closes it, so a world that ended without this would leave memory behind.
const GOODBYE: Duration = Duration::from_secs(1);

/// How to watch a run, and what to leave unprotected. Nothing in here changes what happens.
#[derive(Default)]
pub struct RunOptions {
    /// The protections that are on. All of them, but to show that one is needed.
    pub plugs: Plugs,
    /// Who else sees the events.
    pub observers: Vec<Box<dyn Observer>>,
    /// What the report's timeline holds.
    pub detail: PacketOrEvent,
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunOptions")
            .field("plugs", &self.plugs)
            .field("observers", &self.observers.len())
            .field("detail", &self.detail)
            .finish()
    }
}

/// Why a scenario could not be run at all.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The scenario has more of something than the world has addresses for.
    #[error("the world of {scenario} cannot be built: {source}")]
    Topology {
        /// The scenario's name.
        scenario: String,
        /// What is wrong.
        source: TopologyError,
    },
    /// The client is configured for a signaling server that it could not reach anywhere.
    #[error(transparent)]
    Signaling(#[from] EndpointError),
}

/// Whether `scenario` can be run at all, so that many can be checked before the first one runs.
///
/// # Errors
///
/// [`SetupError`], as [`run`] would give.
pub fn check(scenario: &Scenario) -> Result<(), SetupError> {
    Plan::new(scenario, &ClientConfig::default()).map(drop)
}

/// Runs `scenario` with `seed`, on a thread of its own.
///
/// The same scenario and seed give the same report, but for the time that it took.
///
/// # Errors
///
/// [`SetupError`] where nothing could be run. Whatever goes wrong in the run itself is a failure in
/// the report.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a run takes is reported and goes into nothing else"
)]
pub fn run(scenario: &Scenario, seed: Seed, options: RunOptions) -> Result<Report, SetupError> {
    let started = Instant::now();
    let config = ClientConfig::default();
    let plan = Plan::new(scenario, &config)?;

    let facts = FactCollector::default();
    let timeline = TimelineCollector::new(options.detail);
    let mut observers: Vec<Box<dyn Observer>> =
        vec![Box::new(facts.clone()), Box::new(timeline.clone())];
    observers.extend(options.observers);
    let recorder = Recorder::new(observers);

    let simulation = Simulation {
        scenario,
        seed,
        plugs: options.plugs,
        config,
        plan,
        recorder: recorder.clone(),
        facts: facts.clone(),
    };
    let ended = run_on_own_thread(&scenario.name, || simulation.run());
    let (call, mut failures) = facts.with(|facts| {
        let call = LastCall::of(scenario, facts);
        let failures = verdict::failures(scenario, &call, facts);
        (call, failures)
    });
    let (virtual_time, outcome) = match ended {
        Ok(end) => {
            failures.extend(end.failures);
            (end.at, call.outcome())
        }
        Err(error) => {
            failures.insert(0, crash(&error));
            (Duration::ZERO, Outcome::Failed)
        }
    };
    Ok(Report {
        scenario: scenario.name.clone(),
        seed: seed.number(),
        passed: failures.is_empty(),
        outcome,
        audio_connected_ms: call
            .audio_at
            .iter()
            .map(|(peer, at)| (peer.clone(), milliseconds(*at)))
            .collect(),
        selected: call.selected.clone(),
        digest: recorder.digest().to_string(),
        virtual_ms: milliseconds(virtual_time),
        wall_ms: milliseconds(started.elapsed()),
        failures,
        file: scenario.path.clone(),
        answered_at: call.answered,
        cause: call.cause(),
        timeline: timeline.take(),
    })
}

/// The topology of a scenario, with its servers.
struct Plan {
    topology: Topology,
    names: Names,
    peers: BTreeMap<String, HostId>,
    servers: ServerHosts,
}

/// How a run ended, where it did not crash.
struct End {
    at: Duration,
    failures: Vec<Failure>,
}

impl Plan {
    fn new(scenario: &Scenario, config: &ClientConfig) -> Result<Self, SetupError> {
        let error = |source| SetupError::Topology {
            scenario: scenario.name.clone(),
            source,
        };
        let mut topology = Topology::new();
        let mut networks = BTreeMap::new();
        for (name, network) in &scenario.networks {
            let id = topology
                .add_network(name, network_config(network))
                .map_err(error)?;
            networks.insert(name, (id, LinkPair::symmetric(network.lan)));
        }
        let mut peers = BTreeMap::new();
        for (name, peer) in &scenario.peers {
            let (network, lan) = networks[&peer.network];
            let host = topology.add_host(name, network, lan).map_err(error)?;
            peers.insert(name.clone(), host);
        }
        let signaling = Endpoint::from_config(&config.signaling)?;
        let mut names = Names::new();
        let servers = ServerHosts::add_to(
            &mut topology,
            &mut names,
            config,
            &signaling,
            &scenario.servers,
        )
        .map_err(error)?;
        Ok(Self {
            topology,
            names,
            peers,
            servers,
        })
    }
}

/// Everything that goes into the thread of a run.
struct Simulation<'a> {
    scenario: &'a Scenario,
    seed: Seed,
    plugs: Plugs,
    config: ClientConfig,
    plan: Plan,
    recorder: Recorder,
    facts: FactCollector,
}

impl Simulation<'_> {
    fn run(self) -> End {
        let capture = Capture::enter(self.seed, self.plugs).expect("the thread of a run is fresh");
        let recorder = self.recorder;
        let Plan {
            topology,
            names,
            peers,
            servers,
        } = self.plan;
        let mut world = World::new(capture, recorder.clone(), topology, names);
        let running = world.running();
        let layer = TraceLayer::new(recorder.clone(), move || {
            (determinism::now(), running.host())
        });
        let subscriber = tracing_subscriber::registry().with(layer);
        let logs = tracing::subscriber::set_default(subscriber);

        servers.start(&mut world, &self.scenario.servers);
        let canary_recorder = recorder.clone();
        servers.spawn_in_world(&mut world, async move {
            let sample = EventKind::Canary(canary::sample().await);
            canary_recorder.record(determinism::now(), &"canary".into(), sample);
        });
        let mut director = Director::new(self.scenario, self.config, &peers, self.facts);
        let ending = director.direct(&mut world);
        let mut failures = left_open(&world, &peers);
        if ending == Ending::Stalled {
            let message = "nothing new happened for a minute, and a call is not over".into();
            failures.push(Failure::new(FailureCause::Stalled, message));
        }
        let at = world.now();
        recorder.close();
        for host in peers.values() {
            world.kill(*host);
        }
        let until = world.now() + GOODBYE;
        while world.now() < until {
            world.step();
        }
        drop(world);
        drop(logs);
        End { at, failures }
    }
}

/// Once all calls are over no peer may hold a UDP socket: each is a leak on a phone.
fn left_open(world: &World, peers: &BTreeMap<String, HostId>) -> Vec<Failure> {
    peers
        .iter()
        .filter(|(_, host)| world.has_open_sockets(**host))
        .map(|(name, _)| {
            let message = format!("{name} still has a UDP socket open after its call");
            Failure::new(FailureCause::LeftRunning, message)
        })
        .collect()
}

fn crash(error: &RunError) -> Failure {
    let cause = match error {
        RunError::Failed { violations, .. } if !violations.is_empty() => {
            FailureCause::ForeignThread
        }
        RunError::Failed { .. } => FailureCause::Panic,
        RunError::NotStarted { .. } => FailureCause::NotStarted,
    };
    Failure::new(cause, error.to_string())
}

fn network_config(network: &model::Network) -> NetworkConfig {
    NetworkConfig {
        nat: match network.nat {
            model::Nat::None => None,
            model::Nat::FullCone => Some(NatPreset::FullCone.config()),
            model::Nat::AddressRestricted => Some(NatPreset::AddressRestricted.config()),
            model::Nat::PortRestricted => Some(NatPreset::PortRestricted.config()),
            model::Nat::Symmetric => Some(NatPreset::Symmetric.config()),
            model::Nat::Behaving { mapping, filtering } => Some(NatConfig {
                mapping,
                filtering,
                ..NatConfig::default()
            }),
        },
        firewall: FirewallConfig { udp: network.udp },
        uplink: LinkPair::symmetric(network.uplink),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
