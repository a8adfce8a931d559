//! Joining namespaces: what may be said before the reply, refusals, and who shares a connection.

use std::time::Duration;

use ringtrue::config::{ConnectionReuse, SignalingConfig};
use ringtrue::signaling::socket::{
    DisconnectReason, SocketConnectError, SocketEvent, SocketIo, SocketOptions,
};
use ringtrue::signaling::socket_io::packet::placeholder;
use ringtrue::signaling::transport::ConnectPhase;
use serde_json::json;

use super::bench::{Bench, URL, check};
use super::client::{Client, POLLING, UPGRADING, WEBSOCKET, auth, event};
use super::server::{Message, Pings, Reaction, Record, Reply};

const SECOND: Duration = Duration::from_secs(1);
const CALLS_URL: &str = "http://server.example/calls";

/// What the client has said in namespaces: everything but the packets of Engine.IO's own.
fn said(record: &Record) -> Vec<Message> {
    let packets = record.packets().into_iter().map(|(_, packet)| packet);
    let is_message = |packet: &Message| match packet {
        Message::Text(text) => text.starts_with('4'),
        other => matches!(other, Message::Binary(_)),
    };
    packets.filter(is_message).collect()
}

fn texts(packets: &[&str]) -> Vec<Message> {
    packets.iter().map(|text| Message::text(*text)).collect()
}

/// Lets the server answer CONNECT to one namespace with this, and to others as usual.
fn answer_connect(bench: &Bench, connect: &'static str, answer: &'static str) {
    bench.server.on_packet(move |packet| match packet {
        Message::Text(text) if text.starts_with(connect) => {
            Reply::Packets(vec![Message::text(answer)])
        }
        _ => Reply::Usual,
    });
}

#[test]
fn r20_only_connect_is_said_before_the_reply() {
    for transports in [&WEBSOCKET[..], &POLLING[..], &UPGRADING[..]] {
        check(|bench| async move {
            bench.server.set(|settings| {
                settings.connect_reply = None;
                settings.pings = Pings::AtOnce;
                settings.ping_interval = SECOND;
            });
            let io = SocketIo::new(bench.net.clone());
            let options = SocketOptions {
                auth: auth(),
                ..bench.options(transports)
            };
            let mut root = bench.connect_to(&io, URL, options.clone());
            let mut calls = bench.connect_to(&io, CALLS_URL, options);
            let emit = |when: &str| {
                root.emit("root", &[json!(when)]);
                calls.emit("calls", &[json!(when)]);
                // Whoever asks gets no answer here.
                drop(calls.ask("asked", &[json!(when)]));
            };
            emit("before");
            bench
                .server
                .until(|record| record.texts("40").len() == 2)
                .await;
            emit("while joining");
            let binary = event("voice", &[placeholder(0)]);
            let binary = binary.with_attachments(vec![b"opus".to_vec().into()]);
            root.socket.emit(binary.expect("it is placed"));
            tokio::time::sleep(5 * SECOND).await;

            let connects = [
                r#"40{"token":"secret","user":"anna"}"#,
                r#"40/calls,{"token":"secret","user":"anna"}"#,
            ];
            let record = bench.server.record();
            assert_eq!(said(&record), texts(&connects));
            assert!(record.texts("3").len() > 2, "pings were answered meanwhile");

            bench.server.say(r#"40/calls,{"sid":"a"}"#);
            calls.connected().await;
            tokio::time::sleep(bench.ways(2)).await;
            let after_one = [
                r#"42/calls,["calls","before"]"#,
                r#"42/calls,0["asked","before"]"#,
                r#"42/calls,["calls","while joining"]"#,
                r#"42/calls,1["asked","while joining"]"#,
            ];
            let expected = texts(&[&connects[..], &after_one].concat());
            assert_eq!(said(&bench.server.record()), expected);

            bench.server.say(r#"40{"sid":"b"}"#);
            root.connected().await;
            tokio::time::sleep(bench.ways(2)).await;
            let after_both = [
                r#"42["root","before"]"#,
                r#"42["root","while joining"]"#,
                r#"451-["voice",{"_placeholder":true,"num":0}]"#,
            ];
            let mut expected = texts(&[&connects[..], &after_one, &after_both].concat());
            expected.push(Message::Binary(b"opus".to_vec()));
            assert_eq!(said(&bench.server.record()), expected);
        });
    }
}

#[test]
fn r21_an_unanswered_connect_fails_after_its_limit_and_is_tried_again() {
    let defaults = SignalingConfig::default();
    assert_eq!(defaults.namespace_timeout, defaults.timeout);

    let options = |bench: &Bench| {
        let mut options = bench.options(&WEBSOCKET);
        options.signaling.namespace_timeout = 7 * SECOND;
        options
    };
    let check_failure = |error: &SocketConnectError| {
        assert_eq!(error.timed_out_phase(), Some(ConnectPhase::Namespace));
        assert!(!error.is_final());
    };
    // The only namespace: it is tried again over another connection.
    check(|bench| async move {
        bench.server.set(|settings| settings.connect_reply = None);
        let mut client = bench.connect(options(&bench));
        bench
            .server
            .until(|record| !record.texts("40").is_empty())
            .await;
        let asked = bench.now();
        check_failure(&client.failed().await);
        // The limit runs from the writing, which was up to one way before the arrival.
        let waited = bench.since(asked);
        assert!(waited <= 7 * SECOND && waited + bench.ways(1) >= 7 * SECOND);
        bench
            .server
            .set(|settings| settings.connect_reply = Some(r#"{"sid":"SID"}"#.to_owned()));
        client.connected().await;
        let record = bench.server.record();
        assert_eq!(record.texts("40").len(), 2);
        assert_eq!(record.handshakes().len(), 2);
    });
    // Beside another one that is joined: it is tried again over the same connection.
    check(|bench| async move {
        bench.server.on_packet(|packet| match packet {
            Message::Text(text) if text.starts_with("40/calls") => Reply::Packets(vec![]),
            _ => Reply::Usual,
        });
        let io = SocketIo::new(bench.net.clone());
        let mut root = bench.connect_to(&io, URL, options(&bench));
        root.connected().await;
        let mut calls = bench.connect_to(&io, CALLS_URL, options(&bench));
        let asked = bench.now();
        for round in 1..=2 {
            check_failure(&calls.failed().await);
            let waited = bench.since(asked);
            assert!(waited.abs_diff(7 * SECOND * round) <= Duration::from_millis(50));
        }
        bench.server.on_packet(|_| Reply::Usual);
        calls.connected().await;
        let record = bench.server.record();
        assert_eq!(record.texts("40/calls").len(), 3);
        assert_eq!(record.handshakes().len(), 1);
        assert!(root.ready().is_empty(), "the other one noticed nothing");
    });
}

#[test]
fn r22_a_refusal_is_told_and_not_asked_again() {
    const REFUSAL: &str = r#"44/calls,{"message":"not you","data":{"code":7}}"#;
    // Beside another namespace the connection stays.
    check(|bench| async move {
        answer_connect(&bench, "40/calls", REFUSAL);
        let io = SocketIo::new(bench.net.clone());
        let mut root = bench.connect_to(&io, URL, bench.options(&WEBSOCKET));
        root.connected().await;
        let mut calls = bench.connect_to(&io, CALLS_URL, bench.options(&WEBSOCKET));
        let error = calls.failed().await;
        let SocketConnectError::Refused(refusal) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(refusal.message, "not you");
        assert_eq!(refusal.data, Some(json!({"code": 7})));
        assert!(error.is_final());
        tokio::time::sleep(60 * SECOND).await;
        assert!(calls.ready().is_empty());
        bench.server.say(r#"42["still here"]"#);
        assert_eq!(root.event().await.name, "still here");
        let record = bench.server.record();
        assert_eq!(record.texts("40/calls").len(), 1);
        assert_eq!((record.handshakes().len(), record.open()), (1, 1));
    });
    // Without another namespace it is closed.
    check(|bench| async move {
        answer_connect(&bench, "40/calls", REFUSAL);
        let io = SocketIo::new(bench.net.clone());
        let mut calls = bench.connect_to(&io, CALLS_URL, bench.options(&WEBSOCKET));
        let error = calls.failed().await;
        assert!(matches!(error, SocketConnectError::Refused(_)), "{error:?}");
        tokio::time::sleep(bench.ways(2)).await;
        assert_eq!(bench.server.record().open(), 0);
        tokio::time::sleep(60 * SECOND).await;
        assert!(calls.ready().is_empty());
        let record = bench.server.record();
        assert_eq!(record.texts("40/calls").len(), 1);
        assert_eq!(record.handshakes().len(), 1);

        bench.server.on_packet(|_| Reply::Usual);
        calls.socket.connect();
        calls.connected().await;
    });
}

#[test]
fn r22_a_reply_without_a_sid_is_of_an_older_protocol() {
    for reply in ["", "{}", r#"{"pid":"p"}"#] {
        check(|bench| async move {
            bench
                .server
                .set(|settings| settings.connect_reply = Some(reply.to_owned()));
            let mut client = bench.connect(bench.options(&WEBSOCKET));
            let error = client.failed().await;
            assert!(
                matches!(error, SocketConnectError::OldProtocol),
                "{error:?}"
            );
            assert!(error.to_string().contains("older socket.io protocol"));
            assert!(error.is_final());
            tokio::time::sleep(60 * SECOND).await;
            let record = bench.server.record();
            assert_eq!(record.texts("40").len(), 1);
            assert_eq!((record.handshakes().len(), record.open()), (1, 0));
        });
    }
}

#[test]
fn r23_namespaces_share_a_connection_unless_something_speaks_against_it() {
    check(|bench| async move {
        let io = SocketIo::new(bench.net.clone());
        let shared = || bench.options(&WEBSOCKET);
        let separate = || {
            let mut options = bench.options(&WEBSOCKET);
            options.signaling.reuse = ConnectionReuse::Separate;
            options
        };
        let handshakes = || bench.server.record().handshakes().len();
        let mut clients: Vec<Client> = Vec::new();
        let steps = [
            (URL, shared(), 1),
            (CALLS_URL, shared(), 1),
            // Another way to write the same scheme, host and port.
            ("ws://server.example:80/more", shared(), 1),
            ("http://server.example/private", separate(), 2),
            // Nobody joins a connection that is kept for one.
            ("http://server.example/public", shared(), 2),
            // The namespace is taken.
            (CALLS_URL, shared(), 3),
            (CALLS_URL, separate(), 4),
        ];
        for (url, options, expected) in steps {
            let mut client = bench.connect_to(&io, url, options);
            client.connected().await;
            clients.push(client);
            assert_eq!(handshakes(), expected, "{url}");
        }
        assert_eq!(bench.server.record().open(), 4);
        // What is free again can be shared again.
        drop(clients.remove(1));
        let mut again = bench.connect_to(&io, CALLS_URL, shared());
        again.connected().await;
        assert_eq!(handshakes(), 4);
    });
}

#[test]
fn r24_connecting_while_backing_off_takes_effect_with_the_next_open() {
    check(|bench| async move {
        bench.server.on_request(|_| Reaction::Close);
        let io = SocketIo::new(bench.net.clone());
        let mut root = bench.connect_to(&io, URL, bench.options(&WEBSOCKET));
        let delay = root
            .first(|event| match event {
                SocketEvent::ReconnectWait { attempt: 3, delay } => Some(*delay),
                _ => None,
            })
            .await;
        let waits_from = bench.now();
        assert_eq!(delay, 2 * SECOND);
        bench.server.on_request(|_| Reaction::Usual);
        let mut calls = bench.connect_to(&io, CALLS_URL, bench.options(&WEBSOCKET));
        calls.connected().await;
        root.connected().await;
        let record = bench.server.record();
        let handshakes = record.handshakes();
        assert_eq!(handshakes.len(), 4, "the first and three more");
        assert!(handshakes[3].0 >= waits_from + delay, "none came sooner");
        assert_eq!(record.texts("40").len(), 2);
    });
}

#[test]
fn r24_connecting_while_an_attempt_is_under_way_takes_effect_with_it() {
    check(|bench| async move {
        bench
            .server
            .on_request(|_| Reaction::After(2 * SECOND, Box::new(Reaction::Usual)));
        let io = SocketIo::new(bench.net.clone());
        let mut root = bench.connect_to(&io, URL, bench.options(&WEBSOCKET));
        bench
            .server
            .until(|record| record.handshakes().len() == 1)
            .await;
        tokio::time::sleep(SECOND).await;
        let mut calls = bench.connect_to(&io, CALLS_URL, bench.options(&WEBSOCKET));
        root.connected().await;
        calls.connected().await;
        let record = bench.server.record();
        assert_eq!(record.handshakes().len(), 1);
        assert_eq!(record.texts("40").len(), 2);
    });
}

#[test]
fn r24_connecting_again_after_disconnecting_while_backing_off_works() {
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        bench.server.on_request(|_| Reaction::Close);
        bench.server.close_connections();
        let reason = client.disconnected().await;
        assert!(matches!(reason, DisconnectReason::Transport(_)));
        client.socket.disconnect();
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(bench.server.record().handshakes().len(), 1);
        bench.server.on_request(|_| Reaction::Usual);
        client.socket.connect();
        client.connected().await;
        assert_eq!(bench.server.record().handshakes().len(), 2);
    });
}

#[test]
fn r31_events_before_the_reply_come_once_and_before_connected() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            bench.server.on_packet(|packet| match packet {
                Message::Text(text) if text.starts_with("40") => Reply::Packets(vec![
                    Message::text(r#"42["early",1,"two",{"three":[]}]"#),
                    Message::text(r#"451-["voice",{"_placeholder":true,"num":0}]"#),
                    Message::Binary(b"opus".to_vec()),
                    Message::text(r#"42["bare"]"#),
                    Message::text(r#"40{"sid":"late"}"#),
                    Message::text(r#"42["later"]"#),
                ]),
                _ => Reply::Usual,
            });
            let mut client = bench.connect(bench.options(transports));
            let early = client.event().await;
            assert_eq!(early.name, "early");
            let three = json!({"three": []});
            assert_eq!(early.arguments, [json!(1), json!("two"), three]);
            let voice = client.event().await;
            assert_eq!(voice.name, "voice");
            assert_eq!(voice.arguments, [placeholder(0)]);
            assert_eq!(voice.attachments, ["opus"]);
            let bare = client.event().await;
            assert_eq!((bare.name.as_str(), bare.arguments), ("bare", vec![]));
            assert_eq!(client.joined().await.0, "late");
            assert_eq!(client.event().await.name, "later");
            tokio::time::sleep(10 * SECOND).await;
            assert!(client.ready().is_empty(), "none comes again");
        });
    }
}
