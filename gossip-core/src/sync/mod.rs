//! Anti-entropy: two replicas compare their tables and give each other what is newer (Demers et al.,
//! Epidemic Algorithms for Replicated Database Maintenance, 1987).
//!
//! [`Sync`] is the machine. It owns the claims that have arrived in part, and the little that it remembers
//! of earlier exchanges. Its parts:
//!
//! - [exchange] is the conversation of two nodes, and [leg] one step of it;
//! - [news] is what a node tells unasked;
//! - [narrowing] finds differences that nobody has told of;
//! - [accept] decides what becomes of a delta, and [staging] keeps the parts of claims;
//! - [catch_up] asks several peers at a time, where this node is far behind;
//! - [apply] is what a whole claim means for the table and for the application;
//! - [peers] chooses whom a round meets.
//!
//! # Invariants
//!
//! - A claim takes effect as a whole or not at all.
//! - A leg can be answered without memory of an earlier one.
//! - What is held for the sake of a datagram is bounded by its length.

pub(crate) mod accept;
pub(crate) mod apply;
mod catch_up;
pub(crate) mod exchange;
pub(crate) mod leg;
mod narrowing;
pub(crate) mod news;
pub(crate) mod peers;
mod relocations;
pub(crate) mod staging;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::context::Context;
use crate::identity::NodeId;
use crate::membership::{Condition, Record, Table};
use crate::state::log::Log;
use crate::state::room::Room;
use crate::time::Instant;
use crate::wire::message::Sender;
use catch_up::CatchUp;
use relocations::Relocations;
use staging::{Begun, Staging};

/// The anti-entropy of a node. See the [module](self).
#[derive(Debug)]
pub(crate) struct Sync {
    staging: Staging,
    /// When an exchange last found a difference that the peer had not explained.
    differed: Option<Instant>,
    catch_up: CatchUp,
    /// The strangers with which this node has begun an exchange since the last round, because they only take.
    met: Vec<SocketAddr>,
    /// The live members that seem to have moved.
    relocations: Relocations,
    /// How many rounds have begun.
    round: u32,
    /// Bytes of first answers to strangers since the last round.
    greeted: usize,
}

/// The most strangers with which a node begins exchanges between two rounds because they only take.
const MOST_MET: usize = 64;

/// In one of so many rounds a node tells its clock. A clock is wrong for long, so this is in no hurry; and it costs
/// eight bytes in each SYN of that round.
const CLOCK_ROUNDS: u32 = 16;

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It has taken effect, or it has nothing to add.
    Done,
    /// It waits for other parts of its claim, which are on their way.
    Waits,
    /// Other parts of its claim are missing. The node should ask for them.
    Lacks,
    /// It was left for another datagram, because this one has brought as many unknown members and votes as
    /// it may.
    Full,
}

impl Sync {
    pub(crate) fn new() -> Self {
        Self {
            staging: Staging::default(),
            differed: None,
            catch_up: CatchUp::default(),
            met: Vec::new(),
            relocations: Relocations::default(),
            round: 0,
            greeted: 0,
        }
    }

    /// A round begins.
    pub(crate) fn begin_round(&mut self) {
        self.met.clear();
        self.greeted = 0;
        self.round = self.round.wrapping_add(1);
    }

    /// Whether the SYNs of this round tell what the own clock shows: those of one round in [`CLOCK_ROUNDS`].
    pub(crate) const fn tells_clock(&self) -> bool {
        self.round.is_multiple_of(CLOCK_ROUNDS)
    }

    /// Begins an exchange with a stranger that only takes: otherwise this node would not get to know it. Once
    /// between two rounds, since two nodes that are strangers to each other would else go on without end.
    fn meet_stranger(&mut self, context: &mut Context, address: SocketAddr) {
        if self.met.len() < MOST_MET && !self.met.contains(&address) {
            self.met.push(address);
            context.begin_exchange(address);
        }
    }

    /// Somebody has been heard.
    pub(crate) fn on_life(&mut self, context: &Context, sender: Sender) {
        self.relocations.on_life(context, sender);
    }

    /// The old addresses of members that seem to have moved have had time to answer.
    pub(crate) fn on_relocation_due(&mut self, context: &mut Context) {
        self.relocations.on_due(context);
    }

    /// Whether this node is far behind.
    pub(crate) const fn is_behind(&self) -> bool {
        self.catch_up.is_behind()
    }

    /// How many partial claims were dropped to make room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.staging.dropped()
    }

    /// Drops what has arrived in part of a member's log.
    pub(crate) fn discard(&mut self, id: NodeId) {
        self.staging.discard(id);
    }

    /// The beginning of a partial claim of an origin that a peer could continue.
    pub(crate) fn resume(&self, context: &Context, origin: NodeId) -> Option<Begun> {
        let held = held(&context.table, origin);
        self.staging.resume(origin, held)
    }
}

/// The log of an origin, if a delta can continue it. A member tombstone cannot be continued.
fn held(table: &Table, origin: NodeId) -> Option<&Log> {
    let held = |record: &&Record| record.condition != Condition::Removed;
    table.get(origin).filter(held).map(|record| &record.log)
}
