//! Runs that came by lately: those that wait for what they build on, and those that peers may lack.
//!
//! Datagrams are lost and overtake one another, so a run often arrives before something that it builds on. Such
//! a run is *early*. It waits here and is applied the moment the last thing that it waits for is known. Runs
//! that have been applied stay for a while, too: a peer that misses one asks for exactly that.
//!
//! Applying a run late, or twice, is what a slow network does. So this module adds no rule to those of the
//! [map](super).
//!
//! # Invariants
//!
//! - Every early run waits for one version that the replica does not know, and `waits` lists it under that.
//! - `bytes` counts the runs, and is at most [`MAX_BYTES`]; `early_bytes` counts the early ones.
//! - `order` lists every run that is not early once.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::delta_codec::{DeltaWriter, EncodedItems};
use super::{Map, Origin, Pushed, Run};
use crate::identity::{Generation, NodeId};

/// The most bytes of all runs, with what it takes to keep them: half a second of a flood, many seconds of
/// what is usual.
const MAX_BYTES: usize = 1 << 20;

/// The most of them that early runs take.
const MAX_EARLY_BYTES: usize = MAX_BYTES >> 1;

/// The most origins of which another node has told more than is known here.
const MAX_TOLD: usize = 256;

/// For how many rounds a run that has been applied stays: longer than a peer takes to miss it and to ask.
const ROUNDS: u32 = 5;

/// For how many rounds an early run waits. If it takes longer, a delta brings its versions.
const EARLY_ROUNDS: u32 = 16;

/// What a run takes beyond its bytes.
const RUN: usize = 224;

/// What an early one takes beyond that, together with what is noted about asking for what it waits for.
const EARLY: usize = 160;

/// A run is known by its origin and its last version.
type RunId = (Origin, u64);

/// The first of all origins.
const FIRST: Origin = Origin {
    id: NodeId::from_u64(0),
    generation: Generation::ZERO,
};

/// A version of an origin.
type Dot = (Origin, u64);

/// Runs that came by lately: early ones, which wait until what they build on is known, and those that have been
/// applied, which peers may ask for. One megabyte at most.
#[derive(Clone, Debug, Default)]
pub struct RecentRuns {
    runs: BTreeMap<RunId, RecentRun>,
    /// The runs that have been applied, in that order.
    order: VecDeque<RunId>,
    /// What each early run waits for.
    waits: BTreeSet<(Dot, RunId)>,
    /// How far other nodes say that origins have come, where that is further than is known here.
    told: BTreeMap<Origin, u64>,
    bytes: usize,
    early_bytes: usize,
    round: u32,
}

/// The bit of the first tree.
const FIRST_TREE: u8 = 1;

#[derive(Clone, Debug)]
struct RecentRun {
    after: u64,
    writes: Arc<[u8]>,
    /// The trees down which it has been served, a bit for each.
    trees: u8,
    /// Whether it has not come down the first tree, by which every run is sent.
    is_astray: bool,
    /// The round in which it came.
    round: u32,
    waits_for: Option<Dot>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How the replica takes it.
    pub pushed: Pushed,
    /// Whether it has come down this tree for the first time, and may be passed on.
    pub is_first: bool,
    /// Whether it has come for the first time at all.
    pub is_new: bool,
}

/// Versions of an origin that a replica lacks: those in `(after, upto]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The origin.
    pub origin: Origin,
    /// The version before the first.
    pub after: u64,
    /// The last version.
    pub upto: u64,
}

/// Reads what a peer asks for, up to the last byte. `None` unless every range has a version.
#[must_use]
pub fn read_wanted(bytes: &[u8]) -> Option<EncodedItems<'_, Wanted>> {
    EncodedItems::read(bytes, |wanted: &Wanted| wanted.after < wanted.upto)
}

/// Writes what is asked for, or the first of it where not all fits. Returns the length.
pub fn write_wanted(wanted: &[Wanted], buffer: &mut [u8]) -> usize {
    let mut writer = DeltaWriter::new(buffer);
    let _ = wanted.iter().all(|wanted| writer.put(wanted));
    writer.len()
}

impl RecentRuns {
    /// Takes in a valid run: has the replica apply it, and after it those that waited for it, or lets it
    /// wait. `tree` is the tree down which it came.
    pub fn take(&mut self, map: &mut Map, run: &Run<'_>, tree: Option<u8>) -> Taken {
        let bit = tree.map_or(0, |tree| 1_u8.checked_shl(u32::from(tree)).unwrap_or(0));
        let id = (run.origin, run.upto);
        // A replica may forget what it has applied: a log that is pruned and forgotten leaves it.
        let is_settled = map.known(run.origin) >= run.upto;
        if let Some(known) = self.runs.get_mut(&id)
            && known.after <= run.after
            && (is_settled || known.waits_for.is_some())
        {
            let is_first = known.trees & bit == 0 && bit != 0;
            known.trees |= bit;
            known.is_astray &= bit != FIRST_TREE;
            let pushed = known.waits_for.map_or(Pushed::Known, |(origin, version)| {
                Pushed::Early(origin, version)
            });
            return Taken {
                pushed,
                is_first,
                is_new: false,
            };
        }
        let before = map.known(run.origin);
        let pushed = map.apply_push(run);
        let has_risen = map.known(run.origin) > before;
        let waits_for = match pushed {
            Pushed::Early(origin, version) => Some((origin, version)),
            Pushed::Applied | Pushed::Known => None,
            Pushed::Refused | Pushed::Own => {
                return Taken {
                    pushed,
                    is_first: false,
                    is_new: false,
                };
            }
        };
        let is_kept = self.keep(id, run.after, run.writes.into(), bit, waits_for);
        if has_risen {
            self.release(map, run.origin);
        }
        Taken {
            pushed,
            is_first: is_kept && bit != 0,
            is_new: is_kept && pushed != Pushed::Known,
        }
    }

    /// Notes that a run is served in this tree, though it has not come down it.
    pub fn note_served(&mut self, origin: Origin, upto: u64, tree: u8) {
        if let Some(run) = self.runs.get_mut(&(origin, upto)) {
            run.trees |= 1_u8.checked_shl(u32::from(tree)).unwrap_or(0);
        }
    }

    /// Keeps a run that this replica has written itself. Returns its bytes, to be shared by several
    /// messages.
    pub fn keep_own(&mut self, run: &Run<'_>) -> Arc<[u8]> {
        let writes: Arc<[u8]> = run.writes.into();
        let id = (run.origin, run.upto);
        self.keep(id, run.after, Arc::clone(&writes), u8::MAX, None);
        writes
    }

    /// Tells whether there is room for it.
    fn keep(
        &mut self,
        id: RunId,
        after: u64,
        writes: Arc<[u8]>,
        trees: u8,
        waits_for: Option<Dot>,
    ) -> bool {
        if self.runs.contains_key(&id) {
            // A longer run with the same end.
            self.order.retain(|other| *other != id);
            self.drop_run(id);
        }
        let is_early = waits_for.is_some();
        let size = size(&writes, is_early);
        if is_early && self.early_bytes.saturating_add(size) > MAX_EARLY_BYTES {
            return false;
        }
        while self.bytes.saturating_add(size) > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                return false;
            };
            self.drop_run(oldest);
        }
        match waits_for {
            Some(dot) => {
                self.waits.insert((dot, id));
                self.early_bytes = self.early_bytes.saturating_add(size);
            }
            None => self.order.push_back(id),
        }
        self.bytes = self.bytes.saturating_add(size);
        let run = RecentRun {
            after,
            writes,
            trees,
            is_astray: trees & FIRST_TREE == 0,
            round: self.round,
            waits_for,
        };
        self.runs.insert(id, run);
        true
    }

    fn drop_run(&mut self, id: RunId) {
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        let size = size(&run.writes, run.waits_for.is_some());
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(dot) = run.waits_for {
            self.waits.remove(&(dot, id));
            self.early_bytes = self.early_bytes.saturating_sub(size);
        }
    }

    /// An origin's frontier has risen: applies the runs that waited for that, and those that waited for
    /// them.
    fn release(&mut self, map: &mut Map, risen: Origin) {
        let mut risen = Vec::from([risen]);
        while let Some(origin) = risen.pop() {
            let known = map.known(origin);
            while let Some(id) = self.first_waiting(origin, known) {
                if self.try_again(map, id) {
                    risen.push(id.0);
                }
            }
        }
    }

    /// The first run that waits for a version of an origin up to this one.
    fn first_waiting(&self, origin: Origin, upto: u64) -> Option<RunId> {
        let next = self.waits.range(((origin, 0), (FIRST, 0))..).next();
        let (dot, id) = *next?;
        (dot <= (origin, upto)).then_some(id)
    }

    /// Gives an early run to the replica again. Tells whether any of it has been applied. If the rest is early
    /// still, it waits for something else.
    fn try_again(&mut self, map: &mut Map, id: RunId) -> bool {
        let Some(run) = self.runs.get_mut(&id) else {
            debug_assert!(false, "a run that waits is kept");
            return false;
        };
        if let Some(dot) = run.waits_for.take() {
            self.waits.remove(&(dot, id));
        }
        let before = map.known(id.0);
        let pushed = map.apply_push(&run.to_run(id));
        if let Pushed::Early(origin, version) = pushed {
            run.waits_for = Some((origin, version));
            self.waits.insert(((origin, version), id));
        } else {
            let size = size(&run.writes, true);
            self.early_bytes = self.early_bytes.saturating_sub(size);
            self.bytes = self.bytes.saturating_sub(EARLY);
            self.order.push_back(id);
        }
        map.known(id.0) > before
    }

    /// The replica has changed otherwise than by runs, for example by a delta: tries all early runs again.
    pub fn release_all(&mut self, map: &mut Map) {
        let waiting: Vec<RunId> = self.waits.iter().map(|(_, id)| *id).collect();
        for id in waiting {
            // An earlier one may have released it.
            if self
                .runs
                .get(&id)
                .is_some_and(|run| run.waits_for.is_some())
                && self.try_again(map, id)
            {
                self.release(map, id.0);
            }
        }
    }

    /// Another node says that it has writes of an origin up to this version. Tells whether this replica
    /// lacks some of them.
    pub fn note_told(&mut self, map: &Map, origin: Origin, upto: u64) -> bool {
        if map.known(origin) >= upto || origin == map.own() || map.refuses(origin) {
            return false;
        }
        if self.told.len() >= MAX_TOLD && !self.told.contains_key(&origin) {
            return false;
        }
        let told = self.told.entry(origin).or_default();
        *told = upto.max(*told);
        !self.runs.contains_key(&(origin, upto))
    }

    /// Forgets what others have told of an origin: nobody had it.
    pub fn forget_told(&mut self, origin: Origin) {
        self.told.remove(&origin);
    }

    /// The origins of which something is missing, each with its missing versions.
    pub fn missing(&mut self, map: &Map) -> Vec<Wanted> {
        self.told
            .retain(|origin, upto| map.known(*origin) < *upto && !map.refuses(*origin));
        let mut upto: BTreeMap<Origin, u64> = self.told.clone();
        for ((origin, version), _) in &self.waits {
            let told = upto.entry(*origin).or_default();
            *told = (*told).max(*version);
        }
        let mut missing = Vec::new();
        for (origin, upto) in upto {
            let mut known = map.known(origin);
            let from = known.saturating_add(1);
            for ((_, last), run) in self.runs.range((origin, from)..=(origin, u64::MAX)) {
                if known >= upto {
                    break;
                }
                let hole = run.after.min(upto);
                if known < hole {
                    missing.push(Wanted {
                        origin,
                        after: known,
                        upto: hole,
                    });
                }
                known = known.max(*last);
            }
            if known < upto {
                missing.push(Wanted {
                    origin,
                    after: known,
                    upto,
                });
            }
        }
        missing
    }

    /// The runs that hold some of these versions.
    pub fn holding(&self, wanted: Wanted) -> impl Iterator<Item = Run<'_>> {
        let from = wanted.after.saturating_add(1);
        self.runs
            .range((wanted.origin, from)..=(wanted.origin, u64::MAX))
            .take_while(move |(_, run)| run.after < wanted.upto)
            .map(|(id, run)| run.to_run(*id))
    }

    /// Whether runs hold all of these versions, and a peer can apply them that learns everything else that is
    /// in the vector of `map`.
    #[must_use]
    pub fn cover(&self, map: &Map, wanted: Wanted) -> bool {
        let mut covered = wanted.after;
        for run in self.holding(wanted) {
            if run.after > covered || run.upto > wanted.upto || !map.has_logs_in_contexts(&run) {
                return false;
            }
            covered = run.upto.max(covered);
        }
        covered >= wanted.upto
    }

    /// The run with this last version.
    #[must_use]
    pub fn get(&self, origin: Origin, upto: u64) -> Option<Run<'_>> {
        let id = (origin, upto);
        self.runs.get(&id).map(|run| run.to_run(id))
    }

    /// The bytes of the run with this last version, to be shared by several messages.
    #[must_use]
    pub fn share(&self, origin: Origin, upto: u64) -> Option<Arc<[u8]>> {
        self.runs
            .get(&(origin, upto))
            .map(|run| Arc::clone(&run.writes))
    }

    /// The latest runs, the latest first: each as its origin and its last version.
    pub fn latest(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.order.iter().rev().copied()
    }

    /// The last applied run of the origin after this one, or of the first one: its origin and its last version.
    #[must_use]
    pub fn last_of_next(&self, after: Option<Origin>) -> Option<(Origin, u64)> {
        let applied = |(id, run): (&RunId, &RecentRun)| run.waits_for.is_none().then_some(*id);
        let from = after.map_or((FIRST, 0), |origin| (origin, u64::MAX));
        let rest = self.runs.range((Bound::Excluded(from), Bound::Unbounded));
        let (next, _) = rest.filter_map(applied).next()?;
        let of_next = self.runs.range((next, 0)..=(next, u64::MAX));
        of_next.filter_map(applied).next_back()
    }

    /// Whether runs wait.
    #[cfg(test)]
    pub(super) fn has_early(&self) -> bool {
        !self.waits.is_empty()
    }

    /// Bytes of all runs, with what it takes to keep them.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the early ones.
    #[cfg(test)]
    pub(super) const fn early_bytes(&self) -> usize {
        self.early_bytes
    }

    /// A round begins: drops what is old. Tries early runs again, since the replica may have forgotten what
    /// they wait for.
    ///
    /// Tells whether runs of the round before the last have not come down the first tree. Those of the last may yet
    /// do so.
    pub fn begin_round(&mut self, map: &mut Map) -> bool {
        let before = self.round.wrapping_sub(1);
        let astray = |run: &RecentRun| run.round == before && run.is_astray;
        let have_strayed = self.runs.values().any(astray);
        self.round = self.round.wrapping_add(1);
        let old: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| {
                let stays = if run.waits_for.is_some() {
                    EARLY_ROUNDS
                } else {
                    ROUNDS
                };
                self.round.wrapping_sub(run.round) > stays
            })
            .map(|(id, _)| *id)
            .collect();
        for (origin, upto) in old {
            let was_early = map.known(origin) < upto;
            self.drop_run((origin, upto));
            // What it built on has not come. A node that asked for it again would get it again from one that
            // has asked for it later, and so on without end.
            if was_early && self.told.get(&origin).is_some_and(|told| *told <= upto) {
                self.told.remove(&origin);
            }
        }
        self.order.retain(|id| self.runs.contains_key(id));
        if self.order.is_empty() {
            self.order = VecDeque::new();
        }
        self.release_all(map);
        have_strayed
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn check(&self, map: &Map) {
        let size = |run: &RecentRun| size(&run.writes, run.waits_for.is_some());
        assert_eq!(self.bytes, self.runs.values().map(size).sum::<usize>());
        let early = self.runs.iter().filter(|(_, run)| run.waits_for.is_some());
        let waits: BTreeSet<_> = early
            .clone()
            .map(|(id, run)| (run.waits_for.unwrap(), *id))
            .collect();
        assert_eq!(waits, self.waits);
        assert_eq!(
            self.early_bytes,
            early.map(|(_, run)| size(run)).sum::<usize>()
        );
        assert!(
            waits
                .iter()
                .all(|((origin, version), _)| map.known(*origin) < *version)
        );
        assert!(self.bytes <= MAX_BYTES);
    }
}

/// What it takes to keep a run.
fn size(writes: &[u8], is_early: bool) -> usize {
    let beside = if is_early { EARLY } else { 0 };
    let run = writes.len().saturating_add(RUN);
    run.saturating_add(beside)
}

impl RecentRun {
    fn to_run(&self, (origin, upto): RunId) -> Run<'_> {
        Run {
            origin,
            after: self.after,
            upto,
            writes: &self.writes,
        }
    }
}
