//! A world with one client, one scripted server, and a link between them, run to the end of a test's
//! body in virtual time.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue::net::Net;
use ringtrue::net::tls::TlsTrust;
use ringtrue_sim::determinism::{self, Capture, Plugs, has_panicked, run_on_own_thread};
use ringtrue_sim::fault::Breakage;
use ringtrue_sim::net::link::{LinkConfig, LinkPair};
use ringtrue_sim::net::loss::Probability;
use ringtrue_sim::net::topology::{Families, HostId, NetworkConfig, Topology};
use ringtrue_sim::scenario::value::parse_percentage;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::server::certificate::Authority;
use ringtrue_sim::trace::digest::Chain;
use ringtrue_sim::trace::log::TraceLayer;
use ringtrue_sim::trace::{Event, EventKind, Observer, Recorder};
use ringtrue_sim::world::World;
use ringtrue_sim::world::host::Names;
use ringtrue_sim::world::wire::FrameCut;
use tracing_subscriber::layer::SubscriberExt as _;

use super::server::Server;

/// The server's name. It listens where every client looks for it, with TLS and without.
pub(crate) const HOST: &str = "server.example";
pub(crate) const URL: &str = "http://server.example";
pub(crate) const TLS_URL: &str = "https://server.example";
const PORT: u16 = 80;
const TLS_PORT: u16 = 443;

/// No body has more to wait for.
const LIMIT: Duration = Duration::from_mins(20);
/// How much of what happened a failure shows.
const TAIL_LINES: usize = 60;
/// How long a world goes on without its client, so that the server notices.
const GOODBYE: Duration = Duration::from_secs(1);
/// The links next to both hosts, which are the step of the world.
const NEAR: Duration = Duration::from_millis(5);

/// The way between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// 20 ms there and back.
    Clean,
    /// 200 ms there and back, with 2 % loss in each direction.
    Lossy,
}

/// What a body has.
#[derive(Clone)]
pub(crate) struct Bench {
    /// The client's network.
    pub(crate) net: Arc<dyn Net>,
    pub(crate) server: Server,
    pub(crate) link: Link,
    pub(crate) seed: u64,
    /// The certificates that the server's own authority makes.
    pub(crate) trust: TlsTrust,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
}

/// What is done to the world between two of its steps.
#[derive(Debug)]
enum Deed {
    Break(Breakage),
    CutAtFrame(FrameCut),
    SwitchOff,
    SwitchOn,
    Pause,
    Resume,
    /// The client stands still for so long.
    Suspend(Duration),
    PowerOff,
    PowerOn,
}

/// What came of one body.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of everything that happened.
    pub(crate) digest: String,
    /// The last of what happened, a line each.
    pub(crate) tail: Vec<String>,
    /// Why it failed, where it did.
    pub(crate) failure: Option<String>,
}

/// Runs a body over both links with several seeds each.
#[track_caller]
pub(crate) fn check<F, B>(body: F)
where
    F: Fn(Bench) -> B + Sync,
    B: Future<Output = ()> + Send + 'static,
{
    for link in [Link::Clean, Link::Lossy] {
        for seed in 1..=3 {
            let outcome = run(link, seed, &body);
            if let Some(failure) = outcome.failure {
                let tail = outcome.tail.join("\n");
                panic!("over {link} with seed {seed}: {failure}\n{tail}");
            }
        }
    }
}

/// Runs a body once.
pub(crate) fn run<F, B>(link: Link, seed: u64, body: &F) -> Outcome
where
    F: Fn(Bench) -> B + Sync,
    B: Future<Output = ()> + Send + 'static,
{
    let tail = Tail::default();
    let recorder = Recorder::new(vec![Box::new(tail.clone())]);
    let server = Server::new();
    let ended = run_on_own_thread("signaling", || {
        in_world(link, seed, body, &recorder, &server)
    });
    let failure = match ended {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(error) => Some(error.to_string()),
    };
    let mut lines = tail.lines();
    let entries = server.record().0.into_iter();
    lines.extend(entries.map(|entry| (entry.at, entry.to_string())));
    lines.sort_by_key(|(at, _)| *at);
    let begin = lines.len().saturating_sub(TAIL_LINES);
    Outcome {
        digest: recorder.digest().to_string(),
        tail: lines.drain(begin..).map(|(_, line)| line).collect(),
        failure,
    }
}

fn in_world<F, B>(
    link: Link,
    seed: u64,
    body: &F,
    recorder: &Recorder,
    server: &Server,
) -> Result<(), String>
where
    F: Fn(Bench) -> B,
    B: Future<Output = ()> + Send + 'static,
{
    let capture = Capture::enter(Seed::new(seed), Plugs::all()).expect("a fresh thread");
    let mut topology = Topology::new();
    let home = NetworkConfig {
        uplink: link.uplink(),
        ..NetworkConfig::default()
    };
    let home = topology.add_network("home", home).expect("room");
    let near = || LinkPair::from(NEAR);
    let client = topology.add_host("client", home, near()).expect("room");
    let host = topology
        .add_server(HOST, near(), Families::V4)
        .expect("room");
    let addresses = topology.addresses(host).to_vec();
    let names = Names::from([(HOST.to_owned(), addresses.clone())]);
    let machines = [("client", client), (HOST, host)].map(|(name, host)| {
        let name = name.to_owned();
        ringtrue_sim::world::Machine {
            name,
            interfaces: vec![host],
        }
    });
    let mut world = World::with_machines(capture, recorder.clone(), topology, names, &machines);
    let running = world.running();
    let layer = TraceLayer::new(recorder.clone(), move || {
        Some((determinism::now(), running.host()?))
    });
    let logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let address = SocketAddr::new(addresses[0], PORT);
    let authority = Arc::new(Authority::new());
    let tls_address = SocketAddr::new(addresses[0], TLS_PORT);
    world.listen_in(client, [address, tls_address].into());
    let place = Place {
        client,
        host,
        address: addresses[0],
        authority: Arc::clone(&authority),
        server: server.clone(),
    };
    place.start(&mut world);

    let bench = Bench {
        net: world.net(client),
        server: server.clone(),
        link,
        seed,
        trust: authority.trust(),
        deeds: Arc::default(),
    };
    let deeds = Arc::clone(&bench.deeds);
    let done = Arc::new(AtomicBool::new(false));
    let (running, finished) = (body(bench), Arc::clone(&done));
    world.domain(client).spawn(async move {
        running.await;
        finished.store(true, Ordering::Relaxed);
    });
    let mut result = Ok(());
    let mut asleep_until = None;
    while !done.load(Ordering::Relaxed) && !has_panicked() {
        if world.now() > LIMIT {
            result = Err(format!("the body has not ended within {LIMIT:?}"));
            break;
        }
        let due = std::mem::take(&mut *deeds.lock().unwrap_or_else(PoisonError::into_inner));
        for deed in due {
            if let Deed::Suspend(wait) = deed {
                asleep_until = Some(world.now() + wait);
            }
            place.act(&mut world, &deed);
        }
        if asleep_until.is_some_and(|until| until <= world.now()) {
            asleep_until = None;
            world.resume(client);
        }
        world.step();
    }
    let until = world.now() + GOODBYE;
    world.kill(client);
    while world.now() < until {
        world.step();
    }
    drop(world);
    drop(logs);
    result
}

/// Where everything is in a world.
struct Place {
    client: HostId,
    host: HostId,
    address: IpAddr,
    authority: Arc<Authority>,
    server: Server,
}

impl Place {
    fn start(&self, world: &mut World) {
        let net: Arc<dyn Net> = world.net(self.host);
        let plain = SocketAddr::new(self.address, PORT);
        let serving = self.server.clone().run(Arc::clone(&net), plain);
        world.domain(self.host).spawn(serving);
        let tls = SocketAddr::new(self.address, TLS_PORT);
        let authority = Arc::clone(&self.authority);
        let serving = self.server.clone().run_tls(net, tls, HOST, authority);
        world.domain(self.host).spawn(serving);
    }

    fn act(&self, world: &mut World, deed: &Deed) {
        let Self { client, host, .. } = *self;
        match *deed {
            Deed::Break(how) => {
                world.break_connections(client, |remote| remote.ip() == self.address, how);
            }
            Deed::CutAtFrame(cut) => world.cut_at(client, cut),
            Deed::SwitchOff => world.switch_off(host),
            Deed::SwitchOn => world.switch_on(host),
            Deed::Pause => {
                world.pause(host);
            }
            Deed::Resume => world.resume(host),
            Deed::Suspend(_) => {
                world.pause(client);
            }
            Deed::PowerOff => {
                world.power_off(host);
                self.server.forget_sessions();
            }
            Deed::PowerOn => {
                world.switch_on(host);
                self.start(world);
            }
        }
    }
}

impl Bench {
    /// Virtual time since the start of the run.
    #[expect(clippy::unused_self, reason = "the time is that of this bench")]
    pub(crate) fn now(&self) -> Duration {
        determinism::now()
    }

    /// It must be this moment now, but for a tick of the clock.
    #[track_caller]
    pub(crate) fn assert_at(&self, moment: Duration) {
        let now = self.now();
        let tick = Duration::from_millis(1);
        assert!(now.abs_diff(moment) <= tick, "{now:?} is not {moment:?}");
    }

    /// How long ago a moment was.
    pub(crate) fn since(&self, moment: Duration) -> Duration {
        self.now().saturating_sub(moment)
    }

    /// Breaks every connection between client and server.
    pub(crate) fn break_connections(&self, how: Breakage) {
        self.take(Deed::Break(how));
    }

    /// Cuts a connection at a frame.
    pub(crate) fn cut_at(&self, cut: FrameCut) {
        self.take(Deed::CutAtFrame(cut));
    }

    /// Makes every packet to the server vanish.
    pub(crate) fn switch_server_off(&self) {
        self.take(Deed::SwitchOff);
    }

    /// Ends that.
    pub(crate) fn switch_server_on(&self) {
        self.take(Deed::SwitchOn);
    }

    /// Makes the server stand still: its kernel accepts what comes.
    pub(crate) fn pause_server(&self) {
        self.take(Deed::Pause);
    }

    /// Lets it go on.
    pub(crate) fn resume_server(&self) {
        self.take(Deed::Resume);
    }

    /// Makes the client stand still for so long, its timers included.
    pub(crate) fn suspend(&self, wait: Duration) {
        self.take(Deed::Suspend(wait));
    }

    /// Ends the server without a word.
    pub(crate) fn power_server_off(&self) {
        self.take(Deed::PowerOff);
    }

    /// Starts it again, with nothing remembered.
    pub(crate) fn power_server_on(&self) {
        self.take(Deed::PowerOn);
    }

    /// In what time something passes one way so often, whatever is lost: three times in a row where
    /// links lose.
    pub(crate) fn ways(&self, count: u32) -> Duration {
        match self.link {
            Link::Clean => Duration::from_millis(10) * count + Duration::from_millis(20),
            // A segment is sent again after four ways, then eight, then sixteen.
            Link::Lossy => Duration::from_millis(100) * (count + 28),
        }
    }

    fn take(&self, deed: Deed) {
        let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
        deeds.push_back(deed);
    }
}

impl Link {
    fn uplink(self) -> LinkPair {
        LinkPair::symmetric(match self {
            Self::Clean => LinkConfig::lossless(Duration::ZERO),
            Self::Lossy => {
                let loss: Probability = parse_percentage("2%").expect("a share");
                LinkConfig::lossless(Duration::from_millis(90)).with_loss(loss)
            }
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clean => "a clean link (20 ms there and back)",
            Self::Lossy => "a lossy link (200 ms there and back, 2 %)",
        })
    }
}

/// What the client's side shows, for failures.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<(Duration, String)>>>);

impl Tail {
    fn lines(&self) -> Vec<(Duration, String)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Observer for Tail {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        let is_shown = matches!(event.kind, EventKind::Wire(_) | EventKind::Log { .. });
        if is_shown {
            let line = format!(
                "{:10.3}s  {} {}",
                event.at.as_secs_f64(),
                event.host,
                event.kind
            );
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push((event.at, line));
        }
    }
}
