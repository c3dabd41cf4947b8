//! Introductions: when the application is told that a member is up.
//!
//! The log of a member says for ever that the member is up. So a node that learns of a member, or sees it come back,
//! first makes sure that the log is not all that is left of it. The member is introduced at once if
//!
//! - this node hears it,
//! - or its latest entry is new and nothing speaks against it.
//!
//! Otherwise it is introduced once this node has learned what others say of it, if nothing speaks against it. A node that
//! hears nobody learns nothing and waits. If something speaks against the member, the node asks the member itself, and the bridges of its datacenter. Of a member that is found down
//! meanwhile nothing is told.

use alloc::vec::Vec;

use super::Failure;
use super::own_votes::LATE_INTERVALS;
use super::verdict::Evidence;
use super::verdicts::DRAWS_PER_INTERVAL;
use crate::context::Context;
use crate::event::{Event, UpCause};
use crate::identity::{Generation, NodeId};
use crate::membership::{Record, Told};
use crate::time::{Instant, part};

/// Intervals after which a member is introduced though no exchange has ended with nothing to ask for.
const LEARNING_INTERVALS: u32 = 3;

/// Intervals after which a member is introduced though something speaks against it and it never answered, if it is
/// not down by then. A verdict takes twelve, and sixteen times as long where the member has refuted many votes.
const DOUBT_INTERVALS: u32 = 12 * 16;

/// Of so many events that the queue holds, one member is introduced at a time.
const EVENTS_EACH: u16 = 16;

/// What is known of the members that are still to be introduced.
#[derive(Debug)]
pub(super) struct Introductions {
    /// Whether there may be any.
    are_due: bool,
    /// Whether some could be introduced already, and wait so that the application can take the events.
    are_cut: bool,
    /// Nobody is looked at before this moment.
    next: Instant,
    /// When this node knew last what a member knew.
    learned_at: Option<Instant>,
    /// When this node heard anybody last.
    heard_at: Option<Instant>,
    /// The members that were told up and have restarted since, with the generation that was told.
    returning: Vec<(NodeId, Generation)>,
    /// What arrives before this moment may have waited while this process stood still, and says nothing of who
    /// lives now.
    trusted_from: Instant,
}

impl Introductions {
    /// Whether a member may have to be introduced.
    pub(super) const fn are_due(&self) -> bool {
        self.are_due
    }
}

impl Default for Introductions {
    fn default() -> Self {
        Self {
            are_due: false,
            are_cut: false,
            next: Instant::ORIGIN,
            learned_at: None,
            heard_at: None,
            returning: Vec::new(),
            trusted_from: Instant::ORIGIN,
        }
    }
}

/// What becomes of a member that is to be introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Introduce,
    Wait,
    Ask,
}

/// Whether a member was known to the application before it was introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// It was not: its attributes follow.
    New,
    /// It was.
    Old,
}

impl Failure {
    /// This node knows what a member knows.
    pub(crate) fn on_learned(&mut self, now: Instant) {
        if now >= self.introductions.trusted_from {
            self.introductions.learned_at = Some(now);
        }
    }

    /// Somebody has sent something.
    pub(super) const fn note_heard(&mut self, now: Instant) {
        self.introductions.heard_at = Some(now);
    }

    /// This process has stood still.
    pub(super) fn distrust_what_waited(&mut self, context: &Context) {
        self.introductions.trusted_from = context.in_intervals(1);
    }

    /// A member has restarted, which had this generation before.
    pub(crate) fn note_return(&mut self, context: &Context, id: NodeId, before: Generation) {
        let is_told_up = |id| {
            let record = context.table.get(id);
            record.filter(|record: &&Record| record.told == Told::Up)
        };
        let returning = &mut self.introductions.returning;
        returning.retain(|(id, _)| is_told_up(*id).is_some_and(|record| record.returns));
        if is_told_up(id).is_some_and(|record| !record.returns) {
            returning.push((id, before));
        }
    }

    /// The generation under which a member was told up last.
    pub(super) fn told_generation(&self, record: &Record) -> Generation {
        let mut returning = self.introductions.returning.iter();
        let told = returning.find(|(id, _)| record.returns && *id == record.id);
        told.map_or(record.log.generation(), |(_, generation)| *generation)
    }

    /// When the next of many members are to be introduced, if some wait for that.
    pub(crate) fn next_introductions(&self) -> Option<Instant> {
        let introductions = &self.introductions;
        introductions.are_cut.then_some(introductions.next)
    }

    /// A member may have to be introduced.
    pub(crate) fn note_untold(&mut self, context: &Context, id: NodeId) {
        self.introductions.are_due |= context.table.get(id).is_some_and(Record::is_untold);
    }

    /// The members to introduce now: all, or this one if it can be.
    pub(crate) fn introducible(
        &mut self,
        context: &mut Context,
        one: Option<NodeId>,
    ) -> Vec<NodeId> {
        let mut ready = Vec::new();
        let mut asked: Vec<NodeId> = Vec::new();
        let now = context.now;
        if !self.introductions.are_due || one.is_none() && now < self.introductions.next {
            return ready;
        }
        let evidence = self.evidence(context);
        let without_a_vote = evidence.without_a_vote();
        let may_speak = self.has_silence_reports() || context.table.down_len() > 0;
        let (mut waits, mut is_cut) = (false, false);
        // A member may have many attributes, and all that is told at once has to fit the queue of events.
        let most = usize::from(context.config.event_queue / EVENTS_EACH).max(1);
        let mut look = |record: &Record| {
            if !record.is_untold() || record.id == context.own {
                return;
            }
            if ready.len() >= most {
                is_cut = true;
                return;
            }
            let doubts = || may_speak && evidence.speaks_against(record, &without_a_vote);
            match self.next_step(context, &evidence, record, doubts) {
                Step::Introduce => ready.push(record.id),
                Step::Wait => waits = true,
                Step::Ask => asked.extend(evidence.asked_about(record)),
            }
        };
        match one {
            Some(id) => context.table.get(id).into_iter().for_each(look),
            None => {
                context.table.iter().for_each(&mut look);
                self.introductions.are_cut = is_cut;
                self.introductions.are_due = is_cut || waits || !asked.is_empty();
                let pause = part(context.config.interval, DRAWS_PER_INTERVAL);
                self.introductions.next = now.saturating_add(pause);
            }
        }
        for id in asked {
            if let Some(record) = context.table.get_mut(id) {
                record.is_doubted |= record.is_untold();
            }
            self.ask_in_doubt(context, id);
        }
        ready
    }

    fn next_step(
        &self,
        context: &Context,
        evidence: &Evidence<'_>,
        record: &Record,
        speaks_against: impl FnOnce() -> bool,
    ) -> Step {
        let is_heard =
            evidence.has_heard(record) && record.heard >= Some(self.introductions.trusted_from);
        if is_heard {
            return Step::Introduce;
        }
        let waited = context.now.saturating_since(record.since);
        if record.is_doubted || speaks_against() {
            return match waited < context.intervals(DOUBT_INTERVALS) {
                true => Step::Ask,
                false => Step::Introduce,
            };
        }
        let has_learned = self.introductions.learned_at >= Some(record.since);
        let alone_since = record.since.max(self.introductions.trusted_from);
        let is_alone = self.introductions.heard_at <= Some(alone_since);
        let is_late = waited >= context.intervals(LEARNING_INTERVALS) && !is_alone;
        if has_learned || is_late || is_fresh(context, record) {
            Step::Introduce
        } else {
            Step::Wait
        }
    }

    /// Tells the application that a member is up.
    pub(crate) fn introduce(&self, context: &mut Context, id: NodeId) -> Acquaintance {
        let Some(record) = context.table.get_mut(id) else {
            debug_assert!(false, "a member that is unknown is up");
            return Acquaintance::Old;
        };
        let (acquaintance, cause) = match record.told {
            Told::Never => (Acquaintance::New, UpCause::Joined),
            Told::Up | Told::Ended if record.returns => (Acquaintance::Old, UpCause::Restarted),
            Told::Up | Told::Ended => (Acquaintance::Old, UpCause::Recovered),
        };
        (record.told, record.returns) = (Told::Up, false);
        let Some((record, address)) = context
            .table
            .get(id)
            .and_then(|record| Some((record, record.address()?)))
        else {
            debug_assert!(false, "a member without an address is not introduced");
            return Acquaintance::Old;
        };
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
        acquaintance
    }
}

/// Whether the latest entry of a member is so new that its death would not be known yet.
fn is_fresh(context: &Context, record: &Record) -> bool {
    let age = context.age_of(record.log.generation());
    let lately = u64::try_from(context.intervals(LATE_INTERVALS).as_millis()).unwrap_or(u64::MAX);
    let latest = record.log.entries().last();
    latest.is_some_and(|entry| age.saturating_sub(entry.age) <= lately)
}
