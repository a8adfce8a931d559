//! The move of a session from polling to WebSocket, step by step (pure).
//!
//! ```text
//!   Opening ── WebSocket up: send 2probe ──▶ Probing ── 3probe ──▶ Pausing ── polling quiet: send 5 ──▶ over
//!      │                                        │                     │
//!      └─────────── limit, wrong packet ────────┴─────────────────────┴──▶ failed; polling goes on
//! ```
//!
//! Nothing is lost or overtaken because both directions are handed over at a moment when nothing is
//! under way: once the last answer to a poll is read and the last post is answered, everything either
//! side sent has arrived, and only then 5 tells the server to go on over the WebSocket. Until 5 is sent
//! the move can be given up without a trace.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::EngineIoPacket;

/// How long a probe may take from dialling to the server's answer.
pub const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// How long the requests that are under way may take after that. A server gives an upgrade up as well,
/// after ten seconds where it is not told otherwise.
pub const PAUSE_LIMIT: Duration = Duration::from_secs(10);

/// What a probe and its answer carry.
const PROBE: &str = "probe";

/// One attempt to move a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    state: State,
    unsent: Option<EngineIoPacket>,
}

/// What runs out in an [`Upgrade`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeTimer {
    /// The server's answer to the probe, or the WebSocket under it.
    Probe,
    /// The requests that were under way.
    Pause,
}

/// Why a session stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UpgradeError {
    /// The server did not answer the probe.
    #[error("the server did not answer the probe within {limit:?}")]
    NoAnswer {
        /// How long it had.
        limit: Duration,
    },
    /// Polling did not come to rest.
    #[error("polling did not pause within {limit:?} of the server's answer to the probe")]
    NoPause {
        /// How long it had.
        limit: Duration,
    },
    /// The server sent something else than the answer to the probe.
    #[error("the server sent {found} out of turn during the probe")]
    OutOfTurn {
        /// What it sent.
        found: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Opening { deadline: Instant },
    Probing { deadline: Instant },
    Pausing { deadline: Instant },
    Complete,
    Failed,
}

impl Upgrade {
    /// Starts to dial.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Opening {
                deadline: now + PROBE_LIMIT,
            },
            unsent: None,
        }
    }

    /// The WebSocket is up: the probe goes out over it.
    pub fn handle_opened(&mut self) {
        if let State::Opening { deadline } = self.state {
            self.state = State::Probing { deadline };
            self.unsent = Some(EngineIoPacket::Ping(PROBE.into()));
        }
    }

    /// A packet came over the WebSocket.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::OutOfTurn`]; the attempt has failed.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &EngineIoPacket,
    ) -> Result<(), UpgradeError> {
        let is_answer = matches!(packet, EngineIoPacket::Pong(text) if text == PROBE);
        match self.state {
            State::Probing { .. } if is_answer => {
                let deadline = now + PAUSE_LIMIT;
                self.state = State::Pausing { deadline };
                Ok(())
            }
            _ if matches!(packet, EngineIoPacket::Noop) => Ok(()),
            _ => Err(self.fail(UpgradeError::OutOfTurn {
                found: format!("{packet:?}"),
            })),
        }
    }

    /// Polling is quiet: no request is under way, and everything that was received is handed up.
    pub fn handle_paused(&mut self) {
        if let State::Pausing { .. } = self.state {
            self.state = State::Complete;
            self.unsent = Some(EngineIoPacket::Upgrade);
        }
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) may have come.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::NoAnswer`] or [`UpgradeError::NoPause`]; the attempt has failed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), UpgradeError> {
        match self.poll_timeout() {
            Some((deadline, timer)) if now >= deadline => Err(self.fail(match timer {
                UpgradeTimer::Probe => UpgradeError::NoAnswer { limit: PROBE_LIMIT },
                UpgradeTimer::Pause => UpgradeError::NoPause { limit: PAUSE_LIMIT },
            })),
            _ => Ok(()),
        }
    }

    /// The next packet to write to the WebSocket.
    pub fn poll_transmit(&mut self) -> Option<EngineIoPacket> {
        self.unsent.take()
    }

    /// When this attempt fails unless something happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, UpgradeTimer)> {
        match self.state {
            State::Opening { deadline } | State::Probing { deadline } => {
                Some((deadline, UpgradeTimer::Probe))
            }
            State::Pausing { deadline } => Some((deadline, UpgradeTimer::Pause)),
            State::Complete | State::Failed => None,
        }
    }

    /// Whether polling must start no request now.
    #[must_use]
    pub fn is_pausing(&self) -> bool {
        matches!(self.state, State::Pausing { .. })
    }

    /// Whether the session is the WebSocket's: what [`poll_transmit`](Self::poll_transmit) still has
    /// goes out first, then every other packet.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    fn fail(&mut self, error: UpgradeError) -> UpgradeError {
        self.state = State::Failed;
        self.unsent = None;
        error
    }
}
