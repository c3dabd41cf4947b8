//! Heartbeats and other signs of life, and the suspicion that follows from their absence.

use super::loss::Loss;
use super::observation::{Beat, Due, Observation, Relief, position};
use super::verdicts::damping;
use super::{Failure, MAX_OBSERVED, Neighbour, Sign};
use crate::context::{Context, Outgoing, Timer, count};
use crate::event::{Event, SuspicionReason};
use crate::identity::{Generation, NodeId};
use crate::membership::observers::{fallen_nearby, neighbours};
use crate::membership::ring::Neighbours;
use crate::membership::{Condition, Record, Told};
use crate::wire::message::Sender;

/// Intervals for which a former neighbour still gets heartbeats, so that a changing ring raises no
/// suspicion.
const FORMER_INTERVALS: u32 = 5;

/// The most former neighbours that still get heartbeats.
const MAX_FORMER: usize = 32;

/// Intervals for which any message counts as a sign of life after the last sign that its sender hears this node. Where
/// half of all is lost, heartbeats and answers are all lost for that long once in a billion times.
const HEARING_INTERVALS: u32 = 30;

/// The most pings to one suspect. All of them are sent within half a second.
const MAX_BURST_PINGS: u32 = 40;

impl Failure {
    /// A message has arrived.
    ///
    /// That a member sends does not show that it hears. So only a sign of hearing ends a silence, or brings back a
    /// member that is down. If such a member sends anything else, it is pinged in turn. Of any other member all
    /// messages are signs of life, for a while after the last sign of hearing.
    pub(crate) fn on_life(&mut self, context: &mut Context, sender: Sender, sign: Sign) {
        self.note_heard(context.now);
        if sign != Sign::Hearing && self.is_to_answer_first(context, sender) {
            if sign == Sign::Sending {
                context.ping_in_turn(sender.id);
            }
            return;
        }
        let observation = self.observation_mut(sender.id);
        let observed = observation.filter(|observed| observed.generation == sender.generation);
        if let Some(observation) = observed {
            let relief = if sign == Sign::Hearing {
                observation.shows_hearing(context.now)
            } else {
                observation.sends(context.now, context.intervals_ago(HEARING_INTERVALS))
            };
            self.on_relief(context, sender.id, relief);
            // Neighbours are heard all the time. If nobody is down, asked or to be introduced, they need
            // not be looked up.
            let is_awaited = !self.probes.is_empty() || self.introductions.are_due();
            if context.table.down_len() == 0 && !is_awaited {
                return;
            }
        }
        let Some(record) = context.table.get_mut(sender.id) else {
            return;
        };
        if record.log.generation() != sender.generation {
            return;
        }
        debug_assert!(record.heard <= Some(context.now), "time went back");
        record.heard = Some(context.now);
        // This node hears the member now, so the member stays down only if a majority still says
        // so.
        let down = record.condition == Condition::Down;
        if self.probes.heard(sender.id) || down {
            self.revivable.push(sender.id);
            context.stale.verdicts = true;
        }
    }

    /// Whether this node finds a member silent or holds it down, in the life that the member names.
    fn is_to_answer_first(&self, context: &Context, sender: Sender) -> bool {
        if context.table.down_len() == 0 && !self.is_anybody_silent() {
            return false;
        }
        let record = context.table.get(sender.id);
        record.is_some_and(|record| {
            record.log.generation() == sender.generation
                && (record.condition == Condition::Down
                    || self.observes_silence(sender.id)
                    || self.probes.is_silent(sender.id))
        })
    }

    /// A heartbeat has arrived. That it is a sign of life has been noted before.
    pub(crate) fn on_heartbeat(&mut self, context: &mut Context, sender: Sender, counter: u64) {
        let Ok(at) = position(&self.observations, sender.id) else {
            return;
        };
        let Some(observation) = self.observations.get_mut(at) else {
            return;
        };
        if observation.generation != sender.generation {
            return;
        }
        match observation.heartbeat(context.now, counter, &self.detector) {
            Beat::Counted(expected) => self.loss.heartbeat(expected),
            Beat::Leapt => count(&mut context.metrics.heartbeats_leapt),
            Beat::Repeated => {}
        }
    }

    /// Acts on what a sign of life of an observed member has changed.
    fn on_relief(&mut self, context: &mut Context, id: NodeId, relief: Relief) {
        match relief {
            Relief::None => {}
            Relief::Cleared => self.end_suspicion(context, id),
            Relief::Revived => {
                self.end_suspicion(context, id);
                self.revivable.push(id);
                context.stale.all_of_liveness();
            }
        }
    }

    /// This node suspects a member no longer: tells the application, if it was told of the suspicion.
    fn end_suspicion(&mut self, context: &mut Context, id: NodeId) {
        if self
            .observation_mut(id)
            .is_some_and(Observation::end_suspicion)
        {
            context.tell(Event::SuspicionCleared { id });
        }
    }

    /// Sends the heartbeat of this interval.
    pub(crate) fn on_heartbeat_due(&mut self, context: &mut Context) {
        let next = context.next_interval();
        context.timers.set(Timer::Heartbeat, Some(next));
        self.beats = self.beats.saturating_add(1);
        self.former_neighbours
            .retain(|(_, until)| *until > context.now);
        let former = self
            .former_neighbours
            .iter()
            .map(|(neighbour, _)| neighbour);
        for neighbour in self.neighbours.iter().chain(former) {
            if let Some(to) = neighbour.address {
                context.send(Outgoing::Heartbeat { to });
            }
        }
    }

    /// Takes the steps that are due for the observed members.
    pub(crate) fn on_observations_due(&mut self, context: &mut Context) {
        let missing = self.missing(context);
        context.stale.deadlines = true;
        for at in 0..self.observations.len() {
            // Several steps may be due. Each step sets a later deadline.
            while self.step(context, at, missing) != Due::Nothing {}
        }
    }

    /// Takes the next step of one observation, if it is due. `missing` is how many heartbeats are
    /// overdue from all observed members.
    fn step(&mut self, context: &mut Context, at: usize, missing: u64) -> Due {
        let Some(observation) = self.observations.get_mut(at) else {
            debug_assert!(false, "no observation is at this position");
            return Due::Nothing;
        };
        let id = observation.id;
        // The member's own missing heartbeats do not count as loss: whether they were lost or never
        // sent is the question.
        let own_missing = observation.missing(context.now, context.config.interval);
        debug_assert!(own_missing <= missing, "part of a sum");
        let of_others = missing.saturating_sub(own_missing);
        let pings = self.loss.and_missing(of_others).pings();
        let pings = pings.unwrap_or(MAX_BURST_PINGS).min(MAX_BURST_PINGS);
        let due = observation.take_step(context.now, pings);
        match due {
            Due::Nothing => {}
            Due::Ping => context.ping(id),
            Due::Suspected => {
                self.tell_suspected(context, id);
                context.ping(id);
            }
            Due::Silent => {
                count(&mut context.metrics.votes_cast);
                context.stale.verdicts = true;
                context.stale.own_votes = true;
            }
        }
        due
    }

    /// A member has become suspect: tells the application, if it was told before that the member is up.
    fn tell_suspected(&mut self, context: &mut Context, id: NodeId) {
        let is_told_up = |record: &Record| {
            record.condition == Condition::Live && record.told == Told::Up && !record.returns
        };
        if !context.table.get(id).is_some_and(is_told_up) {
            return;
        }
        let Some(phi) = self.phi(context.now, id) else {
            debug_assert!(false, "a member that is not observed is suspect");
            return;
        };
        count(&mut context.metrics.suspicions);
        // Samples are whole microseconds, so phi may be a little below the threshold at the
        // deadline.
        let reason = if phi > context.config.phi_suspect - 0.01 {
            SuspicionReason::Phi
        } else {
            SuspicionReason::LongestSilence
        };
        let votes = self.count_votes(context, id);
        context.tell(Event::MemberSuspected {
            id,
            phi,
            votes,
            reason,
        });
        if let Some(observation) = self.observation_mut(id) {
            observation.note_suspicion();
        }
    }

    /// How much is being lost now: heartbeats that are overdue count as lost, unless their sender
    /// is found silent. So two things hold:
    ///
    /// - Loss that sets in suddenly shows within two intervals.
    /// - A node that is cut off from half of its neighbours does not take that for loss.
    pub(crate) fn loss_now(&self, context: &Context) -> Loss {
        self.loss.and_missing(self.missing(context))
    }

    /// The share of datagrams that is lost, by the heartbeats that have arrived. Unlike
    /// [`Failure::loss_now`] it takes no overdue heartbeat for lost.
    pub(crate) fn measured_loss_share(&self) -> f64 {
        self.loss.share()
    }

    /// How many heartbeats are overdue from all observed members.
    fn missing(&self, context: &Context) -> u64 {
        let observations = self.observations.iter();
        let missing = observations.map(|o| o.missing(context.now, context.config.interval));
        missing.fold(0, u64::saturating_add)
    }

    /// The ring has changed: observes the new neighbours, and ceases to observe old ones.
    pub(crate) fn refresh_neighbours(&mut self, context: &mut Context) {
        let k = usize::from(context.config.neighbours);
        let new = neighbours(&context.table, context.own, k);
        debug_assert!(new.is_sorted(), "neighbours are sorted");
        debug_assert!(!new.contains(&context.own), "a neighbour of itself");
        self.refresh_former_neighbours(context, &new);
        self.refresh_observations(context, &new);
        let neighbour = |id: &NodeId| Neighbour {
            id: *id,
            address: context.table.get(*id).and_then(|record| record.address()),
        };
        if !self.neighbours.iter().map(|old| &old.id).eq(new.iter()) {
            self.neighbours_since = context.now;
        }
        self.neighbours = new.iter().map(neighbour).collect();
        context.stale.deadlines = true;
        context.stale.own_votes = true;
    }

    /// Old neighbours get heartbeats for a while longer. Too many of them are reduced to the
    /// latest.
    fn refresh_former_neighbours(&mut self, context: &Context, new: &Neighbours) {
        let until = context.in_intervals(FORMER_INTERVALS);
        let all_former = &mut self.former_neighbours;
        for old in &self.neighbours {
            let is_known = all_former.iter().any(|(former, _)| former.id == old.id);
            if !new.contains(&old.id) && !is_known {
                all_former.push((*old, until));
            }
        }
        let beyond = all_former.len().saturating_sub(MAX_FORMER);
        all_former.drain(..beyond);
        all_former.retain(|(former, _)| {
            let is_live = context.table.condition(former.id) == Some(Condition::Live);
            is_live && !new.contains(&former.id)
        });
        debug_assert!(all_former.len() <= MAX_FORMER);
    }

    fn refresh_observations(&mut self, context: &mut Context, new: &Neighbours) {
        let k = usize::from(context.config.neighbours);
        let fallen = fallen_nearby(&context.table, context.own, k);
        self.observations.retain_mut(|observation| {
            let id = observation.id;
            // A member that goes down is observed further, for two reasons: others may still need
            // this node's vote, and this node may be the first to hear the member again. A vote
            // stands until its subject lives.
            let is_open = match context.table.condition(id) {
                Some(Condition::Down) => true,
                Some(Condition::Live) => observation.is_silent(),
                _ => false,
            };
            let stays = is_open || new.contains(&id);
            let is_live = context.table.condition(id) == Some(Condition::Live);
            if !stays && observation.end_suspicion() && is_live {
                context.tell(Event::SuspicionCleared { id });
            }
            stays
        });
        let room = MAX_OBSERVED.saturating_sub(self.observations.len());
        for id in new.iter().chain(fallen.iter().take(room)) {
            if let Err(at) = position(&self.observations, *id) {
                let (generation, _) = context.known(*id);
                let window = context.config.window;
                let mut observation =
                    Observation::new(*id, generation, window, &self.detector, context.now);
                observation.damp(damping(context, *id));
                self.observations.insert(at, observation);
            }
        }
        debug_assert!(
            self.observations.is_sorted_by(|one, next| one.id < next.id),
            "observations are sorted and of distinct members"
        );
    }

    /// A member has written something new. The news may have come through others.
    pub(crate) fn on_progress(&mut self, context: &mut Context, id: NodeId) {
        self.probes.refuted(id);
        if context.table.condition(id) == Some(Condition::Down) {
            self.revivable.push(id);
            context.stale.verdicts = true;
        }
        // The member lives, but that others hear it does not show that this node does. The vote of this node
        // is void now, and stands: so others know that it cannot vouch.
        if self.observes_silence(id) {
            context.ping(id);
        }
    }

    /// A member runs under another generation.
    pub(crate) fn on_restart(&mut self, context: &mut Context, id: NodeId, generation: Generation) {
        debug_assert_eq!(
            context.known(id).0,
            generation,
            "the table knows it already"
        );
        if let Ok(at) = position(&self.observations, id)
            && let Some(observation) = self.observations.get_mut(at)
        {
            observation.restarted(generation, &self.detector, context.now);
        }
        self.probes.restarted(id);
        if let Some(record) = context.table.get_mut(id) {
            record.unsteady = 0;
        }
        context.stale.all_of_liveness();
    }

    /// Sets the timer for the next step of an observation.
    pub(crate) fn schedule_observations(&self, context: &mut Context) {
        let due = self.observations.iter().filter_map(Observation::deadline);
        let due = due.min().map(|due| due.max(context.at_once()));
        context.timers.set(Timer::Observation, due);
    }
}
