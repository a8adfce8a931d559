//! What can be set on a relay.

use std::time::Duration;

use super::admission::TokenPolicy;
use super::turn_credentials::TurnCredentialIssuer;

/// What can be set on a [`Relay`](super::Relay).
///
/// Every limit is there so that one client, or all of them, cannot take memory or time without end.
/// The defaults leave a call several times the room that it needs.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The path of the Engine.IO endpoint. Default `/socket.io`, as every Socket.IO client has it.
    pub path: String,
    /// Who may connect. Default [`TokenPolicy::Any`].
    pub tokens: TokenPolicy,
    /// Issues credentials for TURN servers. Default `None`: clients that ask get an error.
    pub turn: Option<TurnCredentialIssuer>,
    /// The most messages that are kept for one user. Default 256; a call needs some 40. Beyond it,
    /// messages for a user without a connection are refused.
    pub kept_messages_max: usize,
    /// The most bytes, as JSON, that are kept for all users together. Default 64 MiB, the messages
    /// of some thousand calls whose callees are away.
    pub kept_bytes_max: usize,
    /// How long a message is kept. Default 60 s: an offer that is delivered later than that rings
    /// for a call that its caller has given up.
    pub kept_for: Duration,
    /// The longest frame in bytes, as JSON. Default 64 KiB; a session description with its candidates
    /// has some 5 KiB. A longer one is refused.
    pub frame_bytes_max: usize,
    /// The longest WebSocket message, and the longest body of a polling request or answer, in bytes.
    /// Default 256 KiB: some frames that travel together. A client that sends more is disconnected.
    pub payload_bytes_max: usize,
    /// The longest name of a user or a device, and the longest call id, in bytes. Default 128; ids
    /// that this crate makes have 32.
    pub name_bytes_max: usize,
    /// How many frames a connection may send. Default 1000 at once and one more each 10 ms: a call that
    /// trickles for 3 s sends some 40, and one that reconnects sends again some 250 at the most. What
    /// comes faster is refused.
    pub frame_rate: Rate,
    /// How many frames of a connection may be refused for its own fault before it is closed. Default
    /// 100 at once and one more each second: an honest client has next to none.
    pub refusal_rate: Rate,
    /// The most calls that a user has begun and that are not forgotten yet. Default 128: one each 5 s
    /// for as long as [`call_idle`](Self::call_idle).
    pub calls_per_user_max: usize,
    /// The most calls in all. Default 100 000, some 50 MB.
    pub calls_max: usize,
    /// How long after its last frame a call is forgotten. Default 10 min: talking needs no signaling,
    /// and a call whose next frame comes later is only learned anew.
    pub call_idle: Duration,
    /// The most devices of one user at a time. Default 32: a client that was killed stays connected for
    /// up to 45 s, and may have been started again some times by then.
    pub devices_per_user_max: usize,
    /// The most connections (streams) at a time. Default 10 000; a client has one over WebSocket and up
    /// to three while it polls. Requests on those beyond are answered with 503.
    pub connections_max: usize,
}

/// A limit of how often something may happen: a burst at once, and then one more each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many may come at once.
    pub burst: u32,
    /// How long it takes until one more may come.
    pub interval: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            path: "/socket.io".into(),
            tokens: TokenPolicy::Any,
            turn: None,
            kept_messages_max: 256,
            kept_bytes_max: 64 << 20,
            kept_for: Duration::from_mins(1),
            frame_bytes_max: 64 << 10,
            payload_bytes_max: 256 << 10,
            name_bytes_max: 128,
            frame_rate: Rate {
                burst: 1000,
                interval: Duration::from_millis(10),
            },
            refusal_rate: Rate {
                burst: 100,
                interval: Duration::from_secs(1),
            },
            calls_per_user_max: 128,
            calls_max: 100_000,
            call_idle: Duration::from_mins(10),
            devices_per_user_max: 32,
            connections_max: 10_000,
        }
    }
}
