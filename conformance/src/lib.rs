//! The proof machine: what must hold of gossip nodes, and a world in which to see it hold or fail.
//!
//! - [`testkit`]: clusters for tests, and the place to begin.
//! - [`sim`]: a deterministic world in virtual time that drives real nodes through their public
//!   interface, with every fault that networks, clocks and machines have.
//! - [`invariant`]: what must hold, as checks over plain data.
//! - [`suite`]: what every adapter must do, over real sockets.
//! - [`scenario`]: questions put to a simulated cluster, each answered by figures.
//! - [`swarm`]: clusters, faults and commands drawn from a seed, and every invariant checked.
//! - [`map`]: random schedules over replicas of the shared map, with its rules taken away one by one.
//! - [`fuzz`]: what the fuzz targets do.
//!
//! ```
//! use core::time::Duration;
//! use conformance::sim::{network::Delay, Action, HostId, Time, World};
//!
//! let milli = Duration::from_millis(1);
//! let mut world = World::new(42, Delay::uniform(milli, 10 * milli));
//! let mut config = gossip_core::Config::lan();
//! config.seeds = vec!["10.0.0.1:7946".parse().unwrap()]; // the address of host 0
//! for name in ["a", "b", "c"] {
//!     let host = world.add(name, config.clone()).unwrap();
//!     world.perform(Action::Start(host));
//! }
//! world.run_until(Time::from_secs(10));
//! assert!(world.check_quiescence().is_empty());
//!
//! world.perform(Action::Crash(HostId::new(2)));
//! assert!(!world.check_quiescence().is_empty(), "nobody has noticed yet");
//! world.run_until(Time::from_secs(30));
//! assert!(world.check_quiescence().is_empty(), "everybody has");
//! ```

pub mod forge;
pub mod fuzz;
pub mod invariant;
pub mod map;
mod num;
pub mod scenario;
pub mod sim;
pub mod stats;
pub mod suite;
pub mod swarm;
pub mod testkit;
