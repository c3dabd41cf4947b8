//! How writes come in and go out, whoever wrote them.

use alloc::boxed::Box;

use smallvec::SmallVec;

use super::apply_order::Change;
use super::key_index::Place;
use super::logs::LogSlot;
use super::slab::Slot;
use super::{Context, Map, Write, write};
use crate::command::Key;

impl Map {
    /// Takes in a write that is above its log's frontier, unless something held replaces it.
    pub(super) fn insert(&mut self, log: LogSlot, bytes: Box<[u8]>) {
        let place = self.order.find(&self.slab, write::key_of(&bytes));
        self.insert_at(place, log, bytes);
    }

    /// The same, where the place of its key is known.
    pub(super) fn insert_at(
        &mut self,
        place: Result<Place, Place>,
        log: LogSlot,
        bytes: Box<[u8]>,
    ) {
        let Some(origin) = self.logs.at(log).map(|log| log.origin) else {
            return;
        };
        let Ok(write) = postcard::from_bytes::<Write<'_>>(&bytes) else {
            return;
        };
        let (version, dies) = (write.version, write.dies_at());
        let mut replaced: SmallVec<[Slot; 2]> = SmallVec::new();
        let mut collected: SmallVec<[(LogSlot, u64); 2]> = SmallVec::new();
        let mut concurrent = false;
        if let Ok(place) = place {
            for (slot, held) in self.slab.siblings(self.order.first(place)) {
                let Some(other) = self.origin_of(held) else {
                    continue;
                };
                let same = held.log == log && held.version == version;
                let held_write = held.write();
                if same || held_write.replaces(other, origin, version) {
                    return;
                }
                if write.replaces(origin, other, held.version) {
                    // Its writer had collected what it replaces: what that had replaced it does not
                    // tell, as if it had been collected here.
                    let carries =
                        |(other, upto)| write.replaces(origin, other, upto) || self.refuses(other);
                    if !Context(held_write.context).into_iter().all(carries) {
                        collected.push((held.log, held.version));
                    }
                    replaced.push(slot);
                } else {
                    concurrent |= held.log != log;
                }
            }
        }
        let told = self.notices.is_open().then(|| {
            let key = Key::new(write.key_text()).ok();
            let old = place.ok().and_then(|place| self.first_value(place));
            (key, old, write.stamp)
        });
        let Some(slot) = self.slab.insert(bytes, log, version, 0) else {
            return;
        };
        let place = match place {
            Err(place) => {
                self.order.insert(&self.slab, place, slot);
                None
            }
            Ok(place) => {
                self.order.add(&mut self.slab, place, slot);
                for slot in replaced {
                    self.unlink(place, slot, (log, version));
                }
                Some(place)
            }
        };
        for (log, version) in collected {
            self.collected(log, version);
        }
        self.logs.hold(log);
        if let Some(at) = dies {
            self.mortal.insert((at, slot));
        }
        self.append_change(Change::Write(slot));
        if let Some((Some(key), old, stamp)) = told {
            self.tell(key, place, slot, old, (origin, stamp), concurrent);
        }
    }

    /// Adds to the order of application, and keeps its gaps few.
    pub(super) fn append_change(&mut self, change: Change) {
        self.place_change(change);
        for _ in 0..2 {
            let Some(eldest) = self.applied.turn_over() else {
                return;
            };
            self.place_change(eldest);
        }
    }

    fn place_change(&mut self, change: Change) {
        let position = self.applied.push(change);
        match change {
            Change::Write(slot) => {
                if let Some(held) = self.slab.get_mut(slot) {
                    held.applied = position;
                }
            }
            Change::Frontier(log) => {
                let before = self.logs.set_applied(log, position);
                self.applied.vacate(before);
            }
        }
    }

    /// Raises a frontier, and puts that in the order of application.
    pub(super) fn raise(&mut self, log: LogSlot, frontier: u64) {
        if self.logs.raise(log, frontier) {
            self.append_change(Change::Frontier(log));
        }
    }

    /// Takes a write out that another one replaces.
    pub(super) fn unlink(&mut self, place: Place, slot: Slot, by: (LogSlot, u64)) -> bool {
        let own = self.logs.slot(self.own);
        if let Some(held) = self.slab.get(slot)
            && Some(held.log) == own
        {
            let by = (Some(by.0) == own).then_some(by.1);
            self.unpushed.replaced(held.version, by);
        }
        let gone = self.order.take(&mut self.slab, place, slot);
        self.drop_write(slot);
        gone
    }

    /// What a write had replaced is told by no other: whoever does not know it needs the lists.
    pub(super) fn collected(&mut self, log: LogSlot, version: u64) {
        if self.logs.raise_floor(log, version) {
            self.epoch = self.epoch.saturating_add(1);
        }
    }

    fn drop_write(&mut self, slot: Slot) {
        let Some(held) = self.slab.remove(slot) else {
            return;
        };
        self.applied.vacate(held.applied);
        self.logs.release(held.log);
        if let Some(at) = held.write().dies_at() {
            self.mortal.remove(&(at, slot));
        }
    }

    /// Takes a write out by its slot alone.
    pub(super) fn discard(&mut self, slot: Slot) {
        let Some(key) = self.slab.get(slot).map(|held| held.key().to_vec()) else {
            return;
        };
        let Ok(place) = self.order.find(&self.slab, &key) else {
            return;
        };
        let told = self.notices.is_open().then(|| self.first_value(place));
        let author = self.slab.get(slot).and_then(|held| {
            let origin = self.logs.at(held.log)?.origin;
            Some((origin, held.write().stamp))
        });
        // As if replaced by another's: it cannot be pushed any more.
        let gone = self.unlink(place, slot, (LogSlot::MAX, 0));
        if let (Some(old), Some((origin, stamp))) = (told, author) {
            let new = if gone { None } else { self.first_value(place) };
            self.tell_change(&key, old, new, origin, stamp);
        }
    }
}
