//! `ringtrue serve`: the signaling relay on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use ringtrue::net::Net;
use ringtrue::net::tokio::TokioNet;
use ringtrue::signaling::relay::{Relay, RelayConfig};

use super::{CliError, EXIT_EXPECTED, print_line};
use crate::server::signaling;

/// Run the signaling relay on real sockets
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::cannot("start a runtime"))?;
    let net: Arc<dyn Net> = Arc::new(TokioNet::new());
    let relay = Relay::new(RelayConfig::default());
    let relay = signaling::run(net, arguments.listen, relay, |address| {
        print_line(&format!("listening on http://{address}"));
    });
    runtime
        .block_on(relay)
        .map_err(CliError::cannot(format!("serve on {}", arguments.listen)))?;
    Ok(EXIT_EXPECTED)
}
