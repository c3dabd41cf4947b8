//! The life of a node: joining, up, leaving, left; and a greater generation where peers remember one.

use core::time::Duration;

use super::{Local, Standing};
use crate::context::{Context, Timer, count};
use crate::event::{Event, JoinCause};
use crate::identity::Generation;
use crate::membership::Condition;
use crate::state::attribute::{Declared, PublishedVote, STATUS};
use crate::time::{Instant, part};

/// Rounds without anything new after which a node announces itself although its table may not be whole. If its
/// seeds are silent, it may be the first.
const JOINING_ROUNDS: u32 = 3;

/// Rounds after which a node announces itself though answers still bring something new.
const MOST_JOINING_ROUNDS: u32 = 30;

/// How often a departure is pushed. With 30 % loss, three times make it certain enough.
const FAREWELLS: u8 = 3;

/// How a node joins.
#[derive(Debug)]
pub(super) struct Joining {
    /// Why the node announces itself, if it does so now.
    cause: JoinCause,
    /// The node announces itself by then.
    latest: Instant,
    /// Whether the node waits for parts of an answer, and then asks whether that was all.
    asks_again: bool,
    /// Which of the seeds it asked last.
    turn: usize,
    /// Whether the node has announced itself and its application has not been told so yet.
    is_to_be_told: bool,
}

impl Default for Joining {
    fn default() -> Self {
        Self {
            cause: JoinCause::NoAnswer,
            latest: Instant::ORIGIN,
            asks_again: false,
            turn: 0,
            is_to_be_told: false,
        }
    }
}

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
            self.joining.cause = JoinCause::NoSeeds;
            self.announce(context);
        } else {
            let at = context.in_intervals(JOINING_ROUNDS);
            context.timers.set(Timer::Announce, Some(at));
            self.joining.latest = context.in_intervals(MOST_JOINING_ROUNDS);
        }
    }

    /// Another node of this cluster has said something.
    pub(crate) fn on_answer(&mut self) {
        if self.joining.cause == JoinCause::NoAnswer {
            self.joining.cause = JoinCause::Incomplete;
        }
    }

    /// An answer has brought something new, and there may be more.
    pub(crate) fn on_news(&self, context: &mut Context) {
        if self.standing == Standing::Joining && !self.joining.asks_again {
            let at = context.in_intervals(JOINING_ROUNDS);
            let at = at.min(self.joining.latest);
            context.timers.set(Timer::Announce, Some(at));
        }
    }

    /// The table is learned.
    pub(crate) fn on_learned(&mut self, context: &mut Context) {
        if self.standing == Standing::Joining {
            self.joining.cause = JoinCause::Learned;
            self.announce(context);
        }
    }

    /// The table is learned, but for datagrams that others have overtaken or that are lost. A joining node asks
    /// again at this time.
    pub(crate) fn ask_again_at(&mut self, context: &mut Context, at: Instant) {
        if self.standing == Standing::Joining {
            self.joining.asks_again = true;
            context.timers.advance(Timer::Announce, at);
        }
    }

    /// A joining node has waited for long enough: for parts of an answer, or for anything new.
    pub(crate) fn on_announce_due(&mut self, context: &mut Context) {
        if core::mem::take(&mut self.joining.asks_again) && context.now < self.joining.latest {
            // Where many join at once, each asks often. So it asks one seed at a time.
            self.joining.turn = self.joining.turn.saturating_add(1);
            context.ask_a_seed(self.joining.turn);
            self.on_news(context);
        } else {
            self.announce(context);
        }
    }

    /// The table is learned, or answers bring nothing new. A joining node takes part from now on; for any other
    /// this changes nothing.
    pub(crate) fn announce(&mut self, context: &mut Context) {
        if self.standing != Standing::Joining {
            return;
        }
        self.standing = Standing::Up;
        self.joining.is_to_be_told = true;
        context.timers.set(Timer::Announce, None);
        declare(context, Declared::Up);
    }

    /// The verdicts are drawn, and the members that are up have been told: tells the application that this
    /// node has joined them.
    pub(crate) fn tell_joined(&mut self, context: &mut Context) {
        if self.standing == Standing::Up && core::mem::take(&mut self.joining.is_to_be_told) {
            debug_assert!(context.table.live_len() >= 1, "a node counts itself");
            let members = context.table.live_len().saturating_sub(1);
            let cause = self.joining.cause;
            context.tell(Event::Joined { members, cause });
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
