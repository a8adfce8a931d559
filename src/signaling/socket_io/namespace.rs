//! What a client knows of one namespace.
//!
//! ```text
//! Out ── join ──▶ Joining ── CONNECT reply ──▶ Joined
//!                  │  ▲                          │
//!              leave  join                     leave
//!                  ▼  │                          │
//!                 Leaving ── reply ──▶ Out ◀─────┘
//! ```
//!
//! A namespace is left only after it was joined: a server that is still making up its mind about
//! CONNECT knows of nothing to leave. Any state falls back to `Out` when the connection is lost.

mod sending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::acknowledgements::Acknowledgements;
use super::emit::{Acknowledgement, AcknowledgementError, DropReason, EmitId, Outcome};
use super::outbox::{Answer, Outbox, OutboxBounds};
use super::received::{AcknowledgementTicket, ReceivedEvent, Recovered, Session};
use super::recovery::Recovery;
use super::{Namespace, Refusal, SocketIoBody, SocketIoError, SocketIoPacket, later};
use crate::signaling::engine_io::EngineIoPacket;

/// The most events that are kept before the reply to CONNECT. A recovered session begins with all
/// that was missed in the meantime.
pub const EARLY_EVENTS_MAX: usize = 1024;

/// The shortest time that is allowed for an answer. With none at all, what is tried again would be
/// tried without end in the same instant.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// How a namespace is joined and used.
#[derive(Clone, PartialEq)]
pub struct NamespaceSettings {
    /// What CONNECT carries.
    pub auth: Map<String, Value>,
    /// How often an event is written again that was not acknowledged; 0 for not at all.
    pub retries: u32,
    /// How long an acknowledgement may take.
    pub acknowledgement_timeout: Duration,
    /// How long the reply to CONNECT may take.
    pub join_timeout: Duration,
    /// What may wait to be sent.
    pub bounds: OutboxBounds,
}

/// The state of one namespace.
#[derive(Debug)]
pub struct NamespaceState {
    name: Namespace,
    settings: NamespaceSettings,
    membership: Membership,
    flow: Flow,
    recovery: Recovery,
    /// Events that came before the reply to CONNECT.
    early: VecDeque<SocketIoPacket>,
    /// The present stay, while joined.
    session: Option<Session>,
    sessions: u64,
    next_emit: u64,
    outbox: Outbox,
    acknowledgements: Acknowledgements,
    /// The event that a namespace with retries has written and waits for.
    in_flight: Option<EmitId>,
    transmits: VecDeque<EngineIoPacket>,
    events: VecDeque<NamespaceEvent>,
    outcomes: VecDeque<(EmitId, Outcome)>,
}

/// Whether the client is in the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// It is not.
    Out,
    /// CONNECT is sent; the reply is awaited.
    Joining {
        /// Until when.
        deadline: Instant,
    },
    /// It is.
    Joined,
    /// CONNECT is sent and no longer meant: what the reply lets in leaves at once.
    Leaving {
        /// Until when the reply is awaited.
        deadline: Instant,
    },
}

/// Whether the transport takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Writable,
    /// It still writes what it has.
    Blocked,
}

/// What happens in a namespace.
#[derive(Debug)]
pub enum NamespaceEvent {
    /// It is joined.
    Joined {
        /// The server's name for this session.
        sid: String,
        /// Whether it is the session before.
        recovered: Recovered,
    },
    /// It is left, as was wanted while CONNECT was under way.
    Left,
    /// The server does not let this client in.
    Refused(Refusal),
    /// The reply to CONNECT has no `sid`.
    OldProtocol,
    /// The server did not answer CONNECT in time.
    JoinTimedOut,
    /// The server put this client out, or did not let it in, without a reason.
    Dismissed {
        /// What the client was until then.
        from: Membership,
    },
    /// The server sent an event.
    Received(ReceivedEvent),
    /// An emit without acknowledgement was dropped.
    Dropped {
        /// The event's name.
        name: String,
        /// Why.
        reason: DropReason,
    },
}

/// What a namespace waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamespaceTimer {
    /// The reply to CONNECT.
    Join,
    /// The answer to an emit.
    Acknowledgement,
    /// The end of a waiting event's time to live.
    TimeToLive,
}

impl NamespaceState {
    /// A namespace that is not joined.
    #[must_use]
    pub fn new(name: Namespace, settings: NamespaceSettings) -> Self {
        Self {
            name,
            outbox: Outbox::new(settings.bounds),
            settings,
            membership: Membership::Out,
            flow: Flow::Writable,
            recovery: Recovery::default(),
            early: VecDeque::new(),
            session: None,
            sessions: 0,
            next_emit: 0,
            acknowledgements: Acknowledgements::default(),
            in_flight: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &Namespace {
        &self.name
    }

    /// Whether the client is in it.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// How many events wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// How many answers are waited for.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.acknowledgements.len()
    }

    /// The acknowledgement id that the next event with one is written with.
    #[must_use]
    pub fn next_acknowledgement_id(&self) -> u64 {
        self.acknowledgements.next_id()
    }

    /// Counts acknowledgement ids from this one on: those below were another socket's.
    pub fn count_acknowledgements_from(&mut self, id: u64) {
        self.acknowledgements.count_from(id);
    }

    /// Changes what the next CONNECT carries.
    pub fn set_auth(&mut self, auth: Map<String, Value>) {
        self.settings.auth = auth;
    }

    /// Sends CONNECT over a connection that is open. Does nothing where CONNECT is under way; a
    /// client that was leaving is put out first, and has to join again then.
    pub fn join(&mut self, now: Instant) {
        if self.membership != Membership::Out {
            return;
        }
        let deadline = later(now, self.settings.join_timeout.max(TIMEOUT_MIN));
        self.membership = Membership::Joining { deadline };
        let payload = self.recovery.connect_payload(&self.settings.auth);
        self.transmit(SocketIoBody::Connect { payload });
    }

    /// Leaves over a connection that is open. Gives what the client was until then.
    pub fn leave(&mut self) -> Membership {
        let next = match self.membership {
            Membership::Joining { deadline } | Membership::Leaving { deadline } => {
                Membership::Leaving { deadline }
            }
            Membership::Joined => {
                self.transmit(SocketIoBody::Disconnect);
                Membership::Out
            }
            Membership::Out => Membership::Out,
        };
        self.go(next)
    }

    /// The connection is gone. Gives what the client was until then.
    pub fn on_lost(&mut self) -> Membership {
        // What was meant for that connection and not fetched is of no use to another.
        self.transmits.clear();
        self.flow = Flow::Writable;
        self.go(Membership::Out)
    }

    /// The socket is closed for good: what is not answered never will be.
    pub fn close(&mut self) {
        while let Some(waiting) = self.outbox.pop_front() {
            self.acknowledgements.forget(waiting.id);
            if waiting.answer == Answer::Wanted {
                let closed = Err(AcknowledgementError::Closed);
                self.outcomes.push_back((waiting.id, closed));
            }
        }
        self.in_flight = None;
        for emit in self.acknowledgements.forget_all() {
            let closed = Err(AcknowledgementError::Closed);
            self.outcomes.push_back((emit, closed));
        }
    }

    /// Takes a packet of this namespace.
    ///
    /// # Errors
    ///
    /// [`SocketIoError::EarlyEvents`]: the connection has to be closed.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: SocketIoPacket,
    ) -> Result<(), SocketIoError> {
        match (&self.membership, packet.body) {
            (Membership::Joining { .. }, SocketIoBody::Connect { payload }) => {
                self.on_reply(now, payload.unwrap_or_default());
            }
            (Membership::Joining { .. }, SocketIoBody::ConnectError(refusal)) => {
                self.go(Membership::Out);
                self.events.push_back(NamespaceEvent::Refused(refusal));
            }
            (Membership::Joining { .. }, body @ SocketIoBody::Event { .. }) => {
                if self.early.len() >= EARLY_EVENTS_MAX {
                    let max = EARLY_EVENTS_MAX;
                    return Err(SocketIoError::EarlyEvents { max });
                }
                self.early.push_back(SocketIoPacket { body, ..packet });
            }
            (Membership::Leaving { .. }, SocketIoBody::Connect { .. }) => {
                self.transmit(SocketIoBody::Disconnect);
                self.go(Membership::Out);
                self.events.push_back(NamespaceEvent::Left);
            }
            (
                Membership::Leaving { .. },
                SocketIoBody::ConnectError(_) | SocketIoBody::Disconnect,
            ) => {
                self.go(Membership::Out);
                self.events.push_back(NamespaceEvent::Left);
            }
            (Membership::Joining { .. } | Membership::Joined, SocketIoBody::Disconnect) => {
                let from = self.go(Membership::Out);
                self.events.push_back(NamespaceEvent::Dismissed { from });
            }
            (Membership::Joined, body @ SocketIoBody::Event { .. }) => {
                self.deliver(SocketIoPacket { body, ..packet });
            }
            (Membership::Joined, SocketIoBody::Acknowledgement { id, arguments }) => {
                let attachments = packet.attachments;
                let answer = Acknowledgement {
                    arguments,
                    attachments,
                };
                self.on_answer(now, id, answer);
            }
            (membership, body) => {
                tracing::debug!(namespace = %self.name, ?membership, packet = body.name(), "skipped");
            }
        }
        Ok(())
    }

    /// Answers an event of the present session. The answer to an event of another one is dropped.
    pub fn acknowledge(&mut self, ticket: AcknowledgementTicket, answer: Acknowledgement) {
        let AcknowledgementTicket { session, id } = ticket;
        if self.session.as_ref() != Some(&session) {
            tracing::debug!(namespace = %self.name, id, "the answer is too late");
            return;
        }
        let Acknowledgement {
            arguments,
            attachments,
        } = answer;
        let packet = SocketIoPacket {
            namespace: self.name.clone(),
            body: SocketIoBody::Acknowledgement { id, arguments },
            attachments,
        };
        self.transmits.extend(packet.into_messages());
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Membership::Joining { deadline } | Membership::Leaving { deadline } = self.membership
            && deadline <= now
        {
            self.go(Membership::Out);
            self.events.push_back(NamespaceEvent::JoinTimedOut);
        }
        self.expire(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, NamespaceTimer)> {
        let join = match self.membership {
            Membership::Joining { deadline } | Membership::Leaving { deadline } => Some(deadline),
            Membership::Out | Membership::Joined => None,
        };
        let timers = [
            (join, NamespaceTimer::Join),
            (
                self.acknowledgements.deadline(),
                NamespaceTimer::Acknowledgement,
            ),
            (self.outbox.deadline(), NamespaceTimer::TimeToLive),
        ];
        let set = timers
            .into_iter()
            .filter_map(|(at, timer)| Some((at?, timer)));
        set.min()
    }

    /// What to write next.
    pub fn poll_transmit(&mut self) -> Option<EngineIoPacket> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<NamespaceEvent> {
        self.events.pop_front()
    }

    /// What came of an emit with acknowledgement. Each is told of once.
    pub fn poll_outcome(&mut self) -> Option<(EmitId, Outcome)> {
        self.outcomes.pop_front()
    }

    fn on_reply(&mut self, now: Instant, mut payload: Map<String, Value>) {
        let Some(Value::String(sid)) = payload.remove("sid") else {
            self.go(Membership::Out);
            self.events.push_back(NamespaceEvent::OldProtocol);
            return;
        };
        let pid = match payload.remove("pid") {
            Some(Value::String(pid)) => Some(pid),
            _ => None,
        };
        let recovered = self.recovery.on_joined(pid);
        self.sessions += 1;
        self.session = Some(Session {
            sid: Arc::from(sid.as_str()),
            number: self.sessions,
        });
        self.membership = Membership::Joined;
        for event in std::mem::take(&mut self.early) {
            self.deliver(event);
        }
        // All that waited goes out before anyone is told, however much the transport has to write
        // still: it is bounded, and what the application emits next comes behind it.
        self.flow = Flow::Writable;
        self.flush(now);
        self.events
            .push_back(NamespaceEvent::Joined { sid, recovered });
    }

    fn deliver(&mut self, packet: SocketIoPacket) {
        let SocketIoBody::Event {
            name,
            mut arguments,
            acknowledge,
        } = packet.body
        else {
            return;
        };
        if acknowledge.is_none() {
            self.recovery.take_offset(&mut arguments);
        }
        let ticket = acknowledge
            .zip(self.session.clone())
            .map(|(id, session)| AcknowledgementTicket { session, id });
        self.events
            .push_back(NamespaceEvent::Received(ReceivedEvent {
                name,
                arguments,
                attachments: packet.attachments,
                ticket,
            }));
    }

    fn transmit(&mut self, body: SocketIoBody) {
        let packet = SocketIoPacket::new(self.name.clone(), body);
        self.transmits.extend(packet.into_messages());
    }

    /// Gives what the client was until now.
    fn go(&mut self, next: Membership) -> Membership {
        let before = std::mem::replace(&mut self.membership, next);
        if self.membership == Membership::Out {
            self.early.clear();
            self.session = None;
            self.fail_written();
        }
        before
    }
}

impl std::fmt::Debug for NamespaceSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NamespaceSettings")
            .field("auth", &"…")
            .field("retries", &self.retries)
            .field("acknowledgement_timeout", &self.acknowledgement_timeout)
            .field("join_timeout", &self.join_timeout)
            .field("bounds", &self.bounds)
            .finish()
    }
}

#[cfg(test)]
mod tests;
