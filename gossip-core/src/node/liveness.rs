//! Heartbeats, signs of life and suspicion: where the liveness plane meets the table.

use core::net::SocketAddr;

use rand_core::Rng;

use super::outbox::Outgoing;
use super::stale::Stale;
use super::timers::Timer;
use super::{Node, count};
use crate::event::{Event, SuspicionReason};
use crate::failure::loss::Loss;
use crate::failure::observation::{Beat, Due, Observation, Relief};
use crate::identity::{Generation, NodeId};
use crate::membership::Condition;
use crate::membership::observers::{fallen_nearby, neighbours};
use crate::state::attribute::MAX_BALLOTS;
use crate::time::Instant;
use crate::wire::message::Sender;

/// Intervals for which a former neighbour still gets heartbeats, so that a ring in motion raises no
/// suspicion.
const FAREWELL: u32 = 5;

/// Intervals after which those who replace a fallen observer are counted on in its stead: they have
/// had the time to find the subject silent themselves.
pub(super) const SETTLING: u32 = 12;

/// Members observed at a time, those who are down included. Neighbours always are.
const MAX_OBSERVED: usize = MAX_BALLOTS;

/// Former neighbours that still get heartbeats, at most.
const MAX_FORMER: usize = 32;

/// Pings to one suspect, at most: they all go out within half a second.
const BURST: u32 = 40;

/// A ring neighbour, as a receiver of heartbeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbour {
    id: NodeId,
    address: Option<SocketAddr>,
}

impl Node {
    /// Any message is a sign of life of its sender.
    pub(super) fn on_life(&mut self, now: Instant, sender: Sender) {
        let observation = self.observation_mut(sender.id);
        let observed = observation.filter(|observed| observed.generation == sender.generation);
        if let Some(observation) = observed {
            let relief = observation.evidence(now);
            self.on_relief(sender.id, relief);
            // Neighbours are heard all the time, and mostly nobody is down or asked: no need to look them up.
            if self.table.down_len() == 0 && self.probes.is_empty() {
                return;
            }
        }
        let Some(record) = self.table.get_mut(sender.id) else {
            return;
        };
        if record.log.generation() != sender.generation {
            return;
        }
        record.heard = Some(now);
        // Whatever took it down, it is heard now: down it stays only while a majority says so.
        let down = record.condition == Condition::Down;
        if self.probes.heard(sender.id) || down {
            self.reconsider.push(sender.id);
            self.stale.verdicts = true;
        }
    }

    pub(super) fn on_heartbeat(&mut self, now: Instant, sender: Sender, counter: u64) {
        let Self {
            observations,
            detector,
            loss,
            metrics,
            ..
        } = self;
        let Ok(at) = observations.binary_search_by_key(&sender.id, |o| o.id) else {
            return;
        };
        let Some(observation) = observations.get_mut(at) else {
            return;
        };
        if observation.generation != sender.generation {
            return;
        }
        match observation.heartbeat(now, counter, detector) {
            Beat::Counted(expected) => loss.heartbeat(expected),
            Beat::Leapt => count(&mut metrics.heartbeats_leapt),
            Beat::Repeated => {}
        }
    }

    fn on_relief(&mut self, id: NodeId, relief: Relief) {
        match relief {
            Relief::None => {}
            Relief::Cleared => {
                if self.table.condition(id) == Some(Condition::Live) {
                    self.events.push(Event::SuspicionCleared { id });
                }
            }
            Relief::Revived => {
                self.reconsider.push(id);
                self.stale = Stale::ALL;
            }
        }
    }

    /// Sends the heartbeat of this interval.
    pub(super) fn on_heartbeat_due(&mut self, now: Instant) {
        let next = self.next_interval();
        self.timers
            .set(Timer::Heartbeat, Some(now.saturating_add(next)));
        self.beats = self.beats.saturating_add(1);
        self.former.retain(|(_, until)| *until > now);
        let former = self.former.iter().map(|(neighbour, _)| neighbour);
        for neighbour in self.neighbours.iter().chain(former) {
            if let Some(to) = neighbour.address {
                self.outbox.push(Outgoing::Heartbeat { to });
            }
        }
    }

    /// Does what is due for the observed neighbours.
    pub(super) fn on_observations_due(&mut self, now: Instant) {
        let interval = self.config.interval;
        let missing = self.missing(now);
        self.stale.deadlines = true;
        for at in 0..self.observations.len() {
            // As many steps as are due; each sets a later deadline.
            while let Some(observation) = self.observations.get_mut(at) {
                let id = observation.id;
                // Whether its own heartbeats are lost or were not sent is the question.
                let of_others = missing.saturating_sub(observation.missing(now, interval));
                let pings = self.loss.and_missing(of_others).pings();
                let pings = pings.unwrap_or(BURST).min(BURST);
                match observation.due(now, pings) {
                    Due::Nothing => break,
                    Due::Suspected => {
                        let phi = observation.phi(&self.detector, now);
                        if self.table.condition(id) == Some(Condition::Live) {
                            count(&mut self.metrics.suspicions);
                            // The deadline is rounded to microseconds.
                            let reason = if phi > self.config.phi_suspect - 0.01 {
                                SuspicionReason::Phi
                            } else {
                                SuspicionReason::LongestSilence
                            };
                            let votes = self.votes(id).count();
                            self.events.push(Event::MemberSuspected {
                                id,
                                phi,
                                votes,
                                reason,
                            });
                        }
                        self.ping(id);
                    }
                    Due::Ping => self.ping(id),
                    Due::Silent => {
                        count(&mut self.metrics.votes_cast);
                        self.stale.verdicts = true;
                        self.stale.ballots = true;
                    }
                }
            }
        }
    }

    /// How much is being lost now, as far as heartbeats tell: of those due from the neighbours that
    /// are not found silent. So loss that sets in shows within two intervals, and who is cut off
    /// from half of them does not take that for loss.
    pub(super) fn loss(&self, now: Instant) -> Loss {
        self.loss.and_missing(self.missing(now))
    }

    fn missing(&self, now: Instant) -> u64 {
        let observations = self.observations.iter();
        let missing = observations.map(|o| o.missing(now, self.config.interval));
        missing.fold(0, u64::saturating_add)
    }

    pub(super) fn ping(&mut self, to: NodeId) {
        let token = self.rng.next_u32();
        self.outbox.push(Outgoing::Ping { to, token });
    }

    /// The ring has changed: observes the new neighbours, lets go of the old ones.
    pub(super) fn refresh_neighbours(&mut self, now: Instant) {
        let new = neighbours(&self.table, self.own, usize::from(self.config.neighbours));
        let until = now.saturating_add(self.intervals(FAREWELL));
        for old in &self.neighbours {
            let known = self.former.iter().any(|(former, _)| former.id == old.id);
            if !new.contains(&old.id) && !known {
                self.former.push((*old, until));
            }
        }
        let beyond = self.former.len().saturating_sub(MAX_FORMER);
        self.former.drain(..beyond);
        let table = &self.table;
        let condition = |id| table.condition(id);
        self.former.retain(|(former, _)| {
            !new.contains(&former.id) && condition(former.id) == Some(Condition::Live)
        });
        let k = usize::from(self.config.neighbours);
        let fallen = fallen_nearby(&self.table, self.own, k);
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
            if let Err(at) = self.observations.binary_search_by_key(id, |o| o.id) {
                let generation = self
                    .table
                    .get(*id)
                    .map_or(Generation::ZERO, |r| r.log.generation());
                let mut observation =
                    Observation::new(*id, generation, self.config.window, &self.detector, now);
                observation.damp(self.damping(*id));
                self.observations.insert(at, observation);
            }
        }
        let neighbour = |id: &NodeId| Neighbour {
            id: *id,
            address: self.table.get(*id).and_then(|record| record.address()),
        };
        self.neighbours = new.iter().map(neighbour).collect();
        self.stale.deadlines = true;
        self.stale.ballots = true;
    }

    /// A member has written something new, be it through others.
    pub(super) fn on_progress(&mut self, now: Instant, id: NodeId) {
        self.probes.refuted(id);
        if self.table.condition(id) == Some(Condition::Down) {
            self.reconsider.push(id);
            self.stale.verdicts = true;
        }
        let silent = self
            .observation_mut(id)
            .filter(|observation| observation.is_silent());
        if let Some(observation) = silent {
            let relief = observation.refuted(now);
            self.on_relief(id, relief);
        }
    }

    /// A member runs under another generation.
    pub(super) fn on_restart(&mut self, now: Instant, id: NodeId, generation: Generation) {
        let Self {
            observations,
            detector,
            ..
        } = self;
        if let Ok(at) = observations.binary_search_by_key(&id, |o| o.id)
            && let Some(observation) = observations.get_mut(at)
        {
            observation.restarted(generation, detector, now);
        }
        if let Some(record) = self.table.get_mut(id) {
            record.unsteady = 0;
        }
        self.stale = Stale::ALL;
    }

    pub(super) fn observation_mut(&mut self, id: NodeId) -> Option<&mut Observation> {
        let at = self.observations.binary_search_by_key(&id, |o| o.id).ok()?;
        self.observations.get_mut(at)
    }
}
