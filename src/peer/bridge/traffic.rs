//! What the bridge does with packets besides carrying them (pure).
//!
//! It repeats gathering requests that the agent sends only once, spreads the agent's bursts of checks,
//! deals with relays where the agent would stand still, sends nothing without the other side's consent, keeps the NAT bindings of idle pairs alive, holds checks that arrive before the agent can read them, and ends transactions
//! whose answer nobody waits for any more. All addresses are those that the agent sees.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use tokio::time::Instant;

use super::consent::{Consents, Path, Permit};
use super::pacer::{Pacer, Urgency};
use super::relays::{ForWhom, Relayed, Relays, channel_payload};
use super::stun::{self, Header};
use crate::peer::servers::Transport;

/// The first wait before a request is repeated; each next one doubles (RFC 8489 section 6.2.1).
const REPEAT_FIRST: Duration = Duration::from_millis(500);

/// The agent gives a gathering request up after 5 s, so repeating it longer is useless.
const REPEAT_LIMIT: Duration = Duration::from_secs(5);

/// How long an open TURN transaction is remembered: longer than the TURN client repeats it.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// The most packets that wait for checks to begin. The newest matter: a check is repeated anyway.
const HELD_MAX: usize = 64;

/// The most pairs over which the other side's checks are taken: RFC 8445 section 6.1.2.5 limits a
/// checklist to 100 pairs, which the agent does not. Where each side's NAT makes a mapping for each
/// destination, every check looks like a new candidate to the other side, which answers it with
/// another check from another address, and so on for ever.
pub(super) const CHECKED_PAIRS_MAX: usize = 100;

/// The most pairs whose bindings are kept alive.
const PAIRS_MAX: usize = 512;

/// A packet on one of the agent's sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    /// The agent's socket.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) remote: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// What to do with a packet that the agent sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outbound {
    Send,
    /// Send these in its place, and deliver the answer.
    Instead(Relayed),
    /// Do not send it now: it is due later.
    Later,
    /// Do not send it: the other side does not agree, or has been asked not long ago.
    Never,
    /// The same, since the other side has not agreed for too long, for the first time.
    ConsentLost,
    /// Do not send it; deliver this answer instead.
    Refuse(Packet),
    /// Do not send it: TCP delivers what was sent before, and a request over it is never repeated
    /// (RFC 8489 section 6.2.2).
    AlreadySent,
}

/// What to do with a packet that arrived for the agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Deliver(Packet),
    /// Kept until checks begin.
    Held,
    /// Done with: it was for the bridge, or is of no use to the agent.
    Consumed(&'static str),
}

#[derive(Debug)]
pub(super) struct Traffic {
    servers: BTreeMap<SocketAddr, Transport>,
    backup_ping_interval: Duration,
    open: BTreeMap<(SocketAddr, [u8; 12]), Transaction>,
    pairs: BTreeMap<(SocketAddr, SocketAddr), Pair>,
    held: VecDeque<Packet>,
    checks_begun: bool,
    refusing: bool,
    /// The addresses of which a server has told how they are seen outside.
    reflexive: BTreeSet<IpAddr>,
    /// The pairs over which the other side has checked.
    checked_by: BTreeSet<(SocketAddr, SocketAddr)>,
    relays: Relays,
    pacer: Pacer,
    /// The paths that the other side has nominated.
    nominated: BTreeSet<Path>,
    consents: Consents,
    /// What the other side signs its answers with, once it is known.
    remote_password: Option<String>,
}

#[derive(Debug)]
struct Transaction {
    header: Header,
    packet: Packet,
    expires: Instant,
    /// When it is repeated next, and the wait after that. `None` for TURN, whose client repeats.
    repeat: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Pair {
    last_sent: Instant,
    answered: bool,
}

impl Traffic {
    /// `backup_ping_interval` zero means that idle pairs are left alone.
    pub(super) fn new(
        servers: BTreeMap<SocketAddr, Transport>,
        relays: Relays,
        random: ChaCha12Rng,
        backup_ping_interval: Duration,
    ) -> Self {
        Self {
            servers,
            backup_ping_interval,
            open: BTreeMap::new(),
            pairs: BTreeMap::new(),
            held: VecDeque::new(),
            checks_begun: false,
            refusing: false,
            reflexive: BTreeSet::new(),
            checked_by: BTreeSet::new(),
            relays,
            pacer: Pacer::new(),
            nominated: BTreeSet::new(),
            consents: Consents::new(random),
            remote_password: None,
        }
    }

    /// The agent sends `packet`.
    pub(super) fn outbound(&mut self, now: Instant, packet: &Packet) -> Outbound {
        match self.consent(now, packet) {
            Some(outbound) => outbound,
            None => self.outbound_now(now, packet),
        }
    }

    /// What to do with a packet whose time has come.
    fn outbound_now(&mut self, now: Instant, packet: &Packet) -> Outbound {
        let request = Header::read(&packet.payload).filter(Header::is_request);
        let is_refused = self.refusing && request.is_some_and(|each| !each.is_refresh_request());
        if !is_refused && let Some(instead) = self.relays.outbound(now, packet) {
            for sent in &instead.send {
                self.note_sent(now, sent.local, sent.remote);
            }
            return Outbound::Instead(instead);
        }
        let server = self.servers.get(&packet.remote).copied();
        if let Some((header, transport)) = request.zip(server) {
            let binding = header.is_binding_request();
            // The address that a server sees over TCP is no candidate for UDP.
            let useless = binding
                && (transport == Transport::Tcp || self.reflexive.contains(&packet.local.ip()));
            if useless || (self.refusing && !header.is_refresh_request()) {
                return Outbound::Refuse(refusal(&header, packet));
            }
            self.open.retain(|_, each| each.expires > now);
            let key = (packet.local, header.transaction.0);
            if transport == Transport::Tcp && self.open.contains_key(&key) {
                return Outbound::AlreadySent;
            }
            self.open.entry(key).or_insert_with(|| Transaction {
                header,
                packet: packet.clone(),
                expires: now + if binding { REPEAT_LIMIT } else { TURN_LIMIT },
                repeat: binding.then_some((now + REPEAT_FIRST, REPEAT_FIRST * 2)),
            });
        }
        self.note_sent(now, packet.local, packet.remote);
        Outbound::Send
    }

    /// `packet` arrived. The second value tells whether [`Self::next_due`] may have moved.
    pub(super) fn inbound(&mut self, now: Instant, packet: Packet) -> (Inbound, bool) {
        self.note_carried(now, &packet);
        let from_server = self.servers.contains_key(&packet.remote);
        let newly_answered = self
            .pairs
            .get_mut(&(packet.local, packet.remote))
            .is_some_and(|pair| !std::mem::replace(&mut pair.answered, true));
        let header = Header::read(&packet.payload);
        if from_server && self.relays.inbound(now, &packet) == ForWhom::Bridge {
            return (Inbound::Consumed("answer to a request of the bridge"), true);
        }
        if !from_server && self.is_one_pair_too_many(header, &packet) {
            return (Inbound::Consumed("check of one pair too many"), false);
        }
        if header.is_some_and(|header| header.is_binding_indication()) {
            // An indication proves nothing about the selected pair, but the agent would take it
            // as a sign of life and never notice that the pair is dead.
            return (
                Inbound::Consumed("keepalive of an idle pair"),
                newly_answered,
            );
        }
        if let Some(header) = header.filter(|header| header.is_response() && from_server) {
            let key = (packet.local, header.transaction.0);
            if self.open.remove(&key).is_none() {
                return (
                    Inbound::Consumed("second answer to a repeated request"),
                    newly_answered,
                );
            }
        } else if !from_server && !self.checks_begun {
            if self.held.len() == HELD_MAX {
                self.held.pop_front();
            }
            self.held.push_back(packet);
            return (Inbound::Held, newly_answered);
        }
        (Inbound::Deliver(packet), newly_answered)
    }

    /// An answer of a server is about to be delivered. Where it is the first to tell an address as it
    /// is seen outside, every other server is asked in vain: the answers that end those exchanges.
    ///
    /// The agent opens a socket for each server that it asks, and checks every pair of every socket.
    /// Where a NAT makes a mapping for each destination, each of them looks like another candidate to
    /// the other side, and the pairs grow with the square of the sockets. One address for each base
    /// is all that RFC 8445 section 5.1.3 leaves, whose elimination of redundant candidates the agent
    /// does not have.
    pub(super) fn end_redundant(&mut self, answer: &Packet) -> Vec<Packet> {
        let tells = Header::read(&answer.payload).is_some_and(|header| header.is_binding_success());
        let base = answer.local.ip();
        let is_first =
            tells && self.servers.contains_key(&answer.remote) && self.reflexive.insert(base);
        if !is_first {
            return Vec::new();
        }
        self.refuse_where(|packet| {
            let header = Header::read(&packet.payload);
            packet.local.ip() == base && header.is_some_and(|header| header.is_binding_request())
        })
    }

    /// The agent reads checks from now on, of one who signs with `remote_password`: what was held for
    /// it.
    pub(super) fn begin_checks(&mut self, remote_password: &str) -> VecDeque<Packet> {
        self.checks_begun = true;
        self.remote_password = Some(remote_password.to_owned());
        std::mem::take(&mut self.held)
    }

    /// Ends every open transaction, and every later one but those that release an allocation. What was
    /// asked for and may still be granted is released. The answers to deliver.
    pub(super) fn refuse_all(&mut self, now: Instant) -> Vec<Packet> {
        self.refusing = true;
        let mut answers = Vec::new();
        for each in std::mem::take(&mut self.open).into_values() {
            if each.header.is_allocate_request() {
                self.relays
                    .abandon(now, (each.packet.local, each.packet.remote));
            }
            answers.push(refusal(&each.header, &each.packet));
        }
        answers
    }

    /// Whether no server has yet to confirm that an allocation is released.
    pub(super) fn all_released(&self) -> bool {
        self.relays.all_released()
    }

    /// Ends the open transactions with one server: the answers to deliver.
    pub(super) fn refuse_server(&mut self, server: SocketAddr) -> Vec<Packet> {
        self.refuse_where(|packet| packet.remote == server)
    }

    /// Ends the open transactions of one socket with one server: the answers to deliver.
    pub(super) fn refuse_pair(&mut self, local: SocketAddr, server: SocketAddr) -> Vec<Packet> {
        self.relays.forget((local, server));
        self.refuse_where(|packet| packet.local == local && packet.remote == server)
    }

    /// The packets that are due now: checks, repeated requests and keepalives.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Packet> {
        self.open.retain(|_, each| each.expires > now);
        let mut packets = self.relays.due(now);
        while let Some(check) = self.pacer.pop(now) {
            match self.outbound_now(now, &check) {
                Outbound::Send => packets.push(check),
                Outbound::Instead(instead) => packets.extend(instead.send),
                Outbound::Later
                | Outbound::Never
                | Outbound::ConsentLost
                | Outbound::Refuse(_)
                | Outbound::AlreadySent => {}
            }
        }
        for each in self.open.values_mut() {
            if let Some((at, wait)) = each.repeat.filter(|(at, _)| *at <= now) {
                each.repeat = Some((at + wait, wait * 2));
                packets.push(each.packet.clone());
            }
        }
        for ((local, remote), pair) in &mut self.pairs {
            if pair
                .keepalive_at(self.backup_ping_interval)
                .is_some_and(|at| at <= now)
            {
                packets.push(Packet {
                    local: *local,
                    remote: *remote,
                    payload: stun::binding_indication(),
                });
            }
        }
        for packet in &packets {
            self.note_sent(now, packet.local, packet.remote);
        }
        packets
    }

    /// When [`Self::due`] has something to do next.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let repeats = self
            .open
            .values()
            .filter_map(|each| Some(each.repeat?.0.min(each.expires)));
        let keepalives = self
            .pairs
            .values()
            .filter_map(|pair| pair.keepalive_at(self.backup_ping_interval));
        let others = [self.relays.next_due(now), self.pacer.next_due(now)];
        repeats
            .chain(keepalives)
            .chain(others.into_iter().flatten())
            .min()
    }

    /// Whether `packet` is a check from an address that is not to become another candidate.
    fn is_one_pair_too_many(&mut self, header: Option<Header>, packet: &Packet) -> bool {
        if !header.is_some_and(|header| header.is_binding_request()) {
            return false;
        }
        let pair = (packet.local, packet.remote);
        if self.checked_by.len() < CHECKED_PAIRS_MAX {
            self.checked_by.insert(pair);
        }
        !self.checked_by.contains(&pair)
    }

    /// The way that `packet` takes between the two agents, either way round, and what it carries for the
    /// other agent; `None` where it is for a server.
    fn carried<'a>(&self, packet: &'a Packet) -> Option<(Path, Cow<'a, [u8]>)> {
        let path = |peer| (packet.local, packet.remote, peer);
        if !self.servers.contains_key(&packet.remote) {
            return Some((path(packet.remote), Cow::Borrowed(&packet.payload)));
        }
        match Header::read(&packet.payload) {
            Some(header) if header.is_relayed_data() => {
                let peer = *stun::peers(&packet.payload).first()?;
                let data = stun::relayed_data(&packet.payload)?;
                Some((path(peer), Cow::Owned(data)))
            }
            Some(_) => None,
            None => {
                let peer = self.relays.peer_of(packet)?;
                Some((path(peer), Cow::Borrowed(channel_payload(&packet.payload)?)))
            }
        }
    }

    /// Whether the other side agrees to what the agent sends, and when it leaves where it is a check.
    fn consent(&mut self, now: Instant, packet: &Packet) -> Option<Outbound> {
        let (path, carried) = self.carried(packet)?;
        let header = Header::read(&carried);
        let urgency = match header {
            Some(header) if header.is_binding_request() => {
                let is_decisive = stun::nominates(&carried) || self.nominated.contains(&path);
                if is_decisive {
                    Some(Urgency::Nomination)
                } else if self.servers.contains_key(&packet.remote) {
                    Some(Urgency::Relayed)
                } else {
                    Some(Urgency::Direct)
                }
            }
            // What answers the other side's checks is theirs to ask for.
            Some(_) => return None,
            None => None,
        };
        let permit = match header {
            Some(header) => self.consents.check(now, path, header.transaction.0),
            None => self.consents.media(now, path),
        };
        match (permit, urgency) {
            (Permit::Granted, None) => None,
            (Permit::Granted, Some(urgency)) => {
                self.pacer.push(packet.clone(), path, urgency);
                Some(Outbound::Later)
            }
            (Permit::NotYet | Permit::Expired, _) => Some(Outbound::Never),
            (Permit::JustExpired, _) => Some(Outbound::ConsentLost),
        }
    }

    /// Learns from what came from the other agent: its consent, and which pairs it checks and nominates.
    fn note_carried(&mut self, now: Instant, packet: &Packet) {
        let Some((path, carried)) = self.carried(packet) else {
            return;
        };
        let Some(header) = Header::read(&carried) else {
            return;
        };
        if header.is_binding_request() {
            self.consents.checked(now, path);
        }
        if header.is_binding_request() && stun::nominates(&carried) {
            if self.nominated.len() < CHECKED_PAIRS_MAX {
                self.nominated.insert(path);
            }
        } else if header.is_binding_request() {
            // A pair that is valid already needs no other check (RFC 8445 section 7.3.1.4), and by way of a
            // relay of this host nothing is gained: such a pair is not selected for longer than checks wait.
            let is_direct = !self.servers.contains_key(&packet.remote);
            if is_direct && !self.consents.is_answered(path) {
                self.pacer.trigger(path);
            }
        } else if header.is_binding_success()
            && self
                .remote_password
                .as_ref()
                .is_some_and(|password| stun::is_signed(&carried, password))
        {
            self.consents.answered(path, header.transaction.0);
        }
    }

    fn refuse_where(&mut self, applies: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        let refused = self.open.extract_if(.., |_, each| applies(&each.packet));
        refused
            .map(|(_, each)| refusal(&each.header, &each.packet))
            .collect()
    }

    fn note_sent(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) {
        if let Some(pair) = self.pairs.get_mut(&(local, remote)) {
            pair.last_sent = now;
        } else if self.pairs.len() < PAIRS_MAX {
            let pair = Pair {
                last_sent: now,
                answered: false,
            };
            self.pairs.insert((local, remote), pair);
        }
    }
}

impl Pair {
    fn keepalive_at(&self, interval: Duration) -> Option<Instant> {
        (self.answered && !interval.is_zero()).then(|| self.last_sent + interval)
    }
}

fn refusal(header: &Header, request: &Packet) -> Packet {
    Packet {
        local: request.local,
        remote: request.remote,
        payload: header.refusal(),
    }
}

#[cfg(test)]
mod tests;
