//! Local writes: what they replace, and how large they are.

use super::key_index::KeyPlace;
use super::slab::WriteSlot;
use super::{CausalContext, DotList, Map, Origin, Replaces, Write};
use crate::command::{Key, Policy};
use crate::hlc::Stamp;

/// The most bytes that a write takes beyond its key, its value and its context.
const WRITE_HEAD: usize = 48;

/// The most bytes of a dot in a context: an origin and a varint.
const DOT: usize = 26;

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

impl Map {
    /// Writes a key. The write replaces everything that is known of the key. `stamp` must be later than
    /// every stamp seen. Returns the version.
    pub fn put(&mut self, stamp: Stamp, key: &Key, put: Put<'_>) -> u64 {
        let key = key.as_str().as_bytes();
        let place = self.key_index.find(&self.slab, key);
        let dots = match place {
            Ok(place) => self.context_of(self.key_index.first(place), Replaces::Own, |_| true),
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
                let dots = self.context_of(first, Replaces::Own, |_| true);
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

    /// The context of a write that replaces the `chosen` writes of a key.
    pub(super) fn context_of(
        &self,
        first: WriteSlot,
        replaces: Replaces,
        chosen: impl Fn(&Write<'_>) -> bool,
    ) -> DotList {
        let mut dots = DotList::new();
        let mut note = |origin: Origin, version: u64| {
            let implied = origin == self.own && replaces == Replaces::Own;
            if implied || self.refuses(origin) {
                return;
            }
            match dots.iter_mut().find(|(other, _)| *other == origin) {
                Some((_, upto)) => *upto = version.max(*upto),
                None => dots.push((origin, version)),
            }
        };
        for (origin, write) in self.writes_of(first) {
            if chosen(&write) {
                for (origin, version) in CausalContext(write.context) {
                    note(origin, version);
                }
                note(origin, write.version);
            }
        }
        dots
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
