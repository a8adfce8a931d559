//! Written soon.
/// The client.
#[derive(Debug)]
pub struct CallClient;
