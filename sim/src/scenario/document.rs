//! The scenario file as it is written: every key that there is, and nothing else.
//!
//! Whatever is optional in the file is an `Option` here, so that one place
//! ([`validate`](super::validate)) holds the defaults.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
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
use super::spanned::Spanned;
use super::value::{Choice, DelayValue, SubnetValue, TimeValue, TriggerValue, names_of};
use crate::fault::{
    AddressAfter, Breakage, Direction, FaultName, Goodbye, LinkName, ServerName, SocketsMeanwhile,
    TurnOutage,
};
use crate::net::firewall::Passage;

/// Names and what they stand for, each with its place in the file.
pub(super) type Named<T> = BTreeMap<Spanned<String>, Spanned<T>>;

/// A scenario of ringtrue: networks, peers, what they do, what goes wrong, and what should come of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a scenario")]
#[schemars(
    rename = "Scenario",
    title = "ringtrue scenario",
    extend("required" = ["about", "network", "peer"])
)]
pub(super) struct Document {
    /// What the scenario asks, in one line of text. Required.
    pub(super) about: Option<Spanned<String>>,
    /// What happened to whom, where the scenario repeats something that did: one or more lines of text.
    pub(super) story: Option<Spanned<String>>,
    /// Where the story was reported, in one line of text.
    pub(super) source: Option<Spanned<String>>,
    /// The failure that the scenario holds on to. It changes nothing of what happens: `ringtrue replay` runs
    /// the scenario with this seed and client.
    pub(super) fails: Option<Spanned<FailsDocument>>,
    /// Hosts behind one gateway, by name: 1 to 32 lower-case letters, digits and hyphens, with a letter first.
    #[serde(default)]
    #[schemars(extend("propertyNames" = host_name()))]
    pub(super) network: Named<NetworkDocument>,
    /// Hosts that run the client, by name: two or more. Names are 1 to 32 lower-case letters, digits and
    /// hyphens, with a letter first.
    #[serde(default)]
    #[schemars(extend("propertyNames" = host_name(), "minProperties" = 2))]
    pub(super) peer: Named<PeerDocument>,
    /// The signaling, STUN and TURN servers.
    #[serde(default)]
    pub(super) servers: ServersDocument,
    /// Settings of every client.
    #[serde(default)]
    pub(super) client: ClientDocument,
    /// What the peers do, a table for each step. Default: the first peer in the order of names calls the
    /// second, which answers 1 s after it rings, and the caller hangs up at the end of the talk.
    pub(super) script: Option<Vec<Spanned<StepDocument>>>,
    /// What goes wrong, a table for each fault. Every fault must begin and have its effect.
    #[serde(default)]
    pub(super) fault: Vec<Spanned<FaultDocument>>,
    /// What happens to single signaling messages. Every table must meet a message.
    #[serde(default)]
    pub(super) message: Vec<Spanned<MessageDocument>>,
    /// What should come of it.
    #[serde(default)]
    pub(super) expect: ExpectDocument,
    /// How long the peers talk, where the script does not hang up by itself.
    pub(super) talk: Option<Spanned<TalkDocument>>,
}

/// Hosts behind one gateway.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `nat`, `udp`, `tcp_ports`, `idle_tcp`, `proxy`, `portal`, `behind`, `subnet`, `ip`, `ipv6`, `lan` and `uplink`"
)]
pub(super) struct NetworkDocument {
    /// The NAT of the gateway: "none", the name of one, or a table. Default "none", with which the hosts have
    /// public addresses.
    pub(super) nat: Option<NatValue>,
    /// Whether UDP passes, in both directions. Default "open".
    pub(super) udp: Option<Choice<Passage>>,
    /// The ports to which TCP connections from inside pass, one or more, each once. Default: all TCP passes.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub(super) tcp_ports: Option<Spanned<Vec<Spanned<PortValue>>>>,
    /// When the gateway cuts TCP connections on which nothing is sent. Default: never.
    pub(super) idle_tcp: Option<Spanned<IdleDocument>>,
    /// A proxy that takes what is sent to the signaling port. "breaks-websocket" passes requests and no upgrade.
    /// Default: none. Not beside `portal`.
    pub(super) proxy: Option<Spanned<Choice<ProxyKind>>>,
    /// A captive portal that answers everything itself at first. Default: none. Not beside `proxy`.
    pub(super) portal: Option<Spanned<PortalDocument>>,
    /// The name of another network with a NAT, into which the gateway's uplink leads: a layer of carrier-grade
    /// NAT. At most 3 gateways to the core. Default: the core of the internet.
    pub(super) behind: Option<Spanned<String>>,
    /// The hosts' private IPv4 subnet. With a NAT and IPv4 only. Default: assigned.
    pub(super) subnet: Option<Spanned<SubnetValue>>,
    /// The address families of the hosts; "v6" without a NAT only. Default "v4".
    pub(super) ip: Option<Choice<Families>>,
    /// What the gateway does with IPv6 from outside: "stateful" lets in what belongs to something sent from
    /// inside, "open" everything. With `ip` "v6" or "dual" only. Default "stateful".
    pub(super) ipv6: Option<Spanned<Choice<Ipv6Firewall>>>,
    /// The link between each host and the gateway: a preset's name or a table. Without a rate. Default 5 ms each
    /// way.
    pub(super) lan: Option<Spanned<LinkDocument>>,
    /// The link between the gateway and the core of the internet: a preset's name or a table. Default 15 ms each
    /// way.
    pub(super) uplink: Option<Spanned<LinkDocument>>,
}

/// A host that runs the client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `network`, `plays`, `storage` and `user`"
)]
pub(super) struct PeerDocument {
    /// The name of the network that it is on. Required.
    #[schemars(required)]
    pub(super) network: Option<Spanned<String>>,
    /// A file in `fixtures/`, the same for all devices of a user. Default "tone-low.opus" for the first user in
    /// the order of peers and "tone-high.opus" for the second; required for others.
    pub(super) plays: Option<Spanned<String>>,
    /// Whether an app that is killed and started again takes up its call ("kept") or knows nothing of it
    /// ("lost"). Default "kept".
    pub(super) storage: Option<Choice<StorageMode>>,
    /// Whose device it is: peers of one user ring together. Default: the peer's own name.
    pub(super) user: Option<Spanned<String>>,
}

/// The signaling, STUN and TURN servers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `delay`, `turn`, `stun`, `dead`, `signaling_port` and `signaling_certificate`"
)]
pub(super) struct ServersDocument {
    /// Between the core and each server, each way. Default "5ms".
    pub(super) delay: Option<DelayValue>,
    /// Whether the TURN servers answer. Default "up".
    pub(super) turn: Option<Choice<ServerState>>,
    /// Whether the STUN servers answer. Default "up".
    pub(super) stun: Option<Choice<ServerState>>,
    /// Host names of the client's STUN and TURN servers that are down whatever `turn` and `stun` say. Default: none.
    pub(super) dead: Option<Vec<Spanned<String>>>,
    /// The port of the signaling server. Default 80, and 443 with a certificate.
    pub(super) signaling_port: Option<PortValue>,
    /// What the signaling server shows to protect its connections by TLS. Default: they are not protected.
    pub(super) signaling_certificate: Option<Choice<CertificateKind>>,
}

/// Settings of every client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `policy`")]
pub(super) struct ClientDocument {
    /// Which candidates the clients use. Default "all".
    pub(super) policy: Option<Choice<PolicyName>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PolicyName {
    All,
    RelayOnly,
}

/// A step of the script. It has either `at` or `after`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `at` or `after`, `peer` and `do`"
)]
pub(super) struct StepDocument {
    /// When the step is taken, from the start of the run.
    pub(super) at: Option<Spanned<TimeValue>>,
    /// When the step is taken, from an event of the call; "settled" with the outcome "settled" only. A step whose
    /// event never happens is not taken.
    pub(super) after: Option<Spanned<TriggerValue>>,
    /// The name of the peer that acts. Required.
    #[schemars(required)]
    pub(super) peer: Option<Spanned<String>>,
    /// What the peer does: "kill" ends its app without a word, "start" starts it again, "push" tells the app of a
    /// call as a push message does. Required.
    #[serde(rename = "do")]
    #[schemars(required)]
    pub(super) action: Option<Spanned<Choice<ActionName>>>,
    /// The user of another peer, who is called. With "call" only, and required there.
    pub(super) callee: Option<Spanned<String>>,
    /// The name of the peer who calls. With "push" only, and required there.
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

/// Something that goes wrong. It has one of `at`, `after` and `on`, and what its kind needs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `kind`, one of `at`, `after` and `on`, and what the kind needs"
)]
pub(super) struct FaultDocument {
    /// What goes wrong. Required.
    #[schemars(required)]
    pub(super) kind: Option<Spanned<Choice<FaultName>>>,
    /// When it begins, from the start of the run.
    pub(super) at: Option<Spanned<TimeValue>>,
    /// When it begins, from an event of the call: "ringing" or "audio".
    pub(super) after: Option<Spanned<TriggerValue>>,
    /// The message of a peer with which it begins, and with "socket-drop" also the frame.
    pub(super) on: Option<Spanned<OnValue>>,
    /// How long it lasts, more than "0s". Required with "server-pause", "name-failure", "flight-mode", "app-suspend" and
    /// "blackhole"; without an end "signaling-restart", "turn-out", "app-kill" and "link-change" stay; with the other
    /// kinds it means nothing.
    #[serde(rename = "for")]
    pub(super) length: Option<Spanned<TimeValue>>,
    /// When it ends, from the start of the run. With `at` only, later than it, and instead of `for`.
    pub(super) until: Option<Spanned<TimeValue>>,
    /// The name of the peer that it strikes: with "socket-drop", "name-failure", "network-switch", "flight-mode",
    /// "app-suspend" and "app-kill".
    pub(super) peer: Option<Spanned<String>>,
    /// The name of the network that it strikes: with "nat-reboot", "mapping-flush", "rebinding", "blackhole" and
    /// "link-change".
    pub(super) network: Option<Spanned<String>>,
    /// With "server-pause": the server that answers nothing.
    pub(super) server: Option<Spanned<Choice<ServerName>>>,
    /// With "socket-drop" one of "fin", "rst" (default) and "silence"; with "signaling-restart" "polite" (default) or
    /// "cut"; with "turn-out" one of "down" (default), "wrong-credentials" and "quota".
    // What it can be depends on the kind, so that no type reads it here.
    #[schemars(schema_with = "ways_of_faults", default)]
    pub(super) how: Option<Spanned<String>>,
    /// With "nat-reboot": whether the gateway has another external address then. Default "same".
    pub(super) address: Option<Spanned<Choice<AddressAfter>>>,
    /// With "app-suspend": what becomes of the app's sockets. Default "kept".
    pub(super) sockets: Option<Spanned<Choice<SocketsMeanwhile>>>,
    /// With "blackhole": which way packets vanish. Default "both".
    pub(super) direction: Option<Spanned<Choice<Direction>>>,
    /// With "link-change": which link of the network. Default "uplink".
    pub(super) link: Option<Spanned<Choice<LinkName>>>,
    /// With "network-switch" the name of another network; with "link-change" what the link becomes, a preset's name or
    /// a table, where what is left out stays as it is.
    pub(super) to: Option<Spanned<DestinationDocument>>,
}

/// What `to` of a fault can be: a network to move to, or what a link becomes.
#[derive(Debug)]
pub(super) enum DestinationDocument {
    /// Of a network, or of a link's preset.
    Name(String),
    Link(LinkDocument),
}

impl JsonSchema for DestinationDocument {
    fn schema_name() -> Cow<'static, str> {
        "DestinationDocument".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let link = generator.subschema_for::<LinkDocument>();
        json_schema!({ "anyOf": [{ "type": "string" }, link] })
    }
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

/// What should come of the run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `outcome`, `cause`, `path`, `selected`, `within`, `back_within` and `kept_for`"
)]
pub(super) struct ExpectDocument {
    /// What comes of the call: "audio-connected", both sides hear each other to the end; "unreachable", the run says
    /// that there is no way, and why; "no-audio", there is never audio both ways; "audio-lost", there is and it is not
    /// kept; "settled", once everything that goes wrong is over the call comes to what its networks allow. Default
    /// "audio-connected".
    pub(super) outcome: Option<Choice<OutcomeName>>,
    /// A text that the named cause contains; not with "audio-connected" and "settled". Default: any cause.
    pub(super) cause: Option<Spanned<String>>,
    /// The way the audio goes: "relayed" where at least one peer selected a relayed candidate. With "audio-connected"
    /// only. Default: any path.
    pub(super) path: Option<Spanned<Choice<CallPath>>>,
    /// The type of the local candidate of each peer's selected pair, by peer. With "audio-connected" only. Default: any
    /// types.
    #[serde(default)]
    pub(super) selected: Named<Choice<CandidateType>>,
    /// The longest time from the answer to audio on both sides, with "audio-connected"; from the last healing, with
    /// "settled". Default: any time, and "20s" with "settled".
    pub(super) within: Option<Spanned<TimeValue>>,
    /// The longest time from the end of a fault, or from a fault without an end, until audio is back. With
    /// "audio-connected" and a fault only. Default "5s".
    pub(super) back_within: Option<Spanned<TimeValue>>,
    /// How long audio has to stay once the call has settled. With "settled" only. Default "5s".
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

/// How long the peers talk. Only with the outcomes "audio-connected" and "audio-lost", and only where the script does
/// not hang up by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `for`")]
pub(super) struct TalkDocument {
    /// The time from audio on both sides to the hang-up. Default "5s".
    #[serde(rename = "for")]
    pub(super) length: Option<TimeValue>,
}

/// Reads the document, or reports everything in `table` that is not part of one.
///
/// Serde stops at the first error, so what it complained of is taken out and the rest is read
/// again: a file with three mistakes is corrected in one go.
pub(super) fn read(
    table: &toml::Spanned<DeTable<'_>>,
    problems: &mut Problems<'_>,
) -> Option<Document> {
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

/// What names of networks and peers can be: they become host names.
fn host_name() -> serde_json::Value {
    serde_json::json!({ "pattern": "^[a-z][a-z0-9-]{0,31}$" })
}

/// What `how` can be of any kind of fault.
fn ways_of_faults(_: &mut SchemaGenerator) -> Schema {
    let ways = [
        names_of::<Breakage>(),
        names_of::<Goodbye>(),
        names_of::<TurnOutage>(),
    ];
    json_schema!({ "type": "string", "enum": ways.concat() })
}
