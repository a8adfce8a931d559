//! How a call sounds, as a number: the E-model of ITU-T G.107, as far as a packet network decides it.
//!
//! The narrowband model is used with its default values for everything but delay and loss. G.113 has no
//! values for Opus. As estimators for WebRTC do, an impairment of 0 is taken for Opus without loss and a
//! robustness to loss of 10 without in-band error correction, so that the results compare calls with each
//! other; they are no measurements of speech.

use std::time::Duration;

/// The rating of a call that nothing impairs, with the defaults of G.107.
const UNIMPAIRED: f64 = 93.2;

/// Equipment impairment (*Ie*) of Opus without loss.
const EQUIPMENT_IMPAIRMENT: f64 = 0.0;

/// Packet-loss robustness (*Bpl*) of Opus without in-band error correction.
const LOSS_ROBUSTNESS: f64 = 10.0;

/// The mean opinion, from 1 (bad) to 4.5 (as good as narrowband gets), of audio of which a share of
/// packets is lost (0 to 1), in bursts of `burst_ratio` times what single losses would make (1 for single
/// ones), with this delay from mouth to ear.
///
/// ```
/// use std::time::Duration;
///
/// use ringtrue::audio::mos::mean_opinion;
///
/// let good = mean_opinion(0.0, 1.0, Duration::from_millis(100));
/// assert!(good > 4.3);
/// let broken = mean_opinion(0.2, 1.0, Duration::from_millis(100));
/// assert!(broken < 2.0);
/// ```
#[must_use]
pub fn mean_opinion(lost: f64, burst_ratio: f64, delay: Duration) -> f64 {
    let loss_percent = (lost * 100.0).clamp(0.0, 100.0);
    let of_loss = EQUIPMENT_IMPAIRMENT
        + (95.0 - EQUIPMENT_IMPAIRMENT) * loss_percent
            / (loss_percent / burst_ratio.max(1.0) + LOSS_ROBUSTNESS);
    opinion_of(UNIMPAIRED - of_delay(delay) - of_loss)
}

/// Delay impairment (*Id*), in the usual approximation of G.107 without echo.
fn of_delay(delay: Duration) -> f64 {
    let milliseconds = delay.as_secs_f64() * 1000.0;
    let beyond_conversation = (milliseconds - 177.3).max(0.0);
    0.024 * milliseconds + 0.11 * beyond_conversation
}

/// From the rating to an opinion (G.107 annex B).
fn opinion_of(rating: f64) -> f64 {
    if rating <= 0.0 {
        1.0
    } else if rating >= 100.0 {
        4.5
    } else {
        let opinion = 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6;
        opinion.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loss in per cent, burst ratio and delay in milliseconds, and the opinion to two decimals.
    #[track_caller]
    fn check(loss_percent: f64, burst_ratio: f64, delay_ms: u64, expected: f64) {
        let delay = Duration::from_millis(delay_ms);
        let opinion = mean_opinion(loss_percent / 100.0, burst_ratio, delay);
        assert!((opinion - expected).abs() < 0.01, "{opinion}");
    }

    #[test]
    fn an_unimpaired_call_is_as_good_as_narrowband_gets() {
        check(0.0, 1.0, 0, 4.41);
    }

    #[test]
    fn delay_beyond_conversation_costs_more_than_before() {
        check(0.0, 1.0, 150, 4.33);
        check(0.0, 1.0, 400, 3.05);
    }

    #[test]
    fn loss_costs_and_bursts_cost_more() {
        check(1.0, 1.0, 0, 4.18);
        check(5.0, 1.0, 0, 3.18);
        check(5.0, 2.0, 0, 2.85);
        check(100.0, 1.0, 0, 1.00);
    }

    #[test]
    fn no_loss_or_delay_leaves_the_scale() {
        for percent in 0..=100 {
            for seconds in [0, 1, 10, 3600] {
                let share = f64::from(percent) / 100.0;
                let opinion = mean_opinion(share, 1.0, Duration::from_secs(seconds));
                assert!((1.0..=4.5).contains(&opinion), "{opinion}");
            }
        }
    }
}
