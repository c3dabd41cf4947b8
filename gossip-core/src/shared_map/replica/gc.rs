//! What time does to writes: values expire, and tombstones are collected.

use alloc::vec::Vec;
use core::time::Duration;

use super::slab::WriteSlot;
use super::write::{Replaces, Write};
use super::{Map, Origin, Put};
use crate::command::Policy;
use crate::time::UnixTime;

/// The most tombstones that one call looks at.
const BATCH: usize = 4096;

/// Milliseconds for which other replicas leave it to a tombstone's writer to replace it. Short: a replica
/// that has collected the tombstone before it learns what that hides reads the hidden values until then.
const PATIENCE: u64 = 60_000;

impl Map {
    /// Sets the time. Values whose lifetime is over are not read any more.
    pub fn tick(&mut self, wall: UnixTime) {
        let before = self.wall.as_millis();
        if wall.as_millis() <= before {
            return;
        }
        let expired: Vec<WriteSlot> = self
            .deaths
            .range((before.saturating_add(1), 0)..=(wall.as_millis(), WriteSlot::MAX))
            .map(|(_, slot)| *slot)
            .filter(|slot| {
                self.slab
                    .get(*slot)
                    .is_some_and(|held| held.write().value.is_some())
            })
            .collect();
        // One after the other in the order of their deaths, so that each change tells what was read
        // before it.
        for slot in expired {
            self.expire(slot);
        }
        self.wall = wall;
    }

    /// Takes the value of a write, and tells what that changes.
    fn expire(&mut self, slot: WriteSlot) {
        let Some(held) = self.slab.get(slot) else {
            debug_assert!(false, "`deaths` lists held writes");
            return;
        };
        let (key, origin) = (held.key().to_vec(), self.origin_of(held));
        let Ok(place) = self.key_index.find(&self.slab, &key) else {
            debug_assert!(false, "the key of a held write is in the index");
            return;
        };
        let write = held.write();
        let stamp = write.stamp;
        let old = self.first_value(place);
        let bytes = Write {
            value: None,
            ..write
        }
        .encode();
        self.slab.rewrite(slot, bytes);
        let new = self.first_value(place);
        if let Some(origin) = origin {
            self.tell_change(&key, old, new, origin, stamp);
        }
    }

    /// When the next value expires, if one does.
    #[must_use]
    pub fn next_death(&self) -> Option<UnixTime> {
        let later = (self.wall.as_millis().saturating_add(1), 0);
        let next = self.deaths.range(later..).next()?;
        Some(UnixTime::from_millis(next.0))
    }

    /// Collects writes that have been dead for `grace`, a few thousand at most.
    ///
    /// A tombstone that hides values is replaced instead, by one that has seen them and is dead from now
    /// on. Its own writer does so at once. Others do so a minute later, or after an eighth of `grace` if
    /// that is less.
    pub fn collect(&mut self, grace: Duration) {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let Some(due) = self.wall.as_millis().checked_sub(grace) else {
            return;
        };
        let patient = due.checked_sub(grace.div_euclid(8).min(PATIENCE));
        let dead: Vec<(u64, WriteSlot)> = self
            .deaths
            .range(..=(due, WriteSlot::MAX))
            .take(BATCH)
            .copied()
            .collect();
        for (at, slot) in dead {
            // A tombstone of this batch may have been replaced together with another one.
            let Some(held) = self.slab.get(slot) else {
                continue;
            };
            let (log, version) = (held.log, held.version);
            let is_own = self.origin_of(held) == Some(self.own);
            if !self.hides_values(slot) {
                self.discard(slot);
                self.note_collected(log, version);
            } else if !self.is_outdated() && (is_own || patient.is_some_and(|due| at <= due)) {
                self.supersede(slot);
            }
        }
    }

    /// Collects the earliest dead writes before their time, a few thousand at most, until the map has no more
    /// than `bytes`, or no more than `kept` bytes of it are dead. Those that hide values stay.
    pub fn relieve(&mut self, bytes: usize, kept: usize) {
        let now = (self.wall.as_millis(), WriteSlot::MAX);
        let dead: Vec<WriteSlot> = self
            .deaths
            .range(..=now)
            .take(BATCH)
            .map(|(_, slot)| *slot)
            .collect();
        for slot in dead {
            if self.bytes() <= bytes || self.dead_bytes() <= kept {
                break;
            }
            if let Some(held) = self.slab.get(slot)
                && !self.hides_values(slot)
            {
                let (log, version) = (held.log, held.version);
                self.discard(slot);
                self.note_collected(log, version);
            }
        }
    }

    /// Whether siblings would be read if this dead write were gone.
    fn hides_values(&self, slot: WriteSlot) -> bool {
        let Some(held) = self.slab.get(slot) else {
            return false;
        };
        let write = held.write();
        let Ok(place) = self.key_index.find(&self.slab, write.key) else {
            debug_assert!(false, "the key of a held write is in the index");
            return false;
        };
        let at = (write.stamp, self.origin_of(held));
        let mut hides = false;
        for (origin, other) in self.writes_of(self.key_index.first(place)) {
            if other.policy == Policy::LastWriteWins {
                if (other.stamp, Some(origin)) > at {
                    return false;
                }
                hides |= !self.is_dead(&other);
            }
        }
        write.policy == Policy::LastWriteWins && hides
    }

    /// Writes a tombstone over the last-write-wins siblings of a key, all of which the tombstone in this
    /// slot hides. Siblings that are kept stay, and so does the old tombstone if the new one would take
    /// such a sibling away.
    ///
    /// The new tombstone has the stamp of the old one, because nobody deletes anything at this moment: a
    /// write that some node makes meanwhile without having heard of it must not lose to it. Neither must a
    /// write with the stamp of the old one that stood because its origin is later. So if this replica's
    /// origin is later than that of the old tombstone, the new one has the stamp before.
    fn supersede(&mut self, slot: WriteSlot) {
        let Some(held) = self.slab.get(slot) else {
            return;
        };
        let (key, mut stamp) = (held.key().to_vec(), held.write().stamp);
        if self.origin_of(held) < Some(self.own) {
            stamp = stamp.previous();
        }
        let age = self
            .wall
            .as_millis()
            .saturating_sub(stamp.time().as_millis());
        let Ok(place) = self.key_index.find(&self.slab, &key) else {
            return;
        };
        let first = self.key_index.first(place);
        let is_chosen = |write: &Write<'_>| write.policy == Policy::LastWriteWins;
        let dots = self.context_of(first, Replaces::Context, is_chosen);
        // A context names an origin up to a version. Where it would also cover an earlier sibling that the
        // origin keeps, the old tombstone has to stay.
        let is_covered = |(origin, write): (Origin, Write<'_>)| {
            let covers = |(other, upto): &(Origin, u64)| *other == origin && write.version <= *upto;
            !is_chosen(&write) && dots.iter().any(covers)
        };
        if self.writes_of(first).any(is_covered) {
            return;
        }
        let put = Put {
            lifetime: Some(age),
            ..Put::delete(Policy::LastWriteWins)
        };
        self.append(stamp, (&key, Ok(place)), put, Replaces::Context, &dots);
    }
}
