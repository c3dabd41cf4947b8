//! Whether members are held down because datagrams are lost.

use core::time::Duration;

use super::Outcome;
use super::cluster::{Clock, LOSS, STAYS, Setup, Unplayable};
use super::report::{Panel, Report, steps_up};
use crate::num::{amount, real};
use crate::sim::network::{Effect, Fault, Scope};
use crate::sim::{Action, HostSet, Time};

/// A cluster at rest begins to lose datagrams, and then stops to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// The share that is lost.
    pub share: f64,
    /// Whose datagrams.
    pub whose: Whose,
    /// How long.
    pub lasts: Duration,
    /// How long to wait until all are up again.
    pub limit: Duration,
}

/// Whose datagrams are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    Everybody,
    /// What this many nodes send and are sent.
    Sick(u32),
}

impl Loss {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let healthy = Setup {
            loss: 0.0,
            ..setup.clone()
        };
        let mut cluster = healthy.cluster(clock)?;
        cluster.form(&healthy, self.warm_up)?;
        let (scope, sick) = match self.whose {
            Whose::Everybody => (Scope::Everywhere, HostSet::default()),
            Whose::Sick(nodes) => {
                let sick = cluster.draw_set(nodes);
                (Scope::Around(sick.clone()), sick)
            }
        };
        let began = cluster.world.now();
        let effect = Effect::Loss(self.share);
        cluster
            .world
            .perform(Action::Set(LOSS, Fault { scope, effect }));
        cluster.run(self.lasts);
        let worst = cluster.live_share();
        cluster.perform(Action::Mend(LOSS));
        let during = cluster.tally.wrong_downs().count();
        let all = u64::from(setup.nodes);
        let stays = setup.interval.saturating_mul(STAYS);
        let up = cluster.run_until_all_stay(self.limit, stays, |node| node.metrics().live == all);

        let after = |at: Time| at.since(began).as_secs_f64();
        let about_others = |sick: &HostSet| {
            let wrong = cluster.tally.wrong_downs();
            wrong.filter(|s| !sick.contains(s.subject)).count()
        };
        let node_hours = real(all) * self.lasts.as_secs_f64() / 3600.0;
        let times: Vec<f64> = cluster.tally.wrong_downs().map(|s| after(s.at)).collect();
        let report = Report::default()
            .with("wrong_down", times.len())
            .with(
                "wrong_down_per_node_hour",
                amount(during) / node_hours.max(1e-9),
            )
            .with("wrong_down_about_others", about_others(&sick))
            .with("live_share_at_end", worst)
            .with("all_up_after_s", up.map(|up| up.as_secs_f64()));
        let total = times.len();
        let panel = Panel::new("Wrong verdicts", "s after the loss began", "share of all")
            .with(format!("seed {}", setup.seed), steps_up(times, total));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }
}
