use super::*;
use crate::signaling::engine_io::{EngineIoPacket, Frame};
use crate::signaling::memory_net::{MemoryNet, envelope, identity, serve_relay, settings};
use crate::signaling::message::CallMessage;
use crate::signaling::relay::RelayConfig;
use crate::signaling::transport::ConnectPhase;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::net::{ByteStream, StreamListener};

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
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => text,
            other => panic!("not a text frame: {other:?}"),
        }
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
        assert_eq!(received.body, CallMessage::Ringing);
    }
    anna.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_disconnected_goes_out_once_connected() {
    let net = MemoryNet::default();
    net.name("relay.example", &[[203, 0, 113, 1].into()]);
    let (anna, mut anna_events) = start(&net, "anna");
    assert!(matches!(
        next(&mut anna_events).await,
        SignalingEvent::ConnectFailed {
            error: ConnectError::Network {
                phase: ConnectPhase::Tcp,
                ..
            }
        }
    ));
    let anna = Arc::new(anna);
    let sends: Vec<_> = (0..5)
        .map(|call| {
            let anna = Arc::clone(&anna);
            tokio::spawn(async move { anna.send(envelope("boris", &call.to_string())).await })
        })
        .collect();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    for send in sends {
        assert_eq!(send.await.expect("no panic"), Ok(()));
    }
    let (_boris, mut boris_events) = start(&net, "boris");
    for call in 0..5 {
        assert_eq!(message(&mut boris_events).await.call.0, call.to_string());
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
    assert_eq!(second, Err(SendError::BufferFull { max: 1 }));
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
async fn a_silent_path_is_given_up_at_the_deadline() {
    let net = MemoryNet::default();
    let _relay = serve_relay(&net, RelayConfig::default()).await;
    let (_anna, mut events) = start(&net, "anna");
    connected(&mut events).await;
    let frozen = Instant::now();
    net.freeze_all();
    let event = next(&mut events).await;
    assert!(
        matches!(
            event,
            SignalingEvent::Disconnected {
                reason: DisconnectReason::PingTimeout
            }
        ),
        "{event:?}"
    );
    assert_eq!(frozen.elapsed().as_secs(), 45);
    connected(&mut events).await;
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
        assert_eq!(connect.as_str(), r#"40{"token":"secret","user":"anna"}"#);
        assert_eq!(peer.text().await.as_str(), "3");
        assert_eq!(peer.text().await.as_str(), "3now");
        let early = r#"42["call",{"id":1,"from":"boris","to":"anna","call":"early","body":{"type":"ringing"}}]"#;
        peer.say(early).await;
        let nothing = timeout(Duration::from_secs(5), peer.text()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        peer.say(r#"40{"sid":"s"}"#).await;
        let event = peer.text().await;
        assert!(event.starts_with(r#"420["call",{"#), "{event}");
        peer.say("430[]").await;
        peer.say(early).await;
        peer.say("2").await;
        assert_eq!(peer.text().await.as_str(), "3");
    };
    let (sent, ()) = tokio::join!(anna.send(envelope("boris", "1")), server);
    assert_eq!(sent, Ok(()));
    assert!(matches!(next(&mut events).await, SignalingEvent::Connected));
    assert_eq!(message(&mut events).await.call.0, "early");
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
        Message::text(r#"451-["a",{"_placeholder":true,"num":0}]"#),
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
                    reason: DisconnectReason::Transport(_)
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
    let stable = script.join().await;
    connected(&mut events).await;
    tokio::time::sleep(STABLE_AFTER).await;
    drop(stable);
    let _ = next(&mut events).await;
    assert!(matches!(
        next(&mut events).await,
        SignalingEvent::Reconnecting { attempt: 1, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_disconnect_is_final() {
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
    assert_eq!(
        anna.send(envelope("boris", "1")).await,
        Err(SendError::Closed)
    );
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(net.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye() {
    let net = MemoryNet::default();
    let script = Script::new(&net).await;
    let (anna, mut events) = start(&net, "anna");
    let mut peer = script.join().await;
    connected(&mut events).await;
    let farewell = async {
        let leave = EngineIoPacket::Message("1".into()).into_frame();
        assert_eq!(Frame::Text(peer.text().await.to_string()), leave);
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
            SignalingEvent::ConnectFailed { error } => assert!(error.is_permanent()),
            other => panic!("{other:?}"),
        }
        let sent = anna.send(envelope("boris", "1")).await;
        assert_eq!(sent, Err(SendError::Closed));
    }
}
