//! The life of a node: joining, up, leaving, left; and a greater generation where peers remember one.

use core::time::Duration;

use super::{Local, Standing};
use crate::context::{Context, Timer, count};
use crate::event::Event;
use crate::identity::Generation;
use crate::membership::Condition;
use crate::state::attribute::{Declared, PublishedVote, STATUS};
use crate::time::part;

/// Rounds after which a node announces itself although its seeds are silent: it may be the first.
const JOINING_ROUNDS: u32 = 3;

/// How often a departure is pushed. With 30 % loss, three times make it certain enough.
const FAREWELLS: u8 = 3;

/// What comes of a step of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The departure is to be pushed, again or for the first time.
    Push,
    /// The departure has been pushed often enough. This node is silent from now on.
    Silent,
}

impl Local {
    /// Begins to learn the table from the seeds. Without any, and with none to come, the node announces
    /// itself at once.
    pub(crate) fn begin_joining(&mut self, context: &mut Context) {
        debug_assert_eq!(self.standing, Standing::Joining);
        if context.config.seeds.is_empty() && !context.config.seeds_to_come {
            self.announce(context);
        } else {
            let at = context.in_intervals(JOINING_ROUNDS);
            context.timers.set(Timer::Announce, Some(at));
        }
    }

    /// The table is learned, or nobody answers. A joining node takes part from now on; for any other
    /// this changes nothing.
    pub(crate) fn announce(&mut self, context: &mut Context) {
        if self.standing != Standing::Joining {
            return;
        }
        self.standing = Standing::Up;
        context.timers.set(Timer::Announce, None);
        declare(context, Declared::Up);
        debug_assert!(context.table.live_len() >= 1, "a node counts itself");
        let members = context.table.live_len().saturating_sub(1);
        context.tell(Event::Joined { members });
    }

    /// The table is learned, but for datagrams that others have overtaken. A joining node announces
    /// itself after this time.
    pub(crate) fn announce_after(&self, context: &mut Context, time: Duration) {
        if self.standing == Standing::Joining {
            let at = context.now.saturating_add(time);
            context.timers.advance(Timer::Announce, at);
        }
    }

    /// Begins to leave. The caller pushes the latest entry.
    pub(crate) fn leave(&mut self, context: &mut Context) {
        debug_assert!(matches!(self.standing, Standing::Joining | Standing::Up));
        self.standing = Standing::Leaving;
        context.timers.set(Timer::Announce, None);
        declare(context, Declared::Leaving);
        schedule_farewell(context);
    }

    /// Takes the next step of leaving: declares that it has left, repeats that, falls silent.
    ///
    /// The caller pushes the departure whatever the mode is. In rounds alone the news would come too
    /// late, and nobody can repair it afterwards.
    pub(crate) fn on_leave_due(&mut self, context: &mut Context) -> Farewell {
        debug_assert_eq!(self.standing, Standing::Leaving);
        debug_assert!(self.farewells <= FAREWELLS);
        if self.farewells == FAREWELLS {
            self.fall_silent(context);
            context.tell(Event::LeaveCompleted);
            return Farewell::Silent;
        }
        if self.farewells == 0 {
            declare(context, Declared::Left);
            let (own, now) = (context.own, context.now);
            context.table.set_condition(own, now, Condition::Left);
        }
        self.farewells = self.farewells.saturating_add(1);
        schedule_farewell(context);
        Farewell::Push
    }

    /// Does nothing from now on.
    pub(super) fn fall_silent(&mut self, context: &mut Context) {
        debug_assert!(!self.has_left());
        self.standing = Standing::Left;
        context.timers.clear();
    }

    /// A member votes against this node. One more entry voids the vote.
    pub(crate) fn refute(&self, context: &mut Context, vote: &PublishedVote) {
        debug_assert_eq!(vote.subject, context.own);
        let (generation, frontier) = context.known(context.own);
        let stands = vote.generation == generation && vote.frontier >= frontier;
        if !stands {
            return;
        }
        if vote.frontier > frontier {
            // Nobody can know more of this log than its writer. The vote is forged, and a write could
            // never reach it; or it remembers an earlier process of the same generation.
            return request_new_generation(context, vote.generation);
        }
        count(&mut context.metrics.refutations);
        declare(context, self.declared());
    }
}

/// Writes the own status, be it new or the same again: the one more entry that refutes a vote.
fn declare(context: &mut Context, status: Declared) {
    context.write(STATUS, Some(status.encode()));
}

/// Sets when the next step of leaving is due: late enough for the news to cross the cluster while this
/// node still answers.
fn schedule_farewell(context: &mut Context) {
    let step: Duration = part(context.config.interval, 4);
    let at = context.now.saturating_add(step);
    context.timers.set(Timer::Leave, Some(at));
}

/// Peers remember this id under a generation that this process did not begin, or further than it has
/// written. It is that of an earlier process whose clock was ahead.
///
/// Requests a generation above it, under which this node outlives that memory. The generation is raised
/// once at the end of the input, however many such generations the input names. One that is too far ahead
/// is refused.
pub(crate) fn request_new_generation(context: &mut Context, generation: Generation) {
    debug_assert!(generation >= context.generation, "it is outlived already");
    match context.clock.observe(context.now, generation.stamp()) {
        Ok(()) => context.stale.generation = true,
        Err(refused) => {
            context.refuse_skew(context.own, Some(context.address), refused.ahead);
        }
    }
}

/// Takes a new generation by the clock, and issues the own log anew under it. It is above all stamps that the clock has
/// seen, unless the clock [began anew](crate::hlc::Clock::begin_anew).
pub(crate) fn raise_generation(context: &mut Context) {
    count(&mut context.metrics.outlived);
    let generation = Generation::new(context.clock.tick(context.now));
    debug_assert_ne!(generation, context.generation);
    context.generation = generation;
    context
        .table
        .replace_log(context.own, |log| log.reissue(generation, 0));
    context.stale.own_votes = true;
    context.recent_changes.note(context.own, context.now);
    context.flush_soon();
}
