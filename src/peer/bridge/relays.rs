//! What the bridge tells TURN servers in the agent's place (pure).
//!
//! The agent's TURN client sends nothing while it waits for an answer to a `CreatePermission` or a
//! `ChannelBind`, and the agent checks one pair after the other: with two relays and four addresses of
//! the other side it stood still for eight round trips before its direct pairs were checked at all. So
//! both are granted here at once and asked for behind the agent's back, again and again until the
//! server answers. What is sent in the meantime follows the request on the same path, and data for a
//! channel that the server has not granted yet goes as an indication, which needs the permission only.
//!
//! The same goes for the end: the agent sends the request that releases an allocation once and does
//! not wait, and one for an allocation that it has not been granted yet it never sends.

mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use self::request::{Ask, Login};
use super::stun::{
    Header, channel_number, is_challenge, is_mismatch, lifetime, peers, send_indication,
};
use super::traffic::Packet;
use crate::config::Credentials;
use crate::peer::servers::Transport;

/// The first wait before a request is repeated; each next one doubles (RFC 8489 section 6.2.1).
const REPEAT_FIRST: Duration = Duration::from_millis(250);

/// The longest wait before a release is repeated. There are some seconds for it only, because the sockets
/// close then, and links lose several packets in a row.
const RELEASE_REPEAT_MAX: Duration = Duration::from_millis(500);

/// How often a release is sent that nobody confirms.
const RELEASE_SENT_MAX: u32 = 10;

/// How often a request is sent that nobody answers.
const SENT_MAX: u32 = 7;

/// How long an answer is waited for over TCP, where a request is never repeated (RFC 8489 section
/// 6.2.2).
const TCP_PATIENCE: Duration = Duration::from_secs(10);

/// How often a request is signed anew because the server's nonce has changed.
const SIGNED_MAX: u32 = 3;

/// What a packet to a TURN server becomes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Relayed {
    /// What is sent in its place.
    pub(super) send: Vec<Packet>,
    /// What the agent gets for an answer.
    pub(super) answer: Option<Packet>,
}

/// Whom a packet of a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForWhom {
    Agent,
    /// It answers what the bridge has asked, and is done with.
    Bridge,
}

/// The agent's business with TURN servers.
#[derive(Debug)]
pub(super) struct Relays {
    servers: BTreeMap<SocketAddr, Access>,
    /// By the agent's socket and the server.
    allocations: BTreeMap<(SocketAddr, SocketAddr), Allocation>,
    asked: BTreeMap<(SocketAddr, [u8; 12]), Asked>,
    /// What is to be sent at once.
    ready: Vec<Packet>,
}

/// How a TURN server is spoken to.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) transport: Transport,
    pub(super) credentials: Credentials,
}

#[derive(Debug)]
struct Allocation {
    login: Login,
    /// Of the request that asks for it. The agent repeats it while it waits.
    transaction: [u8; 12],
    /// What the server has refused a permission for: asking again would be in vain.
    refused: BTreeSet<IpAddr>,
    channels: BTreeMap<u16, Channel>,
    /// The server has said that it is made.
    granted: bool,
    /// The agent has given it up.
    abandoned: bool,
}

#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    state: ChannelState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelState {
    /// The agent believes to have it; nothing has gone over it yet that makes it worth while.
    Imagined,
    Asked,
    Bound,
    Refused,
}

/// A request that the bridge has made itself.
#[derive(Debug)]
struct Asked {
    server: SocketAddr,
    ask: Ask,
    packet: Packet,
    repeat_at: Instant,
    wait: Duration,
    sent: u32,
    signed: u32,
}

impl Ask {
    const fn sent_max(self) -> u32 {
        match self {
            Self::Release => RELEASE_SENT_MAX,
            Self::Permission(_) | Self::Channel(..) => SENT_MAX,
        }
    }

    fn wait_after(self, wait: Duration) -> Duration {
        match self {
            Self::Release => (wait * 2).min(RELEASE_REPEAT_MAX),
            Self::Permission(_) | Self::Channel(..) => wait * 2,
        }
    }
}

impl Relays {
    /// For these servers.
    pub(super) fn new(servers: BTreeMap<SocketAddr, Access>) -> Self {
        Self {
            servers,
            allocations: BTreeMap::new(),
            asked: BTreeMap::new(),
            ready: Vec::new(),
        }
    }

    /// The agent sends `packet` to a TURN server. `None` where it is sent as it is.
    pub(super) fn outbound(&mut self, now: Instant, packet: &Packet) -> Option<Relayed> {
        let key = (packet.local, packet.remote);
        let Some(header) = Header::read(&packet.payload) else {
            return self.channel_data(now, packet);
        };
        if header.is_allocate_request() {
            self.note_login(packet);
            return None;
        }
        let allocation = self.allocations.get_mut(&key)?;
        if header.is_refresh_request() && lifetime(&packet.payload) == Some(Duration::ZERO) {
            let send = self.release(now, key).into_iter().collect();
            return Some(Relayed { send, answer: None });
        }
        let mut asks = Vec::new();
        if header.is_create_permission_request() {
            let asked = peers(&packet.payload).into_iter();
            let granted = asked.filter(|peer| !allocation.refused.contains(&peer.ip()));
            asks.extend(granted.map(Ask::Permission));
        } else if header.is_channel_bind_request() {
            let number = channel_number(&packet.payload)?;
            let peer = *peers(&packet.payload).first()?;
            let channel = allocation.channels.entry(number).or_insert(Channel {
                peer,
                state: ChannelState::Imagined,
            });
            // A channel that there is has to be refreshed.
            if channel.state == ChannelState::Bound {
                asks.push(Ask::Channel(number, peer));
            }
        } else {
            return None;
        }
        let answer = Packet {
            payload: header.grant(),
            ..packet.clone()
        };
        let send = asks.into_iter().filter_map(|ask| self.ask(now, key, ask));
        Some(Relayed {
            send: send.collect(),
            answer: Some(answer),
        })
    }

    /// A packet of a TURN server. Tells whether it is for the agent or done with.
    pub(super) fn inbound(&mut self, now: Instant, packet: &Packet) -> ForWhom {
        let response = Header::read(&packet.payload).filter(Header::is_response);
        let Some(header) = response else {
            return ForWhom::Agent;
        };
        let key = (packet.local, packet.remote);
        let Some(asked) = self.asked.remove(&(packet.local, header.transaction.0)) else {
            let is_late = header.is_allocate_success()
                && self
                    .allocations
                    .get(&key)
                    .is_some_and(|each| each.abandoned);
            if header.is_allocate_success()
                && let Some(allocation) = self.allocations.get_mut(&key)
            {
                allocation.granted = true;
            }
            // The server answers a repeated request so, instead of granting it again. Where its first
            // answer has come, on a path slower than the repetition, all is well. Where that was lost, the
            // agent gives the server up.
            let is_of_repetition = header.is_allocate_error() && is_mismatch(&packet.payload);
            let allocation = self.allocations.get(&key).filter(|_| is_of_repetition);
            if allocation.is_some_and(|allocation| allocation.granted) {
                return ForWhom::Bridge;
            }
            if allocation.is_some() {
                let release = self.release(now, key);
                self.ready.extend(release);
            }
            // The agent gives up a server that refuses it. What the server grants to the repeated request
            // a moment later, nobody wants any more.
            if header.is_allocate_error()
                && !is_challenge(&packet.payload)
                && let Some(allocation) = self.allocations.get_mut(&key)
            {
                allocation.abandoned = true;
            }
            if !is_late {
                return ForWhom::Agent;
            }
            let release = self.release(now, key);
            self.ready.extend(release);
            return ForWhom::Bridge;
        };
        if header.is_success() {
            self.granted(key, asked.ask);
            return ForWhom::Bridge;
        }
        let again = asked.signed < SIGNED_MAX
            && self
                .allocations
                .get_mut(&key)
                .is_some_and(|allocation| allocation.login.renew(&packet.payload));
        if again {
            let packet = self.ask(now, key, asked.ask);
            if let Some(packet) = &packet
                && let Some(renewed) = self.asked_of(packet)
            {
                renewed.signed = asked.signed + 1;
            }
            self.ready.extend(packet);
        } else {
            self.refused(key, asked.ask);
        }
        ForWhom::Bridge
    }

    /// The agent waits no longer for an allocation that it has asked for: releases the one that the
    /// server may have made.
    pub(super) fn abandon(&mut self, now: Instant, key: (SocketAddr, SocketAddr)) {
        if let Some(allocation) = self.allocations.get_mut(&key) {
            allocation.abandoned = true;
            let release = self.release(now, key);
            self.ready.extend(release);
        }
    }

    /// The connection over which an allocation was made is gone, and the allocation with it.
    pub(super) fn forget(&mut self, key: (SocketAddr, SocketAddr)) {
        self.allocations.remove(&key);
        self.forget_asked(key);
    }

    /// Whether no server has yet to confirm that an allocation is released.
    pub(super) fn all_released(&self) -> bool {
        !self.asked.values().any(|asked| asked.ask == Ask::Release)
    }

    /// What is to be sent now: new requests, and those whose time to be repeated has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Packet> {
        let mut packets = std::mem::take(&mut self.ready);
        self.asked
            .retain(|_, asked| asked.repeat_at > now || asked.sent < asked.ask.sent_max());
        let due = self
            .asked
            .values_mut()
            .filter(|asked| asked.repeat_at <= now);
        packets.extend(due.map(|asked| {
            asked.sent += 1;
            asked.repeat_at = now + asked.wait;
            asked.wait = asked.ask.wait_after(asked.wait);
            asked.packet.clone()
        }));
        packets
    }

    /// When [`Self::due`] has something to do next.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.asked.values().map(|asked| asked.repeat_at).min()
    }

    /// The peer that data on a channel is for.
    pub(super) fn peer_of(&self, packet: &Packet) -> Option<SocketAddr> {
        let number = channel_of(&packet.payload)?;
        let allocation = self.allocations.get(&(packet.local, packet.remote))?;
        Some(allocation.channels.get(&number)?.peer)
    }

    fn channel_data(&mut self, now: Instant, packet: &Packet) -> Option<Relayed> {
        let key = (packet.local, packet.remote);
        let number = channel_of(&packet.payload)?;
        let data = channel_payload(&packet.payload)?;
        let channel = self.allocations.get_mut(&key)?.channels.get_mut(&number)?;
        if channel.state == ChannelState::Bound {
            return None;
        }
        let peer = channel.peer;
        let worth_while = Header::read(data).is_none() && channel.state == ChannelState::Imagined;
        let mut send = vec![Packet {
            payload: send_indication(peer, data),
            ..packet.clone()
        }];
        if worth_while {
            channel.state = ChannelState::Asked;
            send.extend(self.ask(now, key, Ask::Channel(number, peer)));
        }
        Some(Relayed { send, answer: None })
    }

    fn note_login(&mut self, packet: &Packet) {
        let key = (packet.local, packet.remote);
        let Some(access) = self.servers.get(&packet.remote) else {
            return;
        };
        let Some(header) = Header::read(&packet.payload) else {
            return;
        };
        let transaction = header.transaction.0;
        let known = self.allocations.get(&key);
        if known.is_some_and(|known| known.transaction == transaction) {
            // What is known of it stays known: it may be granted already.
            return;
        }
        if let Some(login) = Login::of(&packet.payload, &access.credentials) {
            let allocation = Allocation {
                login,
                transaction,
                refused: BTreeSet::new(),
                channels: BTreeMap::new(),
                granted: false,
                abandoned: false,
            };
            self.allocations.insert(key, allocation);
        }
    }

    fn release(&mut self, now: Instant, key: (SocketAddr, SocketAddr)) -> Option<Packet> {
        // What was asked for an allocation that ends is of no use any more.
        self.forget_asked(key);
        self.ask(now, key, Ask::Release)
    }

    fn forget_asked(&mut self, key: (SocketAddr, SocketAddr)) {
        self.asked
            .retain(|(local, _), asked| (*local, asked.server) != key);
    }

    fn ask(&mut self, now: Instant, key: (SocketAddr, SocketAddr), ask: Ask) -> Option<Packet> {
        let (local, server) = key;
        let (transaction, payload) = self.allocations.get(&key)?.login.request(ask);
        let packet = Packet {
            local,
            remote: server,
            payload,
        };
        let (wait, sent) = match self.servers.get(&server)?.transport {
            Transport::Udp => (REPEAT_FIRST, 1),
            Transport::Tcp => (TCP_PATIENCE, ask.sent_max()),
        };
        let asked = Asked {
            server,
            ask,
            packet: packet.clone(),
            repeat_at: now + wait,
            wait: wait * 2,
            sent,
            signed: 1,
        };
        self.asked.insert((local, transaction), asked);
        Some(packet)
    }

    fn asked_of(&mut self, packet: &Packet) -> Option<&mut Asked> {
        let transaction = Header::read(&packet.payload)?.transaction.0;
        self.asked.get_mut(&(packet.local, transaction))
    }

    fn granted(&mut self, key: (SocketAddr, SocketAddr), ask: Ask) {
        if let Ask::Channel(number, _) = ask {
            self.set_channel(key, number, ChannelState::Bound);
        }
    }

    fn refused(&mut self, key: (SocketAddr, SocketAddr), ask: Ask) {
        match ask {
            Ask::Permission(peer) => {
                tracing::debug!(server = %key.1, %peer, "the relay refuses a permission");
                if let Some(allocation) = self.allocations.get_mut(&key) {
                    allocation.refused.insert(peer.ip());
                }
            }
            Ask::Channel(number, _) => self.set_channel(key, number, ChannelState::Refused),
            // There is nothing left to release.
            Ask::Release => {}
        }
    }

    fn set_channel(&mut self, key: (SocketAddr, SocketAddr), number: u16, state: ChannelState) {
        let allocation = self.allocations.get_mut(&key);
        if let Some(channel) = allocation.and_then(|each| each.channels.get_mut(&number)) {
            channel.state = state;
        }
    }
}

/// The channel of a packet (RFC 8656 section 12.4).
fn channel_of(payload: &[u8]) -> Option<u16> {
    let number = u16::from_be_bytes(*payload.first_chunk::<2>()?);
    (0x4000..0x5000).contains(&number).then_some(number)
}

/// What goes over the channel.
pub(super) fn channel_payload(payload: &[u8]) -> Option<&[u8]> {
    channel_of(payload)?;
    let (header, rest) = payload.split_at_checked(4)?;
    rest.get(..usize::from(u16::from_be_bytes([header[2], header[3]])))
}

#[cfg(test)]
mod tests;
