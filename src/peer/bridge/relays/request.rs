//! Requests to a TURN server, signed (RFC 8489 section 9.2).

use std::net::SocketAddr;
use std::time::Duration;

use stun::agent::TransactionId;
use stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_REQUEST, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message,
    MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use turn::proto::channum::ChannelNumber;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;

use crate::config::Credentials;

/// What a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Packets of this peer's address, whatever their port, shall pass.
    Permission(SocketAddr),
    /// This channel shall stand for this peer.
    Channel(u16, SocketAddr),
    /// The allocation shall end.
    Release,
}

/// What requests are signed with.
pub(super) struct Login {
    username: String,
    realm: String,
    nonce: String,
    integrity: MessageIntegrity,
}

impl Login {
    /// The login of a request that shows one.
    pub(super) fn of(request: &[u8], credentials: &Credentials) -> Option<Self> {
        let message = decoded(request)?;
        if !message.contains(ATTR_MESSAGE_INTEGRITY) {
            return None;
        }
        let text = |attribute| Some(TextAttribute::get_from_as(&message, attribute).ok()?.text);
        let (username, realm) = (text(ATTR_USERNAME)?, text(ATTR_REALM)?);
        let integrity = MessageIntegrity::new_long_term_integrity(
            username.clone(),
            realm.clone(),
            credentials.password.clone(),
        );
        Some(Self {
            username,
            realm,
            nonce: text(ATTR_NONCE)?,
            integrity,
        })
    }

    /// Takes over the nonce of an answer. Tells whether it is another one, so that asking again may
    /// help (RFC 8489 section 9.2.5).
    pub(super) fn renew(&mut self, answer: &[u8]) -> bool {
        let nonce = decoded(answer)
            .and_then(|message| TextAttribute::get_from_as(&message, ATTR_NONCE).ok());
        let is_new = nonce.filter(|nonce| nonce.text != self.nonce);
        is_new.map(|nonce| self.nonce = nonce.text).is_some()
    }

    /// A new request and its transaction.
    pub(super) fn request(&self, ask: Ask) -> ([u8; 12], Vec<u8>) {
        let peer = |address: SocketAddr| PeerAddress {
            ip: address.ip(),
            port: address.port(),
        };
        let (method, about): (Method, Vec<Box<dyn Setter>>) = match ask {
            Ask::Permission(address) => (METHOD_CREATE_PERMISSION, vec![Box::new(peer(address))]),
            Ask::Channel(number, address) => (
                METHOD_CHANNEL_BIND,
                vec![Box::new(peer(address)), Box::new(ChannelNumber(number))],
            ),
            Ask::Release => (METHOD_REFRESH, vec![Box::new(Lifetime(Duration::ZERO))]),
        };
        let transaction = TransactionId::new();
        let text = |attribute, text: &String| TextAttribute::new(attribute, text.clone());
        let mut setters: Vec<Box<dyn Setter>> = vec![
            Box::new(transaction),
            Box::new(MessageType::new(method, CLASS_REQUEST)),
        ];
        setters.extend(about);
        setters.extend::<[Box<dyn Setter>; 5]>([
            Box::new(text(ATTR_USERNAME, &self.username)),
            Box::new(text(ATTR_REALM, &self.realm)),
            Box::new(text(ATTR_NONCE, &self.nonce)),
            Box::new(self.integrity.clone()),
            Box::new(FINGERPRINT),
        ]);
        let mut message = Message::new();
        message
            .build(&setters)
            .expect("a name, a realm and a nonce that came in a message fit into one");
        (transaction.0, message.raw)
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Login")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

fn decoded(message: &[u8]) -> Option<Message> {
    let mut decoded = Message::new();
    decoded.unmarshal_binary(message).ok()?;
    Some(decoded)
}
