//! The heartbeat that tells a dead path (pure).

use std::time::Duration;

use tokio::time::Instant;

use super::OpenPacket;

/// When a session counts as dead: nothing arrived for the ping interval plus the ping timeout.
///
/// The server pings; a client that only waited for a failing write would not notice a path that
/// swallows packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    allowance: Duration,
    deadline: Instant,
}

impl Heartbeat {
    /// Starts with the open packet, which counts as the first one received.
    #[must_use]
    pub fn new(open: &OpenPacket, now: Instant) -> Self {
        let allowance = open.ping_interval + open.ping_timeout;
        Self {
            allowance,
            deadline: now + allowance,
        }
    }

    /// Notes that a packet arrived, of whatever kind.
    pub fn on_packet(&mut self, now: Instant) {
        self.deadline = now + self.allowance;
    }

    /// When the session is dead if nothing arrives until then.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed. A suspended process finds it passed before its timer fires,
    /// so it asks before every write.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        now >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_packet_restarts_the_deadline() {
        let open = r#"{"sid":"a","pingInterval":25000,"pingTimeout":20000}"#;
        let open = OpenPacket::parse(open).expect("valid");
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(&open, start);
        assert_eq!(heartbeat.deadline(), start + Duration::from_secs(45));
        heartbeat.on_packet(start + Duration::from_secs(44));
        assert!(!heartbeat.is_expired(start + Duration::from_secs(88)));
        assert!(heartbeat.is_expired(start + Duration::from_secs(89)));
    }
}
