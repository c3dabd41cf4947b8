//! Random exploration: clusters, faults and commands drawn from a seed, and every invariant checked.
//!
//! A [`Plan`] is drawn, played, and all its faults end. Then the cluster gets time to come to rest:
//! views must agree with one another and with the truth, and stay so. A plan that fails is shrunk
//! to the episodes that it takes.
//!
//! In some plans nodes write in streams and bursts, too. Once all is well, replication must then keep up
//! with a [stream](Sustained) that goes on. In some, links then go missing for long, and views must come to rest.

mod faults;
mod last_death;
mod links;
mod plan;
mod shared_map;
mod shrink;
mod sustained;
mod telling;
mod writes;

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gossip_core::{Command, Key, NodeId, Value};

pub use last_death::LastDeath;
pub use plan::{Episode, Plan, What};
pub use shrink::shrink;
pub use sustained::Sustained;
pub use writes::{Target, Writes};

use sustained::Reading;

use crate::invariant::Violation;
use crate::num::{count, narrow};
use crate::sim::network::{Effect, Fault, FaultId, Links, Scope};
use crate::sim::{
    Action, Finding, Host, HostId, Scrutiny, Seeds, Step, Time, TraceHash, Untold, World,
};

/// What came of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Exploration {
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
    /// How long after the last fault all was well.
    pub rest: Option<Duration>,
    /// How long after the last death all had told it.
    pub told: Option<Duration>,
    /// When it ended.
    pub ended: Time,
    /// How many inputs nodes handled.
    pub steps: u64,
    /// The hash over everything that happened.
    pub trace: TraceHash,
    /// What happened, in readable lines, where it was recorded.
    pub lines: Vec<Line>,
}

/// A line of a readable trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Time,
    /// What happened.
    pub text: String,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Invariants did not hold.
    Violations(Vec<Finding>),
    /// The code under test panicked.
    Panic(String),
}

/// Whether a readable trace is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    /// No.
    #[default]
    Off,
    /// Every action and every event.
    On,
}

/// Intervals within which all must be well after the last fault.
const REST: u32 = 200;

/// Intervals for which it must then stay well.
const STAYS: u32 = 5;

/// How many inputs each node may be given within an interval. A write brings some datagrams, a node that is far behind
/// some hundred, a storm thousands.
const MOST_INPUTS: u64 = 5000;

/// Plays a plan and checks everything.
#[must_use]
pub fn explore(plan: &Plan, recording: Recording) -> Exploration {
    let mut player = Player::new(plan, recording);
    let panicked = catch_unwind(AssertUnwindSafe(|| player.play(plan)));
    let failure = match panicked {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&t| t.to_owned()));
            Some(Failure::Panic(text.unwrap_or_default()))
        }
        Ok(()) if player.findings.is_empty() => None,
        Ok(()) => Some(Failure::Violations(player.findings)),
    };
    Exploration {
        failure,
        rest: player.rest,
        told: player.told,
        ended: player.world.now(),
        steps: player.world.steps(),
        trace: player.world.trace_hash(),
        lines: player.lines,
    }
}

struct Player {
    world: World,
    recording: Recording,
    lines: Vec<Line>,
    findings: Vec<Finding>,
    rest: Option<Duration>,
    told: Option<Duration>,
    pace: Pace,
}

/// How many inputs there have been within an interval.
struct Pace {
    interval: Duration,
    limit: u64,
    began: Time,
    inputs: u64,
}

impl Pace {
    fn of(plan: &Plan) -> Self {
        Self {
            interval: plan.config.interval,
            limit: MOST_INPUTS.saturating_mul(count(plan.hosts)),
            began: Time::default(),
            inputs: 0,
        }
    }

    /// Counts an input. Returns what is wrong with the pace.
    fn note(&mut self, at: Time) -> Option<Violation> {
        if at.since(self.began) >= self.interval {
            (self.began, self.inputs) = (at, 0);
        }
        self.inputs = self.inputs.saturating_add(1);
        let (inputs, limit) = (self.inputs, self.limit);
        (inputs > limit).then_some(Violation::Storm { inputs, limit })
    }
}

impl Player {
    fn new(plan: &Plan, recording: Recording) -> Self {
        let mut world = World::new(plan.seed, plan.delay);
        world.set_scrutiny(Scrutiny::Views);
        for host in 0..plan.hosts {
            world
                .add(HostId::at(host).name().as_str(), plan.config_of(host))
                .expect("plans draw configurations that work");
        }
        Self {
            world,
            recording,
            lines: Vec::new(),
            findings: Vec::new(),
            rest: None,
            told: None,
            pace: Pace::of(plan),
        }
    }

    fn play(&mut self, plan: &Plan) {
        for (at, action) in plan.script() {
            self.run(at);
            if self.recording == Recording::On {
                self.note(at, &action.to_string());
            }
            if let Some(step) = self.world.perform(action) {
                self.note_events(step);
            }
        }
        self.run(plan.ends);
        self.come_to_rest(plan.config.interval);
        if let Some(sustained) = &plan.sustained
            && self.findings.is_empty()
        {
            self.keep_up(plan, sustained);
            let rest = self.rest;
            self.come_to_rest(plan.config.interval);
            self.rest = rest;
        }
        if let Some(missing) = plan.links
            && self.findings.is_empty()
        {
            self.miss(plan, missing);
            let rest = self.rest;
            self.come_to_rest(plan.config.interval);
            self.rest = rest;
        }
        if let Some(death) = &plan.last_death
            && self.findings.is_empty()
        {
            self.die(plan, death);
        }
    }

    /// Has one more node die, and checks when that is told.
    fn die(&mut self, plan: &Plan, death: &LastDeath) {
        self.run(self.world.now() + death.quiet);
        let Some(victim) = last_death::victim(&self.world, plan.seed) else {
            return;
        };
        let mut untold = Untold::of(&self.world, victim, Duration::ZERO);
        let bound = death.bound * untold.patience(&self.world);
        let died = self.world.now();
        let action = Action::Crash(victim);
        if self.recording == Recording::On {
            self.note(died, &action.to_string());
        }
        self.world.perform(action);
        while !untold.by().is_empty()
            && let Some(step) = self.step(died + bound)
        {
            if untold.look(&self.world, step) {
                self.told = Some(step.at.since(died));
            }
        }
        let at = self.world.now();
        let about = untold.about();
        let ago = at.since(died);
        self.findings.extend(untold.by().iter().map(|host| Finding {
            at,
            host: *host,
            violation: Violation::DeathUntold { about, ago },
        }));
    }

    /// Has links go missing for long, and checks that views cease to change.
    fn miss(&mut self, plan: &Plan, missing: Links) {
        let site = |host: usize| narrow(plan.places.get(host).copied().unwrap_or(0));
        let faults = missing.faults(plan.hosts, site, Seeds::new(plan.seed));
        let ids = || (0..narrow(plan.hosts)).map(|number| FaultId::new(u32::MAX - 1 - number));
        for (id, fault) in ids().zip(faults) {
            self.world.perform(Action::Set(id, fault));
        }
        let interval = plan.config.interval;
        let settled = self.world.now() + interval.saturating_mul(links::SETTLES);
        let end = settled + interval.saturating_mul(links::WATCHED);
        let mut writer = 0;
        while self.world.now() < end {
            let next = end.min(self.world.now() + interval);
            while let Some(step) = self.step(next) {
                if step.at >= settled {
                    self.findings.extend(links::changes(&self.world, step));
                }
            }
            if !self.findings.is_empty() {
                break;
            }
            // News of a member must not change what others hold of it.
            writer = (writer + 1) % plan.hosts;
            let command = Command::Set {
                key: Key::new("links").expect("a legal key"),
                value: Value::new(next.as_nanos().to_string()).expect("a legal value"),
            };
            if let Some(step) = self
                .world
                .perform(Action::Command(HostId::at(writer), command))
            {
                self.note_events(step);
            }
        }
        for id in ids() {
            self.world.perform(Action::Mend(id));
        }
    }

    /// Has nodes write, in a network that is whole but for a loss, and checks how late that is read.
    fn keep_up(&mut self, plan: &Plan, sustained: &Sustained) {
        let truth = self.world.truth();
        let hosts = self.world.hosts().iter();
        let live = hosts.filter(|host| truth.lives(host.node_id()));
        let live: Vec<HostId> = live.map(Host::id).collect();
        // No episode has this name.
        let fault = FaultId::new(u32::MAX);
        let lossy = Fault {
            scope: Scope::Everywhere,
            effect: Effect::Loss(sustained.loss),
        };
        self.world.perform(Action::Set(fault, lossy));
        let mut reading = Reading::new(sustained.bound, live.clone());
        let begins = self.world.now();
        for (after, writer, command) in sustained.writes.within(sustained.lasts, &live) {
            self.read(&mut reading, begins + after);
            if self.recording == Recording::On {
                self.note(
                    begins + after,
                    &Action::Command(writer, command.clone()).to_string(),
                );
            }
            let to = sustained.writes.to;
            let before = Reading::own(&self.world, writer, to);
            let accepted = self.world.ask(writer, command);
            self.note_events(Step {
                at: self.world.now(),
                host: writer,
            });
            if matches!(accepted, Some(Ok(()))) {
                reading.wrote(&self.world, writer, to, before);
            }
            if reading.late.is_some() {
                break;
            }
        }
        let until = self.world.now() + sustained.bound + plan.config.interval;
        while !reading.is_all_read() && reading.late.is_none() && self.world.now() < until {
            let next = self.world.now() + plan.config.interval / 4;
            self.read(&mut reading, next);
        }
        self.world.perform(Action::Mend(fault));
        self.findings.extend(reading.finish(&self.world, sustained));
    }

    fn read(&mut self, reading: &mut Reading, until: Time) {
        while let Some(step) = self.step(until) {
            reading.look(&self.world, step.host);
        }
    }

    fn come_to_rest(&mut self, interval: Duration) {
        let ended = self.world.now();
        let mut well = 0;
        let mut wrong = Vec::new();
        for _ in 0..REST {
            wrong = self.world.check_quiescence();
            well = if wrong.is_empty() { well + 1 } else { 0 };
            if well == 1 {
                self.rest = Some(self.world.now().since(ended));
            }
            if well > STAYS {
                break;
            }
            self.run(self.world.now() + interval);
        }
        self.findings.extend_from_slice(self.world.findings());
        if well <= STAYS {
            self.rest = None;
            self.findings.extend(wrong);
        }
    }

    fn run(&mut self, until: Time) {
        while self.step(until).is_some() {}
    }

    /// Gives one node its next input. In a storm there are no more.
    fn step(&mut self, until: Time) -> Option<Step> {
        if self
            .findings
            .iter()
            .any(|finding| matches!(finding.violation, Violation::Storm { .. }))
        {
            return None;
        }
        let step = self.world.step(until)?;
        self.note_events(step);
        let storm = self.pace.note(step.at);
        self.findings.extend(storm.map(|violation| Finding {
            at: step.at,
            host: step.host,
            violation,
        }));
        Some(step)
    }

    fn note_events(&mut self, step: Step) {
        if self.recording == Recording::Off {
            return;
        }
        let events = self.world.events().iter();
        let told: Vec<String> = events
            .map(|event| format!("  {} {}", step.host, telling::event(event)))
            .collect();
        for text in told {
            self.note(step.at, &text);
        }
    }

    fn note(&mut self, at: Time, text: &str) {
        let hosts = self.world.hosts().iter();
        let text = with_names(text, hosts.map(|host| (host.node_id(), host.id())));
        self.lines.push(Line { at, text });
    }
}

/// Replaces the ids of nodes by the names of their hosts.
fn with_names(text: &str, names: impl Iterator<Item = (NodeId, HostId)>) -> String {
    names.fold(text.to_owned(), |text, (id, host)| {
        text.replace(&id.to_string(), &host.to_string())
    })
}

impl Failure {
    /// Whether it is of the same kind as another: what shrinking must preserve.
    #[must_use]
    pub fn resembles(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Panic(one), Self::Panic(other)) => one == other,
            (Self::Violations(one), Self::Violations(other)) => {
                let kind = |found: &[Finding]| {
                    let first = found.first();
                    first.map(|finding| core::mem::discriminant(&finding.violation))
                };
                kind(one) == kind(other)
            }
            _ => false,
        }
    }

    /// When it was first seen, if that is known.
    #[must_use]
    pub fn first_seen(&self) -> Option<Time> {
        match self {
            Self::Panic(_) => None,
            Self::Violations(findings) => findings.first().map(|finding| finding.at),
        }
    }

    /// In words, with the names of hosts in place of ids.
    #[must_use]
    pub fn describe(&self, plan: &Plan) -> String {
        match self {
            Self::Panic(text) => format!("panic: {text}"),
            Self::Violations(findings) => {
                let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
                let hosts = (0..plan.hosts).map(HostId::at);
                let named = hosts.map(|host| (host.node_id(), host));
                with_names(&lines.join("\n"), named)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_more_inputs_within_an_interval_than_its_nodes_may_get() {
        let mut pace = Pace {
            interval: Duration::from_secs(1),
            limit: 3,
            began: Time::default(),
            inputs: 0,
        };
        let at = |millis: u64| Time::from_nanos(millis * 1_000_000);
        let storms: Vec<bool> = [0, 10, 20, 1000, 1010, 1020, 1030, 2000]
            .map(|millis| pace.note(at(millis)).is_some())
            .into();
        let expected = [false, false, false, false, false, false, true, false];
        assert_eq!(storms, expected);
    }
}
