//! A cluster to try something on.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gossip_core::{Config, Dissemination, Mode, Name, Node};
use rand_chacha::ChaCha8Rng;

use super::sampler::{Sampler, live_share};
use super::tally::Tally;
use super::unanimity::Unanimity;
use crate::num::position;
use crate::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use crate::sim::{
    Action, HostId, HostSet, Scrutiny, Seeds, SetupError, Step, Stream, Time, TraceHash, Traffic,
    World, between, pick,
};

/// What all scenarios have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// How many nodes.
    pub nodes: u32,
    /// Over how many datacenters they are spread, one after the other.
    pub datacenters: u32,
    /// How many nodes of each datacenter say that they are bridges.
    pub named_bridges: u32,
    /// Peers met in a round.
    pub fanout: u8,
    /// Time between rounds and heartbeats.
    pub interval: Duration,
    /// Who sends news to whom.
    pub mode: Mode,
    /// Whether news is pushed at once.
    pub dissemination: Dissemination,
    /// The longest datagram that nodes send.
    pub max_datagram: u16,
    /// The key that all nodes share; none: plaintext.
    #[cfg(feature = "encryption")]
    pub key: Option<[u8; 32]>,
    /// Independent loss of datagrams.
    pub loss: f64,
    /// One-way delay of datagrams.
    pub delay: Delay,
    /// What decides everything.
    pub seed: u64,
    /// How closely nodes are watched.
    pub scrutiny: Scrutiny,
}

impl Default for Setup {
    fn default() -> Self {
        let config = Config::lan();
        Self {
            nodes: 100,
            datacenters: 1,
            named_bridges: 0,
            fanout: config.fanout,
            interval: config.interval,
            mode: config.mode,
            dissemination: config.dissemination,
            max_datagram: config.max_datagram,
            #[cfg(feature = "encryption")]
            key: None,
            loss: 0.0,
            delay: Delay::uniform(Duration::from_millis(1), Duration::from_millis(10)),
            seed: 1,
            scrutiny: Scrutiny::Steps,
        }
    }
}

/// How many of the nodes are seeds (three to five are recommended).
const SEEDS: u32 = 3;

/// The nodes start within this time, as those of the peers in the reference did.
const STARTS: Duration = Duration::from_secs(1);

/// What has come right must stay so for this many intervals to count.
pub(crate) const STAYS: u32 = 15;

/// Names of faults that scenarios set.
pub(crate) const LOSS: FaultId = FaultId::new(0);
pub(crate) const SPLIT: FaultId = FaultId::new(1);
pub(crate) const LINK: FaultId = FaultId::new(2);

impl Setup {
    /// What the nodes are started with.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config::lan();
        config.cluster = "simulation".to_owned();
        config.fanout = self.fanout;
        config.interval = self.interval;
        config.mode = self.mode;
        config.dissemination = self.dissemination;
        config.max_datagram = self.max_datagram;
        #[cfg(feature = "encryption")]
        {
            config.keys = self
                .key
                .map(gossip_core::SecretKey::new)
                .into_iter()
                .collect();
        }
        let seeds = (0..self.nodes.min(SEEDS)).map(HostId::new);
        config.seeds = seeds.map(|host| host.address(0)).collect();
        config.max_members = config.max_members.max(self.nodes.saturating_mul(2));
        config
    }

    /// Whether such a cluster can be.
    ///
    /// # Errors
    /// [`SetupError`] where the configuration does not work.
    pub fn check(&self) -> Result<(), SetupError> {
        let mut world = World::new(self.seed, self.delay);
        world
            .add(HostId::new(0).name().as_str(), self.config())
            .map(|_| ())
    }

    /// A cluster of machines that start their processes within a second.
    ///
    /// # Errors
    /// [`SetupError`] where the configuration does not work.
    pub fn cluster(&self, clock: &Clock) -> Result<Subject, SetupError> {
        let mut world = World::new(self.seed, self.delay);
        world.set_scrutiny(self.scrutiny);
        let mut rng = Seeds::new(self.seed).rng(Stream::Plan);
        let spread = crate::sim::nanos(STARTS);
        for number in 0..self.nodes {
            let mut config = self.config();
            let site = self.site(number);
            config.bridge = number.div_euclid(self.datacenters.max(1)) < self.named_bridges;
            if self.datacenters > 1 {
                config.datacenter = Name::new(&format!("dc{site}")).ok();
            }
            let host = world.add(HostId::new(number).name().as_str(), config)?;
            world.set_site(host, site);
            let at = Time::from_nanos(between(&mut rng, 0, spread));
            world.schedule(at, Action::Start(host));
        }
        let mut cluster = Subject {
            world,
            rng,
            tally: Tally::default(),
            sampler: Sampler::default(),
            clock: clock.clone(),
        };
        if self.loss > 0.0 {
            cluster.lose(self.loss);
        }
        Ok(cluster)
    }

    /// Where a node stands: in its datacenter; of a single one, in one of its halves.
    #[must_use]
    pub fn site(&self, number: u32) -> u32 {
        number % self.datacenters.max(2)
    }

    /// How many intervals these seconds are.
    #[must_use]
    pub fn rounds(&self, seconds: f64) -> f64 {
        seconds / self.interval.as_secs_f64()
    }
}

/// Virtual time as seen from outside, for whoever shows progress.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// The virtual time that the run has reached.
    #[must_use]
    pub fn read(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, now: Time) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// Why a scenario could not be played.
#[derive(Clone, Debug, PartialEq)]
pub enum Unplayable {
    /// No such cluster can be.
    Setup(SetupError),
    /// The nodes did not all come to know one another.
    NeverFormed {
        /// How long they had.
        after: Duration,
        /// How many of all pairs knew one another in the end.
        share: f64,
    },
}

impl fmt::Display for Unplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::NeverFormed { after, share } => write!(
                f,
                "the cluster did not form within {} virtual seconds: {:.2} % of all pairs know one another",
                after.as_secs(),
                100.0 * share
            ),
        }
    }
}

impl core::error::Error for Unplayable {}

impl From<SetupError> for Unplayable {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

/// A world of equal nodes, and a tally of their verdicts.
#[derive(Debug)]
pub struct Subject {
    pub(crate) world: World,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) tally: Tally,
    pub(crate) sampler: Sampler,
    clock: Clock,
}

/// How many intervals a cluster may take to form. A thousand nodes that only push take four hundred
/// where half of all datagrams are lost.
const FORMING: u32 = 600;

impl Subject {
    /// The next step by `until`, with its verdicts tallied.
    pub(crate) fn step(&mut self, until: Time) -> Option<Step> {
        let step = self.world.step(until);
        match step {
            Some(step) => self.tally.note(&self.world, step),
            None => self.clock.set(until),
        }
        self.sampler.look(&self.world);
        step
    }

    /// Does something to the world, and tallies the verdicts that come of it.
    pub(crate) fn perform(&mut self, action: Action) {
        if let Some(step) = self.world.perform(action) {
            self.tally.note(&self.world, step);
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, lasts: Duration) {
        let end = self.world.now() + lasts;
        while self.world.now() < end {
            // In slices, so that the clock is seen to move.
            let slice = end.min(self.world.now() + Duration::from_millis(100));
            while self.step(slice).is_some() {}
        }
    }

    /// Lets time pass until something holds of every node; `None` if that takes longer.
    pub(crate) fn run_until_all(
        &mut self,
        within: Duration,
        holds: impl Fn(&Node) -> bool,
    ) -> Option<Duration> {
        self.run_until_all_stay(within, Duration::ZERO, holds)
    }

    /// Lets time pass until something begins to hold of every node and goes on to hold for a while;
    /// `None` if it does not begin in time. Gives the time until it began.
    pub(crate) fn run_until_all_stay(
        &mut self,
        within: Duration,
        stays: Duration,
        holds: impl Fn(&Node) -> bool,
    ) -> Option<Duration> {
        let began = self.world.now();
        let mut all = Unanimity::new(&self.world, &holds);
        loop {
            let end = all.since().map_or(began + within, |since| since + stays);
            if self.world.now() >= end {
                return all.since().map(|since| since.since(began));
            }
            if let Some(step) = self.step(end) {
                all.look(&self.world, step, &holds);
            }
        }
    }

    /// Lets the nodes start and come to know one another; then lets `warm_up` pass.
    ///
    /// # Errors
    /// [`Unplayable::NeverFormed`].
    pub(crate) fn form(
        &mut self,
        setup: &Setup,
        warm_up: Duration,
    ) -> Result<Duration, Unplayable> {
        let all = u64::from(setup.nodes);
        let limit = setup.interval.saturating_mul(FORMING);
        let formed = self.run_until_all(limit, |node| node.metrics().live == all);
        let Some(formed) = formed else {
            return Err(Unplayable::NeverFormed {
                after: limit,
                share: self.live_share(),
            });
        };
        self.run(warm_up);
        self.tally.clear();
        Ok(formed)
    }

    /// The share of all pairs of running nodes of which the first holds the second to be alive.
    pub(crate) fn live_share(&self) -> f64 {
        live_share(&self.world)
    }

    /// Sets the loss everywhere.
    pub(crate) fn lose(&mut self, share: f64) {
        self.perform(Action::Set(
            LOSS,
            Fault {
                scope: Scope::Everywhere,
                effect: Effect::Loss(share),
            },
        ));
    }

    /// Some hosts, each as likely as any other.
    pub(crate) fn draw(&mut self, hosts: u32) -> Vec<HostId> {
        let mut all: Vec<HostId> = self.world.hosts().iter().map(|host| host.id()).collect();
        let wanted = position(hosts).min(all.len());
        (0..wanted)
            .map(|_| {
                let drawn = pick(&mut self.rng, all.len());
                all.swap_remove(drawn)
            })
            .collect()
    }

    /// Some hosts, as a set.
    pub(crate) fn draw_set(&mut self, hosts: u32) -> HostSet {
        self.draw(hosts).into_iter().collect()
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.world.traffic()
    }

    /// The most datagrams that one of the seeds has sent.
    pub(crate) fn datagrams_of_a_seed(&self) -> u64 {
        let seeds = self.world.hosts().iter().take(position(SEEDS));
        let sent = seeds.map(|host| host.traffic.datagrams_out);
        sent.max().unwrap_or_default()
    }

    pub(crate) fn trace_hash(&self) -> TraceHash {
        self.world.trace_hash()
    }
}
