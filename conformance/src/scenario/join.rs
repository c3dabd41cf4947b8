//! How fast, and at what cost, all nodes come to know one another.

use core::time::Duration;

use super::cluster::{Clock, Setup, Unplayable};
use super::report::{Panel, Report};
use super::{Gauges, Outcome};
use crate::num::real;

/// All nodes start within a second and know only the seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Join {
    /// How long they may take.
    pub limit: Duration,
}

/// How often the share of pairs that know one another is taken.
const SAMPLE: Duration = Duration::from_millis(50);

impl Join {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable::Setup`]. A cluster that does not form is a figure here: null.
    pub fn play(
        &self,
        setup: &Setup,
        clock: &Clock,
        gauges: Gauges,
    ) -> Result<Outcome, Unplayable> {
        let before = gauges.heap();
        let mut cluster = setup.cluster(clock)?;
        let all = u64::from(setup.nodes);
        cluster.sampler.start(cluster.world.now(), SAMPLE);
        let converged = cluster.run_until_all(self.limit, |node| node.metrics().live == all);
        let traffic = cluster.traffic();
        let pairs = real(all) * real(all);
        let heap = gauges.heap_since(before);
        let report = Report::default()
            .with("converged_s", converged.map(|after| after.as_secs_f64()))
            .with("bytes_per_node", real(traffic.bytes_out) / real(all))
            .with(
                "datagrams_per_node",
                real(traffic.datagrams_out) / real(all),
            )
            .with("datagrams_of_a_seed", cluster.datagrams_of_a_seed())
            .with("max_datagram", traffic.longest)
            .with("known_share", cluster.live_share())
            .with("wrong_down", cluster.tally.wrong_downs().count())
            .with("heap_bytes_per_member", heap.map(|heap| real(heap) / pairs))
            .with("heap_peak_bytes", gauges.heap_peak());
        let name = format!("seed {}", setup.seed);
        let panels = vec![
            Panel::new("Share of all pairs that know each other", "s", "share")
                .with(&name, cluster.sampler.live_shares()),
            Panel::new("Bytes sent for each node", "s", "bytes")
                .with(&name, cluster.sampler.bytes()),
        ];
        Ok(Outcome::new(cluster, report, panels))
    }
}
