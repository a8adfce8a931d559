//! Losing a connection, and the way to the next one.

use std::sync::Arc;

use tokio::time::Instant;

use super::event::{DisconnectReason, SocketConnectError, SocketEvent};
use super::link::{LinkEffect, LinkInput, LinkState, Retry, step};
use super::{CLOSE_LIMIT, Link, Manager, ManagerAction, Reading, Wish};
use crate::signaling::socket_io::namespace::Membership;
use crate::signaling::socket_io::{SocketIoError, later};
use crate::signaling::transport::ConnectError;

impl Manager {
    /// Gives the connection up where its heartbeat is over, and says whether it was. A process that
    /// was suspended finds that out before its timer fires, so it is asked before every send.
    pub(super) fn give_up_expired(&mut self, now: Instant) -> bool {
        let is_expired = match &self.link {
            Link::Open(open) => self.reading == Reading::On && open.heartbeat.is_expired(now),
            _ => false,
        };
        if is_expired {
            self.lose(now, &DisconnectReason::PingTimeout, Retry::Later);
        }
        is_expired
    }

    /// Gives the connection up where its path is dead, and doubts the path where it is silent.
    pub(super) fn handle_path_timeout(&mut self, now: Instant) {
        if self.give_up_expired(now) {
            return;
        }
        let Link::Open(open) = &self.link else {
            return;
        };
        if let Some(limit) = open.path.expired(now) {
            // A connection that was of use is replaced at once. One that never was is not: a server
            // that accepts clients and goes mute would see them again and again.
            let retry = if open.joined.is_some() {
                Retry::AtOnce
            } else {
                Retry::Later
            };
            self.lose(now, &DisconnectReason::PathCheck { limit }, retry);
        } else if open.path.is_silent(now) {
            self.check_path(now);
        }
    }

    pub(super) fn on_parse_error(&mut self, now: Instant, error: SocketIoError) {
        let reason = DisconnectReason::Parse(Arc::new(error));
        self.lose(now, &reason, Retry::Later);
    }

    /// Gives up an open connection, tells the sockets, and goes for the next one.
    pub(super) fn lose(&mut self, now: Instant, reason: &DisconnectReason, retry: Retry) {
        let Link::Open(open) = &self.link else {
            return;
        };
        let is_stable = |joined| now.saturating_duration_since(joined) >= self.limits.stable_after;
        if open.joined.is_some_and(is_stable) {
            self.backoff.reset();
        }
        for (id, slot) in &mut self.sockets {
            let event = match slot.state.on_lost() {
                Membership::Joined => SocketEvent::Disconnected {
                    reason: reason.clone(),
                },
                Membership::Joining { .. } => SocketEvent::ConnectFailed {
                    error: SocketConnectError::Lost(reason.clone()),
                },
                Membership::Leaving { .. } | Membership::Out => continue,
            };
            self.events.push_back((*id, event));
        }
        self.leaving.clear();
        self.retry(now, retry);
        // Last, because what a namespace tells may only lead to something on the link as it is now.
        for id in self.ids() {
            self.drain(now, id);
        }
    }

    pub(super) fn on_attempt_failed(&mut self, now: Instant, error: &Arc<ConnectError>) {
        self.tell_wanted(|| SocketEvent::ConnectFailed {
            error: SocketConnectError::Attempt(Arc::clone(error)),
        });
        let attempt = self.attempt;
        if attempt > 0 {
            self.tell_wanted(|| SocketEvent::ReconnectError {
                attempt,
                error: Arc::clone(error),
            });
        }
        if error.is_permanent() {
            self.wish_all_down();
        }
        self.retry(now, Retry::Later);
    }

    /// Starts the attempt that was announced.
    pub(super) fn start_attempt(&mut self, now: Instant, input: LinkInput) {
        let attempt = self.attempt;
        self.tell_wanted(|| SocketEvent::ReconnectAttempt { attempt });
        self.enter(now, input);
    }

    /// Closes the connection where no socket wants it any more.
    pub(super) fn close_unwanted(&mut self, now: Instant) {
        if self.is_wanted() {
            return;
        }
        for slot in self.sockets.values_mut() {
            slot.state.on_lost();
        }
        self.leaving.clear();
        self.enter(now, LinkInput::Unwanted);
        for id in self.ids() {
            self.drain(now, id);
        }
    }

    /// A socket may have asked for a connection while the one before was being closed.
    pub(super) fn reopen_wanted(&mut self, now: Instant) {
        if self.is_wanted() && self.link_state() == LinkState::Idle {
            self.attempt = 0;
            self.enter(now, LinkInput::Wanted);
        }
    }

    /// Takes the step that the table says.
    pub(super) fn enter(&mut self, now: Instant, input: LinkInput) {
        let (next, effects) = step(self.link_state(), input);
        if next != self.link_state() || !effects.is_empty() {
            self.link = match next {
                LinkState::Idle => Link::Idle,
                // What an open connection needs comes with the open packet.
                LinkState::Opening | LinkState::Open => Link::Opening,
                LinkState::Closing => Link::Closing {
                    deadline: later(now, CLOSE_LIMIT),
                },
                LinkState::Waiting => Link::Waiting { until: now },
            };
        }
        for effect in effects {
            let generation = self.generation;
            match effect {
                LinkEffect::Abandon => {
                    self.forget_writes();
                    self.actions
                        .push_back(ManagerAction::Abandon { generation });
                }
                LinkEffect::Close => self.actions.push_back(ManagerAction::Close { generation }),
                LinkEffect::Open => {
                    self.generation += 1;
                    self.actions.push_back(ManagerAction::Open {
                        generation: self.generation,
                        attempt: self.attempt,
                    });
                }
            }
        }
    }

    /// The link is lost: decides about the next attempt.
    fn retry(&mut self, now: Instant, retry: Retry) {
        if !self.is_wanted() || retry == Retry::Never {
            self.enter(now, LinkInput::Lost(Retry::Never));
            return;
        }
        let attempts = self.backoff.attempts();
        if self.limits.attempts_max.is_some_and(|max| attempts >= max) {
            self.backoff.reset();
            self.tell_wanted(|| SocketEvent::ReconnectFailed { attempts });
            self.wish_all_down();
            self.enter(now, LinkInput::Lost(Retry::Never));
            return;
        }
        if retry == Retry::AtOnce {
            self.backoff.skip_delay();
            self.attempt = self.backoff.attempts();
            self.start_attempt(now, LinkInput::Lost(Retry::AtOnce));
            return;
        }
        let delay = self.backoff.next_delay(&mut self.generator);
        let attempt = self.backoff.attempts();
        self.attempt = attempt;
        self.tell_wanted(|| SocketEvent::ReconnectWait { attempt, delay });
        self.enter(now, LinkInput::Lost(Retry::Later));
        self.link = Link::Waiting {
            until: later(now, delay),
        };
    }

    /// What was to be written over a connection that is gone.
    fn forget_writes(&mut self) {
        self.actions.retain(|action| {
            !matches!(
                action,
                ManagerAction::Transmit { .. } | ManagerAction::Provoke { .. }
            )
        });
    }

    fn is_wanted(&self) -> bool {
        self.sockets.values().any(|slot| slot.wish == Wish::Up)
    }

    fn wish_all_down(&mut self) {
        for slot in self.sockets.values_mut() {
            slot.wish = Wish::Down;
        }
    }
}
