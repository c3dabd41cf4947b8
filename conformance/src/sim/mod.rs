//! A deterministic world in virtual time, which drives real nodes through their public interface.
//!
//! A [`World`] holds hosts, a [`Network`] and a queue of what happens next. Each
//! [`step`](World::step) takes the next event (a datagram arrives, a timer rings, a scripted
//! [`Action`] is due), gives it to a node, takes all outputs of that node, and reads its next
//! deadline: exactly what an adapter does. The world is pulled, never called back: whoever runs it
//! looks at [`events`](World::events) and at the nodes between steps.
//!
//! One number decides everything. Each purpose (every node, the network, every fault, the plan)
//! draws from a stream of its own, and [`trace_hash`](World::trace_hash) tells whether two runs
//! were the same.

mod action;
mod arena;
mod drive;
mod host;
mod hosts;
mod inspector;
mod lie;
mod meter;
pub mod network;
mod parcels;
mod queue;
mod seeds;
mod time;
mod trace;
mod untold;
mod world;

pub use action::Action;
pub use host::{Host, Traffic, WallClock};
pub use hosts::{HostId, HostSet};
pub use inspector::{Finding, Scrutiny};
pub use lie::{Claimed, Lie, Number, Said};
pub use meter::{Meter, Metering};
pub use network::Network;
pub use seeds::{Seeds, Stream};
pub(crate) use seeds::{between, chance, pick, unit};
pub use time::Time;
pub(crate) use time::nanos;
pub use trace::{Fingerprint, TraceHash};
pub use untold::Untold;
pub use world::{SetupError, Step, World};
