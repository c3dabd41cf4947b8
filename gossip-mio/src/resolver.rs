//! Looks up the seeds that have names, on a thread of its own, because the system's resolver blocks.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use gossip_core::Command;

use crate::handle::Shared;

/// The wait after a look-up that failed, and the shortest after one that did not.
const RETRY: Duration = Duration::from_secs(2);

/// Looks up `names` `every` so often and gives the node their addresses and the `fixed` ones as its
/// seeds, until the node stops.
pub(crate) fn run(shared: &Shared, fixed: &[SocketAddr], names: &[String], every: Duration) {
    let mut known = vec![Vec::new(); names.len()];
    let mut told = fixed.to_vec();
    loop {
        let mut unresolved = Vec::new();
        for (name, known) in names.iter().zip(&mut known) {
            match look_up(name, shared.local_addr()) {
                Ok(addresses) => *known = addresses,
                // What it last stood for stays: a failing name server must not cost us the seeds.
                Err(reason) => unresolved.push((name.clone(), reason)),
            }
        }
        let wait = match unresolved.is_empty() {
            true => every.max(RETRY),
            false => RETRY,
        };
        shared.lock().faults.unresolved = unresolved;
        let seeds: Vec<_> = fixed
            .iter()
            .chain(known.iter().flatten())
            .copied()
            .collect();
        if seeds != told {
            told.clone_from(&seeds);
            // Refused by a node that has left, which needs none.
            let _ = shared.command(Command::SetSeeds { seeds });
        }
        if shared.stops_within(wait) {
            return;
        }
    }
}

/// The addresses of a name that a socket bound to `local` can reach: those of its own family.
fn look_up(name: &str, local: SocketAddr) -> Result<Vec<SocketAddr>, String> {
    let found = name.to_socket_addrs().map_err(|e| e.to_string())?;
    let mut found: Vec<_> = found.filter(|a| a.is_ipv4() == local.is_ipv4()).collect();
    // Name servers rotate their answers; the same ones must compare equal.
    found.sort_unstable();
    found.dedup();
    match (found.is_empty(), local) {
        (false, _) => Ok(found),
        (true, SocketAddr::V4(_)) => Err("it has no IPv4 address".to_owned()),
        (true, SocketAddr::V6(_)) => Err("it has no IPv6 address".to_owned()),
    }
}
