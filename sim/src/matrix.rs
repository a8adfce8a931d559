//! Every kind of NAT against every other: the cells of `ringtrue matrix`, as scenarios and as worlds
//! of the oracle.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ringtrue::audio::track::OpusTrack;
use ringtrue::config::TransportPolicy;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::check::milestones::Timings;
use crate::check::oracle::{self, Layer, Prediction, Reach, Side};
use crate::net::firewall::{FirewallConfig, Passage};
use crate::net::link::{LinkConfig, LinkPair};
use crate::net::loss::Probability;
use crate::net::nat::{Filtering, Hairpin, Mapping, NatConfig};
use crate::report::{CandidateType, Outcome, Report};
use crate::scenario::model::{
    Action, BACK_WITHIN, CallPath, Expectation, Families, Ipv6Firewall, NatBox, Network, Peer,
    ScriptStep, Servers, StorageMode, Trigger,
};
use crate::scenario::{Scenario, TONES};

/// What the NATs of carriers are in the matrix: RFC 6888 section 3 demands the mapping, and
/// recommends the filtering.
const CARRIER: Behaviour = Behaviour {
    mapping: Mapping::EndpointIndependent,
    filtering: Filtering::EndpointIndependent,
};

/// How long the two sides talk in each cell: long enough for a window in which audio is judged.
const TALK: Duration = Duration::from_secs(3);

const CONTROLLING: &str = "alice";
const CONTROLLED: &str = "bob";

/// What a home's NAT does, as far as it decides who reaches whom (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Behaviour {
    /// When an outer port is reused.
    pub mapping: Mapping,
    /// Who is let in.
    pub filtering: Filtering,
}

/// One call of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The NAT of the caller's home, who has the controlling role.
    pub controlling: Behaviour,
    /// The NAT of the callee's home.
    pub controlled: Behaviour,
    /// How many NATs are on the way out of each home.
    pub layers: Layers,
    /// What the carrier's NAT does with packets to its own address, where both homes are behind
    /// the same one; `None` where they are not.
    pub hairpin: Option<Hairpin>,
    /// Where UDP is blocked.
    pub udp: Udp,
}

/// How many NATs are on the way out of each home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Layers {
    /// The home's.
    #[default]
    One,
    /// The home's and a carrier's.
    Two,
}

/// In which homes UDP is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Udp {
    /// In neither.
    #[default]
    Open,
    /// In the caller's.
    ControllingBlocked,
    /// In the callee's.
    ControlledBlocked,
    /// In both.
    BothBlocked,
}

/// The links of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    round_trip: Duration,
    loss: Probability,
}

/// Why there is no such matrix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatrixError {
    /// No link can be that short or should be that long.
    #[error("a round trip of {given:?} is not possible: allowed are 8ms to 10s")]
    RoundTrip {
        /// What was asked for.
        given: Duration,
    },
}

/// What came of one cell.
#[derive(Debug, Clone)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// What the oracle says.
    pub predicted: Prediction,
    /// What the run shows.
    pub actual: Actual,
    /// The local side of the selected pairs: the controlling and the controlled peer's.
    pub selected: [Option<CandidateType>; 2],
    /// From the answer to audio on both sides.
    pub time_to_audio: Option<Duration>,
    /// Where that time went.
    pub timings: Timings,
    /// Whether the run was as predicted, and nothing else was wrong with it.
    pub verdict: Verdict,
}

/// What a run shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actual {
    /// One of the three things that the oracle can say.
    Reach(Reach),
    /// Neither audio nor a cause.
    Failed,
}

/// Whether a cell came out as predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It did.
    Agrees,
    /// It did not, or something else was wrong with the run.
    Differs,
}

impl Behaviour {
    /// The nine of them, from the most to the least permissive.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Mapping::ALL
            .into_iter()
            .flat_map(|mapping| Filtering::ALL.map(|filtering| Self { mapping, filtering }))
            .collect()
    }

    /// The NAT that does this, and everything else by default.
    #[must_use]
    pub fn config(self) -> NatConfig {
        NatConfig {
            mapping: self.mapping,
            filtering: self.filtering,
            ..NatConfig::default()
        }
    }
}

impl Conditions {
    /// Links with this round trip between the peers, and this share of packets lost in each
    /// direction of each uplink.
    ///
    /// # Errors
    ///
    /// [`MatrixError::RoundTrip`] under 8 ms, where links would be shorter than the world's step, and
    /// over 10 s.
    pub fn new(round_trip: Duration, loss: Probability) -> Result<Self, MatrixError> {
        let allowed = Duration::from_millis(8)..=Duration::from_secs(10);
        if !allowed.contains(&round_trip) {
            return Err(MatrixError::RoundTrip { given: round_trip });
        }
        Ok(Self { round_trip, loss })
    }

    /// The links of a home: a quarter of its share of the way for the LAN, the rest for the uplink.
    fn links(self) -> (LinkConfig, LinkConfig) {
        let home = self.round_trip / 4;
        let lan = (home / 4).max(Duration::from_millis(1));
        let uplink = LinkConfig::lossless(home.saturating_sub(lan)).with_loss(self.loss);
        (LinkConfig::lossless(lan), uplink)
    }
}

impl Default for Conditions {
    /// 80 ms without loss.
    fn default() -> Self {
        Self {
            round_trip: Duration::from_millis(80),
            loss: Probability::NEVER,
        }
    }
}

/// The cells of a matrix: each pair of behaviours with UDP open, for two layers with the homes behind
/// two carriers and behind one with and without hairpinning; then those in which UDP is blocked.
#[must_use]
pub fn cells(layers: Layers) -> Vec<Cell> {
    let hairpins: &[Option<Hairpin>] = match layers {
        Layers::One => &[None],
        Layers::Two => &[None, Some(Hairpin::Translated), Some(Hairpin::Refused)],
    };
    let cell = |controlling, controlled, hairpin, udp| Cell {
        controlling,
        controlled,
        layers,
        hairpin,
        udp,
    };
    let mut cells = Vec::new();
    let (behaviours, any) = (Behaviour::all(), Behaviour::default());
    for hairpin in hairpins {
        for controlling in &behaviours {
            for controlled in &behaviours {
                cells.push(cell(*controlling, *controlled, *hairpin, Udp::Open));
            }
        }
        // What a NAT does with UDP is of no consequence where none comes to it.
        for open in &behaviours {
            cells.push(cell(any, *open, *hairpin, Udp::ControllingBlocked));
            cells.push(cell(*open, any, *hairpin, Udp::ControlledBlocked));
        }
        cells.push(cell(any, any, *hairpin, Udp::BothBlocked));
    }
    cells
}

impl Cell {
    /// What the oracle says of it.
    ///
    /// # Panics
    ///
    /// Never: the sides of a cell share at most the last box.
    #[must_use]
    pub fn predict(&self) -> Prediction {
        let side = |name: &str, home: Behaviour, udp| {
            let nat = |id: &str, behaviour: Behaviour, hairpin| {
                Layer::nat(id, behaviour.mapping, behaviour.filtering, hairpin)
            };
            let own = format!("{name}'s home");
            let mut ipv4 = vec![nat(&own, home, Hairpin::default()).with_udp(udp)];
            if self.layers == Layers::Two {
                let carrier = match self.hairpin {
                    Some(hairpin) => nat("the carrier", CARRIER, hairpin),
                    None => nat(&format!("{name}'s carrier"), CARRIER, Hairpin::default()),
                };
                ipv4.push(carrier);
            }
            Side {
                name: name.to_owned(),
                ipv4,
                ipv6: None,
            }
        };
        let [controlling, controlled] = self.udp.passages();
        let sides = [
            side(CONTROLLING, self.controlling, controlling),
            side(CONTROLLED, self.controlled, controlled),
        ];
        oracle::World::new(sides, oracle::Servers::ALL)
            .expect("both sides are behind the same carrier or behind different ones")
            .predict()
    }

    /// The scenario of it, which expects what the oracle predicts.
    #[must_use]
    pub fn scenario(&self, conditions: Conditions) -> Scenario {
        let [low, high] = TONES.map(|(name, _)| PathBuf::from(name));
        let peer = |user: &str, network: &str, plays: &PathBuf| Peer {
            user: user.to_owned(),
            network: network.to_owned(),
            plays: plays.clone(),
            storage: StorageMode::default(),
        };
        let peers = BTreeMap::from([
            (CONTROLLING.to_owned(), peer(CONTROLLING, "a", &low)),
            (CONTROLLED.to_owned(), peer(CONTROLLED, "b", &high)),
        ]);
        let name = self.name();
        Scenario {
            path: PathBuf::from(&name),
            text: None,
            about: name.clone(),
            story: None,
            source: None,
            fails: None,
            name,
            networks: self.networks(conditions),
            peers,
            tracks: tracks(),
            servers: Servers::default(),
            policy: TransportPolicy::default(),
            script: script(),
            faults: Vec::new(),
            perturbations: Vec::new(),
            expect: expectation(self.predict().reach),
            talk: Some(TALK),
        }
    }

    fn networks(self, conditions: Conditions) -> BTreeMap<String, Network> {
        let (lan, uplink) = conditions.links();
        let network = |nat: NatConfig, udp, behind: Option<String>, uplink: LinkConfig| Network {
            nat: Some(NatBox {
                config: nat,
                addresses: 1,
            }),
            firewall: FirewallConfig {
                udp,
                ..FirewallConfig::default()
            },
            proxy: None,
            portal: None,
            behind,
            subnet: None,
            families: Families::V4,
            ipv6_firewall: Ipv6Firewall::default(),
            lan: LinkPair::symmetric(lan),
            uplink: LinkPair::symmetric(uplink),
        };
        let carrier = |hairpin| {
            let config = NatConfig {
                hairpin,
                ..CARRIER.config()
            };
            // The way to the core is one way, whoever's cable it is.
            let short = LinkConfig::lossless(uplink.delay / 2);
            network(config, Passage::Open, None, short)
        };
        let mut networks = BTreeMap::new();
        let carriers = match (self.layers, self.hairpin) {
            (Layers::One, _) => [None, None],
            (Layers::Two, Some(hairpin)) => {
                networks.insert("carrier".to_owned(), carrier(hairpin));
                [(); 2].map(|()| Some("carrier".to_owned()))
            }
            (Layers::Two, None) => ["carrier-a", "carrier-b"].map(|name| {
                networks.insert(name.to_owned(), carrier(Hairpin::default()));
                Some(name.to_owned())
            }),
        };
        let homes = [("a", self.controlling), ("b", self.controlled)];
        let passages = self.udp.passages();
        for (((name, home), udp), behind) in homes.into_iter().zip(passages).zip(carriers) {
            let uplink = match behind {
                None => uplink,
                Some(_) => LinkConfig {
                    delay: uplink.delay.saturating_sub(uplink.delay / 2),
                    ..uplink
                },
            };
            networks.insert(name.to_owned(), network(home.config(), udp, behind, uplink));
        }
        networks
    }

    /// What came of it.
    #[must_use]
    pub fn result(&self, report: &Report) -> CellResult {
        let actual = match report.outcome {
            Outcome::AudioConnected => Actual::Reach(match CallPath::of(&report.selected) {
                CallPath::Direct => Reach::Direct,
                CallPath::Relayed => Reach::Relayed,
            }),
            Outcome::Unreachable => Actual::Reach(Reach::Unreachable),
            Outcome::Failed => Actual::Failed,
        };
        let predicted = self.predict();
        let agrees = report.passed && actual == Actual::Reach(predicted.reach);
        CellResult {
            cell: *self,
            predicted,
            actual,
            selected: [CONTROLLING, CONTROLLED].map(|peer| report.selected.get(peer).copied()),
            time_to_audio: report.time_to_audio(),
            timings: report.timings,
            verdict: if agrees {
                Verdict::Agrees
            } else {
                Verdict::Differs
            },
        }
    }

    fn name(self) -> String {
        let mut name = format!("{} calls {}", self.controlling, self.controlled);
        if self.layers == Layers::Two {
            name.push_str(match self.hairpin {
                None => ", a carrier each",
                Some(Hairpin::Refused) => ", one carrier that refuses to hairpin",
                Some(_) => ", one carrier that hairpins",
            });
        }
        name.push_str(match self.udp {
            Udp::Open => "",
            Udp::ControllingBlocked => ", UDP blocked for the caller",
            Udp::ControlledBlocked => ", UDP blocked for the callee",
            Udp::BothBlocked => ", UDP blocked for both",
        });
        name
    }
}

impl CellResult {
    /// The cell as one JSON object, with the keys that programs are promised.
    ///
    /// # Panics
    ///
    /// Never: there is nothing in it that is not JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let row = Row {
            controlling: self.cell.controlling.to_string(),
            controlled: self.cell.controlled.to_string(),
            layers: match self.cell.layers {
                Layers::One => 1,
                Layers::Two => 2,
            },
            hairpin: self.cell.hairpin.map(|hairpin| match hairpin {
                Hairpin::Refused => "refused",
                Hairpin::Translated => "translated",
                Hairpin::InternalSource => "internal-source",
            }),
            udp: self.cell.udp,
            predicted: self.predicted.reach,
            actual: self.actual,
            selected: Selected {
                controlling: self.selected[0],
                controlled: self.selected[1],
            },
            audio_connected_ms: self.time_to_audio.map(milliseconds),
        };
        serde_json::to_string(&row).expect("a cell is always JSON")
    }
}

#[derive(Serialize)]
struct Row {
    controlling: String,
    controlled: String,
    layers: u8,
    hairpin: Option<&'static str>,
    udp: Udp,
    predicted: Reach,
    actual: Actual,
    selected: Selected,
    audio_connected_ms: Option<u64>,
}

#[derive(Serialize)]
struct Selected {
    controlling: Option<CandidateType>,
    controlled: Option<CandidateType>,
}

impl Udp {
    fn passages(self) -> [Passage; 2] {
        match self {
            Self::Open => [Passage::Open, Passage::Open],
            Self::ControllingBlocked => [Passage::Blocked, Passage::Open],
            Self::ControlledBlocked => [Passage::Open, Passage::Blocked],
            Self::BothBlocked => [Passage::Blocked, Passage::Blocked],
        }
    }
}

/// The fixtures are part of the program, so that the matrix runs in every directory.
fn tracks() -> BTreeMap<PathBuf, OpusTrack> {
    TONES
        .into_iter()
        .map(|(name, file)| {
            let track = OpusTrack::parse(file).expect("the fixtures are tracks");
            (PathBuf::from(name), track)
        })
        .collect()
}

fn script() -> Vec<ScriptStep> {
    let step = |trigger, peer: &str, action| ScriptStep {
        trigger,
        peer: peer.to_owned(),
        action,
    };
    let callee = CONTROLLED.to_owned();
    let ringing = Trigger::AfterRinging(Duration::from_secs(1));
    vec![
        step(
            Trigger::At(Duration::ZERO),
            CONTROLLING,
            Action::Call { callee },
        ),
        step(ringing, CONTROLLED, Action::Answer),
        step(Trigger::AfterAudio(TALK), CONTROLLING, Action::HangUp),
    ]
}

fn expectation(reach: Reach) -> Expectation {
    let audio = |path| Expectation::AudioConnected {
        within: None,
        path: Some(path),
        selected: BTreeMap::new(),
        back_within: BACK_WITHIN,
    };
    match reach {
        Reach::Direct => audio(CallPath::Direct),
        Reach::Relayed => audio(CallPath::Relayed),
        Reach::Unreachable => Expectation::Unreachable { cause: None },
    }
}

impl fmt::Display for Behaviour {
    /// Mapping, then filtering: `endpoint-independent/address-dependent`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapping = match self.mapping {
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressDependent => "address-dependent",
            Mapping::AddressAndPortDependent => "address-and-port-dependent",
        };
        let filtering = match self.filtering {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        };
        write!(formatter, "{mapping}/{filtering}")
    }
}

impl fmt::Display for Actual {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reach(reach) => reach.fmt(formatter),
            Self::Failed => formatter.write_str("failed"),
        }
    }
}

impl Serialize for Actual {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_81_cells_are_the_pairs_of_nats() {
        let cells = cells(Layers::One);
        assert!(cells[..81].iter().all(|cell| cell.udp == Udp::Open));
        assert!(cells[81..].iter().all(|cell| cell.udp != Udp::Open));
        assert_eq!(cells.len(), 81 + 9 + 9 + 1);
    }

    #[test]
    fn the_round_trip_is_what_was_asked_for() {
        for milliseconds in [8, 80, 10_000] {
            let round_trip = Duration::from_millis(milliseconds);
            let conditions =
                Conditions::new(round_trip, Probability::NEVER).expect("it is allowed");
            let (lan, uplink) = conditions.links();
            assert_eq!((lan.delay + uplink.delay) * 4, round_trip);
        }
        Conditions::new(Duration::from_millis(7), Probability::NEVER).expect_err("too short");
    }
}
