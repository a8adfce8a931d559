//! Faults as the file has them: what each kind needs, allows and refuses.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use super::document::{DestinationDocument, FaultDocument};
use super::error::ProblemKind;
use super::link::{LinkDocument, Role, link_at};
use super::model::{Network, Peer, ServerState, Servers};
use super::problems::Problems;
use super::spanned::Spanned;
use super::value::{format_duration, named};
use crate::fault::{
    AddressAfter, Begin, Breakage, Direction, EndRule, Fault, FaultKind, FaultName, Goodbye,
    LinkName, ServerName, SocketsMeanwhile, TurnOutage,
};
use crate::net::link::LinkPreset;

mod conflict;

pub(super) use conflict::check;

/// What faults can name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) networks: &'a BTreeMap<String, Network>,
    pub(super) peers: &'a BTreeMap<String, Peer>,
}

/// A fault and where it stands.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) fault: Fault,
    /// Of the value of `kind`, which is what cannot be.
    pub(super) span: Range<usize>,
    /// Of the value of `to`, or of `kind` where there is none.
    pub(super) destination: Range<usize>,
}

/// The faults in the order of the model. `None` where one cannot be read, with the reason in
/// `problems`.
pub(super) fn read(
    documents: &[Spanned<FaultDocument>],
    names: Names<'_>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Placed>> {
    let read: Vec<Option<Placed>> = documents
        .iter()
        .map(|document| read_fault(document, names, problems))
        .collect();
    // What is missing from one fault would look wrong in the others.
    let mut faults: Vec<Placed> = read.into_iter().collect::<Option<_>>()?;
    faults.sort_by(|one, other| one.fault.begin.cmp(&other.fault.begin));
    Some(faults)
}

/// Refuses faults of servers that are down from the beginning.
pub(super) fn check_servers(faults: &[Placed], servers: &Servers, problems: &mut Problems<'_>) {
    for placed in faults {
        let server = match &placed.fault.kind {
            FaultKind::TurnOut { .. } => ServerName::Turn,
            FaultKind::ServerPause { server } => *server,
            _ => continue,
        };
        let state = match server {
            ServerName::Turn => servers.turn,
            ServerName::Stun => servers.stun,
            ServerName::Signaling => ServerState::Up,
        };
        if state == ServerState::Down {
            let message = format!("the {server} servers are down all the time");
            let allowed = "faults of servers that are up";
            let kind = ProblemKind::Contradiction { message, allowed };
            problems.push(placed.span.clone(), kind);
        }
    }
}

fn read_fault(
    document: &Spanned<FaultDocument>,
    names: Names<'_>,
    problems: &mut Problems<'_>,
) -> Option<Placed> {
    let Some(kind) = &document.get_ref().kind else {
        let allowed = "what goes wrong, such as `socket-drop` or `nat-reboot`";
        problems.push_missing(document.span(), "kind", allowed);
        return None;
    };
    let name = kind.get_ref().0;
    refuse_foreign_arguments(document.get_ref(), name, problems);
    let begin = read_begin(document, names, problems);
    let lasts = read_length(document, name, problems);
    let mut arguments = Arguments {
        document,
        names,
        problems,
    };
    let what = arguments.kind(name);
    if let (Some(what), Some(begin)) = (&what, &begin) {
        check_frame(document.get_ref(), what, begin, problems);
    }
    let destination = document.get_ref().to.as_ref().map(Spanned::span);
    Some(Placed {
        fault: Fault {
            kind: what?,
            begin: begin?,
            lasts: lasts?,
            line: Some(problems.line_of(&document.span())),
        },
        span: kind.span(),
        destination: destination.unwrap_or_else(|| kind.span()),
    })
}

/// The arguments that a kind has, and how errors list them.
fn arguments_of(name: FaultName) -> (&'static [&'static str], &'static str) {
    match name {
        FaultName::SocketDrop => (&["peer", "how"], "`peer` and `how`"),
        FaultName::SignalingRestart | FaultName::TurnOut => (&["how"], "`how`"),
        FaultName::ServerPause => (&["server"], "`server`"),
        FaultName::NameFailure | FaultName::FlightMode | FaultName::AppKill => {
            (&["peer"], "`peer`")
        }
        FaultName::NatReboot => (&["network", "address"], "`network` and `address`"),
        FaultName::MappingFlush | FaultName::Rebinding => (&["network"], "`network`"),
        FaultName::NetworkSwitch => (&["peer", "to"], "`peer` and `to`"),
        FaultName::AppSuspend => (&["peer", "sockets"], "`peer` and `sockets`"),
        FaultName::Blackhole => (&["network", "direction"], "`network` and `direction`"),
        FaultName::LinkChange => (&["network", "link", "to"], "`network`, `link` and `to`"),
    }
}

fn refuse_foreign_arguments(fault: &FaultDocument, name: FaultName, problems: &mut Problems<'_>) {
    let written = [
        ("peer", fault.peer.as_ref().map(Spanned::span)),
        ("network", fault.network.as_ref().map(Spanned::span)),
        ("server", fault.server.as_ref().map(Spanned::span)),
        ("how", fault.how.as_ref().map(Spanned::span)),
        ("address", fault.address.as_ref().map(Spanned::span)),
        ("sockets", fault.sockets.as_ref().map(Spanned::span)),
        ("direction", fault.direction.as_ref().map(Spanned::span)),
        ("link", fault.link.as_ref().map(Spanned::span)),
        ("to", fault.to.as_ref().map(Spanned::span)),
    ];
    let (arguments, allowed) = arguments_of(name);
    for (key, span) in written {
        if let Some(span) = span.filter(|_| !arguments.contains(&key)) {
            let message = format!("this means nothing where `kind` is `{name}`");
            problems.push(span, contradiction(message, allowed));
        }
    }
}

fn read_begin(
    document: &Spanned<FaultDocument>,
    names: Names<'_>,
    problems: &mut Problems<'_>,
) -> Option<Begin> {
    let fault = document.get_ref();
    match (&fault.at, &fault.after, &fault.on) {
        (Some(at), None, None) => Some(Begin::At(at.get_ref().0)),
        (None, Some(after), None) => Begin::of(after.get_ref().0).or_else(|| {
            let message = "a call settles once all faults are over".to_owned();
            let allowed = "`after = \"ringing + TIME\"` or `\"audio + TIME\"`";
            problems.push(after.span(), contradiction(message, allowed));
            None
        }),
        (None, None, Some(on)) => {
            let awaited = on.get_ref();
            if names.peers.contains_key(&awaited.peer) {
                return Some(awaited.begin.clone());
            }
            let known = names.peers.keys().map(String::as_str);
            problems.push(
                on.span(),
                ProblemKind::unknown("peer", &awaited.peer, known),
            );
            None
        }
        (None, None, None) => {
            let allowed = "`at = \"TIME\"`, `after = \"ringing + TIME\"` or `\"audio + TIME\"`, `on = \"PEER sends candidate 3\"`, or `on = \"before PEER sends frame 17\"`";
            problems.push_missing(document.span(), "at", allowed);
            None
        }
        (at, after, on) => {
            let after = after.as_ref().map(Spanned::span);
            let second = match (at, on) {
                (Some(_), _) => after.or_else(|| on.as_ref().map(Spanned::span)),
                (None, _) => on.as_ref().map(Spanned::span),
            };
            let allowed = "one of `at`, `after` and `on`";
            let message = "the fault begins at another moment too".to_owned();
            problems.push(
                second.unwrap_or_else(|| document.span()),
                contradiction(message, allowed),
            );
            None
        }
    }
}

/// A frame is a place on one connection, which nothing else can strike at.
fn check_frame(
    fault: &FaultDocument,
    kind: &FaultKind,
    begin: &Begin,
    problems: &mut Problems<'_>,
) {
    let (Begin::OnFrame { peer, .. }, Some(on)) = (begin, &fault.on) else {
        return;
    };
    let refusal = match kind {
        FaultKind::SocketDrop { peer: whose, .. } if whose == peer => return,
        FaultKind::SocketDrop { peer: whose, .. } => (
            format!("this is no frame of `{whose}`, whose connection is to break"),
            "a frame of the same `peer`",
        ),
        other => (
            format!("`{}` cannot happen at a frame", other.name()),
            "a frame with `kind = \"socket-drop\"`, otherwise a message or a moment",
        ),
    };
    problems.push(on.span(), contradiction(refusal.0, refusal.1));
}

/// How long the fault lasts, where it does; the outer `None` stands for a mistake.
#[expect(
    clippy::option_option,
    reason = "a fault without an end is no mistake, and a mistake is no fault without an end"
)]
fn read_length(
    document: &Spanned<FaultDocument>,
    name: FaultName,
    problems: &mut Problems<'_>,
) -> Option<Option<Duration>> {
    let fault = document.get_ref();
    let mut refuse = |span, message: String, allowed| {
        problems.push(span, contradiction(message, allowed));
        None
    };
    let written = (&fault.length, &fault.until);
    if name.end() == EndRule::Senseless
        && let (Some(end), _) | (None, Some(end)) = written
    {
        let message = format!("`{name}` happens at a moment, so it has no end");
        return refuse(end.span(), message, "neither `for` nor `until`");
    }
    match written {
        (Some(_), Some(until)) => {
            let message = "the fault has `for` too".to_owned();
            refuse(until.span(), message, "either `for` or `until`")
        }
        (Some(length), None) if length.get_ref().0.is_zero() => {
            let message = "the fault would be over before anything happens".to_owned();
            refuse(length.span(), message, "a time over \"0s\"")
        }
        (Some(length), None) => Some(Some(length.get_ref().0)),
        (None, Some(until)) => {
            let Some(at) = &fault.at else {
                let message = "nobody knows when the event of this fault happens".to_owned();
                return refuse(until.span(), message, "`until` with `at`, otherwise `for`");
            };
            let (begin, end) = (at.get_ref().0, until.get_ref().0);
            let lasts = end.checked_sub(begin).filter(|lasts| !lasts.is_zero());
            if lasts.is_none() {
                let begin = format_duration(begin);
                let message = format!("this is not after the fault begins, at {begin}");
                return refuse(until.span(), message, "a time after `at`");
            }
            Some(lasts)
        }
        (None, None) if name.end() == EndRule::Required => {
            let allowed = "how long it lasts: `for = \"TIME\"`, or `until = \"TIME\"` with `at`";
            problems.push_missing(document.span(), "for", allowed);
            None
        }
        (None, None) => Some(None),
    }
}

/// Reads the arguments of one fault.
struct Arguments<'a, 'p, 'text> {
    document: &'a Spanned<FaultDocument>,
    names: Names<'a>,
    problems: &'p mut Problems<'text>,
}

impl Arguments<'_, '_, '_> {
    fn kind(&mut self, name: FaultName) -> Option<FaultKind> {
        let fault = self.document.get_ref();
        Some(match name {
            FaultName::SocketDrop => {
                let (peer, how) = (self.peer(), self.how(Breakage::Rst));
                FaultKind::SocketDrop {
                    peer: peer?,
                    how: how?,
                }
            }
            FaultName::SignalingRestart => FaultKind::SignalingRestart {
                how: self.how(Goodbye::Polite)?,
            },
            FaultName::ServerPause => {
                let Some(server) = &fault.server else {
                    return self.missing("server", "`signaling`, `turn` or `stun`");
                };
                let server = server.get_ref().0;
                FaultKind::ServerPause { server }
            }
            FaultName::NameFailure => FaultKind::NameFailure { peer: self.peer()? },
            FaultName::TurnOut => FaultKind::TurnOut {
                how: self.how(TurnOutage::Down)?,
            },
            FaultName::NatReboot => FaultKind::NatReboot {
                network: self.network_with_nat()?,
                address: value_or(
                    fault.address.as_ref(),
                    |choice| choice.0,
                    AddressAfter::Same,
                ),
            },
            FaultName::MappingFlush => FaultKind::MappingFlush {
                network: self.network_with_nat()?,
            },
            FaultName::Rebinding => FaultKind::Rebinding {
                network: self.network_with_nat()?,
            },
            FaultName::NetworkSwitch => {
                let (peer, to) = (self.peer(), self.destination_network());
                FaultKind::NetworkSwitch {
                    peer: peer?,
                    to: to?,
                }
            }
            FaultName::FlightMode => FaultKind::FlightMode { peer: self.peer()? },
            FaultName::AppSuspend => FaultKind::AppSuspend {
                peer: self.peer()?,
                sockets: value_or(
                    fault.sockets.as_ref(),
                    |choice| choice.0,
                    SocketsMeanwhile::Kept,
                ),
            },
            FaultName::AppKill => FaultKind::AppKill { peer: self.peer()? },
            FaultName::Blackhole => FaultKind::Blackhole {
                network: self.network()?,
                direction: value_or(fault.direction.as_ref(), |choice| choice.0, Direction::Both),
            },
            FaultName::LinkChange => self.link_change()?,
        })
    }

    fn link_change(&mut self) -> Option<FaultKind> {
        let fault = self.document.get_ref();
        let network = self.network();
        let link_name = value_or(fault.link.as_ref(), |choice| choice.0, LinkName::Uplink);
        let allowed = "a link as networks have it, such as `{ loss = \"30%\" }`";
        let Some(to) = &fault.to else {
            return self.missing("to", allowed);
        };
        let preset;
        let document = match to.get_ref() {
            DestinationDocument::Link(document) => document,
            DestinationDocument::Name(name) => {
                let Ok(named) = named::<LinkPreset>(name) else {
                    let presets = LinkPreset::ALL.map(|preset| preset.to_string());
                    let known = presets.iter().map(String::as_str);
                    let kind = ProblemKind::unknown("preset of a link", name, known);
                    self.problems.push(to.span(), kind);
                    return None;
                };
                preset = LinkDocument::Preset(named);
                &preset
            }
        };
        let network = network?;
        // What is left out stays as it is.
        let now = &self.names.networks[&network];
        let (role, now) = match link_name {
            LinkName::Lan => (Role::Lan, now.lan),
            LinkName::Uplink => (Role::Uplink, now.uplink),
        };
        let to = link_at(document, &to.span(), role, now, self.problems);
        let to = Box::new(to);
        Some(FaultKind::LinkChange {
            network,
            link: link_name,
            to,
        })
    }

    fn peer(&mut self) -> Option<String> {
        let Some(name) = &self.document.get_ref().peer else {
            return self.missing("peer", "the name of a peer");
        };
        let known = self.names.peers.keys().map(String::as_str);
        self.known("peer", name.get_ref(), name.span(), known)
    }

    fn network(&mut self) -> Option<String> {
        let Some(name) = &self.document.get_ref().network else {
            return self.missing("network", "the name of a network");
        };
        let known = self.names.networks.keys().map(String::as_str);
        self.known("network", name.get_ref(), name.span(), known)
    }

    fn network_with_nat(&mut self) -> Option<String> {
        let network = self.network()?;
        if self.names.networks[&network].has_nat() {
            return Some(network);
        }
        let span = self.document.get_ref().network.as_ref()?.span();
        let allowed = "a network whose `nat` is another than `none`";
        self.refuse(span, "this network has no NAT", allowed)
    }

    fn destination_network(&mut self) -> Option<String> {
        let Some(to) = &self.document.get_ref().to else {
            return self.missing("to", "the name of another network");
        };
        let DestinationDocument::Name(name) = to.get_ref() else {
            return self.refuse(to.span(), "this is no network", "the name of a network");
        };
        let known = self.names.networks.keys().map(String::as_str);
        self.known("network", name, to.span(), known)
    }

    /// One of the names that `T` has, or `default` where the file says nothing.
    fn how<T: for<'de> Deserialize<'de>>(&mut self, default: T) -> Option<T> {
        let Some(how) = &self.document.get_ref().how else {
            return Some(default);
        };
        match named(how.get_ref()) {
            Ok(value) => Some(value),
            Err(error) => {
                let kind = ProblemKind::from_toml(&error.to_string());
                self.problems.push(how.span(), kind);
                None
            }
        }
    }

    fn known<'n>(
        &mut self,
        what: &'static str,
        name: &str,
        span: Range<usize>,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<String> {
        if names.clone().any(|known| known == name) {
            return Some(name.to_owned());
        }
        self.problems
            .push(span, ProblemKind::unknown(what, name, names));
        None
    }

    fn missing<T>(&mut self, key: &str, allowed: &'static str) -> Option<T> {
        self.problems
            .push_missing(self.document.span(), key, allowed);
        None
    }

    fn refuse<T>(&mut self, span: Range<usize>, message: &str, allowed: &'static str) -> Option<T> {
        self.problems
            .push(span, contradiction(message.to_owned(), allowed));
        None
    }
}

fn value_or<D, T>(document: Option<&Spanned<D>>, value: impl Fn(&D) -> T, default: T) -> T {
    document.map_or(default, |document| value(document.get_ref()))
}

fn contradiction(message: String, allowed: &'static str) -> ProblemKind {
    ProblemKind::Contradiction { message, allowed }
}
