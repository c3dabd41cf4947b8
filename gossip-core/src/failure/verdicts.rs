//! Who is down: asking members directly, drawing the verdicts, and what follows from them.

use alloc::vec::Vec;

use super::observation::{Damping, Observation};
use super::probes::{Sign, TURN};
use super::verdict::{Evidence, Verdict};
use super::{CALM, Failure, SETTLING};
use crate::context::{Context, Timer, count};
use crate::event::{DownReason, Event, UpCause};
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::rng::below;
use crate::state::attribute::{Declared, VOTES, decode_ballots};
use crate::time::{Instant, part};

/// Intervals for which a message makes its sender heard.
const HEARD: u32 = 3;

/// Intervals within which whoever lives has refuted a vote.
const REFUTED: u32 = 2;

/// How often verdicts are drawn in an interval, at most: when half a cluster falls, votes come in by
/// the hundred.
const BREATHS: u32 = 50;
/// Contested members about whom verdicts are drawn as often as that. About more it is less often, so that
/// half of a large cluster may fall without taking all of a core; with 500 it is every tenth of an interval.
const CONTESTED: usize = 100;

/// The first time that a member goes down and comes up again is forgiven: a partition does that to
/// everybody. After that the patience with it doubles each time, so often.
const MAX_DAMPING: u8 = 2;

impl Failure {
    /// Asks those not heard lately who may have fallen without a word of it reaching this node: all of
    /// its datacenter, while so many neighbours there have just fallen silent that it may be in a
    /// minority, and the bridges of the others; some of another datacenter whose bridges are silent; who
    /// has lost those who vouch for it; and those whom nobody else holds down.
    pub(crate) fn sweep(&mut self, context: &mut Context) {
        if !self.is_anybody_silent() && context.table.down_len() == 0 {
            return self.tend_probes(context);
        }
        let lately = context.intervals_ago(SETTLING);
        let fell_silent = |o: &&Observation| o.silent_since().is_some_and(|since| since > lately);
        let home = context.table.place(context.own);
        let here = self.observations.iter();
        let here = here.filter(|o| context.table.place(o.id) == home);
        let silent = here.clone().filter(fell_silent).count();
        let mut in_doubt: Vec<NodeId> = Vec::new();
        if silent > 0 && silent.saturating_mul(4) >= here.count() {
            in_doubt.extend(context.table.home(context.own).live());
            in_doubt.extend(context.table.datacenters().bridges().live());
        }
        let evidence = self.evidence(context);
        in_doubt.extend(evidence.cut_off());
        let written_off = evidence.written_off();
        in_doubt.extend(evidence.forgotten());
        in_doubt.extend(evidence.bereft());
        // While this node knew few it may have been mistaken, and its votes are gone. One in a round:
        // behind a split they can be many.
        let voteless: Vec<NodeId> = evidence.voteless().collect();
        in_doubt.extend(voteless.get(below(&mut context.rng, voteless.len())));
        for id in in_doubt {
            self.ask_in_doubt(context, id);
        }
        for id in written_off {
            self.probes.write_off(id, context.now);
        }
        self.tend_probes(context);
    }

    /// Withdraws votes that have become void, and forgets old silences.
    fn tend_probes(&mut self, context: &mut Context) {
        context.stale.own_votes |= self.own_votes.iter().any(|ballot| {
            let observation = self.observation(ballot.subject);
            observation.is_some_and(|o| o.generation > ballot.generation)
        });
        let lasting = context.intervals(SETTLING);
        let enough = self.loss(context).pings();
        let gone = |id| {
            let condition = context.table.condition(id);
            !matches!(condition, Some(Condition::Live | Condition::Down))
        };
        self.probes.forget(context.now, lasting, gone);
        self.probes.doubt(context.now, enough);
        if self.probes.is_asking() {
            let soon = context.at_once();
            context.timers.advance(Timer::Probe, soon);
        }
    }

    /// Asks a member whether it lives, unless this node can tell.
    pub(crate) fn ask_in_doubt(&mut self, context: &mut Context, id: NodeId) {
        if id == context.own || self.evidence(context).hears(id) {
            return;
        }
        self.probes.ask(id, context.now);
        let soon = context.at_once();
        context.timers.advance(Timer::Probe, soon);
    }

    /// Sends the next pings to members in doubt.
    pub(crate) fn on_probe_due(&mut self, context: &mut Context) {
        let enough = self.loss(context).pings();
        let mut probes = core::mem::take(&mut self.probes);
        let turn = probes.turn(context.now, context.own, enough, |id| {
            self.sign(context, id)
        });
        self.probes = probes;
        for id in turn.ping {
            context.ping(id);
        }
        context.stale.verdicts |= turn.found_silent;
        context.stale.own_votes |= turn.found_silent && self.absent_until.is_some();
        if self.probes.is_asking() {
            let next = context.now.saturating_add(TURN);
            context.timers.set(Timer::Probe, Some(next));
        }
    }

    /// What speaks for or against a member that is being asked, beside its answer.
    pub(crate) fn sign(&self, context: &Context, id: NodeId) -> Sign {
        let Some(record) = context.table.get(id) else {
            return Sign::None;
        };
        if record.place != context.table.place(context.own) {
            return Sign::Abroad;
        }
        let long_ago = context.intervals_ago(REFUTED);
        let mut casts = self.votes.against(id).iter();
        if record.condition == Condition::Down || has_just_voted(context, record) {
            Sign::Apart
        } else if casts.any(|cast| cast.is_valid(&record.log, long_ago)) {
            Sign::Accused
        } else {
            Sign::None
        }
    }

    /// Whether anybody finds anybody silent.
    pub(crate) fn is_anybody_contested(&self) -> bool {
        self.votes.subjects().next().is_some() || self.is_anybody_silent()
    }

    /// Whether this node finds anybody silent.
    fn is_anybody_silent(&self) -> bool {
        self.observations.iter().any(Observation::is_silent)
            || self.probes.silent().next().is_some()
    }

    /// What this node knows of who lives.
    pub(crate) fn evidence<'a>(&'a self, context: &'a Context) -> Evidence<'a> {
        Evidence {
            own: context.own,
            table: &context.table,
            votes: &self.votes,
            observations: &self.observations,
            probes: &self.probes,
            neighbours: usize::from(context.config.neighbours),
            now: context.now,
            settled_before: context.intervals_ago(SETTLING),
            heard_after: context.intervals_ago(HEARD),
        }
    }

    /// Draws the verdicts anew, unless that was done a moment ago. Returns until when it is put off then.
    pub(crate) fn draw_verdicts(&mut self, context: &mut Context) -> Option<Instant> {
        if context.now < self.judges_next {
            return Some(self.judges_next);
        }
        let contested = self.judge(context).div_ceil(CONTESTED).max(1);
        let breath = part(context.config.interval, BREATHS);
        let breath = breath.saturating_mul(u32::try_from(contested).unwrap_or(u32::MAX));
        self.judges_next = context.now.saturating_add(breath);
        None
    }

    /// Draws the verdicts anew and acts on what has changed. Tells about how many members.
    fn judge(&mut self, context: &mut Context) -> usize {
        let verdicts = self.evidence(context).verdicts();
        let revivable = core::mem::take(&mut self.revivable);
        let verdicts_before = context.metrics.verdicts;
        for (id, verdict) in &verdicts {
            match verdict {
                Verdict::Down if has_just_come_up(context, *id) => {}
                Verdict::Down => self.take_down(context, *id),
                Verdict::Doubtful => self.ask_in_doubt(context, *id),
                Verdict::Cleared => {}
            }
        }
        // Down is down until there is news of the member itself or of a voter who has changed its
        // mind; voters that merely vanish revive nobody.
        for id in revivable {
            if !verdicts.contains(&(id, Verdict::Down)) {
                self.revive(context, id);
            }
        }
        let alone = context.table.live_len() <= 1;
        let fell = context.metrics.verdicts > verdicts_before;
        if alone && fell && !self.isolated {
            self.isolated = true;
            context.tell(Event::Isolated);
        } else if !alone && self.isolated {
            self.isolated = false;
            context.tell(Event::Rejoined);
        }
        verdicts.len()
    }

    fn take_down(&mut self, context: &mut Context, id: NodeId) {
        let calm = context.intervals(CALM);
        let Some(record) = context.table.get_mut(id) else {
            return;
        };
        if record.condition != Condition::Live {
            return;
        }
        if context.now.saturating_since(record.since) > calm {
            record.unsteady = 0;
        }
        context
            .table
            .set_condition(id, context.now, Condition::Down);
        count(&mut context.metrics.verdicts);
        context.stale.neighbours = true;
        let Some(record) = context.table.get(id) else {
            return;
        };
        let generation = record.log.generation();
        let was_up = record.declared() != Declared::Joining;
        let phi = self.phi(context.now, id);
        let votes = self.count_votes(context, id);
        let others = self.valid_votes(context.now, id, Some(record)).next();
        let reason = if others.is_some() {
            DownReason::Votes
        } else {
            DownReason::Silence
        };
        if was_up {
            context.tell(Event::MemberDown {
                id,
                generation,
                phi,
                votes,
                reason,
            });
        }
    }

    fn revive(&mut self, context: &mut Context, id: NodeId) {
        let down = context.table.condition(id) == Some(Condition::Down);
        let deserted = context.table.home(id).live().is_empty();
        let many = context.table.down_len() >= context.table.live_len();
        if !down
            || !context
                .table
                .set_condition(id, context.now, Condition::Live)
        {
            return;
        }
        context.stale.neighbours = true;
        // Where many are asked whether they are back, those come first of whom nobody else tells it.
        self.probes.excuse(id);
        if let Some(record) = context.table.get_mut(id) {
            record.flaps = record.flaps.saturating_add(1);
            record.unsteady = record.unsteady.saturating_add(1);
        }
        let damping = damping(context, id);
        if let Some(observation) = self.observation_mut(id) {
            observation.damp(damping);
        }
        count(&mut context.metrics.flaps);
        self.tell_up(context, id, UpCause::Recovered);
        // Who held so many down, or all of a datacenter, was cut off, most likely, and is no longer.
        if many || deserted {
            let table = &context.table;
            let place = table.place(id);
            let others = table.down();
            for down in others.filter(|down| many || table.place(*down) == place) {
                self.probes.ask_again(down, context.now);
            }
            let soon = context.at_once();
            context.timers.advance(Timer::Probe, soon);
        }
    }

    /// Tells the application that a member is up, if the member says so itself.
    pub(crate) fn tell_up(&self, context: &mut Context, id: NodeId, cause: UpCause) {
        let Some(record) = context.table.get(id) else {
            return;
        };
        let Some(address) = record.address() else {
            return;
        };
        if record.declared() == Declared::Joining {
            return;
        }
        let event = Event::MemberUp {
            id,
            name: record.display_name(),
            address,
            generation: record.log.generation(),
            cause,
            phi: self.phi(context.now, id),
            votes: self.count_votes(context, id),
        };
        context.tell(event);
    }

    /// Whether a member that is down has been so for long enough to be removed, and nobody vouches for it.
    pub(crate) fn is_removable(&self, context: &Context, down: &Record) -> bool {
        context.now.saturating_since(down.since) >= self.patience_with(context, down)
            && self.evidence(context).is_attested(down.id)
    }

    /// A member is about to be removed: warns it, where it may not learn of that from anybody else, and
    /// drops its votes.
    pub(crate) fn on_removal(&mut self, context: &mut Context, id: NodeId) {
        let is_down = context.table.condition(id) == Some(Condition::Down);
        if is_down && !self.evidence(context).is_down_by_its_own(id) {
            self.warn_of_removal(context, id);
        }
        self.withdraw_all_votes_of(context, id);
    }
}

/// Whether a member has cast a vote of late, by its own clock.
fn has_just_voted(context: &Context, record: &Record) -> bool {
    let age = context.age_of(record.log.generation());
    let lately = u64::try_from(context.intervals(SETTLING).as_millis()).unwrap_or(u64::MAX);
    let mut ballots = decode_ballots(record.log.get(VOTES).unwrap_or_default());
    ballots.any(|ballot| age.saturating_sub(ballot.age) < lately)
}

/// Whether a member has come up again within the last interval. While a cluster heals, the word
/// that revives a member is faster here and slower there; the next round looks again.
fn has_just_come_up(context: &Context, id: NodeId) -> bool {
    context.table.get(id).is_some_and(|record| {
        record.flaps > 0
            && record.condition == Condition::Live
            && context.now.saturating_since(record.since) < context.config.interval
    })
}

/// How much longer the silence of a member is borne.
pub(super) fn damping(context: &Context, id: NodeId) -> Damping {
    context
        .table
        .get(id)
        .map_or(Damping::default(), |record| Damping {
            doublings: u32::from(record.unsteady.saturating_sub(1).min(MAX_DAMPING)),
            until: record.since.saturating_add(context.intervals(CALM)),
        })
}
