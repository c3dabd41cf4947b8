//! Several runs of a scenario, on one thread or several, told in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use conformance::scenario::{Clock, Gauges, Outcome, Report, Scenario, Setup, Unplayable};
use gossip_core::{Dissemination, Mode};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::Common;
use super::{plot, table};

type Played = Result<Outcome, Unplayable>;

/// Plays all runs and tells what came of them. False if something is wrong.
pub(crate) fn play(scenario: &Scenario, common: &Common, gauges: Gauges) -> bool {
    let setup = common.setup();
    let clock = Clock::default();
    let next = AtomicU32::new(0);
    let (sender, receiver) = mpsc::channel();
    let bar = progress(u64::from(common.runs));
    let mut told = Told::new(scenario, common);
    std::thread::scope(|scope| {
        for _ in 0..common.jobs.max(1) {
            let (sender, next, setup, clock) = (sender.clone(), &next, &setup, &clock);
            scope.spawn(move || {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= common.runs {
                        return;
                    }
                    let setup = Setup {
                        seed: setup.seed.wrapping_add(u64::from(run)),
                        ..setup.clone()
                    };
                    let played = scenario.play(&setup, clock, gauges);
                    if sender.send((run, setup, played)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok((run, setup, played)) => {
                    bar.suspend(|| told.take(run, setup, played));
                    bar.inc(1);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bar.set_message(format!("{:.1} s", clock.read().as_secs_f64()));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    bar.finish_and_clear();
    told.finish()
}

fn print_json(report: &Report, about: &str) {
    match serde_json::to_string(report) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("{about}: {error}"),
    }
}

/// A bar that is only seen on a terminal.
pub(crate) fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  virtual {msg}  {elapsed}");
    let bar = ProgressBar::new(length);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Tells of runs in the order of their seeds, whichever ends first.
struct Told<'a> {
    scenario: &'a Scenario,
    common: &'a Common,
    early: BTreeMap<u32, (Setup, Played)>,
    next: u32,
    reports: Vec<Report>,
    panels: Vec<plot::Panels>,
    well: bool,
}

impl<'a> Told<'a> {
    fn new(scenario: &'a Scenario, common: &'a Common) -> Self {
        Self {
            scenario,
            common,
            early: BTreeMap::new(),
            next: 0,
            reports: Vec::new(),
            panels: Vec::new(),
            well: true,
        }
    }

    fn take(&mut self, run: u32, setup: Setup, played: Played) {
        self.early.insert(run, (setup, played));
        while let Some((setup, played)) = self.early.remove(&self.next) {
            self.next = self.next.saturating_add(1);
            self.tell(&setup, played);
        }
    }

    fn tell(&mut self, setup: &Setup, played: Played) {
        match played {
            Err(failure) => {
                eprintln!("seed {}: {failure}", setup.seed);
                self.well = false;
            }
            Ok(outcome) => {
                for finding in outcome.findings.iter().take(10) {
                    eprintln!("seed {}: {finding}", setup.seed);
                }
                self.well &= outcome.findings.is_empty();
                let report = self.heading(setup).and(outcome.report);
                if self.common.json {
                    print_json(&report, &format!("seed {}", setup.seed));
                }
                self.reports.push(report);
                self.panels.push(outcome.panels);
            }
        }
    }

    /// What every report begins with.
    fn heading(&self, setup: &Setup) -> Report {
        let loss = self.scenario.loss().unwrap_or(setup.loss);
        let mode = match setup.mode {
            Mode::Push => "push",
            Mode::Pull => "pull",
            Mode::PushPull => "push-pull",
        };
        let eager = match setup.dissemination {
            Dissemination::Eager => "on",
            Dissemination::Periodic => "off",
        };
        Report::default()
            .with("scenario", self.scenario.name().to_owned())
            .with("nodes", u64::from(setup.nodes))
            .with("seed", setup.seed)
            .with("runs", u64::from(self.common.runs))
            .with("loss", loss)
            .with("interval_s", setup.interval.as_secs_f64())
            .with("fanout", u64::from(setup.fanout))
            .with("mode", mode.to_owned())
            .with("eager", eager.to_owned())
    }

    fn finish(mut self) -> bool {
        if !self.common.json {
            table::print(&self.reports);
        }
        if let Some(summary) = self.scenario.summary(&self.reports) {
            if self.common.json {
                print_json(&summary, "all runs");
            } else {
                println!();
                table::print(&[summary]);
            }
        }
        if let Some(path) = &self.common.plot
            && let Err(error) = plot::draw(path, &self.panels)
        {
            eprintln!("cannot write {}: {error}", path.display());
            self.well = false;
        }
        self.well
    }
}
