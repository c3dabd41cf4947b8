//! The life of a node: joining, up, leaving, left; and another life where peers remember a later one.

use core::time::Duration;

use super::{Farewell, Local, Standing};
use crate::context::{Context, Timer, count};
use crate::event::Event;
use crate::identity::Generation;
use crate::membership::Condition;
use crate::state::attribute::{Declared, PublishedVote};
use crate::time::part;

/// Rounds after which a node that hears nothing from its seeds announces itself all the same: it
/// may be the first.
const JOINING_ROUNDS: u32 = 3;

/// How often a departure is pushed. With 30 % loss, a third time makes it certain enough.
const FAREWELLS: u8 = 3;

impl Local {
    /// Begins to learn the table from the seeds. Without any, and with none to come, announces itself.
    pub(crate) fn begin_joining(&mut self, context: &mut Context) {
        if context.config.seeds.is_empty() && !context.config.seeds_to_come {
            self.announce(context);
        } else {
            let at = context.in_intervals(JOINING_ROUNDS);
            context.timers.set(Timer::Announce, Some(at));
        }
    }

    /// The table is learned, or nobody answers: takes part from now on.
    pub(crate) fn announce(&mut self, context: &mut Context) {
        if self.standing != Standing::Joining {
            return;
        }
        self.standing = Standing::Up;
        context.timers.set(Timer::Announce, None);
        context.declare(Declared::Up);
        let members = context.table.live_len().saturating_sub(1);
        context.tell(Event::Joined { members });
    }

    /// The table is learned once datagrams that may have been overtaken are there.
    pub(crate) fn announce_after(&self, context: &mut Context, time: Duration) {
        if self.standing == Standing::Joining {
            let at = context.now.saturating_add(time);
            context.timers.advance(Timer::Announce, at);
        }
    }

    /// Begins to leave. The caller pushes the latest entry.
    pub(crate) fn leave(&mut self, context: &mut Context) {
        self.standing = Standing::Leaving;
        context.timers.set(Timer::Announce, None);
        context.declare(Declared::Leaving);
    }

    /// The next step of leaving: left, told again, silent.
    ///
    /// Departure is pushed whatever the mode: in rounds alone it would come too late, and nobody can
    /// repair it afterwards.
    pub(crate) fn on_leave_due(&mut self, context: &mut Context) -> Farewell {
        self.farewells = self.farewells.saturating_add(1);
        if self.farewells > FAREWELLS {
            self.standing = Standing::Left;
            context.timers.clear();
            context.tell(Event::LeaveCompleted);
            return Farewell::Silent;
        }
        if self.farewells == 1 {
            context.declare(Declared::Left);
            let (own, now) = (context.own, context.now);
            context.table.set_condition(own, now, Condition::Left);
        }
        Farewell::Push
    }

    /// Somebody votes against this node. One more entry voids it.
    pub(crate) fn refute(&self, context: &mut Context, vote: &PublishedVote) {
        debug_assert_eq!(vote.subject, context.own);
        let Some(own) = context.table.get(context.own) else {
            return;
        };
        let frontier = own.log.frontier();
        let stands = vote.generation == own.log.generation() && vote.frontier >= frontier;
        if !stands {
            return;
        }
        if vote.frontier > frontier {
            // Nobody can know more of this log than its writer: a forgery, which a write could
            // never reach, or the memory of an earlier life under the same generation.
            return outlive(context, vote.generation);
        }
        count(&mut context.metrics.refutations);
        context.declare(self.declared());
    }
}

/// Sets when the next step of leaving is due: late enough for the news to cross the cluster while this
/// node still answers.
pub(crate) fn schedule_farewell(context: &mut Context) {
    let step: Duration = part(context.config.interval, 4);
    let at = context.now.saturating_add(step);
    context.timers.set(Timer::Leave, Some(at));
}

/// Peers remember this id under `generation`, which this node did not write: an earlier life
/// whose clock was ahead. Another life begins once the input is done with, however many such
/// generations it names.
pub(crate) fn outlive(context: &mut Context, generation: Generation) {
    match context.clock.observe(context.now, generation.stamp()) {
        Ok(()) => context.stale.generation = true,
        Err(refused) => {
            count(&mut context.metrics.refused_skew);
            context.tell_skew(context.own, refused.ahead);
        }
    }
}

/// Raises the own generation above all that the clock has seen, and writes everything anew.
pub(crate) fn begin_another_life(context: &mut Context) {
    count(&mut context.metrics.outlived);
    let generation = Generation::new(context.clock.tick(context.now));
    debug_assert!(generation > context.generation);
    context.generation = generation;
    context
        .table
        .change_log(context.own, |log| log.reissue(generation, 0));
    context.stale.own_votes = true;
    context.recent_changes.note(context.own, context.now);
    context.flush_soon();
}
