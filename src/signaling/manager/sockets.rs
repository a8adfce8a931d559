//! The sockets of a manager: what the application wants of them, and what becomes of it.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::event::{DisconnectReason, SocketConnectError, SocketEvent};
use super::link::{LinkState, Retry};
use super::{Link, Manager, ManagerAction, Slot, SocketId, SocketSettings, Wish};
use crate::signaling::engine_io::EngineIoPacket;
use crate::signaling::socket_io::emit::{Acknowledgement, Emit, EmitId};
use crate::signaling::socket_io::namespace::{
    Membership, NamespaceEvent, NamespaceSettings, NamespaceState,
};
use crate::signaling::socket_io::outbox::Answer;
use crate::signaling::socket_io::received::AcknowledgementTicket;
use crate::signaling::socket_io::{Namespace, SocketIoBody, SocketIoPacket};

/// The acknowledgement id of no event: servers count from nothing, and the largest that fits into the
/// integers of all of them is never reached.
const NO_EVENT: u64 = i32::MAX.unsigned_abs() as u64;

impl Manager {
    /// Takes a socket in; it is down until [`connect`](Self::connect). Neither its id nor its
    /// namespace may be another socket's.
    pub fn open_socket(
        &mut self,
        now: Instant,
        id: SocketId,
        namespace: Namespace,
        settings: SocketSettings,
    ) {
        let settings = NamespaceSettings {
            auth: settings.auth,
            retries: settings.retries,
            acknowledgement_timeout: settings.acknowledgement_timeout,
            join_timeout: self.limits.join_timeout,
            bounds: self.limits.bounds,
        };
        let mut state = NamespaceState::new(namespace, settings);
        state.count_acknowledgements_from(self.acknowledgement_ids_from);
        if let Link::Open(open) = &self.link {
            state.set_flow(now, open.flow);
        }
        let wish = Wish::Down;
        self.sockets.insert(id, Slot { state, wish });
    }

    /// The application wants this socket to be joined, now and after every drop. While an attempt is
    /// under way or waited for, it joins with that one.
    pub fn connect(&mut self, now: Instant, id: SocketId) {
        self.give_up_expired(now);
        let Some(slot) = self.sockets.get_mut(&id) else {
            return;
        };
        slot.wish = Wish::Up;
        self.reopen_wanted(now);
        self.join_wanted(now);
    }

    /// The application wants this socket to be down.
    pub fn disconnect(&mut self, now: Instant, id: SocketId) {
        let Some(slot) = self.sockets.get_mut(&id) else {
            return;
        };
        slot.wish = Wish::Down;
        let before = slot.state.leave();
        self.drain(now, id);
        if before == Membership::Joined {
            let reason = DisconnectReason::ClientDisconnect;
            self.events
                .push_back((id, SocketEvent::Disconnected { reason }));
        }
        self.close_unwanted(now);
    }

    /// The socket is gone. Its unanswered emits are concluded; nothing else is told of it any more.
    pub fn release(&mut self, now: Instant, id: SocketId) {
        if let Some(slot) = self.sockets.get_mut(&id) {
            slot.wish = Wish::Down;
            slot.state.leave();
            slot.state.close();
        }
        self.drain(now, id);
        if let Some(Slot { state, .. }) = self.sockets.remove(&id) {
            let next = state.next_acknowledgement_id();
            self.acknowledgement_ids_from = self.acknowledgement_ids_from.max(next);
            if matches!(state.membership(), Membership::Leaving { .. }) {
                self.leaving.insert(state.name().clone(), state);
            }
        }
        self.events.retain(|(socket, _)| *socket != id);
        self.close_unwanted(now);
    }

    /// Changes what the next CONNECT of this socket carries.
    pub fn set_auth(&mut self, id: SocketId, auth: Map<String, Value>) {
        if let Some(slot) = self.sockets.get_mut(&id) {
            slot.state.set_auth(auth);
        }
    }

    /// Sends an event; `None` where there is no such socket. Where an answer is wanted,
    /// [`poll_outcome`](Self::poll_outcome) has exactly one outcome for it.
    pub fn emit(
        &mut self,
        now: Instant,
        id: SocketId,
        emit: Emit,
        answer: Answer,
    ) -> Option<EmitId> {
        self.give_up_expired(now);
        self.with(now, id, |slot| slot.state.emit(now, emit, answer))
    }

    /// Answers an event, if the connection that it came over is still there.
    pub fn acknowledge(
        &mut self,
        now: Instant,
        id: SocketId,
        ticket: AcknowledgementTicket,
        answer: Acknowledgement,
    ) {
        self.give_up_expired(now);
        self.with(now, id, |slot| slot.state.acknowledge(ticket, answer));
    }

    /// How many events of a socket wait to be written, and how many answers it waits for.
    #[must_use]
    pub fn load(&self, id: SocketId) -> Option<(usize, usize)> {
        let state = &self.sockets.get(&id)?.state;
        Some((state.waiting(), state.unanswered()))
    }

    /// Joins every namespace that is wanted and not joined, if the connection is open.
    pub(super) fn join_wanted(&mut self, now: Instant) {
        if self.link_state() != LinkState::Open {
            return;
        }
        for id in self.ids() {
            let is_free = |slot: &Slot| !self.leaving.contains_key(slot.state.name());
            let may_join = self
                .sockets
                .get(&id)
                .is_some_and(|slot| slot.wish == Wish::Up && is_free(slot));
            if may_join {
                self.with(now, id, |slot| slot.state.join(now));
            }
        }
    }

    pub(super) fn on_socket_packet(&mut self, now: Instant, packet: SocketIoPacket) {
        if let Some(mut state) = self.leaving.remove(&packet.namespace) {
            // What is on its way out keeps nothing and reports nothing.
            if state.handle_packet(now, packet).is_ok() {
                self.transmit(&mut state);
            }
            if *state.membership() == Membership::Out {
                self.join_wanted(now);
            } else {
                self.leaving.insert(state.name().clone(), state);
            }
            return;
        }
        let is_meant = |slot: &Slot| *slot.state.name() == packet.namespace;
        let mut slots = self.sockets.iter();
        let Some((&id, _)) = slots.find(|(_, slot)| is_meant(slot)) else {
            tracing::debug!(namespace = %packet.namespace, "no socket has this namespace");
            return;
        };
        let handled = self.with(now, id, |slot| slot.state.handle_packet(now, packet));
        if let Some(Err(error)) = handled {
            self.on_parse_error(now, error);
        }
    }

    pub(super) fn handle_namespace_timeouts(&mut self, now: Instant) {
        for id in self.ids() {
            self.with(now, id, |slot| slot.state.handle_timeout(now));
        }
        let leaving = self.leaving.len();
        self.leaving.retain(|_, state| {
            state.handle_timeout(now);
            *state.membership() != Membership::Out
        });
        if self.leaving.len() < leaving {
            self.join_wanted(now);
        }
    }

    /// A packet that every server takes and none acts on. In a namespace it is the answer to an event
    /// that never was; a pong would do everywhere, but Node puts its next ping off for each, so that a
    /// session whose pongs come oftener than its pings would end by its own heartbeat.
    pub(super) fn idle_packet(&self) -> EngineIoPacket {
        let is_joined = |slot: &&Slot| *slot.state.membership() == Membership::Joined;
        let joined = self.sockets.values().find(is_joined);
        let answer = joined.and_then(|slot| {
            let body = SocketIoBody::Acknowledgement {
                id: NO_EVENT,
                arguments: Vec::new(),
            };
            let packet = SocketIoPacket::new(slot.state.name().clone(), body);
            packet.into_messages().next()
        });
        answer.unwrap_or_else(|| EngineIoPacket::Pong(String::new()))
    }

    pub(super) fn ids(&self) -> Vec<SocketId> {
        self.sockets.keys().copied().collect()
    }

    pub(super) fn tell_wanted(&mut self, event: impl Fn() -> SocketEvent) {
        let wanted = self
            .sockets
            .iter()
            .filter(|(_, slot)| slot.wish == Wish::Up);
        self.events.extend(wanted.map(|(id, _)| (*id, event())));
    }

    /// Does something to a socket, and passes on what comes of it.
    pub(super) fn with<T>(
        &mut self,
        now: Instant,
        id: SocketId,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Option<T> {
        let changed = change(self.sockets.get_mut(&id)?);
        self.drain(now, id);
        Some(changed)
    }

    /// Passes on what a namespace has to write and to tell. Writing comes first: what waited is on
    /// its way when `Connected` is told.
    pub(super) fn drain(&mut self, now: Instant, id: SocketId) {
        while let Some(slot) = self.sockets.get_mut(&id) {
            while let Some(packet) = slot.state.poll_transmit() {
                let generation = self.generation;
                self.actions
                    .push_back(ManagerAction::Transmit { generation, packet });
            }
            while let Some((emit, outcome)) = slot.state.poll_outcome() {
                self.outcomes.push_back((id, emit, outcome));
            }
            match slot.state.poll_event() {
                Some(event) => self.on_namespace_event(now, id, event),
                None => break,
            }
        }
    }

    fn transmit(&mut self, state: &mut NamespaceState) {
        let generation = self.generation;
        while let Some(packet) = state.poll_transmit() {
            self.actions
                .push_back(ManagerAction::Transmit { generation, packet });
        }
    }

    fn on_namespace_event(&mut self, now: Instant, id: SocketId, event: NamespaceEvent) {
        match event {
            NamespaceEvent::Joined { sid, recovered } => {
                if let Link::Open(open) = &mut self.link {
                    open.joined.get_or_insert(now);
                }
                self.events
                    .push_back((id, SocketEvent::Connected { sid, recovered }));
            }
            NamespaceEvent::Left => self.join_wanted(now),
            NamespaceEvent::Refused(refusal) => {
                self.fail(now, id, SocketConnectError::Refused(refusal));
            }
            NamespaceEvent::OldProtocol => self.fail(now, id, SocketConnectError::OldProtocol),
            NamespaceEvent::JoinTimedOut => self.on_join_timed_out(now, id),
            NamespaceEvent::Dismissed { from } => {
                let reason = DisconnectReason::ServerDisconnect;
                if from == Membership::Joined {
                    self.wish_down(id);
                    self.events
                        .push_back((id, SocketEvent::Disconnected { reason }));
                    self.close_unwanted(now);
                } else {
                    self.fail(now, id, SocketConnectError::Lost(reason));
                }
            }
            NamespaceEvent::Received(event) => {
                self.events.push_back((id, SocketEvent::Event(event)));
            }
            NamespaceEvent::Dropped { name, reason } => {
                self.events
                    .push_back((id, SocketEvent::Dropped { name, reason }));
            }
        }
    }

    /// The server will not let this socket in, whenever it asks.
    fn fail(&mut self, now: Instant, id: SocketId, error: SocketConnectError) {
        self.wish_down(id);
        self.events
            .push_back((id, SocketEvent::ConnectFailed { error }));
        self.close_unwanted(now);
    }

    /// CONNECT is sent again where other namespaces show that the connection works; otherwise the
    /// connection is as suspect as the namespace.
    fn on_join_timed_out(&mut self, now: Instant, id: SocketId) {
        let Some(slot) = self.sockets.get(&id).filter(|slot| slot.wish == Wish::Up) else {
            return;
        };
        let error = SocketConnectError::NamespaceTimedOut {
            namespace: slot.state.name().clone(),
            limit: self.limits.join_timeout,
        };
        self.events
            .push_back((id, SocketEvent::ConnectFailed { error }));
        let is_joined = |slot: &Slot| *slot.state.membership() == Membership::Joined;
        if self.sockets.values().any(is_joined) {
            self.join_wanted(now);
        } else {
            self.lose(now, &DisconnectReason::NamespaceTimeout, Retry::Later);
        }
    }

    fn wish_down(&mut self, id: SocketId) {
        if let Some(slot) = self.sockets.get_mut(&id) {
            slot.wish = Wish::Down;
        }
    }
}
