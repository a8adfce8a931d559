//! Makes the peers do what the script says, when it says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringtrue::config::ClientConfig;
use tokio::sync::mpsc;

use super::World;
use super::boxes::Boxes;
use super::faults::{AppDeed, Faults, Places};
use super::servers::ServerHosts;
use crate::check::call::LastCall;
use crate::check::facts::FactCollector;
use crate::check::settling;
use crate::determinism::has_panicked;
use crate::endpoint::{Command, Endpoint, Logbook, Seat, Storage};
use crate::net::topology::HostId;
use crate::scenario::model::{Action, Scenario, ScriptStep, StorageMode, Trigger};
use crate::trace::{AppEvent, EventKind, HostName};

/// How long the world goes on after the last call is over, so that what is left shows.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it goes on at most while a peer still holds sockets: a client on a bad network says again
/// and again that it is done with its relays.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// How long a run may go on after the last thing its script knows of: longer than any client waits
/// before it gives a call up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked whether a call has settled.
const SETTLING_INTERVAL: Duration = Duration::from_millis(500);
/// How long a run may go on in all, whatever happens in it: longer than any script can last.
const VIRTUAL_MAX: Duration = Duration::from_hours(3);

/// The people behind the peers.
#[derive(Debug)]
pub struct Director<'a> {
    scenario: &'a Scenario,
    config: ClientConfig,
    endpoint: Arc<dyn Endpoint>,
    facts: FactCollector,
    people: BTreeMap<String, Person>,
    pending: Vec<ScriptStep>,
    faults: Faults<'a>,
    boxes: Boxes,
    /// When the script last did something or a peer last reached something new.
    progressed: Duration,
    seen: usize,
    /// Whether the script did something before the present step of the world.
    took_a_step: bool,
    /// When the call had settled, or had had its time for it.
    settled: Option<Duration>,
    /// When to look for that again.
    look_again: Duration,
}

/// Where the scenario's peers are, and what stands around them.
#[derive(Debug)]
pub struct Stage {
    /// Where its names are.
    pub places: Places,
    /// Its servers.
    pub servers: ServerHosts,
    /// Its middleboxes.
    pub boxes: Boxes,
}

#[derive(Debug)]
struct Person {
    host: HostId,
    /// `None` while the application is dead.
    commands: Option<mpsc::UnboundedSender<Command>>,
    storage: Storage,
}

/// Why the world stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The script is done and every call is over.
    Done,
    /// Nothing new happened for longer than any client waits.
    Stalled,
    /// Something panicked.
    Panicked,
}

impl<'a> Director<'a> {
    /// Directs the peers of `scenario` on their `stage`. `endpoint` is what each of them runs.
    #[must_use]
    pub fn new(
        scenario: &'a Scenario,
        config: ClientConfig,
        endpoint: Arc<dyn Endpoint>,
        stage: Stage,
        facts: FactCollector,
    ) -> Self {
        let Stage {
            places,
            servers,
            boxes,
        } = stage;
        let people = places
            .homes
            .iter()
            .map(|(name, host)| {
                let person = Person {
                    host: *host,
                    commands: None,
                    storage: Storage::default(),
                };
                (name.clone(), person)
            })
            .collect();
        Self {
            scenario,
            config,
            endpoint,
            facts,
            people,
            pending: scenario.script.clone(),
            faults: Faults::new(scenario, places, servers),
            boxes,
            progressed: Duration::ZERO,
            seen: 0,
            took_a_step: false,
            settled: None,
            look_again: Duration::ZERO,
        }
    }

    /// Runs the world until the script has ended.
    pub fn direct(&mut self, world: &mut World) -> Ending {
        self.faults.arm(world);
        let ending = self.go_on(world);
        // What struck in the last step is known only now.
        self.faults.note_cuts(world);
        ending
    }

    fn go_on(&mut self, world: &mut World) -> Ending {
        let peers: Vec<String> = self.people.keys().cloned().collect();
        for peer in &peers {
            self.start(world, peer);
        }
        let mut over_since = None;
        loop {
            self.act(world);
            world.step();
            if has_panicked() {
                return Ending::Panicked;
            }
            let now = world.now();
            if self.note_progress(now) || self.took_a_step {
                over_since = self.is_over().then_some(now);
            }
            match over_since {
                Some(since) if now >= since + SETTLE_MAX => return Ending::Done,
                Some(since) if now >= since + SETTLE && !self.holds_sockets(world) => {
                    return Ending::Done;
                }
                _ if now > VIRTUAL_MAX => return Ending::Stalled,
                None if self.is_stalled(now) => return Ending::Stalled,
                Some(_) | None => {}
            }
        }
    }

    /// Takes every step whose time has come.
    fn act(&mut self, world: &mut World) {
        let now = world.now();
        self.look_whether_settled(now);
        let (mut due, pending): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|step| self.time_of(step.trigger).is_some_and(|at| at <= now));
        self.pending = pending;
        due.sort_by_key(|step| self.time_of(step.trigger));
        self.took_a_step = !due.is_empty();
        self.boxes.act(world);
        let strikes = self.facts.with(|facts| self.faults.due(facts));
        for deed in self.faults.act(world, &strikes) {
            self.took_a_step = true;
            match deed {
                AppDeed::Kill(peer) => self.kill(world, &peer),
                AppDeed::Start(peer) => self.start(world, &peer),
            }
        }
        for step in due {
            self.progressed = now;
            self.take(world, &step);
        }
    }

    fn take(&mut self, world: &mut World, step: &ScriptStep) {
        let command = match &step.action {
            Action::Call { callee } => Command::Call {
                callee: callee.clone(),
            },
            Action::Answer => Command::Answer,
            Action::Push { caller } => {
                let stored = self.people.get(caller).and_then(|each| each.storage.get());
                let Some(stored) = stored else {
                    let what = format!("{}: who is said to call does not", step.action);
                    return record(world, &step.peer, AppEvent::Refused { what });
                };
                Command::Push {
                    caller: self.scenario.peers[caller].user.clone(),
                    call: stored.call,
                }
            }
            Action::HangUp => Command::HangUp,
            Action::Kill => return self.kill(world, &step.peer),
            Action::Start => return self.start(world, &step.peer),
        };
        let accepted = self
            .people
            .get(&step.peer)
            .and_then(|person| person.commands.as_ref())
            .is_some_and(|commands| commands.send(command).is_ok());
        if !accepted {
            let what = format!("{}: the application is not running", step.action);
            record(world, &step.peer, AppEvent::Refused { what });
        }
    }

    fn start(&mut self, world: &mut World, peer: &str) {
        let Some(person) = self.people.get_mut(peer) else {
            return;
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        person.commands = Some(commands);
        let voices: BTreeMap<_, _> = self
            .scenario
            .peers
            .values()
            .map(|peer| (peer.user.clone(), self.scenario.tracks[&peer.plays].clone()))
            .collect();
        let name: HostName = peer.into();
        let logbook = Logbook::new(
            world.recorder().clone(),
            Arc::clone(&name),
            BTreeMap::clone(&voices),
        );
        let seat = Seat {
            name,
            user: self.scenario.peers[peer].user.clone(),
            net: world.net(person.host),
            config: self.config.clone(),
            voices,
            storage: match self.scenario.peers[peer].storage {
                StorageMode::Kept => person.storage.clone(),
                StorageMode::Lost => Storage::default(),
            },
            commands: receiver,
            logbook,
        };
        let endpoint = Arc::clone(&self.endpoint);
        world.domain(person.host).spawn(async move {
            seat.logbook.write(AppEvent::Started);
            endpoint.run(seat).await;
        });
    }

    fn kill(&mut self, world: &mut World, peer: &str) {
        if let Some(person) = self.people.get_mut(peer) {
            person.commands = None;
            world.kill(person.host);
            record(world, peer, AppEvent::Killed);
        }
    }

    /// When a step is due; `None` while the event that it waits for has not happened.
    fn time_of(&self, trigger: Trigger) -> Option<Duration> {
        self.facts.with(|facts| match trigger {
            Trigger::At(at) => Some(at),
            Trigger::AfterRinging(wait) => facts.first_ringing().map(|at| at + wait),
            Trigger::AfterAudio(wait) => facts.audio_on_both_sides().map(|at| at + wait),
            Trigger::AfterSettling(wait) => self.settled.map(|at| at + wait),
        })
    }

    /// Looks now and then whether the call has come to what its networks allow.
    fn look_whether_settled(&mut self, now: Duration) {
        let Some(terms) = settling::terms(self.scenario) else {
            return;
        };
        if self.settled.is_some() || now < self.look_again {
            return;
        }
        self.look_again = now + SETTLING_INTERVAL;
        self.settled = self.facts.with(|facts| {
            let call = LastCall::of(self.scenario, facts);
            settling::settled_by(self.scenario, &call, facts, terms, now)
        });
    }

    /// Whether a peer did or saw anything since the last call. Audio is nothing new.
    fn note_progress(&mut self, now: Duration) -> bool {
        let count = self.facts.with(|facts| facts.app.len());
        let news = count > self.seen;
        self.seen = count;
        if news {
            self.progressed = now;
        }
        news
    }

    /// Whether nothing can come any more: every call is over, and the steps that are left wait for
    /// events that did not happen.
    fn is_over(&self) -> bool {
        let will_be_due = |step: &ScriptStep| self.time_of(step.trigger).is_some();
        if self.pending.iter().any(will_be_due) {
            return false;
        }
        self.facts.with(|facts| {
            let mut called = false;
            let mut in_call: BTreeMap<&str, bool> = BTreeMap::new();
            for fact in &facts.app {
                let state = in_call.entry(&fact.peer).or_default();
                match fact.event {
                    AppEvent::Calling { .. }
                    | AppEvent::Incoming { .. }
                    | AppEvent::Pushed { .. }
                    | AppEvent::Resumed => {
                        called = true;
                        *state = true;
                    }
                    AppEvent::Ended { .. } | AppEvent::Killed => *state = false,
                    _ => {}
                }
            }
            called && in_call.values().all(|in_call| !in_call)
        })
    }

    /// Whether an application has a UDP socket open.
    fn holds_sockets(&self, world: &World) -> bool {
        let mut people = self.people.values();
        people.any(|person| world.has_open_sockets(person.host))
    }

    /// Whether nothing new has happened for too long, nor is to happen.
    fn is_stalled(&self, now: Duration) -> bool {
        // What is to happen is looked for only when it matters: this is asked in every step.
        if now <= self.progressed + PATIENCE {
            return false;
        }
        let waits = self.pending.iter().map(|step| match step.trigger {
            Trigger::At(at) => at,
            Trigger::AfterRinging(wait)
            | Trigger::AfterAudio(wait)
            | Trigger::AfterSettling(wait) => self.progressed + wait,
        });
        let known = self.facts.with(|facts| {
            let late = settling::late_messages(self.scenario, facts, Duration::MAX);
            self.faults.last_known(facts).into_iter().chain(late)
        });
        now > waits.chain(known).fold(self.progressed, Duration::max) + PATIENCE
    }
}

/// Writes down what happened to a peer from outside.
fn record(world: &World, peer: &str, event: AppEvent) {
    let (recorder, now) = (world.recorder(), world.now());
    recorder.record(now, &Arc::from(peer), EventKind::App(event));
}
