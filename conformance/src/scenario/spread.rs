//! How fast, and at what cost, one write reaches everybody.

use core::time::Duration;

use gossip_core::{Command, Event, Key, Policy, Value};

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::{Panel, Report, steps_up};
use crate::num::{count, position, real};
use crate::sim::{Action, HostId, between, nanos};
use crate::stats::Sample;

/// A cluster at rest; one node after another writes something.
///
/// Rounds are time in intervals: within any interval each node begins exactly one round, so that
/// the time until the last node knows, divided by the interval, is the number of rounds it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How long the cluster has to come to rest.
    pub warm_up: Duration,
    /// How many writes.
    pub writes: u32,
    /// What nodes write to.
    pub to: Place,
    /// How long one write may take.
    pub limit: Duration,
}

/// What a node writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An attribute of its own.
    Attribute,
    /// The shared map: all write to the same key.
    Map,
}

/// What became of one write.
pub(super) struct Travel {
    /// Whose it was.
    pub(super) writer: HostId,
    /// When each other node learned of it, in seconds after the write.
    pub(super) arrivals: Vec<(HostId, f64)>,
    /// When the last one did, if all did.
    pub(super) last: Option<f64>,
}

impl Travel {
    fn times(&self) -> impl Iterator<Item = f64> {
        self.arrivals.iter().map(|(_, after)| *after)
    }
}

impl Spread {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let nodes = real(u64::from(setup.nodes));
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let rest = cluster.traffic();
        let rest_lasts = setup.interval.saturating_mul(10);
        cluster.run(rest_lasts);
        let rest = real(cluster.traffic().since(rest).bytes_out) / rest_lasts.as_secs_f64();

        let began = cluster.world.now();
        let before = cluster.traffic();
        let marked = cluster.world.marked();
        let travels: Vec<Travel> = (0..self.writes)
            .map(|number| self.write(&mut cluster, setup, number))
            .collect();
        let lasted = cluster.world.now().since(began).as_secs_f64();
        let bytes = real(cluster.traffic().since(before).bytes_out) - rest * lasted;
        let payloads = cluster.world.marked().saturating_sub(marked);

        let arrivals: Sample = travels.iter().flat_map(Travel::times).collect();
        let unfinished = travels.iter().filter(|t| t.last.is_none()).count();
        let all_finished = unfinished == 0;
        let rounds: Sample = travels
            .iter()
            .filter_map(|travel| travel.last.map(|last| setup.rounds(last)))
            .collect();
        let node_writes = (nodes * real(u64::from(self.writes))).max(1.0);
        let report = Report::default()
            .with("rounds_mean", rounds.mean().filter(|_| all_finished))
            .with("rounds_p50", rounds.percentile(50))
            .with("rounds_p99", rounds.percentile(99).filter(|_| all_finished))
            .with("rounds_max", rounds.max().filter(|_| all_finished))
            .with("p50_s", arrivals.percentile(50))
            .with("p99_s", arrivals.percentile(99))
            .with("max_s", arrivals.max().filter(|_| all_finished))
            .with("within_60ms", arrivals.within(0.06))
            .with("payloads_per_node", real(payloads) / node_writes)
            .with("bytes_per_node", bytes / node_writes)
            .with("writes", u64::from(self.writes))
            .with("unfinished", unfinished)
            .with("wrong_down", cluster.tally.wrong_downs().count());
        let expected = position(setup.nodes.saturating_sub(1)).saturating_mul(travels.len());
        let times = travels.iter().flat_map(Travel::times).collect();
        let panel = Panel::new("Share of nodes that know", "s after the write", "share")
            .with(format!("seed {}", setup.seed), steps_up(times, expected));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// One node writes; waits until all know, and an interval more for what is still on its way.
    pub(super) fn write(&self, cluster: &mut Subject, setup: &Setup, number: u32) -> Travel {
        // At any moment of the round, by any node.
        let wait = between(&mut cluster.rng, 0, nanos(setup.interval));
        cluster.run(Duration::from_nanos(wait));
        let writer = cluster.draw(1).first().copied().unwrap_or(HostId::new(0));
        let value = format!("<<news {number:08} of {}>>", setup.seed);
        cluster.world.mark(value.as_bytes());
        let key = Key::new("news").expect("a legal key");
        let written = Value::new(value.as_bytes()).expect("a legal value");
        let command = match self.to {
            Place::Attribute => Command::Set {
                key,
                value: written,
            },
            Place::Map => Command::Put {
                key,
                value: written,
                policy: Policy::LastWriteWins,
                lifetime: None,
            },
        };
        let origin = cluster.world.host(writer).node_id();
        let began = cluster.world.now();
        cluster.perform(Action::Command(writer, command));

        let others = position(setup.nodes.saturating_sub(1));
        let mut arrivals = Vec::with_capacity(others);
        while arrivals.len() < others
            && let Some(step) = cluster.step(began + self.limit)
        {
            let news = |event: &&Event| match event {
                Event::AttributeChanged {
                    id,
                    value: Some(told),
                    ..
                } => *id == origin && told.as_bytes() == value.as_bytes(),
                Event::MapChanged {
                    new: Some(told), ..
                } => told.as_bytes() == value.as_bytes(),
                _ => false,
            };
            if step.host != writer && cluster.world.events().iter().find(news).is_some() {
                arrivals.push((step.host, step.at.since(began).as_secs_f64()));
            }
        }
        let all = count(arrivals.len()) == u64::from(setup.nodes.saturating_sub(1));
        let last = arrivals.last().map(|(_, after)| *after).filter(|_| all);
        cluster.run(setup.interval);
        Travel {
            writer,
            arrivals,
            last,
        }
    }
}
