//! Questions put to a simulated cluster, each answered by figures.
//!
//! A scenario forms a cluster, lets it come to rest, does something to it, and measures. Times are
//! virtual seconds; bytes are UDP payload, counted where they are sent, lost or not.

mod churn;
mod cluster;
mod crash;
mod datacenters;
mod disturb;
mod fetch;
mod histories;
mod history;
mod join;
mod links;
mod load;
mod loss;
mod newcomer;
mod partition;
mod report;
mod restart;
mod sampler;
mod soak;
mod spread;
mod steady;
mod tally;
mod unanimity;

pub use churn::Churn;
pub use cluster::{Clock, Setup, Subject, Unplayable};
pub use crash::Crash;
pub use datacenters::Datacenters;
pub use disturb::{Disturb, Disturbance};
pub use fetch::Fetch;
pub use histories::Histories;
pub use join::Join;
pub use links::MissingLinks;
pub use load::{Load, Target};
pub use loss::{Loss, Whose};
pub use newcomer::Newcomer;
pub use partition::Partition;
pub use report::{Curve, Figure, Panel, Report};
pub use restart::Restart;
pub use soak::Soak;
pub use spread::{Place, Spread};
pub use steady::Steady;
pub use tally::{Sighting, Tally, Verdict};

use crate::sim::{Finding, TraceHash};

/// A question to put to a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scenario {
    /// All nodes start at once.
    Join(Join),
    /// One node joins others that have much to tell.
    Newcomer(Newcomer),
    /// Nothing changes.
    Steady(Steady),
    /// Nodes write.
    Spread(Spread),
    /// Nodes write much.
    Load(Load),
    /// How fast a newcomer fetches a large shared map.
    Fetch(Fetch),
    /// Nodes crash.
    Crash(Crash),
    /// Datagrams are lost.
    Loss(Loss),
    /// The network is cut in two.
    Partition(Partition),
    /// A node restarts.
    Restart(Restart),
    /// Processes are paused.
    Pause(Disturb),
    /// Processes are slow.
    Slow(Disturb),
    /// Nodes come and go.
    Churn(Churn),
    /// Random loss, delays and pauses, for long.
    Soak(Soak),
    /// Several datacenters, and little between them.
    Datacenters(Datacenters),
    /// Links are missing.
    Links(MissingLinks),
    /// A node dies after a random history.
    Histories(Histories),
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The figures.
    pub report: Report,
    /// The curves.
    pub panels: Vec<Panel>,
    /// The violations of invariants found on the way.
    pub findings: Vec<Finding>,
    /// The hash over everything that happened.
    pub trace: TraceHash,
}

impl Outcome {
    fn new(cluster: Subject, report: Report, panels: Vec<Panel>) -> Self {
        let findings = cluster.world.findings().to_vec();
        let trace = cluster.trace_hash();
        let report = report
            .with("violations", findings.len())
            .with("trace", trace.to_string());
        Self {
            report,
            panels,
            findings,
            trace,
        }
    }
}

impl Scenario {
    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Newcomer(_) => "newcomer",
            Self::Steady(_) => "steady",
            Self::Spread(_) => "spread",
            Self::Load(_) => "load",
            Self::Fetch(_) => "fetch",
            Self::Crash(_) => "crash",
            Self::Loss(_) => "loss",
            Self::Partition(_) => "partition",
            Self::Restart(_) => "restart",
            Self::Pause(_) => "pause",
            Self::Slow(_) => "slow",
            Self::Churn(_) => "churn",
            Self::Soak(_) => "soak",
            Self::Datacenters(_) => "datacenters",
            Self::Links(_) => "links",
            Self::Histories(_) => "histories",
        }
    }

    /// The loss that it sets itself, in place of that of the whole run.
    #[must_use]
    pub const fn loss(&self) -> Option<f64> {
        match self {
            Self::Loss(loss) => Some(loss.share),
            Self::Soak(soak) => Some(soak.loss),
            _ => None,
        }
    }

    /// What several runs come to, where their means and extremes do not say it.
    #[must_use]
    pub fn summary(&self, reports: &[Report]) -> Option<Report> {
        match self {
            Self::Histories(_) => Some(histories::summary(reports)),
            _ => None,
        }
    }

    /// Plays it once.
    ///
    /// # Errors
    /// [`Unplayable`], where it could not be played to its end.
    pub fn play(
        &self,
        setup: &Setup,
        clock: &Clock,
        gauges: Gauges,
    ) -> Result<Outcome, Unplayable> {
        match self {
            Self::Join(join) => join.play(setup, clock, gauges),
            Self::Newcomer(newcomer) => newcomer.play(setup, clock),
            Self::Steady(steady) => steady.play(setup, clock, gauges),
            Self::Spread(spread) => spread.play(setup, clock),
            Self::Load(load) => load.play(setup, clock),
            Self::Fetch(fetch) => fetch.play(setup, clock),
            Self::Crash(crash) => crash.play(setup, clock),
            Self::Loss(loss) => loss.play(setup, clock),
            Self::Partition(partition) => partition.play(setup, clock),
            Self::Restart(restart) => restart.play(setup, clock),
            Self::Pause(disturb) | Self::Slow(disturb) => disturb.play(setup, clock),
            Self::Churn(churn) => churn.play(setup, clock),
            Self::Soak(soak) => soak.play(setup, clock),
            Self::Datacenters(datacenters) => datacenters.play(setup, clock),
            Self::Links(links) => links.play(setup, clock),
            Self::Histories(histories) => histories.play(setup, clock),
        }
    }
}

/// Where to read the memory of this process, if its allocator counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Bytes in use, and the most there ever were, and all that were ever allocated.
    pub memory: Option<fn() -> Memory>,
}

/// The memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use now.
    pub in_use: u64,
    /// In use when it was most.
    pub peak: u64,
    /// Allocated ever.
    pub allocated: u64,
}

impl Gauges {
    fn read(self) -> Option<Memory> {
        self.memory.map(|read| read())
    }

    fn heap(self) -> Option<u64> {
        self.read().map(|memory| memory.in_use)
    }

    fn heap_since(self, before: Option<u64>) -> Option<u64> {
        let now = self.heap();
        now.zip(before)
            .map(|(now, before)| now.saturating_sub(before))
    }

    fn heap_peak(self) -> Option<u64> {
        self.read().map(|memory| memory.peak)
    }

    fn allocated(self) -> Option<u64> {
        self.read().map(|memory| memory.allocated)
    }

    fn allocated_since(self, before: Option<u64>) -> Option<u64> {
        let now = self.allocated();
        now.zip(before)
            .map(|(now, before)| now.saturating_sub(before))
    }
}
