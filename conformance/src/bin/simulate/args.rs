//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use conformance::scenario::{
    Churn, Crash, Datacenters, Disturb, Disturbance, Fetch, Histories, Join, Load, Loss,
    MissingLinks, Newcomer, Partition, Place, Restart, Scenario, Setup, Soak, Spread, Steady,
    Target, Whose,
};
use conformance::sim::Scrutiny;
use conformance::sim::network::Delay;
use gossip_core::{Dissemination, Mode};

use super::choices::{CheckArg, ModeArg, PlaceArg, PolicyArg, Switch};
use super::help;
use super::links::LinksArg;
use super::parse;

/// Puts a question to a simulated cluster of real nodes, in virtual time.
///
/// The seed decides everything: the same command gives the same figures, and the same `trace`.
#[derive(Debug, Parser)]
#[command(name = "simulate", after_long_help = help::COMMON)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All nodes start within a second and know only the seeds.
    #[command(after_help = help::JOIN)]
    Join(Common),
    /// How soon one more node knows the attributes of all, and what that costs each peer.
    #[command(after_help = help::NEWCOMER)]
    Newcomer {
        #[command(flatten)]
        common: Common,
        /// Bytes of the attributes of each node
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
        state: u32,
    },
    /// What a cluster costs when nothing changes.
    #[command(after_help = help::STEADY)]
    Steady(Common),
    /// How fast, and at what cost, one write reaches everybody.
    #[command(after_help = help::SPREAD)]
    Spread {
        #[command(flatten)]
        common: Common,
        /// Writes in each run, one after the other, each by another node
        #[arg(long, default_value_t = 100)]
        writes: u32,
        /// What nodes write to
        #[arg(long, value_enum, default_value_t = PlaceArg::Attribute)]
        to: PlaceArg,
    },
    /// How late writes are read while many are written.
    #[command(after_help = help::LOAD)]
    Load {
        #[command(flatten)]
        common: Common,
        /// Writes of all nodes together, in a second
        #[arg(long, default_value_t = 100.0, value_parser = parse::rate)]
        rate: f64,
        /// Bytes of each value
        #[arg(long, default_value_t = 100)]
        value: u16,
        /// How many keys are written
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        keys: u32,
        /// No key is written while a write of it is on its way
        #[arg(long)]
        one_at_a_time: bool,
        /// Attributes are written, in place of the map
        #[arg(long, conflicts_with = "policy")]
        attributes: bool,
        /// What happens to concurrent writes of a key
        #[arg(long, value_enum, default_value_t = PolicyArg::Latest)]
        policy: PolicyArg,
    },
    /// How fast a newcomer fetches a large shared map.
    #[command(after_help = help::FETCH)]
    Fetch {
        #[command(flatten)]
        common: Common,
        /// How many keys the map has
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
        keys: u32,
        /// Bytes of each value
        #[arg(long, default_value_t = 1000)]
        value: u16,
        /// Bytes in a second that each node gets through to the newcomer, and it to them [default: no limit]
        #[arg(long, value_parser = clap::value_parser!(u64).range(1000..))]
        link: Option<u64>,
        /// How long a datagram may wait for its turn on that link
        #[arg(long, default_value = "500ms", value_parser = parse::duration)]
        buffer: Duration,
        /// Writes of all nodes together, in a second, meanwhile [default: none]
        #[arg(long, value_parser = parse::rate)]
        rate: Option<f64>,
    },
    /// How fast crashes are seen by all.
    #[command(after_help = help::CRASH)]
    Crash {
        #[command(flatten)]
        common: Common,
        /// How many nodes crash in the same moment
        #[arg(long, default_value_t = 1)]
        kill: u32,
        /// Which share of the nodes crashes, in place of --kill
        #[arg(long, value_parser = parse::share, conflicts_with = "kill")]
        kill_fraction: Option<f64>,
    },
    /// Whether members are held down because datagrams are lost.
    #[command(after_help = help::LOSS)]
    Loss {
        #[command(flatten)]
        common: Common,
        /// Only what this many nodes send and are sent is lost
        #[arg(long)]
        sick: Option<u32>,
    },
    /// How a cluster that was cut in two grows together again.
    #[command(after_help = help::PARTITION)]
    Partition {
        #[command(flatten)]
        common: Common,
        /// Nodes on one side of the cut [default: half of them]
        #[arg(long)]
        split: Option<u32>,
    },
    /// How fast a restarted node is recognised.
    #[command(after_help = help::RESTART)]
    Restart {
        #[command(flatten)]
        common: Common,
        /// How long the process is away
        #[arg(long, default_value = "10ms", value_parser = parse::duration)]
        away: Duration,
    },
    /// Whether paused processes take others down with them.
    #[command(after_help = help::PAUSE)]
    Pause {
        #[command(flatten)]
        common: Common,
        /// How many nodes are paused again and again
        #[arg(long, default_value_t = 10)]
        count: u32,
        /// How long each time
        #[arg(long, default_value = "2s", value_parser = parse::duration)]
        pause: Duration,
        /// From the beginning of one pause to that of the next
        #[arg(long, default_value = "10s", value_parser = parse::duration)]
        every: Duration,
    },
    /// Whether slow processes take others down with them.
    #[command(after_help = help::SLOW)]
    Slow {
        #[command(flatten)]
        common: Common,
        /// How many nodes are slow
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// How late they handle everything
        #[arg(long, default_value = "3s", value_parser = parse::duration)]
        lag: Duration,
    },
    /// Whether anybody is ever wrongly held down while the weather changes.
    #[command(after_help = help::SOAK)]
    Soak {
        #[command(flatten)]
        common: Common,
        /// The longest that a datagram is delayed beyond --delay
        #[arg(long, default_value = "100ms", value_parser = parse::duration)]
        late: Duration,
        /// The longest pause of a process
        #[arg(long, default_value = "2s", value_parser = parse::duration)]
        pause: Duration,
    },
    /// A cluster in which nodes come and go all the time.
    #[command(after_help = help::CHURN)]
    Churn {
        #[command(flatten)]
        common: Common,
        /// Mean time from one departure to the next
        #[arg(long, default_value = "2s", value_parser = parse::duration)]
        every: Duration,
        /// How long a node is away at most
        #[arg(long, default_value = "20s", value_parser = parse::duration)]
        away: Duration,
    },
    /// What crosses between datacenters, and what becomes of them when it does not.
    #[command(after_help = help::DATACENTERS)]
    Datacenters {
        #[command(flatten)]
        common: Common,
        /// Writes, one after the other
        #[arg(long, default_value_t = 20)]
        writes: u32,
    },
    /// Whether all come to a steady view where links are missing for good.
    #[command(after_help = help::LINKS)]
    Links {
        #[command(flatten)]
        common: Common,
        /// Which links are missing
        #[arg(long, value_enum, default_value_t = LinksArg::Random)]
        pattern: LinksArg,
        /// The share of all links, for `random`
        #[arg(long, default_value_t = 0.2, value_parser = parse::share)]
        share: f64,
        /// How many nodes of each datacenter reach the other one, for `gateways`
        #[arg(long, default_value_t = 2)]
        gateways: usize,
        /// They say that they are bridges
        #[arg(long)]
        named: bool,
    },
    /// Whether a death is told in time after random deaths, waves, restarts and splits.
    #[command(after_help = help::HISTORIES)]
    Histories(Common),
    /// Random clusters under random faults, checked against every invariant.
    #[command(after_help = help::SWARM)]
    Swarm(Swarm),
}

/// What all scenarios have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Nodes in the cluster
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) nodes: u32,
    /// Datacenters of about the same size [default: 1; 2 in `datacenters`]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) datacenters: Option<u32>,
    /// Peers met in a round
    #[arg(long, default_value_t = 3)]
    pub(crate) fanout: u8,
    /// Time between rounds and between heartbeats
    #[arg(long, default_value = "1s", value_parser = parse::duration)]
    pub(crate) interval: Duration,
    /// Who sends news to whom in an exchange
    #[arg(long, value_enum, default_value_t = ModeArg::PushPull)]
    pub(crate) mode: ModeArg,
    /// Whether news is pushed at once
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) eager: Switch,
    /// The longest datagram that nodes send
    #[arg(long, default_value_t = 1400)]
    pub(crate) max_datagram: u16,
    /// Nodes share a key and encrypt
    #[cfg(feature = "encryption")]
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// Share of datagrams lost, each on its own [default: 0; 0.3 in `loss`]
    #[arg(long, value_parser = parse::share)]
    pub(crate) loss: Option<f64>,
    /// One-way delay, uniform between two values
    #[arg(long, default_value = "1ms..10ms", value_parser = parse::delay)]
    pub(crate) delay: Delay,
    /// Seed of the first run; the next run has the next number
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Runs, each with its own seed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Virtual seconds: how long the scenario lasts or may take [default: depends on it]
    #[arg(long, value_parser = parse::seconds)]
    pub(crate) seconds: Option<Duration>,
    /// Virtual seconds between the forming of the cluster and what is done to it [default: depends]
    #[arg(long, value_parser = parse::seconds)]
    pub(crate) warm_up: Option<Duration>,
    /// How closely nodes are watched: `views` compares all that a node shows after each of its steps
    #[arg(long, value_enum, default_value_t = CheckArg::Steps)]
    pub(crate) check: CheckArg,
    /// Threads, one run each; figures of memory and time are only good with one
    #[arg(long, default_value_t = 1)]
    pub(crate) jobs: usize,
    /// One JSON object for each run, on a line of its own
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes curves to this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// The flags of `swarm`.
#[derive(Debug, Args)]
pub(crate) struct Swarm {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    pub(crate) seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Only these episodes of the plan, as numbers with commas: how a shrunk failure is replayed
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Option<Vec<usize>>,
    /// Prints the plan and what happens
    #[arg(long)]
    pub(crate) trace: bool,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub(crate) jobs: usize,
    /// One JSON object for each seed, on a line of its own
    #[arg(long)]
    pub(crate) json: bool,
}

const SECOND: Duration = Duration::from_secs(1);

impl Common {
    /// What the cluster is like; the seed is that of the first run.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            nodes: self.nodes,
            datacenters: self.datacenters.unwrap_or(1),
            named_bridges: 0,
            fanout: self.fanout,
            interval: self.interval,
            mode: match self.mode {
                ModeArg::Push => Mode::Push,
                ModeArg::Pull => Mode::Pull,
                ModeArg::PushPull => Mode::PushPull,
            },
            dissemination: match self.eager {
                Switch::On => Dissemination::Eager,
                Switch::Off => Dissemination::Periodic,
            },
            max_datagram: self.max_datagram,
            #[cfg(feature = "encryption")]
            key: self.encrypt.then_some([7; 32]),
            loss: self.loss.unwrap_or(0.0),
            delay: self.delay,
            seed: self.seed,
            scrutiny: match self.check {
                CheckArg::Steps => Scrutiny::Steps,
                CheckArg::Views => Scrutiny::Views,
            },
        }
    }

    fn seconds(&self, default: u32) -> Duration {
        self.seconds.unwrap_or(SECOND.saturating_mul(default))
    }

    /// By default, a number of intervals.
    fn warm_up(&self, intervals: u32) -> Duration {
        self.warm_up
            .unwrap_or(self.interval.saturating_mul(intervals))
    }
}

/// Intervals until the windows of the detector are full.
const LEARNT: u32 = 70;
/// Intervals until what joining has stirred up is at rest.
const RESTED: u32 = 20;
/// Virtual seconds to wait for what should take a few.
const PATIENCE: Duration = Duration::from_secs(120);

impl Command {
    /// The scenario and its common flags; `swarm` is none.
    pub(crate) fn scenario(&self) -> Result<(Scenario, &Common), &Swarm> {
        let played = match self {
            Self::Swarm(swarm) => return Err(swarm),
            Self::Join(common) => {
                let limit = common.seconds(300);
                (Scenario::Join(Join { limit }), common)
            }
            Self::Newcomer { common, state } => {
                let newcomer = Newcomer {
                    warm_up: common.warm_up(RESTED),
                    state: *state,
                    limit: common.seconds(120),
                };
                (Scenario::Newcomer(newcomer), common)
            }
            Self::Steady(common) => {
                let steady = Steady {
                    warm_up: common.warm_up(RESTED),
                    lasts: common.seconds(60),
                };
                (Scenario::Steady(steady), common)
            }
            Self::Spread { common, writes, to } => {
                let spread = Spread {
                    warm_up: common.warm_up(RESTED),
                    writes: *writes,
                    to: match to {
                        PlaceArg::Attribute => Place::Attribute,
                        PlaceArg::Map => Place::Map,
                    },
                    limit: common.seconds(120),
                };
                (Scenario::Spread(spread), common)
            }
            Self::Load {
                common,
                rate,
                value,
                keys,
                one_at_a_time,
                attributes,
                policy,
            } => {
                let load = Load {
                    warm_up: common.warm_up(RESTED),
                    rate: *rate,
                    value: usize::from(*value),
                    keys: *keys,
                    one_at_a_time: *one_at_a_time,
                    to: match policy {
                        _ if *attributes => Target::Attributes,
                        PolicyArg::Latest => Target::Map,
                        PolicyArg::Siblings => Target::Siblings,
                    },
                    lasts: common.seconds(30),
                };
                (Scenario::Load(load), common)
            }
            Self::Fetch {
                common,
                keys,
                value,
                link,
                buffer,
                rate,
            } => {
                let fetch = Fetch {
                    warm_up: common.warm_up(RESTED),
                    keys: *keys,
                    value: usize::from(*value),
                    link: *link,
                    buffer: *buffer,
                    rate: *rate,
                    limit: common.seconds(600),
                };
                (Scenario::Fetch(fetch), common)
            }
            Self::Crash {
                common,
                kill,
                kill_fraction,
            } => {
                let fraction = kill_fraction.map(|share| parse::share_of(common.nodes, share));
                let crash = Crash {
                    warm_up: common.warm_up(LEARNT),
                    victims: fraction.unwrap_or(*kill),
                    limit: common.seconds(120),
                };
                (Scenario::Crash(crash), common)
            }
            Self::Loss { common, sick } => {
                let loss = Loss {
                    warm_up: common.warm_up(LEARNT),
                    share: common.loss.unwrap_or(0.3),
                    whose: sick.map_or(Whose::Everybody, Whose::Sick),
                    lasts: common.seconds(120),
                    limit: PATIENCE,
                };
                (Scenario::Loss(loss), common)
            }
            Self::Partition { common, split } => {
                let partition = Partition {
                    warm_up: common.warm_up(LEARNT),
                    smaller: split.unwrap_or(common.nodes / 2),
                    lasts: common.seconds(60),
                    limit: PATIENCE,
                };
                (Scenario::Partition(partition), common)
            }
            Self::Restart { common, away } => {
                let restart = Restart {
                    warm_up: common.warm_up(LEARNT),
                    away: *away,
                    limit: common.seconds(120),
                };
                (Scenario::Restart(restart), common)
            }
            Self::Pause {
                common,
                count,
                pause,
                every,
            } => {
                let how = Disturbance::Pause {
                    pause: *pause,
                    every: *every,
                };
                (Scenario::Pause(common.disturb(*count, how)), common)
            }
            Self::Slow { common, count, lag } => {
                let how = Disturbance::Slow(*lag);
                (Scenario::Slow(common.disturb(*count, how)), common)
            }
            Self::Soak {
                common,
                late,
                pause,
            } => {
                let soak = Soak {
                    warm_up: common.warm_up(RESTED),
                    lasts: common.seconds(3600),
                    loss: common.loss.unwrap_or(0.3),
                    delay: *late,
                    pause: *pause,
                };
                (Scenario::Soak(soak), common)
            }
            Self::Churn {
                common,
                every,
                away,
            } => {
                let churn = Churn {
                    warm_up: common.warm_up(RESTED),
                    every: *every,
                    away: *away,
                    lasts: common.seconds(300),
                    limit: PATIENCE,
                };
                (Scenario::Churn(churn), common)
            }
            Self::Datacenters { common, writes } => {
                let datacenters = Datacenters {
                    datacenters: common.datacenters.unwrap_or(2),
                    warm_up: common.warm_up(LEARNT),
                    rests: common.seconds(60),
                    writes: *writes,
                    limit: PATIENCE,
                };
                (Scenario::Datacenters(datacenters), common)
            }
            Self::Links {
                common,
                pattern,
                share,
                gateways,
                named,
            } => {
                let links = MissingLinks {
                    warm_up: common.warm_up(LEARNT),
                    links: pattern.of(*share, *gateways),
                    named: *named,
                    settles: common.interval.saturating_mul(300),
                    lasts: common.seconds(300),
                };
                (Scenario::Links(links), common)
            }
            Self::Histories(common) => {
                let histories = Histories {
                    warm_up: common.warm_up(RESTED),
                    limit: common.seconds(60),
                };
                (Scenario::Histories(histories), common)
            }
        };
        Ok(played)
    }
}

impl Common {
    fn disturb(&self, victims: u32, how: Disturbance) -> Disturb {
        Disturb {
            warm_up: self.warm_up(LEARNT),
            victims,
            how,
            lasts: self.seconds(120),
            limit: PATIENCE,
        }
    }
}
