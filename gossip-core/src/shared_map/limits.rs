//! What this node accepts of other nodes' maps, and the room of what lives in its own.

use core::time::Duration;

use super::replica::{ApplyLimits, Map};
use crate::context::Context;
use crate::hlc::Stamp;
use crate::identity::NodeId;
use crate::state::room::Room;

/// What this node accepts in a datagram of so many bytes.
pub(super) fn limits(context: &Context, bytes: usize) -> ApplyLimits {
    let max_map = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
    ApplyLimits {
        stamp: context.clock.limit(context.now),
        // The shortest writes take almost twice as much again while they wait.
        bytes: max_map.saturating_mul(3),
        room: Room::of(bytes).left(),
    }
}

/// The most bytes that a map may have with the runs of others: as much again as a node may fill it with.
pub(super) fn most_with_runs(context: &Context) -> usize {
    let max_map = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
    max_map.saturating_mul(2)
}

/// The share of `max_map` that tombstones may take in a map that is full of values.
const LEAST_DEAD: usize = 16;

/// The share of `max_map` by which more is collected than need be, so that many tombstones go at a time.
const MARGIN: usize = 64;

/// Collects tombstones before their time where they take the room of values.
#[derive(Debug, Default)]
pub(super) struct Relief {
    /// The bytes of the map below which it is not tried again in this round: there was nothing to collect.
    vain: usize,
}

impl Relief {
    /// A round begins. Tombstones may have become old enough to be replaced.
    pub(super) const fn begin_round(&mut self) {
        self.vain = 0;
    }

    /// Keeps the map within `max_map`, and beyond it no more than a sixteenth of tombstones. What can be collected
    /// then is dead everywhere: a peer that has missed a tombstone is told what lives.
    pub(super) fn keep(&mut self, context: &Context, map: &mut Map) {
        let max = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
        let (least, margin) = (max.div_euclid(LEAST_DEAD), max.div_euclid(MARGIN));
        let is_over = |map: &Map| map.bytes() > max && map.dead_bytes() > least;
        if !is_over(map) || map.bytes() < self.vain {
            return;
        }
        map.tick(context.clock.wall(context.now));
        map.relieve(max.saturating_sub(margin), least.saturating_sub(margin));
        if is_over(map) {
            self.vain = map.bytes().saturating_add(margin);
        }
    }
}

/// Counts, and tells the application, that a write was refused because its stamp is too far ahead.
pub(super) fn refuse_stamp(context: &mut Context, id: NodeId, stamp: Stamp) {
    let wall = context.clock.wall(context.now).as_millis();
    let ahead = stamp.time().as_millis().saturating_sub(wall);
    context.refuse_skew(id, None, Duration::from_millis(ahead));
}
