use super::*;
use crate::signaling::engine_io::Frame;
use crate::signaling::socket_io::emit::{AcknowledgementError, Emit};
use crate::signaling::socket_io::outbox::Answer;
use crate::signaling::transport::ConnectPhase;
use rand::SeedableRng;
use serde_json::json;

mod random;
mod reconnecting;

const ROOT: SocketId = SocketId(1);
const CALLS: SocketId = SocketId(2);
const SECOND: Duration = Duration::from_secs(1);

/// A manager, and what it said so far.
struct Fixture {
    manager: Manager,
    now: Instant,
}

impl Fixture {
    /// With a socket for `/`, which wants to be up.
    fn new(config: &SignalingConfig) -> Self {
        let generator = ChaCha8Rng::seed_from_u64(1);
        let mut fixture = Self {
            manager: Manager::new(config, generator),
            now: Instant::now(),
        };
        fixture.open_socket(ROOT, "/");
        fixture.manager.connect(fixture.now, ROOT);
        fixture
    }

    /// With a connection, and `/` joined; nothing is left to fetch.
    fn joined() -> Self {
        Self::joined_with(&SignalingConfig::default())
    }

    fn joined_with(config: &SignalingConfig) -> Self {
        let mut fixture = Self::new(config);
        fixture.accept();
        fixture.hear(r#"0{"sid":"s"}"#);
        assert_eq!(fixture.acts(), ["open 1 attempt 0", "write 40"]);
        assert_eq!(fixture.told(), ["1 connected"]);
        fixture
    }

    fn open_socket(&mut self, id: SocketId, namespace: &str) {
        let namespace = Namespace::new(namespace).expect("valid");
        let settings = SocketSettings {
            auth: Map::new(),
            retries: 0,
            acknowledgement_timeout: 10 * SECOND,
        };
        self.manager.open_socket(self.now, id, namespace, settings);
    }

    fn generation(&self) -> u64 {
        self.manager.generation
    }

    fn accept(&mut self) {
        let open = r#"{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#;
        let open = OpenPacket::parse(open).expect("valid");
        let generation = self.generation();
        self.manager.handle_opened(self.now, generation, &open);
    }

    fn refuse(&mut self) {
        let (phase, limit) = (ConnectPhase::Tcp, 30 * SECOND);
        let error = ConnectError::TimedOut { phase, limit };
        let generation = self.generation();
        self.manager.handle_open_failed(self.now, generation, error);
    }

    fn cut(&mut self) {
        let how = "end of stream".into();
        let error = TransportError::Closed { how };
        let generation = self.generation();
        self.manager.handle_closed(self.now, generation, error);
    }

    fn hear(&mut self, text: &str) {
        self.hear_packet(EngineIoPacket::Message(text.into()));
    }

    fn hear_packet(&mut self, packet: EngineIoPacket) {
        let generation = self.generation();
        self.manager.handle_packet(self.now, generation, packet);
    }

    fn emit(&mut self, id: SocketId) {
        let emit = Emit::new("e", vec![json!(1)]).expect("not reserved");
        self.manager.emit(self.now, id, emit, Answer::Unwanted);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.manager.handle_timeout(self.now);
    }

    /// Lets time pass up to the next timer, which must be this one. Gives the time.
    #[track_caller]
    fn pass_to(&mut self, expected: ManagerTimer) -> Duration {
        let (at, timer) = self.manager.poll_timeout().expect("a timer");
        assert_eq!(timer, expected);
        let wait = at - self.now;
        self.pass(wait);
        wait
    }

    /// Like [`pass_to`](Self::pass_to) at a server that says nothing but answers every question.
    #[track_caller]
    fn pass_answered_to(&mut self, expected: ManagerTimer) -> Duration {
        let start = self.now;
        while let Some((at, ManagerTimer::Silence)) = self.manager.poll_timeout() {
            self.pass(at - self.now);
            self.now += Duration::from_millis(10);
            let generation = self.generation();
            self.manager.handle_sign_of_life(self.now, generation);
        }
        self.pass_to(expected);
        self.now - start
    }

    /// What to do but to ask for a sign of life, each in short.
    fn acts_but_questions(&mut self) -> Vec<String> {
        let mut acts = self.acts();
        acts.retain(|act| !act.starts_with("provoke"));
        acts
    }

    /// What to do, each in short.
    fn acts(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.manager.poll_action())
            .map(|action| match action {
                ManagerAction::Open {
                    generation,
                    attempt,
                } => format!("open {generation} attempt {attempt}"),
                ManagerAction::Transmit { packet, .. } => format!("write {}", in_short(packet)),
                ManagerAction::Provoke { packet, .. } => format!("provoke {}", in_short(packet)),
                ManagerAction::Close { generation } => format!("close {generation}"),
                ManagerAction::Abandon { generation } => format!("abandon {generation}"),
            })
            .collect()
    }

    /// The events of all sockets, each in short, with the socket's id in front.
    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.manager.poll_event())
            .map(|(SocketId(id), event)| format!("{id} {}", describe(&event)))
            .collect()
    }
}

fn in_short(packet: EngineIoPacket) -> String {
    match packet.into_frame() {
        Frame::Text(text) => text,
        Frame::Binary(_) => "binary".into(),
    }
}

fn describe(event: &SocketEvent) -> String {
    match event {
        SocketEvent::Connected { .. } => "connected".into(),
        SocketEvent::ConnectFailed { error } => format!("connect_error: {error}"),
        SocketEvent::Disconnected { reason } => format!("disconnect: {}", reason.name()),
        SocketEvent::ReconnectWait { attempt, .. } => format!("wait {attempt}"),
        SocketEvent::ReconnectAttempt { attempt } => format!("reconnect_attempt {attempt}"),
        SocketEvent::ReconnectError { attempt, .. } => format!("reconnect_error {attempt}"),
        SocketEvent::Reconnected { attempt } => format!("reconnect {attempt}"),
        SocketEvent::ReconnectFailed { attempts } => format!("reconnect_failed {attempts}"),
        SocketEvent::Event(event) => format!("event {} {:?}", event.name, event.arguments),
        SocketEvent::Dropped { name, reason } => format!("dropped {name}: {reason}"),
    }
}

#[tokio::test(start_paused = true)]
async fn r06_every_ping_is_answered_once_in_every_state_after_open() {
    let mut fixture = Fixture::new(&SignalingConfig::default());
    fixture.accept();
    fixture.hear_packet(EngineIoPacket::Ping(String::new()));
    assert_eq!(fixture.acts(), ["open 1 attempt 0", "write 40", "write 3"]);
    fixture.hear(r#"0{"sid":"s"}"#);
    fixture.hear_packet(EngineIoPacket::Ping("probe".into()));
    assert_eq!(fixture.acts(), ["write 3probe"]);
}

#[tokio::test(start_paused = true)]
async fn r07_any_packet_restarts_the_heartbeat_and_its_end_is_the_session_s() {
    let mut fixture = Fixture::joined();
    fixture.now += 44 * SECOND;
    fixture.hear_packet(EngineIoPacket::Noop);
    // Answers are no packets: a server that forgot the session may still have them.
    let heartbeat = fixture.pass_answered_to(ManagerTimer::Heartbeat);
    assert_eq!(heartbeat, 45 * SECOND);
    assert_eq!(fixture.told(), ["1 disconnect: ping_timeout", "1 wait 1"]);
    assert_eq!(fixture.acts(), ["abandon 1"]);

    // Nothing is asked where that is not wanted.
    let config = SignalingConfig {
        check_after: None,
        ..SignalingConfig::default()
    };
    let mut fixture = Fixture::joined_with(&config);
    assert_eq!(fixture.pass_to(ManagerTimer::Heartbeat), 45 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn r08_the_clock_is_looked_at_before_each_send() {
    let mut fixture = Fixture::joined();
    // The process was suspended: the timer has not fired.
    fixture.now += 45 * SECOND;
    fixture.emit(ROOT);
    assert_eq!(fixture.acts(), ["abandon 1"]);
    assert_eq!(fixture.told(), ["1 disconnect: ping_timeout", "1 wait 1"]);
    fixture.pass_to(ManagerTimer::Reconnect);
    fixture.accept();
    fixture.hear(r#"0{"sid":"s"}"#);
    assert_eq!(
        fixture.acts(),
        ["open 2 attempt 1", "write 40", r#"write 42["e",1]"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_does_not_read_hears_no_silence() {
    let mut fixture = Fixture::joined();
    fixture.manager.handle_reading(fixture.now, Reading::Paused);
    assert_eq!(fixture.manager.poll_timeout(), None);
    fixture.pass(100 * SECOND);
    fixture.manager.handle_reading(fixture.now, Reading::On);
    let heartbeat = fixture.pass_answered_to(ManagerTimer::Heartbeat);
    assert_eq!(heartbeat, 45 * SECOND);
    assert_eq!(fixture.told(), ["1 disconnect: ping_timeout", "1 wait 1"]);
}

#[tokio::test(start_paused = true)]
async fn r21_an_unanswered_connect_is_an_error_and_is_tried_again() {
    let mut fixture = Fixture::new(&SignalingConfig::default());
    fixture.accept();
    fixture.acts();
    // The server shows that it is there, so it has the time that it may take.
    let timer = ManagerTimer::Namespace(NamespaceTimer::Join);
    assert_eq!(fixture.pass_answered_to(timer), 30 * SECOND);
    let error = "connect_error: joining namespace / took too long: the server has 30s to answer";
    assert_eq!(fixture.told(), [format!("1 {error}"), "1 wait 1".into()]);
    assert_eq!(fixture.acts(), ["abandon 1"]);
    fixture.pass_to(ManagerTimer::Reconnect);
    fixture.accept();
    assert_eq!(fixture.acts(), ["open 2 attempt 1", "write 40"]);

    // Beside a namespace that is joined, the connection is not to blame.
    let mut fixture = Fixture::joined();
    fixture.open_socket(CALLS, "/calls");
    fixture.manager.connect(fixture.now, CALLS);
    assert_eq!(fixture.acts(), ["write 40/calls,"]);
    fixture.pass_answered_to(timer);
    let error = error.replace(" / ", " /calls ");
    assert_eq!(fixture.told(), [format!("2 {error}")]);
    assert_eq!(fixture.acts_but_questions(), ["write 40/calls,"]);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_dies_before_the_reply_to_connect_is_given_up_long_before_its_limit() {
    let mut fixture = Fixture::new(&SignalingConfig::default());
    for (attempt, generation) in (1..4).zip(1..) {
        fixture.accept();
        fixture.acts();
        fixture.told();
        assert_eq!(fixture.pass_to(ManagerTimer::Silence), 6 * SECOND);
        // Nothing but CONNECT may be said in a namespace before the reply.
        assert_eq!(fixture.acts(), ["provoke 3"]);
        assert_eq!(fixture.pass_to(ManagerTimer::PathCheck), 3 * SECOND);
        let error = "connect_error: the connection was lost before the namespace was joined";
        assert_eq!(
            fixture.told(),
            [format!("1 {error}"), format!("1 wait {attempt}")]
        );
        assert_eq!(fixture.acts(), [format!("abandon {generation}")]);
        // It was never of use, so the waits grow as after any other failure.
        let grown = SECOND * (1 << attempt);
        let wait = fixture.pass_to(ManagerTimer::Reconnect);
        assert!((grown / 2..=grown).contains(&wait), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r22_a_refusal_is_final_and_closes_the_engine_only_for_the_last_namespace() {
    let refusal = r#"{"message":"no"}"#;
    let mut fixture = Fixture::joined();
    fixture.open_socket(CALLS, "/calls");
    fixture.manager.connect(fixture.now, CALLS);
    fixture.hear(&format!("4/calls,{refusal}"));
    let error = r#"connect_error: the server refuses the connection: "no""#;
    assert_eq!(fixture.told(), [format!("2 {error}")]);
    assert_eq!(fixture.acts(), ["write 40/calls,"]);
    fixture.pass(40 * SECOND);
    assert_eq!(fixture.acts_but_questions(), [""; 0]);

    let mut fixture = Fixture::new(&SignalingConfig::default());
    fixture.accept();
    fixture.hear(&format!("4{refusal}"));
    assert_eq!(fixture.told(), [format!("1 {error}")]);
    assert_eq!(fixture.acts(), ["open 1 attempt 0", "write 40", "close 1"]);
    fixture.manager.handle_close_finished(fixture.now, 1);
    assert_eq!(fixture.manager.poll_timeout(), None);
    fixture.manager.connect(fixture.now, ROOT);
    assert_eq!(fixture.acts(), ["open 2 attempt 0"]);
}

#[tokio::test(start_paused = true)]
async fn r23_namespaces_share_the_connection() {
    let mut fixture = Fixture::joined();
    fixture.open_socket(CALLS, "/calls");
    fixture.emit(CALLS);
    fixture.manager.connect(fixture.now, CALLS);
    fixture.hear(r#"0/calls,{"sid":"c"}"#);
    assert_eq!(
        fixture.acts(),
        ["write 40/calls,", r#"write 42/calls,["e",1]"#]
    );
    fixture.hear(r#"2/calls,["a"]"#);
    fixture.hear(r#"2/other,["a"]"#);
    fixture.hear(r#"2["a"]"#);
    assert_eq!(
        fixture.told(),
        ["2 connected", "2 event a []", "1 event a []"]
    );
    fixture.manager.disconnect(fixture.now, ROOT);
    assert_eq!(fixture.acts(), ["write 41"]);
    assert_eq!(fixture.told(), ["1 disconnect: io_client_disconnect"]);
    fixture.cut();
    assert_eq!(
        fixture.told(),
        ["2 disconnect: transport_close", "2 wait 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn r35_what_cannot_be_read_ends_the_session_and_a_reconnect_follows() {
    let announced = r#"51-["a",{"_placeholder":true,"num":0}]"#;
    let message = |text: &str| EngineIoPacket::Message(text.into());
    for wrong in [
        vec![message(announced), message(r#"2["a"]"#)],
        vec![EngineIoPacket::Binary("stray".into())],
        vec![message("2{")],
        vec![message("2{}")],
        vec![message("9")],
        vec![message(r#"511-["a"]"#)],
    ] {
        let mut fixture = Fixture::joined();
        for packet in wrong.clone() {
            fixture.hear_packet(packet);
        }
        let told = fixture.told();
        assert_eq!(told, ["1 disconnect: parse_error", "1 wait 1"], "{wrong:?}");
        assert_eq!(fixture.acts(), ["abandon 1"]);
    }
    let mut fixture = Fixture::joined();
    fixture.hear(r#"50-["a"]"#);
    assert_eq!(fixture.told(), ["1 event a []"]);
}

#[tokio::test(start_paused = true)]
async fn r40_nothing_of_an_older_generation_is_delivered() {
    let mut fixture = Fixture::joined();
    fixture.manager.network_changed(fixture.now);
    assert_eq!(fixture.acts(), ["abandon 1", "open 2 attempt 1"]);
    fixture.told();
    let event = || EngineIoPacket::Message(r#"2["a"]"#.into());
    fixture.manager.handle_packet(fixture.now, 1, event());
    fixture.accept();
    fixture.hear(r#"0{"sid":"s"}"#);
    fixture.manager.handle_packet(fixture.now, 1, event());
    let how = String::new();
    let closed = TransportError::Closed { how };
    fixture.manager.handle_closed(fixture.now, 1, closed);
    fixture.manager.handle_close_finished(fixture.now, 1);
    assert_eq!(fixture.told(), ["1 reconnect 1", "1 connected"]);
    fixture.hear(r#"2["a"]"#);
    assert_eq!(fixture.told(), ["1 event a []"]);
}

#[tokio::test(start_paused = true)]
async fn a_doubted_path_shows_life_or_is_given_up_at_once() {
    let mut fixture = Fixture::joined();
    fixture.manager.check_path(fixture.now);
    fixture.pass(SECOND);
    fixture.manager.check_path(fixture.now);
    let question = "provoke 432147483647[]";
    assert_eq!(fixture.acts(), [question], "one check at a time");
    fixture.hear_packet(EngineIoPacket::Noop);
    fixture.pass(3 * SECOND);
    assert_eq!(fixture.acts(), [""; 0]);

    fixture.manager.check_path(fixture.now);
    fixture.pass(SECOND / 4);
    fixture.manager.handle_sign_of_life(fixture.now, 1);
    fixture.pass(3 * SECOND);
    assert_eq!(fixture.acts(), [question]);

    // The answer to the next question may take eight times as long as that one did.
    fixture.manager.check_path(fixture.now);
    assert_eq!(fixture.acts(), [question]);
    assert_eq!(fixture.pass_to(ManagerTimer::PathCheck), 2 * SECOND);
    assert_eq!(fixture.acts(), ["abandon 1", "open 2 attempt 1"]);
    assert_eq!(
        fixture.told(),
        ["1 disconnect: path_check", "1 reconnect_attempt 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_doubted_and_a_path_without_an_answer_given_up_at_once() {
    let mut fixture = Fixture::joined();
    for _ in 0..3 {
        fixture.now += 5 * SECOND;
        fixture.hear_packet(EngineIoPacket::Noop);
    }
    assert_eq!(fixture.pass_to(ManagerTimer::Silence), 6 * SECOND);
    assert_eq!(fixture.acts(), ["provoke 432147483647[]"]);
    fixture.manager.handle_sign_of_life(fixture.now, 1);
    assert_eq!(fixture.pass_to(ManagerTimer::Silence), 6 * SECOND);
    fixture.acts();
    let limit = Duration::from_millis(1500);
    assert_eq!(fixture.pass_to(ManagerTimer::PathCheck), limit);
    assert_eq!(fixture.acts(), ["abandon 1", "open 2 attempt 1"]);
    assert_eq!(
        fixture.told(),
        ["1 disconnect: path_check", "1 reconnect_attempt 1"]
    );
    // Over another connection nothing is known of how long an answer takes.
    fixture.accept();
    fixture.hear(r#"0{"sid":"s"}"#);
    fixture.pass_to(ManagerTimer::Silence);
    assert_eq!(fixture.pass_to(ManagerTimer::PathCheck), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_question_behind_a_long_message_has_time_while_that_goes_out() {
    let mut fixture = Fixture::joined();
    fixture.pass_to(ManagerTimer::Silence);
    for _ in 0..5 {
        fixture.pass(SECOND * 2);
        fixture.manager.handle_progress(fixture.now, 1);
    }
    fixture.manager.handle_progress(fixture.now, 0);
    assert_eq!(fixture.told(), [""; 0]);
    fixture.pass_to(ManagerTimer::Silence);
    assert_eq!(fixture.pass_to(ManagerTimer::PathCheck), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_released_socket_leaves_and_the_last_one_closes_the_connection() {
    let mut fixture = Fixture::joined();
    fixture.open_socket(CALLS, "/calls");
    fixture.manager.connect(fixture.now, CALLS);
    let emit = Emit::new("e", vec![]).expect("not reserved");
    fixture
        .manager
        .emit(fixture.now, CALLS, emit, Answer::Wanted);
    // CONNECT is under way: what the reply lets in leaves, and only then another may join.
    fixture.manager.release(fixture.now, CALLS);
    let (id, _, outcome) = fixture.manager.poll_outcome().expect("concluded");
    assert_eq!((id, outcome), (CALLS, Err(AcknowledgementError::Closed)));
    let next = SocketId(3);
    fixture.open_socket(next, "/calls");
    fixture.manager.connect(fixture.now, next);
    assert_eq!(fixture.acts(), ["write 40/calls,"]);
    fixture.hear(r#"0/calls,{"sid":"c"}"#);
    assert_eq!(fixture.acts(), ["write 41/calls,", "write 40/calls,"]);
    fixture.hear(r#"0/calls,{"sid":"d"}"#);
    assert_eq!(fixture.told(), ["3 connected"]);

    fixture.manager.release(fixture.now, next);
    fixture.manager.release(fixture.now, ROOT);
    assert_eq!(fixture.acts(), ["write 41/calls,", "write 41", "close 1"]);
    assert!(!fixture.manager.is_finished());
    assert_eq!(fixture.pass_to(ManagerTimer::Close), CLOSE_LIMIT);
    assert_eq!(fixture.acts(), ["abandon 1"]);
    assert!(fixture.manager.is_finished());
    assert_eq!(fixture.told(), [""; 0]);
}
