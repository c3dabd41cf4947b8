//! What follows from the verdicts: members go down and come up, and members in doubt are probed.

use alloc::vec::Vec;

use super::observation::{Damping, Observation};
use super::own_votes::most_votes;
use super::probes::{Hint, TURN};
use super::verdict::{Evidence, Verdict};
use super::{Failure, SETTLING_INTERVALS, STEADY_INTERVALS};
use crate::context::{Context, Timer, count};
use crate::event::{DownReason, Event};
use crate::identity::NodeId;
use crate::membership::{Condition, Record, Told};
use crate::rng::below;
use crate::state::attribute::{VOTES, decode_votes};
use crate::time::{Instant, part};

/// Intervals for which a message makes its sender count as heard.
const HEARD_INTERVALS: u32 = 3;

/// Intervals within which a live subject has refuted a vote.
const REFUTATION_INTERVALS: u32 = 2;

/// How often the verdicts are drawn within an interval, at most. When half of a cluster falls,
/// votes arrive by the hundred.
pub(super) const DRAWS_PER_INTERVAL: u32 = 50;
/// The verdicts are drawn that often while no more members are contested. With more members they
/// are drawn less often, so that the fall of half of a large cluster does not take all of a core.
/// With 500 contested members they are drawn every tenth of an interval.
const CONTESTED_PER_DRAW: usize = 100;

impl Failure {
    /// Probes members that this node has not heard lately and that may have fallen without a word
    /// of it reaching this node:
    ///
    /// - all members of its datacenter and the bridges of the others, while so many neighbours have
    ///   just fallen silent that this node may be in a minority;
    /// - members of datacenters whose bridges are silent;
    /// - members that have lost the observers that could vouch for them;
    /// - members that are down although nobody votes against them.
    pub(crate) fn sweep(&mut self, context: &mut Context) {
        if !self.has_silence_reports() && context.table.down_len() == 0 {
            return self.tend_probes(context);
        }
        let mut in_doubt: Vec<NodeId> = Vec::new();
        if self.may_be_in_minority(context) {
            in_doubt.extend(context.table.home(context.own).live());
            in_doubt.extend(context.table.datacenters().bridges().live());
        }
        let evidence = self.evidence(context);
        in_doubt.extend(evidence.members_to_probe_behind_silent_bridges());
        let out_of_reach = evidence.members_out_of_reach();
        in_doubt.extend(evidence.unvoted_elsewhere());
        in_doubt.extend(evidence.members_that_lost_observers());
        // While this node knew few members it may have been mistaken, and its votes are gone. It
        // probes one such member in a round, because behind a split there can be many.
        let unvoted: Vec<NodeId> = evidence.unvoted_here().collect();
        in_doubt.extend(unvoted.get(below(&mut context.rng, unvoted.len())));
        for id in in_doubt {
            self.ask_in_doubt(context, id);
        }
        for id in out_of_reach {
            self.probes.infer_silence(id, context.now);
        }
        self.tend_probes(context);
    }

    /// Whether a quarter of the observed members of this datacenter have just fallen silent.
    fn may_be_in_minority(&self, context: &Context) -> bool {
        let lately = context.intervals_ago(SETTLING_INTERVALS);
        let fell_silent = |o: &&Observation| o.silent_since().is_some_and(|since| since > lately);
        let home = context.table.place(context.own);
        let observations = self.observations.iter();
        let here = observations.filter(|o| context.table.place(o.id) == home);
        let silent = here.clone().filter(fell_silent).count();
        silent > 0 && silent.saturating_mul(4) >= here.count()
    }

    /// Has void votes withdrawn, and forgets old silences.
    fn tend_probes(&mut self, context: &mut Context) {
        context.stale.own_votes |= self.own_votes.iter().any(|vote| {
            let observation = self.observation(vote.subject);
            observation.is_some_and(|o| o.generation > vote.generation)
        });
        let lasting = context.intervals(SETTLING_INTERVALS);
        let enough = self.loss_now(context).pings();
        let is_gone = |id| {
            let condition = context.table.condition(id);
            !matches!(condition, Some(Condition::Live | Condition::Down))
        };
        let has_vote = |id| {
            let mut votes = self.votes.against(id).iter();
            let record = context.table.get(id);
            votes.any(|vote| record.is_some_and(|record| vote.is_valid(&record.log, context.now)))
        };
        let mut ask = self.probes.renew(context.now, lasting, is_gone, has_vote);
        let before = context.now.saturating_sub(lasting);
        for observation in &mut self.observations {
            let is_live = context.table.condition(observation.id) == Some(Condition::Live);
            if is_live && observation.ask_again(context.now, before) {
                ask.push(observation.id);
            }
        }
        for id in ask {
            context.ping(id);
        }
        self.probes.doubt(context.now, enough);
        if self.probes.is_asking() {
            let soon = context.at_once();
            context.timers.advance(Timer::Probe, soon);
        }
    }

    /// Probes a member, unless this node has heard it lately.
    pub(crate) fn ask_in_doubt(&mut self, context: &mut Context, id: NodeId) {
        if id == context.own || self.evidence(context).hears(id) || !reaches(context, id) {
            return;
        }
        self.probes.ask(id, context.now);
        let soon = context.at_once();
        context.timers.advance(Timer::Probe, soon);
    }

    /// Sends the next pings to members in doubt.
    pub(crate) fn on_probe_due(&mut self, context: &mut Context) {
        let enough = self.loss_now(context).pings();
        let mut probes = core::mem::take(&mut self.probes);
        let turn = probes.turn(context.now, context.own, enough, |id| {
            self.hint(context, id)
        });
        debug_assert!(self.probes.is_empty(), "a hint is a mere question");
        self.probes = probes;
        for id in turn.ping {
            context.ping(id);
        }
        context.stale.verdicts |= turn.found_silent;
        context.stale.own_votes |= turn.found_silent && self.trust_heard_after.is_some();
        if self.probes.is_asking() {
            let next = context.now.saturating_add(TURN);
            context.timers.set(Timer::Probe, Some(next));
        }
    }

    /// What is known of a member that is being probed, beside its answer.
    pub(super) fn hint(&self, context: &Context, id: NodeId) -> Hint {
        let Some(record) = context.table.get(id) else {
            return Hint::None;
        };
        if record.place != context.table.place(context.own) {
            return Hint::Elsewhere;
        }
        let long_ago = context.intervals_ago(REFUTATION_INTERVALS);
        if record.condition == Condition::Down || has_just_voted(context, record) {
            Hint::Independent
        } else if self
            .valid_votes(long_ago, id, Some(record))
            .next()
            .is_some()
        {
            Hint::Unrefuted
        } else {
            Hint::None
        }
    }

    /// Whether anybody reports any member silent: by a vote, or this node by what it observes itself.
    pub(crate) fn has_silence_reports(&self) -> bool {
        self.votes.subjects().next().is_some() || self.is_anybody_silent()
    }

    /// Whether this node finds any member silent.
    pub(super) fn is_anybody_silent(&self) -> bool {
        self.observations.iter().any(Observation::is_silent)
            || self.probes.silent().next().is_some()
    }

    /// The facts from which the verdicts follow.
    pub(super) fn evidence<'a>(&'a self, context: &'a Context) -> Evidence<'a> {
        Evidence {
            own: context.own,
            table: &context.table,
            votes: &self.votes,
            observations: &self.observations,
            probes: &self.probes,
            neighbours: usize::from(context.config.neighbours),
            most_votes: most_votes(context),
            now: context.now,
            settled_before: context.intervals_ago(SETTLING_INTERVALS),
            heard_after: context.intervals_ago(HEARD_INTERVALS),
        }
    }

    /// Draws the verdicts anew, unless they were drawn a moment ago. In that case returns the time
    /// until which they are put off.
    pub(crate) fn draw_verdicts(&mut self, context: &mut Context) -> Option<Instant> {
        if context.now < self.next_verdicts {
            return Some(self.next_verdicts);
        }
        let verdicts = self.evidence(context).verdicts();
        debug_assert!(
            verdicts.is_sorted_by(|(one, _), (next, _)| one < next),
            "verdicts are sorted and about distinct members"
        );
        self.act_on(context, &verdicts);
        let draws = verdicts.len().div_ceil(CONTESTED_PER_DRAW).max(1);
        let pause = part(context.config.interval, DRAWS_PER_INTERVAL);
        let pause = pause.saturating_mul(u32::try_from(draws).unwrap_or(u32::MAX));
        self.next_verdicts = context.now.saturating_add(pause);
        None
    }

    /// Acts on what has changed. The verdicts are sorted by id.
    fn act_on(&mut self, context: &mut Context, verdicts: &[(NodeId, Verdict)]) {
        let revivable = core::mem::take(&mut self.revivable);
        let mut has_fallen = false;
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Down if has_just_come_up(context, *id) => {}
                Verdict::Down => has_fallen |= self.take_down(context, *id),
                Verdict::Doubtful => self.ask_in_doubt(context, *id),
                Verdict::Cleared => {}
            }
        }
        // A member stays down until there is news of it, or a voter has changed its mind. Voters
        // that merely disappear revive nobody.
        for id in revivable {
            let at = verdicts.binary_search_by_key(&id, |(subject, _)| *subject);
            let verdict = at.ok().and_then(|at| verdicts.get(at));
            if verdict != Some(&(id, Verdict::Down)) {
                self.revive(context, id);
            }
        }
        let is_alone = context.table.live_len() <= 1;
        if is_alone && has_fallen && !self.isolated {
            self.isolated = true;
            context.tell(Event::Isolated);
        } else if !is_alone && self.isolated {
            self.isolated = false;
            context.tell(Event::Rejoined);
        }
    }

    /// Takes a member down. Returns false if it was down already.
    fn take_down(&mut self, context: &mut Context, id: NodeId) -> bool {
        debug_assert_ne!(id, context.own, "a node never takes itself down");
        let steady = context.intervals(STEADY_INTERVALS);
        let Some(record) = context.table.get_mut(id) else {
            debug_assert!(false, "a verdict about a member that is unknown");
            return false;
        };
        if record.condition != Condition::Live {
            return false;
        }
        if context.now.saturating_since(record.since) > steady {
            record.unsteady = 0;
        }
        context
            .table
            .set_condition(id, context.now, Condition::Down);
        count(&mut context.metrics.verdicts);
        context.stale.neighbours = true;
        if let Some(observation) = self.observation_mut(id) {
            observation.end_suspicion();
        }
        self.tell_down(context, id);
        true
    }

    /// Tells the application that a member is down, if it was told before that the member is up.
    fn tell_down(&self, context: &mut Context, id: NodeId) {
        let record = context.table.get_mut(id);
        let Some(record) = record.filter(|record| record.told == Told::Up) else {
            return;
        };
        record.told = Told::Ended;
        let Some(record) = context.table.get(id) else {
            return;
        };
        let has_votes = self.valid_votes(context.now, id, Some(record)).next();
        let event = Event::MemberDown {
            id,
            generation: self.told_generation(record),
            phi: self.phi(context.now, id),
            votes: self.count_votes(context, id),
            reason: match has_votes {
                Some(_) => DownReason::Votes,
                None => DownReason::Silence,
            },
        };
        context.tell(event);
    }

    /// Takes a member up again, if it is down.
    fn revive(&mut self, context: &mut Context, id: NodeId) {
        let is_down = context.table.condition(id) == Some(Condition::Down);
        let is_deserted = context.table.home(id).live().is_empty();
        let are_many_down = context.table.down_len() >= context.table.live_len();
        if !is_down
            || !context
                .table
                .set_condition(id, context.now, Condition::Live)
        {
            return;
        }
        context.stale.neighbours = true;
        // If many members are asked whether they are back, those come first about which nobody else
        // says so.
        self.probes.stop_asking(id);
        if let Some(record) = context.table.get_mut(id) {
            record.flaps = record.flaps.saturating_add(1);
            record.unsteady = record.unsteady.saturating_add(1);
        }
        let damping = damping(context, id);
        if let Some(observation) = self.observation_mut(id) {
            observation.damp(damping);
        }
        count(&mut context.metrics.flaps);
        self.note_untold(context, id);
        // A node that held so many members down, or a whole datacenter, was most likely cut off and
        // is no longer.
        if are_many_down || is_deserted {
            let table = &context.table;
            let place = table.place(id);
            let others = table.down();
            for down in others.filter(|down| are_many_down || table.place(*down) == place) {
                if reaches(context, down) {
                    self.probes.ask_again(down, context.now);
                } else {
                    // It is down by the word of the bridges, who say no longer that nobody there is heard.
                    self.probes.refuted(down);
                    self.revivable.push(down);
                    context.stale.verdicts = true;
                }
            }
            let soon = context.at_once();
            context.timers.advance(Timer::Probe, soon);
        }
    }

    /// Whether a member that is down is to be removed now: it has been down for long enough, and
    /// its death is certain enough.
    pub(crate) fn is_removable(&self, context: &Context, down: &Record) -> bool {
        debug_assert_eq!(down.condition, Condition::Down);
        context.now.saturating_since(down.since) >= self.patience_with(context, down)
            && self.evidence(context).may_be_removed(down.id)
    }

    /// A member is about to be removed: warns it, if nobody else may tell it of the removal, and
    /// drops its votes.
    pub(crate) fn on_removal(&mut self, context: &mut Context, id: NodeId) {
        let is_down = context.table.condition(id) == Some(Condition::Down);
        if is_down && !self.evidence(context).is_down_at_home(id) {
            self.warn_of_removal(context, id);
        }
        self.withdraw_all_votes_of(context, id);
    }
}

/// Whether this node may reach a member: it is in the datacenter of this node, or this node is one of those that
/// cross.
fn reaches(context: &Context, id: NodeId) -> bool {
    let (table, own) = (&context.table, context.own);
    let place = table.place(own);
    table.place(id) == place || table.datacenters().may_cross(place, own)
}

/// Whether a member has cast a vote lately, by its own clock.
fn has_just_voted(context: &Context, record: &Record) -> bool {
    let age = context.age_of(record.log.generation());
    let lately = context.intervals(SETTLING_INTERVALS).as_millis();
    let lately = u64::try_from(lately).unwrap_or(u64::MAX);
    let mut votes = decode_votes(record.log.get(VOTES).unwrap_or_default());
    votes.any(|vote| age.saturating_sub(vote.age) < lately)
}

/// Whether a member has come up again within the last interval.
///
/// While a cluster heals, the news that revives a member arrives earlier at some nodes than at
/// others. The next round looks at the member again.
fn has_just_come_up(context: &Context, id: NodeId) -> bool {
    context.table.get(id).is_some_and(|record| {
        record.flaps > 0
            && record.condition == Condition::Live
            && context.now.saturating_since(record.since) < context.config.interval
    })
}

/// How much longer this node bears the silence of a member, because the member has flapped lately.
pub(super) fn damping(context: &Context, id: NodeId) -> Damping {
    context
        .table
        .get(id)
        .map_or(Damping::default(), |record| Damping {
            doublings: u32::from(record.unsteady.saturating_sub(1)),
            until: record
                .since
                .saturating_add(context.intervals(STEADY_INTERVALS)),
        })
}
