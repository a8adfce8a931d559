//! Links as they are written: a preset's name or a table, with what one direction has of its own.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use self::value::{JitterValue, LossModelValue, MtuValue, QueueValue, RateValue, WayValue};
use super::error::ProblemKind;
use super::problems::Problems;
use super::spanned::Spanned;
use super::value::{Choice, DelayValue, SHORTEST_DELAY, ShareValue, ValueError, names_of};
use crate::net::link::{
    Corruption, Jitter, LinkConfig, LinkPair, LinkPreset, Order, Priority, Rate,
};
use crate::net::loss::Probability;

mod value;

/// Which part of a network's way a link is, and with that what it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Between a host and its gateway. It has no rate, and applications run no closer to it than the
    /// world's step.
    Lan,
    /// Between a gateway and the core.
    Uplink,
}

/// A link as it is written.
#[derive(Debug)]
pub(super) enum LinkDocument {
    /// `"lte"`
    Preset(LinkPreset),
    /// `{ preset = "lte", loss = "5%", up = { … } }`
    Table(Box<LinkTable>),
}

/// What is written of a link, or of one of its directions.
#[derive(Debug, Clone, Default)]
struct Keys {
    delay: Option<Spanned<WayValue>>,
    jitter: Option<Spanned<JitterValue>>,
    order: Option<Spanned<Choice<Order>>>,
    loss: Option<Spanned<LossModelValue>>,
    duplication: Option<Spanned<ShareValue>>,
    corruption: Option<Spanned<ShareValue>>,
    undetected: Option<Spanned<ShareValue>>,
    rate: Option<Spanned<RateValue>>,
    queue: Option<Spanned<QueueValue>>,
    priority: Option<Spanned<Choice<Priority>>>,
    mtu: Option<Spanned<MtuValue>>,
}

/// A table with the keys of a link and some of its own. Serde can flatten one table into another, but
/// loses the places of the values on the way.
macro_rules! link_table {
    (
        $(#[$meta:meta])*
        struct $name:ident { $($(#[$own_meta:meta])* $own:ident: $type:ty,)* }
        with { $($(#[$key_meta:meta])* $key:ident: $value:ty,)* }
    ) => {
        #[derive(Debug, Default, serde::Deserialize, JsonSchema)]
        $(#[$meta])*
        pub(super) struct $name {
            $($(#[$own_meta])* $own: Option<$type>,)*
            $($(#[$key_meta])* $key: Option<Spanned<$value>>,)*
        }

        impl $name {
            fn keys(&self) -> Keys {
                Keys { $($key: self.$key.clone(),)* }
            }
        }
    };
    (
        $(#[$meta:meta])*
        struct $name:ident { $($own:tt)* }
    ) => {
        link_table! {
            $(#[$meta])*
            struct $name { $($own)* } with {
                /// The least time on the way. Default "5ms" on `lan`, where it is at least "1ms", and "15ms" on
                /// `uplink`.
                delay: WayValue,
                /// What is added to the delay. Default "none".
                jitter: JitterValue,
                /// Whether jitter lets packets overtake ("jittered"). With a `jitter` only. Default "kept".
                order: Choice<Order>,
                /// The share of packets that are lost, by themselves or in bursts. Default "0%".
                loss: LossModelValue,
                /// The share of packets that arrive twice. Default "0%".
                duplication: ShareValue,
                /// The share of packets that arrive damaged. Default "0%".
                corruption: ShareValue,
                /// The share of damaged UDP packets whose checksum does not tell. With a `corruption` only. Default
                /// "0%".
                undetected: ShareValue,
                /// What passes in a second, headers included. On `uplink` only. Default "unlimited".
                rate: RateValue,
                /// What may wait before the link. With a `rate` only. Default: what the rate passes in 300 ms, at least
                /// "3KB".
                queue: QueueValue,
                /// With "ef" packets that are marked for expedited forwarding go first. With a `rate` only. Default
                /// "none".
                priority: Choice<Priority>,
                /// The longest packet in bytes, headers included. Default: any length.
                mtu: MtuValue,
            }
        }
    };
}

link_table! {
    /// A link as a table. Both directions are alike unless `up` or `down` say otherwise.
    #[serde(deny_unknown_fields, expecting = "a table of a link's keys")]
    struct LinkTable {
        /// The link that this one is like, but for the other keys. Default: none.
        preset: Spanned<Choice<LinkPreset>>,
        /// What is different from the host on. Default: nothing.
        up: DirectionTable,
        /// What is different towards the host. Default: nothing.
        down: DirectionTable,
    }
}

link_table! {
    /// One direction of a link. What it leaves out is that of the link.
    #[serde(deny_unknown_fields, expecting = "a table of the keys of a direction")]
    struct DirectionTable {}
}

impl JsonSchema for LinkDocument {
    fn schema_name() -> Cow<'static, str> {
        "LinkDocument".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<LinkTable>();
        json_schema!({ "anyOf": [{ "type": "string", "enum": names_of::<LinkPreset>() }, table] })
    }
}

impl<'de> Deserialize<'de> for LinkDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LinkVisitor)
    }
}

struct LinkVisitor;

impl<'de> Visitor<'de> for LinkVisitor {
    type Value = LinkDocument;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = LinkPreset::ALL.map(|preset| format!("`{preset}`"));
        write!(
            formatter,
            "a table of a link's keys, or one of {}",
            names.join(", ")
        )
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<LinkDocument, E> {
        LinkPreset::deserialize(StrDeserializer::new(name)).map(LinkDocument::Preset)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LinkDocument, A::Error> {
        let table = LinkTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LinkDocument::Table(Box::new(table)))
    }
}

/// The link that `document` describes, where `default` holds what is not written. What the link
/// cannot have goes to `problems`.
pub(super) fn link(
    document: Option<&Spanned<LinkDocument>>,
    role: Role,
    default: LinkPair,
    problems: &mut Problems<'_>,
) -> LinkPair {
    match document {
        None => default,
        Some(document) => link_at(
            document.get_ref(),
            &document.span(),
            role,
            default,
            problems,
        ),
    }
}

/// The same for a link that is written at `span`.
pub(super) fn link_at(
    document: &LinkDocument,
    span: &std::ops::Range<usize>,
    role: Role,
    default: LinkPair,
    problems: &mut Problems<'_>,
) -> LinkPair {
    let table = match document {
        LinkDocument::Preset(preset) => return preset_links(*preset, span, role, problems),
        LinkDocument::Table(table) => table,
    };
    let both = table.keys();
    let mut base = table
        .preset
        .as_ref()
        .map_or(default, |preset| preset.get_ref().0.links());
    if let (Some(preset), None, Role::Lan) = (&table.preset, &both.rate, role) {
        base = preset_links(preset.get_ref().0, &preset.span(), role, problems);
    }
    let own = |direction: &Option<DirectionTable>| {
        direction
            .as_ref()
            .map(DirectionTable::keys)
            .unwrap_or_default()
    };
    let (up, down) = (own(&table.up), own(&table.down));
    let links = LinkPair {
        up: up.clone().or(&both).applied_to(base.up),
        down: down.clone().or(&both).applied_to(base.down),
    };
    both.check(role, &[links.up, links.down], problems);
    up.check(role, &[links.up], problems);
    down.check(role, &[links.down], problems);
    links
}

/// What a preset stands for, if a link of this role can be that.
fn preset_links(
    preset: LinkPreset,
    span: &std::ops::Range<usize>,
    role: Role,
    problems: &mut Problems<'_>,
) -> LinkPair {
    let links = preset.links();
    if role == Role::Lan && links.up.rate.or(links.down.rate).is_some() {
        let message = format!("the link `{preset}` has a rate, which only an uplink can have");
        let allowed = "on `lan` a preset without a rate, such as `wifi`, or `rate = \"unlimited\"` \
                       beside it";
        problems.push(
            span.clone(),
            ProblemKind::Contradiction { message, allowed },
        );
    }
    links
}

impl Keys {
    /// These keys, and `others` where these say nothing.
    fn or(self, others: &Self) -> Self {
        let others = others.clone();
        Self {
            delay: self.delay.or(others.delay),
            jitter: self.jitter.or(others.jitter),
            order: self.order.or(others.order),
            loss: self.loss.or(others.loss),
            duplication: self.duplication.or(others.duplication),
            corruption: self.corruption.or(others.corruption),
            undetected: self.undetected.or(others.undetected),
            rate: self.rate.or(others.rate),
            queue: self.queue.or(others.queue),
            priority: self.priority.or(others.priority),
            mtu: self.mtu.or(others.mtu),
        }
    }

    fn applied_to(&self, base: LinkConfig) -> LinkConfig {
        let share = |written: &Option<Spanned<ShareValue>>, base: Probability| {
            written.as_ref().map_or(base, |share| share.get_ref().0)
        };
        LinkConfig {
            delay: self
                .delay
                .as_ref()
                .map_or(base.delay, |delay| delay.get_ref().0),
            jitter: self
                .jitter
                .as_ref()
                .map_or(base.jitter, |jitter| jitter.get_ref().0),
            order: self
                .order
                .as_ref()
                .map_or(base.order, |order| order.get_ref().0),
            loss: self
                .loss
                .as_ref()
                .map_or(base.loss, |loss| loss.get_ref().0),
            duplication: share(&self.duplication, base.duplication),
            corruption: Corruption {
                probability: share(&self.corruption, base.corruption.probability),
                undetected: share(&self.undetected, base.corruption.undetected),
            },
            rate: self.rate(base.rate),
            mtu_bytes: self
                .mtu
                .as_ref()
                .map_or(base.mtu_bytes, |mtu| Some(mtu.get_ref().0)),
        }
    }

    fn rate(&self, base: Option<Rate>) -> Option<Rate> {
        let rate = match &self.rate {
            None => base?,
            // A queue suits its rate, so that of the base goes with the base's rate.
            Some(written) => Rate {
                priority: base.map_or_else(Default::default, |base| base.priority),
                ..Rate::new(written.get_ref().0?)
            },
        };
        let queue = self.queue.as_ref().map(|queue| queue.get_ref().0);
        let priority = self.priority.as_ref().map(|priority| priority.get_ref().0);
        Some(Rate {
            queue: queue.unwrap_or(rate.queue),
            priority: priority.unwrap_or(rate.priority),
            ..rate
        })
    }

    /// Notes which of these keys mean nothing, given the `links` that came of them, and which the
    /// link cannot have.
    fn check(&self, role: Role, links: &[LinkConfig], problems: &mut Problems<'_>) {
        self.check_role(role, problems);
        let mut means_nothing = |span, message: &str, allowed| {
            let message = message.to_owned();
            problems.push(span, ProblemKind::Contradiction { message, allowed });
        };
        if let Some(order) = &self.order
            && order.get_ref().0 == Order::Jittered
            && links.iter().all(|link| link.jitter == Jitter::None)
        {
            let message = "no packet overtakes another where all take the same time";
            means_nothing(
                order.span(),
                message,
                "`order = \"jittered\"` with a `jitter` only",
            );
        }
        if let Some(undetected) = &self.undetected
            && links
                .iter()
                .all(|link| link.corruption.probability == Probability::NEVER)
        {
            let message = "no damage goes undetected where nothing is damaged";
            means_nothing(
                undetected.span(),
                message,
                "`undetected` with a `corruption` only",
            );
        }
        let waits = self.queue.as_ref().map(Spanned::span);
        let overtakes = self.priority.as_ref().map(Spanned::span);
        if role == Role::Uplink && links.iter().all(|link| link.rate.is_none()) {
            for span in waits.into_iter().chain(overtakes) {
                let message = "no packet waits before a link without a rate";
                means_nothing(span, message, "`queue` and `priority` with a `rate` only");
            }
        }
    }

    fn check_role(&self, role: Role, problems: &mut Problems<'_>) {
        if role == Role::Uplink {
            return;
        }
        let is_limited = |rate: &&Spanned<RateValue>| rate.get_ref().0.is_some();
        let spans = [
            self.rate.as_ref().filter(is_limited).map(Spanned::span),
            self.queue.as_ref().map(Spanned::span),
            self.priority.as_ref().map(Spanned::span),
        ];
        for span in spans.into_iter().flatten() {
            let message = "only an uplink has a rate and a queue before it".to_owned();
            let allowed = "`rate`, `queue` and `priority` in `uplink` only";
            problems.push(span, ProblemKind::Contradiction { message, allowed });
        }
        if let Some(delay) = &self.delay
            && delay.get_ref().0 < SHORTEST_DELAY
        {
            let error = ValueError::TooShort(SHORTEST_DELAY);
            let expected = DelayValue::EXPECTED;
            let kind = ProblemKind::from_toml(&format!("{error}, expected {expected}"));
            problems.push(delay.span(), kind);
        }
    }
}

#[cfg(test)]
mod tests;
