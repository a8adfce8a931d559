//! What is in a datagram, as far as the checkers need it (pure).
//!
//! Written from the RFCs and not with the libraries that the client uses: a checker that shared their
//! code would share their mistakes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The methods of STUN and TURN that are told apart (RFC 8656 section 17).
pub const BINDING: u16 = 0x001;
/// See [`BINDING`].
pub const SEND: u16 = 0x006;
/// See [`BINDING`].
pub const DATA: u16 = 0x007;
/// See [`BINDING`].
pub const CHANNEL_BIND: u16 = 0x009;

/// The attributes of a check that are looked for (RFC 8489 section 14, RFC 8445 section 16.1).
pub const USERNAME: u16 = 0x0006;
/// See [`USERNAME`].
pub const PRIORITY: u16 = 0x0024;
/// See [`USERNAME`].
pub const USE_CANDIDATE: u16 = 0x0025;
/// See [`USERNAME`].
pub const ICE_CONTROLLED: u16 = 0x8029;
/// See [`USERNAME`].
pub const ICE_CONTROLLING: u16 = 0x802a;

const MESSAGE_INTEGRITY: u16 = 0x0008;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA_ATTRIBUTE: u16 = 0x0013;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A datagram by the protocol that it is of (RFC 7983 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// STUN or TURN.
    Stun(Stun<'a>),
    /// A DTLS record or several.
    Dtls,
    /// SRTP or SRTCP.
    Media,
    /// What goes over a channel of a TURN allocation (RFC 8656 section 12.4).
    Channel {
        /// The channel.
        number: u16,
        /// What goes over it.
        data: &'a [u8],
    },
    /// Anything else.
    Other,
}

/// What a datagram has in it for somebody behind a relay.
enum Load<'a> {
    /// It is not for a relay.
    Own,
    /// This.
    Carried(&'a [u8]),
    /// Nothing, though it is for a relay.
    Nothing,
}

/// What kind of STUN message it is (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks.
    Request,
    /// Asks for no answer.
    Indication,
    /// Grants.
    Success,
    /// Refuses.
    Error,
}

/// A STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stun<'a> {
    /// Its class.
    pub class: Class,
    /// Its method.
    pub method: u16,
    /// Ties an answer to its request.
    pub transaction: [u8; 12],
    attributes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a datagram.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Self {
        match payload.first() {
            Some(0..=3) => Stun::read(payload).map_or(Self::Other, Self::Stun),
            Some(20..=63) => Self::Dtls,
            Some(64..=79) => channel(payload).unwrap_or(Self::Other),
            Some(128..=191) => Self::Media,
            _ => Self::Other,
        }
    }

    /// What a relay carries in it, or the datagram itself where it is not for a relay.
    #[must_use]
    pub fn carried(self) -> Self {
        match self.load() {
            Load::Own => self,
            Load::Carried(data) => Self::read(data),
            Load::Nothing => Self::Other,
        }
    }

    /// The bytes that a relay carries in a datagram, or all of them where it is not for a relay.
    #[must_use]
    pub fn content(payload: &'a [u8]) -> &'a [u8] {
        match Self::read(payload).load() {
            Load::Own => payload,
            Load::Carried(data) => data,
            Load::Nothing => &[],
        }
    }

    fn load(&self) -> Load<'a> {
        match self {
            Self::Channel { data, .. } => Load::Carried(data),
            Self::Stun(message) if [SEND, DATA].contains(&message.method) => {
                let data = message.attribute(DATA_ATTRIBUTE);
                data.map_or(Load::Nothing, Load::Carried)
            }
            _ => Load::Own,
        }
    }

    /// Whether it is a check of ICE: a Binding request with a user name (RFC 8445 section 7.2.2).
    #[must_use]
    pub fn is_check(&self) -> bool {
        matches!(self, Self::Stun(message) if message.class == Class::Request
            && message.method == BINDING
            && message.attribute(USERNAME).is_some())
    }

    /// Whether it answers a check of ICE: the success response of one who knows the password, which
    /// a STUN server does not.
    #[must_use]
    pub fn is_answer_to_check(&self) -> bool {
        matches!(self, Self::Stun(message) if message.class == Class::Success
            && message.method == BINDING
            && message.attribute(MESSAGE_INTEGRITY).is_some())
    }
}

impl<'a> Stun<'a> {
    /// The peer that a relay is told of, or tells of.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.address(XOR_PEER_ADDRESS)
    }

    /// The address that a relay has granted.
    #[must_use]
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.address(XOR_RELAYED_ADDRESS)
    }

    /// The channel that it is about.
    #[must_use]
    pub fn channel(&self) -> Option<u16> {
        let value = self.attribute(CHANNEL_NUMBER)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*value))
    }

    fn read(payload: &'a [u8]) -> Option<Self> {
        let (header, rest) = payload.split_at_checked(HEADER_BYTES)?;
        if header[4..8] != MAGIC_COOKIE {
            return None;
        }
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let class = match (kind >> 4 & 1, kind >> 8 & 1) {
            (0, 0) => Class::Request,
            (1, 0) => Class::Indication,
            (0, _) => Class::Success,
            _ => Class::Error,
        };
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        Some(Self {
            class,
            method: kind & 0xf | kind >> 1 & 0x70 | kind >> 2 & 0xf80,
            transaction: header[8..20].try_into().ok()?,
            attributes: rest.get(..length)?,
        })
    }

    /// The value of the first attribute of this type.
    #[must_use]
    pub fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        loop {
            let (header, after) = rest.split_at_checked(4)?;
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let value = after.get(..length)?;
            if u16::from_be_bytes([header[0], header[1]]) == wanted {
                return Some(value);
            }
            rest = after.get(length.next_multiple_of(4)..)?;
        }
    }

    /// An address that is hidden from gateways which rewrite all that looks like one (RFC 8489 section
    /// 14.2).
    fn address(&self, wanted: u16) -> Option<SocketAddr> {
        let (header, address) = self.attribute(wanted)?.split_at_checked(4)?;
        let port = u16::from_be_bytes([header[2], header[3]])
            ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
        let mask = MAGIC_COOKIE.iter().chain(&self.transaction);
        let plain: Vec<u8> = address
            .iter()
            .zip(mask)
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        let ip = match header[1] {
            1 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?)),
            2 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// Whether media is RTCP, whose packet types stand where RTP has a marker and a payload type (RFC 5761
/// section 4).
#[must_use]
pub fn is_report(media: &[u8]) -> bool {
    matches!(media.get(1), Some(192..=223))
}

fn channel(payload: &[u8]) -> Option<Datagram<'_>> {
    let (header, rest) = payload.split_at_checked(4)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    Some(Datagram::Channel {
        number: u16::from_be_bytes([header[0], header[1]]),
        data: rest.get(..length)?,
    })
}

#[cfg(test)]
mod tests {
    use stun::agent::TransactionId;
    use stun::attributes::{ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS};
    use stun::integrity::MessageIntegrity;
    use stun::message::{
        BINDING_REQUEST, BINDING_SUCCESS, CLASS_INDICATION, METHOD_SEND, Message, MessageType,
        Setter,
    };
    use stun::textattrs::TextAttribute;
    use stun::xoraddr::XorMappedAddress;

    use super::*;

    fn built(setters: &[Box<dyn Setter>]) -> Vec<u8> {
        let mut message = Message::new();
        message.build(setters).expect("a short message");
        message.raw
    }

    fn check() -> Vec<u8> {
        built(&[
            Box::new(TransactionId([7; 12])),
            Box::new(BINDING_REQUEST),
            Box::new(TextAttribute::new(ATTR_USERNAME, "there:here".into())),
        ])
    }

    #[test]
    fn checks_and_their_answers_are_told_from_what_servers_are_asked() {
        let answer = built(&[
            Box::new(TransactionId([7; 12])),
            Box::new(BINDING_SUCCESS),
            Box::new(MessageIntegrity(vec![1; 16])),
        ]);
        let asked = built(&[Box::new(TransactionId([7; 12])), Box::new(BINDING_REQUEST)]);
        let told = built(&[Box::new(TransactionId([7; 12])), Box::new(BINDING_SUCCESS)]);
        assert!(Datagram::read(&check()).is_check());
        assert!(Datagram::read(&answer).is_answer_to_check());
        for other in [asked, told] {
            let datagram = Datagram::read(&other);
            assert!(!datagram.is_check() && !datagram.is_answer_to_check());
        }
    }

    #[test]
    fn what_a_relay_carries_is_found_in_both_forms() {
        let mut peer = Message::new();
        peer.transaction_id = TransactionId([7; 12]);
        peer.build(&[
            Box::new(TransactionId([7; 12])),
            Box::new(MessageType::new(METHOD_SEND, CLASS_INDICATION)),
        ])
        .expect("a header");
        let address = XorMappedAddress {
            ip: [192, 0, 2, 9].into(),
            port: 5000,
        };
        address
            .add_to_as(&mut peer, ATTR_XOR_PEER_ADDRESS)
            .expect("an address fits");
        peer.add(stun::attributes::ATTR_DATA, &check());
        let Datagram::Stun(message) = Datagram::read(&peer.raw) else {
            panic!("a STUN message");
        };
        assert_eq!(message.peer(), Some(([192, 0, 2, 9], 5000).into()));
        assert_eq!((message.class, message.method), (Class::Indication, SEND));
        assert!(Datagram::read(&peer.raw).carried().is_check());

        let mut channel = vec![0x40, 0x01, 0, 3];
        channel.extend([0x80, 1, 2]);
        let read = Datagram::read(&channel);
        assert!(matches!(read, Datagram::Channel { number: 0x4001, .. }));
        assert_eq!(read.carried(), Datagram::Media);
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let whole = check();
        for length in 0..whole.len() {
            assert!(!Datagram::read(&whole[..length]).is_check(), "{length}");
        }
        assert_eq!(Datagram::read(&[0x40, 1, 0, 9, 1]), Datagram::Other);
    }
}
