//! Curves over time, for plots.

use core::time::Duration;

use gossip_core::NodeId;

use crate::num::real;
use crate::sim::{Time, World};
use crate::stats::Sample;

/// Looks at the cluster at regular times, once it has been told to.
#[derive(Debug)]
pub(crate) struct Sampler {
    every: Duration,
    next: Time,
    began: Time,
    watched: Option<NodeId>,
    moments: Vec<Moment>,
}

/// What the cluster looked like at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Seconds since the sampler was told to look.
    at: f64,
    live_share: f64,
    bytes_per_node: f64,
    phi: Option<(f64, f64)>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            every: Duration::ZERO,
            next: Time::NEVER,
            began: Time::START,
            watched: None,
            moments: Vec::new(),
        }
    }
}

impl Sampler {
    /// Looks from now on, counting time from now.
    pub(crate) fn start(&mut self, now: Time, every: Duration) {
        self.every = every;
        self.next = now;
        self.began = now;
        // Room for what most runs need, so that looking does not disturb figures of memory.
        self.moments.reserve(4096);
    }

    /// Looks at the phi of a member, too.
    pub(crate) fn watch(&mut self, member: Option<NodeId>) {
        self.watched = member;
    }

    pub(crate) fn look(&mut self, world: &World) {
        if world.now() < self.next {
            return;
        }
        self.next = world.now() + self.every;
        let nodes = real(crate::num::count(world.hosts().len()));
        self.moments.push(Moment {
            at: world.now().since(self.began).as_secs_f64(),
            live_share: live_share(world),
            bytes_per_node: real(world.traffic().bytes_out) / nodes.max(1.0),
            phi: self.watched.and_then(|id| phi_range(world, id)),
        });
    }

    /// The share of pairs that hold each other to be alive.
    pub(crate) fn live_shares(&self) -> Vec<(f64, f64)> {
        self.curve(|moment| Some(moment.live_share))
    }

    /// The bytes that each node has sent so far.
    pub(crate) fn bytes(&self) -> Vec<(f64, f64)> {
        self.curve(|moment| Some(moment.bytes_per_node))
    }

    /// The bytes that each node sends in a second.
    pub(crate) fn byte_rates(&self) -> Vec<(f64, f64)> {
        let pairs = self.moments.iter().zip(self.moments.iter().skip(1));
        pairs
            .map(|(from, to)| {
                let rate = (to.bytes_per_node - from.bytes_per_node) / (to.at - from.at).max(1e-9);
                (to.at, rate)
            })
            .collect()
    }

    /// The lowest phi of the watched member at any of its observers.
    pub(crate) fn lowest_phi(&self) -> Vec<(f64, f64)> {
        self.curve(|moment| moment.phi.map(|(low, _)| low))
    }

    /// The highest phi of the watched member at any of its observers.
    pub(crate) fn highest_phi(&self) -> Vec<(f64, f64)> {
        self.curve(|moment| moment.phi.map(|(_, high)| high))
    }

    fn curve(&self, figure: impl Fn(&Moment) -> Option<f64>) -> Vec<(f64, f64)> {
        let moments = self.moments.iter();
        moments
            .filter_map(|moment| Some((moment.at, figure(moment)?)))
            .collect()
    }
}

fn phi_range(world: &World, id: NodeId) -> Option<(f64, f64)> {
    let nodes = world.hosts().iter().filter_map(|host| host.node());
    let phis: Sample = nodes.filter_map(|node| node.phi(id)).collect();
    phis.min().zip(phis.max())
}

/// The share of all pairs of running nodes of which the first holds the second to be alive.
pub(super) fn live_share(world: &World) -> f64 {
    let running = world.hosts().iter().filter(|host| host.runs());
    let (hosts, live) = running.fold((0_u64, 0_u64), |(hosts, live), host| {
        let sees = host.node().map_or(0, |node| node.metrics().live);
        (hosts.saturating_add(1), live.saturating_add(sees))
    });
    real(live) / (real(hosts) * real(hosts)).max(1.0)
}
