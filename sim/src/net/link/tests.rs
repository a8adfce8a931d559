//! What a link does is what was set, and a link that does something else would be noticed.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::net::loss::GilbertElliott;

mod delay;
mod shares;
mod statistics;

pub(super) const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn probability(parts_per_million: u32) -> Probability {
    Probability::from_parts_per_million(parts_per_million).expect("a probability")
}

pub(super) fn generator() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

/// A packet of audio.
const AUDIO: Parcel = Parcel {
    size_bytes: 200,
    protocol: Protocol::Udp,
    class: TrafficClass::ExpeditedForwarding,
};

const SEGMENT: Parcel = Parcel {
    size_bytes: 1200,
    protocol: Protocol::Tcp,
    class: TrafficClass::BestEffort,
};

fn arrival(transmission: Transmission) -> Arrival {
    match transmission {
        Transmission::Arrives(arrival) | Transmission::Duplicated([arrival, _]) => arrival,
        Transmission::Dropped(cause) => panic!("dropped: {cause}"),
    }
}

#[test]
fn a_packet_arrives_after_the_delay() {
    let delay = Duration::from_micros(7_250);
    let mut link = Link::new(LinkConfig::lossless(delay));
    let arrived = arrival(link.transmit(milliseconds(3), AUDIO, &mut generator()));
    assert_eq!(arrived.at, Duration::from_micros(10_250));
    assert_eq!(arrived.damage, Damage::None);
}

#[test]
fn a_shorter_delay_does_not_let_packets_overtake() {
    let mut rng = generator();
    let mut link = Link::new(LinkConfig::lossless(milliseconds(100)));
    let first = link.transmit(Duration::ZERO, AUDIO, &mut rng);
    link.reconfigure(LinkConfig::lossless(milliseconds(1)));
    let second = link.transmit(milliseconds(1), AUDIO, &mut rng);
    assert_eq!(first, second);
}

#[test]
fn a_packet_longer_than_the_mtu_is_dropped_whatever_its_protocol() {
    let mut rng = generator();
    let mut link = Link::new(LinkConfig {
        mtu_bytes: NonZero::new(1000),
        ..LinkConfig::default()
    });
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut of_size = |size_bytes| {
            let parcel = Parcel {
                size_bytes,
                protocol,
                ..AUDIO
            };
            link.transmit(Duration::ZERO, parcel, &mut rng)
        };
        assert_eq!(of_size(1001), Transmission::Dropped(DropCause::TooLarge));
        arrival(of_size(1000));
    }
}

#[test]
fn no_setting_shifts_what_a_later_packet_meets() {
    let next_draw_after = |config| {
        let mut rng = generator();
        let mut link = Link::new(config);
        for packet in 0..100 {
            let _ = link.transmit(milliseconds(packet), AUDIO, &mut rng);
        }
        rng.next_u64()
    };
    let plain = next_draw_after(LinkConfig::default());
    let bursts = GilbertElliott::new(probability(300_000), 3_000).expect("a channel");
    let eventful = LinkConfig {
        jitter: Jitter::Normal {
            mean: milliseconds(1),
            deviation: milliseconds(5),
        },
        order: Order::Jittered,
        loss: LossModel::GilbertElliott(bursts),
        duplication: probability(500_000),
        corruption: Corruption {
            probability: probability(500_000),
            undetected: probability(500_000),
        },
        mtu_bytes: NonZero::new(100),
        ..LinkConfig::default()
    };
    assert_eq!(next_draw_after(eventful), plain);
    let passing = LinkConfig {
        mtu_bytes: None,
        ..eventful
    };
    assert_eq!(next_draw_after(passing), plain);
}

#[test]
fn what_a_link_loses_does_not_depend_on_its_other_settings() {
    let lost = |config: LinkConfig| -> Vec<bool> {
        let mut rng = generator();
        let mut link = Link::new(config.with_loss(probability(100_000)));
        let sent = (0..1000).map(|packet| link.transmit(milliseconds(packet), AUDIO, &mut rng));
        sent.map(|transmission| matches!(transmission, Transmission::Dropped(_)))
            .collect()
    };
    let jitter = Jitter::Exponential {
        mean: milliseconds(5),
    };
    let jittery = LinkConfig {
        jitter,
        duplication: probability(100_000),
        ..LinkConfig::default()
    };
    assert_eq!(lost(LinkConfig::default()), lost(jittery));
}

/// Sends 1000 packets a millisecond apart over a link with much jitter. Gives the times of arrival.
#[track_caller]
fn sent_over(order: Order, parcel: Parcel) -> Vec<Duration> {
    let jitter = Jitter::Uniform {
        up_to: milliseconds(20),
    };
    let mut link = Link::new(LinkConfig {
        jitter,
        order,
        duplication: probability(100_000),
        ..LinkConfig::default()
    });
    let mut rng = generator();
    (0..1000)
        .flat_map(
            |packet| match link.transmit(milliseconds(packet), parcel, &mut rng) {
                Transmission::Arrives(arrival) => vec![arrival.at],
                Transmission::Duplicated(arrivals) => arrivals.map(|arrival| arrival.at).to_vec(),
                Transmission::Dropped(cause) => panic!("dropped: {cause}"),
            },
        )
        .collect()
}

#[test]
fn no_packet_overtakes_where_the_order_is_kept() {
    assert!(sent_over(Order::Kept, AUDIO).is_sorted());
}

#[test]
fn packets_overtake_where_it_is_not() {
    let arrivals = sent_over(Order::Jittered, AUDIO);
    let overtaken = arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(overtaken > arrivals.len() / 3, "only {overtaken} overtook");
}

#[test]
fn segments_of_tcp_never_overtake_each_other() {
    assert!(sent_over(Order::Jittered, SEGMENT).is_sorted());
}

#[test]
fn nothing_takes_less_than_the_least_delay() {
    let config = LinkConfig {
        jitter: Jitter::Normal {
            mean: milliseconds(1),
            deviation: milliseconds(10),
        },
        order: Order::Jittered,
        ..LinkConfig::default()
    };
    let mut link = Link::new(config);
    let mut rng = generator();
    for packet in 0..10_000 {
        let sent = milliseconds(packet);
        let arrived = arrival(link.transmit(sent, AUDIO, &mut rng)).at;
        assert!(arrived >= sent + config.delay_min());
    }
}

#[test]
fn damage_that_no_checksum_tells_flips_one_bit_of_the_payload() {
    for bit in [0, 1, 79, 80, u32::MAX] {
        let mut payload = [0_u8; 10];
        Damage::Undetected { bit }.apply(&mut payload);
        let flipped: u32 = payload.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(flipped, 1);
    }
    Damage::Undetected { bit: 5 }.apply(&mut []);
    let mut payload = [0_u8; 10];
    Damage::Detected.apply(&mut payload);
    assert_eq!(payload, [0; 10]);
}
