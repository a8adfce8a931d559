//! Links as they are met, by name.
//!
//! The numbers are published ones, each named with its source; where a source gives a latency *l*
//! with a jitter of ±*j*, the link has the delay *l* - *j* and a uniform jitter up to 2 *j*, and where
//! it gives a round trip, each direction has half of it. Queues are those of [`Rate::new`]. A preset is
//! a place to begin: real links of one kind differ by more than the kinds do.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use serde::Deserialize;

use super::{Jitter, LinkConfig, LinkPair, Rate};
use crate::net::loss::{GilbertElliott, LossModel, Probability};

/// A link by its well-known name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkPreset {
    /// A wireless LAN with other users. At least 2 ms, and an exponential wait of 12 ms on average,
    /// each way: half of the round trips over the hop take more than 24 ms, one in ten more than
    /// 50 ms. Milder than the campus of C. Pei et al., "`WiFi` can be the weakest link of round
    /// trip network latency in the wild", INFOCOM 2016, where the hop took over 20 ms for half of the
    /// packets and over 100 ms for one in ten. 0.2 % loss (Codavel, "Real-world latency and packet
    /// loss"), in bursts of 2 (the Wi-Fi of the crate `str0m-netem`). Without a rate, for it exceeds by
    /// far what a call needs.
    Wifi,
    /// Fibre to the home: 20 Mbps down, 5 Mbps up, 4 ms round trip (`FIOS` of `WebPageTest`'s
    /// connectivity profiles).
    Fibre,
    /// A slow DSL line: 1.5 Mbps down, 384 kbps up, 50 ms round trip (`DSL` of `WebPageTest`'s
    /// connectivity profiles).
    Dsl,
    /// A good mobile network: 100 Mbps down, 50 Mbps up, 45 ms each way, ±5 ms down and ±15 ms up,
    /// 0.2 % loss (`4G` of Loadero's network conditions, which are made to test calls).
    Lte,
    /// An old mobile network: 1.6 Mbps down, 768 kbps up, 300 ms round trip (`3G` of `WebPageTest`'s
    /// connectivity profiles), with ±50 ms and 0.5 % loss (`3G` of Loadero's network conditions).
    #[serde(rename = "3g")]
    ThreeG,
    /// A geostationary satellite: 600 ms round trip (G. Huston, "Testing LEO and GEO satellite services
    /// in Australia", APNIC 2022, where the propagation alone is 478 ms to 568 ms), of which 20 ms
    /// each way are an exponential wait; 1 Mbps down, 256 kbps up (`Satellite phone` of Loadero's
    /// network conditions); 3 % loss in bursts of 3 (the satellite of the crate `str0m-netem`).
    Satellite,
    /// A bottleneck that others fill: 1 Mbps, 50 ms each way, up to 30 ms of jitter, a queue of
    /// 300 ms with tail drop (the reference path of the test cases for real-time media, RFC 8867
    /// section 5). In place of the competing traffic of those tests it loses 10 % in bursts of 2
    /// (the congested network of the crate `str0m-netem`); upwards half as much, since most homes
    /// and offices fetch more than they send.
    Congested,
    /// The last metres into a lift: an LTE link at the edge of its coverage. 20 % loss (`20% packetloss`
    /// of Loadero's network conditions), in bursts of 10 packets, 200 ms of audio; 1 Mbps down
    /// and 256 kbps up, and waits of 60 ms on average for the repetitions of the radio. No published
    /// measurement of such a link is known to us, so all but the loss are estimates.
    Elevator,
}

impl LinkPreset {
    /// All presets, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Wifi,
        Self::Fibre,
        Self::Dsl,
        Self::Lte,
        Self::ThreeG,
        Self::Satellite,
        Self::Congested,
        Self::Elevator,
    ];

    /// The name as it is written in files and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wifi => "wifi",
            Self::Fibre => "fibre",
            Self::Dsl => "dsl",
            Self::Lte => "lte",
            Self::ThreeG => "3g",
            Self::Satellite => "satellite",
            Self::Congested => "congested",
            Self::Elevator => "elevator",
        }
    }

    /// What the name stands for.
    #[must_use]
    pub fn links(self) -> LinkPair {
        match self {
            Self::Wifi => LinkPair::symmetric(LinkConfig {
                jitter: exponential(12),
                loss: bursts(2_000, 2),
                ..delayed(2)
            }),
            Self::Fibre => LinkPair {
                up: rated(5_000, delayed(2)),
                down: rated(20_000, delayed(2)),
            },
            Self::Dsl => LinkPair {
                up: rated(384, delayed(25)),
                down: rated(1_500, delayed(25)),
            },
            Self::Lte => LinkPair {
                up: rated(50_000, spread(45, 15)).with_loss(loss(2_000)),
                down: rated(100_000, spread(45, 5)).with_loss(loss(2_000)),
            },
            Self::ThreeG => LinkPair {
                up: rated(768, spread(150, 50)).with_loss(loss(5_000)),
                down: rated(1_600, spread(150, 50)).with_loss(loss(5_000)),
            },
            Self::Satellite => {
                let hop = LinkConfig {
                    jitter: exponential(20),
                    loss: bursts(30_000, 3),
                    ..delayed(280)
                };
                LinkPair {
                    up: rated(256, hop),
                    down: rated(1_000, hop),
                }
            }
            Self::Congested => {
                let bottleneck = |parts| LinkConfig {
                    jitter: Jitter::Uniform {
                        up_to: Duration::from_millis(30),
                    },
                    loss: bursts(parts, 2),
                    ..rated(1_000, delayed(50))
                };
                LinkPair {
                    up: bottleneck(50_000),
                    down: bottleneck(100_000),
                }
            }
            Self::Elevator => {
                let edge = LinkConfig {
                    jitter: exponential(60),
                    loss: bursts(200_000, 10),
                    ..delayed(40)
                };
                LinkPair {
                    up: rated(256, edge),
                    down: rated(1_000, edge),
                }
            }
        }
    }
}

impl fmt::Display for LinkPreset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

const fn delayed(milliseconds: u64) -> LinkConfig {
    LinkConfig::lossless(Duration::from_millis(milliseconds))
}

/// A latency ± a jitter, both in milliseconds.
const fn spread(latency: u64, jitter: u64) -> LinkConfig {
    LinkConfig {
        jitter: Jitter::Uniform {
            up_to: Duration::from_millis(2 * jitter),
        },
        ..delayed(latency - jitter)
    }
}

const fn exponential(milliseconds: u64) -> Jitter {
    Jitter::Exponential {
        mean: Duration::from_millis(milliseconds),
    }
}

fn rated(kbps: u32, config: LinkConfig) -> LinkConfig {
    let kbps = NonZero::new(kbps).expect("a preset has a rate over zero or none");
    LinkConfig {
        rate: Some(Rate::new(kbps)),
        ..config
    }
}

fn loss(parts_per_million: u32) -> Probability {
    Probability::from_parts_per_million(parts_per_million).expect("a preset loses less than all")
}

fn bursts(parts_per_million: u32, packets: u32) -> LossModel {
    let bursts = GilbertElliott::new(loss(parts_per_million), packets * 1000);
    LossModel::GilbertElliott(bursts.expect("a preset has bursts that a channel can have"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn every_preset_reads_back_from_its_name() {
        let mut names = BTreeSet::new();
        for preset in LinkPreset::ALL {
            let name = StrDeserializer::<Error>::new(preset.as_str());
            assert_eq!(LinkPreset::deserialize(name), Ok(preset));
            assert!(names.insert(preset.to_string()));
        }
    }

    #[test]
    fn every_preset_is_a_link_that_the_world_can_have() {
        for preset in LinkPreset::ALL {
            let LinkPair { up, down } = preset.links();
            for link in [up, down] {
                assert!(link.delay_min() >= crate::world::DELAY_MIN, "{preset}");
            }
            let rates = [up, down].map(|link| link.rate.map(|rate| rate.kbps));
            assert!(
                rates[0] <= rates[1],
                "{preset} sends faster than it fetches"
            );
        }
    }
}
