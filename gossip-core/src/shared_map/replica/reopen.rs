//! How a replica opens a new own log, under a later generation.

use alloc::vec::Vec;

use super::slab::WriteSlot;
use super::write::{CausalContext, Write};
use super::{DotList, Map, Origin, Put};
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
            self.write_again(old, version, slot, standing);
        }
        if standing == OwnLog::Pruned {
            self.prune_log(old);
        } else {
            self.remove_log(old);
        }
    }

    /// Writes in the own log what the write in this slot of the `old` log says. That one is dropped.
    fn write_again(&mut self, old: Origin, version: u64, slot: WriteSlot, standing: OwnLog) {
        let Some(held) = self.slab.get(slot) else {
            return;
        };
        let bytes = held.bytes.clone();
        let Ok(write) = postcard::from_bytes::<Write<'_>>(&bytes) else {
            debug_assert!(false, "a held write was decoded before");
            return;
        };
        let mut dots: DotList = CausalContext(write.context).into_iter().collect();
        if standing == OwnLog::Contested {
            // The same dot may be another write elsewhere, so the context must not name it.
            let Ok(place) = self.key_index.find(&self.slab, write.key) else {
                debug_assert!(false, "the key of a held write is in the index");
                return;
            };
            self.unlink(place, slot);
        } else {
            dots.push((old, version));
        }
        let put = Put {
            value: write.value,
            policy: write.policy,
            lifetime: write.lifetime,
        };
        let place = self.key_index.find(&self.slab, write.key);
        self.append(write.stamp, (write.key, place), put, write.replaces, &dots);
    }
}
