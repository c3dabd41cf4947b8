//! Where the parts of a claim wait for one another.
//!
//! A claim is atomic. A prefix of a log claims versions whose overwriters have not arrived, so no part of
//! a claim may be applied before all of it is there. Parts arrive in any order, from any peer. A partial
//! claim is invisible, may be dropped at any time, and is resumed where its beginning ends.
//!
//! **Which parts belong together.** A part was cut from a replica that knew the log up to some frontier
//! and had collected tombstones up to some floor. Two parts may make one claim if neither's floor lies
//! above the other's frontier. To see why, take the last write of a key, as of the highest frontier:
//!
//! - If it lives, it is in the part that covers its version.
//! - If it was a tombstone that the replica of that part had collected, then every other part was cut by a
//!   replica that knew the tombstone. So no other part holds an older write of the key either.
//!
//! # Invariants
//!
//! - At most [`MAX_PARTIAL`] claims are partial, at most one for each origin. The one that grew last stands
//!   last.
//! - A partial claim has at most [`MAX_FRAGMENTS`] fragments. The one that grew last stands last.

use alloc::vec::Vec;

use crate::identity::{Generation, NodeId};
use crate::state::entry::Entries;
use crate::state::log::{Claim, Log};
use crate::wire::message::Delta;

/// The most claims that may be partial at a time. The oldest one makes room for the next.
const MAX_PARTIAL: usize = 32;

/// The most fragments, with holes between them, that are held of one claim. One leg brings twelve datagrams.
/// What does not fit comes again.
const MAX_FRAGMENTS: usize = 16;

/// What has arrived of one origin's claim.
#[derive(Debug)]
struct Partial {
    origin: NodeId,
    generation: Generation,
    fragments: Vec<Fragment>,
}

/// What lives of a log in `(after, upto]`, joined from one part or several.
///
/// Invariants: `after <= upto <= frontier`, and `floor <= least_frontier <= frontier`.
#[derive(Debug)]
struct Fragment {
    after: u64,
    upto: u64,
    /// The highest frontier of the replicas that it is from.
    frontier: u64,
    /// The lowest frontier of these replicas.
    least_frontier: u64,
    /// The highest floor of these replicas.
    floor: u64,
    run: Vec<u8>,
}

/// A claim that was put together and is complete.
#[derive(Debug)]
pub(crate) struct WholeClaim {
    generation: Generation,
    fragment: Fragment,
}

impl WholeClaim {
    pub(crate) fn claim(&self) -> Claim<'_> {
        Claim {
            generation: self.generation,
            after: self.fragment.after,
            frontier: self.fragment.frontier,
            floor: self.fragment.floor,
            run: &self.fragment.run,
        }
    }
}

/// The beginning of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) generation: Generation,
    /// Everything up to here has arrived.
    pub(crate) upto: u64,
    /// The lowest frontier of the replicas that it is from.
    pub(crate) least_frontier: u64,
}

/// What became of a delta.
#[derive(Debug)]
pub(crate) enum Acceptance<'a> {
    /// It is a whole claim by itself.
    Whole(Claim<'a>),
    /// It completes a claim.
    Completed(WholeClaim),
    /// It is kept until the rest arrives.
    Kept,
    /// It brings nothing new.
    Stale,
    /// It is kept already, and the rest has not arrived since.
    Again,
    /// Something is missing between it and what is held. It is not kept.
    Gap,
    /// The log would outgrow its limit. Nothing of the claim should be kept.
    TooLarge,
}

/// Whether more of what a delta belongs to is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It came alone.
    Alone,
    /// It came in one of several datagrams. They may overtake one another.
    InParts,
}

/// The partial claims of one replica.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    partials: Vec<Partial>,
    dropped: u64,
}

impl Staging {
    /// How many partial claims were dropped to make room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The beginning of a partial claim that a peer can continue, given the log that is held. Of several
    /// beginnings this is the one that grew last, because some peer was there to continue it.
    pub(crate) fn resume(&self, origin: NodeId, held: Option<&Log>) -> Option<Begun> {
        let partial = self.partials.iter().find(|p| p.origin == origin)?;
        let begins = |fragment: &&Fragment| fragment.attaches(partial.generation, held);
        let fragment = partial.fragments.iter().rfind(begins)?;
        // A fragment that continues the log that is held has that log for its beginning.
        let beneath = held.filter(|_| fragment.after > 0).map(Log::frontier);
        Some(Begun {
            generation: partial.generation,
            upto: fragment.upto,
            least_frontier: fragment.least_frontier.min(beneath.unwrap_or(u64::MAX)),
        })
    }

    /// The origins of the partial claims, with their generations.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (NodeId, Generation)> {
        self.partials.iter().map(|p| (p.origin, p.generation))
    }

    /// Takes in a delta, given the log that is held of its origin.
    pub(crate) fn accept<'a>(
        &mut self,
        held: Option<&Log>,
        delta: &Delta<'a>,
        sent: Sent,
        max_state: usize,
    ) -> Acceptance<'a> {
        let known = held.map_or((Generation::ZERO, 0), |log| {
            (log.generation(), log.frontier())
        });
        if (delta.generation, delta.frontier) <= known {
            return Acceptance::Stale;
        }
        let limit = max_state.saturating_mul(2);
        let base = if delta.after == 0 {
            0
        } else {
            held.map_or(0, Log::size)
        };
        if base.saturating_add(delta.entries.len()) > limit {
            return Acceptance::TooLarge;
        }
        let attaches = follows(delta.after, delta.floor, delta.generation, held);
        if attaches && delta.upto == delta.frontier {
            self.discard(delta.origin);
            return Acceptance::Whole(Claim {
                generation: delta.generation,
                after: delta.after,
                frontier: delta.frontier,
                floor: delta.floor,
                run: delta.entries,
            });
        }
        let found = self.partials.iter().position(|p| p.origin == delta.origin);
        if !attaches && found.is_none() && sent == Sent::Alone {
            return Acceptance::Gap;
        }
        let mut partial = match found {
            // It is put back at the end, because it is not the oldest any more.
            Some(at) => self.partials.remove(at),
            None => Partial::new(delta),
        };
        if partial.generation != delta.generation {
            // The delta is of another incarnation of the origin. What is here cannot be completed.
            partial = Partial::new(delta);
        }
        if !partial.add(delta, held) {
            self.partials.push(partial);
            // What came with an earlier answer has not been completed since.
            let lacks = sent == Sent::Alone || !attaches;
            return if lacks {
                Acceptance::Again
            } else {
                Acceptance::Stale
            };
        }
        if partial.size() > limit {
            return Acceptance::TooLarge;
        }
        if let Some(fragment) = partial.take_whole(held, known) {
            let generation = partial.generation;
            return Acceptance::Completed(WholeClaim {
                generation,
                fragment,
            });
        }
        if self.partials.len() >= MAX_PARTIAL {
            self.partials.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.partials.push(partial);
        debug_assert!(self.partials.len() <= MAX_PARTIAL);
        Acceptance::Kept
    }

    /// Drops what has arrived of an origin.
    pub(crate) fn discard(&mut self, origin: NodeId) {
        self.partials.retain(|partial| partial.origin != origin);
    }
}

/// Whether what lives above `after` can be laid upon a log. A log whose frontier is below the floor may hold
/// something that a collected tombstone has deleted.
fn follows(after: u64, floor: u64, generation: Generation, held: Option<&Log>) -> bool {
    after == 0
        || held.is_some_and(|log| {
            generation == log.generation() && after <= log.frontier() && floor <= log.frontier()
        })
}

impl Partial {
    const fn new(delta: &Delta<'_>) -> Self {
        Self {
            origin: delta.origin,
            generation: delta.generation,
            fragments: Vec::new(),
        }
    }

    fn size(&self) -> usize {
        self.fragments
            .iter()
            .map(|fragment| fragment.run.len())
            .sum()
    }

    /// Adds a part, joined with the fragments that it touches. It is not joined if that would keep it from
    /// being laid upon the log that is held. Tells whether the part brings anything.
    fn add(&mut self, delta: &Delta<'_>, held: Option<&Log>) -> bool {
        let mut new = Fragment {
            after: delta.after,
            upto: delta.upto,
            frontier: delta.frontier,
            least_frontier: delta.frontier,
            floor: delta.floor,
            run: delta.entries.to_vec(),
        };
        debug_assert!(new.is_sound(), "decoding has checked it");
        if let Some(at) = self
            .fragments
            .iter()
            .position(|fragment| fragment.covers(&new))
        {
            // A peer is there that can continue this fragment.
            let fragment = self.fragments.remove(at);
            self.fragments.push(fragment);
            return false;
        }
        self.fragments.retain(|fragment| !new.covers(fragment));
        while let Some(at) = self.joinable(&new, held) {
            let old = self.fragments.swap_remove(at);
            new = if old.after <= new.after {
                old.join(&new)
            } else {
                new.join(&old)
            };
        }
        if self.fragments.len() >= MAX_FRAGMENTS {
            self.fragments.remove(0);
        }
        self.fragments.push(new);
        debug_assert!(self.fragments.len() <= MAX_FRAGMENTS);
        true
    }

    /// A fragment that the new one can be joined with. Either the two together can be laid upon the log that
    /// is held, or neither of them can be yet.
    fn joinable(&self, new: &Fragment, held: Option<&Log>) -> Option<usize> {
        let attaches = |fragment: &Fragment| fragment.attaches(self.generation, held);
        let mut fragments = self.fragments.iter();
        let both = fragments.position(|fragment| {
            let after = fragment.after.min(new.after);
            let floor = fragment.floor.max(new.floor);
            (attaches(fragment) || attaches(new))
                && fragment.joins(new)
                && follows(after, floor, self.generation, held)
        });
        let neither =
            |fragment: &Fragment| !attaches(fragment) && !attaches(new) && fragment.joins(new);
        both.or_else(|| self.fragments.iter().position(neither))
    }

    /// Takes out the fragment that is a whole claim upon the log that is held and claims more than is `known`.
    fn take_whole(&mut self, held: Option<&Log>, known: (Generation, u64)) -> Option<Fragment> {
        let generation = self.generation;
        let whole = |fragment: &Fragment| {
            fragment.upto >= fragment.frontier
                && (generation, fragment.frontier) > known
                && fragment.attaches(generation, held)
        };
        let at = self.fragments.iter().position(whole)?;
        Some(self.fragments.swap_remove(at))
    }
}

impl Fragment {
    /// Whether it can be laid upon the log that is held and adds to it.
    fn attaches(&self, generation: Generation, held: Option<&Log>) -> bool {
        let adds = |log: &Log| self.upto > log.frontier() && log.floor() <= self.least_frontier;
        self.after == 0
            || held.is_some_and(adds) && follows(self.after, self.floor, generation, held)
    }

    /// Whether the other fragment is of no use beside this one: it holds nothing more, and everything that
    /// it can be joined with can be joined with this one.
    const fn covers(&self, other: &Self) -> bool {
        self.after <= other.after
            && self.upto >= other.upto
            && self.frontier >= other.frontier
            && self.least_frontier >= other.least_frontier
            && self.floor <= other.floor
    }

    /// Whether the two touch and may make one claim.
    fn joins(&self, other: &Self) -> bool {
        self.after.max(other.after) <= self.upto.min(other.upto)
            && self.floor.max(other.floor) <= self.least_frontier.min(other.least_frontier)
    }

    /// Goes on with what lies above `upto` in the next one, which begins no earlier.
    fn join(mut self, next: &Self) -> Self {
        debug_assert!(self.after <= next.after && self.joins(next));
        self.run
            .extend_from_slice(Entries::new(&next.run).after(self.upto));
        self.upto = self.upto.max(next.upto);
        self.frontier = self.frontier.max(next.frontier);
        self.least_frontier = self.least_frontier.min(next.least_frontier);
        self.floor = self.floor.max(next.floor);
        debug_assert!(self.is_sound());
        self
    }

    const fn is_sound(&self) -> bool {
        self.after <= self.upto
            && self.upto <= self.frontier
            && self.floor <= self.least_frontier
            && self.least_frontier <= self.frontier
    }
}

#[cfg(test)]
mod tests;
