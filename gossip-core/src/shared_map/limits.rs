//! What this node accepts of other nodes' maps.

use core::time::Duration;

use super::replica::ApplyLimits;
use crate::context::Context;
use crate::hlc::Stamp;
use crate::identity::NodeId;
use crate::state::room::Room;

/// What this node accepts in a datagram of so many bytes.
pub(super) fn limits(context: &Context, bytes: usize) -> ApplyLimits {
    let max_map = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
    ApplyLimits {
        stamp: context.clock.limit(context.now),
        // Twice as many, for what it takes to keep them while they wait.
        bytes: max_map.saturating_mul(2),
        room: Room::of(bytes).left(),
    }
}

/// Counts, and tells the application, that a write was refused because its stamp is too far ahead.
pub(super) fn refuse_stamp(context: &mut Context, id: NodeId, stamp: Stamp) {
    let wall = context.clock.wall(context.now).as_millis();
    let ahead = stamp.time().as_millis().saturating_sub(wall);
    context.refuse_skew(id, None, Duration::from_millis(ahead));
}
