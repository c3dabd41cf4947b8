//! A cluster in which nodes come and go all the time.

use core::time::Duration;

use gossip_core::{Command, Node, Standing};

use super::Outcome;
use super::cluster::{Clock, STAYS, Setup, Subject, Unplayable};
use super::report::{Panel, Report};
use crate::num::{amount, real};
use crate::sim::network::exponential;
use crate::sim::{Action, HostId, between, chance, pick};

/// Nodes crash, leave and start again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// The mean time from one departure to the next.
    pub every: Duration,
    /// How long a node is away at most.
    pub away: Duration,
    /// For how long nodes depart.
    pub lasts: Duration,
    /// How long to wait until all is well again.
    pub limit: Duration,
}

/// How often the curve is sampled.
const SAMPLE: Duration = Duration::from_millis(200);

/// How long a leaving node gets to say farewell before its process ends.
const FAREWELL: Duration = Duration::from_secs(3);

impl Churn {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let all = u64::from(setup.nodes);
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let began = cluster.world.now();
        let before = cluster.traffic();
        let (mut crashes, mut leaves) = (0_u64, 0_u64);
        cluster.sampler.start(began, SAMPLE);
        while cluster.world.now() < began + self.lasts {
            let wait = exponential(&mut cluster.rng, self.every);
            let left = (began + self.lasts).since(cluster.world.now());
            cluster.run(wait.min(left));
            let Some(victim) = draw_running(&mut cluster) else {
                continue;
            };
            let now = cluster.world.now();
            let away = between(&mut cluster.rng, 0, crate::sim::nanos(self.away));
            let away = Duration::from_nanos(away);
            if chance(&mut cluster.rng, 0.5) {
                crashes = crashes.saturating_add(1);
                cluster.perform(Action::Crash(victim));
                cluster.world.schedule(now + away, Action::Start(victim));
            } else {
                leaves = leaves.saturating_add(1);
                cluster
                    .world
                    .perform(Action::Command(victim, Command::Leave));
                cluster
                    .world
                    .schedule(now + FAREWELL, Action::Crash(victim));
                cluster
                    .world
                    .schedule(now + FAREWELL + away, Action::Start(victim));
            }
        }
        let traffic = cluster.traffic().since(before);
        let during = cluster.tally.wrong_downs().count();
        // All are back in the end.
        cluster.run(FAREWELL + self.away);
        let well = |node: &Node| node.metrics().live == all;
        let stays = setup.interval.saturating_mul(STAYS);
        let well = cluster.run_until_all_stay(self.limit, stays, well);
        let node_seconds = (real(all) * self.lasts.as_secs_f64()).max(1e-9);
        let report = Report::default()
            .with("crashes", crashes)
            .with("leaves", leaves)
            .with("wrong_down", cluster.tally.wrong_downs().count())
            .with(
                "wrong_down_per_node_hour",
                amount(during) / (node_seconds / 3600.0),
            )
            .with(
                "bytes_per_node_per_s",
                real(traffic.bytes_out) / node_seconds,
            )
            .with("max_datagram", traffic.longest)
            .with("all_up_after_s", well.map(|well| well.as_secs_f64()))
            .with("differences", cluster.world.check_quiescence().len());
        let panel = Panel::new(
            "Live members seen by the running",
            "s",
            "share of the running",
        )
        .with(
            format!("seed {}", setup.seed),
            cluster.sampler.live_shares(),
        );
        Ok(Outcome::new(cluster, report, vec![panel]))
    }
}

/// A node that runs and stays; one seed is left alone, so that there is always a way in.
fn draw_running(cluster: &mut Subject) -> Option<HostId> {
    let stays = |node: &Node| matches!(node.standing(), Standing::Up | Standing::Joining);
    let hosts = cluster.world.hosts().iter().skip(1);
    let running: Vec<HostId> = hosts
        .filter(|host| host.runs() && host.node().is_some_and(stays))
        .map(|host| host.id())
        .collect();
    let drawn = pick(&mut cluster.rng, running.len());
    running.get(drawn).copied()
}
