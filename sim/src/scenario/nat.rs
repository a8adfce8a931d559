//! How a scenario describes a NAT: by name, or by name and what is different.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::error::ProblemKind;
use super::model::NatBox;
use super::problems::Problems;
use super::schema;
use super::spanned::Spanned;
use super::value::{Choice, ValueError, at_most, deserialize_from_text, parse_duration, pattern};
use crate::net::nat::{
    AddressPooling, Consistency, Filtering, Hairpin, Mapping, NatConfig, NatPreset, PortAllocation,
    PortParity, Refresh, UnknownTcp, UnsolicitedSyn, WellKnownPorts,
};

/// The longest timer that a NAT can have: a week, over the five days of Linux.
pub(super) const LONGEST_TIMER: Duration = Duration::from_hours(7 * 24);

/// The most external addresses that a NAT can have. The address plan holds 508 in all.
const MOST_ADDRESSES: u16 = 16;

/// The names that stand alone.
const NAMES: [&str; NatPreset::NAMES.len() + 1] = {
    let mut names = ["none"; NatPreset::NAMES.len() + 1];
    let mut position = 0;
    while position < NatPreset::NAMES.len() {
        names[position + 1] = NatPreset::NAMES[position];
        position += 1;
    }
    names
};

/// The value of `nat`.
#[derive(Debug)]
pub(super) enum NatValue {
    /// `"none"`.
    None,
    Preset(NatPreset),
    Table(Box<NatDocument>),
}

/// A NAT as a table. Each key that is left out is as the preset has it, and without a preset as RFC 4787 and
/// RFC 5382 require.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NatDocument {
    /// The NAT that this one is like, but for the other keys. Default: none.
    preset: Option<Choice<NatPreset>>,
    /// For which destinations an inner port has one outer port. Default "endpoint-independent".
    mapping: Option<Choice<Mapping>>,
    /// From whom packets, and TCP connections, come in. Default "address-and-port-dependent".
    filtering: Option<Choice<Filtering>>,
    /// With "symmetric" who does not get their own port has another one for each destination; with
    /// `port_allocation = "preserving"` only. Default "deterministic".
    on_collision: Option<Spanned<Choice<Consistency>>>,
    /// Which outer ports there are: "preserving", their own, else the next free one; "overloading", their own even if
    /// taken; "overlapping", their own unless taken with the same destination; "sequential"; "random". Default
    /// "preserving".
    port_allocation: Option<Choice<PortAllocation>>,
    /// Whether even ports stay even. Default "preserved".
    parity: Option<Choice<PortParity>>,
    /// Whether ports under 1024 stay there, and others out. Default "preserved".
    well_known_ports: Option<Choice<WellKnownPorts>>,
    /// The outer ports, first and last. Default "1024-65535".
    ports: Option<PortRangeValue>,
    /// How many mappings a host can have, from 1 to 65535. Default: as many as there are ports.
    ports_per_host: Option<CountValue<{ u16::MAX }>>,
    /// How many outer addresses there are, from 1 to 16. Default 1, and 2 with the presets "carrier-grade" and
    /// "mobile".
    addresses: Option<CountValue<MOST_ADDRESSES>>,
    /// Whether a host keeps one outer address. With two or more addresses only. Default "paired".
    pooling: Option<Spanned<Choice<AddressPooling>>>,
    /// How long idle UDP lives. Default "5m".
    udp_timeout: Option<TimerValue>,
    /// How long idle UDP to remote ports under 1024 lives. Default: as `udp_timeout`.
    udp_well_known_timeout: Option<TimerValue>,
    /// Which packets keep UDP alive. Default "both".
    udp_refresh: Option<Choice<Refresh>>,
    /// How long an idle TCP connection lives. Default "2h4m".
    tcp_established: Option<TimerValue>,
    /// How long an idle TCP connection lives while it opens, and after it is closed or reset. Default "4m".
    tcp_transitory: Option<TimerValue>,
    /// What is done with a segment of a connection that the NAT does not know; "adopted" means that from inside it goes
    /// on. Default "silent".
    unknown_tcp: Option<Choice<UnknownTcp>>,
    /// The answer to a connection from outside that does not pass the filter. Default "silent".
    unsolicited_syn: Option<Choice<UnsolicitedSyn>>,
    /// What becomes of packets from inside to an outer address. Default "translated".
    hairpin: Option<Choice<Hairpin>>,
}

/// The NAT that `value` describes, if any. What contradicts itself is noted in `problems`.
pub(super) fn nat_box(value: &NatValue, problems: &mut Problems<'_>) -> Option<NatBox> {
    match value {
        NatValue::None => None,
        NatValue::Preset(preset) => Some(NatBox::from(*preset)),
        NatValue::Table(document) => {
            let nat = converted(document);
            check(document, &nat, problems);
            Some(nat)
        }
    }
}

fn converted(document: &NatDocument) -> NatBox {
    let NatBox {
        config: mut nat,
        addresses,
    } = match document.preset {
        Some(Choice(preset)) => NatBox::from(preset),
        None => NatBox::default(),
    };
    replace(&mut nat.mapping, document.mapping);
    replace(&mut nat.filtering, document.filtering);
    let on_collision = document.on_collision.as_ref();
    replace(
        &mut nat.consistency,
        on_collision.map(|choice| *choice.get_ref()),
    );
    replace(&mut nat.port_allocation, document.port_allocation);
    replace(&mut nat.parity, document.parity);
    replace(&mut nat.well_known_ports, document.well_known_ports);
    let pooling = document.pooling.as_ref();
    replace(&mut nat.pooling, pooling.map(|choice| *choice.get_ref()));
    replace(&mut nat.udp_timer.refresh, document.udp_refresh);
    replace(&mut nat.unknown_tcp, document.unknown_tcp);
    replace(&mut nat.unsolicited_syn, document.unsolicited_syn);
    replace(&mut nat.hairpin, document.hairpin);
    if let Some(ports) = &document.ports {
        nat.port_range = ports.0.clone();
    }
    if let Some(CountValue(count)) = document.ports_per_host {
        nat.ports_per_host = Some(usize::from(count));
    }
    let timers = [
        (&mut nat.udp_timer.idle, document.udp_timeout),
        (&mut nat.tcp_timers.established, document.tcp_established),
        (&mut nat.tcp_timers.transitory, document.tcp_transitory),
    ];
    for (timer, value) in timers {
        if let Some(TimerValue(value)) = value {
            *timer = value;
        }
    }
    if let Some(TimerValue(idle)) = document.udp_well_known_timeout {
        nat.udp_timer.well_known_idle = Some(idle);
    }
    let written = document.addresses.map(|count| usize::from(count.0));
    NatBox {
        config: nat,
        addresses: written.unwrap_or(addresses),
    }
}

fn check(document: &NatDocument, nat: &NatBox, problems: &mut Problems<'_>) {
    let NatConfig {
        port_allocation,
        consistency,
        ..
    } = nat.config;
    if let Some(written) = &document.on_collision
        && consistency == Consistency::SymmetricOnCollision
        && port_allocation != PortAllocation::Preserving
    {
        let kind = ProblemKind::Contradiction {
            message: "ports that are not preserved cannot collide".to_owned(),
            allowed: "`on_collision = \"symmetric\"` with `port_allocation = \"preserving\"` only",
        };
        problems.push(written.span(), kind);
    }
    if let Some(written) = &document.pooling
        && nat.addresses < 2
    {
        let kind = ProblemKind::Contradiction {
            message: "a NAT with one address has nothing to choose from".to_owned(),
            allowed: "`pooling` with two or more `addresses` only",
        };
        problems.push(written.span(), kind);
    }
}

fn replace<T>(setting: &mut T, written: Option<Choice<T>>) {
    if let Some(Choice(value)) = written {
        *setting = value;
    }
}

impl JsonSchema for NatValue {
    fn schema_name() -> Cow<'static, str> {
        "NatValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<NatDocument>();
        json_schema!({ "anyOf": [{ "type": "string", "enum": NAMES }, table] })
    }
}

impl<'de> Deserialize<'de> for NatValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NatVisitor)
    }
}

struct NatVisitor;

impl<'de> Visitor<'de> for NatVisitor {
    type Value = NatValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in NAMES {
            write!(formatter, "`{name}`, ")?;
        }
        formatter.write_str("or a table")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<NatValue, E> {
        if text == "none" {
            return Ok(NatValue::None);
        }
        let preset = text.parse();
        preset
            .map(NatValue::Preset)
            .map_err(|_| E::unknown_variant(text, &NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NatValue, A::Error> {
        let document = NatDocument::deserialize(MapAccessDeserializer::new(map))?;
        Ok(NatValue::Table(Box::new(document)))
    }
}

/// A timer of a NAT, from one second to [`LONGEST_TIMER`].
#[derive(Debug, Clone, Copy)]
struct TimerValue(Duration);

impl TimerValue {
    const EXPECTED: &str = "a time in quotes from \"1s\" to \"168h\", such as \"2m\"";
    const PATTERN: &str = concat!("^", pattern!(time), "$");

    fn parse(text: &str) -> Result<Self, ValueError> {
        const SHORTEST: Duration = Duration::from_secs(1);
        let timer = parse_duration(text)?;
        if timer < SHORTEST {
            return Err(ValueError::UnderLeast(SHORTEST));
        }
        at_most(timer, LONGEST_TIMER).map(Self)
    }
}

/// A range of ports, written as its first and its last one.
#[derive(Debug, Clone)]
struct PortRangeValue(RangeInclusive<u16>);

impl PortRangeValue {
    const EXPECTED: &str =
        "two ports from 1 to 65535 in quotes, the lower one first, such as \"1024-65535\"";
    const PATTERN: &str = "^ *[0-9]{1,5} *- *[0-9]{1,5} *$";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let malformed = ValueError::Malformed("a range of ports");
        let port = |text: &str| {
            let is_plain = text.chars().all(|c| c.is_ascii_digit());
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            port.filter(|_| is_plain)
        };
        let ends = text.split_once('-');
        let ends = ends.and_then(|(first, last)| Some((port(first.trim())?, port(last.trim())?)));
        match ends {
            Some((first, last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(malformed),
        }
    }
}

deserialize_from_text!(TimerValue, PortRangeValue);

/// A whole number from 1 to `MOST`.
#[derive(Debug, Clone, Copy)]
struct CountValue<const MOST: u16>(u16);

impl<const MOST: u16> JsonSchema for CountValue<MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("CountUpTo{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::of_number("a whole number", 1, i64::from(MOST))
    }
}

impl<'de, const MOST: u16> Deserialize<'de> for CountValue<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(CountVisitor::<MOST>)
    }
}

struct CountVisitor<const MOST: u16>;

impl<const MOST: u16> Visitor<'_> for CountVisitor<MOST> {
    type Value = CountValue<MOST>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from 1 to {MOST}")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let count = u16::try_from(number).ok();
        let count = count.filter(|count| (1..=MOST).contains(count));
        count.map(CountValue).ok_or_else(|| {
            E::custom(format!(
                "this is out of range, expected a whole number from 1 to {MOST}"
            ))
        })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests;
