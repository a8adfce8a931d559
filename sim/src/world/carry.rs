//! Carries packets between the kernels and the fabric.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringtrue::net::TrafficClass;
use turmoil_net::{Packet as KernelPacket, Transport, netstat};

use super::cargo::{Cargo, in_fabric, rewritten, split, split_segment, summary};
use super::connections::{End, Passage, Passes};
use super::device::Carrier;
use super::streams::StreamName;
use super::tcp::{Arrived, Content, Missing};
use super::{Arrival, World};
use crate::net::cause::DropCause;
use crate::net::fabric::{FabricOutput, Packet};
use crate::net::flow::Protocol;
use crate::net::link::Damage;
use crate::net::topology::HostId;
use crate::trace::EventKind;

impl World {
    /// Lets the fabric move everything as far as is certain, and books what comes of it.
    pub(super) fn move_packets(&mut self) {
        for output in self.fabric.advance(self.now + self.ahead) {
            match output {
                FabricOutput::Deliver { at, host, packet } => {
                    // After a link became shorter, what was in it may arrive in the past of its host.
                    let key = (at.max(self.now), self.next_sequence_number());
                    self.arrivals.insert(key, Arrival { host, packet });
                }
                FabricOutput::Dropped {
                    at,
                    place,
                    cause,
                    packet,
                } => self.dropped(at, &place, cause, &packet),
            }
        }
    }

    /// What arrives up to `until`, for each domain and in order of time.
    pub(super) fn arrivals_until(&mut self, until: Duration) -> Vec<Vec<(Duration, Arrival)>> {
        let mut arrivals: Vec<_> = self.domains.iter().map(|_| Vec::new()).collect();
        while let Some(entry) = self.arrivals.first_entry() {
            let at = entry.key().0;
            if at > until {
                break;
            }
            let arrival = entry.remove();
            arrivals[self.hosts[arrival.host.index()].domain].push((at, arrival));
        }
        arrivals
    }

    /// A packet reaches its host.
    pub(super) fn arrive(&mut self, at: Duration, arrival: Arrival) {
        let Arrival { host, packet } = arrival;
        let name = self.hosts[host.index()].name.clone();
        let Some(kernel) = self.kernel_address(host, packet.flow.destination.ip()) else {
            return self.dropped(at, &name, DropCause::NoRoute, &packet);
        };
        if let Some(cause) = self.refusal(host, kernel, &packet) {
            return self.dropped(at, &name, cause, &packet);
        }
        let socket = SocketAddr::new(kernel, packet.flow.destination.port());
        let summary = summary(&packet);
        if packet.flow.protocol == Protocol::Udp && !self.ports.contains(socket) {
            let cause = "no socket is bound to the port".into();
            let kind = EventKind::PacketDropped {
                packet: summary,
                cause,
            };
            return self.recorder.record(at, &name, kind);
        }
        let received = rewritten(&packet, kernel);
        let ready = match packet.body.tag {
            None => Arrived::Next(vec![received]),
            Some(tag) => self.recovery.arrived(at, tag, received),
        };
        let (event, ready) = match ready {
            Arrived::Next(ready) => (EventKind::PacketDelivered(summary), ready),
            Arrived::Early { fast_retransmit } => {
                if let Some((missing, when)) = fast_retransmit {
                    self.hasten(missing, when);
                }
                (EventKind::PacketDelivered(summary), Vec::new())
            }
            Arrived::Stale => {
                let cause = "the segment is of the past of its connection".into();
                let packet = summary;
                (EventKind::PacketDropped { packet, cause }, Vec::new())
            }
        };
        self.recorder.record(at, &name, event);
        for received in ready {
            self.reach(at, host, &packet.body, received);
        }
    }

    /// Why a host takes no packets at present.
    fn refusal(
        &self,
        host: HostId,
        kernel: IpAddr,
        packet: &Packet<Box<Cargo>>,
    ) -> Option<DropCause> {
        if packet.damage == Damage::Detected {
            return Some(DropCause::Checksum);
        }
        if self.off.contains(&host) {
            return Some(DropCause::HostDown);
        }
        let carrier = self.hosts[host.index()].device.carrier_of(kernel);
        (carrier == Carrier::Down).then_some(DropCause::InterfaceDown)
    }

    /// Hands a packet to the kernel of its receiver, as far as its connection is whole.
    fn reach(&mut self, at: Duration, host: HostId, cargo: &Cargo, received: KernelPacket) {
        let Transport::Tcp(segment) = &received.payload else {
            return self.egress.hand_over(received);
        };
        let to = End {
            host,
            local: SocketAddr::new(received.dst, segment.dst_port),
            remote: SocketAddr::new(received.src, segment.src_port),
        };
        let from = cargo
            .sender
            .and_then(|sender| end_of(sender, &cargo.packet));
        let passage = self.connections.arrives(to, from, segment);
        if let Some(first) = passage.first.clone() {
            self.egress.hand_over(first);
        }
        if passage.completes_handshake {
            let (acknowledgment, _) = split_segment(&received, 0);
            self.egress.hand_over(acknowledgment);
        }
        match passage.passes {
            Passes::Whole => self.egress.hand_over(received),
            Passes::Begin { bytes } => {
                let (begin, _) = split_segment(&received, bytes);
                self.egress.hand_over(begin);
            }
            Passes::Nothing => {}
        }
        if passage.passes != Passes::Whole {
            let name = self.hosts[host.index()].name.clone();
            self.note_drop(at, &name, DropCause::ConnectionCut);
        }
        self.note_passage(at, passage);
    }

    /// Writes down which connections the applications have closed since the last call.
    pub(super) fn note_closed_streams(&mut self, at: Duration) {
        for StreamName { local, remote } in self.streams.take_closed() {
            if let Some(host) = self.by_kernel.get(&local.ip()) {
                let host = *host;
                self.connections.note_close(End {
                    host,
                    local,
                    remote,
                });
            }
        }
        self.note_wire(at);
    }

    /// Writes down what shows on the wires that are listened to.
    pub(super) fn note_wire(&mut self, at: Duration) {
        for (host, event) in self.connections.take_events() {
            let name = &self.hosts[host.index()].name;
            self.recorder.record(at, name, EventKind::Wire(event));
        }
    }

    /// Writes down what showed when a segment passed, and tells the ends of its connection.
    fn note_passage(&mut self, at: Duration, passage: Passage) {
        self.note_wire(at);
        self.cut.extend(passage.cut_by.map(|fault| (fault, at)));
        for packet in passage.told {
            self.egress.hand_over(packet);
        }
    }

    pub(super) fn dropped(
        &mut self,
        at: Duration,
        place: &str,
        cause: DropCause,
        packet: &Packet<Box<Cargo>>,
    ) {
        self.recorder.record(
            at,
            &place.into(),
            EventKind::PacketDropped {
                packet: summary(packet),
                cause: cause.to_string(),
            },
        );
        self.note_drop(at, place, cause);
        if cause == DropCause::ConnectionCut {
            return;
        }
        let cargo = &packet.body;
        let lost = cargo.tag.and_then(|tag| self.recovery.lost(tag));
        let (Some((again, tag)), Some(sender)) = (lost, cargo.sender) else {
            return;
        };
        let key = (again.max(self.now), self.next_sequence_number());
        let mut again = cargo.clone();
        again.tag = Some(tag);
        self.retransmissions.insert(key, (sender, again));
    }

    /// Sends a lost segment again at `when`, where that is sooner than it would be.
    fn hasten(&mut self, missing: Missing, when: Duration) {
        let is_it = |(_, cargo): &(HostId, Box<Cargo>)| {
            cargo.tag.is_some_and(|tag| tag.is_first_retry_of(missing))
        };
        let mut later = self.retransmissions.range((when, 0)..);
        let Some(key) = later.find_map(|(key, entry)| is_it(entry).then_some(*key)) else {
            return;
        };
        if let Some((host, mut cargo)) = self.retransmissions.remove(&key) {
            let when = when.max(self.now);
            cargo.tag = cargo.tag.map(|tag| tag.sent_at(when));
            let key = (when, self.next_sequence_number());
            self.retransmissions.insert(key, (host, cargo));
        }
    }

    /// Hands to the fabric what the hosts sent in the step that ends now, and what they send again.
    pub(super) fn send_all(&mut self) {
        let mut sent: Vec<(Duration, HostId, Packet<Box<Cargo>>)> = Vec::new();
        while let Some(entry) = self.retransmissions.first_entry() {
            let at = entry.key().0;
            if at > self.now {
                break;
            }
            let (host, cargo) = entry.remove();
            if !self.is_still_sent(host, &cargo.packet) {
                continue;
            }
            let attempt = cargo.tag.map_or(0, |tag| tag.attempt());
            let packet = self.in_fabric(host, cargo);
            if let Some(packet) = self.leaving(at, host, packet) {
                let kind = EventKind::Retransmission {
                    packet: summary(&packet),
                    attempt,
                };
                let name = &self.hosts[host.index()].name;
                self.recorder.record(at, name, kind);
                sent.push((at, host, packet));
            }
        }
        let segment_bytes_max = self.segment_bytes_max;
        let collected = self.egress.take().into_iter();
        let packets = collected.flat_map(|(at, packet)| {
            let segments = segmented(packet, segment_bytes_max).into_iter();
            segments.map(move |packet| (at, packet))
        });
        for (at, packet) in packets {
            let Some(host) = self.by_kernel.get(&packet.src).copied() else {
                let cargo = Box::new(Cargo {
                    packet,
                    sender: None,
                    tag: None,
                });
                let source = cargo.packet.src;
                let packet = in_fabric(cargo, source, TrafficClass::default());
                self.dropped(at, "core", DropCause::NoRoute, &packet);
                continue;
            };
            let cargo = Box::new(Cargo {
                packet,
                sender: Some(host),
                tag: None,
            });
            let packet = self.in_fabric(host, cargo);
            let Some(mut packet) = self.leaving(at, host, packet) else {
                continue;
            };
            packet.body.tag = packet.tcp.map(|signal| {
                let kernel = &packet.body.packet;
                let content = match &kernel.payload {
                    Transport::Tcp(segment) if segment.payload.is_empty() => Content::Nothing,
                    Transport::Tcp(_) | Transport::Udp(_) => Content::Data,
                };
                self.recovery
                    .sent(at, direction_of(kernel), signal, content)
            });
            let name = &self.hosts[host.index()].name;
            self.recorder
                .record(at, name, EventKind::PacketSent(summary(&packet)));
            sent.push((at, host, packet));
        }
        // Stable: what is sent at the same time goes in the order in which it was sent.
        sent.sort_by_key(|(at, ..)| *at);
        for (at, host, packet) in sent {
            self.fabric.inject(at, host, packet);
        }
    }

    /// Whether a packet that was lost is sent again. No kernel does so for a connection that was reset, or for
    /// an attempt that its application has given up, but a connection that was cut at a frame hands over what
    /// had left before.
    ///
    /// A bare acknowledgment is repeated whatever has become of its connection. The kernels of the world have
    /// no TIME-WAIT (RFC 9293 section 3.6.1) in which they would answer the other end's FIN once more.
    fn is_still_sent(&self, host: HostId, packet: &KernelPacket) -> bool {
        let (Some(end), Transport::Tcp(segment)) = (end_of(host, packet), &packet.payload) else {
            return true;
        };
        if segment.payload.is_empty() && !segment.flags.syn && !segment.flags.fin {
            return true;
        }
        let mut sockets = netstat(packet.src).entries.into_iter();
        sockets.any(|socket| socket.local == end.local && socket.peer == Some(end.remote))
            || self.connections.left_before_cut(end, segment)
    }

    /// What gets out of a host of what it sends. The rest is dropped here.
    fn leaving(
        &mut self,
        at: Duration,
        host: HostId,
        packet: Packet<Box<Cargo>>,
    ) -> Option<Packet<Box<Cargo>>> {
        let name = self.hosts[host.index()].name.clone();
        let kernel = &packet.body.packet;
        let source = kernel.src;
        if self.off.contains(&host) {
            self.dropped(at, &name, DropCause::HostDown, &packet);
            return None;
        }
        let passage = match (end_of(host, kernel), &kernel.payload) {
            (Some(end), Transport::Tcp(segment)) => self.connections.sent(end, segment),
            _ => Passage::whole(),
        };
        let (leaves, stays) = match passage.passes {
            Passes::Whole => (Some(packet), None),
            Passes::Begin { bytes } => {
                let (begin, rest) = split(packet, bytes);
                (Some(begin), Some(rest))
            }
            Passes::Nothing => (None, Some(packet)),
        };
        self.note_passage(at, passage);
        self.egress.collect(self.now);
        if let Some(rest) = stays {
            self.dropped(at, &name, DropCause::ConnectionCut, &rest);
        }
        let packet = leaves?;
        if self.hosts[host.index()].device.carrier_of(source) == Carrier::Down {
            self.dropped(at, &name, DropCause::InterfaceDown, &packet);
            return None;
        }
        Some(packet)
    }

    fn in_fabric(&self, host: HostId, cargo: Box<Cargo>) -> Packet<Box<Cargo>> {
        let direction = direction_of(&cargo.packet);
        let class = match cargo.packet.payload {
            Transport::Udp(_) => self.ports.class_of(direction.0),
            Transport::Tcp(_) => TrafficClass::default(),
        };
        let addresses = &self.hosts[host.index()].addresses;
        let seen = addresses
            .iter()
            .find(|address| address.kernel == cargo.packet.src)
            .map_or(cargo.packet.src, |address| address.seen);
        in_fabric(cargo, seen, class)
    }

    /// The address by which the kernel of `host` knows what the host itself knows as `seen`.
    fn kernel_address(&self, host: HostId, seen: IpAddr) -> Option<IpAddr> {
        let addresses = &self.hosts[host.index()].addresses;
        let own = addresses.iter().find(|address| address.seen == seen)?;
        Some(own.kernel)
    }
}

/// A TCP segment as segments that fit the smallest link of the world, as the gateways there would
/// have told the ends when they connected (the clamping of the maximum segment size, see
/// RFC 4459). Anything else as it is.
fn segmented(packet: KernelPacket, bytes_max: Option<usize>) -> Vec<KernelPacket> {
    let Transport::Tcp(whole) = &packet.payload else {
        return vec![packet];
    };
    let Some(bytes_max) = bytes_max.filter(|most| whole.payload.len() > *most) else {
        return vec![packet];
    };
    let length = whole.payload.len();
    let begins = (0..length).step_by(bytes_max);
    begins
        .map(|begin| {
            let end = (begin + bytes_max).min(length);
            let mut segment = whole.clone();
            segment.payload = whole.payload.slice(begin..end);
            let offset = u32::try_from(begin).expect("a segment is shorter than 4 GiB");
            segment.seq = whole.seq.wrapping_add(offset);
            segment.flags.fin &= end == length;
            KernelPacket {
                payload: Transport::Tcp(segment),
                ..packet
            }
        })
        .collect()
}

/// The end of a connection that `host` speaks for in `packet`.
fn end_of(host: HostId, packet: &KernelPacket) -> Option<End> {
    matches!(packet.payload, Transport::Tcp(_)).then(|| {
        let (local, remote) = direction_of(packet);
        End {
            host,
            local,
            remote,
        }
    })
}

/// Source and destination, as the kernel wrote them.
fn direction_of(packet: &KernelPacket) -> (SocketAddr, SocketAddr) {
    let (source, destination) = match &packet.payload {
        Transport::Udp(datagram) => (datagram.src_port, datagram.dst_port),
        Transport::Tcp(segment) => (segment.src_port, segment.dst_port),
    };
    (
        SocketAddr::new(packet.src, source),
        SocketAddr::new(packet.dst, destination),
    )
}
