//! The protections of a run, by name.

use std::fmt;
use std::str::FromStr;

/// One protection against something that would make two runs of one seed differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plug {
    /// Random bytes of the operating system come from the seed.
    Entropy,
    /// The clocks of the operating system show virtual time.
    Clock,
    /// Tokio's choice among ready `select!` branches comes from the seed.
    SelectSeed,
    /// The generator of the `fastrand` crate starts from the seed.
    Fastrand,
    /// Another OS thread is refused.
    Threads,
}

impl Plug {
    /// Every plug, in the order in which they are documented.
    pub const ALL: [Self; 5] = [
        Self::Entropy,
        Self::Clock,
        Self::SelectSeed,
        Self::Fastrand,
        Self::Threads,
    ];

    /// The name in kebab case, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entropy => "entropy",
            Self::Clock => "clock",
            Self::SelectSeed => "select-seed",
            Self::Fastrand => "fastrand",
            Self::Threads => "threads",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Plug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Plug {
    type Err = UnknownPlug;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|plug| plug.name() == text);
        found.ok_or_else(|| UnknownPlug {
            name: text.to_owned(),
        })
    }
}

/// A text that names no plug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown plug `{name}`: allowed are `entropy`, `clock`, `select-seed`, `fastrand`, `threads`"
)]
pub struct UnknownPlug {
    /// The text as it was given.
    pub name: String,
}

/// A set of [`Plug`]s.
///
/// A run has all of them. One is left out only to show that it is needed.
///
/// ```
/// use ringtrue_sim::determinism::{Plug, Plugs};
///
/// let plugs = Plugs::all().without(Plug::Clock);
/// assert!(!plugs.contains(Plug::Clock));
/// assert_eq!(plugs.to_string(), "entropy,select-seed,fastrand,threads");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plugs(u8);

impl Plugs {
    /// Every plug, as a run needs them.
    #[must_use]
    pub fn all() -> Self {
        Self(
            Plug::ALL
                .into_iter()
                .fold(0, |bits, plug| bits | plug.bit()),
        )
    }

    /// These plugs but `plug`.
    #[must_use]
    pub fn without(self, plug: Plug) -> Self {
        Self(self.0 & !plug.bit())
    }

    /// Whether `plug` is among these.
    #[must_use]
    pub fn contains(self, plug: Plug) -> bool {
        self.0 & plug.bit() != 0
    }

    /// The plugs in their documented order.
    pub fn iter(self) -> impl Iterator<Item = Plug> {
        Plug::ALL
            .into_iter()
            .filter(move |&plug| self.contains(plug))
    }
}

impl Default for Plugs {
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Display for Plugs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for plug in self.iter() {
            write!(formatter, "{separator}{plug}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plug_reads_back_what_it_prints() {
        for plug in Plug::ALL {
            assert_eq!(plug.to_string().parse(), Ok(plug));
        }
    }

    #[test]
    fn an_unknown_plug_is_told_what_is_allowed() {
        let error = "clocks"
            .parse::<Plug>()
            .expect_err("no such plug")
            .to_string();
        for plug in Plug::ALL {
            assert!(error.contains(plug.name()), "{error} does not name {plug}");
        }
    }

    #[test]
    fn leaving_one_out_keeps_the_others() {
        for left_out in Plug::ALL {
            let kept: Vec<Plug> = Plugs::all().without(left_out).iter().collect();
            assert_eq!(kept.len(), Plug::ALL.len() - 1);
            assert!(!kept.contains(&left_out));
        }
    }
}
