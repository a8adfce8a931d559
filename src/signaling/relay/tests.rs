//! The relay over streams in memory, asked by clients that write every packet themselves.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use ::http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, advance, sleep, timeout};

use self::log::Log;
use self::raw::{Client, End, Poller, auth, http, message, request};
use super::turn_credentials::{TurnCredentialIssuer, TurnSecret};
use super::*;
use crate::signaling::memory_net::{MemoryNet, serve_relay};

mod log;
mod raw;

mod ends;

/// As long as everything takes that waits for nothing.
const AT_ONCE: Duration = Duration::from_millis(1);

fn delivered(devices: usize) -> Value {
    json!({ "delivered": devices })
}

async fn scene() -> (MemoryNet, Relay) {
    scene_of(RelayConfig::default()).await
}

async fn scene_of(config: RelayConfig) -> (MemoryNet, Relay) {
    let net = MemoryNet::default();
    let relay = serve_relay(&net, config).await;
    (net, relay)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_refused() {
    let tokens = BTreeMap::from([("anna".into(), "secret".into())]);
    let (net, relay) = scene_of(RelayConfig {
        tokens: TokenPolicy::Listed(tokens),
        ..RelayConfig::default()
    })
    .await;
    let _anna = Client::of(&net, "anna", "d1").await;
    for (auth, text) in [
        (auth("boris", "d1"), "user \"boris\" has no such token"),
        (json!({ "user": "anna" }), "user \"anna\" has no such token"),
        (
            json!(["anna", "secret"]),
            "auth must be an object with the texts user and token",
        ),
    ] {
        let refused = Client::join(&net, &auth).await.err();
        assert_eq!(refused.as_deref(), Some(text), "{auth}");
    }
    assert_eq!(relay.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_device_is_given_one() {
    let (net, relay) = scene().await;
    let nameless = json!({ "user": "anna", "token": "secret" });
    let mut first = Client::join(&net, &nameless).await.expect("admitted");
    let _second = Client::join(&net, &nameless).await.expect("admitted");
    assert_eq!(relay.connected_devices("anna"), 2);
    let mut boris = Client::of(&net, "boris", "d1").await;
    assert_eq!(first.call(&message("boris", "1", 1)).await, delivered(1));
    let frames = boris.frames().await;
    let device = frames[0]["device"].as_str().expect("a text");
    assert_eq!(device.len(), 16, "{device}");
}

#[tokio::test(start_paused = true)]
async fn messages_for_an_absent_user_wait_in_order_within_bounds() {
    let (net, _relay) = scene_of(RelayConfig {
        kept_messages_max: 3,
        ..RelayConfig::default()
    })
    .await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    for call in ["1", "2", "3"] {
        assert_eq!(anna.call(&message("boris", call, 1)).await, delivered(0));
    }
    let refused = anna.call(&message("boris", "4", 1)).await;
    assert_eq!(refused["code"], "too-many-kept");
    assert_eq!(refused["error"], "3 messages wait for \"boris\" already");
    let mut boris = Client::of(&net, "boris", "d1").await;
    assert_eq!(boris.calls().await, ["1", "2", "3"]);
    let mut boris = Client::of(&net, "boris", "d1").await;
    assert_eq!(
        boris.calls().await,
        [""; 0],
        "what was acknowledged is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn as_many_messages_as_are_kept_reach_who_connects() {
    let (net, relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    for number in 1..=256 {
        let kept = anna.call(&message("boris", "1", number)).await;
        assert_eq!(kept, delivered(0));
    }
    let mut boris = Client::of(&net, "boris", "d1").await;
    let numbers = boris.frames().await.into_iter();
    let numbers = numbers.map(|frame| frame["number"].as_u64().expect("a number"));
    assert!(numbers.eq(1..=256));
    assert_eq!(relay.connected_devices("boris"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_offer_older_than_its_caller_waits_rings_nobody() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    assert_eq!(anna.call(&message("boris", "old", 1)).await, delivered(0));
    let _ = timeout(Duration::from_secs(59), anna.ends()).await;
    assert_eq!(anna.call(&message("boris", "new", 1)).await, delivered(0));
    sleep(Duration::from_secs(2)).await;
    let mut boris = Client::of(&net, "boris", "d1").await;
    assert_eq!(boris.calls().await, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn what_went_to_a_dead_socket_reaches_the_next_one() {
    let (net, relay) = scene().await;
    let boris = Client::of(&net, "boris", "d1").await;
    net.freeze_all();
    drop(boris);
    sleep(Duration::from_secs(2)).await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    assert_eq!(anna.call(&message("boris", "1", 1)).await, delivered(1));
    assert_eq!(
        relay.connected_devices("boris"),
        1,
        "the relay cannot know yet"
    );
    let mut boris = Client::of(&net, "boris", "d1").await;
    assert_eq!(boris.calls().await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn every_device_of_a_user_gets_a_message_or_one() {
    let (net, _relay) = scene().await;
    let mut phone = Client::of(&net, "boris", "phone").await;
    let mut tablet = Client::of(&net, "boris", "tablet").await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    assert_eq!(anna.call(&message("boris", "1", 1)).await, delivered(2));
    let mut narrow = message("boris", "1", 2);
    narrow["to_device"] = "tablet".into();
    narrow["call"] = "2".into();
    assert_eq!(anna.call(&narrow).await, delivered(1));
    assert_eq!(phone.calls().await, ["1"]);
    assert_eq!(tablet.calls().await, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn frames_of_the_moment_keep_their_order_and_are_not_acknowledged() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let resume = json!({ "to": "boris", "call": "1", "kind": "resume", "up_to": 0 });
    anna.tell(&resume).await;
    let mut boris = Client::of(&net, "boris", "d1").await;
    for number in 1..=3 {
        anna.tell(&message("boris", "1", number)).await;
        anna.tell(&resume).await;
    }
    for number in 1..=3 {
        let packet = boris.read().await.expect("a message");
        assert!(
            packet.starts_with(&format!("42{number}[\"call\",")),
            "{packet}"
        );
        let packet = boris.read().await.expect("what is of the moment");
        assert!(packet.starts_with("42[\"call\","), "{packet}");
        assert!(packet.contains("\"kind\":\"resume\""), "{packet}");
    }
    let nothing = timeout(Duration::from_secs(1), boris.read()).await;
    assert!(
        nothing.is_err(),
        "what came before it was there is not kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_get_into_a_call() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let mut boris = Client::of(&net, "boris", "d1").await;
    let mut carla = Client::of(&net, "carla", "d1").await;
    assert_eq!(anna.call(&message("boris", "1", 1)).await, delivered(1));
    assert_eq!(boris.call(&message("anna", "1", 1)).await, delivered(1));
    let refused = carla.call(&message("boris", "1", 1)).await;
    assert_eq!(refused["code"], "not-a-member");
    let refused = anna.call(&message("carla", "1", 1)).await;
    assert_eq!(refused["code"], "not-a-member");
    assert_eq!(boris.calls().await, ["1"]);
    assert_eq!(carla.calls().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_after_the_relay_was_restarted() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    assert_eq!(anna.call(&message("boris", "1", 1)).await, delivered(0));
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let mut boris = Client::of(&net, "boris", "d1").await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    assert_eq!(boris.call(&message("anna", "1", 1)).await, delivered(1));
    assert_eq!(anna.call(&message("boris", "1", 2)).await, delivered(1));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_long_is_refused_and_a_payload_ends_the_connection() {
    let (net, relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let mut long = message("boris", "1", 1);
    long["body"] = "x".repeat(64 << 10).into();
    let refused = anna.call(&long).await;
    assert_eq!(refused["code"], "malformed");
    let text = refused["error"].as_str().expect("a text");
    assert!(text.ends_with("bytes, and 65536 are allowed"), "{text}");
    assert_eq!(anna.call(&message("boris", "1", 1)).await, delivered(0));
    anna.send_to_the_end("x".repeat((256 << 10) + 1)).await;
    sleep(AT_ONCE).await;
    assert_eq!(relay.connections(), 0);

    let mut poller = Poller::of(&net, "anna", "d1").await;
    let too_large = "x".repeat((256 << 10) + 1);
    assert_eq!(poller.tell(&too_large).await, StatusCode::PAYLOAD_TOO_LARGE);
    sleep(AT_ONCE).await;
    assert_eq!(relay.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_too_often_is_closed() {
    let (net, relay) = scene().await;
    let mut mallory = Client::of(&net, "mallory", "d1").await;
    for _ in 0..101 {
        mallory.tell(&json!({ "to": "boris" })).await;
    }
    assert_eq!(mallory.ends().await, [End::Disconnect]);
    sleep(AT_ONCE).await;
    assert_eq!(relay.connections(), 0);
    assert_eq!(relay.hub.streams.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_refused() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let resume = json!({ "to": "boris", "call": "1", "kind": "resume" });
    for _ in 0..1000 {
        anna.tell(&resume).await;
    }
    let refused = anna.call(&resume).await;
    assert_eq!(refused["code"], "too-fast");
    advance(Duration::from_millis(10)).await;
    assert_eq!(anna.call(&resume).await, delivered(0));
}

#[tokio::test(start_paused = true)]
async fn a_user_has_only_so_many_devices() {
    let (net, _relay) = scene_of(RelayConfig {
        devices_per_user_max: 1,
        ..RelayConfig::default()
    })
    .await;
    let _anna = Client::of(&net, "anna", "d1").await;
    let refused = Client::join(&net, &auth("anna", "d2")).await.err();
    let text = "user \"anna\" has 1 devices already";
    assert_eq!(refused.as_deref(), Some(text));
    assert!(Client::join(&net, &auth("anna", "d1")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_are_asked_to_come_back() {
    let (net, _relay) = scene_of(RelayConfig {
        connections_max: 1,
        ..RelayConfig::default()
    })
    .await;
    let anna = Client::of(&net, "anna", "d1").await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let mut second = http(&net).await;
    let answered = request(&mut second, Method::GET, path, "").await;
    let (status, _) = answered.expect("an answer");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    drop((anna, second));
    sleep(AT_ONCE).await;
    let mut third = http(&net).await;
    let answered = request(&mut third, Method::GET, path, "").await;
    assert_eq!(answered.expect("an answer").0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_issued_where_there_is_a_secret() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let refused = anna.ask(turn_credentials::EVENT, None).await;
    assert_eq!(refused["code"], "no-turn-secret");

    let issuer = TurnCredentialIssuer::new(
        TurnSecret::new("north"),
        vec!["turn:turn.example".into()],
        Duration::from_mins(1),
        || UNIX_EPOCH + Duration::from_secs(1000),
    );
    let (net, _relay) = scene_of(RelayConfig {
        turn: Some(issuer.clone()),
        ..RelayConfig::default()
    })
    .await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let answer = anna.ask(turn_credentials::EVENT, None).await;
    assert_eq!(answer, json!(issuer.issue("anna")));
    assert_eq!(answer["username"], "1060:anna");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_polls_is_one_like_others_and_can_go_over_to_websocket() {
    let (net, relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let mut boris = Poller::of(&net, "boris", "d1").await;
    assert_eq!(anna.call(&message("boris", "1", 1)).await, delivered(1));
    let packets = boris.poll().await.expect("the session is open");
    assert_eq!(packets.len(), 1);
    assert!(packets[0].starts_with("421[\"call\","), "{packets:?}");
    let event = json!(["call", message("anna", "1", 1)]);
    let told = boris.tell(&format!("431[]\u{1e}427{event}")).await;
    assert_eq!(told, StatusCode::OK);
    assert_eq!(
        boris.poll().await.as_deref(),
        Ok(&["437[{\"delivered\":1}]".to_owned()][..])
    );
    assert_eq!(anna.calls().await, ["1"]);

    let mut boris = boris.upgrade(&net).await;
    assert_eq!(anna.call(&message("boris", "1", 2)).await, delivered(1));
    assert_eq!(boris.calls().await, ["1"]);
    assert_eq!(boris.call(&message("anna", "1", 2)).await, delivered(1));
    assert_eq!(relay.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_health_of_the_relay_can_be_asked_for() {
    let (net, _relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    let _ = anna.call(&message("boris", "1", 1)).await;
    let mut sender = http(&net).await;
    let mut get = async |path| {
        let answered = request(&mut sender, Method::GET, path, "").await;
        answered.expect("an answer")
    };
    let (status, body) = get("/health").await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).expect("json");
    let expected = json!({ "status": "ok", "connections": 1, "calls": 1 });
    assert_eq!(body, expected);
    for path in ["/", "/healthy", "/socket.io-admin"] {
        assert_eq!(get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let posted = request(&mut sender, Method::POST, "/health", "").await;
    let status = posted.expect("an answer").0;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(start_paused = true)]
async fn nobody_leaves_a_trace_for_ever() {
    let (net, relay) = scene().await;
    let mut anna = Client::of(&net, "anna", "d1").await;
    for user in 0..100 {
        let user = user.to_string();
        assert_eq!(anna.call(&message(&user, &user, 1)).await, delivered(0));
    }
    assert_eq!(relay.hub.counts(), (1, 100));
    drop(anna);
    sleep(RelayConfig::default().call_idle).await;
    assert!(relay.hub.holds_nothing());
}
