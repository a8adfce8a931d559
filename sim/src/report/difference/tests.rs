//! Two lists of events, and where they part.

use insta::assert_snapshot;
use tracing::Level;

use super::*;
use crate::report::text::Colour;
use crate::trace::{AppEvent, EventKind};

const TOLERANCE: Duration = Duration::from_millis(200);

fn event(milliseconds: u64, host: &str, kind: EventKind) -> Event {
    Event {
        at: Duration::from_millis(milliseconds),
        host: host.into(),
        kind,
    }
}

fn app(milliseconds: u64, host: &str, event_of_app: AppEvent) -> Event {
    event(milliseconds, host, EventKind::App(event_of_app))
}

fn log(milliseconds: u64, host: &str, level: Level, text: &str) -> Event {
    let kind = EventKind::Log {
        level,
        target: "ringtrue::signaling",
        text: text.to_owned(),
    };
    event(milliseconds, host, kind)
}

fn a_call() -> Vec<Event> {
    let callee = "bob".to_owned();
    let from = "alice".to_owned();
    vec![
        event(0, "alice", EventKind::Timer),
        app(1000, "alice", AppEvent::Calling { callee }),
        log(
            1000,
            "alice",
            Level::DEBUG,
            "signaling message sent kind=offer call=1",
        ),
        app(1200, "bob", AppEvent::Incoming { from }),
        app(2000, "bob", AppEvent::Answered),
        app(2050, "alice", AppEvent::Answered),
        app(2500, "alice", AppEvent::AudioConnected),
        app(2540, "bob", AppEvent::AudioConnected),
    ]
}

/// Checks how many milestones a run has in common with the call above, and which ones it then alone has or
/// lacks.
#[track_caller]
fn check(other: &[Event], same: usize, lacks: &[&str], has: &[&str]) -> Comparison {
    let comparison = Comparison::of(&a_call(), other, TOLERANCE);
    let of_one = |first: bool| -> Vec<&str> {
        let rows = comparison.rows.iter();
        rows.filter_map(|row| match row {
            Row::First(one) if first => Some(one.text.as_str()),
            Row::Second(one) if !first => Some(one.text.as_str()),
            _ => None,
        })
        .collect()
    };
    assert_eq!(
        (of_one(true), of_one(false)),
        (lacks.to_vec(), has.to_vec())
    );
    assert_eq!(comparison.same(), same);
    comparison
}

#[test]
fn a_run_is_the_same_as_itself() {
    assert_eq!(same_events(&a_call(), &a_call()), None);
    let comparison = check(&a_call(), 6, &[], &[]);
    assert_eq!(comparison.first_difference(), None);
    assert_eq!(comparison.counts, []);
}

#[test]
fn traces_part_at_the_first_event_that_a_digest_would_tell() {
    let mut other = a_call();
    other[4].at += Duration::from_nanos(1);
    assert_eq!(same_events(&a_call(), &other), Some(4));
    let shorter = &a_call()[..7];
    assert_eq!(same_events(&a_call(), shorter), Some(7));
    assert_eq!(same_events(shorter, &a_call()), Some(7));
}

#[test]
fn what_comes_a_little_later_or_in_another_order_is_the_same() {
    let mut other = a_call();
    other[5].at += TOLERANCE;
    other.swap(6, 7);
    other[6].at = Duration::from_millis(2499);
    check(&other, 6, &[], &[]);
}

#[test]
fn what_comes_too_late_is_missing_before() {
    let mut other = a_call();
    other[5].at += TOLERANCE + Duration::from_millis(1);
    let answered = ["call answered"];
    check(&other, 3, &answered, &answered);
}

#[test]
fn what_one_run_alone_has_parts_them_with_what_led_there() {
    let mut other = a_call();
    other.remove(2);
    other[3] = app(2000, "bob", AppEvent::Killed);
    let comparison = check(&other, 2, &["call answered"], &["application killed"]);
    let offer = Count {
        what: "offer sent by alice".to_owned(),
        first: 1,
        second: 0,
    };
    assert_eq!(comparison.counts, [offer]);
}

#[test]
fn of_two_that_say_the_same_the_nearer_one_is_meant() {
    let mut other = a_call();
    other.insert(1, app(300, "bob", AppEvent::Answered));
    check(&other, 0, &[], &["call answered"]);
}

#[test]
fn what_happens_at_one_moment_stays_in_its_order() {
    let refused = |what: &str| AppEvent::Refused {
        what: what.to_owned(),
    };
    let mut other = a_call();
    other.extend(["second", "first"].map(|what| app(3000, "bob", refused(what))));
    check(&other, 6, &[], &["refused: second", "refused: first"]);
}

#[test]
fn what_is_drawn_at_random_makes_no_difference_and_what_is_counted_does() {
    let told = |call: &str, port: u16, pending: u32| {
        let text = format!(
            "added {pending} candidate:963988348 1 udp 2130706431 192.168.1.2 {port} typ host \
             call={call} local=u1AsY/rC"
        );
        without_chance(&text)
    };
    assert_eq!(
        told("253a337c43d85afe98849969cb450412", 49_152, 4),
        told("f655d0d3fe0fa7ff56f7401607481ab3", 63_001, 4)
    );
    assert_ne!(told("1", 49_152, 4), told("1", 49_152, 3));
    assert_ne!(without_chance("192.168.1.2"), without_chance("192.168.2.2"));
}

#[test]
fn events_that_read_the_same_and_are_not_are_told_so() {
    let drawn = |hash| {
        let kind = EventKind::Entropy {
            draws: 1,
            bytes: 32,
            hash,
        };
        [event(0, "alice", kind)]
    };
    let (first, second) = (drawn(1), drawn(2));
    assert_snapshot!(text::trace(&first, &second, Some(0), Colour::Off), @"
    the traces part after 0 events, of 1 and 1:
      A      0.000s  alice  1 draws of entropy, 32 bytes
      B      0.000s  alice  1 draws of entropy, 32 bytes
        both read the same, and differ in what they carry
    ");
}

#[test]
fn what_comes_a_little_later_is_not_counted_as_missing() {
    let mut other = a_call();
    other[2].at = Duration::from_millis(2100);
    other[4] = app(2000, "bob", AppEvent::Killed);
    other.sort_by_key(|event| event.at);
    let comparison = check(&other, 2, &["call answered"], &["application killed"]);
    assert_eq!(comparison.counts, []);
}

#[test]
fn a_candidate_is_told_by_its_kind_and_address() {
    let text = "added candidate=candidate:963988348 1 udp 2130706431 192.168.1.2 49152 typ host \
        local=a remote=b";
    let mut events = a_call();
    events.push(log(3000, "bob", Level::INFO, text));
    let seen = Comparison::of(&events, &a_call(), TOLERANCE);
    let told = text::comparison(&seen, TOLERANCE, Colour::Off);
    assert!(
        told.contains("   3.000s  bob  added: host 192.168.1.2 49152"),
        "{told}"
    );
}

#[test]
fn what_both_have_after_they_parted_is_counted() {
    let mut other = a_call();
    other.remove(3);
    let seen = Comparison::of(&a_call(), &other, TOLERANCE);
    let told = text::comparison(&seen, TOLERANCE, Colour::Off);
    assert!(told.contains("\n  (4 that both have)\n"), "{told}");
}

#[test]
fn a_difference_is_shown_side_by_side() {
    let mut other = a_call();
    other.remove(2);
    other[3] = app(2000, "bob", AppEvent::Killed);
    other.truncate(4);
    let seen = Comparison::of(&a_call(), &other, TOLERANCE);
    assert_snapshot!(text::comparison(&seen, TOLERANCE, Colour::Off), @"
    what happens parts at 2.000s, after 2 milestones that both have within 200ms:
      A                                                            B
         1.000s  alice  calls bob                                     1.000s  alice  calls bob
         1.200s  bob  rings: alice calls                              1.200s  bob  rings: alice calls
                                                                 >    2.000s  bob  application killed
         2.000s  bob  call answered                              <
         2.050s  alice  call answered                            <
         2.500s  alice  hears the other side's tone              <
         2.540s  bob  hears the other side's tone                <
    what else was different by then:
             A        B
             1        0  offer sent by alice
    ");
    let same = same_events(&a_call(), &other);
    assert_snapshot!(text::trace(&a_call(), &other, same, Colour::Off), @"
    the traces part after 2 events, of 8 and 4:
             0.000s  alice  timer
             1.000s  alice  calls bob
      A      1.000s  alice  signaling message sent kind=offer call=1
      B      1.200s  bob  rings: alice calls
    ");
    let same = Comparison::of(&other, &other, TOLERANCE);
    assert_snapshot!(text::comparison(&same, TOLERANCE, Colour::Off), @"what happens is the same, within 200ms: 3 milestones");
    assert_snapshot!(text::trace(&other, &other, None, Colour::Off), @"the traces are the same: 4 events");
}
