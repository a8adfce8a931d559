//! The task of a client: carries the mailbox over the socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::Rng;
use serde_json::{Map, Value};
use tokio::select;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::returning::Returning;
use super::{DisconnectReason, Identity, SendError, SignalingEvent};
use crate::config::SignalingConfig;
use crate::net::Net;
use crate::redaction;
use crate::signaling::channel::SendOutcome;
use crate::signaling::mailbox::{Mailbox, MailboxEvent, MailboxLimits, PostId};
use crate::signaling::message::line::{self, Passing};
use crate::signaling::message::{CallId, DeviceId, EVENT, Envelope, Frame, PeerName};
use crate::signaling::socket::{
    Acknowledgement, AcknowledgementError, Emit, ReceivedEvent, Socket, SocketConnectError,
    SocketError, SocketEvent, SocketEvents, SocketIo, SocketOptions,
};
use crate::signaling::transport::ConnectError;
use crate::signaling::turn_credentials::{self, TurnCredentials, TurnRefresh};

/// How long closing may take: the farewell is a courtesy, and the stream is closed all the same.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How many events wait for the application before the connection is read no further.
const EVENT_BACKLOG_MAX: usize = 1024;

/// How long a frame may wait to be written. Afterwards the mailbox has sent it again.
const FRAME_TIME_TO_LIVE: Duration = Duration::from_secs(3);

/// What the server refuses for the moment only: it is sent again later, as what was lost is.
const PASSING_REFUSALS: [&str; 5] = [
    "too-fast",
    "closed",
    "no-room",
    "too-many-calls",
    "too-many-kept",
];

/// What the application wants, in the order of calls.
#[derive(Debug)]
pub(super) enum Command {
    Send {
        envelope: Envelope,
        outcome: SendOutcome,
    },
    CloseCall {
        call: CallId,
    },
    CheckPath,
    NetworkChanged,
    KeepTurnCredentials,
    Flush {
        done: oneshot::Sender<()>,
    },
}

type Answer = Result<Acknowledgement, AcknowledgementError>;

/// An emit that the server is to answer.
type Answering<T> = Pin<Box<dyn Future<Output = (T, Answer)> + Send>>;

pub(super) struct Driver {
    user: PeerName,
    config: SignalingConfig,
    auth: Map<String, Value>,
    limits: MailboxLimits,
    mailbox: Mailbox,
    link: Link,
    returning: Returning,
    outcomes: BTreeMap<PostId, SendOutcome>,
    /// Messages that the server has not taken.
    untaken: BTreeSet<PostId>,
    last_post: Option<PostId>,
    /// Who waits until the server has taken all messages up to this one.
    flushes: Vec<(Option<PostId>, oneshot::Sender<()>)>,
    answers: FuturesUnordered<Answering<PostId>>,
    turn: TurnRefresh,
    turn_wish: TurnWish,
    turn_answers: FuturesUnordered<Answering<()>>,
    /// Events that the application has no room for yet.
    backlog: VecDeque<SignalingEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Connected,
    Connecting,
    /// For good.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnWish {
    None,
    Wanted,
}

/// Whatever the task woke up for.
enum Wake {
    Room,
    NobodyListens,
    Command(Option<Command>),
    Answered(PostId, Answer),
    TurnAnswered(Answer),
    MailboxTimeout,
    TurnTimeout,
    Return,
    Socket(Option<SocketEvent>),
}

impl Driver {
    pub(super) fn new(
        config: SignalingConfig,
        identity: Identity,
        generator: &mut impl Rng,
    ) -> Self {
        let Identity { name, token } = identity;
        let device = DeviceId::draw(generator);
        let auth = Map::from_iter([
            ("user".into(), Value::String(name.clone())),
            ("token".into(), Value::String(token)),
            ("device".into(), Value::String(device.0.clone())),
        ]);
        let limits = MailboxLimits {
            messages_max: config.send_buffer_messages_max,
            ..MailboxLimits::default()
        };
        Self {
            mailbox: Mailbox::new(name.clone(), device, limits),
            user: name,
            config,
            auth,
            limits,
            link: Link::Connecting,
            returning: Returning::default(),
            outcomes: BTreeMap::new(),
            untaken: BTreeSet::new(),
            last_post: None,
            flushes: Vec::new(),
            answers: FuturesUnordered::new(),
            turn: TurnRefresh::default(),
            turn_wish: TurnWish::None,
            turn_answers: FuturesUnordered::new(),
            backlog: VecDeque::new(),
        }
    }

    /// Runs until the sender of commands is dropped.
    pub(super) async fn run(
        mut self,
        net: Arc<dyn Net>,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<SignalingEvent>,
    ) {
        let opened = self.open(net);
        let (socket, mut received) = match opened {
            Ok((socket, received)) => (Some(socket), Some(received)),
            Err(error) => {
                tracing::warn!(%error, cause = redaction::cause(&error), "signaling attempt failed");
                self.fail(SocketConnectError::Attempt(Arc::new(error)));
                (None, None)
            }
        };
        loop {
            if let Some(socket) = &socket {
                self.carry_out(socket);
            }
            match self.wake(&mut inbox, &events, received.as_mut()).await {
                Wake::Room => self.report(&events),
                Wake::NobodyListens => self.backlog.clear(),
                Wake::Command(None) => break,
                Wake::Command(Some(command)) => self.execute(command, socket.as_ref()),
                Wake::Answered(post, answer) => self.on_answer(post, answer),
                Wake::TurnAnswered(answer) => self.on_turn_answer(answer),
                Wake::MailboxTimeout => self.mailbox.handle_timeout(Instant::now()),
                Wake::TurnTimeout => {
                    if let Some(socket) = &socket {
                        self.ask_for_turn_credentials(socket);
                    }
                }
                Wake::Return => {
                    self.returning.handle_timeout();
                    if let Some(socket) = &socket {
                        socket.connect();
                    }
                }
                Wake::Socket(Some(event)) => self.on_socket_event(event, socket.as_ref()),
                Wake::Socket(None) => {}
            }
        }
        if let Some(socket) = socket {
            let ended = socket.ended();
            drop((socket, received));
            if timeout(CLOSE_LIMIT, ended).await.is_err() {
                tracing::debug!(limit = ?CLOSE_LIMIT, "the farewell took too long");
            }
        }
    }

    fn open(&self, net: Arc<dyn Net>) -> Result<(Socket, SocketEvents), ConnectError> {
        let options = SocketOptions {
            signaling: self.config.clone(),
            auth: self.auth.clone(),
            ..SocketOptions::default()
        };
        let opened = SocketIo::new(net).socket(&self.config.url, options);
        let (socket, received) = opened.map_err(|error| match error {
            SocketError::Endpoint(error) => ConnectError::Endpoint(error),
        })?;
        socket.connect();
        Ok((socket, received))
    }

    async fn wake(
        &mut self,
        inbox: &mut mpsc::UnboundedReceiver<Command>,
        events: &mpsc::Sender<SignalingEvent>,
        received: Option<&mut SocketEvents>,
    ) -> Wake {
        let mailbox_timeout = self.mailbox.poll_timeout().map(|(at, _)| at);
        select! {
            biased;
            permit = events.reserve(), if !self.backlog.is_empty() => match permit {
                Ok(_) => Wake::Room,
                Err(_) => Wake::NobodyListens,
            },
            command = inbox.recv() => Wake::Command(command),
            Some((post, answer)) = self.answers.next() => Wake::Answered(post, answer),
            Some(((), answer)) = self.turn_answers.next() => Wake::TurnAnswered(answer),
            () = until(mailbox_timeout) => Wake::MailboxTimeout,
            () = until(self.turn.poll_timeout()) => Wake::TurnTimeout,
            () = until(self.returning.poll_timeout()) => Wake::Return,
            event = next_event(received), if self.backlog.len() < EVENT_BACKLOG_MAX => {
                Wake::Socket(event)
            }
        }
    }

    fn report(&mut self, events: &mpsc::Sender<SignalingEvent>) {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(error) = events.try_send(event) {
                self.backlog.push_front(error.into_inner());
                return;
            }
        }
    }

    fn execute(&mut self, command: Command, socket: Option<&Socket>) {
        match command {
            Command::Send { outcome, .. } if self.link == Link::Ended => {
                outcome.report(Err(SendError::Closed));
            }
            Command::Send { envelope, outcome } => self.post(envelope, outcome),
            Command::CloseCall { call } => self.mailbox.close_call(&call),
            Command::CheckPath => {
                if let Some(socket) = socket {
                    socket.check_path();
                }
            }
            Command::NetworkChanged => {
                if let Some(socket) = socket {
                    socket.network_changed();
                }
            }
            Command::KeepTurnCredentials => {
                self.turn_wish = TurnWish::Wanted;
                if self.link == Link::Connected {
                    self.turn.handle_connected(Instant::now());
                }
            }
            Command::Flush { done } => {
                self.flushes.push((self.last_post, done));
                self.answer_flushes();
            }
        }
    }

    fn post(&mut self, envelope: Envelope, outcome: SendOutcome) {
        self.withdraw_unwanted();
        match self.mailbox.post(Instant::now(), envelope) {
            Ok(post) => {
                self.outcomes.insert(post, outcome);
                self.untaken.insert(post);
                self.last_post = Some(post);
            }
            Err(error) => {
                outcome.report(Err(error.into()));
            }
        }
    }

    /// Takes messages back whose senders wait for them no longer.
    fn withdraw_unwanted(&mut self) {
        for (post, outcome) in &self.outcomes {
            if outcome.is_withdrawn() {
                self.mailbox.withdraw(*post);
            }
        }
        self.outcomes.retain(|_, outcome| !outcome.is_withdrawn());
    }

    /// Hands everything on that the mailbox has.
    fn carry_out(&mut self, socket: &Socket) {
        self.withdraw_unwanted();
        while let Some(event) = self.mailbox.poll_event() {
            match event {
                MailboxEvent::Received(envelope) => {
                    line::log(Passing::Received, &envelope.body, &envelope.call);
                    self.backlog.push_back(SignalingEvent::Message(envelope));
                }
                MailboxEvent::Acknowledged { post } => self.conclude(post, Ok(())),
                MailboxEvent::Refused { post, message } => {
                    self.conclude(post, Err(SendError::Refused { message }));
                }
                MailboxEvent::Expired { post } => {
                    let limit = self.limits.kept_for;
                    self.conclude(post, Err(SendError::Expired { limit }));
                }
                MailboxEvent::Withdrawn { post } => self.conclude(post, Err(SendError::Closed)),
                MailboxEvent::PathDoubted => socket.check_path(),
            }
        }
        while let Some(transmit) = self.mailbox.poll_transmit() {
            let emit = Emit::new(EVENT, vec![transmit.frame.to_value()])
                .expect("the name of call frames is not one of socket.io's own")
                .with_time_to_live(FRAME_TIME_TO_LIVE);
            match transmit.message {
                Some(post) => {
                    let answer = socket.emit_with_acknowledgement(emit);
                    self.answers
                        .push(Box::pin(async move { (post, answer.await) }));
                }
                None => socket.emit(emit),
            }
        }
    }

    fn conclude(&mut self, post: PostId, outcome: Result<(), SendError>) {
        self.untaken.remove(&post);
        if let Some(sender) = self.outcomes.remove(&post) {
            sender.report(outcome);
        } else if let Err(error) = outcome {
            tracing::debug!(%error, "a message that nobody waits for");
        }
        self.answer_flushes();
    }

    fn answer_flushes(&mut self) {
        let first = self.untaken.first().copied();
        let is_waiting = |last: Option<PostId>| first.is_some_and(|first| Some(first) <= last);
        let waiting = std::mem::take(&mut self.flushes);
        for (last, done) in waiting {
            if is_waiting(last) {
                self.flushes.push((last, done));
            } else {
                let _ = done.send(());
            }
        }
    }

    fn on_answer(&mut self, post: PostId, answer: Answer) {
        let answer = match answer {
            Ok(answer) => answer.arguments.into_iter().next().unwrap_or_default(),
            // The message is still in the mailbox, and is sent again.
            Err(error) => return tracing::debug!(%error, "a message that was not taken"),
        };
        let Some(error) = answer.get("error") else {
            self.untaken.remove(&post);
            return self.answer_flushes();
        };
        let message = error.as_str().unwrap_or("no reason given").to_owned();
        let code = answer.get("code").and_then(Value::as_str);
        if code.is_some_and(|code| PASSING_REFUSALS.contains(&code)) {
            tracing::debug!(message = %redaction::scrubbed(message), "a message that was not taken now");
        } else {
            self.mailbox.handle_refused(Instant::now(), post, message);
        }
    }

    fn on_socket_event(&mut self, event: SocketEvent, socket: Option<&Socket>) {
        let now = Instant::now();
        match event {
            SocketEvent::Connected { .. } => {
                let waiting = self.mailbox.len();
                tracing::info!(user = %self.user, waiting, "signaling connected");
                self.link = Link::Connected;
                self.returning.handle_connected(now);
                self.withdraw_unwanted();
                self.mailbox.handle_connected(now);
                if self.turn_wish == TurnWish::Wanted {
                    self.turn.handle_connected(now);
                }
                self.backlog.push_back(SignalingEvent::Connected);
            }
            SocketEvent::Disconnected { reason } => {
                tracing::warn!(%reason, cause = redaction::cause(&reason), "signaling disconnected");
                self.link = Link::Connecting;
                self.mailbox.handle_disconnected();
                self.turn.handle_disconnected();
                if matches!(reason, DisconnectReason::ServerDisconnect) {
                    self.returning.handle_dismissed(now, &self.config);
                } else if reason.is_final() {
                    self.end();
                }
                self.backlog
                    .push_back(SignalingEvent::Disconnected { reason });
            }
            SocketEvent::ConnectFailed { error } => self.fail(error),
            SocketEvent::ReconnectWait { attempt, delay } => self
                .backlog
                .push_back(SignalingEvent::Reconnecting { attempt, delay }),
            SocketEvent::ReconnectFailed { attempts } => {
                self.end();
                self.backlog.push_back(SignalingEvent::GaveUp { attempts });
            }
            SocketEvent::Event(event) => self.on_event(now, event, socket),
            other => tracing::debug!(event = other.name(), "skipped"),
        }
    }

    fn on_event(&mut self, now: Instant, event: ReceivedEvent, socket: Option<&Socket>) {
        if let (Some(ticket), Some(socket)) = (event.ticket, socket) {
            socket.acknowledge(ticket, Acknowledgement::default());
        }
        if event.name != EVENT {
            return;
        }
        let argument = event.arguments.into_iter().next().unwrap_or_default();
        match Frame::from_value(argument) {
            Ok(frame) => {
                if let Err(error) = self.mailbox.handle_frame(now, frame) {
                    tracing::debug!(%error, "frame dropped");
                }
            }
            Err(error) => tracing::warn!(%error, "unreadable frame dropped"),
        }
    }

    fn fail(&mut self, error: SocketConnectError) {
        // Of an attempt to connect, the socket's own task has told.
        if !matches!(&error, SocketConnectError::Attempt(_)) {
            tracing::warn!(%error, cause = redaction::cause(&error), "signaling attempt failed");
        }
        if error.is_final() {
            self.end();
        }
        self.backlog.push_back(match error {
            SocketConnectError::Refused(refusal) => SignalingEvent::Rejected {
                message: refusal.message,
            },
            error => SignalingEvent::ConnectFailed { error },
        });
    }

    /// There will be no connection any more.
    fn end(&mut self) {
        self.link = Link::Ended;
        let closed = std::mem::take(&mut self.outcomes);
        for outcome in closed.into_values() {
            outcome.report(Err(SendError::Closed));
        }
        self.untaken.clear();
        self.answer_flushes();
    }

    fn ask_for_turn_credentials(&mut self, socket: &Socket) {
        self.turn.handle_asked();
        let emit = Emit::new(turn_credentials::EVENT, Vec::new())
            .expect("the name of the request is not one of socket.io's own");
        let answer = socket.emit_with_acknowledgement(emit.with_time_to_live(FRAME_TIME_TO_LIVE));
        self.turn_answers
            .push(Box::pin(async move { ((), answer.await) }));
    }

    fn on_turn_answer(&mut self, answer: Answer) {
        let now = Instant::now();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "no turn credentials");
                if self.link == Link::Connected {
                    self.turn.handle_unanswered(now);
                }
                return;
            }
        };
        match TurnCredentials::from_answer(now, &answer.arguments) {
            Ok(given) => {
                self.turn.handle_given(now, given.clone());
                self.backlog
                    .push_back(SignalingEvent::TurnCredentials(given));
            }
            Err(error) => tracing::debug!(%error, "no turn credentials"),
        }
    }
}

/// Waits for an instant, or for ever where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// The next event of the socket, or never while there is none.
async fn next_event(received: Option<&mut SocketEvents>) -> Option<SocketEvent> {
    match received {
        Some(received) => received.recv().await,
        None => pending().await,
    }
}
