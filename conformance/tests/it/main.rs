//! What nodes and clusters do, in virtual time: one module for each behaviour.
//!
//! `cargo test -p conformance --test it liveness` runs one module, and the name of a test runs that test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod addresses;
mod agreement;
mod bounds;
mod broadcast;
mod datacenters;
mod exchange;
mod floods;
mod identity;
mod invariants;
mod joining;
mod liveness;
mod malformed;
mod map_lies;
mod map_memory;
mod map_schedules;
mod partition;
mod removal;
mod scenarios;
mod shared_map;
mod swarm;

use conformance::testkit::{Cluster, SECOND};

/// Guests under names of their own come one after the other, and go in this way.
fn receive(cluster: &mut Cluster, guests: u32, go: impl Fn(&mut Cluster, usize)) {
    for guest in 0..guests {
        let number = cluster.add(&format!("guest{guest}"));
        cluster.start(number);
        cluster.pass(20 * SECOND);
        go(cluster, number);
        cluster.pass(20 * SECOND);
    }
}
