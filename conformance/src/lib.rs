//! The proof machine: what must hold of gossip nodes, and a world in which to see it hold or fail.
//!
//! - [`sim`]: a deterministic world in virtual time that drives real nodes through their public
//!   interface, with every fault that networks, clocks and machines have.
//! - [`invariant`]: what must hold, as checks over plain data.
//! - [`suite`]: what every adapter must do, over real sockets.
//! - [`scenario`]: questions put to a simulated cluster, each answered by figures.
//! - [`swarm`]: clusters, faults and commands drawn from a seed, and every invariant checked.
//! - [`fuzz`]: what the fuzz targets do.

pub mod fuzz;
pub mod invariant;
mod num;
pub mod scenario;
pub mod sim;
pub mod stats;
pub mod suite;
pub mod swarm;
