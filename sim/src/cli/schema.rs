//! `ringtrue schema`: what a scenario file can hold, for editors.

use clap::Args;

use super::{CliError, EXIT_EXPECTED, print_line};
use crate::scenario::schema;

/// Print the JSON Schema of scenario files, for completion and checks in editors
#[derive(Debug, Args)]
pub(super) struct Arguments {}

#[expect(
    clippy::unnecessary_wraps,
    reason = "commands have one signature, and this one cannot fail"
)]
pub(super) fn main(Arguments {}: &Arguments) -> Result<u8, CliError> {
    print_line(schema::text().trim_end());
    Ok(EXIT_EXPECTED)
}
