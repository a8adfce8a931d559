//! What a packet is about, in a few words.

use serde::Serialize;

use crate::check::datagram::{
    BINDING, CHANNEL_BIND, Class, DATA, Datagram, SEND, Stun, USE_CANDIDATE, USERNAME, is_report,
};
use crate::net::flow::Protocol;
use crate::trace::PacketSummary;

/// What arrows are filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Topic {
    /// Messages between the peers, and the connections that carry them.
    Signaling,
    /// Connectivity checks of ICE and their answers.
    Checks,
    /// What servers are asked: addresses, allocations, permissions, channels.
    Turn,
    /// Handshakes of DTLS.
    Dtls,
    /// Audio and its reports.
    Media,
}

/// What a packet is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    /// What it is filtered by.
    pub(crate) topic: Topic,
    /// What it is.
    pub(crate) label: String,
    /// How much of it a page shows.
    #[serde(skip)]
    pub(crate) weight: Weight,
}

/// How much of a packet a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// An arrow.
    Shown,
    /// An arrow only where it was dropped.
    Carrier,
    /// A part of a bar.
    Audio,
}

/// The TCP flags, as [`TcpSummary`](crate::trace::event::TcpSummary) has them.
const SYN: u8 = 1;
const ACK: u8 = 1 << 1;
const FIN: u8 = 1 << 2;
const RST: u8 = 1 << 3;

/// The content types of DTLS records (RFC 6347 section 4.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DTLS_HEADER_BYTES: usize = 13;

const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const CREATE_PERMISSION: u16 = 0x008;
const ERROR_CODE: u16 = 0x0009;

impl Content {
    /// Reads a packet. `of_turn` says that the TCP connection leads to a TURN server.
    pub(crate) fn of(packet: &PacketSummary, stream: Stream) -> Self {
        match packet.protocol {
            Protocol::Udp => Self::of_datagram(&packet.payload),
            Protocol::Tcp => Self::of_segment(packet, stream),
        }
    }

    fn of_segment(packet: &PacketSummary, stream: Stream) -> Self {
        let topic = match stream {
            Stream::Turn => Topic::Turn,
            Stream::Signaling => Topic::Signaling,
        };
        let flags = packet.tcp.flags;
        let label = if flags & RST != 0 {
            "TCP reset"
        } else if flags & SYN != 0 && flags & ACK != 0 {
            "TCP accepted"
        } else if flags & SYN != 0 {
            "TCP connect"
        } else if flags & FIN != 0 {
            "TCP close"
        } else if stream == Stream::Turn && !packet.payload.is_empty() {
            return Self::of_datagram(&packet.payload);
        } else if packet.payload.is_empty() {
            return Self::new(topic, "TCP acknowledgment", Weight::Carrier);
        } else {
            return Self::new(topic, "TCP segment", Weight::Carrier);
        };
        Self::new(topic, label, Weight::Shown)
    }

    fn of_datagram(payload: &[u8]) -> Self {
        let datagram = Datagram::read(payload);
        let carried = datagram.carried();
        let via = if carried == datagram { "" } else { " via TURN" };
        match carried {
            Datagram::Media if is_report(Datagram::content(payload)) => {
                Self::new(Topic::Media, format!("SRTCP{via}"), Weight::Audio)
            }
            Datagram::Media => Self::new(Topic::Media, format!("SRTP{via}"), Weight::Audio),
            Datagram::Dtls => {
                let flight = flight(Datagram::content(payload));
                Self::new(Topic::Dtls, format!("DTLS {flight}{via}"), Weight::Shown)
            }
            Datagram::Stun(message) => Self::of_stun(&message, via),
            Datagram::Channel { .. } => Self::new(Topic::Turn, "channel data", Weight::Shown),
            Datagram::Other if payload.is_empty() => {
                Self::new(Topic::Turn, "empty datagram", Weight::Shown)
            }
            Datagram::Other => Self::new(Topic::Turn, "datagram", Weight::Shown),
        }
    }

    fn of_stun(message: &Stun<'_>, via: &str) -> Self {
        let by_ice = message.attribute(USERNAME).is_some();
        let checks = |label: &str| Self::new(Topic::Checks, format!("{label}{via}"), Weight::Shown);
        let datagram = Datagram::Stun(*message);
        match (message.method, message.class) {
            (BINDING, Class::Request) if message.attribute(USE_CANDIDATE).is_some() => {
                return checks("check nominates");
            }
            (BINDING, Class::Request) if by_ice => return checks("check"),
            (BINDING, Class::Success) if datagram.is_answer_to_check() => {
                return checks("check answered");
            }
            (BINDING, Class::Error) => {
                return checks(&format!("check refused {}", error_code(message)));
            }
            (BINDING, Class::Indication) => return checks("keepalive"),
            _ => {}
        }
        let name = match message.method {
            BINDING => "STUN binding",
            ALLOCATE => "Allocate",
            REFRESH => "Refresh",
            CREATE_PERMISSION => "CreatePermission",
            CHANNEL_BIND => "ChannelBind",
            SEND => "Send",
            DATA => "Data",
            _ => "STUN message",
        };
        let label = match message.class {
            Class::Request | Class::Indication => name.to_owned(),
            Class::Success => format!("{name} granted"),
            Class::Error => format!("{name} refused {}", error_code(message)),
        };
        Self::new(Topic::Turn, label, Weight::Shown)
    }

    fn new(topic: Topic, label: impl Into<String>, weight: Weight) -> Self {
        Self {
            topic,
            label: label.into(),
            weight,
        }
    }
}

/// Whose TCP connection a segment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// That of a client to its TURN server.
    Turn,
    /// Any other.
    Signaling,
}

/// The class and number of an error (RFC 8489 section 14.8).
fn error_code(message: &Stun<'_>) -> String {
    match message.attribute(ERROR_CODE) {
        Some([_, _, class, number, ..]) => {
            (u16::from(class & 7) * 100 + u16::from(*number)).to_string()
        }
        _ => String::new(),
    }
}

/// The messages in the records of a datagram, by their names, as far as they are not encrypted.
fn flight(datagram: &[u8]) -> String {
    let mut names: Vec<&'static str> = Vec::new();
    let mut rest = datagram;
    while let Some((header, after)) = rest.split_at_checked(DTLS_HEADER_BYTES) {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let is_encrypted = header[3..5] != [0, 0];
        let body = after.get(..length).unwrap_or(after);
        let name = match header[0] {
            CHANGE_CIPHER_SPEC => "ChangeCipherSpec",
            HANDSHAKE if is_encrypted => "Finished",
            ALERT if is_encrypted => "alert",
            ALERT => match body.get(1) {
                Some(0) => "close",
                _ => "alert",
            },
            HANDSHAKE => handshake_name(body.first().copied()),
            _ => "data",
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
        rest = after.get(length..).unwrap_or_default();
    }
    match names.as_slice() {
        [] => "record".to_owned(),
        [first] => (*first).to_owned(),
        [first, .., last] => format!("{first} … {last}"),
    }
}

/// The names of handshake messages (RFC 5246 section 7.4, RFC 6347 section 4.3.2).
fn handshake_name(kind: Option<u8>) -> &'static str {
    match kind {
        Some(1) => "ClientHello",
        Some(2) => "ServerHello",
        Some(3) => "HelloVerifyRequest",
        Some(11) => "Certificate",
        Some(12) => "ServerKeyExchange",
        Some(13) => "CertificateRequest",
        Some(14) => "ServerHelloDone",
        Some(15) => "CertificateVerify",
        Some(16) => "ClientKeyExchange",
        Some(20) => "Finished",
        _ => "handshake",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::datagram;
    use super::*;

    #[track_caller]
    fn check(payload: &[u8], topic: Topic, label: &str) {
        let packet = datagram("192.0.2.1:1", "192.0.2.2:2", payload);
        let content = Content::of(&packet, Stream::Signaling);
        assert_eq!((content.topic, content.label.as_str()), (topic, label));
    }

    /// A record of DTLS with this type, epoch and body.
    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).expect("a short body");
        let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0, 0, length];
        record.extend(body);
        record
    }

    /// A STUN message of this type with one attribute.
    fn message(kind: u16, attribute: u16, value: [u8; 4]) -> Vec<u8> {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend([0, 8, 0x21, 0x12, 0xa4, 0x42]);
        message.extend([7; 12]);
        message.extend(attribute.to_be_bytes());
        message.extend([0, 4]);
        message.extend(value);
        message
    }

    #[test]
    fn flights_of_dtls_are_called_by_their_first_and_last_message() {
        check(&record(22, 0, &[1]), Topic::Dtls, "DTLS ClientHello");
        let mut flight = record(22, 0, &[2]);
        flight.extend(record(22, 0, &[11]));
        flight.extend(record(22, 0, &[14]));
        check(&flight, Topic::Dtls, "DTLS ServerHello … ServerHelloDone");
        let mut last = record(20, 0, &[1]);
        last.extend(record(22, 1, &[9, 9]));
        check(&last, Topic::Dtls, "DTLS ChangeCipherSpec … Finished");
    }

    #[test]
    fn a_record_that_is_cut_short_has_a_name_too() {
        check(&[22, 254, 253], Topic::Dtls, "DTLS record");
        check(&record(22, 0, &[1])[..13], Topic::Dtls, "DTLS handshake");
    }

    #[test]
    fn audio_is_told_from_its_reports() {
        check(&[0x80, 111, 0, 1], Topic::Media, "SRTP");
        check(&[0x80, 200, 0, 1], Topic::Media, "SRTCP");
    }

    #[test]
    fn checks_are_told_from_what_servers_are_asked() {
        check(&message(0x0001, USERNAME, *b"a:bc"), Topic::Checks, "check");
        check(
            &message(0x0001, 0x8022, *b"soft"),
            Topic::Turn,
            "STUN binding",
        );
        check(
            &message(0x0001, USE_CANDIDATE, [0; 4]),
            Topic::Checks,
            "check nominates",
        );
    }

    #[test]
    fn a_refusal_has_its_number() {
        let refused = message(0x0113, ERROR_CODE, [0, 0, 4, 1]);
        check(&refused, Topic::Turn, "Allocate refused 401");
    }
}
