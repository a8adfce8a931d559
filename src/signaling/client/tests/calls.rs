//! What becomes of the messages of a call, and of the path and the servers that it needs.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_is_done_once_the_other_device_has_it() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, mut anna_events) = start(&net, "anna");
    connected(&mut anna_events).await;
    let mut send = anna.send(envelope("boris", "1"));
    anna.flushed().await;
    let early = timeout(Duration::from_secs(10), &mut send).await;
    assert!(early.is_err(), "the server has it, and boris does not");
    let (_boris, mut boris_events) = start(&net, "boris");
    assert_eq!(message(&mut boris_events).await.call.0, "1");
    assert_eq!(send.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_acknowledges_expires() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, _events) = start(&net, "anna");
    let start = Instant::now();
    let limit = Duration::from_secs(90);
    let sent = anna.send(envelope("boris", "1")).await;
    assert_eq!(sent, Err(SendError::Expired { limit }));
    assert_eq!(start.elapsed(), limit);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_carried_in_order_and_its_candidates_as_they_come() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (_anna, mut events) = start(&net, "anna");
    let mut peer = script.join().await;
    let bodies = [
        (3, Some(1), json!({"type": "hang-up", "reason": "normal"})),
        (2, None, json!({"type": "end-of-candidates", "ufrag": "u"})),
        (1, Some(0), json!({"type": "offer", "sdp": "v=0"})),
    ];
    for (number, follows, body) in bodies {
        let frame = json!(["call", {
            "from": "boris", "device": "d", "to": "anna", "call": "1", "kind": "message",
            "number": number, "follows": follows, "body": body,
        }]);
        peer.say(&format!("42{number}{frame}")).await;
    }
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        kinds.push(message(&mut events).await.body.kind());
    }
    assert_eq!(kinds, ["end-of-candidates", "offer", "hang-up"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_goes_out_again_on_the_next_connection() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, _events) = start(&net, "anna");
    let server = async {
        let mut peer = script.join().await;
        let (id, first) = peer.message().await;
        // The server has it, and loses its memory.
        peer.say(&format!("43{id}[{{\"delivered\":1}}]")).await;
        drop(peer);
        let mut peer = script.join().await;
        let (_, second) = peer.message().await;
        assert_eq!(second, first);
        peer.acknowledge(&second).await;
        peer
    };
    let (sent, _peer) = tokio::join!(anna.send(envelope("boris", "1")), server);
    assert_eq!(sent, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_unless_it_is_of_the_moment() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, _events) = start(&net, "anna");
    let server = async {
        let mut peer = script.join().await;
        for code in ["too-fast", "not-a-member"] {
            let (id, _) = peer.message().await;
            let answer = json!([{"error": format!("it is {code}"), "code": code}]);
            peer.say(&format!("43{id}{answer}")).await;
        }
        peer
    };
    let (sent, _peer) = tokio::join!(anna.send(envelope("boris", "1")), server);
    let message = "it is not-a-member".into();
    assert_eq!(sent, Err(SendError::Refused { message }));
}

#[tokio::test(start_paused = true)]
async fn an_application_may_exit_once_the_server_has_everything() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, _events) = start(&net, "anna");
    anna.flushed().await;
    let _first = anna.send(envelope("boris", "1"));
    let flushed = anna.flushed();
    let _second = anna.send(envelope("boris", "2"));
    tokio::pin!(flushed);
    let mut peer = script.join().await;
    let (first, _) = peer.message().await;
    let (second, _) = peer.message().await;
    let early = timeout(Duration::from_secs(1), &mut flushed).await;
    assert!(early.is_err(), "the server has not answered");
    peer.say(&format!("43{first}[{{\"delivered\":0}}]")).await;
    flushed.await;
    let both = anna.flushed();
    peer.say(&format!("43{second}[{{\"delivered\":0}}]")).await;
    both.await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_waits_for_is_taken_back() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, _events) = start(&net, "anna");
    drop(anna.send(envelope("boris", "1")));
    let _second = anna.send(envelope("boris", "2"));
    let mut peer = script.join().await;
    let (_, frame) = peer.message().await;
    assert_eq!(frame["call"], "2");
}

#[tokio::test(start_paused = true)]
async fn of_a_closed_call_only_the_hang_up_goes_out() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, _events) = start(&net, "anna");
    let offer = anna.send(envelope("boris", "1"));
    let trickled = anna.send(says("boris", "1", candidate("candidate:1")));
    let farewell = anna.send(says("boris", "1", hang_up()));
    anna.close_call(CallId("1".into()));
    assert_eq!(offer.await, Err(SendError::Closed));
    assert_eq!(trickled.await, Err(SendError::Closed));
    let mut peer = script.join().await;
    let (_, frame) = peer.message().await;
    assert_eq!(frame["body"]["type"], "hang-up");
    peer.acknowledge(&frame).await;
    assert_eq!(farewell.await, Ok(()));
    let late = anna.send(says("boris", "1", candidate("candidate:2")));
    assert_eq!(late.await, Err(SendError::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_unacknowledged_message_finds_a_dead_path_long_before_the_heartbeat() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, mut events) = start(&net, "anna");
    let (_boris, mut boris_events) = start(&net, "boris");
    connected(&mut events).await;
    connected(&mut boris_events).await;
    net.freeze_all();
    let frozen = Instant::now();
    let _send = anna.send(envelope("boris", "1"));
    let event = next(&mut events).await;
    let is_found = matches!(
        event,
        SignalingEvent::Disconnected {
            reason: DisconnectReason::PathCheck { .. }
        }
    );
    assert!(is_found, "{event:?}");
    // Three seconds until the doubt, and three for the server to show a sign of life.
    assert_eq!(frozen.elapsed().as_secs(), 6);
    connected(&mut events).await;
    assert_eq!(frozen.elapsed().as_secs(), 6, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_doubted_is_checked_and_a_live_one_stays() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, mut events) = start(&net, "anna");
    connected(&mut events).await;
    anna.check_path();
    let nothing = timeout(Duration::from_secs(20), events.recv()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    net.freeze_all();
    anna.check_path();
    let doubted = Instant::now();
    connected(&mut events).await;
    // The answers before came at once.
    assert_eq!(doubted.elapsed(), Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn another_network_is_used_at_once() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, mut events) = start(&net, "anna");
    connected(&mut events).await;
    let changed = Instant::now();
    net.freeze_all();
    anna.network_changed();
    connected(&mut events).await;
    assert_eq!(changed.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn turn_credentials_are_fetched_on_demand_and_before_they_end() {
    let net = MemoryNet::default();
    let date = || std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let ttl = Duration::from_secs(100);
    let secret = TurnSecret::new("secret");
    let turn = TurnCredentialIssuer::new(secret.clone(), Vec::new(), ttl, date);
    let config = RelayConfig {
        turn: Some(turn),
        ..RelayConfig::default()
    };
    let _relay = serve_relay(&net, config).await;
    let (anna, mut events) = start(&net, "anna");
    connected(&mut events).await;
    let nothing = timeout(Duration::from_mins(5), events.recv()).await;
    assert!(nothing.is_err(), "nobody has asked: {nothing:?}");
    anna.keep_turn_credentials();
    let asked = Instant::now();
    for second in [0, 75, 150] {
        let SignalingEvent::TurnCredentials(given) = next(&mut events).await else {
            panic!("something else");
        };
        assert_eq!(asked.elapsed().as_secs(), second);
        assert_eq!(given.expires_at, Instant::now() + ttl);
        let username = given.credentials.username;
        assert_eq!(username, "1700000100:anna");
        assert_eq!(given.credentials.password, secret.credential(&username));
    }
    net.cut_all();
    connected(&mut events).await;
    let event = next(&mut events).await;
    assert!(
        matches!(event, SignalingEvent::TurnCredentials(_)),
        "{event:?}"
    );
}
