//! An Engine.IO and Socket.IO server that does what a test says, and everything wrong on purpose.
//!
//! Left alone it behaves: it opens sessions over either transport, moves them to a WebSocket, sends
//! pings and joins namespaces. A test changes what it says in [`Settings`], answers requests and
//! packets in its place, and makes it do things between.

mod connection;
mod http;
mod record;
mod session;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringtrue::net::{Net, StreamListener};
use ringtrue_sim::determinism;
use ringtrue_sim::scenario::model::CertificateKind;
use ringtrue_sim::server::certificate::Authority;
use tokio::sync::{mpsc, watch};

use self::connection::Connection;
use self::record::Entry;
pub(crate) use self::record::{Ending, Message, Record, Request, Seen};
pub(crate) use self::session::to_base64;
use self::session::{Carrier, Life, Session};

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The whole open packet without its type, in place of the fields below. `SID` in it is the
    /// session's number.
    pub(crate) open: Option<String>,
    pub(crate) upgrades: Vec<&'static str>,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) max_payload: Option<u64>,
    pub(crate) pings: Pings,
    /// What follows the namespace in a CONNECT reply, `SID` being a name of the socket; `None`
    /// leaves CONNECT unanswered.
    pub(crate) connect_reply: Option<String>,
    /// What a connection with TLS is shown; `None` leaves its first message unanswered.
    pub(crate) certificate: Option<CertificateKind>,
    /// Whether a WebSocket gets its open packet.
    pub(crate) opening: Opening,
}

/// What a WebSocket without a session gets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Its open packet.
    Usual,
    /// Nothing.
    Withheld,
}

/// When a server sends pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pings {
    Never,
    /// The first one with the open packet, as socketioxide does.
    AtOnce,
    /// The first one after an interval, as Node does.
    AfterInterval,
}

/// What a server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    /// What a good server does.
    Usual,
    /// It answers this.
    Answer(u16, String),
    /// It writes these bytes, and nothing more until the client closes.
    Garbage(Vec<u8>),
    /// It writes the beginning of a usual answer, and closes.
    Torn,
    /// It does nothing until the client closes.
    Stall,
    /// It closes the connection.
    Close,
    /// It does this after a time.
    After(Duration, Box<Reaction>),
}

/// What a server does with a packet of Engine.IO.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// What a good server does.
    Usual,
    /// These packets, and nothing else.
    Packets(Vec<Message>),
    /// These packets after a time, and nothing else.
    After(Duration, Vec<Message>),
}

/// What a connection is told from outside.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Close it.
    Close,
    /// Send a close frame, where it is a WebSocket, and wait for the answer.
    CloseFrame,
    /// Write these bytes as they are.
    Raw(Vec<u8>),
}

/// The handle of a test. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

type OnRequest = Box<dyn FnMut(&Request) -> Reaction + Send>;
type OnPacket = Box<dyn FnMut(&Message) -> Reply + Send>;

struct Shared {
    state: Mutex<State>,
    /// Counts the entries of the record.
    entries: watch::Sender<usize>,
}

struct State {
    settings: Settings,
    on_request: OnRequest,
    on_packet: OnPacket,
    record: Record,
    accepted: u64,
    sessions: BTreeMap<String, Session>,
    opened: u64,
    /// The session that was opened last.
    latest: String,
    joined: u64,
    commands: BTreeMap<u64, mpsc::UnboundedSender<Command>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            open: None,
            upgrades: vec!["websocket"],
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: Some(1_000_000),
            pings: Pings::AfterInterval,
            connect_reply: Some(r#"{"sid":"SID"}"#.to_owned()),
            certificate: Some(CertificateKind::Valid),
            opening: Opening::Usual,
        }
    }
}

impl Message {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        let state = State {
            settings: Settings::default(),
            on_request: Box::new(|_| Reaction::Usual),
            on_packet: Box::new(|_| Reply::Usual),
            record: Record::default(),
            accepted: 0,
            sessions: BTreeMap::new(),
            opened: 0,
            latest: String::new(),
            joined: 0,
            commands: BTreeMap::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            entries: watch::Sender::new(0),
        }))
    }

    /// Changes what the server says of itself, for the sessions that it opens from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// Decides on every request from now on.
    pub(crate) fn on_request(&self, react: impl FnMut(&Request) -> Reaction + Send + 'static) {
        self.lock().on_request = Box::new(react);
    }

    /// Decides on every packet from now on, over whichever transport it comes.
    pub(crate) fn on_packet(&self, reply: impl FnMut(&Message) -> Reply + Send + 'static) {
        self.lock().on_packet = Box::new(reply);
    }

    /// Sends a packet in the session that was opened last.
    pub(crate) fn send(&self, packet: Message) {
        let sid = self.lock().latest.clone();
        self.push(&sid, packet);
    }

    /// Sends a text packet, such as `2` or `42["x"]`, in the session that was opened last.
    pub(crate) fn say(&self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends packets that go together, where they can.
    pub(crate) fn say_all(&self, packets: Vec<Message>) {
        let mut state = self.lock();
        let sid = state.latest.clone();
        if let Some(session) = state.sessions.get_mut(&sid) {
            session.outbox.extend(packets);
            session.bell.notify_waiters();
        }
    }

    /// Forgets every session, as a restarted server has.
    pub(crate) fn forget_sessions(&self) {
        let sessions = std::mem::take(&mut self.lock().sessions);
        for mut session in sessions.into_values() {
            session.life = Life::Over;
            session.bell.notify_waiters();
        }
    }

    /// Closes every TCP connection.
    pub(crate) fn close_connections(&self) {
        self.command(&Command::Close);
    }

    /// Sends a close frame on every WebSocket.
    pub(crate) fn send_close_frames(&self) {
        self.command(&Command::CloseFrame);
    }

    /// Writes bytes as they are on every connection.
    pub(crate) fn write_raw(&self, bytes: &[u8]) {
        self.command(&Command::Raw(bytes.to_vec()));
    }

    /// Everything that has happened so far.
    pub(crate) fn record(&self) -> Record {
        self.lock().record.clone()
    }

    /// Waits until the record holds what `is_there` looks for.
    pub(crate) async fn until(&self, is_there: impl Fn(&Record) -> bool) {
        let mut entries = self.0.entries.subscribe();
        while !is_there(&self.lock().record) {
            entries.changed().await.expect("the server lives as long");
        }
    }

    /// Serves on `address` until the future is dropped.
    pub(crate) async fn run(self, net: Arc<dyn Net>, address: SocketAddr) {
        let listener = net.listen_stream(address).await;
        let listener: Box<dyn StreamListener> = listener.expect("the address is free");
        loop {
            let (stream, _) = listener.accept().await.expect("a listener that lasts");
            let (number, commands) = self.accepted();
            let connection = Connection::new(self.clone(), number, stream, commands);
            tokio::spawn(connection.serve());
        }
    }

    /// The same with TLS, as the host of this name.
    pub(crate) async fn run_tls(
        self,
        net: Arc<dyn Net>,
        address: SocketAddr,
        host: &'static str,
        authority: Arc<Authority>,
    ) {
        let listener = net.listen_stream(address).await;
        let listener: Box<dyn StreamListener> = listener.expect("the address is free");
        loop {
            let (stream, _) = listener.accept().await.expect("a listener that lasts");
            let (number, commands) = self.accepted();
            let kind = self.lock().settings.certificate;
            let shown = kind.map(|kind| authority.acceptor(host, kind).expect("a certificate"));
            let server = self.clone();
            tokio::spawn(async move {
                let Some(acceptor) = shown else {
                    server.note(number, Seen::Accepted);
                    let ending = connection::sink(stream).await;
                    return server.note(number, Seen::Closed(ending));
                };
                match acceptor.accept(stream).await {
                    Ok(stream) => {
                        let stream = Box::new(stream);
                        Connection::new(server, number, stream, commands)
                            .serve()
                            .await;
                    }
                    Err(error) => {
                        server.note(number, Seen::Accepted);
                        server.note(number, Seen::Refused(error.to_string()));
                        server.note(number, Seen::Closed(Ending::ClientClosed));
                    }
                }
            });
        }
    }

    fn accepted(&self) -> (u64, mpsc::UnboundedReceiver<Command>) {
        let (sender, commands) = mpsc::unbounded_channel();
        let mut state = self.lock();
        state.accepted += 1;
        let number = state.accepted;
        state.commands.insert(number, sender);
        (number, commands)
    }

    fn note(&self, connection: u64, what: Seen) {
        let mut state = self.lock();
        if matches!(what, Seen::Closed(_)) {
            state.commands.remove(&connection);
        }
        let at = determinism::now();
        state.record.0.push(Entry {
            at,
            connection,
            what,
        });
        let count = state.record.0.len();
        drop(state);
        self.0.entries.send_replace(count);
    }

    fn react(&self, request: &Request) -> Reaction {
        (self.lock().on_request)(request)
    }

    fn command(&self, command: &Command) {
        for sender in self.lock().commands.values() {
            // Who is gone already needs no command.
            let _ = sender.send(command.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session, and gives its open packet.
    fn open(&self, carrier: Carrier) -> (String, String) {
        let mut state = self.lock();
        state.opened += 1;
        let (sid, open) = state.settings.open_packet(state.opened);
        state.latest.clone_from(&sid);
        let session = Session::new(carrier);
        state.sessions.insert(sid.clone(), session);
        let (pings, interval) = (state.settings.pings, state.settings.ping_interval);
        drop(state);
        if pings != Pings::Never {
            tokio::spawn(self.clone().keep_pinging(sid.clone(), interval));
        }
        (sid, open)
    }

    /// Sends pings in a session, until it is over or the settings have none.
    async fn keep_pinging(self, sid: String, interval: Duration) {
        if self.lock().settings.pings == Pings::AfterInterval {
            tokio::time::sleep(interval).await;
        }
        while self.lock().settings.pings != Pings::Never && self.push(&sid, Message::text("2")) {
            tokio::time::sleep(interval).await;
        }
    }

    /// Sends a packet in a session. `false` where the session is over.
    fn push(&self, sid: &str, packet: Message) -> bool {
        let mut state = self.lock();
        match state.sessions.get_mut(sid) {
            Some(session) if session.life == Life::Open => {
                session.push(packet);
                true
            }
            _ => false,
        }
    }

    /// Ends a session; the client's next request in it is refused.
    fn end(&self, sid: &str) {
        if let Some(mut session) = self.lock().sessions.remove(sid) {
            session.life = Life::Over;
            session.bell.notify_waiters();
        }
    }

    /// Handles a packet of the client.
    fn packet(&self, sid: &str, packet: &Message) {
        let reply = (self.lock().on_packet)(packet);
        match reply {
            Reply::Usual => {
                if let Message::Text(text) = packet {
                    self.usual(sid, text);
                }
            }
            Reply::Packets(packets) => {
                for packet in packets {
                    self.push(sid, packet);
                }
            }
            Reply::After(wait, packets) => {
                let (server, sid) = (self.clone(), sid.to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    for packet in packets {
                        server.push(&sid, packet);
                    }
                });
            }
        }
    }

    fn usual(&self, sid: &str, text: &str) {
        if text == "1" {
            return self.end(sid);
        }
        let Some(connect) = text.strip_prefix("40") else {
            return;
        };
        let namespace = connect
            .strip_prefix('/')
            .and_then(|rest| rest.split(',').next())
            .map_or_else(String::new, |name| format!("/{name},"));
        let reply = {
            let mut state = self.lock();
            state.joined += 1;
            let socket = format!("socket-{}", state.joined);
            let reply = state.settings.connect_reply.clone();
            reply.map(|reply| reply.replace("SID", &socket))
        };
        if let Some(reply) = reply {
            self.push(sid, Message::Text(format!("40{namespace}{reply}")));
        }
    }
}

impl Settings {
    /// The name of a session, and its open packet.
    fn open_packet(&self, number: u64) -> (String, String) {
        if let Some(open) = &self.open {
            let open = open.replace("SID", &number.to_string());
            let parsed: serde_json::Value = serde_json::from_str(&open).expect("an open packet");
            let sid = parsed["sid"].as_str().expect("a name").to_owned();
            return (sid, format!("0{open}"));
        }
        let sid = format!("session-{number}");
        let mut open = serde_json::json!({
            "sid": sid,
            "upgrades": self.upgrades,
            "pingInterval": milliseconds(self.ping_interval),
            "pingTimeout": milliseconds(self.ping_timeout),
        });
        if let Some(most) = self.max_payload {
            open["maxPayload"] = most.into();
        }
        (sid, format!("0{open}"))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a sensible time")
}
