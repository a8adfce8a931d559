//! A calling client for networks that fail.
//!
//! `ringtrue` places and receives audio calls: Socket.IO signaling, ICE with candidates that may come
//! in any order, audio over DTLS-SRTP. It was built the other way round from most clients: first the
//! networks on which calls fail, scripted and repeatable, then the client that survives them. The
//! networks are in the package `ringtrue-sim`; this one is what ships.
//!
//! # Bird's-eye view
//!
//! ```text
//!   application ── CallClient ── call::session ─┬─ signaling::client ── transport ─┐
//!                                  │            │                                  ├── net::Net
//!                      state · admission        └─ peer::PeerConnection ── bridge ─┘
//!                      negotiation · recovery         ICE · DTLS · SRTP
//!                      CandidateBuffer (pure)         one or more at a time
//! ```
//!
//! An application starts a [`CallClient`](client::CallClient) on a [`Net`](net::Net) and listens to
//! its events. One task, the session, owns the call: it feeds what happens into a pure table and does
//! what the table says. Candidates wait in a pure buffer until the description they belong to is
//! applied. A media connection turns descriptions and candidates into a secure path, over which the
//! session sends a packet of audio every 20 ms. When that path is in doubt, the session begins another
//! connection beside it, and moves the audio when that one works.
//!
//! # Code map
//!
//! | module | what is in it |
//! |---|---|
//! | [`config`] | every setting, with the default that worked in the field and what changing it costs |
//! | [`client`] | the async face: connect, call, answer, hang up, events |
//! | [`net`] | the one seam to a network, of either address family; [`net::tokio`] is the real one |
//! | [`signaling`] | Engine.IO and Socket.IO (pure), the connection that comes back, the mailbox that loses nothing (pure), the relay server |
//! | [`candidates`] | the buffer that keeps early candidates (pure) |
//! | [`call`] | the call's states as a table, what an offer means, whose offer counts, when to look for another path (all pure); the session that carries it out |
//! | [`peer`] | ICE over IPv4 and IPv6, TURN over UDP and TCP, DTLS, SRTP and the session description |
//! | [`audio`] | recorded Opus in, matched packets out (pure) |
//! | [`key_log`] | the secrets of connections, off unless an application asks for them |
//! | [`redaction`] | what logs and errors may say: no address unless asked for, a credential never |
//!
//! # Invariants
//!
//! - Nothing outside of [`net::tokio`] opens a socket, reads a clock or resolves a name by the
//!   operating system: everything goes through [`net::Net`] and tokio's time. That is what lets the
//!   very same client run in a simulated world.
//! - Modules marked pure are not async. They take the time and a random generator as arguments.
//! - What the libraries do that the field does not forgive is put right in `peer::bridge`, between them
//!   and the network: requests are repeated, storms of checks end, families are chosen.
//! - A path that carries audio is never broken to look for a better one.
//! - There are no test hooks and no switches for bugs.
//! - There is no unsafe code.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ringtrue::audio::track::OpusTrack;
//! use ringtrue::client::{CallClient, ClientEvent};
//! use ringtrue::config::ClientConfig;
//! use ringtrue::net::tokio::TokioNet;
//! use ringtrue::signaling::client::Identity;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let voice = OpusTrack::parse(&std::fs::read("fixtures/tone-low.opus")?)?;
//! let identity = Identity {
//!     name: "alice".into(),
//!     token: "secret".into(),
//! };
//! let (client, mut events) =
//!     CallClient::start(Arc::new(TokioNet::new()), ClientConfig::default(), identity, voice);
//! client.call("bob").await?;
//! while let Some(event) = events.recv().await {
//!     if let ClientEvent::AudioConnected { .. } = event {
//!         println!("we can talk");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod audio;
pub mod call;
pub mod candidates;
pub mod client;
pub mod config;
pub mod key_log;
pub mod net;
pub mod peer;
pub mod redaction;
pub mod signaling;
