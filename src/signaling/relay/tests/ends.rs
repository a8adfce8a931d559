//! How connections end: replaced, left, or with the relay.

use super::*;

/// Gathers what the relay says from now on. A line that another thread, which nobody listens to, is the
/// first to say at this very moment could stay unheard, so each has been said once before.
async fn listen(log: &Log) -> tracing::subscriber::DefaultGuard {
    let (net, _relay) = scene().await;
    drop(Client::of(&net, "anna", "d1").await);
    sleep(AT_ONCE).await;
    tracing::subscriber::set_default(log.clone())
}

#[tokio::test(start_paused = true)]
async fn a_newer_connection_of_a_device_takes_the_place_of_the_older_one() {
    let log = Log::default();
    let _guard = listen(&log).await;
    let (net, relay) = scene().await;
    let mut old = Client::of(&net, "anna", "d1").await;
    let _other = Client::of(&net, "anna", "d2").await;
    let mut new = Client::of(&net, "anna", "d1").await;
    assert_eq!(relay.connected_devices("anna"), 2);
    assert_eq!(relay.hub.streams.count(), 2);
    assert_eq!(
        old.ends().await,
        [End::Disconnect],
        "it must not come back by itself"
    );
    assert_eq!(new.call(&message("boris", "1", 1)).await, delivered(0));
    assert_eq!(
        log.lines(),
        [
            "connected anna/d1 sockets=1",
            "connected anna/d2 sockets=1",
            "disconnected anna/d1 sockets=0",
            "connected anna/d1 sockets=1",
        ]
    );
    drop(new);
    sleep(AT_ONCE).await;
    assert_eq!(log.lines()[4..], ["disconnected anna/d1 sockets=0"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_path_is_dead_and_full_is_replaced_at_once() {
    let (net, relay) = scene().await;
    let _dead = Client::of(&net, "boris", "d1").await;
    net.freeze_all();
    let mut anna = Client::of(&net, "anna", "d1").await;
    let mut long = message("boris", "1", 1);
    long["body"] = "x".repeat(60_000).into();
    for number in 1..=8 {
        long["number"] = number.into();
        assert_eq!(anna.call(&long).await, delivered(1));
    }
    let start = Instant::now();
    let mut boris = Client::of(&net, "boris", "d1").await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(relay.hub.streams.count(), 2);
    assert_eq!(boris.frames().await.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_dead_and_full_connection_that_nobody_replaces_does_not_stay_either() {
    let (net, relay) = scene().await;
    let _dead = Client::of(&net, "boris", "d1").await;
    net.freeze_all();
    let mut anna = Client::of(&net, "anna", "d1").await;
    let mut long = message("boris", "1", 1);
    long["body"] = "x".repeat(60_000).into();
    for number in 1..=8 {
        long["number"] = number.into();
        let _ = anna.call(&long).await;
    }
    drop(anna);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(relay.connections(), 0);
    assert_eq!(relay.hub.streams.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_polls_is_replaced_down_to_its_streams() {
    for waits in [true, false] {
        let (net, relay) = scene().await;
        let mut old = Poller::of(&net, "anna", "d1").await;
        let new = async {
            sleep(AT_ONCE).await;
            Client::of(&net, "anna", "d1").await
        };
        let _new = if waits {
            let (polled, new) = tokio::join!(old.poll(), new);
            let packets = polled.expect("an answer");
            assert_eq!(packets, ["41"], "it must not come back by itself");
            new
        } else {
            new.await
        };
        sleep(AT_ONCE).await;
        assert_eq!(relay.hub.streams.count(), 1);
        assert_eq!(old.poll().await, Err(None), "its streams are closed");
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={}", old.session);
        let answered = request(&mut http(&net).await, Method::GET, &uri, "").await;
        let (status, body) = answered.expect("an answer");
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains("Session ID unknown"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_between_two_transports_is_replaced_too() {
    let (net, relay) = scene().await;
    let old = Poller::of(&net, "anna", "d1").await;
    let mut old = old.upgrade(&net).await;
    let _new = Client::of(&net, "anna", "d1").await;
    sleep(AT_ONCE).await;
    assert_eq!(relay.hub.streams.count(), 1);
    assert_eq!(old.ends().await, [End::Disconnect]);
}

#[tokio::test(start_paused = true)]
async fn many_connections_of_a_device_at_once_leave_one() {
    let log = Log::default();
    let _guard = listen(&log).await;
    let (net, relay) = scene().await;
    let clients = (0..20).map(|_| async {
        let mut client = Client::open(&net).await;
        client.send(format!("40{}", auth("anna", "d1"))).await;
        client
    });
    let _clients = futures_util::future::join_all(clients).await;
    sleep(AT_ONCE).await;
    assert_eq!(relay.connected_devices("anna"), 1);
    assert_eq!(relay.hub.streams.count(), 1);
    assert!(log.lines().iter().all(|line| !line.contains("sockets=2")));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_namespace_and_stays_is_closed() {
    let (net, relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    anna.send("41").await;
    sleep(AT_ONCE).await;
    assert_eq!(relay.connections(), 0);
    assert_eq!(relay.hub.streams.count(), 1, "it may close by itself");
    let start = Instant::now();
    anna.ends().await;
    assert!(start.elapsed() <= Duration::from_secs(6));
    sleep(AT_ONCE).await;
    assert_eq!(relay.hub.streams.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_never_joins_is_closed() {
    let (net, relay) = scene().await;
    let mut silent = Client::open(&net).await;
    let poller = Poller::open(&net).await;
    let start = Instant::now();
    silent.ends().await;
    assert!(start.elapsed() <= Duration::from_secs(46));
    drop(poller);
    sleep(AT_ONCE).await;
    assert_eq!(relay.hub.streams.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_shuts_down_says_so_and_lets_everything_go() {
    let (net, relay) = scene().await;
    let mut over_websocket = Client::of(&net, "anna", "d1").await;
    let mut polls = Poller::of(&net, "boris", "d1").await;
    let mut opens = Client::open(&net).await;
    let health = http(&net).await;
    let hub = Arc::downgrade(&relay.hub);
    let shut_down = async {
        sleep(AT_ONCE).await;
        relay
            .shut_down(Instant::now() + Duration::from_secs(5))
            .await;
    };
    let start = Instant::now();
    let ((), packets) = tokio::join!(shut_down, polls.poll());
    assert_eq!(start.elapsed(), AT_ONCE, "nobody hangs");
    assert_eq!(
        packets.expect("an answer"),
        ["1"],
        "and no namespace is left, or it would not come back"
    );
    let ends = over_websocket.ends().await;
    assert_eq!(ends, [End::ClosePacket, End::CloseFrame]);
    assert_eq!(opens.ends().await, [], "it must not be refused");
    assert_eq!(relay.hub.streams.count(), 0);
    assert!(relay.hub.holds_nothing());
    sleep(AT_ONCE).await;
    let dialled = crate::net::Net::connect_stream(&net, ([203, 0, 113, 1], 80).into()).await;
    assert!(dialled.is_err(), "nobody listens any more");

    drop(health);
    sleep(AT_ONCE).await;
    // The test's own; the handlers that socketioxide would keep for ever hold it as well.
    assert_eq!(hub.weak_count(), 1);
    drop(relay);
    sleep(AT_ONCE).await;
    assert!(hub.upgrade().is_none(), "a task or a handler holds the hub");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_polls_and_does_not_ask_does_not_hold_the_relay() {
    let (net, relay) = scene().await;
    let mut polls = Poller::of(&net, "boris", "d1").await;
    let start = Instant::now();
    relay.shut_down(start + Duration::from_secs(5)).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(polls.poll().await, Err(None));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_does_not_hold_the_relay() {
    let (net, relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let _hangs = Client::of(&net, "boris", "d1").await;
    let mut long = message("boris", "1", 1);
    long["body"] = "x".repeat(60_000).into();
    for number in 1..=8 {
        long["number"] = number.into();
        let _ = anna.call(&long).await;
    }
    let hub = Arc::downgrade(&relay.hub);
    let start = Instant::now();
    let deadline = start + Duration::from_secs(5);
    let while_it_drains = async {
        sleep(Duration::from_secs(1)).await;
        let mut sender = http(&net).await;
        let answered = request(&mut sender, Method::GET, "/health", "").await;
        let (status, body) = answered.expect("an answer");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("\"status\":\"shutting-down\""), "{body}");
        let path = "/socket.io/?EIO=4&transport=polling";
        let refused = request(&mut http(&net).await, Method::GET, path, "").await;
        let status = refused.expect("an answer").0;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    };
    tokio::join!(
        relay.shut_down(deadline),
        relay.shut_down(deadline),
        while_it_drains,
        async { drop(anna.ends().await) },
    );
    assert_eq!(Instant::now(), deadline);
    assert_eq!(relay.hub.streams.count(), 0);
    drop(relay);
    sleep(AT_ONCE).await;
    assert!(hub.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_asks_for_nothing_is_closed() {
    let (net, relay) = scene().await;
    let mut silent = raw::dial(&net).await;
    let start = Instant::now();
    let read = silent.read(&mut [0; 1]).await;
    assert_eq!(read.ok(), Some(0));
    assert!(start.elapsed() <= Duration::from_secs(31));
    sleep(AT_ONCE).await;
    assert_eq!(relay.hub.streams.count(), 0);
}
