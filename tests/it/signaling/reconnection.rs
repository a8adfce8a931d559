//! How a client comes back: the order of events, and what is left of the connection before.

use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use ringtrue::config::SignalingConfig;
use ringtrue::signaling::engine_io::{EngineIoPacket, OpenPacket};
use ringtrue::signaling::manager::{Manager, ManagerAction, SocketId, SocketSettings};
use ringtrue::signaling::socket::{DisconnectReason, SocketEvent, SocketOptions};
use ringtrue::signaling::socket_io::Namespace;
use ringtrue::signaling::transport::TransportError;
use serde_json::{Map, json};
use tokio::time::Instant;

use super::bench::{Bench, Link, check, run};
use super::client::{Client, POLLING, UPGRADING, WEBSOCKET};
use super::server::{Ending, Reaction, Reply};

const SECOND: Duration = Duration::from_secs(1);

/// An event by the name that the reference clients give it.
fn name(event: &SocketEvent) -> String {
    match event {
        SocketEvent::Connected { .. } => "connect".into(),
        SocketEvent::ConnectFailed { .. } => "connect_error".into(),
        SocketEvent::Disconnected { reason } => format!("disconnect {}", reason.name()),
        SocketEvent::ReconnectWait { attempt, .. } => format!("wait {attempt}"),
        SocketEvent::ReconnectAttempt { attempt } => format!("reconnect_attempt {attempt}"),
        SocketEvent::ReconnectError { attempt, .. } => format!("reconnect_error {attempt}"),
        SocketEvent::Reconnected { attempt } => format!("reconnect {attempt}"),
        SocketEvent::ReconnectFailed { attempts } => format!("reconnect_failed {attempts}"),
        SocketEvent::Event(event) => event.name.clone(),
        SocketEvent::Dropped { name, .. } => format!("dropped {name}"),
    }
}

/// The names of the next events up to this one.
async fn names_to(client: &mut Client, last: &str) -> Vec<String> {
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != last) {
        names.push(name(&client.next().await));
    }
    names
}

/// Lets the server turn so many requests away, each in another way, and then none.
fn turn_away(bench: &Bench, mut count: u32) {
    bench.server.on_request(move |_| {
        let reaction = match count % 3 {
            _ if count == 0 => Reaction::Usual,
            0 => Reaction::Close,
            1 => Reaction::Answer(503, "not now".to_owned()),
            _ => Reaction::Garbage(b"\0\xff\r\n\r\n".to_vec()),
        };
        count = count.saturating_sub(1);
        reaction
    });
}

#[test]
fn r39_the_order_of_events_in_an_outage() {
    const FAILING: [&str; 4] = [
        "wait",
        "reconnect_attempt",
        "connect_error",
        "reconnect_error",
    ];
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            turn_away(&bench, 3);
            bench.server.close_connections();
            let names = names_to(&mut client, "connect").await;
            let mut expected = vec![names[0].clone()];
            assert!(names[0].starts_with("disconnect transport_"), "{names:?}");
            for attempt in 1..=3 {
                let numbered = |name: &&str| match *name {
                    "connect_error" => (*name).to_owned(),
                    _ => format!("{name} {attempt}"),
                };
                expected.extend(FAILING.iter().map(numbered));
            }
            let back = ["wait 4", "reconnect_attempt 4", "reconnect 4", "connect"];
            expected.extend(back.map(str::to_owned));
            assert_eq!(names, expected);
        });
    }
}

#[test]
fn r39_a_first_attempt_that_fails_is_followed_by_reconnects() {
    check(|bench| async move {
        turn_away(&bench, 2);
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        let expected = [
            "connect_error",
            "wait 1",
            "reconnect_attempt 1",
            "connect_error",
            "reconnect_error 1",
            "wait 2",
            "reconnect_attempt 2",
            "reconnect 2",
            "connect",
        ];
        assert_eq!(names_to(&mut client, "connect").await, expected);
    });
}

#[test]
fn r39_the_limit_on_attempts_ends_them_and_a_later_connect_works() {
    check(|bench| async move {
        let mut options = bench.options(&WEBSOCKET);
        options.signaling.reconnection_attempts_max = Some(2);
        let mut client = bench.connect(options);
        client.connected().await;
        bench.server.on_request(|_| Reaction::Close);
        bench.server.close_connections();
        let names = names_to(&mut client, "reconnect_failed 2").await;
        let attempts = names
            .iter()
            .filter(|name| name.starts_with("reconnect_attempt"));
        assert_eq!(attempts.count(), 2, "{names:?}");
        assert_eq!(names[names.len() - 2], "reconnect_error 2");
        stays_down(&bench, &mut client, 3).await;
        bench.server.on_request(|_| Reaction::Usual);
        client.socket.connect();
        assert_eq!(names_to(&mut client, "connect").await, ["connect"]);
    });
}

/// For a minute nothing comes from the client, which has asked so often for a session by now.
async fn stays_down(bench: &Bench, client: &mut Client, handshakes: usize) {
    tokio::time::sleep(60 * SECOND).await;
    let events = client.ready();
    assert!(events.is_empty(), "{events:?}");
    let record = bench.server.record();
    assert_eq!(record.handshakes().len(), handshakes);
    // The kernel of the world does not repeat a FIN that the network has lost once its socket is gone, so
    // that over the lossy link the server may never hear of it.
    if bench.link == Link::Clean {
        assert_eq!(record.open(), 0);
    }
}

#[test]
fn r39_neither_side_s_disconnect_is_followed_by_a_reconnect() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            bench.server.say("41");
            let reason = client.disconnected().await;
            assert!(matches!(reason, DisconnectReason::ServerDisconnect));
            assert_eq!(reason.name(), "io_server_disconnect");
            stays_down(&bench, &mut client, 1).await;
            client.socket.connect();
            assert_eq!(names_to(&mut client, "connect").await, ["connect"]);

            client.socket.disconnect();
            let reason = client.disconnected().await;
            assert!(matches!(reason, DisconnectReason::ClientDisconnect));
            assert_eq!(reason.name(), "io_client_disconnect");
            stays_down(&bench, &mut client, 2).await;
            assert_eq!(bench.server.record().texts("41").len(), 1);
            client.socket.connect();
            assert_eq!(names_to(&mut client, "connect").await, ["connect"]);
            bench.server.say(r#"42["works"]"#);
            assert_eq!(client.event().await.name, "works");
        });
    }
}

#[test]
fn r40_bytes_of_an_older_connection_are_never_delivered() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            tokio::time::sleep(SECOND).await;
            // The one is on its way when the client leaves the connection that it comes over, the
            // other still waits at the server.
            bench.server.say(r#"42["old"]"#);
            client.socket.network_changed();
            client.disconnected().await;
            bench.server.say(r#"42["old"]"#);
            let names = names_to(&mut client, "connect").await;
            assert_eq!(names, ["reconnect_attempt 1", "reconnect 1", "connect"]);
            bench.server.say(r#"42["new"]"#);
            assert_eq!(client.event().await.name, "new");
            tokio::time::sleep(10 * SECOND).await;
            assert!(client.ready().is_empty());
            let (_, ending) = bench.server.record().ending(1).expect("it is over");
            assert_ne!(ending, Ending::ServerClosed);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn r40_each_connection_has_a_generation_and_older_ones_are_not_heard() {
    const SOCKET: SocketId = SocketId(1);
    let now = Instant::now();
    let generator = ChaCha8Rng::seed_from_u64(40);
    let mut manager = Manager::new(&SignalingConfig::default(), generator);
    let settings = SocketSettings {
        auth: Map::new(),
        retries: 0,
        acknowledgement_timeout: SECOND,
    };
    manager.open_socket(now, SOCKET, Namespace::root(), settings);
    manager.connect(now, SOCKET);
    let mut generations = Vec::new();
    for _ in 0..4 {
        let opened = std::iter::from_fn(|| manager.poll_action());
        let mut opened = opened.filter_map(|action| match action {
            ManagerAction::Open { generation, .. } => Some(generation),
            _ => None,
        });
        let generation = opened.next().expect("an attempt");
        drop(opened);
        let open = r#"{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#;
        let open = OpenPacket::parse(open).expect("a good one");
        manager.handle_opened(now, generation, &open);
        let hear = |manager: &mut Manager, generation, text: &str| {
            let packet = EngineIoPacket::Message(text.into());
            manager.handle_packet(now, generation, packet);
        };
        hear(&mut manager, generation, r#"0{"sid":"s"}"#);
        while manager.poll_event().is_some() {}
        for older in &generations {
            hear(&mut manager, *older, r#"2["old"]"#);
            hear(&mut manager, *older, "not even a packet");
            let how = "as a test wants".to_owned();
            let error = TransportError::Closed { how };
            manager.handle_closed(now, *older, error);
        }
        assert!(manager.poll_event().is_none(), "an older one was heard");
        hear(&mut manager, generation, r#"2["new"]"#);
        let (_, event) = manager.poll_event().expect("the event");
        assert_eq!(name(&event), "new");
        assert!(generations.last().is_none_or(|last| *last < generation));
        generations.push(generation);
        manager.network_changed(now);
    }
}

#[test]
fn r40_an_event_comes_once_after_any_number_of_reconnects() {
    for transports in [&WEBSOCKET[..], &POLLING[..], &UPGRADING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            for round in 0..8 {
                bench.server.say(&format!(r#"42["event",{round}]"#));
                let event = client.event().await;
                assert_eq!(event.arguments, [json!(round)]);
                bench.server.close_connections();
                client.disconnected().await;
                client.connected().await;
            }
            bench.server.say(r#"42["event"]"#);
            assert_eq!(client.event().await.name, "event");
            tokio::time::sleep(10 * SECOND).await;
            let more: Vec<String> = client.ready().iter().map(name).collect();
            assert!(more.is_empty(), "{more:?}");
        });
    }
}

#[test]
fn r40_a_changed_network_forces_a_reconnect_at_once() {
    check(|bench| async move {
        // A request reaches the server three ways after the first segment.
        let mut client = bench.connected(&WEBSOCKET).await;
        tokio::time::sleep(SECOND).await;
        let changed = bench.now();
        client.socket.network_changed();
        let reason = client.disconnected().await;
        assert_eq!(reason.name(), "network_changed");
        assert_eq!(bench.now(), changed);
        asked_again(&bench, 2, changed).await;
        client.connected().await;

        // In a wait.
        bench.server.on_request(|_| Reaction::Close);
        bench.server.close_connections();
        while client.wait().await < 4 * SECOND {}
        bench.server.on_request(|_| Reaction::Stall);
        let count = bench.server.record().handshakes().len();
        let changed = bench.now();
        client.socket.network_changed();
        asked_again(&bench, count + 1, changed).await;

        // In an attempt that gets no answer.
        bench.server.on_request(|_| Reaction::Usual);
        tokio::time::sleep(SECOND).await;
        let changed = bench.now();
        client.socket.network_changed();
        asked_again(&bench, count + 2, changed).await;
        client.connected().await;
        tokio::time::sleep(bench.ways(2)).await;
        assert_eq!(bench.server.record().open(), 1);
    });
}

/// Waits for the handshake of this number, which must come at once.
async fn asked_again(bench: &Bench, count: usize, changed: Duration) {
    bench
        .server
        .until(|record| record.handshakes().len() >= count)
        .await;
    let took = bench.since(changed);
    assert!(took <= bench.ways(3), "it took {took:?}");
    assert_eq!(bench.server.record().handshakes().len(), count);
}

#[test]
fn r40_the_same_seed_gives_an_identical_wire_trace() {
    let body = |bench: Bench| async move {
        let mut options = SocketOptions {
            retries: 1,
            ..bench.options(&UPGRADING)
        };
        // Chance is in it.
        options.signaling.randomization_factor = 0.5;
        bench.server.on_packet(|_| Reply::Usual);
        let mut client = bench.connect(options);
        client.connected().await;
        client.emit("one", &[json!({"b": 1, "a": [true, null]})]);
        for _ in 0..3 {
            bench.server.say(r#"42["x"]"#);
            bench.server.close_connections();
            client.disconnected().await;
            client.emit("waits", &[]);
            client.connected().await;
        }
        client.socket.network_changed();
        client.connected().await;
        client.socket.disconnect();
        tokio::time::sleep(10 * SECOND).await;
    };
    for link in [Link::Clean, Link::Lossy] {
        let runs = [40, 40, 41].map(|seed| run(link, seed, &body));
        for each in &runs {
            assert_eq!(each.failure, None, "{}", each.tail.join("\n"));
        }
        let [first, again, other] = runs;
        assert_eq!(first.tail, again.tail);
        assert_eq!(first.digest, again.digest);
        assert_ne!(first.digest, other.digest);
    }
}
