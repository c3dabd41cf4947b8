//! How a node gets what it has missed of pushed logs: it asks for the rest of exactly those.

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use super::asking::{
    Asking, GRACE, MESSAGES, TOLD_IN_TURN, TOLD_LATEST, any_other, earliest, whom,
};
use crate::context::{Answer, Context, Outgoing, Planned, Timer};
use crate::identity::{Generation, NodeId};
use crate::sync::leg::{BUDGET, LAST_LEG};
use crate::time::Instant;
use crate::wire::message::ModeTag;

/// After so many requests the rest is left to rounds.
const MOST_TRIES: u32 = 24;

/// The most logs that are asked for at a time.
const MOST_MISSING: usize = 64;

/// For how many intervals a change is told.
const FRESH: u32 = 4;

/// What is missing, and what has been asked for.
#[derive(Debug, Default)]
pub(super) struct Repair {
    missing: Vec<Missing>,
    pub(super) asking: Asking,
    /// Which of the changes was told in turn last.
    turn: usize,
}

/// A log of which more is known to exist than this node holds.
#[derive(Debug)]
struct Missing {
    origin: NodeId,
    known: (Generation, u64),
    /// The node that showed it.
    shown_by: NodeId,
    tries: u32,
    /// When to ask next.
    next: Instant,
}

impl Repair {
    /// Another node knows so much of a log.
    pub(super) fn note(
        &mut self,
        context: &mut Context,
        origin: NodeId,
        known: (Generation, u64),
        shown_by: NodeId,
    ) {
        if origin == context.own || context.known(origin) >= known {
            return;
        }
        if let Some(missing) = self.missing.iter_mut().find(|log| log.origin == origin) {
            missing.known = missing.known.max(known);
            return;
        }
        if self.missing.len() >= MOST_MISSING {
            return;
        }
        let next = context.now.saturating_add(GRACE);
        self.missing.push(Missing {
            origin,
            known,
            shown_by,
            tries: 0,
            next,
        });
        context.timers.advance(Timer::Missing, next);
    }

    /// The logs that a push tells of.
    pub(super) fn tell(&mut self, context: &Context) -> SmallVec<[NodeId; 4]> {
        let mut told = SmallVec::new();
        if !self.asking.has_missed(context.now) {
            return told;
        }
        let fresh = || {
            let within = context.intervals(FRESH);
            context.recent_changes.since(context.now, within)
        };
        told.extend(fresh().take(TOLD_LATEST));
        let others = fresh().count().saturating_sub(TOLD_LATEST);
        for _ in 0..TOLD_IN_TURN.min(others) {
            self.turn = self.turn.saturating_add(1).checked_rem(others).unwrap_or(0);
            told.extend(fresh().nth(TOLD_LATEST.saturating_add(self.turn)));
        }
        told
    }

    /// Asks for what has been missing for long enough.
    pub(super) fn on_due(&mut self, context: &mut Context) {
        let now = context.now;
        self.missing
            .retain(|log| log.tries < MOST_TRIES && context.known(log.origin) < log.known);
        let other = any_other(context);
        let mut requests: Vec<(SocketAddr, Vec<Planned>)> = Vec::new();
        for log in self.missing.iter_mut().filter(|log| log.next <= now) {
            log.next = self.asking.next(context, log.tries);
            let to = whom(context, log.tries, log.shown_by, log.origin, other);
            log.tries = log.tries.saturating_add(1);
            let Some(to) = to else { continue };
            let want = Planned::Want(log.origin);
            let is_room = requests.len() < MESSAGES;
            match requests.iter_mut().find(|(address, _)| *address == to) {
                Some((_, plan)) => plan.push(want),
                None if is_room => requests.push((to, Vec::from([want]))),
                None => {}
            }
        }
        for (to, plan) in requests {
            self.asking.note_asked(context, to);
            context.send(Outgoing::Answer(Answer {
                to,
                leg: LAST_LEG.saturating_sub(1),
                mode: ModeTag::PushPull,
                plan,
                sent: 0,
                most: BUDGET,
                truncated: false,
            }));
        }
        let next = self.missing.iter().map(|log| log.next).min();
        let next = next.map(|next| next.max(earliest(now)));
        context.timers.set(Timer::Missing, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::{address, at, context, generation, log_of};
    use crate::state::attribute::Declared;

    /// Whom the node asks, and for which logs.
    fn asked(context: &mut Context) -> Vec<(SocketAddr, Vec<Planned>)> {
        let asked = context
            .drain_messages()
            .filter_map(|message| match message {
                Outgoing::Answer(answer) => Some((answer.to, answer.plan)),
                _ => None,
            });
        asked.collect()
    }

    #[test]
    fn what_is_missing_is_asked_for_once_others_had_time_to_bring_it() {
        let mut context = context(|_| ());
        let (by, origin, other) = (context.learn(2), context.learn(3), context.learn(4));
        let mut repair = Repair::default();
        repair.note(&mut context, origin, (generation(), 2), by);
        let own = context.own;
        repair.note(&mut context, own, (generation(), 9), by);
        assert!(repair.missing.is_empty(), "nothing is missing");
        repair.note(&mut context, origin, (generation(), 3), by);
        repair.note(&mut context, other, (generation(), 3), by);
        context.now = at(14);
        repair.on_due(&mut context);
        assert_eq!(asked(&mut context), []);
        let mut log = log_of(generation(), 4, Declared::Up);
        log.write(1, b"k", Some(b"v"));
        context.table.apply(other, context.now, &log.claim_after(0));
        context.now = at(15);
        repair.on_due(&mut context);
        let want = Vec::from([Planned::Want(origin)]);
        assert_eq!(asked(&mut context), [(address(2), want)]);
    }

    #[test]
    fn what_nobody_can_give_is_asked_for_a_bounded_number_of_times() {
        let mut context = context(|_| ());
        let by = context.learn(2);
        let mut repair = Repair::default();
        for member in 10..200 {
            let origin = context.learn(member);
            repair.note(&mut context, origin, (generation(), u64::MAX), by);
        }
        assert_eq!(repair.missing.len(), MOST_MISSING);
        let mut messages = 0;
        while let Some(next) = context.timers.next() {
            context.now = next;
            context.timers.clear();
            repair.on_due(&mut context);
            let asked = asked(&mut context).len();
            assert!(asked <= MESSAGES);
            messages += asked;
        }
        assert!(repair.missing.is_empty());
        // All are asked of one member, but for each third time.
        assert_eq!(messages, 17 + 7 * MESSAGES);
    }

    #[test]
    fn pushes_tell_of_other_logs_while_something_is_missing() {
        let mut context = context(|_| ());
        for member in 2..8 {
            let id = context.learn(member);
            context.recent_changes.note(id, context.now);
        }
        let mut repair = Repair::default();
        assert!(repair.tell(&context).is_empty());
        repair.asking.note_missed(&context);
        let mut told: Vec<NodeId> = Vec::new();
        for _ in 0..4 {
            let now = repair.tell(&context);
            assert_eq!(now.len(), TOLD_LATEST + TOLD_IN_TURN);
            told.extend(now);
        }
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), 6, "each in its turn");
        context.now = context.in_intervals(3);
        assert!(repair.tell(&context).is_empty());
    }
}
