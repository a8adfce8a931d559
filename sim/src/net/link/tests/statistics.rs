//! What the honesty tests measure with. Each gives an error where a measurement is not what it
//! should be, so that a test can also ask for the error.

/// Whether `measured` lies within `tolerance` (a share) of `set`.
pub(super) fn within(tolerance: f64, set: f64, measured: f64) -> Result<(), String> {
    let off = (measured - set).abs() / set;
    if off <= tolerance {
        return Ok(());
    }
    Err(format!(
        "{measured} instead of {set}, off by {:.1} %",
        off * 100.0
    ))
}

/// The test of Kolmogorov and Smirnov: whether `sample` may come from the distribution with the
/// cumulative distribution function `distribution`. A true sample fails in one of 1000 cases.
pub(super) fn kolmogorov_smirnov(
    mut sample: Vec<f64>,
    distribution: impl Fn(f64) -> f64,
) -> Result<(), String> {
    sample.sort_by(f64::total_cmp);
    let count = sample.len() as f64;
    let distance = sample
        .iter()
        .enumerate()
        .map(|(rank, value)| {
            let expected = distribution(*value);
            let below = expected - rank as f64 / count;
            let above = (rank + 1) as f64 / count - expected;
            below.max(above)
        })
        .fold(0.0, f64::max);
    // The asymptotic bound sqrt(-ln(alpha / 2) / 2), for alpha = 0.001.
    let bound = 1.949 / count.sqrt();
    if distance <= bound {
        return Ok(());
    }
    Err(format!("a distance of {distance:.4} is over {bound:.4}"))
}

/// The cumulative distribution function of the standard normal distribution, by formula 26.2.17 of
/// M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", to 7 decimals.
pub(super) fn normal(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = COEFFICIENTS
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let upper_tail = density * series;
    if x < 0.0 {
        upper_tail
    } else {
        1.0 - upper_tail
    }
}
