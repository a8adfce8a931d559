//! Makes the faults of a scenario strike: what each of them does to a running world, and what shows
//! that it did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::World;
use super::device::Carrier;
use super::servers::ServerHosts;
use super::wire::FrameCut;
use crate::check::facts::Facts;
use crate::fault::{Begin, FaultKind};
use crate::net::link::LinkPair;
use crate::net::topology::{HostId, NetworkId};
use crate::scenario::model::Scenario;
use crate::server::turn::TurnControl;
use crate::trace::{EventKind, FaultEvent, FaultPhase};

mod strike;

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

    /// Lets the world listen to the signaling of every peer, and strike where a fault waits for a
    /// frame of it.
    pub fn arm(&self, world: &mut World) {
        let servers: BTreeSet<SocketAddr> = world
            .addresses(self.servers.signaling())
            .map(|ip| SocketAddr::new(ip, self.servers.signaling_port()))
            .collect();
        for host in self.places.homes.values() {
            world.listen_in(*host, servers.clone());
        }
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            if let (Begin::OnFrame { peer, point }, FaultKind::SocketDrop { how, .. }) =
                (&fault.begin, &fault.kind)
            {
                let cut = FrameCut {
                    fault: index,
                    point: *point,
                    how: *how,
                };
                world.cut_at(self.places.homes[peer], cut);
            }
        }
    }

    /// Writes down the faults that struck in the middle of a step.
    pub fn note_cuts(&mut self, world: &mut World) {
        for (index, at) in world.take_cut() {
            self.states[index].stage = Stage::Over;
            self.record(world, index, at, FaultPhase::Begins);
            let what = "1 signaling connection was cut".to_owned();
            self.record(world, index, at, FaultPhase::Effect { what });
        }
    }

    /// Begins and ends every fault whose time has come, in the order of the scenario, and writes down
    /// what shows of them.
    ///
    /// `due` is what [`due`](Self::due) gave: facts cannot be looked at while events are recorded.
    pub fn act(&mut self, world: &mut World, due: &[Option<Duration>]) -> Vec<AppDeed> {
        let now = world.now();
        let mut deeds = Vec::new();
        self.note_cuts(world);
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

    /// When the last of the faults whose time is known begins or ends, or did.
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
        // Clients may be as patient after the end of a fault as after anything else.
        let told = facts.faults.last().map(|fact| fact.at);
        times.flatten().max().max(told)
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
            // The world strikes by itself, in the middle of a step.
            Begin::OnFrame { .. } => None,
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
                world.free_ports(self.servers.signaling());
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
