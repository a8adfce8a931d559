//! From the document to the model: names resolved, defaults filled in, contradictions refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringtrue::audio::track::OpusTrack;
use ringtrue::config::{IceConfig, TransportPolicy};
use ringtrue::peer::servers::ServerUrl;

use super::document::{
    Document, ExpectDocument, Named, NetworkDocument, OutcomeName, PeerDocument, PolicyName,
    ServersDocument,
};
use super::error::ProblemKind;
use super::link::{self, Role};
use super::middlebox::{Middleboxes, middleboxes};
use super::model::{
    self, Action, Expectation, Network, Peer, Scenario, ScriptStep, Servers, StorageMode,
};
use super::nat;
use super::problems::Problems;
use super::spanned::Spanned;
use super::tone::{Fixtures, TONES};
use super::value::TimeValue;
use super::{fault, layers, message, origin, script};
use crate::fault::{Fault, FaultKind};

/// How long a call lasts where the file says nothing.
const TALK: Duration = Duration::from_secs(5);

const LONGEST_NAME: usize = 32;

/// What the peers play, by file.
type Tracks = BTreeMap<PathBuf, OpusTrack>;

/// The model of `document`, or `None` and the reasons in `problems`. What is played comes from
/// `fixtures`; `None` where there are none.
pub(super) fn scenario(
    path: &Path,
    document: Document,
    fixtures: &Fixtures,
    problems: &mut Problems<'_>,
) -> Option<Scenario> {
    let about = origin::about(document.about, problems);
    let story = origin::story(document.story, problems);
    let source = origin::source(document.source, problems);
    let fails = origin::fails(document.fails, problems);
    let servers = servers(&document.servers, problems);
    let networks = networks(&document.network, &servers, problems);
    let (peers, tracks) = peers(&document.peer, &networks, fixtures, problems);
    let names = fault::Names {
        networks: &networks,
        peers: &peers,
    };
    let faults = fault::read(&document.fault, names, problems);
    let users = peers.values().map(|peer| peer.user.clone()).collect();
    let perturbations = message::read(&document.message, &users, problems);
    if !perturbations.is_empty() {
        refuse_proxies(&document.network, problems);
    }
    let expect = expectation(&document.expect, &peers, problems);
    let without_talk = match &expect {
        Expectation::Unreachable { .. } => Some("nobody talks where `unreachable` is expected"),
        Expectation::NoAudio { .. } => Some("nobody talks where `no-audio` is expected"),
        Expectation::Settled { .. } => {
            Some("where `settled` is expected, the talk lasts until the call has settled")
        }
        Expectation::AudioConnected { .. } | Expectation::AudioLost { .. } => None,
    };
    if let (Some(message), Some(talk)) = (without_talk, &document.talk) {
        problems.push(
            talk.span(),
            ProblemKind::Contradiction {
                message: message.to_owned(),
                allowed: "`[talk]` with `outcome = \"audio-connected\"` or `\"audio-lost\"` only",
            },
        );
    }
    if let Some(back_within) = &document.expect.back_within
        && document.fault.is_empty()
    {
        problems.push(
            back_within.span(),
            ProblemKind::Contradiction {
                message: "no fault can interrupt the audio".to_owned(),
                allowed: "`back_within` in a scenario with a `[[fault]]`",
            },
        );
    }
    let length = document
        .talk
        .as_ref()
        .and_then(|talk| talk.get_ref().length);
    let talk = script::Talk {
        ends: match expect {
            Expectation::Settled { .. } => script::TalkEnd::OnceSettled,
            _ => script::TalkEnd::After(length.map_or(TALK, |length| length.0)),
        },
        written: document.talk.as_ref().map(Spanned::span),
    };
    let steps = document.script.as_deref();
    let killed = killed_by(faults.iter().flatten().map(|placed| &placed.fault));
    let (script, talk) = script::steps(steps, &document.peer, &killed, talk, problems)?;
    let faults = faults?;
    fault::check(&faults, &script, &peers, problems);
    fault::check_servers(&faults, &servers, problems);
    if problems.is_empty() {
        check_tones(&script, &peers, &document.peer, problems);
    }
    problems.is_empty().then(|| Scenario {
        name: path
            .file_stem()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        path: path.to_owned(),
        text: None,
        about,
        story,
        source,
        fails,
        networks,
        peers,
        tracks,
        servers,
        policy: document
            .client
            .policy
            .map_or_else(Default::default, |choice| match choice.0 {
                PolicyName::All => TransportPolicy::All,
                PolicyName::RelayOnly => TransportPolicy::RelayOnly,
            }),
        script,
        faults: faults.into_iter().map(|placed| placed.fault).collect(),
        perturbations,
        expect,
        talk,
    })
}

/// Messages are perturbed in WebSockets, which some proxies let nobody have.
fn refuse_proxies(networks: &Named<NetworkDocument>, problems: &mut Problems<'_>) {
    for network in networks.values() {
        if let Some(proxy) = &network.get_ref().proxy {
            let message = "no WebSocket passes it, and messages are perturbed in these".to_owned();
            let allowed = "`proxy` without `[[message]]`";
            let kind = ProblemKind::Contradiction { message, allowed };
            problems.push(proxy.span(), kind);
        }
    }
}

fn killed_by<'a>(faults: impl Iterator<Item = &'a Fault>) -> BTreeSet<String> {
    let killed = faults.filter_map(|fault| match &fault.kind {
        FaultKind::AppKill { peer } => Some(peer.clone()),
        _ => None,
    });
    killed.collect()
}

fn servers(document: &ServersDocument, problems: &mut Problems<'_>) -> Servers {
    let mut dead = BTreeSet::new();
    let known = listed_servers();
    for name in document.dead.iter().flatten() {
        if known.contains(name.get_ref()) {
            dead.insert(name.get_ref().clone());
        } else {
            let known = known.iter().map(String::as_str);
            let kind = ProblemKind::unknown("STUN or TURN server", name.get_ref(), known);
            problems.push(name.span(), kind);
        }
    }
    let delay = document.delay.map(|delay| delay.0);
    Servers {
        delay: delay.unwrap_or(Servers::default().delay),
        turn: document
            .turn
            .map_or_else(Default::default, |choice| choice.0),
        stun: document
            .stun
            .map_or_else(Default::default, |choice| choice.0),
        dead,
        signaling_port: document.signaling_port.map(|port| port.0),
        signaling_certificate: document.signaling_certificate.map(|choice| choice.0),
    }
}

/// The hosts of the STUN and TURN servers in the client's list.
fn listed_servers() -> BTreeSet<String> {
    let listed = IceConfig::default().servers.into_iter();
    let urls = listed.filter_map(|server| server.url.parse::<ServerUrl>().ok());
    urls.map(|url| url.host).collect()
}

fn networks(
    documents: &Named<NetworkDocument>,
    servers: &Servers,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Network> {
    let mut networks = BTreeMap::new();
    for (name, document) in documents {
        check_name(name, problems);
        let document = document.get_ref();
        let Middleboxes {
            firewall,
            proxy,
            portal,
        } = middleboxes(document, servers, problems);
        let network = Network {
            nat: document
                .nat
                .as_ref()
                .and_then(|value| nat::nat_box(value, problems)),
            firewall,
            proxy,
            portal,
            behind: document.behind.as_ref().map(|name| name.get_ref().clone()),
            subnet: document.subnet.as_ref().map(|subnet| subnet.get_ref().0),
            families: document.ip.map_or_else(Default::default, |choice| choice.0),
            ipv6_firewall: document
                .ipv6
                .as_ref()
                .map_or_else(Default::default, |choice| choice.get_ref().0),
            lan: link::link(document.lan.as_ref(), Role::Lan, model::LAN, problems),
            uplink: link::link(
                document.uplink.as_ref(),
                Role::Uplink,
                model::UPLINK,
                problems,
            ),
        };
        networks.insert(name.get_ref().clone(), network);
    }
    layers::check(documents, &networks, problems);
    networks
}

fn peers(
    documents: &Named<PeerDocument>,
    networks: &BTreeMap<String, Network>,
    fixtures: &Fixtures,
    problems: &mut Problems<'_>,
) -> (BTreeMap<String, Peer>, Tracks) {
    if documents.len() < 2 {
        let count = documents.len();
        let span = documents.keys().next().map_or(0..0, Spanned::span);
        problems.push(span, ProblemKind::TooFewPeers { count });
    }
    let mut peers = BTreeMap::new();
    let mut tracks = Tracks::new();
    let mut users = Vec::new();
    for (name, document) in documents {
        check_name(name, problems);
        let user = user_of(name, document);
        let position = users.iter().position(|known| *known == user);
        let position = position.unwrap_or_else(|| {
            users.push(user);
            users.len() - 1
        });
        let network = network_of(document, networks, problems);
        let plays = plays(document, position, fixtures, &mut tracks, problems);
        let storage = document.get_ref().storage.as_ref();
        let peer = Peer {
            network,
            plays,
            storage: storage.map_or_else(StorageMode::default, |choice| choice.0),
            user: user.to_owned(),
        };
        peers.insert(name.get_ref().clone(), peer);
    }
    check_users(documents, &peers, problems);
    (peers, tracks)
}

/// Whose device a peer is.
pub(super) fn user_of<'a>(
    name: &'a Spanned<String>,
    document: &'a Spanned<PeerDocument>,
) -> &'a str {
    let user = document.get_ref().user.as_ref();
    user.map_or(name.get_ref(), |user| user.get_ref())
}

/// Refuses users whose name is also that of somebody else's peer, and users whose devices sound
/// different, by which nobody could be told that it is them.
fn check_users(
    documents: &Named<PeerDocument>,
    peers: &BTreeMap<String, Peer>,
    problems: &mut Problems<'_>,
) {
    for (name, document) in documents {
        let Some(user) = &document.get_ref().user else {
            continue;
        };
        check_name(user, problems);
        let peer = &peers[name.get_ref()];
        if peers
            .get(user.get_ref())
            .is_some_and(|other| other.user != peer.user)
        {
            let message = "a peer of somebody else has this name".to_owned();
            let allowed = "the name of a user";
            problems.push(user.span(), ProblemKind::Contradiction { message, allowed });
        }
        let mut others = peers.values().filter(|other| other.user == peer.user);
        if others.any(|other| other.plays != peer.plays) {
            let message = "another device of this user plays another file".to_owned();
            let allowed = "one file for all devices of a user";
            problems.push(user.span(), ProblemKind::Contradiction { message, allowed });
        }
    }
}

fn network_of(
    document: &Spanned<PeerDocument>,
    networks: &BTreeMap<String, Network>,
    problems: &mut Problems<'_>,
) -> String {
    let Some(network) = &document.get_ref().network else {
        problems.push_missing(document.span(), "network", "the name of a `[network.NAME]`");
        return String::new();
    };
    if !networks.contains_key(network.get_ref()) {
        let known = networks.keys().map(String::as_str);
        let kind = ProblemKind::unknown("network", network.get_ref(), known);
        problems.push(network.span(), kind);
    }
    network.get_ref().clone()
}

fn plays(
    document: &Spanned<PeerDocument>,
    position: usize,
    fixtures: &Fixtures,
    tracks: &mut Tracks,
    problems: &mut Problems<'_>,
) -> PathBuf {
    let (name, span) = match (&document.get_ref().plays, TONES.get(position)) {
        (Some(name), _) => (name.get_ref().as_str(), name.span()),
        (None, Some((tone, _))) => (*tone, document.span()),
        (None, None) => {
            let allowed =
                "the name of a file in `fixtures`; only the first two users have a default";
            problems.push_missing(document.span(), "plays", allowed);
            return PathBuf::new();
        }
    };
    // Read now and not by the run, so that no directory of scenarios is half run, and once.
    let (file, read) = fixtures.read(name);
    match read {
        Ok(track) => {
            tracks.insert(file.clone(), track);
        }
        Err(kind) => problems.push(span, kind),
    }
    file
}

fn expectation(
    document: &ExpectDocument,
    peers: &BTreeMap<String, Peer>,
    problems: &mut Problems<'_>,
) -> Expectation {
    for peer in document.selected.keys() {
        if !peers.contains_key(peer.get_ref()) {
            let known = peers.keys().map(String::as_str);
            problems.push(
                peer.span(),
                ProblemKind::unknown("peer", peer.get_ref(), known),
            );
        }
    }
    let outcome = document
        .outcome
        .map_or_else(Default::default, |choice| choice.0);
    let outcome_name = match outcome {
        OutcomeName::AudioConnected => "audio-connected",
        OutcomeName::Unreachable => "unreachable",
        OutcomeName::NoAudio => "no-audio",
        OutcomeName::AudioLost => "audio-lost",
        OutcomeName::Settled => "settled",
    };
    let mut only_with = |span, allowed| {
        let message = format!("this means nothing where `{outcome_name}` is expected");
        problems.push(span, ProblemKind::Contradiction { message, allowed });
    };
    let time = |value: &Option<Spanned<TimeValue>>| Some(value.as_ref()?.get_ref().0);
    if let (Some(kept_for), true) = (&document.kept_for, !matches!(outcome, OutcomeName::Settled)) {
        only_with(
            kept_for.span(),
            "`kept_for` with `outcome = \"settled\"` only",
        );
    }
    if matches!(outcome, OutcomeName::AudioConnected) {
        if let Some(cause) = &document.cause {
            let allowed = "`cause` with another `outcome` than `audio-connected`";
            only_with(cause.span(), allowed);
        }
        let selected = document.selected.iter();
        return Expectation::AudioConnected {
            within: time(&document.within),
            path: document.path.as_ref().map(|path| path.get_ref().0),
            selected: selected
                .map(|(peer, kind)| (peer.get_ref().clone(), kind.get_ref().0))
                .collect(),
            back_within: time(&document.back_within).unwrap_or(model::BACK_WITHIN),
        };
    }
    let within_of_another = match outcome {
        OutcomeName::Settled => None,
        _ => document.within.as_ref().map(Spanned::span),
    };
    let cause_of_another = match outcome {
        OutcomeName::Settled => document.cause.as_ref().map(Spanned::span),
        _ => None,
    };
    let spans = [
        within_of_another,
        cause_of_another,
        document.path.as_ref().map(Spanned::span),
        document.selected.keys().next().map(Spanned::span),
        document.back_within.as_ref().map(Spanned::span),
    ];
    for span in spans.into_iter().flatten() {
        let allowed = "`within`, `path`, `selected` and `back_within` with `outcome = \"audio-connected\"` only";
        only_with(span, allowed);
    }
    if let Some(cause) = &document.cause
        && cause.get_ref().trim().is_empty()
    {
        let allowed = "a part of the cause that the run names";
        problems.push(cause.span(), ProblemKind::NotALine { allowed });
    }
    let cause = document.cause.as_ref().map(|cause| cause.get_ref().clone());
    match outcome {
        OutcomeName::NoAudio => Expectation::NoAudio { cause },
        OutcomeName::AudioLost => Expectation::AudioLost { cause },
        OutcomeName::Settled => Expectation::Settled {
            within: time(&document.within).unwrap_or(model::SETTLED_WITHIN),
            kept_for: time(&document.kept_for).unwrap_or(model::KEPT_FOR),
        },
        // Audio that is connected has returned above.
        OutcomeName::Unreachable | OutcomeName::AudioConnected => {
            Expectation::Unreachable { cause }
        }
    }
}

/// Both sides of a call play different files: whoever hears their own echo hears nobody.
fn check_tones(
    script: &[ScriptStep],
    peers: &BTreeMap<String, Peer>,
    documents: &Named<PeerDocument>,
    problems: &mut Problems<'_>,
) {
    for step in script {
        let Action::Call { callee } = &step.action else {
            continue;
        };
        let callees = peers.iter().filter(|(_, peer)| peer.user == *callee);
        for (name, peer) in callees {
            let plays = peers.get(&step.peer).map(|caller| &caller.plays);
            let Some(document) = documents
                .get(name.as_str())
                .filter(|_| plays == Some(&peer.plays))
            else {
                continue;
            };
            let written = document.get_ref().plays.as_ref().map(Spanned::span);
            let kind = ProblemKind::Contradiction {
                message: format!("`{}`, who calls this peer, plays the same file", step.peer),
                allowed: "a different file for each side of a call",
            };
            problems.push(written.unwrap_or_else(|| document.span()), kind);
        }
    }
}

/// Names become host names of the world, so they have to be ones (RFC 1123 section 2.1).
fn check_name(name: &Spanned<String>, problems: &mut Problems<'_>) {
    let text = name.get_ref();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_well || text.len() > LONGEST_NAME || !text.chars().all(allowed) {
        problems.push(name.span(), ProblemKind::BadName);
    }
}
