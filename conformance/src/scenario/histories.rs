//! Whether a death is told in time, whatever came before it.

use core::time::Duration;

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::history::History;
use super::report::{Figure, Panel, Report, steps_up};
use crate::invariant::Violation;
use crate::sim::{Action, HostId, Untold, between, nanos, pick};
use crate::stats::Sample;

/// A cluster lives through a random history of deaths, restarts and splits. Then comes a quiet, and one more
/// node dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histories {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How long to wait until all have told the last death.
    pub limit: Duration,
}

/// How long the quiet lasts, at least and at most. A cluster was once found blind two minutes after a mass of deaths.
const QUIET: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(130));

/// Intervals after its start in which a node need not tell a death.
const STARTED: u32 = 5;

/// Intervals within which a death must be told, times the patience with a member that has flapped.
const TOLD: u32 = 6;

impl Histories {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let history = History::draw(&mut cluster.rng, setup.nodes);
        let began = cluster.world.now();
        for (after, action) in &history.script {
            cluster.world.schedule(began + *after, action.clone());
        }
        let (least, most) = QUIET;
        let quiet = Duration::from_nanos(between(&mut cluster.rng, nanos(least), nanos(most)));
        cluster.run(history.lasts + quiet);

        let settled = setup.interval.saturating_mul(STARTED);
        let (victim, mut untold) = draw_victim(&mut cluster, &history.living, settled);
        let watchers = untold.by().len();
        let flaps = untold.flaps(&cluster.world);
        let told_within = TOLD.saturating_mul(untold.patience(&cluster.world));
        let died = cluster.world.now();
        cluster.perform(Action::Crash(victim));
        let mut told = Vec::new();
        while !untold.by().is_empty()
            && let Some(step) = cluster.step(died + self.limit)
        {
            if untold.look(&cluster.world, step) {
                told.push((step.host, step.at.since(died)));
            }
        }
        let never = untold.by().len();
        let last = told.last().copied().filter(|_| never == 0);
        let allowed = setup.interval.saturating_mul(told_within);
        let waited = cluster.world.now().since(died);
        let silent = untold.by().first().map(|host| (*host, waited));
        if let Some((host, ago)) = silent.or(last).filter(|(_, ago)| *ago > allowed) {
            let about = untold.about();
            let violation = Violation::DeathUntold { about, ago };
            cluster.world.report(host, violation);
        }
        let times: Vec<f64> = told.iter().map(|(_, time)| time.as_secs_f64()).collect();
        let report = Report::default()
            .with("acts", history.acts.len())
            .with("history", history.to_string())
            .with("quiet_s", quiet.as_secs_f64())
            .with("living", history.living.len())
            .with("victim", victim.to_string())
            .with("watchers", watchers)
            .with("flaps", u64::from(flaps))
            .with("told_first_s", times.first().copied())
            .with("told_last_s", last.map(|(_, time)| time.as_secs_f64()))
            .with("never", never)
            .with("wrong_down", cluster.tally.wrong_downs().count());
        let panel = Panel::new("Share of nodes that have told the death", "s", "share")
            .with(format!("seed {}", setup.seed), steps_up(times, watchers));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }
}

/// One of the living, each as likely as the others, but for those that nobody holds up.
fn draw_victim(cluster: &mut Subject, living: &[HostId], settled: Duration) -> (HostId, Untold) {
    let mut living = living.to_vec();
    loop {
        let drawn = pick(&mut cluster.rng, living.len());
        let victim = living.swap_remove(drawn);
        let untold = Untold::of(&cluster.world, victim, settled);
        if !untold.by().is_empty() || living.is_empty() {
            return (victim, untold);
        }
    }
}

/// What came of several runs.
pub(super) fn summary(reports: &[Report]) -> Report {
    let real = |report: &Report, key| match report.figure(key) {
        Some(Figure::Real(real)) => Some(*real),
        _ => None,
    };
    let count = |report: &Report, key| match report.figure(key) {
        Some(Figure::Count(count)) => *count,
        _ => 0,
    };
    let last = |report: &Report| real(report, "told_last_s");
    let sample: Sample = reports.iter().filter_map(last).collect();
    let told = reports.iter().filter(|report| last(report).is_some());
    let slowest = told.max_by(|one, other| {
        let [one, other] = [one, other].map(|report| last(report).unwrap_or(0.0));
        one.total_cmp(&other)
    });
    let never = reports.iter().filter(|report| count(report, "never") > 0);
    let seeds: Vec<String> = never
        .clone()
        .map(|report| count(report, "seed").to_string())
        .collect();
    let calm = reports.iter().filter(|report| count(report, "flaps") < 2);
    let calm: Sample = calm.filter_map(last).collect();
    Report::default()
        .with("summary", "histories".to_owned())
        .with(
            "nodes",
            reports.first().map(|report| count(report, "nodes")),
        )
        .with("runs", reports.len())
        .with("median_s", sample.percentile(50))
        .with("p99_s", sample.percentile(99))
        .with("greatest_s", sample.max())
        .with("greatest_seed", slowest.map(|report| count(report, "seed")))
        .with("greatest_with_one_flap_s", calm.max())
        .with("runs_untold", never.count())
        .with("seeds_untold", seeds.join(" "))
}
