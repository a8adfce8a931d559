//! The simulated network itself: pure state machines, no sockets, no clock and no generator of
//! their own.
//!
//! Times are [`Duration`](std::time::Duration)s since the start of the run, and whatever draws at
//! random is handed a generator. A [`Topology`] says what is connected to what and hands out the
//! addresses; a [`Fabric`] built from it carries packets hop by hop through [`Link`]s, before
//! the slow ones of which it waits in a [`Shaper`], a gateway's
//! [`Firewall`] and its [`Nat`]. A packet that does not arrive has a [`DropCause`].
//!
//! ```text
//! host ──lan── gateway ──uplink── core ──link── server
//!              (firewall, NAT)
//! ```

pub mod cause;
pub mod fabric;
pub mod firewall;
pub mod flow;
pub mod link;
pub mod loss;
pub mod nat;
pub mod redirect;
pub mod topology;

pub use cause::DropCause;
pub use fabric::{Fabric, FabricOutput, Packet};
pub use firewall::{Firewall, FirewallConfig, FirewallVerdict, Passage};
pub use flow::{Flow, Protocol, TcpSignal};
pub use link::{Jitter, Link, LinkConfig, LinkPair, LinkPreset, Shaper, Transmission};
pub use loss::{GilbertElliott, LossModel, Probability, ProbabilityError};
pub use nat::{Nat, NatConfig, NatPreset, Verdict};
pub use redirect::Redirect;
pub use topology::{HostId, NetworkConfig, NetworkId, Topology, TopologyError};
