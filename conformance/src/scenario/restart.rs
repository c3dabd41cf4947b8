//! How fast a restarted node is recognised.

use core::time::Duration;

use gossip_core::Event;

use super::Outcome;
use super::cluster::{Clock, Setup, Unplayable};
use super::report::{Panel, Report, steps_up};
use crate::num::position;
use crate::sim::{Action, HostId};
use crate::stats::Sample;

/// A node of a cluster at rest crashes and starts again, without its memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How long the process is away.
    pub away: Duration,
    /// How long to wait until all have seen the new one.
    pub limit: Duration,
}

impl Restart {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let victim = cluster.draw(1).first().copied().unwrap_or(HostId::new(0));
        let id = cluster.world.host(victim).node_id();
        cluster.perform(Action::Crash(victim));
        cluster.run(self.away);
        let began = cluster.world.now();
        cluster.perform(Action::Start(victim));

        let others = position(setup.nodes.saturating_sub(1));
        let all = u64::from(setup.nodes);
        let mut seen: Vec<f64> = Vec::new();
        let mut aware = crate::sim::HostSet::default();
        let mut old_again = 0_u64;
        let mut sees_all = None;
        while (seen.len() < others || sees_all.is_none())
            && let Some(step) = cluster.step(began + self.limit)
        {
            let since = step.at.since(began).as_secs_f64();
            let node = cluster.world.host(step.host).node();
            if step.host == victim {
                let sees = node.is_some_and(|node| node.metrics().live == all);
                sees_all = sees_all.or(sees.then_some(since));
                continue;
            }
            let lives = cluster
                .world
                .host(victim)
                .node()
                .map(|node| node.generation());
            for event in cluster.world.events() {
                let Event::MemberUp {
                    id: up, generation, ..
                } = event
                else {
                    continue;
                };
                if *up != id {
                    continue;
                }
                if Some(*generation) == lives && !aware.contains(step.host) {
                    aware = aware.iter().chain([step.host]).collect();
                    seen.push(since);
                } else if Some(*generation) != lives && aware.contains(step.host) {
                    old_again = old_again.saturating_add(1);
                }
            }
        }
        let all_saw = seen.len() >= others;
        let sample: Sample = seen.iter().copied().collect();
        let report = Report::default()
            .with("away_s", self.away.as_secs_f64())
            .with("seen_first_s", sample.min())
            .with("seen_p50_s", sample.percentile(50))
            .with("seen_p99_s", sample.percentile(99))
            .with("seen_last_s", sample.max().filter(|_| all_saw))
            .with("sees_all_s", sees_all)
            .with("old_after_new", old_again)
            .with("wrong_down", cluster.tally.wrong_downs().count());
        let panel = Panel::new("Share of nodes that see the new life", "s", "share")
            .with(format!("seed {}", setup.seed), steps_up(seen, others));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }
}
