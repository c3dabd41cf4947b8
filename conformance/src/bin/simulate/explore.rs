//! The swarm from the command line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use conformance::scenario::Report;
use conformance::stats::Sample;
use conformance::swarm::{Exploration, Failure, Plan, Recording, explore as play, shrink};

use super::args::Swarm;
use super::runs::progress;

/// How many plans are played to find a smaller one that still fails.
const SHRINKING: usize = 200;

/// How much of a trace is printed: before the first violation, and after it.
const LINES_BEFORE: usize = 40;
const LINES_AFTER: usize = 10;

/// Plays all seeds and tells which fail. False if one does.
pub(crate) fn explore(swarm: &Swarm) -> bool {
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    let bar = progress(swarm.seeds);
    let mut told = Told::default();
    std::thread::scope(|scope| {
        for _ in 0..swarm.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= swarm.seeds {
                        return;
                    }
                    let plan = plan(swarm, swarm.seed.wrapping_add(number));
                    let recording = if swarm.trace {
                        Recording::On
                    } else {
                        Recording::Off
                    };
                    let came = play(&plan, recording);
                    if sender.send((number, plan, came)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for (number, plan, came) in receiver {
            early.insert(number, (plan, came));
            while let Some((plan, came)) = early.remove(&told.seeds) {
                bar.suspend(|| told.tell(swarm, &plan, &came));
                bar.inc(1);
            }
        }
    });
    bar.finish_and_clear();
    told.finish(swarm)
}

fn plan(swarm: &Swarm, seed: u64) -> Plan {
    let plan = Plan::draw(seed);
    match &swarm.only {
        Some(numbers) => plan.only(numbers),
        None => plan,
    }
}

#[derive(Default)]
struct Told {
    seeds: u64,
    failed: Vec<u64>,
    rests: Vec<f64>,
    steps: u64,
    virtual_s: f64,
}

impl Told {
    fn tell(&mut self, swarm: &Swarm, plan: &Plan, came: &Exploration) {
        self.seeds = self.seeds.saturating_add(1);
        self.steps = self.steps.saturating_add(came.steps);
        self.virtual_s += came.ended.as_secs_f64();
        self.rests.extend(came.rest.map(|rest| rest.as_secs_f64()));
        if swarm.json {
            tell_json(swarm, plan, came);
        }
        if swarm.trace {
            println!("{plan}");
            for line in &came.lines {
                println!("{:>12} {}", line.at, line.text);
            }
        }
        if let Some(failure) = &came.failure {
            self.failed.push(plan.seed);
            tell_failure(swarm, plan, failure);
        }
    }

    fn finish(self, swarm: &Swarm) -> bool {
        if !swarm.json {
            let rests: Sample = self.rests.iter().copied().collect();
            let show =
                |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |f| format!("{f:.1}"));
            println!(
                "{} seeds from {}: {} failed; {:.0} virtual seconds, {} inputs; all well again after \
                 {} s (mean), {} s (p99), {} s (longest)",
                self.seeds,
                swarm.seed,
                self.failed.len(),
                self.virtual_s,
                self.steps,
                show(rests.mean()),
                show(rests.percentile(99)),
                show(rests.max())
            );
            if !self.failed.is_empty() {
                let seeds: Vec<String> = self.failed.iter().map(u64::to_string).collect();
                println!("failed: {}", seeds.join(" "));
            }
        }
        self.failed.is_empty()
    }
}

fn tell_json(swarm: &Swarm, plan: &Plan, came: &Exploration) {
    let violations = match &came.failure {
        None => 0,
        Some(Failure::Panic(_)) => 1,
        Some(Failure::Violations(found)) => found.len(),
    };
    let report = Report::default()
        .with("scenario", "swarm".to_owned())
        .with("nodes", plan.hosts)
        .with("seed", plan.seed)
        .with("runs", swarm.seeds)
        .with("loss", 0.0)
        .with("interval_s", plan.config.interval.as_secs_f64())
        .with("episodes", plan.episodes.len())
        .with("virtual_s", came.ended.as_secs_f64())
        .with("rest_s", came.rest.map(|rest| rest.as_secs_f64()))
        .with("told_s", came.told.map(|told| told.as_secs_f64()))
        .with("steps", came.steps)
        .with("violations", violations)
        .with("trace", came.trace.to_string());
    match serde_json::to_string(&report) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("seed {}: {error}", plan.seed),
    }
}

fn tell_failure(swarm: &Swarm, plan: &Plan, failure: &Failure) {
    eprintln!("seed {} fails:", plan.seed);
    for line in failure.describe(plan).lines().take(20) {
        eprintln!("  {line}");
    }
    if swarm.trace {
        return;
    }
    let (smallest, _) = shrink(plan, failure, SHRINKING);
    let again = play(&smallest, Recording::On);
    eprintln!("{smallest}");
    let seen = again.failure.as_ref().and_then(Failure::first_seen);
    let before = again
        .lines
        .partition_point(|line| seen.is_none_or(|seen| line.at <= seen));
    let lines = again.lines.iter().skip(before.saturating_sub(LINES_BEFORE));
    for line in lines.take(before.min(LINES_BEFORE).saturating_add(LINES_AFTER)) {
        eprintln!("{:>12} {}", line.at, line.text);
    }
    if let Some(failure) = &again.failure {
        for line in failure.describe(&smallest).lines().take(20) {
            eprintln!("  {line}");
        }
    }
    let numbers: Vec<String> = smallest.numbers().iter().map(usize::to_string).collect();
    let only = if numbers.is_empty() {
        String::new()
    } else {
        format!(" --only {}", numbers.join(","))
    };
    eprintln!(
        "replay: cargo run --release -p conformance --bin simulate -- swarm --seed {} --seeds 1{only} --trace\n",
        plan.seed
    );
}
