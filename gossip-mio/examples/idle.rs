//! What an idle node costs: CPU time and wake-ups of this process over half a minute.
//!
//! `cargo run --release -p gossip-mio --example idle [seconds] [nodes]`: one node by default, or
//! several that know each other. Reads `/proc`, so it measures on Linux only.

use std::error::Error;
use std::fs;
use std::thread;
use std::time::Duration;

use gossip_mio::{Config, spawn};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let seconds = arguments.next().transpose()?.unwrap_or(30);
    let nodes = arguments.next().transpose()?.unwrap_or(1);

    let mut running = Vec::new();
    let mut seed = Vec::new();
    for number in 0..nodes {
        let mut config = Config::new(format!("node-{number}"), "127.0.0.1:0".parse()?);
        config.seeds.clone_from(&seed);
        let (handle, events) = spawn(config)?;
        if number < 3 {
            seed.push(handle.local_addr().to_string());
        }
        running.push((handle, events));
    }
    // Joining is not idling.
    thread::sleep(Duration::from_secs(5));
    let met = running
        .iter()
        .map(|(handle, _)| handle.read(|node| node.members().count()));
    println!(
        "members known: {} to {}",
        met.clone().min().unwrap_or(0),
        met.max().unwrap_or(0)
    );

    let before = Cost::now()?;
    thread::sleep(Duration::from_secs(u64::from(seconds)));
    let after = Cost::now()?;
    let cpu = after.cpu.saturating_sub(before.cpu);
    let wake_ups = after.wake_ups.saturating_sub(before.wake_ups);
    let per_node = f64::from(seconds) * f64::from(nodes);
    println!(
        "{nodes} node(s), {seconds} s: {:.3} ms CPU in all, {:.1} µs per node and second ({:.4} % of a core); {:.1} wake-ups per node and second",
        cpu.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e6 / per_node,
        cpu.as_secs_f64() * 100.0 / per_node,
        f64::from(wake_ups) / per_node,
    );
    Ok(())
}

/// What all threads of this process have used so far.
struct Cost {
    cpu: Duration,
    wake_ups: u32,
}

impl Cost {
    fn now() -> Result<Self, Box<dyn Error>> {
        let mut cost = Self {
            cpu: Duration::ZERO,
            wake_ups: 0,
        };
        for thread in fs::read_dir("/proc/self/task")? {
            let path = thread?.path();
            let times = fs::read_to_string(path.join("schedstat"))?;
            let nanos = times.split_whitespace().next().unwrap_or("0").parse()?;
            cost.cpu += Duration::from_nanos(nanos);
            let status = fs::read_to_string(path.join("status"))?;
            let voluntary = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            cost.wake_ups += voluntary.unwrap_or("0").trim().parse::<u32>()?;
        }
        Ok(cost)
    }
}
