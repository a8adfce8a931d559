//! What the two ends of a broken connection are told, and when.

use super::*;
use crate::fault::{FramePoint, FrameSide};
use crate::net::link::LinkPair;
use crate::net::topology::{Families, Topology};

fn ends() -> [End; 2] {
    let mut topology = Topology::new();
    let mut host = |name| {
        topology
            .add_server(name, LinkPair::default(), Families::V4)
            .expect("an address is left")
    };
    let [client, server] = [host("client"), host("server")];
    let address = |text: &str| text.parse().expect("a socket address");
    [
        End {
            host: client,
            local: address("192.168.0.2:50000"),
            remote: address("192.0.2.1:80"),
        },
        End {
            host: server,
            local: address("192.0.2.1:80"),
            remote: address("203.0.113.1:50000"),
        },
    ]
}

fn segment(seq: u32, payload: &'static [u8], flags: TcpFlags) -> TcpSegment {
    TcpSegment {
        src_port: 1,
        dst_port: 2,
        seq,
        ack: 70,
        flags,
        window: 1000,
        payload: Bytes::from_static(payload),
    }
}

/// A connection over which each end has said five bytes.
fn open() -> (Connections, [End; 2]) {
    let [client, server] = ends();
    let mut connections = Connections::default();
    for (to, from) in [(server, client), (client, server)] {
        let said = segment(100, b"hello", acknowledgment());
        let passage = connections.arrives(to, Some(from), &said);
        assert_eq!(passage.passes, Passes::Whole);
    }
    (connections, [client, server])
}

fn flags_of(packet: &KernelPacket) -> (bool, bool, u32) {
    match &packet.payload {
        Transport::Tcp(segment) => (segment.flags.fin, segment.flags.rst, segment.seq),
        Transport::Udp(_) => unreachable!("only segments are made"),
    }
}

#[test]
fn a_fin_comes_in_sequence_at_both_ends() {
    let (mut connections, [client, _]) = open();
    let (told, count) = connections.break_at_both_ends(client.host, |_| true, Breakage::Fin);
    assert_eq!(count, 1);
    let flags: Vec<_> = told.iter().map(flags_of).collect();
    assert_eq!(flags, [(true, false, 105), (true, false, 105)]);
}

#[test]
fn whoever_closes_after_a_fin_is_acknowledged_and_whoever_talks_is_reset() {
    let (mut connections, [client, _]) = open();
    let _told = connections.break_at_both_ends(client.host, |_| true, Breakage::Fin);
    let fin = TcpFlags {
        fin: true,
        ..acknowledgment()
    };
    let passage = connections.sent(client, &segment(70, b"", fin));
    assert_eq!(passage.passes, Passes::Nothing);
    let answers: Vec<_> = passage.told.iter().map(flags_of).collect();
    assert_eq!(answers, [(false, false, 106)]);
    let talk = segment(70, b"still here", acknowledgment());
    let passage = connections.sent(client, &talk);
    assert_eq!(passage.passes, Passes::Nothing);
    let is_reset: Vec<_> = passage.told.iter().map(|told| flags_of(told).1).collect();
    assert_eq!(is_reset, [true]);
}

#[test]
fn silence_tells_nobody_and_swallows_everything() {
    let (mut connections, [client, server]) = open();
    let (told, count) = connections.break_at_both_ends(client.host, |_| true, Breakage::Silence);
    assert_eq!((told.len(), count), (0, 1));
    let said = segment(105, b"hello?", acknowledgment());
    let passage = connections.sent(client, &said);
    assert_eq!((passage.passes, passage.told.len()), (Passes::Nothing, 0));
    let passage = connections.arrives(server, Some(client), &said);
    assert_eq!(passage.passes, Passes::Nothing);
}

#[test]
fn only_the_connections_that_are_meant_break() {
    let (mut connections, [client, server]) = open();
    let (_, count) = connections.break_at_both_ends(client.host, |_| false, Breakage::Rst);
    assert_eq!(count, 0);
    let (told, count) = connections.abort_all(client.host);
    assert_eq!((told.len(), count), (1, 1), "the server learns nothing");
    let said = segment(105, b"hello?", acknowledgment());
    let passage = connections.arrives(server, Some(client), &said);
    assert_eq!(passage.passes, Passes::Whole);
}

#[test]
fn a_new_connection_on_the_same_addresses_is_whole() {
    let (mut connections, [client, _]) = open();
    let _told = connections.break_at_both_ends(client.host, |_| true, Breakage::Rst);
    let syn = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    let begin = segment(0, b"", syn);
    assert_eq!(connections.sent(client, &begin).passes, Passes::Whole);
    let said = segment(1, b"hello", acknowledgment());
    assert_eq!(connections.sent(client, &said).passes, Passes::Whole);
}

/// The requests that the client of [`cut_at`] sends: two frames in one segment.
const REQUESTS: &[u8] = b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
const REQUEST_BYTES: usize = REQUESTS.len() / 2;
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A connection that was opened by sequence numbers 99 and is listened to at the client, to be cut.
fn cut_at(side: FrameSide, way: FrameWay, number: u64) -> (Connections, [End; 2]) {
    let [client, server] = ends();
    let mut connections = Connections::default();
    let servers = [client.remote].into();
    connections.listen_in(Tap::new([client.host].into(), servers));
    let cut = FrameCut {
        fault: 3,
        point: FramePoint { side, way, number },
        how: Breakage::Fin,
    };
    assert!(connections.cut_at(client.host, cut));
    let syn = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    let accepts = TcpFlags { ack: true, ..syn };
    let opens = segment(99, b"", syn);
    assert_eq!(connections.sent(client, &opens).passes, Passes::Whole);
    let _passage = connections.arrives(server, Some(client), &opens);
    let _passage = connections.arrives(client, Some(server), &segment(99, b"", accepts));
    (connections, [client, server])
}

#[test]
fn what_left_before_the_cut_arrives_even_if_it_is_sent_again() {
    let (mut connections, [client, server]) = cut_at(FrameSide::After, FrameWay::Sends, 1);
    let passage = connections.sent(client, &segment(100, REQUESTS, acknowledgment()));
    let begin = Passes::Begin {
        bytes: REQUEST_BYTES,
    };
    assert_eq!((passage.passes, passage.cut_by), (begin, Some(3)));
    let told: Vec<_> = passage.told.iter().map(flags_of).collect();
    assert_eq!(told, [(true, false, 100)], "the server hears nothing yet");

    let first = segment(100, &REQUESTS[..REQUEST_BYTES], acknowledgment());
    assert_eq!(connections.sent(client, &first).passes, Passes::Whole);
    let whole = segment(100, REQUESTS, acknowledgment());
    assert_eq!(connections.sent(client, &whole).passes, Passes::Nothing);
    let answered = connections.arrives(
        client,
        Some(server),
        &segment(100, ANSWER, acknowledgment()),
    );
    assert_eq!(answered.passes, Passes::Nothing);

    let passage = connections.arrives(server, Some(client), &first);
    assert_eq!(passage.passes, Passes::Whole);
    let after = 100 + u32::try_from(REQUEST_BYTES).expect("a short text");
    let told: Vec<_> = passage.told.iter().map(flags_of).collect();
    assert_eq!(told, [(true, false, after)]);
}

#[test]
fn nothing_of_a_frame_leaves_where_the_cut_is_before_it() {
    let (mut connections, [client, _]) = cut_at(FrameSide::Before, FrameWay::Sends, 1);
    let passage = connections.sent(client, &segment(100, REQUESTS, acknowledgment()));
    assert_eq!((passage.passes, passage.cut_by), (Passes::Nothing, Some(3)));
    assert_eq!(passage.told.len(), 2, "both ends know at once");
}

#[test]
fn a_frame_is_received_up_to_the_cut_and_what_was_sent_before_it_arrives() {
    let (mut connections, [client, server]) = cut_at(FrameSide::After, FrameWay::Receives, 1);
    let asked = segment(100, &REQUESTS[..REQUEST_BYTES], acknowledgment());
    assert_eq!(connections.sent(client, &asked).passes, Passes::Whole);
    let answers = [ANSWER, ANSWER].concat().leak();
    let answers = segment(100, answers, acknowledgment());
    let passage = connections.arrives(client, Some(server), &answers);
    let bytes = ANSWER.len();
    assert_eq!(passage.passes, Passes::Begin { bytes });
    let after = 100 + u32::try_from(bytes).expect("a short text");
    let told: Vec<_> = passage.told.iter().map(flags_of).collect();
    assert_eq!(told, [(true, false, after)]);
    let passage = connections.arrives(server, Some(client), &asked);
    assert_eq!((passage.passes, passage.told.len()), (Passes::Whole, 1));
}

#[test]
fn a_wire_shows_when_its_connection_opens_and_closes() {
    let (mut connections, [client, server]) = cut_at(FrameSide::After, FrameWay::Sends, 9);
    let fin = TcpFlags {
        fin: true,
        ..acknowledgment()
    };
    let _passage = connections.sent(client, &segment(100, REQUESTS, acknowledgment()));
    let _passage = connections.sent(client, &segment(200, b"", fin));
    let _passage = connections.sent(server, &segment(100, b"", fin));
    let events = connections.take_events().into_iter();
    let shown: Vec<String> = events.map(|(_, event)| event.to_string()).collect();
    assert_eq!(
        shown,
        [
            "signaling connection 1 opened",
            "sends frame 1 on signaling connection 1",
            "sends frame 2 on signaling connection 1",
            "signaling connection 1 is for long-polling",
            "signaling connection 1 closed",
        ]
    );
}

#[test]
fn data_that_overtakes_a_lost_acknowledgment_completes_the_handshake_first() {
    let [client, server] = ends();
    let mut connections = Connections::default();
    let syn = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    let mut completes = |segment: &TcpSegment| {
        let passage = connections.arrives(server, Some(client), segment);
        passage.completes_handshake
    };
    assert!(!completes(&segment(99, b"", syn)));
    assert!(!completes(&segment(99, b"", syn)), "the SYN comes again");
    assert!(completes(&segment(100, b"hello", acknowledgment())));
    assert!(!completes(&segment(105, b"hello", acknowledgment())));
    assert!(!completes(&segment(99, b"", syn)));
    assert!(!completes(&segment(100, b"", acknowledgment())));
    assert!(!completes(&segment(100, b"hello", acknowledgment())));
}
