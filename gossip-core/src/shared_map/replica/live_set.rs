//! Live sets: which versions of every origin live.
//!
//! A replica whose frontier is below a floor of its peer has not seen tombstones that the peer has
//! collected. So the peer tells which versions live. The replica drops what it holds and does not find
//! listed, as far as the peer knew of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::Map;
use super::chunk::{DeltaPiece, LiveSegment};
use super::logs::{LogSlot, Origin};
use crate::wire::codec;

/// The most bytes of runs in a segment. Together with what surrounds it, a segment fits any datagram.
const SEGMENT: usize = 200;

/// The most bytes of one more run: two varints.
const RUN: usize = 20;

/// A part of a live set, as it waits to be told or to be applied.
#[derive(Clone, Debug)]
pub(super) struct LiveSetPart {
    origin: Origin,
    after: u64,
    upto: u64,
    says: Says,
}

/// What a part says of its versions.
#[derive(Clone, Debug)]
enum Says {
    /// Those in the runs of a [`LiveSegment`] live, and no others.
    Live(Vec<u8>),
    /// Those in the runs of a [`LiveSegment`] have died.
    Died(Vec<u8>),
    /// The origin has been pruned: none of them lives.
    Pruned,
}

impl LiveSetPart {
    pub(super) fn live(segment: &LiveSegment<'_>) -> Self {
        Self::new(segment, Says::Live)
    }

    pub(super) fn died(segment: &LiveSegment<'_>) -> Self {
        Self::new(segment, Says::Died)
    }

    fn new(segment: &LiveSegment<'_>, says: fn(Vec<u8>) -> Says) -> Self {
        Self {
            origin: segment.origin,
            after: segment.after,
            upto: segment.upto,
            says: says(segment.runs.to_vec()),
        }
    }

    pub(super) const fn pruned(origin: Origin, upto: u64) -> Self {
        Self {
            origin,
            after: 0,
            upto,
            says: Says::Pruned,
        }
    }

    /// The part as a chunk tells it.
    pub(super) fn piece(&self) -> DeltaPiece<'_> {
        let (origin, upto) = (self.origin, self.upto);
        let segment = |runs| LiveSegment {
            origin,
            after: self.after,
            upto,
            runs,
        };
        match &self.says {
            Says::Live(runs) => DeltaPiece::Live(segment(runs)),
            Says::Died(runs) => DeltaPiece::Died(segment(runs)),
            Says::Pruned => DeltaPiece::Pruned { origin, upto },
        }
    }

    /// Bytes that the part takes, about.
    pub(super) fn size(&self) -> usize {
        let runs = match &self.says {
            Says::Live(runs) | Says::Died(runs) => runs.len(),
            Says::Pruned => 0,
        };
        size_of::<Self>().saturating_add(runs)
    }
}

impl Map {
    /// The live set of this replica: the logs in the order of their origins, each in one or more
    /// segments, then the pruned origins. O(n log n).
    pub(super) fn live_set(&self) -> Vec<LiveSetPart> {
        let mut dots: Vec<(LogSlot, u64)> = self
            .slab
            .slots()
            .map(|(_, held)| (held.log, held.version))
            .collect();
        dots.sort_unstable();
        let mut parts = Vec::new();
        for log in self.logs.iter() {
            let slot = self.logs.slot(log.origin).unwrap_or(LogSlot::MAX);
            let start = dots.partition_point(|dot| *dot < (slot, 0));
            let live = dots.get(start..).unwrap_or_default();
            let live = live.iter().take_while(|(other, _)| *other == slot);
            let versions = live.map(|(_, version)| *version);
            push_segments(&mut parts, log.origin, versions, log.frontier, Says::Live);
        }
        let pruned = self.pruned_origins.iter();
        parts.extend(pruned.map(|(origin, upto)| LiveSetPart::pruned(origin, upto)));
        parts
    }
}

/// Adds to the parts of a live set that these writes have died since it was made.
pub(super) fn push_died(parts: &mut Vec<LiveSetPart>, died: impl Iterator<Item = (Origin, u64)>) {
    let mut versions: BTreeMap<Origin, BTreeSet<u64>> = BTreeMap::new();
    for (origin, version) in died {
        versions.entry(origin).or_default().insert(version);
    }
    for (origin, versions) in versions {
        let last = versions.last().copied().unwrap_or(0);
        push_segments(parts, origin, versions.into_iter(), last, Says::Died);
    }
}

/// Adds the segments of one log: these versions of `1..=upto` are meant.
fn push_segments(
    parts: &mut Vec<LiveSetPart>,
    origin: Origin,
    versions: impl Iterator<Item = u64>,
    upto: u64,
    says: fn(Vec<u8>) -> Says,
) {
    let mut versions = versions.peekable();
    let (mut after, mut read, mut runs) = (0, 0_u64, Vec::new());
    while let Some(first) = versions.next() {
        debug_assert!(first <= upto, "what is held is known");
        let mut last = first;
        while let Some(next) = versions.next_if(|next| *next == last.saturating_add(1)) {
            last = next;
        }
        let skipped = first.saturating_sub(read).saturating_sub(1);
        let meant = last.saturating_sub(first).saturating_add(1);
        codec::append(&mut runs, &(skipped, meant));
        read = last;
        if runs.len() > SEGMENT.saturating_sub(RUN) {
            parts.push(LiveSetPart {
                origin,
                after,
                upto: read,
                says: says(core::mem::take(&mut runs)),
            });
            after = read;
        }
    }
    parts.push(LiveSetPart {
        origin,
        after,
        upto,
        says: says(runs),
    });
}

/// A live set that has arrived.
#[derive(Debug, Default)]
pub(super) struct LiveSet {
    origins: BTreeMap<Origin, LiveVersions>,
    /// What has died since the live set was made.
    died: BTreeMap<Origin, VersionRuns>,
    /// The origins that the sender has pruned, each with the version up to which nothing lives.
    pruned: BTreeMap<Origin, u64>,
}

/// Which versions of one origin live.
#[derive(Debug, Default)]
struct LiveVersions {
    /// The last version that the sender knew.
    upto: u64,
    live: VersionRuns,
}

/// Versions of one origin: the first and the last of each run, in order.
#[derive(Debug, Default)]
struct VersionRuns(Vec<(u64, u64)>);

impl VersionRuns {
    fn contain(&self, version: u64) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= version);
        let run = at.checked_sub(1).and_then(|at| self.0.get(at));
        run.is_some_and(|(_, last)| version <= *last)
    }
}

impl LiveSet {
    /// Lays out what the parts say.
    pub(super) fn new(parts: &[LiveSetPart]) -> Self {
        let mut live_set = Self::default();
        for part in parts {
            match part.piece() {
                DeltaPiece::Live(segment) => {
                    let versions = live_set.origins.entry(part.origin).or_default();
                    versions.live.0.extend(segment.runs());
                    versions.upto = versions.upto.max(part.upto);
                }
                DeltaPiece::Died(segment) => {
                    let died = live_set.died.entry(part.origin).or_default();
                    died.0.extend(segment.runs());
                }
                DeltaPiece::Pruned { origin, upto } => {
                    live_set.pruned.insert(origin, upto);
                }
                DeltaPiece::Write { .. } | DeltaPiece::Frontier(_) => {
                    debug_assert!(false, "no part of a live set");
                }
            }
        }
        let live = live_set.origins.values_mut().map(|log| &mut log.live);
        for runs in live.chain(live_set.died.values_mut()) {
            runs.0.sort_unstable();
            join_overlaps(&mut runs.0);
        }
        live_set
    }

    /// Whether the sender has a log of this origin.
    pub(super) fn has_log(&self, origin: Origin) -> bool {
        self.origins.contains_key(&origin)
    }

    /// The version up to which nothing lives of an origin that the sender has pruned, if the sender
    /// remembers it; else 0.
    pub(super) fn pruned_upto(&self, origin: Origin) -> u64 {
        self.pruned.get(&origin).copied().unwrap_or(0)
    }

    /// The version up to which the sender knows an origin, whether or not anything of it lives.
    pub(super) fn known(&self, origin: Origin) -> u64 {
        let log = self.origins.get(&origin).map_or(0, |log| log.upto);
        let died = self.died.get(&origin).and_then(|died| died.0.last());
        let died = died.map_or(0, |(_, last)| *last);
        log.max(died).max(self.pruned_upto(origin))
    }

    /// All origins that the sender remembers to have pruned.
    pub(super) fn pruned_origins(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.pruned.iter().map(|(origin, upto)| (*origin, *upto))
    }

    /// Whether the sender knew this write, and that it is dead.
    pub(super) fn is_dead(&self, origin: Origin, version: u64) -> bool {
        let died = self.died.get(&origin);
        if died.is_some_and(|died| died.contain(version)) {
            return true;
        }
        match self.origins.get(&origin) {
            Some(log) => version <= log.upto && !log.live.contain(version),
            None => version <= self.pruned_upto(origin),
        }
    }
}

/// Makes one of runs that overlap. Forged segments may.
fn join_overlaps(runs: &mut Vec<(u64, u64)>) {
    runs.dedup_by(|next, run| {
        let overlaps = next.0 <= run.1;
        if overlaps {
            run.1 = run.1.max(next.1);
        }
        overlaps
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::identity::{Generation, NodeId};
    use proptest::prelude::*;

    fn origin(id: u64) -> Origin {
        Origin {
            id: NodeId::from_u64(id),
            generation: Generation::new(Stamp::from_bits(1)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_live_set_says_of_each_version_whether_it_lives(
            live in proptest::collection::btree_set(1..3000_u64, 0..1000),
            beyond in 0..10_u64,
            died in proptest::collection::btree_set(1..3020_u64, 0..100),
        ) {
            let frontier = live.last().copied().unwrap_or(0) + beyond;
            let mut parts = Vec::new();
            push_segments(&mut parts, origin(1), live.iter().copied(), frontier, Says::Live);
            prop_assert!(parts.iter().all(|part| part.size() <= size_of::<LiveSetPart>() + SEGMENT));
            parts.push(LiveSetPart::pruned(origin(2), 7));
            let set = LiveSet::new(&parts);
            let dead: BTreeSet<u64> = (1..=frontier + 5)
                .filter(|version| set.is_dead(origin(1), *version))
                .collect();
            let expected: BTreeSet<u64> = (1..=frontier).filter(|v| !live.contains(v)).collect();
            prop_assert_eq!(&dead, &expected);
            push_died(&mut parts, died.iter().map(|version| (origin(1), *version)));
            let later = LiveSet::new(&parts);
            let dead: BTreeSet<u64> = (1..=frontier + 5)
                .filter(|version| later.is_dead(origin(1), *version))
                .collect();
            let died = died.into_iter().filter(|version| *version <= frontier + 5);
            prop_assert_eq!(dead, expected.into_iter().chain(died).collect::<BTreeSet<u64>>());
            prop_assert!(set.is_dead(origin(2), 7) && !set.is_dead(origin(2), 8));
            prop_assert_eq!((set.known(origin(1)), set.known(origin(2))), (frontier, 7));
        }
    }
}
