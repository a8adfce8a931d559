//! As much of STUN (RFC 8489) as the bridge reads and writes itself.

use std::net::SocketAddr;
use std::time::Duration;

use stun::agent::TransactionId;
use stun::attributes::{ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_USE_CANDIDATE, ATTR_XOR_PEER_ADDRESS};
use stun::error_code::{
    CODE_ALLOC_MISMATCH, CODE_STALE_NONCE, CODE_UNAUTHORIZED, ErrorCode, ErrorCodeAttribute,
};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter,
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_DATA,
    METHOD_REFRESH, METHOD_SEND, Message, MessageClass, MessageType, Method, Setter, is_message,
};
use stun::xoraddr::XorMappedAddress;
use turn::proto::data::Data;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;

/// The code of the responses that end a transaction on this host: server error (RFC 8489 section
/// 14.8).
const REFUSED: u16 = 500;

/// The first 20 bytes of a STUN message (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    class: MessageClass,
    method: Method,
    /// Ties a response to its request.
    pub(super) transaction: TransactionId,
}

impl Header {
    /// Reads the header, if `payload` is a STUN message.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        if !is_message(payload) {
            return None;
        }
        let [high, low, ..] = *payload else {
            return None;
        };
        // The two highest bits are zero in STUN and set in nothing else that shares a socket with
        // it (RFC 7983 section 7).
        if high & 0xc0 != 0 {
            return None;
        }
        let mut kind = MessageType::default();
        kind.read_value(u16::from_be_bytes([high, low]));
        let mut transaction = TransactionId::default();
        transaction.0.copy_from_slice(payload.get(8..20)?);
        Some(Self {
            class: kind.class,
            method: kind.method,
            transaction,
        })
    }

    pub(super) fn is_request(&self) -> bool {
        self.class == CLASS_REQUEST
    }

    pub(super) fn is_binding_request(&self) -> bool {
        self.is_request() && self.method == METHOD_BINDING
    }

    /// Whether it asks for a channel of a TURN allocation.
    pub(super) fn is_channel_bind_request(&self) -> bool {
        self.is_request() && self.method == METHOD_CHANNEL_BIND
    }

    /// Whether it asks a TURN server to let a peer's packets pass.
    pub(super) fn is_create_permission_request(&self) -> bool {
        self.is_request() && self.method == METHOD_CREATE_PERMISSION
    }

    /// Whether it is for or from a peer behind a TURN server.
    pub(super) fn is_relayed_data(&self) -> bool {
        self.class == CLASS_INDICATION && [METHOD_SEND, METHOD_DATA].contains(&self.method)
    }

    /// Whether it grants what was asked for.
    pub(super) fn is_success(&self) -> bool {
        self.class == CLASS_SUCCESS_RESPONSE
    }

    /// Whether it tells an address as it is seen outside.
    pub(super) fn is_binding_success(&self) -> bool {
        self.class == CLASS_SUCCESS_RESPONSE && self.method == METHOD_BINDING
    }

    /// Whether it asks for a TURN allocation.
    pub(super) fn is_allocate_request(&self) -> bool {
        self.is_request() && self.method == METHOD_ALLOCATE
    }

    /// Whether it grants a TURN allocation.
    pub(super) fn is_allocate_success(&self) -> bool {
        self.class == CLASS_SUCCESS_RESPONSE && self.method == METHOD_ALLOCATE
    }

    /// Whether it refuses a TURN allocation.
    pub(super) fn is_allocate_error(&self) -> bool {
        self.class == CLASS_ERROR_RESPONSE && self.method == METHOD_ALLOCATE
    }

    /// Whether it refreshes, or with lifetime zero releases, a TURN allocation.
    pub(super) fn is_refresh_request(&self) -> bool {
        self.is_request() && self.method == METHOD_REFRESH
    }

    pub(super) fn is_response(&self) -> bool {
        self.class == CLASS_SUCCESS_RESPONSE || self.class == CLASS_ERROR_RESPONSE
    }

    pub(super) fn is_binding_indication(&self) -> bool {
        self.class == CLASS_INDICATION && self.method == METHOD_BINDING
    }

    /// The success response that a request of TURN without a result of its own gets.
    pub(super) fn grant(&self) -> Vec<u8> {
        build(&[
            Box::new(self.transaction),
            Box::new(MessageType::new(self.method, CLASS_SUCCESS_RESPONSE)),
        ])
    }

    /// The error response that makes the sender of this request give up at once.
    pub(super) fn refusal(&self) -> Vec<u8> {
        build(&[
            Box::new(self.transaction),
            Box::new(MessageType::new(self.method, CLASS_ERROR_RESPONSE)),
            Box::new(ErrorCodeAttribute {
                code: ErrorCode(REFUSED),
                reason: b"refused on this host".to_vec(),
            }),
        ])
    }
}

/// What a TURN server is to pass on to `peer` (RFC 8656 section 11.1).
pub(super) fn send_indication(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    build(&[
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(METHOD_SEND, CLASS_INDICATION)),
        Box::new(PeerAddress {
            ip: peer.ip(),
            port: peer.port(),
        }),
        Box::new(Data(data.to_vec())),
    ])
}

/// A Binding indication: keeps a NAT binding alive and asks for no answer (RFC 8445 section 11).
pub(super) fn binding_indication() -> Vec<u8> {
    build(&[
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(METHOD_BINDING, CLASS_INDICATION)),
        Box::new(FINGERPRINT),
    ])
}

fn build(setters: &[Box<dyn Setter>]) -> Vec<u8> {
    let mut message = Message::new();
    message
        .build(setters)
        .expect("a header and fixed short attributes always fit");
    message.raw
}

/// The channel that a request is about (RFC 8656 section 18.1); `None` where it names none.
pub(super) fn channel_number(request: &[u8]) -> Option<u16> {
    let value = decoded(request)?.get(ATTR_CHANNEL_NUMBER).ok()?;
    let number = value.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*number))
}

/// Whether a server says that there is an allocation already, or none (RFC 8656 section 19).
pub(super) fn is_mismatch(response: &[u8]) -> bool {
    error_code(response) == Some(CODE_ALLOC_MISMATCH)
}

/// Whether a server asks to be asked again, with what it says (RFC 8489 section 9.2.5).
pub(super) fn is_challenge(response: &[u8]) -> bool {
    matches!(
        error_code(response),
        Some(CODE_UNAUTHORIZED | CODE_STALE_NONCE)
    )
}

fn error_code(response: &[u8]) -> Option<ErrorCode> {
    let mut code = ErrorCodeAttribute::default();
    code.get_from(&decoded(response)?).ok()?;
    Some(code.code)
}

/// The peers that a message of TURN is about (RFC 8656 section 18.3).
pub(super) fn peers(message: &[u8]) -> Vec<SocketAddr> {
    let Some(message) = decoded(message) else {
        return Vec::new();
    };
    let attributes = message.attributes.0.iter();
    let peers = attributes.filter(|each| each.typ == ATTR_XOR_PEER_ADDRESS);
    peers
        .filter_map(|each| {
            let mut alone = Message::new();
            alone.transaction_id = message.transaction_id;
            alone.add(ATTR_XOR_PEER_ADDRESS, &each.value);
            let mut address = XorMappedAddress::default();
            address.get_from_as(&alone, ATTR_XOR_PEER_ADDRESS).ok()?;
            Some(SocketAddr::new(address.ip, address.port))
        })
        .collect()
}

/// How long a request wants an allocation to live (RFC 8656 section 18.2).
pub(super) fn lifetime(request: &[u8]) -> Option<Duration> {
    let mut lifetime = Lifetime::default();
    lifetime.get_from(&decoded(request)?).ok()?;
    Some(lifetime.0)
}

/// What a TURN server passes on, or is to.
pub(super) fn relayed_data(indication: &[u8]) -> Option<Vec<u8>> {
    decoded(indication)?.get(ATTR_DATA).ok()
}

/// Whether a check nominates its pair (RFC 8445 section 7.1.2).
pub(super) fn nominates(check: &[u8]) -> bool {
    decoded(check).is_some_and(|check| check.contains(ATTR_USE_CANDIDATE))
}

/// Whether a message between agents is signed with this password (RFC 8489 section 9.1.4).
pub(super) fn is_signed(message: &[u8], password: &str) -> bool {
    let integrity = MessageIntegrity::new_short_term_integrity(password.to_owned());
    decoded(message).is_some_and(|mut message| integrity.check(&mut message).is_ok())
}

fn decoded(message: &[u8]) -> Option<Message> {
    let mut decoded = Message::new();
    decoded.unmarshal_binary(message).ok()?;
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use stun::message::BINDING_REQUEST;

    use super::*;

    #[test]
    fn a_refusal_answers_its_request() {
        let request = build(&[Box::new(TransactionId([7; 12])), Box::new(BINDING_REQUEST)]);
        let header = Header::read(&request).expect("a STUN message");
        assert!(header.is_binding_request());
        let refusal = Header::read(&header.refusal()).expect("a STUN message");
        assert!(refusal.is_response());
        assert_eq!(refusal.transaction, header.transaction);
    }

    #[test]
    fn indications_are_told_from_media() {
        let indication = binding_indication();
        assert!(Header::read(&indication).is_some_and(|header| header.is_binding_indication()));
        assert_eq!(Header::read(&[0x80; 40]), None);
        assert_eq!(Header::read(&[]), None);
    }
}
