//! The shared map of a node: writes, pushes, and the exchange of what differs.
//!
//! [`SharedMap`] is the machine. It owns this node's [replica] of the map, both ends of a delta, and what
//! it remembers of runs that passed through. `protocol` holds the conversation with a peer.
//!
//! A SYN tells the map's hash and the prune stamp where the map is not empty, and the frontiers that rose
//! lately. A node that sees a difference serves what the peer lacks, and asks for what it lacks itself.
//! What cannot be guessed from these frontiers is told by a whole table of them. A delta is asked for a
//! window of datagrams at a time, from one peer at a time. New writes go down the same trees as other
//! news.

#[cfg(feature = "map")]
mod machine;
#[cfg(feature = "map")]
mod protocol;
#[cfg_attr(
    not(feature = "map"),
    allow(
        dead_code,
        reason = "without a map, what others say of theirs is only skipped"
    )
)]
pub mod replica;

#[cfg(feature = "map")]
pub(crate) use machine::{Peer, SharedMap};
