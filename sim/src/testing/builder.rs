//! A scenario that is built in the test that runs it.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::fuzz::seed_string::SeedString;
use crate::net::nat::NatPreset;
use crate::scenario::model::{CallPath, ClientName};
use crate::scenario::{InvalidScenario, Rendering, Scenario};
use crate::seed::Seed;

/// Puts a scenario together, part by part, as its file would have it.
///
/// What it has no word for is written as in a file, by [`with`](Self::with). Without a script the first peer
/// in the order of names calls the second.
#[derive(Debug, Clone)]
pub struct Builder {
    /// The keys that stand before the first table.
    head: String,
    tables: String,
}

impl Builder {
    /// A scenario that asks `about`, in one line.
    #[must_use]
    pub fn new(about: &str) -> Self {
        let mut head = String::new();
        let _ = writeln!(head, "about = {}", quoted(about));
        Self {
            head,
            tables: String::new(),
        }
    }

    /// Hosts behind a NAT.
    #[must_use]
    pub fn network(self, name: &str, nat: NatPreset) -> Self {
        self.table(&format!("network.{name}"), &[("nat", nat.as_str())])
    }

    /// Hosts with public addresses.
    #[must_use]
    pub fn public_network(self, name: &str) -> Self {
        self.table(&format!("network.{name}"), &[])
    }

    /// A peer on a network.
    #[must_use]
    pub fn peer(self, name: &str, network: &str) -> Self {
        self.table(&format!("peer.{name}"), &[("network", network)])
    }

    /// A peer does something at a time, such as `"hang-up"` after `"audio + 5s"`.
    #[must_use]
    pub fn step(self, after: &str, peer: &str, action: &str) -> Self {
        self.table_of(
            "script",
            &[("after", after), ("peer", peer), ("do", action)],
        )
    }

    /// A peer calls another one at a time from the start, such as `"1s"`.
    #[must_use]
    pub fn call(self, at: &str, peer: &str, callee: &str) -> Self {
        let step = [
            ("at", at),
            ("peer", peer),
            ("do", "call"),
            ("callee", callee),
        ];
        self.table_of("script", &step)
    }

    /// A fault of this kind with these keys, such as `[("at", "3s"), ("peer", "alice")]`.
    #[must_use]
    pub fn fault(self, kind: &str, keys: &[(&str, &str)]) -> Self {
        let kind = [("kind", kind)];
        let keys: Vec<_> = kind.iter().chain(keys).copied().collect();
        self.table_of("fault", &keys)
    }

    /// Audio has to take this path.
    #[must_use]
    pub fn expect_path(self, path: CallPath) -> Self {
        self.table("expect", &[("path", &path.to_string())])
    }

    /// Whatever goes wrong, the call has to come to what its networks allow once that is over.
    #[must_use]
    pub fn expect_settled(self) -> Self {
        self.table("expect", &[("outcome", "settled")])
    }

    /// More of the scenario's file: whole tables, as `scenarios/README.md` has them.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// The text of its file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        format!("{}{}", self.head, self.tables)
    }

    /// The scenario.
    ///
    /// # Panics
    ///
    /// Where it is not valid, with everything that is wrong with it.
    #[must_use]
    #[track_caller]
    pub fn build(&self) -> Scenario {
        match self.try_build() {
            Ok(scenario) => scenario,
            Err(invalid) => panic!("{}", invalid.render(Rendering::Plain)),
        }
    }

    /// The scenario. Its reports name it by a string that `ringtrue replay` takes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn try_build(&self) -> Result<Scenario, InvalidScenario> {
        let text = self.to_toml();
        let word = SeedString::new(&text, Seed::new(0), ClientName::production());
        let name = word.map_or_else(|_| "built".to_owned(), |word| word.to_string());
        let mut scenario = Scenario::parse_alone(&PathBuf::from(name), &text)?;
        "built".clone_into(&mut scenario.name);
        Ok(scenario)
    }

    fn table(self, header: &str, keys: &[(&str, &str)]) -> Self {
        self.headed(&format!("[{header}]"), keys)
    }

    fn table_of(self, list: &str, keys: &[(&str, &str)]) -> Self {
        self.headed(&format!("[[{list}]]"), keys)
    }

    fn headed(mut self, header: &str, keys: &[(&str, &str)]) -> Self {
        let _ = writeln!(self.tables, "{header}");
        for (key, value) in keys {
            let _ = writeln!(self.tables, "{key} = {}", quoted(value));
        }
        self
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
