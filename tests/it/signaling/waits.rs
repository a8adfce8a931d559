//! How long a client waits before it comes back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, TryRng};
use rand_chacha::ChaCha8Rng;
use ringtrue::config::{Jitter, SignalingConfig};
use ringtrue::signaling::backoff::Backoff;
use ringtrue::signaling::socket::SocketEvent;

use super::bench::check;
use super::client::{POLLING, WEBSOCKET};
use super::server::Reaction;

const SECOND: Duration = Duration::from_secs(1);

/// Hands out these numbers of `[0, 1)`, and no more.
struct Sequence<'a>(std::slice::Iter<'a, f64>);

impl TryRng for Sequence<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("a wait takes one number of 64 bits")
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let number = self.0.next().expect("a number for each wait");
        // The 53 high bits become the number.
        Ok(((number * 2_f64.powi(53)) as u64) << 11)
    }

    fn try_fill_bytes(&mut self, _bytes: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("a wait takes one number of 64 bits")
    }
}

/// The formula of the reference clients in their own words, before they bound it.
fn reference(min: u64, attempt: u32, jitter: f64, random: f64) -> u64 {
    #[expect(clippy::cast_precision_loss)]
    let milliseconds = (min * 2_u64.pow(attempt - 1)) as f64;
    let deviation = (random * jitter * milliseconds).floor();
    let is_even = (random * 10.0).floor() % 2.0 == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let result = if is_even {
        milliseconds - deviation
    } else {
        milliseconds + deviation
    } as u64;
    result
}

fn delays(min: u64, max: u64, factor: f64, jitter: Jitter, numbers: &[f64]) -> Vec<u64> {
    let [min, max] = [min, max].map(Duration::from_millis);
    let mut backoff = Backoff::new(min, max, factor, jitter);
    let mut generator = Sequence(numbers.iter());
    let delay = |_| {
        let delay = backoff.next_delay(&mut generator).as_millis();
        u64::try_from(delay).expect("a short one")
    };
    numbers.iter().map(delay).collect()
}

#[test]
fn r36_the_waits_are_those_of_the_reference_clients() {
    const NUMBERS: [f64; 8] = [0.123, 0.25, 0.999, 0.5, 0.777, 0.0, 0.0999, 0.3];
    // Of the JavaScript client's formula, as Node computes it.
    let computed: [(u64, u64, f64, [u64; 8]); 3] = [
        (
            2_000,
            10_000,
            0.5,
            [2123, 3500, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000],
        ),
        (
            1_000,
            60_000,
            0.3,
            [1036, 1850, 5198, 9200, 19_729, 32_000, 60_000, 60_000],
        ),
        (
            500,
            4_000,
            1.0,
            [561, 750, 3998, 4000, 4000, 4000, 4000, 4000],
        ),
    ];
    for (min, max, factor, expected) in computed {
        let waits = delays(min, max, factor, Jitter::BeforeCap, &NUMBERS);
        assert_eq!(waits, expected);
    }
}

#[test]
fn r36_both_modes_follow_the_formula_for_any_numbers() {
    let mut generator = ChaCha8Rng::seed_from_u64(36);
    for _ in 0..500 {
        let min = generator.random_range(1..5_000);
        let max = min + generator.random_range(0..100_000);
        let factor = generator.random_range(0..=100_u32);
        let factor = f64::from(factor) / 100.0;
        let numbers: Vec<f64> = (0..12).map(|_| generator.random()).collect();
        let formula = |number: (usize, &f64)| {
            let attempt = u32::try_from(number.0 + 1).expect("twelve");
            reference(min, attempt, factor, *number.1)
        };
        let unbounded: Vec<u64> = numbers.iter().enumerate().map(formula).collect();
        let javascript: Vec<u64> = unbounded.iter().map(|wait| (*wait).min(max)).collect();
        let java: Vec<u64> = javascript.iter().map(|wait| (*wait).max(min)).collect();
        let waits = |jitter| delays(min, max, factor, jitter, &numbers);
        assert_eq!(waits(Jitter::BeforeCap), javascript);
        assert_eq!(waits(Jitter::BeforeBounds), java);
    }
}

#[test]
fn r36_a_client_waits_as_the_formula_says() {
    check(|bench| async move {
        bench.server.on_request(|_| Reaction::Close);
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        for expected in [500, 1_000, 2_000, 4_000, 4_000] {
            let expected = Duration::from_millis(expected);
            assert_eq!(client.wait().await, expected);
            let from = bench.now();
            client
                .first(|event| matches!(event, SocketEvent::ReconnectAttempt { .. }).then_some(()))
                .await;
            let waited = bench.since(from);
            assert!(waited.abs_diff(expected) <= Duration::from_millis(1));
        }
    });
}

#[test]
fn r37_the_default_waits_are_spread_over_half_of_the_cap_and_none_is_likely() {
    const CLIENTS: u32 = 20_000;
    let config = SignalingConfig::default();
    assert_eq!(config.jitter, Jitter::AfterCap);
    let backoff = || {
        Backoff::new(
            config.reconnection_delay,
            config.reconnection_delay_max,
            config.randomization_factor,
            config.jitter,
        )
    };
    let cap = config.reconnection_delay_max.as_millis();
    for attempt in 5..=12 {
        let mut generator = ChaCha8Rng::seed_from_u64(37 + attempt);
        let mut counts: BTreeMap<u128, u32> = BTreeMap::new();
        for _ in 0..CLIENTS {
            let mut backoff = backoff();
            for _ in 1..attempt {
                backoff.skip_delay();
            }
            let delay = backoff.next_delay(&mut generator);
            *counts.entry(delay.as_millis()).or_default() += 1;
        }
        let likeliest = *counts.values().max().expect("many");
        assert!(likeliest < CLIENTS / 100, "{likeliest} of {CLIENTS}");
        // Some are within 1 % of the cap to either end of a half of it.
        let (first, last) = (counts.keys().next(), counts.keys().next_back());
        let (first, last) = (*first.expect("many"), *last.expect("many"));
        assert!(
            last <= cap && last - first >= cap * 49 / 100,
            "{first}..{last}"
        );
    }
    // The ends themselves, which few meet.
    let end = |number: f64| {
        let mut backoff = backoff();
        for _ in 1..5 {
            backoff.skip_delay();
        }
        let numbers = [number];
        backoff
            .next_delay(&mut Sequence(numbers.iter()))
            .as_millis()
    };
    assert_eq!(end(1.0 - 2_f64.powi(-53)) - end(0.0), cap / 2);
}

#[test]
fn r38_waits_grow_until_a_connection_was_stable() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            let stable_after = SignalingConfig::default().stable_after;
            let mut client = bench.connected(transports).await;
            // A server that accepts and closes.
            for expected in [500, 1_000, 2_000, 4_000, 4_000] {
                bench.server.close_connections();
                let delay = client.wait().await;
                assert_eq!(delay, Duration::from_millis(expected));
                client.connected().await;
            }
            // Half of the time is not enough, whatever the network adds to it.
            tokio::time::sleep(stable_after / 2).await;
            bench.server.close_connections();
            assert_eq!(client.wait().await, 4 * SECOND);
            client.connected().await;
            tokio::time::sleep(stable_after).await;
            bench.server.close_connections();
            assert_eq!(client.wait().await, Duration::from_millis(500));
            client.connected().await;
            bench.server.close_connections();
            assert_eq!(client.wait().await, SECOND);
        });
    }
}

#[test]
fn r38_waits_grow_where_the_server_never_lets_a_client_in() {
    // It opens a session and closes it instead of an answer to CONNECT.
    check(|bench| async move {
        bench.server.set(|settings| settings.connect_reply = None);
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        let waits = [500, 1_000, 2_000, 4_000, 4_000];
        for (failures, expected) in waits.into_iter().enumerate() {
            bench
                .server
                .until(|record| record.texts("40").len() > failures)
                .await;
            // However long it was up: it was not joined.
            tokio::time::sleep(15 * SECOND).await;
            bench.server.close_connections();
            let delay = client.wait().await;
            assert_eq!(delay, Duration::from_millis(expected));
        }
    });
}
