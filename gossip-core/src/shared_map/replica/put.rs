//! Local writes: what they replace, and how large they are.

use super::key_index::Place;
use super::slab::Slot;
use super::{Context, Dotted, Map, Origin, Replaces, Write};
use crate::command::{Key, Policy};
use crate::hlc::Stamp;

/// The most bytes that a write takes beyond its key, its value and its context.
const WRITE_HEAD: usize = 48;

/// What a local write says.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The value, or `None` to delete.
    pub value: Option<&'a [u8]>,
    /// What becomes of it when somebody else writes the key without knowing it.
    pub policy: Policy,
    /// Milliseconds after the stamp at which it dies by itself.
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
    /// Writes a key: replaces everything that is known of it. `stamp` must be later than every
    /// stamp seen. Returns the version.
    pub fn put(&mut self, stamp: Stamp, key: &Key, put: Put<'_>) -> u64 {
        let key = key.as_str().as_bytes();
        let place = self.order.find(&self.slab, key);
        let dots = match place {
            Ok(place) => self.context_of(self.order.first(place), Replaces::Own, |_| true),
            Err(_) => Dotted::new(),
        };
        self.append(stamp, (key, place), put, Replaces::Own, &dots)
    }

    /// How many values are read under a key, and how large a write of it would be, in bytes at most.
    #[must_use]
    pub fn weigh(&self, key: &Key, value: Option<&[u8]>) -> (usize, usize) {
        let key = key.as_str().as_bytes();
        let (siblings, context) = match self.order.find(&self.slab, key) {
            Ok(place) => {
                let first = self.order.first(place);
                let dots = self.context_of(first, Replaces::Own, |_| true);
                (self.read(first).len(), dots.len())
            }
            Err(_) => (0, 0),
        };
        let size = context
            .saturating_mul(26)
            .saturating_add(key.len())
            .saturating_add(value.map_or(0, <[u8]>::len))
            .saturating_add(WRITE_HEAD);
        (siblings, size)
    }

    /// The version vector of those of a key's writes that are to be replaced.
    pub(super) fn context_of(
        &self,
        first: Slot,
        replaces: Replaces,
        chosen: impl Fn(&Write<'_>) -> bool,
    ) -> Dotted {
        let mut dots = Dotted::new();
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
                for (origin, version) in Context(write.context) {
                    note(origin, version);
                }
                note(origin, write.version);
            }
        }
        dots
    }

    /// One more write of the own log, of a key that is at this place, or would be.
    pub(super) fn append(
        &mut self,
        stamp: Stamp,
        (key, place): (&[u8], Result<Place, Place>),
        put: Put<'_>,
        replaces: Replaces,
        dots: &Dotted,
    ) -> u64 {
        let version = self.known(self.own).saturating_add(1);
        let context = Context::encode(dots);
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
            return version;
        };
        self.logs.mark(log, self.applied.latest());
        self.insert_at(place, log, write.encode());
        self.raise(log, version);
        self.unpushed.written(version);
        version
    }
}
