//! Looks up the seeds that have names, on a thread of its own, because the system's resolver blocks.

use std::net::ToSocketAddrs;
use std::time::Duration;

use gossip_core::{Command, SeedList};

use crate::shared::Shared;

/// Looks the names up `every` so often and gives the node what they stand for, until it stops.
pub(crate) fn run(shared: &Shared, mut seeds: SeedList, every: Duration) {
    loop {
        for name in seeds.names() {
            match name.to_socket_addrs() {
                Ok(found) => seeds.found(&name, found, shared.local),
                Err(reason) => seeds.missed(&name, reason),
            }
        }
        shared.lock().faults.unresolved = seeds.unresolved();
        // Refused by a node that has left, which needs none.
        let _ = shared.command(Command::SetSeeds {
            seeds: seeds.addresses(),
        });
        if shared.stops_within(seeds.pause(every)) {
            return;
        }
    }
}
