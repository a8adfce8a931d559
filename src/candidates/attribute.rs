//! The candidate attribute (RFC 8839 section 5.1): its grammar, read and written.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::redaction;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The prefix that the attribute carries in signaling, as browsers write it.
const PREFIX: &str = "candidate:";

/// The extension that names the generation (RFC 8839 has none, but browsers write it).
const UFRAG: &str = "ufrag";

/// The longest candidate attribute that is read, in bytes. Real ones stay under 200.
const TEXT_BYTES_MAX: usize = 1024;

/// One candidate attribute, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CandidateAttribute {
    /// Groups candidates of the same type, base and server (RFC 8445 section 5.1.1.3).
    pub foundation: String,
    /// 1 for RTP, and with rtcp-mux for everything.
    pub component: u16,
    /// `udp` or `tcp`, in lower case.
    pub transport: String,
    /// The priority (RFC 8445 section 5.1.2).
    pub priority: u32,
    /// An IP address, or a host name such as browsers use to hide addresses.
    pub address: String,
    /// The port of `address`.
    pub port: u16,
    /// How the candidate was found.
    pub kind: CandidateType,
    /// `raddr` and `rport`: the base or mapped address it was derived from.
    pub related: Option<(String, u16)>,
    /// Whatever else the attribute says, as name and value.
    pub extensions: Vec<(String, String)>,
}

/// How a candidate was found (RFC 8445 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CandidateType {
    /// An address of an interface.
    #[serde(rename = "host")]
    Host,
    /// What a STUN server saw.
    #[serde(rename = "srflx")]
    ServerReflexive,
    /// What the other peer saw.
    #[serde(rename = "prflx")]
    PeerReflexive,
    /// An address on a TURN server.
    #[serde(rename = "relay")]
    Relayed,
}

/// What is wrong with a candidate attribute.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CandidateSyntaxError {
    /// Longer than any candidate.
    #[error("candidate has {bytes} bytes, at most {TEXT_BYTES_MAX} are read")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text ends before this field.
    #[error("candidate has no {field}")]
    Missing {
        /// The first field that is missing.
        field: &'static str,
    },
    /// The field is there and cannot be read.
    #[error(
        "candidate has {field} {}, expected {expected}",
        redaction::text(value)
    )]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

impl CandidateType {
    /// The name in the candidate attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }
}

impl fmt::Display for CandidateType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for CandidateType {
    type Err = CandidateSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Host,
            Self::ServerReflexive,
            Self::PeerReflexive,
            Self::Relayed,
        ]
        .into_iter()
        .find(|kind| text.eq_ignore_ascii_case(kind.as_str()))
        .ok_or_else(|| invalid("type", text, "host, srflx, prflx or relay"))
    }
}

impl FromStr for CandidateAttribute {
    type Err = CandidateSyntaxError;

    /// Reads the attribute. The words of the grammar itself may have letters of either case
    /// (RFC 5234 section 2.3), and more than one space is forgiven.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(CandidateSyntaxError::TooLong { bytes: text.len() });
        }
        let text = text.trim_ascii();
        let text = text.strip_prefix("a=").unwrap_or(text);
        let text = match text.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            _ => text,
        };
        let mut words = text.split_ascii_whitespace();
        let mut next = |field| words.next().ok_or(CandidateSyntaxError::Missing { field });

        let foundation = next("foundation")?;
        if foundation.len() > 32 || !foundation.bytes().all(is_ice_char) {
            return Err(invalid("foundation", foundation, "1 to 32 ice-chars"));
        }
        let component: u16 = number(next("component")?, "component", "1 to 256")?;
        if !(1..=256).contains(&component) {
            return Err(invalid("component", &component.to_string(), "1 to 256"));
        }
        let transport = next("transport")?.to_ascii_lowercase();
        let priority = number(next("priority")?, "priority", "0 to 4294967295")?;
        let address = next("address")?.to_owned();
        let port = number(next("port")?, "port", "0 to 65535")?;
        let keyword = next("typ")?;
        if !keyword.eq_ignore_ascii_case("typ") {
            return Err(invalid("keyword", keyword, "typ"));
        }
        let kind = next("type")?.parse()?;

        let mut attribute = Self {
            foundation: foundation.to_owned(),
            component,
            transport,
            priority,
            address,
            port,
            kind,
            related: None,
            extensions: Vec::new(),
        };
        let mut related_address = None;
        while let Some(name) = words.next() {
            let value = words.next().ok_or(CandidateSyntaxError::Missing {
                field: "value of an extension",
            })?;
            match name.to_ascii_lowercase().as_str() {
                "raddr" => related_address = Some(value.to_owned()),
                "rport" => {
                    let port = number(value, "rport", "0 to 65535")?;
                    attribute.related = related_address.take().map(|address| (address, port));
                }
                _ => attribute.extensions.push((name.into(), value.into())),
            }
        }
        Ok(attribute)
    }
}

impl CandidateAttribute {
    /// The user name fragment that the extension of that name gives: the generation it belongs to.
    #[must_use]
    pub fn ufrag(&self) -> Option<&str> {
        let named = self.extensions.iter().find(|(name, _)| name == UFRAG)?;
        Some(&named.1)
    }

    /// What the attribute says of a candidate of a generation that is known, in one form for all
    /// its spellings: addresses as the standard library writes them, extensions in order and
    /// without the generation's name.
    pub(super) fn content(mut self) -> Self {
        self.address = one_spelling(&self.address);
        self.related = self
            .related
            .map(|(address, port)| (one_spelling(&address), port));
        self.extensions.retain(|(name, _)| name != UFRAG);
        self.extensions.sort();
        self
    }
}

impl fmt::Display for CandidateAttribute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{PREFIX}{} {} {} {} {} {} typ {}",
            self.foundation,
            self.component,
            self.transport,
            self.priority,
            self.address,
            self.port,
            self.kind
        )?;
        if let Some((address, port)) = &self.related {
            write!(formatter, " raddr {address} rport {port}")?;
        }
        for (name, value) in &self.extensions {
            write!(formatter, " {name} {value}")?;
        }
        Ok(())
    }
}

/// Whether `byte` is an `ice-char` (RFC 8839 section 5.1).
pub(crate) fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// An address in the one spelling that all of its spellings share (RFC 5952), or a name in lower case.
fn one_spelling(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => address.to_ascii_lowercase(),
    }
}

fn number<T: FromStr>(
    text: &str,
    field: &'static str,
    expected: &'static str,
) -> Result<T, CandidateSyntaxError> {
    text.parse().map_err(|_| invalid(field, text, expected))
}

fn invalid(field: &'static str, value: &str, expected: &'static str) -> CandidateSyntaxError {
    CandidateSyntaxError::Invalid {
        field,
        value: value.chars().take(64).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_browsers_candidate_is_read_and_written_unchanged() {
        let text = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.2 \
                    rport 46154 generation 0 ufrag EEtu network-cost 999";
        let attribute: CandidateAttribute = text.parse().expect("valid candidate");
        assert_eq!(attribute.kind, CandidateType::ServerReflexive);
        assert_eq!(attribute.related, Some(("10.0.0.2".into(), 46154)));
        assert_eq!(attribute.to_string(), text);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<CandidateAttribute>().expect_err("malformed");
        assert_eq!(
            error("candidate:1 1 udp 1"),
            CandidateSyntaxError::Missing { field: "address" }
        );
        assert_eq!(
            error("candidate:1 1 udp 1 192.0.2.1 99999 typ host").to_string(),
            "candidate has port [text], expected 0 to 65535"
        );
    }

    /// A candidate with this foundation.
    fn founded(foundation: &str) -> Result<CandidateAttribute, CandidateSyntaxError> {
        format!("candidate:{foundation} 1 udp 1 192.0.2.1 9 typ host").parse()
    }

    #[test]
    fn a_candidate_of_1024_bytes_is_read_and_a_longer_one_is_not() {
        let read = |bytes: usize| {
            let text = "candidate:1 1 udp 1 192.0.2.1 9 typ host x ";
            format!("{text:y<bytes$}").parse::<CandidateAttribute>()
        };
        assert!(read(1024).is_ok());
        for bytes in [1025, 3000] {
            assert_eq!(read(bytes), Err(CandidateSyntaxError::TooLong { bytes }));
        }
    }

    #[test]
    fn a_foundation_has_32_ice_chars_at_most() {
        assert!(founded(&"+/aZ".repeat(8)).is_ok());
        for foundation in ["a".repeat(33), "b".repeat(40), "a-b".to_owned()] {
            assert_eq!(
                founded(&foundation),
                Err(invalid("foundation", &foundation, "1 to 32 ice-chars"))
            );
        }
    }

    #[test]
    fn the_attribute_is_read_without_its_name_too() {
        let bare = "842163049 1 udp 1 192.0.2.1 9 typ host".parse::<CandidateAttribute>();
        assert_eq!(bare, founded("842163049"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = text.parse::<CandidateAttribute>();
        }

        #[test]
        fn what_is_read_is_written_and_read_the_same(
            text in "candidate:[a-z0-9+/]{1,32} 1 (udp|tcp) [0-9]{1,9} [a-f0-9.:]{1,20} [0-9]{1,4} \
                     typ (host|srflx|prflx|relay)( raddr [0-9.]{1,9} rport [0-9]{1,4})?( [a-z]{1,5} [a-z]{1,5})?"
        ) {
            if let Ok(attribute) = text.parse::<CandidateAttribute>() {
                prop_assert_eq!(attribute.to_string().parse(), Ok(attribute));
            }
        }
    }
}
