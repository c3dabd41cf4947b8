//! How a replica opens a new own log, under a later generation.

use alloc::vec::Vec;

use super::slab::{Held, WriteSlot};
use super::write::{CausalContext, Write};
use super::{DotList, Map, Origin, Put, Replaces};
use crate::hlc::Stamp;
use crate::identity::Generation;

/// How a replica's own log stands with its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnLog {
    /// As it should.
    Sound,
    /// A peer has pruned and forgotten it. What it holds must be written again under a later generation.
    Pruned,
    /// Another process has written under the same generation.
    Contested,
}

/// How a write is written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// Under this stamp.
    pub(super) stamp: Stamp,
    /// Its context does not name logs that began later.
    pub(super) limit: Stamp,
    /// How the log of the write stands.
    pub(super) standing: OwnLog,
}

impl Map {
    /// Opens a new log for own writes, under a later generation. Unless the old one is
    /// [`OwnLog::Sound`], the old one leaves the vector, and what it holds is written again.
    pub fn reopen(&mut self, generation: Generation, standing: OwnLog) {
        let old = self.own;
        if generation <= old.generation {
            return;
        }
        self.own = Origin { generation, ..old };
        self.drop_unpushed();
        let log = self.logs.slot(old).filter(|_| standing != OwnLog::Sound);
        if self.owes_marker || log.is_some() {
            self.write_prune_marker();
        }
        let Some(log) = log else { return };
        let mut writes: Vec<(u64, WriteSlot)> = self
            .slab
            .slots()
            .filter(|(_, held)| held.log == log)
            .map(|(slot, held)| (held.version, slot))
            .collect();
        writes.sort_unstable();
        for (version, slot) in writes {
            let Some(held) = self.slab.get(slot) else {
                continue;
            };
            let again = Again {
                stamp: held.write().stamp,
                limit: Stamp::from_bits(u64::MAX),
                standing,
            };
            self.write_again((old, version), slot, &again);
        }
        if standing == OwnLog::Pruned {
            self.prune_log(old);
        } else {
            self.remove_log(old);
        }
    }

    /// Writes in the own log what the write in this slot says, which has this dot. That one is dropped.
    pub(super) fn write_again(&mut self, dot: (Origin, u64), slot: WriteSlot, again: &Again) {
        let held = self.slab.get(slot);
        // An earlier one of these writes may have replaced it, and another may be in its slot now.
        let is_there = |held: &&Held| held.version == dot.1 && self.origin_of(held) == Some(dot.0);
        let Some(held) = held.filter(is_there) else {
            return;
        };
        let bytes = held.bytes.clone();
        let Ok(write) = postcard::from_bytes::<Write<'_>>(&bytes) else {
            debug_assert!(false, "a held write was decoded before");
            return;
        };
        let known = |(origin, _): &(Origin, u64)| origin.generation.stamp() <= again.limit;
        let mut dots: DotList = CausalContext(write.context)
            .into_iter()
            .filter(known)
            .collect();
        if again.standing == OwnLog::Contested {
            // The same dot may be another write elsewhere, so the context must not name it.
            let Ok(place) = self.key_index.find(&self.slab, write.key) else {
                debug_assert!(false, "the key of a held write is in the index");
                return;
            };
            self.unlink(place, slot);
        } else if dot.0 != self.own || write.replaces == Replaces::Context {
            dots.push(dot);
        }
        let put = Put {
            value: write.value,
            policy: write.policy,
            lifetime: write.lifetime,
        };
        let place = self.key_index.find(&self.slab, write.key);
        self.append(again.stamp, (write.key, place), put, write.replaces, &dots);
    }
}
