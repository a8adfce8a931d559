//! The four classic NATs by their names of RFC 3489 section 5, each as a plain [`NatConfig`].

use std::fmt;
use std::str::FromStr;

use super::{Filtering, Hairpin, Mapping, NatConfig, PortAllocation};

/// A NAT by its well-known name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl NatPreset {
    /// The four presets, from the most to the least permissive.
    pub const ALL: [Self; 4] = [
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
    ];

    /// The name as it is written in files and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
        }
    }

    /// What the name stands for. Timers are those of [`NatConfig::default`].
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
            Self::Symmetric => NatConfig {
                mapping: Mapping::AddressAndPortDependent,
                filtering: Filtering::AddressAndPortDependent,
                port_allocation: PortAllocation::Random,
                hairpin: Hairpin::Refused,
                ..NatConfig::default()
            },
        }
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
#[error(
    "unknown nat {name:?}, known are full-cone, address-restricted, port-restricted and symmetric"
)]
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
    fn presets_have_the_mapping_and_filtering_of_rfc_3489() {
        let table = NatPreset::ALL.map(|preset| {
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
}
