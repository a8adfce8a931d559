//! When a client comes back whose socket the server has disconnected (pure).
//!
//! A Socket.IO socket stays down then until it is told to connect. But a server disconnects a socket for
//! reasons that have passed a moment later: it shuts down, or it takes a connection that was on its way for
//! long for a newer one of this device. One that wants this client gone for good refuses it when it asks
//! again.

use tokio::time::Instant;

use crate::config::SignalingConfig;

/// The wait before the next connection.
#[derive(Debug, Default)]
pub(super) struct Returning {
    connected_at: Option<Instant>,
    /// How many connections in a row the server has ended before they were stable.
    dismissals: u32,
    due: Option<Instant>,
}

impl Returning {
    /// The socket is connected.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
        self.due = None;
    }

    /// The server has disconnected the socket.
    pub(super) fn handle_dismissed(&mut self, now: Instant, config: &SignalingConfig) {
        let was_stable = self
            .connected_at
            .take()
            .is_some_and(|since| since + config.stable_after <= now);
        if was_stable {
            self.dismissals = 0;
        }
        let growth = 2_u32.saturating_pow(self.dismissals);
        let delay = config.reconnection_delay.saturating_mul(growth);
        self.dismissals += 1;
        self.due = Some(now + delay.min(config.reconnection_delay_max));
    }

    /// When to connect again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// It is time to connect.
    pub(super) fn handle_timeout(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long the client waits after each dismissal, having been connected for so long before.
    #[track_caller]
    fn check(connected_for: &[u64], waits: &[u64]) {
        let config = SignalingConfig::default();
        let mut returning = Returning::default();
        let mut now = Instant::now();
        let waited = connected_for.iter().map(|seconds| {
            returning.handle_connected(now);
            assert_eq!(returning.poll_timeout(), None);
            now += SECOND * u32::try_from(*seconds).expect("a few seconds");
            returning.handle_dismissed(now, &config);
            let due = returning.poll_timeout().expect("it comes back");
            let wait = (due - now).as_secs();
            returning.handle_timeout();
            assert_eq!(returning.poll_timeout(), None);
            now = due;
            wait
        });
        assert_eq!(waited.collect::<Vec<_>>(), waits);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_comes_back_as_after_any_other_loss() {
        check(&[30], &[2]);
        check(&[1], &[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dismissed_again_and_again_waits_longer() {
        check(&[1, 1, 1, 1, 1], &[2, 4, 8, 10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_stable_starts_the_waits_over() {
        check(&[1, 1, 10, 9], &[2, 4, 2, 4]);
    }
}
