//! What a scripted server has seen and done, each with its virtual time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One thing that happened on a TCP connection of the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Virtual time.
    pub(crate) at: Duration,
    /// Which connection, counted from 1 in the order in which they were accepted.
    pub(crate) connection: u64,
    pub(crate) what: Seen,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    /// The connection was accepted.
    Accepted,
    /// TLS did not come up, for this reason.
    Refused(String),
    /// A whole request arrived.
    Request(Request),
    /// A response was written, with this status. 101 begins a WebSocket.
    Answered(u16),
    /// Bytes that are no response were written.
    Garbage(usize),
    /// A WebSocket message arrived.
    In(Message),
    /// A WebSocket message was written.
    Out(Message),
    /// The connection is over.
    Closed(Ending),
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// The names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// A WebSocket message, or a packet of Engine.IO, which is one over either transport.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong,
    Close,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client has closed it.
    ClientClosed,
    /// The client has reset it, or it was cut.
    Reset,
    /// The server has closed it.
    ServerClosed,
}

/// All entries, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record(pub(crate) Vec<Entry>);

impl Request {
    pub(crate) fn sid(&self) -> Option<&str> {
        self.query.get("sid").map(String::as_str)
    }

    pub(crate) fn transport(&self) -> Option<&str> {
        self.query.get("transport").map(String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Record {
    /// Every request, with its time and its connection.
    pub(crate) fn requests(&self) -> Vec<(Duration, u64, &Request)> {
        let requests = self.0.iter().filter_map(|entry| match &entry.what {
            Seen::Request(request) => Some((entry.at, entry.connection, request)),
            _ => None,
        });
        requests.collect()
    }

    /// The handshakes: requests without a session, oldest first.
    pub(crate) fn handshakes(&self) -> Vec<(Duration, &Request)> {
        let requests = self.requests().into_iter();
        requests
            .filter(|(_, _, request)| request.sid().is_none())
            .map(|(at, _, request)| (at, request))
            .collect()
    }

    /// Every Engine.IO packet of the client, over whichever transport, oldest first.
    pub(crate) fn packets(&self) -> Vec<(Duration, Message)> {
        let mut packets = Vec::new();
        for entry in &self.0 {
            match &entry.what {
                Seen::In(message @ (Message::Text(_) | Message::Binary(_))) => {
                    packets.push((entry.at, message.clone()));
                }
                Seen::Request(request) if request.method == "POST" => {
                    let split = super::session::split(&request.text());
                    packets.extend(split.into_iter().map(|packet| (entry.at, packet)));
                }
                _ => {}
            }
        }
        packets
    }

    /// The text packets of the client that begin so, oldest first.
    pub(crate) fn texts(&self, prefix: &str) -> Vec<(Duration, String)> {
        let packets = self.packets().into_iter();
        packets
            .filter_map(|(at, packet)| match packet {
                Message::Text(text) if text.starts_with(prefix) => Some((at, text)),
                _ => None,
            })
            .collect()
    }

    /// How many requests of a method were unanswered at once, at the most.
    pub(crate) fn in_flight_max(&self, method: &str) -> usize {
        let mut open: BTreeMap<u64, bool> = BTreeMap::new();
        let mut most = 0;
        for entry in &self.0 {
            let unanswered = match &entry.what {
                Seen::Request(request) => request.method == method,
                Seen::Answered(_) | Seen::Garbage(_) | Seen::Closed(_) => false,
                _ => continue,
            };
            open.insert(entry.connection, unanswered);
            most = most.max(open.values().filter(|unanswered| **unanswered).count());
        }
        most
    }

    /// The connections that were accepted before a moment.
    pub(crate) fn connections_before(&self, moment: Duration) -> Vec<u64> {
        let accepted = self.0.iter().filter(|entry| entry.what == Seen::Accepted);
        accepted
            .filter(|entry| entry.at < moment)
            .map(|entry| entry.connection)
            .collect()
    }

    /// How many connections are open now.
    pub(crate) fn open(&self) -> usize {
        let count = |is: fn(&Seen) -> bool| self.0.iter().filter(|entry| is(&entry.what)).count();
        let accepted = count(|what| matches!(what, Seen::Accepted));
        accepted - count(|what| matches!(what, Seen::Closed(_)))
    }

    /// How and when a connection ended; `None` while it has not.
    pub(crate) fn ending(&self, connection: u64) -> Option<(Duration, Ending)> {
        self.0.iter().find_map(|entry| match entry.what {
            Seen::Closed(ending) if entry.connection == connection => Some((entry.at, ending)),
            _ => None,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, connection) = (self.at.as_secs_f64(), self.connection);
        write!(formatter, "{at:10.3}s  server #{connection} {}", self.what)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => formatter.write_str("accepted"),
            Self::Refused(why) => write!(formatter, "no TLS: {why}"),
            Self::Request(request) => {
                let Request { method, path, .. } = request;
                write!(formatter, "← {method} {path} {:?} ", request.query)?;
                write!(formatter, "{:?}", request.text())
            }
            Self::Answered(status) => write!(formatter, "→ {status}"),
            Self::Garbage(bytes) => write!(formatter, "→ {bytes} bytes of something else"),
            Self::In(message) => write!(formatter, "← {message:?}"),
            Self::Out(message) => write!(formatter, "→ {message:?}"),
            Self::Closed(ending) => write!(formatter, "over: {ending:?}"),
        }
    }
}
