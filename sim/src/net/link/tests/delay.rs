//! How long packets take.

use super::statistics::{kolmogorov_smirnov, normal};
use super::*;

const DELAY: Duration = Duration::from_millis(20);

const PACKETS: u64 = 20_000;

const UNIFORM: Jitter = Jitter::Uniform {
    up_to: milliseconds(10),
};
const NORMAL: Jitter = Jitter::Normal {
    mean: milliseconds(10),
    deviation: milliseconds(3),
};
/// A sixth of this bell curve is under zero.
const CUT_NORMAL: Jitter = Jitter::Normal {
    mean: milliseconds(3),
    deviation: milliseconds(3),
};
const EXPONENTIAL: Jitter = Jitter::Exponential {
    mean: milliseconds(5),
};
const JITTERS: [Jitter; 4] = [UNIFORM, NORMAL, CUT_NORMAL, EXPONENTIAL];

/// The probability that a packet takes at most `seconds` on a link with the delay [`DELAY`].
fn at_most(jitter: Jitter, seconds: f64) -> f64 {
    let added = seconds - DELAY.as_secs_f64();
    if added < 0.0 {
        return 0.0;
    }
    match jitter {
        Jitter::None => 1.0,
        Jitter::Uniform { up_to } => (added / up_to.as_secs_f64()).min(1.0),
        Jitter::Normal { mean, deviation } => {
            let standard = |x: f64| normal((x - mean.as_secs_f64()) / deviation.as_secs_f64());
            let cut = standard(0.0);
            (standard(added) - cut) / (1.0 - cut)
        }
        Jitter::Exponential { mean } => 1.0 - (-added / mean.as_secs_f64()).exp(),
    }
}

/// The times that packets take which are sent `interval` apart.
fn delays(config: LinkConfig, interval: Duration) -> Vec<f64> {
    let mut link = Link::new(config);
    let mut rng = generator();
    let mut now = Duration::ZERO;
    (0..PACKETS)
        .map(|_| {
            now += interval;
            let arrived = arrival(link.transmit(now, AUDIO, &mut rng)).at;
            arrived.saturating_sub(now).as_secs_f64()
        })
        .collect()
}

/// Checks that a link with `actual` delays packets as one with the delay [`DELAY`] and `claimed` does.
fn check(claimed: Jitter, actual: LinkConfig, interval: Duration) -> Result<(), String> {
    let sample = delays(actual, interval);
    kolmogorov_smirnov(sample, |seconds| at_most(claimed, seconds))
}

fn jittery(jitter: Jitter, order: Order) -> LinkConfig {
    LinkConfig {
        jitter,
        order,
        ..LinkConfig::lossless(DELAY)
    }
}

#[test]
fn delays_are_distributed_as_was_set() {
    for jitter in JITTERS {
        for packets_per_second in [20, 50, 1000] {
            let interval = Duration::from_secs(1) / packets_per_second;
            check(jitter, jittery(jitter, Order::Jittered), interval)
                .unwrap_or_else(|error| panic!("{jitter:?}: {error}"));
        }
    }
}

#[test]
fn delays_are_distributed_as_was_set_where_the_order_is_kept_and_no_packet_waits_for_another() {
    for jitter in JITTERS {
        check(jitter, jittery(jitter, Order::Kept), milliseconds(200))
            .unwrap_or_else(|error| panic!("{jitter:?}: {error}"));
    }
}

#[test]
fn a_bent_delay_is_noticed() {
    for jitter in JITTERS {
        let bent = LinkConfig {
            delay: DELAY.mul_f64(1.05),
            ..jittery(jitter, Order::Jittered)
        };
        check(jitter, bent, milliseconds(20)).expect_err("the delay is 5 % longer");
    }
}

#[test]
fn a_bent_jitter_is_noticed() {
    let longer = |duration: Duration| duration.mul_f64(1.05);
    for jitter in JITTERS {
        let bent = match jitter {
            Jitter::None => Jitter::None,
            Jitter::Uniform { up_to } => Jitter::Uniform {
                up_to: longer(up_to),
            },
            Jitter::Normal { mean, deviation } => Jitter::Normal {
                mean: longer(mean),
                deviation: longer(deviation),
            },
            Jitter::Exponential { mean } => Jitter::Exponential { mean: longer(mean) },
        };
        let bent = jittery(bent, Order::Jittered);
        check(jitter, bent, milliseconds(20)).expect_err("the jitter is 5 % longer");
    }
}

#[test]
fn a_bell_curve_that_is_cut_another_way_is_noticed() {
    // What is under zero becomes zero, instead of being drawn again.
    let mut sample = delays(jittery(CUT_NORMAL, Order::Jittered), milliseconds(20));
    let at_zero = sample.len() / 6;
    for delay in sample.iter_mut().take(at_zero) {
        *delay = DELAY.as_secs_f64();
    }
    kolmogorov_smirnov(sample, |seconds| at_most(CUT_NORMAL, seconds))
        .expect_err("a sixth of the packets has no jitter");
}
