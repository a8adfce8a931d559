//! A deterministic world in which calls are tested: scripted NATs and links, virtual time, one seed.
//!
//! A *scenario* is a file: networks, peers, a call script, and what should come of it. A *run* is a
//! function of a scenario and a seed, and of nothing else: the same pair gives the same packets at
//! the same virtual times on every machine, in every build, in any number of parallel threads. The
//! peers of a run are the production client of the package `ringtrue`, unchanged, or any other client that is
//! brought as an [`Endpoint`](endpoint::Endpoint).
//!
//! ```
//! use std::path::Path;
//!
//! use ringtrue_sim::scenario::Scenario;
//! use ringtrue_sim::seed::Seed;
//! use ringtrue_sim::world::run::{RunOptions, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/nat/cone-cone.toml");
//! let scenario = Scenario::load(&file)?;
//! let report = run(&scenario, Seed::new(7), RunOptions::default())?;
//! assert!(report.passed, "{:?}", report.failures);
//! let again = run(&scenario, Seed::new(7), RunOptions::default())?;
//! assert_eq!(again.digest, report.digest);
//! # Ok(())
//! # }
//! ```
//!
//! # Code map
//!
//! | module | what is in it |
//! |---|---|
//! | [`scenario`] | the TOML file, its validation, and errors that point at the place |
//! | [`fault`] | what can go wrong, by name: the same names in files, timelines and reports |
//! | [`seed`] | one root seed, labelled streams |
//! | [`determinism`] | what keeps a run from depending on anything else: captured entropy and clocks |
//! | [`net`] | the network as pure state machines; `topology` and `fabric` are the way through them |
//! | [`net::nat`] | NATs, a module for each dimension of RFC 4787, and presets of boxes that are met |
//! | [`net::link`] | delay, jitter, damage, rate and queue, and presets; [`net::loss`] is loss, in bursts too |
//! | [`net::firewall`] | UDP and ports that do not pass, connections cut when idle, RFC 6092 for IPv6 |
//! | [`net::redirect`] | TCP that a gateway leads to a portal or a proxy |
//! | [`world`] | hosts with real sockets, applications on paused clocks, one run |
//! | `world::{plan, build}` | from the scenario to the world, and its kernels, machines and addresses |
//! | `world::{carry, tcp}` | packets between kernels and fabric, and what recovers lost segments |
//! | `world::{director, faults}` | what the script says, and what the faults do and show |
//! | `world::{frames, wire}` | the frames of signaling connections, to be counted and cut at |
//! | `world::{interfere, connections, device}` | the deeds that faults are made of: cut, pause, move |
//! | `world::boxes` | captive portals and proxies, which are hosts themselves |
//! | [`endpoint`] | what stands at each end of a call: the production client, or one that is brought |
//! | [`variants`] | clients with one defect each, by which a scenario shows what it can tell |
//! | [`server`] | STUN (RFC 5780) and TURN, the signaling relay, `portal` and `proxy`, certificates |
//! | [`trace`] | typed events and the digest over them |
//! | [`check`] | what judges a run, from its trace alone |
//! | [`check::oracle`] | what has to come of a call, from the networks alone |
//! | [`probe`] | what a STUN client can tell of the NAT that it is behind (RFC 5780) |
//! | [`matrix`] | every kind of NAT against every other, each cell a scenario |
//! | [`fuzz`] | failures: their classes, their least scenarios, and seed strings |
//! | [`bench`] | what calls cost on this machine |
//! | [`report`] | what came of a run, for people, for programs and, as a bundle on disk, for browsers and Wireshark |
//! | `report::{failure, difference}` | what led to a failure, and where two runs part |
//! | [`cli`] | the `ringtrue` command |
//!
//! # Invariants
//!
//! - A run lives on one OS thread of its own, whose entropy and clocks are captured. Another OS thread
//!   inside a run fails it by name. Runs go in parallel in one process.
//! - Everything random that is ours comes from a labelled stream, so that one more link shifts no
//!   other. The entropy of libraries is one stream a run.
//! - Events at equal times are ordered by a sequence number; whatever is iterated is ordered.
//! - Every packet that is not delivered has a named cause in the trace.
//! - A fault strikes between two steps of the world, or at a frame of a signaling connection, and shows
//!   an effect in the trace or fails the run.
//! - Watching changes nothing: digests do not depend on what is printed.
//! - Checkers read the trace and the scenario, never the inside of a client. The oracle shares no code
//!   with the NATs or the client.
//! - Unsafe code is in `determinism::interposition` and nowhere else.
//!
//! # Platforms
//!
//! Linux with glibc on x86-64 or aarch64, because the capture of clocks and entropy works by symbols.
//! Elsewhere run it in a container; the client itself builds everywhere.

#![deny(unsafe_code)]

pub mod bench;
pub mod check;
pub mod cli;
pub mod determinism;
pub mod endpoint;
pub mod fault;
pub mod fuzz;
pub mod matrix;
pub mod net;
pub mod perturbation;
pub mod probe;
pub mod report;
pub mod scenario;
pub mod seed;
pub mod server;
pub mod testing;
pub mod trace;
pub mod variants;
pub mod world;
