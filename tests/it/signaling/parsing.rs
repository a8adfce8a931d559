//! What cannot be read ends the session, and nothing worse.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use ringtrue::signaling::engine_io::EngineIoPacket;
use ringtrue::signaling::socket_io::reassembly::Reassembler;
use serde_json::json;

use super::bench::{Bench, check};
use super::client::{Client, POLLING, WEBSOCKET};
use super::server::Message;

const SECOND: Duration = Duration::from_secs(1);

/// Each is something else that cannot be read.
fn unreadable() -> Vec<(&'static str, Vec<Message>)> {
    let one = Message::text(r#"451-["voice",{"_placeholder":true,"num":0}]"#);
    let text = |text: &str| vec![Message::text(text)];
    vec![
        (
            "a text amid a reconstruction",
            vec![one, Message::text(r#"42["x"]"#)],
        ),
        ("a stray binary", vec![Message::Binary(vec![1, 2, 3])]),
        ("no json", text(r#"42["x""#)),
        ("no array", text(r#"42{"name":"x"}"#)),
        ("an array without a name", text("42[]")),
        ("an unknown type", text("47")),
        ("no type", text("4")),
        ("eleven attachments", text(r#"4511-["x"]"#)),
        (
            "a placeholder for nothing",
            text(r#"451-["x",{"_placeholder":true,"num":1}]"#),
        ),
    ]
}

/// The server says this to a client that is joined: the session ends for it, and the next begins.
async fn check_ends(bench: &Bench, client: &mut Client, what: &str, packets: Vec<Message>) {
    let before = bench.server.record();
    let said = bench.now();
    for packet in packets {
        bench.server.send(packet);
    }
    let reason = client.disconnected().await;
    assert_eq!(reason.name(), "parse_error", "{what}: {reason:?}");
    assert!(bench.since(said) <= bench.ways(4), "{what}: it took long");
    client.connected().await;
    let record = bench.server.record();
    let handshakes = before.handshakes().len() + 1;
    assert_eq!(record.handshakes().len(), handshakes, "{what}");
}

#[test]
fn r35_what_cannot_be_read_ends_the_session_with_parse_error_and_a_reconnect_follows() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            for (what, packets) in unreadable() {
                check_ends(&bench, &mut client, what, packets).await;
            }
            // The client closes the connections that it gives up.
            tokio::time::sleep(10 * SECOND).await;
            let open = bench.server.record().open();
            assert!(
                open <= 2,
                "{open} connections: a session has two at the most"
            );
            bench.server.say(r#"42["fine"]"#);
            assert_eq!(client.event().await.name, "fine");
        });
    }
}

#[test]
fn r35_no_attachments_are_complete_at_once() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            bench.server.say(r#"450-["whole",1]"#);
            let whole = client.event().await;
            assert_eq!(
                (whole.name.as_str(), whole.arguments),
                ("whole", vec![json!(1)])
            );
            assert!(whole.attachments.is_empty());
            bench.server.say(r#"42["next"]"#);
            assert_eq!(client.event().await.name, "next");
            assert_eq!(bench.server.record().handshakes().len(), 1);
        });
    }
}

/// Messages that begin like packets and go wrong somewhere.
fn messages() -> impl Strategy<Value = EngineIoPacket> {
    let texts = prop_oneof![
        ".{0,24}",
        "[0-9]{0,3}-?(/[a-z]{0,3},?)?[0-9]{0,22}[\\[{\"a0,:}\\]]{0,8}",
        "[2356](1-)?[0-9]{0,2}\\[\"[a-z]{0,2}\"(,\\{\"_placeholder\":true,\"num\":-?[0-9]\\})?\\]?",
    ];
    let binaries = prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => texts.prop_map(|text| EngineIoPacket::Message(text.as_str().into())),
        1 => binaries.prop_map(|bytes| EngineIoPacket::Binary(Bytes::from(bytes))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn r35_no_message_makes_the_reader_panic(
        messages in prop::collection::vec(messages(), 1..5),
    ) {
        let mut reader = Reassembler::default();
        for message in messages {
            if let Ok(Some(packet)) = reader.read(message) {
                // What is read can be written again, and is the same then.
                let mut again = Reassembler::default();
                let mut last = None;
                for message in packet.clone().into_messages() {
                    last = again.read(message).expect("it was read before");
                }
                prop_assert_eq!(last, Some(packet));
            }
        }
    }
}
