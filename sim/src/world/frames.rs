//! Where the frames of a signaling connection begin and end (pure).
//!
//! One frame is an HTTP message, or after the upgrade a WebSocket frame (RFC 6455 section 5.2).
//! Where TLS hides both, each of its records is one (RFC 8446 section 5.1). What can be read as none
//! of these begins a frame that never ends.

use crate::trace::Purpose;

/// The longest head that is taken for one.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The length of the head of a TLS record.
const RECORD_HEAD_BYTES: usize = 5;
/// The content types of TLS records (RFC 8446 section 5.1). No HTTP message begins with one.
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// Reads one direction of a connection.
#[derive(Debug, Default)]
pub struct FrameReader {
    protocol: Protocol,
    state: State,
    /// What is there of the head that is being read.
    head: Vec<u8>,
    /// What the last request was for.
    purpose: Option<Purpose>,
}

/// The beginning or the end of a frame, at an offset in the bytes that were read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The byte at this offset is the first one of a frame.
    Begin(usize),
    /// The byte before this offset is the last one of a frame.
    End(usize),
    /// From this offset on the frames are those of a WebSocket.
    Upgrade(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Protocol {
    #[default]
    Http,
    WebSocket,
    Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Between two frames, or in the head of one.
    #[default]
    Head,
    Body {
        left: u64,
    },
    ChunkHead,
    /// The line break after a chunk counts as a part of it.
    Chunk {
        left: u64,
    },
    Trailer,
    Endless,
}

impl FrameReader {
    /// Reads what follows, and tells the edges in it in their order.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let protocol = self.protocol;
            match &mut self.state {
                State::Endless => break,
                State::Body { left } | State::Chunk { left } if *left > 0 => {
                    let rest = (bytes.len() - at) as u64;
                    let taken = rest.min(*left);
                    *left -= taken;
                    // It is no more than the bytes that there are.
                    at += usize::try_from(taken).unwrap_or(bytes.len());
                }
                State::Body { .. } | State::Chunk { .. } => {}
                State::Head | State::ChunkHead | State::Trailer => {
                    if self.state == State::Head && self.head.is_empty() {
                        edges.push(Edge::Begin(at));
                        self.recognize(bytes[at]);
                    }
                    self.head.push(bytes[at]);
                    at += 1;
                    self.look_at_head();
                }
            }
            if self.advance() {
                edges.push(Edge::End(at));
                if self.is_upgraded() && protocol == Protocol::Http {
                    edges.push(Edge::Upgrade(at));
                }
            }
        }
        edges
    }

    /// What the last request was for; `None` where none was read.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.purpose
    }

    /// Whether the stream has left HTTP for the WebSocket protocol.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        self.protocol == Protocol::WebSocket
    }

    /// The other direction was switched to the WebSocket protocol, and so is this one from here on.
    pub fn upgrade(&mut self) {
        self.protocol = Protocol::WebSocket;
    }

    fn recognize(&mut self, first: u8) {
        if self.protocol == Protocol::Http && RECORD_TYPES.contains(&first) {
            self.protocol = Protocol::Tls;
        }
    }

    /// Goes on to what follows a part that is over. `true` where the frame is.
    fn advance(&mut self) -> bool {
        match self.state {
            State::Body { left: 0 } => {
                self.state = State::Head;
                true
            }
            State::Chunk { left: 0 } => {
                self.state = State::ChunkHead;
                false
            }
            _ => false,
        }
    }

    /// Decides on what follows, once the head is whole.
    fn look_at_head(&mut self) {
        let next = match (self.state, self.protocol) {
            (State::ChunkHead, _) => self.head.ends_with(b"\r\n").then(|| chunk(&self.head)),
            (State::Trailer, _) => match self.head.as_slice() {
                b"\r\n" => Some(State::Body { left: 0 }),
                line => line.ends_with(b"\r\n").then_some(State::Trailer),
            },
            (_, Protocol::Http) => self.look_at_http_head(),
            (_, Protocol::WebSocket) => websocket_body_bytes(&self.head).map(body),
            (_, Protocol::Tls) => (self.head.len() == RECORD_HEAD_BYTES).then(|| {
                let length = u16::from_be_bytes([self.head[3], self.head[4]]);
                body(u64::from(length))
            }),
        };
        if let Some(next) = next {
            self.head.clear();
            self.state = next;
        } else if self.head.len() > HEAD_BYTES_MAX {
            self.state = State::Endless;
        }
    }

    fn look_at_http_head(&mut self) -> Option<State> {
        if !self.head.ends_with(b"\r\n\r\n") {
            return None;
        }
        let Ok(head) = std::str::from_utf8(&self.head) else {
            return Some(State::Endless);
        };
        let status = status_of(head);
        if status == Some(101) {
            self.protocol = Protocol::WebSocket;
        }
        self.purpose = match status {
            None => Some(purpose_of(head)),
            Some(_) => None,
        };
        Some(http_body(head, status))
    }
}

fn body(left: u64) -> State {
    State::Body { left }
}

/// What follows the head of an HTTP message (RFC 9112 section 6.3).
fn http_body(head: &str, status: Option<u16>) -> State {
    let field = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let value = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
        value.map(|(_, value)| value.trim())
    };
    if matches!(status, Some(100..=199 | 204 | 304)) {
        return body(0);
    }
    if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return State::ChunkHead;
    }
    match (field("content-length").map(str::parse), status) {
        (Some(Ok(length)), _) => body(length),
        (None, None) => body(0),
        // It ends where the connection does, or nobody knows where.
        (Some(Err(_)) | None, _) => State::Endless,
    }
}

/// The status of a response; `None` for a request.
fn status_of(head: &str) -> Option<u16> {
    let rest = head.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// What the request with this head is for, as the query of Engine.IO says it.
fn purpose_of(head: &str) -> Purpose {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let has = |key: &str| target.split(['?', '&']).any(|pair| pair.starts_with(key));
    match (has("transport=websocket"), has("sid=")) {
        (true, false) => Purpose::WebSocket,
        (true, true) => Purpose::Upgrade,
        (false, _) => Purpose::Polling,
    }
}

/// What follows the line with a chunk's length (RFC 9112 section 7.1).
fn chunk(line: &[u8]) -> State {
    let text = String::from_utf8_lossy(line);
    let digits = text.split(';').next().unwrap_or_default().trim();
    match u64::from_str_radix(digits, 16) {
        Ok(0) => State::Trailer,
        Ok(length) => State::Chunk {
            left: length.saturating_add(2),
        },
        Err(_) => State::Endless,
    }
}

/// How long the payload of a WebSocket frame is, once its head is whole.
fn websocket_body_bytes(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + extended + mask {
        return None;
    }
    let short = u64::from(second & 0x7f);
    let length = head[2..2 + extended].iter();
    Some(match extended {
        0 => short,
        _ => length.fold(0, |length, byte| length << 8 | u64::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /x?sid=1 HTTP/1.1\r\nHost: h\r\n\r\n";
    const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    /// How long the frames are that `parts` together hold, however they are cut into reads.
    #[track_caller]
    fn check(reader: impl Fn() -> FrameReader, stream: &[u8], lengths: &[usize]) {
        for size in [1, 2, 7, stream.len()] {
            let mut reader = reader();
            let (mut offset, mut begun, mut found) = (0, None, Vec::new());
            for part in stream.chunks(size) {
                for edge in reader.read(part) {
                    match edge {
                        Edge::Begin(at) => begun = Some(offset + at),
                        Edge::End(at) => found.push(offset + at - begun.expect("it has begun")),
                        Edge::Upgrade(_) => assert!(reader.is_upgraded()),
                    }
                }
                offset += part.len();
            }
            assert_eq!(found, lengths, "in reads of {size}");
        }
    }

    fn websocket() -> FrameReader {
        let mut reader = FrameReader::default();
        reader.upgrade();
        reader
    }

    #[test]
    fn http_messages_end_as_their_heads_say() {
        let post = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
        let stream = [REQUEST, post.as_slice(), REQUEST].concat();
        let lengths = [REQUEST.len(), post.len(), REQUEST.len()];
        check(FrameReader::default, &stream, &lengths);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x=y\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        let stream = [chunked.as_slice(), empty, chunked].concat();
        let lengths = [chunked.len(), empty.len(), chunked.len()];
        check(FrameReader::default, &stream, &lengths);
    }

    #[test]
    fn a_response_without_a_length_ends_with_its_connection() {
        let stream = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        check(FrameReader::default, stream, &[]);
    }

    #[test]
    fn websocket_frames_follow_the_upgrade() {
        let short = [0x81, 3, b'a', b'b', b'c'];
        let masked = [0x81, 0x82, 1, 2, 3, 4, b'a', b'b'];
        let medium = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let long = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![7; 65_536]].concat();
        let frames: [&[u8]; 4] = [&short, &masked, &medium, &long];
        let lengths = frames.map(<[u8]>::len);
        check(websocket, &frames.concat(), &lengths);
        let stream = [UPGRADE, short.as_slice()].concat();
        check(FrameReader::default, &stream, &[UPGRADE.len(), 5]);
    }

    #[test]
    fn only_the_answer_tells_whether_a_connection_is_upgraded() {
        let mut reader = FrameReader::default();
        let _edges = reader.read(REQUEST);
        assert!(!reader.is_upgraded());
        let edges = reader.read(UPGRADE);
        assert!(reader.is_upgraded());
        assert_eq!(edges.last(), Some(&Edge::Upgrade(UPGRADE.len())));
    }

    #[test]
    fn a_request_tells_what_its_connection_is_for() {
        let purpose = |query: &str| {
            let mut reader = FrameReader::default();
            let request = format!("GET /socket.io/?EIO=4&{query} HTTP/1.1\r\n\r\n");
            let _edges = reader.read(request.as_bytes());
            reader.purpose()
        };
        assert_eq!(purpose("transport=polling&sid=1"), Some(Purpose::Polling));
        assert_eq!(purpose("transport=websocket"), Some(Purpose::WebSocket));
        let upgrade = purpose("sid=1&transport=websocket");
        assert_eq!(upgrade, Some(Purpose::Upgrade));
    }

    #[test]
    fn what_is_encrypted_has_records_for_frames() {
        let hello = [22, 3, 1, 0, 3, 1, 2, 3];
        let data = [23, 3, 3, 0, 2, 9, 9];
        let stream = [hello.as_slice(), &data].concat();
        check(FrameReader::default, &stream, &[8, 7]);
    }
}
