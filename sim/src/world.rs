//! The world in motion: hosts with real sockets, applications on paused clocks, packets between
//! them.
//!
//! # How time passes
//!
//! Nothing sent now arrives sooner than the shortest first and last hop take together, so every
//! application may run that far by itself. The world goes in such steps: it moves the [`Fabric`] ahead
//! by a first hop, which makes certain everything that arrives before the step's end; runs each
//! [`Domain`] to the end of the step, in a fixed order, handing it what arrives as its time comes;
//! and injects what was sent, in order of the virtual time of sending.
//!
//! Links are exact to the nanosecond. Applications wait on tokio timers, which tick in whole
//! milliseconds, so a host sees a packet at the first millisecond at or after its arrival.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue::net::TrafficClass;
use turmoil_net::{KernelConfig, Packet as KernelPacket};

pub mod app;
mod cargo;
pub mod director;
pub mod domain;
pub mod host;
pub mod run;
pub mod servers;
pub mod tcp;
pub mod turmoil;

use self::cargo::{Cargo, in_fabric, rewritten, summary};
use self::domain::{Domain, Egress};
use self::host::{HostNet, Names, OpenPorts};
use self::tcp::{Arrived, Recovery};
use crate::determinism::{Capture, take_entropy_draws};
use crate::net::fabric::{Fabric, FabricOutput, Packet};
use crate::net::flow::Protocol;
use crate::net::topology::{HostId, Topology};
use crate::trace::{EventKind, HostName, Recorder};

/// The longest step, where links would allow a longer one: the script acts between steps.
const STEP_MAX: Duration = Duration::from_millis(20);

/// The shortest delay that the link of a host may have.
pub const DELAY_MIN: Duration = Duration::from_millis(1);

/// A world that runs: the hosts of a topology and the applications on them.
pub struct World {
    capture: Capture,
    recorder: Recorder,
    fabric: Fabric<Cargo>,
    hosts: Vec<Host>,
    names: Arc<Names>,
    ports: OpenPorts,
    /// By number; `None` while nothing runs there.
    domains: Vec<Option<Domain>>,
    recovery: Recovery<KernelPacket>,
    arrivals: BTreeMap<(Duration, u64), Arrival>,
    retransmissions: BTreeMap<(Duration, u64), (HostId, Cargo)>,
    sequence_number: u64,
    running: Running,
    now: Duration,
    step: Duration,
    /// How far the fabric runs ahead of the applications.
    ahead: Duration,
    egress: Egress,
}

/// The servers run before any peer, so that they listen when the first peer looks for them.
const SERVERS: usize = 0;

/// Which host's code is running, for log lines.
#[derive(Clone, Debug)]
pub struct Running(Arc<Mutex<HostName>>);

#[derive(Debug)]
struct Arrival {
    host: HostId,
    packet: Packet<Cargo>,
}

#[derive(Debug)]
struct Host {
    name: HostName,
    kernel: turmoil_net::HostId,
    address: IpAddr,
    /// The number of the domain that runs its applications.
    domain: usize,
}

impl World {
    /// Puts a topology in motion. `names` are the names that its hosts can look up.
    ///
    /// Every host of a network has an application domain of its own; the servers share one.
    ///
    /// # Panics
    ///
    /// When a link towards or from a host is shorter than [`DELAY_MIN`]: timers tick in milliseconds,
    /// so nothing shorter can be honoured.
    #[must_use]
    pub fn new(capture: Capture, recorder: Recorder, topology: Topology, names: Names) -> Self {
        let config = KernelConfig::default()
            // The world recovers losses itself, see `tcp`.
            .retx_threshold(u32::MAX)
            // A listener that drops what it has no room for would do so without a cause.
            .default_backlog(usize::MAX / 2);
        let mut kernel = turmoil_net::Net::with_config(config);
        let mut domains = vec![None];
        let mut hosts = Vec::new();
        for id in topology.hosts() {
            let address = topology.address(id);
            let domain = if topology.network_of(id).is_some() {
                domains.push(None);
                domains.len() - 1
            } else {
                SERVERS
            };
            hosts.push(Host {
                name: topology.host_name(id).into(),
                kernel: kernel.add_host(address),
                address,
                domain,
            });
        }
        let seed = capture.seed();
        let fabric = Fabric::new(topology, |label| seed.stream(label));
        let shortest = fabric
            .minimal_first_hop_delay()
            .min(fabric.minimal_last_hop_delay());
        assert!(
            shortest >= DELAY_MIN,
            "a host's link takes {shortest:?}, which is less than {DELAY_MIN:?}"
        );
        let (step, ahead) = pace(&fabric, STEP_MAX);
        Self {
            capture,
            recorder,
            fabric,
            hosts,
            names: Arc::new(names),
            ports: OpenPorts::default(),
            domains,
            recovery: Recovery::default(),
            arrivals: BTreeMap::new(),
            retransmissions: BTreeMap::new(),
            sequence_number: 0,
            running: Running(Arc::new(Mutex::new("world".into()))),
            now: Duration::ZERO,
            step,
            ahead,
            egress: Egress::new(Arc::new(kernel.enter())),
        }
    }

    /// Lets steps be as long as `longest` where the links allow it. For worlds without a script,
    /// which would act between steps.
    pub fn lengthen_steps(&mut self, longest: Duration) {
        (self.step, self.ahead) = pace(&self.fabric, longest);
    }

    /// The virtual time at which the next step begins.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Which host's code is running.
    #[must_use]
    pub fn running(&self) -> Running {
        self.running.clone()
    }

    /// The recorder of the run.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The address of `host`.
    #[must_use]
    pub fn address(&self, host: HostId) -> IpAddr {
        self.hosts[host.index()].address
    }

    /// The network as `host` sees it.
    #[must_use]
    pub fn net(&self, host: HostId) -> Arc<HostNet> {
        let entry = &self.hosts[host.index()];
        let topology = self.fabric.topology();
        let links = topology.link_of(host);
        Arc::new(HostNet::new(
            entry.kernel,
            entry.address,
            Arc::clone(&self.names),
            links.up.delay + links.down.delay,
            self.ports.clone(),
            self.egress.signal(),
        ))
    }

    /// The domain of `host`, made now if there is none.
    pub fn domain(&mut self, host: HostId) -> &Domain {
        let host = &self.hosts[host.index()];
        let name: HostName = match host.domain {
            SERVERS => "servers".into(),
            _ => host.name.clone(),
        };
        let (capture, now) = (&self.capture, self.now);
        let (egress, recorder) = (&self.egress, &self.recorder);
        self.domains[host.domain]
            .get_or_insert_with(|| Domain::new(name, capture, now, egress, recorder))
    }

    /// Ends the application of `host` without a word: its tasks are dropped where they stand and
    /// its sockets are closed, as an operating system does for a killed process.
    pub fn kill(&mut self, host: HostId) {
        let number = self.hosts[host.index()].domain;
        if let Some(domain) = self.domains[number].take() {
            self.running.set(domain.name());
            domain.end();
            self.egress.collect(self.now);
        }
    }

    /// Whether `host` has any UDP socket open.
    #[must_use]
    pub fn has_open_sockets(&self, host: HostId) -> bool {
        self.ports.any_of(self.hosts[host.index()].address)
    }

    /// Runs the world for one step.
    pub fn step(&mut self) {
        self.move_packets();
        let until = self.now + self.step;
        let arrivals = self.arrivals_until(until);
        for (number, arrivals) in arrivals.into_iter().enumerate() {
            match self.domains[number].take() {
                Some(domain) => {
                    self.run_domain(&domain, until, arrivals);
                    self.domains[number] = Some(domain);
                }
                // A host whose application is dead still has a kernel that answers.
                None => {
                    for (at, arrival) in arrivals {
                        self.arrive(at, arrival);
                        self.egress.collect(at);
                    }
                }
            }
        }
        self.now = until;
        self.send_all();
    }

    fn run_domain(&mut self, domain: &Domain, until: Duration, arrivals: Vec<(Duration, Arrival)>) {
        self.running.set(domain.name());
        let egress = self.egress.clone();
        domain.run_until(until, arrivals, &egress, |at, arrival| {
            self.arrive(at, arrival);
        });
        self.record_entropy(until, domain.name());
    }

    /// Lets the fabric move everything as far as is certain, and books what comes of it.
    fn move_packets(&mut self) {
        for output in self.fabric.advance(self.now + self.ahead) {
            match output {
                FabricOutput::Deliver { at, host, packet } => {
                    let key = (at, self.next_sequence_number());
                    self.arrivals.insert(key, Arrival { host, packet });
                }
                FabricOutput::Dropped {
                    at,
                    place,
                    cause,
                    packet,
                } => self.dropped(at, &place, &cause.to_string(), &packet),
            }
        }
    }

    /// What arrives up to `until`, for each domain and in order of time.
    fn arrivals_until(&mut self, until: Duration) -> Vec<Vec<(Duration, Arrival)>> {
        let mut arrivals: Vec<_> = self.domains.iter().map(|_| Vec::new()).collect();
        while let Some(entry) = self.arrivals.first_entry() {
            let at = entry.key().0;
            if at > until {
                break;
            }
            let arrival = entry.remove();
            arrivals[self.hosts[arrival.host.index()].domain].push((at, arrival));
        }
        arrivals
    }

    /// A packet reaches its host.
    fn arrive(&mut self, at: Duration, arrival: Arrival) {
        let Arrival { host, packet } = arrival;
        let name = self.hosts[host.index()].name.clone();
        let summary = summary(&packet);
        if packet.flow.protocol == Protocol::Udp && !self.ports.contains(packet.flow.destination) {
            let cause = "no socket is bound to the port".into();
            self.recorder.record(
                at,
                &name,
                EventKind::PacketDropped {
                    packet: summary,
                    cause,
                },
            );
            return;
        }
        let received = rewritten(&packet);
        let ready = match packet.body.tag {
            None => Arrived::Next(vec![received]),
            Some(tag) => self.recovery.arrived(at, tag, received),
        };
        let (event, ready) = match ready {
            Arrived::Next(ready) => (EventKind::PacketDelivered(summary), ready),
            Arrived::Early => (EventKind::PacketDelivered(summary), Vec::new()),
            Arrived::Stale => {
                let cause = "the segment is of the past of its connection".into();
                let packet = summary;
                (EventKind::PacketDropped { packet, cause }, Vec::new())
            }
        };
        self.recorder.record(at, &name, event);
        for packet in ready {
            self.egress.hand_over(packet);
        }
    }

    fn dropped(&mut self, at: Duration, place: &str, cause: &str, packet: &Packet<Cargo>) {
        self.recorder.record(
            at,
            &place.into(),
            EventKind::PacketDropped {
                packet: summary(packet),
                cause: cause.into(),
            },
        );
        let cargo = &packet.body;
        let Some((again, tag)) = cargo.tag.and_then(|tag| self.recovery.lost(tag)) else {
            return;
        };
        let Some(sender) = self.fabric.topology().host_at(cargo.packet.src) else {
            return;
        };
        let key = (again.max(self.now), self.next_sequence_number());
        let again = Cargo {
            tag: Some(tag),
            ..cargo.clone()
        };
        self.retransmissions.insert(key, (sender, again));
    }

    /// Hands to the fabric what the hosts sent in the step that ends now, and what they send again.
    fn send_all(&mut self) {
        let mut sent: Vec<(Duration, HostId, Cargo)> = Vec::new();
        while let Some(entry) = self.retransmissions.first_entry() {
            let at = entry.key().0;
            if at > self.now {
                break;
            }
            let (host, cargo) = entry.remove();
            let packet = in_fabric(cargo.clone());
            let attempt = cargo.tag.map_or(0, |tag| tag.attempt());
            self.recorder.record(
                at,
                &self.hosts[host.index()].name,
                EventKind::Retransmission {
                    packet: summary(&packet),
                    attempt,
                },
            );
            sent.push((at, host, cargo));
        }
        for (at, packet) in self.egress.take() {
            let mut packet = in_fabric(Cargo {
                packet,
                class: TrafficClass::BestEffort,
                tag: None,
            });
            packet.body.class = self.ports.class_of(packet.flow.source);
            let Some(host) = self.fabric.topology().host_at(packet.flow.source.ip()) else {
                self.dropped(at, "core", "no host has the source address", &packet);
                continue;
            };
            packet.body.tag = packet.tcp.map(|signal| {
                let direction = (packet.flow.source, packet.flow.destination);
                self.recovery.sent(at, direction, signal)
            });
            let name = &self.hosts[host.index()].name;
            self.recorder
                .record(at, name, EventKind::PacketSent(summary(&packet)));
            sent.push((at, host, packet.body));
        }
        // Stable: what is sent at the same time goes in the order in which it was sent.
        sent.sort_by_key(|(at, ..)| *at);
        for (at, host, cargo) in sent {
            self.fabric.inject(at, host, in_fabric(cargo));
        }
    }

    fn record_entropy(&self, at: Duration, host: &HostName) {
        let draws = take_entropy_draws();
        if draws.is_empty() {
            return;
        }
        let kind = EventKind::Entropy {
            draws: draws.len() as u64,
            bytes: draws.iter().map(|draw| draw.bytes as u64).sum(),
            hash: draws
                .iter()
                .fold(0, |hash: u64, draw| hash.rotate_left(7) ^ draw.head),
        };
        self.recorder.record(at, host, kind);
    }

    fn next_sequence_number(&mut self) -> u64 {
        self.sequence_number += 1;
        self.sequence_number
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Applications close their sockets while the kernels are still there.
        for domain in std::mem::take(&mut self.domains).into_iter().flatten() {
            domain.end();
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("World")
            .field("now", &self.now)
            .field("hosts", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The name of the host.
    #[must_use]
    pub fn host(&self) -> HostName {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, host: &HostName) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = host.clone();
    }
}

/// How long a step is, and how far the fabric runs ahead in it.
fn pace(fabric: &Fabric<Cargo>, longest: Duration) -> (Duration, Duration) {
    let last_hop = whole_milliseconds(fabric.minimal_last_hop_delay().min(longest));
    let first_hop = whole_milliseconds(fabric.minimal_first_hop_delay());
    let ahead = first_hop.min(longest.saturating_sub(last_hop));
    (ahead + last_hop, ahead)
}

/// Tokio's timers tick in milliseconds, so steps are made of them.
fn whole_milliseconds(delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}
