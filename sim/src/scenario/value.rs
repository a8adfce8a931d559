//! The values that TOML has no type for: durations, shares and moments of the script.

use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::de::value::{Error as PlainError, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Visitor};
use thiserror::Error;

use super::model::Trigger;
use crate::net::loss::{GilbertElliottError, Probability};

/// The shortest delay a link can have: the step of the world.
pub const SHORTEST_DELAY: Duration = Duration::from_millis(1);

/// The longest delay a link can have. A signaling connection gives up long before it.
pub const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The longest duration, and the latest moment, that a script can name.
pub const LONGEST_TIME: Duration = Duration::from_hours(1);

/// Why a text is not the value it should be. Whoever reports it names the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// There is nothing between the quotes.
    #[error("this is empty")]
    Empty,
    /// The value starts with a minus sign.
    #[error("this is negative")]
    Negative,
    /// The text does not have the form of the value.
    #[error("this is not {0}")]
    Malformed(&'static str),
    /// A number stands without its unit.
    #[error("the unit is missing")]
    NoUnit,
    /// The world's timers count whole milliseconds.
    #[error("this is not a whole number of milliseconds, which the world counts in")]
    TooFine,
    /// Links count microseconds.
    #[error("this is not a whole number of microseconds, which links count in")]
    TooFineForALink,
    /// The value is below the least one.
    #[error("this is under {0}")]
    Under(&'static str),
    /// The value is above the greatest one.
    #[error("this is over {0}")]
    Over(&'static str),
    /// Bursts of losses that there cannot be.
    #[error(transparent)]
    Bursts(#[from] GilbertElliottError),
    /// The value is below the least one.
    #[error("this is under {}, the shortest delay of the world", format_duration(*.0))]
    TooShort(Duration),
    /// The value is below the least one, which is not a matter of the world's step.
    #[error("this is under {}", format_duration(*.0))]
    UnderLeast(Duration),
    /// The value is above the greatest one.
    #[error("this is over {}", format_duration(*.0))]
    TooLong(Duration),
    /// Everything is not enough.
    #[error("this is over 100%")]
    OverAHundred,
    /// A share has more decimals than are kept.
    #[error("this has more than four decimals")]
    TooPrecise,
    /// A subnet of another length.
    #[error("this is not a /24, which is what networks have")]
    NotA24,
    /// A subnet that begins at another address than its first.
    #[error("this is not the first address of a /24; it would be {0}")]
    NotTheFirst(Ipv4Addr),
    /// A subnet that is somebody's on the internet.
    #[error("this is not private")]
    NotPrivate,
}

/// Reads a duration: `80ms`, `1.5s`, `1m30s`, `1h`.
///
/// Units are `h`, `m`, `s` and `ms`, each at most once and from the largest to the smallest. The
/// last number may have decimals as long as the whole comes to full milliseconds.
///
/// # Errors
///
/// Where the text has another form, is negative, has no unit, is finer than a millisecond, or does
/// not fit into a [`Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    whole_milliseconds(parse_exact(text)?)
}

/// Reads a duration like [`parse_duration`], to the microsecond (`us`).
///
/// # Errors
///
/// Where the text has another form, is negative, has no unit, is finer than a microsecond, or does
/// not fit into a [`Duration`].
pub fn parse_microseconds(text: &str) -> Result<Duration, ValueError> {
    let duration = parse_exact(text)?;
    if !duration.subsec_nanos().is_multiple_of(1_000) {
        return Err(ValueError::TooFineForALink);
    }
    Ok(duration)
}

/// Writes a duration the way [`parse_duration`] reads it; what is finer than a millisecond is
/// left out.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut rest = milliseconds;
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let parts = units.map(|(unit, size)| {
        let count = rest / size;
        rest %= size;
        if count == 0 {
            String::new()
        } else {
            format!("{count}{unit}")
        }
    });
    parts.concat()
}

/// Reads a percentage from `0%` to `100%` with at most four decimals: `5%`, `0.25%`.
///
/// # Errors
///
/// Where the text has another form, is negative, lacks its `%`, or is over 100 %.
pub fn parse_percentage(text: &str) -> Result<Probability, ValueError> {
    let malformed = || ValueError::Malformed("a percentage");
    let body = refuse_empty_or_negative(text)?;
    let Some(number) = body.strip_suffix('%') else {
        let is_number = body.parse::<f64>().is_ok();
        return Err(if is_number {
            ValueError::NoUnit
        } else {
            malformed()
        });
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits_only = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if !digits_only(whole) || !digits_only(decimals) {
        return Err(malformed());
    }
    if decimals.len() > 4 {
        return Err(ValueError::TooPrecise);
    }
    // One percent is 10,000 parts per million, so four decimals are kept without rounding.
    let parts_per_million = format!("{whole}{decimals:0<4}").parse::<u32>().ok();
    parts_per_million
        .and_then(|parts| Probability::from_parts_per_million(parts).ok())
        .ok_or(ValueError::OverAHundred)
}

/// A link's delay, from [`SHORTEST_DELAY`] to [`LONGEST_DELAY`].
#[derive(Debug, Clone, Copy)]
pub(super) struct DelayValue(pub(super) Duration);

/// A length or a moment, from nothing to [`LONGEST_TIME`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeValue(pub(super) Duration);

/// The share of packets to which something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShareValue(pub(super) Probability);

/// What a step waits for, written as an event and a wait: `ringing + 1s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TriggerValue(pub(super) Trigger);

/// A private IPv4 subnet, which is a /24, by its first address: `192.168.1.0/24`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubnetValue(pub(super) Ipv4Addr);

impl DelayValue {
    pub(super) const EXPECTED: &str = "a delay in quotes from \"1ms\" to \"10s\", such as \"80ms\"";
    const PATTERN: &str = concat!("^", pattern!(delay), "$");

    fn parse(text: &str) -> Result<Self, ValueError> {
        let delay = parse_microseconds(text)?;
        if delay < SHORTEST_DELAY {
            return Err(ValueError::TooShort(SHORTEST_DELAY));
        }
        at_most(delay, LONGEST_DELAY).map(Self)
    }
}

impl TimeValue {
    const EXPECTED: &str = "a time in quotes from \"0s\" to \"1h\", such as \"1m30s\" or \"1.5s\"";
    const PATTERN: &str = concat!("^", pattern!(time), "$");

    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        at_most(parse_duration(text)?, LONGEST_TIME).map(Self)
    }
}

impl ShareValue {
    const EXPECTED: &str = "a percentage in quotes from \"0%\" to \"100%\", such as \"2.5%\"";
    const PATTERN: &str = concat!("^", pattern!(share), "$");

    fn parse(text: &str) -> Result<Self, ValueError> {
        parse_percentage(text).map(Self)
    }
}

impl TriggerValue {
    const EXPECTED: &str =
        "\"ringing + TIME\", \"audio + TIME\" or \"settled + TIME\", such as \"audio + 5s\"";
    const PATTERN: &str = concat!(
        "^ *(ringing|audio|settled) *(\\+ *",
        pattern!(time),
        " *)?$"
    );

    fn parse(text: &str) -> Result<Self, ValueError> {
        let (event, wait) = text.split_once('+').unwrap_or((text, "0s"));
        let after: fn(Duration) -> Trigger = match event.trim() {
            "ringing" => Trigger::AfterRinging,
            "audio" => Trigger::AfterAudio,
            "settled" => Trigger::AfterSettling,
            "" if text.is_empty() => return Err(ValueError::Empty),
            _ => {
                return Err(ValueError::Malformed("an event of the call"));
            }
        };
        let wait = TimeValue::parse(wait.trim())?;
        Ok(Self(after(wait.0)))
    }
}

impl SubnetValue {
    const EXPECTED: &str = "a private subnet in quotes (RFC 1918, or 100.64.0.0/10 of RFC 6598), such as \"192.168.1.0/24\"";
    const PATTERN: &str = "^(10\\.[0-9]+|172\\.(1[6-9]|2[0-9]|3[01])|192\\.168|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\\.[0-9]+\\.0/24$";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let malformed = || ValueError::Malformed("a subnet");
        let (address, length) = text.split_once('/').ok_or_else(malformed)?;
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        if length != "24" {
            let is_length = length.parse::<u8>().is_ok_and(|length| length <= 32);
            return Err(if is_length {
                ValueError::NotA24
            } else {
                malformed()
            });
        }
        let [a, b, c, _] = address.octets();
        let first = Ipv4Addr::new(a, b, c, 0);
        if address != first {
            return Err(ValueError::NotTheFirst(first));
        }
        let is_shared = a == 100 && (64..128).contains(&b);
        if !address.is_private() && !is_shared {
            return Err(ValueError::NotPrivate);
        }
        Ok(Self(address))
    }
}

/// Lets serde read a value from a TOML string, so that the error it reports carries the place, and
/// gives it a schema.
macro_rules! deserialize_from_text {
    ($($value:ty),*) => {$(
        impl<'de> serde::de::Deserialize<'de> for $value {
            fn deserialize<D: serde::de::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::scenario::value::TextVisitor {
                    expected: <$value>::EXPECTED,
                    parse: <$value>::parse,
                })
            }
        }

        impl schemars::JsonSchema for $value {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($value).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::scenario::schema::of_text(<$value>::EXPECTED, <$value>::PATTERN)
            }
        }
    )*};
}

pub(super) use deserialize_from_text;

/// Patterns of texts that other texts are made of, for schemas. They tell the form; the bounds are for
/// whoever reads the text.
macro_rules! pattern {
    // Only the last number has decimals.
    (time) => {
        "(([0-9]+h)?([0-9]+m)?([0-9]+s)?[0-9]+(\\.[0-9]+)?ms\
          |([0-9]+h)?([0-9]+m)?[0-9]+(\\.[0-9]+)?s\
          |([0-9]+h)?[0-9]+(\\.[0-9]+)?m\
          |[0-9]+(\\.[0-9]+)?h)"
    };
    (delay) => {
        "(([0-9]+s)?([0-9]+ms)?[0-9]+(\\.[0-9]+)?us\
          |([0-9]+s)?[0-9]+(\\.[0-9]+)?ms\
          |[0-9]+(\\.[0-9]+)?s)"
    };
    (share) => {
        "[0-9]+(\\.[0-9]{1,4})?%"
    };
}

pub(super) use pattern;

deserialize_from_text!(DelayValue, TimeValue, ShareValue, TriggerValue, SubnetValue);

/// The value of type `T` with this name.
///
/// # Errors
///
/// What `T` says where it has no such name.
pub(super) fn named<'de, T: Deserialize<'de>>(name: &'de str) -> Result<T, PlainError> {
    T::deserialize(StrDeserializer::new(name))
}

/// One of the names that `T` has. Unlike `T` itself it says which ones when it meets a number or a
/// table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<T>(pub(super) T);

/// The names that `T` has, in its order.
pub(super) fn names_of<T: for<'de> Deserialize<'de>>() -> Vec<String> {
    let refusal = refusal_of::<T>();
    let names = refusal.split_once(", expected ").map(|(_, names)| names);
    let quoted = names.unwrap_or_default().split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// What `T` says to a name that it does not have. The derived implementation lists the names only when
/// it is given a wrong one.
fn refusal_of<'de, T: Deserialize<'de>>() -> String {
    let refusal = T::deserialize(StrDeserializer::<PlainError>::new("")).err();
    refusal.map(|error| error.to_string()).unwrap_or_default()
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ChoiceVisitor(PhantomData))
    }
}

struct ChoiceVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ChoiceVisitor<T> {
    type Value = Choice<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refusal = refusal_of::<T>();
        let names = refusal.split_once(", expected ").map(|(_, names)| names);
        formatter.write_str(names.unwrap_or("a name in quotes"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Choice<T>, E> {
        T::deserialize(StrDeserializer::new(text)).map(Choice)
    }
}

pub(super) struct TextVisitor<T> {
    pub(super) expected: &'static str,
    pub(super) parse: fn(&str) -> Result<T, ValueError>,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text)
            .map_err(|error| E::custom(format!("{error}, expected {}", self.expected)))
    }
}

fn parse_exact(text: &str) -> Result<Duration, ValueError> {
    let malformed = || ValueError::Malformed("a duration");
    let mut rest = refuse_empty_or_negative(text)?;
    let mut total = Duration::ZERO;
    let mut smallest = None;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(end_of(rest, |c| c.is_ascii_digit() || c == '.'));
        let (unit, after) = after.split_at(end_of(after, |c| c.is_ascii_alphabetic()));
        let unit = match unit {
            "h" => Duration::from_hours(1),
            "m" => Duration::from_mins(1),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            "us" => Duration::from_micros(1),
            // Understood only to say that they are too fine.
            "ns" => Duration::from_nanos(1),
            "" if after.is_empty() => return Err(ValueError::NoUnit),
            _ => return Err(malformed()),
        };
        let is_last = after.is_empty();
        if smallest.is_some_and(|smallest| unit >= smallest) || (number.contains('.') && !is_last) {
            return Err(malformed());
        }
        let part = multiply(number, unit).ok_or_else(malformed)?;
        total = total.checked_add(part).ok_or_else(malformed)?;
        smallest = Some(unit);
        rest = after;
    }
    Ok(total)
}

pub(super) fn refuse_empty_or_negative(text: &str) -> Result<&str, ValueError> {
    if text.trim().is_empty() {
        return Err(ValueError::Empty);
    }
    if text.starts_with(['-', '−']) {
        return Err(ValueError::Negative);
    }
    Ok(text)
}

fn end_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// `number` × `unit` without rounding; `None` where the number is malformed, overflows, or is
/// finer than a nanosecond.
fn multiply(number: &str, unit: Duration) -> Option<Duration> {
    let nanoseconds = u64::try_from(unit.as_nanos()).ok()?;
    parse_scaled(number, nanoseconds).map(Duration::from_nanos)
}

/// A number with or without decimals × `size`, without rounding; `None` where it is malformed,
/// overflows, or is no whole number.
pub(super) fn parse_scaled(number: &str, size: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let scale = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let digits = |part: &str| {
        let valid = !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        valid.then(|| part.parse::<u128>().ok()).flatten()
    };
    let scaled = digits(whole)?
        .checked_mul(scale)?
        .checked_add(digits(decimals)?)?;
    let product = scaled.checked_mul(u128::from(size))?;
    if product % scale != 0 {
        return None;
    }
    u64::try_from(product / scale).ok()
}

fn whole_milliseconds(duration: Duration) -> Result<Duration, ValueError> {
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(ValueError::TooFine);
    }
    Ok(duration)
}

pub(super) fn at_most(duration: Duration, most: Duration) -> Result<Duration, ValueError> {
    if duration > most {
        return Err(ValueError::TooLong(most));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(text: &str) -> Option<u128> {
        parse_duration(text)
            .ok()
            .map(|duration| duration.as_millis())
    }

    #[test]
    fn durations_are_read_in_every_form_the_reference_names() {
        assert_eq!(milliseconds("80ms"), Some(80));
        assert_eq!(milliseconds("1.5s"), Some(1500));
        assert_eq!(milliseconds("1m30s"), Some(90_000));
        assert_eq!(milliseconds("1h2m3s4ms"), Some(3_723_004));
        assert_eq!(milliseconds("0s"), Some(0));
        assert_eq!(milliseconds("0.25m"), Some(15_000));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", " ", "5", "s", "5 s", "1s1m", "1s1s", "1.5m3s", "1.s", ".5s", "1.2.3s", "५s",
        ] {
            assert!(
                parse_duration(text).is_err(),
                "{text:?} was read as a duration"
            );
        }
        assert_eq!(parse_duration("-5ms"), Err(ValueError::Negative));
        assert_eq!(parse_duration("1.5ms"), Err(ValueError::TooFine));
        assert_eq!(parse_duration("80"), Err(ValueError::NoUnit));
        let huge = format!("{}h", "9".repeat(60));
        assert!(parse_duration(&huge).is_err());
    }

    #[test]
    fn a_written_duration_reads_back_as_itself() {
        for text in ["0s", "1ms", "999ms", "1s", "1m30s", "1h", "2h3m4s5ms"] {
            let duration = parse_duration(text).expect("each text is a duration");
            assert_eq!(format_duration(duration), text);
        }
    }

    #[test]
    fn percentages_are_exact() {
        let parts = |text| parse_percentage(text).map(Probability::parts_per_million);
        assert_eq!(parts("0%"), Ok(0));
        assert_eq!(parts("5%"), Ok(50_000));
        assert_eq!(parts("0.0001%"), Ok(1));
        assert_eq!(parts("100%"), Ok(1_000_000));
        for text in [
            "",
            "%",
            "5",
            "5.%",
            ".5%",
            "100.0001%",
            "130%",
            "-1%",
            "0.00001%",
            "1e2%",
        ] {
            assert!(parts(text).is_err(), "{text:?} was read as a percentage");
        }
    }

    #[test]
    fn a_trigger_names_its_event_and_its_wait() {
        let trigger = |text| TriggerValue::parse(text).map(|value| value.0);
        let second = Duration::from_secs(1);
        assert_eq!(trigger("ringing + 1s"), Ok(Trigger::AfterRinging(second)));
        assert_eq!(trigger("audio+1s"), Ok(Trigger::AfterAudio(second)));
        assert_eq!(trigger("audio"), Ok(Trigger::AfterAudio(Duration::ZERO)));
        assert!(trigger("silence + 1s").is_err());
        assert!(trigger("audio + ").is_err());
    }

    #[test]
    fn a_subnet_is_private_and_whole() {
        let subnet = |text| SubnetValue::parse(text).map(|value| value.0);
        let first = Ipv4Addr::new(192, 168, 1, 0);
        assert_eq!(subnet("192.168.1.0/24"), Ok(first));
        assert!(subnet("10.1.2.0/24").is_ok() && subnet("100.64.7.0/24").is_ok());
        assert_eq!(subnet("192.168.1.0/16"), Err(ValueError::NotA24));
        assert_eq!(
            subnet("192.168.1.7/24"),
            Err(ValueError::NotTheFirst(first))
        );
        assert_eq!(subnet("203.0.113.0/24"), Err(ValueError::NotPrivate));
        assert_eq!(subnet("100.128.0.0/24"), Err(ValueError::NotPrivate));
        for text in [
            "",
            "192.168.1.0",
            "192.168.1/24",
            "192.168.1.0/x",
            "fd00::/24",
        ] {
            assert!(subnet(text).is_err());
        }
    }
}
