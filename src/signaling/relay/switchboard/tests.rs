use serde_json::json;

use super::super::config::Rate;
use super::*;

/// A board, the time, and sessions by the letter that their ids consist of.
struct Scene {
    board: Switchboard,
    now: Instant,
}

fn scene(config: RelayConfig) -> Scene {
    Scene {
        board: Switchboard::new(Arc::new(config)),
        now: Instant::now(),
    }
}

fn session(letter: char) -> Sid {
    let id = letter.to_string().repeat(16);
    id.parse().expect("16 characters of base64")
}

fn device(user: &str, name: &str) -> Device {
    Device {
        user: user.into(),
        name: name.into(),
    }
}

fn message(to: &str, call: &str, number: u64) -> Frame {
    let frame = json!({ "to": to, "call": call, "kind": "message", "number": number });
    frame.as_object().expect("an object").clone()
}

impl Scene {
    /// A device joins; returns the numbers of what has waited for it.
    fn join(&mut self, letter: char, user: &str, name: &str) -> Vec<u64> {
        self.board
            .admit(self.now, session(letter), device(user, name));
        let (joined, deliveries) = self.board.join(session(letter)).expect("it was admitted");
        assert_eq!(joined, device(user, name));
        deliveries.iter().map(number).collect()
    }

    fn send(&mut self, letter: char, frame: Frame) -> Handled {
        self.board
            .handle_frame(self.now, session(letter), Some(frame))
    }

    /// Sends, and returns the letters of who gets it.
    #[track_caller]
    fn check(&mut self, letter: char, frame: Frame, expected: &str) -> Vec<Delivery> {
        let handled = self.send(letter, frame);
        let got = handled.deliveries.iter().map(|each| each.session);
        let expected: Vec<Sid> = expected.chars().map(session).collect();
        assert_eq!(got.collect::<Vec<_>>(), expected);
        assert_eq!(handled.answer, Ok(expected.len()));
        handled.deliveries
    }
}

fn number(delivery: &Delivery) -> u64 {
    delivery.frame["number"].as_u64().expect("a number")
}

#[test]
fn every_device_gets_a_message_and_one_acknowledgement_is_enough() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    scene.join('b', "boris", "d1");
    scene.join('c', "boris", "d2");
    let deliveries = scene.check('a', message("boris", "1", 1), "bc");
    assert_eq!(deliveries[0].frame["from"], "anna");
    assert_eq!(deliveries[0].frame["device"], "d1");
    assert_eq!(scene.join('d', "boris", "d3"), [1]);
    let receipt = deliveries[1].receipt.expect("a message has one");
    scene.board.handle_acknowledged(receipt);
    assert_eq!(scene.join('e', "boris", "d4"), [0; 0]);
}

#[test]
fn a_frame_for_one_device_reaches_no_other() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    scene.join('b', "boris", "d1");
    scene.join('c', "boris", "d2");
    for kind in ["message", "acknowledge", "resume"] {
        let mut frame = message("boris", "1", 1);
        frame.insert("to_device".into(), "d2".into());
        frame.insert("kind".into(), kind.into());
        scene.check('a', frame.clone(), "c");
        frame.insert("to_device".into(), "d3".into());
        scene.check('a', frame, "");
    }
    assert_eq!(scene.join('d', "boris", "d3"), [1], "the message alone");
}

#[test]
fn what_is_of_the_moment_is_not_kept_and_costs_no_acknowledgement() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    let mut frame = message("boris", "1", 1);
    frame.insert("kind".into(), "resume".into());
    scene.check('a', frame.clone(), "");
    assert_eq!(scene.join('b', "boris", "d1"), [0; 0]);
    let deliveries = scene.check('a', frame, "b");
    assert_eq!(deliveries[0].receipt, None);
}

#[test]
fn nobody_speaks_in_anothers_name_or_call() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    scene.join('b', "boris", "d1");
    scene.join('c', "carla", "d1");
    scene.check('a', message("boris", "1", 1), "b");
    let mut forged = message("boris", "1", 2);
    forged.insert("from".into(), "anna".into());
    let refused = scene.send('c', forged.clone());
    assert_eq!(refused.answer, Err(Refusal::NotAMember));
    assert!(refused.deliveries.is_empty());
    forged.insert("call".into(), "2".into());
    let deliveries = scene.check('c', forged, "b");
    assert_eq!(deliveries[0].frame["from"], "carla");
}

#[test]
fn a_session_that_has_not_joined_gets_nothing_and_everything_when_it_joins() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    scene
        .board
        .admit(scene.now, session('b'), device("boris", "d1"));
    scene.check('a', message("boris", "1", 1), "");
    let (_, deliveries) = scene.board.join(session('b')).expect("it was admitted");
    assert_eq!(deliveries.iter().map(number).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_device_has_one_session_and_a_user_so_many_devices() {
    let mut scene = scene(RelayConfig {
        devices_per_user_max: 2,
        ..RelayConfig::default()
    });
    scene.join('a', "anna", "d1");
    scene.join('b', "anna", "d2");
    let board = &scene.board;
    let replaced = board.predecessor(&device("anna", "d1"));
    assert_eq!(replaced, Ok(Some(session('a'))));
    let refused = board.predecessor(&device("anna", "d3"));
    let user = "anna".into();
    assert_eq!(
        refused,
        Err(AdmissionError::TooManyDevices { user, max: 2 })
    );
    assert_eq!(board.predecessor(&device("boris", "d1")), Ok(None));
}

#[test]
fn who_was_taken_out_can_neither_join_nor_send() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    assert_eq!(scene.board.leave(session('a')), Some(device("anna", "d1")));
    assert_eq!(scene.board.leave(session('a')), None);
    assert!(scene.board.join(session('a')).is_none());
    let refused = scene.send('a', message("boris", "1", 1));
    assert_eq!(refused.answer, Err(Refusal::Closed));
    assert_eq!(refused.conduct, Conduct::Tolerable);
    assert!(scene.board.is_empty());
}

#[test]
fn who_is_admitted_and_never_joins_is_forgotten() {
    let mut scene = scene(RelayConfig::default());
    scene
        .board
        .admit(scene.now, session('a'), device("anna", "d1"));
    scene.join('b', "boris", "d1");
    scene.board.expire(scene.now + JOIN_LIMIT);
    assert!(!scene.board.has(&device("anna", "d1")));
    assert!(scene.board.has(&device("boris", "d1")));
}

#[test]
fn who_is_refused_again_and_again_is_to_be_closed() {
    let mut scene = scene(RelayConfig {
        refusal_rate: Rate {
            burst: 2,
            interval: Duration::from_secs(1),
        },
        ..RelayConfig::default()
    });
    scene.join('a', "anna", "d1");
    let mut conduct = || {
        let handled = scene.board.handle_frame(scene.now, session('a'), None);
        assert_eq!(handled.answer, Err(FrameError::NoObject.into()));
        scene.now += Duration::from_millis(10);
        handled.conduct
    };
    let seen = [conduct(), conduct(), conduct()];
    let fine = Conduct::Tolerable;
    assert_eq!(seen, [fine, fine, Conduct::Abusive]);
}

#[test]
fn a_flood_is_refused_and_a_full_box_is_nobodys_fault() {
    let rate = Rate {
        burst: 3,
        interval: Duration::from_secs(1),
    };
    let mut scene = scene(RelayConfig {
        frame_rate: rate,
        kept_messages_max: 1,
        ..RelayConfig::default()
    });
    scene.join('a', "anna", "d1");
    scene.check('a', message("boris", "1", 1), "");
    let full = scene.send('a', message("boris", "1", 2)).answer;
    let to = "boris".into();
    assert_eq!(full, Err(Refusal::TooManyKept { to, max: 1 }));
    scene.join('b', "boris", "d1");
    scene.check('a', message("boris", "1", 2), "b");
    let flood = scene.send('a', message("boris", "1", 3)).answer;
    assert_eq!(flood, Err(Refusal::TooFast { rate }));
    let session = session('a');
    let request = scene.board.handle_request(scene.now, session);
    assert_eq!(request, Err(Refusal::TooFast { rate }));
    let later = scene.now + Duration::from_secs(1);
    let request = scene.board.handle_request(later, session);
    assert_eq!(request.as_deref(), Ok("anna"));
}

#[test]
fn nothing_is_left_for_ever() {
    let mut scene = scene(RelayConfig::default());
    scene.join('a', "anna", "d1");
    for number in 0..100 {
        let to = number.to_string();
        scene.check('a', message(&to, &to, 1), "");
    }
    assert_eq!(scene.board.calls(), 100);
    scene.board.leave(session('a'));
    let config = RelayConfig::default();
    scene.board.expire(scene.now + config.kept_for);
    assert!(scene.board.mail.is_empty());
    scene.board.expire(scene.now + config.call_idle);
    assert!(scene.board.is_empty());
}
