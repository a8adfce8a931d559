//! The scenario file as it is written: every key that there is, and nothing else.
//!
//! Whatever is optional in the file is an `Option` here, so that one place
//! ([`validate`](super::validate)) holds the defaults.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;
use toml::de::DeTable;

use super::error::ProblemKind;
use super::link::LinkDocument;
use super::message::MessageDocument;
use super::middlebox::{IdleDocument, PortValue, PortalDocument};
use super::model::{
    CallPath, CandidateType, CertificateKind, Families, Ipv6Firewall, ProxyKind, ServerState,
    StorageMode,
};
use super::nat::NatValue;
use super::on::OnValue;
use super::origin::FailsDocument;
use super::place;
use super::problems::Problems;
use super::value::{Choice, DelayValue, SubnetValue, TimeValue, TriggerValue};
use crate::fault::{AddressAfter, Direction, FaultName, LinkName, ServerName, SocketsMeanwhile};
use crate::net::firewall::Passage;

/// Names and what they stand for, each with its place in the file.
pub(super) type Named<T> = BTreeMap<Spanned<String>, Spanned<T>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a scenario")]
pub(super) struct Document {
    pub(super) about: Option<Spanned<String>>,
    pub(super) story: Option<Spanned<String>>,
    pub(super) source: Option<Spanned<String>>,
    pub(super) fails: Option<Spanned<FailsDocument>>,
    #[serde(default)]
    pub(super) network: Named<NetworkDocument>,
    #[serde(default)]
    pub(super) peer: Named<PeerDocument>,
    #[serde(default)]
    pub(super) servers: ServersDocument,
    #[serde(default)]
    pub(super) client: ClientDocument,
    pub(super) script: Option<Vec<Spanned<StepDocument>>>,
    #[serde(default)]
    pub(super) fault: Vec<Spanned<FaultDocument>>,
    #[serde(default)]
    pub(super) message: Vec<Spanned<MessageDocument>>,
    #[serde(default)]
    pub(super) expect: ExpectDocument,
    pub(super) talk: Option<Spanned<TalkDocument>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `nat`, `udp`, `tcp_ports`, `idle_tcp`, `proxy`, `portal`, `behind`, `subnet`, `ip`, `ipv6`, `lan` and `uplink`"
)]
pub(super) struct NetworkDocument {
    pub(super) nat: Option<NatValue>,
    pub(super) udp: Option<Choice<Passage>>,
    pub(super) tcp_ports: Option<Spanned<Vec<Spanned<PortValue>>>>,
    pub(super) idle_tcp: Option<Spanned<IdleDocument>>,
    pub(super) proxy: Option<Spanned<Choice<ProxyKind>>>,
    pub(super) portal: Option<Spanned<PortalDocument>>,
    pub(super) behind: Option<Spanned<String>>,
    pub(super) subnet: Option<Spanned<SubnetValue>>,
    pub(super) ip: Option<Choice<Families>>,
    pub(super) ipv6: Option<Spanned<Choice<Ipv6Firewall>>>,
    pub(super) lan: Option<Spanned<LinkDocument>>,
    pub(super) uplink: Option<Spanned<LinkDocument>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `network`, `plays`, `storage` and `user`"
)]
pub(super) struct PeerDocument {
    pub(super) network: Option<Spanned<String>>,
    pub(super) plays: Option<Spanned<String>>,
    pub(super) storage: Option<Choice<StorageMode>>,
    pub(super) user: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `delay`, `turn`, `stun`, `dead`, `signaling_port` and `signaling_certificate`"
)]
pub(super) struct ServersDocument {
    pub(super) delay: Option<DelayValue>,
    pub(super) turn: Option<Choice<ServerState>>,
    pub(super) stun: Option<Choice<ServerState>>,
    pub(super) dead: Option<Vec<Spanned<String>>>,
    pub(super) signaling_port: Option<PortValue>,
    pub(super) signaling_certificate: Option<Choice<CertificateKind>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `policy`")]
pub(super) struct ClientDocument {
    pub(super) policy: Option<Choice<PolicyName>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PolicyName {
    All,
    RelayOnly,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `at` or `after`, `peer` and `do`"
)]
pub(super) struct StepDocument {
    pub(super) at: Option<Spanned<TimeValue>>,
    pub(super) after: Option<Spanned<TriggerValue>>,
    pub(super) peer: Option<Spanned<String>>,
    #[serde(rename = "do")]
    pub(super) action: Option<Spanned<Choice<ActionName>>>,
    pub(super) callee: Option<Spanned<String>>,
    pub(super) caller: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ActionName {
    Call,
    Answer,
    HangUp,
    Push,
    Kill,
    Start,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `kind`, one of `at`, `after` and `on`, and what the kind needs"
)]
pub(super) struct FaultDocument {
    pub(super) kind: Option<Spanned<Choice<FaultName>>>,
    pub(super) at: Option<Spanned<TimeValue>>,
    pub(super) after: Option<Spanned<TriggerValue>>,
    pub(super) on: Option<Spanned<OnValue>>,
    #[serde(rename = "for")]
    pub(super) length: Option<Spanned<TimeValue>>,
    pub(super) until: Option<Spanned<TimeValue>>,
    pub(super) peer: Option<Spanned<String>>,
    pub(super) network: Option<Spanned<String>>,
    pub(super) server: Option<Spanned<Choice<ServerName>>>,
    /// What it can be depends on the kind.
    pub(super) how: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<Choice<AddressAfter>>>,
    pub(super) sockets: Option<Spanned<Choice<SocketsMeanwhile>>>,
    pub(super) direction: Option<Spanned<Choice<Direction>>>,
    pub(super) link: Option<Spanned<Choice<LinkName>>>,
    pub(super) to: Option<Spanned<DestinationDocument>>,
}

/// What `to` of a fault can be: a network to move to, or what a link becomes.
#[derive(Debug)]
pub(super) enum DestinationDocument {
    /// Of a network, or of a link's preset.
    Name(String),
    Link(LinkDocument),
}

impl<'de> Deserialize<'de> for DestinationDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DestinationVisitor)
    }
}

struct DestinationVisitor;

impl<'de> Visitor<'de> for DestinationVisitor {
    type Value = DestinationDocument;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a network in quotes, or a link as networks have it")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(DestinationDocument::Name(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        LinkDocument::deserialize(MapAccessDeserializer::new(map)).map(DestinationDocument::Link)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `outcome`, `cause`, `path`, `selected`, `within`, `back_within` and `kept_for`"
)]
pub(super) struct ExpectDocument {
    pub(super) outcome: Option<Choice<OutcomeName>>,
    pub(super) cause: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<Choice<CallPath>>>,
    #[serde(default)]
    pub(super) selected: Named<Choice<CandidateType>>,
    pub(super) within: Option<Spanned<TimeValue>>,
    pub(super) back_within: Option<Spanned<TimeValue>>,
    pub(super) kept_for: Option<Spanned<TimeValue>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutcomeName {
    #[default]
    AudioConnected,
    Unreachable,
    NoAudio,
    AudioLost,
    Settled,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `for`")]
pub(super) struct TalkDocument {
    #[serde(rename = "for")]
    pub(super) length: Option<TimeValue>,
}

/// Reads the document, or reports everything in `table` that is not part of one.
///
/// Serde stops at the first error, so what it complained of is taken out and the rest is read
/// again: a file with three mistakes is corrected in one go.
pub(super) fn read(table: &Spanned<DeTable<'_>>, problems: &mut Problems<'_>) -> Option<Document> {
    let mut rest = table.clone();
    loop {
        let error = match Document::deserialize(toml::de::Deserializer::from(rest.clone())) {
            Ok(document) => return problems.is_empty().then_some(document),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        problems.push(span.clone(), ProblemKind::from_toml(error.message()));
        if problems.are_many() || !place::remove(rest.get_mut(), &span) {
            return None;
        }
    }
}
