//! One TCP connection of a scripted server.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use ringtrue::net::ByteStream;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Error};

use super::http::HttpStream;
use super::record::{Ending, Message, Request, Seen};
use super::session::{Carrier, Life, split};
use super::{Command, Opening, Reaction, Server};

/// What a session that is not there is answered, as Node does.
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
/// How long a poll waits while a WebSocket is probed, as in Node.
const NOOP_AFTER: Duration = Duration::from_millis(100);

type WebSocket = WebSocketStream<Box<dyn ByteStream>>;

pub(super) struct Connection {
    server: Server,
    number: u64,
    http: HttpStream,
    commands: mpsc::UnboundedReceiver<Command>,
}

/// What follows a request.
enum Next {
    Request,
    WebSocket { sid: Option<String> },
}

impl Connection {
    pub(super) fn new(
        server: Server,
        number: u64,
        stream: Box<dyn ByteStream>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            server,
            number,
            http: HttpStream::new(stream),
            commands,
        }
    }

    pub(super) async fn serve(mut self) {
        let (server, number) = (self.server.clone(), self.number);
        server.note(number, Seen::Accepted);
        let ending = loop {
            match self.exchange().await {
                Ok(Next::Request) => {}
                Ok(Next::WebSocket { sid }) => break self.websocket(sid).await,
                Err(ending) => break ending,
            }
        };
        server.note(number, Seen::Closed(ending));
    }

    /// Takes one request and reacts to it.
    async fn exchange(&mut self) -> Result<Next, Ending> {
        let request = tokio::select! {
            biased;
            command = self.commands.recv() => {
                self.obey(command).await?;
                return Ok(Next::Request);
            }
            request = self.http.request() => match request {
                Ok(Some(request)) => request,
                Ok(None) => return Err(Ending::ClientClosed),
                Err(_) => return Err(Ending::Reset),
            },
        };
        self.server
            .note(self.number, Seen::Request(request.clone()));
        let mut reaction = self.server.react(&request);
        while let Reaction::After(wait, then) = reaction {
            self.while_open(tokio::time::sleep(wait)).await?;
            reaction = *then;
        }
        match reaction {
            Reaction::Usual => self.usual(&request).await,
            Reaction::Answer(status, body) => {
                self.answer(status, &body).await?;
                Ok(Next::Request)
            }
            Reaction::Garbage(bytes) => {
                self.server.note(self.number, Seen::Garbage(bytes.len()));
                self.http.write(&bytes).await.map_err(|_| Ending::Reset)?;
                self.while_open(std::future::pending::<()>()).await?;
                Ok(Next::Request)
            }
            Reaction::Torn => {
                let torn = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0{";
                self.server.note(self.number, Seen::Garbage(torn.len()));
                self.http.write(torn).await.map_err(|_| Ending::Reset)?;
                Err(Ending::ServerClosed)
            }
            Reaction::Stall => {
                self.while_open(std::future::pending::<()>()).await?;
                Ok(Next::Request)
            }
            Reaction::Close => Err(Ending::ServerClosed),
            Reaction::After(..) => unreachable!("waits are over"),
        }
    }

    async fn usual(&mut self, request: &Request) -> Result<Next, Ending> {
        let sid = request.sid().map(str::to_owned);
        if let Some(sid) = &sid
            && !self.server.lock().sessions.contains_key(sid)
        {
            self.answer(400, UNKNOWN_SESSION).await?;
            return Ok(Next::Request);
        }
        match (request.method.as_str(), request.transport(), sid) {
            ("GET", Some("websocket"), sid) => {
                let key = request.headers.get("sec-websocket-key");
                let accept = derive_accept_key(key.map(String::as_bytes).unwrap_or_default());
                let headers = [
                    ("upgrade", "websocket"),
                    ("connection", "Upgrade"),
                    ("sec-websocket-accept", accept.as_str()),
                ];
                self.server.note(self.number, Seen::Answered(101));
                let switched = self.http.respond(101, &headers, "").await;
                switched.map_err(|_| Ending::Reset)?;
                return Ok(Next::WebSocket { sid });
            }
            ("GET", Some("polling"), None) => {
                let (_, open) = self.server.open(Carrier::Polling);
                self.answer(200, &open).await?;
            }
            ("GET", Some("polling"), Some(sid)) => {
                let server = self.server.clone();
                let payload = self.while_open(payload(&server, &sid)).await?;
                match payload {
                    Some(payload) => self.answer(200, &payload).await?,
                    None => self.answer(400, UNKNOWN_SESSION).await?,
                }
            }
            ("POST", Some("polling"), Some(sid)) => {
                for packet in split(&request.text()) {
                    self.server.packet(&sid, &packet);
                }
                self.answer(200, "ok").await?;
            }
            _ => {
                self.answer(400, r#"{"code":3,"message":"Bad request"}"#)
                    .await?;
            }
        }
        Ok(Next::Request)
    }

    async fn answer(&mut self, status: u16, body: &str) -> Result<(), Ending> {
        self.server.note(self.number, Seen::Answered(status));
        let headers = [("content-type", "text/plain; charset=UTF-8")];
        let answered = self.http.respond(status, &headers, body).await;
        answered.map_err(|_| Ending::Reset)
    }

    /// Waits for something, unless the connection ends before.
    async fn while_open<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, Ending> {
        let mut wait = pin!(wait);
        loop {
            let command = tokio::select! {
                biased;
                command = self.commands.recv() => command,
                closed = self.http.closed() => return Err(match closed {
                    Ok(()) => Ending::ClientClosed,
                    Err(_) => Ending::Reset,
                }),
                done = &mut wait => return Ok(done),
            };
            self.obey(command).await?;
        }
    }

    async fn obey(&mut self, command: Option<Command>) -> Result<(), Ending> {
        match command {
            Some(Command::Raw(bytes)) => self.http.write(&bytes).await.map_err(|_| Ending::Reset),
            Some(Command::CloseFrame) => Ok(()),
            Some(Command::Close) | None => Err(Ending::ServerClosed),
        }
    }

    /// Carries a session of its own, or probes for one that polls.
    async fn websocket(self, sid: Option<String>) -> Ending {
        let Self {
            server,
            number,
            http,
            mut commands,
        } = self;
        let (stream, read) = http.into_parts();
        let mut socket = WebSocket::from_partially_read(stream, read, Role::Server, None).await;
        let mut carried = None;
        let opening = server.lock().settings.opening;
        if sid.is_none() && opening == Opening::Usual {
            let (session, open) = server.open(Carrier::WebSocket(number));
            if say(&server, number, &mut socket, Message::Text(open))
                .await
                .is_err()
            {
                return Ending::Reset;
            }
            carried = Some(session);
        }
        let ending = loop {
            let outgoing = next_outgoing(&server, carried.as_deref());
            let step = tokio::select! {
                biased;
                command = commands.recv() => Step::Command(command),
                incoming = socket.next() => Step::In(incoming),
                outgoing = outgoing => Step::Out(outgoing),
            };
            let outcome = match step {
                Step::Command(Some(Command::Raw(bytes))) => {
                    server.note(number, Seen::Garbage(bytes.len()));
                    let stream = socket.get_mut();
                    let written = stream.write_all(&bytes).await;
                    written.and(stream.flush().await).map_err(Error::Io)
                }
                Step::Command(Some(Command::CloseFrame)) => {
                    say(&server, number, &mut socket, Message::Close).await
                }
                Step::Command(Some(Command::Close) | None) | Step::Out(None) => {
                    break Ending::ServerClosed;
                }
                Step::Out(Some(packet)) => say(&server, number, &mut socket, packet).await,
                Step::In(None) => break Ending::ClientClosed,
                Step::In(Some(Err(error))) => break ending_of(&error),
                Step::In(Some(Ok(frame))) => {
                    let Some(message) = message_of(frame) else {
                        continue;
                    };
                    server.note(number, Seen::In(message.clone()));
                    match (&carried, &sid) {
                        (Some(carried), _) => {
                            server.packet(carried, &message);
                            Ok(())
                        }
                        (None, Some(probed)) => {
                            let answer = probe(&server, number, probed, &message);
                            if message == Message::text("5") {
                                carried = Some(probed.clone());
                            }
                            match answer {
                                Some(answer) => say(&server, number, &mut socket, answer).await,
                                None => Ok(()),
                            }
                        }
                        // Nothing was promised to it.
                        (None, None) => Ok(()),
                    }
                }
            };
            if let Err(error) = outcome {
                break ending_of(&error);
            }
        };
        if let Some(sid) = carried {
            server.end(&sid);
        }
        ending
    }
}

/// Reads a stream to its end.
pub(super) async fn sink(stream: Box<dyn ByteStream>) -> Ending {
    match HttpStream::new(stream).closed().await {
        Ok(()) => Ending::ClientClosed,
        Err(_) => Ending::Reset,
    }
}

enum Step {
    Command(Option<Command>),
    In(Option<Result<tungstenite::Message, Error>>),
    Out(Option<Message>),
}

/// The answer to a packet on a WebSocket that is probed.
fn probe(server: &Server, number: u64, sid: &str, message: &Message) -> Option<Message> {
    let reply = (server.lock().on_packet)(message);
    if let super::Reply::Packets(packets) = reply {
        // A probe has one answer or none.
        return packets.into_iter().next();
    }
    let mut state = server.lock();
    let session = state.sessions.get_mut(sid)?;
    let answer = match message {
        Message::Text(text) if text == "2probe" => {
            session.carrier = Carrier::Probed;
            Some(Message::text("3probe"))
        }
        Message::Text(text) if text == "5" => {
            session.carrier = Carrier::WebSocket(number);
            None
        }
        _ => None,
    };
    session.bell.notify_waiters();
    answer
}

/// What a poll is answered, once there is something; `None` where the session is over.
async fn payload(server: &Server, sid: &str) -> Option<String> {
    loop {
        let bell = server.lock().sessions.get(sid)?.bell.clone();
        let mut rung = pin!(bell.notified());
        rung.as_mut().enable();
        let probed = {
            let mut state = server.lock();
            let session = state.sessions.get_mut(sid)?;
            if session.life == Life::Over {
                return None;
            }
            let is_probed = session.carrier == Carrier::Probed && session.outbox.is_empty();
            if !is_probed && let Some(payload) = session.payload() {
                return Some(payload);
            }
            is_probed
        };
        if !probed {
            rung.await;
            continue;
        }
        tokio::time::sleep(NOOP_AFTER).await;
        let mut state = server.lock();
        let payload = state.sessions.get_mut(sid)?.payload();
        return Some(payload.unwrap_or_else(|| "6".to_owned()));
    }
}

/// The next packet of a session that this WebSocket carries; `None` once the session is over.
async fn next_outgoing(server: &Server, carried: Option<&str>) -> Option<Message> {
    let Some(sid) = carried else {
        return std::future::pending().await;
    };
    loop {
        let bell = server.lock().sessions.get(sid)?.bell.clone();
        let mut rung = pin!(bell.notified());
        rung.as_mut().enable();
        {
            let mut state = server.lock();
            let session = state.sessions.get_mut(sid)?;
            if let Some(packet) = session.outbox.pop_front() {
                return Some(packet);
            }
        }
        rung.await;
    }
}

async fn say(
    server: &Server,
    number: u64,
    socket: &mut WebSocket,
    message: Message,
) -> Result<(), Error> {
    let frame = match &message {
        Message::Text(text) => tungstenite::Message::text(text.clone()),
        Message::Binary(bytes) => tungstenite::Message::binary(bytes.clone()),
        Message::Ping => tungstenite::Message::Ping(Vec::new().into()),
        Message::Pong => tungstenite::Message::Pong(Vec::new().into()),
        Message::Close => tungstenite::Message::Close(None),
    };
    server.note(number, Seen::Out(message));
    socket.send(frame).await
}

fn message_of(frame: tungstenite::Message) -> Option<Message> {
    Some(match frame {
        tungstenite::Message::Text(text) => Message::Text(text.as_str().to_owned()),
        tungstenite::Message::Binary(bytes) => Message::Binary(bytes.to_vec()),
        tungstenite::Message::Ping(_) => Message::Ping,
        tungstenite::Message::Pong(_) => Message::Pong,
        tungstenite::Message::Close(_) => Message::Close,
        tungstenite::Message::Frame(_) => return None,
    })
}

fn ending_of(error: &Error) -> Ending {
    let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    match error {
        Error::Io(error) if reset(error) => Ending::Reset,
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Ending::ClientClosed
        }
        Error::Io(_) => Ending::Reset,
        _ => Ending::ClientClosed,
    }
}
