//! Clients with one defect each, and the naive one: the controls by which a scenario shows that it can
//! tell a good client from a bad one.
//!
//! They are the production client, unchanged, over a [signaling
//! channel](ringtrue::signaling::channel::SignalingChannel) that makes the mistake, or with another
//! configuration. Each connects where nothing goes wrong.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ringtrue::client::CallClient;
use ringtrue::config::{
    ClientConfig, ConnectionReuse, IceServer, RecoveryConfig, RingingConfig, TransportKind,
};
use ringtrue::signaling::channel::SignalingChannel;
use ringtrue::signaling::client::{SignalingClient, SignalingEvent};
use thiserror::Error;
use tokio::sync::mpsc;

mod courier;
mod flaw;
mod flawed;

use self::courier::{Courier, DeviceName, Habits, Kept, Repeats};
use self::flaw::{
    BadCandidateFatal, CrossedOffers, EarlyCandidateWedges, Flaw, FlushedTooEarly,
    GenerationIgnored, LateHandler, NoBuffer, NoRestart,
};
use self::flawed::FlawedChannel;
use crate::endpoint::{Endpoint, Seat, drive};

/// A client that is worse than the one that ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// A candidate that comes before its description is lost.
    NoBuffer,
    /// A candidate that cannot be parsed ends the call.
    BadCandidateFatal,
    /// What is said while signaling is down, or was on its way when it went down, is lost.
    NothingSentAgain,
    /// Signaling by WebSocket alone.
    WebsocketOnly,
    /// Candidates are kept, and handed over an instant before the answer is set.
    FlushedTooEarly,
    /// Every candidate goes to the newest description.
    GenerationIgnored,
    /// A message that comes twice counts twice.
    DuplicatesApplied,
    /// Candidates alone are lost while signaling is down, or with the connection that they were on.
    CandidatesLostOnReconnect,
    /// Its own candidates are listened for too late, and the first one of each generation is lost.
    LateHandler,
    /// A candidate that comes before its description makes the agent deaf to all others.
    EarlyCandidateWedges,
    /// Whoever is called while calling takes the offer for an answer.
    CrossedOffers,
    /// The first path is the only one.
    NoRestart,
    /// One STUN server and one TURN server, over UDP.
    OneServerEach,
    /// The application before any fix.
    Naive,
}

/// No variant has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no client is called {name:?}; there are {}", names())]
pub struct VariantError {
    /// The name.
    pub name: String,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NoBuffer,
        Self::BadCandidateFatal,
        Self::NothingSentAgain,
        Self::WebsocketOnly,
        Self::FlushedTooEarly,
        Self::GenerationIgnored,
        Self::DuplicatesApplied,
        Self::CandidatesLostOnReconnect,
        Self::LateHandler,
        Self::EarlyCandidateWedges,
        Self::CrossedOffers,
        Self::NoRestart,
        Self::OneServerEach,
        Self::Naive,
    ];

    /// Its name, as command lines and reports write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoBuffer => "no-buffer",
            Self::BadCandidateFatal => "bad-candidate-fatal",
            Self::NothingSentAgain => "nothing-sent-again",
            Self::WebsocketOnly => "websocket-only",
            Self::FlushedTooEarly => "flushed-too-early",
            Self::GenerationIgnored => "generation-ignored",
            Self::DuplicatesApplied => "duplicates-applied",
            Self::CandidatesLostOnReconnect => "candidates-lost-on-reconnect",
            Self::LateHandler => "late-handler",
            Self::EarlyCandidateWedges => "early-candidate-wedges",
            Self::CrossedOffers => "crossed-offers",
            Self::NoRestart => "no-restart",
            Self::OneServerEach => "one-server-each",
            Self::Naive => "naive",
        }
    }

    /// What is wrong with it, in a line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::NoBuffer => "loses a candidate that comes before its description",
            Self::BadCandidateFatal => "ends the call at a candidate that cannot be parsed",
            Self::NothingSentAgain => {
                "loses what it says while signaling is down or on its way as it goes down"
            }
            Self::WebsocketOnly => "knows no way of signaling but WebSocket",
            Self::FlushedTooEarly => {
                "keeps candidates, and loses them by adding them just before the answer is set"
            }
            Self::GenerationIgnored => "adds every candidate to the newest description",
            Self::DuplicatesApplied => "applies a message once more that comes once more",
            Self::CandidatesLostOnReconnect => {
                "loses the candidates, and only them, that it finds while signaling is down"
            }
            Self::LateHandler => {
                "listens for its own candidates too late, and loses the first of each generation"
            }
            Self::EarlyCandidateWedges => {
                "takes no candidate any more, in any call, once one came before its description"
            }
            Self::CrossedOffers => {
                "takes the offer that crosses its own for an answer, so that both sides control"
            }
            Self::NoRestart => {
                "never looks for another path, and takes ten seconds without one for the end"
            }
            Self::OneServerEach => "knows one STUN server and one TURN server, over UDP",
            Self::Naive => {
                "is the application before any fix: no buffer, nothing sent again, WebSocket and STUN \
                 only, short limits, no restart"
            }
        }
    }

    /// The client, to be run by the peers of a world.
    #[must_use]
    pub fn endpoint(self) -> Arc<dyn Endpoint> {
        Arc::new(VariantEndpoint(self))
    }

    /// How it is set, other than the client that ships.
    fn configure(self, config: &mut ClientConfig) {
        match self {
            // Candidates that are found while the phone rings come before the answer. Who cannot keep
            // them makes its peer connection when the call is answered.
            Self::NoBuffer | Self::FlushedTooEarly | Self::EarlyCandidateWedges => {
                config.ice.candidate_pool_size = 0;
            }
            Self::WebsocketOnly => config.signaling.transports = vec![TransportKind::WebSocket],
            Self::NoRestart => config.recovery = without_recovery(),
            Self::OneServerEach => config.ice.servers = one_of_each(&config.ice.servers),
            Self::Naive => {
                config.ice.candidate_pool_size = 0;
                config
                    .ice
                    .servers
                    .retain(|server| server.url.starts_with("stun:"));
                config.signaling.transports = vec![TransportKind::WebSocket];
                config.signaling.reuse = ConnectionReuse::Separate;
                config.signaling.timeout = Duration::from_secs(5);
                config.signaling.namespace_timeout = Duration::from_secs(5);
                config.ringing = RingingConfig {
                    limit: Duration::from_secs(20),
                    incoming_limit: Duration::from_secs(20),
                    offer_limit: Duration::from_secs(5),
                };
                config.recovery = without_recovery();
            }
            Self::BadCandidateFatal
            | Self::NothingSentAgain
            | Self::GenerationIgnored
            | Self::DuplicatesApplied
            | Self::CandidatesLostOnReconnect
            | Self::LateHandler
            | Self::CrossedOffers => {}
        }
    }

    fn flaws(self) -> Vec<Box<dyn Flaw>> {
        match self {
            Self::NoBuffer => vec![Box::<NoBuffer>::default()],
            Self::BadCandidateFatal => vec![Box::<BadCandidateFatal>::default()],
            Self::FlushedTooEarly => vec![Box::<FlushedTooEarly>::default()],
            Self::GenerationIgnored => vec![Box::<GenerationIgnored>::default()],
            Self::LateHandler => vec![Box::<LateHandler>::default()],
            Self::EarlyCandidateWedges => vec![Box::<EarlyCandidateWedges>::default()],
            Self::CrossedOffers => vec![Box::<CrossedOffers>::default()],
            Self::NoRestart => vec![Box::<NoRestart>::default()],
            Self::Naive => vec![
                Box::<BadCandidateFatal>::default(),
                Box::<NoBuffer>::default(),
                Box::<NoRestart>::default(),
            ],
            Self::NothingSentAgain
            | Self::WebsocketOnly
            | Self::DuplicatesApplied
            | Self::CandidatesLostOnReconnect
            | Self::OneServerEach => Vec::new(),
        }
    }

    /// What its signaling does with messages; `None` where it is the production client's.
    fn habits(self) -> Option<Habits> {
        let (kept, repeats, name) = match self {
            Self::NothingSentAgain => (Kept::Nothing, Repeats::Dropped, DeviceName::OfItsOwn),
            Self::CandidatesLostOnReconnect => (
                Kept::AllButCandidates,
                Repeats::Dropped,
                DeviceName::OfItsOwn,
            ),
            Self::DuplicatesApplied => (Kept::Everything, Repeats::HandedUp, DeviceName::OfItsOwn),
            Self::Naive => (Kept::Nothing, Repeats::Dropped, DeviceName::OfTheConnection),
            Self::NoBuffer
            | Self::BadCandidateFatal
            | Self::WebsocketOnly
            | Self::FlushedTooEarly
            | Self::GenerationIgnored
            | Self::LateHandler
            | Self::EarlyCandidateWedges
            | Self::CrossedOffers
            | Self::NoRestart
            | Self::OneServerEach => return None,
        };
        Some(Habits {
            kept,
            repeats,
            name,
        })
    }

    fn channel(
        self,
        seat: &Seat,
        config: &ClientConfig,
    ) -> (Box<dyn SignalingChannel>, mpsc::Receiver<SignalingEvent>) {
        let (net, signaling) = (Arc::clone(&seat.net), config.signaling.clone());
        let (channel, received): (Box<dyn SignalingChannel>, _) =
            if let Some(habits) = self.habits() {
                let (courier, received) = Courier::start(net, signaling, seat.identity(), habits);
                (Box::new(courier), received)
            } else {
                let (client, received) = SignalingClient::start(net, signaling, seat.identity());
                (Box::new(client), received)
            };
        let flaws = self.flaws();
        if flaws.is_empty() {
            return (channel, received);
        }
        let (channel, received) = FlawedChannel::over(channel, received, flaws);
        (Box::new(channel), received)
    }
}

/// No path is looked for in the place of one that fails, and a call without one is soon over.
fn without_recovery() -> RecoveryConfig {
    let never = Duration::from_hours(24);
    RecoveryConfig {
        silent_after: never,
        upgrade_after: never,
        unreachable_after: Duration::from_secs(10),
        limit: Duration::from_secs(15),
        ..RecoveryConfig::default()
    }
}

/// The first STUN server and the first TURN server over UDP.
fn one_of_each(servers: &[IceServer]) -> Vec<IceServer> {
    let first = |begins: &str| {
        let mut of_kind = servers
            .iter()
            .filter(|server| server.url.starts_with(begins));
        of_kind
            .find(|server| !server.url.ends_with("transport=tcp"))
            .cloned()
    };
    [first("stun:"), first("turn:")]
        .into_iter()
        .flatten()
        .collect()
}

/// Runs a variant.
#[derive(Debug)]
struct VariantEndpoint(Variant);

impl Endpoint for VariantEndpoint {
    fn run(&self, seat: Seat) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let variant = self.0;
        Box::pin(async move {
            let mut config = seat.config.clone();
            variant.configure(&mut config);
            let (channel, received) = variant.channel(&seat, &config);
            let (client, events) = CallClient::start_over(
                Arc::clone(&seat.net),
                config,
                seat.user.clone(),
                channel,
                received,
                seat.voice().clone(),
            );
            drive(seat, client, events).await;
        })
    }

    fn client_name(&self) -> Option<&str> {
        Some(self.0.as_str())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Variant {
    type Err = VariantError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|variant| variant.as_str() == name)
            .ok_or_else(|| VariantError {
                name: name.to_owned(),
            })
    }
}

fn names() -> String {
    Variant::ALL.map(Variant::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_read_by_the_name_that_it_shows() {
        for variant in Variant::ALL {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        let error = "none".parse::<Variant>().expect_err("there is none");
        assert!(error.to_string().contains("naive"), "{error}");
    }
}
