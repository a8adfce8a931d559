//! Makes the faults of a scenario strike: what each of them does to a running world, and what shows
//! that it did.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::World;
use super::device::Carrier;
use super::servers::ServerHosts;
use crate::check::facts::Facts;
use crate::fault::{
    AddressAfter, Begin, Breakage, FaultKind, Goodbye, LinkName, ServerName, SocketsMeanwhile,
    TurnOutage,
};
use crate::net::cause::DropCause;
use crate::net::fabric::gateway_name;
use crate::net::link::LinkPair;
use crate::net::topology::{HostId, NetworkId};
use crate::scenario::model::Scenario;
use crate::server::turn::TurnControl;
use crate::trace::{EventKind, FaultEvent, FaultPhase};

/// Where the names of a scenario are in its world.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The networks by name.
    pub networks: BTreeMap<String, NetworkId>,
    /// The interface of each peer in each network that it is ever on.
    pub interfaces: BTreeMap<String, BTreeMap<String, HostId>>,
    /// The interface that each peer begins with.
    pub homes: BTreeMap<String, HostId>,
}

/// What a fault wants of an application, which is the director's to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppDeed {
    /// End it without a word.
    Kill(String),
    /// Start it.
    Start(String),
}

/// The faults of a scenario, in the course of a run.
#[derive(Debug)]
pub struct Faults<'a> {
    scenario: &'a Scenario,
    places: Places,
    servers: ServerHosts,
    /// The interface that each peer uses now.
    current: BTreeMap<String, HostId>,
    /// By the index of the fault.
    states: Vec<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    evidence: Evidence,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Lasting { until: Option<Duration>, undo: Undo },
    Over,
}

/// What ends a fault.
#[derive(Debug)]
enum Undo {
    Nothing,
    StartSignaling,
    SwitchOn(Vec<HostId>),
    Resume(Vec<HostId>),
    RestoreLookup(Vec<HostId>),
    ServeTurn,
    Connect(HostId),
    StartApp(String),
    OpenBlackhole(NetworkId),
    RestoreUplink(NetworkId, Box<LinkPair>),
    RestoreHostLinks(Vec<(HostId, LinkPair)>),
}

/// What shows that a fault did something.
#[derive(Debug)]
enum Evidence {
    /// It was written down.
    Recorded,
    /// There is none, and none will come.
    None,
    /// Packets that are dropped for it are counted under its index.
    Drops,
    /// A counter that was at `before` when it began.
    Count {
        counter: Counter,
        before: u64,
        what: &'static str,
    },
}

#[derive(Debug)]
enum Counter {
    FailedLookups(HostId),
    RefusedByTurn,
    WaitingAt(Vec<HostId>),
    CarriedByUplink(NetworkId),
    CarriedTo(Vec<HostId>),
}

impl<'a> Faults<'a> {
    /// The faults of `scenario`, none of which has begun.
    #[must_use]
    pub fn new(scenario: &'a Scenario, places: Places, servers: ServerHosts) -> Self {
        let states = scenario.faults.iter().map(|_| State {
            stage: Stage::Waiting,
            evidence: Evidence::None,
        });
        Self {
            scenario,
            current: places.homes.clone(),
            places,
            servers,
            states: states.collect(),
        }
    }

    /// Begins and ends every fault whose time has come, in the order of the scenario, and writes down
    /// what shows of them.
    ///
    /// `due` is what [`due`](Self::due) gave: facts cannot be looked at while events are recorded.
    pub fn act(&mut self, world: &mut World, due: &[Option<Duration>]) -> Vec<AppDeed> {
        let now = world.now();
        let mut deeds = Vec::new();
        // What ends makes room for what begins.
        for index in 0..self.states.len() {
            let ends = matches!(
                &self.states[index].stage,
                Stage::Lasting { until: Some(until), .. } if *until <= now
            );
            if ends {
                self.look_for_effect(index, world);
                self.end(index, world, &mut deeds);
            }
        }
        for index in 0..self.states.len() {
            let waits = matches!(self.states[index].stage, Stage::Waiting);
            if waits && due[index].is_some_and(|due| due <= now) {
                if self.is_in_the_way_of_another(index) {
                    self.states[index].stage = Stage::Over;
                } else {
                    self.begin(index, world, &mut deeds);
                }
            }
            self.look_for_effect(index, world);
        }
        deeds
    }

    /// When the last of the faults whose time is known begins or ends.
    #[must_use]
    pub fn last_known(&self, facts: &Facts) -> Option<Duration> {
        let due = self.due(facts).into_iter();
        let times = due
            .zip(&self.states)
            .map(|(due, state)| match &state.stage {
                Stage::Waiting => due,
                Stage::Lasting { until, .. } => *until,
                Stage::Over => None,
            });
        times.flatten().max()
    }

    /// When each fault begins; `None` while what it waits for has not happened.
    #[must_use]
    pub fn due(&self, facts: &Facts) -> Vec<Option<Duration>> {
        let due = self.scenario.faults.iter().map(|fault| match &fault.begin {
            Begin::At(at) => Some(*at),
            Begin::AfterRinging(wait) => facts.first_ringing().map(|at| at + *wait),
            Begin::AfterAudio(wait) => facts.audio_on_both_sides().map(|at| at + *wait),
            Begin::OnMessage {
                peer,
                message,
                number,
            } => facts.message_sent_at(peer, *message, *number),
        });
        due.collect()
    }

    /// Whether another fault of the same kind lasts on the same target. Whichever ended first would end
    /// both, so this one does not begin, which fails the run.
    fn is_in_the_way_of_another(&self, index: usize) -> bool {
        let kind = &self.scenario.faults[index].kind;
        let others = self.scenario.faults.iter().zip(&self.states);
        others.enumerate().any(|(other, (fault, state))| {
            let ends = matches!(state.stage, Stage::Lasting { until: Some(_), .. });
            let same = fault.kind.name() == kind.name() && fault.kind.target() == kind.target();
            other != index && ends && same
        })
    }

    fn begin(&mut self, index: usize, world: &mut World, deeds: &mut Vec<AppDeed>) {
        let fault = &self.scenario.faults[index];
        self.record(world, index, world.now(), FaultPhase::Begins);
        let (undo, evidence) = self.strike(index, &fault.kind, world, deeds);
        self.states[index] = State {
            stage: Stage::Lasting {
                until: fault.lasts.map(|lasts| world.now() + lasts),
                undo,
            },
            evidence: Evidence::None,
        };
        self.states[index].evidence = match evidence {
            Struck::Shows(what) => {
                self.record(world, index, world.now(), FaultPhase::Effect { what });
                Evidence::Recorded
            }
            Struck::Nothing => Evidence::None,
            Struck::MayShow(evidence) => evidence,
        };
        if self.happens_at_once(index) {
            self.end(index, world, deeds);
        }
    }

    /// Whether a fault without an end is over when it has begun.
    fn happens_at_once(&self, index: usize) -> bool {
        let fault = &self.scenario.faults[index];
        fault.lasts.is_none() && matches!(fault.kind, FaultKind::SignalingRestart { .. })
    }

    fn end(&mut self, index: usize, world: &mut World, deeds: &mut Vec<AppDeed>) {
        let stage = std::mem::replace(&mut self.states[index].stage, Stage::Over);
        let Stage::Lasting { undo, .. } = stage else {
            return;
        };
        // What comes later is no effect of it.
        self.states[index].evidence = Evidence::None;
        world.unwatch(index);
        match undo {
            Undo::Nothing => {}
            Undo::StartSignaling => {
                world.switch_on(self.servers.signaling());
                self.servers.start_signaling(world);
            }
            Undo::SwitchOn(hosts) => hosts.into_iter().for_each(|host| world.switch_on(host)),
            Undo::Resume(hosts) => hosts.into_iter().for_each(|host| world.resume(host)),
            Undo::RestoreLookup(hosts) => {
                for host in hosts {
                    world.device(host).restore_lookups(host);
                }
            }
            Undo::ServeTurn => self.servers.turn_controls().for_each(TurnControl::serve),
            Undo::Connect(host) => {
                world.set_carrier(host, Carrier::Up);
            }
            Undo::StartApp(peer) => deeds.push(AppDeed::Start(peer)),
            Undo::OpenBlackhole(network) => world.set_blackhole(network, None),
            Undo::RestoreUplink(network, before) => world.change_uplink(network, *before),
            Undo::RestoreHostLinks(links) => {
                for (host, before) in links {
                    world.change_host_link(host, before);
                }
            }
        }
        self.record(world, index, world.now(), FaultPhase::Ends);
    }

    /// Does what a fault does when it begins.
    fn strike(
        &mut self,
        index: usize,
        kind: &FaultKind,
        world: &mut World,
        deeds: &mut Vec<AppDeed>,
    ) -> (Undo, Struck) {
        match kind {
            FaultKind::SocketDrop { peer, how } => {
                (Undo::Nothing, self.drop_socket(peer, *how, world))
            }
            FaultKind::SignalingRestart { how } => {
                (Undo::StartSignaling, self.stop_signaling(*how, world))
            }
            FaultKind::ServerPause { server } => {
                let hosts = self.servers.hosts_of(*server);
                for host in &hosts {
                    world.pause(*host);
                }
                let counter = Counter::WaitingAt(hosts.clone());
                let what = "packets that reached the server were not answered";
                (Undo::Resume(hosts), self.count(counter, what, world))
            }
            FaultKind::NameFailure { peer } => {
                let hosts = self.interfaces(peer);
                for host in &hosts {
                    world.device(*host).fail_lookups(*host);
                }
                let counter = Counter::FailedLookups(self.current[peer]);
                let what = "look-ups of names failed";
                (Undo::RestoreLookup(hosts), self.count(counter, what, world))
            }
            FaultKind::TurnOut { how } => self.turn_out(index, *how, world),
            FaultKind::NatReboot { network, address } => {
                (Undo::Nothing, self.reboot(network, *address, world))
            }
            FaultKind::MappingFlush { network } => {
                let nat = world.nat_mut(self.places.networks[network]);
                let count = nat.map_or(0, |(nat, _)| nat.flush());
                (Undo::Nothing, Struck::counted(count, "mappings were lost"))
            }
            FaultKind::Rebinding { network } => {
                let now = world.now();
                let nat = world.nat_mut(self.places.networks[network]);
                let count = nat.map_or(0, |(nat, rng)| nat.rebind(now, rng));
                let what = "mappings have another port";
                (Undo::Nothing, Struck::counted(count, what))
            }
            FaultKind::NetworkSwitch { peer, to } => {
                (Undo::Nothing, self.switch_network(peer, to, world))
            }
            FaultKind::FlightMode { peer } => {
                let interface = self.current[peer];
                let count = world.set_carrier(interface, Carrier::Down);
                let what = format!("the interface is down, {count} connections were aborted");
                let struck = if world.is_running(interface) {
                    Struck::Shows(what)
                } else {
                    Struck::Nothing
                };
                (Undo::Connect(interface), struck)
            }
            FaultKind::AppSuspend { peer, sockets } => self.suspend(peer, *sockets, world),
            FaultKind::AppKill { peer } => {
                let struck = if world.is_running(self.current[peer]) {
                    Struck::Shows("the app is gone".to_owned())
                } else {
                    Struck::Nothing
                };
                deeds.push(AppDeed::Kill(peer.clone()));
                let undo = match self.scenario.faults[index].lasts {
                    Some(_) => Undo::StartApp(peer.clone()),
                    None => Undo::Nothing,
                };
                (undo, struck)
            }
            FaultKind::Blackhole { network, direction } => {
                let place = Some(gateway_name(network));
                let network = self.places.networks[network];
                world.set_blackhole(network, Some(*direction));
                world.watch(index, place, DropCause::Blackhole);
                let struck = Struck::MayShow(Evidence::Drops);
                (Undo::OpenBlackhole(network), struck)
            }
            FaultKind::LinkChange { network, link, to } => {
                self.change_link(network, *link, to, world)
            }
        }
    }

    fn drop_socket(&self, peer: &str, how: Breakage, world: &mut World) -> Struck {
        let port = self.servers.signaling_port();
        let server: Vec<IpAddr> = world.addresses(self.servers.signaling()).collect();
        let is_meant = |remote: SocketAddr| remote.port() == port && server.contains(&remote.ip());
        let count = world.break_connections(self.current[peer], is_meant, how);
        Struck::counted(count, "signaling connections were cut")
    }

    fn stop_signaling(&self, how: Goodbye, world: &mut World) -> Struck {
        let host = self.servers.signaling();
        let count = world.open_connections(host);
        match how {
            Goodbye::Polite => world.kill(host),
            Goodbye::Cut => world.power_off(host),
        }
        Struck::counted(count, "signaling connections were cut")
    }

    fn turn_out(&self, index: usize, how: TurnOutage, world: &mut World) -> (Undo, Struck) {
        let controls = self.servers.turn_controls();
        match how {
            TurnOutage::Down => {
                let hosts = self.servers.hosts_of(ServerName::Turn);
                for host in &hosts {
                    world.switch_off(*host);
                    let place = world.name_of(*host).to_string();
                    world.watch(index, Some(place), DropCause::HostDown);
                }
                let struck = Struck::MayShow(Evidence::Drops);
                return (Undo::SwitchOn(hosts), struck);
            }
            TurnOutage::WrongCredentials => controls.for_each(TurnControl::refuse_credentials),
            TurnOutage::Quota => controls.for_each(TurnControl::reach_quota),
        }
        let what = "requests were refused by TURN servers";
        (
            Undo::ServeTurn,
            self.count(Counter::RefusedByTurn, what, world),
        )
    }

    fn reboot(&self, network: &str, address: AddressAfter, world: &mut World) -> Struck {
        let id = self.places.networks[network];
        match world.restart_nat(id, address) {
            // Without a mapping nobody notices, and without another address nothing changes: the fault
            // is without effect, which fails the run.
            Ok(0) | Err(_) => Struck::Nothing,
            Ok(count) => match address {
                AddressAfter::Same => Struck::counted(count, "mappings were lost"),
                AddressAfter::New => {
                    let nat = world.nat_mut(id);
                    let external = nat.and_then(|(nat, _)| nat.externals().first().copied());
                    let external = external.map(|address| address.to_string());
                    let external = external.unwrap_or_default();
                    let what = format!("{count} mappings were lost, the address is {external} now");
                    Struck::Shows(what)
                }
            },
        }
    }

    fn switch_network(&mut self, peer: &str, to: &str, world: &mut World) -> Struck {
        let (from, to) = (self.current[peer], self.places.interfaces[peer][to]);
        if from == to {
            return Struck::Nothing;
        }
        world.close_sockets(from);
        world.set_carrier(from, Carrier::Down);
        world.set_carrier(to, Carrier::Up);
        self.current.insert(peer.to_owned(), to);
        let address = |host| {
            let addresses: Vec<String> = world.addresses(host).map(|ip| ip.to_string()).collect();
            addresses.join(", ")
        };
        Struck::Shows(format!("{} became {}", address(from), address(to)))
    }

    fn suspend(&self, peer: &str, sockets: SocketsMeanwhile, world: &mut World) -> (Undo, Struck) {
        let interface = self.current[peer];
        if sockets == SocketsMeanwhile::Killed {
            world.close_sockets(interface);
        }
        let struck = if world.pause(interface) {
            Struck::Shows("its timers stand still".to_owned())
        } else {
            Struck::Nothing
        };
        (Undo::Resume(vec![interface]), struck)
    }

    fn change_link(
        &self,
        network: &str,
        link: LinkName,
        to: &LinkPair,
        world: &mut World,
    ) -> (Undo, Struck) {
        let id = self.places.networks[network];
        let what = "packets passed the link as it is now";
        match link {
            LinkName::Uplink => {
                let before = world.uplink(id);
                world.change_uplink(id, *to);
                let evidence = self.count(Counter::CarriedByUplink(id), what, world);
                let struck = if before == *to {
                    Struck::Nothing
                } else {
                    evidence
                };
                (Undo::RestoreUplink(id, Box::new(before)), struck)
            }
            LinkName::Lan => {
                let hosts = world.topology().hosts();
                let hosts: Vec<HostId> = hosts
                    .filter(|host| world.topology().network_of(*host) == Some(id))
                    .collect();
                let before: Vec<(HostId, LinkPair)> = hosts
                    .iter()
                    .map(|host| (*host, world.host_link(*host)))
                    .collect();
                for host in &hosts {
                    world.change_host_link(*host, *to);
                }
                let struck = if before.iter().all(|(_, before)| before == to) {
                    Struck::Nothing
                } else {
                    self.count(Counter::CarriedTo(hosts), what, world)
                };
                (Undo::RestoreHostLinks(before), struck)
            }
        }
    }

    fn count(&self, counter: Counter, what: &'static str, world: &World) -> Struck {
        let before = self.read(&counter, world);
        Struck::MayShow(Evidence::Count {
            counter,
            before,
            what,
        })
    }

    fn read(&self, counter: &Counter, world: &World) -> u64 {
        match counter {
            Counter::FailedLookups(host) => world.device(*host).failed_lookups(),
            Counter::RefusedByTurn => {
                let controls = self.servers.turn_controls();
                controls.map(TurnControl::refused).sum()
            }
            Counter::WaitingAt(hosts) => hosts.iter().map(|host| world.waiting_at(*host)).sum(),
            Counter::CarriedByUplink(network) => world.carried_by_uplink(*network),
            Counter::CarriedTo(hosts) => hosts.iter().map(|host| world.carried_to(*host)).sum(),
        }
    }

    /// Writes down that a fault shows, the first time that it does.
    fn look_for_effect(&mut self, index: usize, world: &mut World) {
        let (at, what) = match &self.states[index].evidence {
            Evidence::Recorded | Evidence::None => return,
            Evidence::Drops => {
                let drops = world.watches();
                let mut drops = drops.iter().filter(|watch| watch.number == index);
                let Some(first) = drops.find_map(|watch| watch.first) else {
                    return;
                };
                (first, "packets are dropped".to_owned())
            }
            Evidence::Count {
                counter,
                before,
                what,
            } => {
                let count = self.read(counter, world).saturating_sub(*before);
                if count == 0 {
                    return;
                }
                (world.now(), format!("{count} {what}"))
            }
        };
        self.states[index].evidence = Evidence::Recorded;
        world.unwatch(index);
        self.record(world, index, at, FaultPhase::Effect { what });
    }

    fn record(&self, world: &World, index: usize, at: Duration, phase: FaultPhase) {
        let event = FaultEvent {
            fault: index,
            name: self.scenario.faults[index].kind.to_string(),
            phase,
        };
        world
            .recorder()
            .record(at, &"fault".into(), EventKind::Fault(event));
    }

    fn interfaces(&self, peer: &str) -> Vec<HostId> {
        self.places.interfaces[peer].values().copied().collect()
    }
}

/// What a fault did when it began.
#[derive(Debug)]
enum Struck {
    /// This.
    Shows(String),
    /// Nothing, and nothing will come of it.
    Nothing,
    /// Nothing yet.
    MayShow(Evidence),
}

impl Struck {
    fn counted(count: usize, what: &str) -> Self {
        if count == 0 {
            Self::Nothing
        } else {
            Self::Shows(format!("{count} {what}"))
        }
    }
}
