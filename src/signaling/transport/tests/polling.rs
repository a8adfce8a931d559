use http::StatusCode;
use tokio::time::Instant;

use super::server::{Conduct, Script};
use super::*;
use crate::config::TransportKind::{Polling, WebSocket};
use crate::signaling::transport::HttpError;

fn numbered(count: usize) -> Vec<EngineIoPacket> {
    (0..count)
        .map(|number| message(&number.to_string()))
        .collect()
}

async fn polling(net: &MemoryNet) -> Engine {
    let opened = open(net, &options(&[Polling])).await;
    opened.expect("a session").0
}

#[tokio::test(start_paused = true)]
async fn packets_pass_in_order_both_ways() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = polling(&net).await;
    let mut packets = numbered(50);
    packets[7] = EngineIoPacket::Binary(vec![0, 255, 30].into());
    for packet in &packets {
        engine.queue(packet.clone());
        server.send(packet.clone());
    }
    assert!(!engine.is_writable());
    let mut read = Vec::new();
    while read.len() < packets.len() || !engine.is_writable() {
        if let EngineEvent::Packet(packet) = next(&mut engine).await.expect("alive") {
            read.push(packet);
        }
    }
    assert_eq!(server.received(), packets);
    assert_eq!(read, packets);
}

#[tokio::test(start_paused = true)]
async fn r04_one_get_and_one_post_are_under_way_at_the_most() {
    for seed in 0..20 {
        let net = MemoryNet::default();
        net.delay(seed, Duration::from_millis(200));
        let script = Script {
            hesitation: Some((seed, Duration::from_millis(100))),
            ..Script::default()
        };
        let server = Server::start(&net, script).await;
        let mut engine = polling(&net).await;
        for packet in numbered(40) {
            engine.queue(packet.clone());
            server.send(packet);
            let _ = timeout(Duration::from_millis(30), engine.next()).await;
        }
        run_until(&mut engine, || server.received().len() == 40).await;
        let most = server.most_under_way();
        assert_eq!((most.gets, most.posts), (1, 1), "seed {seed}");
        assert_eq!(server.received(), numbered(40), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn r05_posts_are_filled_up_to_the_servers_limit() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = polling(&net).await;
    let small = message(&"s".repeat(299));
    let large = message(&"l".repeat(5000));
    let packets = [
        small.clone(),
        small.clone(),
        small.clone(),
        small.clone(),
        large,
        small,
    ];
    for packet in &packets {
        engine.queue(packet.clone());
    }
    run_until(&mut engine, || server.received().len() == packets.len()).await;
    assert_eq!(server.received(), packets);
    assert_eq!(server.payload_bytes(), [902, 300, 5001, 300]);
}

#[tokio::test(start_paused = true)]
async fn r10_an_http_error_is_reported_at_once() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = polling(&net).await;
    check_quiet(&mut engine, Duration::from_secs(1)).await;
    let refuse = Conduct::Refuse(StatusCode::BAD_GATEWAY);
    server.set_script(|script| script.polling = refuse);
    engine.queue(message("a"));
    let start = Instant::now();
    let ended = next(&mut engine).await;
    assert!(
        matches!(
            &ended,
            Err(TransportError::Http(HttpError::Status { status, .. }))
                if *status == StatusCode::BAD_GATEWAY
        ),
        "{ended:?}"
    );
    assert!(start.elapsed().as_millis() < 2);
}

#[tokio::test(start_paused = true)]
async fn r19_an_unknown_session_is_an_error_of_its_own() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = polling(&net).await;
    server.forget_session();
    engine.queue(message("a"));
    let ended = next(&mut engine).await;
    assert!(
        matches!(ended, Err(TransportError::SessionUnknown)),
        "{ended:?}"
    );
    drop(engine);
    let before = server.requests().len();
    polling(&net).await;
    assert!(
        !server.requests()[before].contains("sid="),
        "a new handshake"
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_packet_ends_the_session() {
    for transport in [Polling, WebSocket] {
        let net = MemoryNet::default();
        let server = Server::start(&net, Script::default()).await;
        let (mut engine, _) = open(&net, &options(&[transport])).await.expect("a session");
        server.send(message("last"));
        server.send(EngineIoPacket::Close);
        assert_eq!(packet(next(&mut engine).await), message("last"));
        let ended = next(&mut engine).await;
        assert!(
            matches!(ended, Err(TransportError::Closed { .. })),
            "{ended:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn closing_posts_what_is_queued_and_a_close_packet() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = polling(&net).await;
    check_quiet(&mut engine, Duration::from_secs(1)).await;
    engine.queue(message("bye"));
    engine.close().await.expect("the server is there");
    assert_eq!(server.received(), [message("bye"), EngineIoPacket::Close]);
    check_closed(&net).await;
}

#[tokio::test(start_paused = true)]
async fn a_provoked_server_gives_a_sign_of_life() {
    for transport in [Polling, WebSocket] {
        let net = MemoryNet::default();
        let _server = Server::start(&net, Script::default()).await;
        let (mut engine, _) = open(&net, &options(&[transport])).await.expect("a session");
        check_quiet(&mut engine, Duration::from_secs(1)).await;
        engine.provoke(EngineIoPacket::Pong(String::new()));
        let event = timeout(Duration::from_millis(10), engine.next()).await;
        assert!(
            matches!(event, Ok(Ok(EngineEvent::SignOfLife))),
            "{event:?}"
        );
        net.freeze_all();
        engine.provoke(EngineIoPacket::Pong(String::new()));
        check_quiet(&mut engine, Duration::from_mins(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request_but_not_for_long() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = polling(&net).await;
    for (wait, opened) in [(0, 2), (3, 2), (3, 2), (5, 3)] {
        let _ = timeout(Duration::from_secs(wait), engine.next()).await;
        let before = server.received().len();
        engine.queue(message("a"));
        run_until(&mut engine, || server.received().len() > before).await;
        while !engine.is_writable() {
            next(&mut engine).await.expect("alive");
        }
        assert_eq!(net.opened(), opened, "after {wait} s");
    }
    drop(engine);
    check_closed(&net).await;
}
