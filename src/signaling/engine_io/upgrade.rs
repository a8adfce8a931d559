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
        found: &'static str,
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

    /// A packet came over the WebSocket. Those that come after the move are the session's.
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
            State::Probing { .. } if is_answer && self.unsent.is_none() => {
                let deadline = now + PAUSE_LIMIT;
                self.state = State::Pausing { deadline };
                Ok(())
            }
            State::Complete => Ok(()),
            _ if matches!(packet, EngineIoPacket::Noop) => Ok(()),
            _ => Err(self.fail(UpgradeError::OutOfTurn {
                found: packet.name(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer() -> EngineIoPacket {
        EngineIoPacket::Pong(PROBE.into())
    }

    #[tokio::test(start_paused = true)]
    async fn r16_the_session_moves_once_the_probe_is_answered_and_polling_is_quiet() {
        let now = Instant::now();
        let mut upgrade = Upgrade::new(now);
        assert_eq!(upgrade.poll_transmit(), None);
        upgrade.handle_opened();
        let probe = EngineIoPacket::Ping("probe".into());
        assert_eq!(upgrade.poll_transmit(), Some(probe));
        assert!(!upgrade.is_pausing());
        // Nobody asked for that yet.
        upgrade.handle_paused();
        assert_eq!(upgrade.poll_transmit(), None);
        upgrade.handle_packet(now, &answer()).expect("the answer");
        assert!(upgrade.is_pausing() && !upgrade.is_complete());
        assert_eq!(upgrade.poll_transmit(), None);
        upgrade.handle_paused();
        assert!(!upgrade.is_pausing() && upgrade.is_complete());
        assert_eq!(upgrade.poll_transmit(), Some(EngineIoPacket::Upgrade));
        assert_eq!(upgrade.poll_timeout(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn r18_a_probe_fails_after_ten_seconds_and_so_does_a_pause() {
        let start = Instant::now();
        let late = start + PROBE_LIMIT;
        let just_before = late - Duration::from_millis(1);
        let mut upgrade = Upgrade::new(start);
        assert_eq!(upgrade.poll_timeout(), Some((late, UpgradeTimer::Probe)));
        upgrade.handle_opened();
        assert!(upgrade.poll_transmit().is_some());
        assert_eq!(upgrade.handle_timeout(just_before), Ok(()));
        let mut paused = upgrade.clone();
        let limit = PROBE_LIMIT;
        assert_eq!(
            upgrade.handle_timeout(late),
            Err(UpgradeError::NoAnswer { limit })
        );
        assert_eq!(upgrade.poll_transmit(), None, "it is given up");

        paused
            .handle_packet(just_before, &answer())
            .expect("in time");
        assert_eq!(paused.handle_timeout(late), Ok(()));
        let limit = PAUSE_LIMIT;
        assert_eq!(
            paused.handle_timeout(just_before + PAUSE_LIMIT),
            Err(UpgradeError::NoPause { limit })
        );
        paused.handle_paused();
        assert_eq!(paused.poll_transmit(), None);
    }

    #[derive(Debug, Clone)]
    enum Input {
        Opened,
        Packet(EngineIoPacket),
        Paused,
        Wait(Duration),
        Transmit,
    }

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        let input = prop_oneof![
            1 => Just(Input::Opened),
            4 => Just(Input::Packet(answer())),
            1 => Just(Input::Packet(EngineIoPacket::Noop)),
            1 => Just(Input::Packet(EngineIoPacket::Pong(String::new()))),
            3 => Just(Input::Paused),
            1 => (0_u64..4000).prop_map(|wait| Input::Wait(Duration::from_millis(wait))),
            3 => Just(Input::Transmit),
        ];
        prop::collection::vec(input, 0..16)
    }

    proptest! {
        #[test]
        fn whatever_happens_the_session_moves_after_an_answer_and_a_pause_or_not_at_all(
            inputs in inputs()
        ) {
            // The steps that have been seen, in the only order in which they count.
            let mut steps = 0;
            let mut has_failed = false;
            let mut sent = Vec::new();
            let mut now = Instant::now();
            let mut upgrade = Upgrade::new(now);
            for input in inputs {
                let outcome = match input {
                    Input::Opened => {
                        upgrade.handle_opened();
                        steps = if has_failed { steps } else { steps.max(1) };
                        Ok(())
                    }
                    Input::Packet(packet) => {
                        if packet == answer() && steps == 1 && !sent.is_empty() && !has_failed {
                            steps = 2;
                        }
                        upgrade.handle_packet(now, &packet)
                    }
                    Input::Paused => {
                        upgrade.handle_paused();
                        if steps == 2 && !has_failed {
                            steps = 3;
                        }
                        Ok(())
                    }
                    Input::Wait(wait) => {
                        now += wait;
                        upgrade.handle_timeout(now)
                    }
                    Input::Transmit => {
                        sent.extend(upgrade.poll_transmit());
                        Ok(())
                    }
                };
                has_failed |= outcome.is_err();
                prop_assert_eq!(upgrade.is_complete(), steps == 3 && !has_failed);
                prop_assert_eq!(upgrade.is_pausing(), steps == 2 && !has_failed);
                prop_assert!(!has_failed || upgrade.poll_transmit().is_none());
                prop_assert!(!has_failed || upgrade.poll_timeout().is_none());
            }
            sent.extend(upgrade.poll_transmit());
            let moves = sent.iter().filter(|packet| **packet == EngineIoPacket::Upgrade);
            prop_assert!(moves.count() <= usize::from(steps == 3));
            prop_assert!(sent.len() <= 2);
        }
    }
}
