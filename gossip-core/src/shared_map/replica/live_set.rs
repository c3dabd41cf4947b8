//! Live sets: which versions of every origin live.
//!
//! A replica whose frontier is below a floor of its peer has not seen tombstones that the peer has
//! collected. So the peer tells which versions live. The replica drops what it holds and does not find
//! listed, as far as the peer knew of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use postcard::take_from_bytes;

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
    /// The runs of a [`LiveSegment`]. `None` for a pruned origin: nothing of it lives.
    runs: Option<Vec<u8>>,
}

impl LiveSetPart {
    pub(super) fn segment(segment: &LiveSegment<'_>) -> Self {
        Self {
            origin: segment.origin,
            after: segment.after,
            upto: segment.upto,
            runs: Some(segment.runs.to_vec()),
        }
    }

    pub(super) const fn pruned(origin: Origin, upto: u64) -> Self {
        Self {
            origin,
            after: 0,
            upto,
            runs: None,
        }
    }

    /// The part as a chunk tells it.
    pub(super) fn piece(&self) -> DeltaPiece<'_> {
        let (origin, upto) = (self.origin, self.upto);
        match &self.runs {
            Some(runs) => DeltaPiece::Live(LiveSegment {
                origin,
                after: self.after,
                upto,
                runs,
            }),
            None => DeltaPiece::Pruned { origin, upto },
        }
    }

    /// Bytes that the part takes, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>().saturating_add(self.runs.as_ref().map_or(0, Vec::len))
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
            push_segments(&mut parts, log.origin, versions, log.frontier);
        }
        let pruned = self.pruned_origins.iter();
        parts.extend(pruned.map(|(origin, upto)| LiveSetPart::pruned(origin, upto)));
        parts
    }
}

/// Adds the segments of one log: these versions of `1..=frontier` live.
fn push_segments(
    parts: &mut Vec<LiveSetPart>,
    origin: Origin,
    versions: impl Iterator<Item = u64>,
    frontier: u64,
) {
    let mut versions = versions.peekable();
    let (mut after, mut read, mut runs) = (0, 0_u64, Vec::new());
    while let Some(first) = versions.next() {
        debug_assert!(first <= frontier, "what is held is known");
        let mut last = first;
        while let Some(next) = versions.next_if(|next| *next == last.saturating_add(1)) {
            last = next;
        }
        let dead = first.saturating_sub(read).saturating_sub(1);
        let live = last.saturating_sub(first).saturating_add(1);
        codec::append(&mut runs, &(dead, live));
        read = last;
        if runs.len() > SEGMENT.saturating_sub(RUN) {
            parts.push(LiveSetPart {
                origin,
                after,
                upto: read,
                runs: Some(core::mem::take(&mut runs)),
            });
            after = read;
        }
    }
    parts.push(LiveSetPart {
        origin,
        after,
        upto: frontier,
        runs: Some(runs),
    });
}

/// A live set that has arrived.
#[derive(Debug, Default)]
pub(super) struct LiveSet {
    origins: BTreeMap<Origin, LiveVersions>,
    /// The origins that the sender has pruned, each with the version up to which nothing lives.
    pruned: BTreeMap<Origin, u64>,
}

/// Which versions of one origin live.
#[derive(Debug, Default)]
struct LiveVersions {
    /// The last version that the sender knew.
    upto: u64,
    /// The first and the last version of each run of live versions, in order.
    runs: Vec<(u64, u64)>,
}

impl LiveSet {
    /// Lays out what the parts say.
    pub(super) fn new(parts: &[LiveSetPart]) -> Self {
        let mut live_set = Self::default();
        for part in parts {
            let Some(runs) = &part.runs else {
                live_set.pruned.insert(part.origin, part.upto);
                continue;
            };
            let versions = live_set.origins.entry(part.origin).or_default();
            let mut read = part.after;
            let mut rest = runs.as_slice();
            while let Ok(((dead, live), after)) = take_from_bytes::<(u64, u64)>(rest) {
                let first = read.saturating_add(dead).saturating_add(1);
                let last = read.saturating_add(dead).saturating_add(live);
                versions.runs.push((first, last));
                read = last;
                rest = after;
            }
            versions.upto = versions.upto.max(part.upto);
        }
        for versions in live_set.origins.values_mut() {
            versions.runs.sort_unstable();
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
        log.max(self.pruned_upto(origin))
    }

    /// All origins that the sender remembers to have pruned.
    pub(super) fn pruned_origins(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.pruned.iter().map(|(origin, upto)| (*origin, *upto))
    }

    /// Whether the sender knew this write, and that it is dead.
    pub(super) fn is_dead(&self, origin: Origin, version: u64) -> bool {
        let Some(log) = self.origins.get(&origin) else {
            return version <= self.pruned_upto(origin);
        };
        let at = log.runs.partition_point(|(first, _)| *first <= version);
        let run = at.checked_sub(1).and_then(|at| log.runs.get(at));
        version <= log.upto && run.is_none_or(|(_, last)| *last < version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::identity::{Generation, NodeId};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

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
        ) {
            let frontier = live.last().copied().unwrap_or(0) + beyond;
            let mut parts = Vec::new();
            push_segments(&mut parts, origin(1), live.iter().copied(), frontier);
            prop_assert!(parts.iter().flat_map(|part| &part.runs).all(|runs| runs.len() <= SEGMENT));
            parts.push(LiveSetPart::pruned(origin(2), 7));
            let set = LiveSet::new(&parts);
            let dead: BTreeSet<u64> = (1..=frontier + 5)
                .filter(|version| set.is_dead(origin(1), *version))
                .collect();
            let expected: BTreeSet<u64> = (1..=frontier).filter(|v| !live.contains(v)).collect();
            prop_assert_eq!(dead, expected);
            prop_assert!(set.is_dead(origin(2), 7) && !set.is_dead(origin(2), 8));
            prop_assert_eq!((set.known(origin(1)), set.known(origin(2))), (frontier, 7));
        }
    }
}
