//! Local writes: what they replace, and how large they are.

use core::cmp::Reverse;

use smallvec::SmallVec;

use super::key_index::KeyPlace;
use super::slab::WriteSlot;
use super::{CausalContext, DotList, Map, Origin, Replaces, Write};
use crate::command::{Key, Policy};
use crate::hlc::Stamp;

/// The most bytes that a write takes beyond its key, its value and its context.
const WRITE_HEAD: usize = 48;

/// The most bytes of a dot in a context: an origin and a varint.
const DOT: usize = 26;

/// A context of more dots than this names only the writes that are replaced, not what these had replaced.
/// One dot takes 20 bytes in each datagram. What is left out costs a live set where a peer needs a delta.
pub(super) const MAX_CONTEXT: usize = 2;

/// The most siblings of last-write-wins that a write replaces. Later writes replace the others.
const MAX_REPLACED: usize = 32;

/// What a local write says.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The value, or `None` to delete.
    pub value: Option<&'a [u8]>,
    /// What happens when another node writes the key without knowing this write.
    pub policy: Policy,
    /// Milliseconds after the stamp at which it expires.
    pub lifetime: Option<u64>,
}

impl<'a> Put<'a> {
    /// A value that stays.
    #[must_use]
    pub const fn value(value: &'a [u8], policy: Policy) -> Self {
        Self {
            value: Some(value),
            policy,
            lifetime: None,
        }
    }

    /// A tombstone.
    #[must_use]
    pub const fn delete(policy: Policy) -> Self {
        Self {
            value: None,
            policy,
            lifetime: None,
        }
    }
}

/// Adds a dot to a version vector.
fn note(dots: &mut DotList, (origin, version): (Origin, u64)) {
    match dots.iter_mut().find(|(other, _)| *other == origin) {
        Some((_, upto)) => *upto = version.max(*upto),
        None => dots.push((origin, version)),
    }
}

impl Map {
    /// Writes a key. The write replaces everything that is known of the key, but at most 32 of its
    /// last-write-wins siblings, the latest. `stamp` must be later than every stamp seen. Returns the version.
    pub fn put(&mut self, stamp: Stamp, key: &Key, put: Put<'_>) -> u64 {
        let key = key.as_str().as_bytes();
        let place = self.key_index.find(&self.slab, key);
        let dots = match place {
            Ok(place) => self.context_to_replace(self.key_index.first(place)),
            Err(_) => DotList::new(),
        };
        self.append(stamp, (key, place), put, Replaces::Own, &dots)
    }

    /// How many values are read under a key, and the most bytes that a write of this value would take.
    #[must_use]
    pub fn weigh(&self, key: &Key, value: Option<&[u8]>) -> (usize, usize) {
        let key = key.as_str().as_bytes();
        let (siblings, context) = match self.key_index.find(&self.slab, key) {
            Ok(place) => {
                let first = self.key_index.first(place);
                let dots = self.context_to_replace(first);
                (self.read(first).len(), dots.len())
            }
            Err(_) => (0, 0),
        };
        let size = context
            .saturating_mul(DOT)
            .saturating_add(key.len())
            .saturating_add(value.map_or(0, <[u8]>::len))
            .saturating_add(WRITE_HEAD);
        (siblings, size)
    }

    /// The context of a write that replaces what is known of a key.
    ///
    /// After many nodes have written a key at once, there are many siblings. If the policy is
    /// last-write-wins, all but the latest of them are unread, so it does no harm to leave the earliest to
    /// later writes. Siblings that are kept must all be replaced, because they would be read beside the
    /// write.
    fn context_to_replace(&self, first: WriteSlot) -> DotList {
        let is_hidden = |write: &Write<'_>| write.policy == Policy::LastWriteWins;
        let mut stamps: SmallVec<[Stamp; 4]> = self
            .writes_of(first)
            .filter(|(_, write)| is_hidden(write))
            .map(|(_, write)| write.stamp)
            .collect();
        stamps.sort_unstable_by_key(|stamp| Reverse(*stamp));
        let earliest = stamps.get(MAX_REPLACED).copied();
        self.context_of(first, Replaces::Own, |write| {
            !is_hidden(write) || Some(write.stamp) > earliest
        })
    }

    /// The context of a write that replaces the `chosen` writes of a key: their dots, and what they had
    /// replaced unless that is much.
    pub(super) fn context_of(
        &self,
        first: WriteSlot,
        replaces: Replaces,
        chosen: impl Fn(&Write<'_>) -> bool,
    ) -> DotList {
        let is_named = |origin: Origin| {
            let is_implied = origin == self.own && replaces == Replaces::Own;
            !is_implied && !self.refuses(origin)
        };
        let mut direct = DotList::new();
        let mut whole = DotList::new();
        for (origin, write) in self.writes_of(first).filter(|(_, write)| chosen(write)) {
            let dot = (origin, write.version);
            if is_named(origin) {
                note(&mut direct, dot);
                note(&mut whole, dot);
            }
            let context = CausalContext(write.context).into_iter();
            for dot in context.filter(|(origin, _)| is_named(*origin)) {
                note(&mut whole, dot);
            }
        }
        if whole.len() > self.max_context {
            direct
        } else {
            whole
        }
    }

    /// Adds one more write to the own log. `place` is where its key is, or would be.
    pub(super) fn append(
        &mut self,
        stamp: Stamp,
        (key, place): (&[u8], Result<KeyPlace, KeyPlace>),
        put: Put<'_>,
        replaces: Replaces,
        dots: &DotList,
    ) -> u64 {
        let version = self.known(self.own).saturating_add(1);
        let context = CausalContext::encode(dots);
        let write = Write {
            key,
            stamp,
            version,
            policy: put.policy,
            replaces,
            lifetime: put.lifetime,
            value: put.value,
            context: &context,
        };
        let Some(log) = self.open(self.own) else {
            debug_assert!(false, "there is room for the own log");
            return version;
        };
        self.logs.mark(log, self.apply_order.latest());
        let slot = self.insert_at(place, log, write.encode());
        self.raise(log, version);
        debug_assert!(slot.is_some(), "nothing replaces the latest write");
        if let Some(slot) = slot {
            self.unpushed.add(version, slot);
        }
        version
    }
}
