//! What time does: writes die, tombstones are collected, ghosts are forgotten; and how a log is
//! opened again that others have forgotten.

use alloc::vec::Vec;
use core::time::Duration;

use super::logs::{LogSlot, Origin};
use super::slab::Slot;
use super::write::{Context, Replaces, Write};
use super::{Dotted, Map, Put};
use crate::command::Policy;
use crate::identity::Generation;
use crate::shared_map::replica::delta_receiver::Own;
use crate::time::UnixTime;

/// The most tombstones that are looked at in one go.
const BATCH: usize = 4096;

/// Milliseconds for which others wait for a tombstone's writer to replace it. Short: who collected it
/// before learning what it hides reads that until then.
const PATIENCE: u64 = 60_000;

/// How much is remembered of logs that are closed and of which nothing lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// For how long they stay in the version vector.
    pub after: Duration,
    /// How many may do so.
    pub ghosts: usize,
    /// Of how many others it is remembered up to where nothing of them lives.
    pub graves: usize,
}

impl Map {
    /// Time has passed: values whose life is over are read no more.
    pub fn tick(&mut self, wall: UnixTime) {
        let before = self.wall.as_millis();
        if wall.as_millis() <= before {
            return;
        }
        let over: Vec<Slot> = self
            .mortal
            .range((before.saturating_add(1), 0)..=(wall.as_millis(), Slot::MAX))
            .map(|(_, slot)| *slot)
            .filter(|slot| {
                self.slab
                    .get(*slot)
                    .is_some_and(|held| held.write().value.is_some())
            })
            .collect();
        // One after the other, as they died: of each change it is told what was read before it.
        for slot in over {
            let Some(held) = self.slab.get(slot) else {
                continue;
            };
            let (key, origin) = (held.key().to_vec(), self.origin_of(held));
            let Ok(place) = self.order.find(&self.slab, &key) else {
                continue;
            };
            let stamp = held.write().stamp;
            let old = self.first_value(place);
            let bytes = Write {
                value: None,
                ..held.write()
            }
            .encode();
            self.slab.rewrite(slot, bytes);
            let new = self.first_value(place);
            if let Some(origin) = origin {
                self.tell_change(&key, old, new, origin, stamp);
            }
        }
        self.wall = wall;
    }

    /// When the next value dies by itself, if one does.
    #[must_use]
    pub fn next_death(&self) -> Option<UnixTime> {
        let later = (self.wall.as_millis().saturating_add(1), 0);
        let next = self.mortal.range(later..).next()?;
        Some(UnixTime::from_millis(next.0))
    }

    /// Collects what has been dead for `grace`, a few thousand at most. A tombstone that hides values
    /// is replaced by one that has seen them, and is dead from now on: at once by its own writer, and a
    /// minute later, or an eighth of `grace` if that is less, by anybody.
    pub fn collect(&mut self, grace: Duration) {
        let millis = |grace: Duration| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let wall = self.wall.as_millis();
        let Some(due) = wall.checked_sub(millis(grace)) else {
            return;
        };
        let patient = due.checked_sub(millis(grace).div_euclid(8).min(PATIENCE));
        let dead: Vec<(u64, Slot)> = self
            .mortal
            .range(..=(due, Slot::MAX))
            .take(BATCH)
            .copied()
            .collect();
        for (at, slot) in dead {
            let Some(held) = self.slab.get(slot) else {
                continue;
            };
            let (log, version) = (held.log, held.version);
            let mine = self.origin_of(held) == Some(self.own);
            if !self.hides_values(slot) {
                self.discard(slot);
                self.collected(log, version);
            } else if !self.is_outdated() && (mine || patient.is_some_and(|due| at <= due)) {
                self.supersede(slot);
            }
        }
    }

    /// Whether siblings would be read if this dead write were gone.
    fn hides_values(&self, slot: Slot) -> bool {
        let Some(held) = self.slab.get(slot) else {
            return false;
        };
        let write = held.write();
        let Ok(place) = self.order.find(&self.slab, write.key) else {
            return false;
        };
        let at = (write.stamp, self.origin_of(held));
        let mut hides = false;
        for (origin, other) in self.writes_of(self.order.first(place)) {
            if other.policy == Policy::LastWriteWins {
                if (other.stamp, Some(origin)) > at {
                    return false;
                }
                hides |= !self.is_dead(&other);
            }
        }
        write.policy == Policy::LastWriteWins && hides
    }

    /// Writes a tombstone over the last-write-wins siblings of a key, all of which one hides. What
    /// this replica keeps beside them stays.
    ///
    /// Under the stamp of the one that hides them: nobody deletes anything at this moment, and what
    /// somebody writes meanwhile who has not heard of it must not lose to it. Nor must what was written at
    /// the same moment and stood, since its writer comes after that of the one that hides them: where this
    /// replica comes later still, under the stamp before.
    fn supersede(&mut self, slot: Slot) {
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
        let Ok(place) = self.order.find(&self.slab, &key) else {
            return;
        };
        let dots = self.context_of(self.order.first(place), Replaces::Context, |write| {
            write.policy == Policy::LastWriteWins
        });
        let put = Put {
            lifetime: Some(age),
            ..Put::delete(Policy::LastWriteWins)
        };
        self.append(stamp, (&key, Ok(place)), put, Replaces::Context, &dots);
    }

    /// Nobody writes an origin's log any more. Once nothing in it lives, it is a ghost.
    pub fn close(&mut self, origin: Origin) {
        if origin != self.own {
            self.logs.close(origin, self.wall);
        }
    }

    /// Takes ghosts out of the vector that have been ones for long enough, and the eldest of those
    /// beyond the bound, but none while the own log is outdated; forgets the eldest of the graves beyond
    /// theirs. Tells how many ghosts it took.
    pub fn forget(&mut self, memory: Memory) -> usize {
        let taken = if self.is_outdated() {
            0
        } else {
            self.bury_ghosts(memory)
        };
        if self.forgotten.limit(memory.graves) {
            self.epoch = self.epoch.saturating_add(1);
        }
        taken
    }

    fn bury_ghosts(&mut self, memory: Memory) -> usize {
        let millis = u64::try_from(memory.after.as_millis()).unwrap_or(u64::MAX);
        let due = self.wall.as_millis().checked_sub(millis);
        // Beyond the bound by an eighth, so that many go at a time.
        let max = memory.ghosts;
        let crowded = self.logs.ghosts() > max.saturating_add(max.div_euclid(8));
        let beyond = if crowded {
            self.logs.ghosts().saturating_sub(max)
        } else {
            0
        };
        let mut ghosts: Vec<(Origin, UnixTime)> = self
            .logs
            .iter()
            .filter_map(|log| Some((log.origin, log.ghost_since?)))
            .collect();
        ghosts.sort_unstable_by_key(|(origin, _)| (origin.generation, origin.id));
        let is_due = |since: UnixTime| due.is_some_and(|due| since.as_millis() <= due);
        let gone: Vec<Origin> = ghosts
            .iter()
            .enumerate()
            .filter(|(n, (_, since))| *n < beyond || is_due(*since))
            .map(|(_, (origin, _))| *origin)
            .collect();
        let taken = gone.len();
        if taken > 0 {
            for origin in gone {
                self.bury(origin);
            }
            self.name_forgotten();
        }
        taken
    }

    /// Whether there are more graves than this by an eighth, so that it is time to forget some.
    #[must_use]
    pub fn has_more_graves_than(&self, max: usize) -> bool {
        self.forgotten.has_more_than(max)
    }

    /// Takes a log out of the vector of which nothing lives.
    pub(super) fn bury(&mut self, origin: Origin) {
        self.forgotten.bury(origin, self.frontier(origin));
        self.logs_remove(origin);
    }

    /// Takes a version of the own log that holds nothing, below a floor: whoever does not know it is
    /// told the lists, and whoever claims it has dropped what they do not name.
    pub(super) fn name_forgotten(&mut self) {
        let version = self.known(self.own).saturating_add(1);
        let Some(log) = self.open(self.own) else {
            return;
        };
        self.logs.mark(log, self.applied.latest());
        self.raise(log, version);
        self.collected(log, version);
        // A run across it would claim it without the lists.
        self.forget_unpushed();
        self.unnamed = false;
    }

    /// Forgets a log, all of whose writes have been dropped.
    pub(super) fn logs_remove(&mut self, origin: Origin) {
        if let Some(log) = self.logs.remove(origin) {
            self.applied.vacate(log.applied);
            self.epoch = self.epoch.saturating_add(1);
            self.unpruned = self.unpruned.saturating_add(1);
            if self.unpruned >= 64 {
                self.prune();
            }
        }
    }

    /// Leaves the dots of forgotten origins out of all contexts. O(writes).
    fn prune(&mut self) {
        self.unpruned = 0;
        let mut pruned = Vec::new();
        for (slot, held) in self.slab.slots() {
            let write = held.write();
            let context = Context(write.context);
            if !context.into_iter().any(|(origin, _)| self.refuses(origin)) {
                continue;
            }
            let dots: Dotted = context
                .into_iter()
                .filter(|(origin, _)| !self.refuses(*origin))
                .collect();
            let context = Context::encode(&dots);
            let bytes = Write {
                context: &context,
                ..write
            }
            .encode();
            pruned.push((slot, bytes));
        }
        for (slot, bytes) in pruned {
            self.slab.rewrite(slot, bytes);
        }
    }

    /// Opens a new log for own writes, under a later generation, and writes anew what the old one
    /// holds. The old one stays as it is where it is [`Own::Sound`].
    pub fn reopen(&mut self, generation: Generation, standing: Own) {
        let old = self.own;
        if generation <= old.generation {
            return;
        }
        self.own = Origin { generation, ..old };
        self.unpushed = super::Unpushed::default();
        let log = self.logs.slot(old).filter(|_| standing != Own::Sound);
        if self.unnamed || log.is_some() {
            self.name_forgotten();
        }
        let Some(log) = log else { return };
        let mut writes: Vec<(u64, Slot)> = self
            .slab
            .slots()
            .filter(|(_, held)| held.log == log)
            .map(|(slot, held)| (held.version, slot))
            .collect();
        writes.sort_unstable();
        for (version, slot) in writes {
            self.write_anew(old, version, slot, standing);
        }
        if standing == Own::Forgotten {
            self.bury(old);
        } else {
            self.logs_remove(old);
        }
    }

    fn write_anew(&mut self, old: Origin, version: u64, slot: Slot, standing: Own) {
        let Some(held) = self.slab.get(slot) else {
            return;
        };
        let bytes = held.bytes.clone();
        let Ok(write) = postcard::from_bytes::<Write<'_>>(&bytes) else {
            return;
        };
        let mut dots: Dotted = Context(write.context).into_iter().collect();
        if standing == Own::Contested {
            // Its dot may be another write's elsewhere.
            let Ok(place) = self.order.find(&self.slab, write.key) else {
                return;
            };
            self.unlink(place, slot, (LogSlot::MAX, 0));
        } else {
            dots.push((old, version));
        }
        let put = Put {
            value: write.value,
            policy: write.policy,
            lifetime: write.lifetime,
        };
        let place = self.order.find(&self.slab, write.key);
        self.append(write.stamp, (write.key, place), put, write.replaces, &dots);
    }
}
