//! What the bridge does with packets besides carrying them (pure).
//!
//! It repeats gathering requests that the agent sends only once, keeps the NAT bindings of idle
//! pairs alive, holds checks that arrive before the agent can read them, and ends transactions
//! whose answer nobody waits for any more. All addresses are those that the agent sees.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

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

/// The most channels of one TURN allocation. The agent asks for one for each address that it checks,
/// one after the other, and sends nothing while it waits for an answer: behind a NAT that shows
/// dozens of addresses audio would stand still for seconds. Without a channel the same data goes as
/// indications, 32 bytes longer each (RFC 8656 sections 11 and 12).
const CHANNELS_MAX: usize = 5;

/// The most pairs over which the other side's checks are taken: RFC 8445 section 6.1.2.5 limits a
/// checklist to 100 pairs, which the agent does not. Where each side's NAT makes a mapping for each
/// destination, every check looks like a new candidate to the other side, which answers it with
/// another check from another address, and so on for ever.
const CHECKED_PAIRS_MAX: usize = 100;

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
    /// The channels that were asked for, by socket and server.
    channels: BTreeMap<(SocketAddr, SocketAddr), BTreeSet<u16>>,
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
            channels: BTreeMap::new(),
        }
    }

    /// The agent sends `packet`.
    pub(super) fn outbound(&mut self, now: Instant, packet: &Packet) -> Outbound {
        let request = Header::read(&packet.payload).filter(Header::is_request);
        let server = self.servers.get(&packet.remote).copied();
        if let Some((header, transport)) = request.zip(server) {
            let binding = header.is_binding_request();
            // The address that a server sees over TCP is no candidate for UDP.
            let useless = binding
                && (transport == Transport::Tcp || self.reflexive.contains(&packet.local.ip()));
            let useless = useless || self.is_one_channel_too_many(&header, packet);
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
    pub(super) fn inbound(&mut self, packet: Packet) -> (Inbound, bool) {
        let from_server = self.servers.contains_key(&packet.remote);
        let newly_answered = self
            .pairs
            .get_mut(&(packet.local, packet.remote))
            .is_some_and(|pair| !std::mem::replace(&mut pair.answered, true));
        let header = Header::read(&packet.payload);
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

    /// The agent reads checks from now on: what was held for it.
    pub(super) fn begin_checks(&mut self) -> VecDeque<Packet> {
        self.checks_begun = true;
        std::mem::take(&mut self.held)
    }

    /// Ends every open transaction, and every later one but those that release an allocation: the
    /// answers to deliver.
    pub(super) fn refuse_all(&mut self) -> Vec<Packet> {
        self.refusing = true;
        std::mem::take(&mut self.open)
            .into_values()
            .map(|each| refusal(&each.header, &each.packet))
            .collect()
    }

    /// Ends the open transactions with one server: the answers to deliver.
    pub(super) fn refuse_server(&mut self, server: SocketAddr) -> Vec<Packet> {
        self.refuse_where(|packet| packet.remote == server)
    }

    /// Ends the open transactions of one socket with one server: the answers to deliver.
    pub(super) fn refuse_pair(&mut self, local: SocketAddr, server: SocketAddr) -> Vec<Packet> {
        self.refuse_where(|packet| packet.local == local && packet.remote == server)
    }

    /// The packets that are due now: repeated requests and keepalives.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Packet> {
        self.open.retain(|_, each| each.expires > now);
        let mut packets = Vec::new();
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
    pub(super) fn next_due(&self) -> Option<Instant> {
        let repeats = self
            .open
            .values()
            .filter_map(|each| Some(each.repeat?.0.min(each.expires)));
        let keepalives = self
            .pairs
            .values()
            .filter_map(|pair| pair.keepalive_at(self.backup_ping_interval));
        repeats.chain(keepalives).min()
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

    /// Whether `packet` asks for more channels than an allocation is to have.
    fn is_one_channel_too_many(&mut self, header: &Header, packet: &Packet) -> bool {
        if !header.is_channel_bind_request() {
            return false;
        }
        let Some(number) = stun::channel_number(&packet.payload) else {
            return false;
        };
        let bound = self
            .channels
            .entry((packet.local, packet.remote))
            .or_default();
        // A channel that there is has to be refreshed.
        if bound.len() < CHANNELS_MAX {
            bound.insert(number);
        }
        !bound.contains(&number)
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
mod tests {
    use ::stun::agent::TransactionId;
    use ::stun::message::{
        BINDING_REQUEST, BINDING_SUCCESS, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
        Message, MessageType,
    };

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 5000).into()
    }

    fn message(kind: MessageType, transaction: u8) -> Vec<u8> {
        let mut message = Message::new();
        message
            .build(&[Box::new(TransactionId([transaction; 12])), Box::new(kind)])
            .expect("a header fits");
        message.raw
    }

    fn packet(remote: u8, payload: Vec<u8>) -> Packet {
        Packet {
            local: address(1),
            remote: address(remote),
            payload,
        }
    }

    /// Traffic with a server at address 9, and one over TCP at address 8.
    fn traffic() -> Traffic {
        let servers = BTreeMap::from([(address(9), Transport::Udp), (address(8), Transport::Tcp)]);
        Traffic::new(servers, Duration::from_secs(25))
    }

    fn allocate_request() -> MessageType {
        MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST)
    }

    /// Runs until `until`, and tells when packets were due, in milliseconds.
    fn due_times(traffic: &mut Traffic, start: Instant, until: Duration) -> Vec<u128> {
        let mut times = Vec::new();
        while let Some(at) = traffic.next_due().filter(|at| *at <= start + until) {
            for _ in traffic.due(at) {
                times.push(at.duration_since(start).as_millis());
            }
        }
        times
    }

    #[test]
    fn an_unanswered_gathering_request_is_repeated_with_doubling_waits() {
        let (mut traffic, now) = (traffic(), Instant::now());
        let request = packet(9, message(BINDING_REQUEST, 1));
        assert_eq!(traffic.outbound(now, &request), Outbound::Send);
        let times = due_times(&mut traffic, now, Duration::from_secs(20));
        assert_eq!(times, [500, 1500, 3500]);
    }

    #[test]
    fn the_first_answer_ends_the_repeats_and_the_second_is_consumed() {
        let (mut traffic, now) = (traffic(), Instant::now());
        traffic.outbound(now, &packet(9, message(BINDING_REQUEST, 1)));
        let answer = packet(9, message(BINDING_SUCCESS, 1));
        assert!(matches!(
            traffic.inbound(answer.clone()).0,
            Inbound::Deliver(_)
        ));
        assert!(matches!(traffic.inbound(answer).0, Inbound::Consumed(_)));
        assert!(due_times(&mut traffic, now, Duration::from_secs(20)).is_empty());
    }

    #[test]
    fn the_first_server_that_answers_is_enough() {
        let mut traffic = Traffic::new(
            BTreeMap::from([(address(8), Transport::Udp), (address(9), Transport::Udp)]),
            Duration::from_secs(25),
        );
        let now = Instant::now();
        for (server, transaction) in [(8, 1), (9, 2)] {
            let request = packet(server, message(BINDING_REQUEST, transaction));
            assert_eq!(traffic.outbound(now, &request), Outbound::Send);
        }
        let answer = packet(9, message(BINDING_SUCCESS, 2));
        let (verdict, _) = traffic.inbound(answer.clone());
        assert_eq!(verdict, Inbound::Deliver(answer.clone()));
        let ended = traffic.end_redundant(&answer);
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].remote, address(8));
        assert!(traffic.end_redundant(&answer).is_empty());
        let late = packet(8, message(BINDING_REQUEST, 3));
        assert!(matches!(traffic.outbound(now, &late), Outbound::Refuse(_)));
    }

    #[test]
    fn an_allocation_has_a_few_channels_and_they_can_be_refreshed() {
        let (mut traffic, now) = (traffic(), Instant::now());
        let bind = |transaction: u8, number: u16| {
            let mut bind = Message::new();
            bind.build(&[
                Box::new(TransactionId([transaction; 12])),
                Box::new(MessageType::new(METHOD_CHANNEL_BIND, CLASS_REQUEST)),
                Box::new(turn::proto::channum::ChannelNumber(number)),
            ])
            .expect("one attribute fits");
            packet(9, bind.raw)
        };
        for channel in 0..5 {
            let request = bind(channel, 0x4000 + u16::from(channel));
            assert_eq!(traffic.outbound(now, &request), Outbound::Send);
        }
        let sixth = traffic.outbound(now, &bind(6, 0x4005));
        assert!(matches!(sixth, Outbound::Refuse(_)));
        assert_eq!(traffic.outbound(now, &bind(7, 0x4000)), Outbound::Send);
    }

    #[test]
    fn checks_from_ever_new_addresses_are_not_taken_for_ever() {
        let mut traffic = traffic();
        traffic.begin_checks();
        let mut taken = 0;
        for port in 1..=200 {
            let check = Packet {
                remote: ([10, 0, 0, 2], port).into(),
                ..packet(2, message(BINDING_REQUEST, 1))
            };
            for _ in 0..2 {
                let (verdict, _) = traffic.inbound(check.clone());
                taken += usize::from(matches!(verdict, Inbound::Deliver(_)));
            }
        }
        assert_eq!(taken, 2 * CHECKED_PAIRS_MAX, "each of the first again");
    }

    #[test]
    fn checks_between_peers_are_never_repeated() {
        let (mut traffic, now) = (traffic(), Instant::now());
        traffic.outbound(now, &packet(2, message(BINDING_REQUEST, 1)));
        assert_eq!(traffic.next_due(), None);
    }

    #[test]
    fn only_answered_pairs_that_fall_idle_are_kept_alive() {
        let (mut traffic, now) = (traffic(), Instant::now());
        traffic.begin_checks();
        for remote in [2, 3] {
            traffic.outbound(now, &packet(remote, vec![0x80; 20]));
        }
        let (verdict, schedule_moved) = traffic.inbound(packet(2, vec![0x80; 20]));
        assert!(matches!(verdict, Inbound::Deliver(_)));
        assert!(schedule_moved);
        let times = due_times(&mut traffic, now, Duration::from_mins(1));
        assert_eq!(times, [25_000, 50_000]);
    }

    #[test]
    fn a_keepalive_of_the_peer_does_not_reach_the_agent() {
        let mut traffic = traffic();
        traffic.begin_checks();
        let (verdict, _) = traffic.inbound(packet(2, stun::binding_indication()));
        assert!(matches!(verdict, Inbound::Consumed(_)));
    }

    #[test]
    fn early_checks_wait_and_the_newest_are_kept() {
        let mut traffic = traffic();
        for transaction in 0..=u8::try_from(HELD_MAX).expect("fits") {
            let check = packet(2, message(BINDING_REQUEST, transaction));
            assert_eq!(traffic.inbound(check).0, Inbound::Held);
        }
        let held = traffic.begin_checks();
        assert_eq!(held.len(), HELD_MAX);
        assert_eq!(held[0].payload, message(BINDING_REQUEST, 1));
    }

    #[test]
    fn refusing_ends_what_is_open_and_what_comes_later() {
        let (mut traffic, now) = (traffic(), Instant::now());
        traffic.outbound(now, &packet(9, message(BINDING_REQUEST, 1)));
        assert_eq!(traffic.refuse_all().len(), 1);
        let later = packet(9, message(BINDING_REQUEST, 2));
        assert!(matches!(traffic.outbound(now, &later), Outbound::Refuse(_)));
        assert_eq!(traffic.next_due(), None);
    }

    #[test]
    fn a_request_goes_over_tcp_once_and_over_udp_as_often_as_it_is_sent() {
        let (mut traffic, now) = (traffic(), Instant::now());
        for (server, second) in [(8, Outbound::AlreadySent), (9, Outbound::Send)] {
            let request = packet(server, message(allocate_request(), server));
            assert_eq!(traffic.outbound(now, &request), Outbound::Send);
            assert_eq!(traffic.outbound(now, &request), second);
        }
        assert_eq!(traffic.next_due(), None);
    }

    #[test]
    fn nobody_is_asked_over_tcp_for_an_address_to_be_reached_at() {
        let mut traffic = traffic();
        let request = packet(8, message(BINDING_REQUEST, 1));
        let verdict = traffic.outbound(Instant::now(), &request);
        assert!(matches!(verdict, Outbound::Refuse(_)));
    }

    #[test]
    fn what_one_socket_loses_the_others_keep() {
        let (mut traffic, now) = (traffic(), Instant::now());
        let mut request = packet(8, message(allocate_request(), 1));
        traffic.outbound(now, &request);
        request.local = address(2);
        traffic.outbound(now, &request);
        let refused = traffic.refuse_pair(address(2), address(8));
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].local, address(2));
        assert_eq!(traffic.refuse_server(address(8)).len(), 1);
    }
}
