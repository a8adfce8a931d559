//! Which failures are the same: a class for each report that failed, by which many are counted.
//!
//! Two runs fail for the same cause where their most telling failures are of one kind and say the same
//! once everything is taken out that belongs to the case alone: names, addresses, times, numbers.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::de::value::{Error as PlainError, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::report::{Failure, FailureCause, Report};
use crate::scenario::Scenario;

/// A number, with its unit where it has one.
const NUMBER: &str = "N";
const PEER: &str = "PEER";
const NETWORK: &str = "NETWORK";
const SCENARIO: &str = "SCENARIO";
const ADDRESS: &str = "ADDRESS";
/// What tells one thing from another, such as a call's number in hexadecimal digits.
const IDENTITY: &str = "ID";
const PLACEHOLDERS: [&str; 6] = [NUMBER, PEER, NETWORK, SCENARIO, ADDRESS, IDENTITY];

/// Words after a number that belong to it.
const UNITS: [&str; 11] = [
    "ns", "µs", "us", "ms", "s", "min", "m", "h", "%", "bytes", "B",
];

/// Words before what tells one thing from another, where that is in quotes or after an equals sign: such a
/// text can be any.
const IDENTIFIED: [&str; 6] = ["generation", "ufrag", "pwd", "call", "id", "sid"];

/// A text of hexadecimal digits from this length on is an identity, where it has a digit.
const LEAST_IDENTITY: usize = 8;

/// Messages are cut to this many characters: what is different that late tells no bugs apart.
const LONGEST: usize = 200;

/// Why a run failed, without what belongs to the single case.
///
/// As a text, also in JSON, it is one line: `wrong-outcome: expected audio both ways, and …`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    kind: FailureCause,
    what: String,
}

/// Why a text is no cause.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no cause of a failure: allowed is KIND: MESSAGE{reason}")]
pub struct CauseError {
    text: String,
    reason: String,
}

impl Cause {
    /// Why the run of `scenario` failed: the class of its most telling failure. `None` where it
    /// passed.
    #[must_use]
    pub fn of(scenario: &Scenario, report: &Report) -> Option<Self> {
        most_telling(&report.failures).map(|failure| Self::of_failure(scenario, failure))
    }

    /// The class of one failure of a run of `scenario`.
    #[must_use]
    pub fn of_failure(scenario: &Scenario, failure: &Failure) -> Self {
        Self {
            kind: failure.cause,
            what: generalized(scenario, told(failure)),
        }
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> FailureCause {
        self.kind
    }

    /// What the failures of this class say, with placeholders in capitals.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The longest part of the message that every failure of this class has, without the space around
    /// it. Empty where there is none.
    #[must_use]
    pub fn common_part(&self) -> &str {
        let mut longest = "";
        let mut begin = 0;
        let cut = self.what.strip_suffix('…').unwrap_or(&self.what);
        for (start, word) in words(cut).chain([(cut.len(), "")]) {
            let is_end = word.is_empty();
            if is_end || PLACEHOLDERS.contains(&word) {
                let part = cut[begin..start].trim();
                if part.len() > longest.len() {
                    longest = part;
                }
                begin = start + word.len();
            }
        }
        longest
    }
}

/// Of several failures of one run the one that says most about the bug: what must never be comes
/// before what came out wrong, and that before what merely follows from it. The first of equals.
#[must_use]
pub fn most_telling(failures: &[Failure]) -> Option<&Failure> {
    let ranked = failures.iter().enumerate();
    let best = ranked.max_by_key(|(index, failure)| (telling(failure.cause), Reverse(*index)));
    best.map(|(_, failure)| failure)
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.what)
    }
}

impl FromStr for Cause {
    type Err = CauseError;

    fn from_str(text: &str) -> Result<Self, CauseError> {
        let refused = |reason| CauseError {
            text: text.to_owned(),
            reason,
        };
        let (kind, what) = text
            .split_once(": ")
            .ok_or_else(|| refused(String::new()))?;
        let kind = FailureCause::deserialize(StrDeserializer::<PlainError>::new(kind))
            .map_err(|error| refused(format!(" ({error})")))?;
        Ok(Self {
            kind,
            what: what.to_owned(),
        })
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How much a failure of this kind says about the bug; more is more.
fn telling(cause: FailureCause) -> u8 {
    use FailureCause as Kind;
    match cause {
        Kind::NotStarted | Kind::ForeignThread | Kind::Panic => 9,
        Kind::NoConsent
        | Kind::MessageDoubled
        | Kind::CandidateRepeated
        | Kind::CandidateLost
        | Kind::IllegalState
        | Kind::MediaToOthers
        | Kind::AddressLeaked
        | Kind::IceRuleBroken => 8,
        Kind::ErrorLogged => 7,
        Kind::OneWayAudio => 6,
        Kind::Stalled => 5,
        Kind::WrongOutcome | Kind::WrongCause | Kind::AudioNotKept => 4,
        Kind::WrongPath | Kind::WrongCandidate | Kind::TooLate => 3,
        Kind::LeftRunning | Kind::SocketsLeft | Kind::AllocationsLeft | Kind::RetryMistimed => 2,
        // Both say that the call did not go as the scenario thought, which something else may explain.
        Kind::ScriptNotFinished => 1,
        Kind::FaultWithoutEffect => 0,
    }
}

/// What a failure's message says of the bug. Where a client names why it found no way, that ends with
/// what the one side saw that was the first to give up, and which side that is is a race.
fn told(failure: &Failure) -> &str {
    let message = &failure.message;
    match failure.cause {
        FailureCause::WrongOutcome | FailureCause::WrongCause | FailureCause::AudioNotKept => {
            let what = message.split("; ").next().unwrap_or(message);
            what.split(": local ").next().unwrap_or(what)
        }
        _ => message,
    }
}

/// `message` in one line without what belongs to the case.
fn generalized(scenario: &Scenario, message: &str) -> String {
    let mut general = String::new();
    let mut end = 0;
    let mut after_number = false;
    let mut before = "";
    for (start, word) in words(message) {
        let between = &message[end..start];
        end = start + word.len();
        // The unit goes with its number, and so does what else a span of time is written as.
        let goes_with_number = after_number && between.trim().is_empty();
        if goes_with_number && UNITS.contains(&word) {
            continue;
        }
        let is_identity = IDENTIFIED.contains(&before) && between.contains(['=', '"']);
        let general_word = if is_identity {
            IDENTITY.to_owned()
        } else {
            general_word(scenario, word)
        };
        before = word;
        let is_number = general_word == NUMBER;
        if !(goes_with_number && is_number) {
            general.push_str(between);
            general.push_str(&general_word);
        }
        after_number = is_number;
    }
    general.push_str(&message[end..]);
    shortened(&general)
}

/// One line of at most [`LONGEST`] characters, the last of which is an ellipsis where more followed.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// The words of a text with their places. A word is what numbers, names, addresses and paths are made
/// of, without the punctuation at its end.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let belongs = |c: char| c.is_alphanumeric() || "._-:/%[]".contains(c);
    let mut rest_at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(rest_at..).filter(|rest| !rest.is_empty())?;
            let start = rest_at + rest.find(belongs)?;
            let length = text[start..].find(|c| !belongs(c));
            let end = length.map_or(text.len(), |length| start + length);
            rest_at = end;
            let word = text[start..end].trim_end_matches(['.', ':', '-', '/']);
            if !word.is_empty() {
                return Some((start, word));
            }
        }
    })
}

fn general_word(scenario: &Scenario, word: &str) -> String {
    let is_user = |name: &str| scenario.peers.values().any(|peer| peer.user == name);
    if scenario.peers.contains_key(word) || is_user(word) {
        return PEER.to_owned();
    }
    if scenario.networks.contains_key(word) {
        return NETWORK.to_owned();
    }
    if word == scenario.name {
        return SCENARIO.to_owned();
    }
    // Where in the source a panic was raised is the same in every case.
    if word.contains(".rs:") || !word.contains(|c: char| c.is_ascii_digit()) {
        return word.to_owned();
    }
    let bare = word.trim_matches(['[', ']']);
    if word.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok() {
        return ADDRESS.to_owned();
    }
    if is_quantity(word) {
        return NUMBER.to_owned();
    }
    let is_hexadecimal = |c: char| c.is_ascii_hexdigit() || c == '-';
    if word.len() >= LEAST_IDENTITY && word.chars().all(is_hexadecimal) {
        return IDENTITY.to_owned();
    }
    without_digits(word)
}

/// A number, a share, a duration such as `1m30s`, or some of them with points, colons and hyphens
/// between.
fn is_quantity(word: &str) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == rest.len() {
            return false;
        }
        let after = after.trim_start_matches(['.', ':']);
        let unit_length = after.find(|c: char| c.is_ascii_digit() || c == '-');
        let (unit, after) = after.split_at(unit_length.unwrap_or(after.len()));
        if !unit.is_empty() && !UNITS.contains(&unit) {
            return false;
        }
        rest = after.trim_start_matches('-');
    }
    true
}

/// The word with each run of digits as one placeholder.
fn without_digits(word: &str) -> String {
    let mut general = String::new();
    for c in word.chars() {
        if !c.is_ascii_digit() {
            general.push(c);
        } else if !general.ends_with(NUMBER) {
            general.push_str(NUMBER);
        }
    }
    general
}

#[cfg(test)]
mod tests;
