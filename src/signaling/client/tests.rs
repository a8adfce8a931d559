use super::*;
use crate::signaling::memory_net::{MemoryNet, envelope, identity, serve_relay, settings};
use crate::signaling::message::{CallMessage, HangUpReason, TrickledCandidate};
use crate::signaling::relay::RelayConfig;
use crate::signaling::relay::turn_credentials::{TurnCredentialIssuer, TurnSecret};
use crate::signaling::transport::ConnectPhase;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::net::{ByteStream, StreamListener};

mod calls;

type Events = mpsc::Receiver<SignalingEvent>;

fn start(net: &MemoryNet, name: &str) -> (SignalingClient, Events) {
    SignalingClient::start(Arc::new(net.clone()), settings(), identity(name))
}

async fn next(events: &mut Events) -> SignalingEvent {
    let event = timeout(Duration::from_mins(5), events.recv()).await;
    event
        .expect("an event within 300 s")
        .expect("a living client")
}

async fn connected(events: &mut Events) {
    while !matches!(next(events).await, SignalingEvent::Connected) {}
}

async fn message(events: &mut Events) -> Envelope {
    loop {
        if let SignalingEvent::Message(envelope) = next(events).await {
            return envelope;
        }
    }
}

fn says(to: &str, call: &str, body: CallMessage) -> Envelope {
    Envelope {
        body,
        ..envelope(to, call)
    }
}

fn candidate(text: &str) -> CallMessage {
    CallMessage::Candidate(TrickledCandidate {
        candidate: text.into(),
        sdp_mid: "0".into(),
        username_fragment: "abcd".into(),
    })
}

fn hang_up() -> CallMessage {
    CallMessage::HangUp {
        reason: HangUpReason::Normal,
    }
}

/// A server that does what the test says.
struct Script {
    listener: Box<dyn StreamListener>,
}

struct Peer(WebSocketStream<Box<dyn ByteStream>>);

impl Script {
    async fn new(net: &MemoryNet) -> Self {
        let address = SocketAddr::from(([203, 0, 113, 1], 80));
        net.name("relay.example", &[address.ip()]);
        let listener = net.listen_stream(address).await.expect("free address");
        Self { listener }
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("open listener");
        Peer(accept_async(stream).await.expect("a websocket client"))
    }

    /// Accepts a client up to the CONNECT reply.
    async fn join(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.open().await;
        assert!(peer.text().await.starts_with("40{"));
        peer.say(r#"40{"sid":"s"}"#).await;
        peer
    }
}

impl Peer {
    async fn open(&mut self) {
        self.say(r#"0{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#)
            .await;
    }

    async fn say(&mut self, text: &str) {
        let message = Message::text(text);
        self.0.send(message).await.expect("an open websocket");
    }

    async fn text(&mut self) -> Utf8Bytes {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return text,
                // The client doubts the path.
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("not a text frame: {other:?}"),
            }
        }
    }

    /// The next message of a call, with the id by which it is answered.
    async fn message(&mut self) -> (u64, Value) {
        loop {
            let text = self.text().await;
            let event = text.strip_prefix("42").expect("an event");
            let digits = event.find('[').expect("arguments");
            let arguments: Value = serde_json::from_str(&event[digits..]).expect("json");
            let frame = arguments[1].clone();
            if arguments[0] == "call" && frame["kind"] == "message" {
                return (event[..digits].parse().expect("an id"), frame);
            }
        }
    }

    /// Says that a device of the receiver has this message.
    async fn acknowledge(&mut self, frame: &Value) {
        let acknowledgement = json!(["call", {
            "from": frame["to"], "device": "d", "to": frame["from"], "call": frame["call"],
            "kind": "acknowledge", "up_to": frame["number"], "beyond": [],
        }]);
        self.say(&format!("42{acknowledgement}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_go_from_client_to_client_in_order() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, _anna_events) = start(&net, "anna");
    let (_boris, mut boris_events) = start(&net, "boris");
    connected(&mut boris_events).await;
    for call in 0..20 {
        let mut spoofed = envelope("boris", &call.to_string());
        spoofed.from = "mallory".into();
        anna.send(spoofed).await.expect("acknowledged");
    }
    for call in 0..20 {
        let received = message(&mut boris_events).await;
        assert_eq!(received.from, "anna");
        assert_eq!(received.call.0, call.to_string());
        assert_eq!(received.body, envelope("boris", "1").body);
    }
    anna.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_disconnected_goes_out_once_connected() {
    let net = MemoryNet::default();
    net.name("relay.example", &[[203, 0, 113, 1].into()]);
    let (anna, mut anna_events) = start(&net, "anna");
    match next(&mut anna_events).await {
        SignalingEvent::ConnectFailed {
            error: SocketConnectError::Attempt(error),
        } => assert_eq!(error.phase(), Some(ConnectPhase::Tcp), "{error:?}"),
        other => panic!("{other:?}"),
    }
    let anna = Arc::new(anna);
    let sends: Vec<_> = (0..5)
        .map(|call| {
            let anna = Arc::clone(&anna);
            tokio::spawn(async move { anna.send(envelope("boris", &call.to_string())).await })
        })
        .collect();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (_boris, mut boris_events) = start(&net, "boris");
    for call in 0..5 {
        assert_eq!(message(&mut boris_events).await.call.0, call.to_string());
    }
    for send in sends {
        assert_eq!(send.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_send_buffer_is_bounded() {
    let net = MemoryNet::default();
    let config = SignalingConfig {
        send_buffer_messages_max: 1,
        ..settings()
    };
    let (anna, _events) = SignalingClient::start(Arc::new(net), config, identity("anna"));
    let (first, second) = tokio::join!(
        timeout(Duration::from_secs(1), anna.send(envelope("boris", "1"))),
        anna.send(envelope("boris", "2")),
    );
    assert!(first.is_err(), "the first one waits for a connection");
    assert_eq!(second, Err(SendError::Full { max: 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_is_replaced_and_nothing_is_lost_or_doubled() {
    let net = MemoryNet::default();
    let relay = serve_relay(&net, RelayConfig::default()).await;
    let (anna, mut anna_events) = start(&net, "anna");
    let (_boris, mut boris_events) = start(&net, "boris");
    connected(&mut anna_events).await;
    connected(&mut boris_events).await;
    for call in 0..10 {
        let send = anna.send(envelope("boris", &call.to_string()));
        let (outcome, ()) = tokio::join!(send, async { net.cut_all() });
        assert_eq!(outcome, Ok(()));
        assert_eq!(message(&mut boris_events).await.call.0, call.to_string());
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(net.live(), 2, "one stream each");
    assert_eq!(relay.connected_devices("boris"), 1);
    while let Ok(event) = boris_events.try_recv() {
        assert!(!matches!(event, SignalingEvent::Message(_)), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_path_is_given_up_soon_or_by_the_heartbeat() {
    for check_after in [Some(Duration::from_secs(6)), None] {
        let net = MemoryNet::default();
        let _relay = serve_relay(&net, RelayConfig::default()).await;
        let config = SignalingConfig {
            check_after,
            ..settings()
        };
        let shared = Arc::new(net.clone());
        let (_anna, mut events) = SignalingClient::start(shared, config, identity("anna"));
        connected(&mut events).await;
        let frozen = Instant::now();
        net.freeze_all();
        let reason = match next(&mut events).await {
            SignalingEvent::Disconnected { reason } => reason.name(),
            other => panic!("{other:?}"),
        };
        let seconds = frozen.elapsed().as_secs();
        let expected = match check_after {
            // Six until the doubt, and three for the first answer.
            Some(_) => ("path_check", 9),
            None => ("ping_timeout", 45),
        };
        assert_eq!((reason, seconds), expected);
        connected(&mut events).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_connection_outlasts_many_heartbeats() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (_anna, mut events) = start(&net, "anna");
    connected(&mut events).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(events.try_recv().is_err());
    assert_eq!(net.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_connect_and_pongs_comes_before_the_connect_reply() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, mut events) = start(&net, "anna");
    let server = async {
        let mut peer = script.accept().await;
        peer.open().await;
        peer.say("2").await;
        peer.say("2now").await;
        let connect = peer.text().await;
        let auth: Value = serde_json::from_str(&connect[2..]).expect("json");
        assert_eq!(
            (&auth["user"], &auth["token"]),
            (&json!("anna"), &json!("secret"))
        );
        assert_eq!(auth["device"].as_str().map(str::len), Some(32));
        assert_eq!(peer.text().await.as_str(), "3");
        assert_eq!(peer.text().await.as_str(), "3now");
        let early = r#"42["call",{"from":"boris","device":"d","to":"anna","call":"early","kind":"message","number":1,"follows":0,"body":{"type":"offer","sdp":"v=0"}}]"#;
        peer.say(early).await;
        let nothing = timeout(Duration::from_secs(5), peer.text()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        peer.say(r#"40{"sid":"s"}"#).await;
        let (id, frame) = peer.message().await;
        peer.say(&format!("43{id}[]")).await;
        peer.acknowledge(&frame).await;
        peer.say(early).await;
        peer.say("2").await;
        while peer.text().await.as_str() != "3" {}
    };
    let (sent, ()) = tokio::join!(anna.send(envelope("boris", "1")), server);
    assert_eq!(sent, Ok(()));
    // What came before the connection was there is reported before it.
    assert_eq!(message(&mut events).await.call.0, "early");
    assert!(matches!(next(&mut events).await, SignalingEvent::Connected));
    assert!(events.try_recv().is_err(), "the repetition is dropped");
}

#[tokio::test(start_paused = true)]
async fn garbage_and_close_frames_lead_to_a_reconnect() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (_anna, mut events) = start(&net, "anna");
    let garbage = [
        Message::text(""),
        Message::text("9"),
        Message::text("42{"),
        Message::text(r#"4511-["a",{"_placeholder":true,"num":0}]"#),
        Message::text("1"),
        Message::Close(None),
    ];
    for message in garbage {
        let mut peer = script.join().await;
        connected(&mut events).await;
        let sent_at = Instant::now();
        peer.0.send(message.clone()).await.expect("open");
        let event = next(&mut events).await;
        assert!(
            matches!(
                event,
                SignalingEvent::Disconnected {
                    reason: DisconnectReason::Transport(_) | DisconnectReason::Parse(_)
                }
            ),
            "{message:?} gave {event:?}"
        );
        assert_eq!(sent_at.elapsed(), Duration::ZERO);
        assert!(!matches!(peer.0.next().await, Some(Ok(Message::Text(_)))));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(net.live(), 0, "no stream outlives its connection");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_closes_sees_growing_delays() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (_anna, mut events) = start(&net, "anna");
    let mut delays = Vec::new();
    for round in 1..=6 {
        drop(script.join().await);
        let (attempt, delay) = loop {
            if let SignalingEvent::Reconnecting { attempt, delay } = next(&mut events).await {
                break (attempt, delay.as_secs_f64());
            }
        };
        assert_eq!(attempt, round);
        delays.push(delay);
    }
    for (delay, grown) in delays.iter().zip([2.0, 4.0, 8.0, 10.0, 10.0, 10.0]) {
        assert!((grown / 2.0 - 0.001..=grown).contains(delay), "{delays:?}");
    }
    let mut stable = script.join().await;
    connected(&mut events).await;
    let limit = settings().stable_after;
    let said = timeout(limit, stable.text()).await;
    assert!(said.is_err(), "{said:?}");
    drop(stable);
    let _ = next(&mut events).await;
    assert!(matches!(
        next(&mut events).await,
        SignalingEvent::Reconnecting { attempt: 1, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_the_server_disconnected_comes_back_with_what_it_had_to_send() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, mut events) = start(&net, "anna");
    let mut peer = script.join().await;
    connected(&mut events).await;
    peer.say("41").await;
    assert!(matches!(
        next(&mut events).await,
        SignalingEvent::Disconnected {
            reason: DisconnectReason::ServerDisconnect
        }
    ));
    let since = Instant::now();
    let again = async {
        let mut peer = script.join().await;
        let waited = since.elapsed();
        assert!(waited >= settings().reconnection_delay, "{waited:?}");
        let said = peer.text().await;
        assert!(said.contains(r#""call":"1""#), "{said}");
        assert_eq!(net.opened(), 2, "one connection replaces the other");
    };
    tokio::select! {
        biased;
        sent = anna.send(envelope("boris", "1")) => panic!("nobody has acknowledged it: {sent:?}"),
        () = again => {}
    }
}

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, mut events) = start(&net, "anna");
    let mut peer = script.join().await;
    connected(&mut events).await;
    let farewell = async {
        assert_eq!(peer.text().await.as_str(), "41");
        assert!(matches!(peer.0.next().await, Some(Ok(Message::Close(_)))));
    };
    tokio::join!(anna.close(), farewell);
    assert!(peer.0.next().await.is_none(), "the stream is closed");
    drop(peer);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(net.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_work_is_not_retried() {
    let net = MemoryNet::default();
    for config in [
        SignalingConfig {
            url: "ftp://relay.example".into(),
            ..settings()
        },
        SignalingConfig {
            transports: Vec::new(),
            ..settings()
        },
    ] {
        let net = Arc::new(net.clone());
        let (anna, mut events) = SignalingClient::start(net, config, identity("anna"));
        match next(&mut events).await {
            SignalingEvent::ConnectFailed { error } => assert!(error.is_final()),
            other => panic!("{other:?}"),
        }
        let sent = anna.send(envelope("boris", "1")).await;
        assert_eq!(sent, Err(SendError::Closed));
    }
}
