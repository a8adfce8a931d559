//! Whether audio, once connected, was kept.

use std::time::Duration;

use super::outage::{Outage, Span, judged};

/// The length of the windows that audio is measured in.
pub const WINDOW: Duration = Duration::from_secs(2);
/// The share of a window's packets that must be heard where no loss is scripted.
const KEPT_SHARE: f64 = 0.9;
/// How far below the scripted share one window of 100 packets may fall by chance at least: five
/// standard deviations at 10 % loss.
const CHANCE_MIN: f64 = 0.15;
/// How many standard deviations are chance.
const DEVIATIONS: f64 = 5.0;
/// What a peer sends in a second: one Opus packet each 20 ms.
const PACKETS_PER_SECOND: f64 = 50.0;

/// The length of the windows where audio goes by TCP over links that lose: what is lost there is sent again,
/// and all that comes after it waits for it.
const LATE_WINDOW: Duration = Duration::from_secs(5);

/// The shortest part of a talk between two outages that is judged: in a shorter one, a packet more or
/// less would decide.
const SHORTEST_SPAN: Duration = Duration::from_millis(500);

/// What the links between two peers do to audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathLoss {
    /// The share of packets that are lost for good, from 0 to 1.
    pub share: f64,
    /// How many packets a loss takes with it on average.
    pub mean_burst_packets: f64,
    /// How much of the audio may still be on its way at any time, since it goes by TCP over a link that
    /// loses. Zero where it does not.
    pub late: Duration,
}

impl PathLoss {
    /// Nothing is lost.
    pub const NONE: Self = Self::single(0.0);

    /// This share of packets is lost, each by itself.
    #[must_use]
    pub const fn single(share: f64) -> Self {
        Self {
            share,
            mean_burst_packets: 1.0,
            late: Duration::ZERO,
        }
    }

    /// The length of the windows that audio is measured in.
    fn window(self) -> Duration {
        if self.late.is_zero() {
            WINDOW
        } else {
            LATE_WINDOW
        }
    }

    /// The share of the packets that must be heard in a window of this length. What is late is so once, at its
    /// end.
    ///
    /// Bursts make few windows lose much: of the share that a channel of Gilbert and Elliott loses, the
    /// variance is that of single losses times some 2 *B* - 1, with the mean burst *B*.
    fn needed(self, window: Duration) -> f64 {
        let passed = if self.share <= 0.0 {
            KEPT_SHARE
        } else {
            let packets = window.as_secs_f64() * PACKETS_PER_SECOND;
            let single = self.share * (1.0 - self.share) / packets;
            let deviation = (single * (2.0 * self.mean_burst_packets - 1.0)).sqrt();
            1.0 - self.share - (DEVIATIONS * deviation).max(CHANCE_MIN)
        };
        (passed - self.late.div_duration_f64(window)).max(0.0)
    }
}

/// A window in which too little was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// When the window began.
    pub from: Duration,
    /// How long it was.
    pub length: Duration,
    /// The share of packets heard, from 0 to 1.
    pub heard: f64,
    /// The share that would have passed.
    pub needed: f64,
}

/// The first window between `from` and `to` in which too few of the packets heard at the
/// times `heard` lie; `loss` is what the scenario loses on the way. Where audio may be late, all of the time
/// is a window too: what comes late in the one has to come in the next.
#[must_use]
pub fn first_gap(heard: &[Duration], from: Duration, to: Duration, loss: PathLoss) -> Option<Gap> {
    let gap = |start: Duration, length: Duration| {
        let window = start..start + length;
        let count = heard.iter().filter(|at| window.contains(*at)).count();
        let share = count as f64 / (length.as_secs_f64() * PACKETS_PER_SECOND);
        let needed = loss.needed(length);
        (share < needed).then_some(Gap {
            from: start,
            length,
            heard: share,
            needed,
        })
    };
    let mut start = from;
    while start < to {
        // The last window ends with the call, so that no part of the talk goes unjudged; a talk
        // shorter than a window is one window.
        start = start.min(to.saturating_sub(loss.window())).max(from);
        let length = loss.window().min(to.saturating_sub(start));
        if let Some(gap) = gap(start, length) {
            return Some(gap);
        }
        start += loss.window();
    }
    let whole = to.saturating_sub(from);
    (!loss.late.is_zero() && !whole.is_zero())
        .then(|| gap(from, whole))
        .flatten()
}

/// The first gap of a talk outside the outages, each of which is excused until `back_within` after its
/// end.
#[must_use]
pub fn first_gap_outside(
    heard: &[Duration],
    talk: Span,
    outages: &[Outage],
    back_within: Duration,
    loss: PathLoss,
) -> Option<Gap> {
    if !outages.iter().any(|outage| outage.concerns(talk)) {
        return first_gap(heard, talk.from, talk.to, loss);
    }
    judged(talk, outages, back_within)
        .iter()
        .filter(|span| span.length() >= SHORTEST_SPAN)
        .find_map(|span| first_gap(heard, span.from, span.to, loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(from: u64, to: u64) -> Vec<Duration> {
        (from..to).step_by(20).map(Duration::from_millis).collect()
    }

    #[track_caller]
    fn check(heard: &[Duration], loss: PathLoss, gap_at_ms: Option<u64>) {
        let gap = first_gap(heard, Duration::from_secs(1), Duration::from_secs(6), loss);
        assert_eq!(
            gap.map(|gap| gap.from),
            gap_at_ms.map(Duration::from_millis)
        );
    }

    #[test]
    fn steady_audio_has_no_gap() {
        check(&steady(0, 7_000), PathLoss::NONE, None);
    }

    #[test]
    fn silence_of_300_ms_is_a_gap() {
        let heard: Vec<_> = steady(0, 3_500)
            .into_iter()
            .chain(steady(3_800, 7_000))
            .collect();
        check(&heard, PathLoss::NONE, Some(3_000));
    }

    #[test]
    fn the_end_of_a_talk_is_judged_too() {
        let heard = steady(0, 5_600);
        check(&heard, PathLoss::NONE, Some(4_000));
    }

    #[test]
    fn audio_that_stops_is_a_gap() {
        check(&steady(0, 2_000), PathLoss::NONE, Some(1_000));
    }

    #[test]
    fn bursts_lower_what_is_needed_further() {
        let burst = |mean_burst_packets| PathLoss {
            mean_burst_packets,
            ..PathLoss::single(0.05)
        };
        assert!((burst(1.0).needed(WINDOW) - 0.8).abs() < 1e-9);
        assert!(burst(4.0).needed(WINDOW) < 0.7);
        assert!(burst(40.0).needed(WINDOW) < 1e-9, "anything can happen");
    }

    #[test]
    fn scripted_loss_lowers_what_is_needed() {
        let heard: Vec<_> = steady(0, 7_000)
            .into_iter()
            .enumerate()
            .filter(|(index, _)| index % 5 != 0)
            .map(|(_, at)| at)
            .collect();
        check(&heard, PathLoss::NONE, Some(1_000));
        check(&heard, PathLoss::single(0.15), None);
    }

    /// As audio over a path on which two seconds of it may be on their way.
    fn late(share: f64) -> PathLoss {
        PathLoss {
            late: Duration::from_secs(2),
            ..PathLoss::single(share)
        }
    }

    #[test]
    fn what_tcp_loses_may_come_late() {
        // Nothing for a while, and then all of it at once.
        let mut heard = steady(0, 7_000);
        for at in &mut heard {
            if (Duration::from_secs(2)..Duration::from_millis(3_600)).contains(at) {
                *at = Duration::from_millis(3_600);
            }
        }
        check(&heard, PathLoss::NONE, Some(1_000));
        check(&heard, late(0.0), None);
        check(&steady(0, 4_200), late(0.0), None);
        check(&steady(0, 3_400), late(0.0), Some(1_000));
    }

    #[test]
    fn what_may_come_late_has_to_come() {
        let every_other: Vec<_> = steady(0, 21_000).into_iter().step_by(2).collect();
        let (from, to) = (Duration::from_secs(1), Duration::from_secs(20));
        let gap = first_gap(&every_other, from, to, late(0.0)).expect("half of it never comes");
        assert_eq!((gap.from, gap.length), (from, Duration::from_secs(19)));
        assert_eq!(first_gap(&steady(0, 21_000), from, to, late(0.0)), None);
    }

    #[test]
    fn a_path_may_lose_and_be_late() {
        assert!((late(0.1).needed(LATE_WINDOW) - 0.35).abs() < 1e-9);
        assert!(late(0.9).needed(LATE_WINDOW).abs() < 1e-9);
        assert!(late(0.0).needed(Duration::from_secs(1)).abs() < 1e-9);
    }

    /// The first gap of a talk from 1 s to 20 s that a fault interrupts from 5 s to 8 s, where audio is
    /// to be back within 5 s and `silent` is the time, in milliseconds, in which nothing is heard.
    #[track_caller]
    fn check_outage(silent: std::ops::Range<u64>, gap_at_ms: Option<u64>) {
        let outage = Outage {
            name: "blackhole home (both)".to_owned(),
            begin: Duration::from_secs(5),
            end: Some(Duration::from_secs(8)),
        };
        let talk = Span {
            from: Duration::from_secs(1),
            to: Duration::from_secs(20),
        };
        let heard: Vec<_> = steady(0, silent.start)
            .into_iter()
            .chain(steady(silent.end, 21_000))
            .collect();
        let gap = first_gap_outside(
            &heard,
            talk,
            &[outage],
            Duration::from_secs(5),
            PathLoss::NONE,
        );
        let from = gap.map(|gap| gap.from);
        assert_eq!(from, gap_at_ms.map(Duration::from_millis));
    }

    #[test]
    fn silence_in_an_outage_is_no_gap() {
        check_outage(5_000..8_000, None);
        check_outage(5_000..12_980, None);
    }

    #[test]
    fn silence_before_an_outage_is_a_gap() {
        check_outage(4_000..8_000, Some(3_000));
    }

    #[test]
    fn silence_after_the_time_to_come_back_is_a_gap() {
        check_outage(5_000..13_400, Some(13_000));
        check_outage(5_000..21_000, Some(13_000));
        check_outage(16_000..16_300, Some(15_000));
    }
}
