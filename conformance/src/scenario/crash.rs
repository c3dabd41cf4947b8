//! How fast crashes are seen by all.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::{Panel, Report, steps_up};
use super::tally::Verdict;
use crate::num::{amount, real};
use crate::sim::{Action, HostId, HostSet, Time};
use crate::stats::Sample;

/// Some nodes of a cluster at rest crash in the same moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crash {
    /// How long the cluster has before: detection gets better as it learns.
    pub warm_up: Duration,
    /// How many crash.
    pub victims: u32,
    /// How long to wait for the verdicts.
    pub limit: Duration,
}

/// How often phi is taken for the plot.
const SAMPLE: Duration = Duration::from_millis(100);

impl Crash {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let victims = cluster.draw(self.victims.min(setup.nodes.saturating_sub(1)));
        let began = cluster.world.now();
        for &victim in &victims {
            cluster.perform(Action::Crash(victim));
        }
        let survivors = u64::from(setup.nodes).saturating_sub(crate::num::count(victims.len()));
        let watched = victims
            .first()
            .map(|&host| cluster.world.host(host).node_id());
        cluster.sampler.start(began, SAMPLE);
        cluster.sampler.watch(watched);
        // Done when nobody counts more than the survivors.
        cluster.run_until_all(self.limit, |node| node.metrics().live <= survivors);
        let dead: HostSet = victims.iter().copied().collect();
        let times = detections(&cluster, &dead, began);
        let pairs = real(survivors) * amount(victims.len());
        let all = amount(times.len()) >= pairs;
        let sample: Sample = times.iter().copied().collect();
        let report = Report::default()
            .with("killed", victims.len())
            .with("detect_first_s", sample.min())
            .with("detect_p50_s", sample.percentile(50))
            .with("detect_p99_s", sample.percentile(99))
            .with("detect_last_s", sample.max().filter(|_| all))
            .with("detected_share", amount(times.len()) / pairs.max(1.0))
            .with("wrong_down", cluster.tally.wrong_downs().count());
        let name = format!("seed {}", setup.seed);
        let expected = usize::try_from(survivors).unwrap_or(usize::MAX);
        let expected = expected.saturating_mul(victims.len());
        let panels = vec![
            Panel::new("Share of verdicts", "s after the crash", "share")
                .with(&name, steps_up(times, expected)),
            Panel::new(
                "Phi of one of the dead at its observers",
                "s after the crash",
                "phi",
            )
            .with(format!("{name}, lowest"), cluster.sampler.lowest_phi())
            .with(format!("{name}, highest"), cluster.sampler.highest_phi()),
        ];
        Ok(Outcome::new(cluster, report, panels))
    }
}

/// When each survivor first held each of the dead down, in seconds after the crash.
fn detections(cluster: &Subject, dead: &HostSet, began: Time) -> Vec<f64> {
    let mut first: BTreeMap<(HostId, HostId), Time> = BTreeMap::new();
    for sighting in cluster.tally.sightings() {
        if sighting.verdict == Verdict::Down && dead.contains(sighting.subject) {
            let pair = (sighting.observer, sighting.subject);
            first.entry(pair).or_insert(sighting.at);
        }
    }
    let after = |at: Time| at.since(began).as_secs_f64();
    first.into_values().map(after).collect()
}
