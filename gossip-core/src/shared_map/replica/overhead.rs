//! What the parts of a map take in memory beyond their own bytes.
//!
//! Both ends of a conversation count the same: a sender puts no more into a datagram than its receiver
//! accepts for the datagram's length. So no peer can make a replica hold much by sending little.

use super::write::Write;

/// Bytes that a part of a live set takes while a receiver collects them, beyond the bytes that say it.
pub(super) const LIVE_SET_PART: usize = 64;

/// Bytes that a log takes in a replica: itself, its place in the index, and its rise in the apply order.
pub(super) const LOG: usize = 112;

/// Bytes that a write takes in a replica beyond its own: in the slab, in the key index, and in the apply
/// order.
const WRITE: usize = 80;

/// Bytes that a write takes in addition when it is dead or has a lifetime: its place among the deaths.
const DEATH: usize = 48;

/// Bytes that a write takes in a replica beyond its own. `None` stands for a fragment of a write: the
/// rest may turn out to have a lifetime, so it counts as if it had.
pub(super) fn of_write(write: Option<&Write<'_>>) -> usize {
    match write {
        Some(write) if write.dies_at().is_none() => WRITE,
        _ => WRITE.saturating_add(DEATH),
    }
}
