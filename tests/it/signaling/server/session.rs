//! One Engine.IO session of a scripted server, and the payloads of polling.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::record::Message;

/// Between two packets of a polling payload.
const SEPARATOR: char = '\u{1e}';
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) struct Session {
    /// What waits for the client.
    pub(super) outbox: VecDeque<Message>,
    /// Rung when something of the session changes.
    pub(super) bell: Arc<Notify>,
    pub(super) carrier: Carrier,
    pub(super) life: Life,
}

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Polling,
    /// Polling, while a WebSocket is probed: requests that wait are answered.
    Probed,
    /// The WebSocket on this connection.
    WebSocket(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Open,
    Over,
}

impl Session {
    pub(super) fn new(carrier: Carrier) -> Self {
        Self {
            outbox: VecDeque::new(),
            bell: Arc::default(),
            carrier,
            life: Life::Open,
        }
    }

    pub(super) fn push(&mut self, packet: Message) {
        self.outbox.push_back(packet);
        self.bell.notify_waiters();
    }

    /// The payload for a polling request, where there is something to say.
    pub(super) fn payload(&mut self) -> Option<String> {
        if self.outbox.is_empty() {
            return (self.carrier == Carrier::Probed).then(|| "6".to_owned());
        }
        let packets: Vec<String> = self
            .outbox
            .drain(..)
            .map(|packet| encode(&packet))
            .collect();
        Some(packets.join(&SEPARATOR.to_string()))
    }
}

/// The packets of a polling payload.
pub(super) fn split(payload: &str) -> Vec<Message> {
    let parts = payload.split(SEPARATOR).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.strip_prefix('b') {
            Some(binary) => Message::Binary(from_base64(binary)),
            None => Message::Text(part.to_owned()),
        })
        .collect()
}

fn encode(packet: &Message) -> String {
    match packet {
        Message::Text(text) => text.clone(),
        Message::Binary(bytes) => format!("b{}", to_base64(bytes)),
        Message::Ping | Message::Pong | Message::Close => {
            unreachable!("these are frames of a WebSocket and no packets")
        }
    }
}

/// The standard alphabet with padding (RFC 4648 section 4). The client's own codec is not used: it is
/// what is tested.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, index| {
            bits << 8 | u32::from(three.get(index).copied().unwrap_or_default())
        });
        for index in 0..4 {
            let character = ALPHABET[(bits >> (18 - 6 * index) & 0x3f) as usize];
            text.push(if index > three.len() {
                '='
            } else {
                character.into()
            });
        }
    }
    text
}

fn from_base64(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .bytes()
        .take_while(|byte| *byte != b'=')
        .map(|byte| {
            let digit = ALPHABET.iter().position(|each| *each == byte);
            u32::try_from(digit.expect("standard base64")).expect("one of 64")
        })
        .collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = (0..4).fold(0, |bits, index| {
            bits << 6 | four.get(index).copied().unwrap_or_default()
        });
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend([first, second, third].into_iter().take(four.len() * 6 / 8));
    }
    bytes
}

#[test]
fn base64_comes_back() {
    for length in 0..9 {
        let bytes: Vec<u8> = (250..=255).chain(0..9).take(length).collect();
        assert_eq!(from_base64(&to_base64(&bytes)), bytes);
    }
    assert_eq!(to_base64(b"ab"), "YWI=");
}
