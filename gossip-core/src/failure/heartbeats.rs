//! Heartbeats, signs of life and suspicion.

use super::verdicts::damping;
use super::{Failure, MAX_OBSERVED, Neighbour};
use crate::context::{Context, Outgoing, Timer, count};
use crate::event::{Event, SuspicionReason};
use crate::failure::loss::Loss;
use crate::failure::observation::{Beat, Due, Observation, Relief};
use crate::identity::{Generation, NodeId};
use crate::membership::Condition;
use crate::membership::observers::{fallen_nearby, neighbours};
use crate::wire::message::Sender;

/// Intervals for which a former neighbour still gets heartbeats, so that a ring in motion raises no
/// suspicion.
const FAREWELL: u32 = 5;

/// Former neighbours that still get heartbeats, at most.
const MAX_FORMER: usize = 32;

/// Pings to one suspect, at most: they all go out within half a second.
const BURST: u32 = 40;

impl Failure {
    /// Any message is a sign of life of its sender.
    pub(crate) fn on_life(&mut self, context: &mut Context, sender: Sender) {
        let observation = self.observation_mut(sender.id);
        let observed = observation.filter(|observed| observed.generation == sender.generation);
        if let Some(observation) = observed {
            let relief = observation.evidence(context.now);
            self.on_relief(context, sender.id, relief);
            // Neighbours are heard all the time, and mostly nobody is down or asked: no need to look them up.
            if context.table.down_len() == 0 && self.probes.is_empty() {
                return;
            }
        }
        let Some(record) = context.table.get_mut(sender.id) else {
            return;
        };
        if record.log.generation() != sender.generation {
            return;
        }
        record.heard = Some(context.now);
        // Whatever took it down, it is heard now: down it stays only while a majority says so.
        let down = record.condition == Condition::Down;
        if self.probes.heard(sender.id) || down {
            self.revivable.push(sender.id);
            context.stale.verdicts = true;
        }
    }

    pub(crate) fn on_heartbeat(&mut self, context: &mut Context, sender: Sender, counter: u64) {
        let Ok(at) = self.position(sender.id) else {
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

    fn on_relief(&mut self, context: &mut Context, id: NodeId, relief: Relief) {
        match relief {
            Relief::None => {}
            Relief::Cleared => {
                if context.table.condition(id) == Some(Condition::Live) {
                    context.tell(Event::SuspicionCleared { id });
                }
            }
            Relief::Revived => {
                self.revivable.push(id);
                context.stale.all_of_liveness();
            }
        }
    }

    /// Sends the heartbeat of this interval.
    pub(crate) fn on_heartbeat_due(&mut self, context: &mut Context) {
        let next = context.next_interval();
        context.timers.set(Timer::Heartbeat, Some(next));
        self.beats = self.beats.saturating_add(1);
        self.former.retain(|(_, until)| *until > context.now);
        let former = self.former.iter().map(|(neighbour, _)| neighbour);
        for neighbour in self.neighbours.iter().chain(former) {
            if let Some(to) = neighbour.address {
                context.send(Outgoing::Heartbeat { to });
            }
        }
    }

    /// Does what is due for the observed neighbours.
    pub(crate) fn on_observations_due(&mut self, context: &mut Context) {
        let interval = context.config.interval;
        let missing = self.missing(context);
        context.stale.deadlines = true;
        for at in 0..self.observations.len() {
            // As many steps as are due; each sets a later deadline.
            while let Some(observation) = self.observations.get_mut(at) {
                let id = observation.id;
                // Whether its own heartbeats are lost or were not sent is the question.
                let of_others = missing.saturating_sub(observation.missing(context.now, interval));
                let pings = self.loss.and_missing(of_others).pings();
                let pings = pings.unwrap_or(BURST).min(BURST);
                match observation.due(context.now, pings) {
                    Due::Nothing => break,
                    Due::Suspected => {
                        let phi = observation.phi(&self.detector, context.now);
                        if context.table.condition(id) == Some(Condition::Live) {
                            count(&mut context.metrics.suspicions);
                            // The deadline is rounded to microseconds.
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
                        }
                        context.ping(id);
                    }
                    Due::Ping => context.ping(id),
                    Due::Silent => {
                        count(&mut context.metrics.votes_cast);
                        context.stale.verdicts = true;
                        context.stale.own_votes = true;
                    }
                }
            }
        }
    }

    /// How much is being lost now, as far as heartbeats tell: of those due from the neighbours that
    /// are not found silent. So loss that sets in shows within two intervals, and who is cut off
    /// from half of them does not take that for loss.
    pub(crate) fn loss(&self, context: &Context) -> Loss {
        self.loss.and_missing(self.missing(context))
    }

    /// The share of datagrams that is being lost, as far as heartbeats that have come tell.
    pub(crate) fn loss_share(&self) -> f64 {
        self.loss.share()
    }

    fn missing(&self, context: &Context) -> u64 {
        let observations = self.observations.iter();
        let missing = observations.map(|o| o.missing(context.now, context.config.interval));
        missing.fold(0, u64::saturating_add)
    }

    /// The ring has changed: observes the new neighbours, lets go of the old ones.
    pub(crate) fn refresh_neighbours(&mut self, context: &mut Context) {
        let new = neighbours(
            &context.table,
            context.own,
            usize::from(context.config.neighbours),
        );
        let until = context.in_intervals(FAREWELL);
        for old in &self.neighbours {
            let known = self.former.iter().any(|(former, _)| former.id == old.id);
            if !new.contains(&old.id) && !known {
                self.former.push((*old, until));
            }
        }
        let beyond = self.former.len().saturating_sub(MAX_FORMER);
        self.former.drain(..beyond);
        let table = &context.table;
        let condition = |id| table.condition(id);
        self.former.retain(|(former, _)| {
            !new.contains(&former.id) && condition(former.id) == Some(Condition::Live)
        });
        let k = usize::from(context.config.neighbours);
        let fallen = fallen_nearby(&context.table, context.own, k);
        self.observations.retain(|observation| {
            let id = observation.id;
            // Who goes down is observed further: others may still need this node's vote, and it
            // may be the first to hear the member again. A vote stands until its subject lives.
            let open = match condition(id) {
                Some(Condition::Down) => true,
                Some(Condition::Live) => observation.is_silent(),
                _ => false,
            };
            new.contains(&id) || open
        });
        let room = MAX_OBSERVED.saturating_sub(self.observations.len());
        for id in new.iter().chain(fallen.iter().take(room)) {
            if let Err(at) = self.position(*id) {
                let (generation, _) = context.known(*id);
                let window = context.config.window;
                let mut observation =
                    Observation::new(*id, generation, window, &self.detector, context.now);
                observation.damp(damping(context, *id));
                self.observations.insert(at, observation);
            }
        }
        let neighbour = |id: &NodeId| Neighbour {
            id: *id,
            address: context.table.get(*id).and_then(|record| record.address()),
        };
        self.neighbours = new.iter().map(neighbour).collect();
        context.stale.deadlines = true;
        context.stale.own_votes = true;
    }

    /// A member has written something new, be it through others.
    pub(crate) fn on_progress(&mut self, context: &mut Context, id: NodeId) {
        self.probes.refuted(id);
        if context.table.condition(id) == Some(Condition::Down) {
            self.revivable.push(id);
            context.stale.verdicts = true;
        }
        let silent = self
            .observation_mut(id)
            .filter(|observation| observation.is_silent());
        if let Some(observation) = silent {
            let relief = observation.refuted(context.now);
            self.on_relief(context, id, relief);
        }
    }

    /// A member runs under another generation.
    pub(crate) fn on_restart(&mut self, context: &mut Context, id: NodeId, generation: Generation) {
        if let Ok(at) = self.position(id)
            && let Some(observation) = self.observations.get_mut(at)
        {
            observation.restarted(generation, &self.detector, context.now);
        }
        if let Some(record) = context.table.get_mut(id) {
            record.unsteady = 0;
        }
        context.stale.all_of_liveness();
    }

    /// Notes when the next step of an observation is due.
    pub(crate) fn schedule_observations(&self, context: &mut Context) {
        let due = self.observations.iter().filter_map(Observation::deadline);
        let due = due.min().map(|due| due.max(context.at_once()));
        context.timers.set(Timer::Observation, due);
    }
}
