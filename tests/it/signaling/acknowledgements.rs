//! Answers to events, in both directions.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use ringtrue::config::SignalingConfig;
use ringtrue::signaling::engine_io::{EngineIoPacket, OpenPacket};
use ringtrue::signaling::manager::{Manager, ManagerTimer, SocketId, SocketSettings};
use ringtrue::signaling::socket::{
    Acknowledgement, AcknowledgementError, AcknowledgementTicket, PendingAcknowledgement,
    SocketEvent, SocketIo,
};
use ringtrue::signaling::socket_io::Namespace;
use ringtrue::signaling::socket_io::outbox::Answer;
use ringtrue::signaling::transport::TransportError;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::bench::{Bench, URL, check};
use super::client::{Client, POLLING, WEBSOCKET, event};
use super::server::{Message, Record, Reply};

const SECOND: Duration = Duration::from_secs(1);
const CALLS_URL: &str = "http://server.example/calls";

/// The acknowledgement id of `42<id>["…`, where it has one.
fn id_of(text: &str) -> Option<u64> {
    let rest = text.strip_prefix("42")?;
    rest.split('[').next()?.parse().ok()
}

/// The acknowledgement ids that were written in the root namespace, in their order.
fn ids(record: &Record) -> Vec<u64> {
    let texts = record.texts("42").into_iter();
    texts.filter_map(|(_, text)| id_of(&text)).collect()
}

/// Lets the server answer every event that asks for it with `values`, all of them.
fn answer_all(bench: &Bench, values: &'static [&'static str]) {
    bench.server.on_packet(move |packet| match packet {
        Message::Text(text) => match id_of(text) {
            Some(id) => {
                let answer = |value: &&str| Message::text(format!("43{id}{value}"));
                Reply::Packets(values.iter().map(answer).collect())
            }
            None => Reply::Usual,
        },
        _ => Reply::Usual,
    });
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what a question resolves to"
)]
fn answer(value: Value) -> Result<Acknowledgement, AcknowledgementError> {
    Ok(Acknowledgement::new(vec![value]))
}

/// Waits until the server has this many questions.
async fn asked(bench: &Bench, count: usize) {
    bench
        .server
        .until(|record| ids(record).len() == count)
        .await;
}

#[test]
fn r25_ack_ids_are_never_used_again() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            let mut pending = Vec::new();
            for round in 1..=3 {
                for _ in 0..3 {
                    pending.push(client.ask("question", &[]));
                }
                asked(&bench, 3 * round).await;
                bench.server.close_connections();
                client.disconnected().await;
                client.connected().await;
            }
            let ids = ids(&bench.server.record());
            let unique: BTreeSet<_> = ids.iter().collect();
            assert_eq!((ids.len(), unique.len()), (9, 9), "{ids:?}");
        });
    }
}

#[test]
fn r25_ack_ids_go_on_in_a_namespace_that_is_opened_again() {
    check(|bench| async move {
        let io = SocketIo::new(bench.net.clone());
        // It keeps the connection, over which a late answer could come.
        let mut other = bench.connect_to(&io, CALLS_URL, bench.options(&WEBSOCKET));
        other.connected().await;
        let mut first = bench.connect_to(&io, URL, bench.options(&WEBSOCKET));
        first.connected().await;
        let unanswered = first.ask("question", &[]);
        asked(&bench, 1).await;
        drop(first);
        assert_eq!(unanswered.await, Err(AcknowledgementError::Disconnected));

        let mut second = bench.connect_to(&io, URL, bench.options(&WEBSOCKET));
        second.connected().await;
        let question = second.ask("question", &[]);
        asked(&bench, 2).await;
        let ids = ids(&bench.server.record());
        assert_ne!(ids[0], ids[1]);
        bench.server.say(&format!("43{}[\"late\"]", ids[0]));
        bench.server.say(&format!("43{}[\"meant\"]", ids[1]));
        assert_eq!(question.await, answer(json!("meant")));
        assert_eq!(bench.server.record().handshakes().len(), 1);
    });
}

#[test]
fn r25_unknown_and_second_answers_are_ignored() {
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        bench.server.say(r#"4399["nobody asked"]"#);
        tokio::time::sleep(bench.ways(1)).await;
        answer_all(&bench, &[r#"["first"]"#, r#"["second"]"#]);
        assert_eq!(client.ask("one", &[]).await, answer(json!("first")));
        assert_eq!(client.ask("two", &[]).await, answer(json!("first")));

        // The answer to a question of the connection before belongs to no question of this one.
        bench.server.on_packet(|_| Reply::Usual);
        let lost = client.ask("three", &[]);
        asked(&bench, 3).await;
        bench.server.close_connections();
        assert_eq!(lost.await, Err(AcknowledgementError::Disconnected));
        client.connected().await;
        let question = client.ask("four", &[]);
        asked(&bench, 4).await;
        let ids = ids(&bench.server.record());
        bench.server.say(&format!("43{}[\"late\"]", ids[2]));
        bench.server.say(&format!("43{}[\"meant\"]", ids[3]));
        assert_eq!(question.await, answer(json!("meant")));
        assert!(client.ready().is_empty(), "none of it was worth a word");
        assert_eq!(bench.server.record().handshakes().len(), 2);
    });
}

/// Whoever can copy a ticket can answer twice; then this would not say which of the two traits is
/// meant, and not compile.
trait IsNoCopy<Means> {
    fn holds() {}
}
struct IsClone;
impl<T: ?Sized> IsNoCopy<()> for T {}
impl<T: Clone> IsNoCopy<IsClone> for T {}

#[test]
fn r25_an_event_is_answered_once_at_the_most() {
    // The ticket is used up by the answer, and there is no second one.
    <AcknowledgementTicket as IsNoCopy<_>>::holds();
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        let ticket = async |client: &mut Client| {
            let event = client.event().await;
            event.ticket.expect("the server wants an answer")
        };
        bench.server.say(r#"427["question"]"#);
        let first = ticket(&mut client).await;
        let yes = || Acknowledgement::new(vec![json!("yes")]);
        client.socket.acknowledge(first, yes());
        bench.server.say(r#"428["question"]"#);
        let too_late = ticket(&mut client).await;
        bench.server.say(r#"42["no question"]"#);
        assert_eq!(client.event().await.ticket, None);
        bench
            .server
            .until(|record| !record.texts("43").is_empty())
            .await;

        // Another connection knows nothing of the question.
        bench.server.close_connections();
        client.disconnected().await;
        client.socket.acknowledge(too_late, yes());
        client.connected().await;
        tokio::time::sleep(10 * SECOND).await;
        let answers = bench.server.record().texts("43");
        let answers: Vec<_> = answers.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(answers, [r#"437["yes"]"#]);
    });
}

#[test]
fn r26_every_ack_completes_with_ok_timeout_or_disconnected() {
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        bench.server.on_packet(|packet| match packet {
            Message::Text(text) if text.contains("good") => {
                let id = id_of(text).expect("it asks");
                Reply::Packets(vec![Message::text(format!("43{id}[1]"))])
            }
            Message::Text(text) if text.contains("slow") => {
                let id = id_of(text).expect("it asks");
                Reply::After(8 * SECOND, vec![Message::text(format!("43{id}[2]"))])
            }
            _ => Reply::Usual,
        });
        let ask = |name: &str, limit: Duration| {
            let emit = event(name, &[]).acknowledge_within(limit);
            client.socket.emit_with_acknowledgement(emit)
        };
        let start = bench.now();
        let good = ask("good", 30 * SECOND);
        let slow = ask("slow", 5 * SECOND);
        let cut = ask("cut", 30 * SECOND);
        assert_eq!(good.await, answer(json!(1)));
        assert!(bench.since(start) <= bench.ways(2));
        let within = 5 * SECOND;
        assert_eq!(slow.await, Err(AcknowledgementError::TimedOut { within }));
        bench.assert_at(start + within);
        // Its answer comes all the same, and moves nothing.
        tokio::time::sleep(5 * SECOND).await;
        bench.server.close_connections();
        let closed = bench.now();
        assert_eq!(cut.await, Err(AcknowledgementError::Disconnected));
        assert!(bench.since(closed) <= bench.ways(1));
        client.disconnected().await;
        client.connected().await;
        let after: Vec<SocketEvent> = client.ready();
        assert!(after.is_empty(), "{after:?}");
    });
}

/// A manager with a joined namespace, without a network.
struct Joined {
    manager: Manager,
    now: Instant,
}

impl Joined {
    const SOCKET: SocketId = SocketId(1);

    fn new() -> Self {
        let config = SignalingConfig::default();
        let mut manager = Manager::new(&config, ChaCha8Rng::seed_from_u64(1));
        let now = Instant::now();
        let settings = SocketSettings {
            auth: Map::new(),
            retries: 0,
            acknowledgement_timeout: 10 * SECOND,
        };
        manager.open_socket(now, Self::SOCKET, Namespace::root(), settings);
        manager.connect(now, Self::SOCKET);
        let mut joined = Self { manager, now };
        joined.open(1);
        joined
    }

    /// Opens the connection of this generation, and joins.
    fn open(&mut self, generation: u64) {
        let open = r#"{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#;
        let open = OpenPacket::parse(open).expect("a good one");
        self.manager.handle_opened(self.now, generation, &open);
        self.hear(generation, r#"0{"sid":"s"}"#);
    }

    fn hear(&mut self, generation: u64, text: &str) {
        let packet = EngineIoPacket::Message(text.into());
        self.manager.handle_packet(self.now, generation, packet);
    }

    fn ask(&mut self) {
        let emit = event("question", &[]);
        let asked = self
            .manager
            .emit(self.now, Self::SOCKET, emit, Answer::Wanted);
        asked.expect("the socket is there");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.manager.handle_timeout(self.now);
    }

    /// How many outcomes there are that were not told of.
    fn outcomes(&mut self) -> usize {
        std::iter::from_fn(|| self.manager.poll_outcome()).count()
    }

    /// Nothing waits for an answer, in any map or timer.
    #[track_caller]
    fn check_empty(&self) {
        assert_eq!(self.manager.load(Self::SOCKET), Some((0, 0)));
        let timer = self.manager.poll_timeout().map(|(_, timer)| timer);
        let own = [
            ManagerTimer::Heartbeat,
            ManagerTimer::Silence,
            ManagerTimer::PathCheck,
            ManagerTimer::Reconnect,
        ];
        assert!(timer.is_some_and(|timer| own.contains(&timer)), "{timer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r26_a_completed_ack_leaves_nothing_behind() {
    let mut joined = Joined::new();
    joined.check_empty();
    joined.ask();
    assert_eq!(joined.manager.load(Joined::SOCKET), Some((0, 1)));
    joined.hear(1, "30[1]");
    joined.hear(1, "30[2]");
    assert_eq!(joined.outcomes(), 1);
    joined.check_empty();

    joined.ask();
    joined.pass(10 * SECOND);
    joined.hear(1, "31[1]");
    joined.pass(10 * SECOND);
    assert_eq!(joined.outcomes(), 1);
    joined.check_empty();

    joined.ask();
    let how = "as a test wants".to_owned();
    let error = TransportError::Closed { how };
    joined.manager.handle_closed(joined.now, 1, error);
    assert_eq!(joined.outcomes(), 1);
    joined.check_empty();
    let (reconnects, _) = joined.manager.poll_timeout().expect("a reconnect");
    joined.pass(reconnects - joined.now);
    joined.open(2);
    joined.hear(2, "32[1]");
    joined.pass(10 * SECOND);
    assert_eq!(joined.outcomes(), 0);
    joined.check_empty();

    // A thousand at once, of which every kind of end takes its share.
    for _ in 0..1000 {
        joined.ask();
    }
    for id in (3..1003).step_by(3) {
        joined.hear(2, &format!("3{id}[]"));
    }
    joined.pass(10 * SECOND);
    assert_eq!(joined.outcomes(), 1000);
    joined.check_empty();
}

#[test]
fn r27_a_buffered_emit_that_timed_out_is_never_sent() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            bench.server.set(|settings| settings.connect_reply = None);
            let mut options = bench.options(transports);
            options.signaling.send_buffer_messages_max = 2;
            let mut client = bench.connect(options);
            let within = 3 * SECOND;
            let start = bench.now();
            let emit = event("too late", &[]).acknowledge_within(within);
            let late = client.socket.emit_with_acknowledgement(emit);
            client.emit("patient", &[]);
            let timed_out = Err(AcknowledgementError::TimedOut { within });
            assert_eq!(late.await, timed_out);
            bench.assert_at(start + within);
            // The buffer has its room back.
            client.emit("patient too", &[]);
            bench.server.say(r#"40{"sid":"a"}"#);
            client.joined().await;
            tokio::time::sleep(10 * SECOND).await;
            let texts = bench.server.record().texts("42");
            let texts: Vec<_> = texts.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, [r#"42["patient"]"#, r#"42["patient too"]"#]);
        });
    }
}

#[test]
fn r28_a_drop_fails_the_acks_of_what_was_written_at_once() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let mut client = bench.connected(transports).await;
            let written = client.ask("written", &[]);
            asked(&bench, 1).await;
            bench.server.close_connections();
            client.disconnected().await;
            let at_once = timeout(Duration::ZERO, written).await;
            assert_eq!(at_once, Ok(Err(AcknowledgementError::Disconnected)));
            client.connected().await;
            assert_eq!(ids(&bench.server.record()).len(), 1, "it is not sent again");
        });
    }
}

#[test]
fn r28_a_drop_leaves_the_acks_of_what_is_buffered() {
    check(|bench| async move {
        bench.server.set(|settings| settings.connect_reply = None);
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        bench
            .server
            .until(|record| !record.texts("40").is_empty())
            .await;
        let start = bench.now();
        let ask = |client: &Client, name: &str, limit: Duration| -> PendingAcknowledgement {
            let emit = event(name, &[]).acknowledge_within(limit);
            client.socket.emit_with_acknowledgement(emit)
        };
        let within = 20 * SECOND;
        let mut hasty = ask(&client, "hasty", within);
        let mut patient = ask(&client, "patient", 60 * SECOND);
        for round in 2..=3 {
            bench.server.close_connections();
            client.failed().await;
            let nothing = timeout(Duration::from_millis(1), &mut hasty).await;
            assert!(nothing.is_err(), "it was not written: {nothing:?}");
            let nothing = timeout(Duration::from_millis(1), &mut patient).await;
            assert!(nothing.is_err(), "it was not written: {nothing:?}");
            bench
                .server
                .until(|record| record.texts("40").len() == round)
                .await;
        }
        // Its own limit ends it, counted from the emit, whatever became of the connections.
        let timed_out = Err(AcknowledgementError::TimedOut { within });
        assert_eq!(hasty.await, timed_out);
        bench.assert_at(start + within);
        answer_all(&bench, &["[1]"]);
        bench.server.say(r#"40{"sid":"a"}"#);
        client.connected().await;
        assert_eq!(patient.await, answer(json!(1)));
        assert_eq!(ids(&bench.server.record()).len(), 1);
    });
}
