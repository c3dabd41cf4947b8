//! What follows from an input: what it has made stale is derived anew before it is done with.

use super::{Node, Standing};
use crate::context::{Outgoing, Stale, Timer};
use crate::local::begin_another_life;

/// The most times that what is stale is derived anew after one input. Each derivation can make the others
/// stale, but a verdict only ever follows new facts, so it ends long before.
const MOST_PASSES: usize = 8;

impl Node {
    /// Derives anew what an input has made stale.
    pub(super) fn settle(&mut self) {
        let now = self.context.now;
        // Another input may come in before the timer is handled.
        self.context.stale.verdicts |= self.context.timers.take_due(Timer::Vote, now);
        if core::mem::take(&mut self.context.stale.generation) {
            self.begin_another_life();
        }
        let mut deferred = None;
        let mut is_settled = false;
        for _ in 0..MOST_PASSES {
            let Stale {
                generation,
                neighbours,
                deadlines,
                verdicts,
                own_votes,
            } = core::mem::take(&mut self.context.stale);
            debug_assert!(!generation, "no derivation tells of another life");
            let neighbours = neighbours | self.context.table.take_regrouped();
            if neighbours {
                self.failure.refresh_neighbours(&mut self.context);
            }
            if verdicts {
                deferred = self.failure.draw_verdicts(&mut self.context).or(deferred);
            }
            if own_votes {
                self.failure.publish_votes(&mut self.context);
            }
            if deadlines {
                self.failure.schedule_observations(&mut self.context);
            }
            is_settled = !(neighbours || deadlines || verdicts || own_votes);
            if is_settled {
                break;
            }
        }
        debug_assert!(is_settled, "derivations that never end");
        self.context.stale.verdicts |= deferred.is_some();
        if self.local.standing() != Standing::Left {
            let counts = self.failure.next_vote(now);
            let next = deferred.into_iter().chain(counts).min();
            self.context.timers.set(Timer::Vote, next);
            self.local.review_agreements(&mut self.context);
        }
    }

    /// Raises the own generation. Every machine that keeps something under it begins anew.
    fn begin_another_life(&mut self) {
        self.failure.note_absence(&self.context);
        begin_another_life(&mut self.context);
        self.push.begin_anew();
        #[cfg(feature = "map")]
        self.shared_map.reopen(self.context.generation);
    }

    /// Carries out what the machines have noted, in the order in which they noted it.
    pub(super) fn carry_out(&mut self) {
        for message in self.context.drain_messages() {
            if let Outgoing::Syn { to } = message {
                self.addresses.ask(to);
            }
            self.outbox.push(message);
        }
        for event in self.context.drain_events() {
            self.events.push(event);
        }
    }
}
