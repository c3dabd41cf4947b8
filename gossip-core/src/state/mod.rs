//! The state plane: versioned logs, one for each origin.
//!
//! Everything that is disseminated is an [entry](entry::Entry) in the [log](log::Log) of the node
//! that wrote it. Only the origin assigns versions. What a replica holds of a log is described by
//! its *frontier* (it knows everything up to that version: what it does not hold is dead) and its
//! *floor* (tombstones up to here have been collected).

pub(crate) mod attribute;
pub(crate) mod broadcast;
pub(crate) mod entry;
pub(crate) mod log;
pub(crate) mod table_hash;

/// Bytes that a datagram of so many may make a node hold beyond these. More than a newcomer with all its
/// votes takes, or that would never come.
pub(crate) const fn room(bytes: usize) -> usize {
    bytes.saturating_add(1024)
}
