//! Whether processes that are paused or slow take others down with them.

use core::time::Duration;

use super::Outcome;
use super::cluster::{Clock, STAYS, Setup, Subject, Unplayable};
use super::report::{Panel, Report, steps_up};
use crate::sim::{Action, HostId, HostSet, Time, between, nanos};

/// Some processes of a cluster at rest are disturbed for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disturb {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How many are disturbed.
    pub victims: u32,
    /// In which way.
    pub how: Disturbance,
    /// For how long.
    pub lasts: Duration,
    /// How long to wait until all are up again.
    pub limit: Duration,
}

/// In which way a process is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// It stops again and again.
    Pause {
        /// How long each time.
        pause: Duration,
        /// How much time from one pause to the next.
        every: Duration,
    },
    /// It handles everything this late.
    Slow(Duration),
}

impl Disturb {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let all = u64::from(setup.nodes);
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let victims = cluster.draw(self.victims);
        let began = cluster.world.now();
        for &victim in &victims {
            self.disturb(&mut cluster, victim);
        }
        cluster.run(self.lasts);
        if let Disturbance::Slow(_) = self.how {
            for &victim in &victims {
                cluster.perform(Action::Slow(victim, Duration::ZERO));
            }
        }
        let stays = setup.interval.saturating_mul(STAYS);
        let up = cluster.run_until_all_stay(self.limit, stays, |node| node.metrics().live == all);

        let victims: HostSet = victims.into_iter().collect();
        let about_victims = |s: &&super::tally::Sighting| victims.contains(s.subject);
        let downs = cluster.tally.downs().count();
        let about = cluster.tally.downs().filter(about_victims).count();
        let by_victims = cluster
            .tally
            .downs()
            .filter(|s| victims.contains(s.observer) && !victims.contains(s.subject));
        let report = Report::default()
            .with("disturbed", victims.iter().count())
            .with("down_about_disturbed", about)
            .with("down_about_others", downs.saturating_sub(about))
            .with("down_about_others_by_disturbed", by_victims.count())
            .with("wrong_down", cluster.tally.wrong_downs().count())
            .with("all_up_after_s", up.map(|up| up.as_secs_f64()));
        let after = |at: Time| at.since(began).as_secs_f64();
        let times: Vec<f64> = cluster.tally.downs().map(|s| after(s.at)).collect();
        let panel = Panel::new("Verdicts", "s", "share of all")
            .with(format!("seed {}", setup.seed), steps_up(times, downs));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    fn disturb(&self, cluster: &mut Subject, victim: HostId) {
        let now = cluster.world.now();
        let end = now + self.lasts;
        match self.how {
            Disturbance::Slow(lag) => cluster.perform(Action::Slow(victim, lag)),
            Disturbance::Pause { pause, every } => {
                // Each at its own time, over and over.
                let first = between(&mut cluster.rng, 0, nanos(every));
                let mut at = now + Duration::from_nanos(first);
                while at + pause < end {
                    cluster.world.schedule(at, Action::Pause(victim));
                    cluster.world.schedule(at + pause, Action::Resume(victim));
                    at = at + every.max(pause + Duration::from_millis(1));
                }
            }
        }
    }
}
