//! Random sequences of what can happen to a manager, and what must hold whatever happens.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

use crate::signaling::socket_io::namespace::Membership;

const IDS: [(SocketId, &str); 3] = [
    (SocketId(1), "/"),
    (SocketId(2), "/calls"),
    (SocketId(3), "/chat"),
];

/// Something that happens.
#[derive(Debug, Clone)]
enum Happening {
    Connect(usize),
    Disconnect(usize),
    /// The last handle is dropped, and another socket opened for the namespace.
    Replace(usize),
    Emit(usize, EmitKind),
    Opened,
    OpenFailed,
    Closed,
    CloseFinished,
    /// Of the present generation, or of the one before.
    Packet(Age, EngineIoPacket),
    SignOfLife,
    Progress,
    Flow(Flow),
    Reading(Reading),
    CheckPath,
    NetworkChanged,
    /// Time passes, and the timer fires late or not at all.
    Sleep(u64),
    /// Time passes up to the next timer.
    NextTimer,
}

#[derive(Debug, Clone, Copy)]
enum Age {
    Present,
    Old,
}

#[derive(Debug, Clone, Copy)]
enum EmitKind {
    Plain,
    Asking,
    Volatile,
    Mortal,
}

/// The manager, and what its driver and its application know.
struct World {
    manager: Manager,
    now: Instant,
    next_id: u64,
    sockets: [SocketId; 3],
    /// The connections that were opened and not dropped.
    held: BTreeSet<u64>,
    asked: BTreeSet<(SocketId, EmitId)>,
    /// The sockets that were told that they are connected.
    connected: BTreeSet<SocketId>,
    attempts: BTreeMap<SocketId, u32>,
}

impl World {
    fn new(retries: u32) -> Self {
        let config = SignalingConfig {
            send_buffer_messages_max: 3,
            reconnection_attempts_max: Some(5),
            ..SignalingConfig::default()
        };
        let mut world = Self {
            manager: Manager::new(&config, ChaCha8Rng::seed_from_u64(1)),
            now: Instant::now(),
            next_id: 3,
            sockets: IDS.map(|(id, _)| id),
            held: BTreeSet::new(),
            asked: BTreeSet::new(),
            connected: BTreeSet::new(),
            attempts: BTreeMap::new(),
        };
        for (id, namespace) in IDS {
            world.open(id, namespace, retries);
        }
        world
    }

    fn open(&mut self, id: SocketId, namespace: &str, retries: u32) {
        let namespace = Namespace::new(namespace).expect("valid");
        let settings = SocketSettings {
            auth: Map::new(),
            retries,
            acknowledgement_timeout: 10 * SECOND,
        };
        self.manager.open_socket(self.now, id, namespace, settings);
    }

    fn happen(&mut self, happening: Happening, retries: u32) {
        let (now, generation) = (self.now, self.manager.generation);
        let manager = &mut self.manager;
        match happening {
            Happening::Connect(index) => manager.connect(now, self.sockets[index]),
            Happening::Disconnect(index) => {
                self.attempts.remove(&self.sockets[index]);
                manager.disconnect(now, self.sockets[index]);
            }
            Happening::Replace(index) => {
                manager.release(now, self.sockets[index]);
                self.connected.remove(&self.sockets[index]);
                self.next_id += 1;
                self.sockets[index] = SocketId(self.next_id);
                self.open(self.sockets[index], IDS[index].1, retries);
            }
            Happening::Emit(index, kind) => {
                let id = self.sockets[index];
                let emit = Emit::new("e", vec![json!("text")]).expect("not reserved");
                let (emit, answer) = match kind {
                    EmitKind::Plain => (emit, Answer::Unwanted),
                    EmitKind::Asking => (emit, Answer::Wanted),
                    EmitKind::Volatile => (emit.volatile(), Answer::Wanted),
                    EmitKind::Mortal => (emit.with_time_to_live(SECOND), Answer::Wanted),
                };
                let emitted = manager.emit(now, id, emit, answer).expect("a socket");
                if answer == Answer::Wanted {
                    self.asked.insert((id, emitted));
                }
            }
            Happening::Opened => {
                let open = r#"{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#;
                let open = OpenPacket::parse(open).expect("valid");
                manager.handle_opened(now, generation, &open);
            }
            Happening::OpenFailed => {
                let (phase, limit) = (ConnectPhase::Open, SECOND);
                let error = ConnectError::TimedOut { phase, limit };
                manager.handle_open_failed(now, generation, error);
            }
            Happening::Closed => {
                if manager.link_state() == LinkState::Closing {
                    self.held.remove(&generation);
                }
                let how = String::new();
                manager.handle_closed(now, generation, TransportError::Closed { how });
            }
            Happening::CloseFinished => {
                if manager.link_state() == LinkState::Closing {
                    self.held.remove(&generation);
                }
                manager.handle_close_finished(now, generation);
            }
            Happening::Packet(age, packet) => {
                let generation = match age {
                    Age::Present => generation,
                    Age::Old => generation.saturating_sub(1),
                };
                manager.handle_packet(now, generation, packet);
            }
            Happening::SignOfLife => manager.handle_sign_of_life(now, generation),
            Happening::Progress => manager.handle_progress(now, generation),
            Happening::Flow(flow) => manager.handle_flow(now, generation, flow),
            Happening::Reading(reading) => manager.handle_reading(now, reading),
            Happening::CheckPath => manager.check_path(now),
            Happening::NetworkChanged => manager.network_changed(now),
            Happening::Sleep(milliseconds) => self.now += Duration::from_millis(milliseconds),
            Happening::NextTimer => {
                if let Some((at, _)) = manager.poll_timeout() {
                    self.now = self.now.max(at);
                    manager.handle_timeout(self.now);
                    let next = manager.poll_timeout();
                    assert!(next.is_none_or(|(at, _)| at > self.now), "busy: {next:?}");
                }
            }
        }
    }

    /// Takes everything out, and checks it.
    fn check(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match action {
                ManagerAction::Open { generation, .. } => {
                    assert!(self.held.is_empty(), "two connections");
                    self.held.insert(generation);
                }
                ManagerAction::Transmit { generation, .. }
                | ManagerAction::Provoke { generation, .. }
                | ManagerAction::Close { generation } => {
                    assert!(self.held.contains(&generation), "writes to nowhere");
                }
                ManagerAction::Abandon { generation } => {
                    assert!(self.held.remove(&generation), "drops nothing");
                }
            }
        }
        while let Some((id, emit, _)) = self.manager.poll_outcome() {
            assert!(self.asked.remove(&(id, emit)), "a second outcome");
        }
        while let Some((id, event)) = self.manager.poll_event() {
            assert!(self.sockets.contains(&id), "a socket that is gone");
            self.check_event(id, &event);
        }
        let is_held = matches!(
            self.manager.link_state(),
            LinkState::Opening | LinkState::Open | LinkState::Closing
        );
        assert_eq!(is_held, !self.held.is_empty());
        let is_wanted = |slot: &Slot| slot.wish == Wish::Up;
        if self.manager.sockets.values().any(is_wanted) {
            assert_ne!(self.manager.link_state(), LinkState::Idle, "nobody tries");
        }
        if self.manager.link_state() != LinkState::Open {
            let is_out = |slot: &Slot| *slot.state.membership() == Membership::Out;
            assert!(self.manager.sockets.values().all(is_out));
            assert!(self.manager.leaving.is_empty());
        }
        for (index, id) in self.sockets.iter().enumerate() {
            let (waiting, _) = self.manager.load(*id).expect("a socket");
            assert!(waiting <= 3, "socket {index} holds {waiting}");
        }
    }

    fn check_event(&mut self, id: SocketId, event: &SocketEvent) {
        let is_connected = self.connected.contains(&id);
        match event {
            SocketEvent::Connected { .. } => assert!(self.connected.insert(id), "twice"),
            SocketEvent::Disconnected { .. } => assert!(self.connected.remove(&id), "from what?"),
            SocketEvent::ConnectFailed { .. }
            | SocketEvent::ReconnectWait { .. }
            | SocketEvent::ReconnectAttempt { .. }
            | SocketEvent::ReconnectError { .. }
            | SocketEvent::Reconnected { .. }
            | SocketEvent::ReconnectFailed { .. } => {
                assert!(!is_connected, "{event:?} while connected");
            }
            // Early events come before `Connected`.
            SocketEvent::Event(_) | SocketEvent::Dropped { .. } => {}
        }
        match event {
            SocketEvent::ReconnectAttempt { attempt } => {
                assert!(*attempt > 0);
                self.attempts.insert(id, *attempt);
            }
            SocketEvent::Reconnected { attempt } | SocketEvent::ReconnectError { attempt, .. } => {
                // A socket that joined in during the attempt was not told of its start.
                if let Some(started) = self.attempts.remove(&id) {
                    assert_eq!(started, *attempt);
                }
            }
            _ => {}
        }
    }

    /// Ends everything and checks that nothing is left.
    fn finish(mut self) {
        for id in self.sockets {
            self.manager.release(self.now, id);
        }
        self.connected.clear();
        while let Some(action) = self.manager.poll_action() {
            if let ManagerAction::Abandon { generation } = action {
                self.held.remove(&generation);
            }
        }
        while let Some((id, emit, _)) = self.manager.poll_outcome() {
            assert!(self.asked.remove(&(id, emit)), "a second outcome");
        }
        assert!(self.asked.is_empty(), "no outcome for {:?}", self.asked);
        assert!(self.manager.poll_event().is_none());
        self.manager.handle_timeout(self.now + CLOSE_LIMIT);
        assert!(self.manager.is_finished());
        assert_eq!(self.manager.poll_timeout(), None);
    }
}

fn packets() -> impl Strategy<Value = EngineIoPacket> {
    let texts = prop::sample::select(vec![
        r#"0{"sid":"s"}"#,
        r#"0{"sid":"s","pid":"p"}"#,
        r#"0/calls,{"sid":"c"}"#,
        r#"0/chat,{"sid":"d"}"#,
        "0",
        r#"4{"message":"no"}"#,
        r#"4/calls,{"message":"no"}"#,
        "1",
        "1/calls,",
        r#"2["a",1,"offset"]"#,
        r#"2/calls,7["a"]"#,
        "30[]",
        "31[]",
        "3/calls,0[]",
        r#"51-["a",{"_placeholder":true,"num":0}]"#,
        r#"50-["a"]"#,
        "9",
    ]);
    prop_oneof![
        8 => texts.prop_map(|text| EngineIoPacket::Message(text.into())),
        1 => Just(EngineIoPacket::Binary("attachment".into())),
        1 => Just(EngineIoPacket::Ping(String::new())),
        1 => Just(EngineIoPacket::Noop),
        1 => Just(EngineIoPacket::Close),
    ]
}

fn happenings() -> impl Strategy<Value = Happening> {
    let index = || 0..IDS.len();
    let kind = prop_oneof![
        Just(EmitKind::Plain),
        Just(EmitKind::Asking),
        Just(EmitKind::Volatile),
        Just(EmitKind::Mortal),
    ];
    let flow = prop_oneof![Just(Flow::Writable), Just(Flow::Blocked)];
    let reading = prop_oneof![3 => Just(Reading::On), 1 => Just(Reading::Paused)];
    let age = prop_oneof![9 => Just(Age::Present), 1 => Just(Age::Old)];
    prop_oneof![
        4 => index().prop_map(Happening::Connect),
        1 => index().prop_map(Happening::Disconnect),
        1 => index().prop_map(Happening::Replace),
        5 => (index(), kind).prop_map(|(index, kind)| Happening::Emit(index, kind)),
        5 => Just(Happening::Opened),
        1 => Just(Happening::OpenFailed),
        1 => Just(Happening::Closed),
        2 => Just(Happening::CloseFinished),
        9 => (age, packets()).prop_map(|(age, packet)| Happening::Packet(age, packet)),
        1 => Just(Happening::SignOfLife),
        1 => Just(Happening::Progress),
        2 => flow.prop_map(Happening::Flow),
        2 => reading.prop_map(Happening::Reading),
        1 => Just(Happening::CheckPath),
        1 => Just(Happening::NetworkChanged),
        2 => (0_u64..50_000).prop_map(Happening::Sleep),
        5 => Just(Happening::NextTimer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_invariants_hold(
        retries in 0_u32..3,
        happenings in prop::collection::vec(happenings(), 1..80),
    ) {
        let mut world = World::new(retries);
        for happening in happenings {
            world.happen(happening, retries);
            world.check();
        }
        world.finish();
    }
}
