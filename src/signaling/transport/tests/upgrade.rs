use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use socketioxide::extract::{Data, SocketRef};
use tokio::time::{Instant, sleep, timeout_at};

use super::server::{ADDRESS, Conduct, SID, Script};
use super::*;
use crate::config::TransportKind::{Polling, WebSocket};
use crate::net::Net as _;
use crate::signaling::engine_io::upgrade::UpgradeError;

const BOTH: [TransportKind; 2] = [Polling, WebSocket];

async fn session(net: &MemoryNet) -> Engine {
    open(net, &options(&BOTH)).await.expect("a session").0
}

/// The next event that is about an upgrade.
async fn next_upgrade(engine: &mut Engine) -> EngineEvent {
    loop {
        let event = next(engine).await.expect("alive");
        if matches!(
            event,
            EngineEvent::Upgraded { .. } | EngineEvent::UpgradeFailed { .. }
        ) {
            return event;
        }
    }
}

/// Checks that packets pass both ways.
async fn check_alive(engine: &mut Engine, server: &Server) {
    let before = server.received().len();
    engine.queue(message("up"));
    run_until(engine, || server.received().len() > before).await;
    server.send(message("down"));
    while !matches!(next(engine).await.expect("alive"),
        EngineEvent::Packet(packet) if packet == message("down"))
    {}
}

#[tokio::test(start_paused = true)]
async fn r16_other_packets_follow_only_once_the_session_has_moved() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let mut engine = session(&net).await;
    let event = next_upgrade(&mut engine).await;
    assert!(matches!(event, EngineEvent::Upgraded { to: WebSocket }));
    assert_eq!(engine.transport(), WebSocket);
    check_alive(&mut engine, &server).await;
    assert!(server.is_upgraded());
    sleep(Duration::from_millis(1)).await;
    assert_eq!(net.live(), 1, "the requests' streams are closed");
    let sid = format!("GET websocket&sid={SID}");
    let probes = targets(&server)
        .iter()
        .filter(|target| **target == sid)
        .count();
    assert_eq!(probes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_only_where_it_may() {
    let offered = Script::default();
    let not_offered = Script {
        open: format!(r#"{{"sid":"{SID}","pingInterval":1000,"pingTimeout":1000}}"#),
        ..Script::default()
    };
    for (script, transports) in [(offered, &BOTH[..1]), (not_offered, &BOTH[..])] {
        let net = MemoryNet::default();
        let server = Server::start(&net, script).await;
        let (mut engine, _) = open(&net, &options(transports)).await.expect("a session");
        check_quiet(&mut engine, Duration::from_mins(5)).await;
        assert!(
            !targets(&server)
                .iter()
                .any(|target| target.contains("websocket"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn r15_a_session_that_fell_back_moves_later() {
    let net = MemoryNet::default();
    let script = Script {
        websocket: Conduct::Refuse(StatusCode::BAD_GATEWAY),
        ..Script::default()
    };
    let server = Server::start(&net, script).await;
    let (mut engine, _) = open(&net, &options(&[WebSocket, Polling]))
        .await
        .expect("a session");
    let start = Instant::now();
    let event = next_upgrade(&mut engine).await;
    assert!(matches!(event, EngineEvent::Upgraded { to: WebSocket }));
    assert_eq!(start.elapsed().as_secs(), 60);
    check_alive(&mut engine, &server).await;
}

#[tokio::test(start_paused = true)]
async fn r18_a_probe_without_an_answer_is_closed_and_polling_goes_on() {
    for (conduct, seconds) in [
        (Conduct::Mute, 10),
        (Conduct::Stall, 10),
        (Conduct::Hold, 10),
        (Conduct::Refuse(StatusCode::BAD_GATEWAY), 0),
    ] {
        let net = MemoryNet::default();
        let script = Script {
            probe: conduct,
            ..Script::default()
        };
        let server = Server::start(&net, script).await;
        let mut engine = session(&net).await;
        let start = Instant::now();
        let EngineEvent::UpgradeFailed { error } = next_upgrade(&mut engine).await else {
            panic!("upgraded");
        };
        assert_eq!(start.elapsed().as_secs(), seconds);
        let limit = Duration::from_secs(10);
        match error {
            ConnectError::Upgrade(error) if conduct == Conduct::Hold => {
                assert_eq!(error, UpgradeError::NoPause { limit });
            }
            ConnectError::Upgrade(error) => assert_eq!(error, UpgradeError::NoAnswer { limit }),
            ConnectError::HttpUpgrade(_) => assert_eq!(seconds, 0),
            other => panic!("{other:?}"),
        }
        check_alive(&mut engine, &server).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(net.live(), 2, "the probe's stream is closed");

        server.set_script(|script| script.probe = Conduct::Serve);
        let again = Instant::now();
        let event = next_upgrade(&mut engine).await;
        assert!(matches!(event, EngineEvent::Upgraded { to: WebSocket }));
        assert_eq!(again.elapsed().as_secs(), 59, "a minute after the failure");
        check_alive(&mut engine, &server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn r10_a_session_that_ends_during_a_probe_is_over() {
    let net = MemoryNet::default();
    let script = Script {
        probe: Conduct::Mute,
        ..Script::default()
    };
    let server = Server::start(&net, script).await;
    let mut engine = session(&net).await;
    check_quiet(&mut engine, Duration::from_secs(1)).await;
    server.send(EngineIoPacket::Close);
    let ended = next(&mut engine).await;
    assert!(
        matches!(ended, Err(TransportError::Closed { .. })),
        "{ended:?}"
    );
    drop(engine);
    check_closed(&net).await;
}

/// What came of one session that moved while both sides sent.
#[derive(Debug, PartialEq)]
struct Exchange {
    received: Vec<EngineIoPacket>,
    read: Vec<EngineIoPacket>,
    is_upgraded: bool,
}

/// Sends `count` packets each way at random moments around the move of a session, over a network and
/// through a server that delay every message for a random time.
async fn exchange(seed: u64, count: usize) -> Exchange {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let max = Duration::from_millis([0, 5, 50, 300][generator.random_range(0..4)]);
    let net = MemoryNet::default();
    net.delay(seed, max);
    let script = Script {
        hesitation: Some((seed, max)),
        ..Script::default()
    };
    let server = Server::start(&net, script).await;
    let mut engine = session(&net).await;
    let mut read = Vec::new();
    let note = |event: EngineEvent, read: &mut Vec<_>| match event {
        EngineEvent::Packet(packet) if packet != EngineIoPacket::Noop => read.push(packet),
        EngineEvent::UpgradeFailed { error } => panic!("seed {seed}: {error:?}"),
        _ => {}
    };
    let (mut up, mut down) = (0, 0);
    while up < count || down < count {
        if up < count && generator.random() {
            engine.queue(numbered(up));
            up += 1;
        }
        if down < count && generator.random() {
            server.send(numbered(down));
            down += 1;
        }
        let wait = generator.random_range(Duration::ZERO..=max * 2 / 10 + Duration::from_millis(1));
        let until = Instant::now() + wait;
        while let Ok(event) = timeout_at(until, engine.next()).await {
            note(event.expect("alive"), &mut read);
        }
    }
    let last = Instant::now() + Duration::from_mins(1);
    while let Ok(event) = timeout_at(last, engine.next()).await {
        note(event.expect("alive"), &mut read);
    }
    let most = server.most_under_way();
    assert!(most.gets <= 1 && most.posts <= 1, "seed {seed}: {most:?}");
    Exchange {
        received: server.received(),
        read,
        is_upgraded: server.is_upgraded(),
    }
}

fn numbered(number: usize) -> EngineIoPacket {
    // Some are binary, so that both kinds of frames and base64 take part.
    if number % 5 == 4 {
        EngineIoPacket::Binary(number.to_be_bytes().to_vec().into())
    } else {
        message(&number.to_string())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

#[test]
fn r17_nothing_is_lost_doubled_or_overtaken_while_a_session_moves() {
    const COUNT: usize = 40;
    let sent: Vec<_> = (0..COUNT).map(numbered).collect();
    for seed in 0..300 {
        let exchange = run(exchange(seed, COUNT));
        let expected = Exchange {
            received: sent.clone(),
            read: sent.clone(),
            is_upgraded: true,
        };
        assert_eq!(exchange, expected, "seed {seed}");
    }
}

/// Serves `relay.example` by socketioxide, which sends every event `e` back.
async fn serve_echo(net: &MemoryNet) {
    let (service, io) = socketioxide::SocketIo::new_svc();
    io.ns("/", async |socket: SocketRef| {
        socket.on("e", |socket: SocketRef, Data(number): Data<u32>| {
            let _ = socket.emit("e", &number);
            std::future::ready(())
        });
    });
    net.name("relay.example", &[ADDRESS.ip()]);
    let listener = net.listen_stream(ADDRESS).await.expect("free address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service.clone())
                .with_upgrades();
            tokio::spawn(served);
        }
    });
}

/// What comes back of `count` events that are sent to socketioxide while the session moves.
async fn echoes(seed: u64, count: usize) -> Vec<String> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let max = Duration::from_millis([0, 5, 50, 300][generator.random_range(0..4)]);
    let net = MemoryNet::default();
    net.delay(seed, max);
    serve_echo(&net).await;
    let mut engine = session(&net).await;
    engine.queue(message("0"));
    let (mut sent, mut read, mut is_joined) = (0, Vec::new(), false);
    let last = Instant::now() + Duration::from_mins(1);
    while read.len() < count || engine.transport() == Polling {
        if is_joined && sent < count {
            engine.queue(message(&format!("2[\"e\",{sent}]")));
            sent += 1;
        }
        let wait = generator.random_range(Duration::ZERO..=max / 4 + Duration::from_millis(1));
        match timeout(wait, engine.next()).await {
            Ok(Ok(EngineEvent::Packet(EngineIoPacket::Message(text)))) => {
                if text.starts_with('0') {
                    is_joined = true;
                } else {
                    read.push(text);
                }
            }
            Ok(Ok(EngineEvent::Packet(EngineIoPacket::Ping(payload)))) => {
                engine.queue(EngineIoPacket::Pong(payload));
            }
            Ok(Ok(EngineEvent::UpgradeFailed { error })) => panic!("seed {seed}: {error:?}"),
            Ok(Err(error)) => panic!("seed {seed}: {error:?}"),
            Ok(Ok(_)) | Err(_) => {}
        }
        assert!(
            Instant::now() < last,
            "seed {seed}: {} came back",
            read.len()
        );
    }
    read
}

#[test]
fn r17_socketioxide_loses_nothing_either() {
    const COUNT: usize = 40;
    let expected: Vec<_> = (0..COUNT)
        .map(|number| format!("2[\"e\",{number}]"))
        .collect();
    for seed in 0..100 {
        assert_eq!(run(echoes(seed, COUNT)), expected, "seed {seed}");
    }
}
