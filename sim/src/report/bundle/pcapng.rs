//! `trace.pcapng`: every packet of a run as each host saw it (draft-ietf-opsawg-pcapng).
//!
//! - **Interfaces**: one for each place where packets were sent, delivered or dropped: a host, a gateway, the
//!   core, a link. So one packet is there several times, by the addresses that it had there. A packet that was
//!   lost on its way was sent, and dropped somewhere else. `frame.interface_name == "alice"` shows what alice
//!   saw.
//! - **Packets** begin with their IP header (`LINKTYPE_RAW`). What the world does not have is written as most
//!   hosts would: a hop limit of 64, a TCP window of 65535, no options. Checksums are right. The time is the
//!   virtual one, from 1970 on.
//! - **Comments**: `event N`, by which a packet is found in `trace.jsonl`; of a packet that was dropped
//!   `dropped: CAUSE`, and of one that is sent again `sent again: N`. `frame.comment contains "dropped"` shows
//!   what was lost.
//! - **Names** of all hosts and gateways, which Wireshark shows in place of addresses where it resolves
//!   network addresses. An address that several private networks have is named by all of its hosts. One that a
//!   gateway gets while the world runs has no name.
//! - **Secrets** of the clients' [key log](ringtrue::key_log): DTLS handshakes, and signaling over TLS, are
//!   shown decrypted. SRTP is not.
//!
//! Wireshark 4 knows STUN, TURN, HTTP and WebSocket by themselves. The rest it has to be told:
//!
//! - SRTP by `--enable-heuristic rtp_udp` (in menus, Analyze › Enabled Protocols), and what is inside of TURN
//!   by `rtp_stun` and `dtls_stun`;
//! - TURN over TCP on port 443, which is else taken for TLS, by `-d tcp.port==443,stun` (Decode As).

mod headers;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::name_resolution::{
    Ipv4Record, Ipv6Record, NameResolutionBlock, Record,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use pcap_file::{DataLink, Endianness, PcapError};

use crate::report::Report;
use crate::trace::{Event, EventKind, HostName, PacketSummary};

/// The hosts that have an address.
pub type Names = BTreeMap<IpAddr, BTreeSet<String>>;

/// Timestamps count nanoseconds (draft-ietf-opsawg-pcapng section 4.2, `if_tsresol`).
const NANOSECONDS: u8 = 9;

/// The direction of a packet at its interface (draft-ietf-opsawg-pcapng section 4.3.1, `epb_flags`).
const INBOUND: u32 = 0b01;
const OUTBOUND: u32 = 0b10;

/// A decryption secrets block (draft-ietf-opsawg-pcapng section 4.7), which the library has no type for.
const DECRYPTION_SECRETS: u32 = 0x0000_000a;
/// What is in it: a TLS key log, by the letters `TLSK`.
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// Writes the packets of `events` to `out`, with the names of the hosts and the secrets of `report`.
///
/// # Errors
///
/// Those of `out`.
pub fn write(
    out: &mut impl Write,
    report: &Report,
    events: &[Event],
    names: &Names,
) -> io::Result<()> {
    written(out, report, events, names).map_err(|error| match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    })
}

fn written(
    out: &mut impl Write,
    report: &Report,
    events: &[Event],
    names: &Names,
) -> Result<(), PcapError> {
    let mut writer = PcapNgWriter::with_section_header(out, section(report))?;
    if !report.key_log.is_empty() {
        writer.write_pcapng_block(secrets(&report.key_log))?;
    }
    if !names.is_empty() {
        writer.write_pcapng_block(resolution(names))?;
    }
    let places: BTreeSet<&HostName> = events
        .iter()
        .filter(|event| Seen::of(&event.kind).is_some())
        .map(|event| &event.host)
        .collect();
    for place in &places {
        writer.write_pcapng_block(interface(place))?;
    }
    let interfaces: BTreeMap<&HostName, u32> = places.into_iter().zip(0..).collect();
    for (index, event) in (1..).zip(events) {
        if let Some(seen) = Seen::of(&event.kind) {
            let interface = interfaces[&event.host];
            writer.write_pcapng_block(packet(index, event, &seen, interface, names))?;
        }
    }
    Ok(())
}

/// A packet, and what became of it where it was seen.
struct Seen<'a> {
    packet: &'a PacketSummary,
    fate: Fate<'a>,
}

enum Fate<'a> {
    Sent,
    SentAgain { attempt: u32 },
    Delivered,
    Dropped { cause: &'a str },
}

impl<'a> Seen<'a> {
    fn of(kind: &'a EventKind) -> Option<Self> {
        let (packet, fate) = match kind {
            EventKind::PacketSent(packet) => (packet, Fate::Sent),
            EventKind::PacketDelivered(packet) => (packet, Fate::Delivered),
            EventKind::PacketDropped { packet, cause } => (packet, Fate::Dropped { cause }),
            EventKind::Retransmission { packet, attempt } => {
                (packet, Fate::SentAgain { attempt: *attempt })
            }
            _ => return None,
        };
        Some(Self { packet, fate })
    }

    /// Its direction at `place`. A packet that a gateway, the core or a link dropped has none there.
    fn direction(&self, place: &str, names: &Names) -> Option<u32> {
        let is_of = |address: IpAddr| {
            let hosts = names.get(&address);
            hosts.is_some_and(|hosts| hosts.contains(place))
        };
        match self.fate {
            Fate::Sent | Fate::SentAgain { .. } => Some(OUTBOUND),
            Fate::Delivered => Some(INBOUND),
            Fate::Dropped { .. } if is_of(self.packet.source.ip()) => Some(OUTBOUND),
            Fate::Dropped { .. } => is_of(self.packet.destination.ip()).then_some(INBOUND),
        }
    }

    fn comment(&self) -> Option<String> {
        match self.fate {
            Fate::Sent | Fate::Delivered => None,
            Fate::SentAgain { attempt } => Some(format!("sent again: {attempt}")),
            Fate::Dropped { cause } => Some(format!("dropped: {cause}")),
        }
    }
}

fn section(report: &Report) -> SectionHeaderBlock<'static> {
    let what = format!("{} with seed {}", report.scenario, report.seed);
    SectionHeaderBlock {
        // The same bytes on every machine.
        endianness: Endianness::Little,
        options: vec![
            SectionHeaderOption::Comment(what.into()),
            SectionHeaderOption::UserApplication(
                concat!("ringtrue ", env!("CARGO_PKG_VERSION")).into(),
            ),
        ],
        ..SectionHeaderBlock::default()
    }
}

fn secrets(lines: &[String]) -> UnknownBlock<'static> {
    let mut text = lines.join("\n");
    text.push('\n');
    let length = u32::try_from(text.len()).expect("a run has not so many connections");
    let mut body = Vec::with_capacity(8 + text.len());
    body.extend_from_slice(&TLS_KEY_LOG.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(text.as_bytes());
    UnknownBlock {
        type_: DECRYPTION_SECRETS,
        // The writer counts by itself.
        length: 0,
        value: body.into(),
    }
}

fn resolution(names: &Names) -> NameResolutionBlock<'static> {
    let records = names.iter().map(|(address, hosts)| {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let names = vec![Cow::Owned(hosts.join(" or "))];
        match address {
            IpAddr::V4(address) => Record::Ipv4(Ipv4Record {
                ip_addr: address.octets().to_vec().into(),
                names,
            }),
            IpAddr::V6(address) => Record::Ipv6(Ipv6Record {
                ip_addr: address.octets().to_vec().into(),
                names,
            }),
        }
    });
    NameResolutionBlock {
        records: records.collect(),
        options: Vec::new(),
    }
}

fn interface(place: &HostName) -> InterfaceDescriptionBlock<'static> {
    InterfaceDescriptionBlock {
        linktype: DataLink::RAW,
        // No limit.
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(place.to_string().into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ],
    }
}

fn packet<'a>(
    index: u64,
    event: &Event,
    seen: &Seen<'_>,
    interface_id: u32,
    names: &Names,
) -> EnhancedPacketBlock<'a> {
    let data = headers::with_headers(seen.packet);
    let mut options = vec![EnhancedPacketOption::Comment(
        format!("event {index}").into(),
    )];
    let comment = seen.comment();
    options.extend(comment.map(|comment| EnhancedPacketOption::Comment(comment.into())));
    let direction = seen.direction(&event.host, names);
    options.extend(direction.map(EnhancedPacketOption::Flags));
    EnhancedPacketBlock {
        interface_id,
        timestamp: event.at,
        original_len: u32::try_from(data.len()).expect("a packet is shorter than 4 GiB"),
        data: data.into(),
        options,
    }
}

#[cfg(test)]
mod tests;
