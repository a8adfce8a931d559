//! Signaling that keeps less than the production client does: over the same Socket.IO socket, in the
//! same frames, to the same server.
//!
//! What the server keeps for a device that is away comes all the same. So a message is lost here where it
//! is said while there is no connection, or is on its way to the server when the connection breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use ringtrue::config::SignalingConfig;
use ringtrue::net::Net;
use ringtrue::signaling::channel::{PendingSend, SendOutcome, SignalingChannel};
use ringtrue::signaling::client::{Identity, SendError, SignalingEvent};
use ringtrue::signaling::mailbox::{Mailbox, MailboxEvent, MailboxLimits, PostId};
use ringtrue::signaling::message::{
    CallId, DeviceId, EVENT, Envelope, Frame, FrameContent, PeerName,
};
use ringtrue::signaling::socket::{
    Acknowledgement, Emit, Socket, SocketConnectError, SocketEvent, SocketEvents, SocketIo,
    SocketOptions,
};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::endpoint::Logbook;

/// What a courier does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Habits {
    pub(super) kept: Kept,
    pub(super) repeats: Repeats,
    pub(super) name: DeviceName,
}

/// What is sent again until the other side has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    AllButCandidates,
    Everything,
}

/// What becomes of a message that comes once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    Dropped,
    HandedUp,
}

/// By what the server knows the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceName {
    /// By a name of its own, so that a new connection takes the place of the former one.
    OfItsOwn,
    /// By each connection anew: the former one lives on until the server notices that it is dead.
    OfTheConnection,
}

/// What is not kept is numbered from here, out of the way of what the mailbox numbers.
const UNKEPT: u64 = 1 << 48;

/// How long what is not kept may wait for a transport that is busy: less than any reconnect takes.
const UNKEPT_TIME_TO_LIVE: Duration = Duration::from_millis(500);

/// A channel to the signaling server.
#[derive(Debug)]
pub(super) struct Courier {
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Send {
        envelope: Envelope,
        outcome: SendOutcome,
    },
    CloseCall {
        call: CallId,
    },
    CheckPath,
    NetworkChanged,
}

impl Courier {
    /// Starts to connect as `identity`. Must be called inside a tokio runtime.
    pub(super) fn start(
        net: Arc<dyn Net>,
        config: SignalingConfig,
        identity: Identity,
        habits: Habits,
    ) -> (Self, mpsc::Receiver<SignalingEvent>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (events, reported) = mpsc::channel(64);
        let device = DeviceId::draw(&mut ChaCha8Rng::from_rng(&mut rand::rng()));
        let mut auth = Map::from_iter([
            ("user".to_owned(), Value::String(identity.name.clone())),
            ("token".to_owned(), Value::String(identity.token)),
        ]);
        if habits.name == DeviceName::OfItsOwn {
            auth.insert("device".to_owned(), Value::String(device.0.clone()));
        }
        let url = config.url.clone();
        let options = SocketOptions {
            signaling: config,
            auth,
            ..SocketOptions::default()
        };
        let (socket, received) = SocketIo::new(net)
            .socket(&url, options)
            .expect("the world's signaling server has an address");
        socket.connect();
        let limits = MailboxLimits::default();
        let desk = Desk {
            mailbox: Mailbox::new(identity.name.clone(), device.clone(), limits),
            user: identity.name,
            device,
            habits,
            limits,
            link: Link::Opening(Vec::new()),
            socket,
            outcomes: BTreeMap::new(),
            last_number: UNKEPT,
            heard: BTreeSet::new(),
            reports: Vec::new(),
        };
        tokio::spawn(desk.run(inbox, received, events));
        (Self { commands }, reported)
    }

    fn tell(&self, command: Command) {
        // Where the task has ended, whoever waits reads that as closed.
        let _ = self.commands.send(command);
    }
}

impl SignalingChannel for Courier {
    fn send(&self, envelope: Envelope) -> PendingSend {
        let (outcome, pending) = PendingSend::pair();
        self.tell(Command::Send { envelope, outcome });
        pending
    }

    fn close_call(&self, call: CallId) {
        self.tell(Command::CloseCall { call });
    }

    fn check_path(&self) {
        self.tell(Command::CheckPath);
    }

    fn network_changed(&self) {
        self.tell(Command::NetworkChanged);
    }

    fn flushed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(ready(()))
    }
}

/// The task of a courier.
struct Desk {
    user: PeerName,
    device: DeviceId,
    habits: Habits,
    limits: MailboxLimits,
    mailbox: Mailbox,
    link: Link,
    socket: Socket,
    outcomes: BTreeMap<PostId, SendOutcome>,
    last_number: u64,
    /// The messages that came before.
    heard: BTreeSet<(PeerName, DeviceId, CallId, u64)>,
    /// What the client has yet to be told.
    reports: Vec<SignalingEvent>,
}

#[derive(Debug)]
enum Link {
    /// There was no connection yet. What is said waits for the first one.
    Opening(Vec<Envelope>),
    Up,
    Down,
}

impl Desk {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut received: SocketEvents,
        events: mpsc::Sender<SignalingEvent>,
    ) {
        loop {
            let due = self.mailbox.poll_timeout().map(|(at, _)| at);
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    Some(command) => self.execute(command),
                    None => return,
                },
                () = until(due) => self.mailbox.handle_timeout(Instant::now()),
                Some(event) = received.recv() => self.on_socket_event(event),
            }
            self.carry_out();
            for report in std::mem::take(&mut self.reports) {
                if events.send(report).await.is_err() {
                    return;
                }
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Send { envelope, outcome } => self.send(envelope, outcome),
            Command::CloseCall { call } => self.mailbox.close_call(&call),
            Command::CheckPath => self.socket.check_path(),
            Command::NetworkChanged => self.socket.network_changed(),
        }
    }

    fn send(&mut self, envelope: Envelope, outcome: SendOutcome) {
        let is_candidate = !envelope.body.is_ordered();
        let is_kept = match self.habits.kept {
            Kept::Nothing => false,
            Kept::AllButCandidates => !is_candidate,
            Kept::Everything => true,
        };
        if !is_kept {
            self.say_once(envelope);
            // Whoever keeps nothing believes that what was said was heard.
            return outcome.report(Ok(()));
        }
        match self.mailbox.post(Instant::now(), envelope) {
            Ok(post) => {
                self.outcomes.insert(post, outcome);
            }
            Err(error) => outcome.report(Err(error.into())),
        }
    }

    fn say_once(&mut self, envelope: Envelope) {
        match &mut self.link {
            Link::Opening(waiting) => return waiting.push(envelope),
            Link::Down => {
                let (kind, call) = (envelope.body.kind(), &envelope.call);
                return tracing::debug!(kind, %call, "said without a connection, and lost");
            }
            Link::Up => {}
        }
        let Envelope { to, call, body, .. } = envelope;
        Logbook::said(body.kind(), &call);
        self.last_number += 1;
        let frame = Frame {
            from: self.user.clone(),
            device: self.device.clone(),
            to,
            to_device: None,
            call,
            content: FrameContent::Message {
                number: self.last_number,
                follows: body.is_ordered().then_some(0),
                oldest: None,
                body,
            },
        };
        self.write(&frame, UNKEPT_TIME_TO_LIVE);
    }

    fn write(&self, frame: &Frame, time_to_live: Duration) {
        let emit = Emit::new(EVENT, vec![frame.to_value()])
            .expect("the name of call frames is not one of socket.io's own")
            .with_time_to_live(time_to_live);
        // The server answers each message, and nobody here waits for that.
        drop(self.socket.emit_with_acknowledgement(emit));
    }

    /// Hands everything on that the mailbox has.
    fn carry_out(&mut self) {
        while let Some(event) = self.mailbox.poll_event() {
            let (post, outcome) = match event {
                MailboxEvent::Received(envelope) => {
                    self.hand_up(envelope);
                    continue;
                }
                MailboxEvent::PathDoubted => {
                    self.socket.check_path();
                    continue;
                }
                MailboxEvent::Acknowledged { post } => (post, Ok(())),
                MailboxEvent::Refused { post, message } => {
                    (post, Err(SendError::Refused { message }))
                }
                MailboxEvent::Expired { post } => {
                    let limit = self.limits.kept_for;
                    (post, Err(SendError::Expired { limit }))
                }
                MailboxEvent::Withdrawn { post } => (post, Err(SendError::Closed)),
            };
            if let Some(waiting) = self.outcomes.remove(&post) {
                waiting.report(outcome);
            }
        }
        while let Some(transmit) = self.mailbox.poll_transmit() {
            self.write(&transmit.frame, Duration::from_secs(3));
        }
    }

    fn on_socket_event(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Connected { .. } => {
                let before = std::mem::replace(&mut self.link, Link::Up);
                self.mailbox.handle_connected(Instant::now());
                // What is kept goes first: a description before its candidates.
                self.carry_out();
                let is_first = matches!(before, Link::Opening(_));
                if let Link::Opening(waiting) = before {
                    for each in waiting {
                        self.say_once(each);
                    }
                }
                if is_first || self.notices_drops() {
                    self.reports.push(SignalingEvent::Connected);
                }
            }
            SocketEvent::Disconnected { reason } => {
                self.link = Link::Down;
                self.mailbox.handle_disconnected();
                if self.notices_drops() || reason.is_final() {
                    self.reports.push(SignalingEvent::Disconnected { reason });
                }
            }
            SocketEvent::ConnectFailed { error } => self.reports.push(match error {
                SocketConnectError::Refused(refusal) => SignalingEvent::Rejected {
                    message: refusal.message,
                },
                error => SignalingEvent::ConnectFailed { error },
            }),
            SocketEvent::ReconnectWait { attempt, delay } => self
                .reports
                .push(SignalingEvent::Reconnecting { attempt, delay }),
            SocketEvent::ReconnectFailed { attempts } => {
                self.reports.push(SignalingEvent::GaveUp { attempts });
            }
            SocketEvent::Event(event) => {
                if let Some(ticket) = event.ticket {
                    self.socket.acknowledge(ticket, Acknowledgement::default());
                }
                let argument = event.arguments.into_iter().next().unwrap_or_default();
                match Frame::from_value(argument) {
                    Ok(frame) if event.name == EVENT => self.receive(frame),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "unreadable frame dropped"),
                }
            }
            _ => {}
        }
    }

    /// Whether the call is told that the connection was lost and is back. Whoever keeps less knows nothing
    /// of reconnects: they are the library's business, and no reason to look for other candidates.
    fn notices_drops(&self) -> bool {
        self.habits.kept == Kept::Everything
    }

    fn receive(&mut self, frame: Frame) {
        let FrameContent::Message { number, body, .. } = &frame.content else {
            return self.take_in(frame);
        };
        let number = *number;
        let identity = (
            frame.from.clone(),
            frame.device.clone(),
            frame.call.clone(),
            number,
        );
        let envelope = Envelope {
            from: frame.from.clone(),
            to: frame.to.clone(),
            call: frame.call.clone(),
            body: body.clone(),
        };
        let is_new = self.heard.insert(identity);
        if number <= UNKEPT {
            self.take_in(frame);
        }
        let is_handed_up = if is_new {
            number > UNKEPT
        } else {
            self.habits.repeats == Repeats::HandedUp
        };
        if is_handed_up && is_new {
            self.hand_up(envelope);
        } else if is_handed_up {
            // An offer that rings is repeated by design, so a repetition alone is no failure. What comes
            // of it is.
            tracing::debug!(
                kind = envelope.body.kind(),
                "a message is applied once more"
            );
            self.reports.push(SignalingEvent::Message(envelope));
        }
    }

    fn hand_up(&mut self, envelope: Envelope) {
        Logbook::told(envelope.body.kind(), &envelope.call);
        self.reports.push(SignalingEvent::Message(envelope));
    }

    fn take_in(&mut self, frame: Frame) {
        if let Err(error) = self.mailbox.handle_frame(Instant::now(), frame) {
            tracing::debug!(%error, "frame dropped");
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
