//! Puts a world together: kernels, machines and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use turmoil_net::KernelConfig;

use super::connections::Connections;
use super::device::{Address, Device};
use super::domain::Egress;
use super::host::{Names, OpenPorts};
use super::streams::Streams;
use super::tcp::Recovery;
use super::{Host, Running, World};
use crate::determinism::Capture;
use crate::net::fabric::Fabric;
use crate::net::topology::{HostId, Topology};
use crate::trace::Recorder;

/// The longest step, where links would allow a longer one: the script acts between steps.
const STEP_MAX: Duration = Duration::from_millis(20);

/// The shortest delay that the link of a host may have.
pub const DELAY_MIN: Duration = Duration::from_millis(1);

/// The domain of all servers that are no machine of their own. They run before any peer, so that
/// they listen when the first peer looks for them.
pub(super) const SERVERS: usize = 0;

/// Hosts of the topology that are one machine: they live and die together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What it is called in the trace.
    pub name: String,
    /// Its interfaces. Only the first one is up when the world begins.
    pub interfaces: Vec<HostId>,
}

impl World {
    /// Puts a topology in motion. `names` are the names that its hosts can look up.
    ///
    /// Every host of a network is a machine of its own; the servers share one.
    ///
    /// # Panics
    ///
    /// As [`with_machines`](Self::with_machines).
    #[must_use]
    pub fn new(capture: Capture, recorder: Recorder, topology: Topology, names: Names) -> Self {
        let machines: Vec<Machine> = topology
            .hosts()
            .filter(|host| topology.network_of(*host).is_some())
            .map(|host| Machine {
                name: topology.host_name(host).to_owned(),
                interfaces: vec![host],
            })
            .collect();
        Self::with_machines(capture, recorder, topology, names, &machines)
    }

    /// Puts a topology in motion whose hosts are the interfaces of `machines`. Each machine has an
    /// application domain of its own; hosts that are of none share one.
    ///
    /// # Panics
    ///
    /// When a link towards or from a host is shorter than [`DELAY_MIN`]: timers tick in milliseconds,
    /// so nothing shorter can be honoured.
    #[must_use]
    pub fn with_machines(
        capture: Capture,
        recorder: Recorder,
        topology: Topology,
        names: Names,
        machines: &[Machine],
    ) -> Self {
        let config = KernelConfig::default()
            // The world recovers losses itself, see `tcp`.
            .retx_threshold(u32::MAX)
            // A listener that drops what it has no room for would do so without a cause.
            .default_backlog(usize::MAX / 2);
        let mut kernel = turmoil_net::Net::with_config(config);
        let mut aliases = Aliases::of(&topology);
        let mut hosts: Vec<Host> = Vec::new();
        let mut by_kernel = BTreeMap::new();
        for id in topology.hosts() {
            let addresses = aliases.take(&topology, id);
            by_kernel.extend(addresses.iter().map(|address| (address.kernel, id)));
            let registered: Vec<IpAddr> = addresses.iter().map(|each| each.kernel).collect();
            let device = Device::new();
            device.add(id, kernel.add_host(registered), addresses.clone());
            hosts.push(Host {
                name: topology.host_name(id).into(),
                device,
                addresses,
                domain: SERVERS,
            });
        }
        for (index, machine) in machines.iter().enumerate() {
            let device = Device::joined(machine.interfaces.iter().map(|host| {
                let host = &hosts[host.index()];
                &host.device
            }));
            for host in &machine.interfaces {
                let host = &mut hosts[host.index()];
                host.device = device.clone();
                host.domain = SERVERS + 1 + index;
                host.name = machine.name.as_str().into();
            }
        }
        let seed = capture.seed();
        let fabric = Fabric::new(topology, |label| seed.stream(label));
        let kernel = Arc::new(kernel.enter());
        let mut world = Self {
            capture,
            recorder,
            fabric,
            hosts,
            by_kernel,
            names: Arc::new(names),
            ports: OpenPorts::default(),
            streams: Streams::default(),
            domains: (0..=machines.len()).map(|_| None).collect(),
            paused: BTreeSet::new(),
            waited: BTreeMap::new(),
            off: BTreeSet::new(),
            recovery: Recovery::default(),
            connections: Connections::default(),
            watches: Vec::new(),
            cut: Vec::new(),
            arrivals: BTreeMap::new(),
            retransmissions: BTreeMap::new(),
            sequence_number: 0,
            running: Running(Arc::new(Mutex::new(Some("world".into())))),
            now: Duration::ZERO,
            step_max: STEP_MAX,
            step: Duration::ZERO,
            ahead: Duration::ZERO,
            egress: Egress::new(&kernel),
            segment_bytes_max: None,
            _kernel: kernel,
        };
        world.measure_step();
        world.measure_segments();
        world
    }

    /// Lets steps be as long as `longest` where the links allow it. For worlds without a script,
    /// which would act between steps.
    pub fn lengthen_steps(&mut self, longest: Duration) {
        self.step_max = longest;
        self.measure_step();
    }

    /// Works out how long a TCP segment may be on every link.
    pub(super) fn measure_segments(&mut self) {
        /// The headers of IPv6 (RFC 8200 section 3), which are the longer ones, and of TCP.
        const HEADERS_BYTES: usize = 40 + 20;
        let mtu = self.fabric.minimal_mtu_bytes();
        self.segment_bytes_max = mtu.map(|mtu| mtu.saturating_sub(HEADERS_BYTES).max(1));
    }

    /// Works out how far the applications may run by themselves.
    pub(super) fn measure_step(&mut self) {
        let first_hop = self.fabric.minimal_first_hop_delay();
        let last_hop = self.fabric.minimal_last_hop_delay();
        let shortest = first_hop.min(last_hop);
        assert!(
            shortest >= DELAY_MIN,
            "a host's link takes {shortest:?}, which is less than {DELAY_MIN:?}"
        );
        let last_hop = whole_milliseconds(last_hop.min(self.step_max));
        self.ahead = whole_milliseconds(first_hop).min(self.step_max.saturating_sub(last_hop));
        self.step = self.ahead + last_hop;
    }
}

/// Which addresses the kernels know the hosts by: their own where nobody else has the same, and
/// others where two private networks use the same ones.
struct Aliases {
    shared: BTreeSet<IpAddr>,
    used: u16,
}

impl Aliases {
    fn of(topology: &Topology) -> Self {
        let mut seen = BTreeSet::new();
        let addresses = topology
            .hosts()
            .flat_map(|host| topology.addresses(host).to_vec());
        Self {
            shared: addresses.filter(|address| !seen.insert(*address)).collect(),
            used: 0,
        }
    }

    fn take(&mut self, topology: &Topology, host: HostId) -> Vec<Address> {
        let addresses = topology.addresses(host).iter();
        addresses
            .map(|seen| Address {
                seen: *seen,
                kernel: self.kernel(*seen),
            })
            .collect()
    }

    fn kernel(&mut self, seen: IpAddr) -> IpAddr {
        if !self.shared.contains(&seen) {
            return seen;
        }
        self.used += 1;
        let [high, low] = self.used.to_be_bytes();
        match seen {
            // Reserved for future use (RFC 1112 section 4), so no network has it.
            IpAddr::V4(_) => Ipv4Addr::new(241, 0, high, low).into(),
            // Discard-only (RFC 6666).
            IpAddr::V6(_) => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, self.used).into(),
        }
    }
}

/// Tokio's timers tick in milliseconds, so steps are made of them.
fn whole_milliseconds(delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}
