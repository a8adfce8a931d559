//! How much is lost, doubled and damaged, and in bursts of which length.

use super::statistics::within;
use super::*;

/// Losses from 0.1 % to 30 %, in parts per million.
const LOSSES: [u32; 6] = [1_000, 5_000, 20_000, 50_000, 100_000, 300_000];

/// Losses whose bursts need few enough packets to be measured.
const LOSSES_IN_BURSTS: [u32; 3] = [1_000, 20_000, 300_000];

/// How many packets show a share of `parts` in a million within 10 %: three standard deviations
/// and a half need 35² × (1 - share) / share packets.
fn enough(parts: u32) -> u64 {
    1225 * u64::from(1_000_000 - parts) / u64::from(parts) + 1000
}

/// Sends packets of one rate over a link. Gives which of them are lost.
fn lost(config: LinkConfig, packets_per_second: u64, packets: u64) -> Vec<bool> {
    let mut link = Link::new(config);
    let mut rng = generator();
    (0..packets)
        .map(|packet| {
            let now = Duration::from_micros(packet * 1_000_000 / packets_per_second);
            match link.transmit(now, AUDIO, &mut rng) {
                Transmission::Dropped(cause) => cause == DropCause::Loss,
                Transmission::Arrives(_) | Transmission::Duplicated(_) => false,
            }
        })
        .collect()
}

fn share(events: &[bool]) -> f64 {
    events.iter().filter(|event| **event).count() as f64 / events.len() as f64
}

fn mean_burst(lost: &[bool]) -> f64 {
    let bursts = lost.chunk_by(|a, b| a == b).filter(|run| run[0]);
    let (count, packets) = bursts.fold((0_u32, 0_usize), |(count, packets), run| {
        (count + 1, packets + run.len())
    });
    packets as f64 / f64::from(count)
}

fn in_bursts(parts: u32, packets: u32) -> LinkConfig {
    let bursts = GilbertElliott::new(probability(parts), packets * 1000).expect("a channel");
    LinkConfig {
        loss: LossModel::GilbertElliott(bursts),
        ..LinkConfig::default()
    }
}

/// How many packets show the loss of a bursty channel within 10 %: bursts of *B* packets spread the
/// loss 2 *B* - 1 times as much, and the length of a burst less than that.
fn enough_in_bursts(parts: u32, packets: u32) -> u64 {
    2 * u64::from(packets) * enough(parts)
}

/// Checks the loss of `link` against `parts` in a million.
fn check_loss(
    link: LinkConfig,
    parts: u32,
    packets: u64,
    packets_per_second: u64,
) -> Result<(), String> {
    let measured = share(&lost(link, packets_per_second, packets));
    within(0.1, f64::from(parts) / 1e6, measured)
}

#[test]
fn the_share_of_lost_packets_is_what_was_set() {
    for parts in LOSSES {
        for packets_per_second in [20, 50, 1000] {
            let link = LinkConfig::default().with_loss(probability(parts));
            check_loss(link, parts, enough(parts), packets_per_second)
                .unwrap_or_else(|error| panic!("{parts} in a million: {error}"));
        }
    }
}

#[test]
fn bursts_lose_the_share_and_are_as_long_as_was_set() {
    for parts in LOSSES_IN_BURSTS {
        for burst in [1, 2, 4, 10] {
            // A burst of 10 in 10,000 packets would need too many of them.
            if parts == 1_000 && burst > 4 {
                continue;
            }
            let lost = lost(in_bursts(parts, burst), 50, enough_in_bursts(parts, burst));
            within(0.1, f64::from(parts) / 1e6, share(&lost))
                .and_then(|()| within(0.1, f64::from(burst), mean_burst(&lost)))
                .unwrap_or_else(|error| panic!("{parts} in a million by {burst}: {error}"));
        }
    }
}

#[test]
fn losses_of_each_packet_by_itself_are_no_longer_than_chance_makes_them() {
    let link = LinkConfig::default().with_loss(probability(300_000));
    let measured = mean_burst(&lost(link, 50, 20_000));
    within(0.1, 1.0 / 0.7, measured).expect("bursts of 1 / (1 - loss)");
}

#[test]
fn a_bent_loss_is_noticed() {
    for parts in LOSSES {
        let bent = LinkConfig::default().with_loss(probability(parts * 12 / 10));
        check_loss(bent, parts, enough(parts), 50).expect_err("a fifth more is lost");
    }
    for parts in [20_000, 300_000] {
        let bent = in_bursts(parts * 12 / 10, 4);
        let packets = enough_in_bursts(parts, 4);
        check_loss(bent, parts, packets, 50).expect_err("a fifth more is lost");
    }
}

#[test]
fn bent_bursts_are_noticed() {
    let lost_by_five = lost(in_bursts(50_000, 5), 50, enough_in_bursts(50_000, 5));
    within(0.1, 4.0, mean_burst(&lost_by_five)).expect_err("they are 5 packets long");
    let by_themselves = LinkConfig::default().with_loss(probability(50_000));
    let measured = mean_burst(&lost(by_themselves, 50, 100_000));
    within(0.1, 4.0, measured).expect_err("these are no bursts");
}

/// The measured shares of doubled packets, of damaged ones, and of damage that is not detected.
fn doubled_and_damaged(config: LinkConfig, packets: u64) -> [f64; 3] {
    let mut link = Link::new(config);
    let mut rng = generator();
    let (mut doubled, mut damage) = (Vec::new(), Vec::new());
    for packet in 0..packets {
        match link.transmit(milliseconds(packet), AUDIO, &mut rng) {
            Transmission::Arrives(arrival) => {
                doubled.push(false);
                damage.push(arrival.damage);
            }
            Transmission::Duplicated(arrivals) => {
                doubled.push(true);
                damage.extend(arrivals.map(|arrival| arrival.damage));
            }
            Transmission::Dropped(cause) => panic!("dropped: {cause}"),
        }
    }
    let damaged: Vec<bool> = damage
        .iter()
        .map(|damage| *damage != Damage::None)
        .collect();
    let undetected: Vec<bool> = damage
        .iter()
        .filter(|damage| **damage != Damage::None)
        .map(|damage| matches!(damage, Damage::Undetected { .. }))
        .collect();
    [doubled, damaged, undetected].map(|events| share(&events))
}

fn doubling_and_damaging(parts: u32) -> LinkConfig {
    LinkConfig {
        duplication: probability(parts),
        corruption: Corruption {
            probability: probability(parts),
            undetected: probability(200_000),
        },
        ..LinkConfig::default()
    }
}

#[test]
fn the_shares_of_doubled_and_damaged_packets_are_what_was_set() {
    for parts in [10_000, 100_000, 300_000] {
        // The undetected ones are a share of a share.
        let packets = enough(parts / 5);
        let [doubled, damaged, undetected] =
            doubled_and_damaged(doubling_and_damaging(parts), packets);
        let set = f64::from(parts) / 1e6;
        within(0.1, set, doubled).expect("the share of doubled packets");
        within(0.1, set, damaged).expect("the share of damaged packets");
        within(0.1, 0.2, undetected).expect("the share of undetected damage");
    }
}

#[test]
fn a_bent_share_of_doubled_or_damaged_packets_is_noticed() {
    for parts in [10_000, 100_000, 300_000] {
        let bent = doubling_and_damaging(parts * 12 / 10);
        let [doubled, damaged, _] = doubled_and_damaged(bent, enough(parts / 5));
        let set = f64::from(parts) / 1e6;
        within(0.1, set, doubled).expect_err("a fifth more is doubled");
        within(0.1, set, damaged).expect_err("a fifth more is damaged");
    }
}

#[test]
fn damage_of_tcp_is_always_detected() {
    let mut link = Link::new(LinkConfig {
        corruption: Corruption {
            probability: Probability::ALWAYS,
            undetected: Probability::ALWAYS,
        },
        ..LinkConfig::default()
    });
    let mut rng = generator();
    for _ in 0..100 {
        let segment = arrival(link.transmit(Duration::ZERO, SEGMENT, &mut rng));
        assert_eq!(segment.damage, Damage::Detected);
        let audio = arrival(link.transmit(Duration::ZERO, AUDIO, &mut rng));
        assert!(matches!(audio.damage, Damage::Undetected { .. }));
    }
}
