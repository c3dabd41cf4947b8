//! Where the parts of a claim wait for one another.
//!
//! A claim is atomic: a prefix of a log claims versions whose overwriters have not arrived, so no
//! part of it may be applied before all of it is there. A partial claim is invisible, may be dropped
//! at any time, and is resumed with any peer that knows the origin at least as far.

use alloc::vec::Vec;

use super::entry::Entries;
use super::log::{Claim, Log};
use crate::id::{Generation, NodeId};
use crate::wire::message::Delta;

/// The most claims that may be partial at a time. The eldest is dropped for the next.
const MAX_PARTIAL: usize = 32;

#[derive(Debug)]
struct Partial {
    origin: NodeId,
    generation: Generation,
    after: u64,
    upto: u64,
    frontier: u64,
    floor: u64,
    run: Vec<u8>,
}

/// A claim that is complete.
#[derive(Debug)]
pub(crate) struct Staged {
    generation: Generation,
    after: u64,
    frontier: u64,
    floor: u64,
    run: Vec<u8>,
}

impl Staged {
    pub(crate) fn claim(&self) -> Claim<'_> {
        Claim {
            generation: self.generation,
            after: self.after,
            frontier: self.frontier,
            floor: self.floor,
            run: &self.run,
        }
    }
}

/// What became of a delta.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    /// It is a whole claim as it stands.
    Whole(Claim<'a>),
    /// It completes a claim.
    Completed(Staged),
    /// It is kept until the rest arrives.
    Kept,
    /// It brings nothing new.
    Stale,
    /// What lies between it and what is held is missing.
    Gap,
    /// The log would outgrow its limit.
    TooLarge,
}

/// The partial claims of one replica.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    partials: Vec<Partial>,
    dropped: u64,
}

impl Staging {
    /// How many partial claims were dropped for want of room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How far a partial claim reaches that a peer could continue.
    pub(crate) fn resume(&self, origin: NodeId) -> Option<(Generation, u64)> {
        let partial = self
            .partials
            .iter()
            .find(|partial| partial.origin == origin)?;
        Some((partial.generation, partial.upto))
    }

    /// Takes in a delta, given the log that is held of its origin.
    pub(crate) fn accept<'a>(
        &mut self,
        held: Option<&Log>,
        delta: &Delta<'a>,
        max_state: usize,
    ) -> Outcome<'a> {
        let (generation, frontier) = held.map_or((Generation::ZERO, 0), |log| {
            (log.generation(), log.frontier())
        });
        let known = (delta.generation, delta.frontier) <= (generation, frontier);
        if known {
            return Outcome::Stale;
        }
        // A frontier below the floor may hold what a collected tombstone has deleted.
        let attaches = delta.after == 0
            || delta.generation == generation && delta.after <= frontier && delta.floor <= frontier;
        let base = if delta.after == 0 {
            0
        } else {
            held.map_or(0, Log::size)
        };
        if base.saturating_add(delta.entries.len()) > max_state.saturating_mul(2) {
            return Outcome::TooLarge;
        }
        if attaches && delta.upto == delta.frontier {
            self.discard(delta.origin);
            return Outcome::Whole(Claim {
                generation: delta.generation,
                after: delta.after,
                frontier: delta.frontier,
                floor: delta.floor,
                run: delta.entries,
            });
        }
        let found = self
            .partials
            .iter()
            .position(|partial| partial.origin == delta.origin);
        if let Some(index) = found {
            let mut partial = self.partials.remove(index);
            if partial.continued_by(delta) {
                if partial.run.len().saturating_add(delta.entries.len()) > max_state {
                    return Outcome::TooLarge;
                }
                partial
                    .run
                    .extend_from_slice(Entries::new(delta.entries).after(partial.upto));
                partial.upto = delta.upto;
                partial.frontier = delta.frontier;
                partial.floor = partial.floor.max(delta.floor);
                if partial.upto < partial.frontier {
                    self.partials.push(partial);
                    return Outcome::Kept;
                }
                let Partial {
                    generation,
                    after,
                    frontier,
                    floor,
                    run,
                    ..
                } = partial;
                return Outcome::Completed(Staged {
                    generation,
                    after,
                    frontier,
                    floor,
                    run,
                });
            }
            let repeats = delta.generation == partial.generation
                && delta.upto <= partial.upto
                && delta.frontier == partial.frontier;
            if repeats {
                self.partials.push(partial);
                return Outcome::Stale;
            }
            // A peer that knows less than the partial claim, or another life of the origin: what
            // is here cannot be completed by it, so begin again.
        }
        if !attaches {
            return Outcome::Gap;
        }
        if self.partials.len() >= MAX_PARTIAL {
            self.partials.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.partials.push(Partial {
            origin: delta.origin,
            generation: delta.generation,
            after: delta.after,
            upto: delta.upto,
            frontier: delta.frontier,
            floor: delta.floor,
            run: delta.entries.to_vec(),
        });
        Outcome::Kept
    }

    /// Forgets what has arrived of an origin.
    pub(crate) fn discard(&mut self, origin: NodeId) {
        self.partials.retain(|partial| partial.origin != origin);
    }
}

impl Partial {
    /// Whether the delta goes on where this ends, from a peer that knows at least as much, and that
    /// has not collected tombstones which this part has yet to see: a tombstone that was collected
    /// before this part was sent had taken its victims out of it.
    fn continued_by(&self, delta: &Delta<'_>) -> bool {
        delta.generation == self.generation
            && delta.after > 0
            && delta.after <= self.upto
            && delta.upto > self.upto
            && delta.frontier >= self.frontier
            && (delta.floor <= delta.after || delta.floor <= self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    const ORIGIN: NodeId = NodeId::from_u64(1);
    const MAX: usize = 10_000;

    fn log(writes: u64) -> Log {
        let mut log = Log::new(Generation::new(Stamp::from_bits(1)));
        for n in 0..writes {
            let [.., key] = n.to_be_bytes();
            log.write(0, &[key % 16 + 32], Some(&[key]));
        }
        log
    }

    /// The delta `(after, upto]` of a log.
    fn delta(log: &Log, after: u64, upto: u64) -> Delta<'_> {
        let rest = log.after(after).rest();
        let tail = log.after(upto).rest();
        Delta {
            origin: ORIGIN,
            generation: log.generation(),
            after,
            upto,
            frontier: log.frontier(),
            floor: log.floor(),
            entries: &rest[..rest.len() - tail.len()],
        }
    }

    #[test]
    fn a_log_whose_floor_is_above_its_first_part_is_put_together_all_the_same() {
        let mut log = log(5);
        for key in [b"a", b"b", b"c"] {
            log.write(0, key, Some(b"value"));
        }
        log.write(0, b"a", None);
        log.collect(0);
        log.write(0, b"d", Some(b"value"));
        assert_eq!((log.floor(), log.frontier()), (9, 10));
        let mut staging = Staging::default();
        let first = staging.accept(None, &delta(&log, 0, 6), MAX);
        assert!(matches!(first, Outcome::Kept));
        let second = staging.accept(None, &delta(&log, 6, 10), MAX);
        assert!(matches!(second, Outcome::Completed(_)));
    }

    #[test]
    fn what_lies_below_a_floor_is_no_base_for_what_follows() {
        // The replica holds "a", whose tombstone is collected elsewhere: the rest of a log alone must
        // not be laid over it.
        let mut log = log(5);
        log.write(0, b"a", Some(b"value"));
        let held = log.clone();
        log.write(0, b"a", None);
        log.collect(0);
        log.write(0, b"d", Some(b"value"));
        let mut staging = Staging::default();
        let rest = staging.accept(Some(&held), &delta(&log, 6, 8), MAX);
        assert!(matches!(rest, Outcome::Gap));
    }

    #[test]
    fn nothing_is_claimed_before_all_of_it_has_arrived() {
        let log = log(12);
        let mut staging = Staging::default();
        assert!(matches!(
            staging.accept(None, &delta(&log, 0, 5), MAX),
            Outcome::Kept
        ));
        assert_eq!(staging.resume(ORIGIN), Some((log.generation(), 5)));
        assert!(matches!(
            staging.accept(None, &delta(&log, 5, 9), MAX),
            Outcome::Kept
        ));
        let Outcome::Completed(staged) = staging.accept(None, &delta(&log, 9, 12), MAX) else {
            panic!("the claim is complete")
        };
        assert_eq!(staged.claim().run, log.after(0).rest());
        assert_eq!(staging.resume(ORIGIN), None);
    }

    #[test]
    fn a_claim_is_resumed_with_a_peer_that_knows_more() {
        let older = log(12);
        let newer = log(20);
        let mut staging = Staging::default();
        staging.accept(None, &delta(&older, 0, 6), MAX);
        let Outcome::Completed(staged) = staging.accept(None, &delta(&newer, 6, 20), MAX) else {
            panic!("the claim is complete")
        };
        let mut replica = Log::default();
        replica.apply(&staged.claim());
        for key in 32..48 {
            assert_eq!(
                replica
                    .entries()
                    .filter(|e| e.key == [key])
                    .last()
                    .unwrap()
                    .value,
                newer.get(&[key])
            );
        }
    }

    #[test]
    fn a_peer_that_knows_less_does_not_complete_it() {
        let newer = log(20);
        let older = log(12);
        let mut staging = Staging::default();
        staging.accept(None, &delta(&newer, 0, 6), MAX);
        assert!(matches!(
            staging.accept(None, &delta(&older, 6, 12), MAX),
            Outcome::Gap
        ));
        assert_eq!(
            staging.resume(ORIGIN),
            None,
            "it will be asked for from the start"
        );
    }

    #[test]
    fn repeats_change_nothing_and_gaps_are_told() {
        let log = log(12);
        let mut staging = Staging::default();
        staging.accept(None, &delta(&log, 0, 5), MAX);
        assert!(matches!(
            staging.accept(None, &delta(&log, 0, 5), MAX),
            Outcome::Stale
        ));
        assert_eq!(staging.resume(ORIGIN), Some((log.generation(), 5)));
        let mut fresh = Staging::default();
        assert!(matches!(
            fresh.accept(None, &delta(&log, 5, 12), MAX),
            Outcome::Gap
        ));
        assert!(matches!(
            fresh.accept(Some(&log), &delta(&log, 0, 12), MAX),
            Outcome::Stale
        ));
    }

    #[test]
    fn it_is_bounded() {
        let log = log(12);
        let mut staging = Staging::default();
        for n in 0..100 {
            let delta = Delta {
                origin: NodeId::from_u64(n),
                ..delta(&log, 0, 5)
            };
            assert!(matches!(staging.accept(None, &delta, MAX), Outcome::Kept));
        }
        assert_eq!(staging.partials.len(), MAX_PARTIAL);
        assert_eq!(staging.dropped(), 68);
        assert!(matches!(
            staging.accept(None, &delta(&log, 0, 5), 10),
            Outcome::TooLarge
        ));
    }
}
