//! Whatever the network does, nothing is lost, doubled or out of order.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;

/// Something that happens. Who does it, and what it happens to, are drawn among what there is.
#[derive(Debug, Clone)]
enum Step {
    SayInOrder(Index),
    Trickle(Index),
    Answer,
    Deliver(Index),
    DeliverTwice(Index),
    Lose(Index),
    Disconnect(Index),
    Connect(Index),
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<Index>().prop_map(Step::SayInOrder),
        4 => any::<Index>().prop_map(Step::Trickle),
        1 => Just(Step::Answer),
        12 => any::<Index>().prop_map(Step::Deliver),
        3 => any::<Index>().prop_map(Step::DeliverTwice),
        4 => any::<Index>().prop_map(Step::Lose),
        1 => any::<Index>().prop_map(Step::Disconnect),
        2 => any::<Index>().prop_map(Step::Connect),
        2 => (0_u8..8).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..150)
}

/// One client: its mailbox, and everything that was said by it and to it.
struct Client {
    mailbox: Mailbox,
    said: Vec<CallMessage>,
    posts: BTreeSet<PostId>,
    acknowledged: Vec<PostId>,
    /// With the device that said it.
    heard: Vec<CallMessage>,
    /// How often it was told that another device answered.
    left_out: u32,
}

/// Anna, then boris's devices, and all frames between them that are neither delivered nor lost.
struct World {
    now: Instant,
    clients: Vec<Client>,
    in_flight: Vec<(usize, Frame)>,
    labels: u32,
    answered: bool,
}

/// The device of boris that answers.
const ANSWERER: usize = 1;

impl World {
    fn new(devices: &[&str]) -> Self {
        let limits = MailboxLimits {
            kept_for: Duration::from_hours(1),
            ..MailboxLimits::default()
        };
        let anna = with_limits("anna", "phone", limits);
        let boris = devices
            .iter()
            .map(|device| with_limits("boris", device, limits));
        let clients = std::iter::once(anna).chain(boris).map(|mailbox| Client {
            mailbox,
            said: Vec::new(),
            posts: BTreeSet::new(),
            acknowledged: Vec::new(),
            heard: Vec::new(),
            left_out: 0,
        });
        let mut world = Self {
            now: Instant::now(),
            clients: clients.collect(),
            in_flight: Vec::new(),
            labels: 0,
            answered: false,
        };
        let sdp = world.label();
        world.say(0, CallMessage::offer(sdp));
        world
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        self.labels.to_string()
    }

    fn say(&mut self, who: usize, body: CallMessage) {
        let to = if who == 0 { "boris" } else { "anna" };
        let client = &mut self.clients[who];
        let id = post(&mut client.mailbox, self.now, to, body.clone());
        client.said.push(body);
        client.posts.insert(id);
        self.settle();
    }

    /// Nobody but the caller speaks before having heard something of the call.
    fn may_say(&self, who: usize) -> bool {
        who == 0 || !self.clients[who].heard.is_empty()
    }

    /// Takes out what the mailboxes write and report.
    fn settle(&mut self) {
        for who in 0..self.clients.len() {
            for frame in frames(&mut self.clients[who].mailbox) {
                for (index, other) in self.clients.iter().enumerate() {
                    let is_named = frame
                        .to_device
                        .as_ref()
                        .is_none_or(|device| *device == other.mailbox.device);
                    if index != who && is_named && frame.to == other.mailbox.user {
                        self.in_flight.push((index, frame.clone()));
                    }
                }
            }
            let client = &mut self.clients[who];
            for event in events(&mut client.mailbox) {
                match event {
                    MailboxEvent::Received(envelope) => match envelope.body {
                        CallMessage::HangUp {
                            reason: HangUpReason::AnsweredElsewhere,
                        } => client.left_out += 1,
                        body => client.heard.push(body),
                    },
                    MailboxEvent::Acknowledged { post } => client.acknowledged.push(post),
                    MailboxEvent::PathDoubted => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, frame: Frame) {
        let client = &mut self.clients[to];
        if client.mailbox.link == Link::Down {
            return;
        }
        let device = frame.device.clone();
        let body = match &frame.content {
            FrameContent::Message { body, .. } => Some(body.clone()),
            _ => None,
        };
        let handled = client.mailbox.handle_frame(self.now, frame);
        // What waits is bounded: then it is dropped, and sent again later.
        let is_taken = matches!(handled, Ok(()) | Err(PeerFault::TooFarAhead { .. }));
        assert!(is_taken, "{handled:?}");
        self.settle();
        let client = &self.clients[to];
        let mut conversations = client.mailbox.conversations.values();
        let listens = conversations.all(|known| known.listens_to(&device));
        if let Some(body @ CallMessage::Candidate(_)) = body
            && listens
        {
            assert!(client.heard.contains(&body), "a candidate is held back");
        }
    }

    fn pick(&mut self, index: Index) -> Option<(usize, Frame)> {
        (!self.in_flight.is_empty()).then(|| {
            self.in_flight
                .swap_remove(index.index(self.in_flight.len()))
        })
    }

    fn step(&mut self, step: &Step) {
        let among_clients = |index: &Index| index.index(self.clients.len());
        match step {
            Step::SayInOrder(index) => {
                let who = among_clients(index);
                if self.may_say(who) {
                    let body = match who {
                        0 => CallMessage::offer(self.label()),
                        // The kind does not matter, but that an answer would choose a device.
                        _ => CallMessage::Ringing,
                    };
                    self.say(who, body);
                }
            }
            Step::Trickle(index) => {
                let who = among_clients(index);
                if self.may_say(who) {
                    let body = candidate(&self.label());
                    self.say(who, body);
                }
            }
            Step::Answer => self.answer(),
            Step::Deliver(index) => {
                if let Some((to, frame)) = self.pick(*index) {
                    self.deliver(to, frame);
                }
            }
            Step::DeliverTwice(index) => {
                if let Some((to, frame)) = self.pick(*index) {
                    self.in_flight.push((to, frame.clone()));
                    self.deliver(to, frame);
                }
            }
            Step::Lose(index) => {
                self.pick(*index);
            }
            Step::Disconnect(index) => {
                let who = among_clients(index);
                self.clients[who].mailbox.handle_disconnected();
            }
            Step::Connect(index) => {
                let who = among_clients(index);
                let now = self.now;
                self.clients[who].mailbox.handle_connected(now);
                self.settle();
            }
            Step::Wait(seconds) => self.wait(u32::from(*seconds) * SECOND),
        }
    }

    fn answer(&mut self) {
        if self.may_say(ANSWERER) {
            self.answered = true;
            let sdp = self.label();
            self.say(ANSWERER, CallMessage::answer(sdp));
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for client in &mut self.clients {
            client.mailbox.handle_timeout(self.now);
        }
        self.settle();
    }

    /// The network works from now on, and everybody has a connection.
    fn calm_down(&mut self) {
        for client in &mut self.clients {
            client.mailbox.handle_connected(self.now);
        }
        self.settle();
        self.deliver_all();
        for _ in 0..20 {
            self.wait(10 * SECOND);
            self.deliver_all();
        }
    }

    fn deliver_all(&mut self) {
        while let Some((to, frame)) = self.in_flight.pop() {
            self.deliver(to, frame);
        }
    }

    /// What everybody heard of `who` is what `who` said: everything, or what came in time.
    fn check_heard(&self, by: usize, of: usize, extent: Extent) {
        let heard: Vec<_> = self.clients[by].heard.iter().collect();
        let said: Vec<_> = self.clients[of].said.iter().collect();
        let ordered = |messages: &[&CallMessage]| -> Vec<CallMessage> {
            let ordered = messages.iter().filter(|message| message.is_ordered());
            ordered.map(|message| (*message).clone()).collect()
        };
        let trickled = |messages: &[&CallMessage]| -> Vec<String> {
            let trickled = messages.iter().filter_map(|message| match message {
                CallMessage::Candidate(candidate) => Some(candidate.candidate.clone()),
                _ => None,
            });
            let mut trickled: Vec<_> = trickled.collect();
            trickled.sort();
            trickled
        };
        match extent {
            Extent::Everything => {
                assert_eq!(ordered(&heard), ordered(&said), "{by} heard {of}");
                assert_eq!(trickled(&heard), trickled(&said), "{by} heard {of}");
            }
            Extent::SomeInOrder => {
                let all = ordered(&said);
                assert!(all.starts_with(&ordered(&heard)), "{by} heard {of}");
                let (all, some) = (trickled(&said), trickled(&heard));
                let once: BTreeSet<_> = some.iter().collect();
                assert_eq!(once.len(), some.len(), "{by} heard {of} twice");
                assert!(some.iter().all(|text| all.contains(text)));
            }
        }
    }

    /// Everybody hangs up and closes, and nothing is left.
    fn check_end(&mut self) {
        for who in 0..self.clients.len() {
            if self.may_say(who) {
                self.say(who, hang_up());
            }
        }
        for client in &mut self.clients {
            client.mailbox.close_call(&call("c1"));
        }
        self.settle();
        self.deliver_all();
        for client in &self.clients {
            assert_eq!((client.mailbox.len(), client.mailbox.calls()), (0, 0));
            assert_eq!(client.mailbox.poll_timeout(), None);
            let acknowledged: BTreeSet<_> = client.acknowledged.iter().copied().collect();
            assert_eq!(acknowledged.len(), client.acknowledged.len(), "told twice");
            assert_eq!(acknowledged, client.posts);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Extent {
    Everything,
    SomeInOrder,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn two_devices_tell_each_other_everything_once(steps in steps()) {
        let mut world = World::new(&["tablet"]);
        for step in &steps {
            world.step(step);
        }
        world.calm_down();
        world.answer();
        world.calm_down();
        prop_assert!(world.clients.iter().all(|client| client.mailbox.is_empty()));
        world.check_heard(0, 1, Extent::Everything);
        world.check_heard(1, 0, Extent::Everything);
        world.check_end();
    }

    #[test]
    fn the_device_that_answers_misses_nothing_and_the_other_falls_silent(steps in steps()) {
        let mut world = World::new(&["tablet", "watch"]);
        for step in &steps {
            world.step(step);
        }
        world.calm_down();
        if !world.answered {
            // Whoever may answer yet has everything.
            world.check_heard(1, 0, Extent::Everything);
            world.check_heard(2, 0, Extent::Everything);
            world.answer();
            world.calm_down();
        }
        prop_assert!(world.clients.iter().all(|client| client.mailbox.is_empty()));
        world.check_heard(1, 0, Extent::Everything);
        world.check_heard(2, 0, Extent::SomeInOrder);
        let is_offer = |body: &CallMessage| matches!(body, CallMessage::Offer { .. });
        let has_rung = world.clients[2].heard.iter().any(is_offer);
        prop_assert!(world.clients[2].left_out > 0 || !has_rung);
        prop_assert_eq!((world.clients[0].left_out, world.clients[1].left_out), (0, 0));
        world.check_end();
    }
}
