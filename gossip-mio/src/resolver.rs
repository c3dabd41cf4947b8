//! Looks up the seeds that have names, on a thread of its own, because the system's resolver blocks.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gossip_core::{Command, SeedList};

use crate::shared::Shared;

/// Looks the names up `every` so often and gives the node what they stand for, until it stops.
pub(crate) fn run(shared: &Shared, mut seeds: SeedList, every: Duration) {
    loop {
        look_up(shared, &mut seeds);
        shared.lock().faults.unresolved = seeds.unresolved();
        give(shared, &seeds);
        if shared.stops_within(seeds.pause(every)) {
            return;
        }
    }
}

/// Looks all up at once: a name that takes long must not keep the node from the others.
fn look_up(shared: &Shared, seeds: &mut SeedList) {
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for name in seeds.names() {
            let tell = tell.clone();
            let asked = name.clone();
            let ask = move || {
                let found = addresses(&asked);
                // Heard by nobody who has stopped.
                let _ = tell.send((asked, found));
            };
            let thread = thread::Builder::new().name("seed".to_owned());
            if let Err(reason) = thread.spawn_scoped(scope, ask) {
                seeds.missed(&name, reason);
            }
        }
        drop(tell);
        for (name, found) in told {
            let known = seeds.addresses();
            match found {
                Ok(found) => seeds.found(&name, found, shared.local),
                Err(reason) => seeds.missed(&name, reason),
            }
            if seeds.addresses() != known {
                give(shared, seeds);
            }
        }
    });
}

fn addresses(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(name.to_socket_addrs()?.collect())
}

fn give(shared: &Shared, seeds: &SeedList) {
    let seeds = seeds.addresses();
    // Refused by a node that has left, which needs none.
    let _ = shared.command(Command::SetSeeds { seeds });
}
