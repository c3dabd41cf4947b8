//! Whether anybody is ever wrongly held down while the weather changes.

use core::time::Duration;

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::{Panel, Report, steps_up};
use crate::num::real;
use crate::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use crate::sim::{
    Action, HostId, HostSet, Seeds, Stream, Time, between, chance, nanos, pick, unit,
};

/// A cluster lives through spells of random loss, delay and pauses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soak {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How long it goes on.
    pub lasts: Duration,
    /// The greatest share that is lost.
    pub loss: f64,
    /// The longest that a datagram is delayed beyond the usual.
    pub delay: Duration,
    /// The longest pause of a process.
    pub pause: Duration,
}

/// The fewest nodes that are drawn.
const FEWEST: u32 = 5;

/// How long a spell lasts, at least and at most.
const SPELL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(120));

/// How many of the nodes are paused once in a spell, on average, in the worst of them.
const PAUSED: f64 = 0.5;

const LOST: FaultId = FaultId::new(2);
const LATE: FaultId = FaultId::new(3);

impl Soak {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let mut rng = Seeds::new(setup.seed).rng(Stream::Plan);
        let most = u64::from(setup.nodes.max(FEWEST));
        let drawn = between(&mut rng, u64::from(FEWEST), most);
        let setup = Setup {
            nodes: u32::try_from(drawn).unwrap_or(FEWEST),
            loss: 0.0,
            ..setup.clone()
        };
        let mut cluster = setup.cluster(clock)?;
        cluster.form(&setup, self.warm_up)?;
        let began = cluster.world.now();
        let end = began + self.lasts;
        let mut spells = 0_u64;
        while cluster.world.now() < end {
            spells = spells.saturating_add(1);
            self.spell(&mut cluster, end);
        }
        let wrong: Vec<_> = cluster.tally.wrong_downs().collect();
        let node_hours = real(drawn) * self.lasts.as_secs_f64() / 3600.0;
        let first = wrong.first().map(|s| {
            let at = s.at.since(began).as_secs_f64();
            format!("{at:.1} s: {} holds {} down", s.observer, s.subject)
        });
        let subjects: HostSet = wrong.iter().map(|s| s.subject).collect();
        let times: Vec<f64> = wrong
            .iter()
            .map(|s| s.at.since(began).as_secs_f64())
            .collect();
        let report = Report::default()
            .with("drawn_nodes", drawn)
            .with("spells", spells)
            .with("node_hours", node_hours)
            .with("wrong_down", wrong.len())
            .with("wrong_down_about", subjects.iter().count())
            .with("first_wrong", first.unwrap_or_default());
        let total = times.len();
        let panel = Panel::new("Wrong verdicts", "s", "share of all")
            .with(format!("seed {}", setup.seed), steps_up(times, total));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// One spell: some loss, some delay, and a few processes that stand still.
    fn spell(&self, cluster: &mut Subject, end: Time) {
        let now = cluster.world.now();
        let (least, most) = SPELL;
        let lasts = Duration::from_nanos(between(&mut cluster.rng, nanos(least), nanos(most)));
        let until = end.min(now + lasts);
        let scope = draw_scope(cluster);
        let effect = Effect::Loss(self.loss * unit(&mut cluster.rng));
        cluster.perform(Action::Set(LOST, Fault { scope, effect }));
        let scope = draw_scope(cluster);
        let longest = self.delay.mul_f64(unit(&mut cluster.rng));
        let effect = Effect::Delay(Delay::uniform(Duration::ZERO, longest));
        cluster.perform(Action::Set(LATE, Fault { scope, effect }));
        let often = PAUSED * unit(&mut cluster.rng);
        let hosts: Vec<HostId> = cluster.world.hosts().iter().map(|host| host.id()).collect();
        for host in hosts {
            let pause = self.pause.mul_f64(unit(&mut cluster.rng));
            let latest = nanos(until.since(now).saturating_sub(pause));
            let at = now + Duration::from_nanos(between(&mut cluster.rng, 0, latest.max(1)));
            if chance(&mut cluster.rng, often) {
                cluster.world.schedule(at, Action::Pause(host));
                cluster.world.schedule(at + pause, Action::Resume(host));
            }
        }
        cluster.run(until.since(now));
    }
}

/// Everywhere, as often as not; otherwise around some nodes, or to them, or from them.
fn draw_scope(cluster: &mut Subject) -> Scope {
    let all = cluster.world.hosts().len();
    let some = u32::try_from(pick(&mut cluster.rng, all)).unwrap_or(0);
    let kind = pick(&mut cluster.rng, 6);
    let some = cluster.draw_set(some.max(1));
    match kind {
        0 => Scope::Around(some),
        1 => Scope::To(some),
        2 => Scope::From(some),
        _ => Scope::Everywhere,
    }
}
