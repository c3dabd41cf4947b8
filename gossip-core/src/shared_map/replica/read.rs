//! What is read of a map: by key, by prefix, and which of several siblings.

use core::cmp::Reverse;

use smallvec::SmallVec;

use super::key_index::KeyPlace;
use super::slab::WriteSlot;
use super::{Map, Origin, Write};
use crate::command::{Policy, Value};
use crate::hlc::Stamp;

/// A value that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading<'a> {
    /// The value.
    pub value: &'a [u8],
    /// The origin that wrote it.
    pub writer: Origin,
    /// The time of the write, by the writer's clock.
    pub stamp: Stamp,
    /// What happens when another node writes the key without knowing this write.
    pub policy: Policy,
}

impl Map {
    /// What is read under a key: the latest value if there are several.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Reading<'_>> {
        let place = self.key_index.find(&self.slab, key).ok()?;
        self.latest_of(self.key_index.first(place))
    }

    /// The first of what [`read`](Self::read) returns. O(siblings), and allocates nothing.
    pub(super) fn latest_of(&self, first: WriteSlot) -> Option<Reading<'_>> {
        let at = |(origin, write): &(Origin, Write<'_>)| (write.stamp, *origin);
        let mut kept: Option<(Origin, Write<'_>)> = None;
        let mut last: Option<(Origin, Write<'_>)> = None;
        for sibling in self.writes_of(first) {
            let latest = match sibling.1.policy {
                Policy::KeepSiblings if self.is_dead(&sibling.1) => continue,
                Policy::KeepSiblings => &mut kept,
                Policy::LastWriteWins => &mut last,
            };
            if latest.as_ref().is_none_or(|held| at(held) < at(&sibling)) {
                *latest = Some(sibling);
            }
        }
        let last = last.filter(|(_, write)| !self.is_dead(write));
        let latest = [kept, last].into_iter().flatten().max_by_key(at);
        latest.and_then(|(origin, write)| self.reading(origin, &write))
    }

    /// Every value that is read under a key, the latest first.
    #[must_use]
    pub fn siblings(&self, key: &[u8]) -> SmallVec<[Reading<'_>; 2]> {
        match self.key_index.find(&self.slab, key) {
            Ok(place) => self.read(self.key_index.first(place)),
            Err(_) => SmallVec::new(),
        }
    }

    /// The keys that begin with `prefix`, in order, each with what is read under it.
    pub fn prefix<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a str, Reading<'a>)> + 'a {
        let (Ok(start) | Err(start)) = self.key_index.find(&self.slab, prefix);
        self.key_index
            .from(start)
            .map_while(move |first| {
                let key = self.slab.get(first)?.key();
                key.starts_with(prefix).then_some((key, first))
            })
            .filter_map(|(key, first)| {
                let key = core::str::from_utf8(key).ok()?;
                Some((key, self.latest_of(first)?))
            })
    }

    /// What is read of the siblings from `first` on, the latest first.
    pub(super) fn read(&self, first: WriteSlot) -> SmallVec<[Reading<'_>; 2]> {
        let mut readings: SmallVec<[Reading<'_>; 2]> = SmallVec::new();
        let mut last: Option<((Stamp, Origin), Write<'_>)> = None;
        for (origin, write) in self.writes_of(first) {
            match write.policy {
                Policy::KeepSiblings => readings.extend(self.reading(origin, &write)),
                Policy::LastWriteWins => {
                    let at = (write.stamp, origin);
                    if last.as_ref().is_none_or(|(latest, _)| *latest < at) {
                        last = Some((at, write));
                    }
                }
            }
        }
        if let Some(((_, origin), write)) = last {
            readings.extend(self.reading(origin, &write));
        }
        if readings.len() > 1 {
            readings.sort_unstable_by_key(|reading| Reverse((reading.stamp, reading.writer)));
        }
        readings
    }

    fn reading<'a>(&self, writer: Origin, write: &Write<'a>) -> Option<Reading<'a>> {
        if self.is_dead(write) {
            return None;
        }
        Some(Reading {
            value: write.value?,
            writer,
            stamp: write.stamp,
            policy: write.policy,
        })
    }

    /// Whether a write is a tombstone or has expired.
    pub(super) fn is_dead(&self, write: &Write<'_>) -> bool {
        write
            .dies_at()
            .is_some_and(|at| write.value.is_none() || at <= self.wall.as_millis())
    }

    /// The writes of one key from `first` on, each with its origin.
    pub(super) fn writes_of(&self, first: WriteSlot) -> impl Iterator<Item = (Origin, Write<'_>)> {
        self.slab
            .siblings(first)
            .filter_map(|(_, held)| Some((self.origin_of(held)?, held.write())))
    }

    /// The value that `get` returns for the key at a place.
    pub(super) fn first_value(&self, place: KeyPlace) -> Option<Value> {
        Value::new(self.latest_of(self.key_index.first(place))?.value).ok()
    }
}
