//! Scenario files: what is asked of the client, as pure data.
//!
//! A scenario is a TOML file with a topology, a call script and an expectation. `scenarios/README.md`
//! is the reference of its keys. The way from the text to what the world runs:
//!
//! - the document: the keys as they are written, read by serde, unknown ones refused;
//! - the [`model`]: names resolved, defaults filled in, every value one that the world can honour;
//! - the [`schema`] of the document, for editors;
//! - [`error`]: whatever is wrong, with file, line, key, value and what is allowed, all at once.

pub mod error;
pub mod model;
pub mod schema;
pub mod value;

mod document;
mod fault;
mod layers;
mod link;
mod load;
mod message;
mod middlebox;
mod nat;
mod on;
mod origin;
mod place;
mod problems;
mod script;
mod spanned;
mod tone;
mod validate;

pub use error::{InvalidScenario, LoadError, LoadErrors, Rendering};
pub use load::load_paths;
pub use model::Scenario;
pub use tone::TONES;
