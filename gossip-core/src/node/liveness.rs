//! Heartbeats, suspicion, votes and verdicts: where the liveness plane meets the table.

use super::outbox::Outgoing;
use super::timers::Timer;
use super::{Node, count};
use crate::event::{Event, UpCause};
use crate::id::{Generation, NodeId};
use crate::liveness::observation::{Damping, Due, Observation, Relief};
use crate::liveness::probes::TURN;
use crate::liveness::verdict::{Evidence, Verdict};
use crate::membership::ring::{fallen_nearby, neighbours};
use crate::membership::{Condition, Record};
use crate::state::attribute::{
    Ballot, Declared, MAX_BALLOTS, VOTES, decode_ballots, encode_ballots,
};
use crate::time::{Instant, UnixTime};
use crate::wire::message::Sender;
use core::net::SocketAddr;
use core::time::Duration;
use rand_core::Rng;
use smallvec::SmallVec;

/// Intervals for which a former neighbour still gets heartbeats, so that a ring in motion raises no
/// suspicion.
const FAREWELL: u32 = 5;

/// Intervals after which those who replace a fallen observer are counted on in its stead: they have
/// had the time to find the subject silent themselves.
const SETTLING: u32 = 12;

/// Intervals for which a message makes its sender heard.
const HEARD: u32 = 3;

/// Intervals after which a vote is late.
const LATE: u32 = 2;

/// Intervals after which a member that came up again counts as steady.
const CALM: u32 = 300;

/// The first time that a member goes down and comes up again is forgiven: a partition does that to
/// everybody. After that the patience with it doubles each time, so often.
const MAX_DAMPING: u8 = 2;

/// Members observed at a time, those who are down included. Neighbours always are.
const MAX_OBSERVED: usize = MAX_BALLOTS;

/// Former neighbours that still get heartbeats, at most.
const MAX_FORMER: usize = 32;

/// A ring neighbour, as a receiver of heartbeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbour {
    id: NodeId,
    address: Option<SocketAddr>,
}

/// Whether a member's log continues or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The log that was known goes on, or none was known.
    Same,
    /// The member has restarted.
    Another,
}

impl Node {
    /// Any message is a sign of life of its sender.
    pub(super) fn on_life(&mut self, now: Instant, sender: Sender) {
        let observation = self.observation_mut(sender.id);
        let observed = observation.filter(|observed| observed.generation == sender.generation);
        if let Some(observation) = observed {
            let relief = observation.evidence(now);
            self.on_relief(sender.id, relief);
            // Neighbours are heard all the time, and mostly nobody is down: no need to look them up.
            if self.table.down_len() == 0 {
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
        if let Some(expected) = observation.heartbeat(now, counter, detector) {
            loss.heartbeat(expected);
        }
    }

    fn on_relief(&mut self, id: NodeId, relief: Relief) {
        match relief {
            Relief::None => {}
            Relief::Cleared => {
                if self
                    .table
                    .get(id)
                    .is_some_and(|r| r.condition == Condition::Live)
                {
                    self.events.push(Event::SuspicionCleared { id });
                }
            }
            Relief::Revived => {
                self.reconsider.push(id);
                self.stale = super::Stale::ALL;
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
        let pings = self.loss.pings();
        self.stale.deadlines = true;
        for at in 0..self.observations.len() {
            // As many steps as are due; each sets a later deadline.
            while let Some(observation) = self.observations.get_mut(at) {
                let id = observation.id;
                match observation.due(now, pings) {
                    Due::Nothing => break,
                    Due::Suspected => {
                        let phi = observation.phi(&self.detector, now);
                        if self
                            .table
                            .get(id)
                            .is_some_and(|r| r.condition == Condition::Live)
                        {
                            count(&mut self.metrics.suspicions);
                            self.events.push(Event::MemberSuspected { id, phi });
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

    /// Asks everybody not heard lately, while so many neighbours have just fallen silent that this
    /// node may be in a minority.
    pub(super) fn sweep(&mut self, now: Instant) {
        let lately = now.saturating_sub(self.intervals(SETTLING));
        let fell_silent = |o: &&Observation| o.silent_since().is_some_and(|since| since > lately);
        let silent = self.observations.iter().filter(fell_silent).count();
        let observed = self.observations.len();
        if silent > 0 && silent.saturating_mul(4) >= observed {
            for at in 0..self.table.live_len() {
                self.ask_in_doubt(now, self.table.live_id(at));
            }
        }
        let evidence = self.evidence(now);
        let bereft = evidence.bereft();
        for id in bereft {
            self.ask_in_doubt(now, Some(id));
        }
        self.stale.ballots |= self.ballots.iter().any(|ballot| {
            let observation = self.observation(ballot.subject);
            observation.is_some_and(|o| o.generation > ballot.generation)
        });
        let lasting = self.intervals(SETTLING);
        let Self { probes, table, .. } = self;
        let gone = |id| {
            !table
                .get(id)
                .is_some_and(|record| matches!(record.condition, Condition::Live | Condition::Down))
        };
        probes.forget(now, lasting, gone);
    }

    /// Asks a member whether it lives, unless this node can tell.
    fn ask_in_doubt(&mut self, now: Instant, id: Option<NodeId>) {
        let Some(id) = id.filter(|id| *id != self.own && !self.evidence(now).hears(*id)) else {
            return;
        };
        self.probes.ask(id, now);
        self.timers
            .advance(Timer::Probe, now.saturating_add(Duration::from_nanos(1)));
    }

    /// Sends the next pings to members in doubt.
    pub(super) fn on_probe_due(&mut self, now: Instant) {
        let turn = self.probes.turn(now, self.loss.pings());
        for id in turn.ping {
            self.ping(id);
        }
        self.stale.verdicts |= turn.found_silent;
        if self.probes.is_asking() {
            self.timers
                .set(Timer::Probe, Some(now.saturating_add(TURN)));
        }
    }

    fn ping(&mut self, to: NodeId) {
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
        let condition = |id| table.get(id).map(|record| record.condition);
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

    /// Publishes the votes that follow from the observations, where they have changed.
    pub(super) fn publish_ballots(&mut self, now: Instant) {
        let age = self.age(now);
        let mut ballots = self.ballots_against_removed(now);
        let beyond = ballots.len().saturating_sub(MAX_BALLOTS.div_euclid(2));
        ballots.drain(..beyond);
        for observation in self.observations.iter().filter(|o| o.is_silent()) {
            let Some(record) = self.table.get(observation.id) else {
                continue;
            };
            let standing = self.ballots.iter().find(|ballot| {
                ballot.subject == record.id && ballot.generation == record.log.generation()
            });
            ballots.push(standing.copied().unwrap_or(Ballot {
                subject: record.id,
                generation: record.log.generation(),
                frontier: record.log.frontier(),
                age,
                removed: false,
            }));
        }
        let lapsing = self.ballots.iter().filter(|ballot| {
            let anew = ballots.iter().any(|b| b.subject == ballot.subject);
            !anew && self.lapses(now, ballot)
        });
        let lapsing: SmallVec<[Ballot; 8]> = lapsing.copied().collect();
        ballots.extend(lapsing);
        if ballots != self.ballots {
            let value = encode_ballots(ballots.iter());
            self.ballots = ballots;
            self.write(now, VOTES, Some(&value));
        }
    }

    /// Whether a vote is against an earlier life of its subject that has ended not long ago. It is
    /// void by itself wherever the new life is known; were it withdrawn at once, whoever hears of
    /// that first would take the old life to be alive again.
    fn lapses(&self, now: Instant, ballot: &Ballot) -> bool {
        let observation = self.observation(ballot.subject);
        observation.is_some_and(|observation| {
            observation.generation > ballot.generation
                && now.saturating_since(observation.began()) < self.intervals(SETTLING)
        })
    }

    /// The votes of this node against members that it has removed. They stand for a while longer,
    /// for those who take part in the verdict later; marked, so that their end is no change of mind.
    ///
    /// A node that has removed a member observes it no longer and has no opinion of its own. But
    /// whoever still shows the member up counts this node among its witnesses and would wait for its
    /// word for ever: so it seconds the votes of those who still observe. Marked votes are seconded
    /// by nobody, or two who have removed the member would second each other without end.
    fn ballots_against_removed(&self, now: Instant) -> SmallVec<[Ballot; 8]> {
        let age = self.age(now);
        let lasting = u64::try_from(self.config.remove_after.as_millis()).unwrap_or(u64::MAX);
        let ghost = |id| {
            let record = self.table.get(id)?;
            (record.condition == Condition::Ghost).then_some(record)
        };
        let mut ballots = SmallVec::<[Ballot; 8]>::new();
        for ballot in &self.ballots {
            let removed_for = |record: &Record| now.saturating_since(record.since).as_millis();
            let stands = ghost(ballot.subject).is_some_and(|record| {
                // Not one that has become void: it would stand in the way of one that is not.
                record.log.generation() == ballot.generation
                    && record.log.frontier() <= ballot.frontier
                    && (removed_for(record) < u128::from(lasting)
                        || age.saturating_sub(ballot.age) < lasting)
            });
            if stands {
                ballots.push(Ballot {
                    removed: true,
                    ..*ballot
                });
            }
        }
        for record in self.votes.subjects().filter_map(ghost) {
            let casts = self.votes.against(record.id).iter();
            let mut observers = casts.filter(|cast| !cast.removed);
            let known = ballots.iter().any(|ballot| ballot.subject == record.id);
            if !known && observers.any(|cast| cast.is_valid(&record.log, now)) {
                ballots.push(Ballot {
                    subject: record.id,
                    generation: record.log.generation(),
                    frontier: record.log.frontier(),
                    age,
                    removed: true,
                });
            }
        }
        ballots
    }

    /// An author's log has changed: takes over the votes that it publishes now. Those that it
    /// withdraws may revive their subjects; those that it forgot in a restart do not.
    pub(super) fn on_votes(
        &mut self,
        now: Instant,
        author: NodeId,
        life: Life,
        old: &[u8],
        new: &[u8],
    ) {
        if old == new {
            return;
        }
        let began = self
            .table
            .get(author)
            .map_or(UnixTime::default(), |record| {
                record.log.generation().stamp().time()
            });
        let wall = self.clock.wall(now).as_millis();
        let late = u64::try_from(self.intervals(LATE).as_millis()).unwrap_or(u64::MAX);
        let second_thought = now.saturating_add(self.config.interval);
        let withdrawn =
            self.votes
                .replace(author, decode_ballots(old), decode_ballots(new), |ballot| {
                    let cast = began.as_millis().saturating_add(ballot.age);
                    if wall.saturating_sub(cast) > late {
                        second_thought
                    } else {
                        now
                    }
                });
        if life == Life::Same {
            self.reconsider.extend(withdrawn);
        }
        self.stale.verdicts = true;
        for ballot in decode_ballots(new) {
            if ballot.subject == self.own {
                self.refute(now, &ballot);
            }
            // Somebody still votes against a member that this node has removed.
            self.stale.ballots |= self
                .table
                .get(ballot.subject)
                .is_some_and(|record| record.condition == Condition::Ghost);
        }
    }

    /// Drops the votes of a member whose word no longer counts. Nobody is revived by that.
    pub(super) fn withdraw_all_votes_of(&mut self, author: NodeId) {
        let Self {
            table, votes, now, ..
        } = self;
        let held = table
            .get(author)
            .and_then(|record| record.log.get(VOTES))
            .unwrap_or_default();
        votes.replace(author, decode_ballots(held), core::iter::empty(), |_| *now);
    }

    /// A member has written something new, be it through others.
    pub(super) fn on_progress(&mut self, now: Instant, id: NodeId) {
        let down = self
            .table
            .get(id)
            .is_some_and(|record| record.condition == Condition::Down);
        if down {
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
        self.stale = super::Stale::ALL;
    }

    /// Whether anybody finds anybody silent.
    pub(super) fn is_anybody_contested(&self) -> bool {
        self.votes.subjects().next().is_some()
            || self.observations.iter().any(Observation::is_silent)
            || self.probes.silent().next().is_some()
    }

    /// What this node knows of who lives.
    fn evidence(&self, now: Instant) -> Evidence<'_> {
        Evidence {
            own: self.own,
            table: &self.table,
            votes: &self.votes,
            observations: &self.observations,
            probes: &self.probes,
            neighbours: usize::from(self.config.neighbours),
            now,
            settled_before: now.saturating_sub(self.intervals(SETTLING)),
            heard_after: now.saturating_sub(self.intervals(HEARD)),
        }
    }

    /// Draws the verdicts anew and acts on what has changed.
    pub(super) fn judge(&mut self, now: Instant) {
        let verdicts = self.evidence(now).verdicts();
        let reconsider = core::mem::take(&mut self.reconsider);
        let verdicts_before = self.metrics.verdicts;
        for (id, verdict) in &verdicts {
            match verdict {
                Verdict::Down if self.has_just_come_up(now, *id) => {}
                Verdict::Down => self.take_down(now, *id),
                Verdict::Doubtful => self.ask_in_doubt(now, Some(*id)),
                Verdict::Cleared => {}
            }
        }
        // Down is down until there is news of the member itself or of a voter who has changed its
        // mind; voters that merely vanish revive nobody.
        for id in reconsider {
            if !verdicts.contains(&(id, Verdict::Down)) {
                self.revive(now, id);
            }
        }
        let alone = self.table.live_len() <= 1;
        let fell = self.metrics.verdicts > verdicts_before;
        if alone && fell && !self.isolated {
            self.isolated = true;
            self.events.push(Event::Isolated);
        } else if !alone && self.isolated {
            self.isolated = false;
            self.events.push(Event::Rejoined);
        }
    }

    /// Whether a member has come up again within the last interval. While a cluster heals, the word
    /// that revives a member is faster here and slower there; the next round looks again.
    fn has_just_come_up(&self, now: Instant, id: NodeId) -> bool {
        self.table.get(id).is_some_and(|record| {
            record.flaps > 0
                && record.condition == Condition::Live
                && now.saturating_since(record.since) < self.config.interval
        })
    }

    /// How much longer the silence of a member is borne.
    fn damping(&self, id: NodeId) -> Damping {
        self.table
            .get(id)
            .map_or(Damping::default(), |record| Damping {
                doublings: u32::from(record.unsteady.saturating_sub(1).min(MAX_DAMPING)),
                until: record.since.saturating_add(self.intervals(CALM)),
            })
    }

    fn take_down(&mut self, now: Instant, id: NodeId) {
        let calm = self.intervals(CALM);
        let Some(record) = self.table.get_mut(id) else {
            return;
        };
        if record.condition != Condition::Live {
            return;
        }
        if now.saturating_since(record.since) > calm {
            record.unsteady = 0;
        }
        self.table.set_condition(id, now, Condition::Down);
        count(&mut self.metrics.verdicts);
        self.stale.neighbours = true;
        let Some(record) = self.table.get(id) else {
            return;
        };
        let generation = record.log.generation();
        let was_up = record.declared() != Declared::Joining;
        let observation = self
            .observations
            .iter()
            .find(|observation| observation.id == id);
        let phi = observation.map(|observation| observation.phi(&self.detector, now));
        let votes = self.votes(id).count();
        if was_up {
            self.events.push(Event::MemberDown {
                id,
                generation,
                phi,
                votes,
            });
        }
    }

    fn revive(&mut self, now: Instant, id: NodeId) {
        let down = self
            .table
            .get(id)
            .is_some_and(|record| record.condition == Condition::Down);
        if !down || !self.table.set_condition(id, now, Condition::Live) {
            return;
        }
        self.stale.neighbours = true;
        if let Some(record) = self.table.get_mut(id) {
            record.flaps = record.flaps.saturating_add(1);
            record.unsteady = record.unsteady.saturating_add(1);
        }
        let damping = self.damping(id);
        if let Some(observation) = self.observation_mut(id) {
            observation.damp(damping);
        }
        count(&mut self.metrics.flaps);
        self.tell_up(id, UpCause::Recovered);
        // Who held so many down was cut off itself, most likely, and is no longer.
        if self.table.down_len() >= self.table.live_len().saturating_sub(1) {
            for at in 0..self.table.down_len() {
                if let Some(down) = self.table.down_at(at) {
                    self.probes.ask_again(down.id, now);
                }
            }
            self.timers
                .advance(Timer::Probe, now.saturating_add(Duration::from_nanos(1)));
        }
    }

    /// Tells the application that a member is up, if the member says so itself.
    pub(super) fn tell_up(&mut self, id: NodeId, cause: UpCause) {
        let Some(record) = self.table.get(id) else {
            return;
        };
        let Some(address) = record.address() else {
            return;
        };
        if record.declared() == Declared::Joining {
            return;
        }
        self.events.push(Event::MemberUp {
            id,
            name: record.display_name(),
            address,
            generation: record.log.generation(),
            cause,
        });
    }

    pub(super) fn observation_mut(&mut self, id: NodeId) -> Option<&mut Observation> {
        let at = self.observations.binary_search_by_key(&id, |o| o.id).ok()?;
        self.observations.get_mut(at)
    }
}
