//! What this node accepts of other nodes' maps.

use core::time::Duration;

use super::replica::ApplyLimits;
use crate::context::{Context, count};
use crate::hlc::Stamp;
use crate::identity::NodeId;
use crate::state::room::Room;

/// What this node accepts in a datagram of so many bytes.
pub(super) fn limits(context: &Context, bytes: usize) -> ApplyLimits {
    let wall = context.clock.wall(context.now);
    let max_map = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
    ApplyLimits {
        stamp: Stamp::at(wall.saturating_add(context.config.max_clock_skew)),
        // Twice as many, for what it takes to keep them while they wait.
        bytes: max_map.saturating_mul(2),
        room: Room::of(bytes).left(),
    }
}

/// Counts, and tells the application, that a write was refused because its stamp is too far ahead.
pub(super) fn refuse_stamp(context: &mut Context, id: NodeId, stamp: Stamp) {
    count(&mut context.metrics.refused_skew);
    let wall = context.clock.wall(context.now).as_millis();
    let ahead = stamp.time().as_millis().saturating_sub(wall);
    context.tell_skew(id, Duration::from_millis(ahead));
}
