//! How logs leave the version vector: closed, empty, pruned, and at last forgotten.
//!
//! [`pruned_origins`](super::pruned_origins) says why this needs prune markers.

use alloc::vec::Vec;
use core::time::Duration;

use super::logs::Origin;
use super::write::{CausalContext, Write};
use super::{DotList, Map};
use crate::time::UnixTime;

/// After so many pruned logs, their dots are left out of all contexts.
const TRIM: usize = 64;

/// How much is remembered of closed logs that hold nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneLimits {
    /// For how long an empty log stays in the version vector.
    pub after: Duration,
    /// How many empty logs may stay there.
    pub empty_logs: usize,
    /// How many pruned origins are remembered.
    pub pruned_origins: usize,
}

impl Map {
    /// Closes an origin's log: nobody writes it any more. From the moment when it holds nothing, it is an
    /// empty log.
    pub fn close(&mut self, origin: Origin) {
        if origin != self.own {
            self.logs.close(origin, self.wall);
        }
    }

    /// Prunes the empty logs that have been empty for long enough, and the earliest of those beyond the
    /// limit, but none while the own log is outdated. Forgets the earliest pruned origins beyond their
    /// limit. Returns how many logs it has pruned.
    pub fn prune(&mut self, limits: PruneLimits) -> usize {
        let pruned = if self.is_outdated() {
            0
        } else {
            self.prune_empty_logs(limits)
        };
        if self.pruned_origins.limit(limits.pruned_origins) {
            self.begin_epoch();
        }
        pruned
    }

    fn prune_empty_logs(&mut self, limits: PruneLimits) -> usize {
        let millis = u64::try_from(limits.after.as_millis()).unwrap_or(u64::MAX);
        let due = self.wall.as_millis().checked_sub(millis);
        // Those beyond the limit go when they are an eighth, so that many go at a time.
        let (empty, max) = (self.logs.empty(), limits.empty_logs);
        let is_crowded = empty > max.saturating_add(max.div_euclid(8));
        let beyond = if is_crowded {
            empty.saturating_sub(max)
        } else {
            0
        };
        let mut logs: Vec<(Origin, UnixTime)> = self
            .logs
            .iter()
            .filter_map(|log| Some((log.origin, log.empty_since?)))
            .collect();
        debug_assert_eq!(logs.len(), empty, "every empty log is counted");
        logs.sort_unstable_by_key(|(origin, _)| (origin.generation, origin.id));
        let is_due = |since: UnixTime| due.is_some_and(|due| since.as_millis() <= due);
        let pruned: Vec<Origin> = logs
            .iter()
            .enumerate()
            .filter(|(n, (_, since))| *n < beyond || is_due(*since))
            .map(|(_, (origin, _))| *origin)
            .collect();
        let count = pruned.len();
        if count > 0 {
            for origin in pruned {
                self.prune_log(origin);
            }
            self.write_prune_marker();
        }
        count
    }

    /// Whether there are so many more pruned origins than `max` that it is time to forget some.
    #[must_use]
    pub fn has_more_pruned_origins_than(&self, max: usize) -> bool {
        self.pruned_origins.has_more_than(max)
    }

    /// Takes a log that holds nothing out of the vector, and remembers its frontier.
    pub(super) fn prune_log(&mut self, origin: Origin) {
        self.pruned_origins.insert(origin, self.frontier(origin));
        self.remove_log(origin);
    }

    /// Writes a prune marker: a version of the own log that holds nothing and is below the floor. A
    /// replica that does not know it is told the live set. A replica that claims it has dropped what the
    /// live set does not list.
    pub(super) fn write_prune_marker(&mut self) {
        let version = self.known(self.own).saturating_add(1);
        let Some(log) = self.open(self.own) else {
            debug_assert!(false, "there is room for the own log");
            return;
        };
        self.logs.mark(log, self.apply_order.latest());
        self.raise(log, version);
        self.note_collected(log, version);
        // A pushed run across the marker would claim it without the live set.
        self.drop_unpushed();
        self.owes_marker = false;
    }

    /// Takes a log out of the vector, all of whose writes have been dropped.
    pub(super) fn remove_log(&mut self, origin: Origin) {
        let Some(log) = self.logs.remove(origin) else {
            debug_assert!(false, "a log is removed once");
            return;
        };
        self.apply_order.vacate(log.position);
        self.begin_epoch();
        self.pruned_since_trim = self.pruned_since_trim.saturating_add(1);
        if self.pruned_since_trim >= TRIM {
            self.trim_contexts();
        }
    }

    /// Leaves the dots of refused origins out of all contexts. O(writes).
    fn trim_contexts(&mut self) {
        self.pruned_since_trim = 0;
        let mut trimmed = Vec::new();
        for (slot, held) in self.slab.slots() {
            let write = held.write();
            let context = CausalContext(write.context);
            if !context.into_iter().any(|(origin, _)| self.refuses(origin)) {
                continue;
            }
            let dots: DotList = context
                .into_iter()
                .filter(|(origin, _)| !self.refuses(*origin))
                .collect();
            let context = CausalContext::encode(&dots);
            let bytes = Write {
                context: &context,
                ..write
            }
            .encode();
            trimmed.push((slot, bytes));
        }
        for (slot, bytes) in trimmed {
            self.slab.rewrite(slot, bytes);
        }
    }
}
