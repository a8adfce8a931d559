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

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use turmoil_net::{EnterGuard, Packet as KernelPacket};

pub mod boxes;
mod build;
mod cargo;
mod carry;
pub mod connections;
pub mod device;
pub mod director;
pub mod domain;
pub mod faults;
pub mod frames;
pub mod host;
pub mod interfere;
mod plan;
pub mod run;
pub mod servers;
pub mod streams;
pub mod tcp;
pub mod turmoil;
pub mod wire;

pub use self::build::{DELAY_MIN, Machine};
use self::cargo::Cargo;
use self::connections::Connections;
use self::device::{Address, Device};
use self::domain::{Domain, Egress};
use self::host::{HostNet, Names, OpenPorts};
use self::interfere::Watch;
use self::streams::Streams;
use self::tcp::Recovery;
use crate::determinism::{Capture, take_entropy_draws};
use crate::net::fabric::{Fabric, Packet};
use crate::net::topology::HostId;
use crate::trace::{EventKind, HostName, Recorder};

/// A world that runs: the machines of a topology and the applications on them.
pub struct World {
    capture: Capture,
    recorder: Recorder,
    fabric: Fabric<Box<Cargo>>,
    /// By [`HostId`].
    hosts: Vec<Host>,
    /// Who has which address of a kernel.
    by_kernel: BTreeMap<IpAddr, HostId>,
    names: Arc<Names>,
    ports: OpenPorts,
    streams: Streams,
    /// By number; `None` while nothing runs there.
    domains: Vec<Option<Domain>>,
    /// The domains that stand still.
    paused: BTreeSet<usize>,
    /// How many packets reached each of them meanwhile.
    waited: BTreeMap<usize, u64>,
    /// The hosts that are switched off.
    off: BTreeSet<HostId>,
    recovery: Recovery<KernelPacket>,
    connections: Connections,
    watches: Vec<Watch>,
    /// The connections that were cut at a frame: by which fault, and when.
    cut: Vec<(usize, Duration)>,
    arrivals: BTreeMap<(Duration, u64), Arrival>,
    retransmissions: BTreeMap<(Duration, u64), (HostId, Box<Cargo>)>,
    sequence_number: u64,
    running: Running,
    now: Duration,
    /// The longest step, where links would allow a longer one.
    step_max: Duration,
    step: Duration,
    /// How far the fabric runs ahead of the applications.
    ahead: Duration,
    egress: Egress,
    /// The longest payload of a TCP segment; as long as the kernels like where no link limits it.
    segment_bytes_max: Option<usize>,
    /// Held for as long as there are sockets.
    _kernel: Arc<EnterGuard>,
}

/// Which machine's code is running, for log lines.
#[derive(Clone, Debug)]
pub struct Running(Arc<Mutex<Option<HostName>>>);

#[derive(Debug)]
struct Arrival {
    host: HostId,
    packet: Packet<Box<Cargo>>,
}

/// An interface of a machine.
#[derive(Debug)]
struct Host {
    /// The machine's name, or the server's.
    name: HostName,
    device: Device,
    addresses: Vec<Address>,
    /// The number of the domain that runs its applications.
    domain: usize,
}

impl World {
    /// The virtual time at which the next step begins.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Which machine's code is running.
    #[must_use]
    pub fn running(&self) -> Running {
        self.running.clone()
    }

    /// The recorder of the run.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What `host` knows itself by, IPv4 first.
    pub fn addresses(&self, host: HostId) -> impl Iterator<Item = IpAddr> {
        self.hosts[host.index()]
            .addresses
            .iter()
            .map(|address| address.seen)
    }

    /// The network as the machine of `host` sees it.
    #[must_use]
    pub fn net(&self, host: HostId) -> Arc<HostNet> {
        let entry = &self.hosts[host.index()];
        let links = self.fabric.topology().link_of(host);
        Arc::new(HostNet::new(
            entry.device.clone(),
            Arc::clone(&self.names),
            links.up.delay + links.down.delay,
            self.ports.clone(),
            self.streams.clone(),
            self.egress.signal(),
        ))
    }

    /// The domain of `host`, made now if there is none.
    pub fn domain(&mut self, host: HostId) -> &Domain {
        let host = &self.hosts[host.index()];
        let name: HostName = match host.domain {
            build::SERVERS => "servers".into(),
            _ => host.name.clone(),
        };
        let (capture, now) = (&self.capture, self.now);
        let (egress, recorder) = (&self.egress, &self.recorder);
        self.domains[host.domain]
            .get_or_insert_with(|| Domain::new(name, capture, now, egress, recorder))
    }

    /// Ends the application of `host` without a word: its sockets are closed, as an operating system
    /// does for a killed process, and its tasks are dropped where they stand.
    ///
    /// Tokio drops the tasks of a runtime in an order that depends on how many tasks the whole process has
    /// made (it spreads them by their numbers), so nothing that they do as they are dropped may show: their
    /// streams are closed before, and what they log has no host.
    pub fn kill(&mut self, host: HostId) {
        let number = self.hosts[host.index()].domain;
        self.paused.remove(&number);
        if let Some(domain) = self.domains[number].take() {
            self.running.clear();
            let machine = self.hosts.iter().filter(|each| each.domain == number);
            for address in machine.flat_map(|each| &each.addresses) {
                self.streams.close_all(address.kernel);
            }
            let name = domain.name().clone();
            domain.end();
            self.egress.collect(self.now);
            self.note_closed_streams(self.now);
            self.record_entropy(self.now, &name);
        }
    }

    /// Whether the machine of `host` has any UDP socket open.
    #[must_use]
    pub fn has_open_sockets(&self, host: HostId) -> bool {
        let domain = self.hosts[host.index()].domain;
        let mut interfaces = self.hosts.iter().filter(|each| each.domain == domain);
        interfaces.any(|each| {
            let mut addresses = each.addresses.iter();
            addresses.any(|address| self.ports.any_of(address.kernel))
        })
    }

    /// Runs the world for one step.
    pub fn step(&mut self) {
        self.move_packets();
        let until = self.now + self.step;
        let arrivals = self.arrivals_until(until);
        for (number, arrivals) in arrivals.into_iter().enumerate() {
            let standing = self.paused.contains(&number);
            match self.domains[number].take() {
                Some(domain) if !standing => {
                    self.run_domain(&domain, until, arrivals);
                    self.domains[number] = Some(domain);
                }
                // A machine whose application is dead or stands still has a kernel that answers.
                absent => {
                    self.domains[number] = absent;
                    if standing {
                        *self.waited.entry(number).or_default() += arrivals.len() as u64;
                    }
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
        self.note_closed_streams(until);
        self.record_entropy(until, domain.name());
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
        self.running.clear();
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
    /// The name of the host. `None` while an application is taken down that was killed: it is dead
    /// already, and the dead write no logs.
    #[must_use]
    pub fn host(&self) -> Option<HostName> {
        self.lock().clone()
    }

    fn set(&self, host: &HostName) {
        *self.lock() = Some(host.clone());
    }

    fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<HostName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
