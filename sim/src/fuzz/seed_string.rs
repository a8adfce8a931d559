//! A whole run in one word: `rt1-…` holds the scenario, the seed and the client's name.
//!
//! It fits into a chat message or the title of an issue, and whoever has the program sees the same
//! failure. After the prefix, which has the version of the format, stand these bytes in base64url (RFC
//! 4648 section 5) without padding:
//!
//! | bytes | what they hold |
//! |---|---|
//! | 4 | the first bytes of the SHA-256 of all that follows |
//! | 1-4 | how many bytes follow, as below |
//! | 1-10 | the seed, in groups of seven bits, least first, the high bit where another follows |
//! | 1 + n | the length of the client's name, and the name; no name means the client that ships |
//! | rest | the scenario without comments, deflated (RFC 1951) with the dictionary below |
//!
//! The dictionary belongs to the version: a change to it makes every string unreadable that there is.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use toml::{Table, Value};

use super::canonical::{self, Spacing};
use crate::scenario::model::ClientName;
use crate::scenario::{InvalidScenario, Scenario, TONES};
use crate::seed::Seed;

/// What every string of this version begins with.
pub const PREFIX: &str = "rt1-";

/// The longest string, in bytes: longer ones are better kept in a file.
pub const LONGEST_STRING: usize = 64 * 1024;

/// The longest scenario that a string can hold, in bytes. It bounds what a hostile string can make of
/// itself, since deflated text can grow a thousandfold.
pub const LONGEST_SCENARIO: usize = 256 * 1024;

/// The longest name of a client, in bytes.
const LONGEST_CLIENT: usize = 64;

const CHECKSUM_BYTES: usize = 4;

/// What scenarios are made of, the most frequent last, where deflate needs the fewest bits for it.
const DICTIONARY: &[u8] = include_bytes!("seed_string/dictionary-1.txt");

/// A scenario, a seed and a client.
///
/// ```
/// use ringtrue_sim::fuzz::seed_string::SeedString;
/// use ringtrue_sim::scenario::model::ClientName;
/// use ringtrue_sim::seed::Seed;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = "about = \"Two talk.\"\n[network.a]\n[peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"a\"\n";
/// let case = SeedString::new(text, Seed::new(17), ClientName::production())?;
/// let word = case.to_string();
/// assert!(word.starts_with("rt1-"));
/// let again: SeedString = word.parse()?;
/// assert_eq!(again.seed(), Seed::new(17));
/// assert_eq!(again.scenario()?.about, "Two talk.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedString {
    text: String,
    seed: Seed,
    client: ClientName,
}

/// Why a run cannot be written as a string.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnwritableError {
    /// The text is no TOML.
    #[error("the scenario is no TOML: {0}")]
    NotToml(String),
    /// A peer plays what is in a file, and a string holds no files.
    #[error(
        "peer.{peer}.plays = {file:?}: a string holds no files, so that only these can be played: {}",
        TONES.map(|(tone, _)| tone).join(", ")
    )]
    OtherTone {
        /// Who plays it.
        peer: String,
        /// The file.
        file: String,
    },
    /// The scenario, or the string that it makes, is too long.
    #[error("the {what} is {length} bytes long, and at most {most} fit into a string")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it is, in bytes.
        length: usize,
        /// How long it can be.
        most: usize,
    },
}

/// Why a text is no such string.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnreadableError {
    /// It does not begin as one.
    #[error("this is no seed string: one begins with {PREFIX}")]
    NoPrefix,
    /// It was written by a program that has another format.
    #[error("this seed string has the version {found}, and this program reads {PREFIX} only")]
    OtherVersion {
        /// What it begins with.
        found: String,
    },
    /// It is longer than any.
    #[error("the seed string has {length} characters, and none has more than {LONGEST_STRING}")]
    TooLong {
        /// How many characters it has.
        length: usize,
    },
    /// A character that no string has.
    #[error(
        "the seed string has {character:?} at character {position}, where only letters, digits, - and _ can be"
    )]
    BadCharacter {
        /// The character.
        character: char,
        /// Its place, counted from 1.
        position: usize,
    },
    /// The end is missing.
    #[error("the end of the seed string is missing: {found} bytes of {expected} are there")]
    Truncated {
        /// How many bytes there are.
        found: usize,
        /// How many there should be; at least, where even that is cut off.
        expected: usize,
    },
    /// Some of it was changed.
    #[error("the seed string was changed on its way: its checksum is wrong")]
    Garbled,
    /// The checksum is right and the content is not, so no version of this program has written it.
    #[error("the seed string holds no run: {0}")]
    Malformed(&'static str),
}

impl SeedString {
    /// A run of the scenario in `text` with this seed and client. Comments are left out.
    ///
    /// # Errors
    ///
    /// [`UnwritableError`]. Whether the text is a valid scenario is not looked at.
    pub fn new(text: &str, seed: Seed, client: ClientName) -> Result<Self, UnwritableError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| UnwritableError::NotToml(error.message().into()))?;
        check_tones(&table)?;
        let text = canonical::write(&table, Spacing::Tight);
        check_length("scenario", text.len(), LONGEST_SCENARIO)?;
        check_length("client's name", client.0.len(), LONGEST_CLIENT)?;
        let case = Self { text, seed, client };
        check_length("string", case.to_string().len(), LONGEST_STRING)?;
        Ok(case)
    }

    /// Whether `text` is meant to be such a string, of whatever version, rather than a file's name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        let version = text
            .strip_prefix("rt")
            .and_then(|rest| rest.split_once('-'));
        version.is_some_and(|(version, _)| {
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
        })
    }

    /// The text of the scenario.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The seed of the run.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The client that is run.
    #[must_use]
    pub fn client(&self) -> &ClientName {
        &self.client
    }

    /// The scenario, which is called `seed-string`, and whose path is the string, so that reports
    /// say how to see the run again.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, which another version of the program may have understood.
    pub fn scenario(&self) -> Result<Scenario, InvalidScenario> {
        let mut scenario = Scenario::parse_alone(Path::new("seed-string"), &self.text)?;
        scenario.path = self.to_string().into();
        Ok(scenario)
    }
}

impl fmt::Display for SeedString {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut content = Vec::new();
        write_number(&mut content, self.seed.number());
        let client = match &self.client {
            client if *client == ClientName::production() => "",
            ClientName(name) => name,
        };
        content.push(u8::try_from(client.len()).expect("`new` bounds the name"));
        content.extend_from_slice(client.as_bytes());
        content.extend(deflate(self.text.as_bytes()));
        let mut summed = Vec::new();
        write_number(&mut summed, content.len() as u64);
        summed.extend(content);
        let mut bytes = checksum(&summed).to_vec();
        bytes.extend(summed);
        write!(formatter, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for SeedString {
    type Err = UnreadableError;

    fn from_str(text: &str) -> Result<Self, UnreadableError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(match text.split_once('-') {
                Some((found, _)) if Self::is_meant(text) => UnreadableError::OtherVersion {
                    found: found.to_owned(),
                },
                _ => UnreadableError::NoPrefix,
            });
        };
        if text.len() > LONGEST_STRING {
            let length = text.len();
            return Err(UnreadableError::TooLong { length });
        }
        let bytes = decode(encoded)?;
        let content = Reader(verified(&bytes)?);
        Self::read(content)
    }
}

impl SeedString {
    fn read(mut content: Reader<'_>) -> Result<Self, UnreadableError> {
        const MALFORMED: UnreadableError = UnreadableError::Malformed("its seed or client is cut");
        let seed = content.number().ok_or(MALFORMED)?;
        let length = content.byte().ok_or(MALFORMED)?;
        let client = content.take(length.into()).ok_or(MALFORMED)?;
        let client = std::str::from_utf8(client)
            .map_err(|_| UnreadableError::Malformed("the client's name is no text"))?;
        let text = inflate(content.0)?;
        let text = String::from_utf8(text)
            .map_err(|_| UnreadableError::Malformed("the scenario is no text"))?;
        let client = match client {
            "" => ClientName::production(),
            name => ClientName(name.to_owned()),
        };
        let seed = Seed::new(seed);
        Ok(Self { text, seed, client })
    }
}

fn check_length(what: &'static str, length: usize, most: usize) -> Result<(), UnwritableError> {
    if length > most {
        return Err(UnwritableError::TooLong { what, length, most });
    }
    Ok(())
}

/// Refuses what a peer plays that is not part of the program.
fn check_tones(table: &Table) -> Result<(), UnwritableError> {
    let peers = table.get("peer").and_then(Value::as_table);
    for (peer, keys) in peers.into_iter().flatten() {
        let plays = keys.get("plays").and_then(Value::as_str);
        if let Some(file) = plays.filter(|file| TONES.iter().all(|(tone, _)| tone != file)) {
            let (peer, file) = (peer.clone(), file.to_owned());
            return Err(UnwritableError::OtherTone { peer, file });
        }
    }
    Ok(())
}

/// The bytes of base64url text, however many bits its last character has too many.
fn decode(encoded: &str) -> Result<Vec<u8>, UnreadableError> {
    // Text that was cut off can end at any character: that it was is said by its length.
    let lenient = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        NO_PAD.with_decode_allow_trailing_bits(true),
    );
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if let Some((index, character)) = encoded.chars().enumerate().find(|(_, c)| !valid(*c)) {
        let position = PREFIX.len() + index + 1;
        return Err(UnreadableError::BadCharacter {
            character,
            position,
        });
    }
    let whole = match encoded.len() % 4 {
        1 => &encoded[..encoded.len() - 1],
        _ => encoded,
    };
    lenient
        .decode(whole)
        .map_err(|_| UnreadableError::Malformed("it is no base64url"))
}

/// What follows the checksum and the length, where both are right.
fn verified(bytes: &[u8]) -> Result<&[u8], UnreadableError> {
    let truncated = |expected| UnreadableError::Truncated {
        found: bytes.len(),
        expected,
    };
    let Some((sum, summed)) = bytes.split_at_checked(CHECKSUM_BYTES) else {
        return Err(truncated(CHECKSUM_BYTES + 1));
    };
    if sum == checksum(summed) {
        let mut reader = Reader(summed);
        let length = reader.number().map(usize::try_from);
        return match length {
            Some(Ok(length)) if length == reader.0.len() => Ok(reader.0),
            _ => Err(UnreadableError::Malformed("its length is wrong")),
        };
    }
    let mut reader = Reader(summed);
    let Some(length) = reader.number() else {
        return Err(truncated(bytes.len() + 1));
    };
    let there = reader.0.len();
    match usize::try_from(length) {
        // A length that no string has was changed itself.
        Ok(length) if length > there && length <= LONGEST_STRING => {
            Err(truncated(bytes.len() - there + length))
        }
        _ => Err(UnreadableError::Garbled),
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let [first, second, third, fourth, ..] = hash;
    [first, second, third, fourth]
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number as [`write_number`] writes it; `None` where it is cut, or has over 64 bits.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if low > u64::MAX >> shift {
                return None;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut state = Compress::new(Compression::best(), false);
    state
        .set_dictionary(DICTIONARY)
        .expect("a fresh raw stream takes a dictionary");
    let mut deflated = Vec::with_capacity(text.len() / 2 + 64);
    loop {
        let done = usize::try_from(state.total_in()).expect("a text fits into memory");
        let status = state
            .compress_vec(&text[done..], &mut deflated, FlushCompress::Finish)
            .expect("the stream is used in order");
        if status == Status::StreamEnd {
            return deflated;
        }
        deflated.reserve(deflated.len().max(64));
    }
}

/// Never more than [`LONGEST_SCENARIO`] bytes.
fn inflate(deflated: &[u8]) -> Result<Vec<u8>, UnreadableError> {
    let malformed = |_| UnreadableError::Malformed("the scenario is not deflated text");
    let mut state = Decompress::new(false);
    state.set_dictionary(DICTIONARY).map_err(malformed)?;
    let mut text = Vec::with_capacity(LONGEST_SCENARIO);
    let status = state
        .decompress_vec(deflated, &mut text, FlushDecompress::Finish)
        .map_err(malformed)?;
    match status {
        Status::StreamEnd if state.total_in() == deflated.len() as u64 => Ok(text),
        Status::StreamEnd => Err(UnreadableError::Malformed("something follows the scenario")),
        _ if text.len() >= LONGEST_SCENARIO => Err(UnreadableError::Malformed(
            "the scenario is longer than any that fits into a string",
        )),
        _ => Err(UnreadableError::Malformed("the scenario has no end")),
    }
}

#[cfg(test)]
mod tests;
