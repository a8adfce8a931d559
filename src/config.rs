//! What can be set on the client. Every default is the value that worked in the field.

use std::fmt;
use std::time::Duration;

use crate::key_log::KeyLog;
use crate::net::TrafficClass;
use crate::net::tls::TlsTrust;
pub use crate::signaling::backoff::Jitter;

/// Everything that can be set on a [`CallClient`](crate::client::CallClient).
///
/// `ClientConfig::default()` is what the field proved; change a field only for the reason its
/// documentation gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClientConfig {
    /// How the client reaches its signaling server.
    pub signaling: SignalingConfig,
    /// How the client finds and keeps a path for audio.
    pub ice: IceConfig,
    /// What is carried once a path is found.
    pub media: MediaConfig,
    /// How long it rings.
    pub ringing: RingingConfig,
    /// How an answered call keeps its audio.
    pub recovery: RecoveryConfig,
}

impl ClientConfig {
    /// Writes the secrets of all connections to `key_log`: of signaling over TLS, and of media. Read there
    /// first who can do what with them.
    pub fn log_keys(&mut self, key_log: &KeyLog) {
        self.signaling.key_log = key_log.clone();
        self.media.key_log = key_log.clone();
    }
}

/// How long a call may ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingingConfig {
    /// How long the other side's phone may ring before the caller hangs up. Default 90 s: a minute
    /// without a network may fall into it. Less gives up people who look for their phone; more holds TURN allocations for calls that nobody takes.
    pub limit: Duration,
    /// How long an incoming call rings, if its caller is not heard of again. Default 105 s: somewhat more
    /// than `limit`, so that it is the caller who gives up.
    pub incoming_limit: Duration,
    /// How long an announced call waits for its offer. Default 30 s: what a phone that was woken by a push
    /// message may need to reach its server.
    pub offer_limit: Duration,
}

/// How an answered call finds another path when the one in use dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// How long no audio arrives before another path is looked for. Default 2 s: a hundred packets, more
    /// than any jitter. Less restarts ICE in every lift; more is silence that people hear.
    pub silent_after: Duration,
    /// How long an attempt may take once the other side knows of it, and the path that the call begins
    /// with before another is looked for beside it. Default 8 s: a dozen round trips over a satellite.
    pub attempt_limit: Duration,
    /// How long an offer may go unacknowledged before the other side counts as away. Default 3 s.
    pub unacknowledged_after: Duration,
    /// The wait after the first attempt that fails; it doubles from one to the next. Default 2 s.
    pub delay: Duration,
    /// The ceiling of that wait. Default 10 s, as for signaling.
    pub delay_max: Duration,
    /// How long a call lasts in which the other side is reached by signaling, and no audio comes through.
    /// Default 42 s: ICE itself must not fail before 39.5 s (RFC 8863 section 4), and where the answer or the end
    /// takes seconds on a slow network the user still knows within 45 s.
    pub unreachable_after: Duration,
    /// How long a call lasts in which nothing at all is heard. Default 90 s: a minute of tunnel, and the
    /// longest wait for the signaling server after it.
    pub limit: Duration,
    /// How long a call is relayed before it tries to be direct. Default 3 s. Less competes with the
    /// call's own beginning; more keeps the longer way and its cost. The callee waits
    /// twice as long, for the caller to do it. After a try that was in vain the wait is twice as long, and
    /// at most five minutes.
    pub upgrade_after: Duration,
    /// How often the host's addresses are looked at during a call. Default 500 ms. Less costs a system
    /// call more often; more is added to every change of network.
    pub address_interval: Duration,
}

/// How the client reaches its signaling server, and how it comes back after a drop.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalingConfig {
    /// Where the server is: `http://host[:port]`, or `https:` for TLS; `ws:` and `wss:` mean the same.
    /// Default `http://signaling.ringtrue.example`.
    pub url: String,
    /// The path of the Engine.IO endpoint. Default `/socket.io/`, which every Socket.IO server uses.
    pub path: String,
    /// Whether connections are shared (`forceNew` in the reference clients). Default
    /// [`ConnectionReuse::Shared`].
    pub reuse: ConnectionReuse,
    /// The wait before the first reconnect attempt. Default 2 s: shorter waits hammer a server that
    /// is coming back, longer ones are heard as silence by the person who rings.
    pub reconnection_delay: Duration,
    /// The ceiling of the growing wait between reconnect attempts. Default 10 s, which bounds how
    /// long a call can go without signaling after the network is back.
    pub reconnection_delay_max: Duration,
    /// How much of each reconnect wait is drawn at random, from 0 to 1. Default 0.5; 0 makes all
    /// clients of a restarted server return at the same instant.
    pub randomization_factor: f64,
    /// Where chance enters a reconnect wait. Default [`Jitter::AfterCap`], which spreads the clients
    /// of a restarted server; [`Jitter::BeforeCap`] and [`Jitter::BeforeBounds`] are the reference
    /// clients' formulas.
    pub jitter: Jitter,
    /// How many reconnect attempts in a row may fail before the client stays down until it is told
    /// to connect again. Default `None`: it never stops trying. `Some(0)` never reconnects.
    pub reconnection_attempts_max: Option<u32>,
    /// How long a namespace must have been joined before the growing wait starts over. Default
    /// 10 s: a server that accepts and closes at once, as one that is starting often does, is
    /// otherwise hammered.
    pub stable_after: Duration,
    /// How long nothing may arrive over an open connection before the client asks the server for a
    /// sign of life. Default 6 s: with the time for the answer, a connection that died without a sign
    /// is replaced within 9 s, whether anybody calls or not. Each question is a frame of six bytes and
    /// an answer as long (a request, over polling), and wakes the radio of an idle phone ten times a minute; more saves battery
    /// and lets whoever calls wait for longer. With `None` the client asks only where a call makes it
    /// doubt, and an idle one learns of such a death by the server's heartbeat, mostly 45 s later.
    pub check_after: Option<Duration>,
    /// The most time that the server may take for that sign of life before the connection is given
    /// up. Default 3 s: more than a retransmission on a bad mobile link takes, and a fifteenth of what
    /// the heartbeat takes to notice. Where earlier answers came soon it is eight times as long as they
    /// took, but 1.5 s at least. The time starts over while something long goes out.
    pub check_limit: Duration,
    /// The limit on one connection attempt over all transports: name, TCP, TLS, HTTP and open packet.
    /// Default 30 s: mobile networks take that long to wake up.
    pub timeout: Duration,
    /// The limit on the server's reply to CONNECT, once the connection is open. Default 30 s, as for
    /// the connection itself. Then the namespace counts as failed and is tried again.
    pub namespace_timeout: Duration,
    /// The transports to try within one attempt, in this order. Default WebSocket, then
    /// long-polling, which passes where a proxy lets no WebSocket through. A session that opens by
    /// polling moves to WebSocket later if that is in the list too. Without polling such a network
    /// lets no call pass; with polling first, every call starts with requests that it could save.
    pub transports: Vec<TransportKind>,
    /// What each transport may take for TLS, HTTP and the open packet before the next one is tried, and
    /// after the last one the first again: a connection that died meanwhile, as with a gateway that
    /// restarts, says nothing. Default 6 s: some fifteen round trips over a satellite. Less gives WebSocket
    /// up on slow links that would carry it; more leaves a client behind a proxy that swallows upgrades
    /// unreachable for longer.
    pub transport_patience: Duration,
    /// Which certificates a server may show. Default Mozilla's list of roots, as it was when the
    /// program was built; servers with a certificate authority of their own need
    /// [`TlsTrust::Roots`].
    pub trust: TlsTrust,
    /// Where the secrets of TLS connections go. Default nowhere: whoever has them can read what is sent.
    pub key_log: KeyLog,
    /// The most messages that wait while signaling is down. Default 256; a call needs some 40.
    pub send_buffer_messages_max: usize,
    /// The most bytes of messages that wait while signaling is down. Default 1 MiB, the size of the
    /// largest message that servers take.
    pub send_buffer_bytes_max: usize,
}

/// Whether the sockets of one server share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionReuse {
    /// All calls of a client, and every reconnect, go through one connection manager
    /// (`forceNew = false`), which drops the old socket before it opens another. With a manager
    /// for each connection, the old server session can outlive a drop and answer in the client's
    /// place.
    #[default]
    Shared,
    /// This socket has a connection manager of its own (`forceNew = true`, or `multiplex = false`).
    /// It costs a connection, a heartbeat and a reconnect for each socket; it keeps a large transfer
    /// in one namespace from delaying another.
    Separate,
}

/// A way of carrying Engine.IO packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportKind {
    /// One WebSocket connection.
    WebSocket,
    /// HTTP long-polling: one GET waiting, one POST at a time.
    Polling,
}

/// How the client finds and keeps a path for audio, over IPv4 and IPv6 alike.
///
/// What the defaults give: from the answer to steady audio on both sides, in milliseconds, over every kind
/// of NAT against every other and with UDP blocked (`ringtrue matrix --timings`, seed 1, no loss). Of each
/// pair of figures the first is the median and the second what 95 % do not exceed; 500 ms of it are the 25
/// packets by which audio is recognized. Before, the agent waited for its relays between its checks, and
/// [`AcceptanceWaits::relayed`] was 1.5 s.
///
/// | round trip | direct | relayed | direct before | relayed before |
/// |---|---|---|---|---|
/// | 20 ms | 1020, 1075 | 2135, 2165 | 1040, 1070 | 2240, 2260 |
/// | 80 ms | 1310, 1345 | 2375, 2430 | 1350, 1690 | 2480, 2530 |
/// | 300 ms | 2255, 2545 | 3375, 3380 | 3220, 3540 | 3460, 3620 |
///
/// At 300 ms a relay was taken before where a direct path was possible in 15 of 100 calls, and in none now.
#[derive(Debug, Clone, PartialEq)]
pub struct IceConfig {
    /// STUN and TURN servers. Default: the list that got through in the field. All are asked at the
    /// same time, so a dead one costs the others nothing; but TURN servers over TCP are asked only
    /// where none over UDP has granted an allocation within half a second. TCP gets through where
    /// UDP is blocked, port 443 where only the web is allowed, and neither is of use elsewhere.
    /// TURN entries without credentials use those that the signaling server gives; where it gives none
    /// they are skipped with a warning, as are those over TLS, which is not available yet.
    pub servers: Vec<IceServer>,
    /// Which candidates are used. Default [`TransportPolicy::All`].
    pub policy: TransportPolicy,
    /// How many candidate sets are gathered before they are needed (`iceCandidatePoolSize`).
    /// Default 10. With BUNDLE and rtcp-mux a call needs one set, so any value above zero has one
    /// effect: candidates are gathered while the phone rings instead of after it is answered. The
    /// cost is a TURN allocation for calls that are never answered.
    pub candidate_pool_size: u8,
    /// How long nothing may arrive on the selected pair before it counts as disconnected
    /// (`iceConnectionReceivingTimeout`). Default 30 s; less gives calls up in lifts and tunnels.
    pub receiving_timeout: Duration,
    /// How long after `receiving_timeout` the connection counts as failed. Default 10 s: together
    /// they exceed the 39.5 s that RFC 8863 section 4 asks an agent to wait.
    pub failed_timeout: Duration,
    /// How often a pair that is not selected is pinged so that its NAT bindings stay alive
    /// (`iceBackupCandidatePairPingInterval`). Default 25 s: under the 30 s that the shortest UDP
    /// timers of home routers allow.
    pub backup_ping_interval: Duration,
    /// The wait between rounds of connectivity checks. Default 100 ms: at 5 % loss a direct path is then
    /// found before a relayed one is taken. The agent checks every pair in each round, so a shorter
    /// wait multiplies its packets by the number of pairs. After 5 s without an answer, a pair is checked each
    /// half second only.
    pub check_interval: Duration,
    /// How many checks the agent makes of a pair before it fails, those among them that are held back because
    /// nobody answers. Default 500: with `check_interval` that is 50 s, longer than the agent looks for a
    /// pair at all. With fewer, a pair can fail before the other side's checks open a NAT for it, and is
    /// never tried again.
    pub binding_requests_max: u16,
    /// The waits before a pair may be selected, by the kind of its worse candidate.
    pub acceptance: AcceptanceWaits,
}

/// How long a pair of each kind waits for a better one before it is selected.
///
/// The waits are floors on the time to audio; too short a relay wait keeps a call relayed that
/// could be direct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptanceWaits {
    /// For host candidates. Default 0. A host with IPv4 and IPv6 waits 250 ms at least, since the
    /// pair that is valid first need not be of the family that is preferred.
    pub host: Duration,
    /// For server-reflexive candidates. Default 200 ms.
    pub server_reflexive: Duration,
    /// For peer-reflexive candidates. Default 400 ms.
    pub peer_reflexive: Duration,
    /// For relayed candidates. Default 1.4 s: a direct path is valid within some two round trips, so there
    /// is room for losses, or for a round trip of 300 ms, before a relay is taken for want of one.
    pub relayed: Duration,
}

/// Which candidates a client uses (RFC 8828 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransportPolicy {
    /// Every candidate.
    #[default]
    All,
    /// Relayed candidates only: the other side learns no address of this host.
    RelayOnly,
}

/// A STUN or TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port[?transport=udp|tcp]` (RFC 7064, RFC 7065); an IPv6
    /// address stands in brackets. Of a name with addresses of both families, TURN uses the first
    /// and falls back to the other, STUN uses IPv4 where this host has it.
    pub url: String,
    /// The user name and password of a TURN server.
    pub credentials: Option<Credentials>,
}

/// A TURN user name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password. Never logged.
    pub password: String,
}

/// What is carried once a path is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaConfig {
    /// What the session description offers (`enableRtpDataChannel = false` in the field).
    pub kind: MediaKind,
    /// How media packets are marked (`enableDscp`).
    pub marking: Marking,
    /// Where the secrets of DTLS connections go. Default nowhere: whoever has them can listen to the calls.
    pub key_log: KeyLog,
}

/// What the session description offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaKind {
    /// One audio section, no data channel.
    #[default]
    AudioOnly,
}

/// How media packets are marked for routers on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marking {
    /// Expedited forwarding: a congested uplink sends audio first.
    #[default]
    Dscp,
    /// No marking.
    None,
}

impl Marking {
    /// The class to bind media sockets with.
    #[must_use]
    pub fn traffic_class(self) -> TrafficClass {
        match self {
            Self::Dscp => TrafficClass::ExpeditedForwarding,
            Self::None => TrafficClass::BestEffort,
        }
    }
}

impl fmt::Display for TransportKind {
    /// The transport's name in a request.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WebSocket => "websocket",
            Self::Polling => "polling",
        })
    }
}

impl Default for SignalingConfig {
    fn default() -> Self {
        Self {
            url: "http://signaling.ringtrue.example".into(),
            path: "/socket.io/".into(),
            reuse: ConnectionReuse::Shared,
            reconnection_delay: Duration::from_secs(2),
            reconnection_delay_max: Duration::from_secs(10),
            randomization_factor: 0.5,
            jitter: Jitter::AfterCap,
            reconnection_attempts_max: None,
            stable_after: Duration::from_secs(10),
            check_after: Some(Duration::from_secs(6)),
            check_limit: Duration::from_secs(3),
            timeout: Duration::from_secs(30),
            namespace_timeout: Duration::from_secs(30),
            transports: vec![TransportKind::WebSocket, TransportKind::Polling],
            transport_patience: Duration::from_secs(6),
            trust: TlsTrust::Mozilla,
            key_log: KeyLog::default(),
            send_buffer_messages_max: 256,
            send_buffer_bytes_max: 1 << 20,
        }
    }
}

impl Default for IceConfig {
    fn default() -> Self {
        Self {
            servers: field_servers(),
            policy: TransportPolicy::All,
            candidate_pool_size: 10,
            receiving_timeout: Duration::from_secs(30),
            failed_timeout: Duration::from_secs(10),
            backup_ping_interval: Duration::from_secs(25),
            check_interval: Duration::from_millis(100),
            binding_requests_max: 500,
            acceptance: AcceptanceWaits::default(),
        }
    }
}

impl Default for RingingConfig {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(90),
            incoming_limit: Duration::from_secs(105),
            offer_limit: Duration::from_secs(30),
        }
    }
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            silent_after: Duration::from_secs(2),
            attempt_limit: Duration::from_secs(8),
            unacknowledged_after: Duration::from_secs(3),
            delay: Duration::from_secs(2),
            delay_max: Duration::from_secs(10),
            unreachable_after: Duration::from_secs(42),
            limit: Duration::from_secs(90),
            upgrade_after: Duration::from_secs(3),
            address_interval: Duration::from_millis(500),
        }
    }
}

impl Default for AcceptanceWaits {
    fn default() -> Self {
        Self {
            host: Duration::ZERO,
            server_reflexive: Duration::from_millis(200),
            peer_reflexive: Duration::from_millis(400),
            relayed: Duration::from_millis(1400),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"…")
            .finish()
    }
}

/// The servers of the field list. The credentials are placeholders that an application replaces
/// with its own; the simulated world's servers accept them.
fn field_servers() -> Vec<IceServer> {
    let stun = |url: &str| IceServer {
        url: url.into(),
        credentials: None,
    };
    let turn = |url: &str| IceServer {
        url: url.into(),
        credentials: Some(Credentials {
            username: "ringtrue".into(),
            password: "ringtrue".into(),
        }),
    };
    vec![
        stun("stun:stun.l.google.com:19302"),
        stun("stun:stun.voipbuster.com:3478"),
        turn("turn:global.relay.metered.ca:80"),
        turn("turn:global.relay.metered.ca:443?transport=tcp"),
        turn("turn:turn.bistri.com:80"),
        turn("turn:turn.anyfirewall.com:443?transport=tcp"),
    ]
}
