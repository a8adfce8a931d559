//! As much of STUN (RFC 8489) as the bridge reads and writes itself.

use stun::agent::TransactionId;
use stun::attributes::ATTR_CHANNEL_NUMBER;
use stun::error_code::{ErrorCode, ErrorCodeAttribute};
use stun::fingerprint::FINGERPRINT;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE,
    METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_REFRESH, Message, MessageClass, MessageType,
    Method, Setter, is_message,
};

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
    let mut message = Message::new();
    message.unmarshal_binary(request).ok()?;
    let value = message.get(ATTR_CHANNEL_NUMBER).ok()?;
    let number = value.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*number))
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
