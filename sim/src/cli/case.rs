//! A run that was handed on: a scenario file or a seed string, with the seed and the client it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::CliError;
use crate::endpoint::{Endpoint, RingtrueEndpoint};
use crate::fuzz::seed_string::SeedString;
use crate::scenario::model::ClientName;
use crate::scenario::{InvalidScenario, LoadError, Scenario};
use crate::seed::Seed;
use crate::variants::Variant;
use crate::world::run::RunOptions;

/// Which run is meant.
#[derive(Debug, Args)]
pub(super) struct CaseArguments {
    /// A scenario file, or a seed string (rt1-…)
    #[arg(value_name = "FILE|rt1-…")]
    case: String,
    /// Another seed than the one that the case says; 1 where it says none
    #[arg(long)]
    seed: Option<Seed>,
    /// Another client than the one that the case says; the one that ships where it says none
    #[arg(long, value_name = "VARIANT")]
    client: Option<String>,
}

/// A scenario and what it is run with.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) scenario: Scenario,
    pub(super) text: String,
    pub(super) seed: Seed,
    pub(super) client: ClientName,
    endpoint: Arc<dyn Endpoint>,
    /// Where the text stands; `None` where it comes from a string.
    file: Option<PathBuf>,
}

impl CaseArguments {
    /// The arguments of a command that is about more than one case.
    pub(super) fn new(case: String, seed: Option<Seed>, client: Option<String>) -> Self {
        Self { case, seed, client }
    }

    /// Reads the case.
    pub(super) fn read(&self) -> Result<Case, CliError> {
        let mut case = if SeedString::is_meant(&self.case) && !Path::new(&self.case).exists() {
            from_string(&self.case)?
        } else {
            from_file(Path::new(&self.case))?
        };
        if let Some(seed) = self.seed {
            case.seed = seed;
        }
        if let Some(client) = &self.client {
            case.client = ClientName(client.clone());
        }
        case.endpoint = endpoint_of(&case.client)?;
        Ok(case)
    }
}

impl Case {
    /// How it is run: by the client that it says.
    pub(super) fn options(&self) -> RunOptions {
        RunOptions {
            endpoint: Arc::clone(&self.endpoint),
            ..RunOptions::default()
        }
    }

    /// The same run by another client.
    pub(super) fn by(self, client: ClientName) -> Result<Self, CliError> {
        let endpoint = endpoint_of(&client)?;
        Ok(Self {
            client,
            endpoint,
            ..self
        })
    }

    /// Reads another text as this one was read.
    pub(super) fn read_as_this(&self, text: &str) -> Result<Scenario, InvalidScenario> {
        match &self.file {
            Some(file) => Scenario::parse(file, text),
            None => Scenario::parse_alone(Path::new("seed-string"), text),
        }
    }
}

fn from_string(word: &str) -> Result<Case, CliError> {
    let word: SeedString = word.parse()?;
    let scenario = word.scenario().map_err(LoadError::from)?;
    Ok(Case {
        scenario,
        text: word.text().to_owned(),
        seed: word.seed(),
        client: word.client().clone(),
        endpoint: Arc::new(RingtrueEndpoint),
        file: None,
    })
}

fn from_file(path: &Path) -> Result<Case, CliError> {
    let scenario = Scenario::load(path)?;
    let text =
        fs::read_to_string(path).map_err(CliError::cannot(format!("read {}", path.display())))?;
    let fails = scenario.fails.as_ref();
    let seed = fails.map_or(Seed::new(1), |fails| fails.seed);
    let client = fails.map_or_else(ClientName::production, |fails| fails.client.clone());
    Ok(Case {
        scenario,
        text,
        seed,
        client,
        endpoint: Arc::new(RingtrueEndpoint),
        file: Some(path.to_owned()),
    })
}

/// The client of this name: the one that ships, or a variant of it.
pub(super) fn endpoint_of(client: &ClientName) -> Result<Arc<dyn Endpoint>, CliError> {
    if *client == ClientName::production() {
        return Ok(Arc::new(RingtrueEndpoint));
    }
    let variant: Variant = client
        .0
        .parse()
        .map_err(|error| CliError::Other(format!("{error}, and `{}`", ClientName::production())))?;
    Ok(variant.endpoint())
}
