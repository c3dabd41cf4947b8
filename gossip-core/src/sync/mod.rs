//! Anti-entropy: two replicas compare their tables and give each other what is newer.
//!
//! [`Sync`] is the machine. It owns what is staged of claims that have not arrived whole, and what it
//! remembers of earlier exchanges. Its parts:
//!
//! - [exchange] is the conversation: what a leg says, and what to answer;
//! - [apply] is what a whole claim means for the table and for the application;
//! - [staging] keeps the parts of claims;
//! - [peers] chooses whom a round meets.
//!
//! # Invariants
//!
//! - A claim takes effect as a whole or not at all.
//! - No leg rests on memory of an earlier one.

pub(crate) mod apply;
pub(crate) mod exchange;
pub(crate) mod peers;
pub(crate) mod staging;
#[cfg(test)]
mod tests;

use crate::context::{Context, count};
use crate::identity::NodeId;
use crate::membership::{Condition, Record, Table};
use crate::state::attribute::{HELD_VOTE_BYTES, PROTOCOL_RESERVE, VOTES, decode_votes};
use crate::state::entry::Entries;
use crate::state::log::Log;
use crate::state::room::Room;
use crate::time::Instant;
use crate::wire::message::Delta;
use apply::{Change, apply};
use staging::{Begun, Outcome, Sent, Staging};

/// Bytes that an unknown member takes in the table, beyond its log.
pub(crate) const NEWCOMER: usize = 112;

/// The anti-entropy of a node. See the [module](self).
#[derive(Debug)]
pub(crate) struct Sync {
    staging: Staging,
    /// When an exchange last found another table than the own one.
    differed: Option<Instant>,
    /// When a node that is far behind may meet another peer.
    caught_up: Instant,
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It has taken effect, or has nothing to add.
    Done,
    /// It waits for parts that are on their way.
    Waits,
    /// What lies around it is missing and should be asked for.
    Lacks,
    /// The datagram has brought as many unknown members and votes as it may. This is left for another.
    Full,
}

impl Sync {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            staging: Staging::default(),
            differed: None,
            caught_up: now,
        }
    }

    /// How many partial claims were dropped for want of room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.staging.dropped()
    }

    /// Drops what is staged of a member.
    pub(crate) fn discard(&mut self, id: NodeId) {
        self.staging.discard(id);
    }

    /// The beginning of a partial claim of an origin that a peer could continue.
    pub(crate) fn resume(&self, context: &Context, origin: NodeId) -> Option<Begun> {
        let held = held(&context.table, origin);
        self.staging.resume(origin, held)
    }

    /// Takes a delta about another member. The caller has seen that it tells more than is known. Returns
    /// what became of it and, where it has taken effect, what it has changed.
    ///
    /// `is_pruned` says whether it tells of a tombstone that was pruned here.
    pub(crate) fn accept(
        &mut self,
        context: &mut Context,
        delta: &Delta<'_>,
        sent: Sent,
        is_pruned: bool,
        room: &mut Room,
    ) -> (Taken, Option<Change>) {
        let nothing = (Taken::Done, None);
        let (generation, frontier) = context.known(delta.origin);
        debug_assert!((delta.generation, delta.frontier) > (generation, frontier));
        debug_assert_ne!(delta.origin, context.own, "only its node writes a log");
        if delta.generation > generation
            && let Err(refused) = context.clock.observe(context.now, delta.generation.stamp())
        {
            count(&mut context.metrics.refused_skew);
            context.tell_skew(delta.origin, refused.ahead);
            return nothing;
        }
        let is_unknown = frontier == 0;
        if is_unknown && is_pruned {
            return nothing;
        }
        let max_members = usize::try_from(context.config.max_members).unwrap_or(usize::MAX);
        if is_unknown && context.table.len() >= max_members {
            count(&mut context.metrics.refused_members);
            return nothing;
        }
        let newcomer = if is_unknown { NEWCOMER } else { 0 };
        if !room.take(votes_in(delta.entries).saturating_add(newcomer)) {
            count(&mut context.metrics.refused_members);
            return (Taken::Full, None);
        }
        let held = held(&context.table, delta.origin);
        let max_state = usize::try_from(context.config.max_state)
            .unwrap_or(usize::MAX)
            .saturating_add(PROTOCOL_RESERVE);
        match self.staging.accept(held, delta, sent, max_state) {
            Outcome::Whole(claim) => (Taken::Done, apply(context, delta.origin, &claim)),
            Outcome::Completed(staged) => {
                (Taken::Done, apply(context, delta.origin, &staged.claim()))
            }
            Outcome::Stale => nothing,
            Outcome::Kept if sent == Sent::InParts => (Taken::Waits, None),
            Outcome::Kept | Outcome::Gap => (Taken::Lacks, None),
            Outcome::TooLarge => {
                count(&mut context.metrics.refused_state);
                self.staging.discard(delta.origin);
                nothing
            }
        }
    }
}

/// Bytes that the votes in a run of entries take beside it.
fn votes_in(run: &[u8]) -> usize {
    let lists = Entries::new(run).filter(|entry| entry.key == VOTES);
    let votes = lists.flat_map(|entry| decode_votes(entry.value.unwrap_or_default()));
    votes.count().saturating_mul(HELD_VOTE_BYTES)
}

/// The log of an origin that a delta could continue. Of a removed member nothing is held.
fn held(table: &Table, origin: NodeId) -> Option<&Log> {
    let held = |record: &&Record| record.condition != Condition::Removed;
    table.get(origin).filter(held).map(|record| &record.log)
}
