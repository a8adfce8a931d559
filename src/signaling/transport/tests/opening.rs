use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::server::{ADDRESS, Conduct, SID, Script};
use super::*;
use crate::config::TransportKind::{Polling, WebSocket};
use crate::net::Net as _;
use crate::net::tls::{TlsAcceptor, TlsConfigError, TlsError, TlsTrust};
use crate::signaling::transport::ConnectPhase;

/// Opens a session, which must fail, and reports with what and after how many seconds. No stream may be
/// left then.
async fn fails(net: &MemoryNet, options: &EngineOptions) -> (ConnectError, u64) {
    let start = Instant::now();
    let error = open(net, options).await.expect_err("no session");
    let seconds = start.elapsed().as_secs();
    check_closed(net).await;
    (error, seconds)
}

#[tokio::test(start_paused = true)]
async fn r01_the_first_request_has_no_sid_and_every_later_one_has_it() {
    for first in [WebSocket, Polling] {
        let net = MemoryNet::default();
        let server = Server::start(&net, Script::default()).await;
        let (mut engine, open) = open(&net, &options(&[first, Polling, WebSocket]))
            .await
            .expect("a session");
        assert_eq!(open.sid, SID);
        engine.queue(message("a"));
        run_until(&mut engine, || !server.received().is_empty()).await;
        if first == Polling {
            run_until(&mut engine, || server.is_upgraded()).await;
        }
        let sid = format!("&sid={SID}");
        let requests = targets(&server);
        let (first_request, later) = requests.split_first().expect("a request");
        assert_eq!(*first_request, format!("GET {first}"));
        assert_eq!(later.is_empty(), first == WebSocket);
        for request in later {
            assert!(request.ends_with(&sid), "{request}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r02_open_packets_of_any_server_are_accepted() {
    for transport in [WebSocket, Polling] {
        for sid in ["AAAAAAAAAAAAAAAA", "lv_VI97HAXpY6yYWAAAC", "ä &=/"] {
            let net = MemoryNet::default();
            let script = Script {
                open: format!(
                    r#"{{"sid":"{sid}","upgrades":["webtransport"],"pingInterval":1,"pingTimeout":1,"new":{{}}}}"#
                ),
                ..Script::default()
            };
            let _server = Server::start(&net, script).await;
            let opened = open(&net, &options(&[transport])).await;
            assert_eq!(opened.expect("a session").1.sid, sid);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r09_a_close_frame_is_answered_and_reported_at_once() {
    let net = MemoryNet::default();
    let server = Server::start(&net, Script::default()).await;
    let (mut engine, _) = open(&net, &options(&[WebSocket])).await.expect("a session");
    server.close_websocket("restart");
    let start = Instant::now();
    let ended = next(&mut engine).await;
    let Err(TransportError::Closed { how }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(how, "close frame 1012 \"restart\"");
    assert!(start.elapsed().as_millis() < 2);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(server.received(), [message("close answered: true")]);
    drop(engine);
    check_closed(&net).await;
}

#[tokio::test(start_paused = true)]
async fn r10_the_end_of_a_stream_is_reported_at_once() {
    for transport in [WebSocket, Polling] {
        let net = MemoryNet::default();
        let _server = Server::start(&net, Script::default()).await;
        let (mut engine, _) = open(&net, &options(&[transport])).await.expect("a session");
        check_quiet(&mut engine, Duration::from_secs(1)).await;
        net.cut_all();
        let start = Instant::now();
        let ended = next(&mut engine).await;
        assert!(
            matches!(
                ended,
                Err(TransportError::Closed { .. } | TransportError::Broken(_))
            ),
            "{transport}: {ended:?}"
        );
        assert!(start.elapsed().as_millis() < 2);
    }
}

#[tokio::test(start_paused = true)]
async fn r11_r12_the_step_that_takes_too_long_is_named_and_its_streams_are_closed() {
    let check = async |net: &MemoryNet, transport, expected| {
        let (error, seconds) = fails(net, &options(&[transport])).await;
        assert_eq!(error.phase(), Some(expected), "{transport}: {error:?}");
        assert_eq!(seconds, 30);
    };
    for transport in [WebSocket, Polling] {
        let net = MemoryNet::default();
        net.name("relay.example", &[ADDRESS.ip()]);
        net.stall(ADDRESS.ip());
        check(&net, transport, ConnectPhase::Tcp).await;

        let net = MemoryNet::default();
        let script = Script {
            websocket: Conduct::Stall,
            polling: Conduct::Stall,
            ..Script::default()
        };
        let _server = Server::start(&net, script).await;
        check(&net, transport, ConnectPhase::Http).await;
    }
    let net = MemoryNet::default();
    let script = Script {
        websocket: Conduct::Mute,
        ..Script::default()
    };
    let _server = Server::start(&net, script).await;
    check(&net, WebSocket, ConnectPhase::Open).await;

    // A server that answers no TLS handshake.
    let net = MemoryNet::default();
    net.name("relay.example", &[ADDRESS.ip()]);
    let listener = net.listen_stream(ADDRESS).await.expect("free address");
    let mut options = options(&[WebSocket]);
    options.endpoint = tls_endpoint();
    let accept_each = async {
        let mut streams = Vec::new();
        while let Ok(stream) = listener.accept().await {
            streams.push(stream);
        }
    };
    let failed = tokio::select! {
        biased;
        failed = fails_with_peer(&net, &options) => failed,
        () = accept_each => panic!("the listener ended"),
    };
    assert_eq!(failed.phase(), Some(ConnectPhase::Tls));
    check_closed(&net).await;
}

/// Like [`fails`] where the other end of the stream is still held by the test.
async fn fails_with_peer(net: &MemoryNet, options: &EngineOptions) -> ConnectError {
    open(net, options).await.expect_err("no session")
}

fn tls_endpoint() -> crate::signaling::endpoint::Endpoint {
    let url = format!("wss://relay.example:{}", ADDRESS.port());
    let parsed = crate::signaling::endpoint::Endpoint::from_url(&url, "/socket.io/");
    parsed.expect("a valid url").0
}

#[tokio::test(start_paused = true)]
async fn r13_an_error_of_one_transport_is_followed_by_the_next_in_the_same_attempt() {
    for refusal in [StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY] {
        let net = MemoryNet::default();
        let script = Script {
            websocket: Conduct::Refuse(refusal),
            ..Script::default()
        };
        let server = Server::start(&net, script).await;
        let (engine, _) = open(&net, &options(&[WebSocket, Polling]))
            .await
            .expect("a session");
        assert_eq!(engine.transport(), Polling);
        assert_eq!(targets(&server), ["GET websocket", "GET polling"]);
        assert_eq!(net.live(), 1, "the first transport's stream is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn r13_the_error_says_what_every_transport_failed_with() {
    let net = MemoryNet::default();
    let script = Script {
        websocket: Conduct::Refuse(StatusCode::BAD_GATEWAY),
        polling: Conduct::Refuse(StatusCode::FORBIDDEN),
        ..Script::default()
    };
    let _server = Server::start(&net, script).await;
    let (error, seconds) = fails(&net, &options(&[WebSocket, Polling])).await;
    assert_eq!(seconds, 0);
    assert_eq!(error.phase(), Some(ConnectPhase::Http));
    let text = error.to_string();
    for part in ["websocket: ", "502", "polling: ", "403", "\\\"code\\\":0"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_below_all_transports_is_met_once() {
    let net = MemoryNet::default();
    net.name("relay.example", &[ADDRESS.ip()]);
    let (error, _) = fails(&net, &options(&[WebSocket, Polling])).await;
    let phase = ConnectPhase::Tcp;
    assert!(
        matches!(error, ConnectError::Network { phase: found, .. } if found == phase),
        "{error:?}"
    );
    assert_eq!(net.dialled(), 1);
    let (error, _) = fails(&MemoryNet::default(), &options(&[WebSocket, Polling])).await;
    assert_eq!(error.phase(), Some(ConnectPhase::Resolve));
}

#[tokio::test(start_paused = true)]
async fn r14_a_transport_that_stalls_leaves_its_time_to_the_next() {
    for conduct in [Conduct::Stall, Conduct::Mute] {
        let net = MemoryNet::default();
        let script = Script {
            websocket: conduct,
            ..Script::default()
        };
        let _server = Server::start(&net, script).await;
        let start = Instant::now();
        let (engine, _) = open(&net, &options(&[WebSocket, Polling]))
            .await
            .expect("a session");
        assert_eq!(engine.transport(), Polling);
        assert_eq!(start.elapsed().as_secs(), 6);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(net.live(), 1, "the stalled transport's stream is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_heals_is_used_within_two_seconds() {
    let (broken_for, expected) = (Duration::from_millis(22_100), 24_000);
    let net = MemoryNet::default();
    let _server = Server::start(&net, Script::default()).await;
    net.stall(ADDRESS.ip());
    let start = Instant::now();
    let options = options(&[WebSocket]);
    let heal = async {
        sleep(broken_for).await;
        net.heal(ADDRESS.ip());
    };
    let (opened, ()) = tokio::join!(open(&net, &options), heal);
    opened.expect("a session");
    assert_eq!(start.elapsed().as_millis(), expected);
    assert_eq!(net.opened(), 1);

    // And so are name servers.
    let net = MemoryNet::default();
    let _server = Server::start(&net, Script::default()).await;
    net.stall_name("relay.example");
    let start = Instant::now();
    let heal = async {
        sleep(broken_for).await;
        net.heal_name("relay.example");
    };
    let (opened, ()) = tokio::join!(open(&net, &options), heal);
    opened.expect("a session");
    assert_eq!(start.elapsed().as_millis(), expected);
    assert_eq!(net.dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_tried_in_turn() {
    let (dead, refusing) = ([198, 51, 100, 1].into(), [198, 51, 100, 2].into());
    for (addresses, expected) in [
        (vec![refusing, ADDRESS.ip()], 0),
        (vec![dead, ADDRESS.ip()], 250),
        (vec![dead, refusing, ADDRESS.ip()], 250),
        (vec![ADDRESS.ip(), dead], 0),
    ] {
        let net = MemoryNet::default();
        let _server = Server::start(&net, Script::default()).await;
        net.name("relay.example", &addresses);
        net.stall(dead);
        let start = Instant::now();
        let opened = open(&net, &options(&[WebSocket])).await;
        opened.expect("a session");
        assert_eq!(start.elapsed().as_millis(), expected, "{addresses:?}");
    }
}

struct Issued {
    root: String,
    acceptor: TlsAcceptor,
}

fn issue(name: &str) -> Issued {
    let key = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (chain, secret) = (key.cert.pem(), key.key_pair.serialize_pem());
    Issued {
        acceptor: TlsAcceptor::from_pem(&chain, &secret).expect("a server"),
        root: chain,
    }
}

#[tokio::test(start_paused = true)]
async fn every_transport_runs_over_tls() {
    let issued = issue("relay.example");
    for transports in [vec![WebSocket], vec![Polling], vec![Polling, WebSocket]] {
        let net = MemoryNet::default();
        let script = Script {
            tls: Some(issued.acceptor.clone()),
            ..Script::default()
        };
        let server = Server::start(&net, script).await;
        let mut options = options(&transports);
        options.endpoint = tls_endpoint();
        options.trust = TlsTrust::from_pem(&issued.root).expect("a root");
        let (mut engine, _) = open(&net, &options).await.expect("a session");
        engine.queue(message("up"));
        server.send(message("down"));
        let events = run_until(&mut engine, || server.received() == [message("up")]).await;
        let downs = |events: &[EngineEvent]| {
            let is_down = |event: &&EngineEvent| matches!(event, EngineEvent::Packet(packet) if *packet == message("down"));
            events.iter().filter(is_down).count()
        };
        let mut count = downs(&events);
        while count == 0 {
            count = downs(&[next(&mut engine).await.expect("alive")]);
        }
        if transports.len() == 2 {
            run_until(&mut engine, || server.is_upgraded()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_accepted_ends_the_attempt_and_says_why() {
    let issued = issue("other.example");
    let net = MemoryNet::default();
    let script = Script {
        tls: Some(issued.acceptor),
        ..Script::default()
    };
    let _server = Server::start(&net, script).await;
    let mut options = options(&[WebSocket, Polling]);
    options.endpoint = tls_endpoint();
    options.trust = TlsTrust::from_pem(&issued.root).expect("a root");
    let (error, _) = fails(&net, &options).await;
    assert!(
        matches!(error, ConnectError::Tls(TlsError::Certificate(_))),
        "{error:?}"
    );
    assert_eq!(error.phase(), Some(ConnectPhase::Tls));
    let text = chain(&error);
    assert!(text.contains("only valid for"), "{text}");
    assert_eq!(net.dialled(), 1);

    options.trust = TlsTrust::Mozilla;
    let (error, _) = fails(&net, &options).await;
    let text = chain(&error);
    assert!(text.contains("UnknownIssuer"), "{text}");

    options.trust = TlsTrust::Roots(Vec::new());
    let (error, _) = fails(&net, &options).await;
    let is_config = matches!(error, ConnectError::Trust(TlsConfigError::NoCertificate));
    assert!(is_config && error.is_permanent(), "{error:?}");
}
