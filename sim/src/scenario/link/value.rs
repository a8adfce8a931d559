//! The values that only links have.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Visitor};

use crate::net::link::{Jitter, QueueConfig};
use crate::net::loss::{GilbertElliott, LossModel};
use crate::scenario::schema;
use crate::scenario::value::{
    LONGEST_DELAY, ValueError, at_most, deserialize_from_text, parse_microseconds,
    parse_percentage, parse_scaled, pattern,
};

/// The least time on a link, from nothing to [`LONGEST_DELAY`].
#[derive(Debug, Clone, Copy)]
pub(super) struct WayValue(pub(super) Duration);

/// What is added to the delay.
#[derive(Debug, Clone, Copy)]
pub(super) struct JitterValue(pub(super) Jitter);

/// Which packets are lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct LossModelValue(pub(super) LossModel);

/// The rate of a link in kbps; `None` for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateValue(pub(super) Option<NonZero<u32>>);

/// The bound of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueValue(pub(super) QueueConfig);

/// The longest packet in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MtuValue(pub(super) NonZero<u32>);

impl WayValue {
    const EXPECTED: &str = "a delay in quotes up to \"10s\", such as \"80ms\" or \"1.5ms\"";
    const PATTERN: &str = concat!("^", pattern!(delay), "$");

    fn parse(text: &str) -> Result<Self, ValueError> {
        delay(text).map(Self)
    }
}

impl JitterValue {
    const EXPECTED: &str = "\"none\", \"uniform LONGEST\", \"normal MEAN DEVIATION\" or \
                            \"exponential MEAN\" with times up to \"10s\", such as \"normal 10ms 3ms\"";
    const PATTERN: &str = concat!(
        "^(none|uniform ",
        pattern!(delay),
        "|normal ",
        pattern!(delay),
        " ",
        pattern!(delay),
        "|exponential ",
        pattern!(delay),
        ")$"
    );

    fn parse(text: &str) -> Result<Self, ValueError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let jitter = match words[..] {
            [] => return Err(ValueError::Empty),
            ["none"] => Jitter::None,
            ["uniform", up_to] => Jitter::Uniform {
                up_to: some_delay(up_to)?,
            },
            ["normal", mean, deviation] => Jitter::Normal {
                mean: delay(mean)?,
                deviation: some_delay(deviation)?,
            },
            ["exponential", mean] => Jitter::Exponential {
                mean: some_delay(mean)?,
            },
            _ => return Err(ValueError::Malformed("a jitter")),
        };
        Ok(Self(jitter))
    }
}

impl LossModelValue {
    const EXPECTED: &str = "a percentage in quotes from \"0%\" to \"100%\", such as \"2.5%\", or with \
                            the mean length of bursts in packets, such as \"5% in bursts of 4\"";
    const PATTERN: &str = concat!(
        "^",
        pattern!(share),
        "( in bursts of [0-9]+(\\.[0-9]{1,3})?)?$"
    );

    fn parse(text: &str) -> Result<Self, ValueError> {
        let Some((loss, burst)) = text.split_once(" in bursts of ") else {
            return parse_percentage(text).map(|loss| Self(loss.into()));
        };
        let loss = parse_percentage(loss)?;
        let thousandths = parse_scaled(burst, 1000)
            .and_then(|thousandths| u32::try_from(thousandths).ok())
            .ok_or(ValueError::Malformed(
                "a number of packets with up to three decimals",
            ))?;
        let bursts = GilbertElliott::new(loss, thousandths)?;
        Ok(Self(LossModel::GilbertElliott(bursts)))
    }
}

impl RateValue {
    const EXPECTED: &str = "\"unlimited\" or a rate in quotes from \"1kbps\" to \"10Gbps\", such as \
                            \"512kbps\" or \"1.5Mbps\"";
    const PATTERN: &str = "^(unlimited|[0-9]+(\\.[0-9]+)?(kbps|Mbps|Gbps))$";
    const MOST_KBPS: u64 = 10_000_000;

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        let units = [("kbps", 1), ("Mbps", 1_000), ("Gbps", 1_000_000)];
        let kbps = number_with_unit(text, &units, "a rate of whole kilobits a second")?;
        if kbps > Self::MOST_KBPS {
            return Err(ValueError::Over("10Gbps"));
        }
        let kbps = u32::try_from(kbps).ok().and_then(NonZero::new);
        kbps.map(|kbps| Self(Some(kbps)))
            .ok_or(ValueError::Under("1kbps"))
    }
}

impl QueueValue {
    const EXPECTED: &str = "a queue in quotes of \"1500B\" to \"100MB\" or of \"1 packets\" to \
                            \"100000 packets\", such as \"64KB\" or \"50 packets\"";
    const PATTERN: &str = "^([0-9]+ packets|[0-9]+(\\.[0-9]+)?(B|KB|MB))$";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let bounded = |number: u64, least: (u64, _), most: (u64, _)| {
            if number < least.0 {
                return Err(ValueError::Under(least.1));
            }
            if number > most.0 {
                return Err(ValueError::Over(most.1));
            }
            let number = u32::try_from(number).ok().and_then(NonZero::new);
            Ok(number.expect("it lies between the bounds"))
        };
        if let Some(number) = text.strip_suffix(" packets") {
            let number = parse_scaled(number, 1).ok_or(ValueError::Malformed("a queue"))?;
            let packets = bounded(number, (1, "1 packets"), (100_000, "100000 packets"))?;
            return Ok(Self(QueueConfig::Packets(packets)));
        }
        let units = [("KB", 1_000), ("MB", 1_000_000), ("B", 1)];
        let number = number_with_unit(text, &units, "a queue of whole bytes or of packets")?;
        // Less than the longest packet of Ethernet would let none of those wait.
        let bytes = bounded(number, (1_500, "1500B"), (100_000_000, "100MB"))?;
        Ok(Self(QueueConfig::Bytes(bytes)))
    }
}

impl MtuValue {
    /// From what every host takes (RFC 791 section 3.2) to the longest packet.
    const EXPECTED: &str = "a whole number of bytes from 576 to 65535, such as 1400";
    const LEAST: i64 = 576;
    const MOST: i64 = 65_535;
}

deserialize_from_text!(WayValue, JitterValue, LossModelValue, RateValue, QueueValue);

impl JsonSchema for MtuValue {
    fn schema_name() -> Cow<'static, str> {
        "MtuValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::of_number(Self::EXPECTED, Self::LEAST, Self::MOST)
    }
}

impl<'de> Deserialize<'de> for MtuValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(MtuVisitor)
    }
}

struct MtuVisitor;

impl Visitor<'_> for MtuVisitor {
    type Value = MtuValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MtuValue::EXPECTED)
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<MtuValue, E> {
        let error = match bytes {
            ..MtuValue::LEAST => ValueError::Under("576 bytes"),
            MtuValue::LEAST..=MtuValue::MOST => {
                let bytes = u32::try_from(bytes).ok().and_then(NonZero::new);
                return Ok(MtuValue(bytes.expect("it lies between the bounds")));
            }
            _ => ValueError::Over("65535 bytes"),
        };
        let expected = MtuValue::EXPECTED;
        Err(E::custom(format!("{error}, expected {expected}")))
    }
}

fn delay(text: &str) -> Result<Duration, ValueError> {
    at_most(parse_microseconds(text)?, LONGEST_DELAY)
}

/// A delay that is not zero.
fn some_delay(text: &str) -> Result<Duration, ValueError> {
    let delay = delay(text)?;
    if delay.is_zero() {
        return Err(ValueError::Under("1us"));
    }
    Ok(delay)
}

/// A number in the smallest of `units`.
fn number_with_unit(
    text: &str,
    units: &[(&str, u64)],
    what: &'static str,
) -> Result<u64, ValueError> {
    if text.trim().is_empty() {
        return Err(ValueError::Empty);
    }
    if text.starts_with(['-', '−']) {
        return Err(ValueError::Negative);
    }
    let Some((number, size)) = units
        .iter()
        .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)))
    else {
        let is_number = text.parse::<f64>().is_ok();
        return Err(if is_number {
            ValueError::NoUnit
        } else {
            ValueError::Malformed(what)
        });
    };
    parse_scaled(number, size).ok_or(ValueError::Malformed(what))
}
