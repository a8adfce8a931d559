use super::*;
use crate::signaling::socket_io::emit::{AcknowledgementError, Emit};
use crate::signaling::socket_io::reassembly::Reassembler;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> NamespaceSettings {
    NamespaceSettings {
        auth: Map::from_iter([("token".into(), "t".into())]),
        retries: 0,
        acknowledgement_timeout: 10 * SECOND,
        join_timeout: 30 * SECOND,
        bounds: OutboxBounds {
            messages_max: 4,
            bytes_max: 1000,
        },
    }
}

/// A namespace and what it said so far.
struct Fixture {
    state: NamespaceState,
    now: Instant,
}

impl Fixture {
    fn new(settings: NamespaceSettings) -> Self {
        Self {
            state: NamespaceState::new(Namespace::root(), settings),
            now: Instant::now(),
        }
    }

    /// One that is joined, with nothing left to fetch.
    fn joined(settings: NamespaceSettings) -> Self {
        let mut fixture = Self::new(settings);
        fixture.join(r#"0{"sid":"s"}"#);
        fixture.written();
        fixture.told();
        fixture
    }

    fn join(&mut self, reply: &str) {
        self.state.join(self.now);
        self.hear(reply);
    }

    fn hear(&mut self, text: &str) {
        self.hear_messages([EngineIoPacket::Message(text.into())]);
    }

    fn hear_messages(&mut self, messages: impl IntoIterator<Item = EngineIoPacket>) {
        let mut reassembler = Reassembler::default();
        for message in messages {
            if let Some(packet) = reassembler.read(message).expect("a valid packet") {
                let handled = self.state.handle_packet(self.now, packet);
                handled.expect("few early events");
            }
        }
    }

    fn emit(&mut self, number: u32) -> EmitId {
        self.emit_as(number, |emit| emit, Answer::Unwanted)
    }

    fn ask(&mut self, number: u32) -> EmitId {
        self.emit_as(number, |emit| emit, Answer::Wanted)
    }

    fn emit_as(
        &mut self,
        number: u32,
        change: impl FnOnce(Emit) -> Emit,
        answer: Answer,
    ) -> EmitId {
        let emit = Emit::new("e", vec![json!(number)]).expect("not reserved");
        self.state.emit(self.now, change(emit), answer)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.state.handle_timeout(self.now);
        let next = self.state.poll_timeout();
        assert!(next.is_none_or(|(at, _)| at > self.now), "{next:?}");
    }

    /// The texts to write.
    fn written(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.state.poll_transmit())
            .map(|packet| match packet {
                EngineIoPacket::Message(text) => text,
                other => format!("{other:?}"),
            })
            .collect()
    }

    /// The events, each in short.
    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.state.poll_event())
            .map(|event| match event {
                NamespaceEvent::Joined { sid, recovered } => format!("joined {sid} {recovered:?}"),
                NamespaceEvent::Received(event) => {
                    format!("received {} {:?}", event.name, event.arguments)
                }
                NamespaceEvent::Dropped { name, reason } => format!("dropped {name}: {reason}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn outcomes(&mut self) -> Vec<(EmitId, Outcome)> {
        std::iter::from_fn(|| self.state.poll_outcome()).collect()
    }

    /// Nothing may be left of what was sent.
    #[track_caller]
    fn check_empty(&self) {
        assert_eq!((self.state.waiting(), self.state.unanswered()), (0, 0));
        assert_eq!(self.state.poll_timeout(), None);
    }
}

fn answer(number: u32) -> Acknowledgement {
    Acknowledgement::new(vec![json!(number)])
}

#[tokio::test(start_paused = true)]
async fn r20_r29_only_connect_goes_out_before_the_reply_and_then_all_that_waited() {
    let mut fixture = Fixture::new(settings());
    fixture.emit(1);
    fixture.ask(2);
    fixture.state.join(fixture.now);
    fixture.emit(3);
    assert_eq!(fixture.written(), [r#"0{"token":"t"}"#]);
    fixture.hear(r#"2["early",1,"text"]"#);
    fixture.hear("30[]");
    assert_eq!(fixture.told(), [""; 0]);
    fixture.hear(r#"0{"sid":"s"}"#);
    assert_eq!(
        fixture.written(),
        [r#"2["e",1]"#, r#"20["e",2]"#, r#"2["e",3]"#]
    );
    assert_eq!(
        fixture.told(),
        [
            r#"received early [Number(1), String("text")]"#,
            "joined s No"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn r22_a_refusal_is_told_with_its_data() {
    let mut fixture = Fixture::new(settings());
    fixture.join(r#"4{"message":"no","data":{"code":7}}"#);
    let told = fixture.told();
    assert_eq!(
        told,
        [r#"Refused(Refusal { message: "no", data: Some(Object {"code": Number(7)}) })"#]
    );
    for reply in ["0", "0{}", r#"0{"sid":7}"#] {
        fixture.join(reply);
        assert_eq!(fixture.told(), ["OldProtocol"]);
        assert_eq!(*fixture.state.membership(), Membership::Out);
    }
}

#[tokio::test(start_paused = true)]
async fn r25_answers_count_once_and_only_those_that_are_expected() {
    let mut fixture = Fixture::joined(settings());
    let first = fixture.ask(1);
    let second = fixture.ask(2);
    assert_eq!(fixture.written(), [r#"20["e",1]"#, r#"21["e",2]"#]);
    for text in ["37[7]", "31[2]", "31[3]", "30[1]"] {
        fixture.hear(text);
    }
    assert_eq!(
        fixture.outcomes(),
        [(second, Ok(answer(2))), (first, Ok(answer(1)))]
    );
    fixture.check_empty();

    // Ids count on over a reconnect.
    fixture.ask(3);
    fixture.state.on_lost();
    fixture.join(r#"0{"sid":"s"}"#);
    fixture.written();
    fixture.ask(4);
    assert_eq!(fixture.written(), [r#"23["e",4]"#]);
}

#[tokio::test(start_paused = true)]
async fn r25_an_event_is_answered_in_its_own_session_only() {
    let mut fixture = Fixture::joined(settings());
    let ticket = |fixture: &mut Fixture| {
        fixture.hear(r#"25["ask"]"#);
        match fixture.state.poll_event() {
            Some(NamespaceEvent::Received(event)) => event.ticket.expect("an id"),
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (ticket(&mut fixture), ticket(&mut fixture));
    let yes = || Acknowledgement::new(vec![json!("yes")]);
    fixture.state.acknowledge(first, yes());
    assert_eq!(fixture.written(), [r#"35["yes"]"#]);
    fixture.state.on_lost();
    fixture.join(r#"0{"sid":"s"}"#);
    fixture.written();
    fixture.state.acknowledge(second, yes());
    assert_eq!(fixture.written(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn r26_r27_a_buffered_emit_that_timed_out_is_never_sent() {
    let mut fixture = Fixture::new(settings());
    let late = fixture.ask(1);
    fixture.emit(2);
    fixture.pass(10 * SECOND);
    let within = 10 * SECOND;
    let error = AcknowledgementError::TimedOut { within };
    assert_eq!(fixture.outcomes(), [(late, Err(error))]);
    fixture.join(r#"0{"sid":"s"}"#);
    assert_eq!(fixture.written()[1..], [r#"2["e",2]"#]);
    fixture.check_empty();
}

#[tokio::test(start_paused = true)]
async fn r28_a_drop_fails_what_is_written_and_leaves_what_waits() {
    let mut fixture = Fixture::joined(settings());
    let written = fixture.ask(1);
    fixture.state.set_flow(fixture.now, Flow::Blocked);
    let buffered = fixture.ask(2);
    fixture.pass(SECOND);
    fixture.state.on_lost();
    let disconnected = Err(AcknowledgementError::Disconnected);
    assert_eq!(fixture.outcomes(), [(written, disconnected)]);
    fixture.written();
    fixture.join(r#"0{"sid":"s"}"#);
    assert_eq!(fixture.written()[1..], [r#"21["e",2]"#]);
    // Its time runs since the emit.
    fixture.pass(9 * SECOND);
    let within = 10 * SECOND;
    let timed_out = Err(AcknowledgementError::TimedOut { within });
    assert_eq!(fixture.outcomes(), [(buffered, timed_out)]);
    fixture.check_empty();
}

#[tokio::test(start_paused = true)]
async fn r30_what_exceeds_the_buffer_or_its_time_to_live_is_reported() {
    let mut fixture = Fixture::new(settings());
    let soon = |emit: Emit| emit.with_time_to_live(SECOND);
    fixture.emit_as(0, soon, Answer::Unwanted);
    let asked = fixture.emit_as(1, soon, Answer::Wanted);
    fixture.emit(2);
    fixture.emit(3);
    fixture.emit(4);
    let refused = fixture.ask(5);
    assert_eq!(
        fixture.told(),
        ["dropped e: 4 events wait already"],
        "of the emit without answer"
    );
    let full = DropReason::TooManyMessages { messages_max: 4 };
    let expired = DropReason::Expired {
        time_to_live: SECOND,
    };
    let dropped = |reason| Err(AcknowledgementError::Dropped(reason));
    assert_eq!(fixture.outcomes(), [(refused, dropped(full))]);
    fixture.pass(SECOND);
    assert_eq!(
        fixture.told(),
        ["dropped e: it waited for its time to live, 1s"]
    );
    assert_eq!(fixture.outcomes(), [(asked, dropped(expired))]);
    fixture.join(r#"0{"sid":"s"}"#);
    assert_eq!(fixture.written()[1..], [r#"2["e",2]"#, r#"2["e",3]"#]);
    fixture.check_empty();
}

#[tokio::test(start_paused = true)]
async fn r32_a_volatile_emit_is_written_now_or_never() {
    let mut fixture = Fixture::new(settings());
    fixture.emit_as(1, Emit::volatile, Answer::Unwanted);
    fixture.state.join(fixture.now);
    fixture.emit_as(2, Emit::volatile, Answer::Unwanted);
    fixture.hear(r#"0{"sid":"s"}"#);
    fixture.emit_as(3, Emit::volatile, Answer::Unwanted);
    fixture.state.set_flow(fixture.now, Flow::Blocked);
    let asked = fixture.emit_as(4, Emit::volatile, Answer::Wanted);
    fixture.state.set_flow(fixture.now, Flow::Writable);
    assert_eq!(fixture.written()[1..], [r#"2["e",3]"#]);
    assert_eq!(
        fixture.told(),
        [
            "dropped e: the namespace is not joined",
            "dropped e: the namespace is not joined",
            "joined s No",
        ]
    );
    let dropped = AcknowledgementError::Dropped(DropReason::NotWritable);
    assert_eq!(fixture.outcomes(), [(asked, Err(dropped))]);
    fixture.check_empty();
}

#[tokio::test(start_paused = true)]
async fn r33_with_retries_one_event_is_in_flight_and_written_at_most_n_plus_one_times() {
    let mut fixture = Fixture::joined(NamespaceSettings {
        retries: 2,
        ..settings()
    });
    let key = |emit: Emit| emit.with_idempotency_key("k");
    let first = fixture.emit_as(1, key, Answer::Wanted);
    let second = fixture.ask(2);
    fixture.emit(3);
    assert_eq!(fixture.written(), [r#"20["e",1,"k"]"#]);
    fixture.pass(10 * SECOND);
    assert_eq!(fixture.written(), [r#"21["e",1,"k"]"#]);
    fixture.state.on_lost();
    fixture.join(r#"0{"sid":"s"}"#);
    assert_eq!(fixture.written()[1..], [r#"22["e",1,"k"]"#]);
    // The answer to the first writing, which was given up.
    fixture.hear("30[]");
    assert_eq!(fixture.outcomes(), []);
    fixture.pass(10 * SECOND);
    let within = 10 * SECOND;
    let timed_out = Err(AcknowledgementError::TimedOut { within });
    assert_eq!(fixture.outcomes(), [(first, timed_out)]);
    assert_eq!(fixture.written(), [r#"23["e",2]"#]);
    fixture.hear("33[2]");
    assert_eq!(fixture.outcomes(), [(second, Ok(answer(2)))]);
    fixture.told();
    for id in 4..7 {
        assert_eq!(fixture.written(), [format!(r#"2{id}["e",3]"#)]);
        fixture.pass(10 * SECOND);
    }
    assert_eq!(fixture.outcomes(), []);
    assert_eq!(
        fixture.told(),
        ["dropped e: it was written 3 times and not acknowledged"]
    );
    fixture.check_empty();
}

#[tokio::test(start_paused = true)]
async fn r34_a_known_session_is_taken_up_where_it_ended() {
    let mut fixture = Fixture::new(settings());
    fixture.join(r#"0{"sid":"s","pid":"p"}"#);
    fixture.hear(r#"2["a",1,"offset-1"]"#);
    fixture.hear(r#"27["a","kept"]"#);
    fixture.state.on_lost();
    fixture.written();
    fixture.state.join(fixture.now);
    assert_eq!(
        fixture.written(),
        [r#"0{"offset":"offset-1","pid":"p","token":"t"}"#]
    );
    fixture.hear(r#"2["missed","offset-2"]"#);
    fixture.hear(r#"0{"sid":"s","pid":"p"}"#);
    assert_eq!(
        fixture.told(),
        [
            "joined s No",
            "received a [Number(1)]",
            r#"received a [String("kept")]"#,
            "received missed []",
            "joined s Yes",
        ]
    );
    fixture.state.on_lost();
    fixture.join(r#"0{"sid":"s2","pid":"p2"}"#);
    assert_eq!(
        fixture.written(),
        [r#"0{"offset":"offset-2","pid":"p","token":"t"}"#]
    );
    assert_eq!(fixture.told(), ["joined s2 No"]);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_left_after_it_was_joined() {
    let mut fixture = Fixture::new(settings());
    fixture.state.join(fixture.now);
    assert!(matches!(fixture.state.leave(), Membership::Joining { .. }));
    fixture.hear(r#"2["early"]"#);
    assert_eq!(fixture.written().len(), 1);
    fixture.hear(r#"0{"sid":"s"}"#);
    assert_eq!(fixture.written(), ["1"]);
    assert_eq!(fixture.told(), ["Left"]);
    assert_eq!(*fixture.state.membership(), Membership::Out);
}

#[tokio::test(start_paused = true)]
async fn r21_a_connect_without_a_reply_times_out() {
    let mut fixture = Fixture::new(settings());
    fixture.state.join(fixture.now);
    fixture.pass(29 * SECOND);
    assert_eq!(fixture.told(), [""; 0]);
    fixture.pass(SECOND);
    assert_eq!(fixture.told(), ["JoinTimedOut"]);
    assert_eq!(*fixture.state.membership(), Membership::Out);
}

#[tokio::test(start_paused = true)]
async fn attachments_go_both_ways() {
    use crate::signaling::socket_io::packet::placeholder;
    let mut fixture = Fixture::joined(settings());
    let emit = Emit::new("voice", vec![placeholder(0)]).expect("not reserved");
    let attachments = vec![bytes::Bytes::from_static(b"opus")];
    let emit = emit.with_attachments(attachments.clone()).expect("one");
    let asked = fixture.state.emit(fixture.now, emit, Answer::Wanted);
    assert_eq!(
        fixture.written(),
        [
            r#"51-0["voice",{"_placeholder":true,"num":0}]"#,
            r#"Binary(b"opus")"#
        ]
    );
    fixture.hear_messages([
        EngineIoPacket::Message(r#"61-0[{"_placeholder":true,"num":0}]"#.into()),
        EngineIoPacket::Binary(attachments[0].clone()),
    ]);
    let arguments = vec![placeholder(0)];
    let answer = Acknowledgement {
        arguments,
        attachments,
    };
    assert_eq!(fixture.outcomes(), [(asked, Ok(answer))]);
}

#[tokio::test(start_paused = true)]
async fn closing_concludes_everything_once() {
    for retries in [0, 1] {
        let mut fixture = Fixture::joined(NamespaceSettings {
            retries,
            ..settings()
        });
        let mut asked = vec![fixture.ask(1)];
        fixture.state.set_flow(fixture.now, Flow::Blocked);
        fixture.emit(2);
        asked.push(fixture.ask(3));
        fixture.state.close();
        let mut outcomes = fixture.outcomes();
        outcomes.sort_by_key(|(emit, _)| *emit);
        let closed = asked
            .into_iter()
            .map(|emit| (emit, Err(AcknowledgementError::Closed)));
        assert_eq!(outcomes, closed.collect::<Vec<_>>());
        fixture.check_empty();
    }
}
