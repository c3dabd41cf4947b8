//! What follows from an input: whatever it has made stale is derived anew before the input ends.

use core::mem::take;

use super::Node;
use crate::context::{Outgoing, Stale, Timer};
use crate::failure::introductions::Acquaintance;
use crate::identity::{Generation, NodeId};
use crate::local::{Standing, raise_generation};
use crate::state::log::Log;
use crate::sync::apply::tell_attributes;

/// The most times that stale facts are derived anew after one input.
///
/// A derivation can make other facts stale: verdicts change the neighbours, and new neighbours change the
/// deadlines and the own votes. There the chain ends, long before this bound. No derivation makes the
/// verdicts stale, so the loop of verdicts, neighbours, votes and verdicts again cannot occur.
const MAX_PASSES: usize = 8;

impl Node {
    /// Derives anew what an input has made stale.
    pub(super) fn settle(&mut self) {
        if self.local.has_left() {
            // Whatever was due together with the last farewell would set timers again.
            self.context.stale = Stale::default();
            debug_assert_eq!(self.context.timers.next(), None);
            return;
        }
        let now = self.context.now;
        // An input may come in after a vote begins to count, and before its timer is handled.
        self.context.stale.verdicts |= self.context.timers.take_due(Timer::Vote, now);
        if take(&mut self.context.stale.generation) {
            self.raise_generation();
        }
        let mut deferred = None;
        let mut is_settled = false;
        for _ in 0..MAX_PASSES {
            let Stale {
                generation,
                neighbours,
                deadlines,
                verdicts,
                own_votes,
            } = take(&mut self.context.stale);
            debug_assert!(!generation, "no derivation tells of a greater generation");
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
        debug_assert!(is_settled, "derivations never end");
        // Verdicts that have to wait stay stale, so that every later input tries again.
        self.context.stale.verdicts |= deferred.is_some();
        if deferred.is_none() {
            self.introduce(None);
        }
        let introduces_at = self.failure.next_introductions();
        if deferred.is_none() && introduces_at.is_none() {
            self.local.tell_joined(&mut self.context);
        }
        let vote_counts_at = self.failure.pass_counting_votes(now);
        let next = deferred.into_iter().chain(vote_counts_at);
        let introduces_at = introduces_at.filter(|at| *at > now);
        let next = next.chain(introduces_at).min();
        self.context.timers.set(Timer::Vote, next);
        self.local.review_agreements(&mut self.context);
    }

    /// Tells the application of members that are up, and what they say of themselves: of all that can be told
    /// now, or of this one. A joining node holds this back until it knows what the others say.
    pub(super) fn introduce(&mut self, one: Option<NodeId>) {
        if self.local.standing() == Standing::Joining {
            return;
        }
        let context = &mut self.context;
        for id in self.failure.introducible(context, one) {
            if self.failure.introduce(context, id) == Acquaintance::New {
                tell_attributes(context, id, &Log::new(Generation::ZERO));
            }
        }
    }

    /// Raises the own generation. Every machine that keeps something under it begins anew.
    pub(super) fn raise_generation(&mut self) {
        self.failure.note_absence(&self.context);
        raise_generation(&mut self.context);
        self.push.begin_anew();
        #[cfg(feature = "map")]
        self.shared_map.reopen(self.context.generation);
    }

    /// Carries out what the machines have noted, in the order of their notes.
    pub(super) fn carry_out(&mut self) {
        for message in self.context.drain_messages() {
            if let Outgoing::Syn { to } = message {
                self.addresses.note_asked(to);
            }
            self.outbox.push(message);
        }
        for event in self.context.drain_events() {
            self.events.push(event);
        }
        self.context.release_lists();
    }
}
