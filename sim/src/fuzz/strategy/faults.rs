//! What goes wrong with networks, servers and apps.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::case::{DestinationCase, FaultCase, LinkCase, ServersCase, Time, When};
use super::PEERS;
use super::networks::{Place, home_of, other_of};
use super::story::Story;
use crate::fault::FaultName;

/// How often a kind of fault is on in a case.
const ON: f64 = 0.16;

/// The faults of a case: each kind is on or off, and one that is on strikes once or twice.
pub(super) fn faults(story: &Story) -> impl Strategy<Value = Vec<FaultCase>> + use<> {
    let kinds: Vec<_> = FaultName::ALL
        .into_iter()
        .map(|kind| {
            let strikes = proptest::collection::vec(fault(kind, story), 1..=2);
            // Only a caller can be killed before there is audio, so that it has to come more often.
            let on = if kind == FaultName::AppKill {
                2.0 * ON
            } else {
                ON
            };
            proptest::option::weighted(on, strikes)
        })
        .collect();
    let all = kinds.prop_map(|kinds| kinds.into_iter().flatten().flatten().collect::<Vec<_>>());
    prop_oneof![
        1 => Just(Vec::new()),
        9 => all,
    ]
}

/// Those of `faults` that can be together in one scenario: the first of each kind on its target, and
/// none of an app or network that another fault of the case takes away.
#[must_use]
pub(super) fn compatible(
    mut faults: Vec<FaultCase>,
    places: &[Place; 2],
    servers: Option<&ServersCase>,
    story: &Story,
) -> Vec<FaultCase> {
    // A kill excludes most others, so that it has to come before them to come at all.
    faults.sort_by_key(|fault| fault.kind != FaultName::AppKill.as_str());
    let mut kept: Vec<FaultCase> = Vec::new();
    let has_turn = servers.is_none_or(|servers| servers.turn.is_none());
    for fault in faults {
        let is_of_turn = fault.kind == "turn-out" || fault.server == Some("turn");
        if is_of_turn && !has_turn {
            continue;
        }
        if fits(&fault, &kept, places, story) {
            kept.push(fault);
        }
    }
    kept
}

fn fits(fault: &FaultCase, kept: &[FaultCase], places: &[Place; 2], story: &Story) -> bool {
    let needs_nat = matches!(fault.kind, "nat-reboot" | "mapping-flush" | "rebinding");
    let has_nat = PEERS
        .into_iter()
        .zip(places)
        .any(|(peer, place)| fault.network == Some(home_of(peer)) && place.has_nat());
    if needs_nat && !has_nat {
        return false;
    }
    // Who kills an app that has to hang up leaves nobody to do it.
    if fault.kind == "app-kill" && !story.settles() {
        return false;
    }
    !kept.iter().any(|other| excludes(fault, other))
}

/// Whether two faults cannot be in one case. Times are not looked at, so this is stricter than the
/// scenario file.
fn excludes(one: &FaultCase, other: &FaultCase) -> bool {
    let kinds = [one.kind, other.kind];
    let are = |first: &str, second: &str| kinds == [first, second] || kinds == [second, first];
    let both = |kind: &str| kinds == [kind, kind];
    let same_place = one.peer == other.peer && one.network == other.network;
    // One side of a call is there to end it.
    if both("app-kill") {
        return true;
    }
    if (kinds[0] == kinds[1] && same_place && one.server == other.server)
        || are("server-pause", "signaling-restart")
        || are("server-pause", "turn-out")
    {
        return true;
    }
    let of_app = ["app-suspend", "socket-drop", "name-failure"];
    let kills = |kind: &str| kind == "app-kill";
    same_place
        && (are("flight-mode", "network-switch")
            || (kills(kinds[0]) && of_app.contains(&kinds[1]))
            || (kills(kinds[1]) && of_app.contains(&kinds[0])))
}

fn fault(kind: FaultName, story: &Story) -> BoxedStrategy<FaultCase> {
    match kind {
        FaultName::SignalingRestart | FaultName::ServerPause | FaultName::TurnOut => {
            of_servers(kind)
        }
        FaultName::NatReboot
        | FaultName::MappingFlush
        | FaultName::Rebinding
        | FaultName::Blackhole
        | FaultName::LinkChange => of_network(kind),
        FaultName::SocketDrop
        | FaultName::NameFailure
        | FaultName::NetworkSwitch
        | FaultName::FlightMode
        | FaultName::AppSuspend
        | FaultName::AppKill => of_peer(kind, story),
    }
}

fn of_servers(kind: FaultName) -> BoxedStrategy<FaultCase> {
    let outage = match kind {
        FaultName::SignalingRestart => (
            proptest::option::of(length()),
            select(vec!["polite", "cut"]).prop_map(|how| (Some(how), None)),
        )
            .boxed(),
        FaultName::TurnOut => (
            length().prop_map(Some),
            select(vec!["down", "wrong-credentials", "quota"]).prop_map(|how| (Some(how), None)),
        )
            .boxed(),
        _ => (
            length().prop_map(Some),
            select(vec!["signaling", "turn", "stun"]).prop_map(|server| (None, Some(server))),
        )
            .boxed(),
    };
    (moment(), outage)
        .prop_map(move |(when, (lasts, (how, server)))| FaultCase {
            server,
            how,
            ..made(kind, when.of(PEERS[0]), lasts, PEERS[0])
        })
        .boxed()
}

fn of_network(kind: FaultName) -> BoxedStrategy<FaultCase> {
    let peer = || select(PEERS.to_vec());
    match kind {
        FaultName::NatReboot => (moment(), peer(), select(vec!["same", "new"]))
            .prop_map(move |(when, peer, address)| FaultCase {
                address: Some(address),
                ..made(kind, when.of(peer), None, peer)
            })
            .boxed(),
        FaultName::Blackhole => (
            moment(),
            length(),
            peer(),
            select(vec!["both", "up", "down"]),
        )
            .prop_map(move |(when, lasts, peer, direction)| FaultCase {
                direction: Some(direction),
                ..made(kind, when.of(peer), Some(lasts), peer)
            })
            .boxed(),
        FaultName::LinkChange => (moment(), length(), peer(), worse_link())
            .prop_map(move |(when, lasts, peer, to)| FaultCase {
                to: Some(DestinationCase::Link(to)),
                ..made(kind, when.of(peer), Some(lasts), peer)
            })
            .boxed(),
        _ => (moment(), peer())
            .prop_map(move |(when, peer)| made(kind, when.of(peer), None, peer))
            .boxed(),
    }
}

fn of_peer(kind: FaultName, story: &Story) -> BoxedStrategy<FaultCase> {
    let peer = || select(PEERS.to_vec());
    match kind {
        FaultName::SocketDrop => (
            prop_oneof![2 => moment(), 3 => frame()],
            peer(),
            select(vec!["rst", "fin", "silence"]),
        )
            .prop_map(move |(when, peer, how)| FaultCase {
                // A frame is one of the peer whose connection breaks.
                how: Some(how),
                ..made(kind, when.of(peer), None, peer)
            })
            .boxed(),
        FaultName::NetworkSwitch => (moment(), peer())
            .prop_map(move |(when, peer)| FaultCase {
                to: Some(DestinationCase::Network(other_of(peer))),
                ..made(kind, when.of(peer), None, peer)
            })
            .boxed(),
        FaultName::AppSuspend => (moment(), length(), peer(), select(vec!["kept", "killed"]))
            .prop_map(move |(when, lasts, peer, sockets)| FaultCase {
                sockets: Some(sockets),
                ..made(kind, when.of(peer), Some(lasts), peer)
            })
            .boxed(),
        FaultName::AppKill => {
            // Who has to answer is killed once there is audio: nobody answers with a dead app.
            let while_ringing = if story.is_glare() { 0 } else { 2 };
            let when = prop_oneof![
                while_ringing => (after("ringing", 0..4_000), Just(PEERS[0])),
                1 => (after("audio", 0..6_000), peer()),
            ];
            (when, length())
                .prop_map(move |((when, peer), lasts)| made(kind, when.of(peer), Some(lasts), peer))
                .boxed()
        }
        _ => (moment(), length(), peer())
            .prop_map(move |(when, lasts, peer)| made(kind, when.of(peer), Some(lasts), peer))
            .boxed(),
    }
}

/// A fault that has nothing but what every one has.
fn made(kind: FaultName, when: When, lasts: Option<Time>, peer: &'static str) -> FaultCase {
    FaultCase {
        kind: kind.as_str(),
        when,
        lasts,
        peer: None,
        network: None,
        server: None,
        how: None,
        address: None,
        sockets: None,
        direction: None,
        to: None,
    }
    .about(kind, peer)
}

impl FaultCase {
    /// Whether connections from a network may die of it without a sign.
    pub(super) fn silences(&self, network: &str) -> bool {
        let of_network = self.network == Some(network);
        let of_peer = self.peer.is_some_and(|peer| home_of(peer) == network);
        match self.kind {
            "nat-reboot" | "mapping-flush" | "rebinding" | "blackhole" => of_network,
            "socket-drop" => of_peer && self.how == Some("silence"),
            "flight-mode" | "app-suspend" => of_peer,
            "server-pause" => self.server == Some("signaling"),
            "signaling-restart" => self.how == Some("cut"),
            _ => false,
        }
    }

    /// The same, about a peer or its network, as its kind has it.
    fn about(self, kind: FaultName, peer: &'static str) -> Self {
        match kind {
            FaultName::SocketDrop
            | FaultName::NameFailure
            | FaultName::NetworkSwitch
            | FaultName::FlightMode
            | FaultName::AppSuspend
            | FaultName::AppKill => Self {
                peer: Some(peer),
                ..self
            },
            FaultName::NatReboot
            | FaultName::MappingFlush
            | FaultName::Rebinding
            | FaultName::Blackhole
            | FaultName::LinkChange => Self {
                network: Some(home_of(peer)),
                ..self
            },
            FaultName::SignalingRestart | FaultName::ServerPause | FaultName::TurnOut => self,
        }
    }
}

/// A moment, whose event may be one of a peer that is not known yet.
#[derive(Debug, Clone)]
enum Moment {
    Fixed(When),
    Frame {
        side: &'static str,
        way: &'static str,
        number: u32,
    },
}

impl Moment {
    fn of(self, peer: &str) -> When {
        match self {
            Self::Fixed(when) => when,
            Self::Frame { side, way, number } => {
                When::On(format!("{side} {peer} {way} frame {number}"))
            }
        }
    }
}

/// When a fault begins: mostly while the call is set up, which is when most can break.
fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        4 => (0_u64..4_000).prop_map(|at| Moment::Fixed(When::At(Time::from_millis(at)))),
        3 => after("ringing", 0..4_000),
        2 => after("audio", 0..6_000),
        2 => message(),
    ]
}

fn after(event: &'static str, wait_ms: std::ops::Range<u64>) -> impl Strategy<Value = Moment> {
    wait_ms.prop_map(move |wait| {
        let wait = Time::from_millis(wait);
        Moment::Fixed(When::After(format!("{event} + {wait}")))
    })
}

fn message() -> impl Strategy<Value = Moment> {
    let message = prop_oneof![
        3 => (1_u32..=6).prop_map(|number| format!("candidate {number}")),
        1 => Just("offer 1".to_owned()),
        1 => Just("answer 1".to_owned()),
    ];
    (select(PEERS.to_vec()), message).prop_map(|(peer, message)| {
        // Only the callee answers and only the caller offers, at first.
        let peer = match message.as_str() {
            "offer 1" => PEERS[0],
            "answer 1" => PEERS[1],
            _ => peer,
        };
        Moment::Fixed(When::On(format!("{peer} sends {message}")))
    })
}

fn frame() -> impl Strategy<Value = Moment> {
    (
        select(vec!["before", "after"]),
        select(vec!["sends", "receives"]),
        1_u32..40,
    )
        .prop_map(|(side, way, number)| Moment::Frame { side, way, number })
}

/// How long a fault lasts: mostly a moment, rarely half a minute.
fn length() -> impl Strategy<Value = Time> {
    prop_oneof![
        6 => 200_u64..4_000,
        3 => 4_000_u64..12_000,
        1 => 12_000_u64..30_000,
    ]
    .prop_map(Time::from_millis)
}

fn worse_link() -> impl Strategy<Value = LinkCase> {
    let delay = proptest::option::of((50_u64..400).prop_map(Time::from_millis));
    let loss = select(vec!["5%", "10%", "30%", "10% in bursts of 5"]);
    (delay, loss).prop_map(|(delay, loss)| LinkCase::Settings {
        delay,
        loss: Some(loss.to_owned()),
    })
}
