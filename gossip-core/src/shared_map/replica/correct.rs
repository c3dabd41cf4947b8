//! What a replica does after its node's clock was ahead: it writes again what others refuse for its stamp.
//!
//! The later write replaces the one that is refused, as any later write of the same node does. Where a log itself began
//! in the future, others know nothing of it. So its writes move to the own log, and no context names it.

use alloc::vec::Vec;
use core::time::Duration;

use super::reopen::{Again, OwnLog};
use super::{Map, Origin};
use crate::hlc::Stamp;
use crate::identity::Generation;

impl Map {
    /// Writes again what bears a stamp later than `limit` or is in a log that began later: each write `by` earlier, but
    /// at the stamp of `generation` at the latest. If the own log began later than `limit`, the next one is opened
    /// under `generation`. O(writes).
    pub fn correct_stamps(&mut self, limit: Stamp, by: Duration, generation: Generation) {
        let is_future = |origin: Origin| origin.generation.stamp() > limit;
        self.drop_unpushed();
        if is_future(self.own) {
            self.own.generation = generation;
        }
        let held = self.slab.slots().filter_map(|(slot, held)| {
            let (origin, stamp) = (self.origin_of(held)?, held.write().stamp);
            let is_refused = is_future(origin) || stamp > limit;
            is_refused.then_some((stamp, origin, held.version, slot))
        });
        let mut refused: Vec<_> = held.collect();
        refused.sort_unstable();
        for (stamp, origin, version, slot) in refused {
            let again = Again {
                stamp: stamp.earlier(by).min(generation.stamp()),
                limit,
                standing: if is_future(origin) {
                    OwnLog::Contested
                } else {
                    OwnLog::Sound
                },
            };
            self.write_again((origin, version), slot, &again);
        }
        let logs = self.logs.iter().map(|log| log.origin);
        let future: Vec<Origin> = logs.filter(|origin| is_future(*origin)).collect();
        for origin in future {
            self.remove_log(origin);
        }
        self.pruned_origins.lower(limit);
    }
}
