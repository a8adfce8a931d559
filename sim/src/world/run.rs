//! One run: a scenario and a seed in, a report out. Nothing else goes in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringtrue::config::ClientConfig;
use ringtrue::key_log::KeyLog;
use ringtrue::signaling::endpoint::{Endpoint as SignalingEndpoint, EndpointError};
use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;

use super::World;
use super::director::{Director, Ending, Stage};
use super::plan::Plan;
use crate::check::call::LastCall;
use crate::check::facts::FactCollector;
use crate::check::milestones::Timings;
use crate::check::opinion::opinions;
use crate::check::verdict;
use crate::determinism::{self, Capture, Plugs, RunError, canary, run_on_own_thread};
use crate::endpoint::{Endpoint, RingtrueEndpoint};
use crate::fault::FrameWay;
use crate::net::fabric::gateway_name;
use crate::net::topology::{HostId, TopologyError};
use crate::report::timeline::TimelineCollector;
use crate::report::{Failure, FailureCause, FrameCount, Outcome, PacketOrEvent, Report};
use crate::scenario::model::Scenario;
use crate::seed::Seed;
use crate::server::certificate::Authority;
use crate::trace::log::TraceLayer;
use crate::trace::{EventKind, Observer, Recorder};

/// How long a world goes on once its peers are gone, so that the servers notice: the way of the last
/// packets on the slowest networks. The relay's library releases what a connection holds only when
/// the other side closes it, so a world that ended without this would leave memory behind.
const GOODBYE: Duration = Duration::from_secs(1);

/// How to watch a run, what to leave unprotected, and which client it is about. Of these only the client
/// changes what happens.
pub struct RunOptions {
    /// The protections that are on. All of them, but to show that one is needed.
    pub plugs: Plugs,
    /// Who else sees the events.
    pub observers: Vec<Box<dyn Observer>>,
    /// What the report's timeline holds.
    pub detail: PacketOrEvent,
    /// The client that every peer runs, when it starts and whenever it is started again. Default
    /// [`RingtrueEndpoint`], the one that ships.
    pub endpoint: Arc<dyn Endpoint>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            plugs: Plugs::default(),
            observers: Vec::new(),
            detail: PacketOrEvent::default(),
            endpoint: Arc::new(RingtrueEndpoint),
        }
    }
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunOptions")
            .field("plugs", &self.plugs)
            .field("observers", &self.observers.len())
            .field("detail", &self.detail)
            .field("endpoint", &self.endpoint)
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
    Plan::new(scenario, &client_config(scenario)?).map(drop)
}

/// Runs `scenario` with `seed`, on a thread of its own.
///
/// The same scenario and seed give the same report, but for the time that it took.
///
/// From the first run on, the logs of the whole process show addresses
/// ([`ringtrue::redaction::reveal_addresses`]).
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
    // The addresses of a scenario are nobody's, and a trace without them would be of little use.
    ringtrue::redaction::reveal_addresses();
    let mut config = client_config(scenario)?;
    let plan = Plan::new(scenario, &config)?;
    let secrets = Secrets::default();
    config.log_keys(&secrets.key_log());

    let facts = FactCollector::default();
    let timeline = TimelineCollector::new(options.detail);
    let mut observers: Vec<Box<dyn Observer>> =
        vec![Box::new(facts.clone()), Box::new(timeline.clone())];
    observers.extend(options.observers);
    let recorder = Recorder::new(observers);

    let client = options.endpoint.client_name().map(str::to_owned);
    let simulation = Simulation {
        scenario,
        seed,
        plugs: options.plugs,
        endpoint: options.endpoint,
        config,
        plan,
        recorder: recorder.clone(),
        facts: facts.clone(),
    };
    let ended = run_on_own_thread(&scenario.name, || simulation.run());
    // A run that panicked never came to close its record.
    recorder.close();
    let (call, outcome, signaling_frames, timings, mean_opinion, mut failures) =
        facts.with(|facts| {
            let count = |peer: &String| FrameCount {
                sent: facts.frames(peer, FrameWay::Sends).len(),
                received: facts.frames(peer, FrameWay::Receives).len(),
            };
            let peers = scenario.peers.keys();
            let frames = peers.map(|peer| (peer.clone(), count(peer))).collect();
            let call = LastCall::of(scenario, facts);
            let outcome = verdict::outcome(scenario, &call, facts);
            let failures = verdict::failures(scenario, &call, facts);
            let timings = Timings::of(facts, &call.peers);
            let mut sound = opinions(&call, facts);
            for opinion in sound.values_mut() {
                *opinion = (*opinion * 100.0).round() / 100.0;
            }
            (call, outcome, frames, timings, sound, failures)
        });
    let (virtual_time, outcome) = match ended {
        Ok(end) => {
            failures.extend(verdict::of_ending(scenario, &call, end.failures));
            (end.at, outcome)
        }
        Err(error) => {
            failures.insert(0, crash(&error));
            (Duration::ZERO, Outcome::Failed)
        }
    };
    let (timeline, traffic) = timeline.take();
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
        mean_opinion,
        digest: recorder.digest().to_string(),
        virtual_ms: milliseconds(virtual_time),
        wall_ms: milliseconds(started.elapsed()),
        failures,
        file: scenario.path.clone(),
        client,
        answered_at: call.answered,
        cause: call.cause(),
        signaling_frames,
        timings,
        timeline,
        key_log: secrets.take(),
        traffic,
        bundle: None,
    })
}

/// Who has which address in the world of `scenario`: hosts, and gateways under the names by which they
/// drop packets. Several private networks can have the same one.
///
/// # Errors
///
/// [`SetupError`], as [`run`] would give.
pub fn addresses(scenario: &Scenario) -> Result<BTreeMap<IpAddr, BTreeSet<String>>, SetupError> {
    let topology = Plan::new(scenario, &client_config(scenario)?)?.topology;
    let mut addresses: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    let mut add = |name: &str, theirs: &[IpAddr]| {
        for address in theirs {
            addresses
                .entry(*address)
                .or_default()
                .insert(name.to_owned());
        }
    };
    for host in topology.hosts() {
        add(topology.host_name(host), topology.addresses(host));
    }
    for network in topology.networks() {
        let gateway = gateway_name(topology.network_name(network));
        add(&gateway, topology.externals(network));
    }
    Ok(addresses)
}

/// The key log of all clients of a run. They write it whether anybody wants it or not, so that it makes no
/// difference.
#[derive(Debug, Clone, Default)]
struct Secrets(Arc<Mutex<Vec<String>>>);

impl Secrets {
    fn key_log(&self) -> KeyLog {
        let lines = Arc::clone(&self.0);
        KeyLog::new(move |line| {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            // Both ends of a connection know the same.
            if !lines.iter().any(|known| known == line) {
                lines.push(line.to_owned());
            }
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a run ended, where it did not crash.
struct End {
    at: Duration,
    failures: Vec<Failure>,
}

/// Everything that goes into the thread of a run.
struct Simulation<'a> {
    scenario: &'a Scenario,
    seed: Seed,
    plugs: Plugs,
    endpoint: Arc<dyn Endpoint>,
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
            machines,
            places,
            mut servers,
            boxes,
        } = self.plan;
        let mut config = self.config;
        if let Some(kind) = self.scenario.servers.signaling_certificate {
            // Made here and not before: what it draws at random belongs to the run.
            let authority = Authority::new();
            config.signaling.trust = authority.trust();
            let host = topology.host_name(servers.signaling());
            let shown = authority.acceptor(host, kind);
            servers
                .protect_signaling(shown.expect("hosts have names that certificates can be for"));
        }
        let mut world = World::with_machines(capture, recorder.clone(), topology, names, &machines);
        let running = world.running();
        let layer = TraceLayer::new(recorder.clone(), move || {
            Some((determinism::now(), running.host()?))
        });
        let subscriber = tracing_subscriber::registry().with(layer);
        let logs = tracing::subscriber::set_default(subscriber);

        servers.perturb_messages(&world, &self.scenario.perturbations);
        servers.start(&mut world, &self.scenario.servers);
        boxes.start(&mut world, servers.signaling_port());
        let canary_recorder = recorder.clone();
        servers.spawn_in_world(&mut world, async move {
            let sample = EventKind::Canary(canary::sample().await);
            canary_recorder.record(determinism::now(), &"canary".into(), sample);
        });
        let peers = places.homes.clone();
        let signaling = servers.clone();
        let stage = Stage {
            places,
            servers,
            boxes,
        };
        let mut director = Director::new(self.scenario, config, self.endpoint, stage, self.facts);
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
        signaling.end_signaling(&mut world, GOODBYE / 2);
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
        // An app that stands still can close nothing.
        .filter(|(_, host)| world.has_open_sockets(**host) && !world.stands_still(**host))
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

/// What the client is configured for: its defaults, but for the port and the protection of the
/// signaling server where the scenario changes them. Whom it trusts is known in the run only.
fn client_config(scenario: &Scenario) -> Result<ClientConfig, EndpointError> {
    let mut config = scenario.client_config();
    let servers = &scenario.servers;
    if servers.signaling_port.is_some() || servers.signaling_certificate.is_some() {
        let endpoint = SignalingEndpoint::from_config(&config.signaling)?;
        let scheme = match servers.signaling_certificate {
            Some(_) => "https",
            None => "http",
        };
        let port = servers.signaling_port.map(|port| format!(":{port}"));
        let port = port.unwrap_or_default();
        config.signaling.url = format!("{scheme}://{}{port}", endpoint.host());
    }
    Ok(config)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
