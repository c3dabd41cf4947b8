//! What this process costs the machine. Known on Linux only, where `/proc` tells.

use core::time::Duration;
use std::fs;

/// What this process has used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Time on a processor.
    pub(super) cpu: Duration,
    /// How often one of its threads has woken up after waiting for something.
    pub(super) wake_ups: u64,
}

impl Cost {
    /// The cost up to now. `None` where this machine does not tell.
    pub(super) fn now() -> Option<Self> {
        let mut cost = Self {
            cpu: Duration::ZERO,
            wake_ups: 0,
        };
        for thread in fs::read_dir("/proc/self/task").ok()? {
            // A thread that has just ended has no files any more.
            let Some((cpu, wake_ups)) = thread.ok().and_then(|t| of_thread(&t.path())) else {
                continue;
            };
            cost.cpu = cost.cpu.saturating_add(cpu);
            cost.wake_ups = cost.wake_ups.saturating_add(wake_ups);
        }
        Some(cost)
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wake_ups: self.wake_ups.saturating_sub(earlier.wake_ups),
        }
    }
}

fn of_thread(task: &std::path::Path) -> Option<(Duration, u64)> {
    let times = fs::read_to_string(task.join("schedstat")).ok()?;
    let nanos = times.split_whitespace().next()?.parse().ok()?;
    let status = fs::read_to_string(task.join("status")).ok()?;
    let waits = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    Some((Duration::from_nanos(nanos), waits.trim().parse().ok()?))
}

/// Bytes of memory that this process holds. `None` where this machine does not tell.
pub(super) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}
