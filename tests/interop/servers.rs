//! The client against the real servers.

use std::time::Duration;

use bytes::Bytes;
use ringtrue::config::SignalingConfig;
use ringtrue::config::TransportKind::{self, Polling, WebSocket};
use ringtrue::signaling::socket::{Acknowledgement, Recovered, SocketConnectError};
use ringtrue::signaling::socket_io::packet::placeholder;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::client::{Client, answer, within};
use crate::server::{PING_INTERVAL, PING_TIMEOUT, Peer, Server};

/// Makes of each function a test against each server.
macro_rules! against_every_server {
    ($($test:ident),* $(,)?) => {
        mod npm {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Peer::Npm).await;
            })*
        }

        mod npm_with_recovery {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Peer::NpmWithRecovery).await;
            })*
        }

        mod python {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Peer::Python).await;
            })*
        }
    };
}

against_every_server!(
    connects_by_websocket,
    connects_by_polling,
    upgrades_under_traffic,
    events_and_acknowledgements_go_both_ways,
    binary_goes_both_ways_by_websocket,
    binary_goes_both_ways_by_polling,
    bursts_of_200_by_websocket,
    bursts_of_200_by_polling,
    a_rejected_token_is_not_tried_again,
    a_server_that_disconnects_is_left_alone,
    a_closed_session_is_replaced_by_websocket,
    a_closed_session_is_replaced_by_polling,
    server_restarts_are_outlived_by_websocket,
    server_restarts_are_outlived_by_polling,
    the_heartbeat_is_kept_by_websocket,
    the_heartbeat_is_kept_by_polling,
    a_doubted_path_that_works_is_kept_by_websocket,
    a_doubted_path_that_works_is_kept_by_polling,
    a_deaf_server_is_left_at_the_deadline_by_websocket,
    a_deaf_server_is_left_at_the_deadline_by_polling,
    two_namespaces_share_a_session,
);

/// Runs a test on a connected client, which then leaves.
async fn check(
    peer: Peer,
    name: &str,
    transports: &[TransportKind],
    test: impl AsyncFnOnce(&mut Client),
) {
    let server = Server::shared(peer);
    let mut client = Client::start(server, name, transports).await;
    test(&mut client).await;
    client.leave_no_trace(server).await;
}

async fn connects_by_websocket(peer: Peer) {
    check(peer, "by-websocket", &[WebSocket], async |client| {
        assert_eq!(client.transport().await, "websocket");
        client.holds_streams(1).await;
    })
    .await;
}

async fn connects_by_polling(peer: Peer) {
    check(peer, "by-polling", &[Polling], async |client| {
        assert_eq!(client.transport().await, "polling");
        assert_eq!(client.transport().await, "polling", "it stays there");
    })
    .await;
}

async fn upgrades_under_traffic(peer: Peer) {
    check(peer, "upgrade", &[Polling, WebSocket], async |client| {
        let counting = client.ask("count", json!([200, 5]));
        let mut notes = 0;
        let note = |notes: &mut u32| {
            client.emit("note", json!([*notes]));
            *notes += 1;
        };
        within(async {
            while client.transport().await != "websocket" {
                note(&mut notes);
            }
        })
        .await;
        for _ in 0..50 {
            note(&mut notes);
        }
        let expected = (0..notes).collect::<Vec<_>>();
        assert_eq!(client.call("noted", json!([])).await, [json!(expected)]);
        client.counts(0..200).await;
        assert_eq!(answer(counting).await.arguments, [json!(200)]);
        client.holds_streams(1).await;
    })
    .await;
}

async fn events_and_acknowledgements_go_both_ways(peer: Peer) {
    check(peer, "both-ways", &[WebSocket], async |client| {
        let arguments = json!([0, -1.5, "ö€😀\u{1e}\"\\", null, true, {"a": [{"b": []}]}]);
        let echo = client.call("echo", arguments.clone()).await;
        assert_eq!(Value::Array(echo), arguments);
        let echoed = client.event("echoed").await;
        assert_eq!(Value::Array(echoed.arguments), arguments);

        let asking = client.ask("ask", json!(["why"]));
        let asked = client.event("asked").await;
        assert_eq!(asked.arguments, [json!("why")]);
        let ticket = asked.ticket.expect("the server asks for an answer");
        let because = Acknowledgement::new(vec![json!({"because": 42})]);
        client.socket.acknowledge(ticket, because.clone());
        assert_eq!(answer(asking).await, because);
    })
    .await;
}

async fn binary_goes_both_ways_by_websocket(peer: Peer) {
    check(peer, "binary-1", &[WebSocket], binary_goes_both_ways).await;
}

async fn binary_goes_both_ways_by_polling(peer: Peer) {
    check(peer, "binary-2", &[Polling], binary_goes_both_ways).await;
}

async fn binary_goes_both_ways(client: &mut Client) {
    let every_byte = (0..=u8::MAX).collect::<Vec<_>>();
    let attachments = vec![
        Bytes::from(every_byte),
        Bytes::new(),
        Bytes::from_static(b"opus"),
    ];
    let arguments = json!([placeholder(0), {"empty": placeholder(1)}, "text", [placeholder(2)]]);
    let echo = Acknowledgement {
        arguments: [
            &[json!(260)],
            arguments.as_array().expect("an array").as_slice(),
        ]
        .concat(),
        attachments: attachments.clone(),
    };
    let answer = client
        .call_with_attachments("binary_echo", arguments, attachments)
        .await;
    assert_eq!(answer, echo);
    let echoed = client.event("binary_echoed").await;
    assert_eq!(
        (echoed.arguments, echoed.attachments),
        (echo.arguments, echo.attachments)
    );
}

async fn bursts_of_200_by_websocket(peer: Peer) {
    check(peer, "burst-1", &[WebSocket], bursts_of_200).await;
}

async fn bursts_of_200_by_polling(peer: Peer) {
    check(peer, "burst-2", &[Polling], bursts_of_200).await;
}

async fn bursts_of_200(client: &mut Client) {
    let counting = client.ask("count", json!([200, 0]));
    for number in 0..200 {
        client.emit("note", json!([number]));
    }
    let expected = (0..200).collect::<Vec<_>>();
    assert_eq!(client.call("noted", json!([])).await, [json!(expected)]);
    client.counts(0..200).await;
    assert_eq!(answer(counting).await.arguments, [json!(200)]);
}

async fn a_rejected_token_is_not_tried_again(peer: Peer) {
    let server = Server::shared(peer);
    let auth = |token: &str| Map::from_iter([("token".into(), json!(token))]);
    let mut client = Client::new(server, "/guarded", "rejected", &[WebSocket], auth("wrong"));
    client.socket.connect();
    match client.connect_failed().await {
        SocketConnectError::Refused(refusal) => {
            assert_eq!(refusal.message, "token refused");
            assert_eq!(refusal.data, Some(json!({"code": "bad-token"})));
        }
        other => panic!("{other:?}"),
    }
    client.holds_streams(0).await;
    client.nothing_for(Duration::from_secs(1)).await;

    client.socket.set_auth(auth("secret"));
    client.socket.connect();
    client.connected().await;
    assert_eq!(client.about().await["sessions"], 1);
    client.leave_no_trace(server).await;
}

async fn a_server_that_disconnects_is_left_alone(peer: Peer) {
    check(peer, "left-alone", &[WebSocket], async |client| {
        client.emit("leave", json!([]));
        assert_eq!(client.disconnected().await.name(), "io_server_disconnect");
        client.holds_streams(0).await;
        client.nothing_for(Duration::from_secs(1)).await;
        client.socket.connect();
        client.connected().await;
        assert_eq!(client.about().await["sessions"], 1);
    })
    .await;
}

async fn a_closed_session_is_replaced_by_websocket(peer: Peer) {
    check(peer, "closed-1", &[WebSocket], a_closed_session_is_replaced).await;
}

async fn a_closed_session_is_replaced_by_polling(peer: Peer) {
    check(peer, "closed-2", &[Polling], a_closed_session_is_replaced).await;
}

async fn a_closed_session_is_replaced(client: &mut Client) {
    let start = Instant::now();
    client.emit("close", json!([]));
    assert_eq!(client.disconnected().await.name(), "transport_close");
    assert!(start.elapsed() < PING_TIMEOUT, "not by the heartbeat");
    client.connected().await;
    assert_eq!(client.about().await["sessions"], 1);
}

async fn server_restarts_are_outlived_by_websocket(peer: Peer) {
    server_restarts_are_outlived(peer, WebSocket).await;
}

async fn server_restarts_are_outlived_by_polling(peer: Peer) {
    server_restarts_are_outlived(peer, Polling).await;
}

async fn server_restarts_are_outlived(peer: Peer, transport: TransportKind) {
    let mut server = Server::start(peer);
    let mut client = Client::start(&server, "restarts", &[transport]).await;
    for manner in ["polite", "abrupt"] {
        let start = Instant::now();
        client.emit("exit", json!([manner]));
        client.disconnected().await;
        assert!(
            start.elapsed() < PING_TIMEOUT,
            "{manner}: not by the heartbeat"
        );
        client.emit("note", json!([manner]));
        server.start_again().await;
        assert_eq!(client.connected().await, Recovered::No);
        assert_eq!(client.call("noted", json!([])).await, [json!([manner])]);
    }
    client.leave_no_trace(&server).await;
}

async fn the_heartbeat_is_kept_by_websocket(peer: Peer) {
    check(peer, "heartbeat-1", &[WebSocket], the_heartbeat_is_kept).await;
}

async fn the_heartbeat_is_kept_by_polling(peer: Peer) {
    check(peer, "heartbeat-2", &[Polling], the_heartbeat_is_kept).await;
}

/// Without pongs the server would close the session after one interval and its timeout, and without
/// pings the client would.
async fn the_heartbeat_is_kept(client: &mut Client) {
    let sid = client.about().await["sid"].take();
    client.nothing_for(PING_TIMEOUT + PING_INTERVAL * 4).await;
    assert_eq!(client.about().await["sid"], sid);
}

async fn a_doubted_path_that_works_is_kept_by_websocket(peer: Peer) {
    check(
        peer,
        "doubted-1",
        &[WebSocket],
        a_doubted_path_that_works_is_kept,
    )
    .await;
}

async fn a_doubted_path_that_works_is_kept_by_polling(peer: Peer) {
    check(
        peer,
        "doubted-2",
        &[Polling],
        a_doubted_path_that_works_is_kept,
    )
    .await;
}

/// However often the client asks, the server takes no offence, and its pings come all the same: without
/// them the client would close the session after one interval and its timeout.
async fn a_doubted_path_that_works_is_kept(client: &mut Client) {
    let sid = client.about().await["sid"].take();
    let pause = PING_INTERVAL / 4;
    let end = Instant::now() + SignalingConfig::default().check_limit + PING_TIMEOUT;
    while Instant::now() < end + PING_INTERVAL {
        client.socket.check_path();
        client.nothing_for(pause).await;
    }
    assert_eq!(client.about().await["sid"], sid);
}

async fn a_deaf_server_is_left_at_the_deadline_by_websocket(peer: Peer) {
    a_deaf_server_is_left_at_the_deadline(peer, WebSocket).await;
}

async fn a_deaf_server_is_left_at_the_deadline_by_polling(peer: Peer) {
    a_deaf_server_is_left_at_the_deadline(peer, Polling).await;
}

async fn a_deaf_server_is_left_at_the_deadline(peer: Peer, transport: TransportKind) {
    let server = Server::start(peer);
    let mut client = Client::start(&server, "deaf", &[transport]).await;
    let start = Instant::now();
    client.emit("freeze", json!([6_000]));
    assert_eq!(client.disconnected().await.name(), "ping_timeout");
    let left_after = start.elapsed();
    // The last packet is at most an interval older than the freeze, and not much younger.
    let limits = PING_TIMEOUT..PING_INTERVAL + PING_TIMEOUT + Duration::from_secs(1);
    assert!(
        limits.contains(&left_after),
        "{left_after:?} is not in {limits:?}"
    );

    client.connected().await;
    client.holds_sessions(1).await;
    client.leave_no_trace(&server).await;
}

async fn two_namespaces_share_a_session(peer: Peer) {
    check(peer, "namespaces", &[WebSocket], async |client| {
        let mut second = client.beside(Server::shared(peer), "/second", Map::new());
        second.socket.connect();
        second.connected().await;
        let (here, there) = (client.about().await, second.about().await);
        assert_eq!(
            (&here["sessions"], &there["sessions"]),
            (&json!(1), &json!(1))
        );
        assert_ne!(here["sid"], there["sid"]);
        client.holds_streams(1).await;

        client.emit("echo", json!([1]));
        second.emit("echo", json!([2]));
        assert_eq!(client.event("echoed").await.arguments, [json!(1)]);
        assert_eq!(second.event("echoed").await.arguments, [json!(2)]);

        second.emit("leave", json!([]));
        assert_eq!(second.disconnected().await.name(), "io_server_disconnect");
        assert_eq!(client.about().await["sid"], here["sid"]);
    })
    .await;
}

mod recovery {
    use super::*;

    #[tokio::test]
    async fn what_was_missed_is_received_once() {
        check(
            Peer::NpmWithRecovery,
            "recovery",
            &[WebSocket],
            async |client| {
                client.emit("count", json!([2, 0]));
                client.counts(0..2).await;
                let sid = client.about().await["sid"].take();
                client.emit("miss", json!([5]));
                assert_eq!(client.disconnected().await.name(), "transport_close");
                let (recovered, missed) = client.connected_after().await;
                assert_eq!(recovered, Recovered::Yes);
                let missed = missed
                    .into_iter()
                    .map(|event| (event.name, event.arguments));
                let counted = |number| ("counted".to_owned(), vec![json!(number)]);
                assert_eq!(
                    missed.collect::<Vec<_>>(),
                    (0..5).map(counted).collect::<Vec<_>>()
                );
                let about = client.about().await;
                assert_eq!((&about["sid"], &about["recovered"]), (&sid, &json!(true)));
            },
        )
        .await;
    }
}
