//! NATs by name: the four classic ones of RFC 3489 section 5 and boxes that are met in the field,
//! each as a plain [`NatConfig`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::{
    AddressPooling, Filtering, Hairpin, Mapping, NatConfig, PortAllocation, PortParity, TcpTimers,
    UdpTimer, UnknownTcp,
};

/// A NAT by its well-known name.
///
/// The first four bear the names of RFC 3489 section 5 and have the timers of
/// [`NatConfig::default`]. The others are boxes as they are met; their numbers are from the sources
/// that each names. *Richter 2016* is P. Richter et al., "A Multi-perspective Analysis of
/// Carrier-Grade NAT Deployment", IMC 2016.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatPreset {
    /// Endpoint-independent mapping and filtering. Met where a carrier's NAT follows RFC 6888, and
    /// in home routers set to "open" for game consoles.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering. Rare; it is the stricter of the
    /// two choices that RFC 4787 REQ-8 recommends.
    AddressRestricted,
    /// Endpoint-independent mapping, address-and-port-dependent filtering. What most home routers
    /// look like from outside while no two of their hosts want the same port.
    PortRestricted,
    /// Address-and-port-dependent mapping and filtering with unpredictable ports and without
    /// hairpinning. Met in company firewalls, in BSD routers as delivered, and in many mobile
    /// carriers' networks. Against [`Self::PortRestricted`] or itself no direct path exists.
    Symmetric,
    /// A router at home: endpoint-independent mapping (under 2 % of those that Richter 2016 saw were
    /// symmetric), port-restricted, ports preserved, no hairpinning of mappings that nobody
    /// configured. The timers are those that `OpenWrt` ships (`nf_conntrack_udp_timeout_stream` 180 s,
    /// `nf_conntrack_tcp_timeout_established` 7440 s), transitory TCP that of Linux (120 s); like
    /// Linux it adopts TCP connections that it does not know.
    Home,
    /// The NAT of a provider, behind which there is one more at home. Two external addresses,
    /// paired, endpoint-independent mapping and filtering, a limit for each subscriber: what RFC
    /// 6888 section 3 asks for (REQ-1, 2, 4 and 7), with 1,024 ports as our own choice of a limit.
    /// Idle UDP lives 35 s, the median of non-cellular carrier-grade NATs in Richter 2016, far
    /// below what RFC 4787 REQ-5 demands.
    CarrierGrade,
    /// The firewall of a company: symmetric, unpredictable ports, no hairpinning, silent to what it
    /// does not know. The timers are the defaults of Huawei USG firewalls: UDP 120 s, TCP 20 min,
    /// transitory TCP 10 s (`display firewall session aging-time`: udp, tcp, fin-rst). Calls there
    /// live on as long as their own keep-alives come.
    Corporate,
    /// A mobile carrier: symmetric, as about 40 % of the cellular carrier-grade NATs in Richter
    /// 2016, two external addresses. Idle UDP lives 65 s, their median; TCP 6 h, as in Twilio's
    /// mobile core ("Super SIM network timeouts").
    Mobile,
    /// A router that does what Linux's `MASQUERADE` does without anything added: a port is kept
    /// unless another host uses it with the same remote endpoint (the port overlapping of RFC 7857
    /// section 3), ports below 1024 stay there, and nothing is hairpinned. To a single host behind
    /// it, it looks like [`Self::PortRestricted`], since each of its mappings has the same port. The
    /// timers are those of the kernel's `nf_conntrack`: UDP 120 s, TCP 5 days, transitory 120 s.
    LinuxRouter,
    /// A router that does what the `nat` rules of pf do as delivered, such as `pfSense` and
    /// `OPNsense`:
    /// symmetric, with random ports from 50001 upwards. The timers are pf's (`pfvar.h`): UDP 60 s,
    /// TCP 24 h, transitory 90 s.
    BsdRouter,
}

impl NatPreset {
    /// All presets: first the four classic ones, from the most to the least permissive.
    pub const ALL: [Self; 10] = [
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::Home,
        Self::CarrierGrade,
        Self::Corporate,
        Self::Mobile,
        Self::LinuxRouter,
        Self::BsdRouter,
    ];

    /// The four of RFC 3489, from the most to the least permissive.
    pub const CLASSIC: [Self; 4] = [
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
    ];

    /// The names of [`Self::ALL`], in the same order.
    pub const NAMES: [&str; 10] = {
        let mut names = [""; 10];
        let mut position = 0;
        while position < names.len() {
            names[position] = Self::ALL[position].as_str();
            position += 1;
        }
        names
    };

    /// The name as it is written in files and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Home => "home",
            Self::CarrierGrade => "carrier-grade",
            Self::Corporate => "corporate",
            Self::Mobile => "mobile",
            Self::LinuxRouter => "linux-router",
            Self::BsdRouter => "bsd-router",
        }
    }

    /// What the name stands for.
    #[must_use]
    pub fn config(self) -> NatConfig {
        let cone = |filtering| NatConfig {
            mapping: Mapping::EndpointIndependent,
            filtering,
            ..NatConfig::default()
        };
        match self {
            Self::FullCone => cone(Filtering::EndpointIndependent),
            Self::AddressRestricted => cone(Filtering::AddressDependent),
            Self::PortRestricted => cone(Filtering::AddressAndPortDependent),
            Self::Symmetric => symmetric(),
            Self::Home => NatConfig {
                parity: PortParity::Ignored,
                hairpin: Hairpin::Refused,
                unknown_tcp: UnknownTcp::Adopted,
                udp_timer: udp_timer(180),
                tcp_timers: tcp_timers(7440, 120),
                ..cone(Filtering::AddressAndPortDependent)
            },
            Self::CarrierGrade => NatConfig {
                port_allocation: PortAllocation::Random,
                pooling: AddressPooling::Paired,
                ports_per_host: Some(1024),
                udp_timer: udp_timer(35),
                ..cone(Filtering::EndpointIndependent)
            },
            Self::Corporate => NatConfig {
                udp_timer: udp_timer(120),
                tcp_timers: tcp_timers(1200, 10),
                ..symmetric()
            },
            Self::Mobile => NatConfig {
                udp_timer: udp_timer(65),
                tcp_timers: tcp_timers(6 * 3600, 240),
                ..symmetric()
            },
            Self::LinuxRouter => NatConfig {
                mapping: Mapping::AddressAndPortDependent,
                filtering: Filtering::AddressAndPortDependent,
                port_allocation: PortAllocation::Overlapping,
                port_range: 1..=65535,
                parity: PortParity::Ignored,
                hairpin: Hairpin::Refused,
                unknown_tcp: UnknownTcp::Adopted,
                udp_timer: udp_timer(120),
                tcp_timers: tcp_timers(5 * 86_400, 120),
                ..NatConfig::default()
            },
            Self::BsdRouter => NatConfig {
                port_range: 50001..=65535,
                udp_timer: udp_timer(60),
                tcp_timers: tcp_timers(86_400, 90),
                ..symmetric()
            },
        }
    }

    /// How many external addresses such a box has, where nobody says.
    #[must_use]
    pub const fn addresses(self) -> usize {
        match self {
            Self::CarrierGrade | Self::Mobile => 2,
            Self::FullCone
            | Self::AddressRestricted
            | Self::PortRestricted
            | Self::Symmetric
            | Self::Home
            | Self::Corporate
            | Self::LinuxRouter
            | Self::BsdRouter => 1,
        }
    }
}

fn symmetric() -> NatConfig {
    NatConfig {
        mapping: Mapping::AddressAndPortDependent,
        filtering: Filtering::AddressAndPortDependent,
        port_allocation: PortAllocation::Random,
        parity: PortParity::Ignored,
        hairpin: Hairpin::Refused,
        ..NatConfig::default()
    }
}

fn udp_timer(idle_secs: u64) -> UdpTimer {
    UdpTimer {
        idle: Duration::from_secs(idle_secs),
        ..UdpTimer::default()
    }
}

fn tcp_timers(established_secs: u64, transitory_secs: u64) -> TcpTimers {
    TcpTimers {
        established: Duration::from_secs(established_secs),
        transitory: Duration::from_secs(transitory_secs),
    }
}

impl From<NatPreset> for NatConfig {
    fn from(preset: NatPreset) -> Self {
        preset.config()
    }
}

impl fmt::Display for NatPreset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for NatPreset {
    type Err = UnknownNatPreset;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.as_str() == name)
            .ok_or_else(|| UnknownNatPreset {
                name: name.to_owned(),
            })
    }
}

/// A name that no preset has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown nat {name:?}, known are {}", NatPreset::NAMES.join(", "))]
pub struct UnknownNatPreset {
    /// The name that was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name_and_an_unknown_one_lists_them() {
        for preset in NatPreset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
        }
        let error = "cone"
            .parse::<NatPreset>()
            .expect_err("no such preset")
            .to_string();
        for preset in NatPreset::ALL {
            assert!(error.contains(preset.as_str()), "{error}");
        }
    }

    #[test]
    fn the_classic_presets_have_the_mapping_and_filtering_of_rfc_3489() {
        let table = NatPreset::CLASSIC.map(|preset| {
            let config = preset.config();
            (config.mapping, config.filtering)
        });
        assert_eq!(
            table,
            [
                (Mapping::EndpointIndependent, Filtering::EndpointIndependent),
                (Mapping::EndpointIndependent, Filtering::AddressDependent),
                (
                    Mapping::EndpointIndependent,
                    Filtering::AddressAndPortDependent
                ),
                (
                    Mapping::AddressAndPortDependent,
                    Filtering::AddressAndPortDependent
                ),
            ]
        );
    }

    #[test]
    fn names_stand_in_the_order_of_the_presets() {
        assert_eq!(NatPreset::NAMES, NatPreset::ALL.map(NatPreset::as_str));
    }

    #[test]
    fn each_preset_behaves_as_its_box_does() {
        use Filtering as F;
        use Mapping as M;
        use PortAllocation as P;
        let cone = (
            PortParity::Preserved,
            Hairpin::Translated,
            UnknownTcp::Silent,
        );
        let closed = (PortParity::Ignored, Hairpin::Refused, UnknownTcp::Silent);
        let linux = (PortParity::Ignored, Hairpin::Refused, UnknownTcp::Adopted);
        let symmetric = (M::AddressAndPortDependent, F::AddressAndPortDependent);
        for (preset, (mapping, filtering), ports, others) in [
            (
                NatPreset::FullCone,
                (M::EndpointIndependent, F::EndpointIndependent),
                P::Preserving,
                cone,
            ),
            (
                NatPreset::AddressRestricted,
                (M::EndpointIndependent, F::AddressDependent),
                P::Preserving,
                cone,
            ),
            (
                NatPreset::PortRestricted,
                (M::EndpointIndependent, F::AddressAndPortDependent),
                P::Preserving,
                cone,
            ),
            (NatPreset::Symmetric, symmetric, P::Random, closed),
            (
                NatPreset::Home,
                (M::EndpointIndependent, F::AddressAndPortDependent),
                P::Preserving,
                linux,
            ),
            (
                NatPreset::CarrierGrade,
                (M::EndpointIndependent, F::EndpointIndependent),
                P::Random,
                cone,
            ),
            (NatPreset::Corporate, symmetric, P::Random, closed),
            (NatPreset::Mobile, symmetric, P::Random, closed),
            (NatPreset::LinuxRouter, symmetric, P::Overlapping, linux),
            (NatPreset::BsdRouter, symmetric, P::Random, closed),
        ] {
            let config = preset.config();
            assert_eq!(
                (config.mapping, config.filtering),
                (mapping, filtering),
                "{preset}"
            );
            assert_eq!(config.port_allocation, ports, "{preset}");
            let found = (config.parity, config.hairpin, config.unknown_tcp);
            assert_eq!(found, others, "{preset}");
        }
    }

    #[test]
    fn each_preset_has_the_numbers_of_its_sources() {
        // Seconds of idle UDP, of established and of transitory TCP.
        for (preset, timers, first_port, ports_per_host, addresses) in [
            (NatPreset::FullCone, (300, 7440, 240), 1024, None, 1),
            (
                NatPreset::AddressRestricted,
                (300, 7440, 240),
                1024,
                None,
                1,
            ),
            (NatPreset::PortRestricted, (300, 7440, 240), 1024, None, 1),
            (NatPreset::Symmetric, (300, 7440, 240), 1024, None, 1),
            (NatPreset::Home, (180, 7440, 120), 1024, None, 1),
            (
                NatPreset::CarrierGrade,
                (35, 7440, 240),
                1024,
                Some(1024),
                2,
            ),
            (NatPreset::Corporate, (120, 1200, 10), 1024, None, 1),
            (NatPreset::Mobile, (65, 21_600, 240), 1024, None, 2),
            (NatPreset::LinuxRouter, (120, 432_000, 120), 1, None, 1),
            (NatPreset::BsdRouter, (60, 86_400, 90), 50001, None, 1),
        ] {
            let config = NatConfig::from(preset);
            let tcp = config.tcp_timers;
            let [idle, established, transitory] =
                [config.udp_timer.idle, tcp.established, tcp.transitory].map(|time| time.as_secs());
            assert_eq!((idle, established, transitory), timers, "{preset}");
            assert_eq!(config.port_range, first_port..=65535, "{preset}");
            assert_eq!(config.ports_per_host, ports_per_host, "{preset}");
            assert_eq!(preset.addresses(), addresses, "{preset}");
        }
    }
}
