//! Which versions live: what a replica below a floor needs, since the tombstones that it has not
//! seen are gone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use super::Map;
use super::delta::Piece;
use super::logs::{LogSlot, Origin};
use crate::wire::codec;

/// Which of an origin's versions in `(after, upto]` live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment<'a> {
    /// Whose.
    pub origin: Origin,
    /// The version before the first.
    pub after: u64,
    /// The last version.
    pub upto: u64,
    /// Pairs of varints: how many are dead, how many live, and so on; the rest is dead.
    #[serde(serialize_with = "codec::bytes")]
    pub runs: &'a [u8],
}

impl Segment<'_> {
    /// Whether all that lives lies within it.
    pub(super) fn is_valid(&self) -> bool {
        let (mut read, mut rest) = (self.after, self.runs);
        while !rest.is_empty() {
            let Some(((dead, lives), after)) = codec::take::<(u64, u64)>(rest) else {
                return false;
            };
            match read.checked_add(dead).and_then(|at| at.checked_add(lives)) {
                Some(end) if end <= self.upto => (read, rest) = (end, after),
                _ => return false,
            }
        }
        read <= self.upto
    }
}

/// The most bytes of runs in a segment: together with what surrounds it, it fits any datagram.
const SEGMENT: usize = 200;

/// A [`Segment`] that is kept, or a grave.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    origin: Origin,
    after: u64,
    upto: u64,
    /// Nothing, where the origin has been forgotten.
    runs: Option<Vec<u8>>,
}

impl Kept {
    pub(super) fn new(segment: &Segment<'_>) -> Self {
        Self {
            origin: segment.origin,
            after: segment.after,
            upto: segment.upto,
            runs: Some(segment.runs.to_vec()),
        }
    }

    /// An origin has been forgotten; nothing of it lives up to here.
    pub(super) const fn gone(origin: Origin, upto: u64) -> Self {
        Self {
            origin,
            after: 0,
            upto,
            runs: None,
        }
    }

    /// As it is told.
    pub(super) fn piece(&self) -> Piece<'_> {
        let (origin, upto) = (self.origin, self.upto);
        match &self.runs {
            Some(runs) => Piece::Live(Segment {
                origin,
                after: self.after,
                upto,
                runs,
            }),
            None => Piece::Gone { origin, upto },
        }
    }

    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>().saturating_add(self.runs.as_ref().map_or(0, Vec::len))
    }
}

impl Map {
    /// The lists of all origins, in order, in segments, and the graves. O(n log n).
    pub(super) fn list(&self) -> Vec<Kept> {
        let mut dots: Vec<(LogSlot, u64)> = self
            .slab
            .slots()
            .map(|(_, held)| (held.log, held.version))
            .collect();
        dots.sort_unstable();
        let mut segments = Vec::new();
        for log in self.logs.iter() {
            let slot = self.logs.slot(log.origin).unwrap_or(LogSlot::MAX);
            let start = dots.partition_point(|dot| *dot < (slot, 0));
            let live = dots.get(start..).unwrap_or_default();
            let live = live.iter().take_while(|(other, _)| *other == slot);
            let mut versions = live.map(|(_, version)| *version).peekable();
            let (mut after, mut read, mut runs) = (0, 0_u64, Vec::new());
            while let Some(first) = versions.next() {
                let mut last = first;
                while let Some(next) = versions.next_if(|next| *next == last.saturating_add(1)) {
                    last = next;
                }
                let dead = first.saturating_sub(read).saturating_sub(1);
                let lives = last.saturating_sub(first).saturating_add(1);
                codec::append(&mut runs, &(dead, lives));
                read = last;
                if runs.len() > SEGMENT.saturating_sub(20) {
                    segments.push(Kept {
                        origin: log.origin,
                        after,
                        upto: read,
                        runs: Some(core::mem::take(&mut runs)),
                    });
                    after = read;
                }
            }
            segments.push(Kept {
                origin: log.origin,
                after,
                upto: log.frontier,
                runs: Some(runs),
            });
        }
        let graves = self.forgotten.graves();
        segments.extend(graves.map(|(origin, upto)| Kept::gone(origin, upto)));
        segments
    }
}

/// Lists that have arrived.
#[derive(Debug, Default)]
pub(super) struct Listing {
    origins: BTreeMap<Origin, Listed>,
    /// What the sender has forgotten, each up to where nothing of it lives.
    gone: BTreeMap<Origin, u64>,
}

/// What lives of an origin.
#[derive(Debug, Default)]
struct Listed {
    upto: u64,
    runs: Vec<(u64, u64)>,
}

impl Listing {
    /// Lays out what the segments say.
    pub(super) fn new(segments: &[Kept]) -> Self {
        let mut listing = Self::default();
        for segment in segments {
            let Some(runs) = &segment.runs else {
                listing.gone.insert(segment.origin, segment.upto);
                continue;
            };
            let listed = listing.origins.entry(segment.origin).or_default();
            let mut read = segment.after;
            let mut rest = runs.as_slice();
            while let Ok(((dead, lives), after)) = take_from_bytes::<(u64, u64)>(rest) {
                let first = read.saturating_add(dead).saturating_add(1);
                let last = read.saturating_add(dead).saturating_add(lives);
                listed.runs.push((first, last));
                read = last;
                rest = after;
            }
            listed.upto = listed.upto.max(segment.upto);
        }
        for listed in listing.origins.values_mut() {
            listed.runs.sort_unstable();
        }
        listing
    }

    /// Whether an origin is listed.
    pub(super) fn knows(&self, origin: Origin) -> bool {
        self.origins.contains_key(&origin)
    }

    /// Up to where nothing lives of an origin that the sender has forgotten, as far as it remembers.
    pub(super) fn grave(&self, origin: Origin) -> u64 {
        self.gone.get(&origin).copied().unwrap_or(0)
    }

    /// Up to where the sender claims to know what lives of an origin, if anything does.
    pub(super) fn upto(&self, origin: Origin) -> u64 {
        let listed = self.origins.get(&origin).map_or(0, |listed| listed.upto);
        listed.max(self.grave(origin))
    }

    /// All that the sender remembers to have forgotten.
    pub(super) fn graves(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.gone.iter().map(|(origin, upto)| (*origin, *upto))
    }

    /// Whether the sender knew this write, and that it is dead.
    pub(super) fn is_dead(&self, origin: Origin, version: u64) -> bool {
        let Some(listed) = self.origins.get(&origin) else {
            return version <= self.grave(origin);
        };
        let at = listed.runs.partition_point(|(first, _)| *first <= version);
        let run = at.checked_sub(1).and_then(|at| listed.runs.get(at));
        version <= listed.upto && run.is_none_or(|(_, last)| *last < version)
    }
}
