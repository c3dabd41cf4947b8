//! How writes enter and leave the replica, whether this node or another one wrote them.

use alloc::boxed::Box;

use smallvec::SmallVec;

use super::apply_order::Applied;
use super::key_index::KeyPlace;
use super::logs::LogSlot;
use super::slab::WriteSlot;
use super::{CausalContext, Map, Write, write};
use crate::command::Key;

impl Map {
    /// Merges a write that is above its log's frontier.
    ///
    /// If a held write of its key replaces it, nothing changes. Otherwise the replica holds it from now on.
    /// It drops the held writes that this one replaces, and where their contexts are lost it raises the
    /// floors of their logs. The application is told if what is read under the key has changed, or if the
    /// write is concurrent to another.
    pub(super) fn insert(&mut self, log: LogSlot, bytes: Box<[u8]>) {
        let place = self.key_index.find(&self.slab, write::key_of(&bytes));
        self.insert_at(place, log, bytes);
    }

    /// Merges a write as [`insert`](Self::insert) does, if the caller knows the place where its key is, or
    /// would be. Returns where the write is held.
    pub(super) fn insert_at(
        &mut self,
        place: Result<KeyPlace, KeyPlace>,
        log: LogSlot,
        bytes: Box<[u8]>,
    ) -> Option<WriteSlot> {
        let origin = self.logs.at(log)?.origin;
        let Ok(write) = postcard::from_bytes::<Write<'_>>(&bytes) else {
            debug_assert!(false, "a write is decoded before it is inserted");
            return None;
        };
        debug_assert!(write.version > self.frontier(origin), "the write is new");
        let (version, dies) = (write.version, write.dies_at());
        let mut replaced: SmallVec<[WriteSlot; 2]> = SmallVec::new();
        let mut collected: SmallVec<[(LogSlot, u64); 2]> = SmallVec::new();
        let mut concurrent = false;
        if let Ok(place) = place {
            for (slot, held) in self.slab.siblings(self.key_index.first(place)) {
                let Some(other) = self.origin_of(held) else {
                    continue;
                };
                let same = held.log == log && held.version == version;
                let held_write = held.write();
                if same || held_write.replaces(other, origin, version) {
                    self.died.note(origin, version);
                    return None;
                }
                if write.replaces(origin, other, held.version) {
                    // If the write does not carry the context of the write that it replaces, that context
                    // is lost: it was left out as too long, or its writer had dropped the replaced write as
                    // collected. So the replaced write counts as collected here, too.
                    let carries =
                        |(other, upto)| write.replaces(origin, other, upto) || self.refuses(other);
                    if !CausalContext(held_write.context).into_iter().all(carries) {
                        collected.push((held.log, held.version));
                    }
                    replaced.push(slot);
                } else {
                    concurrent |= held.log != log;
                }
            }
        }
        let told = self.changes.is_open().then(|| {
            let key = Key::new(write.key_text()).ok();
            let old = place.ok().and_then(|place| self.first_value(place));
            (key, old, write.stamp)
        });
        let slot = self.slab.insert(bytes, log, version, 0)?;
        let place = match place {
            Err(place) => {
                self.key_index.insert(&self.slab, place, slot);
                None
            }
            Ok(place) => {
                self.key_index.add(&mut self.slab, place, slot);
                for slot in replaced {
                    self.unlink(place, slot);
                }
                Some(place)
            }
        };
        for (log, version) in collected {
            self.note_collected(log, version);
        }
        self.logs.hold(log);
        if let Some(at) = dies {
            self.deaths.insert((at, slot));
        }
        self.append_applied(Applied::Write(slot));
        if let Some((Some(key), old, stamp)) = told {
            self.tell(key, place, slot, old, (origin, stamp), concurrent);
        }
        Some(slot)
    }

    /// Adds to the apply order, and keeps its gaps few.
    pub(super) fn append_applied(&mut self, applied: Applied) {
        self.append_entry(applied);
        for _ in 0..2 {
            let Some(oldest) = self.apply_order.turn_over() else {
                return;
            };
            self.append_entry(oldest);
        }
    }

    fn append_entry(&mut self, applied: Applied) {
        let position = self.apply_order.push(applied);
        match applied {
            Applied::Write(slot) => {
                let held = self.slab.get_mut(slot);
                debug_assert!(held.is_some(), "a dropped write leaves a gap");
                if let Some(held) = held {
                    held.position = position;
                }
            }
            Applied::Frontier(log) => {
                let before = self.logs.set_position(log, position);
                self.apply_order.vacate(before);
            }
        }
    }

    /// Raises a frontier, and adds that to the apply order.
    pub(super) fn raise(&mut self, log: LogSlot, frontier: u64) {
        if self.logs.raise(log, frontier) {
            self.append_applied(Applied::Frontier(log));
        }
    }

    /// Drops a write of the key at a place. Tells whether the key is gone.
    pub(super) fn unlink(&mut self, place: KeyPlace, slot: WriteSlot) -> bool {
        let own = self.logs.slot(self.own);
        if let Some(held) = self.slab.get(slot)
            && Some(held.log) == own
        {
            self.unpushed.keep(held.version, &held.bytes);
        }
        let gone = self.key_index.take(&mut self.slab, place, slot);
        self.drop_write(slot);
        gone
    }

    /// Notes that a write has been collected. Nothing tells any more what it had replaced, so a replica that
    /// does not know it needs the live set.
    pub(super) fn note_collected(&mut self, log: LogSlot, version: u64) {
        if self.logs.raise_floor(log, version) {
            // The write itself is noted as dead when it is dropped.
            self.epoch = self.epoch.saturating_add(1);
        }
    }

    fn drop_write(&mut self, slot: WriteSlot) {
        let Some(held) = self.slab.remove(slot) else {
            debug_assert!(false, "a write is dropped once");
            return;
        };
        if let Some(log) = self.logs.at(held.log) {
            self.died.note(log.origin, held.version);
        }
        self.apply_order.vacate(held.position);
        self.logs.release(held.log);
        if let Some(at) = held.write().dies_at() {
            let was_due = self.deaths.remove(&(at, slot));
            debug_assert!(was_due, "every write that dies has its entry");
        }
    }

    /// Drops the write in a slot, and tells what that changes.
    pub(super) fn discard(&mut self, slot: WriteSlot) {
        let Some(key) = self.slab.get(slot).map(|held| held.key().to_vec()) else {
            return;
        };
        let Ok(place) = self.key_index.find(&self.slab, &key) else {
            debug_assert!(false, "the key of a held write is in the index");
            return;
        };
        let told = self.changes.is_open().then(|| self.first_value(place));
        let author = self
            .slab
            .get(slot)
            .and_then(|held| Some((self.origin_of(held)?, held.write().stamp)));
        let gone = self.unlink(place, slot);
        if let (Some(old), Some((origin, stamp))) = (told, author) {
            let new = if gone { None } else { self.first_value(place) };
            self.tell_change(&key, old, new, origin, stamp);
        }
    }
}
