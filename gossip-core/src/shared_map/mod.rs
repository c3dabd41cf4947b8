//! The shared map of a node: local writes, pushed writes, and the exchange of what differs.
//!
//! [`SharedMap`] is the machine. It owns this node's [replica] of the map and gives every input to the part
//! that deals with it:
//! - `sending` answers requests with deltas,
//! - `receiving` asks one peer at a time for a delta, and asks again for what does not arrive,
//! - `pushing` sends new writes down a tree,
//! - `repair` keeps the runs that came by lately, and asks for those that are missing,
//! - `writing` writes the messages,
//! - `upkeep` looks after the logs of nodes that are gone.
//!
//! The conversation:
//! - A SYN tells the map's summary (hash and prune stamp), unless the map is empty, and the frontiers that
//!   rose lately.
//! - A node that sees a difference sends the peer what the peer lacks, and asks for what it lacks itself. A peer
//!   that has missed only the latest gets runs, another one a delta.
//! - If the frontiers that were told do not explain the peer's hash, the node tells all of its own
//!   frontiers, which may take several datagrams.
//! - A delta is asked for a window of datagrams at a time, from one peer at a time. The window adapts to what
//!   arrives.
//! - New writes go down a push tree. What is missed there is asked for by name.

#[cfg(feature = "map")]
mod limits;
#[cfg(feature = "map")]
mod machine;
#[cfg(feature = "map")]
mod pushing;
#[cfg(feature = "map")]
mod receiving;
#[cfg(feature = "map")]
mod repair;
#[cfg_attr(
    not(feature = "map"),
    allow(
        dead_code,
        reason = "without a map, what others say of theirs is only skipped"
    )
)]
pub mod replica;
#[cfg(feature = "map")]
mod sending;
#[cfg(feature = "map")]
mod upkeep;
#[cfg(feature = "map")]
mod writing;

#[cfg(feature = "map")]
pub(crate) use machine::SharedMap;
#[cfg(feature = "map")]
pub(crate) use sending::Peer;
