//! This node itself: how far it has come, what it says of itself, and other nodes of its name.
//!
//! [`Local`] is the machine. It owns the standing of the node, its open name conflict, its broadcasts
//! and the attributes that the application watches. What the node says of itself stands in its own log,
//! in the table, like the logs of all others. This machine decides what is written there; only the votes
//! come from failure detection, and the map's summary from the shared map.
//!
//! | part | what it does |
//! |---|---|
//! | [`lifecycle`] | joins, leaves, refutes votes, raises the generation |
//! | [`name_conflict`] | settles which of two live nodes keeps a name |
//! | [`attributes`] | writes what the application sets |
//! | [`agreement`] | compares what the members show of an attribute |
//!
//! # Invariants
//!
//! - The standing only moves forward: joining, up, leaving, left. A node may skip some of these.
//! - A node that has left is silent: none of its timers is set.
//! - The own generation only grows.

pub(crate) mod agreement;
pub(crate) mod attributes;
mod lifecycle;
mod name_conflict;
#[cfg(test)]
mod tests;

use crate::command::{CommandError, Key, Value};
use crate::context::Context;
use crate::dissemination::broadcast::Broadcasts;
use crate::state::attribute::Declared;
use agreement::Watches;
use lifecycle::Joining;
pub(crate) use lifecycle::{Farewell, raise_generation, request_new_generation};
pub(crate) use name_conflict::Claim;
use name_conflict::NameConflict;

/// How far this node itself has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The node learns the table from its seeds. It has not announced itself yet.
    Joining,
    /// The node has announced itself.
    Up,
    /// The node announces its departure.
    Leaving,
    /// The node is silent: it has left, or has lost its name to another node.
    Left,
}

/// What a node knows of itself beyond its log. See the [module](self).
#[derive(Debug)]
pub(crate) struct Local {
    standing: Standing,
    joining: Joining,
    /// How often the departure has been announced.
    farewells: u8,
    /// The other node of this name that has been asked who is older, while the conflict is open.
    conflict: Option<NameConflict>,
    broadcasts: Broadcasts,
    watches: Watches,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self {
            standing: Standing::Joining,
            joining: Joining::default(),
            farewells: 0,
            conflict: None,
            broadcasts: Broadcasts::default(),
            watches: Watches::default(),
        }
    }

    /// How far this node has come.
    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether this node is silent for good.
    pub(crate) fn has_left(&self) -> bool {
        self.standing == Standing::Left
    }

    /// The own status as peers are told it.
    const fn declared(&self) -> Declared {
        match self.standing {
            Standing::Joining => Declared::Joining,
            Standing::Up => Declared::Up,
            Standing::Leaving => Declared::Leaving,
            Standing::Left => Declared::Left,
        }
    }

    /// Writes a broadcast.
    ///
    /// # Errors
    /// [`CommandError`] where there are too many, or this one is too large.
    pub(crate) fn broadcast(
        &mut self,
        context: &mut Context,
        name: &Key,
        payload: &Value,
    ) -> Result<(), CommandError> {
        self.broadcasts.write(context, name, payload)
    }

    /// Ends the broadcasts of this node that have expired.
    pub(crate) fn end_broadcasts(&mut self, context: &mut Context) {
        debug_assert!(!self.has_left());
        self.broadcasts.end(context);
    }

    /// Begins to watch an attribute. Watching it a second time changes nothing.
    ///
    /// # Errors
    /// [`CommandError::TooManyWatched`].
    pub(crate) fn watch(&mut self, context: &mut Context, key: Key) -> Result<(), CommandError> {
        self.watches.watch(context, key)
    }

    /// Ends watching an attribute.
    pub(crate) fn unwatch(&mut self, context: &mut Context, key: &Key) {
        self.watches.unwatch(context, key);
    }

    /// Whether all live members show the same of an attribute, as far as this node may say so. `None` unless
    /// the attribute is watched. O(1).
    pub(crate) fn is_agreed(&self, key: &Key) -> Option<bool> {
        Some(self.watches.is_agreed(key)? && self.standing == Standing::Up)
    }

    /// Brings the watched attributes up to date with the table, and tells the application what has
    /// changed. A node that has not joined or is leaving tells nothing.
    pub(crate) fn review_agreements(&mut self, context: &mut Context) {
        debug_assert!(!self.has_left());
        self.watches.review(context, self.standing);
    }
}
