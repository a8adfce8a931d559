use super::*;
use crate::signaling::message::{CallMessage, HangUpReason, Received, TrickledCandidate};

mod bounds;
mod delivery;
mod devices;
mod properties;

const SECOND: Duration = Duration::from_secs(1);
/// How long a message is kept by default.
const KEPT: Duration = Duration::from_secs(90);

fn mailbox(user: &str, device: &str) -> Mailbox {
    with_limits(user, device, MailboxLimits::default())
}

fn with_limits(user: &str, device: &str, limits: MailboxLimits) -> Mailbox {
    Mailbox::new(user.into(), DeviceId(device.into()), limits)
}

/// A mailbox with a connection.
fn connected(user: &str, device: &str) -> Mailbox {
    let mut mailbox = mailbox(user, device);
    mailbox.handle_connected(Instant::now());
    mailbox
}

fn offer() -> CallMessage {
    CallMessage::offer("v=0")
}

fn answer() -> CallMessage {
    CallMessage::answer("v=0")
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

fn call(name: &str) -> CallId {
    CallId(name.into())
}

fn envelope(to: &str, call: &str, body: CallMessage) -> Envelope {
    Envelope {
        from: "nobody".into(),
        to: to.into(),
        call: CallId(call.into()),
        body,
    }
}

/// Posts in call c1.
#[track_caller]
fn post(mailbox: &mut Mailbox, now: Instant, to: &str, body: CallMessage) -> PostId {
    let posted = mailbox.post(now, envelope(to, "c1", body));
    posted.expect("room in the mailbox")
}

fn frames(mailbox: &mut Mailbox) -> Vec<Frame> {
    std::iter::from_fn(|| mailbox.poll_transmit())
        .map(|transmit| transmit.frame)
        .collect()
}

/// What is written, a line each.
fn written(mailbox: &mut Mailbox) -> Vec<String> {
    frames(mailbox).iter().map(line).collect()
}

fn line(frame: &Frame) -> String {
    let to = match &frame.to_device {
        Some(device) => format!("{}/{device}", frame.to),
        None => frame.to.clone(),
    };
    match &frame.content {
        FrameContent::Message {
            number,
            follows,
            body,
            ..
        } => match follows {
            Some(follows) => format!("{to}: {number} after {follows} {}", body.kind()),
            None => format!("{to}: {number} {}", body.kind()),
        },
        FrameContent::Acknowledge(Received { up_to, beyond }) => {
            format!("{to}: has {up_to} {beyond:?}")
        }
        FrameContent::Resume(Received { up_to, beyond }) => {
            format!("{to}: resumes {up_to} {beyond:?}")
        }
        FrameContent::AnsweredElsewhere => format!("{to}: answered elsewhere"),
    }
}

/// Carries everything that is written to each of these, whoever it is for.
fn carry(now: Instant, from: &mut Mailbox, to: &mut [&mut Mailbox]) {
    for frame in frames(from) {
        for mailbox in &mut *to {
            let device = frame.to_device.as_ref();
            if frame.to == mailbox.user && device.is_none_or(|device| *device == mailbox.device) {
                let handled = mailbox.handle_frame(now, frame.clone());
                assert_eq!(handled, Ok(()), "{}", line(&frame));
            }
        }
    }
}

/// Carries everything in both directions until nobody has anything to say.
fn exchange(now: Instant, one: &mut Mailbox, others: &mut [&mut Mailbox]) {
    while !one.outbox.is_empty() || others.iter().any(|other| !other.outbox.is_empty()) {
        carry(now, one, others);
        for other in &mut *others {
            carry(now, other, &mut [one]);
        }
    }
}

fn events(mailbox: &mut Mailbox) -> Vec<MailboxEvent> {
    std::iter::from_fn(|| mailbox.poll_event()).collect()
}

/// The kinds of the messages that are handed up.
fn heard(mailbox: &mut Mailbox) -> Vec<&'static str> {
    let events = events(mailbox).into_iter();
    let messages = events.filter_map(|event| match event {
        MailboxEvent::Received(envelope) => Some(envelope.body.kind()),
        _ => None,
    });
    messages.collect()
}

/// A message of anna's phone for boris in call c1.
fn from_anna(number: u64, follows: Option<u64>, body: CallMessage) -> Frame {
    Frame {
        from: "anna".into(),
        device: DeviceId("phone".into()),
        to: "boris".into(),
        to_device: None,
        call: call("c1"),
        content: FrameContent::Message {
            number,
            follows,
            oldest: None,
            body,
        },
    }
}
