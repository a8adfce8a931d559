//! Packets on their way, from the agent to the real network and back into the virtual one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::datagram::Datagram;
use super::families::Family;
use super::routing::{Route, Server};
use super::stun::Header;
use super::traffic::{Inbound, Outbound, Packet};
use super::{BridgeEvent, Inner, address};
use crate::redaction;

/// How long the virtual network may take to accept a packet. Its queues block when full, and one
/// socket that nobody reads must not stop the others.
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(100);

impl Inner {
    /// Sends what the agent sends, and what is due, until the bridge is dropped.
    pub(super) async fn carry_outbound(self: Arc<Self>, mut packets: mpsc::Receiver<Packet>) {
        loop {
            let due = self.state().traffic.next_due(Instant::now());
            tokio::select! {
                biased;
                packet = packets.recv() => match packet {
                    None => return,
                    Some(packet) if packet.remote == address::FLUSH => self.flushed.notify_waiters(),
                    Some(packet) => self.outbound(packet).await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let packets = self.state().traffic.due(Instant::now());
                    for packet in packets {
                        self.send(packet).await;
                    }
                }
                () = self.schedule_moved.notified() => {}
            }
        }
    }

    async fn outbound(self: &Arc<Self>, packet: Packet) {
        let verdict = self.state().traffic.outbound(Instant::now(), &packet);
        match verdict {
            Outbound::Send => self.send(packet).await,
            Outbound::Instead(instead) => {
                for packet in instead.send {
                    self.send(packet).await;
                }
                if let Some(answer) = instead.answer {
                    self.deliver(answer).await;
                }
            }
            Outbound::ConsentLost => (self.listener)(BridgeEvent::ConsentLost),
            Outbound::Refuse(answer) => self.deliver(answer).await,
            Outbound::AlreadySent | Outbound::Later | Outbound::Never => {}
        }
    }

    pub(super) async fn send(self: &Arc<Self>, packet: Packet) {
        let remote = match self.route(&packet) {
            Route::To(remote) => remote,
            Route::OverTcp(remote) => return self.send_over_tcp(packet, remote).await,
            Route::Wait => return,
            Route::Nowhere(answers) => {
                for answer in answers {
                    self.deliver(answer).await;
                }
                return;
            }
        };
        let sent = match self.socket(packet.local, Family::of(remote.ip())).await {
            Ok(socket) => socket.socket.send_to(&packet.payload, remote).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(
                local = %redaction::address(packet.local),
                remote = %redaction::address(remote),
                error = %redaction::scrubbed(error),
                "datagram not sent"
            );
        }
    }

    /// A packet arrived for the agent.
    pub(super) async fn arrived(&self, packet: Packet) {
        let source = packet.remote;
        let (verdict, schedule_moved) = self.state().traffic.inbound(Instant::now(), packet);
        if schedule_moved {
            self.schedule_moved.notify_one();
        }
        match verdict {
            Inbound::Deliver(packet) => {
                self.note_allocation(&packet);
                let redundant = self.state().traffic.end_redundant(&packet);
                self.deliver(packet).await;
                for answer in redundant {
                    self.deliver(answer).await;
                }
            }
            Inbound::Held => {}
            Inbound::Consumed(reason) => {
                tracing::trace!(
                    source = %redaction::address(source), reason, "datagram consumed by the bridge"
                );
                self.answered.notify_one();
            }
        }
    }

    fn note_allocation(&self, packet: &Packet) {
        let granted =
            Header::read(&packet.payload).is_some_and(|header| header.is_allocate_success());
        let over_udp = |server: Option<&Server>| matches!(server, Some(Server::At(_)));
        if granted && over_udp(self.state().servers.get(&packet.remote)) {
            self.relayed_over_udp.send_replace(true);
        }
    }

    pub(super) async fn deliver(&self, packet: Packet) {
        let datagram = Box::new(Datagram::from(packet));
        let delivery = async { self.nic.lock().await.on_inbound_chunk(datagram).await };
        if timeout(DELIVERY_TIMEOUT, delivery).await.is_err() {
            tracing::debug!("datagram dropped: the agent does not read its socket");
        }
    }
}
