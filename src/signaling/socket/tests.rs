use super::*;
use crate::config::ConnectionReuse;
use crate::net::{ByteStream, StreamListener};
use crate::signaling::memory_net::MemoryNet;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::net::SocketAddr;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async};

mod real_server;

const SECOND: Duration = Duration::from_secs(1);
const URL: &str = "http://relay.example";

/// A server that does what the test says.
struct Script {
    net: MemoryNet,
    listener: Box<dyn StreamListener>,
}

struct Peer(WebSocketStream<Box<dyn ByteStream>>);

impl Script {
    async fn new() -> Self {
        let net = MemoryNet::default();
        let address = SocketAddr::from(([203, 0, 113, 1], 80));
        net.name("relay.example", &[address.ip()]);
        let listener = net.listen_stream(address).await.expect("free address");
        Self { net, listener }
    }

    fn socket_io(&self) -> SocketIo {
        SocketIo::new(Arc::new(self.net.clone()))
    }

    /// A socket that was told to connect.
    fn socket(&self) -> (Socket, SocketEvents) {
        let opened = self.socket_io().socket(URL, SocketOptions::default());
        let (socket, events) = opened.expect("a valid url");
        socket.connect();
        (socket, events)
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("open listener");
        let mut peer = Peer(accept_async(stream).await.expect("a websocket client"));
        peer.say(r#"0{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#)
            .await;
        peer
    }

    /// Accepts a client and lets it into `/`.
    async fn join(&self) -> Peer {
        let mut peer = self.accept().await;
        assert_eq!(peer.text().await, "40");
        peer.say(r#"40{"sid":"s"}"#).await;
        peer
    }
}

impl Peer {
    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("open");
    }

    async fn text(&mut self) -> Utf8Bytes {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => text,
            other => panic!("not a text frame: {other:?}"),
        }
    }
}

async fn next(events: &mut SocketEvents) -> SocketEvent {
    let event = timeout(300 * SECOND, events.recv()).await;
    event.expect("an event within 300 s").expect("a socket")
}

async fn connected(events: &mut SocketEvents) {
    while !matches!(next(events).await, SocketEvent::Connected { .. }) {}
}

fn emit(number: u32) -> Emit {
    Emit::new("e", vec![json!(number)]).expect("not reserved")
}

fn name_of(event: SocketEvent) -> String {
    match event {
        SocketEvent::Event(event) => event.name,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_goes_out_in_order_and_is_answered() {
    let script = Script::new().await;
    let (socket, mut events) = script.socket();
    socket.emit(emit(0));
    let asked = socket.emit_with_acknowledgement(emit(1));
    let mut peer = script.join().await;
    connected(&mut events).await;
    for number in 2..600 {
        socket.emit(emit(number));
    }
    assert_eq!(peer.text().await, r#"42["e",0]"#);
    assert_eq!(peer.text().await, r#"420["e",1]"#);
    for number in 2..600 {
        assert_eq!(peer.text().await, format!(r#"42["e",{number}]"#));
    }
    peer.say(r#"430["yes"]"#).await;
    let answer = Acknowledgement::new(vec![json!("yes")]);
    assert_eq!(asked.await, Ok(answer));
    peer.say(r#"427["ask",1]"#).await;
    match next(&mut events).await {
        SocketEvent::Event(ReceivedEvent {
            ticket: Some(ticket),
            ..
        }) => socket.acknowledge(ticket, Acknowledgement::new(vec![json!(2)])),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.text().await, "437[2]");
    assert!(events.try_recv().is_err(), "nothing was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_comes_after_a_cut_and_the_old_stream_is_gone() {
    let script = Script::new().await;
    let (socket, mut events) = script.socket();
    let peer = script.join().await;
    connected(&mut events).await;
    script.net.cut_all();
    let reason = match next(&mut events).await {
        SocketEvent::Disconnected { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason.name(), "transport_close");
    drop(peer);
    socket.emit(emit(1));
    let mut peer = script.join().await;
    assert_eq!(peer.text().await, r#"42["e",1]"#);
    connected(&mut events).await;
    sleep(SECOND).await;
    assert_eq!(script.net.live(), 1);
}

#[tokio::test(start_paused = true)]
async fn r23_sockets_of_a_server_share_a_connection_unless_something_speaks_against_it() {
    let script = Script::new().await;
    let socket_io = script.socket_io();
    let open = |url: &str, options| {
        let (socket, events) = socket_io.socket(url, options).expect("valid");
        socket.connect();
        (socket, events)
    };
    let separate = || SocketOptions {
        signaling: SignalingConfig {
            reuse: ConnectionReuse::Separate,
            ..SignalingConfig::default()
        },
        ..SocketOptions::default()
    };
    let _first = open(URL, SocketOptions::default());
    let mut peer = script.join().await;
    let calls = open(&format!("{URL}/calls"), SocketOptions::default());
    assert_eq!(peer.text().await, "40/calls,");
    assert_eq!(script.net.opened(), 1);

    let _same = open(URL, SocketOptions::default());
    let _same_peer = script.join().await;
    let _separate = open(&format!("{URL}/other"), separate());
    let mut separate_peer = script.accept().await;
    assert_eq!(separate_peer.text().await, "40/other,");
    assert_eq!(script.net.opened(), 3);

    // A namespace that was given back is free again.
    peer.say(r#"40/calls,{"sid":"c"}"#).await;
    drop(calls);
    let _again = open(&format!("{URL}/calls"), SocketOptions::default());
    assert_eq!(peer.text().await, "41/calls,");
    assert_eq!(peer.text().await, "40/calls,");
    assert_eq!(script.net.opened(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_says_farewell_and_closes() {
    let script = Script::new().await;
    let (socket, mut events) = script.socket();
    let mut peer = script.join().await;
    connected(&mut events).await;
    let pending = socket.emit_with_acknowledgement(emit(1));
    assert_eq!(peer.text().await, r#"420["e",1]"#);
    drop(socket.clone());
    drop(socket);
    assert_eq!(pending.await, Err(AcknowledgementError::Disconnected));
    assert_eq!(peer.text().await, "41");
    while let Some(Ok(message)) = peer.0.next().await {
        assert!(!message.is_text(), "{message:?}");
    }
    assert!(events.recv().await.is_none());
    drop(peer);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(script.net.live(), 0);

    // A path that swallows everything holds nobody up.
    let net = Arc::new(script.net.clone());
    let opened = SocketIo::new(Arc::clone(&net) as _).socket(URL, SocketOptions::default());
    let (socket, mut events) = opened.expect("a valid url");
    socket.connect();
    let _peer = script.join().await;
    connected(&mut events).await;
    script.net.freeze_all();
    drop(socket);
    assert!(events.recv().await.is_none());
    sleep(SECOND + Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&net), 1, "the manager's task has ended");
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_read_stops_the_connection_and_loses_nothing() {
    let script = Script::new().await;
    let (_socket, mut events) = script.socket();
    let mut peer = script.join().await;
    let speaker = tokio::spawn(async move {
        for number in 0..6000 {
            let padding = "x".repeat(100);
            peer.say(&format!(r#"42["{number}","{padding}"]"#)).await;
        }
        peer
    });
    sleep(300 * SECOND).await;
    assert!(
        !speaker.is_finished(),
        "the server could not say everything"
    );
    connected(&mut events).await;
    for number in 0..6000 {
        assert_eq!(name_of(next(&mut events).await), number.to_string());
    }
    let _peer = speaker.await.expect("no panic");
    assert!(events.try_recv().is_err(), "the connection is up");
}

#[tokio::test(start_paused = true)]
async fn a_doubted_path_is_replaced_within_the_limit() {
    let script = Script::new().await;
    let (socket, mut events) = script.socket();
    let mut peer = script.join().await;
    // A WebSocket answers pings while it is read.
    tokio::spawn(async move { while peer.0.next().await.is_some() {} });
    connected(&mut events).await;
    socket.check_path();
    sleep(10 * SECOND).await;
    assert!(events.try_recv().is_err(), "the path is fine");

    script.net.freeze_all();
    socket.check_path();
    let doubted = Instant::now();
    let _second = script.join().await;
    connected(&mut events).await;
    // The answer before came at once, and so would this one have.
    assert_eq!(doubted.elapsed().as_millis(), 1500);

    socket.network_changed();
    let changed = Instant::now();
    let _third = script.join().await;
    connected(&mut events).await;
    assert!(changed.elapsed() < SECOND);
}
