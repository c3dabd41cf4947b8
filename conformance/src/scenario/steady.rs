//! What a cluster costs when nothing changes.

use core::time::Duration;

use cpu_time::ThreadTime;

use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::{Panel, Report};
use super::{Gauges, Outcome};
use crate::num::real;
use crate::sim::Metering;

/// A cluster forms, comes to rest, and is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    /// How long it has to come to rest.
    pub warm_up: Duration,
    /// How long it is measured.
    pub lasts: Duration,
}

/// How often the curve is sampled.
const SAMPLE: Duration = Duration::from_secs(1);

/// How long it is measured with the clock in hand, for the share of the core.
const METERED: Duration = Duration::from_secs(10);

impl Steady {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(
        &self,
        setup: &Setup,
        clock: &Clock,
        gauges: Gauges,
    ) -> Result<Outcome, Unplayable> {
        let nodes = real(u64::from(setup.nodes));
        let heap_before = gauges.heap();
        let mut cluster = setup.cluster(clock)?;
        cluster.sampler.start(cluster.world.now(), SAMPLE);
        let formed = cluster.form(setup, self.warm_up)?;
        let heap = gauges.heap_since(heap_before);
        let joining = cluster.traffic();

        // First undisturbed, for the speed; then with the clock in hand, for the share of the core.
        let steps = cluster.world.steps();
        let liveness = liveness_bytes(&cluster);
        let allocated = gauges.allocated();
        let cpu = ThreadTime::now();
        cluster.run(self.lasts);
        let cpu = cpu.elapsed().as_secs_f64();
        let allocated = gauges.allocated_since(allocated);
        let steps = cluster.world.steps().saturating_sub(steps);
        let traffic = cluster.traffic().since(joining);
        let liveness = liveness_bytes(&cluster).saturating_sub(liveness);
        let share = core_share(&mut cluster);

        let seconds = self.lasts.as_secs_f64();
        let node_seconds = (nodes * seconds).max(1e-9);
        let each = |amount: u64| real(amount) / node_seconds;
        let report = Report::default()
            .with("bytes_per_node_per_s", each(traffic.bytes_out))
            .with("liveness_bytes_per_node_per_s", each(liveness))
            .with("datagrams_per_node_per_s", each(traffic.datagrams_out))
            .with("max_datagram", traffic.longest)
            .with("cpu_us_per_node_per_s", 1e6 * cpu * share / node_seconds)
            .with("cpu_us_with_simulator", 1e6 * cpu / node_seconds)
            .with("realtime_factor", seconds / cpu.max(1e-9))
            .with(
                "heap_bytes_per_member",
                heap.map(|heap| real(heap) / (nodes * nodes)),
            )
            .with("allocated_bytes_per_node_per_s", allocated.map(each))
            .with("inputs_per_node_per_s", each(steps))
            .with("formed_s", formed.as_secs_f64())
            .with("join_bytes_per_node", real(joining.bytes_out) / nodes)
            .with("wrong_down", cluster.tally.wrong_downs().count());
        let panel = Panel::new("Bytes sent by each node", "s", "bytes per second")
            .with(format!("seed {}", setup.seed), cluster.sampler.byte_rates());
        Ok(Outcome::new(cluster, report, vec![panel]))
    }
}

/// What all nodes have sent to see who lives.
fn liveness_bytes(cluster: &Subject) -> u64 {
    let nodes = cluster.world.hosts().iter().filter_map(|host| host.node());
    nodes.map(|node| node.metrics().liveness_bytes_out).sum()
}

/// The share of the time that nodes take.
fn core_share(cluster: &mut Subject) -> f64 {
    let began = std::time::Instant::now();
    cluster.world.meter().set(Metering::On);
    cluster.run(METERED);
    cluster.world.meter().set(Metering::Off);
    let core = cluster.world.meter().core().as_secs_f64();
    core / began.elapsed().as_secs_f64().max(1e-9)
}
