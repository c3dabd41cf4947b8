//! Failure detection: what this node hears of its neighbours, what other members vote, and the verdicts
//! that follow.
//!
//! [`Failure`] is the machine. It owns all that is known of who lives and who is silent:
//!
//! - an [observation](observation) for each ring neighbour turns heartbeats into suspicion, with the
//!   arithmetic of the [detector];
//! - [votes] are what the other observers publish, [own votes](own_votes) what this node publishes;
//! - [probes] ask a member directly where a doubt remains;
//! - the [verdict] is a pure function of these facts and of the ring; [verdicts] acts on it.
//!
//! # Invariants
//!
//! - Observations are sorted by id, at most one for each member.
//! - A member goes down by a verdict alone, and comes back by news of its own, or because a voter has
//!   changed its mind. A voter that vanishes revives nobody.

pub(crate) mod detector;
mod heartbeats;
pub(crate) mod loss;
pub(crate) mod observation;
pub(crate) mod own_votes;
mod phi;
pub(crate) mod probes;
pub(crate) mod verdict;
mod verdicts;
pub(crate) mod votes;
mod window;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::config::Config;
use crate::context::Context;
use crate::identity::NodeId;
use crate::membership::Record;
use crate::state::attribute::{Ballot, MAX_BALLOTS};
use crate::time::Instant;
use detector::Detector;
use loss::Loss;
use observation::Observation;
use probes::Probes;
use votes::{Cast, Votes};

/// Intervals after which those who replace a fallen observer are counted on in its stead: they have
/// had the time to find the subject silent themselves.
const SETTLING: u32 = 12;

/// Intervals after which a member that came up again counts as steady.
const CALM: u32 = 300;

/// Members observed at a time, those who are down included. Neighbours always are.
const MAX_OBSERVED: usize = MAX_BALLOTS;

/// The failure detector of a node. See the [module](self).
#[derive(Debug)]
pub(crate) struct Failure {
    detector: Box<Detector>,
    /// The ring neighbours: this node sends them heartbeats.
    neighbours: Vec<Neighbour>,
    /// Members that were neighbours a moment ago, and until when they still get heartbeats.
    former: Vec<(Neighbour, Instant)>,
    /// Sorted by id.
    observations: Vec<Observation>,
    /// How many heartbeats this node has sent.
    beats: u64,
    loss: Loss,
    votes: Votes,
    probes: Probes,
    /// The votes that this node publishes.
    own_votes: SmallVec<[Ballot; 8]>,
    /// Members of which there is news since the last verdicts. Those that are down may come back.
    revivable: SmallVec<[NodeId; 8]>,
    /// Verdicts are not drawn again before this.
    judges_next: Instant,
    /// Whether all other members are down.
    isolated: bool,
    /// Until when this node may have missed deaths, if that is not long ago: it has begun another life, or
    /// slept for longer than others keep members that are down.
    absent_until: Option<Instant>,
}

/// A ring neighbour, as a receiver of heartbeats.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    id: NodeId,
    address: Option<SocketAddr>,
}

impl Failure {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            detector: Box::new(Detector::new(
                config.phi_model,
                config.window,
                config.phi_suspect,
                config.phi_convict,
                config.interval,
                config.min_deviation,
                config.acceptable_pause,
            )),
            neighbours: Vec::new(),
            former: Vec::new(),
            observations: Vec::new(),
            beats: 0,
            loss: Loss::default(),
            votes: Votes::default(),
            probes: Probes::default(),
            own_votes: SmallVec::new(),
            revivable: SmallVec::new(),
            judges_next: Instant::ORIGIN,
            isolated: false,
            absent_until: None,
        }
    }

    /// How many heartbeats this node has sent.
    pub(crate) const fn beats(&self) -> u64 {
        self.beats
    }

    /// The votes that other members have published.
    pub(crate) const fn votes(&self) -> &Votes {
        &self.votes
    }

    /// When the next vote begins to count.
    pub(crate) fn next_vote(&mut self, now: Instant) -> Option<Instant> {
        self.votes.next(now)
    }

    /// What this node observes of a member.
    pub(crate) fn observation(&self, id: NodeId) -> Option<&Observation> {
        self.observations.get(self.position(id).ok()?)
    }

    fn observation_mut(&mut self, id: NodeId) -> Option<&mut Observation> {
        let at = self.position(id).ok()?;
        self.observations.get_mut(at)
    }

    fn position(&self, id: NodeId) -> Result<usize, usize> {
        self.observations.binary_search_by_key(&id, |o| o.id)
    }

    /// The phi of a member now, if this node observes it.
    pub(crate) fn phi(&self, now: Instant, id: NodeId) -> Option<f64> {
        Some(self.observation(id)?.phi(&self.detector, now))
    }

    /// Whether this node finds a member silent that it observes.
    pub(crate) fn finds_silent(&self, id: NodeId) -> bool {
        self.observation(id).is_some_and(Observation::is_silent)
    }

    /// The valid votes of other members against one.
    pub(crate) fn valid_votes<'a>(
        &'a self,
        now: Instant,
        subject: NodeId,
        record: Option<&'a Record>,
    ) -> impl Iterator<Item = &'a Cast> {
        let casts = self.votes.against(subject).iter();
        casts.filter(move |cast| record.is_some_and(|record| cast.is_valid(&record.log, now)))
    }

    /// How many valid votes stand against a member, this node's own included.
    fn count_votes(&self, context: &Context, id: NodeId) -> usize {
        let others = self.valid_votes(context.now, id, context.table.get(id));
        let own = usize::from(self.finds_silent(id));
        others.count().saturating_add(own)
    }

    /// This process has stood still for so long: that was not the neighbours' silence.
    pub(crate) fn paused(&mut self, context: &mut Context, gap: Duration) {
        context.stale.deadlines = true;
        self.slept(context, gap);
        for observation in &mut self.observations {
            observation.paused(context.now, gap, context.config.interval);
        }
    }

    /// This node has slept, or its wall clock has gone on without it.
    pub(crate) fn slept(&mut self, context: &Context, slept: Duration) {
        if slept >= context.config.remove_after {
            self.note_absence(context);
        }
    }

    /// This node may have missed deaths. A member that is heard in the next moment may have died long ago:
    /// the socket has kept what came meanwhile.
    pub(crate) fn note_absence(&mut self, context: &Context) {
        self.absent_until = Some(context.in_intervals(1));
    }

    /// Ends the time in which members that were not heard are asked: a broken link is no death, and must
    /// not be voted about for ever.
    pub(crate) fn end_absence(&mut self, context: &Context) {
        if self.absent_until < Some(context.intervals_ago(CALM)) {
            self.absent_until = None;
        }
    }

    /// Whether a member has not been heard since this node may have missed its death.
    pub(crate) fn is_unheard(&self, record: &Record) -> bool {
        record.heard < self.absent_until
    }
}
