//! The wall clock: it is set, peers tell theirs, and what was written while it was wrong is put right.
//!
//! Nobody accepts a stamp that is further ahead than `max_clock_skew`. So a node whose clock is that far ahead writes for
//! nobody; it tells its application, and refuses writes to the shared map. Once its clock is right again, it puts right
//! what others refuse, without a restart:
//!
//! - its generation and its log, if they began in that future;
//! - members under generations that lie in the future: it forgets them, and they tell it of themselves anew;
//! - writes of the shared map: it writes them again under the stamp that would have been right.
//!
//! The clock counts as right if it agrees with those of peers. A clock that was right and is set back wrongly is no
//! reason to put anything right.

use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use crate::hlc::Stamp;
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::time::UnixTime;

impl Node {
    /// Takes over the wall clock. If it has gone on without this node, this node has slept.
    pub(super) fn set_wall_clock(&mut self, wall: UnixTime) {
        let context = &mut self.context;
        let known = context.clock.wall(context.now).as_millis();
        let ahead = wall.as_millis().saturating_sub(known);
        self.failure.on_sleep(context, Duration::from_millis(ahead));
        let back = known.saturating_sub(wall.as_millis());
        context.clock.set(context.now, wall);
        context.review_own_clock();
        self.put_right(Duration::from_millis(back));
    }

    /// A peer tells what its wall clock shows.
    pub(super) fn on_peer_clock(&mut self, peer: NodeId, wall: UnixTime) {
        self.context.note_peer_clock(peer, wall);
        self.put_right(Duration::ZERO);
    }

    /// Whether a time differs so much from the own clock that one of the two is worth a word.
    pub(super) fn is_skewed(&self, told: UnixTime) -> bool {
        let context = &self.context;
        let own = context.clock.wall(context.now).as_millis();
        let by = Duration::from_millis(own.abs_diff(told.as_millis()));
        by.saturating_mul(2) > context.config.max_clock_skew
    }

    /// If the clock was ahead and is right now: puts right what others refuse. The clock was set `back` by so much, as
    /// far as that is known.
    fn put_right(&mut self, back: Duration) {
        let context = &mut self.context;
        let now = context.now;
        let Some(ran_ahead) = context.clock.ran_ahead(now) else {
            return;
        };
        if !context.clock_agrees() {
            return;
        }
        let limit = context.clock.limit(now);
        context.clock.begin_anew(now);
        self.forget_future(limit);
        if self.context.generation.stamp() > limit {
            self.raise_generation();
            self.context.incarnation_start = self.context.generation;
        }
        let by = ran_ahead.max(back);
        #[cfg(feature = "map")]
        self.shared_map.correct_stamps(&mut self.context, limit, by);
        #[cfg(not(feature = "map"))]
        let _ = by;
    }

    /// Forgets the members whose generations are greater than a limit. Whoever lives tells of itself again, under a
    /// generation that is right.
    fn forget_future(&mut self, limit: Stamp) {
        let (table, own) = (&self.context.table, self.context.own);
        let is_future = |record: &Record| record.log.generation().stamp() > limit;
        let future = table
            .iter()
            .filter(|record| record.id != own && is_future(record));
        let present = future.filter(|record| record.condition != Condition::Removed);
        let present: Vec<NodeId> = present.map(|record| record.id).collect();
        for id in present {
            self.remove(id);
            self.removal.forget(id);
        }
        self.context.table.prune(is_future);
        let table = &self.context.table;
        self.context
            .recent_changes
            .retain(|id| table.get(id).is_some());
    }
}
