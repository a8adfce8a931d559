use super::super::tests::milliseconds;
use super::*;

const BEST_EFFORT: TrafficClass = TrafficClass::BestEffort;
const EXPEDITED: TrafficClass = TrafficClass::ExpeditedForwarding;

fn rate(kbps: u32, queue: QueueConfig) -> Rate {
    Rate {
        kbps: NonZero::new(kbps).expect("a rate"),
        queue,
        priority: Priority::None,
    }
}

fn bytes(bytes: u32) -> QueueConfig {
    QueueConfig::Bytes(NonZero::new(bytes).expect("a bound"))
}

fn packets(packets: u32) -> QueueConfig {
    QueueConfig::Packets(NonZero::new(packets).expect("a bound"))
}

/// Lets everything leave. Gives the packets and when they left.
fn departures<P>(shaper: &mut Shaper<P>) -> Vec<(Duration, P)> {
    std::iter::from_fn(|| {
        let at = shaper.next_departure()?;
        Some((at, shaper.depart(at)?))
    })
    .collect()
}

/// Offers twice of what `actual` passes for a minute, in packets of different sizes. Gives an error
/// where what leaves is not `claimed_kbps`, to 1 %.
fn check_rate(claimed_kbps: u32, actual: Rate) -> Result<(), String> {
    const MINUTE: Duration = Duration::from_mins(1);
    let mut shaper = Shaper::new(actual);
    let mut now = Duration::ZERO;
    let mut left_bytes = 0;
    for size in [60, 200, 1200, 1500].into_iter().cycle() {
        while let Some(at) = shaper.next_departure().filter(|at| *at <= now) {
            left_bytes += shaper.depart(at).expect("it has left");
        }
        if now >= MINUTE {
            break;
        }
        // What does not fit is dropped, and counts for nothing.
        let _ = shaper.offer(now, size, BEST_EFFORT, size);
        now += actual.transmission_time(size) / 2;
    }
    let measured = left_bytes as f64 * 8.0 / 1000.0 / now.as_secs_f64();
    let claimed = f64::from(claimed_kbps);
    if (measured - claimed).abs() <= claimed * 0.01 {
        return Ok(());
    }
    Err(format!("{measured} kbps instead of {claimed} kbps"))
}

#[test]
fn the_rate_is_what_was_set() {
    for kbps in [64, 512, 2_000, 20_000] {
        check_rate(kbps, rate(kbps, bytes(64_000))).expect("the rate that was set");
        check_rate(kbps, rate(kbps, packets(50))).expect("the rate that was set");
    }
}

#[test]
fn a_bent_rate_is_noticed() {
    for kbps in [64, 512, 2_000, 20_000] {
        let faster = rate(kbps * 102 / 100, bytes(64_000));
        check_rate(kbps, faster).expect_err("it is 2 % faster");
    }
}

#[test]
fn an_idle_shaper_sends_at_once_and_packets_leave_in_order() {
    let mut shaper = Shaper::new(rate(8, packets(10)));
    for packet in 0..3 {
        shaper
            .offer(milliseconds(5), 100, BEST_EFFORT, packet)
            .expect("room is left");
    }
    let expected = [(105, 0), (205, 1), (305, 2)];
    let expected = expected.map(|(at, packet)| (milliseconds(at), packet));
    assert_eq!(departures(&mut shaper), expected);
    assert_eq!(shaper.next_departure(), None);
}

#[test]
fn nothing_leaves_early() {
    let mut shaper = Shaper::new(rate(8, packets(10)));
    shaper
        .offer(Duration::ZERO, 100, BEST_EFFORT, ())
        .expect("idle");
    assert_eq!(shaper.depart(milliseconds(99)), None);
    assert_eq!(shaper.depart(milliseconds(100)), Some(()));
}

#[test]
fn a_queue_of_bytes_keeps_its_bound_exactly() {
    let mut shaper = Shaper::new(rate(8, bytes(1000)));
    let mut offer = |size, name| shaper.offer(Duration::ZERO, size, BEST_EFFORT, name);
    offer(1500, "is sent at once").expect("idle");
    offer(600, "waits").expect("room is left");
    offer(401, "too much by one").expect_err("full");
    offer(400, "fits exactly").expect("room is left");
    offer(1, "one byte").expect_err("full");
    assert_eq!(shaper.waiting_bytes(), 1000);
    let left: Vec<_> = departures(&mut shaper)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(left, ["is sent at once", "waits", "fits exactly"]);
    assert_eq!(shaper.waiting_bytes(), 0);
}

#[test]
fn a_queue_of_packets_keeps_its_bound_exactly() {
    let mut shaper = Shaper::new(rate(8, packets(2)));
    let accepted = (0..5).map(|packet| shaper.offer(Duration::ZERO, 9000, BEST_EFFORT, packet));
    let refused: Vec<_> = accepted.filter_map(Result::err).collect();
    assert_eq!(refused, [3, 4]);
    assert_eq!(shaper.waiting_packets(), 2);
}

#[test]
fn expedited_packets_wait_for_one_packet_of_best_effort_at_most() {
    let mut shaper = Shaper::new(Rate {
        priority: Priority::ExpeditedForwarding,
        ..rate(1000, packets(100))
    });
    for _ in 0..50 {
        shaper
            .offer(Duration::ZERO, 1500, BEST_EFFORT, BEST_EFFORT)
            .expect("room is left");
    }
    let longest_wait = shaper.rate().transmission_time(1500);
    let own_time = shaper.rate().transmission_time(200);
    for packet in 0..25 {
        let now = milliseconds(20 * packet);
        while let Some(at) = shaper.next_departure().filter(|at| *at <= now) {
            shaper.depart(at).expect("it has left");
        }
        shaper
            .offer(now, 200, EXPEDITED, EXPEDITED)
            .expect("room is left");
        let mut left = Vec::new();
        while left.last() != Some(&EXPEDITED) {
            let at = shaper.next_departure().expect("the packet is still there");
            left.push(shaper.depart(at).expect("it has left"));
            assert!(
                at <= now + longest_wait + own_time,
                "it waited until {at:?}"
            );
        }
        assert!(left.len() <= 2, "{} packets went before it", left.len() - 1);
    }
}

#[test]
fn without_priority_expedited_packets_wait_in_line() {
    let mut shaper = Shaper::new(rate(1000, packets(100)));
    for class in [BEST_EFFORT, BEST_EFFORT, BEST_EFFORT, EXPEDITED] {
        shaper
            .offer(Duration::ZERO, 1500, class, class)
            .expect("room is left");
    }
    let left = departures(&mut shaper);
    assert_eq!(left.last(), Some(&(milliseconds(48), EXPEDITED)));
}

#[test]
fn best_effort_cannot_fill_the_queue_of_expedited_packets() {
    let mut shaper = Shaper::new(Rate {
        priority: Priority::ExpeditedForwarding,
        ..rate(1000, packets(1))
    });
    let mut offer = |class| shaper.offer(Duration::ZERO, 1500, class, ()).is_ok();
    let classes = [BEST_EFFORT, BEST_EFFORT, BEST_EFFORT, EXPEDITED, EXPEDITED];
    assert_eq!(classes.map(&mut offer), [true, true, false, true, false]);
}

#[test]
fn what_is_left_of_a_packet_goes_at_the_new_rate() {
    let mut shaper = Shaper::new(rate(8, packets(10)));
    for packet in 0..2 {
        shaper
            .offer(Duration::ZERO, 100, BEST_EFFORT, packet)
            .expect("room is left");
    }
    shaper.reconfigure(milliseconds(50), rate(80, packets(10)));
    let expected = [(55, 0), (65, 1)].map(|(at, packet)| (milliseconds(at), packet));
    assert_eq!(departures(&mut shaper), expected);
}

#[test]
fn a_smaller_queue_keeps_what_waits_and_takes_nothing_more() {
    let mut shaper = Shaper::new(rate(8, packets(10)));
    for packet in 0..5 {
        shaper
            .offer(Duration::ZERO, 100, BEST_EFFORT, packet)
            .expect("room is left");
    }
    shaper.reconfigure(Duration::ZERO, rate(8, packets(2)));
    shaper
        .offer(Duration::ZERO, 100, BEST_EFFORT, 5)
        .expect_err("full");
    assert_eq!(departures(&mut shaper).len(), 5);
}

#[test]
fn a_drained_shaper_gives_everything_in_order_and_is_idle() {
    let mut shaper = Shaper::new(Rate {
        priority: Priority::ExpeditedForwarding,
        ..rate(8, packets(10))
    });
    for (class, packet) in [(BEST_EFFORT, 0), (BEST_EFFORT, 2), (EXPEDITED, 1)] {
        shaper
            .offer(Duration::ZERO, 100, class, packet)
            .expect("room is left");
    }
    assert_eq!(shaper.drain().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((shaper.next_departure(), shaper.waiting_bytes()), (None, 0));
}

#[test]
fn a_rate_alone_has_a_queue_of_300_milliseconds() {
    let queue = |kbps| Rate::new(NonZero::new(kbps).expect("a rate")).queue;
    assert_eq!(queue(2_000), bytes(75_000));
    assert_eq!(queue(8), bytes(3_000));
    assert_eq!(queue(u32::MAX), bytes(u32::MAX));
}
