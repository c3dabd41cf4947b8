//! Who is down: asking members directly, drawing the verdicts, and what follows from them.

use alloc::vec::Vec;
use core::time::Duration;

use super::liveness::SETTLING;
use super::timers::Timer;
use super::{Node, count};
use crate::event::{DownReason, Event, UpCause};
use crate::failure::observation::{Damping, Observation};
use crate::failure::probes::{Sign, TURN};
use crate::failure::verdict::{Evidence, Verdict};
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::rng::below;
use crate::state::attribute::{Declared, VOTES, decode_ballots};
use crate::time::Instant;

/// Intervals for which a message makes its sender heard.
const HEARD: u32 = 3;

/// Intervals within which whoever lives has refuted a vote.
const REFUTED: u32 = 2;

/// Intervals after which a member that came up again counts as steady.
pub(super) const CALM: u32 = 300;

/// The first time that a member goes down and comes up again is forgiven: a partition does that to
/// everybody. After that the patience with it doubles each time, so often.
const MAX_DAMPING: u8 = 2;

impl Node {
    /// Asks those not heard lately who may have fallen without a word of it reaching this node: all of
    /// its datacenter, while so many neighbours there have just fallen silent that it may be in a
    /// minority, and the bridges of the others; some of another datacenter whose bridges are silent; who
    /// has lost those who vouch for it; and those whom nobody else holds down.
    pub(super) fn sweep(&mut self, now: Instant) {
        if !self.is_anybody_silent() && self.table.down_len() == 0 {
            return self.tend_probes(now);
        }
        let lately = now.saturating_sub(self.intervals(SETTLING));
        let fell_silent = |o: &&Observation| o.silent_since().is_some_and(|since| since > lately);
        let home = self.table.place(self.own);
        let here = self.observations.iter();
        let here = here.filter(|o| self.table.place(o.id) == home);
        let silent = here.clone().filter(fell_silent).count();
        let mut in_doubt: Vec<NodeId> = Vec::new();
        if silent > 0 && silent.saturating_mul(4) >= here.count() {
            in_doubt.extend(self.table.home(self.own).live());
            in_doubt.extend(self.table.datacenters().bridges().live());
        }
        let evidence = self.evidence(now);
        in_doubt.extend(evidence.cut_off());
        let written_off = evidence.written_off();
        in_doubt.extend(evidence.forgotten());
        in_doubt.extend(evidence.bereft());
        // While this node knew few it may have been mistaken, and its votes are gone. One in a round:
        // behind a split they can be many.
        let voteless: Vec<NodeId> = evidence.voteless().collect();
        in_doubt.extend(voteless.get(below(&mut self.rng, voteless.len())));
        for id in in_doubt {
            self.ask_in_doubt(now, id);
        }
        for id in written_off {
            self.probes.write_off(id, now);
        }
        self.tend_probes(now);
    }

    /// Withdraws votes that have become void, and forgets old silences.
    fn tend_probes(&mut self, now: Instant) {
        self.stale.ballots |= self.ballots.iter().any(|ballot| {
            let observation = self.observation(ballot.subject);
            observation.is_some_and(|o| o.generation > ballot.generation)
        });
        let lasting = self.intervals(SETTLING);
        let enough = self.loss(now).pings();
        let Self { probes, table, .. } = self;
        let gone = |id| !matches!(table.condition(id), Some(Condition::Live | Condition::Down));
        probes.forget(now, lasting, gone);
        probes.doubt(now, enough);
        if probes.is_asking() {
            let soon = now.saturating_add(Duration::from_nanos(1));
            self.timers.advance(Timer::Probe, soon);
        }
    }

    /// Asks a member whether it lives, unless this node can tell.
    pub(super) fn ask_in_doubt(&mut self, now: Instant, id: NodeId) {
        if id == self.own || self.evidence(now).hears(id) {
            return;
        }
        self.probes.ask(id, now);
        self.timers
            .advance(Timer::Probe, now.saturating_add(Duration::from_nanos(1)));
    }

    /// Sends the next pings to members in doubt.
    pub(super) fn on_probe_due(&mut self, now: Instant) {
        let enough = self.loss(now).pings();
        let mut probes = core::mem::take(&mut self.probes);
        let turn = probes.turn(now, self.own, enough, |id| self.sign(now, id));
        self.probes = probes;
        for id in turn.ping {
            self.ping(id);
        }
        self.stale.verdicts |= turn.found_silent;
        self.stale.ballots |= turn.found_silent && self.woken.is_some();
        if self.probes.is_asking() {
            self.timers
                .set(Timer::Probe, Some(now.saturating_add(TURN)));
        }
    }

    /// What speaks for or against a member that is being asked, beside its answer.
    pub(super) fn sign(&self, now: Instant, id: NodeId) -> Sign {
        let Some(record) = self.table.get(id) else {
            return Sign::None;
        };
        if record.place != self.table.place(self.own) {
            return Sign::Abroad;
        }
        let long_ago = now.saturating_sub(self.intervals(REFUTED));
        let mut casts = self.votes.against(id).iter();
        if record.condition == Condition::Down || self.has_just_voted(now, record) {
            Sign::Apart
        } else if casts.any(|cast| cast.is_valid(&record.log, long_ago)) {
            Sign::Accused
        } else {
            Sign::None
        }
    }

    /// Whether a member has cast a vote of late, by its own clock.
    fn has_just_voted(&self, now: Instant, record: &Record) -> bool {
        let age = self.age_of(now, record.log.generation());
        let lately = u64::try_from(self.intervals(SETTLING).as_millis()).unwrap_or(u64::MAX);
        let mut ballots = decode_ballots(record.log.get(VOTES).unwrap_or_default());
        ballots.any(|ballot| age.saturating_sub(ballot.age) < lately)
    }

    /// Whether anybody finds anybody silent.
    pub(super) fn is_anybody_contested(&self) -> bool {
        self.votes.subjects().next().is_some() || self.is_anybody_silent()
    }

    /// Whether this node finds anybody silent.
    fn is_anybody_silent(&self) -> bool {
        self.observations.iter().any(Observation::is_silent)
            || self.probes.silent().next().is_some()
    }

    /// What this node knows of who lives.
    pub(super) fn evidence(&self, now: Instant) -> Evidence<'_> {
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

    /// Draws the verdicts anew and acts on what has changed. Tells about how many members.
    pub(super) fn judge(&mut self, now: Instant) -> usize {
        let verdicts = self.evidence(now).verdicts();
        let reconsider = core::mem::take(&mut self.reconsider);
        let verdicts_before = self.metrics.verdicts;
        for (id, verdict) in &verdicts {
            match verdict {
                Verdict::Down if self.has_just_come_up(now, *id) => {}
                Verdict::Down => self.take_down(now, *id),
                Verdict::Doubtful => self.ask_in_doubt(now, *id),
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
        verdicts.len()
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
    pub(super) fn damping(&self, id: NodeId) -> Damping {
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
        let phi = self.phi(id);
        let votes = self.votes(id).count();
        let reason = if self.votes(id).any(|vote| vote.observer != self.own) {
            DownReason::Votes
        } else {
            DownReason::Silence
        };
        if was_up {
            self.events.push(Event::MemberDown {
                id,
                generation,
                phi,
                votes,
                reason,
            });
        }
    }

    fn revive(&mut self, now: Instant, id: NodeId) {
        let down = self.table.condition(id) == Some(Condition::Down);
        let deserted = self.table.home(id).live().is_empty();
        let many = self.table.down_len() >= self.table.live_len();
        if !down || !self.table.set_condition(id, now, Condition::Live) {
            return;
        }
        self.stale.neighbours = true;
        // Where many are asked whether they are back, those come first of whom nobody else tells it.
        self.probes.excuse(id);
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
        // Who held so many down, or all of a datacenter, was cut off, most likely, and is no longer.
        if many || deserted {
            let Self { table, probes, .. } = self;
            let place = table.place(id);
            let others = table.down();
            for down in others.filter(|down| many || table.place(*down) == place) {
                probes.ask_again(down, now);
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
            phi: self.phi(id),
            votes: self.votes(id).count(),
        });
    }
}
