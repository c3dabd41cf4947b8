//! Failure detection: what this node hears of other members, what it votes, and which members it
//! holds down.
//!
//! [`Failure`] is the machine. It owns all that this node knows of silent and live members:
//!
//! - An [observation](observation) of each ring neighbour turns heartbeats into suspicion, with the
//!   arithmetic of the [detector].
//! - A node that finds a neighbour silent publishes a vote against it: its [own votes](own_votes).
//!   The [votes] are those that other members have published.
//! - [Probes](probes) ask a member directly where a doubt remains.
//! - The [verdict] is a pure function of these facts and of the ring. [Verdicts](verdicts) acts on
//!   it.
//!
//! # Invariants
//!
//! - Observations are sorted by id, and there is at most one for each member.
//! - A member goes down by a verdict alone. It comes back by news of its own, or because a voter
//!   has changed its mind. A voter that disappears revives nobody.
//! - A node sends heartbeats to its neighbours, and for a while to former neighbours. No member is
//!   both.

mod detector;
mod doubts;
mod heartbeats;
pub(crate) mod introductions;
mod loss;
mod observation;
pub(crate) mod own_votes;
mod phi;
mod probes;
mod verdict;
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
use crate::event::Event;
use crate::identity::NodeId;
use crate::membership::Record;
use crate::state::attribute::{MAX_VOTES, PublishedVote};
use crate::time::Instant;
use detector::Detector;
use introductions::Introductions;
use loss::Loss;
use observation::{Observation, find, position};
use probes::Probes;
use votes::{HeldVote, Votes};

/// Intervals after which the replacements of a fallen observer count in its stead: by then they
/// have had the time to find the subject silent themselves.
const SETTLING_INTERVALS: u32 = 12;

/// Intervals after which a member that came up again counts as steady.
const STEADY_INTERVALS: u32 = 300;

/// The most members that a node observes, members that are down included. Neighbours are observed
/// in any case. A node may need one place in its list of votes for each.
const MAX_OBSERVED: usize = MAX_VOTES;

/// The failure detector of a node. See the [module](self).
#[derive(Debug)]
pub(crate) struct Failure {
    detector: Box<Detector>,
    /// The ring neighbours, sorted by id. This node sends them heartbeats.
    neighbours: Vec<Neighbour>,
    /// Members that were neighbours a moment ago, each with the time until which it gets
    /// heartbeats.
    former_neighbours: Vec<(Neighbour, Instant)>,
    /// When the neighbours were last others than before.
    neighbours_since: Instant,
    /// Sorted by id.
    observations: Vec<Observation>,
    /// How many heartbeats this node has sent to each neighbour.
    beats: u64,
    loss: Loss,
    /// The votes that other members publish.
    votes: Votes,
    probes: Probes,
    /// The votes that this node publishes.
    own_votes: SmallVec<[PublishedVote; 8]>,
    /// Until when votes that are to be withdrawn wait for others.
    withdraws_at: Option<Instant>,
    /// Members that may come back, if they are down: there has been news of them since the last
    /// verdicts.
    revivable: SmallVec<[NodeId; 8]>,
    /// The verdicts are not drawn again before this moment.
    next_verdicts: Instant,
    /// Whether all other members are down.
    isolated: bool,
    /// A member counts as heard only if it was heard at this moment or later.
    ///
    /// It is set if this node may have missed deaths, because it raised its generation or slept for
    /// longer than others keep members that are down. It is kept for [`STEADY_INTERVALS`] after
    /// that moment, and then unset.
    trust_heard_after: Option<Instant>,
    introductions: Introductions,
}

/// What a message says of whether its sender hears this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It hears this node.
    Hearing,
    /// It pings because this node has sent something.
    PingInTurn,
    /// It sends, and that is all.
    Sending,
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
            former_neighbours: Vec::new(),
            neighbours_since: Instant::ORIGIN,
            observations: Vec::new(),
            beats: 0,
            loss: Loss::default(),
            votes: Votes::default(),
            probes: Probes::default(),
            own_votes: SmallVec::new(),
            withdraws_at: None,
            revivable: SmallVec::new(),
            next_verdicts: Instant::ORIGIN,
            isolated: false,
            trust_heard_after: None,
            introductions: Introductions::default(),
        }
    }

    /// How many heartbeats this node has sent to each neighbour.
    pub(crate) const fn beats(&self) -> u64 {
        self.beats
    }

    /// The votes that other members have published.
    pub(crate) const fn votes(&self) -> &Votes {
        &self.votes
    }

    /// Passes over the votes that count by now. Returns when the next one begins to count.
    pub(crate) fn pass_counting_votes(&mut self, now: Instant) -> Option<Instant> {
        self.votes.pass_counting(now)
    }

    /// What this node observes of a member.
    pub(crate) fn observation(&self, id: NodeId) -> Option<&Observation> {
        find(&self.observations, id)
    }

    fn observation_mut(&mut self, id: NodeId) -> Option<&mut Observation> {
        let at = position(&self.observations, id).ok()?;
        self.observations.get_mut(at)
    }

    /// The phi of a member now, if this node observes it.
    pub(crate) fn phi(&self, now: Instant, id: NodeId) -> Option<f64> {
        Some(self.observation(id)?.phi(&self.detector, now))
    }

    /// Whether this node observes a member and finds it silent.
    pub(crate) fn observes_silence(&self, id: NodeId) -> bool {
        self.observation(id).is_some_and(Observation::is_silent)
    }

    /// The valid votes of other members against a member. Of a member without a record there are
    /// none.
    pub(crate) fn valid_votes<'a>(
        &'a self,
        now: Instant,
        subject: NodeId,
        record: Option<&'a Record>,
    ) -> impl Iterator<Item = &'a HeldVote> {
        debug_assert!(record.is_none_or(|record| record.id == subject));
        let against = self.votes.against(subject).iter();
        against.filter(move |vote| record.is_some_and(|record| vote.is_valid(&record.log, now)))
    }

    /// How many valid votes stand against a member, this node's own included.
    fn count_votes(&self, context: &Context, id: NodeId) -> usize {
        let others = self.valid_votes(context.now, id, context.table.get(id));
        let own = usize::from(self.observes_silence(id));
        others.count().saturating_add(own)
    }

    /// This process has stood still for `gap`, which was not the silence of its neighbours.
    pub(crate) fn on_pause(&mut self, context: &mut Context, gap: Duration) {
        context.stale.deadlines = true;
        self.on_sleep(context, gap);
        self.distrust_what_waited(context);
        for observation in &mut self.observations {
            observation.paused(context.now, gap, context.config.interval);
            if !observation.is_silent() && observation.end_suspicion() {
                context.tell(Event::SuspicionCleared { id: observation.id });
            }
        }
    }

    /// This node has slept for this long, or its wall clock has gone on without it. A sleep shorter
    /// than `remove_after` changes nothing: others still keep as down who died meanwhile.
    pub(crate) fn on_sleep(&mut self, context: &Context, slept: Duration) {
        if slept >= context.config.remove_after {
            self.note_absence(context);
        }
    }

    /// This node may have missed deaths. From the next interval on, it trusts only what it hears then.
    ///
    /// A member that seems to be heard within the next interval may have died long ago: the socket
    /// has kept the messages that arrived during the absence.
    pub(crate) fn note_absence(&mut self, context: &Context) {
        self.trust_heard_after = Some(context.in_intervals(1));
    }

    /// Ends the time in which this node asks members that it has not heard since its absence. A
    /// broken link is not a death, and must not be voted about for ever.
    pub(crate) fn end_absence(&mut self, context: &Context) {
        if self.trust_heard_after < Some(context.intervals_ago(STEADY_INTERVALS)) {
            self.trust_heard_after = None;
        }
    }

    /// Whether this node has not heard a member since it may have missed the member's death.
    pub(crate) fn is_unheard(&self, record: &Record) -> bool {
        record.heard < self.trust_heard_after
    }
}

#[cfg(test)]
mod tests;
